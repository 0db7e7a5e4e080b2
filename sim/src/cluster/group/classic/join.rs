//! Joining: new members, those that come back, and a static member's next process.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{JoinGroupResponse, join_group_response::JoinGroupResponseMember},
    protocol::StrBytes,
};

use super::{ClassicGroup, Identity, Member, Phase, after, join_failed};
use crate::cluster::{
    connection::Ticket,
    group::{Answer, Rules},
    time::Time,
};

/// How long a member may wait for its first generation.
const FIRST_JOIN_TIMEOUT: Duration = Duration::from_mins(5);
/// Ids that a group gives without hearing of them again, at the most; Kafka has no such limit.
const PENDING_MAX: usize = 10_000;
/// What a member may tell about itself at the most: a generation with more of it could not be written either.
const METADATA_BYTES_MAX: usize = super::RECORD_BYTES_MAX;

/// From which version on a member must know its id before it joins.
const ID_REQUIRED: i16 = 4;
/// From which version on a leader can be told that the assignment stays.
const SKIPS_ASSIGNMENT: i16 = 9;

/// A JoinGroup.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Join {
    pub(in crate::cluster) ticket: Ticket,
    /// Empty: a new member.
    pub(in crate::cluster) member_id: StrBytes,
    /// The id that a new member gets.
    pub(in crate::cluster) new_id: StrBytes,
    pub(in crate::cluster) instance: Option<StrBytes>,
    pub(in crate::cluster) client_id: StrBytes,
    pub(in crate::cluster) client_host: StrBytes,
    pub(in crate::cluster) protocol_type: StrBytes,
    pub(in crate::cluster) protocols: Vec<(StrBytes, Bytes)>,
    pub(in crate::cluster) session_timeout: Duration,
    pub(in crate::cluster) rebalance_timeout: Duration,
}

impl Join {
    fn is_too_large(&self) -> bool {
        let bytes = self.protocols.iter().map(|(name, metadata)| name.len() + metadata.len());
        bytes.sum::<usize>() > METADATA_BYTES_MAX
    }
}

impl ClassicGroup {
    pub(in crate::cluster) fn join(&mut self, now: Time, rules: &Rules, join: Join) -> Vec<Answer> {
        let mut answers = Vec::new();
        let refuse = |id: &StrBytes, error| Answer::Join(join.ticket, join_failed(id, error));
        if !self.has_room_for(&join.member_id, rules) {
            self.remove(&join.member_id, ResponseError::GroupMaxSizeReached, &mut answers);
            answers.push(refuse(&StrBytes::default(), ResponseError::GroupMaxSizeReached));
        } else if !self.supports(&join) {
            answers.push(refuse(&join.member_id, ResponseError::InconsistentGroupProtocol));
        } else if join.is_too_large() {
            answers.push(refuse(&join.member_id, ResponseError::UnknownServerError));
        } else if join.member_id.is_empty() {
            self.join_new(now, rules, join, &mut answers);
        } else {
            self.join_known(now, rules, join, &mut answers);
        }
        answers
    }

    fn has_room_for(&self, id: &StrBytes, rules: &Rules) -> bool {
        let max = rules.classic_members_max;
        match self.phase {
            Phase::Empty => true,
            Phase::Preparing(_) => {
                let waits = self.members.get(id).is_some_and(|member| member.joining.is_some());
                waits || self.waiting() < max
            }
            Phase::Completing | Phase::Stable => {
                self.members.contains_key(id) || self.members.len() < max
            }
        }
    }

