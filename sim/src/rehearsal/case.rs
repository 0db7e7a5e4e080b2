//! What a run is judged by, whoever plays it: a rehearsal, or a play on real Kafka.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use switchyard::driver::status::RouteStatus;

use super::{clients::names, setting};
use crate::{
    oracle::{Case, GroupHome, Home, history::What},
    scenario::{
        Scenario,
        model::{Action, Entry},
    },
};

/// How a run has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// By route: the cluster that it points at in the end. Of routes that are missing it is the one in the file.
    pub targets: BTreeMap<String, String>,
    /// When the recovery phase began.
    pub recovery_began: Duration,
    /// When everything was over.
    pub ended: Duration,
    /// The longest time that a message takes one way.
    pub latency_max: Duration,
}

/// What the judge has to know about a run besides its history.
pub fn case(scenario: &Scenario, ended: &Ended) -> Case {
    let home = |entry: &Entry| -> (String, Option<String>) {
        match entry {
            Entry::Route(route) => (target(scenario, ended, route), Some(route.clone())),
            Entry::Cluster(name) => (name.clone(), None),
        }
    };
    let mut case = Case {
        recovery_began: ended.recovery_began,
        ended: ended.ended,
        latency_max: ended.latency_max,
        parked_bytes_max: parked_bytes_max(scenario),
        mirrored: scenario.mirror.is_some(),
        switches_back: switches_back(scenario),
        ..Case::default()
    };
    for producer in &scenario.producers {
        let (cluster, route) = home(&producer.entry);
        for name in names(&producer.name, producer.count) {
            let home = Home {
                topic: producer.topic.as_str().into(),
                cluster: cluster.as_str().into(),
                route: route.as_deref().map(Into::into),
            };
            case.producers.insert(name.into(), home);
        }
    }
    for consumer in &scenario.consumers {
        let (cluster, _) = home(&consumer.entry);
        let group: Arc<str> = consumer.settings["group.id"].as_str().into();
        let topics = consumer.topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
        let home = GroupHome { topics, cluster: cluster.as_str().into() };
        case.groups.insert(Arc::clone(&group), home);
        for name in names(&consumer.name, consumer.count) {
            case.members.insert(name.into(), Arc::clone(&group));
        }
    }
    case
}

/// Where a route points in the end; what nobody could tell is where the file points.
fn target(scenario: &Scenario, ended: &Ended, route: &str) -> String {
    let in_file =
        || scenario.gateway.routes.get(route).map(|route| route.target.domain.to_string());
    ended.targets.get(route).cloned().or_else(in_file).unwrap_or_default()
}

fn parked_bytes_max(scenario: &Scenario) -> u64 {
    let routes = scenario.gateway.routes.values();
    routes.map(|route| route.fence_defaults.hold_bytes_max as u64).max().unwrap_or(0)
}

/// Whether a timeline points a route at a cluster that it has left.
fn switches_back(scenario: &Scenario) -> bool {
    let mut been: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for step in &scenario.timeline {
        if let Action::Switchover { route, to, instance: None, .. } = &step.action {
            let first = scenario.gateway.routes.get(route.as_str());
            let been = been.entry(route).or_default();
            been.extend(first.filter(|_| been.is_empty()).map(|route| &*route.target.domain));
            if been.contains(&to.as_str()) {
                return true;
            }
            been.push(to);
        }
    }
    false
}

/// What a gateway says of one of its routes, for histories. `name` makes the shared copies of names.
pub fn route_entry(status: &RouteStatus, name: impl Fn(&str) -> Arc<str>) -> What {
    let observed = &status.observed;
    What::Route {
        route: name(&status.name),
        domain: name(&observed.domain),
        phase: name(&setting::phase_label(observed.phase)),
        fence: (observed.gate != "open").then(|| name(&observed.gate)),
        sessions: observed.sessions.sessions as u64,
        in_flight: observed.sessions.in_flight as u64,
        parked_bytes: observed.sessions.parked_bytes as u64,
        revision: status.desired.revision,
    }
}
