//! Where to begin, and where one stands: committed offsets, resets, validation against the leader's epochs.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, GroupId, ListOffsetsRequest, ListOffsetsResponse, OffsetCommitRequest,
        OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest,
        OffsetForLeaderEpochResponse, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::{
            OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        },
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::{Decodable, StrBytes},
};

use super::{
    super::{
        Event, TopicPartition,
        config::{Library, ResetPolicy},
        network::NodeId,
    },
    Call, Consumer, ResetCause,
    position::State,
};
use crate::cluster::Time;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// What a request asked about, with the age of each partition.
pub(super) type Ages = BTreeMap<TopicPartition, u64>;

impl Consumer {
    /// Brings every position on its way that is not fetching.
    pub(super) fn update_positions(&mut self, now: Time) {
        self.look_at_leaders();
        self.fetch_committed(now);
        self.ask_leaders(now);
    }

    /// Positions were found good against a leader; when that changes, they are to be found good again.
    fn look_at_leaders(&mut self) {
        let generation = self.base.metadata.generation;
        if std::mem::replace(&mut self.metadata_seen, generation) == generation {
            return;
        }
        let library = self.library();
        for (place, position) in &mut self.positions {
            let leader = self.base.metadata.leader(&place.0, place.1);
            if leader.is_none() || leader == position.leader {
                continue;
            }
            let before = position.leader.and_then(|(_, epoch)| epoch);
            let newer = leader.and_then(|(_, epoch)| epoch) > before;
            if library == Library::Java || newer {
                position.leader_changed(leader);
            } else {
                position.leader = leader;
            }
        }
    }

