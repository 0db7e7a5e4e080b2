//! From queues to Produce requests, and from their answers to acknowledgements, retries and failures.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ProduceRequest, ProduceResponse, TopicName,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
    protocol::Decodable,
};

use super::{
    super::{
        Event,
        batch::header_bytes,
        config::{Acks, Library},
        network::NodeId,
    },
    Call, FailureReason, Producer,
    queue::{Batch, Queue},
};
use crate::cluster::Time;

/// Produce names topics by id from this version on.
const BY_ID: i16 = 13;
/// Produce adds partitions to a transaction by itself from this version on.
const TRANSACTIONS_V2: i16 = 12;

impl Producer {
    /// When a batch is given up.
    pub(super) fn expires_at(&self, batch: &Batch) -> Option<Time> {
        let since = match self.base.library() {
            Library::Java => batch.created,
            // Record by record: a batch comes into being only when it is sent.
            Library::Librdkafka => batch.messages.front()?.at,
        };
        self.settings.delivery_timeout.map(|timeout| since + timeout)
    }

    /// Whether batches are given up even while they are in flight.
    pub(super) fn expires_in_flight(&self) -> bool {
        self.base.library() == Library::Java
    }

    /// Gives up what has waited for too long.
    pub(super) fn expire(&mut self, now: Time) {
        if self.settings.delivery_timeout.is_none() {
            return;
        }
        let is_over =
            |this: &Self, batch: &Batch| this.expires_at(batch).is_some_and(|at| at <= now);
        let any_over = |at: &usize| {
            let queue = &self.queues[*at];
            let mut oldest =
                queue.batches.front().into_iter().chain(queue.in_flight.values().next());
            oldest.any(|batch| is_over(self, batch))
        };
        // Nothing is allocated when nothing is over, which is nearly always.
        let due: Vec<usize> = self.active.iter().copied().filter(any_over).collect();
        for at in due {
            while self.expires_in_flight()
                && let Some(batch) = self.queues[at].in_flight.values().next()
                && is_over(self, batch)
            {
                let (_, batch) = self.queues[at].in_flight.pop_first().expect("it is there");
                self.expired(at, batch);
            }
            while let Some(batch) = self.queues[at].batches.front()
                && is_over(self, batch)
            {
                match self.base.library() {
                    Library::Java => {
                        let batch = self.queues[at].batches.pop_front().expect("it is there");
                        self.expired(at, batch);
                    }
                    Library::Librdkafka => self.expire_record(at),
                }
            }
            self.settle(at);
        }
    }

    fn expired(&mut self, at: usize, batch: Batch) {
        let in_retry = batch.attempts > 0;
        if in_retry && batch.sequence.is_some() && self.identity.is_enabled {
            self.queues[at].sequences.unresolved = true;
        }
        self.fail_batch(batch, FailureReason::DeliveryTimeout);
    }

    /// librdkafka: the first record of a queue has waited for too long.
    fn expire_record(&mut self, at: usize) {
        let batch = self.queues[at].batches.front_mut().expect("a batch is over");
        let message = batch.messages.pop_front().expect("batches are not empty");
        let bytes = message.bytes as usize;
        batch.bytes -= bytes;
        batch.reserved -= bytes;
        let was_sent = batch.sequence.is_some();
        if let Some(sequence) = &mut batch.sequence {
            sequence.base += 1;
        }
        if batch.messages.is_empty() {
            self.queues[at].batches.pop_front();
        }
        self.buffered_bytes -= bytes;
        self.buffered_records -= 1;
        self.fail(message.number, FailureReason::DeliveryTimeout);
        if was_sent {
            self.timed_out_with_sequence(at);
        }
    }

    /// Forgets a queue that has become empty.
    pub(super) fn settle(&mut self, at: usize) {
        if self.queues[at].is_empty() {
            self.active.remove(&at);
        }
    }

    /// Fails every record of a batch that is in no queue any more.
    pub(super) fn fail_batch(&mut self, batch: Batch, reason: FailureReason) {
        self.release(&batch);
        match reason {
            FailureReason::Broker(error) => self.transaction_failed(error),
            FailureReason::DeliveryTimeout | FailureReason::Disconnected => {
                self.transaction_failed(ResponseError::RequestTimedOut);
            }
            _ => {}
        }
        for message in batch.messages {
            self.fail(message.number, reason);
        }
    }

