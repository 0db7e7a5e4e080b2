//! What a link asks of a cluster: the only place that knows how logs, topics and groups are kept.

use std::collections::BTreeMap;

use kafka_protocol::{
    ResponseError,
    messages::{GroupId, TopicName},
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    super::{
        Cluster,
        broker::BrokerState,
        controller::NewTopic,
        log::{Batch, Log},
        time::Time,
        topic::{Partition, Topic},
    },
    raw::{Raw, batches},
};

/// What is read at once where only a look is needed.
const SCAN_BYTES: usize = 1 << 20;

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupOffset {
    pub(super) group: GroupId,
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) metadata: StrBytes,
}

impl Cluster {
    /// Whether anything of the cluster answers.
    pub(super) fn answers(&self) -> bool {
        self.brokers.values().any(|broker| broker.state == BrokerState::Running)
    }

    fn leads(&self, partition: &Partition) -> bool {
        let leader = partition.leader.and_then(|leader| self.brokers.get(&leader));
        leader.is_some_and(|leader| leader.state == BrokerState::Running)
    }

    /// The log of a partition whatever state its leader is in.
    pub(super) fn log_of(&self, topic: &TopicName, index: i32) -> Option<&Log> {
        self.topics.partition(topic, index).map(|partition| &partition.log)
    }

    /// The log of a partition whose leader can be asked.
    pub(super) fn served_log(&self, topic: &TopicName, index: i32) -> Option<&Log> {
        let partition = self.topics.partition(topic, index)?;
        self.leads(partition).then_some(&partition.log)
    }

    /// Appends a copied batch at its own offset, and hands it to whoever waits. `false`: the leader cannot be asked,
    /// or its log does not end there.
    pub(super) fn append_copy(
        &mut self,
        now: Time,
        topic: &TopicName,
        index: i32,
        batch: &Raw,
        keep_epoch: bool,
    ) -> bool {
        if self.served_log(topic, index).is_none() {
            return false;
        }
        let Some(partition) = self.topics.partition_mut(topic, index) else { return false };
        if partition.log.end() != batch.base_offset() {
            return false;
        }
        if keep_epoch {
            partition.leader_epoch = partition.leader_epoch.max(batch.leader_epoch());
        }
        let epoch = if keep_epoch { batch.leader_epoch() } else { partition.leader_epoch };
        let copy = batch.clone().with_leader_epoch(epoch);
        let Some(batch) = parsed(&copy) else { return false };
        let Ok(appended) = partition.log.append_replicated(&batch) else { return false };
        self.log_has_grown(now, appended.bytes);
        self.partition_changed(topic, index);
        true
    }

    /// Appends a batch as a producer's. The offset that its first record got; `None`: not now.
    pub(super) fn append_produced(
        &mut self,
        now: Time,
        topic: &TopicName,
        index: i32,
        batch: &Raw,
    ) -> Option<i64> {
        self.served_log(topic, index)?;
        let of_topic = self.topics.get_mut(topic)?;
        let config = self.log_defaults.of_topic(&of_topic.configs);
        let partition = of_topic.partitions.get_mut(usize::try_from(index).ok()?)?;
        let epoch = partition.leader_epoch;
        let appended = partition.log.append(&parsed(batch)?, &config, now, epoch).ok()?;
        self.log_has_grown(now, appended.bytes);
        self.partition_changed(topic, index);
        Some(appended.base_offset)
    }

    /// Cuts a log off, where its leader can be asked.
    pub(super) fn truncate_log(&mut self, topic: &TopicName, index: i32, to: i64) {
        if let Some(partition) = self.topics.partition_mut(topic, index) {
            partition.log.truncate(to);
        }
        self.partition_changed(topic, index);
    }

    /// Moves the start of a log forward.
    pub(super) fn delete_log_before(&mut self, topic: &TopicName, index: i32, offset: i64) {
        if let Some(partition) = self.topics.partition_mut(topic, index) {
            partition.log.delete_before(offset);
        }
        self.partition_changed(topic, index);
    }

    /// Empties a log; it goes on at `offset`.
    pub(super) fn restart_log(&mut self, topic: &TopicName, index: i32, offset: i64) {
        if let Some(partition) = self.topics.partition_mut(topic, index) {
            partition.log.restart_at(offset);
        }
        self.partition_changed(topic, index);
    }

