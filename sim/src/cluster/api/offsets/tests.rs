use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest,
        ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
};

use super::super::super::{
    ConnectionId,
    conversation::{Conversation, Records, START_MS, topic_name},
};

fn code(error: ResponseError) -> i16 {
    error.code()
}

fn orders(configs: &[(&str, &str)]) -> (Conversation, ConnectionId) {
    let mut talk = Conversation::new(&[]);
    talk.create("orders", &[1, 2], configs);
    let leader = talk.connect(1);
    (talk, leader)
}

fn list(timestamp: i64) -> ListOffsetsRequest {
    let partition =
        ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

/// Error, offset, timestamp and leader epoch.
fn listed(
    talk: &mut Conversation,
    connection: ConnectionId,
    version: i16,
    request: &ListOffsetsRequest,
) -> (i16, i64, i64, i32) {
    let response: ListOffsetsResponse = talk.ask(connection, version, request);
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset, answer.timestamp, answer.leader_epoch)
}

#[test]
fn offsets_are_found_by_time() {
    let (mut talk, leader) = orders(&[]);
    let at = |delta: i64| START_MS.cast_signed() + delta;
    talk.produce(leader, "orders", Records::at(&[at(0), at(10), at(20)]).bytes());
    talk.change("orders", |partition| partition.leader_epoch = 2);
    talk.produce(leader, "orders", Records::at(&[at(30), at(25)]).bytes());
    let mut list = |timestamp| listed(&mut talk, leader, 9, &list(timestamp));
    assert_eq!(list(0), (0, 0, at(0), 0));
    assert_eq!(list(at(11)), (0, 2, at(20), 0));
    assert_eq!(list(at(21)), (0, 3, at(30), 2));
    assert_eq!(list(at(31)), (0, -1, -1, -1), "nothing is so young");
    assert_eq!(list(super::EARLIEST), (0, 0, -1, 0));
    assert_eq!(list(super::EARLIEST_LOCAL), (0, 0, -1, 0));
    assert_eq!(list(super::LATEST), (0, 5, -1, 2));
    assert_eq!(list(super::MAX_TIMESTAMP), (0, 3, at(30), 2));
    assert_eq!(list(super::LATEST_TIERED), (0, -1, -1, -1));
}

#[test]
fn special_timestamps_need_their_versions() {
    let (mut talk, leader) = orders(&[]);
    let unsupported = code(ResponseError::UnsupportedVersion);
    for (timestamp, from) in [(-3, 7), (-4, 8), (-5, 9)] {
        let error = |talk: &mut _, version| listed(talk, leader, version, &list(timestamp)).0;
        assert_eq!(error(&mut talk, from - 1), unsupported, "{timestamp}");
        assert_eq!(error(&mut talk, from), 0, "{timestamp}");
    }
    assert_eq!(listed(&mut talk, leader, 10, &list(-6)).0, unsupported);
}

#[test]
fn list_offsets_answers_in_every_version_and_leaves_out_the_epoch_before_4() {
    let (mut talk, leader) = orders(&[]);
    talk.change("orders", |partition| partition.leader_epoch = 2);
    for version in 1..=10 {
        let epoch = if version >= 4 { 2 } else { -1 };
        assert_eq!(listed(&mut talk, leader, version, &list(-1)), (0, 0, -1, epoch));
    }
}

#[test]
fn consumers_see_what_is_replicated_and_new_leaders_do_not_know_yet() {
    let (mut talk, leader) = orders(&[]);
    talk.change("orders", |partition| partition.log.replica_stopped(BrokerId(2)));
    let request = super::super::super::conversation::produce("orders", Records::new(3).bytes(), 1);
    talk.ask(leader, 9, &request);
    assert_eq!(listed(&mut talk, leader, 5, &list(-1)), (0, 0, -1, 0));
    let of_replica = list(-1).with_replica_id(BrokerId(2));
    assert_eq!(listed(&mut talk, leader, 5, &of_replica), (0, 3, -1, 0));
    talk.change("orders", |partition| partition.leader_epoch = 1);
    let not_available = code(ResponseError::OffsetNotAvailable);
    assert_eq!(listed(&mut talk, leader, 5, &list(-1)).0, not_available);
    let before_5 = code(ResponseError::LeaderNotAvailable);
    assert_eq!(listed(&mut talk, leader, 4, &list(-1)).0, before_5);
    assert_eq!(listed(&mut talk, leader, 4, &list(-2)).0, 0, "the start is known");
    talk.change("orders", |partition| partition.log.replica_returned(BrokerId(2)));
    assert_eq!(listed(&mut talk, leader, 5, &list(-1)), (0, 3, -1, 1));
}