    /// Whether the group has a protocol with this member.
    fn supports(&self, join: &Join) -> bool {
        if self.phase == Phase::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| self.is_shared(name))
    }

    fn join_new(&mut self, now: Time, rules: &Rules, join: Join, answers: &mut Vec<Answer>) {
        let holder = join.instance.as_ref().and_then(|instance| self.static_members.get(instance));
        if let Some(holder) = holder.cloned() {
            self.replace(now, rules, &holder, join, answers);
        } else if join.instance.is_some() || join.ticket.api_version < ID_REQUIRED {
            let id = join.new_id.clone();
            self.add(now, rules, id, join, answers);
        } else if self.pending.len() >= PENDING_MAX {
            let failed = join_failed(&join.member_id, ResponseError::GroupMaxSizeReached);
            answers.push(Answer::Join(join.ticket, failed));
        } else {
            self.pending.insert(join.new_id.clone(), after(now, join.session_timeout));
            let known = join_failed(&join.new_id, ResponseError::MemberIdRequired);
            answers.push(Answer::Join(join.ticket, known));
        }
    }

    fn join_known(&mut self, now: Time, rules: &Rules, join: Join, answers: &mut Vec<Answer>) {
        let id = join.member_id.clone();
        if self.pending.contains_key(&id) {
            if join.instance.is_some() {
                // Static members are never given an id beforehand.
                let nobody = StrBytes::default();
                let failed = join_failed(&nobody, ResponseError::UnknownServerError);
                answers.push(Answer::Join(join.ticket, failed));
            } else {
                self.add(now, rules, id, join, answers);
            }
            return;
        }
        let identity = Identity { member: &id, instance: join.instance.as_ref() };
        if let Err(error) = self.check(identity) {
            let failed = join_failed(&id, error).with_protocol_name(None);
            answers.push(Answer::Join(join.ticket, failed));
            return;
        }
        let unchanged =
            self.members.get(&id).is_some_and(|known| known.protocols == join.protocols);
        let leads = self.leader.as_ref() == Some(&id);
        match self.phase {
            // It has missed the answer to its join.
            Phase::Completing if unchanged => {
                answers.push(Answer::Join(join.ticket, self.joined(&id, leads)));
            }
            Phase::Stable if unchanged && !leads => {
                answers.push(Answer::Join(join.ticket, self.joined(&id, false)));
            }
            Phase::Preparing(_) | Phase::Completing | Phase::Stable => {
                self.update(&id, join, answers);
                self.prepare_or_complete(now, rules, answers);
            }
            Phase::Empty => {
                let failed = join_failed(&id, ResponseError::UnknownMemberId);
                answers.push(Answer::Join(join.ticket, failed));
            }
        }
    }

    fn add(
        &mut self,
        now: Time,
        rules: &Rules,
        id: StrBytes,
        join: Join,
        answers: &mut Vec<Answer>,
    ) {
        if let Phase::Preparing(preparing) = &mut self.phase
            && let Some(initial) = &mut preparing.initial
        {
            initial.joined = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if let Some(instance) = &join.instance {
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.pending.remove(&id);
        let member = Member {
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout: join.rebalance_timeout,
            session_timeout: join.session_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: Some(join.ticket),
            syncing: None,
            is_new: true,
            expires: Some(after(now, FIRST_JOIN_TIMEOUT)),
        };
        self.members.insert(id, member);
        self.prepare_or_complete(now, rules, answers);
    }

    /// What a member says anew replaces what it said before.
    fn update(&mut self, id: &StrBytes, join: Join, answers: &mut Vec<Answer>) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.protocols = join.protocols;
        member.rebalance_timeout = join.rebalance_timeout;
        member.session_timeout = join.session_timeout;
        if let Some(earlier) = member.joining.replace(join.ticket) {
            // Its connection is most likely gone; if not, the client must not wait for ever.
            let failed = join_failed(id, ResponseError::RebalanceInProgress);
            answers.push(Answer::Join(earlier, failed));
        }
    }

    /// A static member's process has started again: it takes the place of the one before, which is fenced.
    fn replace(
        &mut self,
        now: Time,
        rules: &Rules,
        old_id: &StrBytes,
        join: Join,
        answers: &mut Vec<Answer>,
    ) {
        let Some(mut member) = self.members.remove(old_id) else { return };
        let new_id = join.new_id.clone();
        if let Some(ticket) = member.joining.take() {
            let fenced = join_failed(old_id, ResponseError::FencedInstanceId);
            answers.push(Answer::Join(ticket, fenced.with_protocol_name(None)));
        }
        if let Some(ticket) = member.syncing.take() {
            let fenced = super::sync_failed(ResponseError::FencedInstanceId);
            answers.push(Answer::Sync(ticket, fenced));
        }
        let old_leader = self.leader.clone();
        if self.leader.as_ref() == Some(old_id) {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        member.touch(now);
        member.is_new = false;
        self.members.insert(new_id.clone(), member);
        let ticket = join.ticket;
        self.update(&new_id, join, answers);
        match self.phase {
            Phase::Stable if self.choose_protocol() == self.protocol_name => {
                // Nothing changes for the others: the next process reads what the last one read.
                self.unsynced.remove(old_id);
                self.write();
                let answer = if ticket.api_version >= SKIPS_ASSIGNMENT {
                    let leads = self.leader.as_ref() == Some(&new_id);
                    self.joined(&new_id, leads).with_skip_assignment(leads)
                } else {
                    // Told that another leads, it does not assign anything.
                    self.joined(&new_id, false).with_leader(old_leader.unwrap_or_default())
                };
                if let Some(member) = self.members.get_mut(&new_id) {
                    member.joining = None;
                }
                answers.push(Answer::Join(ticket, answer));
            }
            Phase::Stable | Phase::Completing | Phase::Preparing(_) => {
                self.unsynced.remove(old_id);
                self.prepare_or_complete(now, rules, answers);
            }
            Phase::Empty => {}
        }
    }

    /// The answer to a member of this generation. The leader gets to know all the others.
    pub(super) fn joined(&self, id: &StrBytes, with_members: bool) -> JoinGroupResponse {
        let members = with_members.then(|| {
            let members = self.members.iter().map(|(id, member)| {
                JoinGroupResponseMember::default()
                    .with_member_id(id.clone())
                    .with_group_instance_id(member.instance.clone())
                    .with_metadata(member.metadata(self.protocol_name.as_ref()))
            });
            members.collect()
        });
        JoinGroupResponse::default()
            .with_member_id(id.clone())
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.clone())
            .with_protocol_name(self.protocol_name.clone())
            .with_leader(self.leader.clone().unwrap_or_default())
            .with_members(members.unwrap_or_default())
    }

    /// Joins that wait.
    pub(super) fn waiting(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// Whether every member has this protocol.
    fn is_shared(&self, protocol: &StrBytes) -> bool {
        self.members
            .values()
            .all(|member| member.protocols.iter().any(|(name, _)| name == protocol))
    }

    /// What most members prefer among what all of them have.
    pub(super) fn choose_protocol(&self) -> Option<StrBytes> {
        let mut votes = BTreeMap::<&StrBytes, usize>::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| self.is_shared(name))
            {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.clone())
    }
}
