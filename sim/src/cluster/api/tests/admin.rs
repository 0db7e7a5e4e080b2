//! Requests and answers of the administrative APIs, as a broker of Kafka 4.1.1 was seen to answer them.

use std::fmt::Write as _;

use kafka_protocol::{
    messages::{
        AlterConfigsRequest, ApiKey, ApiVersionsRequest, BrokerId, CreatePartitionsRequest,
        CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
        DescribeTopicPartitionsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
        MetadataRequest, alter_configs_request,
        create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
        create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        describe_topic_partitions_request::{Cursor, TopicRequest},
        elect_leaders_request::TopicPartitions,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        metadata_request::MetadataRequestTopic,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    super::super::CloseCause,
    story::{Heard, Story, decode, text, topic},
};

fn creatable(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn configured(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text));
    creatable(name, 1, 1).with_configs(vec![config])
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(index, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    });
    creatable(name, -1, -1).with_assignments(assignments.collect())
}

impl Story {
    fn create(&mut self, topics: Vec<CreatableTopic>) -> String {
        let request = CreateTopicsRequest::default().with_topics(topics);
        let mut told = String::new();
        for topic in self.ask(1, 7, &request).topics {
            let text = topic.error_message.unwrap_or_default();
            let (name, code) = (topic.name.as_str(), topic.error_code);
            writeln!(told, "{}", format!("{name}: {code} {text}").trim_end()).expect("a string");
        }
        told.trim_end().to_owned()
    }

    fn metadata(&mut self, version: i16, names: &[&str]) -> String {
        let topics =
            names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(true);
        let mut told = String::new();
        for topic in self.ask(1, version, &request).topics {
            let name = topic.name.unwrap_or_default();
            let (code, count) = (topic.error_code, topic.partitions.len());
            writeln!(told, "{}: {code}, {count} partitions", name.as_str()).expect("a string");
        }
        told.trim_end().to_owned()
    }

    fn alter(
        &mut self,
        kind: i8,
        name: &str,
        key: &str,
        operation: i8,
        value: Option<&str>,
    ) -> String {
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask(1, 1, &request).responses.remove(0);
        let told = format!("{} {}", answer.error_code, answer.error_message.unwrap_or_default());
        told.trim_end().to_owned()
    }

    /// One setting: value, source, and the names and sources of its synonyms.
    fn setting(&mut self, kind: i8, name: &str, key: &str) -> String {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(Some(vec![text(key)]));
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true);
        let answer = self.ask(1, 4, &request).results.remove(0);
        let Some(config) = answer.configs.first() else {
            let text = answer.error_message.unwrap_or_default();
            return format!("{} {text}", answer.error_code).trim_end().to_owned();
        };
        let synonyms = config.synonyms.iter().map(|synonym| {
            let value = synonym.value.as_ref().map_or("null", StrBytes::as_str);
            format!(" {}={value}:{}", synonym.name.as_str(), synonym.source)
        });
        let value = config.value.as_ref().map_or("null", StrBytes::as_str);
        format!("{value}:{}{}", config.config_source, synonyms.collect::<String>())
    }
}

