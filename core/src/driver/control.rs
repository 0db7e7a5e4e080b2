//! Control of the routes: one task owns their state machines, takes commands and configurations, and tells
//! the plane. Nothing is acknowledged before it is kept.

use std::{collections::BTreeMap, future::pending, io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    plane::{OpenError, Plane, ProbeError},
    state_file::StateStore,
    status::{
        DesiredStatus, FenceStatus, GatewayStatus, LastChange, MoveStatus, ObservedStatus,
        RouteStatus,
    },
};
use crate::{
    config::{Model, Route as RouteConfig},
    route::{
        Accepted, Change, Command, Drain, Expect, Gate, Refused, Repoint, Route, Snapshot, Target,
        Unresolvable,
        state::{DecidedBy, Decision, Record, State, StateError},
    },
    telemetry::Metrics,
};

/// While a route is on its way, or holds, its sessions are looked at this often.
const OBSERVE_EVERY: Duration = Duration::from_millis(10);

/// Requests to the control task that may wait.
const QUEUE: usize = 64;

/// How long requests in flight may take when a configuration repoints a route.
const CONFIGURED_DRAIN: Duration = Duration::from_secs(5);

/// Gives the present moment as RFC 3339. Rehearsals have a clock of their own.
pub type Clock = Arc<dyn Fn() -> String + Send + Sync>;

/// Why a command was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such route.
    #[error("no route `{route}` is configured")]
    UnknownRoute {
        /// As asked for.
        route: Box<str>,
        /// What there is.
        known: Vec<Arc<str>>,
    },
    /// It cannot be carried out with this configuration.
    #[error(transparent)]
    Unresolvable(#[from] Unresolvable),
    /// The route does not admit it now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The target cannot be used.
    #[error("the target was looked at before the switch and cannot be used: {0}")]
    Target(#[from] ProbeError),
    /// The decision could not be kept.
    #[error("the decision cannot be kept in {place}: {source}")]
    NotKept {
        /// The state file.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Stopping,
}

impl CommandError {
    /// What to do instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownRoute { known, .. } => format!("name one of: {}", known.join(", ")),
            Self::Unresolvable(why) => why.remedy(),
            Self::Refused(why) => why.remedy().to_owned(),
            Self::Target(_) => {
                "nothing has changed; bring the target up, or check its address and the network".to_owned()
            }
            Self::NotKept { .. } => {
                "nothing has changed; let the gateway's user write there, or name another `stateFile`".to_owned()
            }
            Self::Stopping => "ask the instance that takes over".to_owned(),
        }
    }
}

/// Why a configuration was not applied. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// What was decided before does not fit it.
    #[error(transparent)]
    State(#[from] StateError),
    /// A route does not admit it now.
    #[error("route `{route}`: {source}")]
    Refused {
        /// The route.
        route: Arc<str>,
        /// Why not.
        source: Refused,
    },
    /// A port cannot be listened on.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A target that a route would be pointed at cannot be used.
    #[error("route `{route}`: its new target cannot be used: {source}")]
    Target {
        /// The route.
        route: Arc<str>,
        /// Why not.
        source: ProbeError,
    },
    /// The decision could not be kept.
    #[error("the decision cannot be kept in {place}: {source}")]
    NotKept {
        /// The state file.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Stopping,
}

/// What a configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Routes that are new.
    pub added: Vec<Arc<str>>,
    /// Routes that are gone.
    pub removed: Vec<Arc<str>>,
    /// Routes whose section was edited.
    pub edited: Vec<Arc<str>>,
}

enum Request {
    Command(Box<Asked>),
    /// The target of a switchover was looked at.
    Probed(Box<Asked>, Change, Result<(), ProbeError>),
    Apply(Arc<Model>, oneshot::Sender<Result<Applied, ApplyError>>),
    /// The new targets of a configuration were looked at.
    ApplyProbed(Arc<Model>, oneshot::Sender<Result<Applied, ApplyError>>, Result<(), ApplyError>),
    Status(oneshot::Sender<GatewayStatus>),
    Stop(Duration, oneshot::Sender<()>),
}

struct Asked {
    route: Box<str>,
    command: Command,
    expect: Expect,
    by: DecidedBy,
    reply: oneshot::Sender<Result<Accepted, CommandError>>,
}

/// Speaks to the control task. Cloning gives another handle.
#[derive(Clone)]
pub struct ControlHandle {
    requests: mpsc::Sender<Request>,
}

