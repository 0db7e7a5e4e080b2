//! The clients of a rehearsal: model clients on the simulated network, and the applications that use them.
//!
//! All clients share one simulated host. Each is one task, which feeds its machine; each connection is another, which
//! carries frames.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use switchyard::{driver::Network as _, topology::BrokerAddress};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::Instant,
};

use super::{
    application::{self, Application},
    recorder::Recorder,
    world::{World, clock, lock},
};
use crate::{
    client::{ConnectionId, Event, Input, Output},
    cluster::Time,
    network::{SimNetwork, SimStream},
    oracle::history::What,
    scenario::model::Entry,
};

pub(super) use super::margins::Margins;

/// The simulated host of all clients.
pub(super) const HOST: &str = "clients";
/// Nobody has anything left to do when nothing was read or acknowledged for so long: longer than a poll, an interval of
/// commits or a backoff.
pub const QUIET: Duration = Duration::from_secs(12);

/// Names of `count` clients of one kind: `checkout-1` to `checkout-3`.
pub fn names(name: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{name}-{number}")).collect()
}

/// How long after its time a client starts, up to a second: they do not all start in the same instant, as processes do not.
pub fn start_delay(seed: u64, name: &str) -> Duration {
    let mut random = crate::random::stream(seed, "client-start", name);
    Duration::from_micros(random.u64(..1_000_000))
}

/// Consumers that are told to stop polling.
#[derive(Clone, Default)]
pub(super) struct Stalls(Arc<Mutex<BTreeMap<String, Duration>>>);

impl Stalls {
    /// Consumers of this name stop polling for a while.
    pub(super) fn stall(&self, name: &str, lasts: Duration) {
        let until = turmoil::sim_elapsed().unwrap_or_default() + lasts;
        lock(&self.0).insert(name.to_owned(), until);
    }

    /// Until when consumers of this name do not poll.
    pub(super) fn until(&self, name: &str) -> Option<Duration> {
        lock(&self.0).get(name).copied()
    }
}

/// What all clients of a run share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) recorder: Recorder,
    pub(super) network: SimNetwork,
    pub(super) stalls: Stalls,
    /// Applications hand nothing over any more.
    pub(super) stopped: Arc<AtomicBool>,
    /// Records handed over and not decided, over all producers.
    pub(super) open: Arc<AtomicU64>,
    /// When something was acknowledged or read for the last time, in microseconds of the simulation.
    progress_us: Arc<AtomicU64>,
    /// What no byte that reaches a client behind a route may contain.
    forbidden: Arc<[String]>,
}

impl Shared {
    pub(super) fn progress(&self) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.progress_us.store(now, Ordering::Relaxed);
    }
}

impl Shared {
    /// What a client tells and that is not its application's own matter.
    pub(super) fn note_event(&self, name: &str, event: &Event) {
        let what = match event {
            Event::EpochBumped { .. } => What::EpochBumped,
            Event::Rebootstrapped => What::Rebootstrapped,
            Event::AuthenticationFailed | Event::AllBrokersDown => {
                What::Log { level: "warn".into(), text: format!("{event:?}").into() }
            }
            other => What::Log { level: "debug".into(), text: format!("{other:?}").into() },
        };
        self.recorder.record(name, what);
    }
}

/// All clients of a run.
#[derive(Clone)]
pub(super) struct Clients {
    world: World,
    shared: Shared,
}

impl Clients {
    pub(super) fn new(world: &World) -> Self {
        let hosts = world.brokers.values().flatten().map(|broker| broker.host.clone());
        let own: Vec<_> =
            world.scenario.gateway.routes.values().map(|r| r.host.to_string()).collect();
        let mut forbidden: Vec<_> = hosts.filter(|host| !own.contains(host)).collect();
        forbidden.sort();
        forbidden.dedup();
        let shared = Shared {
            recorder: world.recorder.clone(),
            network: world.network.clone(),
            stalls: Stalls::default(),
            stopped: Arc::default(),
            open: Arc::default(),
            progress_us: Arc::default(),
            forbidden: forbidden.into(),
        };
        Self { world: world.clone(), shared }
    }

