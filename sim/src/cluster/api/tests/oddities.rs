//! Requests that no client library sends, as brokers were seen to answer them when both were asked the same.

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DeleteGroupsRequest, DescribeProducersRequest, FindCoordinatorRequest, GroupId,
        ListOffsetsRequest, MetadataRequest,
        describe_producers_request::TopicRequest,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
    },
};

use super::{
    super::super::conversation::{Conversation, topic_name},
    text,
};

fn orders() -> Conversation {
    let mut talk = Conversation::new(&[("offsets.topic.replication.factor", "1")]);
    talk.create("orders", &[1], &[]);
    talk
}

fn listing(isolation_level: i8, times: &[i64]) -> ListOffsetsRequest {
    let partitions = times.iter().map(|&time| {
        ListOffsetsPartition::default().with_timestamp(time).with_current_leader_epoch(-1)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(partitions.collect());
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation_level)
        .with_topics(vec![topic])
}

#[test]
fn list_offsets_refuses_a_partition_named_twice_once() {
    let mut talk = orders();
    let leader = talk.connect(1);
    let answer = talk.ask(leader, 7, &listing(0, &[-1, -2]));
    let codes: Vec<_> =
        answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [ResponseError::InvalidRequest.code()]);
}

#[test]
fn list_offsets_of_an_isolation_level_that_there_is_not_fails() {
    let mut talk = orders();
    let leader = talk.connect(1);
    let answer = talk.ask(leader, 7, &listing(4, &[-1]));
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.error_code, ResponseError::UnknownServerError.code());
    assert_eq!(partition.offset, -1);
}

#[test]
fn metadata_of_a_topic_without_name_and_id_fails_as_a_whole() {
    let mut talk = orders();
    let broker = talk.connect(1);
    let nothing = MetadataRequestTopic::default().with_name(None);
    let answer = talk.ask(broker, 13, &MetadataRequest::default().with_topics(Some(vec![nothing])));
    assert_eq!(answer.error_code, ResponseError::UnknownServerError.code());
}

#[test]
fn describe_producers_says_in_words_that_a_topic_is_not_there() {
    let mut talk = orders();
    let broker = talk.connect(1);
    let topics = ["orders", "nothing"].map(|name| {
        TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(vec![9])
    });
    let answer =
        talk.ask(broker, 0, &DescribeProducersRequest::default().with_topics(topics.into()));
    let told = answer.topics.iter().map(|topic| {
        let partition = &topic.partitions[0];
        (partition.error_code, partition.error_message.is_some())
    });
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(told.collect::<Vec<_>>(), [(unknown, false), (unknown, true)]);
}

#[test]
fn coordinator_of_a_share_group_is_not_available_where_there_are_none() {
    let mut talk = orders();
    let broker = talk.connect(1);
    let keys = vec![text("group:AAAAAAAAAAAAAAAAAAAAAQ:0"), text("nonsense")];
    let request = FindCoordinatorRequest::default().with_key_type(2).with_coordinator_keys(keys);
    let answer = talk.ask(broker, 6, &request);
    let codes: Vec<_> = answer.coordinators.iter().map(|found| found.error_code).collect();
    let wanted = [ResponseError::CoordinatorNotAvailable, ResponseError::InvalidRequest];
    assert_eq!(codes, wanted.map(|error| error.code()));
}

#[test]
fn group_to_be_deleted_twice_is_answered_for_once() {
    let mut talk = orders();
    let broker = talk.connect(1);
    let request = DeleteGroupsRequest::default()
        .with_groups_names(vec![GroupId(text("g")), GroupId(text("g"))]);
    assert_eq!(talk.ask(broker, 2, &request).results.len(), 1);
}
