//! The producer of one partition: idempotent, one batch at a time, at a steady rate. A batch is sent until it is
//! acknowledged, whatever is answered.

#![expect(clippy::disallowed_methods, reason = "it runs in real time")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    indexmap::IndexMap,
    messages::{
        InitProducerIdRequest, ProduceRequest, ProducerId,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    records::{
        Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions,
        TimestampType,
    },
};
use tokio::{sync::watch, time::MissedTickBehavior};

use super::{
    Shared,
    partition::{BACKOFF, Leader},
};
use crate::ask::{AskError, accepted, topic_name};

/// Records of one batch, and how often there is one: 100 records a second for each partition.
const BATCH_RECORDS: u64 = 5;
const BATCH_EVERY: Duration = Duration::from_millis(50);

const INIT_PRODUCER_ID_VERSION: i16 = 4;
const PRODUCE_VERSION: i16 = 8;
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;

/// Who a producer is, and where it stands.
#[derive(Clone, Copy)]
struct Identity {
    producer_id: i64,
    epoch: i16,
    /// Of the next batch's first record.
    sequence: i32,
}

struct Writer {
    shared: Shared,
    partition: i32,
    leader: Leader,
    identity: Option<Identity>,
    /// Of the next record.
    number: u64,
}

/// Produces until it is told to end; then the last batch is still seen through.
pub(super) async fn run(shared: Shared, partition: i32, producing: watch::Receiver<bool>) {
    let leader = Leader::new(shared.clone(), partition);
    let mut writer = Writer { shared, partition, leader, identity: None, number: 0 };
    let mut ticks = tokio::time::interval(BATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while *producing.borrow() {
        ticks.tick().await;
        while let Err(error) = writer.send().await {
            tracing::debug!(partition, %error, "produce again");
            writer.leader.give_up();
            tokio::time::sleep(BACKOFF).await;
        }
        writer.number += BATCH_RECORDS;
        writer.shared.with(partition, |tally| tally.acknowledge(BATCH_RECORDS));
    }
}

impl Writer {
    /// Sends the batch that stands next. When that fails it is not known whether it was written.
    async fn send(&mut self) -> Result<(), AskError> {
        let identity = self.identity().await?;
        let data = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(batch(identity, self.partition, self.number)));
        let topic = TopicProduceData::default()
            .with_name(topic_name(&self.shared.topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(PRODUCE_TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        let answer = self.leader.connection().await?.ask(&request, PRODUCE_VERSION).await?;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        let code = partitions.map(|partition| partition.error_code).next().unwrap_or(-1);
        let outcome = match ResponseError::try_from_code(code) {
            None | Some(ResponseError::DuplicateSequenceNumber) => Ok(()),
            Some(
                ResponseError::OutOfOrderSequenceNumber
                | ResponseError::InvalidProducerEpoch
                | ResponseError::UnknownProducerId,
            ) => {
                // The broker's memory of this producer is another: begin anew.
                self.identity = None;
                accepted("produce", code)
            }
            Some(_) => accepted("produce", code),
        };
        if outcome.is_ok() {
            let next = u64::try_from(identity.sequence).unwrap_or(0) + BATCH_RECORDS;
            // Sequences start again at 0 behind the largest.
            let sequence = i32::try_from(next % (1 << 31)).unwrap_or(0);
            self.identity = Some(Identity { sequence, ..identity });
        }
        outcome
    }

    async fn identity(&mut self) -> Result<Identity, AskError> {
        if let Some(identity) = self.identity {
            return Ok(identity);
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let connection = self.leader.connection().await?;
        let answer = connection.ask(&request, INIT_PRODUCER_ID_VERSION).await?;
        accepted("producer id", answer.error_code)?;
        let identity = Identity {
            producer_id: answer.producer_id.0,
            epoch: answer.producer_epoch,
            sequence: 0,
        };
        Ok(*self.identity.insert(identity))
    }
}

/// The records from `number` on.
fn batch(identity: Identity, partition: i32, number: u64) -> Bytes {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let timestamp = now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let records: Vec<_> = (0..)
        .zip(number..number + BATCH_RECORDS)
        .map(|(place, number)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: identity.producer_id,
            producer_epoch: identity.epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(place),
            sequence: identity.sequence.wrapping_add(place),
            timestamp,
            key: None,
            value: Some(Bytes::from(value(partition, number))),
            headers: IndexMap::new(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("a batch of plain records");
    bytes.freeze()
}

/// A record's value, for people who look with kcat.
fn value(partition: i32, number: u64) -> String {
    format!("order {number} of partition {partition}")
}

/// The number that a value holds; `None`: somebody else's record.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let (number, rest) = text.strip_prefix("order ")?.split_once(' ')?;
    rest.strip_prefix("of partition ")?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_and_those_of_others_are_not() {
        assert_eq!(number(value(2, 77).as_bytes()), Some(77));
        for other in ["", "order", "order x of partition 1", "order 1 of", "hello"] {
            assert_eq!(number(other.as_bytes()), None, "{other}");
        }
    }
}
