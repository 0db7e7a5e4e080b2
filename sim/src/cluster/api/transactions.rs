//! AddPartitionsToTxn, AddOffsetsToTxn, EndTxn; DescribeTransactions, ListTransactions.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
        AddPartitionsToTxnResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
        EndTxnRequest, EndTxnResponse, ListTransactionsRequest, ListTransactionsResponse,
        TopicName, TransactionalId,
        add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
        add_partitions_to_txn_response::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult,
            AddPartitionsToTxnTopicResult,
        },
        describe_transactions_response, list_transactions_response,
    },
    protocol::StrBytes,
};
use regex::Regex;

use super::{
    super::{
        Cluster,
        transaction::{
            End, Producer, TopicPartition, Transaction, TransactionState, TransactionVersion,
        },
    },
    Context, Reply,
};

/// States that nothing is ever seen in; to ask for them is no mistake.
const PASSING_STATES: [&str; 2] = ["Dead", "PrepareEpochFence"];

/// What became of each partition.
type PartitionErrors = BTreeMap<TopicPartition, Option<ResponseError>>;

impl Cluster {
    pub(super) fn add_partitions_to_txn(
        &mut self,
        context: &Context,
        request: AddPartitionsToTxnRequest,
    ) -> Reply<AddPartitionsToTxnResponse> {
        let response = AddPartitionsToTxnResponse::default();
        if context.version() <= 3 {
            let transaction = AddPartitionsToTxnTransaction::default()
                .with_transactional_id(request.v3_and_below_transactional_id)
                .with_producer_id(request.v3_and_below_producer_id)
                .with_producer_epoch(request.v3_and_below_producer_epoch)
                .with_topics(request.v3_and_below_topics);
            let errors = self.add_partitions_of(context, &transaction);
            return Reply::Now(response.with_results_by_topic_v3_and_below(by_topic(errors)));
        }
        // From v4 on brokers ask, for many producers at once. A cluster that authorises nothing serves clients too.
        // Ids are unique in Kafka's request; of a repeated one the first counts.
        let mut seen = BTreeSet::new();
        let mut results = Vec::new();
        for transaction in request.transactions {
            if seen.insert(transaction.transactional_id.clone()) {
                let errors = self.add_partitions_of(context, &transaction);
                results.push(
                    AddPartitionsToTxnResult::default()
                        .with_transactional_id(transaction.transactional_id)
                        .with_topic_results(by_topic(errors)),
                );
            }
        }
        Reply::Now(response.with_results_by_transaction(results))
    }

    fn add_partitions_of(
        &mut self,
        context: &Context,
        transaction: &AddPartitionsToTxnTransaction,
    ) -> PartitionErrors {
        let partitions = partitions_of(&transaction.topics);
        let exists =
            |(topic, index): &TopicPartition| self.topics.partition(topic, *index).is_some();
        if !partitions.iter().all(exists) {
            // One that is missing fails all, and Kafka says of the others that they were not tried.
            let error = |partition: &TopicPartition| {
                if exists(partition) {
                    ResponseError::OperationNotAttempted
                } else {
                    ResponseError::UnknownTopicOrPartition
                }
            };
            return partitions
                .into_iter()
                .map(|partition| {
                    let error = error(&partition);
                    (partition, Some(error))
                })
                .collect();
        }
        let id = &transaction.transactional_id;
        let producer = Producer::new(transaction.producer_id, transaction.producer_epoch);
        let coordinates = self.check_coordinates(context, id);
        if transaction.verify_only {
            return partitions
                .into_iter()
                .map(|partition| {
                    let verified = coordinates
                        .and_then(|()| self.verify_in_transaction(id, producer, &partition));
                    (partition, verified.err())
                })
                .collect();
        }
        let all: Vec<_> = partitions.into_iter().collect();
        let added =
            coordinates.and_then(|()| self.add_to_transaction(context.now, id, producer, &all));
        let error = added.err().map(|error| for_version(error, context.version()));
        all.into_iter().map(|partition| (partition, error)).collect()
    }

    pub(super) fn add_offsets_to_txn(
        &mut self,
        context: &Context,
        request: AddOffsetsToTxnRequest,
    ) -> Reply<AddOffsetsToTxnResponse> {
        let id = &request.transactional_id;
        let producer = Producer::new(request.producer_id, request.producer_epoch);
        let partition = self.offsets_partition(&request.group_id);
        let added = self
            .check_coordinates(context, id)
            .and_then(|()| self.add_to_transaction(context.now, id, producer, &[partition]));
        let code = added.err().map_or(0, |error| for_version(error, context.version()).code());
        Reply::Now(AddOffsetsToTxnResponse::default().with_error_code(code))
    }

    pub(super) fn end_txn(
        &mut self,
        context: &Context,
        request: EndTxnRequest,
    ) -> Reply<EndTxnResponse> {
        let id = &request.transactional_id;
        let end = End {
            producer: Producer::new(request.producer_id, request.producer_epoch),
            commit: request.committed,
            version: if context.version() >= 5 {
                TransactionVersion::V2
            } else {
                TransactionVersion::V1
            },
        };
        let ended = self
            .check_coordinates(context, id)
            .and_then(|()| self.end_transaction(context.now, context.broker, id, &end));
        let response = EndTxnResponse::default().with_error_code(
            ended.err().map_or(0, |error| for_version(error, context.version()).code()),
        );
        let producer = ended.unwrap_or(Producer::NONE);
        Reply::Now(
            response.with_producer_id(producer.wire_id()).with_producer_epoch(producer.epoch),
        )
    }

