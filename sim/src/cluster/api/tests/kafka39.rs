//! What brokers of Kafka 3.9 were seen to answer otherwise than those of 4.1.

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreateTopicsRequest,
        DescribeConfigsRequest, DescribeConfigsResponse, FindCoordinatorRequest, GroupId,
        LeaveGroupRequest, ListOffsetsRequest,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        describe_configs_request::DescribeConfigsResource,
        leave_group_request::MemberIdentity,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::StrBytes,
};

use super::{
    super::super::{
        ClusterSpec,
        conversation::{Conversation, topic_name},
        versions::Profile,
    },
    text,
};

/// One broker of each profile, whether it is of 3.9.
fn both() -> [(Conversation, bool); 2] {
    [Profile::Kafka39, Profile::Kafka41].map(|profile| {
        let mut spec = ClusterSpec::new("test", 7, "localhost", 9092..9093);
        spec.profile = profile;
        spec.settings = [
            ("offsets.topic.replication.factor", "1"),
            ("group.coordinator.rebalance.protocols", "classic,consumer"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut talk = Conversation::with(spec);
        talk.create("orders", &[1], &[]);
        (talk, profile == Profile::Kafka39)
    })
}

fn describe(talk: &mut Conversation, kind: i8, name: &str) -> DescribeConfigsResponse {
    let broker = talk.connect(1);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    talk.ask(broker, 4, &DescribeConfigsRequest::default().with_resources(vec![resource]))
}

#[test]
fn topics_have_settings_that_kafka_4_did_away_with() {
    const OLDER: [&str; 3] = [
        "message.downconversion.enable",
        "message.format.version",
        "message.timestamp.difference.max.ms",
    ];
    for (mut talk, is_39) in both() {
        let told = describe(&mut talk, 2, "orders");
        let names = told.results[0].configs.iter().map(|config| config.name.as_str());
        let older: Vec<_> = names.filter(|name| OLDER.contains(name)).collect();
        assert_eq!(older, if is_39 { &OLDER[..] } else { &[] });

        let broker = talk.connect(1);
        let config = CreatableTopicConfig::default()
            .with_name(text("message.timestamp.difference.max.ms"))
            .with_value(Some(text("1000")));
        let topic = CreatableTopic::default()
            .with_name(topic_name("other"))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![config]);
        let answer = talk.ask(broker, 7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        let wanted = if is_39 { 0 } else { ResponseError::InvalidConfig.code() };
        assert_eq!(answer.topics[0].error_code, wanted);
    }
}

#[test]
fn brokers_have_settings_of_their_own_for_these() {
    for (mut talk, is_39) in both() {
        let told = describe(&mut talk, 4, "1");
        let mut configs = told.results[0].configs.iter();
        let found = configs.find(|config| config.name.as_str() == "log.message.format.version");
        let value = found.and_then(|config| config.value.as_ref()).map(StrBytes::as_str);
        assert_eq!(value, is_39.then_some("3.0-IV1"));
    }
}

#[test]
fn settings_of_groups_are_not_told_and_those_of_metrics_only_where_they_are_set() {
    for (mut talk, is_39) in both() {
        let group = describe(&mut talk, 32, "g").results.remove(0);
        let wanted = if is_39 { ResponseError::InvalidRequest.code() } else { 0 };
        assert_eq!(group.error_code, wanted);
        let metrics = describe(&mut talk, 16, "m").results.remove(0);
        assert_eq!((metrics.error_code, metrics.configs.is_empty()), (0, is_39));
    }
}

#[test]
fn groups_of_the_consumer_protocol_are_described_with_fewer_operations_and_words() {
    let group = |name| GroupId(text(name));
    for (mut talk, is_39) in both() {
        let broker = talk.connect(1);
        let member = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group("g"))
            .with_rebalance_timeout_ms(5_000)
            .with_subscribed_topic_names(Some(vec![topic_name("orders")]))
            .with_topic_partitions(Some(Vec::new()));
        let member = talk.ask(broker, 0, &member).member_id.expect("it has joined");
        let request = ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![group("g"), group("h")])
            .with_include_authorized_operations(true);
        let told = talk.ask(broker, 0, &request).groups;
        assert_eq!(told[0].authorized_operations, if is_39 { 328 } else { 3400 });
        assert_eq!(told[1].error_code, ResponseError::GroupIdNotFound.code());
        assert_eq!(told[1].error_message.is_none(), is_39);

        // Only members of the classic protocol leave in this way.
        let member = MemberIdentity::default().with_member_id(member);
        let request =
            LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![member]);
        let left = talk.ask(broker, 4, &request).members.remove(0);
        let wanted = if is_39 { ResponseError::UnknownMemberId.code() } else { 0 };
        assert_eq!(left.error_code, wanted);
    }
}

#[test]
fn offsets_of_a_partition_asked_for_twice_are_refused_twice() {
    for (mut talk, is_39) in both() {
        let leader = talk.connect(1);
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name("orders"))
            .with_partitions(vec![partition.clone(), partition]);
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let told = talk.ask(leader, 9, &request).topics.remove(0).partitions;
        let codes: Vec<_> = told.iter().map(|partition| partition.error_code).collect();
        assert_eq!(codes, vec![ResponseError::InvalidRequest.code(); if is_39 { 2 } else { 1 }]);
    }
}

#[test]
fn coordinators_of_share_groups_are_not_available_whatever_their_keys() {
    for (mut talk, is_39) in both() {
        let broker = talk.connect(1);
        let request = FindCoordinatorRequest::default()
            .with_key_type(2)
            .with_coordinator_keys(vec![text("nonsense")]);
        let told = talk.ask(broker, 6, &request).coordinators.remove(0);
        let wanted = if is_39 {
            ResponseError::CoordinatorNotAvailable
        } else {
            ResponseError::InvalidRequest
        };
        assert_eq!(told.error_code, wanted.code());
    }
}
