//! Transactions against the cluster, and what becomes of them in a move.

use std::{collections::BTreeSet, time::Duration};

use kafka_protocol::ResponseError;

use super::{
    super::{Command, Event, Library, record::Numbered},
    world::World,
};

const SECOND: Duration = Duration::from_secs(1);
const BOTH: [Library; 2] = [Library::Java, Library::Librdkafka];

fn count(world: &World, client: usize, wanted: &Event) -> usize {
    world.seen(client).filter(|event| *event == wanted).count()
}

/// Begins, sends and ends one transaction.
fn transact(world: &mut World, client: usize, records: usize, end: Command) {
    world.command(client, Command::BeginTransaction);
    for _ in 0..records {
        world.send(client, "orders");
    }
    world.run(SECOND / 10);
    world.command(client, end);
    world.run(SECOND);
}

fn read_committed(world: &mut World) -> BTreeSet<u64> {
    let properties = "group.id=judge\nauto.offset.reset=earliest\nisolation.level=read_committed";
    let judge = world.consumer(Library::Java, "judge", properties);
    world.run(10 * SECOND);
    let values = world.seen(judge).filter_map(|event| match event {
        Event::Consumed { value, .. } => Numbered::decode(value).map(|it| it.number),
        _ => None,
    });
    values.collect()
}

#[test]
fn readers_of_committed_records_see_what_was_committed_and_nothing_of_what_was_aborted() {
    for library in BOTH {
        let mut world = World::new(&[3], &[("num.partitions", "3")]);
        let client = world.producer(library, "app", "transactional.id=t");
        world.run(SECOND);
        assert_eq!(count(&world, client, &Event::TransactionReady), 1, "{library:?}");
        transact(&mut world, client, 10, Command::CommitTransaction);
        transact(&mut world, client, 10, Command::AbortTransaction);
        transact(&mut world, client, 10, Command::CommitTransaction);
        assert_eq!(count(&world, client, &Event::TransactionCommitted), 2, "{library:?}");
        assert_eq!(count(&world, client, &Event::TransactionAborted), 1, "{library:?}");
        let expected: BTreeSet<u64> = (0..10).chain(20..30).collect();
        assert_eq!(read_committed(&mut world), expected, "{library:?}");
    }
}

#[test]
fn offsets_are_committed_with_the_transaction() {
    for library in BOTH {
        let mut world = World::new(&[1], &[]);
        let client = world.producer(library, "app", "transactional.id=t");
        world.run(SECOND);
        transact(&mut world, client, 10, Command::CommitTransaction);
        world.command(client, Command::BeginTransaction);
        let place = (kafka_protocol::messages::TopicName("orders".into()), 0);
        let offsets = vec![(place, 7)];
        world.command(client, Command::SendOffsets { group: "judge".to_owned(), offsets });
        world.run(SECOND / 10);
        world.command(client, Command::CommitTransaction);
        world.run(SECOND);
        assert_eq!(count(&world, client, &Event::TransactionCommitted), 2, "{library:?}");
        let expected: BTreeSet<u64> = (7..10).collect();
        assert_eq!(read_committed(&mut world), expected, "{library:?}");
    }
}

/// A transaction that is cut in the middle by a move to a cluster that knows, or does not know, the id.
fn cut(library: Library, known: bool) -> (World, usize) {
    let mut world = World::new(&[1, 1], &[]);
    if known {
        world.move_to(1);
        // Producer ids differ: this one has had others before it.
        for name in ["x", "y", "z"] {
            let other = world.producer(Library::Java, name, "");
            world.send(other, "orders");
            world.run(SECOND);
            world.command(other, Command::Close);
        }
        let other = world.producer(Library::Java, "before", "transactional.id=t");
        world.run(SECOND);
        transact(&mut world, other, 1, Command::CommitTransaction);
        world.command(other, Command::Close);
        world.move_to(0);
    }
    let client = world.producer(library, "app", "transactional.id=t");
    world.run(SECOND);
    transact(&mut world, client, 10, Command::CommitTransaction);
    world.command(client, Command::BeginTransaction);
    world.send(client, "orders");
    world.run(SECOND);
    world.move_to(1);
    world.send(client, "orders");
    world.run(10 * SECOND);
    (world, client)
}

#[test]
fn java_cannot_abort_a_transaction_that_was_moved_and_has_to_be_created_anew() {
    for known in [false, true] {
        let (mut world, client) = cut(Library::Java, known);
        let error = ResponseError::InvalidProducerIdMapping;
        let failed = Event::TransactionFailed { error, abortable: false };
        assert_eq!(count(&world, client, &failed), 1, "known: {known}");
        world.command(client, Command::AbortTransaction);
        world.run(SECOND);
        assert_eq!(count(&world, client, &failed), 2, "the abort throws, too");
        let again = world.producer(Library::Java, "again", "transactional.id=t");
        world.run(5 * SECOND);
        transact(&mut world, again, 3, Command::CommitTransaction);
        assert_eq!(count(&world, again, &Event::TransactionCommitted), 1, "known: {known}");
    }
}

#[test]
fn librdkafka_aborts_a_transaction_that_was_moved_where_the_id_is_unknown_and_goes_on() {
    let (mut world, client) = cut(Library::Librdkafka, false);
    let error = ResponseError::InvalidProducerIdMapping;
    assert_eq!(count(&world, client, &Event::TransactionFailed { error, abortable: true }), 1);
    world.command(client, Command::AbortTransaction);
    world.run(3 * SECOND);
    assert_eq!(count(&world, client, &Event::TransactionAborted), 1);
    transact(&mut world, client, 3, Command::CommitTransaction);
    assert_eq!(count(&world, client, &Event::TransactionCommitted), 2);
}

#[test]
fn librdkafka_is_fenced_when_it_aborts_where_another_has_used_the_id() {
    let (mut world, client) = cut(Library::Librdkafka, true);
    let error = ResponseError::InvalidProducerIdMapping;
    assert_eq!(count(&world, client, &Event::TransactionFailed { error, abortable: true }), 1);
    world.command(client, Command::AbortTransaction);
    world.run(3 * SECOND);
    let fatal = Event::Fatal { error: ResponseError::ProducerFenced };
    assert_eq!(count(&world, client, &fatal), 1);
}
