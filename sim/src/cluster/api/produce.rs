//! Produce.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, ProduceRequest, ProduceResponse, TopicName, TransactionalId,
        produce_request::TopicProduceData,
        produce_response::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
            TopicProduceResponse,
        },
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        connection::{CloseCause, Ticket},
        log::{Appended, Batch, Refused},
        mirror::{READ_ONLY_ERROR, read_only_message},
        sights::Sight,
        time::millis,
        timers::Timer,
        topic::Partition,
        transaction::{Membership, Producer},
    },
    Context, Reply,
};

/// Kafka lets one client id alone write to its own topics.
const INTERNAL_CLIENT_ID: &str = "__admin_client";
pub(super) const INTERNAL_TOPICS: [&str; 3] =
    ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Every replica in the ISR must have the records.
const ACKS_ALL: i16 = -1;

/// A produce that waits for replicas.
pub(in super::super) struct WaitingProduce {
    broker: BrokerId,
    /// As it would be if nothing more went wrong.
    response: ProduceResponse,
    pending: Vec<Pending>,
}

/// One partition of it.
struct Pending {
    name: TopicName,
    index: i32,
    /// The high watermark that is waited for.
    required: i64,
    /// Where the answer stands in the response.
    place: (usize, usize),
}

impl WaitingProduce {
    /// What it waits for.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (&TopicName, i32)> {
        self.pending.iter().map(|pending| (&pending.name, pending.index))
    }
}

/// Records for one partition, and what the request says of all of them.
struct Write<'a> {
    name: &'a TopicName,
    index: i32,
    records: Bytes,
    acks: i16,
    transactional_id: Option<&'a TransactionalId>,
}

/// What has come of a write.
struct Written {
    appended: Appended,
    log_start: i64,
    /// The high watermark has not come so far yet.
    required: Option<i64>,
}

/// Why nothing was written, and where the log starts where Kafka tells it.
struct NotWritten {
    refused: Refused,
    log_start: i64,
}

impl From<Refused> for NotWritten {
    fn from(refused: Refused) -> Self {
        Self { refused, log_start: -1 }
    }
}

impl From<ResponseError> for NotWritten {
    fn from(error: ResponseError) -> Self {
        Refused::from(error).into()
    }
}

/// Of a partition that is named more than once the last records count, and topics without partitions are not answered for.
fn each_partition_once(mut request: ProduceRequest) -> ProduceRequest {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    for mut topic in request.topic_data {
        let partitions = std::mem::take(&mut topic.partition_data);
        if partitions.is_empty() {
            continue;
        }
        let same =
            |known: &TopicProduceData| known.name == topic.name && known.topic_id == topic.topic_id;
        let place = topics.iter().position(same).unwrap_or(topics.len());
        if place == topics.len() {
            topics.push(topic);
        }
        let known = &mut topics[place];
        for partition in partitions {
            match known.partition_data.iter_mut().find(|own| own.index == partition.index) {
                Some(own) => *own = partition,
                None => known.partition_data.push(partition),
            }
        }
    }
    request.topic_data = topics;
    request
}

impl Cluster {
    pub(super) fn produce(
        &mut self,
        context: &Context,
        request: ProduceRequest,
    ) -> Reply<ProduceResponse> {
        let (acks, timeout) = (request.acks, millis(request.timeout_ms));
        let (waiting, failed) = self.write_all(context, each_partition_once(request));
        if acks == 0 {
            let cause = CloseCause::ProduceFailed;
            return if failed { Reply::Close(cause) } else { Reply::None };
        }
        if waiting.pending.is_empty() {
            return Reply::Now(waiting.response);
        }
        self.timers.set(Timer::Produce(context.ticket), context.now + timeout);
        for (name, index) in waiting.partitions() {
            self.produce_waits.insert(name, index, context.ticket);
        }
        self.waiting_produces.insert(context.ticket, waiting);
        Reply::Later
    }

