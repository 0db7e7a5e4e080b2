//! Fetch sessions (KIP-227): a consumer names its partitions once, and from then on only what has changed is said, in
//! both directions.
//!
//! ```text
//!  epoch 0 ──▶ open: id, epoch 1 ──fetch of the epoch expected──▶ epoch + 1 ─▶ … (behind 2^31 - 1 comes 1)
//!                                 └─ of another epoch ─▶ INVALID_FETCH_SESSION_EPOCH
//!  epoch -1, epoch 0 with an id, or no partition left ──▶ closed
//! ```
//! Each broker has sessions of its own, a limited number of them. Where none is to be had the answer has id 0, and
//! the consumer names everything again in its next fetch.

use std::collections::BTreeMap;

use fastrand::Rng;
use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, TopicName, fetch_response::PartitionData},
};
use uuid::Uuid;

use super::time::{Time, millis};

/// A session that was not used for so long makes room for any other (Kafka's `FETCH_SESSION_EVICTION_MS`).
const EVICTION_MS: i32 = 120_000;
/// Partitions in all sessions of a broker.
const PARTITIONS_MAX: usize = 200_000;

/// What a session, or a fetch without one, wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `None`: no topic has this id.
    pub(super) name: Option<TopicName>,
    /// Nil where the client speaks of names.
    pub(super) topic_id: Uuid,
    pub(super) index: i32,
    pub(super) offset: i64,
    pub(super) bytes_max: i32,
    pub(super) leader_epoch: i32,
    pub(super) last_fetched_epoch: i32,
}

/// A partition as the client calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PartitionKey {
    Named(TopicName, i32),
    Id(Uuid, i32),
}

impl PartitionKey {
    pub(super) fn new(name: Option<&TopicName>, topic_id: Uuid, index: i32) -> Self {
        match name {
            Some(name) if topic_id.is_nil() => Self::Named(name.clone(), index),
            _ => Self::Id(topic_id, index),
        }
    }
}

impl Wanted {
    pub(super) fn key(&self) -> PartitionKey {
        PartitionKey::new(self.name.as_ref(), self.topic_id, self.index)
    }
}

/// What was said last of a partition.
#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start: i64,
}

impl Cached {
    /// Whether an answer says something new, which is then what was said last.
    fn update(&mut self, answer: &PartitionData) -> bool {
        let has_error = answer.error_code != 0;
        let is_new = has_records(answer)
            || self.high_watermark != answer.high_watermark
            || self.log_start != answer.log_start_offset
            || has_error
            || answer.diverging_epoch.epoch >= 0;
        // Once the error is gone, the partition is told again whatever it is like.
        self.high_watermark = if has_error { -1 } else { answer.high_watermark };
        self.log_start = answer.log_start_offset;
        is_new
    }
}

fn has_records(answer: &PartitionData) -> bool {
    answer.records.as_ref().is_some_and(|records| !records.is_empty())
}

#[derive(Debug)]
struct Session {
    /// Of the fetch that is expected.
    epoch: i32,
    by_id: bool,
    created: Time,
    used: Time,
    /// In the order in which they are read: who got records goes to the end.
    partitions: BTreeMap<u64, Cached>,
    places: BTreeMap<PartitionKey, u64>,
    next_place: u64,
}

impl Session {
    fn want(&mut self, wanted: Wanted) {
        let key = wanted.key();
        if let Some(cached) = self.places.get(&key).and_then(|at| self.partitions.get_mut(at)) {
            // The name that was found first stays: so a topic that was created anew is told from the old one.
            let name = cached.wanted.name.take().or(wanted.name.clone());
            cached.wanted = Wanted { name, ..wanted };
            return;
        }
        self.push(key, Cached { wanted, high_watermark: -1, log_start: -1 });
    }

