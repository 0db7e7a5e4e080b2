//! What the cluster wants to be woken for, and when.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::{BrokerId, GroupId, TransactionalId};

use super::{connection::Ticket, faults::FaultId, time::Time};

/// One reason to be woken. Each has at most one moment; a timer is a hint, and its owner looks itself whether
/// something is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A fetch that waits for bytes has waited `max.wait.ms`.
    Fetch(Ticket),
    /// A produce that waits for replicas has waited its timeout.
    Produce(Ticket),
    /// An answer that a fault or a throttle holds back.
    Delayed(Ticket),
    /// A member or a phase of a group.
    Group(GroupId),
    /// Offsets and groups that nobody has asked for in a long time.
    OffsetExpiry,
    /// A transaction's timeout.
    Transaction(TransactionalId),
    /// A broker that is silent will be fenced, or one that returned catches up.
    Broker(BrokerId),
    /// Leaders may go back to the replicas that should have them.
    LeaderBalance,
    /// A fault that acts by itself.
    Fault(FaultId),
    /// Retention of logs, expiry of producer state and of offsets.
    Housekeeping,
}

/// Timers in the order of their moments.
#[derive(Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Time, Timer)>,
    by_timer: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Sets a timer, in place of an earlier moment of the same one.
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.clear(&timer);
        self.by_time.insert((at, timer.clone()));
        self.by_timer.insert(timer, at);
    }

    /// Whether it will wake.
    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.by_timer.contains_key(timer)
    }

    /// Forgets a timer.
    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.by_timer.remove(timer) {
            self.by_time.remove(&(at, timer.clone()));
        }
    }

    /// The next moment at which something is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes a timer that is due.
    pub(super) fn pop(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.by_timer.remove(&timer);
        Some(timer)
    }
}
