//! One transactional id as its coordinator keeps it.

use std::{collections::BTreeSet, time::Duration};

use kafka_protocol::{ResponseError, messages::TopicName, protocol::StrBytes};

use super::{
    super::time::Time,
    producer_ids::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Producer},
};

/// A partition that takes part in a transaction.
pub(in super::super) type TopicPartition = (TopicName, i32);

/// The last epoch that a producer is ever given: one more is kept back, so that the coordinator can always fence.
const CLIENT_EPOCH_MAX: i16 = i16::MAX - 1;

/// Where a transactional id stands. `Dead` and `PrepareEpochFence` are moments inside a coordinator that nobody
/// can see here: an expired id is gone at once, a fenced transaction is at once on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum TransactionState {
    /// No transaction since the producer was initialised.
    Empty,
    /// Partitions have been added.
    Ongoing,
    /// To be committed; markers are being written.
    PrepareCommit,
    /// To be aborted; markers are being written.
    PrepareAbort,
    /// Committed, and every marker is written.
    CompleteCommit,
    /// Aborted, and every marker is written.
    CompleteAbort,
}

impl TransactionState {
    /// As Kafka calls it on the wire.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// Who ends transactions how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum TransactionVersion {
    /// The producer keeps its epoch for as long as it lives.
    V1,
    /// Every end of a transaction raises the producer's epoch (KIP-890).
    V2,
}

/// What has become of a producer that asked to be initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initialised {
    /// It has its id and epoch.
    As(Producer),
    /// The transaction that it or its predecessor left is being aborted; it has to ask again.
    AfterAbort,
}

/// What has become of a transaction that was to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is prepared, and its markers can be written. The producer goes on as this.
    Prepared(Producer),
    /// It had ended that way before: the request is a repetition.
    Before(Producer),
}

/// One transactional id.
#[derive(Clone, Debug)]
pub(in super::super) struct Transaction {
    pub(in super::super) state: TransactionState,
    pub(in super::super) producer: Producer,
    /// The producer's timeout for its transactions.
    pub(in super::super) timeout: Duration,
    /// When the transaction began, or the last one; `None` after an initialisation, as brokers of TV2 have it.
    pub(in super::super) started: Option<Time>,
    /// In the transaction, or while it ends: those that still lack their marker.
    pub(in super::super) partitions: BTreeSet<TopicPartition>,
    /// The id before the last step, if that step has changed it.
    previous_producer_id: i64,
    /// The epoch before the last bump, if its holder may ask for that bump again.
    previous_epoch: i16,
    /// What the producer becomes when the markers are written, because its epochs are used up.
    next_producer_id: Option<i64>,
    last_update: Time,
}

impl Transaction {
    /// An id that nobody has used; its first initialisation gives it epoch 0.
    pub(super) fn new(now: Time, producer_id: i64) -> Self {
        Self {
            state: TransactionState::Empty,
            producer: Producer { id: producer_id, epoch: NO_PRODUCER_EPOCH },
            timeout: Duration::ZERO,
            started: None,
            partitions: BTreeSet::new(),
            previous_producer_id: NO_PRODUCER_ID,
            previous_epoch: NO_PRODUCER_EPOCH,
            next_producer_id: None,
            last_update: now,
        }
    }

    /// InitProducerId. `expected` is what the producer believes that it is (KIP-360); `fresh_id` is asked only
    /// when the epochs of the current id are used up.
    pub(super) fn initialise(
        &mut self,
        now: Time,
        timeout: Duration,
        expected: Option<Producer>,
        server: TransactionVersion,
        fresh_id: impl FnOnce() -> i64,
    ) -> Result<Initialised, ResponseError> {
        if self.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        if expected.is_some_and(|expected| !self.may_be(expected)) {
            return Err(ResponseError::ProducerFenced);
        }
        if self.state == TransactionState::Ongoing {
            self.fence(now, server);
            return Ok(Initialised::AfterAbort);
        }
        let used_up = self.producer.epoch >= CLIENT_EPOCH_MAX;
        if used_up && expected.is_none_or(|expected| expected.epoch == self.producer.epoch) {
            self.previous_producer_id = self.producer.id;
            self.previous_epoch =
                if expected.is_some() { self.producer.epoch } else { NO_PRODUCER_EPOCH };
            self.producer = Producer { id: fresh_id(), epoch: 0 };
        } else if used_up {
            // Kafka's coordinator fails on an assertion of its own.
            return Err(ResponseError::UnknownServerError);
        } else {
            self.raise_epoch(expected.map(|expected| expected.epoch))?;
        }
        self.state = TransactionState::Empty;
        self.timeout = timeout;
        if server == TransactionVersion::V2 {
            // Brokers before that leave the time of the last transaction where it was.
            self.started = None;
        }
        self.last_update = now;
        Ok(Initialised::As(self.producer))
    }

