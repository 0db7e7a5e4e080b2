//! The hosts of a rehearsal: clusters, instances of the gateway, and the network between them.
//!
//! Each cluster is one simulated host, so is each instance of the gateway, and all clients together are one: turmoil's
//! cost grows with hosts. Names of the gateway's file lead to them through [`Names`](crate::network::Names).

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use switchyard::{
    config::{self, Environment, Model, Source},
    driver::{ControlHandle, Gateway, Network as _, control, state_file::StateStore},
    route::state::State,
    telemetry::Metrics,
};
use tokio::sync::Notify;

use super::{case::route_entry, recorder::Recorder, setting};
use crate::{
    client::{committed, record::Numbered},
    cluster::{BrokerSpec, ClusterSpec, Sight, Time, mirror::Link},
    linked::LinkedClusters,
    network::{Place, SimNetwork},
    oracle::history::{Position, Record, Stored, What},
    scenario::Scenario,
    serve::{Clock, SharedCluster, serve_broker},
};

/// When rehearsals begin, in milliseconds since the Unix epoch: timestamps of records have to be plausible.
const EPOCH_MS: u64 = 1_750_000_000_000;
/// The metric that counts what the gateway answers by itself.
const SHORT_CIRCUITS: &str = "switchyard_short_circuit_answers_total";
/// Ports of brokers on the host of their cluster.
const BROKER_PORTS: u16 = 10_000;
/// How long a load balancer takes to notice that an instance is gone, or is back.
pub(super) const BALANCER_NOTICES: Duration = Duration::from_secs(2);
/// How long an instance lets requests finish when it is restarted in order.
const RESTART_DRAIN: Duration = Duration::from_secs(1);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A moment of the simulation as clients and clusters know it.
pub(super) fn after_start(since: Duration) -> Time {
    Time::from_ms(EPOCH_MS) + since
}

/// The time of the simulated host that asks.
pub(super) fn clock() -> Clock {
    Arc::new(|| Time::from_ms(EPOCH_MS) + turmoil::sim_elapsed().unwrap_or_default())
}

/// What was decided survives the death of an instance here.
#[derive(Clone, Default)]
struct MemoryStore(Arc<Mutex<State>>);

impl StateStore for MemoryStore {
    async fn save(&self, state: State) -> io::Result<()> {
        *lock(&self.0) = state;
        Ok(())
    }

    fn place(&self) -> String {
        "the rehearsal's memory".to_owned()
    }
}

/// One instance of the gateway: what is left of it while it is down, and how to reach it while it runs.
#[derive(Clone)]
pub(super) struct Instance {
    /// `gateway-1`, …
    pub(super) host: String,
    /// There while it runs.
    control: Arc<Mutex<Option<ControlHandle>>>,
    /// Of its newest start.
    metrics: Arc<Mutex<Option<Arc<Metrics>>>>,
    /// The file that it reads at its next start.
    model: Arc<Mutex<Arc<Model>>>,
    store: MemoryStore,
    /// Ends it in order; how long nothing listens then.
    restart: Arc<Notify>,
    down: Arc<Mutex<Duration>>,
}

impl Instance {
    fn new(number: usize, model: Arc<Model>) -> Self {
        Self {
            host: format!("gateway-{number}"),
            control: Arc::default(),
            metrics: Arc::default(),
            model: Arc::new(Mutex::new(model)),
            store: MemoryStore::default(),
            restart: Arc::default(),
            down: Arc::default(),
        }
    }

    /// How to speak to it; `None` while it is down.
    pub(super) fn control(&self) -> Option<ControlHandle> {
        lock(&self.control).clone()
    }

    /// Whether its metrics count an answer of a fence.
    fn has_answered_behind_a_fence(&self) -> bool {
        let metrics = lock(&self.metrics).clone();
        let text = metrics.map(|metrics| metrics.render(&[])).unwrap_or_default();
        text.lines().any(|line| line.starts_with(SHORT_CIRCUITS) && line.contains("kind=\"fence\""))
    }

    /// It was killed: nobody can speak to it.
    pub(super) fn died(&self) {
        *lock(&self.control) = None;
    }