#[test]
fn partition_asked_twice_is_refused() {
    let (mut talk, leader) = orders(&[]);
    let mut request = list(-1);
    request.topics.extend(list(-2).topics);
    let invalid = code(ResponseError::InvalidRequest);
    assert_eq!(listed(&mut talk, leader, 5, &request).0, invalid);
}

#[test]
fn wrong_brokers_and_epochs_are_told() {
    let (mut talk, leader) = orders(&[]);
    let follower = talk.connect(2);
    let not_leader = code(ResponseError::NotLeaderOrFollower);
    assert_eq!(listed(&mut talk, follower, 5, &list(-1)).0, not_leader);
    let debugging = list(-1).with_replica_id(BrokerId(-2));
    assert_eq!(listed(&mut talk, follower, 5, &debugging).0, 0);
    let mut request = list(-1);
    request.topics[0].partitions[0].current_leader_epoch = 1;
    let unknown = code(ResponseError::UnknownLeaderEpoch);
    assert_eq!(listed(&mut talk, leader, 5, &request).0, unknown);
    request.topics[0].partitions[0].partition_index = 1;
    let unknown = code(ResponseError::UnknownTopicOrPartition);
    assert_eq!(listed(&mut talk, leader, 5, &request).0, unknown);
}

#[test]
fn ends_of_leader_epochs_are_told() {
    let (mut talk, leader) = orders(&[]);
    talk.produce(leader, "orders", Records::new(3).bytes());
    talk.change("orders", |partition| partition.leader_epoch = 5);
    let mut ask = |current, asked| {
        let partition = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(current)
            .with_leader_epoch(asked);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name("orders"))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let response: OffsetForLeaderEpochResponse = talk.ask(leader, 4, &request);
        let answer = &response.topics[0].partitions[0];
        (answer.error_code, answer.leader_epoch, answer.end_offset)
    };
    assert_eq!(ask(-1, 0), (0, 0, 3));
    assert_eq!(ask(5, 5), (0, 5, 3));
    assert_eq!(ask(5, 3), (0, 0, 3));
    assert_eq!(ask(5, 6), (0, -1, -1));
    assert_eq!(ask(4, 0), (code(ResponseError::FencedLeaderEpoch), -1, -1));
}

fn delete(talk: &mut Conversation, connection: ConnectionId, offset: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_timeout_ms(1000).with_topics(vec![topic]);
    let response: DeleteRecordsResponse = talk.ask(connection, 2, &request);
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.low_watermark)
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    let (mut talk, leader) = orders(&[]);
    for _ in 0..3 {
        talk.produce(leader, "orders", Records::new(2).bytes());
    }
    let out_of_range = (code(ResponseError::OffsetOutOfRange), -1);
    assert_eq!(delete(&mut talk, leader, 7), out_of_range);
    assert_eq!(delete(&mut talk, leader, -2), out_of_range);
    assert_eq!(delete(&mut talk, leader, 3), (0, 3));
    assert_eq!(delete(&mut talk, leader, 1), (0, 3), "it never goes back");
    assert_eq!(listed(&mut talk, leader, 9, &list(-2)), (0, 3, -1, 0));
    let batch = talk.fetch(leader, "orders", 3);
    assert_eq!(batch[..8], 2_i64.to_be_bytes(), "the batch that holds it is whole");
    assert_eq!(delete(&mut talk, leader, -1), (0, 6));
    assert!(talk.fetch(leader, "orders", 6).is_empty());
    assert_eq!(talk.produce(leader, "orders", Records::new(1).bytes()), (0, 6));
}

#[test]
fn compacted_topics_keep_their_records() {
    let (mut talk, leader) = orders(&[("cleanup.policy", "compact")]);
    assert_eq!(delete(&mut talk, leader, 0), (code(ResponseError::PolicyViolation), -1));
}
