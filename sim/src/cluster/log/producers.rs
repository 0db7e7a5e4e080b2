//! What a log knows of the producers that wrote to it: how it tells a repeat from a gap.
//!
//! An unknown producer may begin with any epoch and any sequence. From then on:
//!
//! ```text
//!  epoch  same, first and last sequence those of one of the last five batches ─▶ a repeat, answered as the first was
//!         same, first sequence follows the last one (2^31 - 1 is followed by 0) ─▶ taken
//!         same, anything else  ─▶ OUT_OF_ORDER_SEQUENCE_NUMBER
//!         higher ─▶ taken from sequence 0 on, else OUT_OF_ORDER_SEQUENCE_NUMBER
//!         lower  ─▶ INVALID_PRODUCER_EPOCH
//! ```
//! The contents of a repeat are not compared: Kafka does not either.
//!
//! Of a producer about whose transaction the coordinator is asked, a leader takes nothing that is behind the first sequence that
//! it was to ask about, until something was taken: records that were refused cannot be passed over by later ones (KIP-890).

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::ResponseError;

use super::batch::{Batch, Marker};

/// Kafka remembers so many batches of a producer.
const BATCHES_REMEMBERED: usize = 5;
/// Producers that one log remembers. Beyond, those that have not written for the longest time go,
/// unless a transaction of theirs is open.
pub(super) const PRODUCERS_MAX: usize = 10_000;

/// A batch that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    first_sequence: i32,
    last_sequence: i32,
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) timestamp: i64,
}

/// One producer, as a log has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Producer {
    /// Of its last batch or marker.
    pub(in super::super) epoch: i16,
    /// Of the last marker; -1 without one.
    pub(in super::super) coordinator_epoch: i32,
    /// Of its last batch or marker, as the batch says.
    pub(in super::super) last_timestamp: i64,
    /// Where its open transaction began.
    pub(in super::super) open_since: Option<i64>,
    /// The last ones of this epoch.
    batches: VecDeque<Taken>,
    /// Rises from one write to the next, over all producers.
    used: u64,
}

impl Producer {
    /// -1 where nothing was written in this epoch.
    pub(in super::super) fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn repeated(&self, batch: &Batch) -> Option<Taken> {
        let sequences = (batch.base_sequence(), batch.last_sequence());
        self.batches
            .iter()
            .find(|taken| (taken.first_sequence, taken.last_sequence) == sequences)
            .filter(|_| batch.producer_epoch() == self.epoch)
            .copied()
    }

