//! The timeline of a scenario.

use std::time::Duration;

use kafka_protocol::{ResponseError, messages::ApiKey};
use switchyard::config::{model::FenceMode, strict::Path};

use super::{
    check::{Checker, count},
    model::{Action, Condition, Fault, FaultKind, Step, When},
    raw,
    values::Span,
};

/// How long an operator waits by default.
const AWAIT_MAX: Duration = Duration::from_mins(1);
/// How long a restarted gateway is away by default.
const DOWN: Duration = Duration::from_secs(3);

pub(super) fn timeline(
    checker: &mut Checker<'_>,
    raw: &raw::Scenario,
    duration: Option<Duration>,
) -> Vec<Step> {
    let path = Path::root().key("timeline");
    let mut steps = Vec::new();
    for (index, step) in raw.timeline.iter().flatten().enumerate() {
        let path = path.index(index);
        let when = when(checker, &path, step, duration);
        let actions = actions(checker, &path, step);
        if actions.len() != 1 {
            let problem = match actions.len() {
                0 => "says when, but not what",
                _ => "says several things at once",
            };
            let remedy = "write exactly one action, such as `switchover`, besides `at` or `after`";
            checker.findings.fault(&path, problem, remedy);
        }
        if let (Some(when), Some(Some(action))) = (when, actions.into_iter().next()) {
            steps.push(Step { when, action, path: path.to_string() });
        }
    }
    steps
}

fn when(
    checker: &mut Checker<'_>,
    path: &Path,
    step: &raw::Step,
    duration: Option<Duration>,
) -> Option<When> {
    match (&step.at, &step.after) {
        (Some(_), None) => {
            let at = checker.span(&path.key("at"), step.at.as_ref())?;
            if duration.is_some_and(|duration| *at.range.end() > duration) {
                let remedy = "write an earlier time, or a longer `duration`";
                checker.findings.fault(&path.key("at"), "is behind the end of the run", remedy);
            }
            Some(When::At(at))
        }
        (None, Some(_)) => checker.span(&path.key("after"), step.after.as_ref()).map(When::After),
        (None, None) => Some(When::After(Span::fixed(Duration::ZERO))),
        (Some(_), Some(_)) => {
            checker.findings.fault(path, "has `at` and `after`", "keep one of them");
            None
        }
    }
}

/// Every action that the step has; `None` for one that is at fault.
fn actions(checker: &mut Checker<'_>, path: &Path, step: &raw::Step) -> Vec<Option<Action>> {
    let mut actions = network_actions(checker, path, step);
    actions.extend(cluster_actions(checker, path, step));
    actions.extend(operator_actions(checker, path, step));
    actions
}

fn network_actions(
    checker: &mut Checker<'_>,
    path: &Path,
    step: &raw::Step,
) -> Vec<Option<Action>> {
    let mut actions = Vec::new();
    if let Some(it) = &step.black_hole {
        let path = path.key("black-hole");
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        let times = u32::try_from(it.times.unwrap_or(1)).unwrap_or(1);
        if times > 1 && it.r#for.is_none() {
            checker.findings.fault(
                &path.key("for"),
                "is missing",
                "write how long each time lasts",
            );
        }
        let between = checker.hosts(&path, it.between.as_ref());
        actions.push(between.map(|between| Action::BlackHole {
            between,
            lasts,
            times,
            one_way: it.one_way.unwrap_or(false),
        }));
    }
    if let Some(it) = &step.region_down {
        let path = path.key("region-down");
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        let cluster = checker.cluster(&path.key("cluster"), it.cluster.as_ref());
        actions.push(cluster.map(|cluster| Action::RegionDown { cluster, lasts }));
    }
    if let Some(it) = &step.refuse {
        let path = path.key("refuse");
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        let cluster = checker.cluster(&path.key("cluster"), it.cluster.as_ref());
        actions.push(cluster.map(|cluster| Action::Refuse { cluster, lasts }));
    }
    if let Some(it) = &step.slow {
        let path = path.key("slow");
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        let latency = checker.time(&path.key("latency"), it.latency.as_ref());
        let between = checker.hosts(&path, it.between.as_ref());
        let both = between.zip(latency);
        actions.push(both.map(|(between, latency)| Action::Slow { between, latency, lasts }));
    }
    if let Some(it) = &step.reset {
        let path = path.key("reset");
        if it.r#for.is_some() || it.times.is_some() || it.one_way.is_some() {
            checker.findings.fault(&path, "takes no time", "keep `between` only");
        }
        let between = checker.hosts(&path, it.between.as_ref());
        actions.push(between.map(|between| Action::Reset { between }));
    }
    actions
}

