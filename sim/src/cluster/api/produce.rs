//! Produce.

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ProduceRequest, ProduceResponse, TopicName,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        log::split,
        mirror::{READ_ONLY_ERROR, read_only_message},
    },
    Context, Reply,
};

impl Cluster {
    pub(super) fn produce(
        &mut self,
        context: &Context,
        request: ProduceRequest,
    ) -> Reply<ProduceResponse> {
        let mut response = ProduceResponse::default();
        for topic in request.topic_data {
            let by_id = context.version() >= 13;
            let name = if by_id {
                self.topics.name_of(topic.topic_id).cloned()
            } else {
                Some(topic.name.clone())
            };
            let mut answers = Vec::with_capacity(topic.partition_data.len());
            for partition in topic.partition_data {
                let answer = PartitionProduceResponse::default().with_index(partition.index);
                if let Some(name) = name.as_ref().filter(|name| self.is_read_only(name)) {
                    let message = StrBytes::from_string(read_only_message(name));
                    answers.push(
                        answer
                            .with_error_code(READ_ONLY_ERROR.code())
                            .with_error_message(Some(message))
                            .with_base_offset(-1),
                    );
                    continue;
                }
                let records = partition.records.unwrap_or_default();
                answers.push(
                    match self.append(context, name.as_ref(), partition.index, &records) {
                        Ok(base_offset) => answer.with_base_offset(base_offset),
                        Err(error) => answer.with_error_code(error.code()).with_base_offset(-1),
                    },
                );
            }
            response.responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_topic_id(topic.topic_id)
                    .with_partition_responses(answers),
            );
        }
        if request.acks == 0 { Reply::None } else { Reply::Now(response) }
    }

    fn is_read_only(&self, name: &TopicName) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.read_only)
    }

    fn append(
        &mut self,
        context: &Context,
        name: Option<&TopicName>,
        index: i32,
        records: &Bytes,
    ) -> Result<i64, ResponseError> {
        let name = name.ok_or(ResponseError::UnknownTopicId)?;
        let partition =
            self.topics.partition_mut(name, index).ok_or(ResponseError::UnknownTopicOrPartition)?;
        if partition.leader != Some(context.broker) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        let mut base_offset = None;
        for batch in split(records)? {
            let appended = partition.log.append(batch, partition.leader_epoch)?;
            base_offset.get_or_insert(appended.base_offset);
        }
        partition.log.replicated(partition.log.end());
        self.wake_fetches(name, index);
        base_offset.ok_or(ResponseError::CorruptMessage)
    }
}
