//! Consumers against the cluster.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{Command, Event, Library, ResetCause, record::Numbered},
    world::{Route, World},
};

const SECOND: Duration = Duration::from_secs(1);
const BOTH: [Library; 2] = [Library::Java, Library::Librdkafka];
const EARLIEST: &str = "group.id=g\nauto.offset.reset=earliest\n";

/// How often each number was read.
fn consumed(world: &World, clients: &[usize]) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for (_, client, event) in &world.events {
        if let Event::Consumed { value, .. } = event
            && clients.contains(client)
        {
            let number = Numbered::decode(value).expect("a numbered record").number;
            *found.entry(number).or_default() += 1;
        }
    }
    found
}

/// A producer that has written so many records.
fn written(world: &mut World, count: usize) -> usize {
    let producer = world.producer(Library::Java, "app", "");
    for _ in 0..count {
        world.send(producer, "orders");
        world.run(Duration::from_millis(2));
    }
    world.run(SECOND);
    producer
}

fn once_each(count: u64) -> BTreeMap<u64, usize> {
    (0..count).map(|number| (number, 1)).collect()
}

#[test]
fn a_thousand_records_are_consumed_once_each_by_two_members() {
    for library in BOTH {
        for protocol in ["classic", "consumer"] {
            let mut world = World::new(&[3], &[("num.partitions", "3")]);
            written(&mut world, 1000);
            let properties = format!("{EARLIEST}group.protocol={protocol}");
            let first = world.consumer(library, "one", &properties);
            let second = world.consumer(library, "two", &properties);
            world.run(20 * SECOND);
            let consumed = consumed(&world, &[first, second]);
            assert_eq!(consumed, once_each(1000), "{library:?} {protocol}");
            let reads = |client| world.seen(client).any(|it| matches!(it, Event::Consumed { .. }));
            assert!(reads(first) && reads(second), "{library:?} {protocol}");
        }
    }
}

#[test]
fn a_consumer_that_comes_back_goes_on_where_it_left() {
    for library in BOTH {
        for protocol in ["classic", "consumer"] {
            let mut world = World::new(&[1], &[]);
            let producer = written(&mut world, 10);
            let properties = format!("{EARLIEST}group.protocol={protocol}");
            let first = world.consumer(library, "one", &properties);
            world.run(8 * SECOND);
            world.command(first, Command::Close);
            world.run(SECOND);
            assert_eq!(world.seen(first).last(), Some(&Event::Closed), "{library:?} {protocol}");
            for _ in 0..10 {
                world.send(producer, "orders");
            }
            let second = world.consumer(library, "two", &properties);
            world.run(8 * SECOND);
            let all = consumed(&world, &[first, second]);
            assert_eq!(all, once_each(20), "{library:?} {protocol}");
        }
    }
}

#[test]
fn a_group_without_offsets_begins_where_the_policy_says() {
    for library in BOTH {
        for (policy, expected) in [("earliest", 10), ("latest", 0), ("none", 0)] {
            let policy =
                if library == Library::Librdkafka && policy == "none" { "error" } else { policy };
            let mut world = World::new(&[1], &[]);
            written(&mut world, 10);
            let properties = format!("group.id=g\nauto.offset.reset={policy}");
            let client = world.consumer(library, "one", &properties);
            world.run(8 * SECOND);
            assert_eq!(consumed(&world, &[client]).len(), expected, "{library:?} {policy}");
            let refused = world.seen(client).any(|it| {
                matches!(it, Event::NoPosition { cause: ResetCause::NoCommittedOffset, .. })
            });
            assert_eq!(refused, !matches!(policy, "earliest" | "latest"), "{library:?} {policy}");
        }
    }
}

#[test]
fn a_cut_below_the_session_timeout_costs_no_rebalance_and_one_above_it_does() {
    for library in BOTH {
        for (seconds, expected) in [(30, 1), (46, 2)] {
            let mut world = World::new(&[1], &[]);
            written(&mut world, 1);
            let client = world.consumer(library, "one", EARLIEST);
            world.run(10 * SECOND);
            world.route_all(|_| Route::Refused);
            world.sever();
            world.run(seconds * SECOND);
            world.route_all(|_| Route::To(0, 1));
            world.run(30 * SECOND);
            let assigned = world.seen(client).filter(|it| matches!(it, Event::Assigned { .. }));
            assert_eq!(assigned.count(), expected, "{library:?} {seconds} s");
        }
    }
}
