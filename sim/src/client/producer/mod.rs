//! A model producer.
//!
//! ```text
//!  Send ─▶ waiting (no metadata, no room) ─▶ queue of its partition ─▶ Produce ─▶ Acknowledged, Failed
//!          max.block.ms                       delivery.timeout.ms, retries, idempotence
//! ```
//!
//! Invariants: every record that the application handed over ends in exactly one `Acknowledged` or `Failed`; records
//! of one partition leave in the order in which they came.
//!
//! Absent on purpose: compression, the splitting of batches that a broker finds too large, Java's adaptive
//! partitioning by load.

mod idempotence;
mod partitioner;
mod queue;
mod sender;
mod transaction;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::{ResponseError, messages::TopicName};

use super::{
    Command, ConnectionId, Event, Input, Output, Send,
    base::{Base, News},
    batch::{header_bytes, record_bytes, record_bytes_max},
    config::{Library, ProducerSettings},
    network::NodeId,
    record::{Numbered, PRODUCER_NAME_BYTES_MAX},
};
use crate::cluster::Time;
use idempotence::Identity;
use partitioner::Sticky;
use queue::{Batch, Message, Queue};
use transaction::{Step, Transaction};

/// Why a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// `delivery.timeout.ms`, `message.timeout.ms`.
    DeliveryTimeout,
    /// No room for `max.block.ms`; librdkafka: no room.
    BufferFull,
    /// The topic was not in the metadata for `max.block.ms`; librdkafka: it does not exist.
    TopicNotPresent,
    /// Larger than `max.request.size`, `message.max.bytes`.
    TooLarge,
    /// A broker's answer, or what the client makes of a lost connection when it may not retry.
    Broker(ResponseError),
    /// The connection went, and there is no retry left.
    Disconnected,
    /// The client is of no use any more.
    Fatal(ResponseError),
    /// The transaction was aborted before the record was sent.
    Aborted,
    /// The application asked in a state in which it must not.
    InvalidState,
}

/// What a request of a producer was for.
enum Call {
    Produce { batches: Vec<(usize, u64)> },
    InitProducerId,
    Transaction(Step),
}

/// A record that cannot be queued yet.
struct Waiting {
    number: u64,
    send: Send,
    /// What it takes at most.
    bytes: usize,
    since: Time,
    /// The topic was known: it is room that it waits for.
    wants_room: bool,
}

/// Partitions of one topic.
#[derive(Default)]
struct TopicQueues {
    /// Places in [`Producer::queues`], by partition.
    queues: Vec<Option<usize>>,
    sticky: Sticky,
}

/// A producer.
pub struct Producer {
    name: String,
    settings: ProducerSettings,
    base: Base<Call>,
    random: Rng,
    topics: BTreeMap<TopicName, TopicQueues>,
    queues: Vec<Queue>,
    /// Queues that are not empty.
    active: BTreeSet<usize>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// When the first of those that wait began to block the application.
    blocked_since: Option<Time>,
    buffered_bytes: usize,
    buffered_records: usize,
    next_number: u64,
    next_batch: u64,
    /// Where the next request to a node begins, so that no partition starves another.
    drain_from: BTreeMap<NodeId, usize>,
    identity: Identity,
    transaction: Option<Transaction>,
    is_closing: bool,
    is_closed: bool,
    next_deadline: Option<Time>,
}

impl Producer {
    /// A producer. Its name is in every record it writes, and what it draws is drawn from `seed` and its name.
    ///
    /// # Panics
    ///
    /// If the name is longer than [`PRODUCER_NAME_BYTES_MAX`] or has blanks.
    pub fn new(name: &str, seed: u64, settings: ProducerSettings) -> Self {
        assert!(name.len() <= PRODUCER_NAME_BYTES_MAX, "`{name}` is too long a name");
        assert!(!name.contains(' '), "`{name}`: a name has no blanks");
        let mut base = Base::new(settings.common.clone(), seed, name);
        base.metadata.scan_topics();
        Self {
            name: name.to_owned(),
            base,
            random: crate::random::stream(seed, "client-producer", name),
            topics: BTreeMap::new(),
            queues: Vec::new(),
            active: BTreeSet::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            blocked_since: None,
            buffered_bytes: 0,
            buffered_records: 0,
            next_number: 0,
            next_batch: 0,
            drain_from: BTreeMap::new(),
            identity: Identity::new(settings.idempotence),
            transaction: settings.transactional_id.as_deref().map(Transaction::new),
            settings,
            is_closing: false,
            is_closed: false,
            next_deadline: Some(Time::default()),
        }
    }

