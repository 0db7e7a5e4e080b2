//! From one generation to the next, and what time does to members.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{ResponseError, messages::TopicName, protocol::StrBytes};

use super::{
    CONSUMER, ClassicGroup, Initial, Member, Phase, Preparing, RECORD_BYTES_MAX, Written, after,
    sync_failed,
};
use crate::cluster::{
    group::{Answer, Rules, subscription},
    time::Time,
};

impl ClassicGroup {
    /// When [`Self::handle_time`] is to be called.
    pub(in crate::cluster) fn deadline(&self) -> Option<Time> {
        let members = self.members.values().filter_map(|member| member.expires);
        let phase = match self.phase {
            Phase::Preparing(preparing) => Some(preparing.until),
            Phase::Empty | Phase::Completing | Phase::Stable => None,
        };
        members.chain(self.pending.values().copied()).chain(phase).chain(self.sync_until).min()
    }

    pub(in crate::cluster) fn handle_time(&mut self, now: Time) -> Vec<Answer> {
        let mut answers = Vec::new();
        let pending = self.pending.len();
        self.pending.retain(|_, until| *until > now);
        if self.pending.len() < pending {
            self.complete_if_none_is_missing(now, &mut answers);
        }
        self.expire_members(now, &mut answers);
        if let Phase::Preparing(preparing) = self.phase
            && preparing.until <= now
        {
            self.waited_long_enough(now, preparing, &mut answers);
        }
        if self.sync_until.is_some_and(|until| until <= now) {
            self.sync_until = None;
            for id in std::mem::take(&mut self.unsynced) {
                self.remove(&id, ResponseError::UnknownMemberId, &mut answers);
            }
            self.prepare(now, &mut answers);
        }
        answers
    }

    fn expire_members(&mut self, now: Time, answers: &mut Vec<Answer>) {
        let due = |member: &Member| member.expires.is_some_and(|expires| expires <= now);
        let ids: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| due(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if !due(member) {
                // The loss of another one has begun a generation, and it was part of that.
                continue;
            }
            member.expires = None;
            let waits = member.joining.is_some() || member.syncing.is_some();
            if waits && !member.is_new {
                continue;
            }
            self.remove(&id, ResponseError::UnknownMemberId, answers);
            match self.phase {
                Phase::Stable | Phase::Completing => self.prepare(now, answers),
                Phase::Preparing(_) => self.complete_if_none_is_missing(now, answers),
                Phase::Empty => {}
            }
        }
    }

    fn waited_long_enough(&mut self, now: Time, preparing: Preparing, answers: &mut Vec<Answer>) {
        match preparing.initial {
            Some(initial) if initial.joined && !initial.remaining.is_zero() => {
                let delay = initial.step.min(initial.remaining);
                let remaining = initial.remaining.saturating_sub(initial.delay);
                let next = Initial { delay, remaining, joined: false, ..initial };
                let until = after(now, delay);
                self.phase = Phase::Preparing(Preparing { until, initial: Some(next) });
            }
            Some(_) | None => self.complete_join(now, answers),
        }
    }

    /// A member has come or changed: a generation ends, or the next one may begin.
    pub(super) fn prepare_or_complete(
        &mut self,
        now: Time,
        rules: &Rules,
        answers: &mut Vec<Answer>,
    ) {
        match self.phase {
            Phase::Empty => {
                let delay = rules.initial_delay;
                let remaining = self.rebalance_timeout().saturating_sub(delay);
                let initial = Initial { step: delay, delay, remaining, joined: false };
                let until = now + delay;
                self.enter(now, Phase::Preparing(Preparing { until, initial: Some(initial) }));
                if delay.is_zero() {
                    self.complete_join(now, answers);
                }
            }
            Phase::Stable | Phase::Completing => self.prepare(now, answers),
            Phase::Preparing(_) => self.complete_if_all_joined(now, answers),
        }
    }

