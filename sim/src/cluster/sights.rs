//! What somebody who stands beside a cluster sees of it: for histories that are judged, and to set up a stage. Watching
//! changes nothing of what clients see.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kafka_protocol::{
    messages::{GroupId, TopicName},
    protocol::StrBytes,
};

use super::{
    Cluster,
    controller::{NewTopic, is_internal},
    log::Aborted,
    time::Time,
};

/// Sights that nobody has fetched yet; beyond, the oldest are forgotten.
const SIGHTS_MAX: usize = 1 << 20;

/// Something that happened in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Records of a client were appended (not those of a mirror).
    Appended {
        /// Topic.
        topic: TopicName,
        /// Partition.
        partition: i32,
        /// How many offsets they take.
        records: u64,
    },
    /// A write was refused because its topic is a mirror.
    ReadOnlyRefused,
    /// A partition has another leader.
    LeaderMoved {
        /// Topic.
        topic: TopicName,
        /// Partition.
        partition: i32,
    },
    /// Silent members were thrown out of a group.
    MemberExpired {
        /// Which group.
        group: GroupId,
    },
}

/// What was seen and not fetched yet.
#[derive(Debug, Default)]
pub(super) struct Sights {
    watching: bool,
    seen: VecDeque<(Time, Sight)>,
}

/// Batches of one partition as they are stored, and what read-committed consumers pass over.
#[derive(Clone, Debug)]
pub struct StoredPartition {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Whole batches, one behind the other, up to the high watermark: also those of transactions that are open.
    pub batches: Bytes,
    /// Producer id and first offset of every aborted transaction among them.
    pub aborted: Vec<(i64, i64)>,
}

impl Cluster {
    /// From now on what happens can be fetched by [`Self::poll_sight`].
    pub fn watch_sights(&mut self) {
        self.sights.watching = true;
    }

    /// What has happened and when, the oldest first; `None`: all was told.
    pub fn poll_sight(&mut self) -> Option<(Time, Sight)> {
        self.sights.seen.pop_front()
    }

    pub(super) fn see(&mut self, sight: impl FnOnce() -> Sight) {
        if !self.sights.watching {
            return;
        }
        if self.sights.seen.len() == SIGHTS_MAX {
            self.sights.seen.pop_front();
        }
        self.sights.seen.push_back((self.now, sight()));
    }

    /// Creates a topic as an administrator would. Whether it could be.
    pub fn create(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &BTreeMap<String, String>,
    ) -> bool {
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        let configs = configs.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        let new =
            NewTopic { partitions, replicas, assignments: Vec::new(), configs: configs.collect() };
        self.create_topic(&name, &new).is_ok()
    }

    /// Lets every partition have been through so many elections, each won by the leader that it has.
    pub fn age_leaders(&mut self, elections: i32) {
        for (_, topic) in self.topics.iter_mut() {
            for partition in &mut topic.partitions {
                partition.leader_epoch += elections;
            }
        }
    }

    /// Everything that every replica in sync has, partition by partition.
    pub fn stored(&self) -> Vec<StoredPartition> {
        let mut stored = Vec::new();
        for (name, topic) in self.topics.iter().filter(|(name, _)| !is_internal(name)) {
            for (partition, it) in (0..).zip(&topic.partitions) {
                let log = &it.log;
                let end = log.high_watermark();
                let aborted = log.aborted(log.start(), end);
                let pair = |it: &Aborted| (it.producer_id, it.first_offset);
                stored.push(StoredPartition {
                    topic: name.to_string(),
                    partition,
                    batches: log.read(log.start(), end, usize::MAX, true).records,
                    aborted: aborted.iter().map(pair).collect(),
                });
            }
        }
        stored
    }
}
