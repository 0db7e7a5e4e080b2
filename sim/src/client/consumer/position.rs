//! Where a consumer stands in one partition.
//!
//! ```text
//!  Unknown ─committed offset─▶ Fetching ◀──end of log──┐
//!     │                         │  ▲  └─leader changed─▶ Validating ─truncated─▶ Resetting or Fetching
//!     └─none committed─▶ Resetting ┘                                   (auto.offset.reset)
//!                        Stuck: no offset, and auto.offset.reset=none
//! ```

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::super::{config::ResetPolicy, network::NodeId};
use crate::cluster::Time;

/// Leader as it was when the position was last found good.
pub(super) type Leader = Option<(NodeId, Option<i32>)>;

/// How the consumer goes on in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has said yet where to begin.
    Unknown,
    /// It fetches from its position.
    Fetching,
    /// It asks the leader where its log ends in the epoch of the position (KIP-320).
    Validating,
    /// It asks the leader for the start or the end of the log.
    Resetting(ResetPolicy),
    /// There is no position, and the application forbade to choose one.
    Stuck,
}

/// What was fetched and not yet handed over.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) records: Bytes,
    /// First offset and producer id of aborted transactions, in order.
    pub(super) aborted: VecDeque<(i64, i64)>,
}

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) state: State,
    /// The next offset to consume.
    pub(super) offset: i64,
    /// Leader epoch of the last record consumed.
    pub(super) epoch: Option<i32>,
    pub(super) leader: Leader,
    /// What was last committed, or found committed.
    pub(super) committed: Option<i64>,
    /// A request about this partition is under way.
    pub(super) asked: bool,
    pub(super) retry_at: Time,
    pub(super) fetched: VecDeque<Fetched>,
    /// Producers whose aborted transaction is being skipped.
    pub(super) aborting: BTreeSet<i64>,
    pub(super) high_watermark: i64,
    /// Given back: what is still under way for it is dropped.
    pub(super) age: u64,
}

impl Position {
    pub(super) fn new(age: u64) -> Self {
        Self {
            state: State::Unknown,
            offset: -1,
            epoch: None,
            leader: None,
            committed: None,
            asked: false,
            retry_at: Time::default(),
            fetched: VecDeque::new(),
            aborting: BTreeSet::new(),
            high_watermark: -1,
            age,
        }
    }

    /// Moves to an offset that needs no validation, or cannot get one.
    pub(super) fn seek(&mut self, offset: i64, epoch: Option<i32>, leader: Leader) {
        self.state = State::Fetching;
        (self.offset, self.epoch, self.leader) = (offset, epoch, leader);
        self.fetched.clear();
        self.aborting.clear();
        self.asked = false;
    }

    /// The client believes in another leader than before.
    pub(super) fn leader_changed(&mut self, leader: Leader) {
        if matches!(self.state, State::Unknown | State::Resetting(_) | State::Stuck) {
            return;
        }
        self.leader = leader;
        let can_compare = self.epoch.is_some() && leader.is_some_and(|(_, epoch)| epoch.is_some());
        self.state = if can_compare { State::Validating } else { State::Fetching };
        self.asked = false;
    }

    /// The position is no good; what becomes of it is the application's choice.
    pub(super) fn lose(&mut self, policy: ResetPolicy) {
        self.state = match policy {
            ResetPolicy::None => State::Stuck,
            policy => State::Resetting(policy),
        };
        self.asked = false;
        self.retry_at = Time::default();
        self.fetched.clear();
    }
}