    /// Writes to every partition of a request; the answer with what it must wait for, and whether anything failed.
    fn write_all(&mut self, context: &Context, request: ProduceRequest) -> (WaitingProduce, bool) {
        let mut response = ProduceResponse::default();
        let mut pending = Vec::new();
        let mut failed = false;
        let authorized = request.transactional_id.is_some() || !has_transactional_records(&request);
        for (topic_place, topic) in request.topic_data.into_iter().enumerate() {
            let name = match context.version() {
                13.. => self.topics.name_of(topic.topic_id).cloned(),
                _ => Some(topic.name.clone()),
            };
            let name = if authorized {
                name.ok_or(ResponseError::UnknownTopicId)
            } else {
                Err(ResponseError::TransactionalIdAuthorizationFailed)
            };
            let mut answers = Vec::with_capacity(topic.partition_data.len());
            for (place, partition) in topic.partition_data.into_iter().enumerate() {
                let index = partition.index;
                let mut answer = PartitionProduceResponse::default().with_index(index);
                let written = name.as_ref().map_err(|error| (*error).into()).and_then(|name| {
                    let write = Write {
                        name,
                        index,
                        records: partition.records.unwrap_or_default(),
                        acks: request.acks,
                        transactional_id: request.transactional_id.as_ref(),
                    };
                    self.write(context, write)
                });
                failed |= written.is_err();
                if written.is_ok() {
                    let connection = context.ticket.connection;
                    self.faults.appended(context.now, context.broker.0, connection);
                }
                let required = fill(&mut answer, written, context.version());
                if let Ok(name) = &name {
                    pending.extend(required.map(|required| {
                        let place = (topic_place, place);
                        Pending { name: name.clone(), index, required, place }
                    }));
                    let endpoints = &mut response.node_endpoints;
                    self.tell_leader(context.ticket, (name, index), &mut answer, endpoints);
                }
                answers.push(answer);
            }
            response.responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_topic_id(topic.topic_id)
                    .with_partition_responses(answers),
            );
        }
        (WaitingProduce { broker: context.broker, response, pending }, failed)
    }

    fn write(&mut self, context: &Context, write: Write<'_>) -> Result<Written, NotWritten> {
        let partition = self.topics.partition(write.name, write.index);
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        let batch = Batch::only(&write.records, context.version())?;
        let may_write_internal =
            context.client_id.as_ref().is_some_and(|id| id.as_str() == INTERNAL_CLIENT_ID);
        if INTERNAL_TOPICS.contains(&write.name.as_str()) && !may_write_internal {
            return Err(ResponseError::InvalidTopicException.into());
        }
        // Without a producer there is nobody whose transaction it could be.
        if batch.is_transactional() && batch.producer_id() >= 0 {
            let id = write.transactional_id;
            let id = id.ok_or(ResponseError::TransactionalIdAuthorizationFailed)?;
            if !partition.log.continues_transaction(&batch) {
                // A broker that does not lead begins nothing.
                if partition.leader != Some(context.broker) {
                    return Err(ResponseError::NotLeaderOrFollower.into());
                }
                let membership = Membership::of_produce(context.version());
                if let Some(partition) = self.topics.partition_mut(write.name, write.index) {
                    let leader_epoch = partition.leader_epoch;
                    let is_tv2 = membership == Membership::Implicit;
                    partition.log.verifies(&batch, context.now, leader_epoch, is_tv2);
                }
                let producer = Producer { id: batch.producer_id(), epoch: batch.producer_epoch() };
                self.verify_or_add_to_transaction(
                    context.now,
                    id,
                    producer,
                    (write.name.clone(), write.index),
                    membership,
                )?;
            }
        }
        if !(ACKS_ALL..=1).contains(&write.acks) {
            return Err(ResponseError::InvalidRequiredAcks.into());
        }
        self.write_as_leader(context, &write, &batch)
    }

    fn write_as_leader(
        &mut self,
        context: &Context,
        write: &Write<'_>,
        batch: &Batch,
    ) -> Result<Written, NotWritten> {
        let topic =
            self.topics.get_mut(write.name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let config = self.log_defaults.of_topic(&topic.configs);
        let read_only = topic.read_only;
        let partition = usize::try_from(write.index).ok();
        let partition = partition.and_then(|index| topic.partitions.get_mut(index));
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        if partition.leader != Some(context.broker) {
            return Err(ResponseError::NotLeaderOrFollower.into());
        }
        if read_only {
            self.see(|| Sight::ReadOnlyRefused);
            let message = Some(read_only_message(write.name));
            return Err(Refused { message, ..READ_ONLY_ERROR.into() }.into());
        }
        let log_start = partition.log.start();
        if write.acks == ACKS_ALL && !has_enough_replicas(partition, config.isr_min) {
            let refused = ResponseError::NotEnoughReplicas.into();
            return Err(NotWritten { refused, log_start });
        }
        let appended = partition
            .log
            .append(batch, &config, context.now, partition.leader_epoch)
            .map_err(|refused| NotWritten {
                log_start: if tells_log_start(refused.error) { log_start } else { -1 },
                refused,
            })?;
        partition.replicate(config.isr_min);
        let required = appended.last_offset + 1;
        let waits = write.acks == ACKS_ALL && partition.log.high_watermark() < required;
        if appended.bytes > 0 {
            self.log_has_grown(context.now, appended.bytes);
            self.partition_changed(write.name, write.index);
            let records = (appended.last_offset - appended.base_offset + 1).cast_unsigned();
            let topic = || write.name.clone();
            self.see(|| Sight::Appended { topic: topic(), partition: write.index, records });
        }
        Ok(Written { appended, log_start, required: waits.then_some(required) })
    }

    /// The client has waited for as long as it wanted.
    pub(in super::super) fn produce_is_due(&mut self, ticket: Ticket) {
        let Some(mut waiting) = self.take_produce(ticket) else { return };
        for pending in &waiting.pending {
            let answer = answer_at(&mut waiting.response, pending.place);
            answer.error_code = ResponseError::RequestTimedOut.code();
        }
        self.answer(ticket, &waiting.response);
    }

    /// Looks whether a produce need not wait any longer.
    pub(super) fn look_at_produce(&mut self, ticket: Ticket) {
        let Some(mut waiting) = self.waiting_produces.remove(&ticket) else { return };
        let WaitingProduce { broker, response, pending } = &mut waiting;
        pending.retain(|pending| {
            let Some(outcome) = self.outcome(*broker, pending) else { return true };
            let answer = answer_at(response, pending.place);
            if let Err(error) = outcome {
                answer.error_code = error.code();
                let mut answer = std::mem::take(answer);
                let partition = (&pending.name, pending.index);
                self.tell_leader(ticket, partition, &mut answer, &mut response.node_endpoints);
                *answer_at(response, pending.place) = answer;
            }
            self.produce_waits.remove(&pending.name, pending.index, ticket);
            false
        });
        if waiting.pending.is_empty() {
            self.timers.clear(&Timer::Produce(ticket));
            self.answer(ticket, &waiting.response);
        } else {
            self.waiting_produces.insert(ticket, waiting);
        }
    }

    /// What has come of a partition that was waited for; `None`: nothing yet.
    fn outcome(&self, broker: BrokerId, pending: &Pending) -> Option<Result<(), ResponseError>> {
        let Some(topic) = self.topics.get(&pending.name) else {
            return Some(Err(ResponseError::UnknownTopicOrPartition));
        };
        let Some(partition) = self.topics.partition(&pending.name, pending.index) else {
            return Some(Err(ResponseError::UnknownTopicOrPartition));
        };
        if partition.leader != Some(broker) {
            return Some(Err(ResponseError::NotLeaderOrFollower));
        }
        if partition.log.high_watermark() < pending.required {
            return None;
        }
        let config = self.log_defaults.of_topic(&topic.configs);
        // The ISR may have shrunk since the append.
        Some(if has_enough_replicas(partition, config.isr_min) {
            Ok(())
        } else {
            Err(ResponseError::NotEnoughReplicasAfterAppend)
        })
    }

    /// Adds the leader to an answer that says another broker leads.
    fn tell_leader(
        &self,
        ticket: Ticket,
        (name, index): (&TopicName, i32),
        answer: &mut PartitionProduceResponse,
        endpoints: &mut Vec<NodeEndpoint>,
    ) {
        let not_leader = answer.error_code == ResponseError::NotLeaderOrFollower.code();
        if !not_leader || ticket.api_version < 10 {
            return;
        }
        let (leader, epoch) = self.current_leader(name, index);
        answer.current_leader =
            LeaderIdAndEpoch::default().with_leader_id(leader).with_leader_epoch(epoch);
        if endpoints.iter().any(|endpoint| endpoint.node_id == leader) {
            return;
        }
        if let Some((host, port, rack)) = self.endpoint(leader) {
            let endpoint = NodeEndpoint::default().with_node_id(leader).with_host(host);
            endpoints.push(endpoint.with_port(port).with_rack(rack));
        }
    }
}

