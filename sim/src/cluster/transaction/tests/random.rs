//! Requests at random: whatever is asked, the answer can be decoded, and nothing falls over.

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, GroupId, InitProducerIdRequest,
    ListTransactionsRequest, ProduceRequest,
    add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
    describe_producers_request::TopicRequest,
    produce_request::{PartitionProduceData, TopicProduceData},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::super::client::{Client, batch, text, topic_name, transactional_id};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Init { version: i16, id: Option<&'static str>, timeout_ms: i32, as_producer: (i64, i16) },
    AddPartitions { version: i16, who: Who, topics: Vec<(&'static str, i32)>, verify_only: bool },
    AddOffsets { version: i16, who: Who },
    End { version: i16, who: Who, commit: bool },
    Produce { version: i16, who: Who, sequence: i32 },
    Describe { id: &'static str },
    List { version: i16, state: &'static str, duration_ms: i64, pattern: Option<&'static str> },
    Producers { topic: &'static str, partition: i32 },
    Pass { ms: u64 },
}

/// A producer as it says that it is.
#[derive(Clone, Copy, Debug)]
struct Who {
    id: &'static str,
    producer: (i64, i16),
}

const IDS: &[&str] = &["", "a", "b", "ü\u{1f980}"];
const TOPICS: &[&str] = &["orders", "", "missing", "__consumer_offsets"];

fn producer() -> impl Strategy<Value = (i64, i16)> {
    let id = prop_oneof![0..3_i64, select(&[i64::MIN, -5, -1, i64::MAX][..])];
    let epoch = prop_oneof![0..4_i16, select(&[i16::MIN, -1, i16::MAX - 1, i16::MAX][..])];
    (id, epoch)
}

fn who() -> impl Strategy<Value = Who> {
    (select(IDS), producer()).prop_map(|(id, producer)| Who { id, producer })
}

fn event() -> impl Strategy<Value = Event> {
    let nobody = Just((-1, -1));
    let timeout_ms = prop_oneof![Just(60_000), select(&[i32::MIN, 0, 1, i32::MAX][..])];
    let topics = vec((select(TOPICS), select(&[i32::MIN, -1, 0, 1, i32::MAX][..])), 0..3);
    let pattern = prop::option::of(select(&["", "a", ".*", "(", "\\"][..]));
    let state = select(&["", "Empty", "Ongoing", "Dead", "ongoing"][..]);
    let duration_ms = select(&[i64::MIN, -1, 0, 1, i64::MAX][..]);
    prop_oneof![
        4 => (0..=5_i16, prop::option::of(select(IDS)), timeout_ms, prop_oneof![nobody, producer()])
            .prop_map(|(version, id, timeout_ms, as_producer)| {
                Event::Init { version, id, timeout_ms, as_producer }
            }),
        4 => (0..=5_i16, who(), topics, any::<bool>()).prop_map(
            |(version, who, topics, verify_only)| {
                Event::AddPartitions { version, who, topics, verify_only }
            }
        ),
        2 => (0..=4_i16, who()).prop_map(|(version, who)| Event::AddOffsets { version, who }),
        4 => (0..=5_i16, who(), any::<bool>())
            .prop_map(|(version, who, commit)| Event::End { version, who, commit }),
        4 => (9..=12_i16, who(), 0..2_i32)
            .prop_map(|(version, who, sequence)| Event::Produce { version, who, sequence }),
        1 => select(IDS).prop_map(|id| Event::Describe { id }),
        1 => (0..=2_i16, state, duration_ms, pattern).prop_map(
            |(version, state, duration_ms, pattern)| {
                Event::List { version, state, duration_ms, pattern }
            }
        ),
        1 => (select(TOPICS), -1..2_i32)
            .prop_map(|(topic, partition)| Event::Producers { topic, partition }),
        2 => prop_oneof![0..100_000_u64, Just(700_000_000)].prop_map(|ms| Event::Pass { ms }),
    ]
}

fn play(client: &mut Client, event: &Event) {
    match event {
        Event::Init { version, id, timeout_ms, as_producer: (producer_id, epoch) } => {
            let mut request = InitProducerIdRequest::default()
                .with_transactional_id(id.map(transactional_id))
                .with_transaction_timeout_ms(*timeout_ms);
            if *version >= 3 {
                request = request.with_producer_id((*producer_id).into());
                request = request.with_producer_epoch(*epoch);
            }
            client.ask(*version, &request);
        }
        Event::AddPartitions { version, who, topics, verify_only } => {
            client.ask(*version, &add_partitions(*version, who, topics, *verify_only));
        }
        Event::AddOffsets { version, who } => {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(transactional_id(who.id))
                .with_producer_id(who.producer.0.into())
                .with_producer_epoch(who.producer.1)
                .with_group_id(GroupId(text("group")));
            client.ask(*version, &request);
        }
        Event::End { version, who, commit } => {
            let request = EndTxnRequest::default()
                .with_transactional_id(transactional_id(who.id))
                .with_producer_id(who.producer.0.into())
                .with_producer_epoch(who.producer.1)
                .with_committed(*commit);
            client.ask(*version, &request);
        }
        Event::Produce { version, who, sequence } => {
            let (id, epoch) = who.producer;
            let partition =
                PartitionProduceData::default().with_records(Some(batch(id, epoch, *sequence)));
            let topic = TopicProduceData::default()
                .with_name(topic_name("orders"))
                .with_partition_data(vec![partition]);
            let request = ProduceRequest::default()
                .with_transactional_id(Some(transactional_id(who.id)))
                .with_acks(1)
                .with_topic_data(vec![topic]);
            client.ask(*version, &request);
        }
        Event::Describe { id } => {
            let ids = vec![transactional_id(id), transactional_id(id)];
            client.ask(0, &DescribeTransactionsRequest::default().with_transactional_ids(ids));
        }
        Event::List { version, state, duration_ms, pattern } => {
            let mut request =
                ListTransactionsRequest::default().with_state_filters(vec![text(state)]);
            if *version >= 1 {
                request = request.with_duration_filter(*duration_ms);
            }
            if *version >= 2 {
                request = request.with_transactional_id_pattern(pattern.map(text));
            }
            client.ask(*version, &request);
        }
        Event::Producers { topic, partition } => {
            let topic = TopicRequest::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(vec![*partition]);
            client.ask(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
        }
        Event::Pass { ms } => client.pass(std::time::Duration::from_millis(*ms)),
    }
}

fn add_partitions(
    version: i16,
    who: &Who,
    topics: &[(&'static str, i32)],
    verify_only: bool,
) -> AddPartitionsToTxnRequest {
    let topics = topics.iter().map(|(topic, partition)| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![*partition, *partition])
    });
    let topics = topics.collect();
    if version <= 3 {
        return AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id(who.id))
            .with_v3_and_below_producer_id(who.producer.0.into())
            .with_v3_and_below_producer_epoch(who.producer.1)
            .with_v3_and_below_topics(topics);
    }
    let transaction = AddPartitionsToTxnTransaction::default()
        .with_transactional_id(transactional_id(who.id))
        .with_producer_id(who.producer.0.into())
        .with_producer_epoch(who.producer.1)
        .with_verify_only(verify_only)
        .with_topics(topics);
    AddPartitionsToTxnRequest::default().with_transactions(vec![transaction.clone(), transaction])
}

proptest! {
    /// One client's nonsense must not take the cluster from the others.
    #[test]
    fn every_request_is_answered(events in vec(event(), 1..40)) {
        let mut client = Client::new(&[]);
        client.create_topic("orders");
        for event in &events {
            play(&mut client, event);
        }
    }

    /// When nobody adds to a transaction any more it ends, and readers of committed records get all there is.
    #[test]
    fn every_transaction_comes_to_an_end(events in vec(event(), 1..40)) {
        let mut client = Client::new(&[]);
        client.create_topic("orders");
        for event in &events {
            play(&mut client, event);
        }
        // The longest timeout that the broker allows, and its next look at transactions.
        client.pass(std::time::Duration::from_secs(900 + 10));
        let partition = client.cluster.topics.partition(&topic_name("orders"), 0);
        let log = &partition.expect("the topic exists").log;
        prop_assert_eq!(log.last_stable_offset(), log.high_watermark());
    }
}
