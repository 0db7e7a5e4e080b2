//! A fake Kafka cluster that speaks the wire protocol.
//!
//! ```text
//!  open, close, handle_frame(now) ─▶ Cluster ─▶ poll_output: Send, Close
//!               handle_time(now) ─▶         ─▶ deadline
//! ```
//!
//! It is a pure state machine: it knows no socket, clock, thread or entropy, and the same inputs at the same times
//! give the same outputs. All brokers live in one value: what Kafka's brokers tell each other holds here at once,
//! except where a fault delays it. Drain [`Cluster::poll_output`] after every input.
//!
//! Nothing is decoded before the gateway's own walker has bounded it.

mod api;
mod broker;
mod connection;
mod controller;
#[cfg(test)]
mod conversation;
mod coordinator;
mod faults;
mod fetch_session;
mod group;
mod inventory;
mod log;
pub mod mirror;
mod sasl;
mod settings;
mod sights;
mod spec;
mod time;
mod timers;
mod topic;
mod transaction;
mod upkeep;
pub mod versions;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kafka_protocol::{
    messages::{ApiKey, BrokerId},
    protocol::StrBytes,
};
use switchyard::wire::{
    header::{Peek, RequestHead, peek_request},
    walk::{Direction, WalkError, Walker},
};

pub use connection::{CloseCause, ConnectionId};
pub use faults::{Effect, Fault, FaultId, Matching, Share};
pub use inventory::TopicInventory;
pub use spec::{BrokerSpec, ClusterSpec, InvalidSetting, SaslSpec};
pub use time::Time;

use api::{Context, WaitingFetch, WaitingProduce, Waits};
use broker::{Broker, BrokerState};
use connection::{Connection, Ticket};
use coordinator::Revealed;
use faults::{Faults, Leaving};
use fetch_session::FetchSessions;
use group::Groups;
use log::LogConfig;
use sasl::Authentication;
use settings::Settings;
use sights::Sights;
pub use sights::{Sight, StoredPartition};
use timers::{Timer, Timers};
use topic::Topics;
use transaction::Transactions;
use upkeep::Upkeep;
use versions::Profile;

/// What the cluster wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes for a client: one whole frame, length included.
    Send {
        /// Whose.
        connection: ConnectionId,
        /// What.
        frame: Bytes,
    },
    /// Close a connection behind what was sent; nothing more is to be fed from it.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        cause: CloseCause,
    },
}

/// A cluster.
#[expect(clippy::struct_field_names, reason = "a cluster's id is called that in the protocol")]
pub struct Cluster {
    name: String,
    seed: u64,
    profile: Profile,
    cluster_id: StrBytes,
    settings: Settings,
    brokers: BTreeMap<BrokerId, Broker>,
    topics: Topics,
    groups: Groups,
    transactions: Transactions,
    /// With them, clients must authenticate.
    users: Option<sasl::Users>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// What the brokers' settings say of logs; topics may have settings of their own.
    log_defaults: LogConfig,
    /// Bytes that all logs together keep.
    log_bytes_max: usize,
    /// `fetch.max.bytes`.
    fetch_bytes_max: i64,
    fetch_sessions: FetchSessions,
    waiting_fetches: BTreeMap<Ticket, WaitingFetch>,
    fetch_waits: Waits,
    waiting_produces: BTreeMap<Ticket, WaitingProduce>,
    produce_waits: Waits,
    upkeep: Upkeep,
    timers: Timers,
    outputs: VecDeque<Output>,
    /// Connections whose next frame can be served.
    ready: VecDeque<ConnectionId>,
    next_connection: u64,
    next_ticket: u64,
    topics_created: u64,
    revealed: Revealed,
    faults: Faults,
    sights: Sights,
    /// The time of the input that is handled.
    now: Time,
}

