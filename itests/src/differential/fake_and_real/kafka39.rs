//! Where the fake broker with the profile of Kafka 3.9 and a real one of that version may differ, besides.

use switchyard_sim::cluster::versions::Profile;

use super::{
    super::{
        allowed::{Allowance, Scene},
        connection::SILENT,
        value::{Difference, Value},
    },
    NOT_SERVED, is_not_served,
};

/// Every difference that only brokers of Kafka 3.9 show.
pub(super) const ALLOWED: &[Allowance] = &[
    Allowance::when(
        "ApiVersions",
        "ApiKeys[]",
        |_, difference| is_not_served(Profile::Kafka39, difference),
        NOT_SERVED,
    ),
    Allowance::set("ConsumerGroupDescribe", "Groups", &["GroupId", "ErrorCode"]),
    Allowance::when(
        "ConsumerGroupDescribe",
        "Groups[]",
        is_told_by_another_partition,
        "a 3.9 coordinator asks each of its partitions for all of the groups: those that have none of a group say so",
    ),
    Allowance::when(
        "ConsumerGroupDescribe",
        "Groups[]",
        |scene, difference| {
            const UNKNOWN_SERVER_ERROR: i64 = -1;
            let code = difference.left.as_ref().and_then(|group| group.field("ErrorCode")?.int());
            let mut groups = scene.request.list("GroupIds").iter().filter_map(Value::text);
            (difference.left.is_none() || code == Some(UNKNOWN_SERVER_ERROR))
                && groups.any(str::is_empty)
        },
        "a 3.9 coordinator fails for all of the groups when one has no name, which no client asks for",
    ),
    Allowance::when(
        "OffsetFetch",
        "",
        |scene, difference| {
            scene.request.field("Groups").is_some_and(|groups| groups.elements().is_empty())
                && difference.left.as_ref().and_then(Value::text) == Some(SILENT)
        },
        "a 3.9 broker never answers when there is no group in it, which no client sends",
    ),
];

/// Whether a real broker says once more that there is no such group, of several that were asked for.
fn is_told_by_another_partition(scene: &Scene<'_>, difference: &Difference) -> bool {
    const GROUP_ID_NOT_FOUND: i64 = 69;
    let code = difference.left.as_ref().and_then(|group| group.field("ErrorCode")?.int());
    difference.right.is_none()
        && code == Some(GROUP_ID_NOT_FOUND)
        && scene.request.list("GroupIds").len() > 1
}
