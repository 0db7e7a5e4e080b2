//! Producer id, epoch and sequences: what makes a retry no duplicate, and what both libraries do when it goes wrong.
//!
//! ```text
//!             unknown ─InitProducerId─▶ current ─error, expiry─▶ bump: epoch + 1, sequences from 0
//!  Java:       the partition concerned at once, others once nothing of theirs is outstanding
//!  librdkafka: after everything in flight has been answered (drain), or FATAL where order cannot be told any more
//! ```
//!
//! Both bump by themselves, without asking the cluster: that is why a moved producer and another one with the same
//! id fence each other.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId},
    protocol::Decodable,
};

use super::{
    super::{Event, config::Library, network::NodeId},
    Call, FailureReason, Producer,
    queue::{Batch, ProducerIdentity, Queue},
};
use crate::cluster::Time;

/// librdkafka asks again for a producer id after this time.
const RETRY_LIBRDKAFKA: Duration = Duration::from_millis(500);

/// Who this producer is.
pub(super) struct Identity {
    pub(super) is_enabled: bool,
    pub(super) current: Option<ProducerIdentity>,
    requested: bool,
    failures: u32,
    retry_at: Time,
    /// Java: partitions whose sequences start anew with the next epoch.
    rewrite: BTreeSet<usize>,
    /// librdkafka: nothing is sent until nothing is in flight; then the epoch rises.
    draining: bool,
    /// The producer is of no use any more.
    pub(super) fatal: Option<ResponseError>,
}

impl Identity {
    pub(super) fn new(is_enabled: bool) -> Self {
        Self {
            is_enabled,
            current: None,
            requested: false,
            failures: 0,
            retry_at: Time::default(),
            rewrite: BTreeSet::new(),
            draining: false,
            fatal: None,
        }
    }

    /// The coordinator of transactions has given an id and epoch.
    pub(super) fn begin(&mut self, producer: ProducerIdentity) {
        self.current = Some(producer);
        self.draining = false;
        self.rewrite.clear();
    }
}

impl Producer {
    /// Whether the sequences allow the front batch of a queue to be sent.
    pub(super) fn may_drain_sequence(&self, queue: &Queue, batch: &Batch) -> bool {
        match self.base.library() {
            Library::Java => match batch.sequence {
                // One that is sent again waits until everything before it is settled.
                Some(_) => queue.first_outstanding() == Some(batch.id),
                None => {
                    let stale = queue.sequences.producer != self.identity.current;
                    !(queue.sequences.unresolved || stale && queue.has_outstanding())
                }
            },
            // After a failure, and when the leader is another one, everything in flight is waited for once; then all goes out, one
            // behind the other.
            Library::Librdkafka => {
                let drained = queue.in_flight.is_empty() || !queue.draining;
                !self.identity.draining && drained
            }
        }
    }

    /// A broker refused a batch of an idempotent producer.
    pub(super) fn handle_idempotent_error(
        &mut self,
        now: Time,
        at: usize,
        batch: Batch,
        error: ResponseError,
    ) {
        match self.base.library() {
            Library::Java => self.handle_error_java(now, at, batch, error),
            Library::Librdkafka => self.handle_error_librdkafka(now, at, batch, error),
        }
    }

    fn handle_error_java(&mut self, now: Time, at: usize, batch: Batch, error: ResponseError) {
        let retry = self.may_retry(now, &batch) && self.is_worth_retrying(at, &batch, error);
        if retry {
            return self.retry(now, at, batch);
        }
        // Whatever it was, the sequences behind it have a gap now.
        if self.transaction.is_none() {
            self.identity.rewrite.insert(at);
        }
        self.fail_batch(batch, FailureReason::Broker(error));
        self.settle(at);
    }

