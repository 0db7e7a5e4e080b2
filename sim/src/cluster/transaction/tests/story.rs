//! What producers and operators do, and a transcript of what they are told.

use std::{fmt::Write as _, time::Duration};

use kafka_protocol::{
    ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest,
        DescribeTransactionsRequest, EndTxnRequest, FetchRequest, GroupId, InitProducerIdRequest,
        ListTransactionsRequest, OffsetFetchRequest, ProduceRequest, TxnOffsetCommitRequest,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        describe_producers_request::TopicRequest,
        fetch_request::{FetchPartition, FetchTopic},
        offset_fetch_request::OffsetFetchRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
};

use super::super::{
    super::{BrokerId, ClusterSpec, broker::BrokerState, versions::Profile},
    client::{Client, batch, text, topic_name, transactional_id},
};

/// A producer's id and epoch.
type Producer = (i64, i16);

pub(super) struct Story {
    pub(super) client: Client,
    transcript: String,
}

impl Story {
    pub(super) fn new(settings: &[(&str, &str)]) -> Self {
        Self::of_brokers(1, settings)
    }

    pub(super) fn of_brokers(brokers: u16, settings: &[(&str, &str)]) -> Self {
        let mut spec = ClusterSpec::new("test", 7, "127.0.0.1", 9092..9092 + brokers);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        spec.settings = settings.iter().map(owned).collect();
        Self::of(spec)
    }

    pub(super) fn of_profile(profile: Profile) -> Self {
        let mut spec = ClusterSpec::new("test", 7, "127.0.0.1", [9092]);
        spec.profile = profile;
        Self::of(spec)
    }

    fn of(spec: ClusterSpec) -> Self {
        let mut client = Client::of(spec);
        client.create_topic("orders");
        Self { client, transcript: String::new() }
    }

    /// Compares the transcript, apart from indentation.
    pub(super) fn tells(&self, expected: &str) {
        let expected: Vec<_> =
            expected.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        let told: Vec<_> = self.transcript.lines().collect();
        assert_eq!(told, expected, "told was:\n{}", self.transcript);
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) -> &mut Self {
        writeln!(self.transcript, "{line}").expect("strings take everything");
        self
    }

    pub(super) fn pass(&mut self, time: Duration) -> &mut Self {
        self.client.pass(time);
        self.say(format_args!("{} s later", time.as_secs()))
    }

    pub(super) fn connect(&mut self, broker: i32) -> &mut Self {
        self.client.reconnect(broker);
        self
    }

    pub(super) fn restart(&mut self, broker: i32) -> &mut Self {
        self.client.cluster.transactions.producer_ids.broker_restarted(BrokerId(broker));
        self
    }

    /// As if the producer had been initialised that often.
    pub(super) fn set_epoch(&mut self, id: &str, epoch: i16) -> &mut Self {
        let transaction = self.client.cluster.transactions.by_id.get_mut(&transactional_id(id));
        transaction.expect("a known id").producer.epoch = epoch;
        self
    }

    pub(super) fn set_state(&mut self, broker: i32, state: BrokerState) -> &mut Self {
        let broker = self.client.cluster.brokers.get_mut(&BrokerId(broker));
        broker.expect("a broker").state = state;
        self
    }

    pub(super) fn init_idempotent(&mut self) -> &mut Self {
        let request = init_request((-1, -1)).with_transactional_id(None);
        let answer = self.client.ask(4, &request);
        self.say(format_args!("InitProducerId: {}/{}", answer.producer_id.0, answer.producer_epoch))
    }

    pub(super) fn init(&mut self, version: i16, id: &str) -> &mut Self {
        let request = init_request((-1, -1)).with_transactional_id(Some(transactional_id(id)));
        let told = self.initialised(version, &request);
        self.say(format_args!("InitProducerId v{version} {id}: {told}"))
    }

    pub(super) fn init_as(&mut self, version: i16, id: &str, producer: Producer) -> &mut Self {
        let request = init_request(producer).with_transactional_id(Some(transactional_id(id)));
        let told = self.initialised(version, &request);
        let (pid, epoch) = producer;
        self.say(format_args!("InitProducerId v{version} {id} as {pid}/{epoch}: {told}"))
    }

