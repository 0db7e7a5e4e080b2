//! What a log gives up: by age, by size, and because it was asked to.

use super::{super::time::Time, Log, config::LogConfig};

impl Log {
    /// Gives up what is before `offset`, which is not above the end.
    pub(in super::super) fn delete_before(&mut self, offset: i64) {
        let offset = offset.min(self.end);
        if offset <= self.start {
            return;
        }
        self.start = offset;
        self.high_watermark = self.high_watermark.max(offset);
        while self.batches.front().is_some_and(|first| first.last_offset < offset) {
            self.batches.pop_front();
        }
        self.epochs.truncate_start(offset);
        self.transactions.truncate_start(offset);
    }

    /// Gives up the oldest batch, if every replica has it; whether it did.
    pub(in super::super) fn delete_oldest(&mut self) -> bool {
        match self.batches.front() {
            Some(first) if first.last_offset < self.high_watermark => {
                self.delete_before(first.last_offset + 1);
                true
            }
            _ => false,
        }
    }

    /// When the oldest batch was written, as it says.
    pub(in super::super) fn oldest_timestamp(&self) -> Option<i64> {
        self.batches.front().map(|first| first.max_timestamp)
    }

    /// Gives up what is older or more than the settings allow.
    pub(in super::super) fn retain(&mut self, config: &LogConfig, now: Time) {
        if !config.deletes {
            return;
        }
        while let Some(first) = self.batches.front() {
            let age = now.ms().saturating_sub(first.max_timestamp);
            // A batch without a timestamp has no age.
            let is_old =
                config.retention_ms >= 0 && first.max_timestamp >= 0 && age > config.retention_ms;
            let without = self.bytes() - first.batch.bytes().len();
            // Kafka keeps what makes the log as large as allowed.
            let is_much = config.retention_bytes >= 0
                && i64::try_from(without).unwrap_or(i64::MAX) >= config.retention_bytes;
            if !(is_old || is_much) || !self.delete_oldest() {
                break;
            }
        }
    }

    /// Forgets producers that have not written for so long.
    pub(in super::super) fn expire_producers(&mut self, now: Time, after_ms: i64) {
        self.producers.expire(now.ms(), after_ms);
    }

    /// Whether time alone may change the log.
    pub(in super::super) fn ages(&self) -> bool {
        !self.batches.is_empty() || !self.producers.is_empty()
    }
}
