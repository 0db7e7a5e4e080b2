//! From a scenario's model to what clusters, links and faults are made of; and what things are called in reports.

use std::time::Duration;

use switchyard::route::Phase;

use crate::{
    cluster::{
        Effect, Fault, Matching, Share,
        mirror::{
            ClusterLinking, Filter, Lag, LinkSpec, LinkStatus, MirrorMaker, MirrorState, Mode,
            Naming,
        },
    },
    scenario::{
        Scenario,
        model::{self, Condition, FaultKind, Host},
        values::Span,
    },
    serve::SharedCluster,
};

/// Records that one cluster keeps: the logs are read in the end, so nothing may be thrown away before.
pub(super) const LOG_BYTES_MAX: usize = 1 << 30;
/// One way between hosts, where the scenario says nothing else.
pub(super) const LATENCY: (Duration, Duration) =
    (Duration::from_millis(2), Duration::from_millis(4));
/// How often coordinators move when a scenario gives no time.
const COORDINATORS_EVERY_MS: u32 = 5000;

/// Makes the topics that a cluster has from the start, and lets its leaders have been through some elections.
pub(super) fn furnish(scenario: &Scenario, name: &str, cluster: SharedCluster) -> SharedCluster {
    let section = &scenario.clusters[name];
    cluster.with(|cluster, now| {
        for topic in &scenario.topics {
            if topic.on.iter().any(|on| on == name) {
                let made =
                    cluster.create(&topic.name, topic.partitions, topic.replicas, &topic.settings);
                assert!(made, "the scenario's check lets no topic through that cannot be made");
            }
        }
        cluster.age_leaders(section.leader_epoch);
        if let Some(cold) = &section.cold {
            let (min_ms, max_ms) = ends_ms(cold);
            cluster.inject(now, Fault::Cold { min_ms, max_ms });
        }
        cluster.watch_sights();
    });
    cluster
}

/// The link of a scenario.
pub(super) fn link_spec(mirror: &model::Mirror, seed: u64) -> LinkSpec {
    let name = format!("{}-to-{}", mirror.from, mirror.to);
    let names: Vec<&str> = mirror.topics.iter().map(String::as_str).collect();
    let lag = Lag::Between(*mirror.lag.range.start(), *mirror.lag.range.end());
    let spec = LinkSpec::cluster_linking(&name, seed);
    let mode = if mirror.cluster_linking {
        let offset_sync_interval = Some(mirror.offset_sync);
        Mode::ClusterLinking(ClusterLinking { offset_sync_interval, ..ClusterLinking::default() })
    } else {
        let checkpoint_interval = Some(mirror.offset_sync);
        Mode::MirrorMaker(MirrorMaker {
            naming: Naming::Identity,
            checkpoint_interval,
            ..MirrorMaker::default()
        })
    };
    let metadata_interval = Duration::from_secs(1);
    LinkSpec { mode, topics: Filter::named(names), lag, metadata_interval, ..spec }
}

fn ms(span: Option<&Span>, random: &mut fastrand::Rng) -> u32 {
    let drawn = span.map(|span| span.draw(random)).unwrap_or_default();
    u32::try_from(drawn.as_millis()).unwrap_or(u32::MAX)
}

/// The least and the most of a range, in milliseconds.
fn ends_ms(span: &Span) -> (u32, u32) {
    let whole = |time: &Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    (whole(span.range.start()), whole(span.range.end()))
}

/// A fault as the cluster takes it.
pub(super) fn fault(fault: &model::Fault, random: &mut fastrand::Rng) -> Fault {
    let only = Matching { broker: fault.broker, api: fault.api, topic: fault.topic.clone() };
    let share = Share::per_million(u32::from(fault.percent) * 10_000);
    let requests = |effect| Fault::Requests { only: only.clone(), share, effect };
    let broker = fault.broker.unwrap_or_default();
    match fault.kind {
        FaultKind::Slow => {
            let (min_ms, max_ms) = fault.delay.as_ref().map(ends_ms).unwrap_or_default();
            requests(Effect::Delay { min_ms, max_ms })
        }
        FaultKind::Error => requests(Effect::Error(fault.error.unwrap_or(-1))),
        FaultKind::Close => requests(Effect::Close),
        FaultKind::LoseAnswer => requests(Effect::LoseAnswer),
        FaultKind::Throttle => requests(Effect::Throttle { ms: ms(fault.delay.as_ref(), random) }),
        FaultKind::FullDisk => Fault::FullDisk { broker, offline: false },
        FaultKind::ElectionStorm => {
            Fault::LeaderElections { every_ms: ms(fault.delay.as_ref(), random).max(1) }
        }
        FaultKind::MoveCoordinators => {
            let every_ms = ms(fault.delay.as_ref(), random);
            let every_ms = if every_ms == 0 { COORDINATORS_EVERY_MS } else { every_ms };
            Fault::CoordinatorsMove { every_ms }
        }
        FaultKind::StaleMetadata => Fault::StaleMetadata { broker },
    }
}

/// What a fault is called in reports.
pub fn fault_label(fault: &model::Fault) -> String {
    let what = match fault.kind {
        FaultKind::Slow => "answers are late",
        FaultKind::Error => "requests get an error",
        FaultKind::Close => "connections are closed instead of answers",
        FaultKind::LoseAnswer => "answers are lost",
        FaultKind::FullDisk => "the disk is full",
        FaultKind::ElectionStorm => "leaders move all the time",
        FaultKind::MoveCoordinators => "coordinators move",
        FaultKind::Throttle => "clients are throttled",
        FaultKind::StaleMetadata => "metadata is old",
    };
    let broker = fault.broker.map(|broker| format!(" on broker {broker}")).unwrap_or_default();
    let share =
        if fault.percent < 100 { format!(", {} % of them", fault.percent) } else { String::new() };
    format!("{what}{broker}{share}")
}

/// Every mirror topic has everything.
pub(super) fn is_caught_up(status: &LinkStatus) -> bool {
    status.connected
        && status.topics.iter().flat_map(|topic| &topic.partitions).all(|it| it.unreplicated == 0)
}

/// Every mirror topic is writable.
pub(super) fn is_promoted(status: &LinkStatus) -> bool {
    status.topics.iter().all(|topic| topic.state == MirrorState::Stopped)
}

/// What a condition is called in reports.
pub fn condition_label(condition: &Condition) -> String {
    match condition {
        Condition::Drained(route) => format!("{route} has nothing in flight"),
        Condition::Serving(route) => format!("every session of {route} is at its target"),
        Condition::CaughtUp => "the mirror has everything".to_owned(),
        Condition::Promoted => "the mirror topics are writable".to_owned(),
    }
}

/// `serving`, `fenced`, …
pub(super) fn phase_label(phase: Phase) -> String {
    serde_json::to_value(phase)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The usual latency of a link: the upper end of its range.
pub(super) fn latency_between(scenario: &Scenario, a: &Host, b: &Host) -> Duration {
    latency_range(scenario, a, b).1
}

/// How long a message takes one way between two hosts, at least and at most: what the scenario says of their link.
pub fn latency_range(scenario: &Scenario, a: &Host, b: &Host) -> (Duration, Duration) {
    let covers = |end: &Host, host: &Host| {
        end == host || (*end == Host::Gateways && matches!(host, Host::Gateway(_)))
    };
    let own = scenario.links.iter().rev().find(|link| {
        let [one, other] = &link.between;
        (covers(one, a) && covers(other, b)) || (covers(one, b) && covers(other, a))
    });
    own.map_or(LATENCY, |link| link.latency.range.clone().into_inner())
}
