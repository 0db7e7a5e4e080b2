//! One member of a KIP-848 group, and its steps towards the target.
//!
//! ```text
//!              target takes something away            member has given it up
//!   Stable ──────────────────────────────▶ Unrevoked ────────────────────────▶ (next step)
//!     │ ▲                                                                          │
//!     │ └──────────────── nothing is missing any more ◀──── Unreleased ◀───────────┤
//!     └───────────────────── another member still has what is due ────▶────────────┘
//! ```

use std::{collections::BTreeSet, time::Duration};

use kafka_protocol::{ResponseError, messages::TopicName, protocol::StrBytes};
use uuid::Uuid;

use super::{Heartbeat, LEAVING_FOR_A_WHILE, Pattern, PatternChange, TopicView};
use crate::cluster::{
    group::{
        Refusal,
        assignor::{Assignment, Assignor},
    },
    time::Time,
};

/// How far a member is on its way to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// It has all it is to have.
    #[default]
    Stable,
    /// It has to give something up first.
    Unrevoked,
    /// What it is to have is still with others.
    Unreleased,
}

/// A member.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct Member {
    pub(super) state: State,
    pub(in crate::cluster) epoch: i32,
    /// The epoch before: the member may not have heard of the current one.
    pub(super) previous_epoch: i32,
    pub(in crate::cluster) instance: Option<StrBytes>,
    pub(in crate::cluster) rack: Option<StrBytes>,
    pub(in crate::cluster) client_id: StrBytes,
    pub(in crate::cluster) client_host: StrBytes,
    rebalance_timeout: Duration,
    pub(in crate::cluster) topics: BTreeSet<TopicName>,
    pub(in crate::cluster) pattern: Option<Pattern>,
    /// Topics that match the pattern.
    matching: BTreeSet<TopicName>,
    pub(super) assignor: Option<Assignor>,
    /// What it may read.
    pub(in crate::cluster) assigned: Assignment,
    /// What it was told to give up and may still read.
    revoked: Assignment,
    /// When it is removed, unless something is heard of it.
    pub(super) session_until: Time,
    /// When it is removed, unless it gives up what it was told to.
    revoke_until: Option<Time>,
}

impl Member {
    pub(super) fn has_reached(&self, epoch: i32) -> bool {
        self.state == State::Stable && self.epoch == epoch
    }

    /// Topics that it asks for, whether they exist or not.
    pub(super) fn subscription(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.union(&self.matching)
    }

    pub(super) fn subscribes_to(&self, topic: &TopicName) -> bool {
        self.topics.contains(topic) || self.matching.contains(topic)
    }

