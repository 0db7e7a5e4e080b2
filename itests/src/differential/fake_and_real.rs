//! Where the fake broker and a real one may differ.

use switchyard_sim::cluster::versions::{Profile, advertised};

use super::{
    allowed::{Allowance, Rule, Scene},
    connection::SILENT,
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
    set("OffsetForLeaderEpoch", "Topics", &["Topic"]),
    set("DeleteRecords", "Topics", &["Name"]),
    set("DeleteRecords", "Topics[].Partitions", &["PartitionIndex"]),
    set("ElectLeaders", "ReplicaElectionResults", &["Topic"]),
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
    set(
        "AddPartitionsToTxn",
        "ResultsByTransaction[].TopicResults[].ResultsByPartition",
        &["PartitionIndex"],
    ),
    set("ListTransactions", "TransactionStates", &["TransactionalId"]),
    set("DescribeTransactions", "TransactionStates", &["TransactionalId"]),
    set("DescribeTransactions", "TransactionStates[].Topics", &["Topic"]),
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
    Allowance {
        api: "Produce",
        path: "**.BatchIndexErrorMessage",
        rule: Rule::Words,
        reason: "messages for people",
    },
    when(
        "DescribeConfigs",
        "Results[].Configs[]",
        is_of_other_groups,
        "share and streams groups are not served",
    ),
    when(
        "Produce",
        "**.ErrorMessage",
        |_, difference| difference.right == Some(Value::Null),
        "of some errors a broker says more than their code does, for people",
    ),
    when(
        "AddPartitionsToTxn",
        "ResultsByTopicV3AndBelow[]",
        |_, difference| {
            let named = difference.left.as_ref().map(|topic| topic.list("ResultsByPartition"));
            difference.right.is_none() && named.is_some_and(<[Value]>::is_empty)
        },
        "a broker names in its errors a topic of which no partition is asked for, as no client does",
    ),
    when(
        "DescribeTransactions",
        "TransactionStates[].Topics[].Partitions[]",
        |_, difference| difference.path.contains("[__consumer_offsets]"),
        "a group's partition follows from its name, which is not the same everywhere",
    ),
    when(
        "*",
        "Topics[]",
        |_, difference| {
            let sides = [&difference.left, &difference.right].into_iter().flatten();
            let mut empty = sides.map(|topic| topic.list("Partitions").is_empty());
            empty.next() == Some(true) && empty.next().is_none()
        },
        "a topic of which no partition is asked for is in some answers and not in others; no client does that",
    ),
    when("Produce", "**.LogAppendTimeMs", is_near, "the hour of the append"),
    when(
        "Produce",
        "",
        is_forgotten,
        "a broker never answers to records that are null, which no client sends",
    ),
    when(
        "AddPartitionsToTxn",
        "",
        is_forgotten,
        "a broker never answers when there is no transaction in it, which no client sends",
    ),
    when("Fetch", "**.BrokerBaseTimestamp", is_near, "the hour of an append by the broker"),
    when("Fetch", "**.BrokerMaxTimestamp", is_near, "the hour of an append by the broker"),
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

/// Whether a request that asks for nothing is not answered.
fn is_forgotten(scene: &Scene<'_>, difference: &Difference) -> bool {
    let mut nothing = false;
    scene.request.visit("", &mut |name, value| {
        nothing |= matches!((name, value), ("Records", Value::Null));
        nothing |= name == "Transactions" && value.elements().is_empty();
    });
    nothing && difference.left.as_ref().and_then(Value::text) == Some(SILENT)
}

/// Whether only a real broker has this setting of a group.
fn is_of_other_groups(_: &Scene<'_>, difference: &Difference) -> bool {
    let name = difference.left.as_ref().and_then(|config| config.field("Name")?.text());
    difference.right.is_none()
        && name.is_some_and(|name| name.starts_with("share.") || name.starts_with("streams."))
}

/// Whether two times are about the same.
fn is_near(_: &Scene<'_>, difference: &Difference) -> bool {
    const APART_MAX_MS: i64 = 20_000;
    let ms = |side: &Option<Value>| side.as_ref().and_then(Value::int);
    let apart = ms(&difference.left).zip(ms(&difference.right)).map(|(left, right)| left - right);
    apart.is_some_and(|apart| apart.abs() < APART_MAX_MS)
}