    /// Asks the group where its partitions were left.
    fn fetch_committed(&mut self, now: Time) {
        let Some(group) = self.settings.group_id.clone() else {
            for place in self.in_state(now, |state| state == State::Unknown) {
                self.begin_anywhere(&place);
            }
            return;
        };
        let wanted = self.in_state(now, |state| state == State::Unknown);
        let Some(node) = self.coordinator.node.filter(|_| !wanted.is_empty()) else { return };
        if !self.base.network.ready(now, node) {
            return;
        }
        let Some(version) = self.base.network.version::<OffsetFetchRequest>(node, i16::MAX) else {
            return;
        };
        let topics = by_topic(wanted.iter());
        let mut request = OffsetFetchRequest::default();
        if version >= 7 {
            request.require_stable =
                self.library() == Library::Java || self.settings.read_committed;
        }
        if version >= 8 {
            let topics = topics.into_iter().map(|(name, partitions)| {
                OffsetFetchRequestTopics::default()
                    .with_name(name)
                    .with_partition_indexes(partitions)
            });
            let mut asked = OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(group.into()))
                .with_topics(Some(topics.collect()));
            if version >= 9
                && let Some((member, epoch)) = self.modern_identity()
            {
                (asked.member_id, asked.member_epoch) = (Some(member), epoch);
            }
            request.groups = vec![asked];
        } else {
            request.group_id = GroupId(group.into());
            let topics = topics.into_iter().map(|(name, partitions)| {
                OffsetFetchRequestTopic::default()
                    .with_name(name)
                    .with_partition_indexes(partitions)
            });
            request.topics = Some(topics.collect());
        }
        let ages = self.mark_asked(&wanted);
        self.base.send(now, node, version, &request, None, Some(Call::Committed { ages }));
    }

    fn in_state(&self, now: Time, is: impl Fn(State) -> bool) -> Vec<TopicPartition> {
        let found = self.positions.iter().filter(|(_, position)| {
            is(position.state) && !position.asked && position.retry_at <= now
        });
        found.map(|(place, _)| place.clone()).collect()
    }

    fn mark_asked(&mut self, places: &[TopicPartition]) -> Ages {
        let mut ages = Ages::new();
        for place in places {
            let position = self.positions.get_mut(place).expect("it was just found");
            position.asked = true;
            ages.insert(place.clone(), position.age);
        }
        ages
    }

    /// What a request asked about is to be asked again.
    pub(super) fn ask_again(&mut self, now: Time, ages: &Ages) {
        let wait = self.settings.common.retry.wait(&mut self.random, 0);
        for (place, age) in ages {
            if let Some(position) = self.positions.get_mut(place)
                && position.age == *age
                && position.asked
            {
                (position.asked, position.retry_at) = (false, now + wait);
            }
        }
    }

    /// The group has told where its partitions were left.
    pub(super) fn handle_committed(
        &mut self,
        now: Time,
        version: i16,
        mut body: Bytes,
        ages: &Ages,
    ) {
        let Ok(response) = OffsetFetchResponse::decode(&mut body, version) else {
            return self.ask_again(now, ages);
        };
        let mut found: BTreeMap<TopicPartition, (i64, i32, i16)> = BTreeMap::new();
        let mut error = response.error_code;
        for topic in response.topics {
            for it in topic.partitions {
                let place = (topic.name.clone(), it.partition_index);
                found
                    .insert(place, (it.committed_offset, it.committed_leader_epoch, it.error_code));
            }
        }
        for group in response.groups {
            error = group.error_code;
            for topic in group.topics {
                for it in topic.partitions {
                    let place = (topic.name.clone(), it.partition_index);
                    let offset = (it.committed_offset, it.committed_leader_epoch, it.error_code);
                    found.insert(place, offset);
                }
            }
        }
        if let Some(error) = ResponseError::try_from_code(error) {
            self.handle_group_error(now, error);
            return self.ask_again(now, ages);
        }
        for (place, (offset, epoch, error)) in found {
            let same = ages.get(&place).copied();
            let Some(position) = self.positions.get_mut(&place) else { continue };
            if Some(position.age) != same || position.state != State::Unknown || error != 0 {
                continue;
            }
            if offset < 0 {
                self.begin_anywhere(&place);
                continue;
            }
            position.committed = Some(offset);
            let epoch = Some(epoch).filter(|epoch| *epoch >= 0);
            position.seek(offset, epoch, None);
            if let Some(epoch) = epoch {
                self.base.metadata.heard_of_epoch(&place.0, place.1, epoch);
            }
            let leader = self.base.metadata.leader(&place.0, place.1);
            if leader.is_some() {
                position.leader_changed(leader);
            }
        }
        self.ask_again(now, ages);
    }

    /// There is no position: it is chosen as the application wants.
    fn begin_anywhere(&mut self, place: &TopicPartition) {
        self.lose_position(place, ResetCause::NoCommittedOffset);
    }

    /// The position of a partition is no good any more.
    pub(super) fn lose_position(&mut self, place: &TopicPartition, cause: ResetCause) {
        let Some(position) = self.positions.get_mut(place) else { return };
        let policy = self.settings.reset;
        position.lose(policy);
        if policy == ResetPolicy::None {
            let (topic, partition) = place.clone();
            self.base.events.push_back(Event::NoPosition { topic, partition, cause });
        } else {
            self.reset_causes.insert(place.clone(), cause);
        }
    }

    /// Asks the leaders for starts and ends of logs, and about epochs.
    fn ask_leaders(&mut self, now: Time) {
        let resets = self.in_state(now, |state| matches!(state, State::Resetting(_)));
        for (node, places) in self.by_leader(resets) {
            if self.base.network.ready(now, node) {
                self.list_offsets(now, node, &places);
            }
        }
        let validations = self.in_state(now, |state| state == State::Validating);
        for (node, places) in self.by_leader(validations) {
            if self.base.network.ready(now, node) {
                self.validate(now, node, &places);
            }
        }
    }

    fn by_leader(&mut self, places: Vec<TopicPartition>) -> BTreeMap<NodeId, Vec<TopicPartition>> {
        let mut nodes: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        for place in places {
            match self.base.leader(&place.0, place.1) {
                Some((node, _)) => nodes.entry(node).or_default().push(place),
                None => self.base.metadata.request_update(),
            }
        }
        nodes
    }

    fn leader_epoch(&self, node: NodeId, place: &TopicPartition) -> i32 {
        let epoch = self.base.leader(&place.0, place.1).and_then(|(_, epoch)| epoch);
        self.current_epoch(node, epoch)
    }

    fn list_offsets(&mut self, now: Time, node: NodeId, places: &[TopicPartition]) {
        let Some(version) = self.base.network.version::<ListOffsetsRequest>(node, i16::MAX) else {
            return;
        };
        let mut topics: BTreeMap<TopicName, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for place in places {
            let earliest = self.positions[place].state == State::Resetting(ResetPolicy::Earliest);
            let mut partition = ListOffsetsPartition::default()
                .with_partition_index(place.1)
                .with_timestamp(if earliest { EARLIEST } else { LATEST });
            if version >= 4 {
                partition.current_leader_epoch = self.leader_epoch(node, place);
            }
            topics.entry(place.0.clone()).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default().with_name(name).with_partitions(partitions)
        });
        let mut request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(topics.collect());
        if version >= 2 {
            request.isolation_level = i8::from(self.settings.read_committed);
        }
        if version >= 10 {
            request.timeout_ms = super::ms(self.settings.common.request_timeout);
        }
        let ages = self.mark_asked(places);
        self.base.send(now, node, version, &request, None, Some(Call::ListOffsets { ages }));
    }

    /// A leader has told where its logs start or end.
    pub(super) fn handle_listed(&mut self, now: Time, version: i16, mut body: Bytes, ages: &Ages) {
        let Ok(response) = ListOffsetsResponse::decode(&mut body, version) else {
            return self.ask_again(now, ages);
        };
        for topic in response.topics {
            for it in topic.partitions {
                let place = (topic.name.clone(), it.partition_index);
                let same = ages.get(&place).copied();
                let Some(position) = self.positions.get_mut(&place) else { continue };
                let resetting = matches!(position.state, State::Resetting(_));
                if Some(position.age) != same || !resetting {
                    continue;
                }
                if it.error_code != 0 {
                    self.base.metadata.request_update();
                    continue;
                }
                let epoch = Some(it.leader_epoch).filter(|epoch| *epoch >= 0);
                if let Some(epoch) = epoch {
                    self.base.metadata.heard_of_epoch(&place.0, place.1, epoch);
                }
                let from = position.offset;
                let leader = self.base.metadata.leader(&place.0, place.1);
                position.seek(it.offset, epoch, leader);
                let cause = self.reset_causes.remove(&place);
                self.base.events.push_back(Event::PositionReset {
                    topic: place.0,
                    partition: place.1,
                    from: (from >= 0).then_some(from),
                    to: it.offset,
                    cause: cause.unwrap_or(ResetCause::NoCommittedOffset),
                });
            }
        }
        self.ask_again(now, ages);
    }

    fn validate(&mut self, now: Time, node: NodeId, places: &[TopicPartition]) {
        let version = self.base.network.version::<OffsetForLeaderEpochRequest>(node, i16::MAX);
        // Java needs v3, which consumers may ask without rights on the cluster.
        let least = if self.library() == Library::Java { 3 } else { 2 };
        let Some(version) = version.filter(|version| *version >= least) else {
            for place in places {
                let position = self.positions.get_mut(place).expect("it was just found");
                position.state = State::Fetching;
            }
            return;
        };
        let mut topics: BTreeMap<TopicName, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
        for place in places {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(place.1)
                .with_current_leader_epoch(self.leader_epoch(node, place))
                .with_leader_epoch(self.positions[place].epoch.unwrap_or(-1));
            topics.entry(place.0.clone()).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetForLeaderTopic::default().with_topic(topic).with_partitions(partitions)
        });
        let mut request = OffsetForLeaderEpochRequest::default().with_topics(topics.collect());
        if version >= 3 {
            request.replica_id = BrokerId(-1);
        }
        let ages = self.mark_asked(places);
        self.base.send(now, node, version, &request, None, Some(Call::Validate { ages }));
    }

    /// A leader has told where its logs end in the epochs that were asked.
    pub(super) fn handle_validated(
        &mut self,
        now: Time,
        version: i16,
        mut body: Bytes,
        ages: &Ages,
    ) {
        let Ok(response) = OffsetForLeaderEpochResponse::decode(&mut body, version) else {
            return self.ask_again(now, ages);
        };
        for topic in response.topics {
            for it in topic.partitions {
                let place = (topic.topic.clone(), it.partition);
                let same = ages.get(&place).copied();
                let Some(position) = self.positions.get_mut(&place) else { continue };
                if Some(position.age) != same || position.state != State::Validating {
                    continue;
                }
                if it.error_code != 0 {
                    self.base.metadata.request_update();
                } else if it.end_offset < 0 || it.leader_epoch < 0 {
                    // The leader knows nothing of this epoch.
                    self.lose_position(&place, ResetCause::Truncated);
                } else if it.end_offset < position.offset {
                    if self.settings.reset == ResetPolicy::None {
                        self.lose_position(&place, ResetCause::Truncated);
                        continue;
                    }
                    let (from, leader) = (position.offset, position.leader);
                    position.seek(it.end_offset, Some(it.leader_epoch), leader);
                    self.base.events.push_back(Event::PositionReset {
                        topic: place.0,
                        partition: place.1,
                        from: Some(from),
                        to: it.end_offset,
                        cause: ResetCause::Truncated,
                    });
                } else {
                    (position.state, position.asked) = (State::Fetching, false);
                }
            }
        }
        self.ask_again(now, ages);
    }

    /// Commits what was handed over, where something was; `false`: nothing could be sent.
    pub(super) fn commit(&mut self, now: Time) -> bool {
        self.commit_due = false;
        let Some(group) = self.settings.group_id.clone() else { return false };
        let Some(node) = self.coordinator.node else { return false };
        let Some((member, generation)) = self.identity() else { return false };
        let mut topics: BTreeMap<TopicName, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        let mut offsets = Vec::new();
        if !self.base.network.ready(now, node) {
            self.commit_due = true;
            return false;
        }
        let Some(version) = self.base.network.version::<OffsetCommitRequest>(node, i16::MAX) else {
            return false;
        };
        for (place, position) in &self.positions {
            let settled = matches!(position.state, State::Fetching | State::Validating);
            if !settled || position.committed == Some(position.offset) {
                continue;
            }
            let mut partition = OffsetCommitRequestPartition::default()
                .with_partition_index(place.1)
                .with_committed_offset(position.offset)
                .with_committed_metadata(Some(StrBytes::new()));
            if version >= 6 {
                partition.committed_leader_epoch = position.epoch.unwrap_or(-1);
            }
            topics.entry(place.0.clone()).or_default().push(partition);
            offsets.push((place.clone(), position.offset, position.age));
        }
        if offsets.is_empty() {
            return false;
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetCommitRequestTopic::default().with_name(name).with_partitions(partitions)
        });
        let mut request = OffsetCommitRequest::default()
            .with_group_id(GroupId(group.into()))
            .with_member_id(member)
            .with_generation_id_or_member_epoch(generation)
            .with_topics(topics.collect());
        if version >= 7 {
            request.group_instance_id = self.instance_id();
        }
        self.commits_in_flight += 1;
        self.base.send(now, node, version, &request, None, Some(Call::Commit { offsets }));
        true
    }

    /// The group has taken offsets, or refused them.
    pub(super) fn handle_committing(
        &mut self,
        now: Time,
        version: i16,
        mut body: Bytes,
        offsets: &[(TopicPartition, i64, u64)],
    ) {
        self.commits_in_flight -= 1;
        let Ok(response) = OffsetCommitResponse::decode(&mut body, version) else { return };
        let errors = response.topics.iter().flat_map(|topic| &topic.partitions);
        let error = errors.map(|it| it.error_code).find(|code| *code != 0);
        match error.and_then(ResponseError::try_from_code) {
            Some(error) => {
                self.base.events.push_back(Event::CommitFailed { error });
                self.handle_group_error(now, error);
            }
            None => {
                for (place, offset, age) in offsets {
                    if let Some(position) = self.positions.get_mut(place)
                        && position.age == *age
                    {
                        position.committed = Some(*offset);
                    }
                }
                self.base.events.push_back(Event::Committed {
                    offsets: offsets.iter().map(|(place, at, _)| (place.clone(), *at)).collect(),
                });
            }
        }
    }
}

fn by_topic<'a>(places: impl Iterator<Item = &'a TopicPartition>) -> BTreeMap<TopicName, Vec<i32>> {
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        topics.entry(topic.clone()).or_default().push(*partition);
    }
    topics
}