fn cluster_actions(
    checker: &mut Checker<'_>,
    path: &Path,
    step: &raw::Step,
) -> Vec<Option<Action>> {
    let mut actions = Vec::new();
    if let Some(it) = &step.kill_broker {
        let path = path.key("kill-broker");
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        actions.push(broker(checker, &path, it).map(|(cluster, broker)| Action::KillBroker {
            cluster,
            broker,
            lasts,
        }));
    }
    if let Some(it) = &step.stop_broker {
        let path = path.key("stop-broker");
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        actions.push(broker(checker, &path, it).map(|(cluster, broker)| Action::StopBroker {
            cluster,
            broker,
            lasts,
        }));
    }
    if let Some(it) = &step.start_broker {
        let path = path.key("start-broker");
        let started = broker(checker, &path, it);
        actions.push(started.map(|(cluster, broker)| Action::StartBroker { cluster, broker }));
    }
    if let Some(it) = &step.inject {
        actions.push(inject(checker, &path.key("inject"), it));
    }
    for (key, it) in [("promote", &step.promote), ("failover", &step.failover)] {
        if let Some(it) = it {
            let path = path.key(key);
            needs_mirror(checker, &path);
            let topics = checker.topics(&path.key("topics"), it.topics.as_ref());
            actions.push(Some(match key {
                "promote" => Action::Promote { topics },
                _ => Action::Failover { topics },
            }));
        }
    }
    if step.reverse_mirror.is_some() {
        needs_mirror(checker, &path.key("reverse-mirror"));
        actions.push(Some(Action::ReverseMirror));
    }
    if let Some(it) = &step.stall_consumer {
        let path = path.key("stall-consumer");
        let names = checker.consumer_names.clone();
        let known = it.consumer.as_ref().filter(|name| {
            let names = names.iter().map(String::as_str);
            checker.known(&path.key("consumer"), "consumer", name, names)
        });
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        let both = known.cloned().zip(lasts);
        actions.push(both.map(|(consumer, lasts)| Action::StallConsumer { consumer, lasts }));
    }
    actions
}

fn operator_actions(
    checker: &mut Checker<'_>,
    path: &Path,
    step: &raw::Step,
) -> Vec<Option<Action>> {
    let mut actions = Vec::new();
    if let Some(it) = &step.kill_gateway {
        let path = path.key("kill-gateway");
        let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
        let instance = instance(checker, &path, it.instance);
        actions.push(instance.map(|instance| Action::KillGateway { instance, lasts }));
    }
    if let Some(it) = &step.restart_gateway {
        let path = path.key("restart-gateway");
        let route = checker.route(&path.key("route"), it.route.as_ref());
        let to = checker.cluster(&path.key("to"), it.to.as_ref());
        if it.route.is_some() != it.to.is_some() {
            let remedy = "write both, or neither for a restart with the file as it is";
            checker.findings.fault(&path, "has only one of `route` and `to`", remedy);
        }
        let down = checker.span(&path.key("down"), it.down.as_ref());
        let instance = instance(checker, &path, it.instance);
        let down = down.unwrap_or(Span::fixed(DOWN));
        actions.push(Some(Action::RestartGateway { instance, edit: route.zip(to), down }));
    }
    if let Some(it) = &step.fence {
        let path = path.key("fence");
        let mode = it.mode.map_or(FenceMode::Hold, fence_mode);
        let instance = instance(checker, &path, it.instance);
        let route = checker.route(&path.key("route"), it.route.as_ref());
        actions.push(route.map(|route| Action::Fence { route, mode, instance }));
    }
    if let Some(it) = &step.unfence {
        let path = path.key("unfence");
        let instance = instance(checker, &path, it.instance);
        let route = checker.route(&path.key("route"), it.route.as_ref());
        actions.push(route.map(|route| Action::Unfence { route, instance }));
    }
    if let Some(it) = &step.switchover {
        let path = path.key("switchover");
        let route = checker.route(&path.key("route"), it.route.as_ref());
        let to = checker.cluster(&path.key("to"), it.to.as_ref());
        let drain = checker.time(&path.key("drain"), it.drain.as_ref());
        let instance = instance(checker, &path, it.instance);
        let fence = it.fence.map(fence_mode);
        actions.push(route.zip(to).map(|(route, to)| Action::Switchover {
            route,
            to,
            fence,
            drain,
            instance,
        }));
    }
    if let Some(it) = &step.r#await {
        actions.push(wait(checker, &path.key("await"), it));
    }
    actions
}

fn wait(checker: &mut Checker<'_>, path: &Path, it: &raw::Await) -> Option<Action> {
    let at_most = checker.time(&path.key("at-most"), it.at_most.as_ref()).unwrap_or(AWAIT_MAX);
    let route = checker.route(&path.key("route"), it.route.as_ref());
    let needs_route = matches!(it.r#for?, raw::Condition::Drained | raw::Condition::Serving);
    if needs_route && it.route.is_none() {
        checker.findings.fault(&path.key("route"), "is missing", "write which route is meant");
    } else if !needs_route {
        needs_mirror(checker, path);
    }
    let what = match it.r#for? {
        raw::Condition::Drained => Condition::Drained(route?),
        raw::Condition::Serving => Condition::Serving(route?),
        raw::Condition::CaughtUp => Condition::CaughtUp,
        raw::Condition::Promoted => Condition::Promoted,
    };
    Some(Action::Await { what, at_most })
}

