//! A fake cluster on sockets: those of the machine, or those of any other [`Network`].
//!
//! ```text
//!  listener of a broker ──accept──▶ one task a connection ──frame──▶ SharedCluster ──▶ Cluster
//!     ▲  unbound while                  ▲       │ answers                 ▲
//!     │  its broker is down             └───────┴── wake ◀── seat         └── keep_time
//!     └─────────────────────────── watch: Up, Down, Stopped ──────────────────┘
//! ```
//! - The cluster is behind one lock. Serving a request takes it once; nobody awaits while holding it.
//! - A connection is read only when all that it asked before is answered and written, as a broker mutes its
//!   channels. So at most one answer waits for a client, and a client that does not read holds up nobody else.
//! - A broker that is down has no listener: connecting to it is refused, as by the kernel of a dead machine's peer.
//!
//! Absent on purpose: threads. Whoever wants several runs several clusters.

#![expect(clippy::disallowed_methods, reason = "it owns the clock and the tasks")]

mod connection;
mod listener;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use switchyard::driver::Network;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::cluster::{CloseCause, Cluster, ClusterSpec, ConnectionId, Output, Time};

pub use listener::serve_broker;

/// Gives the time to the cluster; never goes backwards.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How long [`Server::stop`] waits for answers to be taken.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

/// The time of this machine: the wall clock at the first look, steady from there on.
pub fn machine_clock() -> Clock {
    let epoch =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let start = tokio::time::Instant::now();
    Arc::new(move || {
        let now = epoch + start.elapsed();
        Time::from_micros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
    })
}

/// Whether a broker's port is to be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    Up,
    Down,
    /// For ever: the cluster is taken down.
    Stopped,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// At once, whatever is unsent.
    Cut,
    /// Behind what was answered.
    AfterAnswers,
}

/// What has gone over the sockets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections accepted.
    pub connections: u64,
    /// Requests read.
    pub requests: u64,
    /// Bytes of requests.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
}

/// A cluster that several tasks feed. Cloning gives another handle.
#[derive(Clone)]
pub struct SharedCluster {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// The next deadline is earlier than the one that is waited for.
    earlier: Notify,
    listening: BTreeMap<i32, watch::Sender<Listening>>,
    stopped: watch::Sender<bool>,
    clock: Clock,
}

struct State {
    cluster: Cluster,
    seats: BTreeMap<ConnectionId, Seat>,
    /// The deadline that [`SharedCluster::keep_time`] waits for.
    awaited: Option<Time>,
    traffic: Traffic,
}

/// What waits for the task of one connection.
#[derive(Default)]
struct Seat {
    answers: Vec<Bytes>,
    ending: Option<Ending>,
    wake: Arc<Notify>,
}

/// Where a connection stands after an input.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// A request is being served: its answer comes later.
    serving: bool,
    ending: Option<Ending>,
}

impl State {
    /// Puts what the cluster says where the tasks fetch it, and wakes them, except for the one that asks.
    fn hand_out(&mut self, asking: Option<ConnectionId>) {
        while let Some(output) = self.cluster.poll_output() {
            let (Output::Send { connection, .. } | Output::Close { connection, .. }) = output;
            let Some(seat) = self.seats.get_mut(&connection) else { continue };
            match output {
                Output::Send { frame, .. } => seat.answers.push(frame),
                Output::Close { cause, .. } => {
                    tracing::debug!(connection = connection.0, ?cause, "closed");
                    seat.ending = Some(match cause {
                        CloseCause::BrokerDown => Ending::Cut,
                        CloseCause::InvalidRequest
                        | CloseCause::Authentication
                        | CloseCause::Fault
                        | CloseCause::ProduceFailed => Ending::AfterAnswers,
                    });
                }
            }
            if asking != Some(connection) {
                seat.wake.notify_one();
            }
        }
    }

    /// Moves what waits for a connection to the end of `answers`.
    fn take(&mut self, connection: ConnectionId, answers: &mut Vec<Bytes>) -> Turn {
        let Some(seat) = self.seats.get_mut(&connection) else {
            return Turn { serving: false, ending: Some(Ending::Cut) };
        };
        let bytes: usize = seat.answers.iter().map(Bytes::len).sum();
        self.traffic.bytes_out += bytes as u64;
        answers.append(&mut seat.answers);
        Turn { serving: self.cluster.is_serving(connection), ending: seat.ending }
    }
}

