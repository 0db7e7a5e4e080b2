//! Fetching: requests, sessions (KIP-227), answers, and what the application gets of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, FetchRequest, FetchResponse,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
        fetch_response::PartitionData,
    },
    protocol::{Decodable, StrBytes},
};
use uuid::Uuid;

use super::{
    super::{Event, TopicPartition, batch, config::Library, network::NodeId},
    Call, Consumer, ResetCause,
    position::{Fetched, State},
};
use crate::cluster::Time;

/// Fetch names topics by id from this version on.
const BY_ID: i16 = 13;
/// librdkafka sends epoch 0 in place of none where Metadata is offered in this version.
const METADATA_WITH_EPOCHS: i16 = 9;

/// What a broker remembers of the last fetch.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    /// 0: the next request is a full one.
    epoch: i32,
    known: BTreeMap<TopicPartition, Wanted>,
    /// A fetch is under way.
    pub(super) busy: bool,
}

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    offset: i64,
    current_epoch: i32,
    topic_id: Uuid,
}

/// What a fetch has asked, with the age of each partition.
pub(super) type Asked = BTreeMap<TopicPartition, (i64, u64)>;

impl Consumer {
    /// Asks every leader that has nothing to answer for what is to be fetched from it.
    pub(super) fn fetch(&mut self, now: Time) {
        if self.is_busy() {
            return; // The application does not poll, and what was fetched ahead is enough.
        }
        let mut by_node: BTreeMap<NodeId, BTreeMap<TopicPartition, Wanted>> = BTreeMap::new();
        for (place, position) in &self.positions {
            let ready = position.state == State::Fetching && position.retry_at <= now;
            if !ready || !position.fetched.is_empty() {
                continue;
            }
            let leader = self.base.leader(&place.0, place.1);
            let Some((node, epoch)) = leader else {
                self.base.metadata.request_update();
                continue;
            };
            let topic_id = self.base.metadata.topic(&place.0).map(|it| it.id).unwrap_or_default();
            let wanted = Wanted {
                offset: position.offset,
                current_epoch: self.current_epoch(node, epoch),
                topic_id,
            };
            by_node.entry(node).or_default().insert(place.clone(), wanted);
        }
        for (node, wanted) in by_node {
            let busy = self.sessions.get(&node).is_some_and(|session| session.busy);
            if !busy && self.base.network.ready(now, node) {
                self.fetch_from(now, node, wanted);
            }
        }
    }

    /// The leader epoch that requests carry.
    pub(super) fn current_epoch(&self, node: NodeId, epoch: Option<i32>) -> i32 {
        let without = match self.library() {
            Library::Java => -1,
            Library::Librdkafka => {
                let offered = self.base.network.offered(node);
                let newest = offered.map_or(-1, |it| it.newest_offered(ApiKey::Metadata));
                if newest >= METADATA_WITH_EPOCHS { 0 } else { -1 }
            }
        };
        epoch.unwrap_or(without)
    }

    fn fetch_from(&mut self, now: Time, node: NodeId, wanted: BTreeMap<TopicPartition, Wanted>) {
        let by_id = wanted.values().all(|wanted| !wanted.topic_id.is_nil());
        let newest = if by_id { i16::MAX } else { BY_ID - 1 };
        let Some(version) = self.base.network.version::<FetchRequest>(node, newest) else { return };
        let java = self.library() == Library::Java;
        let session = self.sessions.entry(node).or_default();
        let mut request = FetchRequest::default()
            .with_max_wait_ms(super::ms(self.settings.fetch_wait_max))
            .with_min_bytes(self.settings.fetch_bytes_min)
            .with_max_bytes(self.settings.fetch_bytes_max)
            .with_isolation_level(i8::from(self.settings.read_committed));
        if version >= 11 {
            request.rack_id = StrBytes::from_string(self.settings.client_rack.clone());
        }
        let sessions = java && version >= 7;
        if version >= 7 {
            let epoch = if java { session.epoch } else { -1 };
            (request.session_id, request.session_epoch) = (session.id, epoch);
        }
        let full = !sessions || session.epoch == 0;
        let changed =
            |place: &TopicPartition, it: &Wanted| full || session.known.get(place) != Some(it);
        for (place, it) in wanted.iter().filter(|(place, it)| changed(place, it)) {
            let mut partition = FetchPartition::default()
                .with_partition(place.1)
                .with_fetch_offset(it.offset)
                .with_partition_max_bytes(self.settings.partition_fetch_bytes_max);
            if version >= 9 {
                partition.current_leader_epoch = it.current_epoch;
            }
            add_partition(&mut request.topics, version, place, it.topic_id, partition);
        }
        if !full {
            let gone = session.known.iter().filter(|(place, _)| !wanted.contains_key(*place));
            request.forgotten_topics_data =
                gone.map(|(place, it)| forgotten(version, place, it.topic_id)).collect();
        }
        session.busy = true;
        let asked: Asked = wanted
            .iter()
            .map(|(place, it)| (place.clone(), (it.offset, self.positions[place].age)))
            .collect();
        session.known = wanted;
        self.base.send(now, node, version, &request, None, Some(Call::Fetch { asked }));
    }

