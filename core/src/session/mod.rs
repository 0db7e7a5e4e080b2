//! One client connection and its upstream: a state machine without I/O or clock.
//!
//! ```text
//!               first request                connected
//!   Fresh ─────────────────────▶ Dialling ──────────────▶ Relaying
//!     │                             │                        │
//!     └──────────── any cause ──────┴────────▶ Closed ◀──────┘
//! ```
//!
//! The driver feeds chunks of bytes and carries out the [`Ops`] that come back, in their order. A chunk
//! of the client may be taken in part: what is left is offered again, with more bytes behind it, once
//! [`Session::takes_client_bytes`] says so. That one rule covers incomplete headers, the window of requests
//! in flight, a fence in mode `hold` and an upstream that is still being dialled, and it bounds memory:
//! nothing is read while something is left over for another reason than [`ClientWait::MoreBytes`].
//!
//! Invariants: answers keep the order of the requests; a request is forwarded whole or not at all; a
//! change of the route takes effect between two frames; after `Closed`, silence.
//! Absent on purpose: retries. A retry here could reorder or repeat what the client believes it owns.

pub mod cause;
mod in_flight;
mod ops;
mod request;
mod response;
mod setting;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use cause::CloseCause;
pub use ops::{AnswerKind, Event, Op, Ops};
pub use setting::Setting;

use crate::{
    route::Gate,
    topology::{BrokerAddress, VirtualEndpoint},
};
use in_flight::InFlight;
use request::RequestState;
use response::ResponseState;

/// Where the upstream connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Upstream {
    /// No request needed it yet.
    None,
    /// The driver was asked to connect.
    Dialling,
    /// Bytes can flow.
    Connected {
        /// The target's epoch when it was dialled.
        target_epoch: u64,
        /// The client asked for a node that was not known: it talks to a bootstrap server at this
        /// address until the node's own becomes known.
        provisional: Option<BrokerAddress>,
    },
}

/// Why the client's bytes are not taken at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientWait {
    /// Nothing is waited for.
    Nothing,
    /// The bytes at hand end inside a request's head.
    MoreBytes,
    /// The route's gate holds requests back.
    Gate,
    /// An authentication exchange waits for an open gate: no error could be answered to it that the
    /// client would not take for wrong credentials.
    OpenGate,
    /// As many requests as allowed are unanswered.
    Window,
    /// Upstream is being dialled.
    Upstream,
    /// Requests in flight complete, then the session closes; no further request is taken.
    Closing,
}

impl ClientWait {
    /// Whether a fence is what the client waits for.
    pub fn is_fence(self) -> bool {
        matches!(self, Self::Gate | Self::OpenGate)
    }
}

/// One client connection. See the module's documentation for the contract with the driver.
pub struct Session {
    setting: Arc<Setting>,
    /// The port that the client connected to; which endpoint it stands for depends on the target.
    port: u16,
    opened_at: Duration,
    /// Requests begun so far; zero while the first is awaited.
    requests: u64,
    request: RequestState,
    response: ResponseState,
    in_flight: InFlight,
    upstream: Upstream,
    wait: ClientWait,
    /// Last moment at which a byte of a half-received request came in.
    request_progress_at: Duration,
    /// Set when the session ends as soon as nothing is in flight.
    closing: Option<CloseCause>,
    closed: Option<CloseCause>,
}

impl Session {
    /// A session that was accepted at `now` on `port`.
    pub fn new(now: Duration, port: u16, setting: Arc<Setting>) -> Self {
        Self {
            setting,
            port,
            opened_at: now,
            requests: 0,
            request: RequestState::Boundary,
            response: ResponseState::default(),
            in_flight: InFlight::default(),
            upstream: Upstream::None,
            wait: ClientWait::Nothing,
            request_progress_at: now,
            closing: None,
            closed: None,
        }
    }

    /// Whether bytes of the client, left over or new, would be looked at now.
    pub fn takes_client_bytes(&self) -> bool {
        if self.closed.is_some() || self.closing.is_some() {
            return false;
        }
        match self.wait {
            ClientWait::Nothing | ClientWait::MoreBytes => true,
            ClientWait::Gate => !matches!(self.setting.snapshot.gate, Gate::Hold),
            ClientWait::OpenGate => matches!(self.setting.snapshot.gate, Gate::Open),
            ClientWait::Window => self.in_flight.has_room(&self.setting.limits),
            // A fence that falls meanwhile must be able to answer.
            ClientWait::Upstream => {
                matches!(self.upstream, Upstream::Connected { .. })
                    || self.setting.snapshot.gate != Gate::Open
            }
            ClientWait::Closing => false,
        }
    }

    /// Why the bytes left over were left.
    pub fn client_wait(&self) -> ClientWait {
        self.wait
    }