    /// Ends it in order and starts it again after a while, with this file.
    pub(super) fn restart(&self, model: Option<Arc<Model>>, down: Duration) {
        if let Some(model) = model {
            *lock(&self.model) = model;
        }
        *lock(&self.down) = down;
        self.restart.notify_one();
    }

    /// The file that it has.
    pub(super) fn model(&self) -> Arc<Model> {
        Arc::clone(&lock(&self.model))
    }

    /// Runs for ever on its simulated host.
    async fn run(self, network: SimNetwork, recorder: Recorder) -> turmoil::Result {
        loop {
            let model = self.model();
            let metrics = Arc::new(Metrics::new(&model.admin.common_tags));
            *lock(&self.metrics) = Some(Arc::clone(&metrics));
            let gateway = Gateway::new(network.clone(), Arc::clone(&metrics), &model);
            let clock: control::Clock =
                Arc::new(|| format!("{:?}", turmoil::sim_elapsed().unwrap_or_default()));
            let state = lock(&self.store.0).clone();
            let store = self.store.clone();
            let control =
                control::start(Arc::new(gateway), store, state, model, metrics, clock).await?;
            *lock(&self.control) = Some(control.clone());
            recorder.note(&self.host, "is up");
            network.names.set_healthy(&self.host, true);
            self.restart.notified().await;
            recorder.note(&self.host, "is shut down in order");
            network.names.set_healthy(&self.host, false);
            *lock(&self.control) = None;
            control.stop(RESTART_DRAIN).await;
            drop(control);
            let down = *lock(&self.down);
            tokio::time::sleep(down).await;
        }
    }
}

/// Everything that a run consists of besides its clients.
#[derive(Clone)]
pub(super) struct World {
    pub(super) scenario: Arc<Scenario>,
    pub(super) seed: u64,
    pub(super) network: SimNetwork,
    pub(super) recorder: Recorder,
    pub(super) clusters: BTreeMap<String, SharedCluster>,
    pub(super) link: Option<LinkedClusters>,
    pub(super) instances: Vec<Instance>,
    /// Where brokers are told to be, by cluster and node id.
    pub(super) brokers: Arc<BTreeMap<String, Vec<BrokerSpec>>>,
    targets: Arc<Mutex<BTreeMap<String, String>>>,
}

impl World {
    /// Puts all hosts but the clients' into a simulation.
    pub(super) fn build(
        scenario: &Arc<Scenario>,
        seed: u64,
        sim: &mut turmoil::Sim<'static>,
        recorder: &Recorder,
    ) -> Self {
        let network = SimNetwork::default();
        let mut clusters = BTreeMap::new();
        let mut brokers = BTreeMap::new();
        for name in scenario.clusters.keys() {
            let spec = cluster_spec(scenario, name, seed);
            brokers.insert(name.clone(), spec.brokers.clone());
            name_brokers(scenario, name, &spec, &network);
            let cluster = setting::furnish(scenario, name, SharedCluster::new(spec, clock()));
            clusters.insert(name.clone(), cluster);
        }
        let link = scenario.mirror.as_ref().map(|mirror| {
            let link = Link::new(setting::link_spec(mirror, seed));
            let (a, b) = (clusters[&mirror.from].clone(), clusters[&mirror.to].clone());
            LinkedClusters::new(a, b, link, clock())
        });
        let instances: Vec<_> = (1..=scenario.instances)
            .map(|number| Instance::new(number, Arc::clone(&scenario.gateway)))
            .collect();
        name_routes(scenario, &instances, &network);
        let world = Self {
            scenario: Arc::clone(scenario),
            seed,
            network,
            recorder: recorder.clone(),
            clusters,
            link,
            instances,
            brokers: Arc::new(brokers),
            targets: Arc::default(),
        };
        world.start_hosts(sim);
        world
    }

