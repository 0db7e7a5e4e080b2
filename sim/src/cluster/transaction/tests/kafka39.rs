//! What brokers of Kafka 3.9, of before TV2, do otherwise.

use std::collections::BTreeSet;

use kafka_protocol::{messages::TopicName, protocol::StrBytes};

use super::{
    super::{
        super::{time::Time, versions::Profile},
        Ended, Initialised, Transaction, TransactionVersion,
    },
    SECOND, Story,
};

/// Before TV2 an epoch that was raised to fence is told to nobody, whatever they believe to be.
#[test]
fn kafka_39_fences_so_that_the_old_producer_cannot_ask_for_the_new_epoch() {
    for (profile, told) in [(Profile::Kafka39, "ProducerFenced"), (Profile::Kafka41, "0/1")] {
        let mut story = Story::of_profile(profile);
        story.init(4, "t").add(3, "t", (0, 0), "orders").init_as(4, "t", (0, 0));
        story.init_as(4, "t", (0, 0));
        story.tells(&format!(
            "
            InitProducerId v4 t: 0/0
            AddPartitionsToTxn v3 t 0/0: ok
            InitProducerId v4 t as 0/0: ConcurrentTransactions
            InitProducerId v4 t as 0/0: {told}
            "
        ));
    }
}

/// DescribeTransactions shows it.
#[test]
fn kafka_39_keeps_the_time_of_the_last_transaction_when_its_producer_begins_anew() {
    let (start, later) = (Time::from_ms(1_000), Time::from_ms(9_000));
    for (server, time) in [(TransactionVersion::V1, Some(start)), (TransactionVersion::V2, None)] {
        let mut transaction = Transaction::new(start, 7);
        let initialise = |transaction: &mut Transaction| {
            let made = transaction.initialise(later, SECOND, None, server, || 8);
            match made.expect("nothing is in its way") {
                Initialised::As(producer) => producer,
                Initialised::AfterAbort => panic!("no transaction is open"),
            }
        };
        let producer = initialise(&mut transaction);
        let partition = (TopicName(StrBytes::from_static_str("orders")), 0);
        transaction.add(start, producer, &[partition]).expect("it is its producer");
        let ended = transaction.end(later, producer, true, TransactionVersion::V1, || 8);
        assert_eq!(ended, Ok(Ended::Prepared(producer)));
        transaction.markers_written(later, BTreeSet::new());
        assert_eq!(transaction.started, Some(start));
        initialise(&mut transaction);
        assert_eq!(transaction.started, time, "{server:?}");
    }
}