/// Kafka looks up who may use the transactional id, and nobody may use none.
fn has_transactional_records(request: &ProduceRequest) -> bool {
    request
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data)
        .filter_map(|partition| partition.records.as_ref())
        .any(Batch::is_transactional_in)
}

fn answer_at(
    response: &mut ProduceResponse,
    (topic, partition): (usize, usize),
) -> &mut PartitionProduceResponse {
    &mut response.responses[topic].partition_responses[partition]
}

/// A topic with fewer replicas than `min.insync.replicas` asks for no more than it has.
fn has_enough_replicas(partition: &Partition, isr_min: i64) -> bool {
    let needed = usize::try_from(isr_min).unwrap_or(0).min(partition.replicas.len());
    partition.isr.len() >= needed
}

/// Kafka leaves the start of the log out of some answers.
fn tells_log_start(error: ResponseError) -> bool {
    !matches!(
        error,
        ResponseError::MessageTooLarge
            | ResponseError::RecordListTooLarge
            | ResponseError::CorruptMessage
            | ResponseError::KafkaStorageError
    )
}

/// Writes into an answer what has come of a write; the high watermark that it must wait for.
fn fill(
    answer: &mut PartitionProduceResponse,
    written: Result<Written, NotWritten>,
    version: i16,
) -> Option<i64> {
    match written {
        Ok(Written { appended, log_start, required }) => {
            answer.base_offset = appended.base_offset;
            answer.log_append_time_ms = appended.log_append_time;
            answer.log_start_offset = log_start;
            required
        }
        Err(NotWritten { refused, log_start }) => {
            answer.error_code = refused.error.code();
            answer.base_offset = -1;
            answer.log_start_offset = log_start;
            if version >= 8 {
                answer.error_message = refused.message.map(StrBytes::from_string);
                let faults = refused.records.into_iter().map(|fault| {
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(fault.index)
                        .with_batch_index_error_message(Some(StrBytes::from_string(fault.message)))
                });
                answer.record_errors = faults.collect();
            }
            None
        }
    }
}
