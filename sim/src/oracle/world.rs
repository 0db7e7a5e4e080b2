//! Rules about gateways and clusters.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    history::{Entry, History, What},
    judge::{Case, Violation},
};

/// How long the samples of a gateway's status may be behind what its sessions do.
const SAMPLE_SLACK: Duration = Duration::from_millis(500);

fn violation(oracle: &'static str, entry: &Entry, what: String) -> Violation {
    Violation { oracle, at_ms: entry.at_us / 1000, who: Arc::clone(&entry.who), what }
}

/// Every broken rule, each with its first witness.
pub(super) fn violations(history: &History, case: &Case) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(upstream_addresses(history));
    found.extend(unnamed_closes(history));
    found.extend(memory(history, case));
    found.extend(fences(history, case));
    if !case.switches_back {
        found.extend(two_writers(history));
    }
    found
}

fn upstream_addresses(history: &History) -> Option<Violation> {
    history.entries.iter().find_map(|entry| match &entry.what {
        What::UpstreamAddress { address } => {
            let what = format!("{} was told of {address}", entry.who);
            Some(violation("no-upstream-address", entry, what))
        }
        _ => None,
    })
}

fn unnamed_closes(history: &History) -> Option<Violation> {
    history.entries.iter().find_map(|entry| match &entry.what {
        What::SessionClosed { cause } if cause.is_empty() => {
            Some(violation("named-closes", entry, "a session closed without a cause".to_owned()))
        }
        _ => None,
    })
}

fn memory(history: &History, case: &Case) -> Option<Violation> {
    history.entries.iter().find_map(|entry| match &entry.what {
        What::Route { route, parked_bytes, .. } if *parked_bytes > case.parked_bytes_max => {
            let limit = case.parked_bytes_max;
            let what = format!("{route} holds {parked_bytes} bytes; the limit is {limit}");
            Some(violation("bounded-memory", entry, what))
        }
        _ => None,
    })
}

/// While every instance says that a route is fenced and nothing is in flight, no producer of it gets an acknowledgement,
/// but for answers that were under way.
fn fences(history: &History, case: &Case) -> Option<Violation> {
    // By route and instance: since when it is closed.
    let mut closed: BTreeMap<(Arc<str>, Arc<str>), Option<Duration>> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            What::Route { route, fence, in_flight, .. } => {
                let key = (Arc::clone(route), Arc::clone(&entry.who));
                let since = closed.entry(key).or_default();
                *since = match (fence, *in_flight) {
                    (Some(_), 0) => since.or(Some(entry.at())),
                    (Some(_), _) => *since,
                    (None, _) => None,
                };
            }
            What::Opening { route } => closed.retain(|(of, _), _| of != route),
            What::GatewayDied => closed.retain(|(_, instance), _| *instance != entry.who),
            What::Acknowledged { number, .. } => {
                let Some(route) =
                    case.producers.get(&entry.who).and_then(|home| home.route.as_ref())
                else {
                    continue;
                };
                let instances: Vec<_> = closed
                    .iter()
                    .filter(|((of, _), _)| of == route)
                    .map(|(_, since)| *since)
                    .collect();
                let all: Option<Vec<Duration>> = instances.into_iter().collect();
                let since = all.and_then(|all| all.into_iter().max());
                let slack = case.latency_max * 2 + SAMPLE_SLACK;
                if let Some(since) = since.filter(|since| entry.at() > *since + slack) {
                    let what = format!(
                        "{} #{number} was acknowledged although {route} is fenced since {} ms",
                        entry.who,
                        since.as_millis()
                    );
                    return Some(violation("fence-tight", entry, what));
                }
            }
            _ => {}
        }
    }
    None
}

/// Once a second cluster has taken writes of clients for a topic, the first must take none.
fn two_writers(history: &History) -> Option<Violation> {
    let mut writers: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
    let mut left: BTreeSet<(Arc<str>, Arc<str>)> = BTreeSet::new();
    for entry in &history.entries {
        let What::Appended { topic, .. } = &entry.what else { continue };
        let own = writers.entry(Arc::clone(topic)).or_default();
        if own.last() == Some(&entry.who) {
            continue;
        }
        if left.contains(&(Arc::clone(topic), Arc::clone(&entry.who))) {
            let other = own.last().map_or("?", |other| other);
            let what = format!("{} takes writes for {topic} after {other} has", entry.who);
            return Some(violation("one-writer", entry, what));
        }
        if let Some(before) = own.last() {
            left.insert((Arc::clone(topic), Arc::clone(before)));
        }
        own.push(Arc::clone(&entry.who));
    }
    None
}