fn needs_mirror(checker: &mut Checker<'_>, path: &Path) {
    if !checker.has_mirror {
        checker.findings.fault(path, "needs a mirror", "write a section `mirror`");
    }
}

fn fence_mode(mode: raw::FenceMode) -> FenceMode {
    match mode {
        raw::FenceMode::Hold => FenceMode::Hold,
        raw::FenceMode::Error => FenceMode::Error,
    }
}

fn instance(checker: &mut Checker<'_>, path: &Path, written: Option<i64>) -> Option<usize> {
    let instance = count(Some(written?), 0);
    if !(1..=checker.instances).contains(&instance) {
        let problem = format!("there is no instance {instance}");
        let remedy = format!("write 1 to {}, or more `instances`", checker.instances);
        checker.findings.fault(&path.key("instance"), problem, remedy);
        return None;
    }
    Some(instance)
}

fn broker(checker: &mut Checker<'_>, path: &Path, it: &raw::Broker) -> Option<(String, i32)> {
    let cluster = checker.cluster(&path.key("cluster"), it.cluster.as_ref())?;
    Some((cluster.clone(), node(checker, &path.key("broker"), &cluster, it.broker?)?))
}

fn node(checker: &mut Checker<'_>, path: &Path, cluster: &str, written: i64) -> Option<i32> {
    let brokers = checker.clusters.get(cluster)?.brokers.clone();
    let id = i32::try_from(written).ok().filter(|id| brokers.contains(id));
    if id.is_none() {
        let first = brokers.first().copied().unwrap_or_default();
        let last = brokers.last().copied().unwrap_or_default();
        let problem = format!("`{cluster}` has no broker {written}");
        checker.findings.fault(path, problem, format!("write {first} to {last}"));
    }
    id
}

fn inject(checker: &mut Checker<'_>, path: &Path, it: &raw::Inject) -> Option<Action> {
    let cluster = checker.cluster(&path.key("cluster"), it.cluster.as_ref());
    let lasts = checker.span(&path.key("for"), it.r#for.as_ref());
    let delay = checker.span(&path.key("delay"), it.delay.as_ref());
    let topic = checker.topic(&path.key("topic"), it.topic.as_ref());
    let api = checker.read(
        &path.key("api"),
        it.api.as_ref(),
        api_key,
        "the name of an API, such as `Produce`",
    );
    let error = checker.read(
        &path.key("error"),
        it.error.as_ref(),
        error_code,
        "the name of a Kafka error",
    );
    let kind = match it.fault? {
        raw::FaultKind::Slow => FaultKind::Slow,
        raw::FaultKind::Error => FaultKind::Error,
        raw::FaultKind::Close => FaultKind::Close,
        raw::FaultKind::LoseAnswer => FaultKind::LoseAnswer,
        raw::FaultKind::FullDisk => FaultKind::FullDisk,
        raw::FaultKind::ElectionStorm => FaultKind::ElectionStorm,
        raw::FaultKind::MoveCoordinators => FaultKind::MoveCoordinators,
        raw::FaultKind::Throttle => FaultKind::Throttle,
        raw::FaultKind::StaleMetadata => FaultKind::StaleMetadata,
    };
    let mut needs = |key: &str, there: bool| {
        if !there {
            let problem = "is missing";
            checker.findings.fault(
                &path.key(key),
                problem,
                format!("write `{key}` for this fault"),
            );
        }
    };
    match kind {
        FaultKind::Slow | FaultKind::Throttle | FaultKind::ElectionStorm => {
            needs("delay", it.delay.is_some());
        }
        FaultKind::Error => needs("error", it.error.is_some()),
        FaultKind::FullDisk | FaultKind::StaleMetadata => needs("broker", it.broker.is_some()),
        FaultKind::Close | FaultKind::LoseAnswer | FaultKind::MoveCoordinators => {}
    }
    let cluster = cluster?;
    let broker = match it.broker {
        Some(written) => Some(node(checker, &path.key("broker"), &cluster, written)?),
        None => None,
    };
    let percent = it.percent.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(100);
    let fault = Fault { kind, broker, api, topic, error, percent, delay };
    Some(Action::Inject { cluster, fault, lasts })
}

fn api_key(name: &str) -> Option<i16> {
    ApiKey::iter()
        .map(|key| key as i16)
        .find(|key| switchyard::wire::api::name(*key).is_some_and(|known| known == name))
}

/// `NOT_LEADER_OR_FOLLOWER` → 6.
fn error_code(name: &str) -> Option<i16> {
    let wanted: String =
        name.chars().filter(|c| *c != '_').collect::<String>().to_ascii_lowercase();
    (-1..=200_i16).filter(|code| *code != 0).find(|code| {
        ResponseError::try_from_code(*code)
            .is_some_and(|error| format!("{error:?}").to_ascii_lowercase() == wanted)
    })
}
