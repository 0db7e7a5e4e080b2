//! The settings that the cluster shows: names, types and defaults of Kafka 4.1, as a broker described them.
//!
//! Absent on purpose: what no client asks a fake for (TLS, Kerberos, tiered storage, quotas, the quorum, share
//! and streams groups).

use super::value::{Allowed, Kind};
use Allowed::{AtLeast, Between, Members, OneOf};
use Kind::{Boolean, Class, Double, Int, List, Long, Short, Text};

/// A setting of a broker.
pub(super) struct BrokerSetting {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Option<&'static str>,
    /// Whether it can be altered while the broker runs.
    pub(super) dynamic: bool,
}

/// A setting of a topic or of a group.
pub(super) struct OwnSetting {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    /// Under what name brokers give it where it is not set itself.
    pub(super) broker: Option<&'static str>,
}

const fn fixed(name: &'static str, kind: Kind, default: Option<&'static str>) -> BrokerSetting {
    BrokerSetting { name, kind, default, dynamic: false }
}

const fn dynamic(name: &'static str, kind: Kind, default: Option<&'static str>) -> BrokerSetting {
    BrokerSetting { name, kind, default, dynamic: true }
}

const fn own(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker: Option<&'static str>,
) -> OwnSetting {
    OwnSetting { name, kind, default, broker }
}

