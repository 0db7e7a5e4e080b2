//! Cluster Linking: what is copied, and how it follows its source.

use std::time::Duration;

use super::{
    super::{ClusterLinking, Epochs, Filter, Lag, LinkEvent, LinkSpec, MirrorState, Mode, Topics},
    world::{Side::*, World, linking, name},
};

fn both_are_one(world: &mut World, topic: &str) {
    let (source, mirror) = (world.batches(A, topic, 0), world.batches(B, topic, 0));
    assert_eq!(source.len(), mirror.len());
    assert!(source.iter().zip(&mirror).all(|(one, other)| one.is_copy_of(other)));
}

/// A mirror must be usable in place of its source: same partitions, offsets and settings, but an id of its own.
#[test]
fn topic_of_the_source_gets_a_read_only_mirror_with_its_offsets() {
    let mut world = World::new(linking());
    world.create(A, "orders", 3);
    world.a.topics.get_mut(&name("orders")).unwrap().configs = [
        ("retention.ms".to_owned(), "1000".to_owned()),
        ("min.insync.replicas".to_owned(), "2".to_owned()),
    ]
    .into();
    world.produce(A, "orders", 0, 5).unwrap();
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(200);

    both_are_one(&mut world, "orders");
    assert_eq!(world.end(B, "orders"), 7);
    let source_id = world.a.topics.get(&name("orders")).unwrap().id;
    let mirror = world.b.topics.get(&name("orders")).unwrap();
    assert_eq!(mirror.partitions.len(), 3);
    assert_ne!(mirror.id, source_id);
    assert_eq!(mirror.configs.get("retention.ms").map(String::as_str), Some("1000"));
    assert_eq!(mirror.configs.get("min.insync.replicas"), None, "each cluster has its own");
    assert_eq!(world.line(), "orders ACTIVE source 7 target 7 lag 0 missing 0");
}

/// Producers that are sent to a mirror too early must be told what Confluent's brokers tell them.
#[test]
fn producer_of_a_mirror_topic_is_refused() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    world.run_ms(1);
    let (code, message) = world.produce(B, "orders", 0, 1).unwrap_err();
    assert_eq!(code, 42);
    assert_eq!(message, "Cannot append records to read-only mirror topic 'orders'");
    assert_eq!(world.end(B, "orders"), 0);
}

/// A lag is what the recovery point hangs on: a batch must not be there before it.
#[test]
fn batch_arrives_after_its_lag_and_not_before() {
    let mut world =
        World::new(LinkSpec { lag: Lag::Fixed(Duration::from_millis(200)), ..linking() });
    world.create(A, "orders", 1);
    world.run_ms(10);
    world.produce(A, "orders", 0, 4).unwrap();
    world.run_ms(199);
    assert_eq!(world.line(), "orders ACTIVE source 4 target 0 lag 4 missing 4");
    world.run_ms(2);
    assert_eq!(world.line(), "orders ACTIVE source 4 target 4 lag 0 missing 0");
}

/// Drawn lags must not reorder a partition, and must be the same in every run.
#[test]
fn drawn_lags_keep_the_order_and_repeat() {
    let spec = LinkSpec {
        lag: Lag::Between(Duration::from_millis(1), Duration::from_millis(90)),
        ..linking()
    };
    let play = || {
        let mut world = World::new(spec.clone());
        world.create(A, "orders", 1);
        let mut ends = Vec::new();
        for _ in 0..30 {
            world.produce(A, "orders", 0, 1).unwrap();
            world.run_ms(7);
            ends.push(
                world.link.status(world.now, &world.a, &world.b).topics[0].partitions[0].target_end,
            );
        }
        world.run_ms(200);
        both_are_one(&mut world, "orders");
        ends
    };
    let ends = play();
    assert_eq!(ends, play());
    assert!(ends.windows(2).any(|pair| pair[0] == pair[1]), "some batches were late: {ends:?}");
}

