//! A client for tests of transactions and of authentication: typed requests in, typed answers out.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        RequestHeader, ResponseHeader, TopicName, TransactionalId,
        metadata_request::{MetadataRequest, MetadataRequestTopic},
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};

use super::super::{CloseCause, Cluster, ClusterSpec, ConnectionId, Output, Time};

/// When every story begins.
const START: Time = Time::from_ms(1_700_000_000_000);

/// What a client has heard.
#[derive(Debug)]
pub(in super::super) enum Heard<R> {
    Answer(R),
    Nothing,
}

/// A cluster, a hand-moved clock and a client that is connected to its first broker.
pub(in super::super) struct Client {
    pub(in super::super) cluster: Cluster,
    pub(in super::super) connection: ConnectionId,
    pub(in super::super) now: Time,
}

impl Client {
    /// Of a cluster of one broker.
    pub(in super::super) fn new(settings: &[(&str, &str)]) -> Self {
        let mut spec = ClusterSpec::new("test", 7, "127.0.0.1", [9092]);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        spec.settings = settings.iter().map(owned).collect();
        Self::of(spec)
    }

    pub(in super::super) fn of(spec: ClusterSpec) -> Self {
        let mut cluster = Cluster::new(spec);
        let connection = cluster.open(1, "127.0.0.1").expect("broker 1 runs");
        Self { cluster, connection, now: START }
    }

    /// Connects anew.
    pub(in super::super) fn reconnect(&mut self, broker: i32) {
        self.connection = self.cluster.open(broker, "127.0.0.1").expect("the broker runs");
    }

    /// Lets time pass, one deadline after the other.
    pub(in super::super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.cluster.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(deadline);
            self.cluster.handle_time(self.now);
        }
        self.now = end;
    }

    pub(in super::super) fn create_topic(&mut self, name: &str) {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(true);
        self.ask(4, &request);
    }

    /// Who leads partition 0 of a topic.
    pub(in super::super) fn leader(&self, topic: &str) -> i32 {
        let partition = self.cluster.topics.partition(&topic_name(topic), 0);
        partition.and_then(|partition| partition.leader).expect("a leader").0
    }

    pub(in super::super) fn send_frame(&mut self, frame: Bytes) {
        self.cluster.handle_frame(self.now, self.connection, frame);
    }

    pub(in super::super) fn send<Q: Request>(&mut self, version: i16, request: &Q) {
        self.send_frame(frame(version, request));
    }

    /// What comes next; an answer has to be of this kind.
    pub(in super::super) fn hear<R: Decodable + HeaderVersion>(
        &mut self,
        version: i16,
    ) -> Result<Heard<R>, CloseCause> {
        match self.cluster.poll_output() {
            None => Ok(Heard::Nothing),
            Some(Output::Close { cause, .. }) => Err(cause),
            Some(Output::Send { mut frame, .. }) => {
                assert_eq!(frame.get_u32() as usize, frame.len());
                ResponseHeader::decode(&mut frame, R::header_version(version)).expect("header");
                let answer = R::decode(&mut frame, version).expect("an answer of this kind");
                assert!(frame.is_empty(), "bytes behind the answer");
                Ok(Heard::Answer(answer))
            }
        }
    }

    /// Sends a request and takes its answer, which must be there at once.
    pub(in super::super) fn ask<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        self.send(version, request);
        match self.hear(version) {
            Ok(Heard::Answer(answer)) => answer,
            Ok(Heard::Nothing) => panic!("no answer"),
            Err(cause) => panic!("closed: {cause:?}"),
        }
    }
}

/// A request as it is sent, without its length.
pub(in super::super) fn frame<Q: Request>(version: i16, request: &Q) -> Bytes {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(41)
        .encode(&mut frame, Q::header_version(version))
        .expect("header");
    request.encode(&mut frame, version).expect("request");
    frame.freeze()
}

pub(in super::super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(in super::super) fn transactional_id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

pub(in super::super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A transactional batch of one record.
pub(in super::super) fn batch(producer_id: i64, epoch: i16, sequence: i32) -> Bytes {
    const CRC_COUNTS_FROM: usize = 21;
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(57);
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(1 << 4);
    batch.put_i32(0);
    batch.put_i64(START.ms());
    batch.put_i64(START.ms());
    batch.put_i64(producer_id);
    batch.put_i16(epoch);
    batch.put_i32(sequence);
    batch.put_i32(1);
    // One record, all of whose lengths and deltas are varints: no key, the value `x`, no headers.
    batch.put_slice(&[14, 0, 0, 0, 1, 2, b'x', 0]);
    let crc = crc32c::crc32c(&batch[CRC_COUNTS_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}
