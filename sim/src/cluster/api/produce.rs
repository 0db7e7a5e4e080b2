//! Produce.

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ProduceRequest, ProduceResponse, TopicName, TransactionalId,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
};

use super::{
    super::{
        Cluster,
        log::split,
        transaction::{Membership, Producer},
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
                let records = partition.records.unwrap_or_default();
                let id = request.transactional_id.as_ref();
                answers.push(
                    match self.append(context, id, name.as_ref(), partition.index, &records) {
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

    fn append(
        &mut self,
        context: &Context,
        transactional_id: Option<&TransactionalId>,
        name: Option<&TopicName>,
        index: i32,
        records: &Bytes,
    ) -> Result<i64, ResponseError> {
        let name = name.ok_or(ResponseError::UnknownTopicId)?;
        let batches = split(records)?;
        for batch in batches.iter().filter(|batch| batch.is_transactional()) {
            self.verify_or_add_to_transaction(
                context.now,
                transactional_id,
                Producer { id: batch.producer_id(), epoch: batch.producer_epoch() },
                (name.clone(), index),
                Membership::of_produce(context.version()),
            )?;
        }
        let partition =
            self.topics.partition_mut(name, index).ok_or(ResponseError::UnknownTopicOrPartition)?;
        if partition.leader != Some(context.broker) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        let mut base_offset = None;
        for batch in batches {
            let appended = partition.log.append(batch, partition.leader_epoch)?;
            base_offset.get_or_insert(appended.base_offset);
        }
        partition.log.replicated(partition.log.end());
        self.wake_fetches(name, index);
        base_offset.ok_or(ResponseError::CorruptMessage)
    }
}
