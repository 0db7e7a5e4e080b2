//! A scenario with shorter times, for plays in real time.
//!
//! What is divided: the timeline, the duration, starts of clients, and every long time of clients and of the gateway that is
//! measured against these. What is not: what a machine needs however short the story is (latencies, backoffs, lingering, the
//! brokers' own sessions among themselves), rates, the mirror's lag and the interval in which it copies offsets, and limits
//! on waiting that change nothing unless they are reached (`await`). The same scaled scenario is rehearsed and played, so
//! the two are compared like with like.
//!
//! The 30 s after which the gateway's kernel gives up a silent connection (`TCP_USER_TIMEOUT`) cannot be scaled.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use switchyard::config::{self, Environment, Model as Gateway, Source, duration, strict};

use super::{
    Scenario,
    model::{Action, Library, When},
    values::Span,
};
use crate::client::{Properties, Role};

/// Recovery is given at least this (or all that the scenario gives): it ends by itself when everything has come to an end,
/// and a real machine needs its time.
const RECOVERY_MIN: Duration = Duration::from_secs(30);

/// Settings of the Java client that are divided. Where a scenario does not give them, the library's default is.
const JAVA: &[&str] = &[
    "auto.commit.interval.ms",
    "connections.max.idle.ms",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "heartbeat.interval.ms",
    "max.block.ms",
    "max.poll.interval.ms",
    "metadata.max.age.ms",
    "metadata.max.idle.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "request.timeout.ms",
    "session.timeout.ms",
    "socket.connection.setup.timeout.max.ms",
    "socket.connection.setup.timeout.ms",
    "transaction.timeout.ms",
];

/// As [`JAVA`], of librdkafka.
const LIBRDKAFKA: &[&str] = &[
    "api.version.request.timeout.ms",
    "auto.commit.interval.ms",
    "connections.max.idle.ms",
    "coordinator.query.interval.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "request.timeout.ms",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.timeout.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.interval.ms",
    "transaction.timeout.ms",
];

/// What a member of a group with the protocol of KIP-848 may not be given: its broker decides.
const DECIDED_BY_BROKER: &[&str] = &["heartbeat.interval.ms", "session.timeout.ms"];

/// Settings of brokers that clients' times are held against, with Kafka's defaults.
const BROKER: &[(&str, i64)] = &[
    ("group.consumer.heartbeat.interval.ms", 5000),
    ("group.consumer.min.heartbeat.interval.ms", 5000),
    ("group.consumer.min.session.timeout.ms", 45_000),
    ("group.consumer.session.timeout.ms", 45_000),
    ("group.min.session.timeout.ms", 6000),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", 10_000),
];

impl Scenario {
    /// The scenario with its times divided by `factor`; 1 and 0 leave it as it is.
    ///
    /// What the scenario expects of figures is left out, for those bounds hold for its own times; marks and violations
    /// remain.
    ///
    /// # Panics
    /// When the gateway's configuration is not one any more; shorter times make none of it invalid.
    #[must_use]
    pub fn scaled(&self, factor: u32) -> Self {
        let mut scenario = self.clone();
        if factor <= 1 {
            return scenario;
        }
        let divide = |time: &mut Duration| *time /= factor;
        divide(&mut scenario.duration);
        let recovery_min = RECOVERY_MIN.min(scenario.recovery);
        scenario.recovery = (scenario.recovery / factor).max(recovery_min);
        for step in &mut scenario.timeline {
            match &mut step.when {
                When::At(span) | When::After(span) => scale_span(span, factor),
            }
            scale_action(&mut step.action, factor);
        }
        for producer in &mut scenario.producers {
            divide(&mut producer.start);
            let client = Client {
                library: producer.library,
                role: Role::Producer,
                is_transactional: producer.transaction_records.is_some(),
            };
            client.scale(&mut producer.settings, factor);
        }
        for consumer in &mut scenario.consumers {
            divide(&mut consumer.start);
            let role = Role::Consumer;
            let client = Client { library: consumer.library, role, is_transactional: false };
            client.scale(&mut consumer.settings, factor);
        }
        for cluster in scenario.clusters.values_mut() {
            for (name, default) in BROKER {
                let value = cluster.settings.entry((*name).to_owned()).or_default();
                let before = value.parse().unwrap_or(*default);
                *value = (before / i64::from(factor)).max(1).to_string();
            }
        }
        scenario.scale_gateway(factor);
        scenario.expect.figures.clear();
        scenario
    }

