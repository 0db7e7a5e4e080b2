//! Groups whose members assign the partitions themselves: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! ```text
//!           first join            all joined, or time is up          leader has synced
//!  Empty ───────────────▶ Preparing ───────────────▶ Completing ───────────────▶ Stable
//!    ▲                     │   ▲ ▲                       │                          │
//!    └── nobody joined ────┘   │ └── join, leave, loss ──┘                          │
//!                              └──────────────── join, leave, loss ─────────────────┘
//! ```
//!
//! A join waits for the end of `Preparing`, a sync for that of `Completing`. Kafka's fifth state, `Dead`, is a
//! group that the registry does not hold.
//!
//! Invariants: a group with members has a leader among them; every member of `Completing` and `Stable` was told
//! the same generation; whoever waits is answered before it is forgotten.

mod join;
mod rebalance;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{JoinGroupResponse, SyncGroupResponse, TopicName},
    protocol::StrBytes,
};

pub(in crate::cluster) use join::Join;

use super::{Answer, offsets::Aging};
use crate::cluster::{connection::Ticket, time::Time};

/// The protocol type of consumers, whose subscriptions the coordinator reads.
pub(in crate::cluster) const CONSUMER: &str = "consumer";

/// What a generation's record may have at the most: Kafka's `message.max.bytes`.
const RECORD_BYTES_MAX: usize = 1_048_588;

/// A group of the classic protocol.
#[derive(Debug)]
pub(in crate::cluster) struct ClassicGroup {
    phase: Phase,
    /// When the phase began.
    since: Time,
    generation: i32,
    /// Set by the first member, kept by an empty group.
    protocol_type: Option<StrBytes>,
    /// What the members of this generation have chosen.
    protocol_name: Option<StrBytes>,
    leader: Option<StrBytes>,
    members: BTreeMap<StrBytes, Member>,
    /// Ids of members by `group.instance.id`.
    static_members: BTreeMap<StrBytes, StrBytes>,
    /// Ids that were given and not used yet, and when they are forgotten.
    pending: BTreeMap<StrBytes, Time>,
    /// Members of this generation that have not asked for their assignment yet.
    unsynced: BTreeSet<StrBytes>,
    /// When they are removed.
    sync_until: Option<Time>,
    /// What the members read; `None`: they are no consumers, or it cannot be told.
    subscribed: Option<BTreeSet<TopicName>>,
    /// What the group's log has: all that survives a move to another coordinator.
    written: Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Empty,
    Preparing(Preparing),
    Completing,
    Stable,
}

/// Members are being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Preparing {
    until: Time,
    /// The group was empty: whoever else is about to join is given time.
    initial: Option<Initial>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Initial {
    /// How long a step is.
    step: Duration,
    /// The step that is running.
    delay: Duration,
    /// What it may still be prolonged by.
    remaining: Duration,
    /// Somebody has joined in this step, so there is a next one.
    joined: bool,
}

#[derive(Clone, Debug)]
struct Member {
    instance: Option<StrBytes>,
    client_id: StrBytes,
    client_host: StrBytes,
    rebalance_timeout: Duration,
    session_timeout: Duration,
    /// In the order of preference.
    protocols: Vec<(StrBytes, Bytes)>,
    assignment: Bytes,
    /// A join that waits.
    joining: Option<Ticket>,
    /// A sync that waits.
    syncing: Option<Ticket>,
    /// It has not been part of a generation yet, so waiting does not keep it alive.
    is_new: bool,
    /// When it is removed, unless something is heard of it.
    expires: Option<Time>,
}

/// What was written of a group when it was last stable or empty.
#[derive(Clone, Debug, Default)]
struct Written {
    since: Time,
    generation: i32,
    protocol_type: Option<StrBytes>,
    protocol_name: Option<StrBytes>,
    leader: Option<StrBytes>,
    members: BTreeMap<StrBytes, Member>,
}

/// A member as DescribeGroups shows it.
pub(in crate::cluster) struct Described<'a> {
    pub(in crate::cluster) id: &'a StrBytes,
    pub(in crate::cluster) instance: Option<&'a StrBytes>,
    pub(in crate::cluster) client_id: &'a StrBytes,
    pub(in crate::cluster) client_host: &'a StrBytes,
    pub(in crate::cluster) metadata: Bytes,
    pub(in crate::cluster) assignment: Bytes,
}

/// Who says something: the id of a member, and its `group.instance.id`, where it has one.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Identity<'a> {
    pub(in crate::cluster) member: &'a StrBytes,
    pub(in crate::cluster) instance: Option<&'a StrBytes>,
}

