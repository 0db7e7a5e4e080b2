//! MirrorMaker 2: writable copies with offsets of their own, at least once, and offsets that are translated.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Isolation, LinkError, LinkSpec, MirrorMaker, Mode, Naming, Topics},
    world::{Side::*, World},
};

fn maker(maker: MirrorMaker) -> LinkSpec {
    LinkSpec {
        mode: Mode::MirrorMaker(maker),
        fetch_interval: Duration::from_millis(1),
        metadata_interval: Duration::from_millis(100),
        ..LinkSpec::mirror_maker("mm2", 7)
    }
}

fn every_second() -> MirrorMaker {
    let second = Duration::from_secs(1);
    MirrorMaker {
        checkpoint_interval: Some(second),
        flush_interval: second,
        offset_lag_max: 0,
        ..MirrorMaker::default()
    }
}

fn values(world: &mut World, side: super::world::Side, topic: &str) -> Vec<String> {
    world.records(side, topic).into_iter().map(|(_, value)| value).collect()
}

/// The copies are topics like any other: whoever relies on equal offsets or a read-only copy must see that.
#[test]
fn copies_are_writable_and_have_offsets_of_their_own() {
    let mut world = World::new(maker(MirrorMaker::default()));
    world.create(A, "orders", 1);
    world.create(B, "orders", 1);
    world.produce(B, "orders", 0, 3).unwrap();
    world.transact(A, "orders", 2, Some(true));
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);

    assert_eq!((world.end(A, "orders"), world.end(B, "orders")), (5, 7), "no marker is copied");
    let copied = values(&mut world, A, "orders");
    assert_eq!(values(&mut world, B, "orders")[3..], copied);
    for batch in &world.batches(B, "orders", 0)[1..] {
        assert_eq!(batch.producer_id(), -1);
        assert!(!batch.is_transactional());
    }
    assert_eq!(world.produce(B, "orders", 0, 1), Ok(7));
    assert_eq!(world.line(), "orders ACTIVE source 5 target 8 lag 0 missing 0");
    let refused = world.link.promote(world.now, &world.a, &world.b, Topics::All);
    assert_eq!(refused, Err(LinkError::WritableCopies { link: "mm2".into() }));
}

/// `DefaultReplicationPolicy`: consumers have to know the other name.
#[test]
fn copies_bear_the_alias_of_the_source() {
    let naming = Naming::Prefixed("west".into());
    let mut world = World::new(maker(MirrorMaker { naming, ..MirrorMaker::default() }));
    for topic in ["orders", "mm2-offset-syncs.b.internal", "__internal"] {
        world.create(A, topic, 1);
    }
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);
    assert_eq!(world.line(), "west.orders ACTIVE source 2 target 2 lag 0 missing 0");
}

/// What a transaction has aborted is copied as if it were valid, unless MirrorMaker is told otherwise.
#[test]
fn aborted_records_are_left_out_only_by_read_committed() {
    for (isolation, records) in [(Isolation::ReadUncommitted, 7), (Isolation::ReadCommitted, 3)] {
        let mut world = World::new(maker(MirrorMaker { isolation, ..MirrorMaker::default() }));
        world.create(A, "orders", 1);
        world.transact(A, "orders", 3, Some(false));
        world.transact(A, "orders", 2, Some(true));
        world.produce(A, "orders", 0, 1).unwrap();
        world.transact(A, "orders", 1, None);
        world.run_ms(10);
        assert_eq!(world.end(B, "orders"), records, "{isolation:?}");
        let missing = world.link.unreplicated(&world.a, &world.b);
        let missing: u64 = missing.iter().map(|missing| missing.records).sum();
        assert_eq!(missing, u64::from(isolation == Isolation::ReadCommitted), "the open one");
    }
}

/// A failover of MirrorMaker is only the end of its copying.
#[test]
fn failover_counts_what_was_not_copied() {
    let mut world = World::new(maker(MirrorMaker::default()));
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);
    world.link.sever(world.now, &world.a, &world.b);
    world.produce(A, "orders", 0, 3).unwrap();
    let missing = world.link.failover(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    assert_eq!(missing.iter().map(|missing| missing.records).sum::<u64>(), 3);
}

/// What was copied since the position was last written down is copied again by a new process.
#[test]
fn restart_copies_some_records_again() {
    let mut world = World::new(maker(MirrorMaker::default()));
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(60_500);
    world.produce(A, "orders", 0, 1).unwrap();
    world.run_ms(100);
    assert_eq!(world.end(B, "orders"), 3);
    world.link.restart(world.now, &world.a, &world.b);
    world.run_ms(100);
    let copied = values(&mut world, B, "orders");
    assert_eq!(copied, ["record 0", "record 1", "record 2", "record 2"]);
}

