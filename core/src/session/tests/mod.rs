//! The session as a story: bytes and time in, bytes and an end out.

mod fences;
mod hostile;
mod order;
mod splits;

use std::{sync::Arc, time::Duration};

use super::{ClientWait, CloseCause, Event, Op, Ops, Session, Setting};
use crate::{
    config::model::Limits,
    route::{Gate, Snapshot, Target},
    topology::{BrokerAddress, NodeId, PortMap, RouteAddresses},
    wire::{
        api::ClientView,
        api_versions::{self, Offered},
        rewrite::ProducerIdTag,
    },
};

const BOOTSTRAP: u16 = 9092;

fn limits() -> Limits {
    Limits {
        connections_max: 10,
        frame_bytes_max: 1 << 20,
        first_frame_bytes_max: 1 << 16,
        rewrite_bytes_max: 1 << 18,
        in_flight_max: 3,
        first_request_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        write_stall_timeout: Duration::from_mins(1),
        shutdown_drain: Duration::from_secs(10),
    }
}

fn setting(gate: Gate, target_epoch: u64) -> Setting {
    let target = Target { domain: "a".into(), bootstrap_server_id: "x".into() };
    let snapshot = Snapshot { revision: target_epoch, target, target_epoch, gate, moved: false };
    let ports = PortMap::new(BOOTSTRAP, &[0..=9]).expect("fits");
    Setting {
        route: "r".into(),
        snapshot: Arc::new(snapshot),
        view: ClientView::Neutral,
        addresses: Arc::new(RouteAddresses { host: "gw".into(), ports: Arc::new(ports) }),
        known_nodes: Arc::new([NodeId(1)]),
        cluster_id: "clusterclusterclusterA".into(),
        producer_id_tag: Some(ProducerIdTag(5)),
        offered_here: Some(Arc::new(Offered([(3, (0, 13)), (18, (0, 4))].into()))),
        offered_elsewhere: Arc::new([]),
        limits: Arc::new(limits()),
    }
}

fn open() -> Setting {
    setting(Gate::Open, 1)
}

/// A session, a clock, and what has come out so far.
struct Story {
    session: Session,
    now: Duration,
    /// Bytes of the client that the session has left.
    left: Vec<u8>,
    to_upstream: Vec<u8>,
    to_client: Vec<u8>,
    events: Vec<Event>,
}

impl Story {
    fn on(port: u16, setting: Setting) -> Self {
        let session = Session::new(Duration::ZERO, port, Arc::new(setting));
        Self {
            session,
            now: Duration::ZERO,
            left: Vec::new(),
            to_upstream: Vec::new(),
            to_client: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A session whose upstream is connected.
    fn relaying() -> Self {
        let mut story = Self::on(BOOTSTRAP, open());
        story.client(&heartbeat(0));
        story.connect(None);
        story.upstream(&response(0, b"\0\0\0\0\0\0"));
        story.to_upstream.clear();
        story.to_client.clear();
        story.events.clear();
        story
    }

    fn connect(&mut self, provisional: Option<BrokerAddress>) {
        assert!(self.session.poll_dial(), "nobody asked for upstream");
        let epoch = self.session.setting().snapshot.target_epoch;
        self.session.handle_connected(epoch, provisional);
        self.offer_left_over();
    }

    /// The client sends; what the session does not take waits, as in the driver.
    fn client(&mut self, bytes: &[u8]) {
        self.left.extend_from_slice(bytes);
        self.offer_left_over();
    }

    fn offer_left_over(&mut self) {
        while !self.left.is_empty() && self.session.takes_client_bytes() {
            let mut chunk = std::mem::take(&mut self.left);
            let mut ops = Ops::default();
            let taken = self.session.handle_client(self.now, &mut chunk, &mut ops);
            for op in ops.ops.drain(..) {
                match op {
                    Op::Forward(range) => self.to_upstream.extend_from_slice(&chunk[range]),
                    Op::Send(bytes) => self.to_client.extend_from_slice(&bytes),
                }
            }
            self.events.append(&mut ops.events);
            self.left = chunk.split_off(taken);
            if taken == 0 && self.session.client_wait() == ClientWait::MoreBytes {
                return;
            }
        }
    }

    fn upstream(&mut self, bytes: &[u8]) {
        let mut chunk = bytes.to_vec();
        let mut ops = Ops::default();
        self.session.handle_upstream(self.now, &mut chunk, &mut ops);
        for op in ops.ops.drain(..) {
            match op {
                Op::Forward(range) => self.to_client.extend_from_slice(&chunk[range]),
                Op::Send(bytes) => self.to_client.extend_from_slice(&bytes),
            }
        }
        self.events.append(&mut ops.events);
        self.offer_left_over();
    }

    fn route_is(&mut self, setting: Setting) {
        self.session.handle_setting(Arc::new(setting));
        self.offer_left_over();
    }

    fn at_secs(&mut self, seconds: u64) {
        self.now = Duration::from_secs(seconds);
        self.session.handle_time(self.now);
    }

    fn closed(&self) -> Option<CloseCause> {
        self.session.closed()
    }

    /// The correlation ids of what the client has got, in order.
    fn answered(&self) -> Vec<i32> {
        let mut ids = Vec::new();
        let mut rest = self.to_client.as_slice();
        while let Some((head, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*head)).expect("a length");
            let (frame, next) = tail.split_at(length);
            ids.push(i32::from_be_bytes(*frame.first_chunk().expect("a correlation id")));
            rest = next;
        }
        ids
    }
}

/// A request without a client id in a version without tags.
fn request(api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&api_version.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(&(-1_i16).to_be_bytes());
    frame.extend_from_slice(body);
    with_length(&frame)
}

fn with_length(frame: &[u8]) -> Vec<u8> {
    let mut whole = i32::try_from(frame.len()).expect("short").to_be_bytes().to_vec();
    whole.extend_from_slice(frame);
    whole
}

fn response(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = correlation_id.to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    with_length(&frame)
}

/// Heartbeat v1: group, generation, member.
fn heartbeat(correlation_id: i32) -> Vec<u8> {
    request(12, 1, correlation_id, b"\0\x01g\0\0\0\x01\0\x01m")
}

/// Produce v3 of no topics.
fn produce(correlation_id: i32, acks: i16) -> Vec<u8> {
    let mut body = vec![0xff, 0xff];
    body.extend_from_slice(&acks.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0, 0]);
    request(0, 3, correlation_id, &body)
}

/// Metadata v1 of all topics.
fn metadata(correlation_id: i32) -> Vec<u8> {
    request(3, 1, correlation_id, &[0xff, 0xff, 0xff, 0xff])
}

/// Its response: one broker at `up:<port>`.
fn metadata_of(correlation_id: i32, node: i32, port: i32) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 1];
    body.extend_from_slice(&node.to_be_bytes());
    body.extend_from_slice(b"\0\x02up");
    body.extend_from_slice(&port.to_be_bytes());
    body.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
    response(correlation_id, &body)
}

fn api_versions(correlation_id: i32, version: i16) -> Vec<u8> {
    request(api_versions::API_VERSIONS, version, correlation_id, &[])
}
