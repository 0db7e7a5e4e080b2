//! Transactions: what the application begins, and what has to be said to the coordinator before and after.
//!
//! ```text
//!  Starting ─InitProducerId─▶ Ready ─begin─▶ Open ─commit─▶ Committing ─EndTxn─▶ Ready
//!                               ▲              ├──abort──▶ Aborting ─EndTxn─▶ [Bumping: InitProducerId] ─▶ Ready
//!                               │              └──error──▶ Failed ──abort──────────▲
//!                               └── fatal errors lead from anywhere to Dead: the client has to be created anew
//! ```
//!
//! With transaction version 2 a Produce adds its partition by itself, and every EndTxn raises the epoch.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
        AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, GroupId, InitProducerIdRequest,
        InitProducerIdResponse, ProducerId, TopicName, TransactionalId, TxnOffsetCommitRequest,
        TxnOffsetCommitResponse,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
    protocol::{Decodable, Request, StrBytes},
};

use super::{
    super::{
        Command, Event, TopicPartition,
        config::Library,
        coordinator::{Coordinator, Kind},
        network::{self, NodeId},
    },
    Call, FailureReason, Producer,
    queue::{Batch, ProducerIdentity},
};
use crate::cluster::Time;

/// Java asks again after this time while the last transaction is being completed.
const CONCURRENT_RETRY: Duration = Duration::from_millis(20);
/// EndTxn of transaction version 2.
const END_V2: i16 = 5;
/// TxnOffsetCommit that adds its group to the transaction by itself.
const OFFSETS_V2: i16 = 5;

/// How far the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ready,
    Open,
    Committing,
    Aborting,
    Bumping,
    Failed(ResponseError),
    Dead,
}

/// What a request of a transaction was for.
#[derive(Clone, Debug)]
pub(super) enum Step {
    FindCoordinator,
    FindGroupCoordinator,
    Init,
    AddPartitions(BTreeSet<usize>),
    AddOffsets,
    CommitOffsets,
    End,
}

/// Offsets of a group that are to be committed with the transaction.
struct Offsets {
    group: String,
    next: Vec<(TopicPartition, i64)>,
    /// The coordinator knows that the group takes part.
    added: bool,
}

/// The transactional side of a producer.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Transaction {
    id: TransactionalId,
    pub(super) phase: Phase,
    coordinator: Coordinator,
    group_coordinator: Coordinator,
    in_flight: bool,
    retry_at: Time,
    failures: u32,
    partitions: BTreeSet<usize>,
    new_partitions: BTreeSet<usize>,
    /// The coordinator has been told of this transaction.
    started: bool,
    offsets: VecDeque<Offsets>,
    version_2: bool,
    /// An abort has to be followed by a new epoch.
    needs_bump: bool,
    /// The coordinator does not know the producer id: there is nothing that it could end.
    skip_end: bool,
}

impl Transaction {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: TransactionalId(StrBytes::from_string(id.to_owned())),
            phase: Phase::Starting,
            coordinator: Coordinator::default(),
            group_coordinator: Coordinator::default(),
            in_flight: false,
            retry_at: Time::default(),
            failures: 0,
            partitions: BTreeSet::new(),
            new_partitions: BTreeSet::new(),
            started: false,
            offsets: VecDeque::new(),
            version_2: false,
            needs_bump: false,
            skip_end: false,
        }
    }

    /// Records can be taken.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether a commit waits for everything to be sent.
    pub(super) fn is_committing(&self) -> bool {
        self.phase == Phase::Committing
    }

    pub(super) fn joined(&mut self, queue: usize) {
        if !self.partitions.contains(&queue) {
            self.new_partitions.insert(queue);
        }
    }

    /// Whether a queue may be sent at this moment.
    pub(super) fn may_send(&self, queue: usize) -> bool {
        let phase = matches!(self.phase, Phase::Open | Phase::Committing);
        phase && (self.version_2 || self.partitions.contains(&queue))
    }

    /// Partitions of a Produce that the coordinator hears of by itself.
    pub(super) fn sent(&mut self, queue: usize) {
        if self.version_2 {
            self.new_partitions.remove(&queue);
            self.partitions.insert(queue);
            self.started = true;
        }
    }

    pub(super) fn node_lost(&mut self, node: NodeId) {
        for coordinator in [&mut self.coordinator, &mut self.group_coordinator] {
            if coordinator.node == Some(node) {
                coordinator.forget();
            }
        }
    }

    fn reset(&mut self) {
        self.phase = Phase::Ready;
        self.partitions.clear();
        self.new_partitions.clear();
        self.offsets.clear();
        (self.started, self.needs_bump, self.skip_end) = (false, false, false);
        self.failures = 0;
    }

    pub(super) fn deadline(&self, now: Time) -> Option<Time> {
        let coordinators = [&self.coordinator, &self.group_coordinator];
        let seeks = coordinators.into_iter().filter_map(|it| it.deadline(now));
        let retry = (self.retry_at > now && !self.in_flight).then_some(self.retry_at);
        seeks.chain(retry).min()
    }
}

