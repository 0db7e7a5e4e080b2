use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, FetchRequest, FetchResponse,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
    },
};
use uuid::Uuid;

use super::super::super::{
    ClusterSpec, ConnectionId,
    conversation::{Conversation, Records, fetch, topic_name},
    log::Marker,
};

fn code(error: ResponseError) -> i16 {
    error.code()
}

fn orders() -> (Conversation, ConnectionId) {
    let mut talk = Conversation::new(&[]);
    talk.create("orders", &[1, 2], &[]);
    let leader = talk.connect(1);
    (talk, leader)
}

fn error(response: &FetchResponse) -> i16 {
    response.responses[0].partitions[0].error_code
}

/// Topic and bytes of records of each partition in an answer.
fn said(response: &FetchResponse) -> Vec<(String, usize)> {
    let topics = response.responses.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let records = partition.records.as_ref().expect("records are never null");
            (topic.topic.to_string(), records.len())
        })
    });
    topics.collect()
}

#[test]
fn fetch_answers_in_every_version() {
    let (mut talk, leader) = orders();
    talk.produce(leader, "orders", Records::new(2).bytes());
    for version in 4..=18 {
        let mut request = fetch("orders", 0);
        if version >= 13 {
            request.topics[0].topic = topic_name("");
            request.topics[0].topic_id = talk.id_of("orders");
        }
        if version < 7 {
            request.session_epoch = -1;
        }
        let response: FetchResponse = talk.ask(leader, version, &request);
        let answer = &response.responses[0].partitions[0];
        assert_eq!((answer.error_code, answer.high_watermark), (0, 2), "v{version}");
        assert_eq!(answer.records.as_ref().map(bytes::Bytes::is_empty), Some(false));
        assert_eq!(answer.aborted_transactions, None, "null for who reads everything");
    }
}

#[test]
fn offsets_out_of_range_are_refused_and_the_end_is_empty() {
    let (mut talk, leader) = orders();
    talk.produce(leader, "orders", Records::new(2).bytes());
    assert!(talk.fetch(leader, "orders", 2).is_empty());
    for offset in [-1, 3, i64::MAX, i64::MIN] {
        let response: FetchResponse = talk.ask(leader, 12, &fetch("orders", offset));
        assert_eq!(error(&response), code(ResponseError::OffsetOutOfRange), "{offset}");
        let answer = &response.responses[0].partitions[0];
        assert_eq!((answer.high_watermark, answer.log_start_offset), (-1, -1));
        assert_eq!(answer.records.as_ref().map(bytes::Bytes::len), Some(0));
    }
}

#[test]
fn limits_of_bytes_cut_between_batches_but_never_the_first() {
    let mut talk = Conversation::new(&[]);
    for name in ["a", "b"] {
        talk.create(name, &[1], &[]);
    }
    let leader = talk.connect(1);
    let batch = Records::new(1).bytes();
    for name in ["a", "a", "a", "b"] {
        talk.produce(leader, name, batch.clone());
    }
    let mut ask = |bytes_max: usize, partition_max: usize| {
        let mut request = fetch("a", 0);
        request.topics.extend(fetch("b", 0).topics);
        request.max_bytes = i32::try_from(bytes_max).expect("small");
        for topic in &mut request.topics {
            topic.partitions[0].partition_max_bytes = i32::try_from(partition_max).expect("small");
        }
        let response: FetchResponse = talk.ask(leader, 12, &request);
        said(&response).into_iter().map(|(_, bytes)| bytes / batch.len()).collect::<Vec<_>>()
    };
    let size = batch.len();
    assert_eq!(ask(1, 1), [1, 0], "the first of all is whole (KIP-74)");
    assert_eq!(ask(10 * size, 2 * size), [2, 1]);
    assert_eq!(ask(10 * size, 2 * size - 1), [1, 1]);
    assert_eq!(ask(3 * size, 10 * size), [3, 0]);
    assert_eq!(ask(0, 10 * size), [1, 0]);
}

