//! Which APIs and versions the cluster offers. What is not served is not advertised.

use std::ops::RangeInclusive;

use kafka_protocol::messages::ApiKey;

/// Whose versions a cluster offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Kafka 3.9.
    Kafka39,
    /// Kafka 4.1.
    Kafka41,
}

/// One API: its versions in Kafka 3.9 and 4.1, as brokers of these releases were seen to advertise them.
struct Row {
    key: ApiKey,
    kafka39: Option<(i16, i16)>,
    kafka41: Option<(i16, i16)>,
}

const fn row(key: ApiKey, kafka39: (i16, i16), kafka41: (i16, i16)) -> Row {
    Row { key, kafka39: Some(kafka39), kafka41: Some(kafka41) }
}

const ROWS: &[Row] = &[
    row(ApiKey::Produce, (0, 11), (0, 13)),
    row(ApiKey::Fetch, (0, 17), (4, 18)),
    row(ApiKey::ListOffsets, (0, 9), (1, 10)),
    row(ApiKey::Metadata, (0, 12), (0, 13)),
    row(ApiKey::OffsetCommit, (0, 9), (2, 9)),
    row(ApiKey::OffsetFetch, (0, 9), (1, 9)),
    row(ApiKey::FindCoordinator, (0, 6), (0, 6)),
    row(ApiKey::JoinGroup, (0, 9), (0, 9)),
    row(ApiKey::Heartbeat, (0, 4), (0, 4)),
    row(ApiKey::LeaveGroup, (0, 5), (0, 5)),
    row(ApiKey::SyncGroup, (0, 5), (0, 5)),
    row(ApiKey::DescribeGroups, (0, 5), (0, 6)),
    row(ApiKey::ListGroups, (0, 5), (0, 5)),
    row(ApiKey::SaslHandshake, (0, 1), (0, 1)),
    row(ApiKey::ApiVersions, (0, 4), (0, 4)),
    row(ApiKey::CreateTopics, (0, 7), (2, 7)),
    row(ApiKey::DeleteTopics, (0, 6), (1, 6)),
    row(ApiKey::DeleteRecords, (0, 2), (0, 2)),
    row(ApiKey::InitProducerId, (0, 5), (0, 5)),
    row(ApiKey::OffsetForLeaderEpoch, (0, 4), (2, 4)),
    row(ApiKey::AddPartitionsToTxn, (0, 5), (0, 5)),
    row(ApiKey::AddOffsetsToTxn, (0, 4), (0, 4)),
    row(ApiKey::EndTxn, (0, 4), (0, 5)),
    row(ApiKey::TxnOffsetCommit, (0, 4), (0, 5)),
    row(ApiKey::DescribeConfigs, (0, 4), (1, 4)),
    row(ApiKey::AlterConfigs, (0, 2), (0, 2)),
    row(ApiKey::SaslAuthenticate, (0, 2), (0, 2)),
    row(ApiKey::CreatePartitions, (0, 3), (0, 3)),
    row(ApiKey::DeleteGroups, (0, 2), (0, 2)),
    row(ApiKey::ElectLeaders, (0, 2), (0, 2)),
    row(ApiKey::IncrementalAlterConfigs, (0, 1), (0, 1)),
    row(ApiKey::OffsetDelete, (0, 0), (0, 0)),
    row(ApiKey::DescribeCluster, (0, 1), (0, 2)),
    row(ApiKey::DescribeProducers, (0, 0), (0, 0)),
    row(ApiKey::DescribeTransactions, (0, 0), (0, 0)),
    row(ApiKey::ListTransactions, (0, 1), (0, 2)),
    row(ApiKey::ConsumerGroupHeartbeat, (0, 0), (0, 1)),
    row(ApiKey::ConsumerGroupDescribe, (0, 0), (0, 1)),
    row(ApiKey::DescribeTopicPartitions, (0, 0), (0, 0)),
];

impl Row {
    fn offered(&self, profile: Profile) -> Option<RangeInclusive<i16>> {
        let (min, max) = match profile {
            Profile::Kafka39 => self.kafka39,
            Profile::Kafka41 => self.kafka41,
        }?;
        Some(min..=max)
    }
}

/// Every API that a cluster of this profile advertises, with its versions.
pub fn advertised(profile: Profile) -> impl Iterator<Item = (ApiKey, RangeInclusive<i16>)> {
    ROWS.iter().filter_map(move |row| Some((row.key, row.offered(profile)?)))
}

/// Whether a request of this version is served: advertised, and one that the protocol crate knows. The two
/// differ below Kafka 4's floors (Produce v0 to v2), which brokers advertise for librdkafka's sake and refuse.
pub fn is_served(profile: Profile, key: ApiKey, version: i16) -> bool {
    key.valid_versions().min <= version
        && ROWS
            .iter()
            .find(|row| row.key == key)
            .and_then(|row| row.offered(profile))
            .is_some_and(|versions| versions.contains(&version))
}

/// A feature of the cluster: what brokers support, and the level that is in force.
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) min: i16,
    pub(super) max: i16,
    pub(super) finalized: Option<i16>,
}

const fn feature(name: &'static str, min: i16, max: i16, finalized: Option<i16>) -> Feature {
    Feature { name, min, max, finalized }
}

/// The features of a freshly formatted cluster, as brokers of these releases were seen to tell them.
pub(super) const fn features(profile: Profile) -> &'static [Feature] {
    const KAFKA39: &[Feature] =
        &[feature("kraft.version", 0, 1, None), feature("metadata.version", 1, 21, Some(21))];
    const KAFKA41: &[Feature] = &[
        feature("group.version", 0, 1, Some(1)),
        feature("kraft.version", 0, 1, None),
        feature("metadata.version", 7, 27, Some(27)),
        feature("share.version", 0, 1, None),
        feature("transaction.version", 0, 2, Some(2)),
        feature("eligible.leader.replicas.version", 0, 1, Some(1)),
    ];
    match profile {
        Profile::Kafka39 => KAFKA39,
        Profile::Kafka41 => KAFKA41,
    }
}
