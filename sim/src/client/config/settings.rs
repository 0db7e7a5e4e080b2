//! What the models need to know, taken from checked properties.

use std::time::Duration;

use kafka_protocol::protocol::StrBytes;

use super::{Library, Properties, PropertyError};

/// Waits that grow: `initial · factor^attempt`, drawn between `1 − below` and `1 + above`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Backoff {
    pub(in super::super) initial: Duration,
    pub(in super::super) max: Duration,
    pub(in super::super) below: f64,
    pub(in super::super) above: f64,
}

impl Backoff {
    /// The wait after so many failures in a row (0: after the first).
    pub(in super::super) fn wait(&self, random: &mut fastrand::Rng, failures: u32) -> Duration {
        if self.initial >= self.max && self.below > 0.0 {
            return self.initial;
        }
        let grown = self.initial.as_secs_f64() * f64::from(1_u32 << failures.min(20));
        let grown = grown.min(self.max.as_secs_f64());
        let drawn = grown * (1.0 - self.below + random.f64() * (self.below + self.above));
        Duration::from_secs_f64(drawn).min(self.max)
    }
}

/// What a consumer of Java may have in flight to one broker.
const IN_FLIGHT_MAX_JAVA_CONSUMER: usize = 100;

/// `metadata.recovery.strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStrategy {
    /// The bootstrap servers are never asked again.
    None,
    /// They are asked again when no known broker is left (KIP-899), or for too long none answered (KIP-1102).
    Rebootstrap,
}

/// What producers and consumers share.
#[derive(Clone, Debug)]
pub(in super::super) struct CommonSettings {
    pub(in super::super) library: Library,
    pub(in super::super) bootstrap: Vec<(String, u16)>,
    pub(in super::super) client_id: StrBytes,
    pub(in super::super) reconnect: Backoff,
    pub(in super::super) setup_timeout: Backoff,
    pub(in super::super) idle_max: Option<Duration>,
    /// A request that waits longer takes its connection with it.
    pub(in super::super) request_timeout: Duration,
    pub(in super::super) retry: Backoff,
    pub(in super::super) metadata_max_age: Duration,
    pub(in super::super) recovery: RecoveryStrategy,
    pub(in super::super) rebootstrap_trigger: Duration,
    pub(in super::super) in_flight_max: usize,
    pub(in super::super) sasl: Option<(String, String)>,
}

/// `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing is answered.
    None,
    /// The leader alone.
    Leader,
    /// Every replica in sync.
    All,
}

impl Acks {
    pub(in super::super) fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Settings of a producer.
#[derive(Clone, Debug)]
pub struct ProducerSettings {
    pub(in super::super) common: CommonSettings,
    pub(in super::super) acks: Acks,
    pub(in super::super) idempotence: bool,
    pub(in super::super) gapless: bool,
    pub(in super::super) transactional_id: Option<String>,
    pub(in super::super) transaction_timeout: Duration,
    pub(in super::super) linger: Duration,
    pub(in super::super) batch_bytes: usize,
    /// librdkafka's `batch.num.messages`.
    pub(in super::super) batch_records: usize,
    pub(in super::super) request_bytes: usize,
    /// `delivery.timeout.ms`, `message.timeout.ms`; `None`: for ever.
    pub(in super::super) delivery_timeout: Option<Duration>,
    pub(in super::super) retries: u32,
    /// How long the broker may wait for replicas.
    pub(in super::super) ack_timeout: Duration,
    pub(in super::super) buffer_bytes: usize,
    /// librdkafka's `queue.buffering.max.messages`; 0: no limit.
    pub(in super::super) buffer_records: usize,
    /// How long a send may wait for room and metadata; `None`: it fails at once.
    pub(in super::super) max_block: Option<Duration>,
}

/// `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetPolicy {
    /// To the end.
    Latest,
    /// To the start.
    Earliest,
    /// To nowhere: the application is told.
    None,
}

/// `group.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