/// A SyncGroup.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Sync<'a> {
    pub(in crate::cluster) ticket: Ticket,
    pub(in crate::cluster) identity: Identity<'a>,
    pub(in crate::cluster) generation: i32,
    pub(in crate::cluster) protocol_type: Option<&'a StrBytes>,
    pub(in crate::cluster) protocol_name: Option<&'a StrBytes>,
    /// From the leader alone.
    pub(in crate::cluster) assignments: BTreeMap<StrBytes, Bytes>,
}

impl Member {
    fn metadata(&self, protocol: Option<&StrBytes>) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| Some(name) == protocol);
        found.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    /// Something was heard of it.
    fn touch(&mut self, now: Time) {
        self.expires = Some(after(now, self.session_timeout));
    }
}

/// A moment that is yet to come, also where a client asks for no time at all.
fn after(now: Time, duration: Duration) -> Time {
    now + duration.max(Duration::from_millis(1))
}

impl ClassicGroup {
    pub(in crate::cluster) fn new(now: Time) -> Self {
        Self {
            phase: Phase::Empty,
            since: now,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_until: None,
            subscribed: None,
            written: Written { since: now, ..Written::default() },
        }
    }

    pub(in crate::cluster) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(in crate::cluster) fn is_empty(&self) -> bool {
        self.phase == Phase::Empty
    }

    pub(in crate::cluster) fn state(&self) -> &'static str {
        match self.phase {
            Phase::Empty => "Empty",
            Phase::Preparing(_) => "PreparingRebalance",
            Phase::Completing => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }

    pub(in crate::cluster) fn protocol_type(&self) -> StrBytes {
        self.protocol_type.clone().unwrap_or_default()
    }

    /// The chosen protocol, once the members share it.
    pub(in crate::cluster) fn stable_protocol(&self) -> Option<&StrBytes> {
        self.protocol_name.as_ref().filter(|_| self.phase == Phase::Stable)
    }

