//! Single requests of the Kafka protocol, for what the client libraries do not tell or cannot ask.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        AlterPartitionReassignmentsRequest, BrokerId, ConsumerGroupHeartbeatRequest,
        DescribeProducersRequest, ElectLeadersRequest, GroupId, InitProducerIdRequest,
        MetadataRequest, MetadataResponse, ProducerId, RequestHeader, ResponseHeader, TopicName,
        alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
        describe_producers_request::TopicRequest,
        elect_leaders_request::TopicPartitions,
        metadata_request::MetadataRequestTopic,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{Result, eventually};

/// Newest version of Metadata without topic ids, which has leader epochs and the cluster's id already.
const METADATA_VERSION: i16 = 8;

/// How long one request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// One connection, one request at a time.
pub struct Connection {
    stream: TcpStream,
    correlation_id: i32,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = timeout(REQUEST_TIME_MAX, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends a request and gives its answer.
    pub async fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        timeout(REQUEST_TIME_MAX, self.exchange(request, version)).await?
    }

    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("itests")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version))?;
        request.encode(&mut body, version)?;
        let mut frame = BytesMut::with_capacity(body.len() + 4);
        frame.put_u32(u32::try_from(body.len())?);
        frame.extend_from_slice(&body);
        self.stream.write_all(&frame).await?;

        let length = self.stream.read_u32().await?;
        let mut answer = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut answer).await?;
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        if header.correlation_id != self.correlation_id {
            return Err(format!("answer to request {}", header.correlation_id).into());
        }
        let response = R::Response::decode(&mut answer, version)?;
        if answer.has_remaining() {
            return Err(format!("{} bytes behind the answer", answer.remaining()).into());
        }
        Ok(response)
    }
}

/// A topic's name as messages hold it.
pub fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// What one broker says of the cluster and of some topics.
pub async fn metadata(address: &str, topics: &[&str]) -> Result<MetadataResponse> {
    let topics = topics
        .iter()
        .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))));
    let request = MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(false);
    Connection::open(address).await?.ask(&request, METADATA_VERSION).await
}

/// Leader and leader epoch of each partition of a topic, in the order of the partitions.
pub async fn leaders(address: &str, topic: &str) -> Result<Vec<(i32, i32)>> {
    let metadata = metadata(address, &[topic]).await?;
    let mut partitions: Vec<_> =
        metadata.topics.into_iter().flat_map(|topic| topic.partitions).collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    Ok(partitions.iter().map(|found| (found.leader_id.0, found.leader_epoch)).collect())
}

/// Takes the next producer id that a broker has to give.
pub async fn take_producer_id(connection: &mut Connection) -> Result<i64> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    for _ in 0..200 {
        let answer = connection.ask(&request, 4).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => return Ok(answer.producer_id.0),
            // A broker without a block of ids asks the controller for one.
            Some(ResponseError::CoordinatorLoadInProgress) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Some(error) => return Err(format!("InitProducerId: {error}").into()),
        }
    }
    Err("no producer id within ten seconds".into())
}

/// Ids of the idempotent producers that have written to one partition, asked of its leader.
pub async fn producer_ids(leader: &str, topic: &str, partition: i32) -> Result<Vec<i64>> {
    let asked = TopicRequest::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(vec![partition]);
    let request = DescribeProducersRequest::default().with_topics(vec![asked]);
    let answer = Connection::open(leader).await?.ask(&request, 0).await?;
    let mut ids = Vec::new();
    for found in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
        if let Some(error) = ResponseError::try_from_code(found.error_code) {
            return Err(format!("DescribeProducers: {error}").into());
        }
        ids.extend(found.active_producers.iter().map(|producer| producer.producer_id.0));
    }
    Ok(ids)
}

/// What a coordinator answers to a member of a KIP-848 group that believes to be in it: an error code.
pub async fn heartbeat_of_member(coordinator: &str, group: &str) -> Result<i16> {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_member_id(StrBytes::from_static_str("AAAAAAAAAAAAAAAAAAAAAQ"))
        .with_member_epoch(7)
        .with_topic_partitions(None);
    Ok(Connection::open(coordinator).await?.ask(&request, 0).await?.error_code)
}

/// Makes the first of `replicas`, which are the partition's own in another order, its leader. The leader's
/// epoch rises by at least one when that is a change.
pub async fn move_leader(
    address: &str,
    topic: &str,
    partition: i32,
    replicas: &[i32],
) -> Result<()> {
    let first = replicas.first().copied().ok_or("no replicas")?;
    let mut connection = Connection::open(address).await?;
    let reassigned = ReassignablePartition::default()
        .with_partition_index(partition)
        .with_replicas(Some(replicas.iter().copied().map(BrokerId).collect()));
    let reassign =
        AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000).with_topics(vec![
            ReassignableTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(vec![reassigned]),
        ]);
    let answer = connection.ask(&reassign, 0).await?;
    let inner =
        answer.responses.iter().flat_map(|topic| &topic.partitions).map(|found| found.error_code);
    if let Some(code) = inner.chain([answer.error_code]).find(|&code| code != 0) {
        return Err(format!("AlterPartitionReassignments: error {code}").into());
    }
    let elect =
        ElectLeadersRequest::default().with_timeout_ms(10_000).with_topic_partitions(Some(vec![
            TopicPartitions::default()
                .with_topic(topic_name(topic))
                .with_partitions(vec![partition]),
        ]));
    // A controller that is not done with the reassignment answers with an error; the next try succeeds.
    eventually("the new leader", REQUEST_TIME_MAX, || async {
        Connection::open(address).await.ok()?.ask(&elect, 2).await.ok()?;
        let leaders = leaders(address, topic).await.ok()?;
        let leader = leaders.get(usize::try_from(partition).ok()?)?.0;
        (leader == first).then_some(())
    })
    .await
}