/// Settings of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    pub(in super::super) common: CommonSettings,
    pub(in super::super) group_id: Option<String>,
    pub(in super::super) group_instance_id: Option<String>,
    pub(in super::super) group_protocol: GroupProtocol,
    pub(in super::super) group_remote_assignor: Option<String>,
    /// By the names that go over the wire, in the order of preference.
    pub(in super::super) assignors: Vec<&'static str>,
    pub(in super::super) session_timeout: Duration,
    pub(in super::super) heartbeat_interval: Duration,
    pub(in super::super) max_poll_interval: Duration,
    /// `None`: the application commits.
    pub(in super::super) auto_commit: Option<Duration>,
    pub(in super::super) reset: ResetPolicy,
    pub(in super::super) read_committed: bool,
    pub(in super::super) fetch_bytes_min: i32,
    pub(in super::super) fetch_bytes_max: i32,
    pub(in super::super) fetch_wait_max: Duration,
    pub(in super::super) partition_fetch_bytes_max: i32,
    pub(in super::super) poll_records_max: usize,
    pub(in super::super) client_rack: String,
    /// Whether asking for a topic may create it.
    pub(in super::super) auto_create: bool,
}

fn bootstrap(text: &str) -> Result<Vec<(String, u16)>, PropertyError> {
    let name = "bootstrap.servers";
    let invalid = || PropertyError::Invalid {
        name,
        value: text.to_owned(),
        expected: "a list of `host:port`".to_owned(),
    };
    let servers: Option<Vec<_>> = text
        .split(',')
        .map(str::trim)
        .filter(|server| !server.is_empty())
        .map(|server| {
            let server = server.rsplit_once("://").map_or(server, |(_, server)| server);
            let (host, port) = server.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        })
        .collect();
    servers.filter(|servers| !servers.is_empty()).ok_or_else(invalid)
}

/// User and password, where the mechanism is PLAIN.
fn sasl(properties: &Properties) -> Result<Option<(String, String)>, PropertyError> {
    if !properties.text("security.protocol").to_ascii_lowercase().starts_with("sasl") {
        return Ok(None);
    }
    let mechanism = match properties.library {
        Library::Java => properties.text("sasl.mechanism"),
        Library::Librdkafka => properties.text("sasl.mechanisms"),
    };
    if mechanism != "PLAIN" {
        return Err(PropertyError::Conflict(
            "the models know `PLAIN` alone of the SASL mechanisms",
        ));
    }
    match properties.library {
        Library::Java => {
            let config = properties.text("sasl.jaas.config");
            let value = |name: &str| {
                let (_, rest) = config.split_once(&format!("{name}=\""))?;
                Some(rest.split_once('"')?.0.to_owned())
            };
            value("username").zip(value("password")).map(Some).ok_or(PropertyError::Conflict(
                "`sasl.jaas.config` must name username=\"…\" and password=\"…\"",
            ))
        }
        Library::Librdkafka => {
            let user = properties.text("sasl.username").to_owned();
            Ok(Some((user, properties.text("sasl.password").to_owned())))
        }
    }
}

impl CommonSettings {
    fn new(properties: &Properties) -> Result<Self, PropertyError> {
        let java = properties.library == Library::Java;
        let retry = Backoff {
            initial: properties.millis("retry.backoff.ms"),
            max: properties.millis("retry.backoff.max.ms"),
            below: 0.2,
            above: 0.2,
        };
        let reconnect_initial = properties.millis("reconnect.backoff.ms");
        let reconnect_max = properties.millis("reconnect.backoff.max.ms");
        let (below, above) = if java { (0.2, 0.2) } else { (0.25, 0.5) };
        let setup = properties.millis("socket.connection.setup.timeout.ms");
        let setup_timeout = if java {
            let max = properties.millis("socket.connection.setup.timeout.max.ms");
            Backoff { initial: setup, max, below: 0.2, above: 0.2 }
        } else {
            Backoff { initial: setup, max: setup, below: 0.0, above: 0.0 }
        };
        let recovery = properties.text("metadata.recovery.strategy");
        let idle = properties.millis("connections.max.idle.ms");
        Ok(Self {
            library: properties.library,
            bootstrap: bootstrap(properties.text("bootstrap.servers"))?,
            client_id: StrBytes::from_string(properties.text("client.id").to_owned()),
            reconnect: Backoff {
                initial: reconnect_initial,
                max: reconnect_max.max(reconnect_initial),
                below,
                above,
            },
            setup_timeout,
            idle_max: Some(idle).filter(|idle| !idle.is_zero()),
            request_timeout: if java {
                properties.millis("request.timeout.ms")
            } else {
                properties.millis("socket.timeout.ms")
            },
            retry: Backoff { max: retry.max.max(retry.initial), ..retry },
            metadata_max_age: if java {
                properties.millis("metadata.max.age.ms")
            } else {
                properties.millis("topic.metadata.refresh.interval.ms")
            },
            recovery: if recovery.eq_ignore_ascii_case("none") {
                RecoveryStrategy::None
            } else {
                RecoveryStrategy::Rebootstrap
            },
            rebootstrap_trigger: properties.millis("metadata.recovery.rebootstrap.trigger.ms"),
            in_flight_max: if java { 5 } else { properties.size("max.in.flight") },
            sasl: sasl(properties)?,
        })
    }
}

