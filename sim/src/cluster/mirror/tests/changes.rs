//! Cluster Linking: promotion, failover, reversal, and the offsets of groups.

use std::time::Duration;

use super::{
    super::{
        ClusterLinking, Direction, Filter, Lag, LinkError, LinkSpec, MirrorState, Mode, Topics,
        Unreplicated,
    },
    world::{Side::*, World, encode, linking, name},
};

fn lagging(ms: u64) -> LinkSpec {
    LinkSpec { lag: Lag::Fixed(Duration::from_millis(ms)), ..linking() }
}

fn state(world: &World) -> MirrorState {
    world.link.status(world.now, &world.a, &world.b).topics[0].state
}

/// A promotion that did not wait would lose what is on its way, and send groups back to what they have read.
#[test]
fn promotion_waits_until_nothing_is_missing_and_offsets_are_carried_over() {
    let mut world = World::new(lagging(100));
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 5).unwrap();
    world.run_ms(200);
    world.produce(A, "orders", 0, 3).unwrap();
    world.commit(A, "billing", "orders", 8);
    world.run_ms(10);

    world.link.promote(world.now, &world.a, &world.b, Topics::Named(&["orders"])).unwrap();
    world.run_ms(50);
    assert_eq!(world.line(), "orders PENDING_STOPPED source 8 target 5 lag 3 missing 3");
    assert_eq!(world.produce(B, "orders", 0, 1).unwrap_err().0, 42);

    world.run_ms(60);
    assert_eq!(world.line(), "orders STOPPED source 8 target 8 lag 0 missing 0");
    assert_eq!(world.committed(B, "billing", "orders"), Some(8));
    assert_eq!(world.produce(B, "orders", 0, 1), Ok(8));
}

/// Nobody can say that nothing is missing while the source is out of reach.
#[test]
fn promotion_is_refused_or_pending_while_the_source_is_out_of_reach() {
    let mut world = World::new(lagging(100));
    world.create(A, "orders", 1);
    world.run_ms(10);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);
    world.link.promote(world.now, &world.a, &world.b, Topics::All).unwrap();
    world.link.sever(world.now, &world.a, &world.b);
    world.run_ms(10_000);
    assert_eq!(state(&world), MirrorState::PendingStopped);

    let refused = world.link.promote(world.now, &world.a, &world.b, Topics::All).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "link `link`: the clusters do not reach each other; mend the link, or fail over"
    );

    let missing = world.link.failover(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    let expected =
        Unreplicated { topic: "orders".into(), partition: 0, from: 0, records: 2, unconfirmed: 0 };
    assert_eq!(missing, [expected]);
    assert_eq!(world.produce(B, "orders", 0, 1), Ok(0));
}

