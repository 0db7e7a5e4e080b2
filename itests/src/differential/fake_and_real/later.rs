//! Where brokers later than Kafka 4.1, which the fake one is like, may differ from it: what was measured of Kafka 4.4.0.

use super::super::{
    allowed::{Allowance, Scene},
    connection::CLOSED,
    value::{Difference, Value},
};

/// Every difference that is one between Kafka 4.1 and a later one.
pub(super) const ALLOWED: &[Allowance] = &[
    Allowance::when("ApiVersions", "ApiKeys[].MaxVersion", is_higher, "newer versions of an API"),
    Allowance::when(
        "ApiVersions",
        "",
        |scene, difference| {
            scene.version == 5 && difference.left.as_ref().and_then(Value::text) == Some(CLOSED)
        },
        "4.4 serves version 5, which has more fields than are written here; 4.1 refuses it",
    ),
    Allowance::when("ApiVersions", "SupportedFeatures[].MaxVersion", is_higher, NEWER_FEATURES),
    Allowance::when(
        "ApiVersions",
        "SupportedFeatures[]",
        |_, difference| has_more(difference, &["streams.version"]),
        NEWER_FEATURES,
    ),
    Allowance::when(
        "ApiVersions",
        "FinalizedFeatures[].MaxVersionLevel",
        is_higher,
        NEWER_FEATURES,
    ),
    Allowance::when(
        "ApiVersions",
        "FinalizedFeatures[].MinVersionLevel",
        is_higher,
        NEWER_FEATURES,
    ),
    Allowance::when(
        "ApiVersions",
        "FinalizedFeatures[]",
        |_, difference| has_more(difference, &["share.version", "streams.version"]),
        NEWER_FEATURES,
    ),
    Allowance::when(
        "CreateTopics",
        "Topics[].Configs[]",
        |_, difference| has_more(difference, OF_TOPICS),
        NEWER_SETTINGS,
    ),
    Allowance::when(
        "DescribeConfigs",
        "Results[].Configs[]",
        |_, difference| has_more(difference, OF_TOPICS) || has_more(difference, OF_GROUPS),
        NEWER_SETTINGS,
    ),
    Allowance::when(
        "DescribeConfigs",
        "Results[].Configs[].Synonyms[].Name",
        |_, difference| {
            let name = |side: &Option<Value>| Some(side.as_ref()?.text()?.to_owned());
            let group = name(&difference.right).map(|own| format!("group.{own}"));
            group.is_some() && name(&difference.left) == group
        },
        "4.4 names the broker's setting in place of a group's own",
    ),
    Allowance::when("ConsumerGroupHeartbeat", "MemberEpoch", is_one_more, EPOCHS),
    Allowance::when("ConsumerGroupDescribe", "Groups[].GroupEpoch", is_one_more, EPOCHS),
    Allowance::when("ConsumerGroupDescribe", "Groups[].Members[].MemberEpoch", is_one_more, EPOCHS),
    Allowance::when(
        "ConsumerGroupDescribe",
        "Groups[].AssignmentEpoch",
        |scene, difference| is_one_more(scene, difference) || is_of_empty_group(scene, difference),
        "as above; and the assignment of a group without members is that of its epoch at once, which has nobody to assign to",
    ),
];

const NEWER_FEATURES: &str = "features of 4.4 (metadata.version 33)";
const NEWER_SETTINGS: &str = "settings that 4.1 does not have";
const EPOCHS: &str = "groups begin with epoch 1 and an empty assignment, their first member makes it 2 (KAFKA-20268)";

/// Settings of topics that came after 4.1.
const OF_TOPICS: &[&str] = &[
    "errors.deadletterqueue.group.enable",
    "max.decompressed.message.bytes",
    "remote.copy.lag.bytes",
    "remote.copy.lag.ms",
];

/// Settings of groups that came after 4.1.
const OF_GROUPS: &[&str] = &[
    "consumer.assignment.interval.ms",
    "errors.deadletterqueue.copy.record.enable",
    "errors.deadletterqueue.topic.name",
];

fn ints(difference: &Difference) -> Option<(i64, i64)> {
    let int = |side: &Option<Value>| side.as_ref().and_then(Value::int);
    int(&difference.left).zip(int(&difference.right))
}

fn is_higher(_: &Scene<'_>, difference: &Difference) -> bool {
    ints(difference).is_some_and(|(left, right)| left > right)
}

fn is_one_more(_: &Scene<'_>, difference: &Difference) -> bool {
    ints(difference).is_some_and(|(left, right)| left == right + 1)
}

/// Whether only a real broker has an element, and it has one of these names.
fn has_more(difference: &Difference, names: &[&str]) -> bool {
    let name = difference.left.as_ref().and_then(|element| element.field("Name")?.text());
    difference.right.is_none() && name.is_some_and(|name| names.contains(&name))
}

/// Whether the group that differs has no members, and its assignment the epoch of the group.
fn is_of_empty_group(scene: &Scene<'_>, difference: &Difference) -> bool {
    let assigned = difference.left.as_ref().and_then(Value::int);
    scene.left.list("Groups").iter().any(|group| {
        let id = group.field("GroupId").and_then(Value::text).unwrap_or_default();
        difference.path.starts_with(&format!("Groups[{id}]."))
            && group.list("Members").is_empty()
            && group.field("GroupEpoch").and_then(Value::int) == assigned
    })
}