impl SharedCluster {
    /// A new cluster, to be shared among tasks.
    pub fn new(spec: ClusterSpec, clock: Clock) -> Self {
        let listening = spec
            .brokers
            .iter()
            .map(|broker| (broker.id, watch::Sender::new(Listening::Up)))
            .collect();
        let state = State {
            cluster: Cluster::new(spec),
            seats: BTreeMap::new(),
            awaited: None,
            traffic: Traffic::default(),
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                earlier: Notify::new(),
                listening,
                stopped: watch::Sender::new(false),
                clock,
            }),
        }
    }

    /// Does something with the cluster at the current time, and hands out what comes of it. Brokers that it stops
    /// refuse connections from then on; those that it starts accept them soon.
    pub fn with<T>(&self, act: impl FnOnce(&mut Cluster, Time) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state.cluster, (self.inner.clock)());
        state.hand_out(None);
        self.follow_brokers(&state);
        self.follow_deadline(&mut state);
        result
    }

    /// What has gone over the sockets so far.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// Wakes the cluster at its deadlines, until it is stopped.
    pub async fn keep_time(self) {
        let mut stopped = self.inner.stopped.subscribe();
        while !*stopped.borrow_and_update() {
            let now = (self.inner.clock)();
            let deadline = {
                let mut state = self.lock();
                state.awaited = state.cluster.deadline();
                state.awaited
            };
            let wait = deadline.map(|deadline| deadline.since(now));
            if wait.is_some_and(|wait| wait.is_zero()) {
                self.with(Cluster::handle_time);
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.inner.earlier.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Closes every connection behind what was answered, and every listener.
    pub fn stop(&self) {
        for listening in self.inner.listening.values() {
            listening.send_replace(Listening::Stopped);
        }
        self.inner.stopped.send_replace(true);
        for seat in self.lock().seats.values_mut() {
            seat.ending.get_or_insert(Ending::AfterAnswers);
            seat.wake.notify_one();
        }
    }

    /// A client has connected; `None`: the broker is down.
    fn open(&self, broker: i32, peer: SocketAddr) -> Option<(ConnectionId, Arc<Notify>)> {
        let mut state = self.lock();
        if *self.inner.stopped.borrow() {
            return None;
        }
        let connection = state.cluster.open(broker, &peer.ip().to_string())?;
        let seat = Seat::default();
        let wake = Arc::clone(&seat.wake);
        state.seats.insert(connection, seat);
        state.traffic.connections += 1;
        Some((connection, wake))
    }

    /// A client has sent a frame.
    fn feed(&self, connection: ConnectionId, frame: Bytes, answers: &mut Vec<Bytes>) -> Turn {
        let mut state = self.lock();
        state.traffic.requests += 1;
        state.traffic.bytes_in += frame.len() as u64;
        state.cluster.handle_frame((self.inner.clock)(), connection, frame);
        state.hand_out(Some(connection));
        let turn = state.take(connection, answers);
        self.follow_deadline(&mut state);
        turn
    }

    /// Fetches what waits for a connection.
    fn take(&self, connection: ConnectionId, answers: &mut Vec<Bytes>) -> Turn {
        self.lock().take(connection, answers)
    }

    /// A client has gone.
    fn close(&self, connection: ConnectionId) {
        let mut state = self.lock();
        state.seats.remove(&connection);
        state.cluster.close(connection);
        state.hand_out(None);
        self.follow_deadline(&mut state);
    }

    fn listening(&self, broker: i32) -> Option<watch::Receiver<Listening>> {
        self.inner.listening.get(&broker).map(watch::Sender::subscribe)
    }

    fn follow_brokers(&self, state: &State) {
        for (broker, listening) in &self.inner.listening {
            let up = state.cluster.is_listening(*broker);
            listening.send_if_modified(|listening| {
                let wanted = if up { Listening::Up } else { Listening::Down };
                let changed = *listening != wanted && *listening != Listening::Stopped;
                if changed {
                    *listening = wanted;
                }
                changed
            });
        }
    }

    fn follow_deadline(&self, state: &mut State) {
        let Some(deadline) = state.cluster.deadline() else { return };
        if state.awaited.is_none_or(|awaited| deadline < awaited) {
            state.awaited = Some(deadline);
            self.inner.earlier.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the cluster is a bug that its own task reports; the others need not fall over it.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// A broker's port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for broker {broker} of cluster `{cluster}`: {source}")]
pub struct BindError {
    /// Name of the cluster.
    pub cluster: String,
    /// Whose port.
    pub broker: i32,
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// A cluster that serves all of its brokers in this runtime.
pub struct Server {
    cluster: SharedCluster,
    tasks: JoinSet<()>,
}

impl Server {
    /// Binds every broker's port at `ip`, or none, then serves.
    ///
    /// # Errors
    /// When a port cannot be listened on.
    pub async fn start<N: Network>(
        network: N,
        spec: ClusterSpec,
        ip: std::net::IpAddr,
        clock: Clock,
    ) -> Result<Self, BindError> {
        let mut bound = Vec::with_capacity(spec.brokers.len());
        for broker in &spec.brokers {
            let address = SocketAddr::new(ip, broker.port);
            let listener = network.bind(address).await.map_err(|source| BindError {
                cluster: spec.name.clone(),
                broker: broker.id,
                address,
                source,
            })?;
            bound.push((broker.id, address, listener));
        }
        let cluster = SharedCluster::new(spec, clock);
        let mut tasks = JoinSet::new();
        for (broker, address, listener) in bound {
            let (network, cluster) = (network.clone(), cluster.clone());
            tasks.spawn(serve_broker(network, address, listener, cluster, broker));
        }
        tasks.spawn(cluster.clone().keep_time());
        Ok(Self { cluster, tasks })
    }

    /// The cluster.
    pub fn cluster(&self) -> &SharedCluster {
        &self.cluster
    }

    /// Closes everything: answers on their way are still delivered, for a moment.
    pub async fn stop(mut self) {
        self.cluster.stop();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Whoever does not take its answers in time is cut off when the tasks are dropped.
        drop(tokio::time::timeout(STOP_TIME_MAX, all).await);
    }
}
