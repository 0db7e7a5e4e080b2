//! What the clusters of a play hold, read from the brokers themselves, beside the network.

use std::{collections::BTreeMap, time::Duration};

use bytes::{Buf as _, Bytes};
use kafka_protocol::{
    messages::{
        FetchRequest,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::PartitionData,
    },
    records::RecordBatchDecoder,
};
use switchyard_sim::{
    client::{committed, record::Numbered},
    oracle::history::{Position, Record, Stored},
};

use tokio::time::timeout;

use super::mirror::MARK;
use crate::{
    Result,
    cluster::Cluster,
    wire::{self, Connection, topic_name},
};

/// Newest version of Fetch that names topics.
const FETCH_VERSION: i16 = 12;
/// Bytes of one answer.
const FETCH_BYTES_MAX: i32 = 32 << 20;
/// Bytes before the count of offsets in a batch, and before its end.
const BATCH_HEAD_BYTES: usize = 12;
const LAST_OFFSET_DELTA_AT: usize = 23;

/// How long a broker may take; one that is dead or paused must not keep the others from being read.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(1500);

type Partition = (String, i32);

/// Reads the topics of one cluster as they grow, up to the last stable offset.
pub(super) struct LogReader {
    topics: Vec<String>,
    /// The node that answered last.
    answers: Option<i32>,
    /// Of the newest metadata.
    leaders: BTreeMap<Partition, i32>,
    connections: BTreeMap<i32, Connection>,
    positions: BTreeMap<Partition, i64>,
    /// Every numbered record so far.
    stored: Vec<Stored>,
    /// Offsets of each partition that clients wrote, and that a mirror wrote.
    of_clients: BTreeMap<Partition, u64>,
    of_mirror: BTreeMap<Partition, u64>,
}

/// What a round of reading has found.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Partitions with another leader than before.
    pub(super) moved: Vec<Partition>,
    /// Offsets that clients have filled.
    pub(super) appended: Vec<(Partition, u64)>,
    /// Whether every partition was read.
    pub(super) complete: bool,
    /// Whether there may be more.
    pub(super) grew: bool,
}

impl LogReader {
    pub(super) fn new(topics: Vec<String>) -> Self {
        Self {
            topics,
            answers: None,
            leaders: BTreeMap::new(),
            connections: BTreeMap::new(),
            positions: BTreeMap::new(),
            stored: Vec::new(),
            of_clients: BTreeMap::new(),
            of_mirror: BTreeMap::new(),
        }
    }

    /// Every record that was read.
    pub(super) fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// Records that clients wrote to some topics.
    pub(super) fn written(&self, topics: &[String]) -> u64 {
        sum(&self.of_clients, topics)
    }

    /// Records that a mirror wrote to some topics.
    pub(super) fn mirrored(&self, topics: &[String]) -> u64 {
        sum(&self.of_mirror, topics)
    }

    /// Reads what is new. Brokers that do not answer are left out.
    pub(super) async fn read(&mut self, cluster: &Cluster) -> News {
        let mut news = News::default();
        if !self.find_leaders(cluster, &mut news).await {
            return news;
        }
        news.complete = !self.leaders.is_empty();
        let mut by_node: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
        for (partition, &node) in &self.leaders {
            by_node.entry(node).or_default().push(partition.clone());
        }
        for (node, partitions) in by_node {
            if self.read_from(cluster, node, &partitions, &mut news).await.is_err() {
                news.complete = false;
            }
        }
        news
    }

    async fn find_leaders(&mut self, cluster: &Cluster, news: &mut News) -> bool {
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let mut nodes = cluster.plan().nodes.clone();
        // The one that has answered before is asked first.
        nodes.sort_by_key(|&node| Some(node) != self.answers);
        for node in nodes {
            let address = cluster.address(node);
            let asked = timeout(ANSWER_TIME_MAX, wire::metadata(&address, &names)).await;
            let Ok(Ok(metadata)) = asked else { continue };
            self.answers = Some(node);
            for topic in metadata.topics {
                let Some(name) = topic.name else { continue };
                for partition in topic.partitions {
                    let key = (name.0.to_string(), partition.partition_index);
                    let leader = partition.leader_id.0;
                    if leader < 0 {
                        continue;
                    }
                    let before = self.leaders.insert(key.clone(), leader);
                    if before.is_some_and(|before| before != leader) {
                        news.moved.push(key);
                    }
                }
            }
            return true;
        }
        false
    }

