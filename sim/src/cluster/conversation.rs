//! What tests talk to a cluster with: typed requests in, typed answers out, and batches to send.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        BrokerId, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader,
        ResponseHeader, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Decodable, Encodable, Request, StrBytes},
};
use uuid::Uuid;

use super::{
    CloseCause, Cluster, ClusterSpec, ConnectionId, Output, Time,
    topic::{Partition, Topic},
};
/// When every conversation begins, so that timestamps near it are valid.
pub(super) const START_MS: u64 = 1_700_000_000_000;

/// A cluster of three brokers and a hand-moved clock.
pub(super) struct Conversation {
    pub(super) cluster: Cluster,
    pub(super) now: Time,
}

/// A request that was sent; the key of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) connection: ConnectionId,
    version: i16,
}

impl Conversation {
    pub(super) fn new(settings: &[(&str, &str)]) -> Self {
        let mut spec = ClusterSpec::new("test", 7, "localhost", 9092..9095);
        spec.settings = owned(settings);
        Self::with(spec)
    }

    pub(super) fn with(spec: ClusterSpec) -> Self {
        Self { cluster: Cluster::new(spec), now: Time::from_ms(START_MS) }
    }

    /// A topic of one partition with these replicas, the first of which leads.
    pub(super) fn create(&mut self, name: &str, replicas: &[i32], configs: &[(&str, &str)]) {
        let replicas: Vec<_> = replicas.iter().map(|id| BrokerId(*id)).collect();
        let partition = Partition::new(replicas.clone(), replicas);
        let id = self.cluster.new_topic_id();
        let topic = Topic::new(id, vec![partition], owned(configs));
        self.cluster.topics.insert(topic_name(name), topic);
    }

    pub(super) fn id_of(&self, name: &str) -> Uuid {
        self.cluster.topics.get(&topic_name(name)).expect("the topic exists").id
    }

    /// Changes partition 0 of a topic, as the controller would.
    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Partition)) {
        let name = topic_name(name);
        change(self.cluster.topics.partition_mut(&name, 0).expect("the topic exists"));
        self.cluster.partition_changed(&name, 0);
    }

    pub(super) fn partition(&self, name: &str) -> &Partition {
        self.cluster.topics.partition(&topic_name(name), 0).expect("the topic exists")
    }

    pub(super) fn connect(&mut self, broker: i32) -> ConnectionId {
        self.cluster.open(broker, "127.0.0.1").expect("the broker runs")
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now + std::time::Duration::from_millis(ms);
        self.cluster.handle_time(self.now);
    }

    /// Sends a request, whose answer may come later.
    pub(super) fn send<Q: Request>(
        &mut self,
        connection: ConnectionId,
        version: i16,
        request: &Q,
    ) -> Sent {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .with_correlation_id(41)
            .with_client_id(Some(StrBytes::from_static_str("test")))
            .encode(&mut frame, Q::header_version(version))
            .expect("header");
        request.encode(&mut frame, version).expect("request");
        self.cluster.handle_frame(self.now, connection, frame.freeze());
        Sent { connection, version }
    }

    /// The next answer, if one is there.
    pub(super) fn answer<R: Decodable + kafka_protocol::protocol::HeaderVersion>(
        &mut self,
        sent: Sent,
    ) -> Option<R> {
        match self.cluster.poll_output()? {
            Output::Send { connection, mut frame } => {
                assert_eq!(connection, sent.connection, "an answer for somebody else");
                assert_eq!(frame.get_u32() as usize, frame.len());
                let header = ResponseHeader::decode(&mut frame, R::header_version(sent.version));
                assert_eq!(header.expect("header").correlation_id, 41);
                Some(R::decode(&mut frame, sent.version).expect("response"))
            }
            Output::Close { cause, .. } => panic!("closed: {cause:?}"),
        }
    }

    /// Sends a request that is answered at once.
    pub(super) fn ask<Q: Request>(
        &mut self,
        connection: ConnectionId,
        version: i16,
        request: &Q,
    ) -> Q::Response {
        let sent = self.send(connection, version, request);
        self.answer(sent).expect("an answer at once")
    }

    pub(super) fn closed(&mut self) -> Option<CloseCause> {
        match self.cluster.poll_output()? {
            Output::Close { cause, .. } => Some(cause),
            Output::Send { .. } => panic!("an answer where there should be none"),
        }
    }

    /// Error and base offset of records for partition 0 of a topic.
    pub(super) fn produce(
        &mut self,
        connection: ConnectionId,
        name: &str,
        records: Bytes,
    ) -> (i16, i64) {
        let response: ProduceResponse = self.ask(connection, 12, &produce(name, records, -1));
        let answer = &response.responses[0].partition_responses[0];
        (answer.error_code, answer.base_offset)
    }

    /// Reads partition 0 of a topic without a session and without waiting.
    pub(super) fn fetch(&mut self, connection: ConnectionId, name: &str, offset: i64) -> Bytes {
        let response: FetchResponse = self.ask(connection, 12, &fetch(name, offset));
        let answer = &response.responses[0].partitions[0];
        assert_eq!(answer.error_code, 0);
        answer.records.clone().expect("records are never null")
    }
}

