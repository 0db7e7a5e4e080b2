//! Groups of consumers: who is in them, who reads what, and how far they have come.
//!
//! ```text
//!  JoinGroup ──▶ ClassicGroup ◀─ empty ─▶ ConsumerGroup ◀── ConsumerGroupHeartbeat
//!                     └───────┬──────────────┘
//!                          Offsets (committed, and pending in transactions)
//! ```
//!
//! A group is one of the two protocols; an empty one turns into the other when a member of the other joins, and
//! keeps its offsets. The machines know no socket and no cluster: requests and time in, answers and a deadline
//! out. A dead group is one that is not in the registry.
//!
//! Absent on purpose: migration of a group that has members from one protocol to the other. A member of the new
//! protocol is refused as Kafka refuses it with `group.consumer.migration.policy=disabled`; a classic member,
//! which Kafka lets into a group of the new protocol under any policy, with INCONSISTENT_GROUP_PROTOCOL.

pub(in crate::cluster) mod assignor;
pub(in crate::cluster) mod classic;
pub(in crate::cluster) mod consumer;
pub(in crate::cluster) mod offsets;
pub(in crate::cluster) mod service;
mod subscription;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, GroupId, JoinGroupResponse, SyncGroupResponse, TopicName},
    protocol::StrBytes,
};

use super::{connection::Ticket, settings::Settings, time::Time};
use classic::ClassicGroup;
use consumer::ConsumerGroup;
use offsets::{Aging, Committed, Offsets};

/// Groups that a cluster holds at the most; Kafka has no such limit.
const GROUPS_MAX: usize = 100_000;
/// Members that a group holds at the most, whatever the settings say.
const MEMBERS_MAX: usize = 10_000;

/// An answer to a request that may have waited.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster) enum Answer {
    Join(Ticket, JoinGroupResponse),
    Sync(Ticket, SyncGroupResponse),
}

/// What the settings say about groups.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Rules {
    /// How long the first member of an empty classic group waits for others.
    pub(in crate::cluster) initial_delay: Duration,
    pub(in crate::cluster) classic_members_max: usize,
    pub(in crate::cluster) consumer_members_max: usize,
    pub(in crate::cluster) consumer_session: Duration,
}

impl Rules {
    pub(in crate::cluster) fn new(settings: &Settings) -> Self {
        let count = |name| usize::try_from(settings.int(name)).unwrap_or(0).min(MEMBERS_MAX);
        Self {
            initial_delay: settings.millis("group.initial.rebalance.delay.ms"),
            classic_members_max: count("group.max.size"),
            consumer_members_max: count("group.consumer.max.size"),
            consumer_session: settings.millis("group.consumer.session.timeout.ms"),
        }
    }
}

/// A request that is refused, and what is said about it where the answer has room for it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster) struct Refusal {
    pub(in crate::cluster) error: ResponseError,
    pub(in crate::cluster) message: String,
}

impl Refusal {
    pub(in crate::cluster) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }
}

/// One group.
pub(in crate::cluster) struct Group {
    /// Who coordinated it when it was last looked at: what a coordinator only remembers is lost with it.
    coordinator: BrokerId,
    pub(in crate::cluster) members: Members,
    pub(in crate::cluster) offsets: Offsets,
}

/// The members of a group, by the protocol that they speak.
pub(in crate::cluster) enum Members {
    Classic(Box<ClassicGroup>),
    Consumer(ConsumerGroup),
}

impl Group {
    fn new(coordinator: BrokerId, members: Members) -> Self {
        Self { coordinator, members, offsets: Offsets::default() }
    }

    pub(in crate::cluster) fn is_empty(&self) -> bool {
        match &self.members {
            Members::Classic(group) => group.is_empty(),
            Members::Consumer(group) => group.is_empty(),
        }
    }

    pub(in crate::cluster) fn member_count(&self) -> usize {
        match &self.members {
            Members::Classic(group) => group.member_count(),
            Members::Consumer(group) => group.member_count(),
        }
    }

