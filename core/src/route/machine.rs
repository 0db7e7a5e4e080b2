//! The state machine of one route. [`super`] has its diagram.

use std::{sync::Arc, time::Duration};

use super::{Change, Gate, Observed, Repoint, Snapshot, Target};
use crate::config::model::{Fence, FenceMode};

/// Largest revision: the last one that every reader of JSON can tell from its neighbour.
pub const REVISION_MAX: u64 = (1 << 53) - 1;

/// What was decided for a route. Survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Only ever rises.
    pub revision: u64,
    /// Where the route shall point.
    pub target: Target,
    /// What stands between clients and the target until an unfence.
    pub fence: Option<Fence>,
    /// The route has been pointed at another domain before.
    pub moved: bool,
}

/// What a command expects of the route's revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The revision that this command shall bring about; `None`: the next one. Numbers chosen by whoever
    /// commands make one decision comparable over several gateways.
    pub revision: Option<u64>,
    /// The command is refused when the route is at another revision.
    pub expected_revision: Option<u64>,
}

/// A command was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The route's revision from now on.
    pub revision: u64,
    /// False when the route was in the wanted state already. The revision rises even then if the command
    /// named one.
    pub changed: bool,
}

/// A command was not taken, and nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The command carries a revision that is not newer.
    #[error("revision {given} is not newer than the route's revision {current}")]
    Stale {
        /// The command's.
        given: u64,
        /// The route's.
        current: u64,
    },
    /// Somebody else has changed the route.
    #[error("the route is at revision {current}, not at {expected}")]
    ChangedMeanwhile {
        /// The command's.
        expected: u64,
        /// The route's.
        current: u64,
    },
    /// Revisions end at [`REVISION_MAX`].
    #[error("no revision above {REVISION_MAX} can be given")]
    RevisionTooLarge,
    /// A drain is under way.
    #[error("the route is draining on its way to streaming domain `{towards}`")]
    Draining {
        /// Where it goes.
        towards: Arc<str>,
    },
}

impl Refused {
    /// What to do instead.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Stale { .. } => {
                "look at the route's status; if the command still applies, number it higher"
            }
            Self::ChangedMeanwhile { .. } => {
                "look at the route's status; if the command still applies, expect its present revision"
            }
            Self::RevisionTooLarge => {
                "number revisions from small to large, or leave the number out"
            }
            Self::Draining { .. } => {
                "wait for the drain's deadline, or end it with a switchover to the same target without a drain"
            }
        }
    }
}

/// How far a route has come.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Requests go to the target.
    Serving,
    /// The fence stands; nothing moves.
    Fenced,
    /// Requests in flight finish on the old target while new ones wait.
    Draining,
    /// The target has changed; some sessions still belong to the old one.
    Moving,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 4] = [Self::Serving, Self::Fenced, Self::Draining, Self::Moving];

    /// As metric label and in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Fenced => "fenced",
            Self::Draining => "draining",
            Self::Moving => "moving",
        }
    }
}

/// What the newest change of target cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the route pointed before.
    pub from: Target,
    /// Whether requests in flight were given time.
    pub drained: bool,
    /// Requests that were still unanswered when the target changed, as far as observed.
    pub in_flight: usize,
}

/// A fence or hold that stands since a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    fence: Fence,
    since: Duration,
    /// A hold that passed one of its bounds and answers with errors since.
    expired: bool,
}

impl Standing {
    fn new(fence: Fence, since: Duration) -> Self {
        Self { fence, since, expired: false }
    }

    fn holds(&self) -> bool {
        match self.fence.mode {
            FenceMode::Hold => !self.expired,
            FenceMode::Error => false,
        }
    }

    fn expires_at(&self) -> Option<Duration> {
        self.holds().then(|| self.since.saturating_add(self.fence.hold_time_max))
    }

    fn gate(&self) -> Gate {
        if self.holds() {
            return Gate::Hold;
        }
        Gate::Answer {
            error_code: self.fence.error_code,
            message: self.fence.error_message.clone(),
        }
    }
}

/// The way of a route from one target to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Movement {
    Settled,
    Draining {
        until: Duration,
        /// The switchover's own fence, or the hold of the drain.
        cover: Standing,
        /// The switchover's own fence goes on to cover the move.
        keep_cover: bool,
    },
    Moving {
        cover: Option<Standing>,
    },
}

/// One route. Time is a `Duration` since an arbitrary start and never goes back.
///
/// After each input: [`Self::snapshot`] is what the sessions shall act on, [`Self::deadline`] the time at which
/// [`Self::handle_time`] has something to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    desired: Desired,
    fence: Option<Standing>,
    movement: Movement,
    observed: Observed,
    cut: Option<Cut>,
    snapshot: Arc<Snapshot>,
}