    /// Whether the broker that was asked is the coordinator of a transactional id.
    pub(super) fn check_coordinates(
        &self,
        context: &Context,
        id: &TransactionalId,
    ) -> Result<(), ResponseError> {
        if id.is_empty() {
            Err(ResponseError::InvalidRequest)
        } else if self.transaction_coordinator_of(id) == Some(context.broker) {
            Ok(())
        } else {
            Err(ResponseError::NotCoordinator)
        }
    }

    pub(super) fn describe_transactions(
        &mut self,
        context: &Context,
        request: DescribeTransactionsRequest,
    ) -> Reply<DescribeTransactionsResponse> {
        let states = request.transactional_ids.into_iter().map(|id| {
            let found = self.check_coordinates(context, &id).and_then(|()| {
                self.transactions.get(&id).ok_or(ResponseError::TransactionalIdNotFound)
            });
            match found {
                Ok(transaction) => describe(transaction),
                Err(error) => describe_transactions_response::TransactionState::default()
                    .with_error_code(error.code()),
            }
            .with_transactional_id(id)
        });
        Reply::Now(
            DescribeTransactionsResponse::default().with_transaction_states(states.collect()),
        )
    }

    pub(super) fn list_transactions(
        &mut self,
        context: &Context,
        request: ListTransactionsRequest,
    ) -> Reply<ListTransactionsResponse> {
        let response = ListTransactionsResponse::default();
        let pattern = request.transactional_id_pattern.as_ref().filter(|text| !text.is_empty());
        let Ok(pattern) = pattern.map(|text| whole(text)).transpose() else {
            return Reply::Now(
                response.with_error_code(ResponseError::InvalidRegularExpression.code()),
            );
        };
        let named: Vec<_> = request.state_filters.iter().map(|name| state_named(name)).collect();
        let unknown = request.state_filters.iter().zip(&named);
        let unknown = unknown
            .filter(|(name, state)| state.is_none() && !PASSING_STATES.contains(&name.as_str()))
            .map(|(name, _)| name.clone());
        let is_listed = |id: &TransactionalId, transaction: &Transaction| {
            let producers = &request.producer_id_filters;
            let is_long = request.duration_filter < 0 || {
                // Without a transaction Kafka counts from one millisecond before the epoch.
                let started = transaction.started.map_or(-1, super::super::Time::ms);
                context.now.ms() - started > request.duration_filter
            };
            self.transaction_coordinator_of(id) == Some(context.broker)
                && (producers.is_empty() || producers.contains(&transaction.producer.wire_id()))
                && (named.is_empty() || named.contains(&Some(transaction.state)))
                && is_long
                && pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
        };
        let states =
            self.transactions.iter().filter(|(id, it)| is_listed(id, it)).map(|(id, it)| {
                list_transactions_response::TransactionState::default()
                    .with_transactional_id(id.clone())
                    .with_producer_id(it.producer.wire_id())
                    .with_transaction_state(StrBytes::from_static_str(it.state.name()))
            });
        Reply::Now(
            response
                .with_unknown_state_filters(unknown.collect())
                .with_transaction_states(states.collect()),
        )
    }
}

/// The error as clients of a version of AddPartitionsToTxn, AddOffsetsToTxn and EndTxn know it.
fn for_version(error: ResponseError, version: i16) -> ResponseError {
    match error {
        ResponseError::ProducerFenced if version < 2 => ResponseError::InvalidProducerEpoch,
        error => error,
    }
}

fn partitions_of(topics: &[AddPartitionsToTxnTopic]) -> BTreeSet<TopicPartition> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let name = topic.name.clone();
        topic.partitions.clone().into_iter().map(move |index| (name.clone(), index))
    };
    topics.iter().flat_map(of_topic).collect()
}

fn by_topic(errors: PartitionErrors) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: BTreeMap<TopicName, Vec<_>> = BTreeMap::new();
    for ((topic, index), error) in errors {
        topics.entry(topic).or_default().push(
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(error.map_or(0, |error| error.code())),
        );
    }
    let result = |(name, partitions)| {
        AddPartitionsToTxnTopicResult::default()
            .with_name(name)
            .with_results_by_partition(partitions)
    };
    topics.into_iter().map(result).collect()
}

fn describe(transaction: &Transaction) -> describe_transactions_response::TransactionState {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for (topic, index) in &transaction.partitions {
        topics.entry(topic).or_default().push(*index);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        describe_transactions_response::TopicData::default()
            .with_topic(topic.clone())
            .with_partitions(partitions)
    });
    describe_transactions_response::TransactionState::default()
        .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
        .with_transaction_timeout_ms(
            i32::try_from(transaction.timeout.as_millis()).unwrap_or(i32::MAX),
        )
        .with_transaction_start_time_ms(transaction.started.map_or(-1, super::super::Time::ms))
        .with_producer_id(transaction.producer.wire_id())
        .with_producer_epoch(transaction.producer.epoch)
        .with_topics(topics.collect())
}

/// A pattern that has to match all of an id.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // Alone first: what closes a bracket that it has not opened would be valid inside of one.
    Regex::new(pattern)?;
    Regex::new(&format!(r"\A(?:{pattern})\z"))
}

fn state_named(name: &str) -> Option<TransactionState> {
    [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
    ]
    .into_iter()
    .find(|state| state.name() == name)
}
