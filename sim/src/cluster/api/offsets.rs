//! ListOffsets.

use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
};

use super::{super::Cluster, Context, Reply};

/// Asks for the start of the log.
const EARLIEST: i64 = -2;

impl Cluster {
    pub(super) fn list_offsets(
        &mut self,
        _: &Context,
        request: ListOffsetsRequest,
    ) -> Reply<ListOffsetsResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let answer = ListOffsetsPartitionResponse::default()
                    .with_partition_index(wanted.partition_index);
                match self.topics.partition(&topic.name, wanted.partition_index) {
                    None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                    Some(partition) if wanted.timestamp == EARLIEST => {
                        answer.with_offset(partition.log.start())
                    }
                    Some(partition) => answer.with_offset(partition.log.high_watermark()),
                }
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        Reply::Now(ListOffsetsResponse::default().with_topics(topics.collect()))
    }
}