    fn release(&mut self, batch: &Batch) {
        self.buffered_bytes -= batch.reserved;
        self.buffered_records -= batch.messages.len();
    }

    /// Sends what is ready to whom can take it; `false`: there was nothing.
    pub(super) fn send_ready(&mut self, now: Time) -> bool {
        if self.identity.is_enabled && self.identity.current.is_none() {
            return false;
        }
        let mut nodes: Vec<(NodeId, usize)> = Vec::new();
        let mut leaderless = false;
        let mut wanted = BTreeSet::new();
        for at in self.active.iter().copied() {
            let queue = &mut self.queues[at];
            let leader = self.base.leader(&queue.topic, queue.partition);
            if let Some((node, _)) = leader {
                queue.go_to(node);
            }
            let queue = &self.queues[at];
            let Some(batch) = queue.batches.front() else { continue };
            let Some((node, _)) = leader else {
                leaderless = true;
                continue;
            };
            // What was refused need not wait once there is somebody else to send it to. librdkafka waits all the same.
            let moved = self.base.library() == Library::Java
                && batch.attempts > 0
                && batch.leader.is_some()
                && batch.leader != leader;
            let ready = moved || self.ready_at(queue, batch) <= now;
            if ready && self.may_drain(at, queue, batch) {
                nodes.push((node, at));
            } else if self.base.library() == Library::Librdkafka {
                wanted.insert(node);
            }
        }
        for node in wanted {
            // It connects to whoever it has records for, while they wait.
            self.base.network.ready(now, node);
        }
        if leaderless {
            self.base.metadata.request_update();
        }
        nodes.sort_unstable();
        let mut sent = false;
        for group in nodes.chunk_by(|one, other| one.0 == other.0) {
            let places: Vec<usize> = group.iter().map(|(_, at)| *at).collect();
            sent |= self.send_to(now, group[0].0, &places);
        }
        sent
    }

    /// Whether order and sequences allow the front batch of a queue to be sent.
    fn may_drain(&self, at: usize, queue: &Queue, batch: &Batch) -> bool {
        if self.transaction.as_ref().is_some_and(|it| !it.may_send(at)) {
            return false;
        }
        let one_at_a_time = self.settings.common.in_flight_max == 1;
        if one_at_a_time && !queue.in_flight.is_empty() {
            return false;
        }
        !self.identity.is_enabled || self.may_drain_sequence(queue, batch)
    }

    fn send_to(&mut self, now: Time, node: NodeId, places: &[usize]) -> bool {
        if !self.base.network.ready(now, node) {
            return false;
        }
        match self.base.library() {
            Library::Java => {
                let from = self.drain_from.entry(node).or_default();
                let start = *from % places.len();
                *from = from.wrapping_add(1);
                let turn = places.iter().cycle().skip(start).take(places.len());
                let mut taken = Vec::new();
                let mut bytes = 0;
                for at in turn.copied() {
                    let front = self.queues[at].batches.front().expect("it is ready");
                    if bytes + front.bytes > self.settings.request_bytes && !taken.is_empty() {
                        break;
                    }
                    bytes += front.bytes;
                    taken.push(self.take_batch(at));
                }
                self.produce(now, node, taken)
            }
            // One request a partition.
            Library::Librdkafka => {
                let mut sent = false;
                for at in places {
                    if !self.base.network.can_send(node) {
                        break;
                    }
                    let taken = self.take_batch(*at);
                    sent |= self.produce(now, node, vec![taken]);
                }
                sent
            }
        }
    }

    /// Takes the front batch of a queue to be sent.
    fn take_batch(&mut self, at: usize) -> (usize, Batch) {
        let library = self.base.library();
        let queue = &mut self.queues[at];
        queue.draining &= !queue.in_flight.is_empty();
        let front = queue.batches.front_mut().expect("a ready queue has a batch");
        let is_new = library == Library::Librdkafka && front.sequence.is_none();
        let first = if is_new && front.attempts == 0 {
            self.next_batch += 1;
            let most = (self.settings.batch_records, self.settings.batch_bytes);
            split(front, self.next_batch, most)
        } else {
            None
        };
        let mut batch = match first {
            Some(first) => first,
            None => queue.batches.pop_front().expect("it was just looked at"),
        };
        let leader = self.base.metadata.leader(&queue.topic, queue.partition);
        batch.closed = true;
        batch.leader = leader;
        if let Some(identity) = self.identity.current
            && batch.sequence.is_none()
        {
            queue.assign(&mut batch, identity);
        }
        (at, batch)
    }

