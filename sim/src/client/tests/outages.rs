//! Outages of every kind, and how often clients knock meanwhile: tables 6 and 8.

use std::time::Duration;

use kafka_protocol::{ResponseError, messages::ApiKey};

use super::{
    super::{Event, FailureReason, Library},
    world::{Route, World},
};
use crate::cluster::{Effect, Fault, Share};

const SECOND: Duration = Duration::from_secs(1);
const BOTH: [Library; 2] = [Library::Java, Library::Librdkafka];

struct Outcome {
    failed: usize,
    acknowledged: usize,
    sent: usize,
    /// From the end of the outage to the first record acknowledged.
    first: Duration,
    /// During the outage.
    dials: usize,
}

/// 20 records a second through an outage, at whose end everybody is on the second cluster.
fn outage(library: Library, route: Route, duration: Duration) -> Outcome {
    let mut world = World::new(&[1, 1], &[]);
    let client = world.producer(library, "app", "enable.idempotence=true");
    let every = SECOND / 20;
    let mut sent = 0;
    let mut send_for = |world: &mut World, duration: Duration| {
        for _ in 0..duration.as_millis() / every.as_millis() {
            world.send(client, "orders");
            sent += 1;
            world.run(every);
        }
    };
    send_for(&mut world, 3 * SECOND);
    let dialled = world.dials[&client];
    world.route_all(|_| route);
    if route != Route::Silent {
        world.sever();
    }
    send_for(&mut world, duration);
    let dials = world.dials[&client] - dialled;
    let end = world.now;
    world.move_to(1);
    send_for(&mut world, 20 * SECOND);
    world.run(20 * SECOND);
    let is_acknowledged = |event: &Event| matches!(event, Event::Acknowledged { .. });
    let first = world.events.iter().find(|(at, _, it)| *at >= end && is_acknowledged(it));
    Outcome {
        failed: world.seen(client).filter(|it| matches!(it, Event::Failed { .. })).count(),
        acknowledged: world.seen(client).filter(|it| is_acknowledged(it)).count(),
        sent,
        first: first.map_or(Duration::MAX, |(at, ..)| at.since(end)),
        dials,
    }
}

#[test]
fn refused_for_forty_seconds_no_record_fails_and_the_first_is_acknowledged_within_a_backoff() {
    for (library, most) in [(Library::Java, 2), (Library::Librdkafka, 11)] {
        let outcome = outage(library, Route::Refused, 40 * SECOND);
        assert_eq!((outcome.failed, outcome.acknowledged), (0, outcome.sent), "{library:?}");
        assert!(outcome.first < most * SECOND, "{library:?}: {:?}", outcome.first);
    }
}

#[test]
fn silent_for_forty_seconds_no_record_fails() {
    for library in BOTH {
        for seconds in [10, 40] {
            let outcome = outage(library, Route::Silent, seconds * SECOND);
            assert_eq!(outcome.failed, 0, "{library:?} {seconds}");
            assert_eq!(outcome.acknowledged, outcome.sent, "{library:?} {seconds}");
        }
    }
}

/// A load balancer without backends accepts and closes: librdkafka knocks ten times as often as Java.
#[test]
fn accepted_and_closed_for_ten_seconds_java_knocks_a_dozen_times_and_librdkafka_more_than_a_hundred()
 {
    let java = outage(Library::Java, Route::Closing, 10 * SECOND);
    assert_eq!(java.failed, 0);
    assert!((8..=30).contains(&java.dials), "measured: 13; here: {}", java.dials);
    let librdkafka = outage(Library::Librdkafka, Route::Closing, 10 * SECOND);
    assert_eq!(librdkafka.failed, 0);
    assert!((80..=250).contains(&librdkafka.dials), "measured: 153; here: {}", librdkafka.dials);
}

#[test]
fn silent_for_sixty_seconds_nothing_of_java_fails_and_for_130_what_is_older_than_its_timeout_does()
{
    let outcome = outage(Library::Java, Route::Silent, 60 * SECOND);
    assert_eq!((outcome.failed, outcome.acknowledged), (0, outcome.sent));
    let outcome = outage(Library::Java, Route::Silent, 130 * SECOND);
    assert!(outcome.failed > 0, "older than 120 s");
    assert_eq!(outcome.failed + outcome.acknowledged, outcome.sent, "each ends in one way");
}

/// Table 8: after the expiry the same id goes on, at the next epoch.
#[test]
fn the_epoch_rises_when_batches_expire_that_may_have_arrived() {
    let mut world = World::new(&[1], &[]);
    let client = world.producer(Library::Java, "app", "");
    world.send(client, "orders");
    world.run(SECOND);
    world.route_all(|_| Route::Silent);
    world.send(client, "orders");
    world.run(125 * SECOND);
    world.route_all(|_| Route::To(0, 1));
    world.send(client, "orders");
    world.run(10 * SECOND);
    let expected = [
        Event::Failed { number: 1, reason: FailureReason::DeliveryTimeout },
        Event::EpochBumped { producer_id: 0, epoch: 1 },
    ];
    let seen: Vec<_> = world
        .seen(client)
        .filter(|it| !matches!(it, Event::Acknowledged { .. } | Event::Rebootstrapped))
        .cloned()
        .collect();
    assert_eq!(seen, expected);
    let last = world.seen(client).last();
    assert!(matches!(last, Some(Event::Acknowledged { number: 2, .. })), "{last:?}");
}