    /// The scenario with MirrorMaker 2 as its mirror, which is what copies on real Kafka. Where that shows something else
    /// than Cluster Linking, the scenario's `validation.differences` say so.
    #[must_use]
    pub fn with_mirror_maker(&self) -> Self {
        let mut scenario = self.clone();
        if let Some(mirror) = &mut scenario.mirror {
            mirror.cluster_linking = false;
        }
        scenario
    }

    /// The scenario as it is rehearsed and played to be compared: with the mirror that real Kafka has, and its times divided by
    /// what its section `validation` says, or by `factor`.
    #[must_use]
    pub fn as_validated(&self, factor: Option<u32>) -> Self {
        let own = self.validation.as_ref().map_or(1, |validation| validation.time_scale);
        self.with_mirror_maker().scaled(factor.unwrap_or(own))
    }

    /// Divides the times of the gateway's configuration, in its text and as checked.
    fn scale_gateway(&mut self, factor: u32) {
        let mut file: Value =
            serde_yaml::from_str(&self.gateway_text).expect("the text was read before");
        let root = if file.get("gateway").is_some() { "gateway." } else { "" };
        for (path, time) in gateway_times(&self.gateway, &file, root) {
            let shorter = (time / factor).max(Duration::from_millis(1));
            let value = Value::String(duration::render(shorter));
            assert!(strict::put(&mut file, &format!("{root}{path}"), value), "{path} is a section");
        }
        self.gateway_text = file.to_string();
        // Relative paths in the text start where the file is.
        let source = match &self.gateway_file {
            Some(file) => Source::File(file.clone()),
            None => Source::Inline(self.gateway_text.clone()),
        };
        let text = self.gateway_text.as_bytes();
        let loaded = config::check(text, &source, &Environment::default());
        self.gateway = loaded.expect("shorter times leave a configuration valid").model;
    }
}

/// Times of the gateway by their paths, defaults included.
fn gateway_times(gateway: &Arc<Gateway>, file: &Value, root: &str) -> Vec<(String, Duration)> {
    let limits = &gateway.limits;
    let mut times = vec![
        ("limits.firstRequestTimeout".to_owned(), limits.first_request_timeout),
        ("limits.connectTimeout".to_owned(), limits.connect_timeout),
        ("limits.writeStallTimeout".to_owned(), limits.write_stall_timeout),
        ("limits.shutdownDrain".to_owned(), limits.shutdown_drain),
    ];
    let section = if root.is_empty() { file } else { &file["gateway"] };
    for (index, route) in section["routes"].as_array().into_iter().flatten().enumerate() {
        let known = route["name"].as_str().and_then(|name| gateway.routes.get(name));
        if let Some(route) = known {
            let path = format!("routes[{index}].fence.holdTimeMax");
            times.push((path, route.fence_defaults.hold_time_max));
        }
    }
    times
}

fn scale_span(span: &mut Span, factor: u32) {
    span.range = *span.range.start() / factor..=*span.range.end() / factor;
}

fn scale_action(action: &mut Action, factor: u32) {
    match action {
        Action::BlackHole { lasts, .. }
        | Action::RegionDown { lasts, .. }
        | Action::Refuse { lasts, .. }
        | Action::Slow { lasts, .. }
        | Action::KillBroker { lasts, .. }
        | Action::StopBroker { lasts, .. }
        | Action::Inject { lasts, .. }
        | Action::KillGateway { lasts, .. } => {
            if let Some(lasts) = lasts {
                scale_span(lasts, factor);
            }
        }
        Action::RestartGateway { down, .. } => scale_span(down, factor),
        Action::StallConsumer { lasts, .. } => scale_span(lasts, factor),
        Action::Switchover { drain, .. } => *drain = drain.map(|drain| drain / factor),
        // The operator waits no longer than it takes; a limit on that is no part of the story.
        Action::Await { .. }
        | Action::Reset { .. }
        | Action::StartBroker { .. }
        | Action::Fence { .. }
        | Action::Unfence { .. }
        | Action::Promote { .. }
        | Action::Failover { .. }
        | Action::ReverseMirror => {}
    }
}