    fn push(&mut self, key: PartitionKey, cached: Cached) {
        self.places.insert(key, self.next_place);
        self.partitions.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn forget(&mut self, key: &PartitionKey) {
        if let Some(place) = self.places.remove(key) {
            self.partitions.remove(&place);
        }
    }

    /// Keeps of an answer what the client does not know yet.
    fn prune(&mut self, answers: &mut Vec<(Wanted, PartitionData)>) {
        answers.retain(|(wanted, answer)| {
            let key = wanted.key();
            let Some(place) = self.places.get(&key).copied() else { return true };
            let Some(cached) = self.partitions.get_mut(&place) else { return true };
            let is_new = cached.update(answer);
            if has_records(answer)
                && let Some(cached) = self.partitions.remove(&place)
            {
                self.push(key, cached);
            }
            is_new
        });
    }
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

/// The sessions of all brokers.
#[derive(Debug)]
pub(super) struct FetchSessions {
    by_broker: BTreeMap<BrokerId, BTreeMap<i32, Session>>,
    sessions_max: usize,
    ids: Rng,
}

/// A fetch within a session.
pub(super) enum Resumed {
    /// All that the session wants.
    Open(Vec<Wanted>),
    /// Nothing was left to want.
    Closed,
}

impl FetchSessions {
    /// `sessions_max` for each broker; ids are drawn from `ids`.
    pub(super) fn new(sessions_max: usize, ids: Rng) -> Self {
        Self { by_broker: BTreeMap::new(), sessions_max, ids }
    }

    /// Opens a session with what was answered; its id, or 0.
    pub(super) fn open(
        &mut self,
        now: Time,
        broker: BrokerId,
        by_id: bool,
        answers: &[(Wanted, PartitionData)],
    ) -> i32 {
        let sessions = self.by_broker.entry(broker).or_default();
        let partitions: usize = sessions.values().map(|session| session.partitions.len()).sum();
        let has_room = sessions.len() < self.sessions_max || evict(sessions, now, answers.len());
        if !has_room || partitions + answers.len() > PARTITIONS_MAX {
            return 0;
        }
        let mut session = Session {
            epoch: 1,
            by_id,
            created: now,
            used: now,
            partitions: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        };
        for (wanted, answer) in answers {
            session.want(wanted.clone());
            if let Some(mut last) = session.partitions.last_entry() {
                last.get_mut().high_watermark = answer.high_watermark;
                last.get_mut().log_start = answer.log_start_offset;
            }
        }
        let mut id = self.ids.i32(1..);
        while sessions.contains_key(&id) {
            id = self.ids.i32(1..);
        }
        sessions.insert(id, session);
        id
    }

    /// Goes on with a session. `name_of` finds the names of topics that were unknown before.
    pub(super) fn resume(
        &mut self,
        (now, broker): (Time, BrokerId),
        (id, epoch, by_id): (i32, i32, bool),
        (wanted, forgotten): (&[Wanted], &[PartitionKey]),
        name_of: impl Fn(Uuid) -> Option<TopicName>,
    ) -> Result<Resumed, ResponseError> {
        let sessions = self.by_broker.entry(broker).or_default();
        let session = sessions.get_mut(&id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        if session.partitions.len() + wanted.len() > PARTITIONS_MAX {
            sessions.remove(&id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        for wanted in wanted {
            session.want(wanted.clone());
        }
        for key in forgotten {
            session.forget(key);
        }
        if session.partitions.is_empty() {
            sessions.remove(&id);
            return Ok(Resumed::Closed);
        }
        session.used = now;
        session.epoch = next_epoch(epoch);
        let all = session.partitions.values_mut().map(|cached| {
            if cached.wanted.name.is_none() {
                cached.wanted.name = name_of(cached.wanted.topic_id);
            }
            cached.wanted.clone()
        });
        Ok(Resumed::Open(all.collect()))
    }

    /// Keeps of the answer to a fetch of `epoch` what the client does not know yet.
    pub(super) fn prune(
        &mut self,
        broker: BrokerId,
        (id, epoch): (i32, i32),
        answers: &mut Vec<(Wanted, PartitionData)>,
    ) -> Result<(), ResponseError> {
        let session = self.by_broker.get_mut(&broker).and_then(|sessions| sessions.get_mut(&id));
        // It may have been closed, or have gone on, while the fetch waited.
        match session {
            Some(session) if session.epoch == next_epoch(epoch) => {
                session.prune(answers);
                Ok(())
            }
            _ => Err(ResponseError::InvalidFetchSessionEpoch),
        }
    }

    pub(super) fn close(&mut self, broker: BrokerId, id: i32) {
        if let Some(sessions) = self.by_broker.get_mut(&broker) {
            sessions.remove(&id);
        }
    }

    /// A broker has gone, and its sessions with it.
    pub(super) fn forget(&mut self, broker: BrokerId) {
        self.by_broker.remove(&broker);
    }
}

/// Makes room for a session of so many partitions, as Kafka does: for any where one was not used for long, else
/// where an old one has fewer partitions.
fn evict(sessions: &mut BTreeMap<i32, Session>, now: Time, partitions: usize) -> bool {
    let limit = millis(EVICTION_MS);
    let stalest = sessions.iter().min_by_key(|(id, session)| (session.used, **id));
    let stale = stalest.filter(|(_, session)| now.since(session.used) > limit);
    let old = sessions.iter().filter(|(_, session)| session.used.since(session.created) > limit);
    let smallest = old.min_by_key(|(id, session)| (session.partitions.len(), **id));
    let smaller = smallest.filter(|(_, session)| session.partitions.len() < partitions);
    match stale.or(smaller).map(|(id, _)| *id) {
        Some(id) => sessions.remove(&id).is_some(),
        None => false,
    }
}