    /// Name in the records.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number that the next record gets.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Whether a send of the application is blocked: it cannot ask for anything before that is over. Nothing blocks in librdkafka,
    /// which keeps what it cannot give to a partition yet.
    pub fn is_blocked(&self) -> bool {
        self.settings.max_block.is_some() && !self.waiting.is_empty()
    }

    /// What the buffer holds, as the library counts it.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// Records handed over, neither acknowledged nor failed.
    pub fn pending_records(&self) -> usize {
        self.buffered_records + self.waiting.len()
    }

    /// How long the oldest record has been waiting to be sent or acknowledged.
    pub fn oldest_pending(&self, now: Time) -> Option<Duration> {
        let batches = self.active.iter().flat_map(|at| {
            let queue = &self.queues[*at];
            queue.batches.front().into_iter().chain(queue.in_flight.values().next())
        });
        batches.map(|batch| now.since(batch.created)).max()
    }

    /// Something has happened, or time has passed.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        if self.is_closed {
            return;
        }
        match input {
            Input::Connected(connection) => self.base.handle_connected(now, connection),
            Input::Closed(connection) => self.base.handle_closed(now, connection),
            Input::Frame(connection, frame) => self.handle_frame(now, connection, frame),
            Input::Time => self.base.handle_time(now),
            Input::Command(Command::Send(send)) => {
                if !self.handle_send(now, send) {
                    return;
                }
            }
            Input::Command(Command::Close) => self.is_closing = true,
            Input::Command(Command::Pause | Command::Resume | Command::Commit) => {}
            Input::Command(command) => self.handle_transaction_command(command),
        }
        self.drive(now);
    }

    /// What is to be done next; `None`: everything has been said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.base.poll_output()
    }

    /// When the time is to be told at the latest.
    pub fn deadline(&self) -> Option<Time> {
        self.next_deadline
    }

    fn handle_frame(&mut self, now: Time, connection: ConnectionId, frame: Bytes) {
        self.base.handle_frame(now, connection, frame);
    }

    /// Takes a record; `false`: it was queued behind others, and there is nothing new to do.
    fn handle_send(&mut self, now: Time, send: Send) -> bool {
        let number = self.next_number;
        self.next_number += 1;
        if let Some(error) = self.identity.fatal {
            self.fail(number, FailureReason::Fatal(error));
            return false;
        }
        if self.is_closing || self.transaction.as_ref().is_some_and(|it| !it.is_open()) {
            self.fail(number, FailureReason::InvalidState);
            return false;
        }
        let value = Numbered { producer: &self.name, number }.len(send.value_bytes_min);
        let bytes = record_bytes_max(send.key.as_ref(), value);
        if header_bytes() + bytes > self.settings.request_bytes {
            self.fail(number, FailureReason::TooLarge);
            return false;
        }
        if self.base.library() == Library::Librdkafka && !self.has_room(bytes) {
            self.fail(number, FailureReason::BufferFull);
            return false;
        }
        self.base.metadata.add_topic(&send.topic);
        if self.waiting.is_empty() {
            match self.try_queue(now, now, number, &send) {
                Queued::Appended => return false,
                Queued::Woke => return true,
                Queued::Wait => {}
            }
        }
        if self.waiting.is_empty() {
            self.blocked_since = Some(now);
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting { number, send, bytes, since: now, wants_room: false });
        true
    }

    fn fail(&mut self, number: u64, reason: FailureReason) {
        self.base.events.push_back(Event::Failed { number, reason });
    }

    /// Puts a record into the queue of its partition, if the topic is known and there is room. `at`: since when its time counts.
    fn try_queue(&mut self, now: Time, at: Time, number: u64, send: &Send) -> Queued {
        let value = Numbered { producer: &self.name, number }.len(send.value_bytes_min);
        let bytes = record_bytes_max(send.key.as_ref(), value);
        let Some(partitions) = self.base.metadata.topic(&send.topic).map(|it| it.partitions.len())
        else {
            return Queued::Wait;
        };
        if partitions == 0 {
            return Queued::Wait;
        }
        let place = self.choose(now, send, partitions);
        let message = Message {
            number,
            key: send.key.clone(),
            at,
            value_bytes_min: u32::try_from(send.value_bytes_min).unwrap_or(u32::MAX),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        self.append(place, message, value)
    }

    /// librdkafka: whether a record more fits, beside those that have a partition and those that have none yet.
    fn has_room(&self, bytes: usize) -> bool {
        let records = self.settings.buffer_records;
        let fits = records == 0 || self.buffered_records + self.waiting.len() < records;
        fits && self.buffered_bytes + self.waiting_bytes + bytes <= self.settings.buffer_bytes
    }

    /// The queue that a record belongs to.
    fn choose(&mut self, now: Time, send: &Send, partitions: usize) -> usize {
        let library = self.base.library();
        if !self.topics.contains_key(&send.topic) {
            self.topics.insert(send.topic.clone(), TopicQueues::default());
        }
        let topic = self.topics.get_mut(&send.topic).expect("it is there now");
        let asked = send.partition.and_then(|index| usize::try_from(index).ok());
        let index = if let Some(asked) = asked {
            asked
        } else if partitioner::has_key(library, send.key.as_ref()) {
            partitioner::of_key(library, send.key.as_deref().unwrap_or_default(), partitions)
        } else {
            let metadata = &self.base.metadata;
            let known = metadata.topic(&send.topic);
            let has_leader = |index: usize| {
                known.and_then(|it| it.partitions.get(index)).is_some_and(|it| it.leader.is_some())
            };
            topic.sticky.current(now, library, &mut self.random, partitions, has_leader)
        };
        if topic.queues.len() <= index {
            topic.queues.resize(index + 1, None);
        }
        *topic.queues[index].get_or_insert_with(|| {
            let partition = i32::try_from(index).expect("partitions are few");
            self.queues.push(Queue::new(send.topic.clone(), partition));
            self.queues.len() - 1
        })
    }

    fn append(&mut self, place: usize, mut message: Message, value_bytes: usize) -> Queued {
        let java = self.base.library() == Library::Java;
        let bytes_max = message.bytes as usize;
        // librdkafka makes its batches when it sends them.
        let batch_bytes = if java { self.settings.batch_bytes } else { usize::MAX };
        let queue = &mut self.queues[place];
        let is_first = queue.batches.is_empty();
        let mut woke = is_first;
        // Java knows what a record takes behind those that are there; it allocates for the most that it can be.
        let bytes_behind = |records: &VecDeque<Message>| match records.front() {
            _ if !java => bytes_max,
            None => record_bytes(message.key.as_ref(), value_bytes, 0, 0),
            Some(first) => {
                let age_ms = message.at.ms() - first.at.ms();
                record_bytes(message.key.as_ref(), value_bytes, records.len(), age_ms)
            }
        };
        let batch = match queue.open_batch(bytes_behind, batch_bytes) {
            Some(batch) => batch,
            None => {
                let reserved = if java { batch_bytes.max(header_bytes() + bytes_max) } else { 0 };
                if java && self.buffered_bytes + reserved > self.settings.buffer_bytes {
                    return Queued::Wait;
                }
                self.buffered_bytes += reserved;
                self.next_batch += 1;
                woke = true;
                queue.push_new(self.next_batch, reserved, message.at)
            }
        };
        let bytes = bytes_behind(&batch.messages);
        let opens = batch.messages.is_empty();
        batch.bytes += bytes;
        if !java {
            batch.reserved += bytes;
            self.buffered_bytes += bytes;
        }
        message.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        batch.messages.push_back(message);
        let full = batch.bytes >= self.settings.batch_bytes
            || batch.messages.len() >= self.settings.batch_records;
        woke |= full;
        self.buffered_records += 1;
        self.active.insert(place);
        if let Some(transaction) = &mut self.transaction {
            transaction.joined(place);
        }
        if java {
            let topic = self.topics.get_mut(&self.queues[place].topic).expect("it has this queue");
            let appended = if opens { header_bytes() + bytes } else { bytes };
            topic.sticky.appended(appended, self.settings.batch_bytes, is_first || woke);
        }
        if woke { Queued::Woke } else { Queued::Appended }
    }

    /// Goes on until nothing more can be done at this moment.
    fn drive(&mut self, now: Time) {
        loop {
            while let Some(news) = self.base.poll(now) {
                self.handle_news(now, news);
            }
            self.base.maybe_update(now);
            self.expire(now);
            self.admit_waiting(now);
            self.settle_identity(now);
            self.drive_transaction(now);
            if !self.send_ready(now) {
                break;
            }
        }
        if self.is_closing && self.active.is_empty() && self.waiting.is_empty() {
            self.is_closed = true;
            self.base.network.close();
            self.base.events.push_back(Event::Closed);
            self.next_deadline = None;
            return;
        }
        self.next_deadline = self.find_deadline(now);
    }

    fn handle_news(&mut self, now: Time, news: News<Call>) {
        match news {
            News::Answer { call: Call::Produce { batches }, version, body, .. } => {
                self.handle_produced(now, version, body, &batches);
            }
            News::Lost { call: Call::Produce { batches }, timed_out, .. } => {
                self.handle_lost(now, &batches, timed_out);
            }
            News::Answer { call: Call::InitProducerId, version, body, .. } => {
                self.handle_producer_id(now, version, body);
            }
            News::Lost { call: Call::InitProducerId, .. } => self.identity_lost(now),
            News::Answer { call: Call::Transaction(step), version, body, .. } => {
                self.handle_step(now, step, version, body);
            }
            News::Lost { call: Call::Transaction(step), .. } => self.step_lost(now, &step),
            News::Disconnected { node } => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.node_lost(node);
                }
            }
        }
    }

    /// Queues what waited for metadata or room, and fails what has waited too long.
    fn admit_waiting(&mut self, now: Time) {
        while let Some(first) = self.waiting.front_mut() {
            first.wants_room |= self.base.metadata.topic(&first.send.topic).is_some();
            let wants_room = first.wants_room;
            let (number, send, since) = (first.number, first.send.clone(), first.since);
            // Java's time begins when the send has got what it waited for, librdkafka's with the hand-over.
            let at = if self.settings.max_block.is_some() { now } else { since };
            let reason = match self.try_queue(now, at, number, &send) {
                Queued::Appended | Queued::Woke => None,
                Queued::Wait if self.waiting_is_over(now, since, &send.topic) => {
                    Some(match self.base.library() {
                        Library::Java if wants_room => FailureReason::BufferFull,
                        Library::Librdkafka if self.base.metadata.error(&send.topic).is_none() => {
                            FailureReason::DeliveryTimeout
                        }
                        _ => FailureReason::TopicNotPresent,
                    })
                }
                Queued::Wait => return,
            };
            if let Some(reason) = reason {
                self.fail(number, reason);
            }
            self.waiting_bytes -= self.waiting.pop_front().map_or(0, |first| first.bytes);
            // The application's thread was blocked: its next send begins only now.
            self.blocked_since = (!self.waiting.is_empty()).then_some(now);
        }
    }

    fn waiting_is_over(&self, now: Time, since: Time, topic: &TopicName) -> bool {
        self.waiting_until(since, topic).is_some_and(|until| until <= now)
    }

    /// Until when the first of those that wait may do so.
    fn waiting_until(&self, since: Time, topic: &TopicName) -> Option<Time> {
        match self.settings.max_block {
            Some(most) => Some(self.blocked_since.unwrap_or(since) + most),
            None => {
                // librdkafka: a topic that the cluster does not know is given this long to spread.
                let unknown = self.base.metadata.error(topic).map(|_| TOPIC_PROPAGATION_MAX);
                let timeouts = unknown.into_iter().chain(self.settings.delivery_timeout);
                timeouts.min().map(|most| since + most)
            }
        }
    }

    fn find_deadline(&self, now: Time) -> Option<Time> {
        let waiting = self.waiting.front();
        let waiting = waiting.and_then(|first| self.waiting_until(first.since, &first.send.topic));
        let queues =
            self.active.iter().filter_map(|at| self.queue_deadline(now, &self.queues[*at]));
        let base = self.base.deadline(now);
        let transaction = self.transaction.as_ref().and_then(|it| it.deadline(now));
        let identity = self.identity_deadline(now);
        queues.chain(waiting).chain(base).chain(identity).chain(transaction).min()
    }

    /// When a queue has something to send or to give up.
    fn queue_deadline(&self, now: Time, queue: &Queue) -> Option<Time> {
        let front = queue.batches.front();
        let ready = front.map(|batch| self.ready_at(queue, batch)).filter(|at| *at > now);
        let expires = front.and_then(|batch| self.expires_at(batch));
        let in_flight = queue.in_flight.values().next().filter(|_| self.expires_in_flight());
        let in_flight = in_flight.and_then(|batch| self.expires_at(batch));
        ready.into_iter().chain(expires).chain(in_flight).min()
    }

    /// When a batch is worth sending.
    fn ready_at(&self, queue: &Queue, batch: &Batch) -> Time {
        let full = queue.batches.len() > 1
            || batch.closed
            || batch.bytes >= self.settings.batch_bytes
            || batch.messages.len() >= self.settings.batch_records;
        let commits = self.transaction.as_ref().is_some_and(Transaction::is_committing);
        let hurried = full || self.is_closing || commits || !self.waiting.is_empty();
        if batch.attempts > 0 {
            batch.retry_at
        } else if hurried {
            Time::default()
        } else {
            batch.created + self.settings.linger
        }
    }
}

/// librdkafka's `topic.metadata.propagation.max.ms`, as it is by default.
const TOPIC_PROPAGATION_MAX: Duration = Duration::from_secs(30);

/// What became of a record that was to be queued.
enum Queued {
    /// It is in a batch that others opened.
    Appended,
    /// It opened or filled a batch: the sender has something to look at.
    Woke,
    /// It must wait.
    Wait,
}