    /// Whether somebody who believes to be `expected` may be this id's producer; the epoch is looked at later.
    fn may_be(&self, expected: Producer) -> bool {
        self.producer.epoch == NO_PRODUCER_EPOCH
            || expected.id == self.producer.id
            // A repetition of the request that used up the epochs, whose answer was lost.
            || (expected.id == self.previous_producer_id && expected.epoch >= CLIENT_EPOCH_MAX)
    }

    fn raise_epoch(&mut self, expected: Option<i16>) -> Result<(), ResponseError> {
        let current = self.producer.epoch;
        // A repetition of the request that raised it, whose answer was lost, finds it raised.
        let (previous, next) = match expected {
            None => (NO_PRODUCER_EPOCH, current + 1),
            Some(expected) if current == NO_PRODUCER_EPOCH || expected == current => {
                (current, current + 1)
            }
            Some(expected) if expected == self.previous_epoch => (self.previous_epoch, current),
            Some(_) => return Err(ResponseError::ProducerFenced),
        };
        self.previous_producer_id = self.producer.id;
        self.previous_epoch = previous;
        self.producer.epoch = next;
        Ok(())
    }

    /// AddPartitionsToTxn, AddOffsetsToTxn, and what TV2 does without them: begins a transaction where none is.
    /// Gives whether anything has changed.
    pub(super) fn add(
        &mut self,
        now: Time,
        producer: Producer,
        partitions: &[TopicPartition],
    ) -> Result<bool, ResponseError> {
        if self.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        self.check(producer)?;
        if self.state == TransactionState::Ongoing {
            if partitions.iter().all(|partition| self.partitions.contains(partition)) {
                return Ok(false);
            }
        } else {
            self.state = TransactionState::Ongoing;
            self.started = Some(now);
        }
        self.partitions.extend(partitions.iter().map(owned));
        self.previous_producer_id = self.producer.id;
        self.last_update = now;
        Ok(true)
    }

    /// Whether a partition is in the transaction, for brokers that ask before they append.
    pub(super) fn verify(
        &self,
        producer: Producer,
        partition: &TopicPartition,
    ) -> Result<(), ResponseError> {
        self.check(producer)?;
        if self.state.is_prepared() {
            Err(ResponseError::ConcurrentTransactions)
        } else if self.partitions.contains(partition) {
            Ok(())
        } else {
            Err(ResponseError::TransactionAbortable)
        }
    }

    fn check(&self, producer: Producer) -> Result<(), ResponseError> {
        if self.producer.id != producer.id {
            Err(ResponseError::InvalidProducerIdMapping)
        } else if self.producer.epoch != producer.epoch {
            Err(ResponseError::ProducerFenced)
        } else {
            Ok(())
        }
    }

    /// EndTxn. On [`Ended::Prepared`] the caller writes the markers.
    pub(super) fn end(
        &mut self,
        now: Time,
        producer: Producer,
        commit: bool,
        version: TransactionVersion,
        fresh_id: impl FnOnce() -> i64,
    ) -> Result<Ended, ResponseError> {
        match version {
            TransactionVersion::V1 => self.end_v1(now, producer, commit),
            TransactionVersion::V2 => self.end_v2(now, producer, commit, fresh_id),
        }
    }

