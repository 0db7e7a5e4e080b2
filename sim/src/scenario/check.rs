//! From what is written to what can be run: every reference is looked up, every text read, every fault reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    path,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use switchyard::config::{
    self, Environment, Model as Gateway, Source, duration,
    strict::{self, Findings, Path, quoted},
    suggest,
};

use super::{
    GATEWAY, expect, model,
    raw::{self, PathOrSection},
    steps, validation,
    values::Span,
};
use crate::{
    client::{ConsumerSettings, ProducerSettings, Properties, PropertyError, Role},
    cluster::versions::Profile as KafkaProfile,
};

/// Default time that recovery may take.
const RECOVERY: Duration = Duration::from_mins(2);
/// Longest run that makes sense; one that never ends would be a mistake.
const DURATION_MAX: Duration = Duration::from_hours(6);

/// Looks at a file and collects what is wrong with it.
pub(super) struct Checker<'f> {
    pub(super) findings: &'f mut Findings,
    pub(super) gateway: Option<(Arc<Gateway>, String, Option<path::PathBuf>)>,
    pub(super) clusters: BTreeMap<String, model::Cluster>,
    pub(super) instances: usize,
    topic_names: Vec<String>,
    pub(super) consumer_names: Vec<String>,
    pub(super) has_mirror: bool,
}

impl Checker<'_> {
    /// A text with a meaning; what cannot be read is a fault, what is not there is the default.
    pub(super) fn read<T>(
        &mut self,
        path: &Path,
        written: Option<&String>,
        read: impl Fn(&str) -> Option<T>,
        what: &str,
    ) -> Option<T> {
        let written = written?;
        let value = read(written);
        if value.is_none() {
            self.findings.fault(
                path,
                format!("{} is not {what}", quoted(written)),
                format!("write {what}"),
            );
        }
        value
    }

    pub(super) fn time(&mut self, path: &Path, written: Option<&String>) -> Option<Duration> {
        self.read(path, written, |text| duration::parse(text).ok(), "a time such as `30s`")
    }

    pub(super) fn span(&mut self, path: &Path, written: Option<&String>) -> Option<Span> {
        self.read(path, written, Span::parse, "a time such as `30s`, or a range such as `10s..20s`")
    }

    /// A name that has to be one of those that exist.
    pub(super) fn known<'n>(
        &mut self,
        path: &Path,
        what: &str,
        name: &str,
        among: impl Iterator<Item = &'n str> + Clone,
    ) -> bool {
        if among.clone().any(|known| known == name) {
            return true;
        }
        let remedy = match suggest::nearest(name, among.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if among.clone().next().is_none() => format!("there is no {what} to name"),
            None => format!("write {}", suggest::alternatives(among)),
        };
        self.findings.fault(
            path,
            format!("{} is no {what} of this scenario", quoted(name)),
            remedy,
        );
        false
    }

    pub(super) fn cluster(&mut self, path: &Path, name: Option<&String>) -> Option<String> {
        let name = name?;
        let names: Vec<_> = self.clusters.keys().cloned().collect();
        self.known(path, "cluster", name, names.iter().map(String::as_str)).then(|| name.clone())
    }

    pub(super) fn route(&mut self, path: &Path, name: Option<&String>) -> Option<String> {
        let name = name?;
        // With a gateway file that has faults of its own, its routes are not known.
        let Some((gateway, ..)) = &self.gateway else { return Some(name.clone()) };
        let names: Vec<_> = gateway.routes.keys().cloned().collect();
        self.known(path, "route", name, names.iter().map(|name| &**name)).then(|| name.clone())
    }

    pub(super) fn topic(&mut self, path: &Path, name: Option<&String>) -> Option<String> {
        let name = name?;
        let names = self.topic_names.clone();
        self.known(path, "topic", name, names.iter().map(String::as_str)).then(|| name.clone())
    }

    pub(super) fn topics(&mut self, path: &Path, names: Option<&Vec<String>>) -> Vec<String> {
        let names = names.map(Vec::as_slice).unwrap_or_default();
        (0..).zip(names).filter_map(|(i, name)| self.topic(&path.index(i), Some(name))).collect()
    }
}