    fn produce(&mut self, now: Time, node: NodeId, taken: Vec<(usize, Batch)>) -> bool {
        let transactional = self.settings.transactional_id.is_some();
        let known = |at: usize| {
            let topic = self.base.metadata.topic(&self.queues[at].topic);
            topic.map(|topic| topic.id).filter(|id| !id.is_nil())
        };
        let by_id = taken.iter().all(|(at, _)| known(*at).is_some());
        let mut newest = if by_id { BY_ID } else { BY_ID - 1 };
        if transactional && !self.uses_transactions_v2(node) {
            newest = TRANSACTIONS_V2 - 1;
        }
        let Some(version) = self.base.network.version::<ProduceRequest>(node, newest) else {
            let unsupported = FailureReason::Broker(ResponseError::UnsupportedVersion);
            for (at, batch) in taken {
                self.fail_batch(batch, unsupported);
                self.settle(at);
            }
            return true;
        };
        let mut request =
            ProduceRequest::default().with_acks(self.settings.acks.code()).with_timeout_ms(
                i32::try_from(self.settings.ack_timeout.as_millis()).unwrap_or(i32::MAX),
            );
        request.transactional_id = self.transactional_id();
        let mut batches = Vec::with_capacity(taken.len());
        for (at, batch) in &taken {
            let queue = &self.queues[*at];
            let records = batch.encode(&self.name, transactional);
            let partition = PartitionProduceData::default()
                .with_index(queue.partition)
                .with_records(Some(records));
            let same = |topic: &&mut TopicProduceData| topic.name == queue.topic;
            if let Some(topic) = request.topic_data.iter_mut().find(same) {
                topic.partition_data.push(partition);
            } else {
                let id = known(*at).unwrap_or_default();
                request.topic_data.push(
                    TopicProduceData::default()
                        .with_name(queue.topic.clone())
                        .with_topic_id(id)
                        .with_partition_data(vec![partition]),
                );
            }
            batches.push((*at, batch.id));
        }
        if version >= BY_ID {
            for topic in &mut request.topic_data {
                topic.name = TopicName::default();
            }
        } else {
            for topic in &mut request.topic_data {
                topic.topic_id = uuid::Uuid::nil();
            }
        }
        let answered = self.settings.acks != Acks::None;
        let timeout = self.produce_timeout(now, &taken);
        for (at, batch) in taken {
            self.queues[at].in_flight.insert(batch.id, batch);
            if let Some(transaction) = &mut self.transaction {
                transaction.sent(at);
            }
        }
        let call = answered.then(|| Call::Produce { batches: batches.clone() });
        self.base.send(now, node, version, &request, Some(timeout), call);
        if !answered {
            for (at, id) in batches {
                let batch = self.queues[at].in_flight.remove(&id).expect("it was just sent");
                self.acknowledge(at, batch, -1);
            }
        }
        true
    }

    /// How long an answer may take.
    fn produce_timeout(&self, now: Time, taken: &[(usize, Batch)]) -> std::time::Duration {
        let timeout = self.settings.common.request_timeout;
        match self.base.library() {
            Library::Java => timeout,
            // Not longer than its records may wait.
            Library::Librdkafka => {
                let ends = taken.iter().filter_map(|(_, batch)| self.expires_at(batch));
                let left = ends.map(|end| end.since(now)).max();
                left.map_or(timeout, |left| left.min(timeout))
                    .max(std::time::Duration::from_millis(1))
            }
        }
    }

    /// A broker has answered.
    pub(super) fn handle_produced(
        &mut self,
        now: Time,
        version: i16,
        mut body: Bytes,
        batches: &[(usize, u64)],
    ) {
        let Ok(response) = ProduceResponse::decode(&mut body, version) else {
            return self.handle_lost(now, batches, false);
        };
        for node in &response.node_endpoints {
            let port = u16::try_from(node.port).unwrap_or(0);
            self.base.network.know(node.node_id.0, &node.host, port);
        }
        for topic in response.responses {
            let name = if version >= BY_ID {
                self.base.metadata.topic_of_id(topic.topic_id).cloned()
            } else {
                Some(topic.name)
            };
            for answer in topic.partition_responses {
                let found = batches.iter().find(|(at, _)| {
                    let queue = &self.queues[*at];
                    queue.partition == answer.index
                        && name.as_ref().is_none_or(|name| *name == queue.topic)
                });
                // Given up while it was in flight, if it is not there.
                if let Some((at, id)) = found.copied()
                    && let Some(batch) = self.queues[at].in_flight.remove(&id)
                {
                    self.handle_partition(now, at, batch, &answer);
                }
            }
        }
        // What the broker left out was not answered.
        self.handle_lost(now, batches, false);
    }