impl ControlHandle {
    /// Carries a command out: returns when it is decided and kept. What the sessions make of it is seen in
    /// [`Self::status`].
    pub async fn command(
        &self,
        route: &str,
        command: Command,
        expect: Expect,
        by: DecidedBy,
    ) -> Result<Accepted, CommandError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { route: route.into(), command, expect, by, reply };
        let sent = self.requests.send(Request::Command(Box::new(asked))).await;
        sent.map_err(|_| CommandError::Stopping)?;
        answer.await.map_err(|_| CommandError::Stopping)?
    }

    /// Puts a configuration in force, as a whole or not at all.
    pub async fn apply(&self, model: Arc<Model>) -> Result<Applied, ApplyError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Apply(model, reply)).await;
        sent.map_err(|_| ApplyError::Stopping)?;
        answer.await.map_err(|_| ApplyError::Stopping)?
    }

    /// What the gateway says of itself; `None` when it has stopped.
    pub async fn status(&self) -> Option<GatewayStatus> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Status(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Stops accepting, lets requests in flight finish until the deadline, closes everything.
    pub async fn stop(&self, drain: Duration) {
        let (reply, done) = oneshot::channel();
        if self.requests.send(Request::Stop(drain, reply)).await.is_ok() {
            // An error says that the task has ended, which is what was asked for.
            let _ = done.await;
        }
    }
}

/// A route under control.
struct Controlled {
    config: Arc<RouteConfig>,
    machine: Route,
    published: Arc<Snapshot>,
    last_change: LastChange,
}

struct Controller<P, S> {
    plane: Arc<P>,
    store: S,
    clock: Clock,
    metrics: Arc<Metrics>,
    started: Instant,
    model: Arc<Model>,
    applied_at: String,
    state: State,
    routes: BTreeMap<Arc<str>, Controlled>,
    requests: mpsc::WeakSender<Request>,
}

/// Opens every route of the model as the state and the configuration have it, and starts the control task.
/// The plane is configured with the model already.
pub async fn start<P: Plane, S: StateStore>(
    plane: Arc<P>,
    store: S,
    state: State,
    model: Arc<Model>,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> Result<ControlHandle, ApplyError> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut controller = Controller {
        plane,
        store,
        applied_at: clock(),
        clock,
        metrics,
        started: Instant::now(),
        model: Arc::clone(&model),
        state,
        routes: BTreeMap::new(),
        requests: sender.downgrade(),
    };
    let mut state = controller.state.clone();
    for route in model.routes.values() {
        let open = controller.decide(&model, route)?;
        state.routes.insert(Arc::clone(&route.name), open.record());
        controller.plane.open_route(route, Arc::clone(&open.published)).await?;
        controller.routes.insert(Arc::clone(&route.name), open);
    }
    if state != controller.state {
        match controller.store.save(state.clone()).await {
            Ok(()) => controller.state = state,
            Err(error) => warn!(
                place = controller.store.place(), %error,
                "decisions cannot be kept: fences and switchovers will be refused until this is mended"
            ),
        }
    }
    tokio::spawn(controller.run(receiver));
    Ok(ControlHandle { requests: sender })
}

impl Controlled {
    fn record(&self) -> Record {
        let desired = self.machine.desired();
        Record {
            revision: desired.revision,
            target: desired.target.clone(),
            fence: desired.fence.as_ref().map(Into::into),
            moved: desired.moved,
            section_digest: Some(Arc::clone(&self.config.digest)),
            decided_by: self.last_change.by,
            decided_at: self.last_change.at.clone(),
        }
    }

    fn status(&self, model: &Model) -> RouteStatus {
        let desired = self.machine.desired();
        let snapshot = self.machine.snapshot();
        let gate = match snapshot.gate {
            Gate::Open => "open",
            Gate::Hold => "hold",
            Gate::Answer { .. } => "answer",
        };
        RouteStatus {
            name: Arc::clone(&self.config.name),
            endpoint: self.config.endpoint(),
            client_view: self.config.client_view,
            desired: DesiredStatus {
                revision: desired.revision,
                target: desired.target.clone(),
                fence: desired
                    .fence
                    .as_ref()
                    .map(|fence| FenceStatus { mode: fence.mode, error_code: fence.error_code }),
            },
            observed: ObservedStatus {
                phase: self.machine.phase(),
                gate: gate.to_owned(),
                domain: Arc::clone(&snapshot.target.domain),
                sessions: self.machine.observed(),
                last_move: self.machine.cut().map(|cut| MoveStatus {
                    from: cut.from.clone(),
                    drained: cut.drained,
                    cut_off: cut.in_flight,
                }),
            },
            eligible_domains: crate::route::eligible_domains(model, &self.config)
                .cloned()
                .collect(),
            last_change: self.last_change.clone(),
        }
    }
}

