//! The cluster's side of transactions: who may join one, what ends it, and the markers that tell its end.

use std::{collections::BTreeSet, mem, time::Duration};

use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, GroupId, TopicName, TransactionalId},
};

use super::{
    super::{
        Cluster, broker::BrokerState, coordinator::OFFSETS_TOPIC, log::Marker, time::Time,
        timers::Timer, versions::Profile,
    },
    End, Ended, Initialise, Initialised, Patience, Producer, TopicPartition, TransactionVersion,
};

/// Between two attempts to write a marker to a partition whose leader is away.
pub(super) const RETRY: Duration = Duration::from_millis(100);
/// The epoch of every coordinator.
const COORDINATOR_EPOCH: i32 = 0;

/// What becomes of a write to a partition that is not in its producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Membership {
    /// INVALID_TXN_STATE, for clients that know nothing better.
    Required,
    /// TRANSACTION_ABORTABLE (KIP-890, first part).
    RequiredAbortable,
    /// The partition is added: transactions of version 2.
    Implicit,
}

impl Membership {
    /// By the version of a Produce.
    pub(in super::super) fn of_produce(version: i16) -> Self {
        match version {
            ..=10 => Self::Required,
            11 => Self::RequiredAbortable,
            12.. => Self::Implicit,
        }
    }

    /// By the version of a TxnOffsetCommit.
    pub(in super::super) fn of_offset_commit(version: i16) -> Self {
        match version {
            ..=3 => Self::Required,
            4 => Self::RequiredAbortable,
            5.. => Self::Implicit,
        }
    }
}

impl Cluster {
    /// How the coordinators themselves end transactions: the level of the feature `transaction.version`.
    pub(in super::super) fn transaction_version(&self) -> TransactionVersion {
        match self.profile {
            Profile::Kafka39 => TransactionVersion::V1,
            Profile::Kafka41 => TransactionVersion::V2,
        }
    }

    /// InitProducerId with a transactional id.
    pub(in super::super) fn initialise_producer(
        &mut self,
        now: Time,
        broker: BrokerId,
        id: &TransactionalId,
        request: &Initialise,
    ) -> Result<Producer, ResponseError> {
        let server = self.transaction_version();
        let initialised = self.transactions.initialise(now, broker, id, request, server)?;
        self.settle_transaction(now, id);
        match initialised {
            Initialised::As(producer) => Ok(producer),
            Initialised::AfterAbort => Err(ResponseError::ConcurrentTransactions),
        }
    }

    /// Adds partitions to a transaction, which begins where none is open.
    pub(in super::super) fn add_to_transaction(
        &mut self,
        now: Time,
        id: &TransactionalId,
        producer: Producer,
        partitions: &[TopicPartition],
    ) -> Result<(), ResponseError> {
        if self.transactions.get_mut(id)?.add(now, producer, partitions)? {
            self.settle_transaction(now, id);
        }
        Ok(())
    }

    /// Whether partitions are in a transaction.
    pub(in super::super) fn verify_in_transaction(
        &self,
        id: &TransactionalId,
        producer: Producer,
        partition: &TopicPartition,
    ) -> Result<(), ResponseError> {
        let transaction = self.transactions.get(id);
        transaction.ok_or(ResponseError::InvalidProducerIdMapping)?.verify(producer, partition)
    }

    /// EndTxn. Gives what the producer is from now on.
    pub(in super::super) fn end_transaction(
        &mut self,
        now: Time,
        broker: BrokerId,
        id: &TransactionalId,
        request: &End,
    ) -> Result<Producer, ResponseError> {
        match self.transactions.end(now, broker, id, request)? {
            Ended::Prepared(producer) => {
                self.settle_transaction(now, id);
                Ok(producer)
            }
            Ended::Before(producer) => Ok(producer),
        }
    }

    /// Asks the coordinator about a transactional batch, before a partition's leader appends it.
    pub(in super::super) fn verify_or_add_to_transaction(
        &mut self,
        now: Time,
        id: &TransactionalId,
        producer: Producer,
        partition: TopicPartition,
        membership: Membership,
    ) -> Result<(), ResponseError> {
        self.join_transaction(now, id, producer, partition, membership).map_err(|error| match error
        {
            // Clients of before TV2 do not expect it here; this one makes them try again.
            ResponseError::ConcurrentTransactions if membership != Membership::Implicit => {
                ResponseError::NotEnoughReplicas
            }
            ResponseError::CoordinatorNotAvailable => ResponseError::NotEnoughReplicas,
            error => error,
        })
    }

