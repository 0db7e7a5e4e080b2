//! The connections of one client: whom it knows, whom it may dial and when, whom it asks.
//!
//! Invariants: at most one connection a node; a node that failed is left alone until its backoff has passed;
//! whatever was in flight on a connection that went comes back as [`Happening::Lost`], in order.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::{messages::ApiKey, protocol::Request};

use super::{
    ConnectionId, Output,
    config::{CommonSettings, Library},
    connection::{Breakage, Connection, Progress},
};
use crate::cluster::Time;

/// A broker as a client knows it: its node id, a negative number for a bootstrap server, or a coordinator.
pub(super) type NodeId = i32;

/// The node id under which a coordinator gets a connection of its own, so that fetches do not hold up heartbeats.
pub(super) const fn coordinator(id: i32) -> NodeId {
    i32::MAX - id
}

/// What has happened to a node or to a request.
pub(super) enum Happening<T> {
    /// A request was answered.
    Answer { node: NodeId, tag: T, version: i16, body: Bytes },
    /// A request went down with its connection.
    Lost { node: NodeId, tag: T, timed_out: bool },
    /// A connection has gone, or was never made. `None`: not from this side. `newly_down`: it was usable before.
    Disconnected { node: NodeId, breakage: Option<Breakage>, newly_down: bool },
    /// A connection can be used.
    Ready,
}

struct Node<T> {
    host: String,
    port: u16,
    connection: Option<Connection<T>>,
    /// Failures in a row: reconnect backoff grows with them.
    failures: u32,
    /// Dials that timed out or failed, in a row.
    setup_failures: u32,
    /// Not to be dialled before.
    dial_from: Time,
    last_attempt: Time,
    /// Somebody wants it dialled as soon as that is allowed.
    wanted: bool,
    /// Failed since it was last usable: what librdkafka counts.
    is_down: bool,
}

/// All connections of a client.
pub(super) struct Network<T> {
    pub(super) settings: CommonSettings,
    random: Rng,
    nodes: BTreeMap<NodeId, Node<T>>,
    by_connection: BTreeMap<ConnectionId, NodeId>,
    next_connection: u64,
    happenings: VecDeque<Happening<T>>,
    pub(super) outputs: VecDeque<Output>,
}

/// The node that is asked next, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeastLoaded {
    pub(super) node: Option<NodeId>,
    /// Some connection is set up, even if none can take more.
    pub(super) any_ready: bool,
}

