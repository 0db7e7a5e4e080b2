//! Transactions in a log: which are open, which were aborted, and so how far a reader of committed records may go.

use std::collections::{BTreeMap, VecDeque};

/// An aborted transaction, as Fetch tells readers of committed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Aborted {
    pub(in super::super) producer_id: i64,
    pub(in super::super) first_offset: i64,
    /// Of its marker.
    pub(in super::super) last_offset: i64,
    /// How far everything was decided when the marker came: no later abort concerns what is below.
    stable_offset: i64,
}

/// The transactions of one log.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// By first offset. Those with a marker stay until the marker has reached every replica.
    unstable: BTreeMap<i64, Option<i64>>,
    /// In the order of their markers.
    aborted: VecDeque<Aborted>,
}

impl Transactions {
    pub(super) fn begin(&mut self, first_offset: i64) {
        self.unstable.entry(first_offset).or_insert(None);
    }

    pub(super) fn end(&mut self, producer_id: i64, first_offset: i64, marker: i64, commit: bool) {
        self.unstable.insert(first_offset, Some(marker));
        if commit {
            return;
        }
        let undecided = self.unstable.iter().find(|(_, marker)| marker.is_none());
        let stable_offset = undecided.map_or(marker + 1, |(first, _)| *first);
        let last_offset = marker;
        self.aborted.push_back(Aborted { producer_id, first_offset, last_offset, stable_offset });
    }

    /// Every replica has what is below.
    pub(super) fn replicated(&mut self, high_watermark: i64) {
        if self.unstable.is_empty() {
            return;
        }
        self.unstable.retain(|_, marker| marker.is_none_or(|marker| marker >= high_watermark));
    }

    /// The first offset that is not decided.
    pub(super) fn first_unstable(&self) -> Option<i64> {
        self.unstable.first_key_value().map(|(first, _)| *first)
    }

    /// Aborted transactions with records from `from` on and below `to`.
    pub(super) fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        let mut found = Vec::new();
        let first = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        for aborted in self.aborted.range(first..) {
            if aborted.first_offset < to {
                found.push(*aborted);
            }
            if aborted.stable_offset >= to {
                break;
            }
        }
        found
    }

    /// The log begins at this offset.
    pub(super) fn truncate_start(&mut self, offset: i64) {
        while self.aborted.front().is_some_and(|aborted| aborted.last_offset < offset) {
            self.aborted.pop_front();
        }
    }
}