    /// Asks the coordinator about the offsets of a group, before the group takes them.
    pub(in super::super) fn verify_or_add_offsets_to_transaction(
        &mut self,
        now: Time,
        id: &TransactionalId,
        producer: Producer,
        group: &GroupId,
        membership: Membership,
    ) -> Result<(), ResponseError> {
        self.join_transaction(now, id, producer, self.offsets_partition(group), membership)
    }

    fn join_transaction(
        &mut self,
        now: Time,
        id: &TransactionalId,
        producer: Producer,
        partition: TopicPartition,
        membership: Membership,
    ) -> Result<(), ResponseError> {
        let coordinator =
            self.transaction_coordinator_of(id).and_then(|broker| self.brokers.get(&broker));
        if coordinator.is_none_or(|broker| broker.state != BrokerState::Running) {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let joined = match membership {
            Membership::Implicit => self.add_to_transaction(now, id, producer, &[partition]),
            Membership::Required | Membership::RequiredAbortable => {
                self.verify_in_transaction(id, producer, &partition)
            }
        };
        joined.map_err(|error| match error {
            ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
            ResponseError::TransactionAbortable if membership == Membership::Required => {
                ResponseError::InvalidTxnState
            }
            error => error,
        })
    }

    /// A transaction may have timed out, an id expired, or a leader returned.
    pub(in super::super) fn transaction_is_due(&mut self, now: Time, id: &TransactionalId) {
        let patience = Patience::new(&self.settings);
        let server = self.transaction_version();
        let Ok(transaction) = self.transactions.get_mut(id) else { return };
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if is_due(transaction.times_out(patience.abort_interval)) {
            transaction.fence(now, server);
        } else if is_due(transaction.expires(patience.expiration, patience.expiration_interval)) {
            self.transactions.by_id.remove(id);
            return;
        }
        self.settle_transaction(now, id);
    }

    /// Writes the markers that can be written, and sets the timer.
    fn settle_transaction(&mut self, now: Time, id: &TransactionalId) {
        let Ok(transaction) = self.transactions.get_mut(id) else { return };
        if let Some(commit) = transaction.marker() {
            let producer = transaction.producer;
            let partitions = mem::take(&mut transaction.partitions);
            let missing = self.write_markers(now, producer, commit, partitions);
            let transaction = self.transactions.get_mut(id).expect("it is there: see above");
            transaction.markers_written(now, missing);
        }
        let patience = Patience::new(&self.settings);
        if let Ok(transaction) = self.transactions.get_mut(id) {
            let deadline = patience.deadline(now, transaction);
            self.timers.set(Timer::Transaction(id.clone()), deadline);
        }
    }

    /// Gives the partitions that have to wait.
    fn write_markers(
        &mut self,
        now: Time,
        producer: Producer,
        commit: bool,
        mut partitions: BTreeSet<TopicPartition>,
    ) -> BTreeSet<TopicPartition> {
        let mut has_offsets = false;
        partitions.retain(|(topic, index)| {
            if topic.as_str() == OFFSETS_TOPIC {
                has_offsets = true;
                return false;
            }
            !self.write_marker(now, producer, commit, topic, *index)
        });
        if has_offsets {
            self.end_group_transactions(producer.id, commit);
        }
        partitions
    }

    /// Whether the marker is written, or never will have to be.
    fn write_marker(
        &mut self,
        now: Time,
        producer: Producer,
        commit: bool,
        topic: &TopicName,
        index: i32,
    ) -> bool {
        let Some(partition) = self.topics.partition_mut(topic, index) else {
            return true; // Deleted since.
        };
        let leader = partition.leader.and_then(|leader| self.brokers.get(&leader));
        if leader.is_none_or(|leader| leader.state != BrokerState::Running) {
            return false;
        }
        let marker = Marker {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            commit,
            coordinator_epoch: COORDINATOR_EPOCH,
            timestamp: now.ms(),
        };
        if partition.log.append_marker(&marker, partition.leader_epoch).is_ok() {
            self.partition_changed(topic, index);
        }
        // One that the log refuses comes from a producer that was fenced there: Kafka gives it up too.
        true
    }
}