/// The whole scenario; `None` only where a fault was reported.
pub(super) fn check(
    raw: &raw::Scenario,
    name: &str,
    base: &path::Path,
    set: &[(String, Value)],
    variant: Option<(&str, &raw::Variant)>,
    findings: &mut Findings,
) -> Option<model::Scenario> {
    let root = Path::root();
    let gateway = raw.gateway.as_ref();
    let gateway = gateway.and_then(|gateway| load_gateway(gateway, base, set, findings));
    let mut checker = Checker {
        findings,
        gateway,
        clusters: BTreeMap::new(),
        instances: count(raw.instances, 1),
        topic_names: raw.topics.iter().flatten().filter_map(|topic| topic.name.clone()).collect(),
        consumer_names: raw.consumers.iter().flatten().filter_map(|c| c.name.clone()).collect(),
        has_mirror: raw.mirror.is_some(),
    };
    checker.read_clusters(raw);
    let mirror = checker.mirror(raw);
    let topics = checker.read_topics(raw, mirror.as_ref());
    let links = checker.links(raw);
    let producers = checker.producers(raw);
    let consumers = checker.consumers(raw);
    checker.unique_clients(raw);
    let duration = checker.time(&root.key("duration"), raw.duration.as_ref());
    if duration.is_some_and(|duration| duration > DURATION_MAX) {
        checker.findings.fault(&root.key("duration"), "is longer than 6 h", "write less");
    }
    let recovery = checker.time(&root.key("recovery"), raw.recovery.as_ref());
    let timeline = steps::timeline(&mut checker, raw, duration);
    let mut expect = expect::read(&mut checker, &root.key("expect"), raw.expect.as_ref());
    if let Some((name, Some(own))) = variant.map(|(name, variant)| (name, &variant.expect)) {
        let path = root.key("variants").foreign_key(name).key("expect");
        expect::overlay(&mut checker, &path, own, &mut expect);
    }
    let validation = validation::read(&mut checker, raw, variant.map(|(name, _)| name));
    let (gateway, gateway_text, gateway_file) = checker.gateway.take()?;
    if checker.findings.has_faults() {
        return None;
    }
    Some(model::Scenario {
        name: name.to_owned(),
        about: variant.and_then(|(_, own)| own.about.clone()).or_else(|| raw.about.clone())?,
        gateway,
        gateway_text,
        gateway_file,
        instances: checker.instances,
        clusters: checker.clusters,
        topics,
        mirror,
        links,
        producers,
        consumers,
        duration: duration?,
        recovery: recovery.unwrap_or(RECOVERY),
        timeline,
        expect,
        validation,
    })
}

fn load_gateway(
    written: &PathOrSection,
    base: &path::Path,
    set: &[(String, Value)],
    findings: &mut Findings,
) -> Option<(Arc<Gateway>, String, Option<path::PathBuf>)> {
    let path = Path::root().key("gateway");
    let (source, text, file) = match written {
        PathOrSection::Path(name) => {
            let file = base.join(name);
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) => {
                    let problem = format!("{} cannot be read: {error}", file.display());
                    findings.fault(&path, problem, "name a gateway's configuration file");
                    return None;
                }
            };
            (Source::File(file.clone()), text, Some(file))
        }
        PathOrSection::Section(keys) => {
            let text = serde_json::to_string_pretty(keys).ok()?;
            (Source::Inline(text.clone()), text, None)
        }
    };
    let text = with_set(text, set, findings);
    match config::check(text.as_bytes(), &source, &Environment::default()) {
        Ok(loaded) => Some((loaded.model, text, file)),
        Err(error) => {
            for fault in error.faults {
                let inside =
                    if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
                let line = fault.position.filter(|_| file.is_some());
                let line = line.map(|at| format!("line {}, ", at.line)).unwrap_or_default();
                findings.fault(&path, format!("{line}{inside}{}", fault.problem), fault.remedy);
            }
            None
        }
    }
}

/// The gateway's file with values set.
fn with_set(text: String, set: &[(String, Value)], findings: &mut Findings) -> String {
    let own: Vec<_> =
        set.iter().filter_map(|(path, new)| Some((path.strip_prefix(GATEWAY)?, new))).collect();
    // A file that cannot be read has faults that are reported when it is checked.
    let (false, Ok(mut value)) = (own.is_empty(), serde_yaml::from_str::<Value>(&text)) else {
        return text;
    };
    let root = if value.get("gateway").is_some() { "gateway." } else { "" };
    for (path, new) in own {
        if !strict::put(&mut value, &format!("{root}{path}"), new.clone()) {
            let problem = format!("{} leads to no value", quoted(path));
            let remedy = "write a path such as `gateway.routes[0].clientView`";
            findings.fault(&Path::root().key("gateway"), problem, remedy);
        }
    }
    value.to_string()
}

