//! Settings of brokers and topics by Kafka's own names, with Kafka's defaults.

use std::{collections::BTreeMap, time::Duration};

use super::topic::Topic;

/// What the cluster was given; what is absent has Kafka's default.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<String, String>);

/// Kafka 4.1's defaults of what the cluster looks at.
const DEFAULTS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "true"),
    ("connections.max.reauth.ms", "0"),
    ("default.replication.factor", "1"),
    ("fetch.max.bytes", "57671680"),
    ("log.cleanup.policy", "delete"),
    ("log.message.timestamp.after.max.ms", "3600000"),
    ("log.message.timestamp.before.max.ms", "9223372036854775807"),
    ("log.message.timestamp.type", "CreateTime"),
    ("log.retention.bytes", "-1"),
    ("log.retention.check.interval.ms", "300000"),
    ("log.retention.ms", "604800000"),
    ("log.segment.bytes", "1073741824"),
    ("max.incremental.fetch.session.cache.slots", "1000"),
    ("message.max.bytes", "1048588"),
    ("min.insync.replicas", "1"),
    ("num.partitions", "1"),
    // Kafka's default is GSSAPI, which is not served.
    ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
    ("sasl.server.max.receive.size", "524288"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10000"),
    ("transaction.max.timeout.ms", "900000"),
    ("transaction.remove.expired.transaction.cleanup.interval.ms", "3600000"),
    ("transactional.id.expiration.ms", "604800000"),
    ("producer.id.expiration.check.interval.ms", "600000"),
    ("producer.id.expiration.ms", "86400000"),
    ("group.consumer.heartbeat.interval.ms", "5000"),
    ("group.consumer.max.size", "2147483647"),
    ("group.consumer.session.timeout.ms", "45000"),
    ("group.initial.rebalance.delay.ms", "3000"),
    ("group.max.session.timeout.ms", "1800000"),
    ("group.max.size", "2147483647"),
    ("group.min.session.timeout.ms", "6000"),
    ("min.insync.replicas", "1"),
    ("num.partitions", "1"),
    ("offset.metadata.max.bytes", "4096"),
    ("offsets.retention.check.interval.ms", "600000"),
    ("offsets.retention.minutes", "10080"),
];

impl Settings {
    pub(super) fn new(given: BTreeMap<String, String>) -> Self {
        Self(given)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        let default = || {
            let found = DEFAULTS.iter().find(|(known, _)| *known == name);
            found.unwrap_or_else(|| panic!("`{name}` has no default here")).1
        };
        self.0.get(name).map_or_else(default, String::as_str)
    }

    /// A setting of a topic: its own, or the brokers' under the name that they use for it.
    #[expect(dead_code, reason = "logs ask for it")]
    pub(super) fn of_topic<'a>(
        &'a self,
        topic: &'a Topic,
        name: &str,
        broker_name: &str,
    ) -> &'a str {
        topic.configs.get(name).map_or_else(|| self.text(broker_name), String::as_str)
    }

    pub(super) fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    pub(super) fn millis(&self, name: &str) -> Duration {
        super::time::millis(self.int(name))
    }
}
