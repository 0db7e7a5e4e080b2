//! The log of one partition.
//!
//! ```text
//!  start ≤ last stable offset ≤ high watermark ≤ end
//!  ├── committed ──┤├─ undecided ─┤├─ not on every replica ─┤
//! ```
//! All replicas share one log: those that run have all of it, and of one that stopped the log knows how far it had
//! come. Batches are kept whole and as they are sent, one allocation each: a read of several copies them once.
//!
//! Absent on purpose: segments (retention takes single batches), compaction, tiered storage, and any look into
//! compressed records.

mod batch;
mod config;
mod epochs;
mod lookup;
mod producers;
mod records;
mod retention;
mod transactions;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{ResponseError, messages::BrokerId};

use super::time::Time;
use batch::{NO_TIMESTAMP, Placement};
use epochs::LeaderEpochs;
use producers::Producers;
use transactions::Transactions;

pub(super) use batch::{Batch, Marker};
pub(super) use config::LogConfig;
pub(super) use lookup::Found;
pub(super) use producers::Producer;
pub(super) use transactions::Aborted;
pub(super) use validate::Refused;

/// Batches in the order of their offsets, and what is known from them.
#[derive(Debug, Default)]
pub(super) struct Log {
    batches: VecDeque<Stored>,
    start: i64,
    end: i64,
    high_watermark: i64,
    /// Bytes ever appended: where the next batch stands.
    position: u64,
    epochs: LeaderEpochs,
    producers: Producers,
    transactions: Transactions,
    /// The ends that replicas had when they stopped.
    stopped: BTreeMap<BrokerId, i64>,
}

/// A batch with what searches look at.
#[derive(Debug)]
struct Stored {
    batch: Batch,
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
    /// The largest of it and of those before: it rises, so it can be searched.
    max_timestamp_so_far: i64,
    /// Bytes of the log before it.
    position: u64,
}

impl Stored {
    fn end_position(&self) -> u64 {
        self.position + self.batch.bytes().len() as u64
    }
}

/// Where an append has put its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    /// -1 where records keep the time of the client.
    pub(super) log_append_time: i64,
    /// 0: the batch was a repeat.
    pub(super) bytes: usize,
}

/// What a read has found.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) records: Bytes,
    /// Behind the last record.
    pub(super) next_offset: i64,
}

impl Log {
    /// The first offset that is kept.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The end of what has reached every replica in the ISR, and so of what consumers may read.
    pub(super) fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The end of what readers of committed records may read.
    pub(super) fn last_stable_offset(&self) -> i64 {
        match self.transactions.first_unstable() {
            Some(first) => first.max(self.start).min(self.high_watermark),
            None => self.high_watermark,
        }
    }

    /// Bytes kept.
    pub(super) fn bytes(&self) -> usize {
        self.batches.front().map_or(0, |first| {
            usize::try_from(self.position - first.position).expect("what is kept fits in memory")
        })
    }

    /// The producers that the log knows, by id.
    pub(super) fn producers(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.producers.iter()
    }

    /// Whether a producer has a transaction open here.
    pub(super) fn has_open_transaction(&self, producer_id: i64) -> bool {
        self.producers.get(producer_id).is_some_and(|producer| producer.open_since.is_some())
    }

    /// Whether the producer of a batch has a transaction open here, with the epoch of the batch.
    pub(super) fn continues_transaction(&self, batch: &Batch) -> bool {
        let known = self.producers.get(batch.producer_id());
        known.is_some_and(|it| it.open_since.is_some() && it.epoch == batch.producer_epoch())
    }

    /// The coordinator of a transaction is asked about a batch before it is appended. `is_tv2`: of a client that has brokers
    /// add partitions.
    pub(super) fn verifies(&mut self, batch: &Batch, now: Time, leader_epoch: i32, is_tv2: bool) {
        self.producers.verifies(batch, now.ms(), leader_epoch, is_tv2);
    }

    /// A replica stops where the log ends now.
    pub(super) fn replica_stopped(&mut self, replica: BrokerId) {
        self.stopped.entry(replica).or_insert(self.end);
    }

    /// A replica has caught up.
    pub(super) fn replica_returned(&mut self, replica: BrokerId) {
        self.stopped.remove(&replica);
    }

