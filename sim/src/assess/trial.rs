//! The built-in scenarios: an event with a reaction time, on a user's gateway and with a user's clients.

use serde_json::{Map, Value, json};
use switchyard::config::strict::ConfigError;

use super::{Event, Subject};
use crate::{
    client::{Library, Role},
    scenario::{self, Scenario},
};

/// Brokers of a cluster, where its node ids have room for them.
const BROKERS: i64 = 3;
/// Everybody has started, groups are stable.
const EVENT_AT_S: u64 = 15;
/// What clients have for coming back before nothing new is sent: longer than their backoffs and a rebalance.
const AFTERWARDS_S: u64 = 40;
/// One way, on every link: what regions that fail independently are apart. It also lets the simulation take larger steps.
pub(super) const LATENCY: &str = "20ms";
/// How far the mirror is behind.
pub(super) const MIRROR_LAG: &str = "50ms..300ms";
const TOPIC: &str = "assessed";
/// Clients of each kind.
const CLIENTS: u32 = 2;
/// Records of a transaction, where the settings ask for transactions.
const TRANSACTION_RECORDS: u32 = 10;

/// The scenario of an event.
///
/// # Errors
/// Faults of a scenario that is built in: a gateway file that asks for what no rehearsal can give.
pub(super) fn scenario(
    subject: &Subject,
    event: Event,
    reaction_s: u64,
) -> Result<Scenario, ConfigError> {
    let name = format!("assess-{event:?}-{reaction_s}").to_lowercase();
    let text = document(subject, event, reaction_s).to_string();
    let base = std::path::Path::new(".");
    let mut read = scenario::read(text.as_bytes(), &subject.origin, &name, base, &[])?;
    read.pop().ok_or_else(|| ConfigError { origin: name, faults: Vec::new() })
}

pub(super) fn document(subject: &Subject, event: Event, reaction_s: u64) -> Value {
    let mut document = json!({
        "about": format!("Built in: {event:?}, reaction after {reaction_s} s."),
        "gateway": subject.file.display().to_string(),
        "clusters": clusters(subject),
        "topics": [{"name": TOPIC, "partitions": 3}],
        "links": links(subject),
        "producers": [producers(subject)],
        "consumers": [consumers(subject)],
        "duration": format!("{}s", EVENT_AT_S + reaction_s + AFTERWARDS_S),
        "recovery": "3m",
        "timeline": timeline(subject, event, reaction_s),
    });
    if let Some(to) = &subject.to {
        document["mirror"] =
            json!({"from": subject.from, "to": to, "lag": MIRROR_LAG, "offset-sync": "5s"});
    }
    document
}

/// Only the clusters that take part have more than one broker.
fn clusters(subject: &Subject) -> Value {
    let cluster =
        |(name, domain): (&std::sync::Arc<str>, &std::sync::Arc<switchyard::config::Domain>)| {
            let takes_part = **name == *subject.from || subject.to.as_deref() == Some(&**name);
            let ids = domain.node_id_ranges.first();
            let (first, last) = ids.map_or((1, 3), |ids| (*ids.start(), *ids.end()));
            let room = i64::from(last) - i64::from(first) + 1;
            let brokers = if takes_part { BROKERS.min(room) } else { 1 };
            (name.to_string(), json!({"brokers": brokers, "first-node-id": first}))
        };
    Value::Object(subject.model.domains.iter().map(cluster).collect())
}

/// Every link that there is.
fn links(subject: &Subject) -> Value {
    let mut hosts = vec!["clients", "gateway"];
    hosts.extend(subject.model.domains.keys().map(|name| &**name));
    let pairs = hosts.iter().enumerate().flat_map(|(index, a)| {
        hosts[index + 1..].iter().map(move |b| json!({"between": [a, b], "latency": LATENCY}))
    });
    Value::Array(pairs.collect())
}

fn producers(subject: &Subject) -> Value {
    let mut producers = json!({
        "name": "producers",
        "profile": profile(subject),
        "count": CLIENTS,
        "route": subject.route,
        "topic": TOPIC,
        "rate": subject.rate,
        "record-bytes": subject.record_bytes,
        "settings": settings(subject, Role::Producer),
    });
    if subject.has(Role::Producer, "transactional.id") {
        producers["transaction-records"] = json!(TRANSACTION_RECORDS);
    }
    producers
}

fn consumers(subject: &Subject) -> Value {
    json!({
        "name": "consumers",
        "profile": profile(subject),
        "count": CLIENTS,
        "route": subject.route,
        "topics": [TOPIC],
        "static": subject.has(Role::Consumer, "group.instance.id"),
        "settings": settings(subject, Role::Consumer),
    })
}

fn settings(subject: &Subject, role: Role) -> Map<String, Value> {
    subject.settings(role).into_iter().map(|(name, value)| (name, Value::String(value))).collect()
}

fn profile(subject: &Subject) -> &'static str {
    match subject.library {
        Library::Java => "java",
        Library::Librdkafka => "librdkafka",
    }
}

fn timeline(subject: &Subject, event: Event, reaction_s: u64) -> Value {
    let (at, reaction) = (format!("{EVENT_AT_S}s"), format!("{reaction_s}s"));
    let (route, from) = (&subject.route, &subject.from);
    let drained = json!({"await": {"for": "drained", "route": route}});
    let caught_up = json!({"await": {"for": "caught-up"}});
    let promoted = json!({"await": {"for": "promoted"}});
    match (event, &subject.to) {
        (Event::Outage, None) => {
            json!([{"at": at, "region-down": {"cluster": from, "for": reaction}}])
        }
        (Event::Outage, Some(to)) => json!([
            {"at": at, "region-down": {"cluster": from}},
            {"after": reaction, "failover": {}},
            {"switchover": {"route": route, "to": to}},
        ]),
        (Event::Planned, None) => json!([
            {"at": at, "fence": {"route": route, "mode": "hold"}},
            {"after": reaction, "unfence": {"route": route}},
        ]),
        // Whatever takes the operator long, it takes place behind the fence.
        (Event::Planned, Some(to)) => json!([
            {"at": at, "fence": {"route": route, "mode": "hold"}},
            drained, caught_up, {"promote": {}}, promoted,
            {"at": format!("{}s", EVENT_AT_S + reaction_s), "switchover": {"route": route, "to": to}},
            {"await": {"for": "serving", "route": route}},
            {"unfence": {"route": route}},
        ]),
        (Event::Restart, None) => json!([{"at": at, "restart-gateway": {"down": reaction}}]),
        (Event::Restart, Some(to)) => json!([
            {"at": at, "restart-gateway": {"route": route, "to": to, "down": reaction}},
            // The gateway ends its sessions first.
            {"after": "2s", "await": {"for": "caught-up"}}, {"promote": {}}, promoted,
        ]),
    }
}
