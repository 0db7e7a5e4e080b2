//! The consumer of one partition. It remembers its position itself, for mirrored topics keep their offsets: after a
//! switchover it goes on where it was, even if the other cluster's copy is a little behind.

#![expect(clippy::disallowed_methods, reason = "it runs in real time")]

use std::time::Duration;

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, FetchRequest, ListOffsetsRequest,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    records::RecordBatchDecoder,
};

use super::{
    Shared,
    partition::{BACKOFF, Leader},
    writer,
};
use crate::ask::{AskError, accepted, topic_name};

const FETCH_VERSION: i16 = 11;
const FETCH_WAIT_MS: i32 = 500;
const FETCH_BYTES_MAX: i32 = 1 << 20;
const LIST_OFFSETS_VERSION: i16 = 5;
/// Asks for the first offset that is kept.
const EARLIEST: i64 = -2;
/// How long a position may lie outside the log before another one is looked for.
const OUT_OF_RANGE_TIME_MAX: Duration = Duration::from_secs(10);

struct Reader {
    shared: Shared,
    partition: i32,
    leader: Leader,
    position: i64,
    /// Since when the position lies outside the log.
    out_of_range: Option<tokio::time::Instant>,
}

/// Consumes until it is dropped.
pub(super) async fn run(shared: Shared, partition: i32) {
    let leader = Leader::new(shared.clone(), partition);
    let mut reader = Reader { shared, partition, leader, position: 0, out_of_range: None };
    loop {
        if let Err(error) = reader.fetch().await {
            tracing::debug!(partition, %error, "fetch again");
            reader.leader.give_up();
            tokio::time::sleep(BACKOFF).await;
        }
    }
}

impl Reader {
    async fn fetch(&mut self) -> Result<(), AskError> {
        let wanted = FetchPartition::default()
            .with_partition(self.partition)
            .with_fetch_offset(self.position)
            .with_partition_max_bytes(FETCH_BYTES_MAX);
        let topic = FetchTopic::default()
            .with_topic(topic_name(&self.shared.topic))
            .with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(FETCH_WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES_MAX)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = self.leader.connection().await?.ask(&request, FETCH_VERSION).await?;
        accepted("fetch", answer.error_code)?;
        let Some(data) = answer.responses.into_iter().flat_map(|topic| topic.partitions).next()
        else {
            return Ok(());
        };
        if data.error_code == ResponseError::OffsetOutOfRange.code() {
            return self.wait_or_reset().await;
        }
        accepted("fetch", data.error_code)?;
        self.out_of_range = None;
        let numbers = self.take(data.records.unwrap_or_default());
        let position = self.position;
        self.shared.with(self.partition, |tally| {
            for number in numbers {
                tally.consume(number);
            }
            (tally.position, tally.high_watermark) = (position, data.high_watermark);
        });
        Ok(())
    }

    /// Reads batches and moves the position behind them; gives the numbers in them.
    fn take(&mut self, mut records: bytes::Bytes) -> Vec<u64> {
        let mut numbers = Vec::new();
        // Somebody else's batch may be compressed, and the last one may be cut short: both are passed over.
        while let Ok(infos) = last_offset(&records) {
            let Some((next, bytes)) = infos else { break };
            let mut batch = records.split_to(bytes);
            if let Ok(set) = RecordBatchDecoder::decode(&mut batch) {
                let wanted = set
                    .records
                    .iter()
                    .filter(|record| record.offset >= self.position && !record.control);
                let values = wanted.filter_map(|record| record.value.as_deref());
                numbers.extend(values.filter_map(writer::number));
            }
            self.position = self.position.max(next);
        }
        numbers
    }

    /// A mirror that is behind will soon have the position; a log that was emptied never will.
    async fn wait_or_reset(&mut self) -> Result<(), AskError> {
        let since = *self.out_of_range.get_or_insert_with(tokio::time::Instant::now);
        if since.elapsed() < OUT_OF_RANGE_TIME_MAX {
            tokio::time::sleep(BACKOFF).await;
            return Ok(());
        }
        let wanted = ListOffsetsPartition::default()
            .with_partition_index(self.partition)
            .with_timestamp(EARLIEST);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(&self.shared.topic))
            .with_partitions(vec![wanted]);
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = self.leader.connection().await?.ask(&request, LIST_OFFSETS_VERSION).await?;
        if let Some(found) = answer.topics.iter().flat_map(|topic| &topic.partitions).next() {
            accepted("earliest offset", found.error_code)?;
            self.position = found.offset;
        }
        self.out_of_range = None;
        Ok(())
    }
}

/// Offset behind the first batch, and its length in bytes; `None`: there is no whole batch.
fn last_offset(records: &[u8]) -> Result<Option<(i64, usize)>, std::num::TryFromIntError> {
    let field = |at: usize| records.get(at..).and_then(<[u8]>::first_chunk::<4>);
    let (Some(base), Some(length), Some(delta)) = (records.first_chunk::<8>(), field(8), field(23))
    else {
        return Ok(None);
    };
    let bytes = usize::try_from(i32::from_be_bytes(*length))? + 12;
    let next = i64::from_be_bytes(*base)
        .saturating_add(i64::from(i32::from_be_bytes(*delta)))
        .saturating_add(1);
    Ok((bytes <= records.len()).then_some((next, bytes)))
}
