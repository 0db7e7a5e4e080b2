//! Classic groups: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! ```text
//!  Out ─prepare: commit, revoke─▶ Joining ─▶ Syncing ─▶ Stable
//!   ▲          rebalance, unknown member, old generation    │
//!   └───────────────────────────────────────────────────────┘
//! ```
//!
//! A member that is told that the coordinator does not know it keeps fetching until it prepares to join again, which
//! is at its next poll: that is how records are read twice after a move.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse, TopicName,
        join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::{Decodable, StrBytes},
};

use super::{
    super::{Event, config::ConsumerSettings, network::NodeId},
    Call, Consumer, Group,
    assignor::{self, Subscription},
    ms,
};
use crate::cluster::Time;

/// A JoinGroup may take this much longer than the rebalance it takes part in.
const JOIN_GRACE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Out,
    Joining,
    Syncing,
    Stable,
}

/// Membership in a classic group.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Classic {
    phase: Phase,
    member_id: StrBytes,
    /// 0: none; Kafka counts from 1 on.
    generation: i32,
    protocol: StrBytes,
    is_leader: bool,
    /// Partitions were given up for the join that is being made.
    prepared: bool,
    /// What the member held was given to others.
    lost: bool,
    retry_at: Time,
    heartbeat_sent: Time,
    heartbeat_in_flight: bool,
    /// When the coordinator was last heard of.
    alive_at: Time,
    /// Not polling for too long, the member has left.
    left_for_poll: bool,
    /// Partition counts at the leader's last assignment.
    counts: BTreeMap<TopicName, i32>,
}

impl Classic {
    pub(super) fn identity(&self) -> Option<(StrBytes, i32)> {
        (self.generation > 0).then(|| (self.member_id.clone(), self.generation))
    }

    /// A coordinator that was found anew is to hear of the member at once.
    pub(super) fn coordinator_found(&mut self, now: Time) {
        self.retry_at = self.retry_at.min(now);
    }

    pub(super) fn deadline(
        &self,
        now: Time,
        settings: &ConsumerSettings,
        busy_since: Option<Time>,
    ) -> Option<Time> {
        let poll = busy_since.filter(|_| self.phase != Phase::Out || self.generation > 0);
        let poll = poll.map(|since| since + settings.max_poll_interval);
        let join = (self.phase == Phase::Out).then_some(self.retry_at);
        let stable = self.phase == Phase::Stable;
        let heartbeat = Some(self.heartbeat_sent + settings.heartbeat_interval)
            .filter(|_| stable && !self.heartbeat_in_flight);
        let session = stable.then(|| self.alive_at + settings.session_timeout);
        [poll, join, heartbeat, session].into_iter().flatten().filter(|at| *at > now).min()
    }
}

impl Consumer {
    fn classic(&mut self) -> &mut Classic {
        match &mut self.group {
            Group::Classic(classic) => classic,
            Group::None | Group::Modern(_) => unreachable!("only a classic member comes here"),
        }
    }

    fn group_id(&self) -> GroupId {
        GroupId(self.settings.group_id.clone().unwrap_or_default().into())
    }

    fn is_eager(&self) -> bool {
        // The protocol that all assignors can do: one eager one makes all eager.
        self.settings.assignors.iter().any(|name| *name != "cooperative-sticky")
    }

    pub(super) fn drive_classic(&mut self, now: Time) {
        self.check_poll_interval(now);
        if self.closing != super::Closing::No {
            return;
        }
        self.watch_partition_counts();
        let classic = self.classic();
        match classic.phase {
            Phase::Out => self.join(now),
            Phase::Joining | Phase::Syncing => {}
            Phase::Stable => self.heartbeat(now),
        }
    }

