//! What a link knows of one topic and its partitions.

use std::{collections::VecDeque, fmt};

use kafka_protocol::messages::TopicName;
use uuid::Uuid;

use super::{
    super::{Cluster, log::Log, time::Time},
    raw::Raw,
    spec::{Direction, Mode},
    translation::Translation,
};

/// State of a mirror topic, named as Confluent's brokers name them (`mirror_status` of their REST interface, which
/// also has `LINK_FAILED`, `PENDING_MIRROR`, `PENDING_SETUP_FOR_RESTORE` and `PENDING_RESTORE`: here these take
/// no time).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It follows its source.
    Active,
    /// It was paused.
    Paused,
    /// The link as a whole was paused.
    LinkPaused,
    /// The source has been out of reach for long.
    SourceUnavailable,
    /// It is being promoted: it follows until nothing is missing.
    PendingStopped,
    /// It is being reversed: the source takes no more writes, and it follows until nothing is missing.
    PendingSynchronize,
    /// It is a topic like any other: promoted or failed over.
    Stopped,
    /// The source's topic is gone, or is another one of the same name.
    Failed,
}

impl fmt::Display for MirrorState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::LinkPaused => "LINK_PAUSED",
            Self::SourceUnavailable => "SOURCE_UNAVAILABLE",
            Self::PendingStopped => "PENDING_STOPPED",
            Self::PendingSynchronize => "PENDING_SYNCHRONIZE",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        })
    }
}

/// What was asked of a topic and has been reached. What the link as a whole adds to it is in [`MirrorState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Active,
    Paused,
    /// Stops once nothing is missing.
    Stopping(Purpose),
    Stopped,
    Failed,
}

/// What follows when a topic has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Promotion,
    Reversal,
}

impl Phase {
    /// Whether batches are fetched.
    pub(super) fn copies(self) -> bool {
        matches!(self, Self::Active | Self::Stopping(_))
    }
}

/// One topic of a link.
pub(super) struct MirrorTopic {
    pub(super) source: TopicName,
    /// What the copy is called.
    pub(super) mirror: TopicName,
    pub(super) source_id: Uuid,
    /// Of the copy; never the source's.
    pub(super) mirror_id: Uuid,
    pub(super) direction: Direction,
    pub(super) phase: Phase,
    pub(super) partitions: Vec<MirrorPartition>,
}

/// One partition of a link.
#[derive(Default)]
pub(super) struct MirrorPartition {
    /// The offset of the source that is fetched next.
    pub(super) position: i64,
    /// What has left the source and has not arrived, in order.
    pub(super) in_flight: VecDeque<InFlight>,
    /// The source's high watermark as the last fetch saw it.
    pub(super) source_high_watermark: i64,
    pub(super) last_fetch: Option<Time>,
    /// Where the copy ended when it became writable.
    pub(super) fork: Option<i64>,
    /// Records that were cut off to follow a source, ever.
    pub(super) cut_off: u64,
    /// Of MirrorMaker: the offset of the source up to which everything has arrived.
    pub(super) delivered: i64,
    /// Of MirrorMaker: what a restart would begin at.
    pub(super) flushed: i64,
    /// Of MirrorMaker: which offsets stand for which.
    pub(super) translation: Translation,
}

/// A batch on its way.
pub(super) struct InFlight {
    pub(super) arrives: Time,
    pub(super) batch: Raw,
}

impl MirrorPartition {
    /// A partition whose copy is to begin at this offset of the source.
    pub(super) fn at(position: i64) -> Self {
        Self { position, delivered: position, flushed: position, ..Self::default() }
    }

    /// Forgets what is on its way; the next fetch is at `position`. How many bytes that were.
    pub(super) fn rewind(&mut self, position: i64) -> usize {
        self.position = position;
        self.in_flight.drain(..).map(|batch| batch.batch.bytes().len()).sum()
    }
}

impl Phase {
    /// The state that it is shown as where nothing is wrong with the link.
    pub(super) fn state(self) -> MirrorState {
        match self {
            Self::Active => MirrorState::Active,
            Self::Paused => MirrorState::Paused,
            Self::Stopping(Purpose::Promotion) => MirrorState::PendingStopped,
            Self::Stopping(Purpose::Reversal) => MirrorState::PendingSynchronize,
            Self::Stopped => MirrorState::Stopped,
            Self::Failed => MirrorState::Failed,
        }
    }
}

impl MirrorTopic {
    /// Whether both topics still are those that were linked. MirrorMaker goes by names alone.
    pub(super) fn is_linked(&self, source: &Cluster, target: &Cluster, mode: &Mode) -> bool {
        match mode {
            Mode::MirrorMaker(_) => true,
            Mode::ClusterLinking(_) => {
                source.topic_id(&self.source) == Some(self.source_id)
                    && target.topic_id(&self.mirror) == Some(self.mirror_id)
            }
        }
    }

    /// What is on its way is lost; the next fetch begins where the target is. How many bytes that were.
    pub(super) fn forget_in_flight(&mut self, target: &Cluster, mode: &Mode) -> usize {
        let mut bytes = 0;
        for (index, partition) in (0..).zip(&mut self.partitions) {
            let next = match mode {
                _ if partition.in_flight.is_empty() => partition.position,
                Mode::ClusterLinking(_) => target.log_of(&self.mirror, index).map_or(0, Log::end),
                Mode::MirrorMaker(_) => partition.delivered,
            };
            bytes += partition.rewind(next);
        }
        bytes
    }
}
