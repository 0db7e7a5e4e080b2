//! A cluster, its clock and its clients, for tests.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, TopicName},
    protocol::{Decodable, HeaderVersion, Request, StrBytes},
};
use std::time::Duration;

use super::super::super::{CloseCause, Cluster, ClusterSpec, ConnectionId, Output, Time};

/// What a client hears.
#[derive(Debug)]
pub(in super::super::super) enum Heard {
    /// Nothing yet.
    Nothing,
    /// A whole frame.
    Frame(Bytes),
    /// The connection is closed.
    Closed(CloseCause),
}

/// One cluster of three brokers and a hand-moved clock.
pub(in super::super::super) struct Story {
    pub(in super::super::super) cluster: Cluster,
    pub(in super::super::super) now: Time,
    pub(in super::super::super) outputs: Vec<Output>,
}

impl Story {
    pub(in super::super::super) fn new() -> Self {
        Self::with(&[])
    }

    pub(in super::super::super) fn with(settings: &[(&str, &str)]) -> Self {
        let mut spec = ClusterSpec::new("test", 7, "host", 9092..9095);
        spec.settings =
            settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self::of(spec)
    }

    pub(in super::super::super) fn of(spec: ClusterSpec) -> Self {
        let start = Time::from_ms(1_700_000_000_000);
        Self { cluster: Cluster::new(spec), now: start, outputs: Vec::new() }
    }

    /// Lets time pass, timer by timer.
    pub(in super::super::super) fn pass(&mut self, ms: u64) {
        self.drain();
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.cluster.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.cluster.handle_time(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(in super::super::super) fn connect(&mut self, broker: i32) -> Option<ConnectionId> {
        self.cluster.open(broker, "127.0.0.1")
    }

    fn drain(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            self.outputs.push(output);
        }
    }

    /// Sends bytes behind a header of v1 or v2.
    pub(in super::super::super) fn send_body(
        &mut self,
        connection: ConnectionId,
        key: i16,
        version: i16,
        header_version: i16,
        body: &[u8],
    ) {
        let mut frame = BytesMut::new();
        frame.put_i16(key);
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        if header_version >= 2 {
            frame.put_u8(0);
        }
        frame.extend_from_slice(body);
        self.cluster.handle_frame(self.now, connection, frame.freeze());
        self.drain();
    }

    pub(in super::super::super) fn send<Q: Request>(
        &mut self,
        connection: ConnectionId,
        version: i16,
        request: &Q,
    ) {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).expect("the test's request is encodable");
        self.send_body(connection, Q::KEY, version, Q::header_version(version), &body);
    }

    /// What this client has heard since it was last asked.
    pub(in super::super::super) fn hear(&mut self, connection: ConnectionId) -> Heard {
        let of = |output: &Output| match output {
            Output::Send { connection, .. } | Output::Close { connection, .. } => *connection,
        };
        let Some(at) = self.outputs.iter().position(|output| of(output) == connection) else {
            return Heard::Nothing;
        };
        match self.outputs.remove(at) {
            Output::Send { frame, .. } => Heard::Frame(frame),
            Output::Close { cause, .. } => Heard::Closed(cause),
        }
    }

    pub(in super::super::super) fn hear_answer<Q: Request>(
        &mut self,
        connection: ConnectionId,
        version: i16,
    ) -> Q::Response {
        match self.hear(connection) {
            Heard::Frame(frame) => decode::<Q>(&frame, version),
            other => panic!("an answer was to come, but {other:?}"),
        }
    }

    /// Asks a broker on a connection of its own.
    pub(in super::super::super) fn ask<Q: Request>(
        &mut self,
        broker: i32,
        version: i16,
        request: &Q,
    ) -> Q::Response {
        let connection = self.connect(broker).expect("the broker runs");
        self.send(connection, version, request);
        let answer = self.hear_answer::<Q>(connection, version);
        self.cluster.close(connection);
        answer
    }
}

pub(in super::super::super) fn decode<Q: Request>(frame: &Bytes, version: i16) -> Q::Response {
    let mut body = frame.slice(8..);
    let header_version = <Q::Response as HeaderVersion>::header_version(version);
    if header_version >= 1 && Q::KEY != ApiKey::ApiVersions as i16 {
        assert_eq!(body.split_to(1)[0], 0, "no tags in the header");
    }
    let answer = Q::Response::decode(&mut body, version).expect("the answer decodes");
    assert!(body.is_empty(), "nothing behind the answer");
    answer
}

pub(in super::super::super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(in super::super::super) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}
