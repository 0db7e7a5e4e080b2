//! Transactions as clients see them, request by request.

mod kafka39;
mod random;
mod story;

use std::time::Duration;

use kafka_protocol::messages::BrokerId;

use super::{super::broker::BrokerState, *};
use story::Story;

const SECOND: Duration = Duration::from_secs(1);

/// Records of a transaction are nobody's business until it is committed.
#[test]
fn committed_records_become_visible_at_the_end_of_their_transaction() {
    let mut story = Story::new(&[]);
    story.init(4, "t").add(3, "t", (0, 0), "orders").produce(11, "t", (0, 0), 0, "orders");
    story.read("orders").describe("t").end(4, "t", (0, 0), true).read("orders").describe("t");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        AddPartitionsToTxn v3 t 0/0: ok
        Produce v11 t 0/0: ok
        Fetch: high watermark 1, stable 0, 0 batches, 0 aborted
        DescribeTransactions t: Ongoing 0/0 [orders-0]
        EndTxn v4 t 0/0 commit: ok
        Fetch: high watermark 2, stable 2, 2 batches, 0 aborted
        DescribeTransactions t: CompleteCommit 0/0 []
        ",
    );
}

/// A reader has to know what to leave out.
#[test]
fn aborted_records_are_told_to_readers_as_aborted() {
    let mut story = Story::new(&[]);
    story.init(4, "t").add(3, "t", (0, 0), "orders").produce(11, "t", (0, 0), 0, "orders");
    story.end(3, "t", (0, 0), false).read("orders").describe("t");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        AddPartitionsToTxn v3 t 0/0: ok
        Produce v11 t 0/0: ok
        EndTxn v3 t 0/0 abort: ok
        Fetch: high watermark 2, stable 2, 2 batches, 1 aborted
        DescribeTransactions t: CompleteAbort 0/0 []
        ",
    );
}

/// Two producers with one transactional id must never both write.
#[test]
fn second_producer_fences_the_first_and_aborts_its_transaction() {
    let mut story = Story::new(&[]);
    story.init(4, "t").add(3, "t", (0, 0), "orders").produce(11, "t", (0, 0), 0, "orders");
    story.init(4, "t").init(4, "t");
    story.produce(11, "t", (0, 0), 1, "orders").produce(12, "t", (0, 0), 1, "orders");
    story.add(3, "t", (0, 0), "orders").add(1, "t", (0, 0), "orders");
    story.end(3, "t", (0, 0), true).end(1, "t", (0, 0), true).read("orders");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        AddPartitionsToTxn v3 t 0/0: ok
        Produce v11 t 0/0: ok
        InitProducerId v4 t: ConcurrentTransactions
        InitProducerId v4 t: 0/2
        Produce v11 t 0/0: InvalidProducerEpoch
        Produce v12 t 0/0: InvalidProducerEpoch
        AddPartitionsToTxn v3 t 0/0: ProducerFenced
        AddPartitionsToTxn v1 t 0/0: InvalidProducerEpoch
        EndTxn v3 t 0/0 commit: ProducerFenced
        EndTxn v1 t 0/0 commit: InvalidProducerEpoch
        Fetch: high watermark 2, stable 2, 2 batches, 1 aborted
        ",
    );
}

/// KIP-360: a producer that lost its way goes on under its id, unless another has taken it over.
#[test]
fn producer_bumps_its_epoch_unless_it_was_fenced() {
    let mut story = Story::new(&[]);
    story.init(4, "t").init_as(4, "t", (0, 0)).init_as(4, "t", (0, 0)).init_as(3, "t", (0, 1));
    story.init(4, "t").init_as(4, "t", (0, 2)).init_as(3, "t", (0, 2)).init_as(4, "t", (9, 3));
    story.init_as(4, "t", (0, -1)).init_as(4, "t", (-1, 0)).init(4, "");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        InitProducerId v4 t as 0/0: 0/1
        InitProducerId v4 t as 0/0: 0/1
        InitProducerId v3 t as 0/1: 0/2
        InitProducerId v4 t: 0/3
        InitProducerId v4 t as 0/2: ProducerFenced
        InitProducerId v3 t as 0/2: InvalidProducerEpoch
        InitProducerId v4 t as 9/3: ProducerFenced
        InitProducerId v4 t as 0/-1: InvalidRequest
        InitProducerId v4 t as -1/0: InvalidRequest
        InitProducerId v4 : InvalidRequest
        ",
    );
}

