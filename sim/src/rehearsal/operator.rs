//! The timeline of a scenario: what breaks, and what the operator does, through the same control type that the admin API
//! uses.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use switchyard::{
    driver::status::RouteStatus,
    route::{Command, Expect, FenceRequest, SwitchoverRequest, state::DecidedBy},
};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    setting,
    world::{BALANCER_NOTICES, Instance, World, lock},
};
use crate::{
    cluster::mirror::{LinkError, Topics},
    oracle::history::What,
    random,
    scenario::{
        model::{Action, Condition, Host, Step, When},
        values::Span,
    },
};

/// How often an operator who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What only the one who steps the simulation can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// Ends a host at once.
    Crash(String),
    /// Starts it again.
    Bounce(String),
    /// Gives a link another latency.
    Latency(String, String, Duration),
}

/// Plays a timeline. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Operator {
    world: World,
    powers: Arc<Mutex<Vec<Power>>>,
    /// What is still broken and has to be mended at the end, in the order in which it broke.
    broken: Arc<Mutex<Vec<Option<Undo>>>>,
    stall: super::clients::Stalls,
}

/// How to mend what a step broke.
#[derive(Clone, Debug)]
enum Undo {
    Release(Host, Host),
    Mend(String),
    Latency(Host, Host),
    StartBroker(String, i32),
    Heal(String, crate::cluster::FaultId),
    Bounce(usize),
    Accept(String),
}

type Fallible = Result<(), String>;

impl Operator {
    pub(super) fn new(world: World, stall: super::clients::Stalls) -> Self {
        Self { world, powers: Arc::default(), broken: Arc::default(), stall }
    }

    /// What is to be done between two steps of the simulation.
    pub(super) fn powers(&self) -> Vec<Power> {
        std::mem::take(&mut *lock(&self.powers))
    }

    /// Plays the whole timeline, then waits for the end of the run.
    ///
    /// # Errors
    /// When the operator waited in vain, or a command was refused.
    pub(super) async fn play(&self) -> Fallible {
        let scenario = Arc::clone(&self.world.scenario);
        let start = Instant::now();
        for (index, step) in scenario.timeline.iter().enumerate() {
            let mut random =
                random::stream(self.world.seed, "timeline", &format!("{}/{index}", scenario.name));
            match &step.when {
                When::At(span) => sleep_until(start + span.draw(&mut random)).await,
                When::After(span) => sleep(span.draw(&mut random)).await,
            }
            self.act(step, &mut random).await.map_err(|why| format!("{}: {why}", step.path))?;
        }
        sleep_until(start + scenario.duration).await;
        Ok(())
    }

    /// Mends everything that is still broken.
    pub(super) fn mend_all(&self) {
        let broken: Vec<_> = lock(&self.broken).drain(..).flatten().collect();
        for undo in broken {
            self.undo(undo);
        }
    }

    fn note(&self, text: String) {
        self.world.recorder.note("operator", text);
    }

