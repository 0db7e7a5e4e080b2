//! Brokers: what each of them is and whether it is there.
//!
//! ```text
//!            kill                 broker.session.timeout.ms
//!  Running ───────▶ Silent ──────────────────────────────────▶ Fenced
//!     │ ▲              └──────────── start (fences it first) ──┐ │
//!     │ └──────────────────────────────────────────────────────┴─┘ start
//!     └──────────── stop: leaders move first ──────────────────▶ Fenced
//! ```

use kafka_protocol::messages::BrokerId;

/// One broker of the cluster.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) id: BrokerId,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rack: Option<String>,
    pub(super) state: BrokerState,
    /// False while a fault has taken its only log directory: it serves, but can neither lead nor follow.
    pub(super) disk_online: bool,
}

/// Whether a broker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokerState {
    /// It serves.
    Running,
    /// It is gone, and the controller has not noticed yet: it still leads and is in its ISRs.
    Silent,
    /// It is gone and the controller knows.
    Fenced,
}

impl Broker {
    /// Whether the cluster tells clients of it.
    pub(super) fn is_listed(&self) -> bool {
        self.state != BrokerState::Fenced
    }

    /// Whether it can lead and be in ISRs.
    pub(super) fn is_active(&self) -> bool {
        self.state == BrokerState::Running && self.disk_online
    }
}
