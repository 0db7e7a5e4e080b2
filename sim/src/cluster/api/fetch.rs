//! Fetch.

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, FetchRequest, FetchResponse, TopicName,
        fetch_response::{FetchableTopicResponse, PartitionData},
    },
};

use super::{
    super::{Cluster, connection::Ticket, time::millis, timers::Timer},
    Context, Reply,
};

/// A fetch that waits for bytes.
pub(in super::super) struct WaitingFetch {
    broker: BrokerId,
    request: FetchRequest,
}

impl Cluster {
    pub(super) fn fetch(
        &mut self,
        context: &Context,
        request: FetchRequest,
    ) -> Reply<FetchResponse> {
        let (response, bytes, failed) = self.read(context.broker, context.ticket, &request);
        let enough = bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
        if enough || failed || request.max_wait_ms <= 0 {
            return Reply::Now(response);
        }
        self.timers.set(Timer::Fetch(context.ticket), context.now + millis(request.max_wait_ms));
        let waiting = WaitingFetch { broker: context.broker, request };
        self.waiting_fetches.insert(context.ticket, waiting);
        Reply::Later
    }

    /// Answers a fetch that has waited long enough.
    pub(in super::super) fn fetch_is_due(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiting_fetches.remove(&ticket) {
            let (response, ..) = self.read(waiting.broker, ticket, &waiting.request);
            self.answer(ticket, &response);
        }
    }

    /// Looks again at the fetches that wait for this partition.
    pub(in super::super) fn wake_fetches(&mut self, _name: &TopicName, _index: i32) {
        let tickets: Vec<_> = self.waiting_fetches.keys().copied().collect();
        for ticket in tickets {
            let waiting = &self.waiting_fetches[&ticket];
            let (response, bytes, _) = self.read(waiting.broker, ticket, &waiting.request);
            if bytes >= usize::try_from(waiting.request.min_bytes).unwrap_or(0) {
                self.waiting_fetches.remove(&ticket);
                self.timers.clear(&Timer::Fetch(ticket));
                self.answer(ticket, &response);
            }
        }
    }

    fn read(
        &self,
        broker: BrokerId,
        ticket: Ticket,
        request: &FetchRequest,
    ) -> (FetchResponse, usize, bool) {
        let mut response = FetchResponse::default();
        let (mut bytes, mut failed) = (0, false);
        for topic in &request.topics {
            let name = if ticket.api_version >= 13 {
                self.topics.name_of(topic.topic_id)
            } else {
                Some(&topic.topic)
            };
            let mut answers = Vec::new();
            for wanted in &topic.partitions {
                let answer = PartitionData::default().with_partition_index(wanted.partition);
                let partition = name.and_then(|name| self.topics.partition(name, wanted.partition));
                let error = match partition {
                    None => Some(ResponseError::UnknownTopicOrPartition),
                    Some(partition) if partition.leader != Some(broker) => {
                        Some(ResponseError::NotLeaderOrFollower)
                    }
                    Some(partition)
                        if wanted.fetch_offset < partition.log.start()
                            || wanted.fetch_offset > partition.log.end() =>
                    {
                        Some(ResponseError::OffsetOutOfRange)
                    }
                    Some(_) => None,
                };
                failed |= error.is_some();
                answers.push(match (partition, error) {
                    (Some(partition), None) => {
                        let log = &partition.log;
                        let most = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
                        let records = log.read(wanted.fetch_offset, log.high_watermark(), most);
                        bytes += records.len();
                        answer
                            .with_high_watermark(log.high_watermark())
                            .with_last_stable_offset(log.high_watermark())
                            .with_log_start_offset(log.start())
                            .with_aborted_transactions(None)
                            .with_records(Some(records))
                    }
                    (_, error) => answer
                        .with_error_code(error.map_or(0, |error| error.code()))
                        .with_high_watermark(-1)
                        .with_records(Some(bytes::Bytes::new())),
                });
            }
            response.responses.push(
                FetchableTopicResponse::default()
                    .with_topic(topic.topic.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partitions(answers),
            );
        }
        (response, bytes, failed)
    }
}
