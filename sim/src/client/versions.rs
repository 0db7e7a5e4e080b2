//! Which versions of an API a client speaks: the newest that the library, kafka-protocol and the broker know.

use std::collections::BTreeMap;

use kafka_protocol::messages::{ApiKey, api_versions_response::ApiVersion};

use super::config::Library;

/// Java speaks all that kafka-protocol knows, but for these.
const JAVA: &[(ApiKey, i16)] = &[
    // Later ones are for brokers among themselves.
    (ApiKey::AddPartitionsToTxn, 3),
    (ApiKey::InitProducerId, 5),
    // By name: a topic id adds nothing that the models look at.
    (ApiKey::OffsetCommit, 9),
    (ApiKey::OffsetFetch, 9),
];

/// The newest of librdkafka 2.12.
const LIBRDKAFKA: &[(ApiKey, i16)] = &[
    (ApiKey::AddOffsetsToTxn, 0),
    (ApiKey::AddPartitionsToTxn, 0),
    (ApiKey::ApiVersions, 3),
    (ApiKey::ConsumerGroupHeartbeat, 1),
    (ApiKey::EndTxn, 1),
    (ApiKey::Fetch, 16),
    (ApiKey::FindCoordinator, 2),
    (ApiKey::Heartbeat, 3),
    (ApiKey::InitProducerId, 4),
    (ApiKey::JoinGroup, 5),
    (ApiKey::LeaveGroup, 1),
    (ApiKey::ListOffsets, 7),
    (ApiKey::OffsetCommit, 9),
    (ApiKey::OffsetFetch, 9),
    (ApiKey::OffsetForLeaderEpoch, 2),
    (ApiKey::Produce, 10),
    (ApiKey::SaslAuthenticate, 1),
    (ApiKey::SyncGroup, 3),
    (ApiKey::TxnOffsetCommit, 3),
];

/// The newest version of an API that a library would send.
pub(super) fn newest(library: Library, key: ApiKey) -> i16 {
    let rows = match library {
        Library::Java => JAVA,
        Library::Librdkafka => LIBRDKAFKA,
    };
    let known = key.valid_versions().max;
    rows.iter().find(|(row, _)| *row == key).map_or(known, |(_, newest)| known.min(*newest))
}

/// What one broker offers, as its ApiVersions response says.
#[derive(Clone, Debug, Default)]
pub(super) struct Offered {
    versions: BTreeMap<i16, (i16, i16)>,
    /// Level of the finalized feature `transaction.version`.
    pub(super) transaction_version: i16,
}

impl Offered {
    pub(super) fn new(keys: &[ApiVersion], transaction_version: i16) -> Self {
        let versions = keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        Self { versions: versions.collect(), transaction_version }
    }

    /// The newest version that both know; `None`: there is none.
    pub(super) fn version(&self, library: Library, key: ApiKey, at_most: i16) -> Option<i16> {
        let (min, max) = self.versions.get(&(key as i16))?;
        let newest = newest(library, key).min(*max).min(at_most);
        (newest >= (*min).max(key.valid_versions().min)).then_some(newest)
    }

    /// The newest version that the broker offers, whatever the client knows; −1: it does not offer the API.
    pub(super) fn newest_offered(&self, key: ApiKey) -> i16 {
        self.versions.get(&(key as i16)).map_or(-1, |(_, max)| *max)
    }
}
