//! A model consumer.
//!
//! ```text
//!  group: classic.rs or modern.rs ─▶ assigned partitions ─▶ position of each: offsets.rs ─▶ fetch.rs ─▶ Consumed
//!                                                            └ commits
//! ```
//!
//! The application polls all the time, unless [`Command::Pause`] says that it is busy. What matters when a consumer is
//! moved to another cluster: it fetches from the position in its memory until the group tells it otherwise.
//!
//! Absent on purpose: subscription by pattern, seeking by the application, share groups, the preferred replica.

mod assignor;
mod classic;
mod fetch;
mod modern;
mod offsets;
mod position;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::{ResponseError, messages::TopicName, protocol::StrBytes};

use super::{
    Command, Event, Input, Output, TopicPartition,
    base::{Base, News},
    config::{ConsumerSettings, GroupProtocol, Library},
    coordinator::{Coordinator, Kind},
    network::{self, NodeId},
};
use crate::cluster::Time;
use classic::Classic;
use fetch::{Asked, Session};
use modern::Modern;
use offsets::Ages;
use position::Position;

/// librdkafka's `fetch.error.backoff.ms`, as it is by default.
const FETCH_ERROR_BACKOFF_LIBRDKAFKA: Duration = Duration::from_millis(500);

/// Why a position was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetCause {
    /// The group has no offset for the partition.
    NoCommittedOffset,
    /// The leader has no such offset.
    OutOfRange,
    /// The leader's epochs say that the log was cut (KIP-320).
    Truncated,
}

/// What a request of a consumer was for.
enum Call {
    FindCoordinator,
    Join,
    Sync,
    Heartbeat,
    Leave,
    GroupHeartbeat { leaving: bool },
    Committed { ages: Ages },
    Commit { offsets: Vec<(TopicPartition, i64, u64)> },
    ListOffsets { ages: Ages },
    Validate { ages: Ages },
    Fetch { asked: Asked },
}

/// How the consumer gets its partitions.
enum Group {
    /// It takes all there are.
    None,
    Classic(Classic),
    Modern(Modern),
}

/// How far a close has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Committing,
    Leaving,
    Done,
}

/// A consumer.
pub struct Consumer {
    name: String,
    settings: ConsumerSettings,
    base: Base<Call>,
    random: Rng,
    topics: BTreeSet<TopicName>,
    positions: BTreeMap<TopicPartition, Position>,
    sessions: BTreeMap<NodeId, Session>,
    /// Partitions with records that were not handed over yet.
    ready: BTreeSet<TopicPartition>,
    coordinator: Coordinator,
    group: Group,
    reset_causes: BTreeMap<TopicPartition, ResetCause>,
    metadata_seen: u64,
    group_metadata_seen: u64,
    consumed: u64,
    /// Something was handed over since the last commit.
    uncommitted: bool,
    commit_due: bool,
    next_commit: Time,
    commits_in_flight: usize,
    /// Since when the application does not poll.
    busy_since: Option<Time>,
    closing: Closing,
    next_age: u64,
    fatal: Option<ResponseError>,
    next_deadline: Option<Time>,
}

