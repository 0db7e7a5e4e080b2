//! What producers and consumers share: connections, metadata and bootstrap.
//!
//! ```text
//!  Network ─happenings─▶ Base ─▶ Happening of the caller's own requests
//!                         └─ metadata requests and answers, rebootstrap: handled here
//! ```

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::{
    ResponseError,
    messages::{MetadataRequest, MetadataResponse, TopicName},
    protocol::{Decodable, Request},
};

use super::{
    ConnectionId, Event, Output,
    config::{CommonSettings, Library, RecoveryStrategy},
    connection::Breakage,
    metadata::Metadata,
    network::{Happening, Network, NodeId},
};
use crate::cluster::Time;

/// librdkafka dials one more broker at most once in this time, half its `reconnect.backoff.ms`.
const SPARSE_CONNECT_INTERVAL: Duration = Duration::from_millis(50);

/// What a request was for: the metadata, or something of the caller's.
pub(super) enum Call<C> {
    Metadata { partial: bool },
    Own(C),
}

/// What the caller hears of.
pub(super) enum News<C> {
    Answer { node: NodeId, call: C, version: i16, body: Bytes },
    Lost { node: NodeId, call: C, timed_out: bool },
    Disconnected { node: NodeId },
}

/// Connections and metadata of one client.
pub(super) struct Base<C> {
    pub(super) network: Network<Call<C>>,
    pub(super) metadata: Metadata,
    bootstrap: Vec<NodeId>,
    pub(super) events: VecDeque<Event>,
    rebootstrap_required: bool,
    random: Rng,
    /// Until then some broker's backoff is over before the client would start again from its bootstrap servers.
    race_won_until: Time,
    /// The application knows that no broker is left.
    all_down_told: bool,
}

impl<C> Base<C> {
    pub(super) fn new(settings: CommonSettings, seed: u64, name: &str) -> Self {
        let random = crate::random::stream(seed, "client-metadata", name);
        let mut metadata = Metadata::new(&settings, random);
        let servers = settings.bootstrap.clone();
        let mut network = Network::new(settings, seed, name);
        let mut bootstrap = Vec::new();
        for (id, (host, port)) in (1..).zip(&servers) {
            network.know(-id, host, *port);
            bootstrap.push(-id);
        }
        metadata.nodes.clone_from(&bootstrap);
        Self {
            network,
            metadata,
            bootstrap,
            events: VecDeque::new(),
            rebootstrap_required: false,
            random: crate::random::stream(seed, "client-rebootstrap", name),
            race_won_until: Time::default(),
            all_down_told: false,
        }
    }

    pub(super) fn library(&self) -> Library {
        self.network.settings.library
    }

    pub(super) fn handle_connected(&mut self, now: Time, connection: ConnectionId) {
        self.network.handle_connected(now, connection);
    }

    pub(super) fn handle_closed(&mut self, now: Time, connection: ConnectionId) {
        self.network.handle_closed(now, connection);
    }

    pub(super) fn handle_frame(&mut self, now: Time, connection: ConnectionId, frame: Bytes) {
        self.network.handle_frame(now, connection, frame);
    }

    /// Lets time pass, asks for metadata where that is due, and tells what happened, one thing a call.
    pub(super) fn poll(&mut self, now: Time) -> Option<News<C>> {
        while let Some(happening) = self.network.poll() {
            match happening {
                Happening::Answer { tag: Call::Metadata { partial }, version, body, .. } => {
                    self.handle_metadata(now, version, body, partial);
                }
                Happening::Lost { tag: Call::Metadata { .. }, .. } => self.metadata.failed(now),
                Happening::Answer { node, tag: Call::Own(call), version, body } => {
                    return Some(News::Answer { node, call, version, body });
                }
                Happening::Lost { node, tag: Call::Own(call), timed_out } => {
                    return Some(News::Lost { node, call, timed_out });
                }
                Happening::Disconnected { node, breakage, newly_down } => {
                    self.handle_disconnected(now, breakage, newly_down);
                    return Some(News::Disconnected { node });
                }
                Happening::Ready => self.all_down_told = false,
            }
        }
        None
    }

    /// Time has come to `now`: timeouts of connections.
    pub(super) fn handle_time(&mut self, now: Time) {
        self.network.handle_time(now);
    }

    fn handle_disconnected(&mut self, now: Time, breakage: Option<Breakage>, newly_down: bool) {
        if breakage == Some(Breakage::Retired) {
            return;
        }
        if breakage == Some(Breakage::AuthenticationFailed) {
            self.events.push_back(Event::AuthenticationFailed);
        }
        let is_due = self.metadata.next_update().is_some_and(|due| due <= now);
        if is_due {
            // A failed attempt to reach anybody counts as a failed update, so that it backs off.
            self.metadata.failed(now);
        }
        self.metadata.request_update();
        if self.library() == Library::Librdkafka
            && newly_down
            && self.network.all_down(self.metadata.nodes.iter().copied())
        {
            if !std::mem::replace(&mut self.all_down_told, true) {
                self.events.push_back(Event::AllBrokersDown);
            }
            if self.network.settings.recovery == RecoveryStrategy::Rebootstrap {
                self.rebootstrap(now);
            }
        }
    }

