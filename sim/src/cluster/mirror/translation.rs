//! Offsets of the source and what they are on the target, as MirrorMaker 2 knows them: pairs of equal places
//! (*offset syncs*), of which few are kept.
//!
//! A place between two pairs cannot be told: it is translated to one behind the pair before it, so a consumer that
//! moves reads some records again and skips none. Invariant: a translation is never ahead of the right one.

/// Pairs that are kept: the newest, and one for each power of two of distance from it.
const PAIRS_MAX: usize = 65;

/// One place in both logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    upstream: i64,
    downstream: i64,
}

/// The pairs of one partition.
#[derive(Debug, Default)]
pub(super) struct Translation {
    /// The newest first.
    pairs: Vec<Pair>,
    /// The last record, when its pair was not written down.
    delayed: Option<Pair>,
    previous: Option<Pair>,
    last_sync_downstream: Option<i64>,
}

impl Translation {
    /// A record has been copied.
    pub(super) fn copied(&mut self, upstream: i64, downstream: i64, offset_lag_max: i64) {
        let pair = Pair { upstream, downstream };
        // One behind the last pair is what offsets are translated to: so much is it behind.
        let stale =
            self.last_sync_downstream.is_none_or(|last| downstream - (last + 1) >= offset_lag_max);
        let in_order =
            |previous: Pair| upstream - previous.upstream == 1 && downstream > previous.downstream;
        let goes_on = self.previous.replace(pair).is_some_and(in_order);
        if stale || !goes_on {
            self.last_sync_downstream = Some(downstream);
            self.delayed = None;
            self.keep(pair);
        } else {
            self.delayed = Some(pair);
        }
    }

    /// Writes down the pair of the last record: so that the end of a quiet log is exact.
    pub(super) fn flush(&mut self) {
        if let Some(pair) = self.delayed.take() {
            self.keep(pair);
        }
    }

    fn keep(&mut self, pair: Pair) {
        let goes_back = |newest: &Pair| {
            pair.upstream <= newest.upstream || pair.downstream <= newest.downstream
        };
        if self.pairs.first().is_some_and(goes_back) {
            // The source is read again from an earlier place, or the target was cut off: what stood for other
            // offsets does no more.
            self.pairs.clear();
        }
        let mut taken = None;
        self.pairs.insert(0, pair);
        // The oldest of each distance stays, so that places far back remain in reach.
        let distance = |other: &Pair| (pair.upstream - other.upstream).checked_ilog2();
        for index in (0..self.pairs.len()).rev() {
            let class = distance(&self.pairs[index]);
            if index > 0 && taken == Some(class) {
                self.pairs.remove(index);
            }
            taken = Some(class);
        }
        debug_assert!(self.pairs.len() <= PAIRS_MAX, "one a power of two");
    }

    /// Where a group that has committed `upstream` may go on; `None`: not known.
    pub(super) fn downstream(&self, upstream: i64) -> Option<i64> {
        let pair = self.pairs.iter().find(|pair| pair.upstream <= upstream)?;
        Some(if pair.upstream == upstream { pair.downstream } else { pair.downstream + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(offsets: std::ops::Range<i64>) -> Translation {
        let mut translation = Translation::default();
        for offset in offsets {
            translation.copied(offset, offset, 0);
        }
        translation
    }

    /// Pairs are for ever: their number must not grow with the log, and old places must stay in reach.
    #[test]
    fn pairs_are_few_and_reach_far_back() {
        let translation = copied(0..100_000);
        assert!(translation.pairs.len() <= PAIRS_MAX);
        for behind in [0, 1, 10, 1000, 50_000] {
            let upstream = 99_999 - behind;
            let downstream = translation.downstream(upstream).expect("in reach");
            assert!(downstream <= upstream);
            assert!(upstream - downstream <= 2 * behind, "{upstream} -> {downstream}");
        }
        assert_eq!(translation.downstream(100_000), Some(100_000), "the end is exact");
    }

    /// After the target was cut off, what stood for earlier offsets would be ahead of what is there.
    #[test]
    fn pairs_are_forgotten_when_either_log_goes_back() {
        let mut target_cut_off = copied(0..10);
        target_cut_off.copied(10, 3, 0);
        assert_eq!((target_cut_off.downstream(9), target_cut_off.downstream(10)), (None, Some(3)));

        let mut source_read_again = copied(0..10);
        source_read_again.copied(4, 10, 0);
        assert_eq!(source_read_again.downstream(3), None);
        assert_eq!(source_read_again.downstream(4), Some(10));
    }

    /// Between two pairs the place cannot be told; the end of a quiet log can, once the last pair is written down.
    #[test]
    fn pairs_that_are_held_back_come_with_the_flush() {
        let mut translation = Translation::default();
        for offset in 0..50 {
            translation.copied(offset, 100 + offset, 100);
        }
        assert_eq!(translation.downstream(50), Some(101));
        translation.flush();
        assert_eq!(translation.downstream(50), Some(150));
        assert_eq!(translation.downstream(20), Some(101));
    }
}
