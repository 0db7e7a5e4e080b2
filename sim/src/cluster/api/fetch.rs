//! Fetch.
//!
//! ```text
//!  request ─session─▶ what is wanted ─read─▶ enough, an error, or no time ─▶ answer
//!                                        └─▶ waits for its partitions ─enough, an error, or time─▶ read, answer
//! ```
//! What waits is looked at again only when a partition that it wants has changed.

#[cfg(test)]
mod tests;

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, FetchRequest, FetchResponse, TopicName,
        fetch_response::{
            AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch,
            NodeEndpoint, PartitionData,
        },
    },
};

use super::{
    super::{
        Cluster,
        connection::Ticket,
        fetch_session::{PartitionKey, Resumed, Wanted},
        time::{Time, millis},
        timers::Timer,
        topic::Partition,
        versions::Profile,
    },
    Context, Reply,
    leadership::Servant,
    offsets::ISOLATION_LEVELS,
};

/// A fetch as it is carried out, at once or after a wait.
pub(in super::super) struct WaitingFetch {
    now: Time,
    broker: BrokerId,
    session: SessionUse,
    /// Topic ids, not names.
    by_id: bool,
    isolation: Isolation,
    servant: Servant,
    bytes_min: i64,
    bytes_max: i64,
    wanted: Vec<Wanted>,
    /// Partitions that the cluster does not know. They neither end a wait nor make one.
    unknown: Vec<(Wanted, ResponseError)>,
}

/// What a fetch has to do with sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionUse {
    None,
    /// One is to be opened with the answer.
    Open,
    Resumed {
        id: i32,
        epoch: i32,
    },
}

/// How far a fetch may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    /// A replica reads what no consumer may see yet.
    LogEnd,
}

impl WaitingFetch {
    /// What it waits for.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (&TopicName, i32)> {
        self.wanted.iter().filter_map(|wanted| Some((wanted.name.as_ref()?, wanted.index)))
    }

    fn end_of_readable(&self, partition: &Partition) -> i64 {
        match self.isolation {
            Isolation::ReadUncommitted => partition.log.high_watermark(),
            Isolation::ReadCommitted => partition.log.last_stable_offset(),
            Isolation::LogEnd => partition.log.end(),
        }
    }
}

/// What was read for the partitions of a fetch, in their order.
struct Reading {
    answers: Vec<PartitionData>,
    bytes: i64,
    /// Something must be told at once.
    urgent: bool,
}

/// Of a partition that is named more than once the last counts, in the place of the first.
fn last_of_each(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let same = |one: &Wanted, other: &Wanted| {
        (one.index, one.topic_id, &one.name) == (other.index, other.topic_id, &other.name)
    };
    let mut kept: Vec<Wanted> = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        match kept.iter_mut().find(|own| same(own, &wanted)) {
            Some(own) => *own = wanted,
            None => kept.push(wanted),
        }
    }
    kept
}

impl Cluster {
    pub(super) fn fetch(
        &mut self,
        context: &Context,
        request: FetchRequest,
    ) -> Reply<FetchResponse> {
        if !ISOLATION_LEVELS.contains(&request.isolation_level) {
            return Reply::Now(self.refused(context.version(), request));
        }
        let max_wait_ms = request.max_wait_ms;
        let fetch = match self.plan(context, request) {
            Ok(fetch) => fetch,
            Err(error) => {
                return Reply::Now(FetchResponse::default().with_error_code(error.code()));
            }
        };
        let reading = self.read(&fetch);
        let enough = reading.bytes >= fetch.bytes_min || reading.urgent;
        if enough || max_wait_ms <= 0 || fetch.wanted.is_empty() || self.is_ready(&fetch) {
            return Reply::Now(self.respond(context.ticket, fetch, reading));
        }
        self.timers.set(Timer::Fetch(context.ticket), context.now + millis(max_wait_ms));
        for (topic, partition) in fetch.partitions() {
            self.fetch_waits.insert(topic, partition, context.ticket);
        }
        self.waiting_fetches.insert(context.ticket, fetch);
        Reply::Later
    }