#[test]
fn fetch_waits_for_bytes_and_is_woken_by_its_partition_alone() {
    let (mut talk, leader) = orders();
    talk.create("other", &[1], &[]);
    let (reader, writer) = (talk.connect(1), leader);
    let mut request = fetch("orders", 0);
    request.max_wait_ms = 500;
    let size = Records::new(1).bytes().len();
    request.min_bytes = i32::try_from(2 * size).expect("small");
    let sent = talk.send(reader, 12, &request);
    talk.produce(writer, "other", Records::new(100).bytes());
    talk.produce(writer, "orders", Records::new(1).bytes());
    assert_eq!(talk.answer::<FetchResponse>(sent), None, "half of what it wants");
    let second = talk.send(
        writer,
        9,
        &super::super::super::conversation::produce("orders", Records::new(1).bytes(), 1),
    );
    let response: FetchResponse = talk.answer(sent).expect("it has enough");
    assert_eq!(said(&response), [("orders".to_owned(), 2 * size)]);
    let _: kafka_protocol::messages::ProduceResponse = talk.answer(second).expect("written");
    assert!(talk.cluster.waiting_fetches.is_empty());
}

#[test]
fn fetch_is_answered_empty_after_its_wait() {
    let (mut talk, leader) = orders();
    let mut request = fetch("orders", 0);
    request.max_wait_ms = 500;
    let sent = talk.send(leader, 12, &request);
    talk.pass(499);
    assert_eq!(talk.answer::<FetchResponse>(sent), None);
    talk.pass(1);
    let response: FetchResponse = talk.answer(sent).expect("its time is over");
    assert_eq!(said(&response), [("orders".to_owned(), 0)]);
}

#[test]
fn waiting_fetch_is_answered_at_once_when_the_leader_moves() {
    let (mut talk, leader) = orders();
    let mut request = fetch("orders", 0);
    request.max_wait_ms = 500;
    request.topics[0].topic_id = talk.id_of("orders");
    request.topics[0].topic = topic_name("");
    request.topics[0].partitions[0].current_leader_epoch = 0;
    let sent = talk.send(leader, 16, &request);
    talk.change("orders", |partition| {
        partition.leader = Some(BrokerId(2));
        partition.leader_epoch = 1;
    });
    let response: FetchResponse = talk.answer(sent).expect("it is told");
    let answer = &response.responses[0].partitions[0];
    assert_eq!(answer.error_code, code(ResponseError::FencedLeaderEpoch));
    assert_eq!(answer.current_leader.leader_id, BrokerId(2));
    assert_eq!(answer.current_leader.leader_epoch, 1);
    assert_eq!(response.node_endpoints[0].node_id, BrokerId(2));
}

#[test]
fn deleted_topic_ends_a_wait() {
    let (mut talk, leader) = orders();
    let sent = talk.send(leader, 12, &fetch("orders", 0).with_max_wait_ms(500));
    talk.cluster.topics.remove(&topic_name("orders"));
    talk.cluster.partition_changed(&topic_name("orders"), 0);
    let response: FetchResponse = talk.answer(sent).expect("it is told");
    assert_eq!(error(&response), code(ResponseError::UnknownTopicOrPartition));
}

