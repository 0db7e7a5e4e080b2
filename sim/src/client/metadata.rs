//! What a client believes of a cluster, and when it asks again.
//!
//! The rules for leader epochs are those that were measured and read in the libraries:
//!
//! - Java keeps the last epoch of every partition and ignores a lower one, unless the topic's id is known and has
//!   changed. An epoch of −1, or Metadata below v9, removes what it remembers. A rebootstrap forgets the ids and not
//!   the epochs: it heals where there are ids, and not where there are none.
//! - librdkafka ignores a lower epoch too, whatever the topic's id, but forgets leader and epoch when it gives up the leader's
//!   broker. It does so when an answer does not list the broker any more, and not when every broker is down: a rebootstrap
//!   (2.10 and later) adds the bootstrap servers to what it knows. Behind addresses that stay, a lower epoch is never believed.
//!
//! Absent on purpose: preferred replicas, topics by pattern.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;
use kafka_protocol::{
    ResponseError,
    messages::{
        MetadataRequest, MetadataResponse, TopicName, metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseTopic,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    config::{Backoff, CommonSettings, Library},
    network::NodeId,
};
use crate::cluster::Time;

/// librdkafka looks for partitions without a leader once in this time.
const TOPIC_SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// One partition as the cluster last described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) leader: Option<NodeId>,
    pub(super) epoch: Option<i32>,
}

/// One topic as the cluster last described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<Partition>,
}

/// What an update has brought to light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Updated {
    /// The cluster has another id than before.
    pub(super) cluster_id_changed: bool,
    /// An epoch that was lower than a remembered one was not believed.
    pub(super) stale_ignored: bool,
}

/// A request that is to be sent.
pub(super) struct Wanted {
    pub(super) request: MetadataRequest,
    pub(super) partial: bool,
}

/// A client's view of its cluster.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Metadata {
    library: Library,
    backoff: Backoff,
    max_age: Duration,
    random: Rng,
    auto_create: bool,
    /// A producer of librdkafka looks for missing leaders only now and then; a consumer asks at once.
    scans_topics: bool,
    /// What the client works with.
    interest: BTreeSet<TopicName>,
    new_topics: BTreeSet<TopicName>,
    topics: BTreeMap<TopicName, Topic>,
    errors: BTreeMap<TopicName, ResponseError>,
    /// Java's memory of epochs, which outlives what they were learned from.
    last_epochs: BTreeMap<TopicName, Vec<Option<i32>>>,
    pub(super) nodes: Vec<NodeId>,
    cluster_id: Option<StrBytes>,
    need_full: bool,
    last_success: Option<Time>,
    /// No request before.
    allowed_from: Time,
    failures: u32,
    /// Answers in a row that brought nothing new.
    equivalent: u32,
    pub(super) in_progress: bool,
    /// Since when an answer is sought in vain.
    pub(super) sought_since: Option<Time>,
    /// Counts what was learned: what depends on it is looked at again when this moves.
    pub(super) generation: u64,
}

impl Metadata {
    pub(super) fn new(settings: &CommonSettings, random: Rng) -> Self {
        Self {
            library: settings.library,
            backoff: settings.retry,
            max_age: settings.metadata_max_age,
            random,
            auto_create: true,
            scans_topics: false,
            interest: BTreeSet::new(),
            new_topics: BTreeSet::new(),
            topics: BTreeMap::new(),
            errors: BTreeMap::new(),
            last_epochs: BTreeMap::new(),
            nodes: Vec::new(),
            cluster_id: None,
            need_full: true,
            last_success: None,
            allowed_from: Time::default(),
            failures: 0,
            equivalent: 0,
            in_progress: false,
            sought_since: None,
            generation: 0,
        }
    }

    /// Whether a metadata request may create the topics that it names.
    pub(super) fn allow_auto_create(&mut self, allow: bool) {
        self.auto_create = allow;
    }

    /// The client is a producer.
    pub(super) fn scan_topics(&mut self) {
        self.scans_topics = true;
    }

    /// The client works with this topic from now on.
    pub(super) fn add_topic(&mut self, topic: &TopicName) {
        if !self.interest.contains(topic) {
            self.interest.insert(topic.clone());
            self.new_topics.insert(topic.clone());
            self.allowed_from = Time::default();
            self.equivalent = 0;
        }
    }

    /// The client works with these topics and no others.
    pub(super) fn set_topics(&mut self, topics: &BTreeSet<TopicName>) {
        for topic in topics {
            self.add_topic(topic);
        }
        self.interest.retain(|topic| topics.contains(topic));
        self.last_epochs.retain(|topic, _| topics.contains(topic));
    }