impl Producer {
    fn transaction(&mut self) -> &mut Transaction {
        self.transaction.as_mut().expect("only a transactional producer comes here")
    }

    /// The application begins, commits or aborts.
    pub(super) fn handle_transaction_command(&mut self, command: Command) {
        let Some(transaction) = &mut self.transaction else { return };
        match (command, transaction.phase) {
            (Command::BeginTransaction, Phase::Ready) => transaction.phase = Phase::Open,
            (Command::CommitTransaction, Phase::Open) => transaction.phase = Phase::Committing,
            (Command::AbortTransaction, Phase::Open | Phase::Failed(_)) => {
                transaction.phase = Phase::Aborting;
                self.drop_unsent();
            }
            (Command::SendOffsets { group, offsets }, Phase::Open) => {
                transaction.offsets.push_back(Offsets { group, next: offsets, added: false });
            }
            // What cannot be done now the library refuses; nothing changes.
            (_, Phase::Failed(error)) => self.tell_failed(error, true),
            (_, Phase::Dead) => {
                let error = self.identity.fatal.unwrap_or(ResponseError::UnknownServerError);
                self.tell_failed(error, false);
            }
            _ => self.tell_failed(ResponseError::InvalidTxnState, true),
        }
    }

    fn tell_failed(&mut self, error: ResponseError, abortable: bool) {
        self.base.events.push_back(Event::TransactionFailed { error, abortable });
    }

    /// Records of a transaction that is aborted are not sent any more.
    fn drop_unsent(&mut self) {
        for at in self.active.iter().copied().collect::<Vec<_>>() {
            let batches: Vec<Batch> = self.queues[at].batches.drain(..).collect();
            for batch in batches {
                self.fail_batch(batch, FailureReason::Aborted);
            }
            self.settle(at);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.fail(waiting.number, FailureReason::Aborted);
        }
        (self.blocked_since, self.waiting_bytes) = (None, 0);
    }

    /// A batch of a transaction failed: the transaction cannot be committed any more.
    pub(super) fn transaction_failed(&mut self, error: ResponseError) {
        let java = self.base.library() == Library::Java;
        let Some(transaction) = &mut self.transaction else { return };
        if matches!(transaction.phase, Phase::Failed(_) | Phase::Dead | Phase::Aborting) {
            return;
        }
        let fatal = match error {
            ResponseError::ProducerFenced
            | ResponseError::ClusterAuthorizationFailed
            | ResponseError::TransactionalIdAuthorizationFailed
            | ResponseError::UnsupportedVersion => true,
            ResponseError::InvalidProducerIdMapping => java,
            ResponseError::InvalidProducerEpoch | ResponseError::OutOfOrderSequenceNumber => !java,
            _ => false,
        };
        if fatal {
            return self.transaction_dies(error);
        }
        transaction.phase = Phase::Failed(error);
        transaction.needs_bump = true;
        transaction.skip_end |= error == ResponseError::InvalidProducerIdMapping;
        self.tell_failed(error, true);
    }

    fn transaction_dies(&mut self, error: ResponseError) {
        self.transaction().phase = Phase::Dead;
        self.tell_failed(error, false);
        self.become_fatal(error);
    }

    /// Says what is to be said next.
    pub(super) fn drive_transaction(&mut self, now: Time) {
        let phase = |this: &Self| this.transaction.as_ref().map(|it| it.phase);
        loop {
            let before = phase(self);
            self.take_step(now);
            if phase(self) == before {
                return;
            }
        }
    }

    fn take_step(&mut self, now: Time) {
        let Some(transaction) = &self.transaction else { return };
        if transaction.in_flight || transaction.retry_at > now || transaction.phase == Phase::Dead {
            return;
        }
        if transaction.coordinator.node.is_none() {
            return self.seek_coordinators(now);
        }
        match transaction.phase {
            Phase::Starting | Phase::Bumping => self.init(now),
            Phase::Open | Phase::Committing => self.drive_open(now),
            Phase::Aborting => {
                let in_flight = self.queues.iter().any(|queue| !queue.in_flight.is_empty());
                if !in_flight {
                    self.end(now, false);
                }
            }
            Phase::Ready | Phase::Failed(_) | Phase::Dead => {}
        }
    }