#[rustfmt::skip]
pub(super) const BROKER: &[BrokerSetting] = &[
    fixed("add.partitions.to.txn.retry.backoff.max.ms", Int, Some("100")),
    fixed("add.partitions.to.txn.retry.backoff.ms", Int, Some("20")),
    fixed("auto.create.topics.enable", Boolean, Some("true")),
    fixed("auto.leader.rebalance.enable", Boolean, Some("true")),
    dynamic("background.threads", Int, Some("10")),
    fixed("broker.heartbeat.interval.ms", Int, Some("2000")),
    fixed("broker.session.timeout.ms", Int, Some("9000")),
    dynamic("compression.gzip.level", Int, Some("-1")),
    dynamic("compression.lz4.level", Int, Some("9")),
    dynamic("compression.type", Text, Some("producer")),
    dynamic("compression.zstd.level", Int, Some("3")),
    fixed("connection.failed.authentication.delay.ms", Int, Some("100")),
    fixed("connections.max.idle.ms", Long, Some("600000")),
    fixed("connections.max.reauth.ms", Long, Some("0")),
    fixed("controlled.shutdown.enable", Boolean, Some("true")),
    fixed("controller.socket.timeout.ms", Int, Some("30000")),
    fixed("default.replication.factor", Int, Some("1")),
    fixed("delete.records.purgatory.purge.interval.requests", Int, Some("1")),
    fixed("delete.topic.enable", Boolean, Some("true")),
    fixed("fetch.max.bytes", Int, Some("57671680")),
    fixed("fetch.purgatory.purge.interval.requests", Int, Some("1000")),
    fixed("group.consumer.assignors", List, Some("uniform,range")),
    fixed("group.consumer.heartbeat.interval.ms", Int, Some("5000")),
    fixed("group.consumer.max.heartbeat.interval.ms", Int, Some("15000")),
    fixed("group.consumer.max.session.timeout.ms", Int, Some("60000")),
    fixed("group.consumer.max.size", Int, Some("2147483647")),
    fixed("group.consumer.migration.policy", Text, Some("bidirectional")),
    fixed("group.consumer.min.heartbeat.interval.ms", Int, Some("5000")),
    fixed("group.consumer.min.session.timeout.ms", Int, Some("45000")),
    fixed("group.consumer.session.timeout.ms", Int, Some("45000")),
    fixed("group.coordinator.append.linger.ms", Int, Some("5")),
    fixed("group.coordinator.rebalance.protocols", List, Some("classic,consumer,streams")),
    fixed("group.coordinator.threads", Int, Some("4")),
    fixed("group.initial.rebalance.delay.ms", Int, Some("3000")),
    fixed("group.max.session.timeout.ms", Int, Some("1800000")),
    fixed("group.max.size", Int, Some("2147483647")),
    fixed("group.min.session.timeout.ms", Int, Some("6000")),
    fixed("leader.imbalance.check.interval.seconds", Long, Some("300")),
    dynamic("log.cleaner.backoff.ms", Long, Some("15000")),
    dynamic("log.cleaner.dedupe.buffer.size", Long, Some("134217728")),
    dynamic("log.cleaner.delete.retention.ms", Long, Some("86400000")),
    fixed("log.cleaner.enable", Boolean, Some("true")),
    dynamic("log.cleaner.io.buffer.load.factor", Double, Some("0.9")),
    dynamic("log.cleaner.io.buffer.size", Int, Some("524288")),
    dynamic("log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308")),
    dynamic("log.cleaner.max.compaction.lag.ms", Long, Some("9223372036854775807")),
    dynamic("log.cleaner.min.cleanable.ratio", Double, Some("0.5")),
    dynamic("log.cleaner.min.compaction.lag.ms", Long, Some("0")),
    dynamic("log.cleaner.threads", Int, Some("1")),
    dynamic("log.cleanup.policy", List, Some("delete")),
    fixed("log.dir.failure.timeout.ms", Long, Some("30000")),
    dynamic("log.flush.interval.messages", Long, Some("9223372036854775807")),
    dynamic("log.flush.interval.ms", Long, None),
    fixed("log.flush.offset.checkpoint.interval.ms", Int, Some("60000")),
    fixed("log.flush.scheduler.interval.ms", Long, Some("9223372036854775807")),
    fixed("log.flush.start.offset.checkpoint.interval.ms", Int, Some("60000")),
    dynamic("log.index.interval.bytes", Int, Some("4096")),
    dynamic("log.index.size.max.bytes", Int, Some("10485760")),
    dynamic("log.local.retention.bytes", Long, Some("-2")),
    dynamic("log.local.retention.ms", Long, Some("-2")),
    dynamic("log.message.timestamp.after.max.ms", Long, Some("3600000")),
    dynamic("log.message.timestamp.before.max.ms", Long, Some("9223372036854775807")),
    dynamic("log.message.timestamp.type", Text, Some("CreateTime")),
    dynamic("log.preallocate", Boolean, Some("false")),
    dynamic("log.retention.bytes", Long, Some("-1")),
    fixed("log.retention.check.interval.ms", Long, Some("300000")),
    fixed("log.retention.hours", Int, Some("168")),
    fixed("log.retention.minutes", Int, None),
    dynamic("log.retention.ms", Long, None),
    fixed("log.roll.hours", Int, Some("168")),
    fixed("log.roll.jitter.hours", Int, Some("0")),
    dynamic("log.roll.jitter.ms", Long, None),
    dynamic("log.roll.ms", Long, None),
    dynamic("log.segment.bytes", Int, Some("1073741824")),
    dynamic("log.segment.delete.delay.ms", Long, Some("60000")),
    dynamic("max.connection.creation.rate", Int, Some("2147483647")),
    dynamic("max.connections", Int, Some("2147483647")),
    dynamic("max.connections.per.ip", Int, Some("2147483647")),
    dynamic("max.connections.per.ip.overrides", Text, Some("")),
    fixed("max.incremental.fetch.session.cache.slots", Int, Some("1000")),
    fixed("max.request.partition.size.limit", Int, Some("2000")),
    dynamic("message.max.bytes", Int, Some("1048588")),
    dynamic("metric.reporters", List, Some("org.apache.kafka.common.metrics.JmxReporter")),
    dynamic("min.insync.replicas", Int, Some("1")),
    dynamic("num.io.threads", Int, Some("8")),
    dynamic("num.network.threads", Int, Some("3")),
    fixed("num.partitions", Int, Some("1")),
    dynamic("num.recovery.threads.per.data.dir", Int, Some("2")),
    fixed("num.replica.alter.log.dirs.threads", Int, None),
    dynamic("num.replica.fetchers", Int, Some("1")),
    fixed("offset.metadata.max.bytes", Int, Some("4096")),
    fixed("offsets.commit.timeout.ms", Int, Some("5000")),
    fixed("offsets.load.buffer.size", Int, Some("5242880")),
    fixed("offsets.retention.check.interval.ms", Long, Some("600000")),
    fixed("offsets.retention.minutes", Int, Some("10080")),
    fixed("offsets.topic.compression.codec", Int, Some("0")),
    fixed("offsets.topic.num.partitions", Int, Some("50")),
    fixed("offsets.topic.replication.factor", Short, Some("3")),
    fixed("offsets.topic.segment.bytes", Int, Some("104857600")),
    dynamic("principal.builder.class", Class, Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder")),
    fixed("producer.id.expiration.check.interval.ms", Int, Some("600000")),
    dynamic("producer.id.expiration.ms", Int, Some("86400000")),
    fixed("producer.purgatory.purge.interval.requests", Int, Some("1000")),
    fixed("queued.max.request.bytes", Long, Some("-1")),
    fixed("queued.max.requests", Int, Some("500")),
    fixed("replica.fetch.backoff.ms", Int, Some("1000")),
    fixed("replica.fetch.max.bytes", Int, Some("1048576")),
    fixed("replica.fetch.min.bytes", Int, Some("1")),
    fixed("replica.fetch.response.max.bytes", Int, Some("10485760")),
    fixed("replica.fetch.wait.max.ms", Int, Some("500")),
    fixed("replica.high.watermark.checkpoint.interval.ms", Long, Some("5000")),
    fixed("replica.lag.time.max.ms", Long, Some("30000")),
    fixed("replica.selector.class", Text, None),
    fixed("replica.socket.receive.buffer.bytes", Int, Some("65536")),
    fixed("replica.socket.timeout.ms", Int, Some("30000")),
    fixed("request.timeout.ms", Int, Some("30000")),
    // Kafka's default is GSSAPI, which is not served.
    dynamic("sasl.enabled.mechanisms", List, Some("PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")),
    fixed("sasl.server.max.receive.size", Int, Some("524288")),
    fixed("security.inter.broker.protocol", Text, Some("PLAINTEXT")),
    fixed("socket.listen.backlog.size", Int, Some("50")),
    fixed("socket.receive.buffer.bytes", Int, Some("102400")),
    fixed("socket.request.max.bytes", Int, Some("104857600")),
    fixed("socket.send.buffer.bytes", Int, Some("102400")),
    fixed("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000")),
    fixed("transaction.max.timeout.ms", Int, Some("900000")),
    dynamic("transaction.partition.verification.enable", Boolean, Some("true")),
    fixed("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000")),
    fixed("transaction.state.log.load.buffer.size", Int, Some("5242880")),
    fixed("transaction.state.log.min.isr", Int, Some("2")),
    fixed("transaction.state.log.num.partitions", Int, Some("50")),
    fixed("transaction.state.log.replication.factor", Short, Some("3")),
    fixed("transaction.state.log.segment.bytes", Int, Some("104857600")),
    fixed("transaction.two.phase.commit.enable", Boolean, Some("false")),
    fixed("transactional.id.expiration.ms", Int, Some("604800000")),
    dynamic("unclean.leader.election.enable", Boolean, Some("false")),
];

