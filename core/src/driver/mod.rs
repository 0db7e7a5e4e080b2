//! The only asynchronous part: accept, dial, pump bytes, timers; generic over [`Network`].

#![expect(clippy::disallowed_methods, reason = "the driver owns the clock and the tasks")]

pub mod control;
mod dial;
mod domain;
pub mod gateway;
pub mod network;
pub mod plane;
mod probe;
mod pump;
mod routes;
pub mod state_file;
pub mod status;
pub mod tokio;
pub mod watch;
pub mod workers;

pub use self::tokio::TokioNetwork;
pub use control::ControlHandle;
pub use gateway::Gateway;
pub use network::Network;
pub use workers::Workers;