impl<T> Network<T> {
    pub(super) fn new(settings: CommonSettings, seed: u64, name: &str) -> Self {
        Self {
            settings,
            random: crate::random::stream(seed, "client-network", name),
            nodes: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            next_connection: 0,
            happenings: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Makes a node known, or moves it to another address. An open connection stays what it is.
    pub(super) fn know(&mut self, node: NodeId, host: &str, port: u16) {
        let known = self.nodes.entry(node).or_insert_with(|| Node {
            host: host.to_owned(),
            port,
            connection: None,
            failures: 0,
            setup_failures: 0,
            dial_from: Time::default(),
            last_attempt: Time::default(),
            wanted: false,
            is_down: false,
        });
        if known.host != host || known.port != port {
            host.clone_into(&mut known.host);
            known.port = port;
        }
    }

    /// A node is to be dialled as if it had never failed.
    pub(super) fn give_fresh_start(&mut self, node: NodeId, dial_from: Time) {
        if let Some(node) = self.nodes.get_mut(&node) {
            (node.failures, node.dial_from, node.is_down) = (0, dial_from, false);
        }
    }

    /// Gives up every node that is not to be kept, its connection included; one that has something to answer stays
    /// until the next time.
    pub(super) fn retain(&mut self, now: Time, keep: impl Fn(NodeId) -> bool) {
        let idle = |node: &Node<T>| node.connection.as_ref().is_none_or(|it| it.in_flight() == 0);
        let gone: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| !keep(**id) && idle(node))
            .map(|(id, _)| *id)
            .collect();
        for node in gone {
            self.disconnect(now, node, Some(Breakage::Retired), true);
            self.nodes.remove(&node);
        }
    }

    /// Whether a request can be sent at once.
    pub(super) fn can_send(&self, node: NodeId) -> bool {
        let connection = self.nodes.get(&node).and_then(|node| node.connection.as_ref());
        connection.is_some_and(|connection| {
            connection.is_ready() && connection.in_flight() < self.settings.in_flight_max
        })
    }

    /// Whether a request can be sent at once; where it cannot, dials, or has the node dialled when it may be.
    pub(super) fn ready(&mut self, now: Time, id: NodeId) -> bool {
        if self.can_send(id) {
            return true;
        }
        let Some(node) = self.nodes.get_mut(&id) else { return false };
        if node.connection.is_none() {
            if node.dial_from <= now {
                self.dial(now, id);
            } else {
                node.wanted = true;
            }
        }
        false
    }

    pub(super) fn is_ready(&self, id: NodeId) -> bool {
        let connection = self.nodes.get(&id).and_then(|node| node.connection.as_ref());
        connection.is_some_and(Connection::is_ready)
    }

    fn is_connecting(&self, id: NodeId) -> bool {
        let connection = self.nodes.get(&id).and_then(|node| node.connection.as_ref());
        connection.is_some_and(|connection| !connection.is_ready())
    }

    /// Whether every one of these nodes has failed since it was last usable.
    pub(super) fn all_down(&self, mut nodes: impl Iterator<Item = NodeId>) -> bool {
        nodes.all(|id| self.nodes.get(&id).is_some_and(|node| node.is_down))
    }

    /// Versions that a node offers, where it is connected.
    pub(super) fn version<R: Request>(&self, node: NodeId, at_most: i16) -> Option<i16> {
        let key = ApiKey::try_from(R::KEY).expect("every request has a key");
        let connection = self.nodes.get(&node)?.connection.as_ref()?;
        connection.offered.version(self.settings.library, key, at_most)
    }

    /// What a node offers, where it is connected.
    pub(super) fn offered(&self, node: NodeId) -> Option<&super::versions::Offered> {
        Some(&self.nodes.get(&node)?.connection.as_ref()?.offered)
    }

    /// The node to ask: one that is idle, one that is not full, one that is being dialled, one that may be dialled.
    pub(super) fn least_loaded(&mut self, now: Time, among: &[NodeId]) -> LeastLoaded {
        let offset = if among.is_empty() { 0 } else { self.random.usize(..among.len()) };
        let mut any_ready = false;
        let mut ready: Option<(usize, NodeId)> = None;
        let mut connecting = None;
        let mut dialable: Option<(Time, NodeId)> = None;
        for id in among.iter().cycle().skip(offset).take(among.len()).copied() {
            let Some(node) = self.nodes.get(&id) else { continue };
            any_ready |= self.is_ready(id);
            if self.can_send(id) {
                let load = node.connection.as_ref().map_or(0, Connection::in_flight);
                if ready.is_none_or(|(least, _)| load < least) {
                    ready = Some((load, id));
                }
            } else if self.is_connecting(id) {
                connecting = Some(id);
            } else if node.connection.is_none()
                && node.dial_from <= now
                && dialable.is_none_or(|(oldest, _)| node.last_attempt < oldest)
            {
                dialable = Some((node.last_attempt, id));
            }
        }
        let ready = ready.map(|(_, id)| id);
        let node = ready.or(connecting).or(dialable.map(|(_, id)| id));
        LeastLoaded { node, any_ready }
    }

    /// Whether one of these nodes is being dialled.
    pub(super) fn any_connecting(&self, among: &[NodeId]) -> bool {
        among.iter().any(|id| self.is_connecting(*id))
    }

    /// When the first of these nodes may be dialled again.
    pub(super) fn next_dial(&self, among: &[NodeId]) -> Option<Time> {
        let nodes = among.iter().filter_map(|id| self.nodes.get(id));
        nodes.filter(|node| node.connection.is_none()).map(|node| node.dial_from).min()
    }

    fn dial(&mut self, now: Time, id: NodeId) {
        let connection_id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let node = self.nodes.get_mut(&id).expect("only known nodes are dialled");
        let settings = &self.settings;
        let timeout = settings.setup_timeout.wait(&mut self.random, node.setup_failures);
        if settings.library == Library::Librdkafka {
            // Its backoff runs from one dial to the next, and forgets when the last is long ago.
            if node.dial_from + settings.reconnect.max < now {
                node.failures = 0;
            }
            node.dial_from = now + settings.reconnect.wait(&mut self.random, node.failures);
            node.failures += 1;
        }
        node.wanted = false;
        node.last_attempt = now;
        node.connection = Some(Connection::new(connection_id, now, timeout));
        self.by_connection.insert(connection_id, id);
        let (host, port) = (node.host.clone(), node.port);
        self.outputs.push_back(Output::Dial { connection: connection_id, host, port });
    }

    /// Sends a request to a node that [`Self::can_send`]. Without a tag no answer is expected.
    pub(super) fn send<R: Request>(
        &mut self,
        now: Time,
        node: NodeId,
        version: i16,
        request: &R,
        timeout: Duration,
        tag: Option<T>,
    ) {
        let node = self.nodes.get_mut(&node).expect("a node that can be sent to is known");
        let connection = node.connection.as_mut().expect("and connected");
        let frame = connection.request(now, &self.settings, version, request, timeout, tag);
        self.outputs.push_back(Output::Send { connection: connection.id, frame });
    }

    /// A dial has succeeded.
    pub(super) fn handle_connected(&mut self, now: Time, id: ConnectionId) {
        let Some(node) = self.by_connection.get(&id) else { return };
        let node = self.nodes.get_mut(node).expect("connections belong to nodes");
        node.setup_failures = 0;
        let connection = node.connection.as_mut().expect("it is by_connection");
        let frame = connection.handle_connected(now, &self.settings);
        self.outputs.push_back(Output::Send { connection: id, frame });
    }

    /// A dial has failed, or the other side has closed.
    pub(super) fn handle_closed(&mut self, now: Time, id: ConnectionId) {
        if let Some(node) = self.by_connection.get(&id).copied() {
            self.disconnect(now, node, None, false);
        }
    }

    /// A frame has arrived.
    pub(super) fn handle_frame(&mut self, now: Time, id: ConnectionId, frame: Bytes) {
        let Some(node_id) = self.by_connection.get(&id).copied() else { return };
        let node = self.nodes.get_mut(&node_id).expect("connections belong to nodes");
        let connection = node.connection.as_mut().expect("it is by_connection");
        let (progress, frame) = connection.handle_frame(now, &self.settings, frame);
        if let Some(frame) = frame {
            self.outputs.push_back(Output::Send { connection: id, frame });
        }
        match progress {
            Progress::None => {}
            Progress::Ready => {
                if self.settings.library == Library::Java {
                    node.failures = 0;
                }
                node.is_down = false;
                self.happenings.push_back(Happening::Ready);
            }
            Progress::Answer { tag, version, body } => {
                self.happenings.push_back(Happening::Answer { node: node_id, tag, version, body });
            }
            Progress::Broken(breakage) => self.disconnect(now, node_id, Some(breakage), true),
        }
    }

    /// It is `now`.
    pub(super) fn handle_time(&mut self, now: Time) {
        let mut broken = Vec::new();
        let mut due = Vec::new();
        for (id, node) in &self.nodes {
            match &node.connection {
                Some(connection) => {
                    if let Some(breakage) = connection.handle_time(now, &self.settings) {
                        broken.push((*id, breakage));
                    }
                }
                None if node.wanted && node.dial_from <= now => due.push(*id),
                None => {}
            }
        }
        for (node, breakage) in broken {
            self.disconnect(now, node, Some(breakage), true);
        }
        for node in due {
            self.dial(now, node);
        }
    }

    /// When [`Self::handle_time`] is to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Time> {
        let of = |node: &Node<T>| match &node.connection {
            Some(connection) => connection.deadline(&self.settings),
            None => node.wanted.then_some(node.dial_from),
        };
        self.nodes.values().filter_map(of).min()
    }

