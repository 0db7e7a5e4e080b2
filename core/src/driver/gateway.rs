//! Listeners and sessions: the [`Plane`] on any [`Network`].

use std::{
    collections::BTreeMap,
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    domain::DomainState,
    network::{Network, Stream as _},
    plane::{OpenError, Plane, Probe, ProbeError},
    probe,
    pump::Pump,
    routes::{Ending, RouteState, lock},
    workers::{Seat, Workers},
};
use crate::{
    config::{Domain, Model, Route as RouteConfig, model::Limits},
    route::{Observed, Snapshot, Target},
    session::{CloseCause, Event, Session, Setting},
    telemetry::{Metrics, RouteMetrics},
    topology::{NodeId, RouteAddresses},
};

/// After an accept that failed (out of file descriptors, mostly) the listener rests.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A domain that nothing is known of is probed again after this time, one that answered after the longer.
const PROBE_AGAIN: Duration = Duration::from_secs(10);
const PROBE_REFRESH: Duration = Duration::from_mins(5);

/// What every task of a gateway shares.
pub(super) struct Shared<N: Network> {
    pub(super) network: N,
    pub(super) metrics: Arc<Metrics>,
    workers: Arc<Workers>,
    started: Instant,
    limits: Mutex<Arc<Limits>>,
    domains: Mutex<BTreeMap<Arc<str>, Arc<DomainState>>>,
    routes: Mutex<BTreeMap<Arc<str>, Arc<OpenRoute>>>,
    listeners: Mutex<BTreeMap<SocketAddr, Listening>>,
    connections: AtomicUsize,
}

struct OpenRoute {
    config: Mutex<Arc<RouteConfig>>,
    state: Arc<RouteState>,
}

/// A port that is listened on. It is handed from route to route without being closed, as a renamed route
/// needs it.
struct Listening {
    /// Whose sessions its connections become.
    route: Arc<Mutex<Arc<RouteState>>>,
    task: JoinHandle<()>,
}

/// The part of a gateway that carries bytes. Cloning gives another handle.
pub struct Gateway<N: Network> {
    shared: Arc<Shared<N>>,
}

impl<N: Network> Clone for Gateway<N> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<N: Network> Shared<N> {
    /// Time since the gateway started: the only clock that sessions know.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn instant(&self, now: Duration) -> Instant {
        self.started + now
    }

    pub(super) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&lock(&self.limits))
    }

    pub(super) fn domain(&self, name: &str) -> Option<Arc<DomainState>> {
        lock(&self.domains).get(name).cloned()
    }

    fn route(&self, name: &str) -> Option<Arc<OpenRoute>> {
        lock(&self.routes).get(name).cloned()
    }

    /// What is known of the domains has changed: every route's sessions get it.
    pub(super) fn republish(&self) {
        let routes: Vec<_> = lock(&self.routes).values().cloned().collect();
        for route in routes {
            let config = Arc::clone(&lock(&route.config));
            let snapshot = Arc::clone(&route.state.published().setting.snapshot);
            self.publish(&route, &config, snapshot);
        }
    }

    fn publish(&self, route: &OpenRoute, config: &RouteConfig, snapshot: Arc<Snapshot>) {
        let metrics = self.metrics.route(&config.name, &snapshot.target.domain);
        route.state.publish(self.setting(config, snapshot), metrics);
    }

    fn setting(&self, route: &RouteConfig, snapshot: Arc<Snapshot>) -> Arc<Setting> {
        let domains = lock(&self.domains);
        let target = &snapshot.target.domain;
        let here = domains.get(target);
        // Candidates only: what a domain offers that the route can never be pointed to is no matter.
        let elsewhere = domains
            .values()
            .filter(|domain| domain.name != *target && route.port_map(&domain.name).is_some())
            .filter_map(|domain| domain.offered());
        Arc::new(Setting {
            route: Arc::clone(&route.name),
            view: route.client_view,
            addresses: Arc::new(addresses(route, target)),
            cluster_id: cluster_id_of(&route.name),
            producer_id_tag: here.map(|domain| domain.config().producer_id_tag),
            offered_here: here.and_then(|domain| domain.offered()),
            offered_elsewhere: elsewhere.collect(),
            known_nodes: here.map(|domain| domain.nodes().into()).unwrap_or_default(),
            limits: self.limits(),
            snapshot,
        })
    }

    /// Takes in what a session noticed.
    pub(super) fn note(&self, metrics: &RouteMetrics, session: &Session, event: Event) {
        let target = &session.setting().snapshot.target.domain;
        match event {
            Event::Forwarded { api_key } => metrics.request(api_key),
            Event::Answered { api_key, latency } => metrics.latency(api_key, latency),
            Event::Rewritten { api_key } => metrics.rewritten(api_key),
            Event::ShortCircuit { api_key, kind } => metrics.short_circuit(api_key, kind),
            Event::Parked => metrics.parked(),
            Event::Refused { api_key, api_version } => {
                metrics.refused(api_key);
                info!(api_key, api_version, "request refused: it was never advertised");
            }
            Event::Dropped(nodes) => self.note_dropped(metrics, session, &nodes),
            Event::Learned(brokers) => {
                if let Some(domain) = self.domain(target)
                    && domain.learn(&brokers)
                {
                    debug!(domain = %target, ?brokers, "learned broker addresses");
                    self.republish();
                }
            }
            Event::Offered(offered) => {
                if let Some(domain) = self.domain(target)
                    && domain.offer(offered)
                {
                    debug!(domain = %target, "learned offered versions");
                    self.republish();
                }
            }
        }
    }

    fn note_dropped(&self, metrics: &RouteMetrics, session: &Session, nodes: &[NodeId]) {
        let target = &session.setting().snapshot.target.domain;
        metrics.dropped_nodes(nodes.len());
        if let Some(domain) = self.domain(target) {
            domain.warn_of_dropped(nodes);
        }
    }
}