pub(super) fn count(written: Option<i64>, default: usize) -> usize {
    written.and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
}

/// Settings as clients and brokers take them: texts.
pub(super) fn settings(written: Option<&raw::Settings>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    written.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

impl Checker<'_> {
    fn read_clusters(&mut self, raw: &raw::Scenario) {
        let path = Path::root().key("clusters");
        let domains: Option<Vec<_>> =
            self.gateway.as_ref().map(|(gateway, ..)| gateway.domains.keys().cloned().collect());
        for (name, section) in raw.clusters.iter().flatten() {
            let path = path.foreign_key(name);
            if let Some(domains) = &domains {
                self.known(&path, "streaming domain", name, domains.iter().map(|name| &**name));
            }
            let first = section.first_node_id.and_then(|id| i32::try_from(id).ok()).unwrap_or(1);
            let brokers: Vec<i32> = (first..).take(count(section.brokers, 3)).collect();
            let cluster = model::Cluster {
                brokers,
                kafka: match section.kafka {
                    Some(raw::KafkaVersion::V39) => KafkaProfile::Kafka39,
                    Some(raw::KafkaVersion::V41) | None => KafkaProfile::Kafka41,
                },
                settings: settings(section.settings.as_ref()),
                leader_epoch: section.leader_epoch.and_then(|e| i32::try_from(e).ok()).unwrap_or(0),
                cold: self.span(&path.key("cold"), section.cold.as_ref()),
            };
            self.clusters.insert(name.clone(), cluster);
        }
        for domain in domains.iter().flatten() {
            if raw.clusters.is_some() && !self.clusters.contains_key(&**domain) {
                let problem = format!("has no cluster for the streaming domain `{domain}`");
                let remedy = format!("write `{domain}: {{}}`, a cluster of three brokers");
                self.findings.fault(&path, problem, remedy);
            }
        }
    }

    fn mirror(&mut self, raw: &raw::Scenario) -> Option<model::Mirror> {
        let raw_mirror = raw.mirror.as_ref()?;
        let path = Path::root().key("mirror");
        let from = self.cluster(&path.key("from"), raw_mirror.from.as_ref());
        let to = self.cluster(&path.key("to"), raw_mirror.to.as_ref());
        if from.is_some() && from == to {
            self.findings.fault(
                &path.key("to"),
                "is where records come from",
                "name another cluster",
            );
        }
        let lag = self.span(&path.key("lag"), raw_mirror.lag.as_ref());
        let offset_sync = self.time(&path.key("offset-sync"), raw_mirror.offset_sync.as_ref());
        let topics = match &raw_mirror.topics {
            Some(topics) => self.topics(&path.key("topics"), Some(topics)),
            None => self.topic_names.clone(),
        };
        let default_lag = Span { range: Duration::from_millis(20)..=Duration::from_millis(100) };
        Some(model::Mirror {
            from: from?,
            to: to?,
            cluster_linking: !matches!(raw_mirror.kind, Some(raw::MirrorKind::MirrorMaker2)),
            lag: lag.unwrap_or(default_lag),
            offset_sync: offset_sync.unwrap_or(Duration::from_secs(5)),
            topics,
        })
    }

    fn read_topics(
        &mut self,
        raw: &raw::Scenario,
        mirror: Option<&model::Mirror>,
    ) -> Vec<model::Topic> {
        let path = Path::root().key("topics");
        let mut seen = BTreeSet::new();
        let mut topics = Vec::new();
        for (index, section) in raw.topics.iter().flatten().enumerate() {
            let path = path.index(index);
            let Some(name) = section.name.clone() else { continue };
            if !seen.insert(name.clone()) {
                let problem = format!("{} is there already", quoted(&name));
                self.findings.fault(&path.key("name"), problem, "take another name");
            }
            let on: Vec<String> = match &section.on {
                Some(on) => (0..)
                    .zip(on)
                    .filter_map(|(i, name)| self.cluster(&path.key("on").index(i), Some(name)))
                    .collect(),
                None => {
                    let copied = mirror.filter(|mirror| mirror.topics.contains(&name));
                    let to = copied.map(|mirror| &mirror.to);
                    self.clusters.keys().filter(|cluster| Some(*cluster) != to).cloned().collect()
                }
            };
            let replicas = count(section.replicas, 3);
            let fits = |cluster: &String| {
                self.clusters.get(cluster).is_none_or(|c| c.brokers.len() >= replicas)
            };
            // Without a wish, a topic has as many replicas as its smallest cluster can hold.
            let replicas = if section.replicas.is_none() && !on.iter().all(fits) {
                let sizes = on.iter().filter_map(|name| self.clusters.get(name));
                sizes.map(|cluster| cluster.brokers.len()).min().unwrap_or(1)
            } else {
                replicas
            };
            if let Some(cluster) = on.iter().find(|name| {
                self.clusters.get(*name).is_some_and(|cluster| cluster.brokers.len() < replicas)
            }) {
                let problem = format!("{replicas} is more than `{cluster}` has brokers");
                self.findings.fault(&path.key("replicas"), problem, "write less");
            }
            topics.push(model::Topic {
                name,
                partitions: section.partitions.and_then(|n| i32::try_from(n).ok()).unwrap_or(6),
                replicas: i16::try_from(replicas).unwrap_or(1),
                on,
                settings: settings(section.settings.as_ref()),
            });
        }
        topics
    }

    /// `clients`, `gateway`, `gateway-2`, or a cluster.
    fn host(&mut self, path: &Path, name: &str) -> Option<model::Host> {
        if name == "clients" {
            return Some(model::Host::Clients);
        }
        if name == "gateway" {
            return Some(model::Host::Gateways);
        }
        let number = name.strip_prefix("gateway-").and_then(|number| number.parse().ok());
        if let Some(instance) = number.filter(|number| (1..=self.instances).contains(number)) {
            return Some(model::Host::Gateway(instance));
        }
        let mut names: Vec<String> = vec!["clients".to_owned(), "gateway".to_owned()];
        names.extend((1..=self.instances).map(|instance| format!("gateway-{instance}")));
        names.extend(self.clusters.keys().cloned());
        self.known(path, "host", name, names.iter().map(String::as_str))
            .then(|| model::Host::Cluster(name.to_owned()))
    }

    pub(super) fn hosts(
        &mut self,
        path: &Path,
        names: Option<&Vec<String>>,
    ) -> Option<[model::Host; 2]> {
        let [a, b] = names?.as_slice() else { return None };
        let path = path.key("between");
        let hosts = [self.host(&path.index(0), a), self.host(&path.index(1), b)];
        if a == b {
            self.findings.fault(&path, "names one host twice", "name two");
        }
        let [a, b] = hosts;
        Some([a?, b?])
    }

    fn links(&mut self, raw: &raw::Scenario) -> Vec<model::Link> {
        let path = Path::root().key("links");
        let mut links = Vec::new();
        for (index, link) in raw.links.iter().flatten().enumerate() {
            let path = path.index(index);
            let between = self.hosts(&path, link.between.as_ref());
            let latency = self.span(&path.key("latency"), link.latency.as_ref());
            if let (Some(between), Some(latency)) = (between, latency) {
                links.push(model::Link { between, latency });
            }
        }
        links
    }

    fn entry(
        &mut self,
        path: &Path,
        route: Option<&String>,
        cluster: Option<&String>,
    ) -> Option<model::Entry> {
        match (route, cluster) {
            (Some(_), None) => self.route(&path.key("route"), route).map(model::Entry::Route),
            (None, Some(_)) => {
                self.cluster(&path.key("cluster"), cluster).map(model::Entry::Cluster)
            }
            (Some(_), Some(_)) => {
                let remedy = "keep `route`, or `cluster` for clients that bypass the gateway";
                self.findings.fault(path, "has a route and a cluster", remedy);
                None
            }
            (None, None) => {
                let remedy = "write `route`: the route that the clients connect to";
                self.findings.fault(&path.key("route"), "is missing", remedy);
                None
            }
        }
    }

    fn producers(&mut self, raw: &raw::Scenario) -> Vec<model::Producer> {
        let path = Path::root().key("producers");
        let mut producers = Vec::new();
        for (index, section) in raw.producers.iter().flatten().enumerate() {
            let path = path.index(index);
            let entry = self.entry(&path, section.route.as_ref(), section.cluster.as_ref());
            let topic = self.topic(&path.key("topic"), section.topic.as_ref());
            let start = self.time(&path.key("start"), section.start.as_ref());
            let settings = settings(section.settings.as_ref());
            let library = library(section.profile);
            self.client_settings(&path.key("settings"), library, Role::Producer, &settings);
            let (Some(name), Some(entry), Some(topic)) = (section.name.clone(), entry, topic)
            else {
                continue;
            };
            producers.push(model::Producer {
                name,
                library,
                count: count(section.count, 1),
                entry,
                topic,
                rate: section.rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(10),
                record_bytes: count(section.record_bytes, 100),
                transaction_records: section.transaction_records.map(|n| count(Some(n), 1)),
                start: start.unwrap_or_default(),
                settings,
            });
        }
        producers
    }

    fn consumers(&mut self, raw: &raw::Scenario) -> Vec<model::Consumer> {
        let path = Path::root().key("consumers");
        let mut consumers = Vec::new();
        for (index, section) in raw.consumers.iter().flatten().enumerate() {
            let path = path.index(index);
            let entry = self.entry(&path, section.route.as_ref(), section.cluster.as_ref());
            let topics = self.topics(&path.key("topics"), section.topics.as_ref());
            let start = self.time(&path.key("start"), section.start.as_ref());
            let mut settings = settings(section.settings.as_ref());
            let library = library(section.profile);
            let group = section.name.clone().unwrap_or_default();
            settings.entry("group.id".to_owned()).or_insert(group);
            self.client_settings(&path.key("settings"), library, Role::Consumer, &settings);
            let (Some(name), Some(entry)) = (section.name.clone(), entry) else { continue };
            consumers.push(model::Consumer {
                name,
                library,
                count: count(section.count, 1),
                entry,
                topics,
                is_static: section.r#static.unwrap_or(false),
                start: start.unwrap_or_default(),
                settings,
            });
        }
        consumers
    }

    /// Names tell clients apart in every report.
    fn unique_clients(&mut self, raw: &raw::Scenario) {
        let mut seen = BTreeSet::new();
        let producers = raw.producers.iter().flatten().map(|client| &client.name);
        let consumers = raw.consumers.iter().flatten().map(|client| &client.name);
        let named = (0..).zip(producers).map(|(i, name)| ("producers", i, name));
        let named = named.chain((0..).zip(consumers).map(|(i, name)| ("consumers", i, name)));
        for (list, index, name) in named {
            let Some(name) = name else { continue };
            if !seen.insert(name) {
                let path = Path::root().key(list).index(index).key("name");
                let problem = format!("{} is there already", quoted(name));
                self.findings.fault(&path, problem, "take another name");
            }
        }
    }

    /// Settings by the library's own names; the client's catalogue knows them.
    fn client_settings(
        &mut self,
        path: &Path,
        library: model::Library,
        role: Role,
        settings: &BTreeMap<String, String>,
    ) {
        // What a rehearsal fills in itself.
        let address = ("bootstrap.servers".to_owned(), "localhost:9092".to_owned());
        let pairs = settings.clone().into_iter().chain([address]);
        let faults = match Properties::new(library, role, pairs) {
            Err(faults) => faults,
            Ok(properties) => {
                let conflict = match role {
                    Role::Producer => ProducerSettings::new(&properties).err(),
                    Role::Consumer => ConsumerSettings::new(&properties).err(),
                };
                conflict.into_iter().collect()
            }
        };
        for fault in faults {
            let path = match &fault {
                PropertyError::Unknown { name, .. } => path.foreign_key(name),
                PropertyError::Invalid { name, .. } => path.foreign_key(name),
                PropertyError::Conflict(_) | PropertyError::Syntax { .. } => path.clone(),
            };
            let remedy = format!("write a setting of {} by its own name", library.name());
            self.findings.fault(&path, fault.to_string(), remedy);
        }
    }
}

fn library(profile: Option<raw::ProfileName>) -> model::Library {
    match profile {
        Some(raw::ProfileName::Librdkafka) => model::Library::Librdkafka,
        Some(raw::ProfileName::Java) | None => model::Library::Java,
    }
}
