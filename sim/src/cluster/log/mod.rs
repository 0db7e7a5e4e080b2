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

    /// Forgets what is at `to` and beyond, with the whole batch that `to` is in.
    pub(super) fn truncate(&mut self, to: i64) {
        while let Some(batch) = self.batches.pop_back_if(|batch| batch.last_offset() >= to) {
            self.bytes -= batch.bytes().len();
        }
        self.end = self.batches.back().map_or(self.start, |batch| batch.last_offset() + 1);
        self.high_watermark = self.high_watermark.min(self.end);
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
