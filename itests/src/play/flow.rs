//! Whether a mirror does its work: whether records flow, and whether groups stand at the same offsets on both sides.

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::{
    ResponseError,
    messages::{
        CreateTopicsRequest, FindCoordinatorRequest, GroupId, OffsetFetchRequest,
        create_topics_request::CreatableTopic,
    },
    protocol::StrBytes,
};
use rdkafka::{
    config::ClientConfig,
    producer::{FutureProducer, FutureRecord},
};

use super::logs::LogReader;
use crate::{
    Result,
    cluster::Cluster,
    wire::{Connection, topic_name},
};

/// A topic that no client uses. MirrorMaker reads all partitions in one task, so when its record has been copied every other
/// would have been.
pub(super) const PROBE: &str = "play-probe";
/// How long a probe may take to be copied before another is sent.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// Creates the probe's topic.
pub(super) async fn create_probe(cluster: &Cluster) -> Result<()> {
    let topic = CreatableTopic::default()
        .with_name(topic_name(PROBE))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let node = cluster.plan().nodes.first().copied().ok_or("no nodes")?;
    let answer = Connection::open(&cluster.address(node)).await?.ask(&request, 5).await?;
    for made in answer.topics {
        if let Some(error) = ResponseError::try_from_code(made.error_code) {
            return Err(format!("cannot create {PROBE}: {error}").into());
        }
    }
    Ok(())
}

/// Sends a record and looks whether it, or one before it, has been copied. `source` is where clients find the source.
pub(super) async fn reaches(source: &str, to: &Cluster) -> Result<bool> {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", source).set("linger.ms", "0").create()?;
    let record: FutureRecord<'_, (), str> = FutureRecord::to(PROBE).payload("probe");
    producer.send(record, Duration::from_secs(5)).await.map_err(|(error, _)| error)?;
    tokio::time::sleep(PROBE_EVERY).await;
    let mut reader = LogReader::new(vec![PROBE.to_owned()]);
    reader.read(to).await;
    Ok(reader.mirrored(&[PROBE.to_owned()]) > 0)
}

type Offsets = BTreeMap<(String, i32), i64>;

/// Whether these groups have committed the same offsets on both sides.
pub(super) async fn same_offsets(from: &Cluster, to: &Cluster, groups: &[String]) -> Result<bool> {
    for group in groups {
        let there = committed(to, group).await?;
        let here = committed(from, group).await?;
        if here.iter().any(|(partition, offset)| there.get(partition) != Some(offset)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a group has committed, as its coordinator says.
async fn committed(cluster: &Cluster, group: &str) -> Result<Offsets> {
    let any = cluster.plan().nodes.first().copied().ok_or("no nodes")?;
    let key = StrBytes::from_string(group.to_owned());
    let find = FindCoordinatorRequest::default().with_key(key.clone()).with_key_type(0);
    let found = Connection::open(&cluster.address(any)).await?.ask(&find, 3).await?;
    if let Some(error) = ResponseError::try_from_code(found.error_code) {
        return Err(format!("FindCoordinator: {error}").into());
    }
    let coordinator = cluster.address(found.node_id.0);
    let request = OffsetFetchRequest::default().with_group_id(GroupId(key)).with_topics(None);
    let answer = Connection::open(&coordinator).await?.ask(&request, 7).await?;
    if let Some(error) = ResponseError::try_from_code(answer.error_code) {
        return Err(format!("OffsetFetch: {error}").into());
    }
    let partitions = answer.topics.into_iter().flat_map(|topic| {
        let name = topic.name.0.to_string();
        let each = topic.partitions.into_iter();
        each.map(move |it| ((name.clone(), it.partition_index), it.committed_offset))
    });
    Ok(partitions.filter(|(_, offset)| *offset >= 0).collect())
}
