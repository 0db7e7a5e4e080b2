//! What was measured when real clients were moved from one cluster to another, shown by the models.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kafka_protocol::{ResponseError, messages::ApiKey};

use super::{
    super::{
        Event, FailureReason, Library, ResetCause,
        batch::{self, Author, NewRecord},
        record::Numbered,
    },
    view::View,
    world::World,
};
use crate::cluster::{Effect, Fault, Matching, Share};

const SECOND: Duration = Duration::from_secs(1);
const BOTH: [Library; 2] = [Library::Java, Library::Librdkafka];

fn acknowledged(world: &World, client: usize) -> usize {
    world.seen(client).filter(|it| matches!(it, Event::Acknowledged { .. })).count()
}

fn failed(world: &World, client: usize) -> usize {
    world.seen(client).filter(|it| matches!(it, Event::Failed { .. })).count()
}

fn saw(world: &World, client: usize, wanted: &Event) -> bool {
    world.seen(client).any(|event| event == wanted)
}

fn send_each(world: &mut World, client: usize, count: usize, every: Duration) {
    for _ in 0..count {
        world.send(client, "orders");
        world.run(every);
    }
}

/// How often each number of a producer stands in the logs, as a reader who begins at the start finds them.
fn written(world: &mut World, producer: &str) -> BTreeMap<u64, usize> {
    let name = format!("judge-{}", world.clients.len());
    let properties = format!("group.id={name}\nauto.offset.reset=earliest");
    let judge = world.consumer(Library::Java, &name, &properties);
    world.run(10 * SECOND);
    let mut found = BTreeMap::new();
    for event in world.seen(judge) {
        if let Event::Consumed { value, .. } = event
            && let Some(numbered) = Numbered::decode(value)
            && numbered.producer == producer
        {
            *found.entry(numbered.number).or_default() += 1;
        }
    }
    found
}

/// The numbers of a producer in the order in which they stand in the log.
fn in_order(world: &mut World, producer: &str) -> Vec<u64> {
    let properties = "group.id=order\nauto.offset.reset=earliest";
    let judge = world.consumer(Library::Java, "order", properties);
    world.run(10 * SECOND);
    let numbers = world.seen(judge).filter_map(|event| match event {
        Event::Consumed { value, .. } => Numbered::decode(value),
        _ => None,
    });
    numbers.filter(|it| it.producer == producer).map(|it| it.number).collect()
}

/// Table 1, first row: the second cluster takes whatever sequence an unknown producer id comes with.
#[test]
fn a_moved_idempotent_producer_goes_on_with_its_sequences_where_its_id_is_unknown() {
    for library in BOTH {
        let mut world = World::new(&[1, 1], &[]);
        let client = world.producer(library, "app", "enable.idempotence=true");
        send_each(&mut world, client, 20, SECOND / 20);
        world.move_to(1);
        send_each(&mut world, client, 20, SECOND / 20);
        world.run(5 * SECOND);
        assert_eq!((acknowledged(&world, client), failed(&world, client)), (40, 0), "{library:?}");
        let bumped = world.seen(client).any(|it| matches!(it, Event::EpochBumped { .. }));
        assert!(!bumped, "{library:?} has no reason to raise its epoch");
        let written = written(&mut world, "app");
        assert_eq!(written, (20..40).map(|number| (number, 1)).collect(), "{library:?}");
    }
}

/// What came of a producer whose old leader's node took its time to refuse what it was sent, while the new leader was known.
struct Overtaken {
    acknowledged: BTreeSet<u64>,
    written: Vec<u64>,
    failed: usize,
}

impl Overtaken {
    /// Records that were sent after the move, acknowledged, and are not there.
    fn lost(&self) -> usize {
        let moved = self.acknowledged.iter().filter(|number| **number >= 23);
        moved.filter(|number| !self.written.contains(number)).count()
    }
}