/// Without a transactional id there is nothing to coordinate: every broker gives an id of its own block.
#[test]
fn idempotent_producers_get_ids_from_the_block_of_the_broker_asked() {
    let mut story = Story::of_brokers(2, &[]);
    story.init_idempotent().init_idempotent().connect(2).init_idempotent();
    story.restart(2).init_idempotent();
    story.tells(
        "
        InitProducerId: 0/0
        InitProducerId: 1/0
        InitProducerId: 1000/0
        InitProducerId: 2000/0
        ",
    );
}

/// KIP-890: partitions need not be added, and every end raises the epoch.
#[test]
fn version_2_adds_partitions_by_produce_and_raises_the_epoch_at_every_end() {
    let mut story = Story::new(&[]);
    story.init(5, "t").produce(12, "t", (0, 0), 0, "orders").end(5, "t", (0, 0), true);
    story.end(5, "t", (0, 0), true).end(5, "t", (0, 0), false);
    story.produce(12, "t", (0, 0), 1, "orders").produce(12, "t", (0, 1), 0, "orders");
    story.end(5, "t", (0, 1), false).end(5, "t", (0, 2), true).end(5, "t", (0, 2), false);
    story.read("orders").describe("t");
    story.tells(
        "
        InitProducerId v5 t: 0/0
        Produce v12 t 0/0: ok
        EndTxn v5 t 0/0 commit: 0/1
        EndTxn v5 t 0/0 commit: 0/1
        EndTxn v5 t 0/0 abort: InvalidTxnState
        Produce v12 t 0/0: InvalidProducerEpoch
        Produce v12 t 0/1: ok
        EndTxn v5 t 0/1 abort: 0/2
        EndTxn v5 t 0/2 commit: InvalidTxnState
        EndTxn v5 t 0/2 abort: 0/3
        Fetch: high watermark 4, stable 4, 4 batches, 1 aborted
        DescribeTransactions t: CompleteAbort 0/3 []
        ",
    );
}

/// Clients of each age must be told in words that they know.
#[test]
fn produce_outside_of_a_transaction_is_refused_by_the_clients_version() {
    let mut story = Story::new(&[]);
    story.init(4, "t");
    for version in [9, 10, 11] {
        story.produce(version, "t", (0, 0), 0, "orders");
    }
    story.produce(12, "t", (7, 0), 0, "orders").produce(12, "unknown", (0, 0), 0, "orders");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        Produce v9 t 0/0: InvalidTxnState
        Produce v10 t 0/0: InvalidTxnState
        Produce v11 t 0/0: TransactionAbortable
        Produce v12 t 7/0: InvalidProducerIdMapping
        Produce v12 unknown 0/0: InvalidProducerIdMapping
        ",
    );
}

/// A producer that died must not keep readers waiting for ever.
#[test]
fn transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut story = Story::new(&[]);
    story.init(4, "t").add(3, "t", (0, 0), "orders").produce(11, "t", (0, 0), 0, "orders");
    // The producer's timeout is 60 s, and the coordinator looks every 10 s.
    story.pass(59 * SECOND).describe("t");
    story.pass(11 * SECOND).describe("t").read("orders").end(4, "t", (0, 0), true);
    story.tells(
        "
        InitProducerId v4 t: 0/0
        AddPartitionsToTxn v3 t 0/0: ok
        Produce v11 t 0/0: ok
        59 s later
        DescribeTransactions t: Ongoing 0/0 [orders-0]
        11 s later
        DescribeTransactions t: CompleteAbort 0/1 []
        Fetch: high watermark 2, stable 2, 2 batches, 1 aborted
        EndTxn v4 t 0/0 commit: ProducerFenced
        ",
    );
}

