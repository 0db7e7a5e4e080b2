//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords: questions about where a log begins and ends, and a change of it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest,
        ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        list_offsets_request::ListOffsetsPartition,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        offset_for_leader_epoch_request::OffsetForLeaderPartition,
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use super::{
    super::{Cluster, log::Found, topic::Partition, versions::Profile},
    Context, Reply,
    leadership::Servant,
    produce::INTERNAL_TOPICS,
};

/// What ListOffsets may ask for instead of a timestamp, and the version that brought it.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const MAX_TIMESTAMP_FROM: i16 = 7;
const EARLIEST_LOCAL: i64 = -4;
const EARLIEST_LOCAL_FROM: i16 = 8;
const LATEST_TIERED: i64 = -5;
const LATEST_TIERED_FROM: i16 = 9;

/// Who asks: a consumer sees what is replicated, anybody else the whole log.
const CONSUMER: BrokerId = BrokerId(-1);
/// May ask any replica.
const DEBUGGING_CONSUMER: BrokerId = BrokerId(-2);

/// DeleteRecords: up to the high watermark.
const HIGH_WATERMARK: i64 = -1;

const NOT_FOUND: Found = Found { offset: -1, timestamp: -1, leader_epoch: -1 };

/// `read_uncommitted` and `read_committed`.
pub(super) const ISOLATION_LEVELS: [i8; 2] = [0, 1];

/// The answer for a partition.
fn tell(
    version: i16,
    index: i32,
    found: Result<Found, ResponseError>,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match found {
        Ok(found) => answer
            .with_offset(found.offset)
            .with_timestamp(found.timestamp)
            .with_leader_epoch(if version >= 4 { found.leader_epoch } else { -1 }),
        Err(error) => answer.with_error_code(error.code()),
    }
}