/// A partition whose leader is another node of the second cluster; how late its nodes 1 and 2 answer to Produce there. Metadata
/// is late as well, or nobody would ask the old node.
fn overtaken(library: Library, properties: &str, late_ms: [u32; 2]) -> Overtaken {
    let mut world = World::new(&[2, 2], &[]);
    world.view = View::neutral();
    world.leader_on(0, "orders", 1);
    world.leader_on(1, "orders", 2);
    let produce = (1..).zip(late_ms).map(|(broker, ms)| (Some(broker), ApiKey::Produce, ms));
    for (broker, api, ms) in produce.chain([(None, ApiKey::Metadata, 200)]) {
        let only = Matching { broker, api: Some(api as i16), ..Matching::default() };
        let effect = Effect::Delay { min_ms: ms, max_ms: ms };
        let now = world.now;
        world.clusters[1].inject(now, Fault::Requests { only, share: Share::ALL, effect });
    }
    let client = world.producer(library, "app", properties);
    send_each(&mut world, client, 20, SECOND / 20);
    // Some are under way when the connections are cut.
    for _ in 0..3 {
        world.send(client, "orders");
        world.run(SECOND / 500);
    }
    world.move_to(1);
    send_each(&mut world, client, 60, SECOND / 50);
    world.run(5 * SECOND);
    let acknowledged = world.seen(client).filter_map(|event| match event {
        Event::Acknowledged { number, .. } => Some(*number),
        _ => None,
    });
    let (acknowledged, failed) = (acknowledged.collect(), failed(&world, client));
    Overtaken { acknowledged, written: in_order(&mut world, "app"), failed }
}

/// Seen on real Kafka at planned moves: 6 of 1,200 records stood behind later ones.
#[test]
fn librdkafka_overtakes_itself_when_a_new_leader_is_known_before_the_old_one_has_refused() {
    let found = overtaken(Library::Librdkafka, "enable.idempotence=false", [300, 0]);
    assert!(!found.written.is_sorted(), "{:?}", found.written);
    assert_eq!((found.lost(), found.failed), (0, 0));
    let found = overtaken(Library::Java, "enable.idempotence=true", [300, 0]);
    assert!(found.written.is_sorted(), "{:?}", found.written);
    assert_eq!((found.lost(), found.failed), (0, 0));
}

/// An idempotent one waits for what the old leader has yet to answer.
#[test]
fn librdkafka_does_not_overtake_itself_idempotently() {
    for late_ms in [[300, 0], [300, 250]] {
        let found = overtaken(Library::Librdkafka, "enable.idempotence=true", late_ms);
        assert!(found.written.is_sorted(), "{:?}", found.written);
        assert_eq!((found.lost(), found.failed), (0, 0));
    }
}

/// A cluster that has not known a producer takes any first sequence. When it refuses one request and takes the next, librdkafka
/// concludes that what was refused is there as well, and tells the application so without an offset. Seen once on real Kafka.
#[test]
fn librdkafka_holds_for_written_what_an_unknowing_cluster_refused_before_it_took_the_next() {
    let mut world = World::new(&[1, 1], &[]);
    let client = world.producer(Library::Librdkafka, "app", "enable.idempotence=true");
    send_each(&mut world, client, 20, SECOND / 20);
    let refused = Effect::Error(ResponseError::NotLeaderOrFollower.code());
    let now = world.now;
    let half = Fault::of_api(ApiKey::Produce as i16, Share::per_million(500_000), refused);
    let fault = world.clusters[1].inject(now, half);
    world.move_to(1);
    send_each(&mut world, client, 30, SECOND / 500);
    world.run(SECOND);
    let now = world.now;
    world.clusters[1].heal(now, fault);
    world.run(5 * SECOND);
    let without_offset = world.seen(client).filter_map(|event| match event {
        Event::Acknowledged { number, offset: -1, .. } => Some(*number),
        _ => None,
    });
    let without_offset: BTreeSet<_> = without_offset.collect();
    let written: BTreeSet<_> = in_order(&mut world, "app").into_iter().collect();
    assert!(!without_offset.is_empty());
    assert!(without_offset.is_disjoint(&written), "{without_offset:?} {written:?}");
}

/// A producer on each cluster, both with the first producer id, and the first one moved to the second.
fn collision(library: Library, mover: usize, native: usize) -> (World, usize) {
    let mut world = World::new(&[1, 1], &[]);
    world.move_to(1);
    let other = world.producer(Library::Java, "native", "");
    send_each(&mut world, other, native, SECOND / 20);
    world.run(2 * SECOND);
    world.move_to(0);
    let client = world.producer(library, "mover", "enable.idempotence=true");
    send_each(&mut world, client, mover, SECOND / 20);
    world.run(2 * SECOND);
    world.move_to(1);
    send_each(&mut world, client, 20, SECOND / 20);
    world.run(10 * SECOND);
    (world, client)
}

