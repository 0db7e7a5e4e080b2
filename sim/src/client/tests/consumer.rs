//! Consumers against the cluster.

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::messages::ApiKey;

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

/// Partitions of the assignments that a client has seen, in order.
fn assignments(world: &World, client: usize) -> Vec<usize> {
    let sizes = world.seen(client).filter_map(|it| match it {
        Event::Assigned { partitions } => Some(partitions.len()),
        _ => None,
    });
    sizes.collect()
}

#[test]
fn a_static_member_that_is_restarted_in_time_disturbs_nobody() {
    for library in BOTH {
        let mut world = World::new(&[1], &[("num.partitions", "4")]);
        written(&mut world, 10);
        let named = |name: &str| format!("{EARLIEST}group.instance.id={name}");
        let first = world.consumer(library, "one", &named("a"));
        let second = world.consumer(library, "two", &named("b"));
        world.run(15 * SECOND);
        let before = assignments(&world, second);
        world.command(first, Command::Close);
        world.run(10 * SECOND);
        let again = world.consumer(library, "one-again", &named("a"));
        world.run(15 * SECOND);
        assert_eq!(assignments(&world, second), before, "{library:?}");
        assert_eq!(assignments(&world, again), [2], "{library:?}");
        assert_eq!(consumed(&world, &[first, second, again]), once_each(10), "{library:?}");
    }
}

#[test]
fn a_dynamic_member_that_leaves_gives_its_partitions_to_the_others_at_once() {
    for library in BOTH {
        for protocol in ["classic", "consumer"] {
            let mut world = World::new(&[1], &[("num.partitions", "4")]);
            written(&mut world, 1);
            let properties = format!("{EARLIEST}group.protocol={protocol}");
            let first = world.consumer(library, "one", &properties);
            let second = world.consumer(library, "two", &properties);
            world.run(20 * SECOND);
            world.command(first, Command::Close);
            world.run(10 * SECOND);
            let held = world.held(second);
            assert_eq!(held, 4, "{library:?} {protocol}");
        }
    }
}

#[test]
fn cooperative_members_keep_what_does_not_move() {
    let strategy = "partition.assignment.strategy=";
    for (library, name) in [
        (Library::Java, "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"),
        (Library::Librdkafka, "cooperative-sticky"),
    ] {
        let mut world = World::new(&[1], &[("num.partitions", "4")]);
        written(&mut world, 1);
        let properties = format!("{EARLIEST}{strategy}{name}");
        let first = world.consumer(library, "one", &properties);
        world.run(10 * SECOND);
        assert_eq!(world.held(first), 4);
        let second = world.consumer(library, "two", &properties);
        world.run(30 * SECOND);
        assert_eq!((world.held(first), world.held(second)), (2, 2), "{library:?}");
        let revoked = world.seen(first).filter_map(|it| match it {
            Event::Revoked { partitions } => Some(partitions.len()),
            _ => None,
        });
        assert_eq!(revoked.collect::<Vec<_>>(), [2], "{library:?} gives up only what moves");
    }
}

fn is_told_of_polls(world: &World, client: usize) -> bool {
    world.seen(client).any(|it| *it == Event::PollIntervalExceeded)
}

/// Measured on kafka-clients 4.1.1: its thread sleeps until the next heartbeat, five seconds after the last.
#[test]
fn java_finds_a_late_poll_out_at_its_next_heartbeat_of_the_new_protocol() {
    for (library, at_once) in [(Library::Java, false), (Library::Librdkafka, true)] {
        let mut world = World::new(&[1], &[]);
        let properties = format!("{EARLIEST}group.protocol=consumer\nmax.poll.interval.ms=2000");
        let client = world.consumer(library, "one", &properties);
        world.run(11 * SECOND);
        world.command(client, Command::Pause);
        world.run(3 * SECOND);
        assert_eq!(is_told_of_polls(&world, client), at_once, "{library:?}");
        world.run(3 * SECOND);
        assert!(is_told_of_polls(&world, client), "{library:?}");
    }
}

#[test]
fn an_application_that_does_not_poll_loses_its_partitions_and_gets_them_back_when_it_does() {
    for library in BOTH {
        for protocol in ["classic", "consumer"] {
            let mut world = World::new(&[1], &[]);
            let producer = written(&mut world, 1);
            let properties = format!("{EARLIEST}group.protocol={protocol}");
            let client = world.consumer(library, "one", &properties);
            world.run(10 * SECOND);
            world.command(client, Command::Pause);
            world.run(299 * SECOND);
            assert!(!world.seen(client).any(|it| *it == Event::PollIntervalExceeded));
            // At the next heartbeat at the latest.
            world.run(6 * SECOND);
            assert!(is_told_of_polls(&world, client), "{library:?} {protocol}");
            world.send(producer, "orders");
            world.command(client, Command::Resume);
            world.run(10 * SECOND);
            assert_eq!(consumed(&world, &[client]).len(), 2, "{library:?} {protocol}");
        }
    }
}

#[test]
fn fetches_go_on_within_a_session_in_java_and_are_complete_each_time_in_librdkafka() {
    for (library, partitions) in [(Library::Java, 0), (Library::Librdkafka, 1)] {
        let mut world = World::new(&[1], &[]);
        written(&mut world, 1);
        let client = world.consumer(library, "one", EARLIEST);
        world.run(20 * SECOND);
        assert_eq!(world.last_fetch_partitions(client), Some(partitions), "{library:?}");
    }
}

/// What an idle consumer costs a broker, and a rehearsal.
#[test]
fn an_idle_consumer_fetches_twice_a_second_and_beats_every_three() {
    for library in BOTH {
        let mut world = World::new(&[1], &[]);
        written(&mut world, 1);
        let client = world.consumer(library, "one", EARLIEST);
        world.run(10 * SECOND);
        let fetches = world.requests(client, ApiKey::Fetch);
        let heartbeats = world.requests(client, ApiKey::Heartbeat);
        world.run(60 * SECOND);
        let fetches = world.requests(client, ApiKey::Fetch) - fetches;
        let heartbeats = world.requests(client, ApiKey::Heartbeat) - heartbeats;
        assert!((115..=120).contains(&fetches), "{library:?}: {fetches}");
        assert!((19..=20).contains(&heartbeats), "{library:?}: {heartbeats}");
    }
}

/// Connections that are closed when they are idle, metadata that ages: none of it stops a client.
#[test]
fn clients_go_on_for_hours() {
    for library in BOTH {
        for protocol in ["classic", "consumer"] {
            let mut world = World::new(&[1], &[]);
            let producer = written(&mut world, 1);
            let properties = format!("{EARLIEST}group.protocol={protocol}");
            let client = world.consumer(library, "one", &properties);
            for hour in 1..=3 {
                world.run(3600 * SECOND);
                let before = world.requests(client, ApiKey::Fetch);
                world.send(producer, "orders");
                world.run(60 * SECOND);
                let fetches = world.requests(client, ApiKey::Fetch) - before;
                assert!(
                    (100..130).contains(&fetches),
                    "{library:?} {protocol}: {fetches} in hour {hour}"
                );
                assert_eq!(
                    consumed(&world, &[client]),
                    once_each(1 + hour),
                    "{library:?} {protocol}"
                );
            }
        }
    }
}