impl<P: Plane, S: StateStore> Controller<P, S> {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let wake = self.next_look();
            tokio::select! {
                biased;
                request = requests.recv() => match request {
                    Some(Request::Stop(drain, reply)) => {
                        self.plane.shutdown(drain).await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(request) => self.handle(request).await,
                    None => return,
                },
                () = wake => {}
            }
            self.look();
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Resolves when a route has something to decide.
    fn next_look(&self) -> impl Future<Output = ()> + use<P, S> {
        let machines = || self.routes.values().map(|route| &route.machine);
        let observes = machines().any(Route::wants_observation);
        let observe_at = observes.then(|| self.now() + OBSERVE_EVERY);
        let at = machines().filter_map(Route::deadline).chain(observe_at).min();
        let at = at.map(|at| self.started + at);
        async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        }
    }

    /// Looks at what the sessions do, and tells them what has changed.
    fn look(&mut self) {
        let now = self.now();
        for (name, route) in &mut self.routes {
            if route.machine.wants_observation() {
                route.machine.handle_observed(now, self.plane.observe(name));
            } else {
                route.machine.handle_time(now);
            }
            publish(&*self.plane, name, route);
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Command(asked) => self.command(*asked).await,
            Request::Probed(asked, change, outcome) => {
                let Asked { route, expect, by, reply, command } = *asked;
                let outcome = match outcome {
                    Ok(()) => self.carry_out(&route, change, expect, by).await,
                    Err(error) => Err(error.into()),
                };
                self.answer(&route, &command, by, reply, outcome);
            }
            Request::Apply(model, reply) => self.apply(model, reply),
            Request::ApplyProbed(model, reply, probed) => {
                let outcome = match probed {
                    Ok(()) => self.put_in_force(model).await,
                    Err(error) => Err(error),
                };
                let _ = reply.send(outcome);
            }
            Request::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Request::Stop(..) => unreachable!("handled by the loop"),
        }
    }

    fn answer(
        &self,
        route: &str,
        command: &Command,
        by: DecidedBy,
        reply: oneshot::Sender<Result<Accepted, CommandError>>,
        outcome: Result<Accepted, CommandError>,
    ) {
        let (command, by) = (command.label(), by.label());
        match &outcome {
            Ok(Accepted { revision, changed }) => {
                self.metrics.command(command, "accepted");
                info!(route, command, by, revision, changed, "command accepted");
            }
            Err(error) => {
                self.metrics.command(command, "refused");
                warn!(route, command, by, %error, "command refused");
            }
        }
        let _ = reply.send(outcome);
    }