    fn end_v1(
        &mut self,
        now: Time,
        producer: Producer,
        commit: bool,
    ) -> Result<Ended, ResponseError> {
        self.check(producer)?;
        match (self.state, commit) {
            (TransactionState::PrepareCommit | TransactionState::PrepareAbort, _) => {
                Err(ResponseError::ConcurrentTransactions)
            }
            (TransactionState::Ongoing, _) => {
                self.prepare(now, commit);
                Ok(Ended::Prepared(self.producer))
            }
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
                Ok(Ended::Before(self.producer))
            }
            (TransactionState::CompleteCommit, false)
            | (TransactionState::CompleteAbort, true)
            | (TransactionState::Empty, _) => Err(ResponseError::InvalidTxnState),
        }
    }

    fn end_v2(
        &mut self,
        now: Time,
        producer: Producer,
        commit: bool,
        fresh_id: impl FnOnce() -> i64,
    ) -> Result<Ended, ResponseError> {
        use TransactionState::{CompleteAbort, CompleteCommit, Empty, Ongoing};

        if self.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let repeats_rotation = self.previous_producer_id == producer.id
            && producer.epoch == CLIENT_EPOCH_MAX
            && self.producer.epoch == 0;
        // Epochs rise with every end, so the one before the current tells a repetition from a new request. How the
        // last transaction was ended in truth is not looked at: Kafka does not either.
        let repeats_bump = producer.epoch.checked_add(1) == Some(self.producer.epoch);
        if self.producer.id != producer.id && !repeats_rotation {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        let is_complete = matches!(self.state, CompleteCommit | CompleteAbort);
        let repeats = repeats_rotation || repeats_bump;
        if self.producer.epoch != producer.epoch && !(is_complete && repeats) {
            return Err(ResponseError::ProducerFenced);
        }
        match (self.state, commit) {
            (CompleteCommit, true) | (CompleteAbort, false) if repeats => {
                return Ok(Ended::Before(self.producer));
            }
            (Ongoing, _) => {}
            // An abort without a partition is allowed: the producer may not know whether its first one arrived.
            (CompleteCommit | CompleteAbort, false) if !repeats => self.started = Some(now),
            (Empty, false) => self.started = Some(now),
            _ => return Err(ResponseError::InvalidTxnState),
        }
        self.next_producer_id = (self.producer.epoch >= CLIENT_EPOCH_MAX).then(fresh_id);
        self.prepare(now, commit);
        self.bump_at_end();
        // What the client is told: with a new id it never sees the last epoch of the old one.
        let next = self.next_producer_id.map(|id| Producer { id, epoch: 0 });
        Ok(Ended::Prepared(next.unwrap_or(self.producer)))
    }

    /// The coordinator aborts: a new producer has come, or the transaction took too long. The epoch rises, so that
    /// the old producer cannot go on.
    pub(super) fn fence(&mut self, now: Time, server: TransactionVersion) {
        assert_eq!(self.state, TransactionState::Ongoing, "only what is open is fenced");
        self.prepare(now, false);
        match server {
            TransactionVersion::V1 => {
                self.producer.epoch = self.producer.epoch.saturating_add(1);
                self.previous_epoch = NO_PRODUCER_EPOCH;
            }
            TransactionVersion::V2 => self.bump_at_end(),
        }
    }

    fn bump_at_end(&mut self) {
        self.previous_epoch = self.producer.epoch;
        self.producer.epoch = self.producer.epoch.saturating_add(1);
    }

    fn prepare(&mut self, now: Time, commit: bool) {
        self.state =
            if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        self.previous_producer_id = self.producer.id;
        self.last_update = now;
    }

    /// Whether the markers that are being written commit; `None` where none are.
    pub(super) fn marker(&self) -> Option<bool> {
        match self.state {
            TransactionState::PrepareCommit => Some(true),
            TransactionState::PrepareAbort => Some(false),
            TransactionState::Empty
            | TransactionState::Ongoing
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort => None,
        }
    }

    /// The markers are written to all but `missing`.
    pub(super) fn markers_written(&mut self, now: Time, missing: BTreeSet<TopicPartition>) {
        self.partitions = missing;
        if !self.partitions.is_empty() {
            return;
        }
        self.state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            TransactionState::PrepareAbort => TransactionState::CompleteAbort,
            TransactionState::Empty
            | TransactionState::Ongoing
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort => unreachable!("markers are of a prepared end"),
        };
        self.previous_producer_id = self.producer.id;
        if let Some(id) = self.next_producer_id.take() {
            self.producer = Producer { id, epoch: 0 };
        }
        self.last_update = now;
    }

    /// When the coordinator may end a transaction that is open: it looks for such ones every `interval`.
    pub(super) fn times_out(&self, interval: Duration) -> Option<Time> {
        let started = self.started.filter(|_| self.state == TransactionState::Ongoing)?;
        Some(next_round(started + self.timeout, interval))
    }

    /// When the coordinator forgets an id that has not been used for `expiration`.
    pub(super) fn expires(&self, expiration: Duration, interval: Duration) -> Option<Time> {
        let is_idle = self.state != TransactionState::Ongoing && !self.state.is_prepared();
        is_idle.then(|| next_round(self.last_update + expiration, interval))
    }

    /// When the id was last used, if nothing is open.
    pub(super) fn idle_since(&self) -> Option<Time> {
        self.expires(Duration::ZERO, Duration::ZERO)
    }
}

/// A copy that does not keep the request that it came in.
fn owned((topic, index): &TopicPartition) -> TopicPartition {
    (TopicName(StrBytes::from_string(topic.to_string())), *index)
}

/// The first moment from `at` on at which a task runs that runs every `interval`.
fn next_round(at: Time, interval: Duration) -> Time {
    let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
    Time::from_micros(at.micros().div_ceil(interval).saturating_mul(interval))
}
