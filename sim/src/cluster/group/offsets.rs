//! How far a group has read: offsets that are committed, and those that wait for the end of a transaction.
//!
//! Invariant: of two offsets of a partition the one that was written later counts, also when the earlier one
//! only becomes visible later because its transaction was open.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kafka_protocol::{messages::TopicName, protocol::StrBytes};

use crate::cluster::time::Time;

/// Transactions that a group takes part in at a time, at the most; Kafka has no such limit.
const TRANSACTIONS_MAX: usize = 10_000;

/// One offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Committed {
    pub(in crate::cluster) offset: i64,
    /// Of the last record that was read; −1 where the client does not say.
    pub(in crate::cluster) leader_epoch: i32,
    pub(in crate::cluster) metadata: StrBytes,
    pub(in crate::cluster) at: Time,
    /// Where an old client has set a time of its own.
    pub(in crate::cluster) expires_at: Option<Time>,
    /// Its place in the order of all writes.
    pub(in crate::cluster) number: u64,
}

/// From when on an offset gets old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Aging {
    Never,
    FromCommit,
    From(Time),
}

type Partitions = BTreeMap<i32, Committed>;

/// The offsets of one group.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct Offsets {
    committed: BTreeMap<TopicName, Partitions>,
    /// By the producer whose transaction is open.
    pending: BTreeMap<i64, BTreeMap<TopicName, Partitions>>,
}

impl Offsets {
    pub(in crate::cluster) fn commit(
        &mut self,
        topic: &TopicName,
        partition: i32,
        offset: Committed,
    ) {
        insert(&mut self.committed, topic, partition, offset);
    }

    /// Whether one more producer may have offsets that wait for the end of its transaction.
    pub(in crate::cluster) fn has_room_for(&self, producer_id: i64) -> bool {
        self.pending.len() < TRANSACTIONS_MAX || self.pending.contains_key(&producer_id)
    }

    /// Keeps an offset until its producer's transaction ends.
    pub(in crate::cluster) fn commit_in_transaction(
        &mut self,
        producer_id: i64,
        topic: &TopicName,
        partition: i32,
        offset: Committed,
    ) {
        insert(self.pending.entry(producer_id).or_default(), topic, partition, offset);
    }

    pub(in crate::cluster) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let Some(topics) = self.pending.remove(&producer_id) else { return };
        if !commit {
            return;
        }
        for (topic, partitions) in topics {
            for (partition, offset) in partitions {
                let newest = self.get(&topic, partition).map_or(0, |known| known.number);
                if newest < offset.number {
                    insert(&mut self.committed, &topic, partition, offset);
                }
            }
        }
    }

    pub(in crate::cluster) fn get(&self, topic: &TopicName, partition: i32) -> Option<&Committed> {
        self.committed.get(topic)?.get(&partition)
    }

    /// Whether a transaction that is open may still change this partition's offset.
    pub(in crate::cluster) fn is_unstable(&self, topic: &TopicName, partition: i32) -> bool {
        self.pending.values().any(|topics| {
            topics.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
        })
    }

    pub(in crate::cluster) fn iter(&self) -> impl Iterator<Item = (&TopicName, i32, &Committed)> {
        self.committed.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, offset)| (topic, *partition, offset))
        })
    }

    /// Whether nothing is kept, nor may come of a transaction.
    pub(in crate::cluster) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    pub(in crate::cluster) fn delete(&mut self, topic: &TopicName, partition: i32) {
        remove(&mut self.committed, topic, partition);
        self.pending.retain(|_, topics| {
            remove(topics, topic, partition);
            !topics.is_empty()
        });
    }

    pub(in crate::cluster) fn forget_topic(&mut self, topic: &TopicName) {
        self.committed.remove(topic);
        self.pending.retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
    }

    /// Forgets what is older than `retention` and not read.
    pub(in crate::cluster) fn expire(
        &mut self,
        now: Time,
        retention: Duration,
        aging: Aging,
        is_read: impl Fn(&TopicName) -> bool,
    ) {
        let pending: BTreeSet<(&TopicName, i32)> = self
            .pending
            .values()
            .flatten()
            .flat_map(|(topic, partitions)| partitions.keys().map(move |key| (topic, *key)))
            .collect();
        self.committed.retain(|topic, partitions| {
            if is_read(topic) {
                return true;
            }
            partitions.retain(|partition, offset| {
                let since = match aging {
                    Aging::Never => return true,
                    Aging::FromCommit => offset.at,
                    Aging::From(since) => since,
                };
                let due = offset.expires_at.unwrap_or(since + retention);
                due > now || pending.contains(&(topic, *partition))
            });
            !partitions.is_empty()
        });
    }
}

fn insert(
    topics: &mut BTreeMap<TopicName, Partitions>,
    topic: &TopicName,
    partition: i32,
    offset: Committed,
) {
    if let Some(partitions) = topics.get_mut(topic) {
        partitions.insert(partition, offset);
    } else {
        let topic = TopicName(super::own(&topic.0));
        topics.insert(topic, BTreeMap::from([(partition, offset)]));
    }
}

fn remove(topics: &mut BTreeMap<TopicName, Partitions>, topic: &TopicName, partition: i32) {
    if let Some(partitions) = topics.get_mut(topic) {
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests;