impl Cluster {
    pub(super) fn list_offsets(
        &mut self,
        context: &Context,
        request: ListOffsetsRequest,
    ) -> Reply<ListOffsetsResponse> {
        let mut asked = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let key = (&topic.name, partition.partition_index);
                if !asked.insert(key) {
                    twice.insert(key);
                }
            }
        }
        let mut topics: Vec<ListOffsetsTopicResponse> = Vec::new();
        let mut answered = BTreeSet::new();
        for topic in &request.topics {
            for wanted in &topic.partitions {
                let key = (&topic.name, wanted.partition_index);
                // What is asked for twice is refused once; by Kafka 3.9 as often as it is asked for.
                if !answered.insert(key) && self.profile >= Profile::Kafka41 {
                    continue;
                }
                let found = if !ISOLATION_LEVELS.contains(&request.isolation_level) {
                    Err(ResponseError::UnknownServerError)
                } else if twice.contains(&key) {
                    Err(ResponseError::InvalidRequest)
                } else {
                    self.list_offset(context, &request, &topic.name, wanted)
                };
                let answer = tell(context.version(), wanted.partition_index, found);
                match topics.iter_mut().find(|told| told.name == topic.name) {
                    Some(told) => told.partitions.push(answer),
                    None => topics.push(
                        ListOffsetsTopicResponse::default()
                            .with_name(topic.name.clone())
                            .with_partitions(vec![answer]),
                    ),
                }
            }
        }
        Reply::Now(ListOffsetsResponse::default().with_topics(topics))
    }

    fn list_offset(
        &self,
        context: &Context,
        request: &ListOffsetsRequest,
        topic: &TopicName,
        wanted: &ListOffsetsPartition,
    ) -> Result<Found, ResponseError> {
        let supported = match wanted.timestamp {
            0.. | LATEST | EARLIEST => true,
            MAX_TIMESTAMP => context.version() >= MAX_TIMESTAMP_FROM,
            EARLIEST_LOCAL => context.version() >= EARLIEST_LOCAL_FROM,
            LATEST_TIERED => context.version() >= LATEST_TIERED_FROM,
            _ => false,
        };
        if !supported {
            return Err(ResponseError::UnsupportedVersion);
        }
        let servant = if request.replica_id == DEBUGGING_CONSUMER {
            Servant::Replica
        } else {
            Servant::Leader
        };
        let partition = self.served_partition(
            context.broker,
            (topic, wanted.partition_index),
            wanted.current_leader_epoch,
            servant,
        )?;
        let log = &partition.log;
        let is_consumer = request.replica_id == CONSUMER;
        let end = match request.isolation_level {
            _ if !is_consumer => log.end(),
            1 => log.last_stable_offset(),
            _ => log.high_watermark(),
        };
        // A new leader does not know yet how much of what it has is replicated.
        let lags = is_consumer && !log.epoch_is_replicated(partition.leader_epoch);
        let not_available = if context.version() >= 5 {
            ResponseError::OffsetNotAvailable
        } else {
            ResponseError::LeaderNotAvailable
        };
        let found = match wanted.timestamp {
            LATEST if lags => return Err(not_available),
            LATEST => {
                let leader_epoch = partition.leader_epoch;
                return Ok(Found { offset: end, timestamp: -1, leader_epoch });
            }
            EARLIEST | EARLIEST_LOCAL => return Ok(earliest(partition)),
            LATEST_TIERED => return Ok(NOT_FOUND),
            MAX_TIMESTAMP => log.at_max_timestamp(),
            timestamp => log.at_timestamp(timestamp),
        };
        match found.filter(|found| found.offset < end) {
            Some(found) => Ok(found),
            None if lags => Err(not_available),
            None => Ok(NOT_FOUND),
        }
    }

    pub(super) fn offset_for_leader_epoch(
        &mut self,
        context: &Context,
        request: OffsetForLeaderEpochRequest,
    ) -> Reply<OffsetForLeaderEpochResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let answer = EpochEndOffset::default().with_partition(wanted.partition);
                match self.end_of_epoch(context, &topic.topic, wanted) {
                    Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                    Err(error) => answer.with_error_code(error.code()),
                }
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic)
                .with_partitions(partitions)
        });
        Reply::Now(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
    }

    fn end_of_epoch(
        &self,
        context: &Context,
        topic: &TopicName,
        wanted: &OffsetForLeaderPartition,
    ) -> Result<(i32, i64), ResponseError> {
        let partition = self.served_partition(
            context.broker,
            (topic, wanted.partition),
            wanted.current_leader_epoch,
            Servant::Leader,
        )?;
        Ok(partition.log.end_of_epoch(wanted.leader_epoch, partition.leader_epoch))
    }

    pub(super) fn delete_records(
        &mut self,
        context: &Context,
        request: DeleteRecordsRequest,
    ) -> Reply<DeleteRecordsResponse> {
        // Of a partition that is named twice the last offset counts.
        let mut topics = BTreeMap::<TopicName, BTreeMap<i32, i64>>::new();
        for topic in request.topics {
            let offsets = topics.entry(topic.name).or_default();
            offsets.extend(topic.partitions.iter().map(|it| (it.partition_index, it.offset)));
        }
        let mut response = DeleteRecordsResponse::default();
        for (name, offsets) in topics {
            let partitions = offsets.into_iter().map(|(index, offset)| {
                let answer = DeleteRecordsPartitionResult::default().with_partition_index(index);
                match self.delete_from(context, (&name, index), offset) {
                    Ok(low_watermark) => answer.with_low_watermark(low_watermark),
                    Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
                }
            });
            let partitions = partitions.collect();
            response.topics.push(
                DeleteRecordsTopicResult::default().with_name(name).with_partitions(partitions),
            );
        }
        Reply::Now(response)
    }

    /// Deletes what is before an offset; where the log starts now.
    fn delete_from(
        &mut self,
        context: &Context,
        (topic, index): (&TopicName, i32),
        offset: i64,
    ) -> Result<i64, ResponseError> {
        if self.topics.partition(topic, index).is_some()
            && INTERNAL_TOPICS.contains(&topic.as_str())
        {
            return Err(ResponseError::InvalidTopicException);
        }
        self.served_partition(context.broker, (topic, index), -1, Servant::Leader)?;
        let configs = self.topics.get(topic).map(|topic| &topic.configs);
        if !configs.is_some_and(|configs| self.log_defaults.of_topic(configs).deletes) {
            return Err(ResponseError::PolicyViolation);
        }
        let partition = self.topics.partition_mut(topic, index);
        let log = &mut partition.ok_or(ResponseError::UnknownTopicOrPartition)?.log;
        let offset = if offset == HIGH_WATERMARK { log.high_watermark() } else { offset };
        if offset < 0 || offset > log.high_watermark() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        log.delete_before(offset);
        let start = log.start();
        self.partition_changed(topic, index);
        Ok(start)
    }
}

fn earliest(partition: &Partition) -> Found {
    let log = &partition.log;
    // Where nothing was written the epoch of the leader holds.
    let leader_epoch = match log.epoch_at(log.start()) {
        -1 => partition.leader_epoch,
        epoch => epoch,
    };
    Found { offset: log.start(), timestamp: -1, leader_epoch }
}