/// Table 1: another sequence than the second cluster expects of this id.
#[test]
fn a_collision_of_producer_ids_is_survived_by_java_with_a_local_epoch_bump() {
    for (mover, native) in [(40, 10), (12, 40)] {
        let (mut world, client) = collision(Library::Java, mover, native);
        assert!(saw(&world, client, &Event::EpochBumped { producer_id: 0, epoch: 1 }));
        assert_eq!((acknowledged(&world, client), failed(&world, client)), (mover + 20, 0));
        let written = written(&mut world, "mover");
        assert_eq!(written.len(), 20, "nothing is lost when {mover} stand against {native}");
    }
}

/// Table 1: the same, with librdkafka.
#[test]
fn a_collision_of_producer_ids_is_fatal_for_librdkafka() {
    let (world, client) = collision(Library::Librdkafka, 40, 10);
    println!("{}", world.story(client));
    let error = ResponseError::OutOfOrderSequenceNumber;
    assert!(saw(&world, client, &Event::Fatal { error }));
    assert_eq!((acknowledged(&world, client), failed(&world, client)), (40, 20));
}

/// Table 1: the last five batches of the other producer have just the sequences that come next.
#[test]
fn records_whose_sequences_the_other_producer_has_used_are_acknowledged_and_lost() {
    let mut world = World::new(&[1, 1], &[]);
    world.move_to(1);
    let other = world.producer(Library::Librdkafka, "native", "enable.idempotence=true");
    send_each(&mut world, other, 1, 2 * SECOND);
    send_each(&mut world, other, 14, SECOND / 20);
    world.run(2 * SECOND);
    world.move_to(0);
    let client = world.producer(Library::Librdkafka, "mover", "enable.idempotence=true");
    send_each(&mut world, client, 10, SECOND / 20);
    world.run(2 * SECOND);
    world.move_to(1);
    world.run(5 * SECOND);
    send_each(&mut world, client, 20, SECOND / 20);
    world.run(5 * SECOND);
    assert_eq!((acknowledged(&world, client), failed(&world, client)), (30, 0));
    let lost = 20 - written(&mut world, "mover").len();
    assert_eq!(lost, 5, "the last five batches are remembered, and their repetition is dropped");
}

/// A batch of the first producer id, as another producer of the second cluster would write it.
fn written_by_another(world: &mut World, epoch: i16, sequence: i32, count: u64) {
    let author = Author {
        producer_id: 0,
        producer_epoch: epoch,
        base_sequence: sequence,
        transactional: false,
    };
    let records: Vec<_> = (0..count)
        .map(|number| NewRecord {
            timestamp_ms: world.now.ms(),
            key: None,
            value: Numbered { producer: "native", number },
            value_bytes_min: 0,
        })
        .collect();
    let records = batch::encode(author, records.into_iter(), 0);
    assert_eq!(world.produce(1, records), 0, "the other producer's batch is taken");
}

/// A producer with the first id on the first cluster, and a batch of the same id on the second at epoch 3.
fn higher_epoch(library: Library, count: u64) -> (World, usize) {
    let mut world = World::new(&[1, 1], &[]);
    world.leader_on(1, "orders", 1);
    written_by_another(&mut world, 3, 0, count);
    let client = world.producer(library, "mover", "enable.idempotence=true");
    send_each(&mut world, client, 40, SECOND / 20);
    world.run(2 * SECOND);
    world.move_to(1);
    send_each(&mut world, client, 60, SECOND / 20);
    world.run(10 * SECOND);
    (world, client)
}

fn refused(world: &World, client: usize, error: ResponseError) -> usize {
    let reason = FailureReason::Broker(error);
    let is = |it: &&Event| matches!(it, Event::Failed { reason: r, .. } if *r == reason);
    world.seen(client).filter(is).count()
}

/// Table 1: the same id at epoch 3 on the second cluster.
#[test]
fn a_higher_epoch_of_the_same_id_fails_records_until_the_own_epoch_has_passed_it() {
    let (mut world, client) = higher_epoch(Library::Java, 7);
    let failed = refused(&world, client, ResponseError::InvalidProducerEpoch);
    assert!(failed > 0, "what is in flight fails, visibly");
    assert!(saw(&world, client, &Event::EpochBumped { producer_id: 0, epoch: 4 }));
    assert!(!saw(&world, client, &Event::EpochBumped { producer_id: 0, epoch: 5 }));
    assert_eq!(acknowledged(&world, client) + failed, 100);
    assert_eq!(written(&mut world, "mover").len() + 40, acknowledged(&world, client));
}

