//! Groups of the KIP-848 protocol: the coordinator assigns the partitions, and members follow at their own pace.
//!
//! ```text
//!  subscriptions, topics ──▶ group epoch ──▶ target assignment ──▶ each member's assignment, by its heartbeats
//! ```
//!
//! A change of a subscription or of the topics makes a group epoch, and that a target. A member gives up what it
//! is not to have before it is given anything new, and nobody is given what another member still has.
//!
//! Invariants: no partition is with two members; a member's epoch is at most the epoch of the target; a member
//! that does not give up in time is removed.
//!
//! A regular expression is resolved after the heartbeat that brings it, so its topics come with the next one.
//! Unlike Kafka, which looks for topics that match anew now and then, this looks at every heartbeat.

mod member;
mod pattern;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kafka_protocol::{ResponseError, messages::TopicName, protocol::StrBytes};
use uuid::Uuid;

pub(in crate::cluster) use member::Member;
pub(in crate::cluster) use pattern::{Pattern, PatternChange};

use super::{
    Refusal, Rules,
    assignor::{Assignment, Assignor, Subscriber},
};
use crate::cluster::{time::Time, topic::Topics};
use member::State;

/// A member that joins.
pub(in crate::cluster) const JOINING: i32 = 0;
/// A member that leaves.
pub(in crate::cluster) const LEAVING: i32 = -1;
/// A static member that leaves for a while and keeps its partitions.
pub(in crate::cluster) const LEAVING_FOR_A_WHILE: i32 = -2;

/// The topics of the cluster, as far as groups look at them.
pub(in crate::cluster) trait TopicView {
    /// Id and number of partitions.
    fn find(&self, name: &TopicName) -> Option<(Uuid, i32)>;
    fn names(&self) -> impl Iterator<Item = &TopicName>;
}

impl TopicView for Topics {
    fn find(&self, name: &TopicName) -> Option<(Uuid, i32)> {
        let topic = self.get(name)?;
        Some((topic.id, i32::try_from(topic.partitions.len()).ok()?))
    }

    fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.iter().map(|(name, _)| name)
    }
}

/// A group of the KIP-848 protocol.
#[derive(Debug, Default)]
pub(in crate::cluster) struct ConsumerGroup {
    /// For what is said to clients.
    name: StrBytes,
    epoch: i32,
    /// The group epoch that the target was made for.
    target_epoch: i32,
    target: BTreeMap<StrBytes, Assignment>,
    members: BTreeMap<StrBytes, Member>,
    /// The topics that members subscribe to and that exist: id and number of partitions.
    topics: BTreeMap<TopicName, (Uuid, i32)>,
}

/// A ConsumerGroupHeartbeat of a member that does not leave. What is absent has not changed.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Heartbeat {
    pub(in crate::cluster) member_id: StrBytes,
    pub(in crate::cluster) epoch: i32,
    pub(in crate::cluster) instance: Option<StrBytes>,
    pub(in crate::cluster) rack: Option<StrBytes>,
    pub(in crate::cluster) client_id: StrBytes,
    pub(in crate::cluster) client_host: StrBytes,
    pub(in crate::cluster) rebalance_timeout: Option<Duration>,
    pub(in crate::cluster) topics: Option<BTreeSet<TopicName>>,
    pub(in crate::cluster) pattern: PatternChange,
    pub(in crate::cluster) assignor: Option<Assignor>,
    /// What the member reads; given when that has changed.
    pub(in crate::cluster) owned: Option<Assignment>,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster) struct Beat {
    pub(in crate::cluster) epoch: i32,
    /// What it is to read; absent when it knows.
    pub(in crate::cluster) assignment: Option<Assignment>,
}

impl ConsumerGroup {
    pub(in crate::cluster) fn new(name: &StrBytes) -> Self {
        Self { name: super::own(name), ..Self::default() }
    }

    pub(in crate::cluster) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(in crate::cluster) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(in crate::cluster) fn state(&self) -> &'static str {
        let follows = |member: &Member| member.has_reached(self.target_epoch);
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(follows) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(in crate::cluster) fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(in crate::cluster) fn target_epoch(&self) -> i32 {
        self.target_epoch
    }

    /// Members with what each of them is to read in the end.
    pub(in crate::cluster) fn members(
        &self,
    ) -> impl Iterator<Item = (&StrBytes, &Member, Option<&Assignment>)> {
        self.members.iter().map(|(id, member)| (id, member, self.target.get(id)))
    }