    fn seek_coordinators(&mut self, now: Time) {
        let transaction = self.transaction.as_mut().expect("it was just looked at");
        let id = transaction.id.0.to_string();
        let call = || Call::Transaction(Step::FindCoordinator);
        transaction.coordinator.seek(now, &mut self.base, Kind::Transaction, &id, call);
    }

    fn drive_open(&mut self, now: Time) {
        let version_2 = self.transaction().version_2;
        if !version_2 && !self.transaction().new_partitions.is_empty() {
            return self.add_partitions(now);
        }
        if self.transaction().offsets.front().is_some() {
            return self.send_offsets(now);
        }
        let flushed = self.active.is_empty() && self.waiting.is_empty();
        if self.transaction().phase == Phase::Committing && flushed {
            self.end(now, true);
        }
    }

    /// Sends a request to a coordinator that is known, if it can take it.
    fn step<R: Request>(
        &mut self,
        now: Time,
        node: NodeId,
        step: Step,
        build: impl FnOnce(i16) -> R,
    ) {
        if !self.base.network.ready(now, node) {
            return;
        }
        let Some(version) = self.base.network.version::<R>(node, i16::MAX) else {
            return self.transaction_dies(ResponseError::UnsupportedVersion);
        };
        let request = build(version);
        self.transaction().in_flight = true;
        self.base.send(now, node, version, &request, None, Some(Call::Transaction(step)));
    }

    fn coordinator_node(&self) -> Option<NodeId> {
        self.transaction.as_ref()?.coordinator.node
    }

    fn producer(&self) -> ProducerIdentity {
        self.identity.current.unwrap_or(ProducerIdentity { id: -1, epoch: -1 })
    }

    fn init(&mut self, now: Time) {
        let Some(node) = self.coordinator_node() else { return };
        let bumping = self.transaction().phase == Phase::Bumping;
        let id = self.transaction().id.clone();
        let timeout = i32::try_from(self.settings.transaction_timeout.as_millis());
        let producer = self.producer();
        self.step(now, node, Step::Init, |version| {
            let mut request = InitProducerIdRequest::default()
                .with_transactional_id(Some(id))
                .with_transaction_timeout_ms(timeout.unwrap_or(i32::MAX));
            if version >= 3 {
                let known = if bumping { producer } else { ProducerIdentity { id: -1, epoch: -1 } };
                request.producer_id = ProducerId(known.id);
                request.producer_epoch = known.epoch;
            }
            request
        });
        let offered = self.base.network.offered(node);
        let version_2 = self.base.library() == Library::Java
            && offered.is_some_and(|it| it.transaction_version >= 2);
        self.transaction().version_2 = version_2;
    }

    fn add_partitions(&mut self, now: Time) {
        let Some(node) = self.coordinator_node() else { return };
        let (id, producer) = (self.transaction().id.clone(), self.producer());
        let added = self.transaction().new_partitions.clone();
        let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
        for at in &added {
            let queue = &self.queues[*at];
            topics.entry(queue.topic.clone()).or_default().push(queue.partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default().with_name(name).with_partitions(partitions)
        });
        let topics = topics.collect();
        self.step(now, node, Step::AddPartitions(added), |_| {
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(id)
                .with_v3_and_below_producer_id(ProducerId(producer.id))
                .with_v3_and_below_producer_epoch(producer.epoch)
                .with_v3_and_below_topics(topics)
        });
    }

