//! What a link can tell of itself, for tables and reports.

use kafka_protocol::messages::TopicName;

use super::{
    super::{Cluster, log::Log, time::Time},
    Link, MirrorState, Pair,
    access::{batch_at, common_end, count_records, scan},
    copy::is_aborted,
    spec::{Direction, Isolation, Mode},
    topic::{MirrorPartition, MirrorTopic, Phase},
};

/// A link at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// Whether the clusters reach each other.
    pub connected: bool,
    /// Its topics, by the source's name.
    pub topics: Vec<TopicStatus>,
}

/// A topic of a link at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicStatus {
    /// What the source calls it.
    pub source_topic: String,
    /// What the target calls it.
    pub mirror_topic: String,
    /// Which cluster is its source.
    pub direction: Direction,
    /// How it stands.
    pub state: MirrorState,
    /// Its partitions, from 0 on.
    pub partitions: Vec<PartitionStatus>,
}

/// A partition of a link at one moment. Whoever runs both clusters can look into them even when they do not reach
/// each other, so the ends and what is missing are true and not what the link has last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Its index.
    pub partition: i32,
    /// Where the source's log ends.
    pub source_end: i64,
    /// Where the target's log ends.
    pub target_end: i64,
    /// The source's high watermark as the last fetch saw it: what brokers show as `LastFetchSourceHighWatermark`.
    pub last_fetch_source_high_watermark: i64,
    /// From the target's end to that: the lag in records that brokers show. It stands still while the source is out
    /// of reach; [`Self::unreplicated`] does not.
    pub lag: i64,
    /// Records that the source has acknowledged and the target does not have.
    pub unreplicated: u64,
    /// Records that were cut off to follow a source, ever.
    pub cut_off: u64,
    /// When the source was last asked with success.
    pub last_fetch: Option<Time>,
}

/// Records of one partition that only one cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreplicated {
    /// What the source calls the topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The offset of the source from which on they are.
    pub from: i64,
    /// How many records of clients stand below the source's high watermark: acknowledged whatever `acks` said.
    /// Markers of transactions do not count; records of transactions do, also of those yet open.
    pub records: u64,
    /// How many stand above it: acknowledged only to producers with `acks` of 0 or 1.
    pub unconfirmed: u64,
}

impl Link {
    /// How everything stands.
    pub fn status(&self, now: Time, a: &Cluster, b: &Cluster) -> LinkStatus {
        let connected = self.reaches(a, b);
        let topics = self.topics.values().map(|topic| TopicStatus {
            source_topic: topic.source.to_string(),
            mirror_topic: topic.mirror.to_string(),
            direction: topic.direction,
            state: self.state_of(now, topic),
            partitions: self.partitions_of(topic, a, b),
        });
        LinkStatus { name: self.spec.name.clone(), connected, topics: topics.collect() }
    }

    /// What the source has acknowledged and the target does not have, for each partition that misses something.
    /// After a failover: counted from where the copies part, so also what the former source takes since.
    pub fn unreplicated(&self, a: &Cluster, b: &Cluster) -> Vec<Unreplicated> {
        self.topics.keys().flat_map(|name| self.unreplicated_of(a, b, name)).collect()
    }

    pub(super) fn unreplicated_of(
        &self,
        a: &Cluster,
        b: &Cluster,
        name: &TopicName,
    ) -> Vec<Unreplicated> {
        let Some(topic) = self.topics.get(name) else { return Vec::new() };
        let Pair { source, target } = Pair::of(topic.direction, a, b);
        let missing = (0..).zip(&topic.partitions).filter_map(|(index, partition)| {
            let from = source.log_of(&topic.source, index)?;
            let to = target.log_of(&topic.mirror, index)?;
            let (from, records, unconfirmed) = self.missing(partition, from, to);
            Some(Unreplicated {
                topic: name.to_string(),
                partition: index,
                from,
                records,
                unconfirmed,
            })
        });
        missing.filter(|missing| missing.records + missing.unconfirmed > 0).collect()
    }

    /// From which offset on, how many below the high watermark, how many above.
    fn missing(&self, partition: &MirrorPartition, from: &Log, to: &Log) -> (i64, u64, u64) {
        let (high_watermark, end) = (from.high_watermark(), from.end());
        match &self.spec.mode {
            Mode::ClusterLinking(_) => {
                let begin = partition
                    .fork
                    .map_or_else(|| common_end(from, to), |fork| parting(from, to, fork));
                let records = count_records(from, begin, high_watermark);
                (begin, records, count_records(from, begin.max(high_watermark), end))
            }
            Mode::MirrorMaker(maker) => {
                let begin = partition.delivered;
                let aborted = match maker.isolation {
                    Isolation::ReadUncommitted => Vec::new(),
                    Isolation::ReadCommitted => from.aborted(begin, end),
                };
                let (mut records, mut unconfirmed) = (0, 0);
                scan(from, begin, end, |batch| {
                    let count = batch.records_from(begin.max(from.start()));
                    match () {
                        () if is_aborted(batch, &aborted) => {}
                        () if batch.base_offset() < high_watermark => records += count,
                        () => unconfirmed += count,
                    }
                    true
                });
                (begin, records, unconfirmed)
            }
        }
    }

    fn state_of(&self, now: Time, topic: &MirrorTopic) -> MirrorState {
        let long = self
            .unreachable_since
            .is_some_and(|since| now.since(since) >= self.spec.unavailable_after);
        match topic.phase {
            Phase::Active if self.paused => MirrorState::LinkPaused,
            Phase::Active if long => MirrorState::SourceUnavailable,
            phase => phase.state(),
        }
    }

    fn partitions_of(&self, topic: &MirrorTopic, a: &Cluster, b: &Cluster) -> Vec<PartitionStatus> {
        let Pair { source, target } = Pair::of(topic.direction, a, b);
        let status = |(index, partition): (i32, &MirrorPartition)| {
            let from = source.log_of(&topic.source, index);
            let to = target.log_of(&topic.mirror, index);
            let (_, unreplicated, _) =
                from.zip(to).map_or((0, 0, 0), |(from, to)| self.missing(partition, from, to));
            let target_end = to.map_or(0, Log::end);
            let reached = match self.spec.mode {
                Mode::ClusterLinking(_) => target_end,
                Mode::MirrorMaker(_) => partition.delivered,
            };
            PartitionStatus {
                partition: index,
                source_end: from.map_or(0, Log::end),
                target_end,
                last_fetch_source_high_watermark: partition.source_high_watermark,
                lag: (partition.source_high_watermark - reached).max(0),
                unreplicated,
                cut_off: partition.cut_off,
                last_fetch: partition.last_fetch,
            }
        };
        (0..).zip(&topic.partitions).map(status).collect()
    }
}

/// Where two logs part that were one up to `fork`, unless the source was cut off below it since.
fn parting(from: &Log, to: &Log, fork: i64) -> i64 {
    let before = |log: &Log| batch_at(log, fork - 1);
    match (before(from), before(to)) {
        (Some(one), Some(other)) if !one.is_copy_of(&other) => common_end(from, to),
        _ => fork,
    }
}
