//! The log of one partition.

mod batch;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;

pub(super) use batch::{Batch, split};

/// Batches in the order of their offsets.
#[derive(Default)]
pub(super) struct Log {
    batches: VecDeque<Batch>,
    start: i64,
    end: i64,
    /// Offsets below have reached every replica in the ISR.
    high_watermark: i64,
    bytes: usize,
}

/// Where an append has put its batch.
pub(super) struct Appended {
    pub(super) base_offset: i64,
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

    /// The end of what consumers may read.
    pub(super) fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Bytes kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves the high watermark forward.
    pub(super) fn replicated(&mut self, up_to: i64) {
        self.high_watermark = self.high_watermark.max(up_to.min(self.end));
    }

    /// Appends a batch that was validated.
    pub(super) fn append(
        &mut self,
        mut batch: Batch,
        leader_epoch: i32,
    ) -> Result<Appended, ResponseError> {
        let base_offset = self.end;
        batch.place(base_offset, leader_epoch);
        self.end = batch.last_offset() + 1;
        self.bytes += batch.bytes().len();
        self.batches.push_back(batch);
        Ok(Appended { base_offset })
    }

    /// Appends a batch that another cluster has placed: its offsets and its leader epoch stay as they are.
    pub(super) fn append_replicated(&mut self, batch: Batch) {
        if self.batches.is_empty() && self.start == self.end {
            self.start = batch.base_offset();
        }
        self.end = batch.last_offset() + 1;
        self.bytes += batch.bytes().len();
        self.batches.push_back(batch);
    }

    /// Cuts off what stands at `to` and behind it; a batch that reaches over `to` goes whole.
    pub(super) fn truncate(&mut self, to: i64) {
        while let Some(last) = self.batches.back().filter(|last| last.last_offset() >= to) {
            self.bytes -= last.bytes().len();
            self.end = last.base_offset();
            self.batches.pop_back();
        }
        self.end = self.end.min(to).max(self.start.min(to));
        self.start = self.start.min(self.end);
        self.high_watermark = self.high_watermark.min(self.end);
    }

    /// Moves the start of the log forward; a batch that reaches over it stays whole.
    pub(super) fn delete_before(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.end));
        while let Some(first) =
            self.batches.front().filter(|first| first.last_offset() < self.start)
        {
            self.bytes -= first.bytes().len();
            self.batches.pop_front();
        }
        self.high_watermark = self.high_watermark.max(self.start);
    }

    /// The log is emptied, and its next record gets `offset`.
    pub(super) fn start_at(&mut self, offset: i64) {
        *self = Self { start: offset, end: offset, high_watermark: offset, ..Self::default() };
    }

    /// Offsets below belong to transactions that are decided, or to none.
    pub(super) fn last_stable_offset(&self) -> i64 {
        self.high_watermark
    }

    /// Whole batches from the one that holds `from` on, below `up_to`; the first even if it is larger than
    /// `bytes_max` (KIP-74), unless `bytes_max` is 0.
    pub(super) fn read(&self, from: i64, up_to: i64, bytes_max: usize) -> Bytes {
        let first = self.batches.partition_point(|batch| batch.last_offset() < from);
        let mut taken = BytesMut::new();
        for batch in self.batches.range(first..) {
            let fits = taken.len() + batch.bytes().len() <= bytes_max || taken.is_empty();
            if batch.base_offset() >= up_to || bytes_max == 0 || !fits {
                break;
            }
            taken.extend_from_slice(batch.bytes());
        }
        taken.freeze()
    }
}