/// The buffer fills, and a send that finds no room blocks the application for `max.block.ms`.
#[test]
fn a_full_buffer_blocks_java_and_fails_librdkafka_at_once() {
    let mut world = World::new(&[1], &[]);
    let java = world.producer(Library::Java, "java", "buffer.memory=32768");
    let limits = "queue.buffering.max.messages=2";
    let librdkafka = world.producer(Library::Librdkafka, "librdkafka", limits);
    for client in [java, librdkafka] {
        world.send(client, "orders");
    }
    world.run(3 * SECOND);
    world.route_all(|_| Route::Silent);
    // Each opens a batch of its own after the last was sent.
    for _ in 0..3 {
        world.send(java, "orders");
        world.send(librdkafka, "orders");
        world.run(SECOND);
    }
    let full = |number| Event::Failed { number, reason: FailureReason::BufferFull };
    assert!(world.seen(librdkafka).any(|it| *it == full(3)), "{}", world.story(librdkafka));
    assert!(!world.seen(java).any(|it| *it == full(3)), "it waits");
    world.run(61 * SECOND);
    assert!(world.seen(java).any(|it| *it == full(3)), "{}", world.story(java));
}

/// Real librdkafka never blocks: what has no partition yet waits inside, and counts to its limits.
#[test]
fn librdkafka_takes_records_before_it_knows_their_topic_where_java_blocks() {
    for (library, limit, blocks) in
        [(Library::Java, "", true), (Library::Librdkafka, "queue.buffering.max.messages=2", false)]
    {
        let mut world = World::new(&[1], &[]);
        world.route_all(|_| Route::Silent);
        let client = world.producer(library, "app", limit);
        world.send(client, "orders");
        assert_eq!(world.is_blocked(client), blocks, "{library:?}");
        if !blocks {
            world.send(client, "orders");
            world.send(client, "orders");
            let full = Event::Failed { number: 2, reason: FailureReason::BufferFull };
            assert!(world.seen(client).any(|it| *it == full), "{}", world.story(client));
        }
        world.route_all(|_| Route::To(0, 1));
        world.run(60 * SECOND);
        let written = |it: &&Event| matches!(it, Event::Acknowledged { .. });
        let expected = if blocks { 1 } else { 2 };
        assert_eq!(world.seen(client).filter(written).count(), expected, "{library:?}");
        assert!(!world.is_blocked(client));
    }
}

#[test]
fn a_topic_that_is_not_there_fails_records_after_the_time_that_each_library_gives_it() {
    let settings = [("auto.create.topics.enable", "false")];
    for (library, seconds) in [(Library::Java, 60), (Library::Librdkafka, 30)] {
        let mut world = World::new(&[1], &settings);
        let client = world.producer(library, "app", "");
        world.send(client, "orders");
        world.run((seconds - 1) * SECOND);
        assert_eq!(world.seen(client).count(), 0, "{library:?}");
        world.run(2 * SECOND);
        let failed = Event::Failed { number: 0, reason: FailureReason::TopicNotPresent };
        assert!(world.seen(client).any(|it| *it == failed), "{library:?}");
    }
}

/// Leaders move while records flow: nothing is lost, repeated or reordered.
#[test]
fn a_broker_that_stops_and_returns_under_load_costs_nothing() {
    for library in BOTH {
        let settings = [("num.partitions", "3"), ("default.replication.factor", "3")];
        let mut world = World::new(&[3], &settings);
        let client = world.producer(library, "app", "enable.idempotence=true");
        for round in 0..300 {
            world.send(client, "orders");
            world.run(SECOND / 50);
            let now = world.now;
            match round {
                100 => assert!(world.clusters[0].stop_broker(now, 2)),
                200 => assert!(world.clusters[0].start_broker(now, 2)),
                _ => {}
            }
        }
        world.run(15 * SECOND);
        let mut offsets: Vec<(i32, i64, u64)> = Vec::new();
        for event in world.seen(client) {
            match event {
                Event::Acknowledged { number, partition, offset, .. } => {
                    offsets.push((*partition, *offset, *number));
                }
                Event::Failed { .. } => panic!("{library:?}: {event:?}"),
                _ => {}
            }
        }
        assert_eq!(offsets.len(), 300, "{library:?}");
        offsets.sort_unstable();
        for pair in offsets.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            assert_eq!(pair[0].1 + 1, pair[1].1, "{library:?} writes once");
            assert!(pair[0].2 < pair[1].2, "{library:?} keeps the order");
        }
    }
}

/// The default of gateways that fence by errors: librdkafka's list has BROKER_NOT_AVAILABLE among what passes, Java's error is
/// not a retriable one.
#[test]
fn broker_not_available_is_final_for_java_and_passes_for_librdkafka() {
    for (library, fails) in [(Library::Java, true), (Library::Librdkafka, false)] {
        let mut world = World::new(&[1, 1], &[]);
        let client = world.producer(library, "app", "");
        world.send(client, "orders");
        world.run(3 * SECOND);
        let error = Effect::Error(ResponseError::BrokerNotAvailable.code());
        let fault = Fault::of_api(ApiKey::Produce as i16, Share::ALL, error);
        let now = world.now;
        let id = world.clusters[0].inject(now, fault);
        world.send(client, "orders");
        world.run(5 * SECOND);
        let now = world.now;
        world.clusters[0].heal(now, id);
        world.run(10 * SECOND);
        let failed = world.seen(client).filter(|it| matches!(it, Event::Failed { .. })).count();
        let done = world.seen(client).filter(|it| matches!(it, Event::Acknowledged { .. })).count();
        assert_eq!((failed, done), if fails { (1, 1) } else { (0, 2) }, "{library:?}");
    }
}