    pub(in crate::cluster) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        self.members.values().any(|member| member.subscribes_to(topic))
    }

    /// What most members ask for.
    pub(in crate::cluster) fn assignor(&self) -> Assignor {
        let mut votes = BTreeMap::<Assignor, usize>::new();
        for assignor in self.members.values().filter_map(|member| member.assignor) {
            *votes.entry(assignor).or_default() += 1;
        }
        // Of as many votes each, the first one that Kafka lists.
        let best = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
        best.map_or(Assignor::Uniform, |(assignor, _)| assignor)
    }

    pub(in crate::cluster) fn heartbeat(
        &mut self,
        now: Time,
        rules: &Rules,
        topics: &impl TopicView,
        beat: Heartbeat,
    ) -> Result<Beat, Refusal> {
        if self.members.len() >= rules.consumer_members_max
            && !self.members.contains_key(&beat.member_id)
        {
            let max = rules.consumer_members_max;
            let message =
                format!("The consumer group has reached its maximum capacity of {max} members.");
            return Err(Refusal::new(ResponseError::GroupMaxSizeReached, message));
        }
        let id = beat.member_id.clone();
        let joins = beat.epoch == JOINING;
        let is_new = self.find_or_join(&beat)?;
        let full = beat.rebalance_timeout.is_some()
            && (beat.topics.is_some() || beat.pattern != PatternChange::Kept)
            && beat.owned.is_some();
        let owned = beat.owned.clone();
        for member in self.members.values_mut() {
            member.resolve(topics);
        }
        let changed = self.members.get_mut(&id).is_some_and(|member| {
            member.session_until = now + rules.consumer_session;
            member.update(beat)
        });
        self.follow_topics(topics, is_new || changed);
        let before = self.members.get(&id).map(|member| member.assigned.clone());
        self.reconcile(now, &id, owned.as_ref());
        let Some(member) = self.members.get(&id) else {
            return Err(self.unknown(&id));
        };
        let news = joins || full || before.as_ref() != Some(&member.assigned);
        Ok(Beat { epoch: member.epoch, assignment: news.then(|| member.assigned.clone()) })
    }

    /// Finds the member that this heartbeat is of. A joining one is added; `true`: and takes nobody's place.
    fn find_or_join(&mut self, beat: &Heartbeat) -> Result<bool, Refusal> {
        let id = &beat.member_id;
        let joins = beat.epoch == JOINING;
        let holder = beat.instance.as_ref().and_then(|instance| self.holder_of(instance));
        match (&beat.instance, holder.cloned()) {
            (Some(instance), Some(holder)) if joins => {
                let away = self.members.get(&holder).map(|member| member.epoch);
                if away != Some(LEAVING_FOR_A_WHILE) {
                    let message = format!(
                        "Static member {id} with instance id {instance} cannot join the group because the \
                         instance id is owned by {holder} member."
                    );
                    return Err(Refusal::new(ResponseError::UnreleasedInstanceId, message));
                }
                self.replace(&holder, id);
            }
            (Some(instance), Some(holder)) if holder != *id => {
                let message = format!(
                    "Static member {id} with instance id {instance} was fenced by member {holder}."
                );
                return Err(Refusal::new(ResponseError::FencedInstanceId, message));
            }
            (Some(instance), None) if !joins => {
                let message = format!("Instance id {instance} is unknown.");
                return Err(Refusal::new(ResponseError::UnknownMemberId, message));
            }
            (Some(_), None) => {
                let known = self.members.contains_key(id);
                self.members.entry(id.clone()).or_default();
                return Ok(!known);
            }
            (_, _) => match self.members.get(id) {
                Some(member) => member.check_epoch(beat.epoch, beat.owned.as_ref())?,
                None if joins => {
                    self.members.insert(id.clone(), Member::default());
                    return Ok(true);
                }
                None => return Err(self.unknown(id)),
            },
        }
        Ok(false)
    }

    fn unknown(&self, id: &StrBytes) -> Refusal {
        Refusal::new(
            ResponseError::UnknownMemberId,
            format!("Member {id} is not a member of group {}.", self.name),
        )
    }

    fn holder_of(&self, instance: &StrBytes) -> Option<&StrBytes> {
        let mut members = self.members.iter();
        members.find(|(_, member)| member.instance.as_ref() == Some(instance)).map(|(id, _)| id)
    }

    /// A static member's next process takes over what the one before has left behind.
    fn replace(&mut self, old_id: &StrBytes, new_id: &StrBytes) {
        if let Some(mut member) = self.members.remove(old_id) {
            member.epoch = 0;
            member.previous_epoch = 0;
            self.members.insert(new_id.clone(), member);
        }
        if let Some(target) = self.target.remove(old_id) {
            self.target.insert(new_id.clone(), target);
        }
    }

    /// Makes a new target when subscriptions or the topics behind them are no longer those of the last one.
    fn follow_topics(&mut self, topics: &impl TopicView, changed: bool) {
        let names: BTreeSet<&TopicName> =
            self.members.values().flat_map(Member::subscription).collect();
        let found: BTreeMap<_, _> =
            names.into_iter().filter_map(|name| Some((name.clone(), topics.find(name)?))).collect();
        if changed || found != self.topics {
            self.epoch = self.epoch.saturating_add(1);
            self.topics = found;
        }
        if self.epoch > self.target_epoch {
            self.assign();
        }
    }

    fn assign(&mut self) {
        let subscribers: Vec<_> = self
            .members
            .iter()
            .map(|(id, member)| Subscriber {
                id: id.clone(),
                instance: member.instance.clone(),
                topics: member
                    .subscription()
                    .filter_map(|name| self.topics.get(name))
                    .map(|(topic, _)| *topic)
                    .collect(),
                before: self.target.get(id).cloned().unwrap_or_default(),
            })
            .collect();
        let partitions = self.topics.values().copied().collect();
        self.target = self.assignor().assign(&subscribers, &partitions);
        self.target_epoch = self.epoch;
    }

    /// Takes a member a step towards its target.
    fn reconcile(&mut self, now: Time, id: &StrBytes, owned: Option<&Assignment>) {
        let taken: BTreeSet<(Uuid, i32)> =
            self.members.values().flat_map(Member::partitions).collect();
        let target = self.target.get(id).cloned().unwrap_or_default();
        let epoch = self.target_epoch;
        if let Some(member) = self.members.get_mut(id) {
            member.reconcile(now, epoch, &target, &taken, owned);
        }
    }

    /// A member leaves. `epoch` says whether for good.
    pub(in crate::cluster) fn leave(
        &mut self,
        id: &StrBytes,
        instance: Option<&StrBytes>,
        epoch: i32,
    ) -> Result<(), Refusal> {
        if let Some(instance) = instance {
            match self.holder_of(instance) {
                None => {
                    let message = format!("Instance id {instance} is unknown.");
                    return Err(Refusal::new(ResponseError::UnknownMemberId, message));
                }
                Some(holder) if holder != id => {
                    let message = format!(
                        "Static member {id} with instance id {instance} was fenced by member {holder}."
                    );
                    return Err(Refusal::new(ResponseError::FencedInstanceId, message));
                }
                Some(_) => {}
            }
        }
        let Some(member) = self.members.get_mut(id) else { return Err(self.unknown(id)) };
        if instance.is_some() && epoch == LEAVING_FOR_A_WHILE {
            member.leave_for_a_while();
        } else {
            self.remove(id);
        }
        Ok(())
    }

    /// An administrator removes a member, by its id or by its instance.
    pub(in crate::cluster) fn remove_member(
        &mut self,
        id: &StrBytes,
        instance: Option<&StrBytes>,
    ) -> Result<(), ResponseError> {
        let id = self.member_named(id, instance)?;
        self.remove(&id);
        Ok(())
    }

    /// The member of an id, of an instance, or of both.
    pub(in crate::cluster) fn member_named(
        &self,
        id: &StrBytes,
        instance: Option<&StrBytes>,
    ) -> Result<StrBytes, ResponseError> {
        let id = match instance {
            None => id.clone(),
            Some(instance) => {
                let holder = self.holder_of(instance).ok_or(ResponseError::UnknownMemberId)?;
                if !id.is_empty() && holder != id {
                    return Err(ResponseError::FencedInstanceId);
                }
                holder.clone()
            }
        };
        if !self.members.contains_key(&id) {
            return Err(ResponseError::UnknownMemberId);
        }
        Ok(id)
    }

    fn remove(&mut self, id: &StrBytes) {
        self.members.remove(id);
        self.target.remove(id);
        // The others' heartbeats make the next target.
        self.epoch = self.epoch.saturating_add(1);
    }

    /// Whether an offset may be committed by who says to be this member.
    pub(in crate::cluster) fn check_commit(
        &self,
        id: &StrBytes,
        epoch: i32,
        in_transaction: bool,
        knows_epochs: bool,
    ) -> Result<(), ResponseError> {
        if epoch < 0 && self.is_empty() {
            return Ok(());
        }
        if in_transaction && epoch < 0 && id.is_empty() {
            // Old producers cannot say for which member they commit.
            return Ok(());
        }
        let member = self.members.get(id).ok_or(ResponseError::UnknownMemberId)?;
        if !in_transaction && !knows_epochs {
            return Err(ResponseError::UnsupportedVersion);
        }
        match (member.epoch == epoch, in_transaction) {
            (true, _) => Ok(()),
            // Transactions know of generations only.
            (false, true) => Err(ResponseError::IllegalGeneration),
            (false, false) => Err(ResponseError::StaleMemberEpoch),
        }
    }

    /// Whether offsets may be asked for by who says to be this member; an administrator says nothing.
    pub(in crate::cluster) fn check_fetch(
        &self,
        id: Option<&StrBytes>,
        epoch: i32,
    ) -> Result<(), ResponseError> {
        if id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = id.and_then(|id| self.members.get(id));
        let member = member.ok_or(ResponseError::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(ResponseError::StaleMemberEpoch) }
    }

    /// When [`Self::handle_time`] is to be called.
    pub(in crate::cluster) fn deadline(&self) -> Option<Time> {
        self.members.values().map(Member::deadline).min()
    }

    /// Removes members that have not been heard of, or that have not given up in time what is not theirs.
    pub(in crate::cluster) fn handle_time(&mut self, now: Time) {
        let due = self.members.iter().filter(|(_, member)| member.deadline() <= now);
        let due: Vec<_> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.remove(&id);
        }
    }

    /// Another broker has become the coordinator: all but the times is in the group's log.
    pub(in crate::cluster) fn handle_move(&mut self, now: Time, rules: &Rules) {
        for member in self.members.values_mut() {
            member.session_until = now + rules.consumer_session;
            if member.state == State::Unrevoked {
                member.await_revocation(now);
            }
        }
    }
}