/// Whose settings are divided.
struct Client {
    library: Library,
    role: Role,
    is_transactional: bool,
}

impl Client {
    fn scale(&self, settings: &mut BTreeMap<String, String>, factor: u32) {
        let given = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let properties = Properties::new(self.library, self.role, given)
            .expect("the scenario's check lets no unknown setting through");
        let scaled = match self.library {
            Library::Java => JAVA,
            Library::Librdkafka => LIBRDKAFKA,
        };
        let is_known = |name: &&&str| self.library.canonical(self.role, name).is_some();
        let mut times: BTreeMap<&str, i64> = BTreeMap::new();
        for name in scaled.iter().filter(is_known) {
            // 0 and less turn something off.
            let time = properties.value(name).trim().parse::<i64>().ok().filter(|time| *time > 0);
            let Some(time) = time else { continue };
            let least = self.library.least(self.role, name).unwrap_or(1).max(1);
            times.insert(name, (time / i64::from(factor)).max(least));
        }
        let has_own_protocol = self.role == Role::Consumer
            && properties.value("group.protocol").eq_ignore_ascii_case("consumer");
        if has_own_protocol {
            times.retain(|name, _| !DECIDED_BY_BROKER.contains(name));
        }
        self.keep_valid(&properties, &mut times);
        settings.retain(|name, _| {
            let name = self.library.canonical(self.role, name);
            name.is_none_or(|name| !times.contains_key(name))
        });
        settings.extend(times.iter().map(|(name, time)| ((*name).to_owned(), time.to_string())));
    }