    /// Calls all members to join again.
    pub(super) fn prepare(&mut self, now: Time, answers: &mut Vec<Answer>) {
        if self.phase == Phase::Completing {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                if let Some(ticket) = member.syncing.take() {
                    let failed = sync_failed(ResponseError::RebalanceInProgress);
                    answers.push(Answer::Sync(ticket, failed));
                    member.touch(now);
                }
            }
        }
        self.unsynced.clear();
        self.sync_until = None;
        let until = after(now, self.rebalance_timeout());
        self.enter(now, Phase::Preparing(Preparing { until, initial: None }));
        self.complete_if_none_is_missing(now, answers);
    }

    /// As [`Self::complete_if_none_is_missing`], but the first members of an empty group are given their time.
    pub(super) fn complete_if_all_joined(&mut self, now: Time, answers: &mut Vec<Answer>) {
        if matches!(self.phase, Phase::Preparing(Preparing { initial: None, .. })) {
            self.complete_if_none_is_missing(now, answers);
        }
    }

    fn complete_if_none_is_missing(&mut self, now: Time, answers: &mut Vec<Answer>) {
        let all = self.pending.is_empty() && self.waiting() == self.members.len();
        if all && matches!(self.phase, Phase::Preparing(_)) {
            self.complete_join(now, answers);
        }
    }

    /// Whoever has joined makes up the next generation. Static members may come later.
    fn complete_join(&mut self, now: Time, answers: &mut Vec<Answer>) {
        let missing: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in missing {
            self.remove(&id, ResponseError::UnknownMemberId, answers);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            let until = after(now, self.rebalance_timeout());
            self.phase = Phase::Preparing(Preparing { until, initial: None });
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol_name = self.choose_protocol();
        self.subscribed = self.subscribed_topics();
        if self.members.is_empty() {
            self.enter(now, Phase::Empty);
            self.write();
            return;
        }
        self.enter(now, Phase::Completing);
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_until = Some(after(now, self.rebalance_timeout()));
        for id in self.unsynced.clone() {
            let leads = self.leader.as_ref() == Some(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            member.touch(now);
            if let Some(ticket) = member.joining.take() {
                answers.push(Answer::Join(ticket, self.joined(&id, leads)));
            }
        }
    }

    /// A leader that has not come back gives way to a member that has; `false`: there is none.
    fn elect_leader(&mut self) -> bool {
        let waits = |member: &Member| member.joining.is_some();
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(waits) {
            return true;
        }
        let next = self.members.iter().find(|(_, member)| waits(member));
        let next = next.map(|(id, _)| id.clone());
        match next {
            Some(next) => {
                self.leader = Some(next);
                true
            }
            None => false,
        }
    }

    /// The leader has said who reads what.
    pub(super) fn assign(
        &mut self,
        now: Time,
        assignments: &BTreeMap<StrBytes, Bytes>,
        answers: &mut Vec<Answer>,
    ) {
        for (id, member) in &mut self.members {
            member.assignment = assignments.get(id).cloned().unwrap_or_default();
        }
        let bytes = self.members.values().map(|member| {
            member.assignment.len() + member.metadata(self.protocol_name.as_ref()).len()
        });
        if bytes.sum::<usize>() > RECORD_BYTES_MAX {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                if let Some(ticket) = member.syncing.take() {
                    let failed = sync_failed(ResponseError::UnknownServerError);
                    answers.push(Answer::Sync(ticket, failed));
                }
            }
            return self.prepare(now, answers);
        }
        self.enter(now, Phase::Stable);
        self.write();
        let mut waiting = Vec::new();
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                member.touch(now);
                waiting.push((ticket, member.assignment.clone()));
            }
        }
        for (ticket, assignment) in waiting {
            answers.push(Answer::Sync(ticket, self.sync_done(assignment)));
        }
    }

    fn enter(&mut self, now: Time, phase: Phase) {
        self.phase = phase;
        self.since = now;
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    fn subscribed_topics(&self) -> Option<BTreeSet<TopicName>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(self.protocol_name.as_ref()))?);
        }
        Some(topics)
    }

    /// Writes down what another coordinator would find.
    pub(super) fn write(&mut self) {
        let members = self.members.iter().map(|(id, member)| {
            let member = Member { joining: None, syncing: None, is_new: false, ..member.clone() };
            (id.clone(), member)
        });
        self.written = Written {
            since: self.since,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
        };
    }

    /// Another broker has become the coordinator. It reads the group from its log; who waits at the old one is
    /// sent away.
    pub(in crate::cluster) fn handle_move(&mut self, now: Time) -> Vec<Answer> {
        let mut answers = Vec::new();
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.remove(&id, ResponseError::NotCoordinator, &mut answers);
        }
        let written = self.written.clone();
        let phase = if written.members.is_empty() { Phase::Empty } else { Phase::Stable };
        *self = Self {
            phase,
            since: written.since,
            generation: written.generation,
            protocol_type: written.protocol_type.clone(),
            protocol_name: written.protocol_name.clone(),
            leader: written.leader.clone(),
            members: written.members.clone(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_until: None,
            subscribed: None,
            written,
        };
        self.subscribed = self.subscribed_topics();
        for (id, member) in &mut self.members {
            member.touch(now);
            if let Some(instance) = &member.instance {
                self.static_members.insert(instance.clone(), id.clone());
            }
        }
        answers
    }
}