impl ProducerSettings {
    /// Settings of a producer, checked against each other as the library does at its start.
    pub fn new(properties: &Properties) -> Result<Self, PropertyError> {
        let mut settings = Self::base(properties)?;
        match properties.library {
            Library::Java => settings.check_java(properties)?,
            Library::Librdkafka => settings.check_librdkafka(properties)?,
        }
        Ok(settings)
    }

    fn base(properties: &Properties) -> Result<Self, PropertyError> {
        let java = properties.library == Library::Java;
        let mut common = CommonSettings::new(properties)?;
        common.in_flight_max = properties.size("max.in.flight.requests.per.connection");
        let delivery_timeout = properties.millis("delivery.timeout.ms");
        let endless = !java && delivery_timeout.is_zero();
        Ok(Self {
            acks: match properties.text("acks") {
                "0" => Acks::None,
                "1" => Acks::Leader,
                _ => Acks::All,
            },
            idempotence: properties.flag("enable.idempotence"),
            gapless: !java && properties.flag("enable.gapless.guarantee"),
            transactional_id: properties.optional("transactional.id"),
            transaction_timeout: properties.millis("transaction.timeout.ms"),
            linger: properties.millis("linger.ms"),
            batch_bytes: properties.size("batch.size").max(1),
            batch_records: if java { usize::MAX } else { properties.size("batch.num.messages") },
            request_bytes: properties.size(if java {
                "max.request.size"
            } else {
                "message.max.bytes"
            }),
            delivery_timeout: Some(delivery_timeout).filter(|_| !endless),
            retries: u32::try_from(properties.int("retries")).unwrap_or(u32::MAX),
            ack_timeout: properties.millis("request.timeout.ms"),
            buffer_bytes: if java {
                properties.size("buffer.memory")
            } else {
                properties.size("queue.buffering.max.kbytes") * 1024
            },
            buffer_records: if java { 0 } else { properties.size("queue.buffering.max.messages") },
            max_block: java.then(|| properties.millis("max.block.ms")),
            common,
        })
    }

    fn check_java(&mut self, properties: &Properties) -> Result<(), PropertyError> {
        let asked = properties.is_given("enable.idempotence") && self.idempotence;
        let asked = asked || self.transactional_id.is_some();
        let fits = self.acks == Acks::All && self.retries > 0 && self.common.in_flight_max <= 5;
        if asked && (self.acks != Acks::All || self.retries == 0) {
            return Err(PropertyError::Conflict(
                "an idempotent producer needs `acks=all` and `retries` above 0",
            ));
        }
        if asked && self.common.in_flight_max > 5 {
            return Err(PropertyError::Conflict(
                "an idempotent producer needs `max.in.flight.requests.per.connection` of at most 5",
            ));
        }
        if self.transactional_id.is_some() && !self.idempotence {
            return Err(PropertyError::Conflict(
                "`transactional.id` needs `enable.idempotence=true`",
            ));
        }
        // Idempotence by default gives way to what was asked for.
        self.idempotence &= fits;
        let least = self.linger + self.common.request_timeout;
        if self.delivery_timeout.is_some_and(|timeout| timeout < least) {
            if properties.is_given("delivery.timeout.ms") {
                return Err(PropertyError::Conflict(
                    "`delivery.timeout.ms` must be at least `linger.ms` + `request.timeout.ms`",
                ));
            }
            self.delivery_timeout = Some(least);
        }
        Ok(())
    }