fn owned(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(super) fn produce(name: &str, records: Bytes, acks: i16) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic_name(name))
        .with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic])
}

pub(super) fn fetch(name: &str, offset: i64) -> FetchRequest {
    let partition =
        FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(name)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_min_bytes(1)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A batch to be sent.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) timestamps: Vec<i64>,
    pub(super) value_bytes: usize,
    pub(super) attributes: i16,
    pub(super) producer: Option<(i64, i16, i32)>,
    pub(super) key: bool,
}

impl Records {
    /// So many records of the time at which conversations begin.
    pub(super) fn new(count: usize) -> Self {
        Self {
            timestamps: vec![START_MS.cast_signed(); count],
            value_bytes: 10,
            attributes: 0,
            producer: None,
            key: false,
        }
    }

    pub(super) fn at(timestamps: &[i64]) -> Self {
        Self { timestamps: timestamps.to_vec(), ..Self::new(0) }
    }

    /// By a producer: id, epoch, first sequence.
    pub(super) fn by(self, id: i64, epoch: i16, sequence: i32) -> Self {
        Self { producer: Some((id, epoch, sequence)), ..self }
    }

    pub(super) fn transactional(self) -> Self {
        Self { attributes: self.attributes | 0x10, ..self }
    }

    pub(super) fn bytes(&self) -> Bytes {
        let first = self.timestamps.first().copied().unwrap_or(-1);
        let largest = self.timestamps.iter().copied().max().unwrap_or(-1);
        let count = i32::try_from(self.timestamps.len()).expect("few records");
        let (id, epoch, sequence) = self.producer.unwrap_or((-1, -1, -1));
        let mut bytes = BytesMut::zeroed(16);
        bytes.put_u8(2);
        bytes.put_u32(0);
        bytes.put_i16(self.attributes);
        bytes.put_i32(count - 1);
        bytes.put_i64(first);
        bytes.put_i64(largest);
        bytes.put_i64(id);
        bytes.put_i16(epoch);
        bytes.put_i32(sequence);
        bytes.put_i32(count);
        for (delta, timestamp) in self.timestamps.iter().enumerate() {
            let mut record = BytesMut::new();
            record.put_u8(0);
            put_varint(&mut record, timestamp - first);
            put_varint(&mut record, i64::try_from(delta).expect("few records"));
            if self.key {
                put_varint(&mut record, 1);
                record.put_u8(b'k');
            } else {
                put_varint(&mut record, -1);
            }
            put_varint(&mut record, i64::try_from(self.value_bytes).expect("a small value"));
            record.put_bytes(b'v', self.value_bytes);
            put_varint(&mut record, 0);
            put_varint(&mut bytes, i64::try_from(record.len()).expect("a small record"));
            bytes.put_slice(&record);
        }
        sealed(bytes)
    }
}

/// Writes length and checksum.
pub(super) fn sealed(mut bytes: BytesMut) -> Bytes {
    let length = i32::try_from(bytes.len() - 12).expect("a small batch");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

fn put_varint(bytes: &mut BytesMut, number: i64) {
    let mut bits = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while bits >= 0x80 {
        bytes.put_u8(u8::try_from(bits & 0x7f).expect("seven bits") | 0x80);
        bits >>= 7;
    }
    bytes.put_u8(u8::try_from(bits).expect("seven bits"));
}
