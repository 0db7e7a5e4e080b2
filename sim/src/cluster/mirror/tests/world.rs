//! What the tests of links are played on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, GroupId, JoinGroupRequest, ProduceRequest, ProduceResponse, RequestHeader,
        ResponseHeader, TopicName,
        join_group_request::JoinGroupRequestProtocol,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Decodable, Encodable, StrBytes},
    records::{
        Compression, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record, RecordBatchDecoder,
        RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    },
};
use uuid::Uuid;

use super::super::{
    super::{Cluster, ClusterSpec, ConnectionId, Output, Time, log::Marker},
    Link, LinkSpec,
    access::{GroupOffset, Shape, scan},
    raw::{Raw, batches},
};

/// One of the two clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

/// Two clusters, a link, and the time.
pub(super) struct World {
    pub(super) a: Cluster,
    pub(super) b: Cluster,
    pub(super) link: Link,
    pub(super) now: Time,
    connections: [ConnectionId; 2],
    produced: u64,
}

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// What a topic with so many partitions and nothing special is.
pub(super) fn copy_of(partitions: usize) -> Shape {
    Shape { id: Uuid::nil(), partitions, replicas: 1, configs: BTreeMap::new() }
}

fn group(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

/// A linking that steps fast, so that tests need not wait.
pub(super) fn linking() -> LinkSpec {
    LinkSpec {
        fetch_interval: Duration::from_millis(1),
        metadata_interval: Duration::from_millis(100),
        ..LinkSpec::cluster_linking("link", 7)
    }
}

impl World {
    pub(super) fn new(spec: LinkSpec) -> Self {
        Self::with_brokers(spec, 1, 1)
    }

    /// Clusters of so many brokers. Clients are connected to the first of each.
    pub(super) fn with_brokers(spec: LinkSpec, of_a: u16, of_b: u16) -> Self {
        let cluster = |name: &str, seed, brokers: u16| {
            Cluster::new(ClusterSpec::new(name, seed, "host", 9092..9092 + brokers))
        };
        let (mut a, mut b) = (cluster("a", 1, of_a), cluster("b", 2, of_b));
        let connections = [&mut a, &mut b].map(|cluster| cluster.open(1, "client").unwrap());
        let now = Time::from_ms(1_000_000);
        Self { a, b, link: Link::new(spec), now, connections, produced: 0 }
    }

    pub(super) fn side(&mut self, side: Side) -> &mut Cluster {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    pub(super) fn create(&mut self, side: Side, topic: &str, partitions: usize) {
        self.side(side).create_copy(&name(topic), &copy_of(partitions), false).unwrap();
    }

    /// Sends records over the wire. The offset of the first, or the error and what was said of it.
    pub(super) fn produce(
        &mut self,
        side: Side,
        topic: &str,
        partition: i32,
        records: usize,
    ) -> Result<i64, (i16, String)> {
        let batch = self.batch(records);
        self.send(side, topic, partition, batch)
    }

    /// Records that no other batch has.
    pub(super) fn batch(&mut self, records: usize) -> Bytes {
        let first = self.produced;
        self.produced += records as u64;
        let values = (first..).take(records).map(|number| format!("record {number}"));
        encode(values, NO_PRODUCER_ID, false)
    }

    pub(super) fn send(
        &mut self,
        side: Side,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<i64, (i16, String)> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic =
            TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1000)
            .with_topic_data(vec![topic]);
        let header = RequestHeader::default()
            .with_request_api_key(ApiKey::Produce as i16)
            .with_request_api_version(9)
            .with_correlation_id(1);
        let mut frame = BytesMut::new();
        header.encode(&mut frame, 2).unwrap();
        request.encode(&mut frame, 9).unwrap();
        let now = self.now;
        let connection = self.connections[usize::from(side == Side::B)];
        let cluster = self.side(side);
        cluster.handle_frame(now, connection, frame.freeze());
        let Some(Output::Send { mut frame, .. }) = cluster.poll_output() else {
            panic!("no answer");
        };
        let _ = frame.split_to(4);
        ResponseHeader::decode(&mut frame, 1).unwrap();
        let response = ProduceResponse::decode(&mut frame, 9).unwrap();
        let answer = &response.responses[0].partition_responses[0];
        match answer.error_code {
            0 => Ok(answer.base_offset),
            code => Err((
                code,
                answer.error_message.clone().map(|text| text.to_string()).unwrap_or_default(),
            )),
        }
    }

    /// Steps the link at its deadlines.
    pub(super) fn run_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut steps = 0;
        while let Some(deadline) = self.link.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.link.handle_time(self.now, &mut self.a, &mut self.b);
            steps += 1;
            assert!(steps <= 20 * ms + 20, "the link wakes without end");
        }
        self.now = end;
    }

    pub(super) fn commit(&mut self, side: Side, group: &str, topic: &str, offset: i64) {
        let offset = GroupOffset {
            group: self::group(group),
            topic: name(topic),
            partition: 0,
            offset,
            metadata: StrBytes::from_static_str("here"),
        };
        let now = self.now;
        assert!(self.side(side).set_group_offset(now, &offset), "the group has no members");
    }

    pub(super) fn committed(&mut self, side: Side, group: &str, topic: &str) -> Option<i64> {
        self.side(side).group_offset(&self::group(group), &name(topic), 0)
    }

    pub(super) fn batches(&mut self, side: Side, topic: &str, partition: i32) -> Vec<Raw> {
        let mut batches = Vec::new();
        if let Some(log) = self.side(side).log_of(&name(topic), partition) {
            scan(log, log.start(), log.end(), |batch| {
                batches.push(batch.clone());
                true
            });
        }
        batches
    }

    pub(super) fn end(&mut self, side: Side, topic: &str) -> i64 {
        self.side(side).log_of(&name(topic), 0).unwrap().end()
    }

    /// Offsets and values of the records of a log.
    pub(super) fn records(&mut self, side: Side, topic: &str) -> Vec<(i64, String)> {
        let batches = self.batches(side, topic, 0);
        decoded(&batches).collect()
    }

    /// A transaction of a new producer: its records, and how it ended.
    pub(super) fn transact(
        &mut self,
        side: Side,
        topic: &str,
        records: usize,
        commit: Option<bool>,
    ) {
        let first = self.produced;
        let producer_id = 1000 + i64::try_from(first).unwrap();
        self.produced += records as u64;
        let values = (first..).take(records).map(|number| format!("record {number}"));
        let batch = encode(values, producer_id, true);
        let now = self.now;
        let cluster = self.side(side);
        let raw = batches(batch).remove(0);
        cluster.append_produced(now, &name(topic), 0, &raw).expect("appended");
        if let Some(commit) = commit {
            let producer_epoch = 0;
            let timestamp = 1_000_000;
            let marker =
                Marker { producer_id, producer_epoch, commit, coordinator_epoch: 0, timestamp };
            let partition = cluster.topics.partition_mut(&name(topic), 0).unwrap();
            partition.log.append_marker(&marker, 0).unwrap();
            cluster.partition_changed(&name(topic), 0);
        }
    }

    /// A consumer joins a group, and stays.
    pub(super) fn join(&mut self, side: Side, group: &str) {
        let protocol = JoinGroupRequestProtocol::default().with_name("range".into());
        let request = JoinGroupRequest::default()
            .with_group_id(self::group(group))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_protocol_type("consumer".into())
            .with_protocols(vec![protocol]);
        let header = RequestHeader::default()
            .with_request_api_key(ApiKey::JoinGroup as i16)
            .with_request_api_version(3)
            .with_correlation_id(1);
        let mut frame = BytesMut::new();
        header.encode(&mut frame, 1).unwrap();
        request.encode(&mut frame, 3).unwrap();
        let now = self.now;
        let connection = self.connections[usize::from(side == Side::B)];
        self.side(side).handle_frame(now, connection, frame.freeze());
    }

    /// Values of the records of one partition.
    pub(super) fn values(&mut self, side: Side, topic: &str, partition: i32) -> BTreeSet<String> {
        let batches = self.batches(side, topic, partition);
        decoded(&batches).map(|(_, value)| value).collect()
    }

    /// Time since the beginning, state and partition of one topic, as a table has it.
    pub(super) fn line(&self) -> String {
        let status = self.link.status(self.now, &self.a, &self.b);
        let topics = status.topics.iter().map(|topic| {
            let partition = &topic.partitions[0];
            format!(
                "{} {} source {} target {} lag {} missing {}",
                topic.mirror_topic,
                topic.state,
                partition.source_end,
                partition.target_end,
                partition.lag,
                partition.unreplicated,
            )
        });
        topics.collect::<Vec<_>>().join("\n")
    }
}