    fn handle_partition(
        &mut self,
        now: Time,
        at: usize,
        batch: Batch,
        answer: &PartitionProduceResponse,
    ) {
        let Some(error) = ResponseError::try_from_code(answer.error_code) else {
            return self.acknowledge(at, batch, answer.base_offset);
        };
        let queue = &self.queues[at];
        if invalidates_metadata(error) {
            let leader = &answer.current_leader;
            let (node, epoch) = (leader.leader_id.0, leader.leader_epoch);
            self.base.metadata.heard_of_leader(&queue.topic, queue.partition, node, epoch);
            self.base.metadata.request_update();
        }
        self.handle_error(now, at, batch, error);
    }

    /// What becomes of a batch that a broker refused.
    fn handle_error(&mut self, now: Time, at: usize, batch: Batch, error: ResponseError) {
        if error == ResponseError::DuplicateSequenceNumber && self.identity.is_enabled {
            return self.acknowledge(at, batch, -1);
        }
        if self.identity.is_enabled {
            return self.handle_idempotent_error(now, at, batch, error);
        }
        if self.is_retriable(error) && self.may_retry(now, &batch) {
            self.retry_refused(now, at, batch, error);
        } else {
            self.fail_batch(batch, FailureReason::Broker(error));
            self.settle(at);
        }
    }

    /// Whether the library takes an error of a Produce answer for one that passes. The Java client asks the error's own
    /// class; librdkafka has a list (`rd_kafka_err_action` and its exceptions for Produce), in which BROKER_NOT_AVAILABLE
    /// stands though Java takes it for final.
    pub(super) fn is_retriable(&self, error: ResponseError) -> bool {
        match self.base.library() {
            Library::Java => error.is_retriable(),
            Library::Librdkafka => matches!(
                error,
                ResponseError::CorruptMessage
                    | ResponseError::UnknownTopicOrPartition
                    | ResponseError::LeaderNotAvailable
                    | ResponseError::NotLeaderOrFollower
                    | ResponseError::RequestTimedOut
                    | ResponseError::BrokerNotAvailable
                    | ResponseError::ReplicaNotAvailable
                    | ResponseError::CoordinatorLoadInProgress
                    | ResponseError::CoordinatorNotAvailable
                    | ResponseError::NotCoordinator
                    | ResponseError::NotEnoughReplicas
                    | ResponseError::NotEnoughReplicasAfterAppend
                    | ResponseError::KafkaStorageError
            ),
        }
    }

    pub(super) fn may_retry(&self, now: Time, batch: &Batch) -> bool {
        let in_time = self.expires_at(batch).is_none_or(|at| at > now);
        in_time && batch.failures < self.settings.retries
    }

    /// Puts a batch back that a broker refused. librdkafka does not count what only says that its metadata is old
    /// (`rd_kafka_handle_Produce_error`).
    pub(super) fn retry_refused(
        &mut self,
        now: Time,
        at: usize,
        batch: Batch,
        error: ResponseError,
    ) {
        let uncounted = matches!(
            error,
            ResponseError::UnknownTopicOrPartition
                | ResponseError::LeaderNotAvailable
                | ResponseError::NotLeaderOrFollower
                | ResponseError::BrokerNotAvailable
                | ResponseError::ReplicaNotAvailable
                | ResponseError::CoordinatorNotAvailable
                | ResponseError::NotCoordinator
        );
        if self.base.library() == Library::Librdkafka && uncounted {
            let failures = batch.failures.saturating_sub(1);
            self.requeue(now, at, batch, failures);
        } else {
            self.retry(now, at, batch);
        }
    }

    /// Puts a batch back into its queue.
    pub(super) fn retry(&mut self, now: Time, at: usize, mut batch: Batch) {
        let failures = batch.failures;
        batch.failures += 1;
        self.requeue(now, at, batch, failures);
    }

