//! Where the fake broker and a real one may differ.

use switchyard_sim::cluster::versions::{Profile, advertised};

use super::{
    allowed::{Allowance, Rule, Scene},
    value::Difference,
};

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