    /// What a library refuses together: explicit values are not adjusted to each other as its defaults are.
    fn keep_valid(&self, properties: &Properties, times: &mut BTreeMap<&str, i64>) {
        if self.role == Role::Consumer {
            return;
        }
        match self.library {
            Library::Java => {
                // Lingering is not divided.
                let linger = properties.value("linger.ms").trim().parse::<i64>().unwrap_or(0);
                let request = times.get("request.timeout.ms").copied().unwrap_or(0);
                if let Some(delivery) = times.get_mut("delivery.timeout.ms") {
                    *delivery = (*delivery).max(linger + request);
                }
            }
            Library::Librdkafka => {
                let is_transactional =
                    self.is_transactional || !properties.value("transactional.id").is_empty();
                let Some(limit) = times.get("transaction.timeout.ms").copied() else { return };
                for name in ["message.timeout.ms", "socket.timeout.ms"] {
                    if let Some(time) = times.get_mut(name).filter(|_| is_transactional) {
                        *time = (*time).min(limit);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::{
        client::{ConsumerSettings, ProducerSettings},
        cluster::ClusterSpec,
        scenario,
    };

    /// Times of the Java client that a machine needs however short the story is, and times of what the models do not do.
    const JAVA_LEFT: &[&str] = &[
        "fetch.max.wait.ms",
        "linger.ms",
        "metrics.sample.window.ms",
        "partitioner.availability.timeout.ms",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
    ];
    /// As [`JAVA_LEFT`], of librdkafka.
    const LIBRDKAFKA_LEFT: &[&str] = &[
        "api.version.fallback.ms",
        "broker.address.ttl",
        "fetch.error.backoff.ms",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "offset.store.sync.interval.ms",
        "queue.buffering.max.ms",
        "reconnect.backoff.jitter.ms",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
        "socket.blocking.max.ms",
        "statistics.interval.ms",
        "sticky.partitioning.linger.ms",
        "topic.metadata.refresh.fast.interval.ms",
    ];

    fn is_time(name: &str) -> bool {
        let of_logins = name.starts_with("sasl.");
        let last = name.rsplit('.').next().unwrap_or_default();
        !of_logins && ["ms", "seconds", "ttl"].contains(&last)
    }

    /// A new setting with a time has to be divided, or left alone on purpose: forgotten, it would tell another story.
    #[test]
    fn every_time_of_a_client_is_divided_or_left_alone_on_purpose() {
        for (library, scaled, left) in
            [(Library::Java, JAVA, JAVA_LEFT), (Library::Librdkafka, LIBRDKAFKA, LIBRDKAFKA_LEFT)]
        {
            let names = [Role::Producer, Role::Consumer].map(|role| library.names(role));
            let names = names.into_iter().flatten().filter(|name| is_time(name));
            let known: BTreeSet<&str> = names.collect();
            let sorted: BTreeSet<&str> = scaled.iter().chain(left).copied().collect();
            assert_eq!(known, sorted, "{}", library.name());
            assert_eq!(scaled.len() + left.len(), sorted.len(), "one is in both lists");
        }
    }

    fn delivered() -> Vec<Scenario> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let entries = std::fs::read_dir(folder).expect("a folder");
        let files = entries.map(|entry| entry.expect("an entry").path());
        let files = files.filter(|file| file.extension().is_some_and(|ending| ending == "yaml"));
        files.flat_map(|file| scenario::load(&file, &[]).expect("a good file")).collect()
    }

    #[test]
    fn a_factor_of_one_changes_nothing() {
        for scenario in delivered() {
            assert_eq!(format!("{:?}", scenario.scaled(1)), format!("{scenario:?}"));
        }
    }

    fn accepts(library: Library, role: Role, settings: &BTreeMap<String, String>) {
        let address = ("bootstrap.servers".to_owned(), "localhost:9092".to_owned());
        let pairs = settings.clone().into_iter().chain([address]);
        let properties = Properties::new(library, role, pairs).expect("each is valid");
        match role {
            Role::Producer => drop(ProducerSettings::new(&properties).expect("they fit together")),
            Role::Consumer => drop(ConsumerSettings::new(&properties).expect("they fit together")),
        }
    }

    #[test]
    fn a_scaled_scenario_is_valid() {
        for scenario in delivered() {
            for factor in [2, 7, 100] {
                let scaled = scenario.scaled(factor);
                for client in &scaled.producers {
                    accepts(client.library, Role::Producer, &client.settings);
                }
                for client in &scaled.consumers {
                    accepts(client.library, Role::Consumer, &client.settings);
                }
                for step in &scaled.timeline {
                    if let When::At(span) = &step.when {
                        assert!(*span.range.end() <= scaled.duration, "{}", scaled.name);
                    }
                }
                for cluster in scaled.clusters.values() {
                    let mut spec = ClusterSpec::new("east", 1, "localhost", [9092]);
                    spec.settings.clone_from(&cluster.settings);
                    spec.check_settings().expect("settings of brokers");
                }
            }
        }
    }

    fn one(text: &str) -> Scenario {
        let read = scenario::read(text.as_bytes(), "s.yaml", "s", Path::new("."), &[]);
        read.unwrap_or_else(|error| panic!("{error}")).remove(0)
    }

    const STORY: &str = r"
about: A story.
gateway:
  streamingDomains:
    - {name: east, kafkaCluster: {bootstrapServers: [{id: main, endpoint: 'east.example:9092'}]}}
    - {name: west, kafkaCluster: {bootstrapServers: [{id: main, endpoint: 'west.example:9092'}]}}
  routes:
    - {name: sales, endpoint: 'gateway.example:19092', streamingDomain: {name: east}}
    - {name: other, endpoint: 'gateway.example:19192', streamingDomain: {name: east}, fence: {holdTimeMax: 20s}}
clusters: {east: {}, west: {settings: {group.min.session.timeout.ms: 9000}}}
topics: [{name: orders}]
mirror: {from: east, to: west, lag: 40ms..80ms, offset-sync: 4s}
producers:
  - {name: checkout, route: sales, topic: orders, start: 8s}
  - {name: sensors, profile: librdkafka, route: sales, topic: orders, transaction-records: 5, settings: {delivery.timeout.ms: 100000}}
consumers:
  - {name: billing, route: sales, topics: [orders]}
  - {name: modern, route: sales, topics: [orders], settings: {group.protocol: consumer}}
duration: 4m
recovery: 3m
timeline:
  - {at: 20s..30s, black-hole: {between: [gateway, east], for: 100s}}
  - {after: 8s, switchover: {route: sales, to: west, drain: 4s}}
  - {await: {for: serving, route: sales}}
expect: {rto: 60s, sometimes: [switched]}
";

    #[test]
    fn long_times_are_divided_and_the_rest_is_not() {
        let scenario = one(STORY);
        let scaled = scenario.scaled(4);
        let seconds = Duration::from_secs;
        assert_eq!((scaled.duration, scaled.recovery), (seconds(60), seconds(45)));
        assert!(matches!(&scaled.timeline[0].when,
            When::At(span) if span.range == (seconds(5)..=Duration::from_millis(7500))));
        assert!(matches!(&scaled.timeline[0].action,
            Action::BlackHole { lasts: Some(lasts), .. } if *lasts == Span::fixed(seconds(25))));
        assert!(matches!(&scaled.timeline[1].action,
            Action::Switchover { drain: Some(drain), .. } if *drain == seconds(1)));
        assert!(matches!(&scaled.timeline[2].action,
            Action::Await { at_most, .. } if *at_most == seconds(60)));
        let checkout = &scaled.producers[0];
        assert_eq!(checkout.start, seconds(2));
        assert_eq!(checkout.settings["delivery.timeout.ms"], "30000");
        assert_eq!(checkout.settings["request.timeout.ms"], "7500");
        assert!(!checkout.settings.contains_key("linger.ms"));
        assert_eq!(scaled.consumers[0].settings["session.timeout.ms"], "11250");
        let mirror = scaled.mirror.as_ref().expect("a mirror");
        assert_eq!(mirror.lag.range, Duration::from_millis(40)..=Duration::from_millis(80));
        assert_eq!(mirror.offset_sync, seconds(4));
        assert!(scaled.expect.figures.is_empty());
        assert_eq!(scaled.expect.sometimes, ["switched"]);
    }

    /// The library would refuse them, and the play could not begin.
    #[test]
    fn what_a_library_refuses_to_be_given_is_not_made_explicit() {
        let scaled = one(STORY).scaled(4);
        let sensors = &scaled.producers[1].settings;
        assert!(!sensors.contains_key("delivery.timeout.ms"), "its own name takes its place");
        assert_eq!(sensors["message.timeout.ms"], "15000", "no longer than a transaction");
        assert_eq!(sensors["socket.timeout.ms"], "15000");
        let modern = &scaled.consumers[1].settings;
        assert!(DECIDED_BY_BROKER.iter().all(|name| !modern.contains_key(*name)), "{modern:?}");
        assert_eq!(modern["max.poll.interval.ms"], "75000");
        let west = &scaled.clusters["west"].settings;
        assert_eq!(west["group.min.session.timeout.ms"], "2250");
        assert_eq!(west["group.consumer.session.timeout.ms"], "11250");
    }

    #[test]
    fn the_gateway_is_scaled_in_its_text_and_as_checked() {
        let scaled = one(STORY).scaled(4);
        let hold = |name: &str| scaled.gateway.routes[name].fence_defaults.hold_time_max;
        assert_eq!(
            (hold("sales"), hold("other")),
            (Duration::from_secs(15), Duration::from_secs(5))
        );
        assert_eq!(scaled.gateway.limits.connect_timeout, Duration::from_millis(2500));
        let file: Value = serde_yaml::from_str(&scaled.gateway_text).expect("text");
        assert_eq!(file["routes"][1]["fence"]["holdTimeMax"], "5s");
    }

    #[test]
    fn the_mirror_of_real_kafka_is_mirror_maker() {
        let scenario = one(STORY);
        assert!(scenario.mirror.as_ref().expect("a mirror").cluster_linking);
        let played = scenario.with_mirror_maker();
        assert!(!played.mirror.as_ref().expect("a mirror").cluster_linking);
    }
}