/// A decision once made is kept, however long a leader is away.
#[test]
fn markers_wait_for_a_leader_that_is_away() {
    let mut story = Story::new(&[]);
    story.init(4, "t").produce(12, "t", (0, 0), 0, "orders");
    story.set_state(1, BrokerState::Silent).end(5, "t", (0, 0), true).describe("t");
    story.init(4, "t").add(3, "t", (0, 1), "orders").end(5, "t", (0, 1), true);
    story.pass(100 * SECOND).describe("t");
    story.set_state(1, BrokerState::Running).pass(SECOND).describe("t").read("orders");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        Produce v12 t 0/0: ok
        EndTxn v5 t 0/0 commit: 0/1
        DescribeTransactions t: PrepareCommit 0/1 [orders-0]
        InitProducerId v4 t: ConcurrentTransactions
        AddPartitionsToTxn v3 t 0/1: ConcurrentTransactions
        EndTxn v5 t 0/1 commit: ConcurrentTransactions
        100 s later
        DescribeTransactions t: PrepareCommit 0/1 [orders-0]
        1 s later
        DescribeTransactions t: CompleteCommit 0/1 []
        Fetch: high watermark 2, stable 2, 2 batches, 0 aborted
        ",
    );
}

/// A reader's progress is part of the transaction that it led to.
#[test]
fn offsets_in_a_transaction_count_when_it_is_committed_and_not_when_aborted() {
    let mut story = Story::new(&[]);
    story.init(4, "t").commit_offset(3, "t", (0, 0), 7);
    story.add_offsets(3, "t", (0, 0)).commit_offset(3, "t", (0, 0), 7).offset().describe("t");
    story.end(4, "t", (0, 0), true).offset();
    story.commit_offset(5, "t", (0, 0), 9).end(5, "t", (0, 0), false).offset();
    story.tells(
        "
        InitProducerId v4 t: 0/0
        TxnOffsetCommit v3 t 0/0: InvalidTxnState
        AddOffsetsToTxn v3 t 0/0: ok
        TxnOffsetCommit v3 t 0/0: ok
        OffsetFetch: UnstableOffsetCommit
        DescribeTransactions t: Ongoing 0/0 [__consumer_offsets-47]
        EndTxn v4 t 0/0 commit: ok
        OffsetFetch: 7
        TxnOffsetCommit v5 t 0/0: ok
        EndTxn v5 t 0/0 abort: 0/1
        OffsetFetch: 7
        ",
    );
}

/// One missing partition fails all, so that a producer does not write half of what it meant to.
#[test]
fn missing_partition_fails_the_whole_request() {
    let mut story = Story::new(&[]);
    story.init(4, "t").add_all(3, "t", (0, 0), &["orders", "missing"]).describe("t");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        AddPartitionsToTxn v3 t 0/0: missing UnknownTopicOrPartition, orders OperationNotAttempted
        DescribeTransactions t: Empty 0/0 []
        ",
    );
}

/// Whoever is asked in place of the coordinator says so.
#[test]
fn other_brokers_are_not_coordinators() {
    let mut story = Story::of_brokers(2, &[]);
    let id = transactional_id("t");
    let coordinator = story.client.cluster.transaction_coordinator_of(&id).expect("a coordinator");
    story.connect(3 - coordinator.0).init(4, "t").add_offsets(3, "t", (0, 0));
    story.end(5, "t", (0, 0), true).describe("t").list(&[]);
    story.connect(coordinator.0).init(4, "t").list(&[]);
    story.tells(
        "
        InitProducerId v4 t: NotCoordinator
        AddOffsetsToTxn v3 t 0/0: NotCoordinator
        EndTxn v5 t 0/0 commit: NotCoordinator
        DescribeTransactions t: NotCoordinator
        ListTransactions []: none
        InitProducerId v4 t: 0/0
        ListTransactions []: t Empty
        ",
    );
}

/// A produce that strays must not open a transaction that nobody means to end.
#[test]
fn produce_to_a_broker_that_does_not_lead_begins_no_transaction() {
    let mut story = Story::of_brokers(2, &[]);
    let id = transactional_id("t");
    let coordinator =
        story.client.cluster.transaction_coordinator_of(&id).expect("a coordinator").0;
    let leader = story.client.leader("orders");
    story.connect(coordinator).init(4, "t");
    story.connect(3 - leader).produce(12, "t", (0, 0), 0, "orders");
    story.connect(coordinator).describe("t");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        Produce v12 t 0/0: NotLeaderOrFollower
        DescribeTransactions t: Empty 0/0 []
        ",
    );
}

