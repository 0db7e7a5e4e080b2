//! Producers against the cluster.

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::messages::ApiKey;

use super::{
    super::{Command, Event, FailureReason, Library},
    world::{Route, World},
};

const SECOND: Duration = Duration::from_secs(1);
const BOTH: [Library; 2] = [Library::Java, Library::Librdkafka];

/// Offsets by number.
fn acknowledged(world: &World, client: usize) -> BTreeMap<u64, (i32, i64)> {
    let mut found = BTreeMap::new();
    for event in world.seen(client) {
        if let Event::Acknowledged { number, partition, offset, .. } = event {
            assert_eq!(found.insert(*number, (*partition, *offset)), None, "acknowledged twice");
        }
    }
    found
}

fn failed(world: &World, client: usize) -> Vec<(u64, FailureReason)> {
    let failed = world.seen(client).filter_map(|event| match event {
        Event::Failed { number, reason } => Some((*number, *reason)),
        _ => None,
    });
    failed.collect()
}

#[test]
fn a_thousand_records_over_three_brokers_are_acknowledged_once_each() {
    for library in BOTH {
        let mut world = World::new(&[3], &[("num.partitions", "3")]);
        let client = world.producer(library, "app", "");
        for _ in 0..1000 {
            world.send(client, "orders");
            world.run(Duration::from_millis(2));
        }
        world.run(SECOND);
        let acknowledged = acknowledged(&world, client);
        assert_eq!(acknowledged.len(), 1000, "{library:?}");
        assert_eq!(failed(&world, client), []);
        let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for (partition, offset) in acknowledged.values() {
            offsets.entry(*partition).or_default().push(*offset);
        }
        assert_eq!(offsets.len(), 3, "{library:?} uses every partition");
        for offsets in offsets.values() {
            let expected: Vec<i64> = (0..).take(offsets.len()).collect();
            assert_eq!(*offsets, expected, "{library:?} keeps the order");
        }
        world.command(client, Command::Close);
        assert_eq!(world.seen(client).last(), Some(&Event::Closed));
    }
}

#[test]
fn a_cut_of_thirty_seconds_costs_no_record() {
    for library in BOTH {
        let mut world = World::new(&[3], &[("num.partitions", "3")]);
        let client = world.producer(library, "app", "enable.idempotence=true");
        world.send(client, "orders");
        world.run(SECOND);
        world.route_all(|_| Route::Refused);
        world.sever();
        for _ in 0..300 {
            world.send(client, "orders");
            world.run(SECOND / 10);
        }
        world.route_all(|port| Route::To(0, i32::from(port)));
        world.run(15 * SECOND);
        assert_eq!(acknowledged(&world, client).len(), 301, "{library:?}");
        assert_eq!(failed(&world, client), []);
    }
}

fn outage(library: Library, seconds: u32) -> (usize, Vec<(u64, FailureReason)>) {
    let mut world = World::new(&[1], &[]);
    let client = world.producer(library, "app", "");
    world.send(client, "orders");
    world.run(SECOND);
    world.route_all(|_| Route::Silent);
    world.send(client, "orders");
    world.run(seconds * SECOND);
    world.route_all(|_| Route::To(0, 1));
    world.run(60 * SECOND);
    (acknowledged(&world, client).len(), failed(&world, client))
}

#[test]
fn records_survive_an_outage_just_below_the_delivery_timeout_and_not_one_just_above_it() {
    let lost = vec![(1, FailureReason::DeliveryTimeout)];
    assert_eq!(outage(Library::Java, 119), (2, vec![]));
    assert_eq!(outage(Library::Java, 121), (1, lost.clone()));
    assert_eq!(outage(Library::Librdkafka, 280), (2, vec![]));
    assert_eq!(outage(Library::Librdkafka, 301), (1, lost));
}

/// Measured on kafka-clients 4.1.1: what counts is what a record takes behind the others, not what it might take.
#[test]
fn a_batch_of_java_takes_what_fits() {
    let mut world = World::new(&[1], &[]);
    let client = world.producer(Library::Java, "app", "batch.size=1000\nlinger.ms=60000");
    // 61 bytes of the batch, and 109 of each record.
    for _ in 0..8 {
        world.send(client, "orders");
        world.run(SECOND);
    }
    assert_eq!(world.requests(client, ApiKey::Produce), 0);
    world.send(client, "orders");
    world.run(SECOND);
    assert_eq!(world.requests(client, ApiKey::Produce), 1);
    assert_eq!(acknowledged(&world, client).len(), 8);
}