    /// An application that does not poll for `max.poll.interval.ms` loses its partitions.
    fn check_poll_interval(&mut self, now: Time) {
        let most = self.settings.max_poll_interval;
        let over = self.busy_since.is_some_and(|since| since + most <= now);
        if !over || self.classic().left_for_poll || self.classic().generation == 0 {
            return;
        }
        self.leave_classic(now);
        let classic = self.classic();
        classic.left_for_poll = true;
        classic.lost = true;
        (classic.phase, classic.generation) = (Phase::Out, 0);
        classic.member_id = StrBytes::new();
        self.base.events.push_back(Event::PollIntervalExceeded);
    }

    /// The leader answers for every partition: when there are more, the group has to come together again.
    fn watch_partition_counts(&mut self) {
        let generation = self.base.metadata.generation;
        if std::mem::replace(&mut self.group_metadata_seen, generation) == generation {
            return;
        }
        let classic = self.classic();
        if !classic.is_leader || classic.phase != Phase::Stable {
            return;
        }
        let topics: Vec<TopicName> = classic.counts.keys().cloned().collect();
        let counts = self.partition_counts(topics.iter());
        let known = &self.classic().counts;
        // A topic that has vanished for a moment is no reason.
        if counts.iter().any(|(topic, count)| *count > 0 && known.get(topic) != Some(count)) {
            self.classic().phase = Phase::Out;
        }
    }

