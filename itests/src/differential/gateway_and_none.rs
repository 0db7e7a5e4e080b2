//! Where the answers through the gateway may differ from those of the broker itself, once its addresses are told apart from
//! those of brokers.

use super::{
    allowed::{Allowance, Scene},
    value::{Difference, Value},
};

/// What may differ whenever one cluster is asked twice under two names; some of it only now and then.
pub const OF_ITSELF: &[Allowance] = &[
    Allowance::set("Produce", "Responses[].PartitionResponses", &["Index"]),
    Allowance::set("Produce", "Responses", &["Name", "TopicId"]),
    Allowance::set("ListOffsets", "Topics[].Partitions", &["PartitionIndex", "ErrorCode"]),
    Allowance::set("DeleteRecords", "Topics[].Partitions", &["PartitionIndex"]),
    Allowance::set("Metadata", "Topics", &["Name", "TopicId"]),
    Allowance::set("DeleteTopics", "Responses", &["Name", "TopicId"]),
    Allowance::set("CreatePartitions", "Results", &["Name"]),
    Allowance::set("DescribeGroups", "Groups", &["GroupId"]),
    Allowance::set("DeleteGroups", "Results", &["GroupId"]),
    // Kafka 3.9 gives a group that does not exist the name of another.
    Allowance::set("ConsumerGroupDescribe", "Groups", &["GroupId", "ErrorCode"]),
    Allowance::set("ShareGroupDescribe", "Groups", &["GroupId"]),
    Allowance::set("AlterClientQuotas", "Entries", &["Entity"]),
    Allowance::set("DescribeUserScramCredentials", "Results", &["User"]),
    Allowance::set("DescribeTransactions", "TransactionStates[].Topics", &["Topic"]),
    Allowance::any(
        "DescribeTransactions",
        "TransactionStates[].TransactionStartTimeMs",
        "when the coordinator got the request",
    ),
    Allowance::when(
        "DescribeTransactions",
        "TransactionStates[].Topics[].Partitions[]",
        is_of_offsets,
        "the partition of the group's offsets, which its name decides",
    ),
    Allowance::any("Fetch", "**.BrokerBaseTimestamp", "when the broker wrote a marker"),
    Allowance::any("Fetch", "**.BrokerMaxTimestamp", "when the broker wrote a marker"),
    Allowance::any("Metadata", "ControllerId", "any live broker, by lot (KRaft)"),
    Allowance::any("DescribeCluster", "ControllerId", "any live broker, by lot (KRaft)"),
    Allowance::any(
        "DescribeQuorum",
        "Topics[].Partitions[].CurrentVoters[].LastFetchTimestamp",
        "voters go on fetching",
    ),
    Allowance::any(
        "DescribeQuorum",
        "Topics[].Partitions[].CurrentVoters[].LastCaughtUpTimestamp",
        "voters go on fetching",
    ),
    Allowance::any("DescribeQuorum", "**.LogEndOffset", "the metadata of the cluster grow"),
    Allowance::any("DescribeQuorum", "**.HighWatermark", "the metadata of the cluster grow"),
    Allowance::any("DescribeLogDirs", "Results[].UsableBytes", "others use the disk, too"),
    Allowance::any(
        "GetTelemetrySubscriptions",
        "ClientInstanceId",
        "made up for a client that has none",
    ),
    Allowance::any(
        "GetTelemetrySubscriptions",
        "SubscriptionId",
        "it follows from the client's id",
    ),
];

/// What the gateway changes in both views, besides the addresses of brokers.
pub const BOTH_VIEWS: &[Allowance] = &[
    Allowance::when(
        "DescribeConfigs",
        "Results[].Configs[].Value",
        hides_addresses,
        "a broker's listeners are addresses",
    ),
    Allowance::when(
        "DescribeConfigs",
        "Results[].Configs[].Synonyms[].Value",
        hides_addresses,
        "a broker's listeners are addresses",
    ),
    Allowance::any(
        "DescribeQuorum",
        "Nodes[].Listeners[].Host",
        "controllers listen elsewhere under the ids of brokers: the gateway names itself",
    ),
];

/// What the neutral view changes: nothing that holds for one cluster only reaches its clients.
pub const NEUTRAL: &[Allowance] = &[
    Allowance::when("Metadata", "**.LeaderEpoch", is_no_epoch, EPOCHS),
    Allowance::when("Metadata", "ClusterId", is_of_route, CLUSTER_ID),
    Allowance::when("DescribeCluster", "ClusterId", is_of_route, CLUSTER_ID),
    Allowance::when("ListOffsets", "**.LeaderEpoch", is_no_epoch, EPOCHS),
    Allowance::when("OffsetFetch", "**.CommittedLeaderEpoch", is_no_epoch, EPOCHS),
    Allowance::when("Produce", "**.CurrentLeader.LeaderEpoch", is_no_epoch, EPOCHS),
];

const EPOCHS: &str = "leader epochs of two clusters must not be compared";
const CLUSTER_ID: &str = "one id for whichever cluster the route points at";

fn is_of_offsets(_: &Scene<'_>, difference: &Difference) -> bool {
    difference.path.contains(".Topics[__consumer_offsets].")
}

fn is_no_epoch(_: &Scene<'_>, difference: &Difference) -> bool {
    difference.right == Some(Value::Int(-1))
}

fn is_of_route(_: &Scene<'_>, difference: &Difference) -> bool {
    // Both ids are kept as bytes; that of a route is as long as Kafka's own.
    matches!(&difference.right, Some(Value::Bytes(id)) if id.len() == 22)
}

fn hides_addresses(scene: &Scene<'_>, difference: &Difference) -> bool {
    let path = difference.path.split(".Synonyms").next().unwrap_or_default();
    let path = path.strip_suffix(".Value").unwrap_or(path);
    let name = scene.left.at(&format!("{path}.Name")).and_then(Value::text);
    let hidden = [
        "advertised.listeners",
        "listeners",
        "controller.quorum.voters",
        "controller.quorum.bootstrap.servers",
    ];
    difference.right == Some(Value::Null) && name.is_some_and(|name| hidden.contains(&name))
}
