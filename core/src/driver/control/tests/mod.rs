//! Control with a plane that carries nothing and a state that is kept in memory, on a hand-moved clock.

mod commands;
mod reload;
mod restart;
mod stop;
mod switchover;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::{ApplyError, CommandError, ControlHandle, start};
use crate::{
    config::{Domain, Environment, Model, Route as RouteConfig, Source, check},
    driver::{
        plane::{OpenError, Plane, Probe, ProbeError},
        state_file::StateStore,
        status::RouteStatus,
    },
    route::{
        Accepted, Command, Expect, FenceRequest, Gate, Observed, Snapshot, SwitchoverRequest,
        Target,
        state::{DecidedBy, State},
    },
    telemetry::Metrics,
};

/// A configuration in fewer words: `route name → (port, target, further keys)` under domains with one
/// server each.
struct File {
    domains: Vec<&'static str>,
    routes: BTreeMap<&'static str, (u16, &'static str, &'static str)>,
}

impl File {
    /// Routes `r` and `s` at `a`; `b` is there to be moved to.
    fn new() -> Self {
        let routes = [("r", (19000, "a", "")), ("s", (19100, "a", ""))];
        Self { domains: vec!["a", "b"], routes: routes.into() }
    }

    fn with(mut self, name: &'static str, port: u16, target: &'static str) -> Self {
        self.routes.insert(name, (port, target, ""));
        self
    }

    fn keys(mut self, name: &str, keys: &'static str) -> Self {
        self.routes.get_mut(name).expect("a route").2 = keys;
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.routes.remove(name);
        self
    }

    fn domains(mut self, domains: &[&'static str]) -> Self {
        self.domains = domains.to_vec();
        self
    }

    fn model(&self) -> Arc<Model> {
        let mut text = String::from("streamingDomains:\n");
        for name in &self.domains {
            let servers =
                format!("bootstrapServers: [{{id: main, endpoint: \"{name}.example:9092\"}}]");
            let ranges = "nodeIdRanges: [{name: n, start: 1, end: 3}]";
            let _ = writeln!(text, "  - {{name: {name}, kafkaCluster: {{{servers}, {ranges}}}}}");
        }
        text.push_str("routes:\n");
        for (name, (port, target, keys)) in &self.routes {
            let place = format!("endpoint: \"127.0.0.1:{port}\"");
            let _ = writeln!(
                text,
                "  - {{name: {name}, {place}, streamingDomain: {{name: {target}}}{keys}}}"
            );
        }
        let source = Source::Inline(text.clone());
        check(text.as_bytes(), &source, &Environment::default()).expect("a valid file").model
    }
}

/// Writes down what it is told.
#[derive(Default)]
struct FakePlane {
    inner: Mutex<PlaneInner>,
}

#[derive(Default)]
struct PlaneInner {
    /// Calls that change something, in order.
    calls: Vec<String>,
    published: BTreeMap<String, Arc<Snapshot>>,
    configured: Option<Arc<Model>>,
    open: BTreeMap<String, Arc<RouteConfig>>,
    observed: BTreeMap<String, Observed>,
    /// Domains that do not answer.
    down: BTreeSet<&'static str>,
    /// Routes whose ports are taken.
    taken: BTreeSet<&'static str>,
    probe_time: Duration,
    shutdown_time: Duration,
}

impl FakePlane {
    fn with<T>(&self, look: impl FnOnce(&mut PlaneInner) -> T) -> T {
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self, call: String, route: &Arc<RouteConfig>) -> Result<(), OpenError> {
        self.with(|inner| {
            inner.calls.push(call);
            if inner.taken.contains(&*route.name) {
                let address = std::net::SocketAddr::new(route.bind_address(), route.port);
                let source = io::ErrorKind::AddrInUse.into();
                return Err(OpenError::Bind { route: Arc::clone(&route.name), address, source });
            }
            inner.open.insert(route.name.to_string(), Arc::clone(route));
            Ok(())
        })
    }
}

impl Plane for FakePlane {
    fn configure(&self, model: &Arc<Model>) {
        self.with(|inner| inner.configured = Some(Arc::clone(model)));
    }

    async fn open_route(
        &self,
        route: &Arc<RouteConfig>,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), OpenError> {
        self.open(format!("open {}", route.name), route)?;
        self.with(|inner| inner.published.insert(route.name.to_string(), snapshot));
        Ok(())
    }

    async fn reconfigure_route(&self, route: &Arc<RouteConfig>) -> Result<(), OpenError> {
        self.open(format!("reconfigure {}", route.name), route)
    }