/// Milliseconds as the protocol writes them.
fn ms(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

impl Consumer {
    /// A consumer of some topics. What it draws is drawn from `seed` and its name.
    pub fn new(
        name: &str,
        seed: u64,
        settings: ConsumerSettings,
        topics: impl IntoIterator<Item = TopicName>,
    ) -> Self {
        let mut base = Base::new(settings.common.clone(), seed, name);
        let topics: BTreeSet<TopicName> = topics.into_iter().collect();
        base.metadata.set_topics(&topics);
        base.metadata.allow_auto_create(settings.auto_create);
        let mut random = crate::random::stream(seed, "client-consumer", name);
        let group = match (&settings.group_id, settings.group_protocol) {
            (None, _) => Group::None,
            (Some(_), GroupProtocol::Classic) => Group::Classic(Classic::default()),
            (Some(_), GroupProtocol::Consumer) => Group::Modern(Modern::new(&mut random)),
        };
        Self {
            name: name.to_owned(),
            base,
            random,
            topics,
            positions: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ready: BTreeSet::new(),
            coordinator: Coordinator::default(),
            group,
            reset_causes: BTreeMap::new(),
            metadata_seen: 0,
            group_metadata_seen: 0,
            consumed: 0,
            uncommitted: false,
            commit_due: false,
            next_commit: Time::default(),
            commits_in_flight: 0,
            busy_since: None,
            closing: Closing::No,
            next_age: 0,
            fatal: None,
            settings,
            next_deadline: Some(Time::default()),
        }
    }

    /// Name, as in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records handed over so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Records behind the high watermark of what is assigned, as far as it is known.
    pub fn lag(&self) -> i64 {
        let of = |it: &Position| (it.high_watermark - it.offset).max(0);
        self.positions.values().filter(|it| it.offset >= 0).map(of).sum()
    }

    /// Partitions that it holds, each with the offset that comes next; `None`: that is not known yet.
    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Option<i64>)> {
        self.positions.iter().map(|(place, it)| (place, Some(it.offset).filter(|at| *at >= 0)))
    }

    fn library(&self) -> Library {
        self.base.library()
    }

    /// Whether the application does something else than polling.
    fn is_busy(&self) -> bool {
        self.busy_since.is_some()
    }

    /// Something has happened, or time has passed.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        if self.closing == Closing::Done {
            return;
        }
        match input {
            Input::Connected(connection) => self.base.handle_connected(now, connection),
            Input::Closed(connection) => self.base.handle_closed(now, connection),
            Input::Frame(connection, frame) => self.base.handle_frame(now, connection, frame),
            Input::Time => self.base.handle_time(now),
            Input::Command(command) => self.handle_command(now, command),
        }
        self.drive(now);
    }

    fn handle_command(&mut self, now: Time, command: Command) {
        match command {
            Command::Pause => {
                self.busy_since.get_or_insert(now);
            }
            Command::Resume => self.busy_since = None,
            Command::Commit => self.commit_due = true,
            Command::Close if self.closing == Closing::No => {
                self.busy_since = None;
                self.commit_due = self.settings.auto_commit.is_some() && self.uncommitted;
                self.closing = Closing::Committing;
            }
            Command::Close
            | Command::Send(_)
            | Command::SendOffsets { .. }
            | Command::BeginTransaction
            | Command::CommitTransaction
            | Command::AbortTransaction => {}
        }
    }

    /// What is to be done next; `None`: everything has been said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.base.poll_output()
    }

    /// When the time is to be told at the latest.
    pub fn deadline(&self) -> Option<Time> {
        self.next_deadline
    }

    /// Goes on until nothing more can be done at this moment.
    fn drive(&mut self, now: Time) {
        loop {
            let mut moved = false;
            while let Some(news) = self.base.poll(now) {
                self.handle_news(now, news);
                moved = true;
            }
            if self.fatal.is_none() {
                self.base.maybe_update(now);
                self.seek_coordinator(now);
                self.drive_group(now);
                self.auto_commit(now);
                if self.closing == Closing::No {
                    self.update_positions(now);
                    self.deliver();
                    self.fetch(now);
                }
            }
            self.drive_closing(now);
            if !moved || self.closing == Closing::Done {
                break;
            }
        }
        self.next_deadline =
            if self.closing == Closing::Done { None } else { self.find_deadline(now) };
    }

    fn seek_coordinator(&mut self, now: Time) {
        if let Some(group) = self.settings.group_id.clone() {
            let call = || Call::FindCoordinator;
            self.coordinator.seek(now, &mut self.base, Kind::Group, &group, call);
        }
    }

    fn drive_group(&mut self, now: Time) {
        match self.group {
            Group::None => self.take_all(),
            Group::Classic(_) => self.drive_classic(now),
            Group::Modern(_) => self.drive_modern(now),
        }
    }

    /// Without a group every partition of the topics is the consumer's.
    fn take_all(&mut self) {
        let generation = self.base.metadata.generation;
        if std::mem::replace(&mut self.group_metadata_seen, generation) != generation {
            let mut all: BTreeSet<TopicPartition> = self.positions.keys().cloned().collect();
            for topic in &self.topics {
                let count = self.base.metadata.topic(topic).map_or(0, |it| it.partitions.len());
                all.extend((0..).take(count).map(|partition| (topic.clone(), partition)));
            }
            self.apply_assignment(all);
        }
    }

    /// The consumer has these partitions from now on. Whether any was taken away.
    fn apply_assignment(&mut self, assigned: BTreeSet<TopicPartition>) -> bool {
        let revoked: Vec<_> =
            self.positions.keys().filter(|place| !assigned.contains(*place)).cloned().collect();
        let added: Vec<_> =
            assigned.into_iter().filter(|place| !self.positions.contains_key(place)).collect();
        let any_revoked = !revoked.is_empty();
        for place in &revoked {
            self.positions.remove(place);
        }
        if any_revoked {
            self.base.events.push_back(Event::Revoked { partitions: revoked });
        }
        for place in &added {
            self.next_age += 1;
            self.positions.insert(place.clone(), Position::new(self.next_age));
        }
        self.base.events.push_back(Event::Assigned { partitions: added });
        any_revoked
    }

    /// Every partition goes. `lost`: the group has given it to others already.
    fn give_up_partitions(&mut self, lost: bool) {
        let partitions: Vec<_> = std::mem::take(&mut self.positions).into_keys().collect();
        self.ready.clear();
        self.reset_causes.clear();
        if !partitions.is_empty() {
            self.base.events.push_back(if lost {
                Event::Lost { partitions }
            } else {
                Event::Revoked { partitions }
            });
        }
    }

    fn become_fatal(&mut self, error: ResponseError) {
        if self.fatal.is_none() {
            self.fatal = Some(error);
            self.base.events.push_back(Event::Fatal { error });
            self.give_up_partitions(true);
        }
    }

    fn auto_commit(&mut self, now: Time) {
        if let Some(interval) = self.settings.auto_commit
            && self.next_commit <= now
            && !self.is_busy()
        {
            self.next_commit = now + interval;
            self.commit_due |= self.uncommitted;
        }
        if self.commit_due && self.commits_in_flight == 0 && self.commit(now) {
            self.uncommitted = false;
        }
    }

    fn handle_news(&mut self, now: Time, news: News<Call>) {
        match news {
            News::Answer { node, call, version, body } => {
                self.handle_answer(now, node, call, version, body);
            }
            News::Lost { node, call, .. } => self.handle_lost(now, node, call),
            News::Disconnected { node } => {
                if self.coordinator.node == Some(node) {
                    let library = self.library();
                    self.coordinator.lost(now, library);
                }
            }
        }
    }

    fn handle_answer(&mut self, now: Time, node: NodeId, call: Call, version: i16, body: Bytes) {
        match call {
            Call::FindCoordinator => self.handle_coordinator(now, version, body),
            Call::Join => self.handle_joined(now, version, body),
            Call::Sync => self.handle_synced(now, version, body),
            Call::Heartbeat => self.handle_heartbeat(now, version, body),
            Call::Leave => self.left(),
            Call::GroupHeartbeat { leaving } => {
                self.handle_group_heartbeat(now, version, body, leaving);
            }
            Call::Committed { ages } => self.handle_committed(now, version, body, &ages),
            Call::Commit { offsets } => self.handle_committing(now, version, body, &offsets),
            Call::ListOffsets { ages } => self.handle_listed(now, version, body, &ages),
            Call::Validate { ages } => self.handle_validated(now, version, body, &ages),
            Call::Fetch { asked } => self.handle_fetched(now, node, version, body, &asked),
        }
    }

    fn handle_lost(&mut self, now: Time, node: NodeId, call: Call) {
        match call {
            Call::FindCoordinator => {
                let (library, backoff) = (self.library(), self.settings.common.retry);
                self.coordinator.failed(now, library, backoff, &mut self.random);
            }
            Call::Join | Call::Sync | Call::Heartbeat => self.classic_lost(now, &call),
            Call::Leave => self.left(),
            Call::GroupHeartbeat { leaving } => self.modern_lost(now, leaving),
            Call::Committed { ages } | Call::ListOffsets { ages } | Call::Validate { ages } => {
                self.ask_again(now, &ages);
            }
            Call::Commit { .. } => {
                self.commits_in_flight -= 1;
                self.uncommitted = true;
            }
            Call::Fetch { .. } => self.fetch_lost(node),
        }
    }

    fn handle_coordinator(&mut self, now: Time, version: i16, body: Bytes) {
        match self.coordinator.handle_answer(version, body) {
            Ok(found) => {
                let node = network::coordinator(found.id);
                self.base.network.know(node, &found.host, found.port);
                self.coordinator.found(node);
                self.coordinator_found(now);
            }
            Err(error) => {
                let fatal = matches!(
                    error,
                    Some(ResponseError::GroupAuthorizationFailed | ResponseError::InvalidGroupId)
                );
                if let Some(error) = error.filter(|_| fatal) {
                    return self.become_fatal(error);
                }
                let (library, backoff) = (self.library(), self.settings.common.retry);
                self.coordinator.failed(now, library, backoff, &mut self.random);
            }
        }
    }

    fn coordinator_found(&mut self, now: Time) {
        if let Group::Classic(classic) = &mut self.group {
            classic.coordinator_found(now);
        }
    }

    /// What a coordinator's error means, whatever was asked.
    fn handle_group_error(&mut self, now: Time, error: ResponseError) {
        match error {
            ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable => {
                self.coordinator.forget();
            }
            ResponseError::FencedInstanceId
            | ResponseError::GroupAuthorizationFailed
            | ResponseError::InvalidGroupId => self.become_fatal(error),
            _ => match self.group {
                Group::None => {}
                Group::Classic(_) => self.handle_classic_error(now, error),
                Group::Modern(_) => self.handle_modern_error(now, error),
            },
        }
    }

    /// Member id and generation for commits; `None`: not a member at this moment.
    fn identity(&self) -> Option<(StrBytes, i32)> {
        match &self.group {
            Group::None => Some((StrBytes::new(), -1)),
            Group::Classic(classic) => classic.identity(),
            Group::Modern(modern) => modern.identity(),
        }
    }

    fn modern_identity(&self) -> Option<(StrBytes, i32)> {
        match &self.group {
            Group::Modern(modern) => modern.identity(),
            Group::None | Group::Classic(_) => None,
        }
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.settings.group_instance_id.clone().map(StrBytes::from_string)
    }

    fn left(&mut self) {
        if self.closing == Closing::Leaving {
            self.finish();
        }
    }

    fn drive_closing(&mut self, now: Time) {
        if self.closing == Closing::Committing {
            let waits = self.commit_due || self.commits_in_flight > 0;
            if waits && self.coordinator.node.is_some() && self.fatal.is_none() {
                return;
            }
            self.closing = Closing::Leaving;
            let leaves = self.fatal.is_none()
                && match self.group {
                    Group::None => false,
                    Group::Classic(_) => self.leave_classic(now),
                    Group::Modern(_) => self.leave_modern(now),
                };
            self.give_up_partitions(false);
            if !leaves {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        self.closing = Closing::Done;
        self.base.network.close();
        self.base.events.push_back(Event::Closed);
    }

    fn find_deadline(&self, now: Time) -> Option<Time> {
        if self.fatal.is_some() {
            return self.base.network.deadline();
        }
        let waits = self.positions.values().map(|it| it.retry_at).filter(|at| *at > now);
        let commits = self.settings.auto_commit.filter(|_| !self.is_busy());
        let commits = commits.map(|_| self.next_commit);
        let group = match &self.group {
            Group::None => None,
            Group::Classic(classic) => classic.deadline(now, &self.settings, self.busy_since),
            Group::Modern(modern) => modern.deadline(now, &self.settings, self.busy_since),
        };
        let group = group.filter(|at| *at > now);
        let base = self.base.deadline(now);
        let coordinator = self.settings.group_id.as_ref().and(self.coordinator.deadline(now));
        waits.chain(commits).chain(group).chain(base).chain(coordinator).min()
    }
}