/// Real MirrorMaker is behind in the middle of a log, and exact at its end.
#[test]
fn offsets_are_translated_conservatively_and_exactly_at_the_end() {
    let mut world = World::new(maker(every_second()));
    world.create(A, "orders", 1);
    world.create(B, "orders", 1);
    world.produce(B, "orders", 0, 7).unwrap();
    for _ in 0..20 {
        world.produce(A, "orders", 0, 10).unwrap();
    }
    world.commit(A, "middle", "orders", 60);
    world.commit(A, "end", "orders", 200);
    world.run_ms(3000);
    let middle = world.committed(B, "middle", "orders").unwrap();
    assert!(middle <= 67, "{middle} is ahead");
    assert!(middle > 0, "{middle} is not translated at all");
    assert_eq!(world.committed(B, "end", "orders"), Some(207));
}

/// One thing that happens to a maker.
#[derive(Clone, Debug)]
enum Step {
    Produce(usize),
    Transact(usize, bool),
    Foreign(usize),
    Commit(u8),
    Run(u64),
    Restart,
    Sever,
    Mend,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..20).prop_map(Step::Produce),
        2 => (1_usize..5, any::<bool>()).prop_map(|(records, commit)| Step::Transact(records, commit)),
        1 => (1_usize..5).prop_map(Step::Foreign),
        3 => any::<u8>().prop_map(Step::Commit),
        4 => (1_u64..1500).prop_map(Step::Run),
        1 => Just(Step::Restart),
        1 => Just(Step::Sever),
        1 => Just(Step::Mend),
    ]
}

/// Records that a group has not read at the source and would not read on the target either.
fn skipped(world: &mut World, upstream: i64, downstream: i64) -> Vec<String> {
    let ahead: Vec<_> = world.records(B, "orders").into_iter().collect();
    let unread = world.records(A, "orders").into_iter().filter(|(offset, _)| *offset >= upstream);
    let copied = |value: &String| ahead.iter().any(|(_, copy)| copy == value);
    let found = |value: &String| ahead.iter().any(|(at, copy)| *at >= downstream && copy == value);
    unread.map(|(_, value)| value).filter(|value| copied(value) && !found(value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A translation that is ahead is a silent gap for whoever moves.
    #[test]
    fn translation_is_never_ahead(
        steps in prop::collection::vec(step(), 1..40),
        offset_lag_max in prop_oneof![Just(0), Just(5), Just(100)],
    ) {
        let mut world = World::new(maker(MirrorMaker { offset_lag_max, ..every_second() }));
        world.create(A, "orders", 1);
        world.create(B, "orders", 1);
        let mut latest = None;
        for step in steps {
            match step {
                Step::Produce(records) => { world.produce(A, "orders", 0, records).unwrap(); }
                Step::Transact(records, commit) => world.transact(A, "orders", records, Some(commit)),
                Step::Foreign(records) => { world.produce(B, "orders", 0, records).unwrap(); }
                Step::Commit(share) => {
                    // Groups go forward: a target's offset is never taken back.
                    let end = world.end(A, "orders");
                    let offset = (end * i64::from(share) / 255).max(latest.unwrap_or(0));
                    world.commit(A, "group", "orders", offset);
                    latest = Some(offset);
                }
                Step::Run(ms) => world.run_ms(ms),
                Step::Restart => world.link.restart(world.now, &world.a, &world.b),
                Step::Sever => world.link.sever(world.now, &world.a, &world.b),
                Step::Mend => world.link.mend(world.now),
            }
            if let (Some(upstream), Some(downstream)) =
                (latest, world.committed(B, "group", "orders"))
            {
                let skipped = skipped(&mut world, upstream, downstream);
                prop_assert!(skipped.is_empty(), "{upstream} -> {downstream} skips {skipped:?}");
            }
        }
        // At the end of a log that is quiet, nothing is read twice.
        world.link.mend(world.now);
        world.produce(A, "orders", 0, 1).unwrap();
        let end = world.end(A, "orders");
        world.commit(A, "other", "orders", end);
        world.run_ms(4000);
        let there = world.committed(B, "other", "orders");
        prop_assert_eq!(there, Some(world.end(B, "orders")));
    }
}