/// A thin line makes a backlog, whose size must be the bytes that did not fit.
#[test]
fn bandwidth_bounds_what_arrives() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    let bytes = world.batch(1).len() as u64;
    let mut world = World::new(LinkSpec { bytes_per_second: Some(bytes * 10), ..linking() });
    world.create(A, "orders", 1);
    for _ in 0..20 {
        world.produce(A, "orders", 0, 1).unwrap();
    }
    world.run_ms(1050);
    let arrived = world.end(B, "orders");
    assert!((9..=10).contains(&arrived), "{arrived} of ten a second");
    world.run_ms(1100);
    assert_eq!(world.end(B, "orders"), 20);
}

/// What a region takes with it must be counted while nobody can ask it.
#[test]
fn severed_link_loses_what_is_on_its_way_and_catches_up_when_mended() {
    let mut world =
        World::new(LinkSpec { lag: Lag::Fixed(Duration::from_millis(50)), ..linking() });
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 3).unwrap();
    world.run_ms(100);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(20);
    world.link.sever(world.now, &world.a, &world.b);
    world.produce(A, "orders", 0, 1).unwrap();
    world.run_ms(1000);
    assert_eq!(world.link.deadline(), None);
    assert_eq!(world.line(), "orders ACTIVE source 6 target 3 lag 2 missing 3");
    world.run_ms(5 * 60 * 1000);
    assert_eq!(world.line(), "orders SOURCE_UNAVAILABLE source 6 target 3 lag 2 missing 3");
    world.link.mend(world.now);
    world.run_ms(100);
    assert_eq!(world.line(), "orders ACTIVE source 6 target 6 lag 0 missing 0");
    both_are_one(&mut world, "orders");
}

/// An unclean election cuts the source off; a mirror that kept the old records would not be its copy.
#[test]
fn truncation_of_the_source_is_followed() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 2).unwrap();
    world.produce(A, "orders", 0, 3).unwrap();
    world.run_ms(10);
    assert_eq!(world.end(B, "orders"), 5);
    world.a.truncate_log(&name("orders"), 0, 2);
    world.produce(A, "orders", 0, 4).unwrap();
    world.run_ms(10);
    both_are_one(&mut world, "orders");
    assert_eq!(world.end(B, "orders"), 6);
    let cuts = std::iter::from_fn(|| world.link.poll_event())
        .filter(|event| matches!(event, LinkEvent::CutOff { to: 2, records: 3, .. }));
    assert_eq!(cuts.count(), 1);
}

/// Retention at the source moves the start of the mirror, also when it overtakes the link.
#[test]
fn log_start_is_followed() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    for _ in 0..4 {
        world.produce(A, "orders", 0, 2).unwrap();
    }
    world.run_ms(10);
    world.a.delete_log_before(&name("orders"), 0, 3);
    world.run_ms(10);
    assert_eq!(world.b.log_of(&name("orders"), 0).unwrap().start(), 3);

    world.link.pause_link(world.now, &world.a, &world.b);
    world.produce(A, "orders", 0, 2).unwrap();
    world.produce(A, "orders", 0, 2).unwrap();
    world.a.delete_log_before(&name("orders"), 0, 11);
    world.link.resume_link(world.now);
    world.run_ms(10);
    let log = world.b.log_of(&name("orders"), 0).unwrap();
    assert_eq!((log.start(), log.end()), (11, 12));
}

/// The mirror's cluster elects by itself, so its epochs say nothing of the source's, unless that is asked for.
#[test]
fn leader_epochs_are_the_mirrors_own_or_never_below_the_sources() {
    for (epochs, batch_epoch, partition_epoch) in
        [(Epochs::Own, 0, 0), (Epochs::NotBelowSource, 6, 6)]
    {
        let mode = Mode::ClusterLinking(ClusterLinking { epochs, ..ClusterLinking::default() });
        let mut world = World::new(LinkSpec { mode, ..linking() });
        world.create(A, "orders", 1);
        world.a.topics.partition_mut(&name("orders"), 0).unwrap().leader_epoch = 6;
        world.produce(A, "orders", 0, 1).unwrap();
        world.run_ms(10);
        assert_eq!(world.batches(B, "orders", 0)[0].leader_epoch(), batch_epoch);
        let partition = world.b.topics.partition(&name("orders"), 0).unwrap();
        assert_eq!(partition.leader_epoch, partition_epoch);
    }
}