    /// Replicas that stopped and have not caught up since.
    pub(super) fn stopped_replicas(&self) -> impl Iterator<Item = BrokerId> {
        self.stopped.keys().copied()
    }

    /// Whether a replica stopped and has not caught up since.
    pub(super) fn is_stopped(&self, replica: BrokerId) -> bool {
        self.stopped.contains_key(&replica)
    }

    /// How far a replica has come.
    pub(super) fn end_of_replica(&self, replica: BrokerId) -> i64 {
        self.stopped.get(&replica).map_or(self.end, |end| *end.min(&self.end))
    }

    /// Moves the high watermark to the lowest end of these replicas; it never goes back.
    pub(super) fn replicated(&mut self, isr: &[BrokerId]) {
        let lowest = if self.stopped.is_empty() {
            self.end
        } else {
            // With nobody in the ISR nothing becomes replicated.
            let ends = isr.iter().map(|replica| self.end_of_replica(*replica));
            ends.min().unwrap_or(self.high_watermark)
        };
        self.high_watermark = self.high_watermark.max(lowest);
        self.transactions.replicated(self.high_watermark);
    }

    /// Appends a batch of a client, or finds what it repeats.
    pub(super) fn append(
        &mut self,
        batch: &Batch,
        config: &LogConfig,
        now: Time,
        leader_epoch: i32,
    ) -> Result<Appended, Refused> {
        let max_timestamp = validate::validate(batch, config, now.ms())?;
        if batch.has_producer()
            && let Some(taken) = self.producers.check(batch, leader_epoch)?
        {
            return Ok(Appended {
                base_offset: taken.first_offset,
                last_offset: taken.last_offset,
                // Kafka tells the time of the first one, whoever has set it.
                log_append_time: taken.timestamp,
                bytes: 0,
            });
        }
        let log_append_time = config.log_append_time;
        let base_offset = self.end;
        let place = Placement { base_offset, leader_epoch, log_append_time, max_timestamp };
        let (last_offset, bytes) = self.store(batch.placed(&place));
        Ok(Appended {
            base_offset,
            last_offset,
            log_append_time: if log_append_time { now.ms() } else { NO_TIMESTAMP },
            bytes,
        })
    }

    /// Ends a transaction of a producer; the offset of the marker.
    pub(super) fn append_marker(
        &mut self,
        marker: &Marker,
        leader_epoch: i32,
    ) -> Result<i64, ResponseError> {
        self.producers.check_marker(marker)?;
        let place = Placement {
            base_offset: self.end,
            leader_epoch,
            log_append_time: false,
            max_timestamp: marker.timestamp,
        };
        let (offset, _) = self.store(Batch::marker(marker).placed(&place));
        Ok(offset)
    }