/// Timeouts are the broker's to allow.
#[test]
fn timeout_above_the_brokers_maximum_is_refused() {
    let mut story = Story::new(&[("transaction.max.timeout.ms", "59999")]);
    story.init(4, "t").describe("t");
    story.tells(
        "
        InitProducerId v4 t: InvalidTransactionTimeout
        DescribeTransactions t: TransactionalIdNotFound
        ",
    );
}

/// Ids that nobody uses any more must not be kept for ever.
#[test]
fn unused_id_expires() {
    let mut story = Story::new(&[
        ("transactional.id.expiration.ms", "60000"),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "1000"),
    ]);
    story.init(4, "t").pass(59 * SECOND).describe("t");
    story.pass(2 * SECOND).describe("t").end(4, "t", (0, 0), true).init(4, "t");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        59 s later
        DescribeTransactions t: Empty 0/0 []
        2 s later
        DescribeTransactions t: TransactionalIdNotFound
        EndTxn v4 t 0/0 commit: InvalidProducerIdMapping
        InitProducerId v4 t: 1/0
        ",
    );
}

#[test]
fn transactions_are_listed_by_state_duration_and_pattern() {
    let mut story = Story::new(&[]);
    story.init(4, "a-1").init(4, "a-2").init(4, "b").add(3, "a-2", (1, 0), "orders");
    story.pass(5 * SECOND);
    story.list(&[]).list(&["Ongoing"]).list(&["Dead", "Nonsense"]);
    story.list_by(None, 4000).list_by(Some("a-."), -1).list_by(Some("a"), -1);
    story.list_by(Some("a)|(b"), -1);
    story.tells(
        "
        InitProducerId v4 a-1: 0/0
        InitProducerId v4 a-2: 1/0
        InitProducerId v4 b: 2/0
        AddPartitionsToTxn v3 a-2 1/0: ok
        5 s later
        ListTransactions []: a-1 Empty, a-2 Ongoing, b Empty
        ListTransactions [\"Ongoing\"]: a-2 Ongoing
        ListTransactions [\"Dead\", \"Nonsense\"]: none, unknown Nonsense
        ListTransactions None 4000: a-1 Empty, a-2 Ongoing, b Empty
        ListTransactions Some(\"a-.\") -1: a-1 Empty, a-2 Ongoing
        ListTransactions Some(\"a\") -1: none
        ListTransactions Some(\"a)|(b\") -1: InvalidRegularExpression
        ",
    );
}

/// What a partition knows of its producers is what an operator looks at when a transaction hangs.
#[test]
fn producers_of_a_partition_are_described() {
    let mut story = Story::new(&[]);
    story.init(4, "t").produce(12, "t", (0, 0), 0, "orders").producers("orders", 0);
    story.end(5, "t", (0, 0), true).producers("orders", 0).producers("orders", 1);
    story.tells(
        "
        InitProducerId v4 t: 0/0
        Produce v12 t 0/0: ok
        DescribeProducers: 0/0 sequence 0, coordinator -1, open since 0
        EndTxn v5 t 0/0 commit: 0/1
        DescribeProducers: 0/1 sequence -1, coordinator 0, open since -1
        DescribeProducers: UnknownTopicOrPartition
        ",
    );
}

/// Epochs are 16 bits: a producer that has used them up goes on under a new id, and notices nothing.
#[test]
fn end_of_a_transaction_with_the_last_epoch_gives_a_new_id() {
    let mut story = Story::new(&[]);
    story.init(4, "t").set_epoch("t", i16::MAX - 2).init(4, "t");
    story.add(3, "t", (0, 32766), "orders").end(5, "t", (0, 32766), true);
    story.end(5, "t", (0, 32766), true).end(5, "t", (0, 32766), false);
    story.add(3, "t", (1, 0), "orders").end(5, "t", (1, 0), false).end(5, "t", (0, 32766), false);
    story.tells(
        "
        InitProducerId v4 t: 0/0
        InitProducerId v4 t: 0/32766
        AddPartitionsToTxn v3 t 0/32766: ok
        EndTxn v5 t 0/32766 commit: 1/0
        EndTxn v5 t 0/32766 commit: 1/0
        EndTxn v5 t 0/32766 abort: InvalidTxnState
        AddPartitionsToTxn v3 t 1/0: ok
        EndTxn v5 t 1/0 abort: 1/1
        EndTxn v5 t 0/32766 abort: InvalidProducerIdMapping
        ",
    );
}

#[test]
fn initialisation_after_the_last_epoch_gives_a_new_id() {
    let mut story = Story::new(&[]);
    story.init(4, "t").set_epoch("t", i16::MAX - 1);
    story.init_as(4, "t", (0, 32766)).init_as(4, "t", (0, 32766));
    story.add(3, "t", (1, 0), "orders").init_as(4, "t", (0, 32766));
    // One epoch is kept back for fencing.
    story.set_epoch("t", i16::MAX - 1).init(4, "t").describe("t").init(4, "t");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        InitProducerId v4 t as 0/32766: 1/0
        InitProducerId v4 t as 0/32766: 1/0
        AddPartitionsToTxn v3 t 1/0: ok
        InitProducerId v4 t as 0/32766: ProducerFenced
        InitProducerId v4 t: ConcurrentTransactions
        DescribeTransactions t: CompleteAbort 1/32767 []
        InitProducerId v4 t: 2/0
        ",
    );
}

/// The number of ids is a client's choice, so it has a limit.
#[test]
fn too_many_ids_push_out_the_one_unused_for_longest() {
    let mut transactions = Transactions::default();
    let request = Initialise { timeout: SECOND, expected: None };
    let mut initialise = |ms, name: &str| {
        let id = transactional_id(name);
        let version = TransactionVersion::V2;
        transactions.initialise(Time::from_ms(ms), BrokerId(1), &id, &request, version)
    };
    for number in 0..TRANSACTIONAL_IDS_MAX {
        initialise(1 + number as u64, &number.to_string()).expect("there is room");
    }
    initialise(1_000_000, "0").expect("it is known");
    initialise(1_000_001, "one more").expect("room is made");
    assert!(transactions.get(&transactional_id("0")).is_some(), "it was used again");
    assert!(transactions.get(&transactional_id("1")).is_none());
    assert_eq!(transactions.iter().count(), TRANSACTIONAL_IDS_MAX);
}

fn transactional_id(name: &str) -> TransactionalId {
    client::transactional_id(name)
}

/// Else a transaction would lack records in its midst that its producer still sends again.
#[test]
fn records_behind_those_that_were_refused_are_not_taken() {
    let mut story = Story::new(&[]);
    story.init(4, "t").produce(10, "t", (0, 0), 0, "orders").produce(10, "t", (0, 0), 5, "orders");
    story.add(3, "t", (0, 0), "orders").produce(10, "t", (0, 0), 5, "orders");
    story.produce(10, "t", (0, 0), 0, "orders").produce(10, "t", (0, 0), 1, "orders");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        Produce v10 t 0/0: InvalidTxnState
        Produce v10 t 0/0: InvalidTxnState
        AddPartitionsToTxn v3 t 0/0: ok
        Produce v10 t 0/0: OutOfOrderSequenceNumber
        Produce v10 t 0/0: ok
        Produce v10 t 0/0: ok
        ",
    );
}

/// Of a client of TV2, a partition that knows nothing of its epoch takes nothing but its beginning.
#[test]
fn transaction_that_begins_in_the_midst_of_its_records_is_refused() {
    let mut story = Story::new(&[]);
    story.init(4, "t").produce(12, "t", (0, 0), 3, "orders").produce(12, "t", (0, 0), 0, "orders");
    story.tells(
        "
        InitProducerId v4 t: 0/0
        Produce v12 t 0/0: OutOfOrderSequenceNumber
        Produce v12 t 0/0: ok
        ",
    );
}