/// A client's error handling hangs on the code; people read the text.
#[test]
fn create_topics_refuses_what_kafka_refuses_in_its_words() {
    let mut story = Story::new();
    assert_eq!(story.create(vec![creatable("t", 2, 3)]), "t: 0");
    let cases = [
        creatable("t", 1, 1),
        creatable("rf", 1, 4),
        creatable("rf0", 1, 0),
        creatable("np", 0, 1),
        creatable("a b", 1, 1),
        creatable("", 1, 1),
        creatable(".", 1, 1),
        configured("c1", "foo", Some("1")),
        configured("c2", "retention.ms", Some("x")),
        configured("c3", "retention.ms", Some("-5")),
        configured("c4", "cleanup.policy", Some("x")),
        configured("c5", "retention.ms", None),
        configured("c6", "preallocate", Some("x")),
        configured("c7", "min.cleanable.dirty.ratio", Some("2")),
        assigned("a1", &[(0, &[9])]),
        assigned("a2", &[(0, &[1, 1])]),
        assigned("a3", &[(1, &[1])]),
        assigned("a4", &[(0, &[])]),
        assigned("a5", &[(0, &[1]), (1, &[1, 2])]),
        assigned("a6", &[(0, &[1])]).with_replication_factor(1),
        creatable("__cluster_metadata", 1, 1),
        creatable("twice", 1, 1),
        creatable("twice", 1, 1),
    ];
    insta::assert_snapshot!(story.create(cases.to_vec()), @r"
    t: 36 Topic 't' already exists.
    rf: 38 Unable to replicate the partition 4 time(s): The target replication factor of 4 cannot be reached because only 3 broker(s) are registered.
    rf0: 38 Replication factor must be larger than 0, or -1 to use the default value.
    np: 37 Number of partitions was set to an invalid non-positive value.
    a b: 17 Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
    : 17 Topic name is invalid: the empty string is not allowed
    .: 17 Topic name is invalid: '.' is not allowed
    c1: 40 Unknown topic config name: foo
    c2: 40 Invalid value x for configuration retention.ms: Not a number of type LONG
    c3: 40 Invalid value -5 for configuration retention.ms: Value must be at least -1
    c4: 40 Invalid value x for configuration cleanup.policy: String must be one of: compact, delete
    c5: 40 Null value not supported for topic configs: retention.ms
    c6: 40 Invalid value x for configuration preallocate: Expected value to be either true or false
    c7: 40 Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1
    a1: 39 The manual partition assignment includes broker 9, but no such broker is registered.
    a2: 39 The manual partition assignment includes the broker 1 more than once.
    a3: 39 partitions should be a consecutive 0-based integer sequence
    a4: 39 The manual partition assignment includes an empty replica list.
    a5: 39 The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).
    a6: 42 A manual partition assignment was specified, but replication factor was not set to -1.
    __cluster_metadata: 42 Creation of internal topic __cluster_metadata is prohibited.
    twice: 42 Duplicate topic name.
    ");
    assert_eq!(
        story.create(vec![creatable("x", i32::MAX, 1)]),
        "x: 44 Excessively large number of partitions per request."
    );
}

#[test]
fn create_topics_validates_only_when_asked_to_and_tells_what_would_be() {
    let mut story = Story::new();
    let request = CreateTopicsRequest::default()
        .with_topics(vec![configured("t", "retention.ms", Some("5000"))])
        .with_validate_only(true);
    let answer = story.ask(1, 7, &request).topics.remove(0);
    assert_eq!((answer.error_code, answer.num_partitions, answer.replication_factor), (0, 1, 1));
    let configs = answer.configs.expect("told");
    let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms");
    let retention = retention.expect("told");
    assert_eq!(retention.value.as_deref(), Some("5000"));
    assert_eq!(retention.config_source, 1);
    assert!(story.cluster.topics.get(&topic("t")).is_none());
    story.ask(1, 7, &request.with_validate_only(false));
    assert!(story.cluster.topics.get(&topic("t")).is_some());
}

#[test]
fn names_that_differ_in_dots_and_underscores_collide() {
    let mut story = Story::new();
    assert_eq!(story.create(vec![creatable("a.b", 1, 1)]), "a.b: 0");
    assert_eq!(
        story.create(vec![creatable("a_b", 1, 1)]),
        "a_b: 17 Topic 'a_b' collides with existing topic: a.b"
    );
}

/// Producers wait for a topic that comes a little later: one that came at once would hide a bug in that.
#[test]
fn metadata_creates_a_topic_and_tells_of_it_next_time() {
    let mut story = Story::new();
    assert_eq!(story.metadata(4, &["new"]), "new: 3, 0 partitions");
    assert_eq!(story.metadata(4, &["new", "new"]), "new: 0, 1 partitions");
    assert_eq!(story.metadata(12, &["a b", ""]), ": 17, 0 partitions\na b: 17, 0 partitions");
}

