//! Finding offsets by timestamp and by leader epoch.

use super::{Log, Stored, records, validate::timestamp_of};

/// An offset that was looked for. -1 stands for what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Found {
    pub(in super::super) offset: i64,
    pub(in super::super) timestamp: i64,
    pub(in super::super) leader_epoch: i32,
}

impl Log {
    /// The epoch of the record at this offset; -1: there is none.
    pub(in super::super) fn epoch_at(&self, offset: i64) -> i32 {
        self.epochs.of(offset).unwrap_or(-1)
    }

    /// The end of the largest epoch that is not above `asked`, and that epoch. `current` is the leader's.
    pub(in super::super) fn end_of_epoch(&self, asked: i32, current: i32) -> (i32, i64) {
        self.epochs.end_of(asked, current, self.end)
    }

    /// Whether a leader of this epoch has seen everything that it took over reach its replicas.
    pub(in super::super) fn epoch_is_replicated(&self, current: i32) -> bool {
        let start = match self.epochs.latest() {
            Some(latest) if latest == current => self.epochs.start_of_latest(),
            _ => self.end,
        };
        start <= self.high_watermark
    }

    /// The first record that is not older than `timestamp`.
    pub(in super::super) fn at_timestamp(&self, timestamp: i64) -> Option<Found> {
        let before = |stored: &Stored| stored.max_timestamp_so_far < timestamp;
        self.batches
            .range(self.batches.partition_point(before)..)
            .filter(|stored| stored.max_timestamp >= timestamp)
            .find_map(|stored| stored.first_at(timestamp, self.start))
    }

    /// The first record that has the largest timestamp.
    pub(in super::super) fn at_max_timestamp(&self) -> Option<Found> {
        // Of equal batches the first.
        let newest = self.batches.iter().rev().max_by_key(|stored| stored.max_timestamp)?;
        newest.first_at(newest.max_timestamp, self.start)
    }
}

impl Stored {
    /// Of compressed records only the header is known: the first of them stands for those behind it, so that a
    /// reader misses nothing.
    fn first_at(&self, timestamp: i64, not_below: i64) -> Option<Found> {
        let leader_epoch = self.batch.leader_epoch();
        if self.batch.compression() != 0 {
            let offset = self.base_offset.max(not_below);
            let timestamp = timestamp_of(&self.batch, 0).max(timestamp);
            return Some(Found { offset, timestamp, leader_epoch });
        }
        let mut found = None;
        let walked = records::walk(self.batch.records(), self.batch.record_count(), |record| {
            let at = timestamp_of(&self.batch, record.timestamp_delta);
            let offset = self.base_offset.saturating_add(i64::from(record.offset_delta));
            if found.is_none() && at >= timestamp && offset >= not_below {
                found = Some(Found { offset, timestamp: at, leader_epoch });
            }
        });
        walked.ok().and(found)
    }
}
