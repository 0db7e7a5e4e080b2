//! What the cluster does from time to time: retention, expiry of producers, and the bound on all logs together.

#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    Cluster,
    time::{Time, millis},
    timers::Timer,
};

/// All logs are measured whenever this part of the bound was appended, and then brought this far below it: a search
/// among all partitions is paid for by as many bytes.
const SLACK_SHARE: usize = 8;

/// When what is due next; `None`: nothing was written since.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    retention: Option<Time>,
    producers: Option<Time>,
    appended_bytes: usize,
}

impl Cluster {
    /// To be called after an append to any log.
    pub(super) fn log_has_grown(&mut self, now: Time, bytes: usize) {
        if self.upkeep.retention.is_none() {
            self.plan_upkeep(now);
        }
        self.upkeep.appended_bytes += bytes;
        if self.upkeep.appended_bytes > self.log_bytes_max / SLACK_SHARE {
            self.upkeep.appended_bytes = 0;
            self.bound_logs();
        }
    }

    fn plan_upkeep(&mut self, now: Time) {
        let retention = self.settings.int("log.retention.check.interval.ms");
        let producers = self.settings.int("producer.id.expiration.check.interval.ms");
        let retention = now + millis(retention.max(1));
        let producers = now + millis(producers.max(1));
        let retention = *self.upkeep.retention.get_or_insert(retention);
        let producers = *self.upkeep.producers.get_or_insert(producers);
        self.timers.set(Timer::Housekeeping, retention.min(producers));
    }

    /// Does what is due.
    pub(super) fn keep_up(&mut self, now: Time) {
        if self.upkeep.retention.is_some_and(|at| at <= now) {
            self.upkeep.retention = None;
            for (_, topic) in self.topics.iter_mut() {
                let config = self.log_defaults.of_topic(&topic.configs);
                for partition in &mut topic.partitions {
                    partition.log.retain(&config, now);
                }
            }
        }
        if self.upkeep.producers.is_some_and(|at| at <= now) {
            self.upkeep.producers = None;
            let after_ms = self.settings.int("producer.id.expiration.ms");
            for (_, topic) in self.topics.iter_mut() {
                for partition in &mut topic.partitions {
                    partition.log.expire_producers(now, after_ms);
                }
            }
        }
        let ages =
            |topic: &super::topic::Topic| topic.partitions.iter().any(|part| part.log.ages());
        if self.topics.iter().any(|(_, topic)| ages(topic)) {
            self.plan_upkeep(now);
        } else {
            self.upkeep = Upkeep::default();
        }
    }

    /// Deletes the oldest batches of all logs until they are well within the bound.
    fn bound_logs(&mut self) {
        let logs = || self.topics.iter().flat_map(|(_, topic)| &topic.partitions);
        let mut bytes: usize = logs().map(|partition| partition.log.bytes()).sum();
        let bound = self.log_bytes_max - self.log_bytes_max / SLACK_SHARE;
        if bytes <= bound {
            return;
        }
        let mut logs: Vec<_> = self
            .topics
            .iter_mut()
            .flat_map(|(_, topic)| &mut topic.partitions)
            .map(|partition| &mut partition.log)
            .collect();
        let oldest = |(at, log): (usize, &&mut super::log::Log)| {
            Some(Reverse((log.oldest_timestamp()?, at)))
        };
        let mut by_age: BinaryHeap<_> = logs.iter().enumerate().filter_map(oldest).collect();
        while let Some(Reverse((_, at))) = by_age.pop()
            && bytes > bound
        {
            let before = logs[at].bytes();
            if logs[at].delete_oldest() {
                bytes -= before - logs[at].bytes();
                by_age.extend(oldest((at, &logs[at])));
            }
        }
    }
}
