//! Where the fake broker and a real one may differ.

use kafka_protocol::messages::ApiKey;
use switchyard::wire::schema::Api;
use switchyard_sim::cluster::versions::{Profile, advertised, is_served};

use super::{
    allowed::{Allowance, Rule, Scene},
    connection::SILENT,
    value::{Difference, Value},
};
use crate::version::Version;

mod kafka39;
mod later;

/// Whose versions the fake broker offers when it is held against a real one of this version: there are two profiles.
pub fn profile(version: Version) -> Profile {
    if version.since(4, 0) { Profile::Kafka41 } else { Profile::Kafka39 }
}

/// What may differ from a broker of this version. All of it must come up.
pub fn allowed(version: Version) -> Vec<&'static [Allowance]> {
    let mut tables = vec![ALLOWED];
    if version.since(4, 0) {
        tables.push(SINCE_40);
    } else {
        tables.push(kafka39::ALLOWED);
    }
    if version.since(4, 2) {
        tables.push(later::ALLOWED);
    }
    tables
}

/// Whether the fake broker is held against a real one in this version of an API.
///
/// With the profile of Kafka 4.1 in every one. Kafka 3.9 serves more than the fake does, which lacks the versions that Kafka 4
/// has done away with (KIP-896); of what it does not serve, only those versions are compared that are later than any.
pub fn is_compared(profile: Profile, api: &Api, version: i16) -> bool {
    profile >= Profile::Kafka41 || newest(api) < Some(version) || {
        let key = ApiKey::try_from(api.key);
        key.is_ok_and(|key| is_served(profile, key, version))
    }
}

/// The last version of an API that a fake broker of any profile serves.
fn newest(api: &Api) -> Option<i16> {
    let mut rows = advertised(Profile::Kafka41).filter(|(key, _)| *key as i16 == api.key);
    rows.next().map(|(_, versions)| *versions.end())
}

/// The versions of an API that a fake broker of this profile advertises.
fn versions(profile: Profile, api: &Api) -> impl Iterator<Item = i16> {
    let row = advertised(profile).find(|(key, _)| *key as i16 == api.key);
    row.into_iter().flat_map(|(_, versions)| versions)
}

/// The versions of an API that a fake broker of this profile advertises and is compared in.
pub fn offered(profile: Profile, api: &Api) -> impl Iterator<Item = i16> {
    versions(profile, api).filter(move |version| is_compared(profile, api, *version))
}

/// The versions of an API that a fake broker of this profile advertises but does not serve.
pub fn refused(profile: Profile, api: &Api) -> impl Iterator<Item = i16> {
    let key = ApiKey::try_from(api.key);
    versions(profile, api)
        .filter(move |version| !key.is_ok_and(|key| is_served(profile, key, *version)))
}