    pub(super) fn poll(&mut self) -> Option<Happening<T>> {
        self.happenings.pop_front()
    }

    /// Gives up the connection of a node, as if it had failed.
    pub(super) fn drop_connection(&mut self, now: Time, node: NodeId) {
        self.disconnect(now, node, None, true);
    }

    /// Closes everything, for good.
    pub(super) fn close(&mut self) {
        for (id, _) in std::mem::take(&mut self.by_connection) {
            self.outputs.push_back(Output::Close { connection: id });
        }
        self.nodes.clear();
        self.happenings.clear();
    }

    fn disconnect(&mut self, now: Time, id: NodeId, breakage: Option<Breakage>, close: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(connection) = node.connection.take() else { return };
        self.by_connection.remove(&connection.id);
        if close {
            self.outputs.push_back(Output::Close { connection: connection.id });
        }
        if !connection.is_ready() && self.settings.library == Library::Java {
            node.setup_failures += 1;
        }
        let planned = matches!(breakage, Some(Breakage::Idle | Breakage::Retired));
        let newly_down = !node.is_down && !planned;
        node.is_down |= newly_down;
        node.wanted = false;
        match self.settings.library {
            Library::Java => {
                node.dial_from =
                    now + self.settings.reconnect.wait(&mut self.random, node.failures);
                node.failures += 1;
                node.last_attempt = now;
            }
            // A dial that failed counts twice: the library moves its backoff before and after.
            Library::Librdkafka if !connection.is_ready() => {
                node.dial_from =
                    now + self.settings.reconnect.wait(&mut self.random, node.failures);
                node.failures += 1;
            }
            Library::Librdkafka => {}
        }
        let timed_out = breakage == Some(Breakage::RequestTimeout);
        for tag in connection.into_lost() {
            self.happenings.push_back(Happening::Lost { node: id, tag, timed_out });
        }
        self.happenings.push_back(Happening::Disconnected { node: id, breakage, newly_down });
    }
}

#[cfg(test)]
mod tests;