    /// Partitions that nobody else may have.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (Uuid, i32)> {
        [&self.assigned, &self.revoked].into_iter().flatten().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |partition| (*topic, *partition))
        })
    }

    pub(super) fn deadline(&self) -> Time {
        self.revoke_until.map_or(self.session_until, |until| until.min(self.session_until))
    }

    /// Whether the member knows where it is: the current epoch, or the one before if it has missed the answer.
    pub(super) fn check_epoch(
        &self,
        epoch: i32,
        owned: Option<&Assignment>,
    ) -> Result<(), Refusal> {
        let missed = epoch == self.previous_epoch
            && owned.is_some_and(|owned| is_within(owned, &self.assigned));
        let than = match epoch.cmp(&self.epoch) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less if missed => return Ok(()),
            std::cmp::Ordering::Less => "smaller",
            std::cmp::Ordering::Greater => "greater",
        };
        let message = format!(
            "The consumer group member has a {than} member epoch ({epoch}) than the one known by the group \
             coordinator ({}). The member must abandon all its partitions and rejoin.",
            self.epoch
        );
        Err(Refusal::new(ResponseError::FencedMemberEpoch, message))
    }

    /// Takes over what the member says of itself; whether that changes what the group is to read.
    pub(super) fn update(&mut self, beat: Heartbeat) -> bool {
        self.client_id = beat.client_id;
        self.client_host = beat.client_host;
        self.instance = beat.instance.or(self.instance.take());
        self.rack = beat.rack.or(self.rack.take());
        self.rebalance_timeout = beat.rebalance_timeout.unwrap_or(self.rebalance_timeout);
        self.assignor = beat.assignor.or(self.assignor);
        let mut changed = false;
        if let Some(topics) = beat.topics {
            changed |= topics != self.topics;
            self.topics = topics;
        }
        let pattern = match beat.pattern {
            PatternChange::Kept => return changed,
            PatternChange::Dropped => None,
            PatternChange::Set(pattern) => Some(pattern),
        };
        changed |= pattern != self.pattern;
        self.pattern = pattern;
        changed
    }

    /// Looks up which topics match the pattern.
    pub(super) fn resolve(&mut self, topics: &impl TopicView) {
        self.matching = match &self.pattern {
            None => BTreeSet::new(),
            Some(pattern) => topics.names().filter(|name| pattern.matches(name)).cloned().collect(),
        };
    }

    pub(super) fn leave_for_a_while(&mut self) {
        self.epoch = LEAVING_FOR_A_WHILE;
        self.revoked = Assignment::new();
        self.revoke_until = None;
    }

    pub(super) fn await_revocation(&mut self, now: Time) {
        self.revoke_until = Some(now + self.rebalance_timeout.max(Duration::from_millis(1)));
    }

    /// A step towards the target. `taken` is what any member has, this one included.
    pub(super) fn reconcile(
        &mut self,
        now: Time,
        target_epoch: i32,
        target: &Assignment,
        taken: &BTreeSet<(Uuid, i32)>,
        owned: Option<&Assignment>,
    ) {
        let epoch = match self.state {
            State::Stable if self.epoch == target_epoch => return,
            State::Stable | State::Unreleased => self.epoch,
            State::Unrevoked if still_owns(owned, &self.revoked) => return,
            // Everything that this epoch takes away is given up; the target may have moved on.
            State::Unrevoked => self.epoch.saturating_add(1),
        };
        self.revoked = Assignment::new();
        let (mut assigned, mut revoked) = (Assignment::new(), Assignment::new());
        for (topic, partition) in flat(&self.assigned) {
            let side =
                if contains(target, (topic, partition)) { &mut assigned } else { &mut revoked };
            side.entry(topic).or_default().insert(partition);
        }
        if !revoked.is_empty() && still_owns(owned, &revoked) {
            self.enter(State::Unrevoked, epoch);
            self.assigned = assigned;
            self.revoked = revoked;
            return self.await_revocation(now);
        }
        let mut unreleased = false;
        for partition in flat(target).filter(|partition| !contains(&self.assigned, *partition)) {
            if taken.contains(&partition) {
                unreleased = true;
            } else {
                assigned.entry(partition.0).or_default().insert(partition.1);
            }
        }
        self.enter(if unreleased { State::Unreleased } else { State::Stable }, target_epoch);
        self.assigned = assigned;
    }

    fn enter(&mut self, state: State, epoch: i32) {
        self.state = state;
        self.revoke_until = None;
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }
}

fn flat(assignment: &Assignment) -> impl Iterator<Item = (Uuid, i32)> {
    assignment.iter().flat_map(|(topic, partitions)| {
        partitions.iter().map(move |partition| (*topic, *partition))
    })
}

fn contains(assignment: &Assignment, (topic, partition): (Uuid, i32)) -> bool {
    assignment.get(&topic).is_some_and(|partitions| partitions.contains(&partition))
}

fn is_within(part: &Assignment, whole: &Assignment) -> bool {
    flat(part).all(|partition| contains(whole, partition))
}

/// Whether the member may still read some of `revoked`: it does unless it says otherwise.
fn still_owns(owned: Option<&Assignment>, revoked: &Assignment) -> bool {
    owned.is_none_or(|owned| flat(owned).any(|partition| contains(revoked, partition)))
}
