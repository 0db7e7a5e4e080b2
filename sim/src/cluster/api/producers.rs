//! DescribeProducers.

use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeProducersRequest, DescribeProducersResponse, TopicName,
        describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
    },
};

use super::{super::Cluster, Context, Reply};

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
        // Logs do not keep producers yet.
        Ok(Vec::new())
    }
}