    fn handle_metadata(&mut self, now: Time, version: i16, mut body: Bytes, partial: bool) {
        let Ok(response) = MetadataResponse::decode(&mut body, version) else {
            return self.metadata.failed(now);
        };
        let recovers = self.network.settings.recovery == RecoveryStrategy::Rebootstrap;
        let required = response.error_code == ResponseError::RebootstrapRequired.code();
        if required && recovers {
            self.rebootstrap_required = true;
        }
        if required || response.brokers.is_empty() {
            // A broker that has just started knows nobody.
            return self.metadata.failed(now);
        }
        for broker in &response.brokers {
            let port = u16::try_from(broker.port).unwrap_or(0);
            self.network.know(broker.node_id.0, &broker.host, port);
        }
        let updated = self.metadata.update(now, version, response, partial);
        if updated.cluster_id_changed {
            let id = self.metadata.cluster_id().map(ToString::to_string).unwrap_or_default();
            self.events.push_back(Event::ClusterIdChanged { id });
        }
        if updated.stale_ignored {
            self.events.push_back(Event::StaleMetadataIgnored);
        }
        if self.library() == Library::Librdkafka {
            let nodes = self.metadata.nodes.clone();
            let coordinators = i32::MAX / 2;
            self.network.retain(now, |id| id > coordinators || nodes.contains(&id));
        }
    }

    fn rebootstrap(&mut self, now: Time) {
        self.events.push_back(Event::Rebootstrapped);
        for (id, (host, port)) in (1..).zip(self.network.settings.bootstrap.clone()) {
            self.network.know(-id, &host, port);
            if self.library() == Library::Librdkafka {
                // Its bootstrap brokers are new ones each time, and nothing holds them back but this.
                self.network.give_fresh_start(-id, now + SPARSE_CONNECT_INTERVAL);
            }
        }
        self.metadata.rebootstrap(now, self.bootstrap.clone());
    }

    /// Asks for metadata where that is due.
    pub(super) fn maybe_update(&mut self, now: Time) {
        let recovers = self.network.settings.recovery == RecoveryStrategy::Rebootstrap;
        let trigger = self.network.settings.rebootstrap_trigger;
        let sought = self.metadata.sought_since.is_some_and(|since| now.since(since) > trigger);
        if recovers && (std::mem::take(&mut self.rebootstrap_required) || sought) {
            for node in self.metadata.nodes.clone() {
                self.network.drop_connection(now, node);
            }
            self.rebootstrap(now);
        }
        if self.library() == Library::Librdkafka {
            self.keep_one_connection(now);
        }
        if self.metadata.next_update().is_none_or(|due| due > now) {
            return;
        }
        self.metadata.sought_since.get_or_insert(now);
        let mut least = self.network.least_loaded(now, &self.metadata.nodes);
        let nobody = least.node.is_none() && !least.any_ready;
        if nobody && recovers && self.library() == Library::Java {
            if !self.loses_race(now) {
                return;
            }
            self.rebootstrap(now);
            least = self.network.least_loaded(now, &self.metadata.nodes);
        }
        let Some(node) = least.node else { return };
        if self.network.can_send(node) {
            let Some(version) = self.network.version::<MetadataRequest>(node, i16::MAX) else {
                return;
            };
            let wanted = self.metadata.start(now);
            let mut request = wanted.request;
            if version < 4 {
                request.allow_auto_topic_creation = true;
            }
            let call = Call::Metadata { partial: wanted.partial };
            let timeout = self.network.settings.request_timeout;
            self.network.send(now, node, version, &request, timeout, Some(call));
        } else if !self.network.any_connecting(&self.metadata.nodes) {
            self.network.ready(now, node);
        }
    }

    /// librdkafka always wants one broker to talk to.
    fn keep_one_connection(&mut self, now: Time) {
        let nodes = &self.metadata.nodes;
        let connected = nodes.iter().any(|node| self.network.is_ready(*node));
        if !connected && !self.network.any_connecting(nodes) {
            for node in nodes.clone() {
                if self.network.ready(now, node) || self.network.any_connecting(&[node]) {
                    break;
                }
            }
        }
    }

    /// Every known broker of a Java client is in backoff at the moment at which it needs one. On real clients it was a
    /// race whether that moment came, or the backoff of some broker was over first: a third of the moves began
    /// with a rebootstrap. It is drawn once for each time that all are in backoff.
    fn loses_race(&mut self, now: Time) -> bool {
        if self.race_won_until > now {
            return false;
        }
        if self.random.u8(0..3) == 0 {
            return true;
        }
        self.race_won_until = self.network.next_dial(&self.metadata.nodes).unwrap_or(now);
        self.race_won_until <= now
    }

    /// Sends a request of the caller to a node that can take it; `false`: the broker knows no version of it.
    pub(super) fn send<R: Request>(
        &mut self,
        now: Time,
        node: NodeId,
        version: i16,
        request: &R,
        timeout: Option<Duration>,
        call: Option<C>,
    ) {
        let timeout = timeout.unwrap_or(self.network.settings.request_timeout);
        self.network.send(now, node, version, request, timeout, call.map(Call::Own));
    }

    /// The leader that the client believes in.
    pub(super) fn leader(&self, topic: &TopicName, index: i32) -> Option<(NodeId, Option<i32>)> {
        self.metadata.leader(topic, index)
    }

    /// When [`Self::handle_time`] and [`Self::maybe_update`] are to be called at the latest.
    pub(super) fn deadline(&self, now: Time) -> Option<Time> {
        let due = self.metadata.next_update();
        let metadata = due.map(|due| {
            if due > now {
                return due;
            }
            // Due, and not sent: whom the client would ask is being dialled, busy or in backoff.
            self.network.next_dial(&self.metadata.nodes).filter(|at| *at > now).unwrap_or(NEVER)
        });
        let metadata = metadata.filter(|due| *due < NEVER);
        self.network.deadline().into_iter().chain(metadata).min()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.network.outputs.pop_front().or_else(|| self.events.pop_front().map(Output::Event))
    }
}

const NEVER: Time = Time::from_micros(u64::MAX);
