//! A link that copies topics from one cluster to another, as a pure state machine.
//!
//! ```text
//!   commands, handle_time(now) ─▶ Link ─▶ deadline, poll_event, status
//!                                  │
//!        Cluster a ◀── reads and writes both, in the direction of each topic ──▶ Cluster b
//!
//!            promote                 nothing missing
//!   ACTIVE ───────────▶ PENDING_STOPPED ─────────────▶ STOPPED ──reverse──▶ ACTIVE, the other way
//!    │  ▲ │                      │ failover               ▲ ▲
//!    │  │ └──────────failover────┴────────────────────────┘ │
//!  pause resume                                    failover │
//!    ▼  │                                                   │
//!   PAUSED            source's topic gone: FAILED ──────────┘
//!            reverse                    nothing missing
//!   ACTIVE ───────────▶ PENDING_SYNCHRONIZE ──────────▶ ACTIVE, the other way
//! ```
//!
//! The caller owns both clusters and hands them over with every call, always in the same order; it drains
//! [`Cluster::poll_output`] of both afterwards. The link keeps where it is in each partition, what is on its way
//! ([`Lag`]), and whether it is broken: a region is gone when its link is severed, or when none of its brokers runs.
//!
//! **Cluster Linking** ([`Mode::ClusterLinking`]): mirror topics with the same name, partitions and offsets, batches
//! copied byte for byte but for the leader epoch, so producer state and transactions go with them. Invariants: until
//! it is stopped, a mirror is a prefix of its source, and only the link writes to it. Producers are refused as
//! `READ_ONLY_ERROR` says. Groups' offsets are copied as they are, never beyond the mirror's end.
//!
//! **MirrorMaker 2** ([`Mode::MirrorMaker`]): a consumer and a producer (without idempotence, as Kafka Connect sets
//! it), so the copies are ordinary topics with offsets of their own, and a restart copies some records again.
//! Groups' offsets are translated, never ahead of what is right.
//!
//! ```
//! use switchyard_sim::cluster::{
//!     Cluster, ClusterSpec, Time,
//!     mirror::{Link, LinkSpec, Topics},
//! };
//!
//! let mut east = Cluster::new(ClusterSpec::new("east", 7, "127.0.0.1", [9092]));
//! let mut west = Cluster::new(ClusterSpec::new("west", 7, "127.0.0.1", [9192]));
//! let mut link = Link::new(LinkSpec::cluster_linking("disaster-recovery", 7));
//! let now = Time::from_ms(1_000);
//! link.handle_time(now, &mut east, &mut west); // Again whenever `link.deadline()` has come.
//!
//! link.sever(now, &east, &west); // The region is gone.
//! let lost = link.failover(now, &mut east, &mut west, Topics::All)?;
//! assert_eq!(lost.iter().map(|partition| partition.records).sum::<u64>(), 0);
//! # Ok::<(), switchyard_sim::cluster::mirror::LinkError>(())
//! ```
//!
//! Absent on purpose: ACLs; prefixes of cluster links; the topics in which either product keeps its own state; a
//! transaction that is open when its topic stops stays open on the mirror, until a producer with the same
//! transactional id begins anew.

mod access;
mod change;
mod copy;
mod discover;
mod offsets;
mod raw;
mod spec;
mod status;
#[cfg(test)]
mod tests;
mod topic;
mod translation;

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::{ResponseError, messages::TopicName};

pub use change::{LinkError, Topics};
pub use spec::{
    ClusterLinking, Direction, Epochs, Filter, Isolation, Lag, LinkSpec, MirrorMaker, Mode, Naming,
    Pattern,
};
pub use status::{LinkStatus, PartitionStatus, TopicStatus, Unreplicated};
pub use topic::MirrorState;

use super::{Cluster, time::Time};
use copy::Wire;
use offsets::Checkpoints;
use topic::{MirrorTopic, Phase};

/// What Confluent's brokers answer to a producer of a mirror topic: INVALID_REQUEST (42), which no client retries.
/// The message is in [`read_only_message`].
///
/// Seen as `org.apache.kafka.common.errors.InvalidRequestException: Cannot append records to read-only mirror topic
/// 'demo'` in Confluent's tutorial *Share Data Across Topics Using Cluster Linking*
/// (<https://docs.confluent.io/platform/current/multi-dc-deployments/cluster-linking/topic-data-sharing.html>) and in
/// the output of real brokers that `vdesabou/kafka-docker-playground` keeps
/// (`multi-data-center/cluster-linking/start-plaintext.sh`).
pub(super) const READ_ONLY_ERROR: ResponseError = ResponseError::InvalidRequest;

/// The text that goes with [`READ_ONLY_ERROR`].
pub(super) fn read_only_message(topic: &str) -> String {
    format!("Cannot append records to read-only mirror topic '{topic}'")
}

/// What has happened that nobody has asked about: beyond, the oldest is forgotten.
const EVENTS_MAX: usize = 1024;

/// Something that a report would tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A topic has got a copy.
    Created {
        /// When.
        at: Time,
        /// What the copy is called.
        topic: String,
    },
    /// A topic has come to another state of its own (the link's state is not in it).
    State {
        /// When.
        at: Time,
        /// What the copy is called.
        topic: String,
        /// Which state.
        state: MirrorState,
    },
    /// Records were cut off a topic, because what it follows does not have them.
    CutOff {
        /// When.
        at: Time,
        /// Of which topic.
        topic: String,
        /// Of which partition.
        partition: i32,
        /// Where the log ends now.
        to: i64,
        /// How many records of clients are gone.
        records: u64,
    },
}

#[derive(Default)]
struct Events(VecDeque<LinkEvent>);

impl Events {
    fn note(&mut self, event: LinkEvent) {
        if self.0.len() == EVENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }
}