    /// The name of its state, as Kafka's tools show it.
    pub(in crate::cluster) fn state(&self) -> &'static str {
        match &self.members {
            Members::Classic(group) => group.state(),
            Members::Consumer(group) => group.state(),
        }
    }

    pub(in crate::cluster) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        match &self.members {
            Members::Classic(group) => group.is_subscribed_to(topic),
            Members::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// When it wants [`Group::handle_time`].
    pub(in crate::cluster) fn deadline(&self) -> Option<Time> {
        match &self.members {
            Members::Classic(group) => group.deadline(),
            Members::Consumer(group) => group.deadline(),
        }
    }

    pub(in crate::cluster) fn handle_time(&mut self, now: Time) -> Vec<Answer> {
        match &mut self.members {
            Members::Classic(group) => group.handle_time(now),
            Members::Consumer(group) => {
                group.handle_time(now);
                Vec::new()
            }
        }
    }

    /// Another broker has taken over: it knows what was written to the log, and gives every member a new session.
    fn move_to(&mut self, now: Time, rules: &Rules, coordinator: BrokerId) -> Vec<Answer> {
        if self.coordinator == coordinator {
            return Vec::new();
        }
        self.coordinator = coordinator;
        match &mut self.members {
            Members::Classic(group) => group.handle_move(now),
            Members::Consumer(group) => {
                group.handle_move(now, rules);
                Vec::new()
            }
        }
    }

    /// Forgets what has been kept long enough; `false`: there is still something to keep.
    fn expire(&mut self, now: Time, retention: Duration) -> bool {
        let (members, offsets) = (&self.members, &mut self.offsets);
        let aging = match members {
            Members::Classic(group) => group.aging(),
            Members::Consumer(_) => Aging::FromCommit,
        };
        let subscribed = |topic: &TopicName| match members {
            Members::Classic(group) => group.is_subscribed_to(topic),
            Members::Consumer(group) => group.is_subscribed_to(topic),
        };
        offsets.expire(now, retention, aging, subscribed);
        offsets.is_empty() && self.is_empty()
    }
}

/// All groups of a cluster.
#[derive(Default)]
pub(in crate::cluster) struct Groups {
    by_id: BTreeMap<GroupId, Group>,
    /// How many offsets were ever written: later ones win over earlier ones of a transaction.
    commits: u64,
    /// How many ids were ever made for members.
    members_named: u64,
}

impl Groups {
    pub(in crate::cluster) fn get(&self, id: &GroupId) -> Option<&Group> {
        self.by_id.get(id)
    }

    pub(in crate::cluster) fn get_mut(&mut self, id: &GroupId) -> Option<&mut Group> {
        self.by_id.get_mut(id)
    }