    fn send_offsets(&mut self, now: Time) {
        let (id, producer) = (self.transaction().id.clone(), self.producer());
        let version_2 = self.transaction().version_2;
        let Some(first) = self.transaction().offsets.front() else { return };
        let (group, added) = (first.group.clone(), first.added);
        let offsets = first.next.clone();
        let group_id = GroupId(StrBytes::from_string(group.clone()));
        if !added && !version_2 {
            let Some(node) = self.coordinator_node() else { return };
            return self.step(now, node, Step::AddOffsets, |_| {
                AddOffsetsToTxnRequest::default()
                    .with_transactional_id(id)
                    .with_producer_id(ProducerId(producer.id))
                    .with_producer_epoch(producer.epoch)
                    .with_group_id(group_id)
            });
        }
        let Some(node) = self.transaction().group_coordinator.node else {
            let transaction = self.transaction.as_mut().expect("it was just looked at");
            let call = || Call::Transaction(Step::FindGroupCoordinator);
            let base = &mut self.base;
            return transaction.group_coordinator.seek(now, base, Kind::Group, &group, call);
        };
        let mut topics: BTreeMap<TopicName, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in offsets {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::new()));
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            TxnOffsetCommitRequestTopic::default().with_name(name).with_partitions(partitions)
        });
        let topics = topics.collect();
        self.step(now, node, Step::CommitOffsets, |version| {
            debug_assert!(!version_2 || version >= OFFSETS_V2, "version 2 comes with its APIs");
            TxnOffsetCommitRequest::default()
                .with_transactional_id(id)
                .with_group_id(group_id)
                .with_producer_id(ProducerId(producer.id))
                .with_producer_epoch(producer.epoch)
                .with_topics(topics)
        });
    }

    fn end(&mut self, now: Time, commit: bool) {
        if !self.transaction().started || (!commit && self.transaction().skip_end) {
            return self.ended(commit);
        }
        let Some(node) = self.coordinator_node() else { return };
        let (id, producer) = (self.transaction().id.clone(), self.producer());
        let version_2 = self.transaction().version_2;
        let newest = if version_2 { i16::MAX } else { END_V2 - 1 };
        if !self.base.network.ready(now, node) {
            return;
        }
        let Some(version) = self.base.network.version::<EndTxnRequest>(node, newest) else {
            return self.transaction_dies(ResponseError::UnsupportedVersion);
        };
        let request = EndTxnRequest::default()
            .with_transactional_id(id)
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_committed(commit);
        self.transaction().in_flight = true;
        self.base.send(now, node, version, &request, None, Some(Call::Transaction(Step::End)));
    }

    /// The transaction is over, for the coordinator too.
    fn ended(&mut self, committed: bool) {
        if !committed && self.transaction().needs_bump {
            self.transaction().phase = Phase::Bumping;
            return;
        }
        self.transaction().reset();
        self.base.events.push_back(if committed {
            Event::TransactionCommitted
        } else {
            Event::TransactionAborted
        });
    }

    /// A coordinator has answered.
    pub(super) fn handle_step(&mut self, now: Time, step: Step, version: i16, mut body: Bytes) {
        match step {
            Step::FindCoordinator | Step::FindGroupCoordinator => {
                return self.handle_found(now, &step, version, body);
            }
            _ => self.transaction().in_flight = false,
        }
        let code = match &step {
            Step::FindCoordinator | Step::FindGroupCoordinator => None,
            Step::Init => InitProducerIdResponse::decode(&mut body, version).ok().map(|it| {
                self.initialized(&it);
                it.error_code
            }),
            Step::AddPartitions(added) => {
                let response = AddPartitionsToTxnResponse::decode(&mut body, version).ok();
                response.map(|it| self.partitions_added(added, &it))
            }
            Step::AddOffsets => {
                let response = AddOffsetsToTxnResponse::decode(&mut body, version).ok();
                response.map(|it| {
                    if it.error_code == 0 {
                        self.transaction().started = true;
                        if let Some(first) = self.transaction().offsets.front_mut() {
                            first.added = true;
                        }
                    }
                    it.error_code
                })
            }
            Step::CommitOffsets => {
                let response = TxnOffsetCommitResponse::decode(&mut body, version).ok();
                response.map(|it| {
                    let mut codes = it.topics.iter().flat_map(|it| &it.partitions);
                    let error = codes.find(|it| it.error_code != 0).map_or(0, |it| it.error_code);
                    if error == 0 {
                        self.transaction().offsets.pop_front();
                        self.transaction().started = true;
                    }
                    error
                })
            }
            Step::End => EndTxnResponse::decode(&mut body, version).ok().map(|it| {
                if it.error_code == 0 {
                    self.handle_ended(version, &it);
                }
                it.error_code
            }),
        };
        match code {
            Some(0) => self.transaction().failures = 0,
            Some(code) => {
                if let Some(error) = ResponseError::try_from_code(code) {
                    self.handle_step_error(now, &step, error);
                }
            }
            None => self.step_again(now, None),
        }
    }

    fn handle_found(&mut self, now: Time, step: &Step, version: i16, body: Bytes) {
        let library = self.base.library();
        let backoff = self.settings.common.retry;
        let transaction = self.transaction.as_mut().expect("it has asked");
        let coordinator = match step {
            Step::FindGroupCoordinator => &mut transaction.group_coordinator,
            _ => &mut transaction.coordinator,
        };
        match coordinator.handle_answer(version, body) {
            Ok(found) => {
                // Java shares the broker's connection, librdkafka has one of its own for a coordinator.
                let node = match library {
                    Library::Java => found.id,
                    Library::Librdkafka => network::coordinator(found.id),
                };
                coordinator.found(node);
                self.base.network.know(node, &found.host, found.port);
            }
            Err(Some(error)) if !error.is_retriable() => self.transaction_dies(error),
            Err(_) => coordinator.failed(now, library, backoff, &mut self.random),
        }
    }

    fn initialized(&mut self, response: &InitProducerIdResponse) {
        if response.error_code != 0 {
            return;
        }
        let bumped = self.transaction().phase == Phase::Bumping;
        self.become_producer(ProducerIdentity {
            id: response.producer_id.0,
            epoch: response.producer_epoch,
        });
        self.transaction().reset();
        self.base.events.push_back(if bumped {
            Event::TransactionAborted
        } else {
            Event::TransactionReady
        });
    }

    /// The coordinator has given an id and epoch: sequences begin anew.
    fn become_producer(&mut self, producer: ProducerIdentity) {
        self.identity.begin(producer);
        for queue in &mut self.queues {
            queue.start_sequences(producer);
        }
    }

    fn partitions_added(
        &mut self,
        added: &BTreeSet<usize>,
        response: &AddPartitionsToTxnResponse,
    ) -> i16 {
        let results = response.results_by_topic_v3_and_below.iter();
        let mut codes = results.flat_map(|it| &it.results_by_partition);
        // What was not attempted failed because of another.
        let not_attempted = ResponseError::OperationNotAttempted.code();
        let is_error = |code: i16| code != 0 && code != not_attempted;
        let error = codes.find(|it| is_error(it.partition_error_code));
        let error = error.map_or(0, |it| it.partition_error_code);
        if error == 0 {
            let transaction = self.transaction();
            for at in added {
                transaction.new_partitions.remove(at);
                transaction.partitions.insert(*at);
            }
            transaction.started = true;
        }
        error
    }

    fn handle_ended(&mut self, version: i16, response: &EndTxnResponse) {
        let committed = self.transaction().phase == Phase::Committing;
        if version >= END_V2 && response.producer_id.0 >= 0 {
            self.become_producer(ProducerIdentity {
                id: response.producer_id.0,
                epoch: response.producer_epoch,
            });
        }
        self.ended(committed);
    }

    fn handle_step_error(&mut self, now: Time, step: &Step, error: ResponseError) {
        match error {
            ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable => {
                match step {
                    Step::CommitOffsets => self.transaction().group_coordinator.forget(),
                    _ => self.transaction().coordinator.forget(),
                }
                self.step_again(now, None);
            }
            ResponseError::ConcurrentTransactions => self.step_again(now, Some(CONCURRENT_RETRY)),
            _ if error.is_retriable() => self.step_again(now, None),
            ResponseError::UnknownProducerId | ResponseError::InvalidProducerIdMapping
                if !matches!(step, Step::Init) =>
            {
                let was_aborting = self.transaction().phase == Phase::Aborting;
                let transaction = self.transaction();
                (transaction.needs_bump, transaction.skip_end) = (true, true);
                if was_aborting {
                    return self.ended(false);
                }
                transaction.phase = Phase::Failed(error);
                self.tell_failed(error, true);
            }
            ResponseError::TransactionAbortable
            | ResponseError::TopicAuthorizationFailed
            | ResponseError::GroupAuthorizationFailed => {
                self.transaction().phase = Phase::Failed(error);
                self.tell_failed(error, true);
            }
            ResponseError::InvalidProducerEpoch => {
                self.transaction_dies(ResponseError::ProducerFenced);
            }
            _ => self.transaction_dies(error),
        }
    }

    fn step_again(&mut self, now: Time, wait: Option<Duration>) {
        let failures = self.transaction().failures;
        let backoff = self.settings.common.retry.wait(&mut self.random, failures);
        let transaction = self.transaction();
        transaction.failures += 1;
        transaction.retry_at = now + wait.unwrap_or(backoff);
    }

    /// A request of a transaction went down with its connection.
    pub(super) fn step_lost(&mut self, now: Time, step: &Step) {
        let (library, backoff) = (self.base.library(), self.settings.common.retry);
        let transaction = self.transaction.as_mut().expect("it has asked");
        match step {
            Step::FindCoordinator => {
                transaction.coordinator.failed(now, library, backoff, &mut self.random);
            }
            Step::FindGroupCoordinator => {
                transaction.group_coordinator.failed(now, library, backoff, &mut self.random);
            }
            _ => {
                transaction.in_flight = false;
                self.step_again(now, None);
            }
        }
    }
}