/// Those that only Kafka 3.9 has.
pub(super) const BROKER_ONLY_39: &[BrokerSetting] = &[
    dynamic("log.message.downconversion.enable", Boolean, Some("true")),
    fixed("log.message.format.version", Text, Some("3.0-IV1")),
    dynamic("log.message.timestamp.difference.max.ms", Long, Some("9223372036854775807")),
];

/// Topics of Kafka 4.1.
pub(super) const TOPIC: &[OwnSetting] = TOPIC_39.split_at(3).1;

/// Topics of Kafka 3.9, which have three more; they go by no setting about formats of records before magic 2.
#[rustfmt::skip]
pub(super) const TOPIC_39: &[OwnSetting] = &[
    own("message.downconversion.enable", Boolean, "true", Some("log.message.downconversion.enable")),
    own("message.format.version", Text, "3.0-IV1", Some("log.message.format.version")),
    own("message.timestamp.difference.max.ms", Long, "9223372036854775807", Some("log.message.timestamp.difference.max.ms")),
    own("cleanup.policy", List, "delete", Some("log.cleanup.policy")),
    own("compression.gzip.level", Int, "-1", Some("compression.gzip.level")),
    own("compression.lz4.level", Int, "9", Some("compression.lz4.level")),
    own("compression.type", Text, "producer", Some("compression.type")),
    own("compression.zstd.level", Int, "3", Some("compression.zstd.level")),
    own("delete.retention.ms", Long, "86400000", Some("log.cleaner.delete.retention.ms")),
    own("file.delete.delay.ms", Long, "60000", Some("log.segment.delete.delay.ms")),
    own("flush.messages", Long, "9223372036854775807", Some("log.flush.interval.messages")),
    own("flush.ms", Long, "9223372036854775807", Some("log.flush.interval.ms")),
    own("follower.replication.throttled.replicas", List, "", None),
    own("index.interval.bytes", Int, "4096", Some("log.index.interval.bytes")),
    own("leader.replication.throttled.replicas", List, "", None),
    own("local.retention.bytes", Long, "-2", Some("log.local.retention.bytes")),
    own("local.retention.ms", Long, "-2", Some("log.local.retention.ms")),
    own("max.compaction.lag.ms", Long, "9223372036854775807", Some("log.cleaner.max.compaction.lag.ms")),
    own("max.message.bytes", Int, "1048588", Some("message.max.bytes")),
    own("message.timestamp.after.max.ms", Long, "3600000", Some("log.message.timestamp.after.max.ms")),
    own("message.timestamp.before.max.ms", Long, "9223372036854775807", Some("log.message.timestamp.before.max.ms")),
    own("message.timestamp.type", Text, "CreateTime", Some("log.message.timestamp.type")),
    own("min.cleanable.dirty.ratio", Double, "0.5", Some("log.cleaner.min.cleanable.ratio")),
    own("min.compaction.lag.ms", Long, "0", Some("log.cleaner.min.compaction.lag.ms")),
    own("min.insync.replicas", Int, "1", Some("min.insync.replicas")),
    own("preallocate", Boolean, "false", Some("log.preallocate")),
    own("remote.log.copy.disable", Boolean, "false", None),
    own("remote.log.delete.on.disable", Boolean, "false", None),
    own("remote.storage.enable", Boolean, "false", None),
    own("retention.bytes", Long, "-1", Some("log.retention.bytes")),
    own("retention.ms", Long, "604800000", Some("log.retention.ms")),
    own("segment.bytes", Int, "1073741824", Some("log.segment.bytes")),
    own("segment.index.bytes", Int, "10485760", Some("log.index.size.max.bytes")),
    own("segment.jitter.ms", Long, "0", Some("log.roll.jitter.ms")),
    own("segment.ms", Long, "604800000", Some("log.roll.ms")),
    own("unclean.leader.election.enable", Boolean, "false", Some("unclean.leader.election.enable")),
];