    pub(in crate::cluster) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.by_id.iter()
    }

    pub(in crate::cluster) fn remove(&mut self, id: &GroupId) {
        self.by_id.remove(id);
    }

    /// Forgets a group that was only made for a member that was then refused.
    pub(in crate::cluster) fn remove_unborn(&mut self, id: &GroupId) {
        let unborn = |group: &Group| match &group.members {
            Members::Consumer(members) => members.epoch() == 0 && group.offsets.is_empty(),
            Members::Classic(_) => false,
        };
        if self.by_id.get(id).is_some_and(unborn) {
            self.by_id.remove(id);
        }
    }

    pub(in crate::cluster) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A number that no member's id was made from before.
    pub(in crate::cluster) fn next_member(&mut self) -> u64 {
        self.members_named += 1;
        self.members_named
    }

    /// The place of an offset that is written now in the order of all.
    pub(in crate::cluster) fn next_commit(&mut self) -> u64 {
        self.commits += 1;
        self.commits
    }

    /// The group as one of the classic protocol; it is created where it is missing, and an empty one of the
    /// other protocol turns into it.
    pub(in crate::cluster) fn classic_to_join(
        &mut self,
        now: Time,
        id: &GroupId,
        coordinator: BrokerId,
        create: bool,
    ) -> Result<&mut ClassicGroup, ResponseError> {
        let full = self.by_id.len() >= GROUPS_MAX;
        let group = match self.by_id.entry(own_group(id)) {
            Entry::Occupied(entry) => entry.into_mut(),
            // Whoever knows an id has it from a group that is gone.
            Entry::Vacant(_) if !create => return Err(ResponseError::UnknownMemberId),
            Entry::Vacant(_) if full => return Err(ResponseError::CoordinatorNotAvailable),
            Entry::Vacant(entry) => {
                let members = Members::Classic(Box::new(ClassicGroup::new(now)));
                entry.insert(Group::new(coordinator, members))
            }
        };
        match &group.members {
            Members::Consumer(members) if !members.is_empty() => {
                return Err(ResponseError::InconsistentGroupProtocol);
            }
            Members::Consumer(_) if !create => return Err(ResponseError::UnknownMemberId),
            Members::Consumer(_) => {
                group.members = Members::Classic(Box::new(ClassicGroup::new(now)));
            }
            Members::Classic(_) => {}
        }
        match &mut group.members {
            Members::Classic(members) => Ok(members),
            Members::Consumer(_) => Err(ResponseError::InconsistentGroupProtocol),
        }
    }

    /// The group that a member of the KIP-848 protocol talks of. A joining one creates it, or turns an empty
    /// classic one into it.
    pub(in crate::cluster) fn consumer_to_join(
        &mut self,
        id: &GroupId,
        coordinator: BrokerId,
        create: bool,
    ) -> Result<&mut ConsumerGroup, Refusal> {
        let full = self.by_id.len() >= GROUPS_MAX;
        let group = match self.by_id.entry(own_group(id)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if !create => {
                let message = format!("Consumer group {} not found.", id.0);
                return Err(Refusal::new(ResponseError::GroupIdNotFound, message));
            }
            Entry::Vacant(_) if full => {
                return Err(Refusal::new(ResponseError::CoordinatorNotAvailable, ""));
            }
            Entry::Vacant(entry) => {
                let members = Members::Consumer(ConsumerGroup::new(&id.0));
                entry.insert(Group::new(coordinator, members))
            }
        };
        if create && group.is_empty() && matches!(group.members, Members::Classic(_)) {
            group.members = Members::Consumer(ConsumerGroup::new(&id.0));
        }
        match &mut group.members {
            Members::Consumer(members) => Ok(members),
            Members::Classic(_) => {
                let message = format!("Group {} is not a consumer group.", id.0);
                Err(Refusal::new(ResponseError::GroupIdNotFound, message))
            }
        }
    }

    /// The group that offsets are committed to: who is no member may commit to one that does not exist yet.
    pub(in crate::cluster) fn group_to_commit(
        &mut self,
        now: Time,
        id: &GroupId,
        coordinator: BrokerId,
        generation: i32,
        not_found: ResponseError,
    ) -> Result<&mut Group, ResponseError> {
        let full = self.by_id.len() >= GROUPS_MAX;
        match self.by_id.entry(own_group(id)) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(_) if generation >= 0 => Err(not_found),
            Entry::Vacant(_) if full => Err(ResponseError::CoordinatorNotAvailable),
            Entry::Vacant(entry) => {
                let members = Members::Classic(Box::new(ClassicGroup::new(now)));
                Ok(entry.insert(Group::new(coordinator, members)))
            }
        }
    }

    /// Whether another broker coordinates this group than when it was last looked at.
    pub(in crate::cluster) fn has_moved(&self, id: &GroupId, coordinator: BrokerId) -> bool {
        self.by_id.get(id).is_some_and(|group| group.coordinator != coordinator)
    }

    /// A coordinator is asked, or a timer has run out: what another one only remembered is gone.
    pub(in crate::cluster) fn handle_move(
        &mut self,
        now: Time,
        rules: &Rules,
        id: &GroupId,
        coordinator: BrokerId,
    ) -> Vec<Answer> {
        self.by_id.get_mut(id).map_or_else(Vec::new, |group| group.move_to(now, rules, coordinator))
    }

    /// Every offset that is committed.
    pub(in crate::cluster) fn committed(
        &self,
    ) -> impl Iterator<Item = (&GroupId, &TopicName, i32, &Committed)> {
        self.by_id.iter().flat_map(|(id, group)| {
            let offsets = group.offsets.iter();
            offsets.map(move |(topic, partition, committed)| (id, topic, partition, committed))
        })
    }

    /// A transaction has ended: what its producer has sent to groups is committed or forgotten.
    pub(in crate::cluster) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        for group in self.by_id.values_mut() {
            group.offsets.end_transaction(producer_id, commit);
        }
    }

    /// A topic was deleted: its offsets go with it.
    pub(in crate::cluster) fn forget_topic(&mut self, topic: &TopicName) {
        for group in self.by_id.values_mut() {
            group.offsets.forget_topic(topic);
        }
    }

    /// Forgets offsets that were kept long enough, and empty groups that have none.
    pub(in crate::cluster) fn expire(&mut self, now: Time, retention: Duration) {
        self.by_id.retain(|_, group| !group.expire(now, retention));
    }
}

/// A copy that does not keep the frame that the text came in.
pub(in crate::cluster) fn own(text: &StrBytes) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn own_group(id: &GroupId) -> GroupId {
    GroupId(own(&id.0))
}