/// Every difference that is no fault of the fake broker.
pub const ALLOWED: &[Allowance] = &[
    Allowance {
        api: "*",
        path: "**.ErrorMessage",
        rule: Rule::Words,
        reason: "messages for people: their words are no part of the protocol",
    },
    Allowance::set("Produce", "Responses[].PartitionResponses", &["Index"]),
    Allowance::set("Metadata", "Topics", &["Name", "TopicId"]),
    Allowance::set("Metadata", "Topics[].Partitions", &["PartitionIndex"]),
    Allowance::set("CreateTopics", "Topics", &["Name"]),
    Allowance::set("CreateTopics", "Topics[].Configs", &["Name"]),
    Allowance::set("DeleteTopics", "Responses", &["Name", "TopicId"]),
    Allowance::set("CreatePartitions", "Results", &["Name"]),
    Allowance::set("DescribeConfigs", "Results[].Configs", &["Name"]),
    Allowance::set("ApiVersions", "SupportedFeatures", &["Name"]),
    Allowance::set("ApiVersions", "ApiKeys", &["ApiKey"]),
    Allowance::set("Fetch", "Responses", &["Topic", "TopicId"]),
    Allowance::set("Fetch", "Responses[].Partitions", &["PartitionIndex"]),
    Allowance::set("ListOffsets", "Topics", &["Name"]),
    Allowance::set("OffsetForLeaderEpoch", "Topics", &["Topic"]),
    Allowance::set("DeleteRecords", "Topics", &["Name"]),
    Allowance::set("DeleteRecords", "Topics[].Partitions", &["PartitionIndex"]),
    Allowance::set("ElectLeaders", "ReplicaElectionResults", &["Topic"]),
    Allowance::set("IncrementalAlterConfigs", "Responses", &["ResourceType", "ResourceName"]),
    Allowance::set("JoinGroup", "Members", &["MemberId"]),
    Allowance::set("DescribeGroups", "Groups", &["GroupId"]),
    Allowance::set("DescribeGroups", "Groups[].Members", &["MemberId"]),
    Allowance::set("DeleteGroups", "Results", &["GroupId"]),
    Allowance::set("ListGroups", "Groups", &["GroupId"]),
    Allowance::set("OffsetFetch", "Topics", &["Name"]),
    Allowance::set("OffsetFetch", "Topics[].Partitions", &["PartitionIndex"]),
    Allowance::set("OffsetFetch", "Groups", &["GroupId"]),
    Allowance::set("OffsetFetch", "Groups[].Topics", &["Name"]),
    Allowance::set("OffsetFetch", "Groups[].Topics[].Partitions", &["PartitionIndex"]),
    Allowance::set("OffsetCommit", "Topics", &["Name"]),
    Allowance::set("OffsetDelete", "Topics", &["Name"]),
    Allowance::set("OffsetDelete", "Topics[].Partitions", &["PartitionIndex"]),
    Allowance::set("ConsumerGroupHeartbeat", "Assignment.TopicPartitions", &["TopicId"]),
    Allowance::set("ConsumerGroupDescribe", "Groups[].Members", &["MemberId"]),
    Allowance::set("ConsumerGroupDescribe", "Groups[].Members[].SubscribedTopicNames", &[]),
    Allowance::set(
        "ConsumerGroupDescribe",
        "Groups[].Members[].Assignment.TopicPartitions",
        &["TopicName"],
    ),
    Allowance::set(
        "ConsumerGroupDescribe",
        "Groups[].Members[].TargetAssignment.TopicPartitions",
        &["TopicName"],
    ),
    Allowance::set("AddPartitionsToTxn", "ResultsByTopicV3AndBelow", &["Name"]),
    Allowance::set(
        "AddPartitionsToTxn",
        "ResultsByTopicV3AndBelow[].ResultsByPartition",
        &["PartitionIndex"],
    ),
    Allowance::set("AddPartitionsToTxn", "ResultsByTransaction", &["TransactionalId"]),
    Allowance::set(
        "AddPartitionsToTxn",
        "ResultsByTransaction[].TopicResults[].ResultsByPartition",
        &["PartitionIndex"],
    ),
    Allowance::set("ListTransactions", "TransactionStates", &["TransactionalId"]),
    Allowance::set("DescribeTransactions", "TransactionStates", &["TransactionalId"]),
    Allowance::set("DescribeTransactions", "TransactionStates[].Topics", &["Topic"]),
    Allowance::any("*", "**.ClientHost", "a container sees its host under another address"),
    Allowance::when(
        "DescribeTransactions",
        "**.TransactionStartTimeMs",
        is_near,
        "the hour at which it began",
    ),
    Allowance::when(
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
    Allowance::when(
        "Produce",
        "**.ErrorMessage",
        |_, difference| difference.right == Some(Value::Null),
        "of some errors a broker says more than their code does, for people",
    ),
    Allowance::when(
        "AddPartitionsToTxn",
        "ResultsByTopicV3AndBelow[]",
        |_, difference| {
            let named = difference.left.as_ref().map(|topic| topic.list("ResultsByPartition"));
            difference.right.is_none() && named.is_some_and(<[Value]>::is_empty)
        },
        "a broker names in its errors a topic of which no partition is asked for, as no client does",
    ),
    Allowance::when(
        "DescribeTransactions",
        "TransactionStates[].Topics[].Partitions[]",
        |_, difference| difference.path.contains("[__consumer_offsets]"),
        "a group's partition follows from its name, which is not the same everywhere",
    ),
    Allowance::when(
        "*",
        "Topics[]",
        |_, difference| {
            let sides = [&difference.left, &difference.right].into_iter().flatten();
            let mut empty = sides.map(|topic| topic.list("Partitions").is_empty());
            empty.next() == Some(true) && empty.next().is_none()
        },
        "a topic of which no partition is asked for is in some answers and not in others; no client does that",
    ),
    Allowance::when("Produce", "**.LogAppendTimeMs", is_near, "the hour of the append"),
    Allowance::when(
        "Produce",
        "",
        is_forgotten,
        "a broker never answers to records that are null, which no client sends",
    ),
    Allowance::when(
        "AddPartitionsToTxn",
        "",
        is_forgotten,
        "a broker never answers when there is no transaction in it, which no client sends",
    ),
    Allowance::when(
        "Fetch",
        "**.BrokerBaseTimestamp",
        is_near,
        "the hour of an append by the broker",
    ),
    Allowance::when(
        "Fetch",
        "**.BrokerMaxTimestamp",
        is_near,
        "the hour of an append by the broker",
    ),
    Allowance::when(
        "DescribeProducers",
        "**.LastTimestamp",
        is_near,
        "the hour at which a marker was written",
    ),
    Allowance::any("ApiVersions", "FinalizedFeaturesEpoch", "it grows with the cluster's metadata"),
];

/// What may differ from Kafka 4.0 and later, besides.
const SINCE_40: &[Allowance] = &[
    Allowance::set("ApiVersions", "FinalizedFeatures", &["Name"]),
    Allowance::set("ConsumerGroupDescribe", "Groups", &["GroupId"]),
    Allowance::when(
        "DescribeConfigs",
        "Results[].Configs[]",
        is_of_other_groups,
        "share and streams groups are not served",
    ),
    Allowance::when(
        "ApiVersions",
        "ApiKeys[]",
        |_, difference| is_not_served(Profile::Kafka41, difference),
        NOT_SERVED,
    ),
];

const NOT_SERVED: &str = "the fake broker offers what it serves";

/// Whether only a real broker has this API.
fn is_not_served(profile: Profile, difference: &Difference) -> bool {
    let key = difference.left.as_ref().and_then(|row| row.field("ApiKey")?.int());
    difference.right.is_none()
        && key.is_some_and(|key| {
            advertised(profile).all(|(served, _)| i64::from(served as i16) != key)
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