impl<N: Network> Gateway<N> {
    /// A gateway without routes. To be called inside the runtime that it shall run on.
    pub fn new(network: N, metrics: Arc<Metrics>, model: &Arc<Model>) -> Self {
        Self::on_workers(network, metrics, model, Workers::here())
    }

    /// A gateway without routes whose connections are spread over several threads.
    pub fn on_workers(
        network: N,
        metrics: Arc<Metrics>,
        model: &Arc<Model>,
        workers: Workers,
    ) -> Self {
        let gateway = Self {
            shared: Arc::new(Shared {
                network,
                metrics,
                workers: Arc::new(workers),
                started: Instant::now(),
                limits: Mutex::new(Arc::new(model.limits.clone())),
                domains: Mutex::default(),
                routes: Mutex::default(),
                listeners: Mutex::default(),
                connections: AtomicUsize::new(0),
            }),
        };
        gateway.configure(model);
        gateway
    }

    /// Keeps what is known of a domain fresh, for as long as the domain is configured.
    fn watch_domain(&self, domain: &Arc<DomainState>) {
        let shared = Arc::clone(&self.shared);
        let name = Arc::clone(&domain.name);
        let domain = Arc::downgrade(domain);
        tokio::spawn(async move {
            let mut failing = false;
            loop {
                // Only the configuration holds a domain for long.
                let Some(domain) = domain.upgrade() else { return };
                let Some(server) = domain.config().bootstrap_servers.first().cloned() else {
                    return;
                };
                let target = Target { domain: Arc::clone(&name), bootstrap_server_id: server.id };
                let pause = match probe::probe(&shared, &domain, &target).await {
                    Ok(_) if failing => {
                        info!(domain = %name, "the streaming domain answers again");
                        PROBE_REFRESH
                    }
                    Ok(_) => PROBE_REFRESH,
                    Err(error) => {
                        // Once for an outage: the metric counts every attempt.
                        if failing {
                            debug!(domain = %name, %error, "cannot look at the streaming domain");
                        } else {
                            warn!(domain = %name, %error, "cannot look at the streaming domain");
                        }
                        PROBE_AGAIN
                    }
                };
                failing = pause == PROBE_AGAIN;
                drop(domain);
                sleep(pause).await;
            }
        });
    }

