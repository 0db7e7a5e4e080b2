//! A network small enough to be read: clients, clusters, a latency, cuts.
//!
//! Clients dial addresses; a route says what is behind an address at this moment. What is under way when a link is
//! cut is lost. Everything happens in the order of its time, and of its cause within one moment.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, CreateTopicsRequest, FetchRequest, GroupId, OffsetCommitRequest, ProduceRequest,
        RequestHeader, ResponseHeader, TopicName,
        create_topics_request::{CreatableReplicaAssignment, CreatableTopic},
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, decode_request_header_from_buffer},
};

use super::super::{
    Command, ConnectionId, Consumer, ConsumerSettings, Event, Input, Library, Output, Producer,
    ProducerSettings, Properties, Role, Send,
};
use super::view::{Pending, View};
use crate::cluster::{self, BrokerSpec, Cluster, ClusterSpec, Time};

/// One way, between any two hosts.
pub(super) const LATENCY: Duration = Duration::from_millis(2);
/// When every test begins.
pub(super) const START: Time = Time::from_ms(1_700_000_000_000);

/// What is behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// A broker of a cluster.
    To(usize, i32),
    /// Nobody: dials fail.
    Refused,
    /// Somebody who closes at once.
    Closing,
    /// Nobody who says so: dials and frames vanish.
    Silent,
}

/// A client of either kind.
pub(super) enum Machine {
    Producer(Producer),
    Consumer(Consumer),
}

impl Machine {
    fn handle_input(&mut self, now: Time, input: Input) {
        match self {
            Self::Producer(producer) => producer.handle_input(now, input),
            Self::Consumer(consumer) => consumer.handle_input(now, input),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Producer(producer) => producer.poll_output(),
            Self::Consumer(consumer) => consumer.poll_output(),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Producer(producer) => producer.deadline(),
            Self::Consumer(consumer) => consumer.deadline(),
        }
    }
}

struct Link {
    client: usize,
    connection: ConnectionId,
    address: (String, u16),
    /// Cluster and connection there, once the dial has arrived.
    peer: Option<(usize, cluster::ConnectionId)>,
    pending: Pending,
}

enum Delivery {
    Dial(u64),
    Connected(u64),
    ClosedByPeer(u64),
    ToBroker(u64, Bytes),
    ClosedByClient(u64),
    ToClient(u64, Bytes),
}

/// Everything there is.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) clusters: Vec<Cluster>,
    pub(super) clients: Vec<Machine>,
    pub(super) routes: BTreeMap<(String, u16), Route>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    queue: BTreeMap<(Time, u64), Delivery>,
    next_delivery: u64,
    /// What the clients' applications saw.
    pub(super) events: Vec<(Time, usize, Event)>,
    /// Dials, by client.
    pub(super) dials: BTreeMap<usize, usize>,
    requests: BTreeMap<(usize, i16), usize>,
    last_fetches: BTreeMap<usize, Bytes>,
    /// What clients do not get to see.
    pub(super) view: View,
    wakes: BTreeMap<Time, usize>,
}

impl World {
    /// Clusters of so many brokers each. The first one's are at `kafka:1` and on, the route of every client.
    pub(super) fn new(brokers: &[u16], settings: &[(&str, &str)]) -> Self {
        let nodes: Vec<_> = brokers.iter().map(|count| 1..=*count).collect();
        Self::of_nodes(&nodes, settings)
    }

    /// The same with the ids of the brokers.
    pub(super) fn of_nodes(nodes: &[RangeInclusive<u16>], settings: &[(&str, &str)]) -> Self {
        let mut routes = BTreeMap::new();
        let mut clusters = Vec::new();
        for (at, nodes) in nodes.iter().enumerate() {
            let mut spec = ClusterSpec::new(&format!("cluster-{at}"), 7, "kafka", nodes.clone());
            for (broker, node) in spec.brokers.iter_mut().zip(nodes.clone()) {
                broker.id = i32::from(node);
            }
            spec.settings =
                settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            for BrokerSpec { host, port, .. } in &spec.brokers {
                routes.insert((host.clone(), *port), Route::To(0, i32::from(*port)));
            }
            clusters.push(Cluster::new(spec));
        }
        Self {
            now: START,
            clusters,
            clients: Vec::new(),
            routes,
            links: BTreeMap::new(),
            next_link: 0,
            queue: BTreeMap::new(),
            next_delivery: 0,
            events: Vec::new(),
            dials: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_fetches: BTreeMap::new(),
            view: View::default(),
            wakes: BTreeMap::new(),
        }
    }