/// Table 1: the same with librdkafka, whose first batch at epoch 3 is taken for the other's.
#[test]
fn librdkafka_loses_a_record_when_its_epoch_reaches_the_other_one() {
    let (mut world, client) = higher_epoch(Library::Librdkafka, 1);
    assert!(refused(&world, client, ResponseError::InvalidProducerEpoch) > 0);
    assert!(saw(&world, client, &Event::EpochBumped { producer_id: 0, epoch: 3 }));
    let lost = acknowledged(&world, client) - 40 - written(&mut world, "mover").len();
    assert_eq!(lost, 1, "acknowledged with the offset of the other's record");
}

/// Table 1: two producers with one id, both alive on the second cluster.
#[test]
fn two_live_producers_with_one_id_fence_each_other_and_lose_records_silently() {
    let mut world = World::new(&[1, 1], &[]);
    world.move_to(1);
    let native = world.producer(Library::Java, "native", "");
    send_each(&mut world, native, 10, SECOND / 20);
    world.run(SECOND);
    world.move_to(0);
    let mover = world.producer(Library::Java, "mover", "");
    send_each(&mut world, mover, 40, SECOND / 20);
    world.run(SECOND);
    world.move_to(1);
    for _ in 0..400 {
        world.send(native, "orders");
        world.run(SECOND / 40);
        world.send(mover, "orders");
        world.run(SECOND / 40);
    }
    world.run(10 * SECOND);
    let bumps =
        |client| world.seen(client).filter(|it| matches!(it, Event::EpochBumped { .. })).count();
    assert!(bumps(native) > 0 && bumps(mover) > 0, "{} and {} bumps", bumps(native), bumps(mover));
    let of_native = acknowledged(&world, native);
    let of_mover = acknowledged(&world, mover) - 40;
    let lost = of_native - written(&mut world, "native").len()
        + (of_mover - written(&mut world, "mover").len());
    assert!(lost > 0, "{of_native} and {of_mover} were acknowledged");
}

fn consumed(world: &World, client: usize) -> Vec<u64> {
    let values = world.seen(client).filter_map(|event| match event {
        Event::Consumed { value, .. } => Numbered::decode(value).map(|it| it.number),
        _ => None,
    });
    values.collect()
}

/// A consumer that has read `read` records of the first cluster, and is moved to a second that has `there`.
fn moved_consumer(library: Library, properties: &str, read: usize, there: usize) -> (World, usize) {
    let mut world = World::new(&[1, 1], &[]);
    world.move_to(1);
    let second = world.producer(Library::Java, "second", "");
    send_each(&mut world, second, there, SECOND / 50);
    world.move_to(0);
    let first = world.producer(Library::Java, "first", "");
    send_each(&mut world, first, read, SECOND / 50);
    let properties = format!("group.id=g\n{properties}");
    let client = world.consumer(library, "one", &properties);
    world.run(15 * SECOND);
    world.move_to(1);
    world.run(30 * SECOND);
    (world, client)
}

/// Table 4 (b): the classic member is unknown, fetches on from its memory, joins again, and begins anew.
#[test]
fn a_moved_classic_member_joins_again_and_begins_where_the_policy_says() {
    for library in BOTH {
        let (world, client) = moved_consumer(library, "auto.offset.reset=earliest", 20, 30);
        let error = ResponseError::UnknownMemberId;
        assert!(saw(&world, client, &Event::MembershipLost { error }), "{library:?}");
        let consumed = consumed(&world, client);
        // 20 of the first, 10 from memory, and then all 30 of the second from the start.
        assert_eq!(consumed.len(), 60, "{library:?}: {consumed:?}");
        let assigned = world.seen(client).filter(|it| matches!(it, Event::Assigned { .. }));
        assert_eq!(assigned.count(), 2, "{library:?}");
    }
}

/// Table 4 (c): the position is beyond the end of the second cluster.
#[test]
fn a_position_beyond_the_end_is_reset_before_the_group_has_come_together() {
    for library in BOTH {
        for (policy, repeats) in [("earliest", true), ("latest", false)] {
            let properties = format!("auto.offset.reset={policy}");
            let mut world = World::new(&[1, 1], &[]);
            world.move_to(1);
            let second = world.producer(Library::Java, "second", "");
            send_each(&mut world, second, 30, SECOND / 50);
            world.move_to(0);
            let client = world.consumer(library, "one", &format!("group.id=g\n{properties}"));
            world.run(10 * SECOND);
            let first = world.producer(Library::Java, "first", "");
            send_each(&mut world, first, 60, SECOND / 50);
            world.run(SECOND);
            world.move_to(1);
            world.run(30 * SECOND);
            let place = |cause, from| {
                world.seen(client).position(|it| {
                    matches!(it, Event::PositionReset { cause: c, from: f, .. } if *c == cause && *f == from)
                })
            };
            let reset = place(ResetCause::OutOfRange, Some(60)).expect("a reset");
            let error = ResponseError::UnknownMemberId;
            let lost = world.seen(client).position(|it| *it == Event::MembershipLost { error });
            assert!(reset < lost.expect("the group was lost"), "{library:?} {policy}");
            let of_second = consumed(&world, client).len() - 60;
            assert_eq!(of_second >= 30, repeats, "{library:?} {policy}: {of_second}");
        }
    }
}