    /// Listens on every port of the route: on those that another route has listened on so far by taking them
    /// over, for no two routes of a configuration share one. All or nothing.
    async fn listen(&self, config: &RouteConfig, route: &Arc<RouteState>) -> Result<(), OpenError> {
        let addresses = bind_addresses(config);
        let mut fresh = Vec::new();
        for address in &addresses {
            if lock(&self.shared.listeners).contains_key(address) {
                continue;
            }
            let listener = self.shared.network.bind(*address).await.map_err(|source| {
                OpenError::Bind { route: Arc::clone(&config.name), address: *address, source }
            })?;
            fresh.push((*address, listener));
        }
        let mut listeners = lock(&self.shared.listeners);
        for address in &addresses {
            if let Some(listening) = listeners.get(address) {
                *lock(&listening.route) = Arc::clone(route);
            }
        }
        for (address, listener) in fresh {
            let slot = Arc::new(Mutex::new(Arc::clone(route)));
            let shared = Arc::clone(&self.shared);
            let accepting = accept(shared, Arc::clone(&slot), address.port(), listener);
            let span = info_span!("listener", %address);
            let task = tokio::spawn(accepting.instrument(span));
            listeners.insert(address, Listening { route: slot, task });
        }
        Ok(())
    }

    /// Closes the ports of a route but for these. When this returns they can be bound again.
    async fn stop_listening(&self, route: &Arc<RouteState>, keep: &[SocketAddr]) {
        let closing: Vec<_> = lock(&self.shared.listeners)
            .extract_if(.., |address, listening| {
                !keep.contains(address) && Arc::ptr_eq(&lock(&listening.route), route)
            })
            .collect();
        for (_, listening) in closing {
            listening.task.abort();
            // The socket is closed with its task.
            drop(listening.task.await);
        }
    }

    /// Lets sessions end in their own time, then ends what is left.
    async fn drain(&self, route: &OpenRoute, cause: CloseCause, patience: Duration) {
        self.stop_listening(&route.state, &[]).await;
        route.state.end(Ending { cause, at_once: false });
        let empty = || poll_fn(|context| route.state.poll_empty(context));
        if timeout(patience, empty()).await.is_err() {
            route.state.end(Ending { cause, at_once: true });
            // Sessions still deliver what is queued for their clients, within a bound of their own.
            empty().await;
        }
    }
}

impl<N: Network> Plane for Gateway<N> {
    fn configure(&self, model: &Arc<Model>) {
        *lock(&self.shared.limits) = Arc::new(model.limits.clone());
        let mut fresh = Vec::new();
        {
            let mut domains = lock(&self.shared.domains);
            domains.retain(|name, _| model.domains.contains_key(name));
            for (name, config) in &model.domains {
                // Another set of bootstrap servers is another cluster, for all that is known: what was
                // learned of the old one is forgotten, and the new one is looked at.
                let same = domains
                    .get(name)
                    .filter(|domain| domain.config().bootstrap_servers == config.bootstrap_servers);
                if let Some(domain) = same {
                    domain.reconfigure(Arc::clone(config));
                } else {
                    if domains.contains_key(name) {
                        warn!(
                            domain = %name,
                            "bootstrap servers were edited: open sessions stay where they are; another cluster \
                             needs a streaming domain of its own and a switchover"
                        );
                    }
                    let domain = Arc::new(DomainState::new(Arc::clone(config)));
                    fresh.push(Arc::clone(&domain));
                    domains.insert(Arc::clone(name), domain);
                }
            }
        }
        for domain in &fresh {
            self.watch_domain(domain);
        }
        self.shared.republish();
    }

    async fn open_route(
        &self,
        config: &Arc<RouteConfig>,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), OpenError> {
        let metrics = self.shared.metrics.route(&config.name, &snapshot.target.domain);
        let setting = self.shared.setting(config, snapshot);
        let route = Arc::new(OpenRoute {
            config: Mutex::new(Arc::clone(config)),
            state: Arc::new(RouteState::new(setting, metrics)),
        });
        self.listen(config, &route.state).await?;
        lock(&self.shared.routes).insert(Arc::clone(&config.name), route);
        Ok(())
    }