    /// Whether the driver shall connect upstream now; true once for each time it is needed.
    pub fn poll_dial(&mut self) -> bool {
        if self.wait == ClientWait::Upstream
            && self.upstream == Upstream::None
            && self.setting.snapshot.gate == Gate::Open
            && self.closed.is_none()
        {
            self.upstream = Upstream::Dialling;
            return true;
        }
        false
    }

    /// Whether an attempt to connect is wanted that was asked for before.
    pub fn is_dialling(&self) -> bool {
        self.upstream == Upstream::Dialling
    }

    /// The virtual endpoint of this session under the present target. A port that stands for no node
    /// there (the target has fewer) is as good as the bootstrap endpoint.
    pub fn endpoint(&self) -> VirtualEndpoint {
        self.setting.addresses.ports.endpoint_at(self.port).unwrap_or(VirtualEndpoint::Bootstrap)
    }

    /// What the session knows of its route.
    pub fn setting(&self) -> &Arc<Setting> {
        &self.setting
    }

    /// Requests forwarded and not yet answered, the one that is being forwarded included.
    pub fn in_flight(&self) -> usize {
        self.in_flight.forwarded() + usize::from(self.request.is_unanswerable())
    }

    /// The epoch of the target that upstream belongs to; `None` without upstream.
    pub fn upstream_epoch(&self) -> Option<u64> {
        match self.upstream {
            Upstream::Connected { target_epoch, .. } => Some(target_epoch),
            Upstream::None | Upstream::Dialling => None,
        }
    }

    /// Why the session ended; the driver closes both sockets once its queues are flushed.
    pub fn closed(&self) -> Option<CloseCause> {
        self.closed
    }

    /// Upstream is connected, to a server of the target with this epoch. `provisional` is its address
    /// when the session's own node is not known yet.
    pub fn handle_connected(&mut self, target_epoch: u64, provisional: Option<BrokerAddress>) {
        debug_assert_eq!(self.upstream, Upstream::Dialling, "connected without having been asked");
        if self.closed.is_none() {
            self.upstream = Upstream::Connected { target_epoch, provisional };
        }
    }

    /// The route changed, or what is known of its domains.
    pub fn handle_setting(&mut self, setting: Arc<Setting>) {
        let target_epoch = setting.snapshot.target_epoch;
        self.setting = setting;
        match self.upstream {
            // What the old cluster still owes is lost here; a drain before the repoint avoids that.
            Upstream::Connected { target_epoch: own, .. } if own != target_epoch => {
                self.close(CloseCause::Repointed);
            }
            // The driver drops the attempt; the next look at the waiting request asks again.
            Upstream::Dialling => self.upstream = Upstream::None,
            Upstream::Connected { .. } | Upstream::None => {}
        }
    }

    /// Takes no further request and closes with this cause once nothing is in flight.
    pub fn handle_drain(&mut self, cause: CloseCause) {
        self.closing.get_or_insert(cause);
        self.close_if_drained();
    }

    /// The driver takes nothing from the client at the moment, because something else waits to be written:
    /// what is missing of a request is not the client's delay.
    pub fn handle_back_pressure(&mut self, now: Duration) {
        self.request_progress_at = now;
    }

    /// A peer or the driver ends the session.
    pub fn handle_end(&mut self, cause: CloseCause) {
        self.close(cause);
    }

    /// The upstream connection ended without an error.
    pub fn handle_upstream_eof(&mut self) {
        self.close(if self.response.is_mid_frame() {
            CloseCause::UpstreamTruncated
        } else {
            CloseCause::UpstreamClosed
        });
    }

    /// The moment at which [`Self::handle_time`] has something to decide, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        if self.closed.is_some() {
            return None;
        }
        let limits = &self.setting.limits;
        match (self.requests, self.wait) {
            // A request that waits for us is not the client's delay.
            (
                _,
                ClientWait::Gate
                | ClientWait::OpenGate
                | ClientWait::Window
                | ClientWait::Upstream
                | ClientWait::Closing,
            ) => None,
            (0, _) => Some(self.opened_at + limits.first_request_timeout),
            (_, ClientWait::MoreBytes) => {
                Some(self.request_progress_at + limits.write_stall_timeout)
            }
            (_, ClientWait::Nothing) => self
                .request
                .is_mid_frame()
                .then(|| self.request_progress_at + limits.write_stall_timeout),
        }
    }

    /// Time has passed.
    pub fn handle_time(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.close(if self.requests == 0 {
                CloseCause::FirstRequestTimeout
            } else {
                CloseCause::RequestStalled
            });
        }
    }

    fn close(&mut self, cause: CloseCause) {
        self.closed.get_or_insert(cause);
    }

    fn close_if_drained(&mut self) {
        if let Some(cause) = self.closing
            && self.in_flight.is_empty()
            && !self.request.is_mid_frame()
        {
            self.close(cause);
        }
    }
}
