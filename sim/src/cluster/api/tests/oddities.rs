//! Requests that no client library sends, as brokers were seen to answer them when both were asked the same.

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DeleteGroupsRequest, DeleteRecordsRequest, DescribeProducersRequest,
        FetchRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest, MetadataRequest,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_producers_request::TopicRequest,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::TopicProduceData,
    },
};

use super::{
    super::super::conversation::{Conversation, Records, produce, topic_name},
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

/// Of what is in one request for the same partition, the last counts.
#[test]
fn partition_named_twice_in_a_produce_gets_the_last_records() {
    let mut talk = orders();
    let leader = talk.connect(1);
    let mut request = produce("orders", Records::new(1).bytes(), -1);
    let other = produce("orders", Records::new(3).bytes(), -1);
    request.topic_data.extend(other.topic_data);
    request.topic_data.push(TopicProduceData::default().with_name(topic_name("empty")));
    let answer = talk.ask(leader, 12, &request);
    assert_eq!(answer.responses.len(), 1);
    assert_eq!(answer.responses[0].partition_responses.len(), 1);
    assert_eq!(talk.partition("orders").log.end(), 3);
}

/// A producer that has written without an epoch goes on with one, whatever its sequence.
#[test]
fn first_epoch_of_a_producer_without_one_may_begin_anywhere() {
    let mut talk = orders();
    let leader = talk.connect(1);
    assert_eq!(talk.produce(leader, "orders", Records::new(1).by(7, -1, 0).bytes()), (0, 0));
    assert_eq!(talk.produce(leader, "orders", Records::new(1).by(7, 0, 5).bytes()), (0, 1));
    let gap = ResponseError::OutOfOrderSequenceNumber.code();
    assert_eq!(talk.produce(leader, "orders", Records::new(1).by(7, 1, 5).bytes()).0, gap);
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
    let topics = ["orders", "nothing", ""].map(|name| {
        TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(vec![9])
    });
    let answer =
        talk.ask(broker, 0, &DescribeProducersRequest::default().with_topics(topics.into()));
    let told = answer.topics.iter().map(|topic| {
        let partition = &topic.partitions[0];
        (partition.error_code, partition.error_message.is_some())
    });
    let told: Vec<_> = told.collect();
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(told[..2], [(unknown, false), (unknown, true)]);
    assert_eq!(told[2].0, ResponseError::InvalidTopicException.code());
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

#[test]
fn of_offsets_to_delete_from_the_last_counts() {
    let mut talk = orders();
    let leader = talk.connect(1);
    let topic = |offsets: &[i64]| {
        let partition = |&offset| DeleteRecordsPartition::default().with_offset(offset);
        DeleteRecordsTopic::default()
            .with_name(topic_name("orders"))
            .with_partitions(offsets.iter().map(partition).collect())
    };
    let request = DeleteRecordsRequest::default().with_topics(vec![topic(&[0, 9]), topic(&[9, 0])]);
    let told = talk.ask(leader, 2, &request).topics;
    assert_eq!((told.len(), told[0].partitions.len()), (1, 1));
    assert_eq!(told[0].partitions[0].error_code, 0);
}

#[test]
fn fetch_of_an_isolation_level_that_there_is_not_fails_as_a_whole() {
    let mut talk = orders();
    let leader = talk.connect(1);
    let topic = FetchTopic::default()
        .with_topic(topic_name("orders"))
        .with_topic_id(talk.id_of("orders"))
        .with_partitions(vec![FetchPartition::default()]);
    let request = FetchRequest::default().with_isolation_level(2).with_topics(vec![topic]);
    let unknown = ResponseError::UnknownServerError.code();
    for (version, code, topics) in [(4, 0, 1), (12, unknown, 1), (13, unknown, 0)] {
        let mut request = request.clone();
        for topic in &mut request.topics {
            let is_named = version < 13;
            topic.topic = if is_named { topic_name("orders") } else { topic_name("") };
            topic.topic_id = if is_named { uuid::Uuid::nil() } else { topic.topic_id };
        }
        let told = talk.ask(leader, version, &request);
        assert_eq!((told.error_code, told.responses.len()), (code, topics), "v{version}");
        let partitions = told.responses.iter().flat_map(|topic| &topic.partitions);
        assert!(partitions.map(|partition| partition.error_code).all(|code| code == unknown));
    }
}