    /// Whether a batch of this epoch or a later one may follow.
    fn check(&self, batch: &Batch) -> Result<(), ResponseError> {
        let expected = if batch.producer_epoch() > self.epoch {
            0
        } else {
            self.last_sequence().wrapping_add(1) & i32::MAX
        };
        // Whoever has written without an epoch may go on with one anywhere.
        let begins = self.epoch == NO_EPOCH && batch.producer_epoch() > self.epoch;
        if batch.base_sequence() != expected && !begins {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        if self.open_since.is_some() && !batch.is_transactional() {
            return Err(ResponseError::InvalidTxnState);
        }
        Ok(())
    }

    fn enter(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// The coordinator of a transaction was asked whether a partition is in it.
#[derive(Clone, Copy, Debug)]
struct Verification {
    /// Of the leader that asked: the next one knows nothing of it.
    leader_epoch: i32,
    producer_epoch: i16,
    /// The first of the records that it was asked about.
    lowest_sequence: i32,
    /// Whether it was for a client of TV2: where nothing of this epoch is known, it must begin with sequence 0.
    begins_at_zero: bool,
    since_ms: i64,
}

impl Verification {
    fn refuses(&self, batch: &Batch, producer: Option<&Producer>, leader_epoch: i32) -> bool {
        let first = batch.base_sequence();
        let is_new = producer.is_none_or(|producer| producer.batches.is_empty());
        self.leader_epoch == leader_epoch
            && (first > self.lowest_sequence || self.begins_at_zero && first != 0 && is_new)
    }
}

/// What stands in a batch without an epoch.
const NO_EPOCH: i16 = -1;

/// Producers by their ids.
#[derive(Debug, Default)]
pub(super) struct Producers {
    by_id: BTreeMap<i64, Producer>,
    verifications: BTreeMap<i64, Verification>,
    uses: u64,
}

impl Producers {
    pub(super) fn get(&self, id: i64) -> Option<&Producer> {
        self.by_id.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    /// Whether a batch of a producer may be appended; with the batch that it repeats.
    pub(super) fn check(
        &self,
        batch: &Batch,
        leader_epoch: i32,
    ) -> Result<Option<Taken>, ResponseError> {
        let producer = self.by_id.get(&batch.producer_id());
        if let Some(taken) = producer.and_then(|producer| producer.repeated(batch)) {
            return Ok(Some(taken));
        }
        if producer.is_some_and(|producer| batch.producer_epoch() < producer.epoch) {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        let verification = self.verifications.get(&batch.producer_id());
        if verification.is_some_and(|asked| asked.refuses(batch, producer, leader_epoch)) {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        producer.map_or(Ok(()), |producer| producer.check(batch))?;
        Ok(None)
    }

    /// The coordinator is asked about a batch, for a leader. `is_tv2`: of a client that has brokers add partitions.
    pub(super) fn verifies(&mut self, batch: &Batch, now_ms: i64, leader_epoch: i32, is_tv2: bool) {
        let asked = Verification {
            leader_epoch,
            producer_epoch: batch.producer_epoch(),
            lowest_sequence: batch.base_sequence(),
            begins_at_zero: is_tv2,
            since_ms: now_ms,
        };
        if self.verifications.len() >= PRODUCERS_MAX {
            self.verifications.pop_first();
        }
        let known = self.verifications.entry(batch.producer_id()).or_insert(asked);
        if known.leader_epoch != leader_epoch {
            *known = asked;
        } else if known.producer_epoch < asked.producer_epoch {
            known.producer_epoch = asked.producer_epoch;
            known.lowest_sequence = asked.lowest_sequence;
        } else if known.producer_epoch == asked.producer_epoch {
            known.lowest_sequence = known.lowest_sequence.min(asked.lowest_sequence);
        }
    }

    /// Whether a marker of a producer may be appended.
    pub(super) fn check_marker(&self, marker: &Marker) -> Result<(), ResponseError> {
        let Some(producer) = self.by_id.get(&marker.producer_id) else { return Ok(()) };
        if marker.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(ResponseError::TransactionCoordinatorFenced);
        }
        Ok(())
    }

    /// A batch of a producer stands in the log now.
    pub(super) fn taken(&mut self, batch: &Batch) {
        let base_offset = batch.base_offset();
        self.verifications.remove(&batch.producer_id());
        let producer = self.used(batch.producer_id(), batch.producer_epoch());
        producer.last_timestamp = batch.max_timestamp();
        if batch.is_transactional() {
            producer.open_since.get_or_insert(base_offset);
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Taken {
            first_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
            first_offset: base_offset,
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp(),
        });
    }

    /// A marker of a producer stands in the log now; where the transaction that it ends began.
    pub(super) fn marked(&mut self, marker: &Marker) -> Option<i64> {
        self.verifications.remove(&marker.producer_id);
        let producer = self.used(marker.producer_id, marker.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = marker.timestamp;
        producer.open_since.take()
    }

    fn used(&mut self, id: i64, epoch: i16) -> &mut Producer {
        if self.by_id.len() >= PRODUCERS_MAX && !self.by_id.contains_key(&id) {
            self.forget_half();
        }
        self.uses += 1;
        let producer = self.by_id.entry(id).or_insert_with(|| Producer {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            open_since: None,
            batches: VecDeque::new(),
            used: 0,
        });
        producer.used = self.uses;
        producer.enter(epoch);
        producer
    }

    /// Many at once, so that the cost of finding them is shared by as many writes.
    fn forget_half(&mut self) {
        let mut uses: Vec<u64> = self.by_id.values().map(|producer| producer.used).collect();
        uses.sort_unstable();
        let limit = uses[uses.len() / 2];
        self.by_id.retain(|_, producer| producer.used >= limit || producer.open_since.is_some());
    }

    /// Forgets whoever has not written for `after_ms`, as their batches say. Open transactions keep their producer.
    pub(super) fn expire(&mut self, now_ms: i64, after_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.open_since.is_some()
                || now_ms.saturating_sub(producer.last_timestamp) < after_ms
        });
        self.verifications.retain(|_, asked| now_ms.saturating_sub(asked.since_ms) < after_ms);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
