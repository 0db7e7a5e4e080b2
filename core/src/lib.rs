//! Switchyard: a Kafka gateway that owns every address its clients see.
//!
//! The core is pure: `wire`, `config`, `topology`, `session` and `route` know no socket, clock, thread or
//! entropy. `driver` is the only asynchronous part and is generic over [`driver::Network`]; `admin`,
//! [`process`] and `cli` stand on top of it. `ARCHITECTURE.md` has the map.

pub mod admin;
pub mod cli;
pub mod config;
pub mod driver;
pub mod process;
pub mod route;
pub mod session;
pub mod telemetry;
pub mod topology;
pub mod wire;
