//! Groups of KIP-848: the coordinator assigns, and everything is said in ConsumerGroupHeartbeat.
//!
//! ```text
//!  epoch 0: join ─▶ epoch n: heartbeats ─assignment─▶ revoke, then take, then say what is held
//!      ▲   25 UNKNOWN_MEMBER_ID, 110 FENCED_MEMBER_EPOCH │   69 GROUP_ID_NOT_FOUND: fatal in both libraries
//!      └─────────────────────────────────────────────────┘
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
        consumer_group_heartbeat_request::TopicPartitions,
    },
    protocol::{Decodable, StrBytes},
};
use uuid::Uuid;

use super::{
    super::{
        Event, TopicPartition,
        config::{ConsumerSettings, Library},
    },
    Call, Consumer, Group, ms,
};
use crate::cluster::Time;

const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_STATIC: i32 = -2;

/// Membership in a group of KIP-848.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Modern {
    member_id: StrBytes,
    epoch: i32,
    interval: Duration,
    sent: Time,
    in_flight: bool,
    retry_at: Time,
    failures: u32,
    /// Something is to be said without waiting for the interval.
    urgent: bool,
    /// The next heartbeat says everything.
    full: bool,
    /// What the coordinator wants the member to hold, and is not held yet.
    target: Option<Vec<(Uuid, Vec<i32>)>>,
    left_for_poll: bool,
}

impl Modern {
    pub(super) fn new(random: &mut Rng) -> Self {
        let id = Uuid::from_u128(random.u128(..));
        Self {
            member_id: StrBytes::from_string(id.simple().to_string()),
            epoch: JOIN,
            interval: Duration::ZERO,
            sent: Time::default(),
            in_flight: false,
            retry_at: Time::default(),
            failures: 0,
            urgent: true,
            full: true,
            target: None,
            left_for_poll: false,
        }
    }

    pub(super) fn identity(&self) -> Option<(StrBytes, i32)> {
        (self.epoch > 0).then(|| (self.member_id.clone(), self.epoch))
    }

    /// Whether a heartbeat is to be sent.
    fn is_due(&self, now: Time) -> bool {
        let due = self.urgent || self.sent + self.interval <= now;
        due && !self.in_flight && self.retry_at <= now
    }

    pub(super) fn deadline(
        &self,
        now: Time,
        settings: &ConsumerSettings,
        busy_since: Option<Time>,
    ) -> Option<Time> {
        // Java notices only when it has a heartbeat to send.
        let notices = settings.common.library == Library::Librdkafka;
        let poll = busy_since.filter(|_| self.epoch > 0 && notices);
        let poll = poll.map(|since| since + settings.max_poll_interval);
        let due =
            if self.urgent { self.retry_at } else { self.retry_at.max(self.sent + self.interval) };
        let heartbeat = (!self.in_flight && !self.left_for_poll).then_some(due);
        poll.into_iter().chain(heartbeat).filter(|at| *at > now).min()
    }
}

impl Consumer {
    fn modern(&mut self) -> &mut Modern {
        match &mut self.group {
            Group::Modern(modern) => modern,
            Group::None | Group::Classic(_) => unreachable!("only a modern member comes here"),
        }
    }

    pub(super) fn drive_modern(&mut self, now: Time) {
        if self.closing != super::Closing::No {
            return;
        }
        let most = self.settings.max_poll_interval;
        let over = self.busy_since.is_some_and(|since| since + most <= now);
        let (busy, library) = (self.is_busy(), self.library());
        let modern = self.modern();
        let looks = library == Library::Librdkafka || modern.is_due(now);
        let over = over && looks;
        if over && !modern.left_for_poll && modern.epoch > 0 {
            modern.left_for_poll = true;
            self.base.events.push_back(Event::PollIntervalExceeded);
            self.leave_modern(now);
            let modern = self.modern();
            (modern.epoch, modern.full, modern.urgent) = (JOIN, true, true);
            return;
        }
        if modern.left_for_poll {
            if busy {
                return;
            }
            modern.left_for_poll = false;
            self.give_up_partitions(true);
        }
        self.reconcile();
        self.group_heartbeat(now);
    }

    /// Makes what is held what the coordinator wants, as far as its topics are known.
    fn reconcile(&mut self) {
        let Some(target) = self.modern().target.clone() else { return };
        let mut wanted: BTreeSet<TopicPartition> = BTreeSet::new();
        for (id, partitions) in &target {
            let Some(topic) = self.base.metadata.topic_of_id(*id).cloned() else {
                return self.base.metadata.request_update();
            };
            wanted.extend(partitions.iter().map(|partition| (topic.clone(), *partition)));
        }
        let revokes = self.positions.keys().any(|place| !wanted.contains(place));
        if revokes && self.settings.auto_commit.is_some() {
            if self.commits_in_flight > 0 {
                return;
            }
            if self.uncommitted {
                self.commit_due = true;
                return;
            }
        }
        let modern = self.modern();
        (modern.target, modern.urgent) = (None, true);
        self.apply_assignment(wanted);
    }