#[test]
fn metadata_by_id_knows_topics_and_refuses_a_request_that_names_nothing() {
    let mut story = Story::new();
    story.create(vec![creatable("t", 1, 1)]);
    let id = story.cluster.topics.get(&topic("t")).expect("created").id;
    let by_id = |id| {
        let topic = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let known = story.ask(1, 12, &by_id(id)).topics.remove(0);
    assert_eq!((known.error_code, known.name), (0, Some(topic("t"))));
    let unknown = story.ask(1, 12, &by_id(Uuid::from_u128(7))).topics.remove(0);
    assert_eq!((unknown.error_code, unknown.name), (100, None));
    let nothing = story.ask(1, 12, &by_id(Uuid::nil()));
    assert_eq!((nothing.topics[0].error_code, nothing.brokers.len()), (-1, 0));
}

/// Whoever lists topics before any group existed must not see Kafka's own.
#[test]
fn internal_topics_are_listed_once_a_coordinator_was_looked_for() {
    let mut story = Story::new();
    let all = MetadataRequest::default().with_topics(None);
    assert!(story.ask(1, 12, &all).topics.is_empty());
    assert!(story.cluster.coordinator_of("group").is_some());
    story.cluster.reveal_internal(&topic("__consumer_offsets"));
    let told = story.ask(1, 12, &all).topics;
    assert_eq!(told.len(), 1);
    assert!(told[0].is_internal);
    assert_eq!(told[0].partitions.len(), 50);
}

#[test]
fn metadata_tells_operations_to_those_who_ask() {
    let mut story = Story::new();
    story.create(vec![creatable("t", 1, 1)]);
    let request = MetadataRequest::default()
        .with_topics(None)
        .with_include_cluster_authorized_operations(true)
        .with_include_topic_authorized_operations(true);
    let told = story.ask(1, 9, &request);
    assert_eq!(told.cluster_authorized_operations, 0x1fa0);
    assert_eq!(told.topics[0].topic_authorized_operations, 0x0df8);
}

/// A replica that is away is told to everybody, in the words of their version.
#[test]
fn metadata_of_a_partition_without_leader_says_error_5() {
    let mut story = Story::new();
    story.create(vec![assigned("t", &[(0, &[2])]), assigned("u", &[(0, &[1, 2])])]);
    story.cluster.kill_broker(story.now, 2);
    story.pass(9_000);
    let told = story.ask(1, 12, &MetadataRequest::default().with_topics(None));
    assert_eq!(told.brokers.len(), 2);
    let offline = &told.topics[0].partitions[0];
    assert_eq!((offline.error_code, offline.leader_id, offline.leader_epoch), (5, BrokerId(-1), 1));
    assert_eq!(offline.offline_replicas, vec![BrokerId(2)]);
    assert!(offline.isr_nodes.is_empty(), "with eligible replicas an ISR may be empty");
    let v0 = story.ask(1, 0, &MetadataRequest::default().with_topics(Some(vec![])));
    let partial = &v0.topics[1].partitions[0];
    assert_eq!((partial.error_code, partial.replica_nodes.len()), (9, 1));
}

#[test]
fn delete_topics_by_name_and_id_answers_each_once() {
    let mut story = Story::new();
    story.create(vec![creatable("a", 1, 1), creatable("b", 1, 1), creatable("c", 1, 1)]);
    let id = story.cluster.topics.get(&topic("b")).expect("created").id;
    let state = |name: Option<&str>, id| {
        DeleteTopicState::default().with_name(name.map(topic)).with_topic_id(id)
    };
    let asked = vec![
        state(Some("a"), Uuid::nil()),
        state(None, id),
        state(None, Uuid::from_u128(7)),
        state(None, Uuid::nil()),
        state(Some("c"), Uuid::from_u128(7)),
        state(Some("zz"), Uuid::nil()),
        state(Some("twice"), Uuid::nil()),
        state(Some("twice"), Uuid::nil()),
    ];
    let answer = story.ask(1, 6, &DeleteTopicsRequest::default().with_topics(asked));
    let told = answer.responses.iter().map(|told| {
        let name = told.name.as_ref().map_or("-", |name| name.as_str());
        format!("{name} {}", told.error_code)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["a 0", "b 0", "- 100", "- 42", "c 42", "zz 3", "twice 42"]
    );
    let left: Vec<_> = story.cluster.topics.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(left, ["__consumer_offsets", "__transaction_state", "c"]);
    let by_name = DeleteTopicsRequest::default().with_topic_names(vec![topic("zz")]);
    let answer = story.ask(1, 5, &by_name).responses.remove(0);
    assert_eq!(
        answer.error_message.as_deref(),
        Some("This server does not host this topic-partition.")
    );
}

#[test]
fn create_partitions_only_grows() {
    let mut story = Story::new();
    story.create(vec![creatable("t", 2, 2)]);
    let grow = |name: &str, count, assignments: Option<Vec<&[i32]>>| {
        let assignments = assignments.map(|given| {
            let each = given.into_iter().map(|brokers| {
                let ids = brokers.iter().map(|id| BrokerId(*id)).collect();
                CreatePartitionsAssignment::default().with_broker_ids(ids)
            });
            each.collect()
        });
        let topic = CreatePartitionsTopic::default()
            .with_name(topic(name))
            .with_count(count)
            .with_assignments(assignments);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    };
    let cases = [
        grow("zz", 3, None),
        grow("t", 2, None),
        grow("t", -5, None),
        grow("t", 4, Some(vec![&[1, 2]])),
        grow("t", 3, Some(vec![&[1]])),
        grow("t", 3, None).with_validate_only(true),
        grow("t", 4, None),
    ];
    let told = cases.iter().map(|request| {
        let answer = story.ask(1, 3, request).results.remove(0);
        let told = format!("{} {}", answer.error_code, answer.error_message.unwrap_or_default());
        told.trim_end().to_owned()
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r"
    3
    37 Topic already has 2 partition(s).
    37 The topic t currently has 2 partition(s); -5 would not be an increase.
    39 Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.
    39 The manual partition assignment includes a partition with 1 replica(s), but this is not consistent with previous partitions, which have 2 replica(s).
    0
    0
    ");
    assert_eq!(story.cluster.topics.get(&topic("t")).expect("there").partitions.len(), 4);
}

#[test]
fn describe_cluster_tells_brokers_and_refuses_to_tell_controllers() {
    let mut story = Story::new();
    story.cluster.stop_broker(story.now, 3);
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    assert_eq!(story.ask(1, 2, &request).brokers.len(), 2);
    let all = story.ask(1, 2, &request.clone().with_include_fenced_brokers(true)).brokers;
    assert!(all[2].is_fenced);
    let controllers = story.ask(1, 1, &request.clone().with_endpoint_type(2));
    assert_eq!(controllers.error_code, 114);
    assert_eq!(story.ask(1, 1, &request.with_endpoint_type(3)).error_code, 115);
}

#[test]
fn configs_are_altered_and_described_with_what_would_hold_without() {
    let mut story = Story::new();
    story.create(vec![creatable("t", 1, 1)]);
    let told = [
        story.setting(2, "t", "retention.ms"),
        story.setting(2, "t", "min.insync.replicas"),
        story.alter(2, "t", "retention.ms", 0, Some("7000")),
        story.alter(4, "1", "log.retention.ms", 0, Some("9000")),
        story.alter(4, "", "log.retention.ms", 0, Some("9100")),
        story.alter(2, "t", "cleanup.policy", 2, Some("compact")),
        story.alter(2, "t", "cleanup.policy", 3, Some("delete")),
        story.setting(2, "t", "retention.ms"),
        story.setting(2, "t", "cleanup.policy"),
        story.setting(4, "1", "log.retention.ms"),
        story.alter(32, "g", "consumer.session.timeout.ms", 0, Some("50000")),
        story.setting(32, "g", "consumer.session.timeout.ms"),
    ];
    insta::assert_snapshot!(told.join("\n"), @r"
    604800000:5
    1:3 min.insync.replicas=1:3 min.insync.replicas=1:5
    0
    0
    0
    0
    0
    7000:1 retention.ms=7000:1 log.retention.ms=9000:2 log.retention.ms=9100:3 log.retention.hours=168:5
    compact:1 cleanup.policy=compact:1 log.cleanup.policy=delete:5
    9000:2 log.retention.ms=9000:2 log.retention.ms=9100:3 log.retention.hours=168:5
    0
    50000:8 consumer.session.timeout.ms=50000:8
    ");
}

#[test]
fn alterations_that_kafka_refuses_are_refused_in_its_words() {
    let mut story = Story::new();
    story.create(vec![creatable("t", 1, 1)]);
    let told = [
        story.alter(2, "t", "retention.ms", 0, Some("x")),
        story.alter(2, "t", "foo", 0, Some("x")),
        story.alter(2, "t", "foo", 1, None),
        story.alter(2, "t", "retention.ms", 2, Some("1")),
        story.alter(2, "t", "retention.ms", 9, Some("1")),
        story.alter(2, "t", "retention.ms", 0, None),
        story.alter(2, "zz", "retention.ms", 0, Some("1")),
        story.alter(2, "", "retention.ms", 0, Some("1")),
        story.alter(4, "9", "log.retention.ms", 0, Some("1")),
        story.alter(4, "x", "log.retention.ms", 0, Some("1")),
        story.alter(4, "1", "num.partitions", 0, Some("3")),
        story.alter(4, "1", "message.max.bytes", 0, Some("x")),
        story.alter(4, "1", "min.insync.replicas", 0, Some("2")),
        story.alter(4, "1", "log.retention.ms", 2, Some("2")),
        story.alter(32, "g", "consumer.session.timeout.ms", 0, Some("5")),
        story.alter(32, "g", "foo", 0, Some("5")),
        story.alter(32, "", "foo", 0, Some("5")),
        story.alter(3, "g", "foo", 0, Some("5")),
        story.setting(4, "2", "log.retention.ms"),
        story.setting(4, "x", "log.retention.ms"),
        story.setting(2, "zz", "retention.ms"),
        story.setting(32, "", "retention.ms"),
    ];
    insta::assert_snapshot!(told.join("\n"), @r"
    40 Invalid value x for configuration retention.ms: Not a number of type LONG
    40 Unknown topic config name: foo
    0
    40 Can't APPEND to key retention.ms because its type is not LIST.
    -1
    42 Null value not supported for : retention.ms
    3 The topic 'zz' does not exist.
    42 Default topic resources are not allowed.
    42 Unexpected broker id, expected 1, but received 9
    42 Node id must be an integer, but it is: x
    42 Cannot update these configs dynamically: Set(num.partitions)
    42 Invalid value x for configuration message.max.bytes: Not a number of type INT
    40 Broker-level min.insync.replicas cannot be altered while ELR is enabled.
    40 Config value append is not allowed for config key: log.retention.ms
    40 consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms
    40 Unknown group config name: foo
    42 Default group resources are not allowed.
    42 Unknown resource type 3
    42 Unexpected broker id, expected 1 or empty string, but received 2
    42 Broker id must be an integer, but it is: x
    3
    42 Group name must not be empty
    ");
}

/// The older API replaces all: what it does not name goes back to its default.
#[test]
fn alter_configs_replaces_what_was_set() {
    let mut story = Story::new();
    story.create(vec![configured("t", "retention.ms", Some("5000"))]);
    let alter = |name: &str, key: &str, value: Option<&str>| {
        let config = alter_configs_request::AlterableConfig::default()
            .with_name(text(key))
            .with_value(value.map(text));
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(name))
            .with_configs(vec![config]);
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    let codes = [
        story.ask(1, 2, &alter("t", "segment.ms", Some("x"))),
        story.ask(1, 2, &alter("t", "segment.ms", None)),
        story.ask(1, 2, &alter("zz", "segment.ms", Some("7"))),
        story.ask(1, 2, &alter("t", "segment.ms", Some("7")).with_validate_only(true)),
    ]
    .map(|answer| answer.responses[0].error_code);
    assert_eq!(codes, [40, 42, 3, 0]);
    assert_eq!(story.setting(2, "t", "retention.ms"), "5000:1 retention.ms=5000:1");
    story.ask(1, 0, &alter("t", "segment.ms", Some("7")));
    assert_eq!(story.setting(2, "t", "retention.ms"), "604800000:5");
    assert_eq!(story.setting(2, "t", "segment.ms"), "7:1 segment.ms=7:1");
}

#[test]
fn topics_cannot_be_deleted_where_the_brokers_do_not_allow_it() {
    let mut story = Story::with(&[("delete.topic.enable", "false")]);
    story.create(vec![creatable("t", 1, 1)]);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]);
    assert_eq!(story.ask(1, 5, &request).responses[0].error_code, 73);
    assert_eq!(story.ask(1, 2, &request).responses[0].error_code, 42);
}

#[test]
fn describe_topic_partitions_goes_page_by_page() {
    let mut story = Story::new();
    story.create(vec![creatable("a", 3, 1), creatable("b", 1, 1)]);
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2);
    let mut pages = Vec::new();
    loop {
        let answer = story.ask(1, 0, &request);
        let page = answer.topics.iter().map(|told| {
            let indexes: Vec<_> =
                told.partitions.iter().map(|partition| partition.partition_index).collect();
            format!("{}{indexes:?}", told.name.as_ref().map_or("-", |name| name.as_str()))
        });
        pages.push(page.collect::<Vec<_>>().join(" "));
        let Some(next) = answer.next_cursor else { break };
        request.cursor = Some(
            Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    assert_eq!(pages, ["a[0, 1]", "a[2] b[0]"]);
    let named = TopicRequest::default().with_name(topic("a"));
    let elsewhere = Cursor::default().with_topic_name(topic("zz"));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![named])
        .with_response_partition_limit(2)
        .with_cursor(Some(elsewhere));
    assert_eq!(story.ask(1, 0, &request).topics[0].error_code, 42);
}

#[test]
fn elections_by_request_answer_as_kafka_does() {
    let mut story = Story::new();
    story.create(vec![assigned("t", &[(0, &[1, 2])])]);
    let ask = |story: &mut Story, kind, partitions: Option<Vec<i32>>| {
        let topics = partitions.map(|partitions| {
            vec![TopicPartitions::default().with_topic(topic("t")).with_partitions(partitions)]
        });
        let request =
            ElectLeadersRequest::default().with_election_type(kind).with_topic_partitions(topics);
        let answer = story.ask(2, 2, &request);
        let results = answer.replica_election_results.iter().flat_map(|of| &of.partition_result);
        let codes: Vec<_> = results.map(|result| result.error_code).collect();
        (answer.error_code, codes)
    };
    assert_eq!(ask(&mut story, 0, Some(vec![0, 7])), (0, vec![84, 3]));
    assert_eq!(ask(&mut story, 1, Some(vec![0])), (0, vec![84]));
    assert_eq!(ask(&mut story, 5, Some(vec![0])), (42, vec![42]));
    assert_eq!(ask(&mut story, 0, None), (0, vec![]));
    story.cluster.stop_broker(story.now, 1);
    assert_eq!(ask(&mut story, 0, Some(vec![0])), (0, vec![80]));
    story.cluster.start_broker(story.now, 1);
    story.pass(1_000);
    assert_eq!(ask(&mut story, 0, None), (0, vec![0]));
}

/// A client that is too new must learn how to ask; the header stays the old one.
#[test]
fn api_versions_that_nobody_knows_is_answered_in_the_oldest_shape() {
    let mut story = Story::new();
    let connection = story.connect(1).expect("runs");
    story.send_body(connection, ApiKey::ApiVersions as i16, 9, 2, b"\x02a\x021\0");
    let Heard::Frame(frame) = story.hear(connection) else { panic!("answered") };
    let answer = decode::<ApiVersionsRequest>(&frame, 0);
    assert_eq!(answer.error_code, 35);
    let key = &answer.api_keys[0];
    assert_eq!((answer.api_keys.len(), key.api_key, key.max_version), (1, 18, 4));
    story.send(connection, 0, &ApiVersionsRequest::default());
    assert!(matches!(story.hear(connection), Heard::Frame(_)), "the connection goes on");
}

#[test]
fn api_versions_wants_a_proper_name_and_tells_features() {
    let mut story = Story::new();
    let named = |name: &str| {
        ApiVersionsRequest::default()
            .with_client_software_name(text(name))
            .with_client_software_version(text("1.0"))
    };
    for wrong in ["", "a b", "-a", "a-"] {
        assert_eq!(story.ask(1, 3, &named(wrong)).error_code, 42, "{wrong:?}");
    }
    let v3 = story.ask(1, 3, &named("librdkafka"));
    assert_eq!(v3.supported_features.len(), 1, "ranges that begin at 0 are for v4");
    let v4 = story.ask(1, 4, &named("apache-kafka-java"));
    assert_eq!(v4.supported_features.len(), 6);
    let finalized = v4.finalized_features.iter().map(|of| (of.name.as_str(), of.max_version_level));
    assert_eq!(
        finalized.collect::<Vec<_>>(),
        [
            ("group.version", 1),
            ("metadata.version", 27),
            ("transaction.version", 2),
            ("eligible.leader.replicas.version", 1)
        ]
    );
}

#[test]
fn a_version_that_is_not_offered_costs_the_connection() {
    let mut story = Story::new();
    let connection = story.connect(1).expect("runs");
    story.send_body(connection, ApiKey::Metadata as i16, 14, 2, b"");
    assert!(matches!(story.hear(connection), Heard::Closed(CloseCause::InvalidRequest)));
}