    /// Appends a copy of a batch of another log: its offset and its leader epoch stay. Nobody but a batch below the
    /// log's end is refused, as the source has checked the rest.
    pub(super) fn append_replicated(&mut self, batch: &Batch) -> Result<Appended, ResponseError> {
        let base_offset = batch.base_offset();
        let fits = base_offset >= self.end && batch.last_offset_delta() >= 0;
        if !fits || batch.last_offset() == i64::MAX {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let (last_offset, bytes) = self.store(batch.copied());
        Ok(Appended { base_offset, last_offset, log_append_time: NO_TIMESTAMP, bytes })
    }

    /// Last offset and bytes of the batch that now stands at the end.
    fn store(&mut self, batch: Batch) -> (i64, usize) {
        let (base_offset, last_offset) = (batch.base_offset(), batch.last_offset());
        debug_assert!(self.end <= base_offset, "offsets rise");
        self.epochs.assign(batch.leader_epoch(), base_offset);
        self.learn(&batch);
        let bytes = batch.bytes().len();
        let max_timestamp = batch.max_timestamp();
        let so_far = self.batches.back().map_or(i64::MIN, |last| last.max_timestamp_so_far);
        self.batches.push_back(Stored {
            base_offset,
            last_offset,
            max_timestamp,
            max_timestamp_so_far: so_far.max(max_timestamp),
            position: self.position,
            batch,
        });
        self.position += bytes as u64;
        self.end = last_offset + 1;
        (last_offset, bytes)
    }

    /// Producers and transactions, from a batch that is in the log.
    fn learn(&mut self, batch: &Batch) {
        if !batch.has_producer() {
            return;
        }
        if let Some((commit, coordinator_epoch)) = batch.marker_content() {
            let producer_id = batch.producer_id();
            let marker = Marker {
                producer_id,
                producer_epoch: batch.producer_epoch(),
                commit,
                coordinator_epoch,
                timestamp: batch.max_timestamp(),
            };
            if let Some(first_offset) = self.producers.marked(&marker) {
                self.transactions.end(producer_id, first_offset, batch.base_offset(), commit);
            }
        } else if !batch.is_control() {
            if batch.is_transactional() && !self.has_open_transaction(batch.producer_id()) {
                self.transactions.begin(batch.base_offset());
            }
            self.producers.taken(batch);
        }
    }

    /// Whole batches from the one that holds `from` on, below `up_to` and within `bytes_max`; with `at_least_one`
    /// the first is there even if it is larger (KIP-74).
    pub(super) fn read(&self, from: i64, up_to: i64, bytes_max: usize, at_least_one: bool) -> Read {
        let first = self.first_from(from);
        let mut bytes = 0;
        let mut next_offset = from;
        let mut count = 0;
        for stored in self.batches.range(first..) {
            let with = bytes + stored.batch.bytes().len();
            let fits = with <= bytes_max || (count == 0 && at_least_one);
            if stored.base_offset >= up_to || !fits {
                break;
            }
            bytes = with;
            next_offset = stored.last_offset + 1;
            count += 1;
        }
        let records = match count {
            0 => Bytes::new(),
            1 => self.batches[first].batch.bytes().clone(),
            _ => {
                let mut gathered = BytesMut::with_capacity(bytes);
                for stored in self.batches.range(first..first + count) {
                    gathered.extend_from_slice(stored.batch.bytes());
                }
                gathered.freeze()
            }
        };
        Read { records, next_offset }
    }

    /// Bytes between two offsets, without reading them.
    pub(super) fn bytes_between(&self, from: i64, up_to: i64) -> usize {
        let first = self.first_from(from);
        let behind = self.batches.partition_point(|stored| stored.base_offset < up_to);
        if first >= behind {
            return 0;
        }
        let bytes = self.batches[behind - 1].end_position() - self.batches[first].position;
        usize::try_from(bytes).expect("what is kept fits in memory")
    }

    /// Aborted transactions with records from `from` on and below `to`.
    pub(super) fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        self.transactions.aborted(from, to)
    }

    /// Where the batch stands that holds this offset, or the first one behind it.
    fn first_from(&self, offset: i64) -> usize {
        self.batches.partition_point(|stored| stored.last_offset < offset)
    }

    /// Gives up what is not below `to`, and the rest of the batch that holds it.
    pub(super) fn truncate(&mut self, to: i64) {
        if to >= self.end {
            return;
        }
        self.batches.truncate(self.first_from(to));
        self.position = self.batches.back().map_or(self.position, Stored::end_position);
        self.end = to.max(self.start);
        self.high_watermark = self.high_watermark.min(self.end);
        for end in self.stopped.values_mut() {
            *end = (*end).min(self.end);
        }
        self.epochs.truncate_end(to);
        // What they have beyond is not what will be written there.
        for end in self.stopped.values_mut() {
            *end = (*end).min(self.end);
        }
        // What the producers had written is learned again from what is left.
        self.producers = Producers::default();
        self.transactions = Transactions::default();
        let batches = std::mem::take(&mut self.batches);
        for stored in &batches {
            self.learn(&stored.batch);
        }
        self.batches = batches;
        self.transactions.replicated(self.high_watermark);
    }

    /// Gives up everything and goes on at `offset`.
    pub(super) fn restart_at(&mut self, offset: i64) {
        let position = self.position;
        let stopped = std::mem::take(&mut self.stopped);
        *self = Self {
            start: offset,
            end: offset,
            high_watermark: offset,
            position,
            stopped,
            ..Self::default()
        };
    }
}