    fn check_librdkafka(&mut self, properties: &Properties) -> Result<(), PropertyError> {
        self.idempotence |= self.transactional_id.is_some();
        if self.idempotence {
            if properties.is_given("request.required.acks") && self.acks != Acks::All {
                return Err(PropertyError::Conflict("`enable.idempotence=true` needs `acks=all`"));
            }
            let in_flight = "max.in.flight.requests.per.connection";
            if properties.is_given(in_flight) && self.common.in_flight_max > 5 {
                return Err(PropertyError::Conflict(
                    "`enable.idempotence=true` needs `max.in.flight` of at most 5",
                ));
            }
            self.acks = Acks::All;
            self.common.in_flight_max = self.common.in_flight_max.min(5);
        }
        Ok(())
    }
}

impl ConsumerSettings {
    /// Settings of a consumer, checked against each other as the library does at its start.
    pub fn new(properties: &Properties) -> Result<Self, PropertyError> {
        let java = properties.library == Library::Java;
        let mut common = CommonSettings::new(properties)?;
        if java {
            common.in_flight_max = IN_FLIGHT_MAX_JAVA_CONSUMER;
        }
        let group_id = properties.optional("group.id");
        let int = |name: &str| i32::try_from(properties.int(name)).unwrap_or(i32::MAX);
        let consumer = properties.text("group.protocol").eq_ignore_ascii_case("consumer");
        let auto_commit = properties.flag("enable.auto.commit") && group_id.is_some();
        let interval = properties.millis("auto.commit.interval.ms");
        if !java && group_id.is_none() {
            return Err(PropertyError::Conflict("a consumer of librdkafka needs `group.id`"));
        }
        Ok(Self {
            group_id,
            group_instance_id: properties.optional("group.instance.id"),
            group_protocol: if consumer { GroupProtocol::Consumer } else { GroupProtocol::Classic },
            group_remote_assignor: properties.optional("group.remote.assignor"),
            assignors: assignors(properties.text("partition.assignment.strategy"))?,
            session_timeout: properties.millis("session.timeout.ms"),
            heartbeat_interval: properties.millis("heartbeat.interval.ms"),
            max_poll_interval: properties.millis("max.poll.interval.ms"),
            // librdkafka commits with an interval of 0 only when it closes.
            auto_commit: Some(interval).filter(|_| auto_commit && (java || !interval.is_zero())),
            reset: match properties.text("auto.offset.reset").to_ascii_lowercase().as_str() {
                "latest" | "largest" | "end" => ResetPolicy::Latest,
                "earliest" | "smallest" | "beginning" => ResetPolicy::Earliest,
                "none" | "error" => ResetPolicy::None,
                _ => {
                    return Err(PropertyError::Conflict(
                        "the models know `latest`, `earliest` and `none` of `auto.offset.reset`",
                    ));
                }
            },
            read_committed: properties.text("isolation.level") == "read_committed",
            fetch_bytes_min: int("fetch.min.bytes"),
            fetch_bytes_max: int("fetch.max.bytes"),
            fetch_wait_max: properties.millis(if java {
                "fetch.max.wait.ms"
            } else {
                "fetch.wait.max.ms"
            }),
            partition_fetch_bytes_max: int("max.partition.fetch.bytes"),
            poll_records_max: if java { properties.size("max.poll.records") } else { usize::MAX },
            client_rack: properties.text("client.rack").to_owned(),
            auto_create: properties.flag("allow.auto.create.topics"),
            common,
        })
    }
}

/// Names of assignors as they go over the wire; Java's are written as classes.
fn assignors(text: &str) -> Result<Vec<&'static str>, PropertyError> {
    let known = |name: &str| match name.trim().rsplit('.').next().unwrap_or_default() {
        "RangeAssignor" | "range" => Some("range"),
        "RoundRobinAssignor" | "roundrobin" => Some("roundrobin"),
        "CooperativeStickyAssignor" | "cooperative-sticky" => Some("cooperative-sticky"),
        _ => None,
    };
    let names = text.split(',').map(|name| {
        known(name).ok_or_else(|| PropertyError::Invalid {
            name: "partition.assignment.strategy",
            value: name.trim().to_owned(),
            expected: "range, roundrobin or cooperative-sticky, or Java's classes of them"
                .to_owned(),
        })
    });
    names.collect()
}