    fn group_heartbeat(&mut self, now: Time) {
        if !self.modern().is_due(now) {
            return;
        }
        let Some(node) = self.coordinator.node else { return };
        if !self.base.network.ready(now, node) {
            return;
        }
        let version = self.base.network.version::<ConsumerGroupHeartbeatRequest>(node, i16::MAX);
        let Some(version) = version else {
            return self.become_fatal(ResponseError::UnsupportedVersion);
        };
        if version == 0 && self.modern().epoch == JOIN && self.modern().full {
            // Before v1 the coordinator names its members.
            self.modern().member_id = StrBytes::new();
        }
        let request = self.heartbeat_request();
        let modern = self.modern();
        (modern.in_flight, modern.sent) = (true, now);
        (modern.urgent, modern.full) = (false, false);
        let call = Call::GroupHeartbeat { leaving: false };
        self.base.send(now, node, version, &request, None, Some(call));
    }

    fn heartbeat_request(&mut self) -> ConsumerGroupHeartbeatRequest {
        let (full, urgent) = (self.modern().full, self.modern().urgent);
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(self.settings.group_id.clone().unwrap_or_default().into()))
            .with_member_id(self.modern().member_id.clone())
            .with_member_epoch(self.modern().epoch)
            .with_instance_id(self.instance_id())
            .with_rebalance_timeout_ms(-1);
        if full {
            request.rebalance_timeout_ms = ms(self.settings.max_poll_interval);
            request.subscribed_topic_names = Some(self.topics.iter().cloned().collect());
            request.server_assignor =
                self.settings.group_remote_assignor.clone().map(StrBytes::from_string);
            let rack = self.settings.client_rack.clone();
            request.rack_id = Some(rack).filter(|rack| !rack.is_empty()).map(StrBytes::from_string);
        }
        if full || urgent {
            request.topic_partitions = Some(self.held());
        }
        request
    }

    fn held(&self) -> Vec<TopicPartitions> {
        let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in self.positions.keys() {
            topics.entry(topic).or_default().push(*partition);
        }
        let by_id = topics.into_iter().filter_map(|(topic, partitions)| {
            let id = self.base.metadata.topic(topic)?.id;
            Some(TopicPartitions::default().with_topic_id(id).with_partitions(partitions))
        });
        by_id.collect()
    }

    pub(super) fn handle_group_heartbeat(
        &mut self,
        now: Time,
        version: i16,
        mut body: Bytes,
        leaving: bool,
    ) {
        if leaving {
            return self.left();
        }
        self.modern().in_flight = false;
        let Ok(response) = ConsumerGroupHeartbeatResponse::decode(&mut body, version) else {
            return self.modern_lost(now, false);
        };
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            return self.handle_group_error(now, error);
        }
        let modern = self.modern();
        modern.failures = 0;
        if modern.left_for_poll {
            return;
        }
        modern.epoch = response.member_epoch;
        if let Some(member_id) = response.member_id {
            modern.member_id = member_id;
        }
        let interval = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        modern.interval = Duration::from_millis(interval);
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.into_iter();
            modern.target = Some(topics.map(|it| (it.topic_id, it.partitions)).collect());
        }
    }

    pub(super) fn handle_modern_error(&mut self, now: Time, error: ResponseError) {
        match error {
            ResponseError::UnknownMemberId | ResponseError::FencedMemberEpoch => {
                self.base.events.push_back(Event::MembershipLost { error });
                self.give_up_partitions(true);
                let modern = self.modern();
                (modern.epoch, modern.target) = (JOIN, None);
                (modern.urgent, modern.full) = (true, true);
            }
            ResponseError::GroupIdNotFound
            | ResponseError::UnreleasedInstanceId
            | ResponseError::UnsupportedAssignor
            | ResponseError::UnsupportedVersion
            | ResponseError::InvalidRequest
            | ResponseError::GroupMaxSizeReached
            | ResponseError::TopicAuthorizationFailed => self.become_fatal(error),
            // An epoch that has moved on since: the next commit has the new one.
            ResponseError::StaleMemberEpoch => self.uncommitted = true,
            _ => self.modern_retry(now),
        }
    }

    fn modern_retry(&mut self, now: Time) {
        let failures = self.modern().failures;
        let wait = self.settings.common.retry.wait(&mut self.random, failures);
        let modern = self.modern();
        modern.failures += 1;
        (modern.retry_at, modern.urgent, modern.full) = (now + wait, true, true);
    }

    /// A heartbeat went down with its connection.
    pub(super) fn modern_lost(&mut self, now: Time, leaving: bool) {
        self.coordinator.forget();
        if leaving {
            return self.left();
        }
        self.modern().in_flight = false;
        self.modern_retry(now);
    }

    /// Tells the coordinator that the member goes; `false`: there was nobody to tell.
    pub(super) fn leave_modern(&mut self, now: Time) -> bool {
        let is_static = self.settings.group_instance_id.is_some();
        let Some(node) = self.coordinator.node else { return false };
        let version = self.base.network.version::<ConsumerGroupHeartbeatRequest>(node, i16::MAX);
        let Some(version) = version.filter(|_| self.base.network.can_send(node)) else {
            return false;
        };
        if self.modern().epoch <= 0 {
            return false;
        }
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(self.settings.group_id.clone().unwrap_or_default().into()))
            .with_member_id(self.modern().member_id.clone())
            .with_instance_id(self.instance_id())
            .with_member_epoch(if is_static { LEAVE_STATIC } else { LEAVE })
            .with_rebalance_timeout_ms(-1);
        let call = Call::GroupHeartbeat { leaving: true };
        self.base.send(now, node, version, &request, None, Some(call));
        true
    }
}