#[test]
fn leader_epochs_are_compared() {
    let (mut talk, leader) = orders();
    talk.change("orders", |partition| partition.leader_epoch = 3);
    let mut ask = |version, epoch| {
        let mut request = fetch("orders", 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        error(&talk.ask(leader, version, &request))
    };
    assert_eq!(ask(12, -1), 0);
    assert_eq!(ask(12, -2), 0);
    assert_eq!(ask(12, 3), 0);
    assert_eq!(ask(12, 2), code(ResponseError::FencedLeaderEpoch));
    assert_eq!(ask(12, 4), code(ResponseError::UnknownLeaderEpoch));
}

#[test]
fn followers_serve_from_version_11_on() {
    let (mut talk, leader) = orders();
    talk.produce(leader, "orders", Records::new(1).bytes());
    let (follower, stranger) = (talk.connect(2), talk.connect(3));
    let not_leader = code(ResponseError::NotLeaderOrFollower);
    assert_eq!(error(&talk.ask(follower, 10, &fetch("orders", 0))), not_leader);
    assert_eq!(error(&talk.ask(follower, 11, &fetch("orders", 0))), 0);
    assert_eq!(error(&talk.ask(stranger, 11, &fetch("orders", 0))), not_leader);
}

#[test]
fn diverging_epochs_are_told() {
    let (mut talk, leader) = orders();
    talk.produce(leader, "orders", Records::new(5).bytes());
    talk.change("orders", |partition| partition.leader_epoch = 4);
    talk.produce(leader, "orders", Records::new(5).bytes());
    let mut ask = |offset, epoch| {
        let mut request = fetch("orders", offset);
        request.topics[0].partitions[0].last_fetched_epoch = epoch;
        let response: FetchResponse = talk.ask(leader, 12, &request);
        let answer = &response.responses[0].partitions[0];
        let diverging = &answer.diverging_epoch;
        (answer.error_code, diverging.epoch, diverging.end_offset)
    };
    assert_eq!(ask(5, 0), (0, -1, -1));
    assert_eq!(ask(6, 0), (0, 0, 5), "epoch 0 ended at 5");
    assert_eq!(ask(7, 2), (0, 0, 5), "epoch 2 was never there");
    assert_eq!(ask(7, 4), (0, -1, -1));
    assert_eq!(ask(7, 5), (code(ResponseError::OffsetOutOfRange), -1, -1));
}

#[test]
fn topic_ids_are_resolved_and_compared() {
    let (mut talk, leader) = orders();
    let by_id = |id| {
        let mut request = fetch("", 0);
        request.topics[0].topic_id = id;
        request
    };
    let unknown = by_id(Uuid::from_u128(5));
    assert_eq!(error(&talk.ask(leader, 13, &unknown)), code(ResponseError::UnknownTopicId));
    let id = talk.id_of("orders");
    let mut request = by_id(id);
    request.session_epoch = 0;
    let response: FetchResponse = talk.ask(leader, 13, &request);
    assert_eq!((error(&response), response.responses[0].topic_id), (0, id));
    // The session remembers the name, so it finds the topic that has it now.
    talk.cluster.topics.remove(&topic_name("orders"));
    talk.create("orders", &[1, 2], &[]);
    let response: FetchResponse = talk.ask(leader, 13, &incremental(response.session_id, 1));
    assert_eq!(error(&response), code(ResponseError::InconsistentTopicId));
}

fn incremental(id: i32, epoch: i32) -> FetchRequest {
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_min_bytes(1)
        .with_session_id(id)
        .with_session_epoch(epoch)
}

fn two_topics() -> (Conversation, ConnectionId, FetchRequest) {
    let mut talk = Conversation::new(&[]);
    for name in ["a", "b"] {
        talk.create(name, &[1], &[]);
    }
    let leader = talk.connect(1);
    let mut request = fetch("a", 0);
    request.topics.extend(fetch("b", 0).topics);
    request.session_epoch = 0;
    (talk, leader, request)
}

#[test]
fn session_tells_only_what_has_changed() {
    let (mut talk, leader, full) = two_topics();
    let response: FetchResponse = talk.ask(leader, 12, &full);
    let id = response.session_id;
    assert!(id > 0);
    assert_eq!(said(&response).len(), 2, "the first answer has everything");
    let response: FetchResponse = talk.ask(leader, 12, &incremental(id, 1));
    assert_eq!((response.session_id, said(&response)), (id, vec![]));
    let batch = Records::new(1).bytes();
    talk.produce(leader, "b", batch.clone());
    let response: FetchResponse = talk.ask(leader, 12, &incremental(id, 2));
    assert_eq!(said(&response), [("b".to_owned(), batch.len())]);
    let response: FetchResponse = talk.ask(leader, 12, &incremental(id, 3));
    assert_eq!(said(&response).len(), 1, "the offset was not moved, so it comes again");
    let mut forward = incremental(id, 4);
    forward.topics = fetch("b", 1).topics;
    assert_eq!(said(&talk.ask(leader, 12, &forward)), []);
}

#[test]
fn session_moves_who_was_served_to_the_end() {
    let (mut talk, leader, full) = two_topics();
    let batch = Records::new(1).bytes();
    talk.produce(leader, "a", batch.clone());
    talk.produce(leader, "b", batch);
    let response: FetchResponse = talk.ask(leader, 12, &full);
    let id = response.session_id;
    let mut small = incremental(id, 1);
    small.max_bytes = 1;
    let first = said(&talk.ask(leader, 12, &small));
    small.session_epoch = 2;
    let second = said(&talk.ask(leader, 12, &small));
    assert_eq!((first[0].0.as_str(), second[0].0.as_str()), ("a", "b"));
}

#[test]
fn session_forgets_partitions_and_ends_with_the_last() {
    let (mut talk, leader, full) = two_topics();
    let id = talk.ask(leader, 12, &full).session_id;
    let forget = |name: &str| {
        ForgottenTopic::default().with_topic(topic_name(name)).with_partitions(vec![0])
    };
    let mut request = incremental(id, 1);
    request.forgotten_topics_data = vec![forget("a")];
    let response: FetchResponse = talk.ask(leader, 12, &request);
    assert_eq!(response.session_id, id);
    talk.produce(leader, "a", Records::new(1).bytes());
    assert_eq!(said(&talk.ask(leader, 12, &incremental(id, 2))), []);
    let mut request = incremental(id, 3);
    request.forgotten_topics_data = vec![forget("b")];
    let response: FetchResponse = talk.ask(leader, 12, &request);
    assert_eq!((response.error_code, response.session_id), (0, 0));
    let response: FetchResponse = talk.ask(leader, 12, &incremental(id, 4));
    assert_eq!(response.error_code, code(ResponseError::FetchSessionIdNotFound));
}

#[test]
fn wrong_session_epochs_and_ids_are_refused() {
    let (mut talk, leader, full) = two_topics();
    let id = talk.ask(leader, 12, &full).session_id;
    let mut ask =
        |version, id, epoch| talk.ask(leader, version, &incremental(id, epoch)).error_code;
    let wrong_epoch = code(ResponseError::InvalidFetchSessionEpoch);
    assert_eq!(ask(12, id, 2), wrong_epoch);
    assert_eq!(ask(12, id, 1), 0);
    assert_eq!(ask(12, id, 1), wrong_epoch, "a repeat");
    assert_eq!(ask(12, id ^ 1, 2), code(ResponseError::FetchSessionIdNotFound));
    assert_eq!(ask(13, id, 2), code(ResponseError::FetchSessionTopicIdError));
    assert_eq!(ask(12, id, -1), 0, "the last one closes it");
    assert_eq!(ask(12, id, 2), code(ResponseError::FetchSessionIdNotFound));
}

#[test]
fn sessions_belong_to_one_broker() {
    let (mut talk, leader, full) = two_topics();
    let id = talk.ask(leader, 12, &full).session_id;
    let other = talk.connect(2);
    let response: FetchResponse = talk.ask(other, 12, &incremental(id, 1));
    assert_eq!(response.error_code, code(ResponseError::FetchSessionIdNotFound));
    talk.cluster.fetch_sessions.forget(BrokerId(1));
    let response: FetchResponse = talk.ask(leader, 12, &incremental(id, 1));
    assert_eq!(response.error_code, code(ResponseError::FetchSessionIdNotFound));
}

#[test]
fn full_cache_gives_no_session_until_one_is_stale() {
    let mut spec = ClusterSpec::new("test", 7, "localhost", [9092]);
    let slots = "max.incremental.fetch.session.cache.slots";
    spec.settings.insert(slots.to_owned(), "2".to_owned());
    let mut talk = Conversation::with(spec);
    talk.create("orders", &[1], &[]);
    let leader = talk.connect(1);
    let full = fetch("orders", 0).with_session_epoch(0);
    let first: i32 = talk.ask(leader, 12, &full).session_id;
    let second: i32 = talk.ask(leader, 12, &full).session_id;
    assert!(first > 0 && second > 0 && first != second);
    assert_eq!(talk.ask(leader, 12, &full).session_id, 0);
    talk.pass(120_000);
    assert_eq!(talk.ask(leader, 12, &incremental(second, 1)).error_code, 0);
    talk.pass(1);
    assert!(talk.ask(leader, 12, &full).session_id > 0);
    let gone = talk.ask(leader, 12, &incremental(first, 1)).error_code;
    assert_eq!(gone, code(ResponseError::FetchSessionIdNotFound));
    assert_eq!(talk.ask(leader, 12, &incremental(second, 2)).error_code, 0);
}

#[test]
fn readers_of_committed_records_stop_before_open_transactions() {
    let (mut talk, leader) = orders();
    talk.produce(leader, "orders", Records::new(2).bytes());
    let id = kafka_protocol::protocol::StrBytes::from_static_str("pay");
    let coordinator = talk.cluster.transaction_coordinator_of(&id).expect("a coordinator");
    let coordinator = talk.connect(coordinator.0);
    let initialise = kafka_protocol::messages::InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone().into()))
        .with_transaction_timeout_ms(60_000);
    assert_eq!(talk.ask(coordinator, 2, &initialise).producer_id.0, 0);
    let open = Records::new(3).by(0, 0, 0).transactional().bytes();
    let mut request = super::super::super::conversation::produce("orders", open, 1);
    request.transactional_id = Some(id.into());
    talk.ask(leader, 12, &request);
    let committed = fetch("orders", 0).with_isolation_level(1);
    let response: FetchResponse = talk.ask(leader, 11, &committed);
    let answer = &response.responses[0].partitions[0];
    assert_eq!((answer.high_watermark, answer.last_stable_offset), (5, 2));
    assert_eq!(answer.records.as_ref().map(bytes::Bytes::len), {
        Some(Records::new(2).bytes().len())
    });
    assert_eq!(answer.aborted_transactions.as_deref(), Some(&[][..]));

    let sent =
        talk.send(leader, 11, &fetch("orders", 2).with_isolation_level(1).with_max_wait_ms(500));
    assert_eq!(talk.answer::<FetchResponse>(sent), None);
    talk.change("orders", |partition| {
        let marker = Marker {
            producer_id: 0,
            producer_epoch: 0,
            commit: false,
            coordinator_epoch: 0,
            timestamp: 1,
        };
        assert_eq!(partition.log.append_marker(&marker, 0), Ok(5));
    });
    let response: FetchResponse = talk.answer(sent).expect("the transaction is decided");
    let answer = &response.responses[0].partitions[0];
    assert_eq!(answer.last_stable_offset, 6);
    let aborted = answer.aborted_transactions.as_ref().expect("told to readers of committed");
    assert_eq!((aborted[0].producer_id.0, aborted[0].first_offset), (0, 2));
}

#[test]
fn strange_requests_are_answered() {
    let (mut talk, leader) = orders();
    let partition = FetchPartition::default()
        .with_partition(-7)
        .with_fetch_offset(i64::MIN)
        .with_partition_max_bytes(i32::MIN);
    let topic = FetchTopic::default()
        .with_topic(topic_name("orders"))
        .with_partitions(vec![partition.clone(), partition.with_partition(0)]);
    let request = FetchRequest::default()
        .with_max_bytes(-1)
        .with_min_bytes(i32::MIN)
        .with_max_wait_ms(i32::MAX)
        .with_session_epoch(i32::MIN)
        .with_topics(vec![topic]);
    let response: FetchResponse = talk.ask(leader, 12, &request);
    let errors = response.responses.iter().flat_map(|topic| &topic.partitions);
    let errors: Vec<_> = errors.map(|partition| partition.error_code).collect();
    assert_eq!(errors, [1, 3]);
    talk.produce(leader, "orders", Records::new(1).bytes());
    let negative = fetch("orders", 0).with_max_bytes(-1);
    assert_eq!(error(&talk.ask(leader, 12, &negative)), code(ResponseError::UnknownServerError));
}