    pub(in crate::cluster) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        self.subscribed.as_ref().is_some_and(|topics| topics.contains(topic))
    }

    /// Members; what they have agreed on is shown only while the group is stable, their parts until they get others.
    pub(in crate::cluster) fn describe(&self) -> impl Iterator<Item = Described<'_>> {
        let protocol = self.stable_protocol();
        self.members.iter().map(move |(id, member)| Described {
            id,
            instance: member.instance.as_ref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            metadata: member.metadata(protocol),
            assignment: member.assignment.clone(),
        })
    }

    /// Whether offsets of this group may be deleted one by one.
    pub(in crate::cluster) fn check_offset_delete(&self) -> Result<(), ResponseError> {
        let consumers = self.protocol_type.as_deref() == Some(CONSUMER);
        if self.is_empty() || consumers { Ok(()) } else { Err(ResponseError::NonEmptyGroup) }
    }

    /// From when on an offset that nobody reads gets old.
    pub(in crate::cluster) fn aging(&self) -> Aging {
        let consumers = self.protocol_type.as_deref() == Some(CONSUMER);
        match (&self.protocol_type, self.phase) {
            // Nobody was ever a member: each offset has its own age.
            (None, _) => Aging::FromCommit,
            (Some(_), Phase::Empty) => Aging::From(self.since),
            (Some(_), Phase::Stable) if consumers && self.subscribed.is_some() => Aging::FromCommit,
            (Some(_), _) => Aging::Never,
        }
    }

    /// Whether an offset may be committed by who says to be this member; a member's session is prolonged.
    pub(in crate::cluster) fn commit(
        &mut self,
        now: Time,
        identity: Identity<'_>,
        generation: i32,
        in_transaction: bool,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation >= 0 || !identity.member.is_empty() || identity.instance.is_some() {
            self.check(identity)?;
            if generation != self.generation {
                return Err(ResponseError::IllegalGeneration);
            }
        } else if !in_transaction && !self.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        if in_transaction {
            return Ok(());
        }
        match self.phase {
            Phase::Completing => return Err(ResponseError::RebalanceInProgress),
            Phase::Empty => {}
            Phase::Stable | Phase::Preparing(_) => {
                if let Some(member) = self.members.get_mut(identity.member) {
                    member.touch(now);
                }
            }
        }
        Ok(())
    }

    pub(in crate::cluster) fn heartbeat(
        &mut self,
        now: Time,
        identity: Identity<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        self.check(identity)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.phase == Phase::Empty {
            return Err(ResponseError::UnknownMemberId);
        }
        if let Some(member) = self.members.get_mut(identity.member) {
            member.touch(now);
        }
        match self.phase {
            Phase::Preparing(_) => Err(ResponseError::RebalanceInProgress),
            Phase::Empty | Phase::Completing | Phase::Stable => Ok(()),
        }
    }

    /// Members leave, each by its own request or together by an administrator's. Says for each of them whether it
    /// was one.
    pub(in crate::cluster) fn leave(
        &mut self,
        now: Time,
        leaving: &[Identity<'_>],
    ) -> (Vec<Result<(), ResponseError>>, Vec<Answer>) {
        let mut answers = Vec::new();
        let mut results = Vec::new();
        for identity in leaving {
            results.push(self.leave_one(*identity, &mut answers));
        }
        if results.iter().any(Result::is_ok) {
            match self.phase {
                Phase::Stable | Phase::Completing => self.prepare(now, &mut answers),
                Phase::Preparing(_) => self.complete_if_all_joined(now, &mut answers),
                Phase::Empty => {}
            }
        }
        (results, answers)
    }

    fn leave_one(
        &mut self,
        identity: Identity<'_>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ResponseError> {
        let id = if identity.member.is_empty() {
            // An administrator removes a static member by its instance.
            let instance = identity.instance.ok_or(ResponseError::UnknownMemberId)?;
            self.static_members.get(instance).ok_or(ResponseError::UnknownMemberId)?.clone()
        } else if self.pending.remove(identity.member).is_some() {
            return Ok(());
        } else {
            self.check(identity)?;
            identity.member.clone()
        };
        self.remove(&id, ResponseError::UnknownMemberId, answers);
        Ok(())
    }

    pub(in crate::cluster) fn sync(&mut self, now: Time, sync: Sync<'_>) -> Vec<Answer> {
        let mut answers = Vec::new();
        if let Err(error) = self.check_sync(&sync) {
            answers.push(Answer::Sync(sync.ticket, sync_failed(error)));
            return answers;
        }
        let id = sync.identity.member;
        match self.phase {
            Phase::Empty => {
                let failed = sync_failed(ResponseError::UnknownMemberId);
                answers.push(Answer::Sync(sync.ticket, failed));
            }
            Phase::Preparing(_) => {
                let failed = sync_failed(ResponseError::RebalanceInProgress);
                answers.push(Answer::Sync(sync.ticket, failed));
            }
            Phase::Completing => {
                self.synced(id);
                if let Some(member) = self.members.get_mut(id)
                    && let Some(earlier) = member.syncing.replace(sync.ticket)
                {
                    let failed = sync_failed(ResponseError::RebalanceInProgress);
                    answers.push(Answer::Sync(earlier, failed));
                }
                if self.leader.as_ref() == Some(id) {
                    self.assign(now, &sync.assignments, &mut answers);
                }
            }
            Phase::Stable => {
                self.synced(id);
                if let Some(member) = self.members.get(id) {
                    let assignment = member.assignment.clone();
                    answers.push(Answer::Sync(sync.ticket, self.sync_done(assignment)));
                }
            }
        }
        answers
    }

    fn check_sync(&self, sync: &Sync<'_>) -> Result<(), ResponseError> {
        if self.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.check(sync.identity)?;
        if sync.generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |said: Option<&StrBytes>, known: Option<&StrBytes>| {
            said.zip(known).is_some_and(|(said, known)| said != known)
        };
        if differs(sync.protocol_type, self.protocol_type.as_ref())
            || differs(sync.protocol_name, self.protocol_name.as_ref())
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn synced(&mut self, id: &StrBytes) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            self.sync_until = None;
        }
    }

    fn sync_done(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.clone())
            .with_protocol_name(self.protocol_name.clone())
            .with_assignment(assignment)
    }

    /// Whether this is a member, and the one that holds its instance.
    fn check(&self, identity: Identity<'_>) -> Result<(), ResponseError> {
        if let Some(instance) = identity.instance {
            match self.static_members.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(holder) if holder != identity.member => {
                    return Err(ResponseError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(identity.member) {
            Ok(())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    /// Forgets a member; if it waits for something, that fails.
    fn remove(&mut self, id: &StrBytes, error: ResponseError, answers: &mut Vec<Answer>) {
        self.pending.remove(id);
        self.unsynced.remove(id);
        let Some(member) = self.members.remove(id) else { return };
        if let Some(ticket) = member.joining {
            answers.push(Answer::Join(ticket, join_failed(&StrBytes::default(), error)));
        }
        if let Some(ticket) = member.syncing {
            answers.push(Answer::Sync(ticket, sync_failed(error)));
        }
        if let Some(instance) = &member.instance {
            self.static_members.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}

fn join_failed(member_id: &StrBytes, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default().with_member_id(member_id.clone()).with_error_code(error.code())
}

fn sync_failed(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}