/// The recovery point must be exact, per partition, and go on counting while two clusters take writes.
#[test]
fn failover_counts_what_only_the_source_has() {
    let mut world = World::new(linking());
    world.create(A, "orders", 2);
    world.produce(A, "orders", 0, 10).unwrap();
    world.produce(A, "orders", 1, 1).unwrap();
    world.run_ms(10);
    world.link.sever(world.now, &world.a, &world.b);
    world.produce(A, "orders", 0, 4).unwrap();
    world.produce(A, "orders", 0, 3).unwrap();

    let missing = world.link.failover(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    let counted = |records| Unreplicated {
        topic: "orders".into(),
        partition: 0,
        from: 10,
        records,
        unconfirmed: 0,
    };
    assert_eq!(missing, [counted(7)]);
    assert_eq!(state(&world), MirrorState::Stopped);

    world.produce(B, "orders", 0, 20).unwrap();
    world.produce(A, "orders", 0, 1).unwrap();
    assert_eq!(world.link.unreplicated(&world.a, &world.b), [counted(8)]);

    let again =
        world.link.failover(world.now, &mut world.a, &mut world.b, Topics::Named(&["orders"]));
    assert_eq!(again.unwrap_err().to_string(), "topic `orders` is STOPPED; it is writable already");
}

/// A region that returns has records that nobody else has: they go, and are counted.
#[test]
fn reversal_after_a_failover_cuts_the_former_source_off_where_the_two_part() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 5).unwrap();
    world.run_ms(10);
    world.link.sever(world.now, &world.a, &world.b);
    world.produce(A, "orders", 0, 2).unwrap();
    world.link.failover(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    world.produce(B, "orders", 0, 4).unwrap();

    let refused = world.link.reverse(world.now, &mut world.a, &mut world.b, Topics::All);
    assert_eq!(refused, Err(LinkError::SourceUnavailable { link: "link".into() }));

    world.link.mend(world.now);
    let cut = world.link.reverse(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    let expected =
        Unreplicated { topic: "orders".into(), partition: 0, from: 5, records: 2, unconfirmed: 0 };
    assert_eq!(cut, [expected]);
    assert_eq!(world.produce(A, "orders", 0, 1).unwrap_err().0, 42);
    world.produce(B, "orders", 0, 1).unwrap();
    world.run_ms(10);
    assert_eq!(world.records(A, "orders"), world.records(B, "orders"));
    assert_eq!(world.line(), "orders ACTIVE source 10 target 10 lag 0 missing 0");
    assert_eq!(world.link.direction(), Direction::BToA);
}

/// A planned change of direction loses nothing: the source is closed before the last batch is copied.
#[test]
fn reversal_of_a_topic_that_follows_loses_nothing_and_goes_back_again() {
    let mut world = World::new(lagging(50));
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 5).unwrap();
    world.run_ms(10);
    let cut = world.link.reverse(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    assert_eq!(cut, []);
    assert_eq!(state(&world), MirrorState::PendingSynchronize);
    assert_eq!(world.produce(A, "orders", 0, 1).unwrap_err().0, 42);
    assert_eq!(world.produce(B, "orders", 0, 1).unwrap_err().0, 42);
    world.run_ms(60);
    assert_eq!(world.produce(A, "orders", 0, 1).unwrap_err().0, 42);
    assert_eq!(world.produce(B, "orders", 0, 1), Ok(5));
    world.run_ms(60);
    assert_eq!(world.end(A, "orders"), 6);

    world.link.reverse(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    world.run_ms(60);
    assert_eq!(world.produce(A, "orders", 0, 1), Ok(6));
    assert_eq!(world.link.direction(), Direction::AToB);
    world.run_ms(60);
    assert_eq!(world.line(), "orders ACTIVE source 7 target 7 lag 0 missing 0");
}

/// While a topic is paused nothing reaches it; what was on its way is fetched again.
#[test]
fn paused_topic_stands_still_and_catches_up() {
    let mut world = World::new(lagging(20));
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);
    world.link.pause(world.now, &world.a, &world.b, Topics::Named(&["orders"])).unwrap();
    world.produce(A, "orders", 0, 1).unwrap();
    world.run_ms(1000);
    assert_eq!(world.line(), "orders PAUSED source 3 target 0 lag 2 missing 3");
    world.link.resume(world.now, Topics::Named(&["orders"])).unwrap();
    world.run_ms(30);
    assert_eq!(world.line(), "orders ACTIVE source 3 target 3 lag 0 missing 0");

    world.link.pause_link(world.now, &world.a, &world.b);
    assert_eq!(state(&world), MirrorState::LinkPaused);
    assert_eq!(world.link.deadline(), None);
}

/// A group that moves must find its offset, but never one behind the records that are there.
#[test]
fn offsets_are_carried_over_every_interval_and_never_beyond_the_mirror() {
    let mode = Mode::ClusterLinking(ClusterLinking::default());
    let groups = Filter::named(["billing", "members"]);
    let mut world = World::new(LinkSpec { mode, groups, ..lagging(60_000) });
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 9).unwrap();
    world.run_ms(61_000);
    world.produce(A, "orders", 0, 5).unwrap();
    for group in ["billing", "members", "unwanted"] {
        world.commit(A, group, "orders", 12);
    }
    world.join(B, "members");
    world.run_ms(30_000);
    assert_eq!(world.committed(B, "billing", "orders"), Some(9), "no further than the mirror");
    assert_eq!(world.committed(B, "members", "orders"), None, "its members know better");
    assert_eq!(world.committed(B, "unwanted", "orders"), None, "not in the filter");

    world.run_ms(90_000);
    assert_eq!(world.committed(B, "billing", "orders"), Some(12));
    world.commit(A, "billing", "orders", 3);
    world.run_ms(25_000);
    assert_eq!(world.committed(B, "billing", "orders"), Some(12), "not before the interval");
    world.run_ms(6_000);
    assert_eq!(world.committed(B, "billing", "orders"), Some(3), "the source's word counts");
}

/// A producer that retries on the mirror what its source had taken must not write twice.
#[test]
fn producer_state_is_carried_along() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 4).unwrap();
    let batch = encode((0..3).map(|number| format!("mine {number}")), 77, false);
    assert_eq!(world.send(A, "orders", 0, batch.clone()), Ok(4));
    world.run_ms(10);
    world.link.failover(world.now, &mut world.a, &mut world.b, Topics::All).unwrap();
    assert_eq!(world.send(B, "orders", 0, batch), Ok(4), "the old offset: a repeat");
    assert_eq!(world.end(B, "orders"), 7);
}

/// A mirror that lost track of transactions would show aborted or undecided records to its readers.
#[test]
fn transactions_and_their_markers_are_carried_along() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    world.transact(A, "orders", 2, Some(true));
    world.transact(A, "orders", 3, Some(false));
    world.transact(A, "orders", 1, None);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);
    let topic = name("orders");
    let (source, mirror) = (world.a.log_of(&topic, 0).unwrap(), world.b.log_of(&topic, 0).unwrap());
    assert_eq!(mirror.end(), source.end());
    assert_eq!(mirror.last_stable_offset(), 7);
    assert_eq!(mirror.last_stable_offset(), source.last_stable_offset());
    assert_eq!(mirror.aborted(0, 7), source.aborted(0, 7));
    assert_eq!(mirror.aborted(0, 7).len(), 1);
}