    /// Opens or closes a topic to producers.
    pub(super) fn set_read_only(&mut self, topic: &TopicName, read_only: bool) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.read_only = read_only;
        }
    }

    /// The id of a topic.
    pub(super) fn topic_id(&self, topic: &TopicName) -> Option<Uuid> {
        self.topics.get(topic).map(|topic| topic.id)
    }

    /// What a topic is, for a copy of it.
    pub(super) fn shape_of(&self, topic: &TopicName) -> Option<Shape> {
        let topic = self.topics.get(topic)?;
        Some(Shape {
            id: topic.id,
            partitions: topic.partitions.len(),
            replicas: topic
                .partitions
                .iter()
                .map(|partition| partition.replicas.len())
                .max()
                .unwrap_or(1),
            configs: topic.configs.clone(),
        })
    }

    /// Names of all topics.
    pub(super) fn topic_names(&self) -> Vec<TopicName> {
        self.topics.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Makes a topic, which must not exist.
    ///
    /// # Errors
    /// Those of `CreateTopics`.
    pub(super) fn create_copy(
        &mut self,
        name: &TopicName,
        shape: &Shape,
        read_only: bool,
    ) -> Result<(), ResponseError> {
        let brokers = self.brokers.values().filter(|broker| broker.state == BrokerState::Running);
        let replicas = shape.replicas.min(brokers.count()).max(1);
        let configs = shape.configs.iter();
        let new = NewTopic {
            partitions: i32::try_from(shape.partitions).unwrap_or(i32::MAX),
            replicas: i16::try_from(replicas).unwrap_or(i16::MAX),
            assignments: Vec::new(),
            configs: configs.map(|(name, value)| (name.clone(), Some(value.clone()))).collect(),
        };
        let planned = self.plan_topic(name, &new).map_err(|refusal| refusal.error)?;
        self.insert_topic(name, Topic { read_only, ..planned.topic });
        Ok(())
    }

    /// Brings a topic to the number of partitions of what it copies. Where that cannot be done now, a later look
    /// tries again.
    pub(super) fn grow_copy(&mut self, name: &TopicName, shape: &Shape) {
        let count = i32::try_from(shape.partitions).unwrap_or(i32::MAX);
        let _ = self.add_partitions(name, count, None, false);
    }

    /// Takes over the settings of the topic that is copied.
    pub(super) fn set_configs(&mut self, name: &TopicName, configs: &BTreeMap<String, String>) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.configs.clone_from(configs);
        }
    }

    /// All that groups have committed for one topic.
    pub(super) fn group_offsets(&self, topic: &TopicName) -> Vec<GroupOffset> {
        let of_topic = self.committed_offsets().filter(|(_, of, ..)| *of == topic);
        of_topic
            .map(|(group, topic, partition, committed)| GroupOffset {
                group: group.clone(),
                topic: topic.clone(),
                partition,
                offset: committed.offset,
                metadata: committed.metadata.clone(),
            })
            .collect()
    }

    /// What a group has committed for a partition.
    pub(super) fn group_offset(
        &self,
        group: &GroupId,
        topic: &TopicName,
        partition: i32,
    ) -> Option<i64> {
        let committed = self.groups.get(group)?.offsets.get(topic, partition)?;
        Some(committed.offset)
    }

    /// Commits for a group without members; one that has some knows better and stays as it is. The leader epoch is
    /// that of another cluster, and so is left out.
    pub(super) fn set_group_offset(&mut self, now: Time, offset: &GroupOffset) -> bool {
        let committed = (offset.offset, -1, offset.metadata.as_str());
        self.sync_offset(now, &offset.group, &offset.topic, offset.partition, committed).is_ok()
    }
}

/// What a topic is, for a copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) id: Uuid,
    pub(super) partitions: usize,
    pub(super) replicas: usize,
    pub(super) configs: BTreeMap<String, String>,
}

fn parsed(batch: &Raw) -> Option<Batch> {
    Batch::all(batch.bytes()).ok()?.pop()
}

/// The batch that holds an offset.
pub(super) fn batch_at(log: &Log, offset: i64) -> Option<Raw> {
    let found = batches(log.read(offset, offset + 1, 1, true).records).into_iter().next()?;
    (found.base_offset() <= offset && offset <= found.last_offset()).then_some(found)
}

/// Looks at the batches from the one that holds `from` on, below `up_to`, until `look` has seen enough.
pub(super) fn scan(log: &Log, from: i64, up_to: i64, mut look: impl FnMut(&Raw) -> bool) {
    let mut next = from.max(log.start());
    while next < up_to {
        let read = batches(log.read(next, up_to, SCAN_BYTES, true).records);
        let Some(last) = read.last() else { return };
        next = last.last_offset() + 1;
        if !read.iter().all(&mut look) {
            return;
        }
    }
}

/// Records of clients at `from` and behind it, below `up_to`.
pub(super) fn count_records(log: &Log, from: i64, up_to: i64) -> u64 {
    let mut count = 0;
    scan(log, from, up_to, |batch| {
        count += batch.records_from(from.max(log.start()));
        true
    });
    count
}

/// Up to where two logs hold the same batches at the same places.
///
/// From the nearer end backwards: batches that are equal have equal logs before them, as each log takes a copy
/// only behind a batch that both have.
pub(super) fn common_end(one: &Log, other: &Log) -> i64 {
    let start = one.start().max(other.start());
    let mut end = one.end().min(other.end());
    while end > start {
        let (left, right) = (batch_at(one, end - 1), batch_at(other, end - 1));
        match (left, right) {
            (Some(left), Some(right)) if left.is_copy_of(&right) => {
                return end.max(left.last_offset() + 1);
            }
            (Some(left), Some(right)) => end = left.base_offset().min(right.base_offset()),
            // A gap in both: nothing differs there.
            (None, None) => end -= 1,
            (Some(batch), None) | (None, Some(batch)) => end = batch.base_offset(),
        }
    }
    end.max(start.min(one.end().min(other.end())))
}
