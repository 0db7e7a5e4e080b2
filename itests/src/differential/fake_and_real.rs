//! Where the fake broker and a real one may differ.

use switchyard_sim::cluster::versions::{Profile, advertised};

use super::{
    allowed::{Allowance, Rule, Scene},
    value::{Difference, Value},
};

/// With no keys, the elements themselves tell each other apart.
const fn set(api: &'static str, path: &'static str, keys: &'static [&'static str]) -> Allowance {
    let reason = "a broker goes through a hash map here";
    Allowance { api, path, rule: Rule::Unordered(keys), reason }
}

const fn any(api: &'static str, path: &'static str, reason: &'static str) -> Allowance {
    Allowance { api, path, rule: Rule::Any, reason }
}

const fn when(
    api: &'static str,
    path: &'static str,
    condition: fn(&Scene<'_>, &Difference) -> bool,
    reason: &'static str,
) -> Allowance {
    Allowance { api, path, rule: Rule::When(condition), reason }
}

/// Every difference that is no fault of the fake broker.
pub const ALLOWED: &[Allowance] = &[
    Allowance {
        api: "*",
        path: "**.ErrorMessage",
        rule: Rule::Words,
        reason: "messages for people: their words are no part of the protocol",
    },
    set("Produce", "Responses[].PartitionResponses", &["Index"]),
    set("Metadata", "Topics", &["Name", "TopicId"]),
    set("Metadata", "Topics[].Partitions", &["PartitionIndex"]),
    set("CreateTopics", "Topics", &["Name"]),
    set("CreateTopics", "Topics[].Configs", &["Name"]),
    set("DeleteTopics", "Responses", &["Name", "TopicId"]),
    set("CreatePartitions", "Results", &["Name"]),
    set("DescribeConfigs", "Results[].Configs", &["Name"]),
    set("ApiVersions", "SupportedFeatures", &["Name"]),
    set("ApiVersions", "FinalizedFeatures", &["Name"]),
    set("ApiVersions", "ApiKeys", &["ApiKey"]),
    set("Fetch", "Responses", &["Topic", "TopicId"]),
    set("Fetch", "Responses[].Partitions", &["PartitionIndex"]),
    set("ListOffsets", "Topics", &["Name"]),
    set("ListOffsets", "Topics[].Partitions", &["PartitionIndex"]),
    set("OffsetForLeaderEpoch", "Topics", &["Topic"]),
    set("DeleteRecords", "Topics", &["Name"]),
    set("DeleteRecords", "Topics[].Partitions", &["PartitionIndex"]),
    set("ElectLeaders", "ReplicaElectionResults", &["Topic"]),
    set("AlterConfigs", "Responses", &["ResourceType", "ResourceName"]),
    set("IncrementalAlterConfigs", "Responses", &["ResourceType", "ResourceName"]),
    set("JoinGroup", "Members", &["MemberId"]),
    set("DescribeGroups", "Groups", &["GroupId"]),
    set("DescribeGroups", "Groups[].Members", &["MemberId"]),
    set("DeleteGroups", "Results", &["GroupId"]),
    set("ListGroups", "Groups", &["GroupId"]),
    set("OffsetFetch", "Topics", &["Name"]),
    set("OffsetFetch", "Topics[].Partitions", &["PartitionIndex"]),
    set("OffsetFetch", "Groups", &["GroupId"]),
    set("OffsetFetch", "Groups[].Topics", &["Name"]),
    set("OffsetFetch", "Groups[].Topics[].Partitions", &["PartitionIndex"]),
    set("OffsetCommit", "Topics", &["Name"]),
    set("OffsetDelete", "Topics", &["Name"]),
    set("OffsetDelete", "Topics[].Partitions", &["PartitionIndex"]),
    set("TxnOffsetCommit", "Topics", &["Name"]),
    set("ConsumerGroupHeartbeat", "Assignment.TopicPartitions", &["TopicId"]),
    set("ConsumerGroupDescribe", "Groups", &["GroupId"]),
    set("ConsumerGroupDescribe", "Groups[].Members", &["MemberId"]),
    set("ConsumerGroupDescribe", "Groups[].Members[].SubscribedTopicNames", &[]),
    set("ConsumerGroupDescribe", "Groups[].Members[].Assignment.TopicPartitions", &["TopicName"]),
    set(
        "ConsumerGroupDescribe",
        "Groups[].Members[].TargetAssignment.TopicPartitions",
        &["TopicName"],
    ),
    set("AddPartitionsToTxn", "ResultsByTopicV3AndBelow", &["Name"]),
    set("AddPartitionsToTxn", "ResultsByTopicV3AndBelow[].ResultsByPartition", &["PartitionIndex"]),
    set("AddPartitionsToTxn", "ResultsByTransaction", &["TransactionalId"]),
    set("ListTransactions", "TransactionStates", &["TransactionalId"]),
    set("DescribeTransactions", "TransactionStates", &["TransactionalId"]),
    set("DescribeTransactions", "TransactionStates[].Topics", &["Topic"]),
    set("DescribeTransactions", "TransactionStates[].Topics[].Partitions", &[]),
    set("DescribeProducers", "Topics[].Partitions[].ActiveProducers", &["ProducerId"]),
    any("*", "**.ClientHost", "a container sees its host under another address"),
    when(
        "DescribeTransactions",
        "**.TransactionStartTimeMs",
        is_near,
        "the hour at which it began",
    ),
    when(
        "Fetch",
        "**.Records[]",
        is_incomplete,
        "a broker cuts what it reads at the bytes that are asked for, and clients throw away the last part",
    ),
    when("Fetch", "**.MarkerBaseTimestamp", is_near, "the hour at which a marker was written"),
    when("Fetch", "**.MarkerMaxTimestamp", is_near, "the hour at which a marker was written"),
    when(
        "DescribeProducers",
        "**.LastTimestamp",
        is_near,
        "the hour at which a marker was written",
    ),
    when("ApiVersions", "ApiKeys[]", is_not_served, "the fake broker offers what it serves"),
    any("ApiVersions", "FinalizedFeaturesEpoch", "it grows with the cluster's metadata"),
];

fn is_not_served(_: &Scene<'_>, difference: &Difference) -> bool {
    let key = difference.left.as_ref().and_then(|row| row.field("ApiKey")?.int());
    difference.right.is_none()
        && key.is_some_and(|key| {
            advertised(Profile::Kafka41).all(|(served, _)| i64::from(served as i16) != key)
        })
}

fn is_incomplete(_: &Scene<'_>, difference: &Difference) -> bool {
    let whole = |side: &Option<Value>| {
        side.as_ref().is_some_and(|batch| batch.field("Incomplete").is_none())
    };
    !whole(&difference.left) && !whole(&difference.right)
}

/// Whether two times are about the same.
fn is_near(_: &Scene<'_>, difference: &Difference) -> bool {
    const APART_MAX_MS: i64 = 20_000;
    let ms = |side: &Option<Value>| side.as_ref().and_then(Value::int);
    let apart = ms(&difference.left).zip(ms(&difference.right)).map(|(left, right)| left - right);
    apart.is_some_and(|apart| apart.abs() < APART_MAX_MS)
}