    async fn read_from(
        &mut self,
        cluster: &Cluster,
        node: i32,
        partitions: &[Partition],
        news: &mut News,
    ) -> Result<()> {
        // Only a connection that has answered is kept.
        let mut connection = match self.connections.remove(&node) {
            Some(open) => open,
            None => timeout(ANSWER_TIME_MAX, Connection::open(&cluster.address(node))).await??,
        };
        let request = self.request(partitions);
        let answer = timeout(ANSWER_TIME_MAX, connection.ask(&request, FETCH_VERSION)).await??;
        self.connections.insert(node, connection);
        for topic in answer.responses {
            let name = topic.topic.0.to_string();
            for data in topic.partitions {
                let key = (name.clone(), data.partition_index);
                if data.error_code == 0 {
                    self.take(&key, data, news);
                } else {
                    news.complete = false;
                }
            }
        }
        Ok(())
    }

    fn request(&self, partitions: &[Partition]) -> FetchRequest {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for key in partitions {
            let (topic, partition) = key;
            let asked = FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(self.positions.get(key).copied().unwrap_or_default())
                .with_partition_max_bytes(FETCH_BYTES_MAX);
            topics.entry(topic).or_default().push(asked);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions)
        });
        FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(FETCH_BYTES_MAX)
            .with_isolation_level(1)
            .with_topics(topics.collect())
    }

    fn take(&mut self, key: &Partition, data: PartitionData, news: &mut News) {
        let Some(batches) = data.records else { return };
        let (whole, next) = whole_batches(batches);
        let Some(next) = next else { return };
        let from = self.positions.insert(key.clone(), next).unwrap_or_default();
        news.grew = true;
        let aborted = data.aborted_transactions.unwrap_or_default();
        let aborted: Vec<_> =
            aborted.iter().map(|it| (it.producer_id.0, it.first_offset)).collect();
        let of_mirror = mirrored(whole.clone());
        let of_clients = u64::try_from(next - from).unwrap_or_default().saturating_sub(of_mirror);
        *self.of_mirror.entry(key.clone()).or_default() += of_mirror;
        if of_clients > 0 {
            *self.of_clients.entry(key.clone()).or_default() += of_clients;
            news.appended.push((key.clone(), of_clients));
        }
        for (offset, value) in committed(whole, &aborted) {
            let Some(numbered) = Numbered::decode(&value) else { continue };
            let record = Record { producer: numbered.producer.into(), number: numbered.number };
            let position = Position { topic: key.0.as_str().into(), partition: key.1, offset };
            self.stored.push(Stored { position, record });
        }
    }
}

fn sum(counts: &BTreeMap<Partition, u64>, topics: &[String]) -> u64 {
    counts.iter().filter(|((topic, _), _)| topics.contains(topic)).map(|(_, count)| count).sum()
}

/// The batches that are there as a whole, and the offset behind them.
fn whole_batches(mut batches: Bytes) -> (Bytes, Option<i64>) {
    let (mut rest, mut end, mut next) = (batches.clone(), 0, None);
    while let Some((base, length, last)) = head(&rest) {
        let bytes = BATCH_HEAD_BYTES + length;
        if rest.len() < bytes {
            break;
        }
        rest.advance(bytes);
        end += bytes;
        next = Some(base + i64::from(last) + 1);
    }
    batches.truncate(end);
    (batches, next)
}

/// First offset, length and last offset (counted from the first) of the batch at the start.
fn head(bytes: &[u8]) -> Option<(i64, usize, i32)> {
    let base = i64::from_be_bytes(*bytes.first_chunk()?);
    let length = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let last = i32::from_be_bytes(*bytes.get(LAST_OFFSET_DELTA_AT..)?.first_chunk()?);
    Some((base, usize::try_from(length).ok()?, last))
}

/// How many records MirrorMaker has written: they bear its mark.
fn mirrored(mut batches: Bytes) -> u64 {
    let mut count = 0;
    while let Some((_, length, _)) = head(&batches) {
        let mut batch = batches.split_to((BATCH_HEAD_BYTES + length).min(batches.len()));
        // A batch that cannot be decoded is compressed, which MirrorMaker is not told to do.
        let Ok(set) = RecordBatchDecoder::decode(&mut batch) else { continue };
        let marked = set.records.iter().filter(|it| it.headers.keys().any(|key| &**key == MARK));
        count += marked.count() as u64;
    }
    count
}