    fn start_hosts(&self, sim: &mut turmoil::Sim<'static>) {
        for (name, cluster) in &self.clusters {
            let (network, cluster) = (self.network.clone(), cluster.clone());
            let ids: Vec<_> = self.brokers[name].iter().map(|broker| broker.id).collect();
            // The link's work is done on the host of its target.
            let to = self.scenario.mirror.as_ref().map(|mirror| &mirror.to);
            let link = self.link.clone().filter(|_| to == Some(name));
            sim.host(name.as_str(), move || {
                run_cluster(network.clone(), cluster.clone(), ids.clone(), link.clone())
            });
        }
        for instance in &self.instances {
            let (network, recorder, own) =
                (self.network.clone(), self.recorder.clone(), instance.clone());
            sim.host(instance.host.as_str(), move || {
                own.clone().run(network.clone(), recorder.clone())
            });
        }
    }

    /// The file of an instance with another target for a route.
    pub(super) fn edited(&self, route: &str, to: &str) -> Result<Arc<Model>, String> {
        let text = &self.scenario.gateway_text;
        let mut value: serde_json::Value =
            serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let root = if value.get("gateway").is_some() { &mut value["gateway"] } else { &mut value };
        let routes = root["routes"].as_array_mut().ok_or("the file has no routes")?;
        let own = routes.iter_mut().find(|own| own["name"] == route);
        let own = own.ok_or_else(|| format!("the file has no route {route}"))?;
        own["streamingDomain"] = serde_json::json!({ "name": to });
        let text = value.to_string();
        let source = Source::Inline(text.clone());
        let loaded = config::check(text.as_bytes(), &source, &Environment::default());
        Ok(loaded.map_err(|error| error.to_string())?.model)
    }

    /// Takes down what happens in the clusters.
    pub(super) async fn watch_clusters(self, every: Duration) {
        loop {
            self.take_sights();
            tokio::time::sleep(every).await;
        }
    }

    fn take_sights(&self) {
        for (name, cluster) in &self.clusters {
            let mut seen = Vec::new();
            cluster.with(|cluster, _| {
                while let Some(sight) = cluster.poll_sight() {
                    seen.push(sight);
                }
            });
            for (at, sight) in seen {
                let what = match sight {
                    Sight::Appended { topic, partition, records } => {
                        What::Appended { topic: self.recorder.name(&topic), partition, records }
                    }
                    Sight::ReadOnlyRefused => What::ReadOnlyRefused,
                    Sight::LeaderMoved { topic, partition } => {
                        What::LeaderMoved { topic: self.recorder.name(&topic), partition }
                    }
                    Sight::MemberExpired { group } => {
                        What::MemberExpired { group: self.recorder.name(&group) }
                    }
                };
                self.recorder.record_at(at.since(Time::from_ms(EPOCH_MS)), name, what);
            }
        }
    }

    /// Where the routes point in the end: where most instances that are up say so.
    pub(super) async fn note_targets(&self) {
        let mut targets = BTreeMap::new();
        for instance in &self.instances {
            if instance.has_answered_behind_a_fence() {
                self.recorder.record(&instance.host, What::FenceAnswered);
            }
            let Some(control) = instance.control() else { continue };
            let Some(status) = control.status().await else { continue };
            for route in status.routes {
                targets.insert(route.name.to_string(), route.desired.target.domain.to_string());
            }
        }
        *lock(&self.targets) = targets;
    }

    /// What [`Self::note_targets`] has found.
    pub(super) fn targets(&self) -> BTreeMap<String, String> {
        lock(&self.targets).clone()
    }

    /// Takes down what every cluster holds.
    pub(super) fn read_logs(&self) {
        self.take_sights();
        for (name, cluster) in &self.clusters {
            let stored = cluster.with(|cluster, _| cluster.stored());
            let mut log = Vec::new();
            for partition in stored {
                let topic = self.recorder.name(&partition.topic);
                let index = partition.partition;
                for (offset, value) in committed(partition.batches, &partition.aborted) {
                    let Some(numbered) = Numbered::decode(&value) else { continue };
                    let producer = self.recorder.name(numbered.producer);
                    let record = Record { producer, number: numbered.number };
                    let position = Position { topic: Arc::clone(&topic), partition: index, offset };
                    log.push(Stored { position, record });
                }
            }
            self.recorder.logs(name, log);
        }
    }