    /// A fetch has been answered.
    pub(super) fn handle_fetched(
        &mut self,
        now: Time,
        node: NodeId,
        version: i16,
        mut body: Bytes,
        asked: &Asked,
    ) {
        let Ok(response) = FetchResponse::decode(&mut body, version) else {
            return self.fetch_lost(node);
        };
        let java = self.library() == Library::Java;
        let session = self.sessions.entry(node).or_default();
        session.busy = false;
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            // The broker has forgotten the session, or never knew it: the next request is a full one.
            session.epoch = 0;
            if error == ResponseError::FetchSessionIdNotFound {
                session.id = 0;
            }
            if error == ResponseError::FetchSessionTopicIdError {
                self.base.metadata.request_update();
            }
            return;
        }
        if java && version >= 7 {
            session.id = response.session_id;
            let next = session.epoch.checked_add(1).unwrap_or(1);
            session.epoch = if session.id == 0 { 0 } else { next };
        }
        for endpoint in &response.node_endpoints {
            let port = u16::try_from(endpoint.port).unwrap_or(0);
            self.base.network.know(endpoint.node_id.0, &endpoint.host, port);
        }
        for topic in response.responses {
            let name = if version >= BY_ID {
                self.base.metadata.topic_of_id(topic.topic_id).cloned().or_else(|| {
                    let session = self.sessions.get(&node)?;
                    let known = session.known.iter().find(|(_, it)| it.topic_id == topic.topic_id);
                    known.map(|((name, _), _)| name.clone())
                })
            } else {
                Some(topic.topic)
            };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let place = (name.clone(), data.partition_index);
                if let Some((offset, age)) = asked.get(&place).copied() {
                    self.handle_partition(now, place, offset, age, data);
                }
            }
        }
    }

    fn handle_partition(
        &mut self,
        now: Time,
        place: TopicPartition,
        offset: i64,
        age: u64,
        data: PartitionData,
    ) {
        let Some(position) = self.positions.get_mut(&place) else { return };
        let current = position.age == age && position.state == State::Fetching;
        if !current || position.offset != offset {
            return; // Given back or moved while the fetch was under way.
        }
        if let Some(error) = ResponseError::try_from_code(data.error_code) {
            return self.handle_fetch_error(now, &place, error, &data);
        }
        position.high_watermark = data.high_watermark;
        let records = data.records.unwrap_or_default();
        if !records.is_empty() {
            let aborted = data.aborted_transactions.unwrap_or_default();
            let mut aborted: Vec<_> =
                aborted.iter().map(|it| (it.first_offset, it.producer_id.0)).collect();
            aborted.sort_unstable();
            position.fetched.push_back(Fetched { records, aborted: aborted.into() });
            self.ready.insert(place);
        }
    }

    fn handle_fetch_error(
        &mut self,
        now: Time,
        place: &TopicPartition,
        error: ResponseError,
        data: &PartitionData,
    ) {
        match error {
            ResponseError::OffsetOutOfRange => {
                self.lose_position(place, ResetCause::OutOfRange);
            }
            ResponseError::TopicAuthorizationFailed => {
                self.base.events.push_back(Event::Error { error });
            }
            // Everything else passes, once the client knows the cluster better.
            _ => {
                let leader = &data.current_leader;
                let (node, epoch) = (leader.leader_id.0, leader.leader_epoch);
                self.base.metadata.heard_of_leader(&place.0, place.1, node, epoch);
                if error != ResponseError::UnknownLeaderEpoch {
                    self.base.metadata.request_update();
                }
            }
        }
        let java = self.library() == Library::Java;
        if let Some(position) = self.positions.get_mut(place)
            && !java
            && error != ResponseError::OffsetOutOfRange
        {
            // Java has no such wait: that is its hot loop against a broker that is no leader.
            position.retry_at = now + super::FETCH_ERROR_BACKOFF_LIBRDKAFKA;
        }
    }

    /// A fetch went down with its connection.
    pub(super) fn fetch_lost(&mut self, node: NodeId) {
        if let Some(session) = self.sessions.get_mut(&node) {
            (session.busy, session.epoch) = (false, 0);
        }
    }

    /// Hands over what was fetched, if the application polls.
    pub(super) fn deliver(&mut self) {
        if self.is_busy() {
            return;
        }
        let mut budget = self.settings.poll_records_max;
        for place in std::mem::take(&mut self.ready) {
            if budget == 0 || !self.deliver_partition(&place, &mut budget) {
                self.ready.insert(place);
            }
        }
    }

    /// Hands over records of one partition; `false`: there are more.
    fn deliver_partition(&mut self, place: &TopicPartition, budget: &mut usize) -> bool {
        let Some(position) = self.positions.get_mut(place) else { return true };
        let events = &mut self.base.events;
        while let Some(fetched) = position.fetched.front_mut() {
            let mut rest = fetched.records.clone();
            let Ok(Some(batch)) = batch::next(&mut rest) else {
                // Cut, or empty, or nothing that can be read: the rest comes with the next fetch.
                position.fetched.pop_front();
                continue;
            };
            if *budget == 0 {
                return false;
            }
            fetched.records = rest;
            let last = batch.last_offset();
            while fetched.aborted.front().is_some_and(|(first, _)| *first <= last) {
                let (_, producer) = fetched.aborted.pop_front().expect("it is there");
                position.aborting.insert(producer);
            }
            let producer = batch.producer_id();
            let committed = self.settings.read_committed;
            if batch.is_control() {
                if batch.is_abort() {
                    position.aborting.remove(&producer);
                }
            } else if !(committed
                && batch.is_transactional()
                && position.aborting.contains(&producer))
            {
                for record in batch.records().map_while(Result::ok) {
                    if record.offset < position.offset {
                        continue; // A fetch begins with the whole batch.
                    }
                    *budget = budget.saturating_sub(1);
                    self.consumed += 1;
                    events.push_back(Event::Consumed {
                        topic: place.0.clone(),
                        partition: place.1,
                        offset: record.offset,
                        value: record.value.unwrap_or_default(),
                    });
                }
            }
            position.offset = position.offset.max(last + 1);
            position.epoch = Some(batch.leader_epoch()).filter(|epoch| *epoch >= 0);
            self.uncommitted = true;
        }
        true
    }
}

fn add_partition(
    topics: &mut Vec<FetchTopic>,
    version: i16,
    place: &TopicPartition,
    topic_id: Uuid,
    partition: FetchPartition,
) {
    let by_id = version >= BY_ID;
    let same = |topic: &&mut FetchTopic| {
        if by_id { topic.topic_id == topic_id } else { topic.topic == place.0 }
    };
    if let Some(topic) = topics.iter_mut().find(same) {
        return topic.partitions.push(partition);
    }
    let mut topic = FetchTopic::default().with_partitions(vec![partition]);
    if by_id {
        topic.topic_id = topic_id;
    } else {
        topic.topic = place.0.clone();
    }
    topics.push(topic);
}

fn forgotten(version: i16, place: &TopicPartition, topic_id: Uuid) -> ForgottenTopic {
    let mut topic = ForgottenTopic::default().with_partitions(vec![place.1]);
    if version >= BY_ID {
        topic.topic_id = topic_id;
    } else {
        topic.topic = place.0.clone();
    }
    topic
}
