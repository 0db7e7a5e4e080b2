//! Cluster Linking against what must hold whatever happens.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Direction, Lag, LinkSpec, MirrorState, TopicStatus, Topics},
    world::{Side, Side::*, World, linking},
};

const PARTITIONS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Produce(Side, i32, usize),
    Transact(usize, Option<bool>),
    Run(u64),
    Sever,
    Mend,
    Pause,
    Resume,
    Promote,
    Failover,
    Reverse,
}

fn step() -> impl Strategy<Value = Step> {
    let side = prop_oneof![Just(A), Just(B)];
    let partition = 0..PARTITIONS.try_into().unwrap_or(0);
    prop_oneof![
        8 => (side, partition, 1_usize..6).prop_map(|(side, partition, records)| {
            Step::Produce(side, partition, records)
        }),
        1 => (1_usize..3, any::<Option<bool>>()).prop_map(|(records, commit)| Step::Transact(records, commit)),
        6 => (1_u64..120).prop_map(Step::Run),
        1 => Just(Step::Sever),
        2 => Just(Step::Mend),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => Just(Step::Promote),
        1 => Just(Step::Failover),
        1 => Just(Step::Reverse),
    ]
}

fn status(world: &World) -> TopicStatus {
    world.link.status(world.now, &world.a, &world.b).topics.remove(0)
}

fn sides(direction: Direction) -> (Side, Side) {
    match direction {
        Direction::AToB => (A, B),
        Direction::BToA => (B, A),
    }
}

fn partitions() -> impl Iterator<Item = i32> {
    (0..).take(PARTITIONS)
}

/// Records that the first has and the second does not.
fn only(world: &mut World, one: Side, other: Side) -> u64 {
    let missing = |partition| {
        let has = world.values(one, "orders", partition);
        let there = world.values(other, "orders", partition);
        has.difference(&there).count() as u64
    };
    partitions().map(missing).sum()
}

fn apply(world: &mut World, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Produce(side, partition, records) => {
            let before = status(world);
            let (source, _) = sides(before.direction);
            let open = match before.state {
                MirrorState::Stopped => true,
                MirrorState::PendingSynchronize => false,
                _ => *side == source,
            };
            let produced = world.produce(*side, "orders", *partition, *records);
            prop_assert_eq!(
                produced.is_ok(),
                open,
                "{:?} {:?}: {:?}",
                before.state,
                side,
                produced
            );
        }
        Step::Transact(records, commit) => {
            let before = status(world);
            let (source, _) = sides(before.direction);
            if before.state != MirrorState::PendingSynchronize {
                world.transact(source, "orders", *records, *commit);
            }
        }
        Step::Run(ms) => world.run_ms(*ms),
        Step::Sever => world.link.sever(world.now, &world.a, &world.b),
        Step::Mend => world.link.mend(world.now),
        Step::Pause => drop(world.link.pause(world.now, &world.a, &world.b, Topics::All)),
        Step::Resume => drop(world.link.resume(world.now, Topics::All)),
        Step::Promote => drop(world.link.promote(world.now, &world.a, &world.b, Topics::All)),
        Step::Failover => {
            let before = status(world);
            let (source, mirror) = sides(before.direction);
            let lost = only(world, source, mirror);
            let counted = world
                .link
                .failover(world.now, &mut world.a, &mut world.b, Topics::All)
                .expect("all fitting topics");
            if before.state != MirrorState::Stopped {
                prop_assert_eq!(counted.iter().map(|missing| missing.records).sum::<u64>(), lost);
            }
        }
        Step::Reverse => {
            let before = status(world);
            let (source, mirror) = sides(before.direction);
            let lost = only(world, source, mirror);
            let cut = world.link.reverse(world.now, &mut world.a, &mut world.b, Topics::All);
            if let (Ok(cut), MirrorState::Stopped) = (cut, before.state) {
                prop_assert_eq!(cut.iter().map(|cut| cut.records).sum::<u64>(), lost);
                prop_assert_eq!(only(world, source, mirror), 0);
            }
        }
    }
    Ok(())
}

fn check(world: &mut World) -> Result<(), TestCaseError> {
    let now = status(world);
    let (source, mirror) = sides(now.direction);
    // The recovery point, also once both take writes.
    let lost = only(world, source, mirror);
    let counted = world.link.unreplicated(&world.a, &world.b);
    prop_assert_eq!(counted.iter().map(|missing| missing.records).sum::<u64>(), lost);
    if now.state == MirrorState::Stopped {
        return Ok(());
    }
    for partition in partitions() {
        let from = world.batches(source, "orders", partition);
        let to = world.batches(mirror, "orders", partition);
        prop_assert!(to.len() <= from.len());
        prop_assert!(to.iter().zip(&from).all(|(copy, batch)| copy.is_copy_of(batch)), "a prefix");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is produced, paused, promoted and failed over: a mirror is a prefix of its source and read-only
    /// until it is stopped, and what is missing is counted to the record.
    #[test]
    fn mirror_is_a_prefix_and_the_recovery_point_is_exact(
        steps in prop::collection::vec(step(), 1..60),
        lag_ms in 0_u64..40,
    ) {
        let lag = Lag::Between(Duration::ZERO, Duration::from_millis(lag_ms));
        let mut world = World::new(LinkSpec { lag, ..linking() });
        world.create(A, "orders", PARTITIONS);
        world.run_ms(1);
        for step in &steps {
            apply(&mut world, step)?;
            check(&mut world)?;
        }
        // Nothing is wrong any more: the topic follows again, whichever way.
        world.link.mend(world.now);
        drop(world.link.resume(world.now, Topics::All));
        world.run_ms(500);
        check(&mut world)?;
        let end = status(&world);
        if end.state == MirrorState::Active {
            prop_assert!(end.partitions.iter().all(|partition| partition.unreplicated == 0));
        } else {
            prop_assert_eq!(end.state, MirrorState::Stopped, "nothing stays pending");
        }
    }
}