    pub(super) fn topic(&self, topic: &TopicName) -> Option<&Topic> {
        self.topics.get(topic)
    }

    pub(super) fn topic_of_id(&self, id: Uuid) -> Option<&TopicName> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name)
    }

    /// What the cluster said of a topic instead of describing it.
    pub(super) fn error(&self, topic: &TopicName) -> Option<ResponseError> {
        self.errors.get(topic).copied()
    }

    pub(super) fn cluster_id(&self) -> Option<&StrBytes> {
        self.cluster_id.as_ref()
    }

    /// Leader and its epoch, if the client believes in one.
    pub(super) fn leader(&self, topic: &TopicName, index: i32) -> Option<(NodeId, Option<i32>)> {
        let partition = self.partition(topic, index)?;
        let last = self.last_epoch(topic, index);
        if self.library == Library::Java && last.is_some() && partition.epoch != last {
            return None; // A newer epoch was heard of than the one that this leader has.
        }
        Some((partition.leader?, partition.epoch))
    }

    fn partition(&self, topic: &TopicName, index: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn last_epoch(&self, topic: &TopicName, index: i32) -> Option<i32> {
        *self.last_epochs.get(topic)?.get(usize::try_from(index).ok()?)?
    }

    fn remember(&mut self, topic: &TopicName, index: usize, epoch: Option<i32>) {
        let epochs = self.last_epochs.entry(topic.clone()).or_default();
        if epochs.len() <= index {
            epochs.resize(index + 1, None);
        }
        epochs[index] = epoch;
    }

    /// Asks for a description of everything, because something the client believed has proved wrong.
    pub(super) fn request_update(&mut self) {
        self.need_full = true;
    }

    /// A response names the epoch of a leader: newer than known, it calls for an update.
    pub(super) fn heard_of_epoch(&mut self, topic: &TopicName, index: i32, epoch: i32) {
        let Ok(place) = usize::try_from(index) else { return };
        if self.last_epoch(topic, index).is_some_and(|last| epoch > last) {
            self.remember(topic, place, Some(epoch));
            self.need_full = true;
        }
    }

    /// A response names a new leader outright (KIP-951). Whether it was believed.
    pub(super) fn heard_of_leader(
        &mut self,
        topic: &TopicName,
        index: i32,
        leader: NodeId,
        epoch: i32,
    ) -> bool {
        if leader < 0 || epoch < 0 || !self.nodes.contains(&leader) {
            return false;
        }
        let known =
            self.last_epoch(topic, index).or(self.partition(topic, index).and_then(|p| p.epoch));
        if known.is_some_and(|known| epoch <= known) {
            return false;
        }
        let Ok(place) = usize::try_from(index) else { return false };
        let partition =
            self.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(place));
        let Some(partition) = partition else { return false };
        *partition = Partition { leader: Some(leader), epoch: Some(epoch) };
        self.remember(topic, place, Some(epoch));
        self.generation += 1;
        true
    }

    /// When the next request is due; `None`: one is under way.
    pub(super) fn next_update(&self) -> Option<Time> {
        if self.in_progress {
            return None;
        }
        let requested = self.need_full || !self.new_topics.is_empty();
        let aged = self.last_success.map_or(Time::default(), |success| success + self.max_age);
        let due = if requested { Time::default() } else { aged };
        Some(due.max(self.allowed_from))
    }

    /// The request that is due.
    pub(super) fn start(&mut self, now: Time) -> Wanted {
        self.in_progress = true;
        self.sought_since.get_or_insert(now);
        let expired = self.last_success.is_none_or(|success| success + self.max_age <= now);
        let partial = !self.need_full && !expired;
        let names = if partial { &self.new_topics } else { &self.interest };
        let topics = names
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(name.clone())))
            .collect();
        self.new_topics.clear();
        let request = MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(self.auto_create);
        Wanted { request, partial }
    }

    /// The request went down, or its answer was of no use.
    pub(super) fn failed(&mut self, now: Time) {
        self.in_progress = false;
        self.need_full = true;
        self.failures += 1;
        self.allowed_from = now + self.backoff.wait(&mut self.random, self.failures - 1);
    }

    /// The cluster has answered.
    pub(super) fn update(
        &mut self,
        now: Time,
        version: i16,
        response: MetadataResponse,
        partial: bool,
    ) -> Updated {
        self.in_progress = false;
        self.sought_since = None;
        self.failures = 0;
        self.generation += 1;
        if !partial {
            self.need_full = false;
            self.last_success = Some(now);
        }
        let mut updated = Updated::default();
        let changed = self.cluster_id.is_some() && self.cluster_id != response.cluster_id;
        updated.cluster_id_changed = changed && response.cluster_id.is_some();
        self.cluster_id = response.cluster_id.or(self.cluster_id.take());
        self.nodes = response.brokers.iter().map(|broker| broker.node_id.0).collect();
        let before = self.topics.clone();
        if !partial {
            self.topics.clear();
        }
        for topic in response.topics {
            updated.stale_ignored |= self.update_topic(version, topic, &before);
        }
        let leaderless = self.library == Library::Librdkafka && self.forget_leaders_gone();
        self.equivalent = if self.topics == before { self.equivalent.saturating_add(1) } else { 0 };
        self.allowed_from =
            now + self.backoff.wait(&mut self.random, self.equivalent.saturating_sub(1));
        if leaderless {
            self.need_full = true;
            if self.scans_topics {
                let scan = u64::try_from(TOPIC_SCAN_INTERVAL.as_micros()).expect("a second");
                let next = (now.micros() / scan + 1) * scan;
                self.allowed_from = self.allowed_from.max(Time::from_micros(next));
            }
        }
        updated
    }

    /// Forgets leaders whose brokers the cluster does not list any more; `true`: there were some.
    fn forget_leaders_gone(&mut self) -> bool {
        let mut forgotten = false;
        for (name, topic) in &mut self.topics {
            let mut epochs = self.last_epochs.get_mut(name);
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                if partition.leader.is_none_or(|leader| self.nodes.contains(&leader)) {
                    continue;
                }
                *partition = Partition { leader: None, epoch: None };
                if let Some(epoch) = epochs.as_mut().and_then(|epochs| epochs.get_mut(index)) {
                    *epoch = None;
                }
                forgotten = true;
            }
        }
        forgotten
    }

    fn update_topic(
        &mut self,
        version: i16,
        topic: MetadataResponseTopic,
        before: &BTreeMap<TopicName, Topic>,
    ) -> bool {
        let Some(name) = topic.name else { return false };
        if let Some(error) = ResponseError::try_from_code(topic.error_code) {
            // What may pass is asked again; librdkafka goes on with what it knew.
            self.need_full |= error.is_retriable();
            if self.library == Library::Librdkafka
                && let Some(known) = before.get(&name)
            {
                self.topics.insert(name.clone(), known.clone());
            }
            self.errors.insert(name, error);
            return false;
        }
        self.errors.remove(&name);
        let known = before.get(&name);
        let mut ignored = false;
        let count = topic.partitions.iter().map(|it| it.partition_index + 1).max().unwrap_or(0);
        let nobody = Partition { leader: None, epoch: None };
        let mut partitions = vec![nobody; usize::try_from(count).unwrap_or(0)];
        for described in topic.partitions {
            let Ok(index) = usize::try_from(described.partition_index) else { continue };
            self.need_full |= described.error_code != 0;
            let leader = Some(described.leader_id.0).filter(|leader| *leader >= 0);
            let reliable = version >= 9 || self.library == Library::Librdkafka;
            let epoch = Some(described.leader_epoch).filter(|epoch| *epoch >= 0 && reliable);
            let last = self.last_epoch(&name, described.partition_index);
            let replaced = self.library == Library::Java
                && !topic.topic_id.is_nil()
                && known.is_none_or(|known| known.id != topic.topic_id);
            let stale = epoch.zip(last).is_some_and(|(epoch, last)| epoch < last) && !replaced;
            partitions[index] = if stale {
                ignored = true;
                known.and_then(|known| known.partitions.get(index)).copied().unwrap_or(nobody)
            } else {
                self.remember(&name, index, epoch);
                Partition { leader, epoch }
            };
        }
        self.topics.insert(name, Topic { id: topic.topic_id, partitions });
        ignored
    }

    /// Starts again: a Java client with nothing but the bootstrap servers, librdkafka with them as well.
    pub(super) fn rebootstrap(&mut self, now: Time, bootstrap: Vec<NodeId>) {
        match self.library {
            Library::Java => {
                self.nodes = bootstrap;
                self.cluster_id = None;
                self.topics.clear();
            }
            Library::Librdkafka => {
                let fresh = bootstrap.into_iter().filter(|node| !self.nodes.contains(node));
                let fresh: Vec<_> = fresh.collect();
                self.nodes.extend(fresh);
            }
        }
        self.need_full = true;
        self.generation += 1;
        self.sought_since = Some(now);
    }
}

#[cfg(test)]
mod tests;