    /// Java's `TransactionManager.canRetry` for a producer without transactions.
    fn is_worth_retrying(&mut self, at: usize, batch: &Batch, error: ResponseError) -> bool {
        let Some(sequence) = batch.sequence else { return error.is_retriable() };
        let queue = &self.queues[at];
        let unresolved = queue.sequences.unresolved;
        let is_next = queue.is_next(sequence.base);
        match error {
            // A transaction cannot go on at another epoch.
            ResponseError::UnknownProducerId if self.transaction.is_some() => false,
            ResponseError::UnknownProducerId => {
                self.identity.rewrite.insert(at);
                true
            }
            ResponseError::OutOfOrderSequenceNumber if self.transaction.is_some() => {
                !unresolved && (batch.sequence_reset || !is_next)
            }
            ResponseError::OutOfOrderSequenceNumber => {
                // Behind one that failed, it will be in order once that one was sent again.
                if !unresolved && (batch.sequence_reset || !is_next) {
                    return true;
                }
                if !unresolved || is_next {
                    self.identity.rewrite.insert(at);
                }
                true
            }
            _ => error.is_retriable(),
        }
    }

    fn handle_error_librdkafka(
        &mut self,
        now: Time,
        at: usize,
        batch: Batch,
        error: ResponseError,
    ) {
        let queue = &self.queues[at];
        let next = queue.sequences.last_acknowledged.wrapping_add(1);
        let ahead = batch.sequence.map_or(0, |sequence| sequence.base.wrapping_sub(next));
        let is_first = queue.first_outstanding().is_none_or(|first| first > batch.id);
        match error {
            // Behind one that failed.
            ResponseError::OutOfOrderSequenceNumber if ahead > 0 && !is_first => {
                self.identity.draining = true;
                self.retry(now, at, batch);
            }
            ResponseError::UnknownProducerId if batch.attempts == 0 && ahead == 0 => {
                self.identity.draining = true;
                self.retry(now, at, batch);
            }
            ResponseError::OutOfOrderSequenceNumber | ResponseError::UnknownProducerId => {
                self.fail_batch(batch, FailureReason::Broker(error));
                self.become_fatal(error);
            }
            _ if self.is_retriable(error) && self.may_retry(now, &batch) => {
                self.retry_refused(now, at, batch, error);
            }
            _ => {
                self.fail_batch(batch, FailureReason::Broker(error));
                if self.settings.gapless {
                    self.become_fatal(error);
                } else {
                    self.identity.draining = true;
                    self.settle(at);
                }
            }
        }
    }

