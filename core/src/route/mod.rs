//! What is wanted of a route and how far it has come: target, fence, drain, switchover, revision. A state
//! machine without I/O or clock.
//!
//! ```text
//!                      fence                        switchover           no session is left
//!          ┌─────────────────────────▶ Fenced ──┐    (sever)             on the old target
//!       Serving ◀───────────────────────┘  │    ├─────────────▶ Moving ──────▶ Serving or Fenced,
//!          │            unfence            │    │                 ▲           as the fence stands
//!          └───────────────────────────────┴────┤                 │ nothing is in flight,
//!                                               └──▶ Draining ────┘ or the drain's deadline
//!                                             (drain)
//! ```
//! - [`Command`] is what an operator says. [`Command::resolve`] completes it from the configuration into
//!   a [`Change`], and [`Route`] carries that out.
//! - [`Desired`] is what was decided and survives a restart; [`Observed`] is what the sessions have done.
//! - The target changes at the step into `Moving`, never earlier: until then requests in flight belong to the
//!   old cluster and new ones wait.
//!
//! Absent on purpose: any judgement of a cluster's health. Nothing here moves a route unless it was told to.

mod command;
mod machine;
#[cfg(test)]
mod properties;
pub mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use command::eligible_domains;
pub use command::{
    Change, Command, DRAIN_MAX, Drain, FenceRequest, Repoint, SwitchoverRequest, Unresolvable,
};
pub use machine::{Accepted, Cut, Desired, Expect, Phase, REVISION_MAX, Refused, Route};

/// Where a route points: a streaming domain and one of its bootstrap servers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the streaming domain.
    pub domain: Arc<str>,
    /// Id of the bootstrap server that is dialled first.
    pub bootstrap_server_id: Arc<str>,
}

/// What happens to the requests of a route's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They are forwarded.
    Open,
    /// They wait where they are; requests in flight complete.
    Hold,
    /// They are answered with this error of their own API; requests in flight complete.
    Answer {
        /// Kafka error code.
        error_code: i16,
        /// Put where the API has room for a message.
        message: Option<Arc<str>>,
    },
}

/// The state of a route that its sessions act on. Immutable; a newer one replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Only ever rises.
    pub revision: u64,
    /// Where new upstream connections go.
    pub target: Target,
    /// Rises with each change of the target; sessions whose upstream belongs to an older one are closed.
    pub target_epoch: u64,
    /// What happens to requests.
    pub gate: Gate,
    /// The route has been pointed at another domain before (group members may come from there).
    pub moved: bool,
}

/// What the sessions of a route have done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Open client connections.
    pub sessions: usize,
    /// Sessions that have not yet acted on the newest snapshot.
    pub sessions_behind: usize,
    /// Sessions whose upstream belongs to an older target.
    pub sessions_on_old_target: usize,
    /// Requests forwarded and not yet answered.
    pub in_flight: usize,
    /// Bytes of requests that wait behind a fence in mode `hold`.
    pub parked_bytes: usize,
}