    pub(super) fn stalls(&self) -> Stalls {
        self.shared.stalls.clone()
    }

    pub(super) fn margins(&self) -> Margins {
        Margins::new(&self.world.scenario)
    }

    /// Applications send nothing more; what they have handed over comes to its end.
    pub(super) fn stop_sending(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.progress();
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn have_settled(&self, _: &World) -> bool {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let progress = Duration::from_micros(self.shared.progress_us.load(Ordering::Relaxed));
        self.shared.open.load(Ordering::Relaxed) == 0 && now.saturating_sub(progress) > QUIET
    }

    /// Puts the clients' host into the simulation.
    pub(super) fn start(&self, sim: &mut turmoil::Sim<'static>) {
        let own = self.clone();
        sim.host(HOST, move || {
            let own = own.clone();
            async move {
                own.spawn_all();
                std::future::pending::<()>().await;
                Ok(())
            }
        });
    }

    fn spawn_all(&self) {
        let scenario = &self.world.scenario;
        for producer in &scenario.producers {
            let bootstrap = self.bootstrap(&producer.entry);
            for name in names(&producer.name, producer.count) {
                let application = application::Producing::new(
                    &name,
                    producer,
                    &bootstrap,
                    self.world.seed,
                    self.shared.clone(),
                );
                self.spawn(&name, &producer.entry, producer.start, application);
            }
        }
        for consumer in &scenario.consumers {
            let bootstrap = self.bootstrap(&consumer.entry);
            for name in names(&consumer.name, consumer.count) {
                let application = application::Consuming::new(
                    &name,
                    consumer,
                    &bootstrap,
                    self.world.seed,
                    self.shared.clone(),
                );
                self.spawn(&name, &consumer.entry, consumer.start, application);
            }
        }
    }

    /// `bootstrap.servers` of a client.
    fn bootstrap(&self, entry: &Entry) -> String {
        match entry {
            Entry::Route(route) => self.world.scenario.gateway.routes[route.as_str()].endpoint(),
            Entry::Cluster(name) => {
                let brokers = self.world.brokers[name].iter();
                let addresses: Vec<_> =
                    brokers.map(|broker| format!("{}:{}", broker.host, broker.port)).collect();
                addresses.join(",")
            }
        }
    }

    fn spawn(&self, name: &str, entry: &Entry, start: Duration, application: impl Application) {
        let scans = matches!(entry, Entry::Route(_));
        let task = Task {
            name: self.shared.recorder.name(name),
            shared: self.shared.clone(),
            scans,
            connections: BTreeMap::new(),
            clock: clock(),
        };
        let start = start + start_delay(self.world.seed, name);
        tokio::spawn(async move {
            tokio::time::sleep(start).await;
            task.run(application).await;
        });
    }
}

/// One client.
struct Task {
    name: Arc<str>,
    shared: Shared,
    /// Whether what it receives is searched for upstream addresses.
    scans: bool,
    connections: BTreeMap<ConnectionId, mpsc::UnboundedSender<Bytes>>,
    clock: crate::serve::Clock,
}

/// Inputs that may wait for a client. Its connections wait when it is slower than they are.
const INPUTS: usize = 256;

impl Task {
    async fn run(mut self, mut application: impl Application) {
        let (inputs, mut arrived) = mpsc::channel(INPUTS);
        loop {
            let now = (self.clock)();
            application.handle_time(now);
            while let Some(output) = application.poll_output() {
                self.act(output, &inputs, &mut application, now);
            }
            let wake = application.deadline().map(|at| Instant::now() + at.since(now));
            tokio::select! {
                biased;
                input = arrived.recv() => {
                    let Some(input) = input else { return };
                    let now = (self.clock)();
                    self.note(&input);
                    if let Input::Closed(connection) = &input {
                        self.connections.remove(connection);
                    }
                    application.handle_input(now, input);
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn note(&self, input: &Input) {
        match input {
            Input::Connected(_) => self.shared.recorder.record(&self.name, What::Connected),
            Input::Closed(connection) if self.connections.contains_key(connection) => {
                let reason = "closed by the other side".into();
                self.shared.recorder.record(&self.name, What::Disconnected { reason });
            }
            _ => {}
        }
    }

    fn act(
        &mut self,
        output: Output,
        inputs: &mpsc::Sender<Input>,
        application: &mut impl Application,
        now: Time,
    ) {
        match output {
            Output::Dial { connection, host, port } => {
                let (frames, to_send) = mpsc::unbounded_channel();
                self.connections.insert(connection, frames);
                let address = BrokerAddress { host, port };
                let carrier = Carrier {
                    connection,
                    inputs: inputs.clone(),
                    name: Arc::clone(&self.name),
                    shared: self.shared.clone(),
                    scans: self.scans,
                };
                tokio::spawn(carrier.run(address, to_send));
            }
            Output::Send { connection, frame } => {
                if let Some(frames) = self.connections.get(&connection) {
                    // A connection that has ended says so by itself.
                    let _ = frames.send(frame);
                }
            }
            Output::Close { connection } => {
                if self.connections.remove(&connection).is_some() {
                    let reason = "closed by the client".into();
                    self.shared.recorder.record(&self.name, What::Disconnected { reason });
                }
            }
            Output::Event(event) => {
                if matches!(event, Event::Acknowledged { .. } | Event::Consumed { .. }) {
                    self.shared.progress();
                }
                application.handle_event(now, event);
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Carries the frames of one connection.
struct Carrier {
    connection: ConnectionId,
    inputs: mpsc::Sender<Input>,
    name: Arc<str>,
    shared: Shared,
    scans: bool,
}

impl Carrier {
    async fn run(self, address: BrokerAddress, mut to_send: mpsc::UnboundedReceiver<Bytes>) {
        let dialled = tokio::select! {
            biased;
            dialled = self.shared.network.connect(&address) => dialled,
            // The client has given up.
            () = closed(&mut to_send) => return,
        };
        if let Ok(stream) = dialled
            && self.inputs.send(Input::Connected(self.connection)).await.is_ok()
        {
            self.converse(stream, to_send).await;
        }
        // A client that has ended hears nothing any more.
        let _ = self.inputs.send(Input::Closed(self.connection)).await;
    }

    async fn converse(&self, mut stream: SimStream, mut to_send: mpsc::UnboundedReceiver<Bytes>) {
        let mut read = BytesMut::new();
        loop {
            tokio::select! {
                biased;
                frame = to_send.recv() => match frame {
                    Some(frame) => {
                        if stream.write_all(&frame).await.is_err() {
                            return;
                        }
                    }
                    None => {
                        let _ = stream.shutdown().await;
                        return;
                    }
                },
                bytes = stream.read_buf(&mut read) => {
                    if !matches!(bytes, Ok(1..)) {
                        return;
                    }
                    while let Some(frame) = take_frame(&mut read) {
                        self.scan(&frame);
                        let input = Input::Frame(self.connection, frame);
                        if self.inputs.send(input).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn scan(&self, frame: &[u8]) {
        if !self.scans {
            return;
        }
        for host in self.shared.forbidden.iter() {
            if frame.windows(host.len()).any(|window| window == host.as_bytes()) {
                let address = self.shared.recorder.name(host);
                self.shared.recorder.record(&self.name, What::UpstreamAddress { address });
            }
        }
    }
}

/// Resolves when the client has let go of a connection that is not there yet.
async fn closed(to_send: &mut mpsc::UnboundedReceiver<Bytes>) {
    // Nothing is sent before the connection is there, so the first thing that can be received is its end.
    let _ = to_send.recv().await;
}

fn take_frame(read: &mut BytesMut) -> Option<Bytes> {
    let length = i32::from_be_bytes(*read.first_chunk::<4>()?);
    let length = usize::try_from(length).ok()?;
    if read.len() < 4 + length {
        read.reserve(4 + length - read.len());
        return None;
    }
    read.advance(4);
    Some(read.split_to(length).freeze())
}