    /// The producer is of no use any more: everything it has fails.
    pub(super) fn become_fatal(&mut self, error: ResponseError) {
        if self.identity.fatal.is_some() {
            return;
        }
        self.identity.fatal = Some(error);
        self.base.events.push_back(Event::Fatal { error });
        let reason = FailureReason::Fatal(error);
        for at in std::mem::take(&mut self.active) {
            let mut batches: Vec<Batch> = self.queues[at].batches.drain(..).collect();
            batches.extend(std::mem::take(&mut self.queues[at].in_flight).into_values());
            batches.sort_by_key(|batch| batch.id);
            for batch in batches {
                self.fail_batch(batch, reason);
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.fail(waiting.number, reason);
        }
        self.blocked_since = None;
    }

    /// A batch that may have arrived was given up with retries left for nobody.
    pub(super) fn given_up_unknown(&mut self, at: usize, batch: &Batch) {
        if batch.sequence.is_none() || !self.identity.is_enabled {
            return;
        }
        match self.base.library() {
            Library::Java => self.queues[at].sequences.unresolved = true,
            Library::Librdkafka => self.identity.draining = true,
        }
    }

    /// librdkafka: a record that had a sequence has timed out in its queue.
    pub(super) fn timed_out_with_sequence(&mut self, _at: usize) {
        if self.identity.is_enabled {
            self.identity.draining = true;
        }
    }

    /// Settles what expiries and errors have left open, and asks for an identity where there is none.
    pub(super) fn settle_identity(&mut self, now: Time) {
        if !self.identity.is_enabled || self.identity.fatal.is_some() || self.transaction.is_some()
        {
            return; // The epoch of a transactional producer is its coordinator's to raise.
        }
        match self.base.library() {
            Library::Java => self.resolve_sequences(),
            Library::Librdkafka => {
                let in_flight = |queue: &Queue| !queue.in_flight.is_empty();
                if self.identity.draining && !self.queues.iter().any(in_flight) {
                    self.identity.draining = false;
                    self.identity.rewrite = (0..self.queues.len()).collect();
                }
            }
        }
        if !self.identity.rewrite.is_empty() {
            self.bump_epoch();
        }
        if self.identity.current.is_none() {
            self.request_producer_id(now);
        }
    }

    /// Java's `maybeResolveSequences`: once nothing of a partition is outstanding, it shows what the broker has.
    fn resolve_sequences(&mut self) {
        for at in 0..self.queues.len() {
            let queue = &mut self.queues[at];
            if !queue.sequences.unresolved || queue.has_outstanding() {
                continue;
            }
            queue.sequences.unresolved = false;
            if !queue.is_next(queue.sequences.next) {
                self.identity.rewrite.insert(at);
            }
        }
    }

    fn bump_epoch(&mut self) {
        let rewrite = std::mem::take(&mut self.identity.rewrite);
        let Some(current) = self.identity.current else { return };
        let Some(epoch) = current.epoch.checked_add(1) else {
            self.identity.current = None; // The epochs of this id are used up.
            return;
        };
        let bumped = ProducerIdentity { epoch, ..current };
        self.identity.current = Some(bumped);
        for at in rewrite {
            self.queues[at].start_sequences(bumped);
        }
        self.base.events.push_back(Event::EpochBumped { producer_id: bumped.id, epoch });
    }

    fn request_producer_id(&mut self, now: Time) {
        if self.identity.requested || self.identity.retry_at > now {
            return;
        }
        let nodes = self.base.metadata.nodes.clone();
        let Some(node) = self.base.network.least_loaded(now, &nodes).node else { return };
        if !self.base.network.ready(now, node) {
            return;
        }
        let Some(version) = self.base.network.version::<InitProducerIdRequest>(node, i16::MAX)
        else {
            return self.become_fatal(ResponseError::UnsupportedVersion);
        };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        self.identity.requested = true;
        self.base.send(now, node, version, &request, None, Some(Call::InitProducerId));
    }

    /// The cluster has given a producer id, or refused one.
    pub(super) fn handle_producer_id(&mut self, now: Time, version: i16, mut body: Bytes) {
        let Ok(response) = InitProducerIdResponse::decode(&mut body, version) else {
            return self.identity_lost(now);
        };
        self.identity.requested = false;
        match ResponseError::try_from_code(response.error_code) {
            None => {
                self.identity.failures = 0;
                self.identity.current = Some(ProducerIdentity {
                    id: response.producer_id.0,
                    epoch: response.producer_epoch,
                });
            }
            Some(error) if error.is_retriable() => self.identity_lost(now),
            Some(error) => self.become_fatal(error),
        }
    }

    /// The request for a producer id went down, or is to be made again.
    pub(super) fn identity_lost(&mut self, now: Time) {
        self.identity.requested = false;
        let wait = match self.base.library() {
            Library::Java => {
                self.settings.common.retry.wait(&mut self.random, self.identity.failures)
            }
            Library::Librdkafka => RETRY_LIBRDKAFKA,
        };
        self.identity.failures += 1;
        self.identity.retry_at = now + wait;
    }

    /// When the identity has something to do by itself.
    pub(super) fn identity_deadline(&self, now: Time) -> Option<Time> {
        let asks = self.identity.is_enabled
            && self.identity.current.is_none()
            && !self.identity.requested
            && self.transaction.is_none()
            && self.identity.fatal.is_none();
        Some(self.identity.retry_at).filter(|at| asks && *at > now)
    }

    /// Whether a node takes transactions without AddPartitionsToTxn.
    pub(super) fn uses_transactions_v2(&self, node: NodeId) -> bool {
        self.base.network.offered(node).is_some_and(|offered| offered.transaction_version >= 2)
    }

    pub(super) fn transactional_id(&self) -> Option<kafka_protocol::messages::TransactionalId> {
        let id = self.settings.transactional_id.clone()?;
        Some(kafka_protocol::messages::TransactionalId(id.into()))
    }
}