    async fn reconfigure_route(&self, config: &Arc<RouteConfig>) -> Result<(), OpenError> {
        let Some(route) = self.shared.route(&config.name) else { return Ok(()) };
        self.listen(config, &route.state).await?;
        *lock(&route.config) = Arc::clone(config);
        let snapshot = Arc::clone(&route.state.published().setting.snapshot);
        self.shared.publish(&route, config, snapshot);
        self.stop_listening(&route.state, &bind_addresses(config)).await;
        Ok(())
    }

    async fn close_route(&self, name: &str, patience: Duration) {
        let removed = lock(&self.shared.routes).remove(name);
        if let Some(route) = removed {
            self.drain(&route, CloseCause::RouteRemoved, patience).await;
        }
    }

    fn publish(&self, name: &str, snapshot: Arc<Snapshot>) {
        if let Some(route) = self.shared.route(name) {
            let config = Arc::clone(&lock(&route.config));
            self.shared.publish(&route, &config, snapshot);
        }
    }

    fn observe(&self, name: &str) -> Observed {
        self.shared.route(name).map(|route| route.state.observed()).unwrap_or_default()
    }

    async fn probe(&self, domain: &Arc<Domain>, target: &Target) -> Result<Probe, ProbeError> {
        // What is learned of a domain that is not configured (yet) is of no use to anybody.
        let known = self.shared.domain(&domain.name).filter(|known| known.config() == *domain);
        let state = known.unwrap_or_else(|| Arc::new(DomainState::new(Arc::clone(domain))));
        probe::probe(&self.shared, &state, target).await
    }

    async fn shutdown(&self, patience: Duration) {
        let routes: Vec<_> =
            std::mem::take(&mut *lock(&self.shared.routes)).into_values().collect();
        let mut drains = tokio::task::JoinSet::new();
        for route in routes {
            let gateway = self.clone();
            drains
                .spawn(async move { gateway.drain(&route, CloseCause::Shutdown, patience).await });
        }
        while drains.join_next().await.is_some() {}
    }
}

/// Every address that a route listens on: the bootstrap port and those of its node ids, under each
/// domain that it may be pointed to, so that a switch never waits for a port.
fn bind_addresses(config: &RouteConfig) -> Vec<SocketAddr> {
    let address = config.bind_address();
    config.ports().map(|port| SocketAddr::new(address, port)).collect()
}