    fn broke(&self, what: &str) {
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
                own.undo(undo);
            }
        });
    }

    async fn act(&self, step: &Step, random: &mut fastrand::Rng) -> Fallible {
        let mut draw = |span: &Option<Span>| span.as_ref().map(|span| span.draw(random));
        match &step.action {
            Action::BlackHole { between: [a, b], lasts, times, one_way } => {
                let lasts = draw(lasts);
                self.flap(a.clone(), b.clone(), lasts, (*times, *one_way));
            }
            Action::RegionDown { cluster, lasts } => self.region_down(cluster, draw(lasts)),
            Action::Refuse { cluster, lasts } => self.refuse(cluster, draw(lasts)),
            Action::Slow { between: [a, b], latency, lasts } => {
                self.broke(&format!("{a} ↔ {b}: {latency:?} one way"));
                self.latency(a, b, *latency);
                self.later(Undo::Latency(a.clone(), b.clone()), draw(lasts));
            }
            Action::Reset { between: [a, b] } => {
                self.broke(&format!("{a} ↔ {b}: every connection is reset"));
                for (a, b) in self.pairs(a, b) {
                    self.world.network.links.reset(a, b);
                }
            }
            Action::KillBroker { cluster, broker, lasts } => {
                self.broke(&format!("{cluster}: broker {broker} dies"));
                self.world.clusters[cluster].with(|c, now| c.kill_broker(now, *broker));
                self.broker_returns(cluster, *broker, draw(lasts));
            }
            Action::StopBroker { cluster, broker, lasts } => {
                self.note(format!("{cluster}: broker {broker} is shut down"));
                self.world.clusters[cluster].with(|c, now| c.stop_broker(now, *broker));
                self.broker_returns(cluster, *broker, draw(lasts));
            }
            Action::StartBroker { cluster, broker } => {
                self.undo(Undo::StartBroker(cluster.clone(), *broker));
            }
            Action::Inject { cluster, fault, lasts } => {
                self.broke(&format!("{cluster}: {}", setting::fault_label(fault)));
                let built = setting::fault(fault, random);
                let id = self.world.clusters[cluster].with(|c, now| c.inject(now, built));
                let lasts = lasts.as_ref().map(|span| span.draw(random));
                self.later(Undo::Heal(cluster.clone(), id), lasts);
            }
            Action::KillGateway { instance, lasts } => self.kill(*instance, draw(lasts)),
            Action::RestartGateway { instance, edit, down } => {
                self.restart(*instance, edit.as_ref(), down.draw(random))?;
            }
            Action::StallConsumer { consumer, lasts } => {
                self.broke(&format!("{consumer} stops polling"));
                self.stall.stall(consumer, lasts.draw(random));
            }
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
    async fn operate(&self, action: &Action) -> Fallible {
        match action {
            Action::Fence { route, mode, instance } => {
                let request = FenceRequest { mode: Some(*mode), ..FenceRequest::default() };
                self.note(format!("fences {route} ({})", mode.label()));
                self.command(route, &Command::Fence(request), *instance).await
            }
            Action::Unfence { route, instance } => {
                self.note(format!("unfences {route}"));
                self.command(route, &Command::Unfence, *instance).await
            }
            Action::Switchover { route, to, fence, drain, instance } => {
                let on = instance.map(|i| format!(" on gateway-{i}")).unwrap_or_default();
                self.note(format!("points {route} at {to}{on}"));
                let to: Arc<str> = to.as_str().into();
                let request = SwitchoverRequest {
                    to,
                    bootstrap_server_id: None,
                    fence: *fence,
                    drain: *drain,
                };
                self.command(route, &Command::Switchover(request), *instance).await
            }
            Action::Promote { .. } if !self.links_clusters() => {
                self.stop_when_complete();
                Ok(())
            }
            Action::Promote { topics } => self.mirror(topics, "promotes", true),
            Action::Failover { topics } => self.mirror(topics, "fails over", false),
            Action::ReverseMirror if !self.links_clusters() => {
                self.note(
                    "MirrorMaker is not turned round; a second one is not rehearsed".to_owned(),
                );
                Ok(())
            }
            Action::ReverseMirror => {
                self.note("reverses the mirror".to_owned());
                let link = self.world.link.as_ref().ok_or("there is no mirror")?;
                let cut = link.with(|link, a, b, now| link.reverse(now, a, b, Topics::All));
                match cut {
                    Ok(cut) => {
                        let records: u64 = cut.iter().map(|it| it.records + it.unconfirmed).sum();
                        self.note(format!("{records} records were cut off the former source"));
                        Ok(())
                    }
                    // The other region may still be away; then there is nothing to reverse yet.
                    Err(error @ LinkError::SourceUnavailable { .. }) => {
                        self.note(format!("cannot reverse the mirror yet: {error}"));
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
            Action::Await { what, at_most } => self.wait(what, *at_most).await,
            _ => Ok(()),
        }
    }

    fn mirror(&self, topics: &[String], verb: &str, in_order: bool) -> Fallible {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let which = if names.is_empty() { Topics::All } else { Topics::Named(&names) };
        self.note(format!("{verb} the mirror topics"));
        let link = self.world.link.as_ref().ok_or("there is no mirror")?;
        if in_order {
            let done = link.with(|link, a, b, now| link.promote(now, a, b, which));
            return done.map_err(|error| error.to_string());
        }
        let missing = link.with(|link, a, b, now| link.failover(now, a, b, which));
        let missing = missing.map_err(|error| error.to_string())?;
        let unreplicated = missing.iter().map(|it| it.records).sum();
        self.world.recorder.record("mirror", What::MirrorCut { unreplicated });
        self.note(format!("{unreplicated} acknowledged records were not copied yet"));
        Ok(())
    }

    /// Whether the mirror behaves as Cluster Linking.
    fn links_clusters(&self) -> bool {
        self.world.scenario.mirror.as_ref().is_some_and(|mirror| mirror.cluster_linking)
    }

    /// The promotion that MirrorMaker has: it is stopped once it has everything and has carried the groups' offsets over.
    /// These are read in one interval and written in the next.
    fn stop_when_complete(&self) {
        self.note("promotes the mirror topics".to_owned());
        let own = self.clone();
        tokio::spawn(async move {
            while !own.link_is(setting::is_caught_up) {
                sleep(LOOK_EVERY).await;
            }
            let sync = own.world.scenario.mirror.as_ref().map(|mirror| mirror.offset_sync);
            sleep(sync.unwrap_or_default() * 2).await;
            let link = own.world.link.as_ref();
            let stopped =
                link.map(|link| link.with(|link, a, b, now| link.failover(now, a, b, Topics::All)));
            let text = match stopped {
                Some(Err(error)) => error.to_string(),
                _ => "is stopped; its topics were writable all the time".to_owned(),
            };
            own.world.recorder.note("mirror", text);
        });
    }

    /// Runs a command on the instances that are up.
    async fn command(&self, route: &str, command: &Command, instance: Option<usize>) -> Fallible {
        if matches!(command, Command::Unfence | Command::Switchover(_)) {
            let route = self.world.recorder.name(route);
            self.world.recorder.record("operator", What::Opening { route });
        }
        for (number, it) in (1..).zip(&self.world.instances) {
            if instance.is_some_and(|instance| instance != number) {
                continue;
            }
            let Some(control) = it.control() else {
                self.note(format!("cannot reach {}", it.host));
                continue;
            };
            let done = control.command(route, command.clone(), Expect::default(), DecidedBy::Api);
            if let Err(error) = done.await {
                return Err(format!("{}: {error}", it.host));
            }
        }
        Ok(())
    }

    async fn wait(&self, what: &Condition, at_most: Duration) -> Fallible {
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
                Condition::CaughtUp => self.link_is(setting::is_caught_up),
                Condition::Promoted => self.link_is(setting::is_promoted),
            };
            let waited = start.elapsed();
            if reached {
                self.note(format!("{} after {waited:?}", setting::condition_label(what)));
                return Ok(());
            }
            if waited > at_most {
                return Err(format!(
                    "waited {at_most:?} in vain: {}",
                    setting::condition_label(what)
                ));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn link_is(&self, holds: fn(&crate::cluster::mirror::LinkStatus) -> bool) -> bool {
        let link = self.world.link.as_ref();
        link.is_some_and(|link| link.with(|link, a, b, now| holds(&link.status(now, a, b))))
    }

    async fn all_routes(&self, route: &str, holds: impl Fn(&RouteStatus) -> bool) -> bool {
        for instance in &self.world.instances {
            let Some(control) = instance.control() else { continue };
            let Some(status) = control.status().await else { continue };
            let own = status.routes.iter().find(|status| &*status.name == route);
            if !own.is_some_and(&holds) {
                return false;
            }
        }
        true
    }

    fn flap(&self, a: Host, b: Host, lasts: Option<Duration>, (times, one_way): (u32, bool)) {
        let own = self.clone();
        let hole = move || {
            let arrow = if one_way { "→" } else { "↔" };
            own.broke(&format!("{a} {arrow} {b}: black hole"));
            for (a, b) in own.pairs(&a, &b) {
                if one_way {
                    own.world.network.links.hold_one_way(a, b);
                } else {
                    own.world.network.links.hold(a, b);
                }
            }
            own.later(Undo::Release(a.clone(), b.clone()), lasts);
        };
        hole();
        let Some(lasts) = lasts.filter(|_| times > 1) else { return };
        tokio::spawn(async move {
            for _ in 1..times {
                sleep(lasts * 2).await;
                hole();
            }
        });
    }

    fn region_down(&self, cluster: &str, lasts: Option<Duration>) {
        self.broke(&format!("{cluster}: the region goes silent"));
        let own = Host::Cluster(cluster.to_owned());
        for other in [Host::Clients, Host::Gateways] {
            for (a, b) in self.pairs(&own, &other) {
                self.world.network.links.hold(a, b);
            }
        }
        if let Some(link) = &self.world.link {
            link.with(|link, a, b, now| link.sever(now, a, b));
        }
        self.later(Undo::Mend(cluster.to_owned()), lasts);
    }

    fn refuse(&self, cluster: &str, lasts: Option<Duration>) {
        self.broke(&format!("{cluster}: connections are reset and refused"));
        self.refusing(cluster, true);
        self.later(Undo::Accept(cluster.to_owned()), lasts);
    }

    fn refusing(&self, cluster: &str, refuse: bool) {
        let own = Host::Cluster(cluster.to_owned());
        for other in [Host::Clients, Host::Gateways] {
            for (a, b) in self.pairs(&own, &other) {
                self.world.network.links.refuse(a, b, refuse);
            }
        }
    }

    fn latency(&self, a: &Host, b: &Host, latency: Duration) {
        let mut powers = lock(&self.powers);
        for a in self.names(a) {
            for b in self.names(b) {
                powers.push(Power::Latency(a.clone(), b, latency));
            }
        }
    }

    fn broker_returns(&self, cluster: &str, broker: i32, lasts: Option<Duration>) {
        // Without a time it is gone for good, or until a step brings it back.
        if lasts.is_some() {
            self.later(Undo::StartBroker(cluster.to_owned(), broker), lasts);
        }
    }

    fn instance(&self, number: usize) -> &Instance {
        &self.world.instances[number - 1]
    }

    fn kill(&self, number: usize, lasts: Option<Duration>) {
        let instance = self.instance(number);
        self.world.recorder.record(&instance.host, What::GatewayDied);
        instance.died();
        lock(&self.powers).push(Power::Crash(instance.host.clone()));
        let (names, host) = (self.world.network.names.clone(), instance.host.clone());
        tokio::spawn(async move {
            sleep(BALANCER_NOTICES).await;
            names.set_healthy(&host, false);
        });
        if lasts.is_some() {
            self.later(Undo::Bounce(number), lasts);
        }
    }

    fn restart(
        &self,
        instance: Option<usize>,
        edit: Option<&(String, String)>,
        down: Duration,
    ) -> Fallible {
        let model = match edit {
            Some((route, to)) => {
                self.note(format!("restarts with {route} at {to} in the file"));
                Some(self.world.edited(route, to)?)
            }
            None => {
                self.note("restarts the gateway".to_owned());
                None
            }
        };
        for (number, it) in (1..).zip(&self.world.instances) {
            if instance.is_none_or(|instance| instance == number) {
                it.restart(model.clone(), down);
            }
        }
        Ok(())
    }

    fn undo(&self, undo: Undo) {
        match undo {
            Undo::Release(a, b) => {
                self.broke(&format!("{a} ↔ {b}: carries again"));
                for (a, b) in self.pairs(&a, &b) {
                    self.world.network.links.release(a, b);
                }
            }
            Undo::Mend(cluster) => {
                self.broke(&format!("{cluster}: the region is back"));
                let own = Host::Cluster(cluster);
                for other in [Host::Clients, Host::Gateways] {
                    for (a, b) in self.pairs(&own, &other) {
                        self.world.network.links.release(a, b);
                    }
                }
                if let Some(link) = &self.world.link {
                    link.with(|link, _, _, now| link.mend(now));
                }
            }
            Undo::Latency(a, b) => {
                self.broke(&format!("{a} ↔ {b}: as fast as before"));
                self.latency(&a, &b, setting::latency_between(&self.world.scenario, &a, &b));
            }
            Undo::StartBroker(cluster, broker) => {
                self.note(format!("{cluster}: broker {broker} comes back"));
                self.world.clusters[&cluster].with(|c, now| c.start_broker(now, broker));
            }
            Undo::Heal(cluster, id) => {
                self.broke(&format!("{cluster}: the fault is over"));
                self.world.clusters[&cluster].with(|c, now| c.heal(now, id));
            }
            Undo::Bounce(number) => {
                lock(&self.powers).push(Power::Bounce(self.instance(number).host.clone()));
            }
            Undo::Accept(cluster) => {
                self.broke(&format!("{cluster}: accepts connections again"));
                self.refusing(&cluster, false);
            }
        }
    }

    fn names(&self, host: &Host) -> Vec<String> {
        match host {
            Host::Clients => vec![super::clients::HOST.to_owned()],
            Host::Gateways => self.world.instances.iter().map(|it| it.host.clone()).collect(),
            Host::Gateway(number) => vec![self.instance(*number).host.clone()],
            Host::Cluster(name) => vec![name.clone()],
        }
    }

    fn pairs(&self, a: &Host, b: &Host) -> Vec<(IpAddr, IpAddr)> {
        let (left, right) = (self.names(a), self.names(b));
        let each = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
        each.map(|(a, b)| (turmoil::lookup(a.as_str()), turmoil::lookup(b.as_str()))).collect()
    }
}
