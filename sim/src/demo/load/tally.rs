//! What became of one partition's records.
//!
//! Invariants: numbers are acknowledged in order; `seen_up_to` and what is in `beyond` never overlap; memory is bounded,
//! whatever is lost.

use std::collections::BTreeSet;

/// Numbers that are kept behind a gap. Past it the gap counts as lost, for nothing will fill it.
const BEYOND_MAX: usize = 10_000;

/// Counts of one partition.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// All numbers below are acknowledged.
    acknowledged: u64,
    /// All numbers below were consumed, but for `skipped`.
    seen_up_to: u64,
    /// Consumed numbers above a gap.
    beyond: BTreeSet<u64>,
    /// Numbers below `seen_up_to` that were never consumed.
    skipped: u64,
    duplicated: u64,
    /// Next offset that the consumer reads, and the end of what it may read.
    pub(super) position: i64,
    pub(super) high_watermark: i64,
    /// Requests that had to be sent again.
    pub(super) retries: u64,
}

impl Tally {
    /// The producer was told that the next `count` numbers are written.
    pub(super) fn acknowledge(&mut self, count: u64) {
        self.acknowledged += count;
    }

    /// The consumer has read a number.
    pub(super) fn consume(&mut self, number: u64) {
        if number < self.seen_up_to || self.beyond.contains(&number) {
            self.duplicated += 1;
            return;
        }
        self.beyond.insert(number);
        if self.beyond.len() > BEYOND_MAX
            && let Some(first) = self.beyond.first()
        {
            self.skipped += first - self.seen_up_to;
            self.seen_up_to = *first;
        }
        while self.beyond.first() == Some(&self.seen_up_to) {
            self.beyond.pop_first();
            self.seen_up_to += 1;
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Numbers that were consumed, each counted once.
    pub(super) fn consumed(&self) -> u64 {
        self.seen_up_to - self.skipped + self.beyond.len() as u64
    }

    pub(super) fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Numbers that were acknowledged and not consumed.
    pub(super) fn missing(&self) -> u64 {
        // What was consumed before its acknowledgement came is not to be set off against it.
        let seen_of_acknowledged = self.beyond.range(..self.acknowledged).count() as u64;
        self.skipped + self.acknowledged.saturating_sub(self.seen_up_to + seen_of_acknowledged)
    }

    /// Offsets that the consumer has yet to read.
    pub(super) fn lag(&self) -> i64 {
        (self.high_watermark - self.position).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_and_not_read_is_missing_until_it_is_read() {
        let mut tally = Tally::default();
        tally.acknowledge(4);
        for number in [0, 2, 3] {
            tally.consume(number);
        }
        assert_eq!((tally.consumed(), tally.missing(), tally.duplicated()), (3, 1, 0));
        tally.consume(1);
        assert_eq!((tally.consumed(), tally.missing(), tally.duplicated()), (4, 0, 0));
    }

    #[test]
    fn what_is_read_again_is_a_duplicate_on_either_side_of_a_gap() {
        let mut tally = Tally::default();
        for number in [0, 1, 3, 3, 0] {
            tally.consume(number);
        }
        assert_eq!((tally.consumed(), tally.duplicated()), (3, 2));
    }

    /// A consumer may be told of a record before its producer is.
    #[test]
    fn what_is_read_before_its_acknowledgement_is_not_missing() {
        let mut tally = Tally::default();
        tally.acknowledge(2);
        for number in [0, 2] {
            tally.consume(number);
        }
        assert_eq!(tally.missing(), 1);
        tally.consume(1);
        assert_eq!((tally.missing(), tally.consumed()), (0, 3));
    }

    /// A gap that nothing fills must not cost memory for ever.
    #[test]
    fn gap_that_stays_is_given_up_and_remains_missing() {
        let mut tally = Tally::default();
        let last = 2 * BEYOND_MAX as u64;
        tally.acknowledge(last);
        for number in 5..last {
            tally.consume(number);
        }
        assert!(tally.beyond.is_empty());
        assert_eq!((tally.consumed(), tally.missing(), tally.duplicated()), (last - 5, 5, 0));
    }
}