async fn accept<N: Network>(
    shared: Arc<Shared<N>>,
    route: Arc<Mutex<Arc<RouteState>>>,
    port: u16,
    mut listener: N::Listener,
) {
    let counts = shared.workers.listener();
    loop {
        match shared.network.accept(&mut listener).await {
            Ok((client, peer)) => {
                let route = Arc::clone(&lock(&route));
                let place = Place::take(&shared);
                if place.number > shared.limits().connections_max {
                    route.published().metrics.closed(CloseCause::TooManyConnections);
                    warn!(%peer, "connection refused: `limits.connectionsMax` is reached");
                    continue;
                }
                let shared = Arc::clone(&shared);
                let seat = shared.workers.seat(&counts);
                let client = if seat.is_elsewhere() { client.detach() } else { Ok(client) };
                match client {
                    Ok(client) => {
                        seat.spawn(|seat| serve(shared, route, port, client, peer, (place, seat)));
                    }
                    Err(error) => warn!(%peer, %error, "connection lost before it was served"),
                }
            }
            Err(error) => {
                warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection's share of the limit.
struct Place<N: Network> {
    shared: Arc<Shared<N>>,
    number: usize,
}

impl<N: Network> Place<N> {
    fn take(shared: &Arc<Shared<N>>) -> Self {
        let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Self { shared: Arc::clone(shared), number }
    }
}

impl<N: Network> Drop for Place<N> {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts and logs how a session ended, a panic included.
struct Ended {
    route: Arc<RouteState>,
    peer: SocketAddr,
    port: u16,
    cause: CloseCause,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let Self { route, peer, port, cause } = self;
        let published = route.published();
        published.metrics.closed(*cause);
        let name = &published.setting.route;
        let cause = cause.label();
        match self.cause {
            CloseCause::ClientClosed => debug!(route = %name, %peer, port, cause, "session ended"),
            CloseCause::InternalError => warn!(route = %name, %peer, port, cause, "session ended"),
            _ => info!(route = %name, %peer, port, cause, "session ended"),
        }
    }
}

async fn serve<N: Network>(
    shared: Arc<Shared<N>>,
    route: Arc<RouteState>,
    port: u16,
    client: N::Stream,
    peer: SocketAddr,
    _places: (Place<N>, Seat),
) {
    route.published().metrics.opened();
    let entered = route.enter();
    // A panic ends this task alone; unwinding leaves the cause as it is here.
    let mut ended =
        Ended { route: Arc::clone(&route), peer, port, cause: CloseCause::InternalError };
    ended.cause = Pump::new(shared, route, Arc::clone(&entered.record), port, client).await;
}

/// What clients of the route are told while it points at this domain.
fn addresses(route: &RouteConfig, domain: &str) -> RouteAddresses {
    // Control admits eligible targets only; a route without any has no valid configuration.
    let ports = route.port_map(domain).or_else(|| route.eligible().next().map(|(_, ports)| ports));
    let ports = ports.map_or_else(|| unreachable!("a checked route has ports"), Arc::clone);
    RouteAddresses { host: Arc::clone(&route.host), ports }
}

/// The cluster id that clients of a neutral route see: derived from the route's name, so that every
/// instance of the gateway shows the same, before and after a switch. Kafka's form: sixteen bytes in
/// base64 for URLs.
fn cluster_id_of(route: &str) -> Arc<str> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digest = Sha256::digest(route.as_bytes());
    let bits = digest[..16].iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let sextet = |index: u32| {
        let shift = 122_u32.checked_sub(6 * index);
        let value = shift.map_or_else(|| bits << 4, |shift| bits >> shift);
        char::from(ALPHABET[(value & 0x3f) as usize])
    };
    (0..22).map(sextet).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Environment, Source, check},
        driver::TokioNetwork,
        route::{Desired, Route},
        topology::BrokerAddress,
    };

    /// A connection that was accepted just before its route ended would otherwise live on for ever, and a
    /// gateway that stops would wait for it.
    #[tokio::test]
    async fn connection_that_comes_after_the_end_of_its_route_ends_at_once() {
        let text = "{streamingDomains: [{name: a, kafkaCluster: {bootstrapServers: [{id: x, endpoint: \"127.0.0.1:1\"}]}}], \
                    routes: [{name: r, endpoint: \"127.0.0.1:2\", streamingDomain: {name: a}}]}";
        let source = Source::Inline(text.to_owned());
        let model = check(text.as_bytes(), &source, &Environment::default()).expect("valid").model;
        let gateway = Gateway::new(TokioNetwork, Arc::new(Metrics::default()), &model);
        let shared = Arc::clone(&gateway.shared);
        let config = &model.routes["r"];
        let desired =
            Desired { revision: 1, target: config.target.clone(), fence: None, moved: false };
        let snapshot = Arc::clone(Route::new(Duration::ZERO, desired).snapshot());
        let metrics = shared.metrics.route("r", "a");
        let route = Arc::new(RouteState::new(shared.setting(config, snapshot), metrics));
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = TokioNetwork.bind(any_port).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let address = BrokerAddress { host: "127.0.0.1".to_owned(), port };
        let _client = TokioNetwork.connect(&address).await.expect("connects");
        let (stream, peer) = TokioNetwork.accept(&mut listener).await.expect("accepts");
        route.end(Ending { cause: CloseCause::RouteRemoved, at_once: false });
        let place = Place::take(&shared);
        let seat = shared.workers.seat(&shared.workers.listener());
        let serving =
            serve(Arc::clone(&shared), Arc::clone(&route), port, stream, peer, (place, seat));
        timeout(Duration::from_secs(5), serving).await.expect("ends at once");
        assert_eq!(route.observed().sessions, 0);
        let text = shared.metrics.render(&[]);
        assert!(text.contains("cause=\"route_removed\"} 1"), "{text}");
    }
}