    async fn command(&mut self, asked: Asked) {
        let resolved = self.resolve(&asked);
        let (change, revision) = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                let Asked { route, command, by, reply, .. } = asked;
                return self.answer(&route, &command, by, reply, Err(error));
            }
        };
        let Some(target) = self.new_target(&asked.route, &change) else {
            let outcome = self.carry_out(&asked.route, change, asked.expect, asked.by).await;
            let Asked { route, command, by, reply, .. } = asked;
            return self.answer(&route, &command, by, reply, outcome);
        };
        // The look at the target takes time in which other commands go on; if this route changes
        // meanwhile, the command was given for a state that is gone.
        let mut asked = asked;
        asked.expect.expected_revision.get_or_insert(revision);
        let plane = Arc::clone(&self.plane);
        let domain = self.model.domains.get(&target.domain).cloned();
        let requests = self.requests.clone();
        tokio::spawn(async move {
            let outcome = match domain {
                Some(domain) => plane.probe(&domain, &target).await.map(drop),
                None => Ok(()), // Resolved against this model: cannot be.
            };
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Probed(Box::new(asked), change, outcome)).await;
            }
        });
    }

    fn resolve(&self, asked: &Asked) -> Result<(Change, u64), CommandError> {
        let route = self.routes.get(&*asked.route).ok_or_else(|| CommandError::UnknownRoute {
            route: asked.route.clone(),
            known: self.routes.keys().cloned().collect(),
        })?;
        let change = asked.command.resolve(&self.model, &route.config)?;
        // What the machine would refuse is not worth a look at the target.
        let mut trial = route.machine.clone();
        trial.handle_change(self.now(), change.clone(), asked.expect)?;
        Ok((change, route.machine.desired().revision))
    }

    /// The target that a change would point the route at, if it is another one.
    fn new_target(&self, route: &str, change: &Change) -> Option<Target> {
        let (Change::Repoint(repoint) | Change::Configured { repoint, .. }) = change else {
            return None;
        };
        let desired = self.routes.get(route)?.machine.desired();
        (desired.target != repoint.target).then(|| repoint.target.clone())
    }

    /// Decides, keeps, and only then does.
    async fn carry_out(
        &mut self,
        name: &str,
        change: Change,
        expect: Expect,
        by: DecidedBy,
    ) -> Result<Accepted, CommandError> {
        let now = self.now();
        let known = || self.routes.keys().cloned().collect();
        let route = self
            .routes
            .get(name)
            .ok_or_else(|| CommandError::UnknownRoute { route: name.into(), known: known() })?;
        let mut next = Controlled {
            config: Arc::clone(&route.config),
            machine: route.machine.clone(),
            published: Arc::clone(&route.published),
            last_change: LastChange { by, at: (self.clock)() },
        };
        let accepted = next.machine.handle_change(now, change, expect)?;
        let name = Arc::clone(&next.config.name);
        let mut state = self.state.clone();
        state.routes.insert(Arc::clone(&name), next.record());
        self.store
            .save(state.clone())
            .await
            .map_err(|source| CommandError::NotKept { place: self.store.place(), source })?;
        self.state = state;
        publish(&*self.plane, &name, &mut next);
        self.routes.insert(name, next);
        Ok(accepted)
    }

    fn status(&self) -> GatewayStatus {
        let route = |(name, route): (&Arc<str>, &Controlled)| {
            let mut status = route.status(&self.model);
            status.observed.sessions = self.plane.observe(name);
            status
        };
        GatewayStatus {
            config_id: self.model.config_id.clone(),
            applied_at: self.applied_at.clone(),
            name: Arc::clone(&self.model.name),
            routes: self.routes.iter().map(route).collect(),
        }
    }

    /// What counts for a route that is not open yet.
    fn decide(&self, model: &Model, route: &Arc<RouteConfig>) -> Result<Controlled, StateError> {
        let (desired, decision) = self.state.decide(model, route)?;
        let last_change = match (decision, self.state.routes.get(&route.name)) {
            (Decision::State, Some(record)) => {
                LastChange { by: record.decided_by, at: record.decided_at.clone() }
            }
            _ => LastChange { by: DecidedBy::Config, at: (self.clock)() },
        };
        if decision == Decision::State && desired.target != route.target {
            info!(
                route = %route.name, domain = %desired.target.domain, revision = desired.revision,
                "the route goes on where it was pointed last, not where the configuration has it"
            );
        }
        let machine = Route::new(self.now(), desired);
        let published = Arc::clone(machine.snapshot());
        Ok(Controlled { config: Arc::clone(route), machine, published, last_change })
    }

    /// Looks at every target that the configuration would point a route at, then goes on.
    fn apply(&self, model: Arc<Model>, reply: oneshot::Sender<Result<Applied, ApplyError>>) {
        let mut targets = Vec::new();
        for (name, config) in &model.routes {
            let old = self.routes.get(name);
            let edited = old.is_none_or(|route| route.config.digest != config.digest);
            let repointed =
                old.is_some_and(|route| route.machine.desired().target != config.target);
            if edited
                && repointed
                && let Some(domain) = model.domains.get(&config.target.domain)
            {
                targets.push((Arc::clone(name), Arc::clone(domain), config.target.clone()));
            }
        }
        let plane = Arc::clone(&self.plane);
        let requests = self.requests.clone();
        tokio::spawn(async move {
            let mut outcome = Ok(());
            for (route, domain, target) in targets {
                if let Err(source) = plane.probe(&domain, &target).await {
                    outcome = Err(ApplyError::Target { route, source });
                    break;
                }
            }
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::ApplyProbed(model, reply, outcome)).await;
            }
        });
    }

    /// Applies a configuration as a whole, or takes back what was done of it.
    async fn put_in_force(&mut self, model: Arc<Model>) -> Result<Applied, ApplyError> {
        let (next, applied) = self.plan(&model)?;
        let old_model = Arc::clone(&self.model);
        self.plane.configure(&model);
        let mut done = Vec::new();
        let mut outcome = Ok(());
        for (name, route) in &next {
            let opened = if applied.added.contains(name) {
                self.plane.open_route(&route.config, Arc::clone(&route.published)).await
            } else if self.needs_reconfiguring(name, route) {
                self.plane.reconfigure_route(&route.config).await
            } else {
                continue;
            };
            if let Err(error) = opened {
                outcome = Err(ApplyError::Open(error));
                break;
            }
            done.push(Arc::clone(name));
        }
        let mut state = self.state.clone();
        if outcome.is_ok() {
            for (name, route) in &next {
                state.routes.insert(Arc::clone(name), route.record());
            }
            for name in &applied.removed {
                if let Some(record) = state.routes.get_mut(name) {
                    record.section_digest = None;
                }
            }
            if state != self.state
                && let Err(source) = self.store.save(state.clone()).await
            {
                outcome = Err(ApplyError::NotKept { place: self.store.place(), source });
            }
        }
        if let Err(error) = outcome {
            self.take_back(&old_model, &done).await;
            return Err(error);
        }
        self.state = state;
        self.model = model;
        self.applied_at = (self.clock)();
        for name in &applied.removed {
            self.routes.remove(name);
            let (plane, name) = (Arc::clone(&self.plane), Arc::clone(name));
            let drain = self.model.limits.shutdown_drain;
            tokio::spawn(async move { plane.close_route(&name, drain).await });
        }
        for (name, mut route) in next {
            publish(&*self.plane, &name, &mut route);
            self.routes.insert(name, route);
        }
        Ok(applied)
    }

    /// What every route will be, without having done anything.
    fn plan(
        &self,
        model: &Arc<Model>,
    ) -> Result<(BTreeMap<Arc<str>, Controlled>, Applied), ApplyError> {
        let mut applied = Applied::default();
        let mut next = BTreeMap::new();
        for (name, config) in &model.routes {
            let Some(old) = self.routes.get(name) else {
                applied.added.push(Arc::clone(name));
                next.insert(Arc::clone(name), self.decide(model, config)?);
                continue;
            };
            let mut route = Controlled {
                config: Arc::clone(config),
                machine: old.machine.clone(),
                published: Arc::clone(&old.published),
                last_change: old.last_change.clone(),
            };
            if old.config.digest == config.digest {
                crate::route::state::check_target(model, config, &old.machine.desired().target)?;
            } else {
                applied.edited.push(Arc::clone(name));
                let change = Change::Configured {
                    repoint: Repoint {
                        target: config.target.clone(),
                        drain: Some(Drain::new(CONFIGURED_DRAIN, &config.fence_defaults)),
                        fence: None,
                    },
                    fence: config.fence.clone(),
                };
                let refused = |source| ApplyError::Refused { route: Arc::clone(name), source };
                let accepted = route
                    .machine
                    .handle_change(self.now(), change, Expect::default())
                    .map_err(refused)?;
                if accepted.changed {
                    route.last_change = LastChange { by: DecidedBy::Config, at: (self.clock)() };
                }
            }
            next.insert(Arc::clone(name), route);
        }
        let gone = self.routes.keys().filter(|name| !model.routes.contains_key(*name));
        applied.removed = gone.cloned().collect();
        Ok((next, applied))
    }

    fn needs_reconfiguring(&self, name: &str, route: &Controlled) -> bool {
        self.routes.get(name).is_some_and(|old| old.config != route.config)
    }

    async fn take_back(&self, old_model: &Arc<Model>, done: &[Arc<str>]) {
        for name in done {
            match self.routes.get(name) {
                Some(old) => {
                    if let Err(error) = self.plane.reconfigure_route(&old.config).await {
                        error!(route = %name, %error, "cannot go back to the route's old ports");
                    }
                }
                None => self.plane.close_route(name, Duration::ZERO).await,
            }
        }
        self.plane.configure(old_model);
    }
}

fn publish<P: Plane>(plane: &P, name: &str, route: &mut Controlled) {
    let snapshot = route.machine.snapshot();
    if !Arc::ptr_eq(snapshot, &route.published) {
        info!(
            route = name, revision = snapshot.revision, domain = %snapshot.target.domain,
            gate = ?snapshot.gate, phase = route.machine.phase().label(), "route changes"
        );
        route.published = Arc::clone(snapshot);
        plane.publish(name, Arc::clone(snapshot));
    }
}