    fn partition_counts<'a>(
        &self,
        topics: impl Iterator<Item = &'a TopicName>,
    ) -> BTreeMap<TopicName, i32> {
        let count = |topic: &TopicName| {
            let partitions = self.base.metadata.topic(topic).map_or(0, |it| it.partitions.len());
            i32::try_from(partitions).unwrap_or(0)
        };
        topics.map(|topic| (topic.clone(), count(topic))).collect()
    }

    /// Gives up what is held, then asks to be let in. Both happen only in a poll.
    fn join(&mut self, now: Time) {
        if self.is_busy() || self.classic().retry_at > now {
            return;
        }
        self.classic().left_for_poll = false;
        if !self.classic().prepared {
            if !self.prepare_to_join(now) {
                return;
            }
            self.classic().prepared = true;
        }
        let Some(node) = self.coordinator.node else { return };
        if !self.base.network.ready(now, node) {
            return;
        }
        let Some(version) = self.base.network.version::<JoinGroupRequest>(node, i16::MAX) else {
            return self.become_fatal(ResponseError::UnsupportedVersion);
        };
        let subscription = Subscription {
            topics: self.topics.iter().cloned().collect(),
            owned: self.positions.keys().cloned().collect(),
            generation: Some(self.classic().generation).filter(|it| *it > 0).unwrap_or(-1),
        };
        let metadata = assignor::encode_subscription(&subscription);
        let member_id = self.classic().member_id.clone();
        let protocols = self.settings.assignors.iter().map(|name| {
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(name))
                .with_metadata(metadata.clone())
        });
        let mut request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(ms(self.settings.session_timeout))
            .with_member_id(member_id)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(protocols.collect());
        if version >= 1 {
            request.rebalance_timeout_ms = ms(self.settings.max_poll_interval);
        }
        if version >= 5 {
            request.group_instance_id = self.instance_id();
        }
        let timeout = self.settings.max_poll_interval + JOIN_GRACE;
        let timeout = timeout.max(self.settings.common.request_timeout);
        self.classic().phase = Phase::Joining;
        self.base.send(now, node, version, &request, Some(timeout), Some(Call::Join));
    }

    /// Commits and gives up what an eager member must not hold while it joins; `false`: the commit is under way.
    fn prepare_to_join(&mut self, now: Time) -> bool {
        let lost = self.classic().lost;
        if !lost && self.settings.auto_commit.is_some() {
            if self.commits_in_flight > 0 {
                return false;
            }
            if self.uncommitted && self.classic().generation > 0 && self.commit(now) {
                self.uncommitted = false;
                return false;
            }
        }
        if lost || self.is_eager() {
            self.give_up_partitions(lost);
        }
        self.classic().lost = false;
        true
    }

    /// The group has come together.
    pub(super) fn handle_joined(&mut self, now: Time, version: i16, mut body: Bytes) {
        if self.classic().phase != Phase::Joining {
            return;
        }
        let Ok(response) = JoinGroupResponse::decode(&mut body, version) else {
            return self.become_fatal(ResponseError::UnknownServerError);
        };
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            let classic = self.classic();
            classic.phase = Phase::Out;
            match error {
                ResponseError::MemberIdRequired => classic.member_id = response.member_id,
                ResponseError::CoordinatorLoadInProgress | ResponseError::RebalanceInProgress => {
                    self.retry_later(now);
                }
                ResponseError::InconsistentGroupProtocol
                | ResponseError::InvalidSessionTimeout
                | ResponseError::GroupMaxSizeReached
                | ResponseError::UnsupportedVersion => self.become_fatal(error),
                _ => self.handle_group_error(now, error),
            }
            return;
        }
        let classic = self.classic();
        classic.member_id = response.member_id.clone();
        classic.generation = response.generation_id;
        classic.protocol = response.protocol_name.clone().unwrap_or_default();
        classic.is_leader = response.leader == response.member_id;
        classic.phase = Phase::Syncing;
        let assignments = if self.classic().is_leader && !response.skip_assignment {
            self.assign(&response)
        } else {
            Vec::new()
        };
        let Some(node) = self.coordinator.node else { return };
        self.sync(now, node, assignments);
    }

    fn assign(&mut self, response: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        let members: BTreeMap<StrBytes, Subscription> = response
            .members
            .iter()
            .filter_map(|member| {
                let subscription = assignor::decode_subscription(&member.metadata)?;
                Some((member.member_id.clone(), subscription))
            })
            .collect();
        let topics: BTreeSet<TopicName> =
            members.values().flat_map(|it| it.topics.iter().cloned()).collect();
        for topic in &topics {
            self.base.metadata.add_topic(topic);
        }
        let counts = self.partition_counts(topics.iter());
        let protocol = self.classic().protocol.clone();
        let assignment = assignor::assign(&protocol, &members, &counts);
        self.classic().counts = counts;
        assignment
            .into_iter()
            .map(|(id, places)| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(id)
                    .with_assignment(assignor::encode_assignment(&places))
            })
            .collect()
    }

    fn sync(&mut self, now: Time, node: NodeId, assignments: Vec<SyncGroupRequestAssignment>) {
        let version = self.base.network.version::<SyncGroupRequest>(node, i16::MAX);
        let Some(version) = version.filter(|_| self.base.network.can_send(node)) else {
            self.classic().phase = Phase::Out;
            return self.retry_later(now);
        };
        let mut request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.classic().generation)
            .with_member_id(self.classic().member_id.clone())
            .with_assignments(assignments);
        if version >= 3 {
            request.group_instance_id = self.instance_id();
        }
        if version >= 5 {
            request.protocol_type = Some(StrBytes::from_static_str("consumer"));
            request.protocol_name = Some(self.classic().protocol.clone());
        }
        let timeout = self.settings.max_poll_interval.max(self.settings.common.request_timeout);
        self.base.send(now, node, version, &request, Some(timeout), Some(Call::Sync));
    }

    /// The member has its partitions.
    pub(super) fn handle_synced(&mut self, now: Time, version: i16, mut body: Bytes) {
        if self.classic().phase != Phase::Syncing {
            return;
        }
        let assignment = SyncGroupResponse::decode(&mut body, version).ok();
        let Some(response) = assignment else {
            return self.become_fatal(ResponseError::UnknownServerError);
        };
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            self.classic().phase = Phase::Out;
            if error != ResponseError::RebalanceInProgress {
                self.handle_group_error(now, error);
            }
            return;
        }
        let Some(places) = assignor::decode_assignment(&response.assignment) else {
            return self.become_fatal(ResponseError::UnknownServerError);
        };
        let classic = self.classic();
        (classic.phase, classic.prepared) = (Phase::Stable, false);
        (classic.heartbeat_sent, classic.alive_at) = (now, now);
        let eager = self.is_eager();
        let revoked = self.apply_assignment(places.into_iter().collect());
        self.next_commit = now + self.settings.auto_commit.unwrap_or_default();
        if revoked && !eager {
            // What was taken away is free only now: a second round gives it to its new owner.
            self.classic().phase = Phase::Out;
        }
    }

    fn heartbeat(&mut self, now: Time) {
        let (interval, session) = (self.settings.heartbeat_interval, self.settings.session_timeout);
        let classic = self.classic();
        if classic.alive_at + session <= now {
            classic.alive_at = now;
            self.coordinator.forget();
            return;
        }
        if classic.heartbeat_in_flight || classic.heartbeat_sent + interval > now {
            return;
        }
        let Some(node) = self.coordinator.node else { return };
        if !self.base.network.ready(now, node) {
            return;
        }
        let Some(version) = self.base.network.version::<HeartbeatRequest>(node, i16::MAX) else {
            return;
        };
        let mut request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.classic().generation)
            .with_member_id(self.classic().member_id.clone());
        if version >= 3 {
            request.group_instance_id = self.instance_id();
        }
        let classic = self.classic();
        (classic.heartbeat_sent, classic.heartbeat_in_flight) = (now, true);
        self.base.send(now, node, version, &request, None, Some(Call::Heartbeat));
    }

    pub(super) fn handle_heartbeat(&mut self, now: Time, version: i16, mut body: Bytes) {
        let classic = self.classic();
        classic.heartbeat_in_flight = false;
        let Ok(response) = HeartbeatResponse::decode(&mut body, version) else { return };
        match ResponseError::try_from_code(response.error_code) {
            None => classic.alive_at = now,
            Some(error) if classic.phase == Phase::Stable => self.handle_group_error(now, error),
            Some(_) => {} // The member has gone on already.
        }
    }

    pub(super) fn handle_classic_error(&mut self, now: Time, error: ResponseError) {
        match error {
            ResponseError::RebalanceInProgress => {
                if self.classic().phase == Phase::Stable {
                    self.classic().phase = Phase::Out;
                }
            }
            ResponseError::UnknownMemberId | ResponseError::IllegalGeneration => {
                self.base.events.push_back(Event::MembershipLost { error });
                let classic = self.classic();
                if error == ResponseError::UnknownMemberId {
                    classic.member_id = StrBytes::new();
                }
                (classic.generation, classic.lost) = (0, true);
                (classic.phase, classic.prepared) = (Phase::Out, false);
            }
            _ => self.retry_later(now),
        }
    }

    fn retry_later(&mut self, now: Time) {
        let wait = self.settings.common.retry.wait(&mut self.random, 0);
        self.classic().retry_at = now + wait;
    }

    /// A request of the membership went down with its connection.
    pub(super) fn classic_lost(&mut self, now: Time, call: &Call) {
        self.coordinator.forget();
        let classic = self.classic();
        match call {
            Call::Heartbeat => classic.heartbeat_in_flight = false,
            _ => {
                if matches!(classic.phase, Phase::Joining | Phase::Syncing) {
                    classic.phase = Phase::Out;
                    self.retry_later(now);
                }
            }
        }
    }

    /// Tells the coordinator that the member goes; `false`: there was nobody to tell, or a static member stays.
    pub(super) fn leave_classic(&mut self, now: Time) -> bool {
        let is_static = self.settings.group_instance_id.is_some();
        let member_id = self.classic().member_id.clone();
        let Some(node) = self.coordinator.node else { return false };
        if is_static || member_id.is_empty() || !self.base.network.can_send(node) {
            return false;
        }
        let Some(version) = self.base.network.version::<LeaveGroupRequest>(node, i16::MAX) else {
            return false;
        };
        let mut request = LeaveGroupRequest::default().with_group_id(self.group_id());
        if version >= 3 {
            request.members = vec![MemberIdentity::default().with_member_id(member_id)];
        } else {
            request.member_id = member_id;
        }
        self.base.send(now, node, version, &request, None, Some(Call::Leave));
        true
    }
}
