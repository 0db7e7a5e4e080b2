//! Offsets that groups have committed, carried over to the target.
//!
//! A cluster link copies them as they are, but never beyond the mirror's end, and the source's word counts, also
//! when it goes back. MirrorMaker translates them and only ever moves the target's forward. Neither touches a group
//! that has members on the target.

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::messages::{GroupId, TopicName};

use super::{
    super::{Cluster, log::Log, time::Time},
    Link, Pair,
    access::GroupOffset,
    spec::Mode,
    topic::{MirrorTopic, Phase},
};

/// What MirrorMaker has last translated: offset at the source and on the target, by group, topic and partition.
pub(super) type Checkpoints = BTreeMap<(GroupId, TopicName, i32), (i64, i64)>;

impl Link {
    /// How often offsets are carried over; `None`: never.
    pub(super) fn offset_interval(&self) -> Option<Duration> {
        match &self.spec.mode {
            Mode::ClusterLinking(linking) => linking.offset_sync_interval,
            Mode::MirrorMaker(maker) => maker.checkpoint_interval,
        }
    }

    /// Carries all over that is due.
    pub(super) fn sync_offsets(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster) {
        if let Some(interval) = self.offset_interval() {
            self.sync_offsets_of(now, a, b, None);
            self.next_offsets = now + interval;
        }
    }

    /// Carries over what groups have committed for one topic or for all.
    pub(super) fn sync_offsets_of(
        &mut self,
        now: Time,
        a: &mut Cluster,
        b: &mut Cluster,
        only: Option<&TopicName>,
    ) {
        if self.offset_interval().is_none() {
            return;
        }
        for (name, topic) in &self.topics {
            let follows = !matches!(topic.phase, Phase::Stopped | Phase::Failed);
            if !follows || only.is_some_and(|only| only != name) {
                continue;
            }
            let Pair { source, target } = Pair::of(topic.direction, &mut *a, &mut *b);
            for committed in source.group_offsets(&topic.source) {
                if !self.spec.groups.fits(&committed.group) {
                    continue;
                }
                match &self.spec.mode {
                    Mode::ClusterLinking(_) => copy_offset(now, topic, committed, target),
                    Mode::MirrorMaker(_) => {
                        translate_offset(now, topic, committed, target, &mut self.checkpoints);
                    }
                }
            }
        }
    }

    /// Writes down where MirrorMaker is, and the offset syncs that it had held back.
    pub(super) fn flush(&mut self, now: Time) {
        let Mode::MirrorMaker(maker) = &self.spec.mode else { return };
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.flushed = partition.delivered;
            partition.translation.flush();
        }
        self.next_flush = now + maker.flush_interval;
    }
}

fn copy_offset(now: Time, topic: &MirrorTopic, committed: GroupOffset, target: &mut Cluster) {
    let Some(end) = target.log_of(&topic.mirror, committed.partition).map(Log::end) else { return };
    let offset = committed.offset.min(end);
    let there = target.group_offset(&committed.group, &topic.mirror, committed.partition);
    if there != Some(offset) {
        target.set_group_offset(
            now,
            &GroupOffset { topic: topic.mirror.clone(), offset, ..committed },
        );
    }
}

fn translate_offset(
    now: Time,
    topic: &MirrorTopic,
    committed: GroupOffset,
    target: &mut Cluster,
    checkpoints: &mut Checkpoints,
) {
    let index = usize::try_from(committed.partition).ok();
    let Some(partition) = index.and_then(|index| topic.partitions.get(index)) else { return };
    let upstream = committed.offset;
    let Some(downstream) = partition.translation.downstream(upstream) else { return };
    let key = (committed.group.clone(), topic.source.clone(), committed.partition);
    let newer = |(old_upstream, old_downstream): (i64, i64)| {
        upstream < old_upstream || downstream > old_downstream
    };
    if checkpoints.get(&key).is_none_or(|last| newer(*last)) {
        checkpoints.insert(key.clone(), (upstream, downstream));
    }
    let (_, offset) = checkpoints[&key];
    let there = target.group_offset(&committed.group, &topic.mirror, committed.partition);
    if there.is_none_or(|there| there < offset) {
        target.set_group_offset(
            now,
            &GroupOffset { topic: topic.mirror.clone(), offset, ..committed },
        );
    }
}