    /// The answer to a request that cannot be read: an error of it all, and before topic ids one for each partition.
    fn refused(&self, version: i16, request: FetchRequest) -> FetchResponse {
        let error = ResponseError::UnknownServerError;
        let mut response = FetchResponse::default();
        if version >= 7 {
            response = response.with_error_code(error.code()).with_session_id(request.session_id);
        }
        let topics = if version < 13 { request.topics } else { Vec::new() };
        let topics = topics.into_iter().map(|topic| {
            let answers = topic.partitions.into_iter().map(|partition| {
                let answer =
                    failed(partition.partition, error).with_aborted_transactions(Some(Vec::new()));
                // Null where Kafka 3.9 says so.
                answer.with_records((self.profile >= Profile::Kafka41).then(bytes::Bytes::new))
            });
            FetchableTopicResponse::default()
                .with_topic(topic.topic)
                .with_partitions(answers.collect())
        });
        response.with_responses(topics.collect())
    }

    /// Finds out what a fetch wants, with what its session knows.
    fn plan(
        &mut self,
        context: &Context,
        request: FetchRequest,
    ) -> Result<WaitingFetch, ResponseError> {
        let by_id = context.version() >= 13;
        let replica = match context.version() {
            15.. => request.replica_state.replica_id,
            _ => request.replica_id,
        };
        let (isolation, servant) = match request.isolation_level {
            _ if replica >= BrokerId(0) => (Isolation::LogEnd, Servant::Leader),
            // From v11 on consumers may read from any replica (KIP-392).
            level => (
                if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted },
                if context.version() >= 11 { Servant::Replica } else { Servant::Leader },
            ),
        };
        let bytes_max = i64::from(request.max_bytes).min(self.fetch_bytes_max);
        let mut fetch = WaitingFetch {
            now: context.now,
            broker: context.broker,
            session: SessionUse::None,
            by_id,
            isolation,
            servant,
            bytes_min: i64::from(request.min_bytes).min(bytes_max),
            bytes_max,
            wanted: Vec::new(),
            unknown: Vec::new(),
        };
        let wanted = self.use_session(context, request, &mut fetch)?;
        fetch.wanted.reserve_exact(wanted.len());
        for wanted in last_of_each(wanted) {
            let found = match &wanted.name {
                None => Err(ResponseError::UnknownTopicId),
                Some(name) => self
                    .topics
                    .partition(name, wanted.index)
                    .map(|_| ())
                    .ok_or(ResponseError::UnknownTopicOrPartition),
            };
            match found {
                Ok(()) => fetch.wanted.push(wanted),
                Err(error) => fetch.unknown.push((wanted, error)),
            }
        }
        Ok(fetch)
    }

    /// All that a fetch wants: what it names, or what its session has.
    fn use_session(
        &mut self,
        context: &Context,
        request: FetchRequest,
        fetch: &mut WaitingFetch,
    ) -> Result<Vec<Wanted>, ResponseError> {
        let (id, epoch) = match context.version() {
            7.. => (request.session_id, request.session_epoch),
            _ => (0, -1),
        };
        let name_of = |topic_id, name: TopicName| {
            if fetch.by_id { self.topics.name_of(topic_id).cloned() } else { Some(name) }
        };
        let mut forgotten = Vec::new();
        for topic in request.forgotten_topics_data {
            let name = name_of(topic.topic_id, topic.topic);
            let key = |index| PartitionKey::new(name.as_ref(), topic.topic_id, index);
            forgotten.extend(topic.partitions.into_iter().map(key));
        }
        let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut wanted = Vec::with_capacity(count);
        for topic in request.topics {
            let topic_id = topic.topic_id;
            let name = name_of(topic_id, topic.topic);
            wanted.extend(topic.partitions.into_iter().map(|partition| Wanted {
                name: name.clone(),
                topic_id,
                index: partition.partition,
                offset: partition.fetch_offset,
                bytes_max: partition.partition_max_bytes,
                // Here any negative one is none.
                leader_epoch: partition.current_leader_epoch.max(-1),
                last_fetched_epoch: partition.last_fetched_epoch,
            }));
        }
        if epoch <= 0 {
            // A fetch that names everything ends the session that it may have had.
            self.fetch_sessions.close(context.broker, id);
            if epoch == 0 {
                fetch.session = SessionUse::Open;
            }
            return Ok(wanted);
        }
        let topics = &self.topics;
        let resumed = self.fetch_sessions.resume(
            (context.now, context.broker),
            (id, epoch, fetch.by_id),
            (&wanted, &forgotten),
            |topic_id| topics.name_of(topic_id).cloned(),
        )?;
        match resumed {
            Resumed::Closed => Ok(wanted),
            Resumed::Open(all) => {
                fetch.session = SessionUse::Resumed { id, epoch };
                Ok(all)
            }
        }
    }

    fn read(&self, fetch: &WaitingFetch) -> Reading {
        let mut reading =
            Reading { answers: Vec::with_capacity(fetch.wanted.len()), bytes: 0, urgent: false };
        for wanted in &fetch.wanted {
            let answer =
                self.read_partition(fetch, wanted, reading.bytes).unwrap_or_else(|error| {
                    let mut answer = failed(wanted.index, error);
                    answer.aborted_transactions = None;
                    answer
                });
            reading.urgent |= answer.error_code != 0 || answer.diverging_epoch.epoch >= 0;
            reading.bytes += answer.records.as_ref().map_or(0, |records| signed(records.len()));
            reading.answers.push(answer);
        }
        reading
    }

    fn served<'a>(
        &'a self,
        fetch: &WaitingFetch,
        wanted: &Wanted,
    ) -> Result<&'a Partition, ResponseError> {
        let name = wanted.name.as_ref().ok_or(ResponseError::UnknownTopicId)?;
        let epoch = wanted.leader_epoch;
        let id = self.topics.get(name).map(|topic| topic.id);
        if !wanted.topic_id.is_nil() && id.is_some_and(|id| id != wanted.topic_id) {
            return Err(ResponseError::InconsistentTopicId);
        }
        self.served_partition(fetch.broker, (name, wanted.index), epoch, fetch.servant)
    }

    fn read_partition(
        &self,
        fetch: &WaitingFetch,
        wanted: &Wanted,
        bytes_before: i64,
    ) -> Result<PartitionData, ResponseError> {
        let partition = self.served(fetch, wanted)?;
        let log = &partition.log;
        let mut answer = PartitionData::default()
            .with_partition_index(wanted.index)
            .with_high_watermark(log.high_watermark())
            .with_last_stable_offset(log.last_stable_offset())
            .with_log_start_offset(log.start())
            .with_aborted_transactions(None)
            .with_records(Some(bytes::Bytes::new()));
        if wanted.last_fetched_epoch >= 0 {
            let asked = wanted.last_fetched_epoch;
            let (epoch, end) = log.end_of_epoch(asked, partition.leader_epoch);
            if epoch < 0 || end < 0 || wanted.offset < log.start() {
                return Err(ResponseError::OffsetOutOfRange);
            }
            if epoch < asked || end < wanted.offset {
                answer.diverging_epoch =
                    EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
                return Ok(answer);
            }
        }
        if wanted.offset < log.start() || wanted.offset > log.end() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let left = if bytes_before == 0 {
            fetch.bytes_max
        } else {
            fetch.bytes_max.saturating_sub(bytes_before).max(0)
        };
        let up_to = fetch.end_of_readable(partition);
        let bytes_max = match usize::try_from(i64::from(wanted.bytes_max).min(left)) {
            Ok(bytes_max) => bytes_max,
            // Kafka notices only where it has something to read.
            Err(_) if wanted.offset < up_to => return Err(ResponseError::UnknownServerError),
            Err(_) => 0,
        };
        // The first batch of an answer is whole, however large (KIP-74).
        let read = log.read(wanted.offset, up_to, bytes_max, bytes_before == 0);
        if fetch.isolation == Isolation::ReadCommitted {
            let aborted = log.aborted(wanted.offset, read.next_offset).into_iter();
            let aborted = aborted.map(|aborted| {
                AbortedTransaction::default()
                    .with_producer_id(aborted.producer_id.into())
                    .with_first_offset(aborted.first_offset)
            });
            answer.aborted_transactions = Some(aborted.collect());
        }
        answer.records = Some(read.records);
        Ok(answer)
    }

    /// Whether a fetch that has waited is to be answered, without reading.
    fn is_ready(&self, fetch: &WaitingFetch) -> bool {
        let mut bytes = 0;
        for wanted in &fetch.wanted {
            let Ok(partition) = self.served(fetch, wanted) else { return true };
            let log = &partition.log;
            let up_to = fetch.end_of_readable(partition);
            if wanted.offset > up_to || wanted.offset < log.start() {
                return true;
            }
            let asked = wanted.last_fetched_epoch;
            if asked >= 0 {
                let (epoch, end) = log.end_of_epoch(asked, partition.leader_epoch);
                if epoch < asked || end < wanted.offset {
                    return true;
                }
            }
            let available = signed(log.bytes_between(wanted.offset, up_to));
            bytes += available.min(i64::from(wanted.bytes_max));
        }
        bytes >= fetch.bytes_min
    }

    /// Looks whether a fetch need not wait any longer.
    pub(super) fn look_at_fetch(&mut self, ticket: Ticket) {
        if self.waiting_fetches.get(&ticket).is_some_and(|fetch| self.is_ready(fetch)) {
            self.fetch_is_due(ticket);
        }
    }

    /// Answers a fetch that has waited long enough.
    pub(in super::super) fn fetch_is_due(&mut self, ticket: Ticket) {
        if let Some(fetch) = self.take_fetch(ticket) {
            let reading = self.read(&fetch);
            let response = self.respond(ticket, fetch, reading);
            self.answer(ticket, &response);
        }
    }

    fn respond(&mut self, ticket: Ticket, fetch: WaitingFetch, reading: Reading) -> FetchResponse {
        let mut response = FetchResponse::default();
        let mut answers: Vec<_> = fetch.wanted.into_iter().zip(reading.answers).collect();
        if ticket.api_version >= 16 {
            for (wanted, answer) in &mut answers {
                self.tell_leader_to_consumer(wanted, answer, &mut response.node_endpoints);
            }
        }
        let unknown = fetch.unknown.into_iter();
        answers.extend(unknown.map(|(wanted, error)| {
            let answer = failed(wanted.index, error);
            (wanted, answer)
        }));
        match fetch.session {
            SessionUse::None => {}
            SessionUse::Open => {
                response.session_id =
                    self.fetch_sessions.open(fetch.now, fetch.broker, fetch.by_id, &answers);
            }
            SessionUse::Resumed { id, epoch } => {
                response.session_id = id;
                let pruned = self.fetch_sessions.prune(fetch.broker, (id, epoch), &mut answers);
                if let Err(error) = pruned {
                    response.error_code = error.code();
                    return response;
                }
            }
        }
        for (wanted, answer) in answers {
            push(&mut response, fetch.by_id, wanted, answer);
        }
        response
    }

    /// Adds the leader to an answer that says another broker leads, or has led.
    fn tell_leader_to_consumer(
        &self,
        wanted: &Wanted,
        answer: &mut PartitionData,
        endpoints: &mut Vec<NodeEndpoint>,
    ) {
        let errors = [ResponseError::NotLeaderOrFollower, ResponseError::FencedLeaderEpoch];
        let Some(name) = &wanted.name else { return };
        if !errors.iter().any(|error| error.code() == answer.error_code) {
            return;
        }
        let (leader, epoch) = self.current_leader(name, wanted.index);
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

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// An answer with nothing but an error. The records are empty, not null: librdkafka needs it so.
fn failed(index: i32, error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_records(Some(bytes::Bytes::new()))
}

/// Adds an answer behind those of the same topic, if they are the last.
fn push(response: &mut FetchResponse, by_id: bool, wanted: Wanted, answer: PartitionData) {
    let name = if by_id { TopicName::default() } else { wanted.name.unwrap_or_default() };
    match response.responses.last_mut() {
        Some(last) if last.topic == name && last.topic_id == wanted.topic_id => {
            last.partitions.push(answer);
        }
        _ => response.responses.push(
            FetchableTopicResponse::default()
                .with_topic(name)
                .with_topic_id(wanted.topic_id)
                .with_partitions(vec![answer]),
        ),
    }
}