#[rustfmt::skip]
pub(super) const GROUP: &[OwnSetting] = &[
    own("consumer.heartbeat.interval.ms", Int, "5000", Some("group.consumer.heartbeat.interval.ms")),
    own("consumer.session.timeout.ms", Int, "45000", Some("group.consumer.session.timeout.ms")),
];

/// Defaults that differ in Kafka 3.9.
#[rustfmt::skip]
pub(super) const BROKER_39: &[(&str, &str)] = &[
    ("group.consumer.assignors", "org.apache.kafka.coordinator.group.assignor.UniformAssignor,org.apache.kafka.coordinator.group.assignor.RangeAssignor"),
    ("group.coordinator.append.linger.ms", "10"),
    ("group.coordinator.rebalance.protocols", "classic"),
    ("group.coordinator.threads", "1"),
    ("log.message.timestamp.after.max.ms", "9223372036854775807"),
    ("metric.reporters", ""),
    ("num.recovery.threads.per.data.dir", "1"),
];

/// Settings that Kafka 3.9 does not have.
pub(super) const NOT_IN_39: &[&str] = &[
    "add.partitions.to.txn.retry.backoff.max.ms",
    "add.partitions.to.txn.retry.backoff.ms",
    "group.consumer.migration.policy",
    "transaction.two.phase.commit.enable",
];