    fn sample_lag(&self, last: &mut u64) {
        let Some(link) = &self.link else { return };
        let missing = link.look(Link::unreplicated);
        let records = missing.iter().map(|it| it.records).sum();
        if records != *last {
            *last = records;
            self.recorder.record("mirror", What::MirrorLag { records });
        }
    }

    /// Samples what the instances say of their routes, whenever it has changed.
    pub(super) async fn sample(self, every: Duration) {
        let mut last: BTreeMap<(usize, Arc<str>), What> = BTreeMap::new();
        let mut lag = 0;
        loop {
            self.sample_lag(&mut lag);
            for (index, instance) in self.instances.iter().enumerate() {
                let Some(control) = instance.control() else { continue };
                let Some(status) = control.status().await else { continue };
                for route in status.routes {
                    let what = route_entry(&route, |name| self.recorder.name(name));
                    let before = last.insert((index, Arc::clone(&route.name)), what.clone());
                    if before.as_ref() != Some(&what) {
                        self.recorder.record(&instance.host, what);
                    }
                }
            }
            tokio::time::sleep(every).await;
        }
    }
}

async fn run_cluster(
    network: SimNetwork,
    cluster: SharedCluster,
    ids: Vec<i32>,
    link: Option<LinkedClusters>,
) -> turmoil::Result {
    for (index, id) in (0..).zip(ids) {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let address = SocketAddr::new(any, BROKER_PORTS + index);
        let listener = network.bind(address).await?;
        tokio::spawn(serve_broker(network.clone(), address, listener, cluster.clone(), id));
    }
    if let Some(link) = link {
        tokio::spawn(link.keep_time());
    }
    cluster.keep_time().await;
    Ok(())
}

/// Brokers advertise the addresses that the gateway's file has for the domain; where it has fewer, names of their own.
fn cluster_spec(scenario: &Scenario, name: &str, seed: u64) -> ClusterSpec {
    let section = &scenario.clusters[name];
    let domain = scenario.gateway.domains.get(name);
    let addresses: Vec<_> = domain
        .iter()
        .flat_map(|domain| &domain.bootstrap_servers)
        .flat_map(|s| &s.addresses)
        .collect();
    let whole = addresses.len() >= section.brokers.len();
    let brokers = (0..).zip(&section.brokers).map(|(index, id)| {
        let (host, port) = match addresses.get(index).filter(|_| whole) {
            Some(address) => (address.host.clone(), address.port),
            None => (format!("broker-{id}.{name}.internal"), 9092),
        };
        BrokerSpec { id: *id, host, port, rack: None }
    });
    ClusterSpec {
        name: name.to_owned(),
        seed,
        brokers: brokers.collect(),
        profile: section.kafka,
        settings: section.settings.clone(),
        sasl: None,
        log_bytes_max: setting::LOG_BYTES_MAX,
    }
}

fn name_brokers(scenario: &Scenario, name: &str, spec: &ClusterSpec, network: &SimNetwork) {
    let place = |index: u16| Place { host: name.to_owned(), port: BROKER_PORTS + index };
    for (index, broker) in (0..).zip(&spec.brokers) {
        network.names.set(&broker.host, broker.port, vec![place(index)]);
    }
    // A bootstrap address that is no broker's own stands for all of them.
    let all: Vec<_> = (0..).zip(&spec.brokers).map(|(index, _)| place(index)).collect();
    let domain = scenario.gateway.domains.get(name);
    for address in domain.iter().flat_map(|d| &d.bootstrap_servers).flat_map(|s| &s.addresses) {
        if network.names.resolve(&address.host, address.port).is_none() {
            network.names.set(&address.host, address.port, all.clone());
        }
    }
}

/// Every port of every route leads to the instances in turns.
fn name_routes(scenario: &Scenario, instances: &[Instance], network: &SimNetwork) {
    for route in scenario.gateway.routes.values() {
        for port in route.ports() {
            let places =
                instances.iter().map(|instance| Place { host: instance.host.clone(), port });
            network.names.set(&route.host, port, places.collect());
        }
    }
}