    async fn close_route(&self, name: &str, drain: Duration) {
        self.with(|inner| {
            inner.calls.push(format!("close {name} within {drain:?}"));
            inner.open.remove(name);
        });
    }

    fn publish(&self, name: &str, snapshot: Arc<Snapshot>) {
        self.with(|inner| {
            inner.calls.push(format!("publish {name}"));
            inner.published.insert(name.to_owned(), snapshot);
        });
    }

    fn observe(&self, name: &str) -> Observed {
        self.with(|inner| inner.observed.get(name).copied().unwrap_or_default())
    }

    async fn probe(&self, domain: &Arc<Domain>, target: &Target) -> Result<Probe, ProbeError> {
        let time = self.with(|inner| {
            inner.calls.push(format!("probe {}", domain.name));
            inner.probe_time
        });
        sleep(time).await;
        if self.with(|inner| inner.down.contains(&*domain.name)) {
            let detail = "refused".into();
            return Err(ProbeError::Unreachable { domain: Arc::clone(&domain.name), detail });
        }
        let bootstrap_server_id = Arc::clone(&target.bootstrap_server_id);
        Ok(Probe { bootstrap_server_id, metadata: None })
    }

    async fn shutdown(&self, drain: Duration) {
        let time = self.with(|inner| {
            inner.calls.push(format!("shutdown within {drain:?}"));
            inner.shutdown_time
        });
        sleep(time).await;
    }
}

/// Keeps every state that was saved.
#[derive(Clone, Default)]
struct FakeStore(Arc<Mutex<StoreInner>>);

#[derive(Default)]
struct StoreInner {
    saved: Vec<State>,
    full: bool,
}

impl FakeStore {
    fn with<T>(&self, look: impl FnOnce(&mut StoreInner) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn last(&self) -> State {
        self.with(|inner| inner.saved.last().cloned()).expect("something was saved")
    }
}

impl StateStore for FakeStore {
    async fn save(&self, state: State) -> io::Result<()> {
        self.with(|inner| {
            if inner.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inner.saved.push(state);
            Ok(())
        })
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

/// A gateway without bytes.
struct World {
    plane: Arc<FakePlane>,
    store: FakeStore,
    control: ControlHandle,
}

const NOTHING: Expect = Expect { revision: None, expected_revision: None };

impl World {
    async fn new(file: &File) -> Self {
        Self::resumed(file, State::default()).await.expect("starts")
    }

    /// Comes back with a state that was kept.
    async fn resumed(file: &File, state: State) -> Result<Self, ApplyError> {
        Self::started(file, state, FakeStore::default()).await
    }

    async fn started(file: &File, state: State, store: FakeStore) -> Result<Self, ApplyError> {
        let plane = Arc::new(FakePlane::default());
        let model = file.model();
        plane.configure(&model);
        let control = start(
            Arc::clone(&plane),
            store.clone(),
            state,
            model,
            Arc::new(Metrics::default()),
            Arc::new(|| "now".to_owned()),
        )
        .await?;
        let world = Self { plane, store, control };
        world.forget();
        Ok(world)
    }

    /// Forgets the calls so far.
    fn forget(&self) {
        self.plane.with(|inner| inner.calls.clear());
    }

    fn calls(&self) -> Vec<String> {
        self.plane.with(|inner| inner.calls.clone())
    }

    async fn command(&self, route: &str, command: Command) -> Result<Accepted, CommandError> {
        self.control.command(route, command, NOTHING, DecidedBy::Api).await
    }

    async fn apply(&self, file: &File) -> Result<super::Applied, ApplyError> {
        self.control.apply(file.model()).await
    }

    async fn route(&self, name: &str) -> RouteStatus {
        let status = self.control.status().await.expect("runs");
        status.routes.into_iter().find(|route| *route.name == *name).expect("the route")
    }

    fn published(&self, name: &str) -> Arc<Snapshot> {
        self.plane.with(|inner| Arc::clone(&inner.published[name]))
    }

    /// What a refused command must not change: what is published, kept, and said.
    async fn trace(&self) -> (Vec<String>, usize, String) {
        let status = self.control.status().await.expect("runs");
        let calls = self.calls().into_iter().filter(|call| !call.starts_with("probe"));
        let saved = self.store.with(|inner| inner.saved.len());
        (calls.collect(), saved, format!("{status:?}"))
    }
}

fn fence() -> Command {
    Command::Fence(FenceRequest::default())
}

fn switchover(to: &str) -> SwitchoverRequest {
    SwitchoverRequest { to: to.into(), bootstrap_server_id: None, fence: None, drain: None }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