impl Cluster {
    /// A cluster that has just been formatted, with every broker running.
    pub fn new(spec: ClusterSpec) -> Self {
        let mut random = crate::random::stream(spec.seed, "cluster-id", &spec.name);
        let brokers = spec.brokers.into_iter().map(|broker| {
            let id = BrokerId(broker.id);
            let BrokerSpec { host, port, rack, .. } = broker;
            (id, Broker { id, host, port, rack, state: BrokerState::Running, disk_online: true })
        });
        let users = spec.sasl.map(|sasl| sasl::Users::new(spec.seed, &spec.name, sasl));
        let settings = Settings::new(spec.settings, spec.profile);
        let sessions_max = settings.int("max.incremental.fetch.session.cache.slots");
        let session_ids = crate::random::stream(spec.seed, "fetch-session-id", &spec.name);
        let mut cluster = Self {
            log_defaults: LogConfig::of_brokers(&settings),
            log_bytes_max: spec.log_bytes_max,
            fetch_bytes_max: settings.int("fetch.max.bytes"),
            fetch_sessions: FetchSessions::new(
                usize::try_from(sessions_max).unwrap_or(0),
                session_ids,
            ),
            brokers: brokers.collect(),
            cluster_id: StrBytes::from_string(short_id(random.u128(..))),
            name: spec.name,
            seed: spec.seed,
            profile: spec.profile,
            settings,
            topics: Topics::default(),
            groups: Groups::default(),
            transactions: Transactions::default(),
            users,
            connections: BTreeMap::new(),
            waiting_fetches: BTreeMap::new(),
            fetch_waits: Waits::default(),
            waiting_produces: BTreeMap::new(),
            produce_waits: Waits::default(),
            upkeep: Upkeep::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            ready: VecDeque::new(),
            next_connection: 0,
            next_ticket: 0,
            topics_created: 0,
            revealed: Revealed::default(),
            faults: Faults::default(),
            sights: Sights::default(),
            now: Time::default(),
        };
        cluster.place_internal_topics();
        cluster
    }

    /// A client has connected to a broker; `None`: nothing listens there.
    pub fn open(&mut self, broker: i32, host: &str) -> Option<ConnectionId> {
        let broker = self.brokers.get(&BrokerId(broker))?;
        if broker.state != BrokerState::Running {
            return None;
        }
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let connection = Connection {
            broker: broker.id,
            host: format!("/{host}"),
            queue: VecDeque::new(),
            serving: None,
            authentication: if self.users.is_some() {
                Authentication::Started { versions_known: false }
            } else {
                Authentication::NotNeeded
            },
        };
        self.connections.insert(id, connection);
        Some(id)
    }

    /// Whether clients can connect to a broker.
    pub fn is_listening(&self, broker: i32) -> bool {
        self.brokers
            .get(&BrokerId(broker))
            .is_some_and(|broker| broker.state == BrokerState::Running)
    }

    /// A client has gone.
    pub fn close(&mut self, connection: ConnectionId) {
        self.faults.forget(connection);
        self.connections.remove(&connection);
        self.forget_waiting(connection);
    }

