//! DescribeProducers.

use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeProducersRequest, DescribeProducersResponse, TopicName,
        describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
    },
    protocol::StrBytes,
};

use super::{super::Cluster, Context, Reply};

/// Said of topics, not of single partitions, that there are not.
const NO_TOPIC: &str = "This server does not host this topic-partition.";

impl Cluster {
    pub(super) fn describe_producers(
        &mut self,
        context: &Context,
        request: DescribeProducersRequest,
    ) -> Reply<DescribeProducersResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|&index| {
                let response = PartitionResponse::default().with_partition_index(index);
                match self.producers_of(context, &topic.name, index) {
                    Ok(producers) => response.with_active_producers(producers),
                    Err(error) if self.topics.get(&topic.name).is_none() => response
                        .with_error_code(error.code())
                        .with_error_message(Some(StrBytes::from_static_str(NO_TOPIC))),
                    Err(error) => response.with_error_code(error.code()),
                }
            });
            let partitions = partitions.collect();
            TopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        Reply::Now(DescribeProducersResponse::default().with_topics(topics.collect()))
    }

    fn producers_of(
        &self,
        context: &Context,
        topic: &TopicName,
        index: i32,
    ) -> Result<Vec<ProducerState>, ResponseError> {
        let unknown = ResponseError::UnknownTopicOrPartition;
        let partition = self.topics.partition(topic, index).ok_or(unknown)?;
        if partition.leader != Some(context.broker) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        let states = partition.log.producers().map(|(id, producer)| {
            ProducerState::default()
                .with_producer_id(id.into())
                .with_producer_epoch(i32::from(producer.epoch))
                .with_last_sequence(producer.last_sequence())
                .with_last_timestamp(producer.last_timestamp)
                .with_coordinator_epoch(producer.coordinator_epoch)
                .with_current_txn_start_offset(producer.open_since.unwrap_or(-1))
        });
        Ok(states.collect())
    }
}
