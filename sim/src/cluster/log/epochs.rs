//! Where each leader epoch begins in a log.
//!
//! An epoch is known from its first record on. The epoch of a leader that has written nothing yet begins at the end
//! of the log, so it needs no entry: who asks says what the current epoch is.

use std::collections::BTreeMap;

/// Kafka's answer to a question about an epoch that the log does not know.
pub(in super::super) const UNKNOWN: (i32, i64) = (-1, -1);

/// First offsets by epoch; both rise together.
#[derive(Debug, Default)]
pub(super) struct LeaderEpochs(BTreeMap<i32, i64>);

impl LeaderEpochs {
    /// A batch of this epoch stands at this offset.
    pub(super) fn assign(&mut self, epoch: i32, offset: i64) {
        let latest = self.0.last_key_value();
        if epoch < 0 || latest.is_some_and(|(latest, start)| *latest == epoch && *start <= offset) {
            return;
        }
        // What contradicts the newer knowledge goes.
        self.0.retain(|known, start| *known < epoch && *start < offset);
        self.0.insert(epoch, offset);
    }

    /// The epoch and the end of the largest epoch that is not above the one asked for.
    pub(super) fn end_of(&self, asked: i32, current: i32, log_end: i64) -> (i32, i64) {
        let latest = self.latest().unwrap_or(-1).max(current);
        if asked < 0 || asked > latest {
            return UNKNOWN;
        }
        if asked == latest {
            return (asked, log_end);
        }
        let end = self.0.range(asked + 1..).next().map_or(log_end, |(_, start)| *start);
        let epoch = self.0.range(..=asked).next_back().map_or(asked, |(epoch, _)| *epoch);
        (epoch, end)
    }

    /// The epoch of the record at this offset.
    pub(super) fn of(&self, offset: i64) -> Option<i32> {
        self.0.iter().rev().find(|(_, start)| **start <= offset).map(|(epoch, _)| *epoch)
    }

    /// The newest epoch that has written.
    pub(super) fn latest(&self) -> Option<i32> {
        self.0.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// Where it began.
    pub(super) fn start_of_latest(&self) -> i64 {
        self.0.last_key_value().map_or(0, |(_, start)| *start)
    }

    /// The log begins at this offset.
    pub(super) fn truncate_start(&mut self, offset: i64) {
        let Some(first) = self.of(offset) else { return };
        self.0.retain(|epoch, _| *epoch >= first);
        self.0.insert(first, offset);
    }

    /// The log ends at this offset.
    pub(super) fn truncate_end(&mut self, offset: i64) {
        self.0.retain(|_, start| *start < offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs() -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, offset) in [(2, 0), (2, 7), (4, 10), (7, 20)] {
            epochs.assign(epoch, offset);
        }
        epochs
    }

    #[test]
    fn end_of_an_epoch_is_where_the_next_begins() {
        let epochs = epochs();
        assert_eq!(epochs.end_of(2, 7, 30), (2, 10));
        assert_eq!(epochs.end_of(4, 7, 30), (4, 20));
        assert_eq!(epochs.end_of(7, 7, 30), (7, 30));
    }

    #[test]
    fn epoch_without_records_has_the_end_of_the_one_before() {
        let epochs = epochs();
        assert_eq!(epochs.end_of(3, 7, 30), (2, 10));
        assert_eq!(epochs.end_of(1, 7, 30), (1, 0));
        assert_eq!(epochs.end_of(8, 9, 30), (7, 30));
    }

    #[test]
    fn epoch_above_the_current_is_unknown() {
        let epochs = epochs();
        assert_eq!(epochs.end_of(8, 7, 30), UNKNOWN);
        assert_eq!(epochs.end_of(-1, 7, 30), UNKNOWN);
        assert_eq!(epochs.end_of(8, 8, 30), (8, 30));
        assert_eq!(LeaderEpochs::default().end_of(0, 0, 0), (0, 0));
    }

    #[test]
    fn truncation_moves_the_first_epoch_and_drops_the_last() {
        let mut epochs = epochs();
        epochs.truncate_start(12);
        assert_eq!(epochs.of(11), None);
        assert_eq!(epochs.of(12), Some(4));
        epochs.truncate_end(20);
        assert_eq!(epochs.latest(), Some(4));
    }
}