/// Other names that stand in for a setting of a broker, in their order, and what to multiply them with.
pub(super) const STAND_INS: &[(&str, &[(&str, i64)])] = &[
    ("log.flush.interval.ms", &[("log.flush.scheduler.interval.ms", 1)]),
    ("log.retention.ms", &[("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
    ("log.roll.jitter.ms", &[("log.roll.jitter.hours", 3_600_000)]),
    ("log.roll.ms", &[("log.roll.hours", 3_600_000)]),
];

const COMPRESSIONS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const POLICIES: &[&str] = &["compact", "delete"];
const TIMESTAMPS: &[&str] = &["CreateTime", "LogAppendTime"];

/// What values are allowed, where not any of the type.
#[rustfmt::skip]
pub(super) const ALLOWED: &[(&str, Allowed)] = &[
    ("broker.session.timeout.ms", AtLeast(1)),
    ("cleanup.policy", Members(POLICIES)),
    ("compression.type", OneOf(COMPRESSIONS)),
    ("consumer.heartbeat.interval.ms", AtLeast(1)),
    ("consumer.session.timeout.ms", AtLeast(1)),
    ("default.replication.factor", AtLeast(1)),
    ("delete.retention.ms", AtLeast(0)),
    ("file.delete.delay.ms", AtLeast(0)),
    ("flush.messages", AtLeast(1)),
    ("flush.ms", AtLeast(0)),
    ("index.interval.bytes", AtLeast(0)),
    ("leader.imbalance.check.interval.seconds", AtLeast(1)),
    ("local.retention.bytes", AtLeast(-2)),
    ("local.retention.ms", AtLeast(-2)),
    ("log.cleanup.policy", Members(POLICIES)),
    ("log.message.timestamp.type", OneOf(TIMESTAMPS)),
    ("log.segment.bytes", AtLeast(1_048_576)),
    ("max.compaction.lag.ms", AtLeast(1)),
    ("max.message.bytes", AtLeast(0)),
    ("message.max.bytes", AtLeast(0)),
    ("message.timestamp.after.max.ms", AtLeast(0)),
    ("message.timestamp.before.max.ms", AtLeast(0)),
    ("message.timestamp.difference.max.ms", AtLeast(0)),
    ("message.timestamp.type", OneOf(TIMESTAMPS)),
    ("min.cleanable.dirty.ratio", Between(0, 1)),
    ("min.compaction.lag.ms", AtLeast(0)),
    ("min.insync.replicas", AtLeast(1)),
    ("num.partitions", AtLeast(1)),
    ("offsets.topic.num.partitions", AtLeast(1)),
    ("offsets.topic.replication.factor", AtLeast(1)),
    ("retention.ms", AtLeast(-1)),
    ("segment.bytes", AtLeast(1_048_576)),
    ("segment.index.bytes", AtLeast(4)),
    ("segment.jitter.ms", AtLeast(0)),
    ("segment.ms", AtLeast(1)),
    ("transaction.state.log.num.partitions", AtLeast(1)),
    ("transaction.state.log.replication.factor", AtLeast(1)),
];
