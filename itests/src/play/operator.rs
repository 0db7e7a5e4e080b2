//! The timeline of a play: what breaks, and what the operator does by the control API. Notes are worded as in rehearsals.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use switchyard::driver::status::RouteStatus;
use switchyard_sim::{
    oracle::history::What,
    random,
    rehearsal::{condition_label, latency_range},
    scenario::{
        Scenario,
        model::{Action, Condition, Host, Step, When},
        values::Span,
    },
};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    clients::Clients,
    link::{Direction, Link},
    world::World,
};
use crate::Result;

/// Times within ranges are drawn as in the first run of a rehearsal.
const SEED: u64 = 1;
/// How often an operator who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Plays a timeline. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Operator {
    world: Arc<World>,
    clients: Arc<Mutex<Option<Clients>>>,
    /// Everything was mended; nothing may break any more.
    over: Arc<AtomicBool>,
    /// What is still broken and has to be mended at the end, in the order in which it broke.
    broken: Arc<Mutex<Vec<Option<Undo>>>>,
    /// One broker is stopped or started at a time.
    brokers: Arc<tokio::sync::Mutex<()>>,
}

/// How to mend what a step broke.
#[derive(Clone, Debug)]
enum Undo {
    Release(Host, Host),
    Mend(String),
    Latency(Host, Host),
    StartBroker(String, i32),
    StartGateway(usize),
    Accept(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of a timeline cannot be played on clusters with these nodes: one line a step.
pub(super) fn unplayable(scenario: &Scenario, has_node: impl Fn(&str, i32) -> bool) -> Vec<String> {
    let fault = |step: &Step| match &step.action {
        Action::Inject { .. } => Some(format!(
            "{}: `inject` has no counterpart on real Kafka: leave the step out, or rehearse the scenario",
            step.path
        )),
        Action::KillBroker { cluster, broker, .. }
        | Action::StopBroker { cluster, broker, .. }
        | Action::StartBroker { cluster, broker }
            if !has_node(cluster, *broker) =>
        {
            Some(format!("{}: {cluster} has no broker {broker} here: free some memory", step.path))
        }
        Action::Promote { topics } | Action::Failover { topics } if !topics.is_empty() => Some(
            format!("{}: MirrorMaker stops for all topics or none: leave `topics` out", step.path),
        ),
        _ => None,
    };
    scenario.timeline.iter().filter_map(fault).collect()
}

impl Operator {
    pub(super) fn new(world: &Arc<World>, clients: &Arc<Mutex<Option<Clients>>>) -> Self {
        Self {
            world: Arc::clone(world),
            clients: Arc::clone(clients),
            over: Arc::default(),
            broken: Arc::default(),
            brokers: Arc::default(),
        }
    }

    /// Plays the whole timeline, then waits for the end of the run.
    pub(super) async fn play(&self) -> Result<()> {
        let scenario = &self.world.scenario;
        let start = Instant::now();
        for (index, step) in scenario.timeline.iter().enumerate() {
            let name = format!("{}/{index}", scenario.name);
            let mut random = random::stream(SEED, "timeline", &name);
            match &step.when {
                When::At(span) => sleep_until(start + span.draw(&mut random)).await,
                When::After(span) => sleep(span.draw(&mut random)).await,
            }
            let done = self.act(step, &mut random).await;
            done.map_err(|why| format!("{}: {why}", step.path))?;
        }
        sleep_until(start + scenario.duration).await;
        Ok(())
    }

    /// Mends everything that is still broken.
    pub(super) async fn mend_all(&self) {
        self.over.store(true, Ordering::Relaxed);
        let broken: Vec<_> = lock(&self.broken).drain(..).flatten().collect();
        for undo in broken {
            self.undo(undo).await;
        }
    }

    fn note(&self, text: impl Into<Arc<str>>) {
        self.world.recorder.note("operator", text);
    }

    fn broke(&self, what: impl Into<Arc<str>>) {
        self.world.recorder.note("network", what);
    }

    /// Has something mended after a while, or at the end.
    fn later(&self, undo: Undo, lasts: Option<Duration>) {
        let place = {
            let mut broken = lock(&self.broken);
            broken.push(Some(undo));
            broken.len() - 1
        };
        let Some(lasts) = lasts else { return };
        let own = self.clone();
        tokio::spawn(async move {
            sleep(lasts).await;
            let undo = lock(&own.broken).get_mut(place).and_then(Option::take);
            if let Some(undo) = undo {
                own.undo(undo).await;
            }
        });
    }

    async fn act(&self, step: &Step, random: &mut fastrand::Rng) -> Result<()> {
        let mut draw = |span: &Option<Span>| span.as_ref().map(|span| span.draw(random));
        match &step.action {
            Action::BlackHole { between: [a, b], lasts, times, one_way } => {
                self.flap(a, b, draw(lasts), (*times, *one_way));
            }
            Action::RegionDown { cluster, lasts } => {
                self.broke(format!("{cluster}: the region goes silent"));
                self.world.network.of_cluster(cluster).iter().for_each(Link::hold_both);
                self.later(Undo::Mend(cluster.clone()), draw(lasts));
            }
            Action::Refuse { cluster, lasts } => {
                self.broke(format!("{cluster}: connections are reset and refused"));
                self.refusing(cluster, true);
                self.later(Undo::Accept(cluster.clone()), draw(lasts));
            }
            Action::Slow { between: [a, b], latency, lasts } => {
                self.broke(format!("{a} ↔ {b}: {latency:?} one way"));
                self.latency(a, b, (*latency, *latency));
                self.later(Undo::Latency(a.clone(), b.clone()), draw(lasts));
            }
            Action::Reset { between: [a, b] } => {
                self.broke(format!("{a} ↔ {b}: every connection is reset"));
                self.world.network.between(a, b).iter().for_each(|(link, _)| link.reset());
            }
            Action::KillBroker { cluster, broker, lasts } => {
                self.broke(format!("{cluster}: broker {broker} dies"));
                self.broker_goes(cluster, *broker, "KILL", draw(lasts)).await?;
            }
            Action::StopBroker { cluster, broker, lasts } => {
                self.note(format!("{cluster}: broker {broker} is shut down"));
                self.broker_goes(cluster, *broker, "TERM", draw(lasts)).await?;
            }
            Action::StartBroker { cluster, broker } => {
                self.undo(Undo::StartBroker(cluster.clone(), *broker)).await;
            }
            Action::KillGateway { instance, lasts } => self.kill(*instance, draw(lasts)),
            Action::RestartGateway { instance, edit, down } => {
                self.restart(*instance, edit.as_ref(), down.draw(random))?;
            }
            Action::StallConsumer { consumer, lasts } => {
                self.broke(format!("{consumer} stops polling"));
                if let Some(clients) = lock(&self.clients).as_ref() {
                    clients.stall(consumer, lasts.draw(random))?;
                }
            }
            Action::Inject { .. } => return Err("it has no counterpart".into()),
            Action::Fence { .. }
            | Action::Unfence { .. }
            | Action::Switchover { .. }
            | Action::Promote { .. }
            | Action::Failover { .. }
            | Action::ReverseMirror
            | Action::Await { .. } => self.operate(&step.action).await?,
        }
        Ok(())
    }

    /// What an operator does on purpose.
    async fn operate(&self, action: &Action) -> Result<()> {
        match action {
            Action::Fence { route, mode, instance } => {
                self.note(format!("fences {route} ({})", mode.label()));
                self.command(route, "fence", json!({ "mode": mode.label() }), *instance).await
            }
            Action::Unfence { route, instance } => {
                self.note(format!("unfences {route}"));
                self.command(route, "unfence", json!({}), *instance).await
            }
            Action::Switchover { route, to, fence, drain, instance } => {
                let on = instance.map(|i| format!(" on gateway-{i}")).unwrap_or_default();
                self.note(format!("points {route} at {to}{on}"));
                let mut body = json!({ "to": to });
                if let Some(fence) = fence {
                    body["fence"] = json!(fence.label());
                }
                if let Some(drain) = drain {
                    body["drain"] = json!(format!("{}ms", drain.as_millis()));
                }
                self.command(route, "switchover", body, *instance).await
            }
            Action::Promote { .. } => {
                self.note("promotes the mirror topics");
                let (own, world) = (self.clone(), Arc::clone(&self.world));
                tokio::spawn(async move {
                    if let Err(error) = world.promote().await {
                        own.note(format!("cannot promote: {error}"));
                    }
                });
                Ok(())
            }
            Action::Failover { .. } => {
                self.note("fails over the mirror topics");
                let unreplicated = self.world.fail_over().await?;
                self.world.recorder.record("mirror", What::MirrorCut { unreplicated });
                self.note(format!("{unreplicated} acknowledged records were not copied yet"));
                Ok(())
            }
            Action::ReverseMirror => self.reverse(),
            Action::Await { what, at_most } => self.wait(what, *at_most).await,
            _ => Ok(()),
        }
    }

    fn reverse(&self) -> Result<()> {
        self.note("reverses the mirror");
        let spec = self.world.scenario.mirror.as_ref().ok_or("there is no mirror")?;
        if self.world.network.of_mirror(&spec.from).is_some_and(Link::is_held) {
            // The other region is still away; then there is nothing to reverse yet.
            self.note(format!("cannot reverse the mirror yet: {} is out of reach", spec.from));
            return Ok(());
        }
        let (own, world) = (self.clone(), Arc::clone(&self.world));
        tokio::spawn(async move {
            match world.reverse_mirror().await {
                Ok(()) => own.note("the mirror copies the other way; nothing is cut off"),
                Err(error) => own.note(format!("cannot reverse the mirror: {error}")),
            }
        });
        Ok(())
    }

    /// Runs a command on the instances that are up.
    async fn command(
        &self,
        route: &str,
        command: &str,
        body: Value,
        instance: Option<usize>,
    ) -> Result<()> {
        if command != "fence" {
            self.world.recorder.record("operator", What::Opening { route: route.into() });
        }
        for (number, it) in (1..).zip(&self.world.instances) {
            if instance.is_some_and(|instance| instance != number) {
                continue;
            }
            if !it.runs() {
                self.note(format!("cannot reach {}", it.name));
                continue;
            }
            let done = it.command(route, command, body.clone()).await;
            done.map_err(|error| format!("{}: {error}", it.name))?;
        }
        Ok(())
    }

    async fn wait(&self, what: &Condition, at_most: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let reached = match what {
                Condition::Drained(route) => {
                    self.all_routes(route, |status| {
                        let sessions = &status.observed.sessions;
                        sessions.in_flight == 0 && sessions.sessions_behind == 0
                    })
                    .await
                }
                Condition::Serving(route) => {
                    self.all_routes(route, |status| {
                        status.observed.sessions.sessions_on_old_target == 0
                            && status.observed.domain == status.desired.target.domain
                    })
                    .await
                }
                Condition::CaughtUp => self.world.round().await == Some(0),
                Condition::Promoted => self.world.mirror.is_promoted(),
            };
            let waited = start.elapsed();
            if reached {
                self.note(format!("{} after {waited:?}", condition_label(what)));
                return Ok(());
            }
            if waited > at_most {
                let why = match what {
                    Condition::CaughtUp => self.world.why_not_caught_up().await,
                    _ => String::new(),
                };
                let label = condition_label(what);
                return Err(format!("waited {at_most:?} in vain: {label}{why}").into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn all_routes(&self, route: &str, holds: impl Fn(&RouteStatus) -> bool) -> bool {
        for instance in self.world.instances.iter().filter(|instance| instance.runs()) {
            let Ok(status) = instance.status().await else { continue };
            let own = status.routes.iter().find(|status| &*status.name == route);
            if !own.is_some_and(&holds) {
                return false;
            }
        }
        true
    }

    fn flap(&self, a: &Host, b: &Host, lasts: Option<Duration>, (times, one_way): (u32, bool)) {
        let (own, a, b) = (self.clone(), a.clone(), b.clone());
        let over = Arc::clone(&self.over);
        let hole = move || {
            let arrow = if one_way { "→" } else { "↔" };
            own.broke(format!("{a} {arrow} {b}: black hole"));
            for (link, direction) in own.world.network.between(&a, &b) {
                if one_way {
                    link.hold(direction);
                } else {
                    link.hold_both();
                }
            }
            own.later(Undo::Release(a.clone(), b.clone()), lasts);
        };
        hole();
        let Some(lasts) = lasts.filter(|_| times > 1) else { return };
        tokio::spawn(async move {
            for _ in 1..times {
                sleep(lasts * 2).await;
                if over.load(Ordering::Relaxed) {
                    return;
                }
                hole();
            }
        });
    }

    fn refusing(&self, cluster: &str, refuse: bool) {
        self.world.network.of_clients(cluster).iter().for_each(|link| link.refuse(refuse));
    }

    fn latency(&self, a: &Host, b: &Host, latency: (Duration, Duration)) {
        for (link, _) in self.world.network.between(a, b) {
            link.set_latency(Direction::Forth, latency);
            link.set_latency(Direction::Back, latency);
        }
    }

    /// Ends a broker, and has it come back after a while. Without a time it is gone for good, or until a step brings it back.
    async fn broker_goes(
        &self,
        cluster: &str,
        node: i32,
        signal: &str,
        lasts: Option<Duration>,
    ) -> Result<()> {
        if lasts.is_some() {
            self.later(Undo::StartBroker(cluster.to_owned(), node), lasts);
        }
        let (own, world) = (self.clone(), Arc::clone(&self.world));
        let (cluster, signal) = (cluster.to_owned(), signal.to_owned());
        let turn = Arc::clone(&self.brokers).lock_owned().await;
        tokio::spawn(async move {
            let _turn = turn;
            let running = &world.clusters[&cluster];
            let ended = match signal.as_str() {
                "KILL" => tokio::task::block_in_place(|| running.kill(node)),
                _ => running.stop(node).await,
            };
            if let Err(error) = ended {
                own.note(format!("{cluster}: broker {node} does not end: {error}"));
            }
        });
        Ok(())
    }

    fn kill(&self, number: usize, lasts: Option<Duration>) {
        let instance = &self.world.instances[number - 1];
        self.world.recorder.record(&instance.name, What::GatewayDied);
        instance.kill(&self.world.recorder);
        if lasts.is_some() {
            self.later(Undo::StartGateway(number), lasts);
        }
    }

    fn restart(
        &self,
        instance: Option<usize>,
        edit: Option<&(String, String)>,
        down: Duration,
    ) -> Result<()> {
        match edit {
            Some((route, to)) => {
                self.note(format!("restarts with {route} at {to} in the file"));
            }
            None => self.note("restarts the gateway"),
        }
        for (number, it) in (1..).zip(&self.world.instances) {
            if instance.is_some_and(|instance| instance != number) {
                continue;
            }
            if let Some((route, to)) = edit {
                it.edit(route, to)?;
            }
            let (own, world) = (self.clone(), Arc::clone(&self.world));
            tokio::spawn(async move {
                let it = &world.instances[number - 1];
                if let Err(error) = it.stop(&world.recorder).await {
                    own.note(format!("{} does not end: {error}", it.name));
                }
                world.recorder.note(&it.name, "is shut down in order");
                sleep(down).await;
                own.start_gateway(number).await;
            });
        }
        Ok(())
    }

    async fn start_gateway(&self, number: usize) {
        let instance = &self.world.instances[number - 1];
        match instance.start().await {
            Ok(()) => self.world.recorder.note(&instance.name, "is up"),
            Err(error) => self.note(format!("{} does not start: {error}", instance.name)),
        }
    }

    async fn undo(&self, undo: Undo) {
        let network = &self.world.network;
        match undo {
            Undo::Release(a, b) => {
                self.broke(format!("{a} ↔ {b}: carries again"));
                network.between(&a, &b).iter().for_each(|(link, _)| link.release());
            }
            Undo::Mend(cluster) => {
                self.broke(format!("{cluster}: the region is back"));
                network.of_cluster(&cluster).iter().for_each(Link::release);
            }
            Undo::Latency(a, b) => {
                self.broke(format!("{a} ↔ {b}: as fast as before"));
                self.latency(&a, &b, latency_range(&self.world.scenario, &a, &b));
            }
            Undo::StartBroker(cluster, node) => {
                let _turn = self.brokers.lock().await;
                self.note(format!("{cluster}: broker {node} comes back"));
                let running = &self.world.clusters[&cluster];
                let started = running.start_again(node).await;
                let found = started.and_then(|()| network.broker_moved(&cluster, node, running));
                if let Err(error) = found {
                    self.note(format!("{cluster}: broker {node} does not start: {error}"));
                }
            }
            Undo::StartGateway(number) => self.start_gateway(number).await,
            Undo::Accept(cluster) => {
                self.broke(format!("{cluster}: accepts connections again"));
                self.refusing(&cluster, false);
            }
        }
    }
}