/// Table 4: the group of KIP-848 that the second cluster does not know.
#[test]
fn a_moved_member_of_a_modern_group_is_dead() {
    for library in BOTH {
        let (world, client) = moved_consumer(library, "group.protocol=consumer", 5, 5);
        assert!(saw(&world, client, &Event::Fatal { error: ResponseError::GroupIdNotFound }));
    }
}

/// A consumer of a second cluster that knows the group's offsets: what it read there, in order.
fn synchronised(library: Library, properties: &str, view: View) -> (World, usize, Vec<i64>) {
    let mut world = World::new(&[1, 1], &[]);
    world.view = view;
    world.move_to(1);
    let second = world.producer(Library::Java, "second", "");
    send_each(&mut world, second, 50, SECOND / 50);
    world.run(SECOND);
    world.commit_for(1, "g", 25);
    world.move_to(0);
    let first = world.producer(Library::Java, "first", "");
    send_each(&mut world, first, 30, SECOND / 50);
    world.commit_for(0, "g", 0);
    let client = world.consumer(library, "one", &format!("group.id=g\n{properties}"));
    world.run(15 * SECOND);
    assert_eq!(consumed(&world, client).len(), 30, "{library:?}");
    world.move_to(1);
    world.run(30 * SECOND);
    let offsets = world.seen(client).filter_map(|it| match it {
        Event::Consumed { offset, .. } => Some(*offset),
        _ => None,
    });
    let offsets = offsets.skip(30).collect();
    (world, client, offsets)
}

/// Table 4 (a): offsets were synchronised, a little behind.
#[test]
fn a_moved_classic_member_with_synchronised_offsets_repeats_and_misses_nothing() {
    for library in BOTH {
        for policy in ["earliest", "latest"] {
            let properties = format!("auto.offset.reset={policy}");
            let (world, client, offsets) = synchronised(library, &properties, View::default());
            let assigned = world.seen(client).filter(|it| matches!(it, Event::Assigned { .. }));
            assert_eq!(assigned.count(), 2, "{library:?}: one rebalance");
            // From memory, if there is time before the next heartbeat, then from the synchronised offset: only repeats.
            let (memory, committed) = offsets.split_at(offsets.len() - 25);
            assert!(memory.is_empty() || memory == (30..50).collect::<Vec<i64>>(), "{memory:?}");
            assert_eq!(committed, (25..50).collect::<Vec<i64>>(), "{library:?} {policy}");
        }
    }
}

/// Table 4, mitigation: the group that is not there is told as a member that is not.
#[test]
fn a_modern_member_that_is_told_that_it_is_unknown_joins_again() {
    for library in BOTH {
        let view = View { unknown_member_for_unknown_group: true, ..View::default() };
        let properties = "group.protocol=consumer\nauto.offset.reset=earliest";
        let (world, client, offsets) = synchronised(library, properties, view);
        let fatal = world.seen(client).any(|it| matches!(it, Event::Fatal { .. }));
        assert!(!fatal, "{library:?}");
        assert!(offsets.contains(&49), "{library:?} reads on: {offsets:?}");
    }
}

/// Table 7: both go on, and say that the cluster is another one.
#[test]
fn another_cluster_id_is_noticed_and_nothing_more() {
    for library in BOTH {
        let mut world = World::new(&[1, 1], &[]);
        let client = world.producer(library, "app", "");
        send_each(&mut world, client, 5, SECOND / 10);
        world.move_to(1);
        send_each(&mut world, client, 5, SECOND / 10);
        world.run(5 * SECOND);
        assert_eq!(acknowledged(&world, client), 10, "{library:?}");
        // A client of Java that started again from its bootstrap servers has forgotten the former id.
        let noticed = world.seen(client).any(|it| matches!(it, Event::ClusterIdChanged { .. }));
        let forgot = world.seen(client).any(|it| *it == Event::Rebootstrapped);
        assert!(noticed || (forgot && library == Library::Java), "{library:?}");
    }
}