    /// Puts a batch back, to wait as after so many failures before this one.
    fn requeue(&mut self, now: Time, at: usize, mut batch: Batch, failures: u32) {
        batch.retry_at = now + self.settings.common.retry.wait(&mut self.random, failures);
        batch.attempts += 1;
        let queue = &mut self.queues[at];
        queue.draining |= batch.sequence.is_some();
        queue.requeue(batch);
        self.active.insert(at);
    }

    pub(super) fn acknowledge(&mut self, at: usize, batch: Batch, base_offset: i64) {
        if self.base.library() == Library::Librdkafka && batch.sequence.is_some() {
            // A broker takes sequences in their order alone, so those before this one must be there as well
            // (`rd_kafka_dr_implicit_ack`). On a cluster that has not known the producer they need not be.
            for earlier in self.queues[at].take_sent_before(batch.id) {
                self.acknowledge_one(at, earlier, -1);
            }
        }
        self.acknowledge_one(at, batch, base_offset);
        self.settle(at);
    }

    fn acknowledge_one(&mut self, at: usize, batch: Batch, base_offset: i64) {
        self.release(&batch);
        let queue = &mut self.queues[at];
        if let Some(last) = batch.last_sequence()
            && batch.sequence.map(|sequence| sequence.producer) == queue.sequences.producer
        {
            queue.sequences.last_acknowledged = queue.sequences.last_acknowledged.max(last);
        }
        for (delta, message) in (0..).zip(batch.messages) {
            self.base.events.push_back(Event::Acknowledged {
                number: message.number,
                topic: queue.topic.clone(),
                partition: queue.partition,
                offset: if base_offset < 0 { -1 } else { base_offset + delta },
            });
        }
    }

    /// A request went down with its connection, or was not answered in time. Nobody knows whether it arrived.
    pub(super) fn handle_lost(&mut self, now: Time, batches: &[(usize, u64)], timed_out: bool) {
        for (at, id) in batches.iter().copied() {
            let Some(batch) = self.queues[at].in_flight.remove(&id) else { continue };
            if self.may_retry(now, &batch) {
                self.retry(now, at, batch);
                continue;
            }
            let reason = match self.base.library() {
                _ if self.expires_at(&batch).is_some_and(|at| at <= now) => {
                    FailureReason::DeliveryTimeout
                }
                _ if timed_out => FailureReason::Broker(ResponseError::RequestTimedOut),
                _ => FailureReason::Disconnected,
            };
            self.given_up_unknown(at, &batch);
            self.fail_batch(batch, reason);
            self.settle(at);
        }
    }
}

/// Takes a batch off what is queued, where that is more than one: librdkafka makes its batches when it sends.
fn split(queued: &mut Batch, id: u64, most: (usize, usize)) -> Option<Batch> {
    let (records_max, bytes_max) = most;
    if queued.messages.len() <= records_max && queued.bytes <= bytes_max {
        return None;
    }
    let (mut bytes, mut count) = (0, 0);
    for message in queued.messages.iter().take(records_max) {
        let next = bytes + message.bytes as usize;
        if header_bytes() + next > bytes_max && count > 0 {
            break;
        }
        (bytes, count) = (next, count + 1);
    }
    if count == queued.messages.len() {
        return None;
    }
    let first = Batch {
        id: queued.id,
        messages: queued.messages.drain(..count).collect(),
        bytes: header_bytes() + bytes,
        reserved: bytes,
        created: queued.created,
        attempts: 0,
        failures: 0,
        retry_at: Time::default(),
        sequence: None,
        sequence_reset: false,
        closed: true,
        leader: None,
    };
    queued.id = id;
    queued.bytes -= bytes;
    queued.reserved -= bytes;
    queued.created = queued.messages.front().expect("some are left").at;
    Some(first)
}

/// Whether an error says that the client's view of the cluster is wrong.
fn invalidates_metadata(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::UnknownTopicOrPartition
            | ResponseError::LeaderNotAvailable
            | ResponseError::NotLeaderOrFollower
            | ResponseError::ListenerNotFound
            | ResponseError::ReplicaNotAvailable
            | ResponseError::KafkaStorageError
            | ResponseError::FencedLeaderEpoch
            | ResponseError::UnknownLeaderEpoch
            | ResponseError::UnknownTopicId
            | ResponseError::InconsistentTopicId
            | ResponseError::NetworkException
    )
}
