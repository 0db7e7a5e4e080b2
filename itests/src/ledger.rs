//! Which records were sent, acknowledged, and found in the clusters.
//!
//! Every record's value is unique: `prefix.number`, as the verifiable producer of Kafka's tools writes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::Result;

/// How long one read of a whole topic may take.
const READ_TIME_MAX: Duration = Duration::from_mins(1);

/// What the producers were told.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Values that a producer reported as written.
    pub acknowledged: BTreeSet<String>,
    /// Values that a producer reported as failed, and why.
    pub failed: Vec<(String, String)>,
}

/// How often each value stands in the topics that were read.
#[derive(Clone, Debug, Default)]
pub struct Found(pub BTreeMap<String, usize>);

impl Found {
    /// Reads a topic from its beginning to its present end, committed records only, and adds what it holds.
    pub fn read(&mut self, bootstrap: &str, topic: &str) -> Result<()> {
        tokio::task::block_in_place(|| self.read_blocking(bootstrap, topic))
    }

    fn read_blocking(&mut self, bootstrap: &str, topic: &str) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "ledger")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(topic), READ_TIME_MAX)?;
        let partitions =
            metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
        let mut open = list.count();
        consumer.assign(&list)?;
        let start = Instant::now();
        while open > 0 {
            if start.elapsed() > READ_TIME_MAX {
                return Err(format!("{topic} at {bootstrap}: not read to the end in time").into());
            }
            match consumer.poll(Duration::from_millis(200)) {
                None => {}
                Some(Ok(message)) => {
                    let value = message.payload().unwrap_or_default();
                    *self.0.entry(String::from_utf8_lossy(value).into_owned()).or_default() += 1;
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => return Err(format!("{topic} at {bootstrap}: {error}").into()),
            }
        }
        Ok(())
    }

    /// Acknowledged values that are nowhere, in order.
    pub fn lost(&self, ledger: &Ledger) -> Vec<String> {
        ledger.acknowledged.iter().filter(|&value| !self.0.contains_key(value)).cloned().collect()
    }

    /// Values found more than once, in order.
    pub fn duplicated(&self) -> Vec<String> {
        self.0.iter().filter(|&(_, &count)| count > 1).map(|(value, _)| value.clone()).collect()
    }

    /// How many values with this prefix were found.
    pub fn count(&self, prefix: &str) -> usize {
        self.0.keys().filter(|value| value.starts_with(prefix)).count()
    }
}

/// An error that names the first few of `values`, unless there are none.
pub fn none(what: &str, values: &[String]) -> Result<()> {
    match values {
        [] => Ok(()),
        _ => {
            Err(format!("{} {what}, such as {:?}", values.len(), values.get(..5).unwrap_or(values))
                .into())
        }
    }
}