    fn initialised(&mut self, version: i16, request: &InitProducerIdRequest) -> String {
        let answer = self.client.ask(version, request);
        let producer = (answer.producer_id.0, answer.producer_epoch);
        error(answer.error_code).unwrap_or_else(|| format!("{}/{}", producer.0, producer.1))
    }

    pub(super) fn add(
        &mut self,
        version: i16,
        id: &str,
        producer: Producer,
        topic: &str,
    ) -> &mut Self {
        self.add_all(version, id, producer, &[topic])
    }

    /// Partition 0 of each topic.
    pub(super) fn add_all(
        &mut self,
        version: i16,
        id: &str,
        (pid, epoch): Producer,
        topics: &[&str],
    ) -> &mut Self {
        let topic = |topic: &&str| {
            AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![0])
        };
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id(id))
            .with_v3_and_below_producer_id(pid.into())
            .with_v3_and_below_producer_epoch(epoch)
            .with_v3_and_below_topics(topics.iter().map(topic).collect());
        let answer = self.client.ask(version, &request);
        let results = answer.results_by_topic_v3_and_below.iter().map(|topic| {
            let outcome = outcome(topic.results_by_partition[0].partition_error_code);
            if topics.len() == 1 { outcome } else { format!("{} {outcome}", topic.name.as_str()) }
        });
        let results = results.collect::<Vec<_>>().join(", ");
        self.say(format_args!("AddPartitionsToTxn v{version} {id} {pid}/{epoch}: {results}"))
    }

    pub(super) fn add_offsets(
        &mut self,
        version: i16,
        id: &str,
        (pid, epoch): Producer,
    ) -> &mut Self {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional_id(id))
            .with_producer_id(pid.into())
            .with_producer_epoch(epoch)
            .with_group_id(group());
        let told = outcome(self.client.ask(version, &request).error_code);
        self.say(format_args!("AddOffsetsToTxn v{version} {id} {pid}/{epoch}: {told}"))
    }

    /// Of partition 0 of `orders`.
    pub(super) fn commit_offset(
        &mut self,
        version: i16,
        id: &str,
        (pid, epoch): Producer,
        offset: i64,
    ) -> &mut Self {
        let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name("orders"))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional_id(id))
            .with_group_id(group())
            .with_producer_id(pid.into())
            .with_producer_epoch(epoch)
            .with_generation_id(-1)
            .with_topics(vec![topic]);
        let answer = self.client.ask(version, &request);
        let told = outcome(answer.topics[0].partitions[0].error_code);
        self.say(format_args!("TxnOffsetCommit v{version} {id} {pid}/{epoch}: {told}"))
    }

    /// As a consumer asks that wants no offset which may yet change.
    pub(super) fn offset(&mut self) -> &mut Self {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name("orders"))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group())
            .with_topics(Some(vec![topic]))
            .with_require_stable(true);
        let answer = self.client.ask(7, &request);
        let partition = &answer.topics[0].partitions[0];
        let told = error(partition.error_code);
        let told = told.unwrap_or_else(|| partition.committed_offset.to_string());
        self.say(format_args!("OffsetFetch: {told}"))
    }

    /// One record to partition 0.
    pub(super) fn produce(
        &mut self,
        version: i16,
        id: &str,
        (pid, epoch): Producer,
        sequence: i32,
        topic: &str,
    ) -> &mut Self {
        let partition =
            PartitionProduceData::default().with_records(Some(batch(pid, epoch, sequence)));
        let topic = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(transactional_id(id)))
            .with_acks(-1)
            .with_topic_data(vec![topic]);
        let answer = self.client.ask(version, &request);
        let told = outcome(answer.responses[0].partition_responses[0].error_code);
        self.say(format_args!("Produce v{version} {id} {pid}/{epoch}: {told}"))
    }

    pub(super) fn end(
        &mut self,
        version: i16,
        id: &str,
        (pid, epoch): Producer,
        commit: bool,
    ) -> &mut Self {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional_id(id))
            .with_producer_id(pid.into())
            .with_producer_epoch(epoch)
            .with_committed(commit);
        let answer = self.client.ask(version, &request);
        let told = error(answer.error_code).unwrap_or_else(|| match version {
            5.. => format!("{}/{}", answer.producer_id.0, answer.producer_epoch),
            _ => "ok".to_owned(),
        });
        let how = if commit { "commit" } else { "abort" };
        self.say(format_args!("EndTxn v{version} {id} {pid}/{epoch} {how}: {told}"))
    }

    /// Partition 0 from its start, as a reader of committed records.
    pub(super) fn read(&mut self, topic: &str) -> &mut Self {
        let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
        let topic =
            FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_isolation_level(1)
            .with_topics(vec![topic]);
        let answer = self.client.ask(11, &request);
        let partition = &answer.responses[0].partitions[0];
        let mut records = partition.records.clone().unwrap_or_default();
        let mut batches = 0;
        while let Some(length) = records.get(8..12) {
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            let _ = records.split_to(12 + length);
            batches += 1;
        }
        self.say(format_args!(
            "Fetch: high watermark {}, stable {}, {batches} batches, {} aborted",
            partition.high_watermark,
            partition.last_stable_offset,
            partition.aborted_transactions.as_ref().map_or(0, Vec::len),
        ))
    }

    pub(super) fn describe(&mut self, id: &str) -> &mut Self {
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![transactional_id(id)]);
        let answer = self.client.ask(0, &request).transaction_states.remove(0);
        let told = error(answer.error_code).unwrap_or_else(|| {
            let topics = answer.topics.iter().flat_map(|topic| {
                let name = topic.topic.as_str();
                topic.partitions.iter().map(move |index| format!("{name}-{index}"))
            });
            let topics = topics.collect::<Vec<_>>().join(", ");
            let (pid, epoch) = (answer.producer_id.0, answer.producer_epoch);
            format!("{} {pid}/{epoch} [{topics}]", answer.transaction_state.as_str())
        });
        self.say(format_args!("DescribeTransactions {id}: {told}"))
    }

    pub(super) fn list(&mut self, states: &[&str]) -> &mut Self {
        let request = ListTransactionsRequest::default()
            .with_state_filters(states.iter().copied().map(text).collect());
        let told = self.listed(&request);
        self.say(format_args!("ListTransactions {states:?}: {told}"))
    }

    pub(super) fn list_by(&mut self, pattern: Option<&str>, longer_than_ms: i64) -> &mut Self {
        let request = ListTransactionsRequest::default()
            .with_duration_filter(longer_than_ms)
            .with_transactional_id_pattern(pattern.map(text));
        let told = self.listed(&request);
        self.say(format_args!("ListTransactions {pattern:?} {longer_than_ms}: {told}"))
    }

    fn listed(&mut self, request: &ListTransactionsRequest) -> String {
        let answer = self.client.ask(2, request);
        if let Some(error) = error(answer.error_code) {
            return error;
        }
        let states = answer.transaction_states.iter().map(|state| {
            format!("{} {}", state.transactional_id.as_str(), state.transaction_state.as_str())
        });
        let mut told = states.collect::<Vec<_>>().join(", ");
        if told.is_empty() {
            told.push_str("none");
        }
        for name in &answer.unknown_state_filters {
            told = format!("{told}, unknown {}", name.as_str());
        }
        told
    }

    pub(super) fn producers(&mut self, topic: &str, partition: i32) -> &mut Self {
        let topic = TopicRequest::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let answer = self.client.ask(0, &request).topics.remove(0).partitions.remove(0);
        let told = error(answer.error_code).unwrap_or_else(|| {
            let producers = answer.active_producers.iter().map(|producer| {
                format!(
                    "{}/{} sequence {}, coordinator {}, open since {}",
                    producer.producer_id.0,
                    producer.producer_epoch,
                    producer.last_sequence,
                    producer.coordinator_epoch,
                    producer.current_txn_start_offset,
                )
            });
            producers.collect::<Vec<_>>().join("; ")
        });
        self.say(format_args!("DescribeProducers: {told}"))
    }
}

fn group() -> GroupId {
    GroupId(text("group"))
}

fn init_request((id, epoch): Producer) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(id.into())
        .with_producer_epoch(epoch)
}

fn error(code: i16) -> Option<String> {
    (code != 0).then(|| match ResponseError::try_from_code(code) {
        Some(error) => format!("{error:?}"),
        None => code.to_string(),
    })
}

fn outcome(code: i16) -> String {
    error(code).unwrap_or_else(|| "ok".to_owned())
}