    /// Whether a request of this connection is being served: until its answer, more frames are only queued.
    pub fn is_serving(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|connection| connection.serving.is_some())
    }

    /// A frame has arrived, without its length.
    pub fn handle_frame(&mut self, now: Time, connection: ConnectionId, frame: Bytes) {
        self.advance(now);
        let Some(state) = self.connections.get_mut(&connection) else { return };
        if state.authentication.is_pending() {
            let bytes_max = self.settings.int("sasl.server.max.receive.size");
            if i64::try_from(frame.len()).unwrap_or(i64::MAX) > bytes_max {
                return self.close_connection(connection, CloseCause::Authentication);
            }
        }
        state.queue.push_back(frame);
        if state.serving.is_none() {
            self.ready.push_back(connection);
        }
        self.serve_ready(now);
    }

    /// It is `now`.
    pub fn handle_time(&mut self, now: Time) {
        self.advance(now);
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Fetch(ticket) => self.fetch_is_due(ticket),
                Timer::Produce(ticket) => self.produce_is_due(ticket),
                Timer::Delayed(ticket) => self.delayed_is_due(ticket),
                Timer::Group(id) => self.group_is_due(now, &id),
                Timer::OffsetExpiry => self.offset_expiry_is_due(now),
                Timer::Transaction(id) => self.transaction_is_due(now, &id),
                Timer::Broker(id) => self.broker_is_due(id),
                Timer::LeaderBalance => self.balance_is_due(),
                Timer::Fault(id) => self.fault_is_due(id),
                Timer::Housekeeping => self.keep_up(now),
            }
        }
        self.serve_ready(now);
    }

    /// What is to be done next; `None`: everything has been said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_time`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Remembers the time of an input; it never runs backwards.
    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    fn serve_ready(&mut self, now: Time) {
        while let Some(id) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if connection.serving.is_some() {
                continue;
            }
            let Some(frame) = connection.queue.pop_front() else { continue };
            if connection.authentication.takes_raw_tokens() {
                self.ready.push_back(id);
                self.sasl_raw_token(now, id, &frame);
            } else {
                self.serve_frame(now, id, frame);
            }
        }
    }

    fn serve_frame(&mut self, now: Time, id: ConnectionId, mut frame: Bytes) {
        let Peek::Ready(head) = peek_request(&frame, frame.len()) else {
            return self.close_connection(id, CloseCause::InvalidRequest);
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let ticket = Ticket {
            connection: id,
            number: self.next_ticket,
            correlation_id: head.correlation_id,
            api_key: head.api_key,
            api_version: head.api_version,
        };
        self.next_ticket += 1;
        connection.serving = Some(ticket.number);
        let broker = connection.broker;
        let Ok(key) = ApiKey::try_from(head.api_key) else {
            return self.close_connection(id, CloseCause::InvalidRequest);
        };
        if key == ApiKey::ApiVersions && !versions::is_served(self.profile, key, head.api_version) {
            return self.answer_too_new(ticket);
        }
        if !versions::is_served(self.profile, key, head.api_version) {
            return self.close_connection(id, CloseCause::InvalidRequest);
        }
        if !self.is_admitted(now, id, key) {
            return self.close_connection(id, CloseCause::Authentication);
        }
        let client_id = head.client_id.clone().map(|range| frame.slice(range));
        let client_id = client_id.and_then(|bytes| StrBytes::from_utf8(bytes).ok());
        let mut body = frame.split_off(head.body_offset);
        match walk(&head, &body) {
            Ok(()) => {}
            // Brokers pass over what stands behind a request.
            Err(WalkError::Trailing { at }) => body.truncate(at),
            Err(error) => {
                tracing::debug!(connection = id.0, api = head.api_key, %error, "no request");
                return self.close_connection(id, CloseCause::InvalidRequest);
            }
        }
        let context = Context { now, ticket, broker, client_id };
        if self.fault_takes(&context, &body) {
            return;
        }
        self.dispatch(&context, key, body);
    }

    /// The request is done with. The next one of its connection can be served.
    fn finish(&mut self, ticket: Ticket, frame: Option<Bytes>) {
        if let Leaving::Now(frame) = self.fault_holds(ticket, frame) {
            self.release(ticket, frame);
        }
    }

    /// The answer leaves.
    fn release(&mut self, ticket: Ticket, frame: Option<Bytes>) {
        let Some(connection) = self.connections.get_mut(&ticket.connection) else { return };
        debug_assert_eq!(connection.serving, Some(ticket.number), "answered twice");
        connection.serving = None;
        if !connection.queue.is_empty() {
            self.ready.push_back(ticket.connection);
        }
        if let Some(frame) = frame {
            self.outputs.push_back(Output::Send { connection: ticket.connection, frame });
        }
    }

    fn close_connection(&mut self, id: ConnectionId, cause: CloseCause) {
        self.faults.forget(id);
        if self.connections.remove(&id).is_some() {
            self.forget_waiting(id);
            self.outputs.push_back(Output::Close { connection: id, cause });
        }
    }
}

/// Bounds a request's body, so that it can be decoded.
fn walk(head: &RequestHead, body: &[u8]) -> Result<(), WalkError> {
    let mut walker = Walker::body(Direction::Request, head.api_key, head.api_version, body.len())?;
    walker.feed(body, &mut ())?;
    walker.finish()
}

/// 22 characters of URL-safe base 64, as Kafka writes its ids.
fn short_id(bits: u128) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..22)
        .map(|place| {
            let shift = 128 - 6 * (place + 1);
            let digit = if shift >= 0 { bits >> shift } else { bits << -shift };
            char::from(DIGITS[(digit & 63) as usize])
        })
        .collect()
}