fn decoded(batches: &[Raw]) -> impl Iterator<Item = (i64, String)> {
    let data = batches.iter().filter(|batch| !batch.is_control());
    data.flat_map(|batch| RecordBatchDecoder::decode(&mut batch.bytes().clone()).unwrap().records)
        .map(|record| {
            let value = record.value.unwrap_or_default();
            (record.offset, String::from_utf8(value.to_vec()).unwrap())
        })
}

/// A batch of records with these values.
pub(super) fn encode(
    values: impl Iterator<Item = String>,
    producer_id: i64,
    transactional: bool,
) -> Bytes {
    let idempotent = producer_id != NO_PRODUCER_ID;
    let records: Vec<_> = (0..)
        .zip(values)
        .map(|(offset, value)| Record {
            transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id,
            producer_epoch: if idempotent { 0 } else { NO_PRODUCER_EPOCH },
            timestamp_type: TimestampType::Creation,
            offset,
            // The encoder puts into one batch only what is numbered on, from -1 where nothing is.
            sequence: i32::try_from(offset).unwrap() - i32::from(!idempotent),
            timestamp: 1_000_000,
            key: None,
            value: Some(Bytes::from(value)),
            headers: [].into(),
        })
        .collect();
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, records.iter(), &options).unwrap();
    batch.freeze()
}