impl Route {
    /// A route whose sessions, if any, all belong to the desired target.
    pub fn new(now: Duration, desired: Desired) -> Self {
        let snapshot = Arc::new(Snapshot {
            revision: desired.revision,
            target: desired.target.clone(),
            target_epoch: 0,
            gate: Gate::Open,
            moved: desired.moved,
        });
        let fence = desired.fence.clone().map(|fence| Standing::new(fence, now));
        let mut route = Self {
            desired,
            fence,
            movement: Movement::Settled,
            observed: Observed::default(),
            cut: None,
            snapshot,
        };
        route.publish();
        route
    }

    /// Carries a change out, or refuses it and stays as it is.
    pub fn handle_change(
        &mut self,
        now: Duration,
        change: Change,
        expect: Expect,
    ) -> Result<Accepted, Refused> {
        let revision = self.next_revision(expect)?;
        self.check_admissible(&change)?;
        let changed = match change {
            Change::Fence(fence) => self.put_up_fence(now, fence),
            Change::Unfence => self.take_down_fence(),
            Change::Repoint(repoint) => self.repoint(now, repoint),
            Change::Configured { repoint, fence } => {
                let fence_changed = match fence {
                    Some(fence) => self.put_up_fence(now, fence),
                    None => self.fence.take().is_some(),
                };
                self.desired.fence = self.fence.as_ref().map(|standing| standing.fence.clone());
                // Both happen: neither may be skipped for the other.
                self.repoint(now, repoint) | fence_changed
            }
        };
        if changed || expect.revision.is_some() {
            self.desired.revision = revision;
        }
        self.publish();
        Ok(Accepted { revision: self.desired.revision, changed })
    }

    /// Takes in what the sessions have done. They must have been given the present snapshot before they
    /// were looked at.
    pub fn handle_observed(&mut self, now: Duration, observed: Observed) {
        self.observed = observed;
        if let Some(standing) = self.standing_mut()
            && observed.parked_bytes > standing.fence.hold_bytes_max
        {
            standing.expired = true;
        }
        match &self.movement {
            Movement::Draining { .. }
                if observed.in_flight == 0 && observed.sessions_behind == 0 =>
            {
                self.retarget();
            }
            Movement::Moving { .. } if observed.sessions_on_old_target == 0 => {
                self.movement = Movement::Settled;
            }
            Movement::Draining { .. } | Movement::Moving { .. } | Movement::Settled => {}
        }
        self.handle_time(now);
    }

    /// Time has passed.
    pub fn handle_time(&mut self, now: Duration) {
        if let Some(standing) = self.standing_mut()
            && standing.expires_at().is_some_and(|at| at <= now)
        {
            standing.expired = true;
        }
        if let Movement::Draining { until, .. } = self.movement
            && until <= now
        {
            self.retarget();
        }
        self.publish();
    }