    /// A producer whose bootstrap server is `kafka:1`.
    pub(super) fn producer(&mut self, library: Library, name: &str, properties: &str) -> usize {
        let text = format!("bootstrap.servers=kafka:1\n{properties}");
        let properties = Properties::parse(library, Role::Producer, &text).expect("properties");
        let settings = ProducerSettings::new(&properties).expect("settings");
        self.add(Machine::Producer(Producer::new(name, 7, settings)))
    }

    /// A consumer of `orders`, whose bootstrap server is `kafka:1`.
    pub(super) fn consumer(&mut self, library: Library, name: &str, properties: &str) -> usize {
        let text = format!("bootstrap.servers=kafka:1\n{properties}");
        let properties = Properties::parse(library, Role::Consumer, &text).expect("properties");
        let settings = ConsumerSettings::new(&properties).expect("settings");
        let topic = TopicName("orders".into());
        self.add(Machine::Consumer(Consumer::new(name, 7, settings, [topic])))
    }

    fn add(&mut self, machine: Machine) -> usize {
        self.clients.push(machine);
        let client = self.clients.len() - 1;
        self.input(client, Input::Time);
        client
    }

    /// What of a client has been seen so far.
    pub(super) fn seen(&self, client: usize) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |(_, of, _)| *of == client).map(|(_, _, event)| event)
    }

    /// What of a client has been seen so far, to be read by a person who looks for a fault.
    pub(super) fn story(&self, client: usize) -> String {
        let of = self.events.iter().filter(|(_, of, _)| *of == client);
        let lines = of.map(|(at, _, event)| {
            let event = format!("{event:?}")
                .replace("TopicName(", "")
                .chars()
                .take(150)
                .collect::<String>();
            format!("{:8.3} {event}\n", at.since(START).as_secs_f64())
        });
        lines.collect()
    }

    pub(super) fn command(&mut self, client: usize, command: Command) {
        self.input(client, Input::Command(command));
    }

    /// How many partitions a consumer holds.
    pub(super) fn held(&self, client: usize) -> usize {
        match &self.clients[client] {
            Machine::Consumer(consumer) => consumer.positions().count(),
            Machine::Producer(_) => 0,
        }
    }

    /// How many partitions the last fetch of a client named.
    pub(super) fn last_fetch_partitions(&self, client: usize) -> Option<usize> {
        let mut frame = self.last_fetches.get(&client)?.clone();
        let header = decode_request_header_from_buffer(&mut frame).ok()?;
        let request = FetchRequest::decode(&mut frame, header.request_api_version).ok()?;
        Some(request.topics.iter().map(|topic| topic.partitions.len()).sum())
    }

    /// How many requests of an API have arrived from a client.
    pub(super) fn requests(&self, client: usize, key: ApiKey) -> usize {
        self.requests.get(&(client, key as i16)).copied().unwrap_or(0)
    }

    /// Closes all clients that there are.
    pub(super) fn close_clients(&mut self) {
        for client in 0..self.clients.len() {
            self.command(client, Command::Close);
        }
        self.run(Duration::from_secs(1));
    }

    /// Creates a topic of one partition whose leader is this broker.
    pub(super) fn leader_on(&mut self, cluster: usize, topic: &str, broker: i32) {
        let assignment = CreatableReplicaAssignment::default()
            .with_partition_index(0)
            .with_broker_ids(vec![broker.into()]);
        let topic = CreatableTopic::default()
            .with_name(TopicName(topic.to_owned().into()))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment]);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let response = self.ask(cluster, 1, &request, 7);
        assert_eq!(response.topics[0].error_code, 0, "the topic is created");
    }

    /// Commits an offset of `orders` for a group without members, as a synchronisation of offsets does.
    pub(super) fn commit_for(&mut self, cluster: usize, group: &str, offset: i64) {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_metadata(Some("".into()));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName("orders".into()))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(group.to_owned().into()))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        // One of them coordinates the group.
        let mut brokers = 1..=2;
        let committed = brokers.any(|broker| {
            self.ask(cluster, broker, &request, 8).topics[0].partitions[0].error_code == 0
        });
        assert!(committed, "somebody coordinates `{group}`");
    }

    /// Writes records to the first partition of `orders`; what the broker said.
    pub(super) fn produce(&mut self, cluster: usize, records: Bytes) -> i16 {
        let partition = PartitionProduceData::default().with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(TopicName("orders".into()))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        let response = self.ask(cluster, 1, &request, 9);
        response.responses[0].partition_responses[0].error_code
    }

    /// Asks a broker something that it answers at once.
    fn ask<R: Request>(
        &mut self,
        cluster: usize,
        broker: i32,
        request: &R,
        version: i16,
    ) -> R::Response {
        self.drain_clusters();
        let now = self.now;
        let peer = self.clusters[cluster].open(broker, "test").expect("it runs");
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some("test".into()));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, R::header_version(version)).expect("a header");
        request.encode(&mut frame, version).expect("a request");
        self.clusters[cluster].handle_frame(now, peer, frame.freeze());
        let Some(cluster::Output::Send { frame, .. }) = self.clusters[cluster].poll_output() else {
            panic!("no answer");
        };
        self.clusters[cluster].close(peer);
        let mut body = frame.slice(4..);
        ResponseHeader::decode(&mut body, R::Response::header_version(version)).expect("a header");
        R::Response::decode(&mut body, version).expect("an answer")
    }

    /// Hands over one record without a key.
    pub(super) fn send(&mut self, client: usize, topic: &str) {
        let topic = TopicName(topic.to_owned().into());
        let send = Send { topic, partition: None, key: None, value_bytes_min: 100 };
        self.command(client, Command::Send(send));
    }

    /// Whether a producer's application can hand nothing over at this moment.
    pub(super) fn is_blocked(&self, client: usize) -> bool {
        match &self.clients[client] {
            Machine::Producer(producer) => producer.is_blocked(),
            Machine::Consumer(_) => false,
        }
    }

    /// Lets all addresses lead to one place: brokers of a cluster by their port, or to nobody.
    pub(super) fn route_all(&mut self, route: impl Fn(u16) -> Route) {
        for ((_, port), place) in &mut self.routes {
            *place = route(*port);
        }
    }

    /// Takes everybody to another cluster: what is open is closed, and every address leads there.
    pub(super) fn move_to(&mut self, cluster: usize) {
        self.route_all(|port| Route::To(cluster, i32::from(port)));
        self.sever();
    }

    /// Closes every open link, on both sides.
    pub(super) fn sever(&mut self) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.later(Duration::ZERO, Delivery::ClosedByPeer(link));
            if let Some((cluster, peer)) = self.links[&link].peer {
                self.clusters[cluster].close(peer);
            }
        }
    }

    fn is_silent(&self, link: u64) -> bool {
        let link = &self.links[&link];
        self.routes.get(&link.address) == Some(&Route::Silent)
    }

    fn later(&mut self, after: Duration, delivery: Delivery) {
        self.queue.insert((self.now + after, self.next_delivery), delivery);
        self.next_delivery += 1;
    }

    fn input(&mut self, client: usize, input: Input) {
        let now = self.now;
        self.clients[client].handle_input(now, input);
        while let Some(output) = self.clients[client].poll_output() {
            match output {
                Output::Dial { connection, host, port } => {
                    *self.dials.entry(client).or_default() += 1;
                    let link = self.next_link;
                    self.next_link += 1;
                    let address = (host, port);
                    self.links.insert(
                        link,
                        Link {
                            client,
                            connection,
                            address,
                            peer: None,
                            pending: Pending::default(),
                        },
                    );
                    self.later(LATENCY, Delivery::Dial(link));
                }
                Output::Send { connection, frame } => {
                    if let Some(link) = self.link_of(client, connection) {
                        self.later(LATENCY, Delivery::ToBroker(link, frame.slice(4..)));
                    }
                }
                Output::Close { connection } => {
                    if let Some(link) = self.link_of(client, connection) {
                        self.later(LATENCY, Delivery::ClosedByClient(link));
                    }
                }
                Output::Event(event) => self.events.push((now, client, event)),
            }
        }
    }

    fn link_of(&self, client: usize, connection: ConnectionId) -> Option<u64> {
        let found = |link: &Link| link.client == client && link.connection == connection;
        self.links.iter().rev().find(|(_, link)| found(link)).map(|(id, _)| *id)
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Dial(link) => self.arrive(link),
            Delivery::Connected(link) => {
                if let Some(Link { client, connection, .. }) = self.links.get(&link) {
                    let (client, connection) = (*client, *connection);
                    self.input(client, Input::Connected(connection));
                }
            }
            Delivery::ClosedByPeer(link) => {
                if let Some(Link { client, connection, .. }) = self.links.remove(&link) {
                    self.input(client, Input::Closed(connection));
                }
            }
            Delivery::ToBroker(link, frame) => {
                if let Some(Link { peer: Some((cluster, peer)), .. }) = self.links.get(&link)
                    && !self.is_silent(link)
                {
                    let (cluster, peer) = (*cluster, *peer);
                    let link = self.links.get_mut(&link).expect("it was just found");
                    let key = i16::from_be_bytes([frame[0], frame[1]]);
                    *self.requests.entry((link.client, key)).or_default() += 1;
                    if key == ApiKey::Fetch as i16 {
                        self.last_fetches.insert(link.client, frame.clone());
                    }
                    link.pending.asked(&frame);
                    self.clusters[cluster].handle_frame(self.now, peer, frame);
                }
            }
            Delivery::ClosedByClient(link) => {
                if let Some(Link { peer: Some((cluster, peer)), .. }) = self.links.remove(&link) {
                    self.clusters[cluster].close(peer);
                }
            }
            Delivery::ToClient(link, frame) => {
                if let Some(Link { client, connection, .. }) = self.links.get(&link)
                    && !self.is_silent(link)
                {
                    let (client, connection) = (*client, *connection);
                    let link = self.links.get_mut(&link).expect("it was just found");
                    let frame = link.pending.answered(&mut self.view, frame);
                    self.input(client, Input::Frame(connection, frame));
                }
            }
        }
    }

    fn arrive(&mut self, link: u64) {
        let Some(address) = self.links.get(&link).map(|link| link.address.clone()) else { return };
        match self.routes.get(&address).copied().unwrap_or(Route::Refused) {
            Route::To(cluster, broker) => match self.clusters[cluster].open(broker, "client") {
                Some(peer) => {
                    self.links.get_mut(&link).expect("it is there").peer = Some((cluster, peer));
                    self.later(LATENCY, Delivery::Connected(link));
                }
                None => self.later(LATENCY, Delivery::ClosedByPeer(link)),
            },
            Route::Refused => self.later(LATENCY, Delivery::ClosedByPeer(link)),
            Route::Closing => {
                self.later(LATENCY, Delivery::Connected(link));
                self.later(LATENCY, Delivery::ClosedByPeer(link));
            }
            // The kernel goes on asking.
            Route::Silent => self.later(Duration::from_secs(1), Delivery::Dial(link)),
        }
    }

    fn drain_clusters(&mut self) {
        for at in 0..self.clusters.len() {
            let mut outputs = VecDeque::new();
            while let Some(output) = self.clusters[at].poll_output() {
                outputs.push_back(output);
            }
            for output in outputs {
                let (connection, delivery): (_, fn(u64, Bytes) -> Delivery) = match &output {
                    cluster::Output::Send { connection, .. } => (*connection, Delivery::ToClient),
                    cluster::Output::Close { connection, .. } => {
                        (*connection, |link, _| Delivery::ClosedByPeer(link))
                    }
                };
                let found = |link: &Link| link.peer == Some((at, connection));
                let link = self.links.iter().find(|(_, link)| found(link)).map(|(id, _)| *id);
                let frame = match output {
                    cluster::Output::Send { frame, .. } => frame.slice(4..),
                    cluster::Output::Close { .. } => Bytes::new(),
                };
                if let Some(link) = link {
                    self.later(LATENCY, delivery(link, frame));
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.drain_clusters();
            let delivery = self.queue.first_key_value().map(|((at, _), _)| *at);
            let clients = self.clients.iter().filter_map(Machine::deadline).min();
            let clusters = self.clusters.iter().filter_map(Cluster::deadline).min();
            let next = delivery.into_iter().chain(clients).chain(clusters).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.count_wake();
            if delivery.is_some_and(|at| at <= self.now) {
                let (_, delivery) = self.queue.pop_first().expect("it was just seen");
                self.deliver(delivery);
                continue;
            }
            for at in 0..self.clusters.len() {
                if self.clusters[at].deadline().is_some_and(|at| at <= self.now) {
                    self.clusters[at].handle_time(self.now);
                }
            }
            for at in 0..self.clients.len() {
                if self.clients[at].deadline().is_some_and(|at| at <= self.now) {
                    self.input(at, Input::Time);
                }
            }
        }
        self.now = end;
    }

    /// A machine that asks for the same moment for ever would hang a simulation.
    fn count_wake(&mut self) {
        self.wakes.retain(|at, _| *at >= self.now);
        let count = self.wakes.entry(self.now).or_default();
        *count += 1;
        assert!(*count < 100_000, "time stands still at {:?}", self.now.since(START));
    }
}
