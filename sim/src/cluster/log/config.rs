//! What a log looks at of the settings of its topic, as numbers.

use std::collections::BTreeMap;

use super::super::settings::Settings;

/// Settings of one log. Cheap to copy: an append must not search for texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct LogConfig {
    /// `cleanup.policy` has `delete`.
    pub(in super::super) deletes: bool,
    /// `cleanup.policy` has `compact`: records need a key. Nothing is compacted.
    pub(in super::super) compacts: bool,
    /// `max.message.bytes`.
    pub(in super::super) batch_bytes_max: i64,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub(in super::super) log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub(in super::super) before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub(in super::super) after_max_ms: i64,
    /// `min.insync.replicas`.
    pub(in super::super) isr_min: i64,
    /// `retention.bytes`; negative: no limit.
    pub(in super::super) retention_bytes: i64,
    /// `retention.ms`; negative: no limit.
    pub(in super::super) retention_ms: i64,
    /// `segment.bytes`: also the largest batch, whatever else is allowed.
    pub(in super::super) segment_bytes: i64,
}

/// Names of a topic's settings, and of the brokers' that stand behind them.
const NAMES: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
];

impl LogConfig {
    /// As the brokers' settings have it.
    pub(in super::super) fn of_brokers(settings: &Settings) -> Self {
        let mut config = Self {
            deletes: true,
            compacts: false,
            batch_bytes_max: 0,
            log_append_time: false,
            before_max_ms: 0,
            after_max_ms: 0,
            isr_min: 1,
            retention_bytes: -1,
            // Seven days, unless a setting in milliseconds, minutes or hours says otherwise.
            retention_ms: 604_800_000,
            segment_bytes: 0,
        };
        for (name, broker_name) in NAMES {
            config.set(name, settings.text(broker_name));
        }
        config
    }

    /// With what a topic has of its own.
    pub(in super::super) fn of_topic(mut self, configs: &BTreeMap<String, String>) -> Self {
        for (name, value) in configs {
            self.set(name, value);
        }
        self
    }

    fn set(&mut self, name: &str, value: &str) {
        // What is no number was refused where it was set.
        let number = |field: &mut i64| *field = value.trim().parse().unwrap_or(*field);
        match name {
            "cleanup.policy" => {
                self.deletes = value.split(',').any(|policy| policy.trim() == "delete");
                self.compacts = value.split(',').any(|policy| policy.trim() == "compact");
            }
            "message.timestamp.type" => self.log_append_time = value == "LogAppendTime",
            "max.message.bytes" => number(&mut self.batch_bytes_max),
            "message.timestamp.before.max.ms" => number(&mut self.before_max_ms),
            "message.timestamp.after.max.ms" => number(&mut self.after_max_ms),
            "min.insync.replicas" => number(&mut self.isr_min),
            "retention.bytes" => number(&mut self.retention_bytes),
            "retention.ms" => number(&mut self.retention_ms),
            "segment.bytes" => number(&mut self.segment_bytes),
            _ => {}
        }
    }
}