    /// When [`Self::handle_time`] has something to decide, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        let drain = match self.movement {
            Movement::Draining { until, .. } => Some(until),
            Movement::Settled | Movement::Moving { .. } => None,
        };
        let hold = self.standing().and_then(Standing::expires_at);
        [drain, hold].into_iter().flatten().min()
    }

    /// Whether the next step depends on what the sessions do, so that they are worth a look.
    pub fn wants_observation(&self) -> bool {
        self.movement != Movement::Settled || self.standing().is_some_and(Standing::holds)
    }

    /// What the sessions shall act on. The same `Arc` as long as nothing in it changes.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What was decided.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// What the sessions were last seen to do.
    pub fn observed(&self) -> Observed {
        self.observed
    }

    /// What the newest change of target cut off; `None` before the first.
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// How far the route has come.
    pub fn phase(&self) -> Phase {
        match self.movement {
            Movement::Draining { .. } => Phase::Draining,
            Movement::Moving { .. } => Phase::Moving,
            Movement::Settled if self.fence.is_some() => Phase::Fenced,
            Movement::Settled => Phase::Serving,
        }
    }

    fn next_revision(&self, expect: Expect) -> Result<u64, Refused> {
        let current = self.desired.revision;
        if let Some(expected) = expect.expected_revision
            && expected != current
        {
            return Err(Refused::ChangedMeanwhile { expected, current });
        }
        let revision = match expect.revision {
            Some(given) if given <= current => return Err(Refused::Stale { given, current }),
            Some(given) => given,
            None => current.saturating_add(1),
        };
        if revision > REVISION_MAX {
            return Err(Refused::RevisionTooLarge);
        }
        Ok(revision)
    }

    /// A drain is short and ends by itself, so only what makes it safer or shorter is let in between. While
    /// sessions merely move, everything is admitted: an operator who sees that the new target was a mistake
    /// must not have to wait for a session that is stuck.
    fn check_admissible(&self, change: &Change) -> Result<(), Refused> {
        let Movement::Draining { .. } = self.movement else { return Ok(()) };
        let admissible = match change {
            Change::Fence(_) | Change::Configured { .. } => true,
            Change::Unfence => false,
            Change::Repoint(repoint) => repoint.target == self.desired.target,
        };
        if admissible {
            return Ok(());
        }
        Err(Refused::Draining { towards: Arc::clone(&self.desired.target.domain) })
    }

    /// Puts a fence up, or replaces the one that stands. One that has expired is held anew.
    fn put_up_fence(&mut self, now: Duration, fence: Fence) -> bool {
        let stands = self
            .fence
            .as_ref()
            .is_some_and(|standing| standing.fence == fence && !standing.expired);
        if !stands {
            self.desired.fence = Some(fence.clone());
            self.fence = Some(Standing::new(fence, now));
        }
        !stands
    }

    fn take_down_fence(&mut self) -> bool {
        self.desired.fence = None;
        let fence = self.fence.take();
        let cover = match &mut self.movement {
            Movement::Moving { cover } => cover.take(),
            Movement::Settled | Movement::Draining { .. } => None,
        };
        fence.is_some() || cover.is_some()
    }

    fn repoint(&mut self, now: Duration, repoint: Repoint) -> bool {
        let Repoint { target, drain, fence } = repoint;
        if target == self.desired.target {
            // To insist without a drain ends the drain that is under way.
            let insists = drain.is_none() && matches!(self.movement, Movement::Draining { .. });
            if insists {
                self.retarget();
            }
            return insists;
        }
        self.desired.target = target;
        if self.desired.target == self.snapshot.target {
            // Called back before it had left.
            self.movement = Movement::Settled;
            return true;
        }
        self.desired.moved |= self.desired.target.domain != self.snapshot.target.domain;
        let cover = fence.map(|fence| Standing::new(fence, now));
        match drain {
            Some(drain) => {
                self.movement = Movement::Draining {
                    until: now.saturating_add(drain.time_max),
                    keep_cover: cover.is_some(),
                    cover: cover.unwrap_or_else(|| Standing::new(drain.hold, now)),
                };
            }
            None => self.change_target(cover, false),
        }
        true
    }

    /// Ends a drain.
    fn retarget(&mut self) {
        if let Movement::Draining { cover, keep_cover, .. } =
            std::mem::replace(&mut self.movement, Movement::Settled)
        {
            self.change_target(keep_cover.then_some(cover), true);
        }
    }

    fn change_target(&mut self, cover: Option<Standing>, drained: bool) {
        self.cut = Some(Cut {
            from: self.snapshot.target.clone(),
            drained,
            in_flight: self.observed.in_flight,
        });
        self.movement = Movement::Moving { cover };
    }

    /// What stands between clients and target. The route's fence comes first: it was put up to stay.
    fn standing(&self) -> Option<&Standing> {
        self.fence.as_ref().or(match &self.movement {
            Movement::Settled => None,
            Movement::Draining { cover, .. } => Some(cover),
            Movement::Moving { cover } => cover.as_ref(),
        })
    }

    fn standing_mut(&mut self) -> Option<&mut Standing> {
        self.fence.as_mut().or(match &mut self.movement {
            Movement::Settled => None,
            Movement::Draining { cover, .. } => Some(cover),
            Movement::Moving { cover } => cover.as_mut(),
        })
    }

    /// Derives the snapshot; the only place where the published target changes.
    fn publish(&mut self) {
        let target = match self.movement {
            Movement::Draining { .. } => &self.snapshot.target,
            Movement::Settled | Movement::Moving { .. } => &self.desired.target,
        };
        let target_changes = *target != self.snapshot.target;
        let snapshot = Snapshot {
            revision: self.desired.revision,
            target: target.clone(),
            target_epoch: self.snapshot.target_epoch + u64::from(target_changes),
            gate: self.standing().map_or(Gate::Open, Standing::gate),
            moved: match self.movement {
                Movement::Draining { .. } => self.snapshot.moved,
                Movement::Settled | Movement::Moving { .. } => self.desired.moved,
            },
        };
        if snapshot != *self.snapshot {
            self.snapshot = Arc::new(snapshot);
        }
    }
}
