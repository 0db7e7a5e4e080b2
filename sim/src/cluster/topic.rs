//! Topics and partitions as the controller knows them.

use std::collections::BTreeMap;

use kafka_protocol::messages::{BrokerId, TopicName};
use uuid::Uuid;

use super::log::Log;

/// One topic.
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<Partition>,
    /// What was set for this topic, by Kafka's own names.
    pub(super) configs: BTreeMap<String, String>,
    /// A mirror that was not promoted: only its link writes to it.
    pub(super) read_only: bool,
}

impl Topic {
    /// A topic that clients may write to.
    pub(super) fn new(
        id: Uuid,
        partitions: Vec<Partition>,
        configs: BTreeMap<String, String>,
    ) -> Self {
        Self { id, partitions, configs, read_only: false }
    }
}

/// One partition. All replicas share one log: whoever is in the ISR has all of it, and whoever is not has it up
/// to where it was when it went.
///
/// Invariants: the leader is in the ISR; the ISR and the eligible replicas are replicas and disjoint; a replica
/// that the log counts as stopped is one that does not run, or that runs and has not caught up.
pub(super) struct Partition {
    /// In the order of preference.
    pub(super) replicas: Vec<BrokerId>,
    pub(super) isr: Vec<BrokerId>,
    /// Replicas that left an ISR which is now below `min.insync.replicas`: they have whatever was acknowledged to
    /// `acks=all` (KIP-966), so any of them may lead.
    pub(super) elr: Vec<BrokerId>,
    pub(super) leader: Option<BrokerId>,
    /// Rises with every election, also one that finds nobody.
    pub(super) leader_epoch: i32,
    pub(super) log: Log,
}

impl Partition {
    /// An empty partition, led by the first of its ISR.
    pub(super) fn new(replicas: Vec<BrokerId>, isr: Vec<BrokerId>) -> Self {
        Self {
            leader: isr.first().copied(),
            replicas,
            isr,
            elr: Vec::new(),
            leader_epoch: 0,
            log: Log::default(),
        }
    }

    /// Moves the high watermark to what all of the ISR has: not while too few are in sync, or a replica that may lead
    /// could lack what consumers have read.
    pub(super) fn replicate(&mut self, isr_min: i64) {
        let enough = usize::try_from(isr_min).unwrap_or(0).min(self.replicas.len());
        if self.isr.len() >= enough {
            self.log.replicated(&self.isr);
        }
    }

    /// Whether the replica that is asked first leads.
    pub(super) fn has_preferred_leader(&self) -> bool {
        self.leader.is_some() && self.leader == self.replicas.first().copied()
    }
}

/// All topics.
#[derive(Default)]
pub(super) struct Topics {
    by_name: BTreeMap<TopicName, Topic>,
    names: BTreeMap<Uuid, TopicName>,
}

impl Topics {
    pub(super) fn insert(&mut self, name: TopicName, topic: Topic) {
        self.names.insert(topic.id, name.clone());
        self.by_name.insert(name, topic);
    }

    pub(super) fn remove(&mut self, name: &TopicName) -> Option<Topic> {
        let topic = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        Some(topic)
    }

    pub(super) fn get(&self, name: &TopicName) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &TopicName) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub(super) fn name_of(&self, id: Uuid) -> Option<&TopicName> {
        self.names.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicName, &Topic)> {
        self.by_name.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicName, &mut Topic)> {
        self.by_name.iter_mut()
    }

    pub(super) fn partition(&self, name: &TopicName, index: i32) -> Option<&Partition> {
        self.get(name)?.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn partition_mut(&mut self, name: &TopicName, index: i32) -> Option<&mut Partition> {
        self.get_mut(name)?.partitions.get_mut(usize::try_from(index).ok()?)
    }

    /// Every partition's name and index, in a fixed order.
    pub(super) fn all_partitions(&self) -> Vec<(TopicName, i32)> {
        let all = self.iter().flat_map(|(name, topic)| {
            (0..).zip(&topic.partitions).map(move |(index, _)| (name.clone(), index))
        });
        all.collect()
    }

    /// How many partitions there are.
    pub(super) fn partition_count(&self) -> usize {
        self.by_name.values().map(|topic| topic.partitions.len()).sum()
    }
}