/// The two clusters as one topic sees them.
struct Pair<T> {
    source: T,
    target: T,
}

impl<T> Pair<T> {
    fn of(direction: Direction, a: T, b: T) -> Self {
        match direction {
            Direction::AToB => Self { source: a, target: b },
            Direction::BToA => Self { source: b, target: a },
        }
    }
}

/// A link between two clusters.
pub struct Link {
    spec: LinkSpec,
    /// Of topics that are yet to be found.
    direction: Direction,
    /// By the source's name.
    topics: BTreeMap<TopicName, MirrorTopic>,
    wire: Wire,
    severed: bool,
    paused: bool,
    /// Since when the clusters have not reached each other.
    unreachable_since: Option<Time>,
    checkpoints: Checkpoints,
    events: Events,
    now: Time,
    next_fetch: Time,
    next_metadata: Time,
    next_offsets: Time,
    next_flush: Time,
}

impl Link {
    /// A link that has just been made; the first [`Self::handle_time`] looks for topics.
    pub fn new(spec: LinkSpec) -> Self {
        let random = crate::random::stream(spec.seed, "mirror-lag", &spec.name);
        Self {
            direction: spec.direction,
            wire: Wire::new(random, spec.lag, spec.bytes_per_second),
            spec,
            topics: BTreeMap::new(),
            severed: false,
            paused: false,
            unreachable_since: None,
            checkpoints: Checkpoints::default(),
            events: Events::default(),
            now: Time::default(),
            next_fetch: Time::default(),
            next_metadata: Time::default(),
            next_offsets: Time::default(),
            next_flush: Time::default(),
        }
    }

    /// It is `now`: does whatever is due. `a` and `b` are the same two clusters in every call.
    pub fn handle_time(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster) {
        self.now = self.now.max(now);
        if !self.reaches(a, b) {
            self.unreachable_since.get_or_insert(now);
            self.forget_in_flight(a, b);
            self.wake(now + self.spec.fetch_interval);
            return;
        }
        self.unreachable_since = None;
        if self.paused {
            return;
        }
        if self.next_metadata <= now {
            self.next_metadata = now + self.spec.metadata_interval;
            self.discover(now, a, b);
        }
        if self.next_fetch <= now {
            self.next_fetch = now + self.spec.fetch_interval;
            self.fetch(now, a, b);
        }
        self.deliver(now, a, b);
        if self.next_flush <= now {
            self.flush(now);
        }
        if self.next_offsets <= now {
            self.sync_offsets(now, a, b);
        }
        self.settle(now, a, b);
    }

    /// When [`Self::handle_time`] is to be called at the latest; `None`: not before the next command.
    pub fn deadline(&self) -> Option<Time> {
        if self.severed || self.paused {
            return None;
        }
        let arrivals =
            self.topics.values().flat_map(|topic| &topic.partitions).filter_map(|partition| {
                // What has arrived already is refused by the target: the next fetch tries again.
                partition
                    .in_flight
                    .front()
                    .map(|first| first.arrives)
                    .filter(|arrives| *arrives > self.now)
            });
        let first = arrivals.min().unwrap_or(self.next_fetch).min(self.next_fetch);
        let offsets = self.offset_interval().map(|_| self.next_offsets);
        Some(first.min(self.next_metadata).min(offsets.unwrap_or(first)))
    }

    /// What has happened, the oldest first; `None`: all has been told.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.0.pop_front()
    }

    /// Cuts the link: the clusters do not reach each other, and what is on its way is lost.
    pub fn sever(&mut self, now: Time, a: &Cluster, b: &Cluster) {
        self.severed = true;
        self.unreachable_since.get_or_insert(now);
        self.now = self.now.max(now);
        self.forget_in_flight(a, b);
    }

    /// Mends the link. It goes on where its target is.
    pub fn mend(&mut self, now: Time) {
        self.severed = false;
        self.wake(now);
    }

    /// Pauses the link as a whole; what is on its way is dropped and fetched again later.
    pub fn pause_link(&mut self, now: Time, a: &Cluster, b: &Cluster) {
        self.paused = true;
        self.now = self.now.max(now);
        self.forget_in_flight(a, b);
    }

    /// Goes on after [`Self::pause_link`].
    pub fn resume_link(&mut self, now: Time) {
        self.paused = false;
        self.wake(now);
    }

    /// MirrorMaker's process dies and starts again: it copies again from where it had last written its position
    /// down. Of a cluster link nothing changes, as its position is the end of its mirrors.
    pub fn restart(&mut self, now: Time, a: &Cluster, b: &Cluster) {
        self.forget_in_flight(a, b);
        if matches!(self.spec.mode, Mode::MirrorMaker(_)) {
            for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
                partition.position = partition.flushed;
                partition.delivered = partition.flushed;
            }
        }
        self.wake(now);
    }

    /// What newly found topics are copied along.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Everything is looked at when it is `at`.
    fn wake(&mut self, at: Time) {
        (self.next_fetch, self.next_metadata, self.next_offsets) = (at, at, at);
    }

    fn reaches(&self, a: &Cluster, b: &Cluster) -> bool {
        !self.severed && a.answers() && b.answers()
    }

    fn forget_in_flight(&mut self, a: &Cluster, b: &Cluster) {
        for topic in self.topics.values_mut() {
            let target = Pair::of(topic.direction, a, b).target;
            let bytes = topic.forget_in_flight(target, &self.spec.mode);
            self.wire.received(bytes);
        }
    }

    fn set_phase(&mut self, now: Time, name: &TopicName, phase: Phase) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.phase = phase;
        let topic = topic.mirror.to_string();
        self.events.note(LinkEvent::State { at: now, topic, state: phase.state() });
    }
}