/// Partitions that the source gets later are mirrored too.
#[test]
fn new_partitions_are_followed() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    world.run_ms(10);
    let mut shape = world.a.shape_of(&name("orders")).unwrap();
    shape.partitions = 2;
    world.a.grow_copy(&name("orders"), &shape);
    world.produce(A, "orders", 1, 3).unwrap();
    world.run_ms(150);
    assert_eq!(world.b.log_of(&name("orders"), 1).unwrap().end(), 3);
}

/// A topic that was made anew is another topic, however it is called.
#[test]
fn mirror_fails_when_its_source_is_deleted_or_made_anew() {
    let mut world = World::new(linking());
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);
    world.a.topics.remove(&name("orders"));
    world.create(A, "orders", 1);
    world.run_ms(200);
    let status = world.link.status(world.now, &world.a, &world.b);
    assert_eq!(status.topics[0].state, MirrorState::Failed);
    assert_eq!(world.end(B, "orders"), 2);
    assert!(world.produce(B, "orders", 0, 1).is_err(), "read-only until failed over");
}

/// Filters say what is mirrored; names that are taken on the target are left alone.
#[test]
fn filter_and_names_that_are_taken() {
    let mut world =
        World::new(LinkSpec { topics: Filter::named(["orders", "taken"]), ..linking() });
    for topic in ["orders", "other", "taken", "__internal"] {
        world.create(A, topic, 1);
    }
    world.create(B, "taken", 1);
    world.run_ms(10);
    let status = world.link.status(world.now, &world.a, &world.b);
    let names: Vec<_> = status.topics.iter().map(|topic| topic.mirror_topic.as_str()).collect();
    assert_eq!(names, ["orders"]);
    let error =
        world.link.create_mirror(world.now, &mut world.a, &mut world.b, "taken").unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic `taken` already exists; delete it on the target, or leave it out of the link"
    );
    world.link.create_mirror(world.now, &mut world.a, &mut world.b, "other").unwrap();
}

/// A broker of the target that is away must not hold up what others lead, and nothing may be lost over it.
#[test]
fn leader_that_is_away_holds_up_its_partitions_only() {
    let mut world = World::with_brokers(linking(), 1, 2);
    world.create(A, "orders", 2);
    world.run_ms(10);
    let leader = world.b.topics.partition(&name("orders"), 0).unwrap().leader.unwrap();
    assert!(world.b.kill_broker(world.now, leader.0));
    world.produce(A, "orders", 0, 2).unwrap();
    world.produce(A, "orders", 1, 3).unwrap();
    world.run_ms(100);
    let ends = |world: &World| [0, 1].map(|at| world.b.log_of(&name("orders"), at).unwrap().end());
    assert_eq!(ends(&world), [0, 3]);
    assert!(world.b.start_broker(world.now, leader.0));
    world.b.handle_time(world.now);
    world.run_ms(100);
    assert_eq!(ends(&world), [2, 3]);
}

/// A region is also gone when its brokers are, whatever the line between the regions does.
#[test]
fn source_without_brokers_is_out_of_reach() {
    let mut world = World::new(LinkSpec { unavailable_after: Duration::from_secs(1), ..linking() });
    world.create(A, "orders", 1);
    world.produce(A, "orders", 0, 2).unwrap();
    world.run_ms(10);
    world.produce(A, "orders", 0, 5).unwrap();
    assert!(world.a.kill_broker(world.now, 1));
    world.run_ms(2000);
    assert_eq!(world.line(), "orders SOURCE_UNAVAILABLE source 7 target 2 lag 0 missing 5");
    assert!(world.link.promote(world.now, &world.a, &world.b, Topics::All).is_err());
    assert!(world.a.start_broker(world.now, 1));
    world.a.handle_time(world.now);
    world.run_ms(100);
    assert_eq!(world.line(), "orders ACTIVE source 7 target 7 lag 0 missing 0");
}
