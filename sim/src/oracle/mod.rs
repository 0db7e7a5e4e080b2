//! What clients saw, and what follows from it.
//!
//! Oracles only read the [`history`]; they never steer a run.

mod error_code;
mod groups;
pub mod history;
mod judge;
#[cfg(test)]
mod tests;
mod world;

pub use error_code::error_code;
pub use history::History;
pub use judge::{Case, GroupHome, Home, Verdict, Violation, judge};

/// Figures of a run that a scenario can bound, and what each is.
pub const FIGURES: &[(&str, &str)] = &[
    ("lost", "records acknowledged and on no cluster that a route points at in the end"),
    ("vanished", "records acknowledged and on no cluster at all"),
    ("duplicated", "records that are there more than once"),
    ("reordered", "records behind a later one of the same producer and partition"),
    ("failed", "records whose send failed, as the application saw it"),
    ("missed", "acknowledged records that a group has not read in the end"),
    ("repeated", "records that a group has read more than once"),
    ("rebalances", "rebalances of all groups after the start"),
    ("fatal", "errors that stopped a client for good"),
    ("errors", "errors that applications saw and that were not for good"),
    ("rto", "the longest time in which no producer got an acknowledgement"),
    ("connections", "connections that clients opened"),
];

/// What a run can come to; a suite in which it never did proves nothing about it.
pub const MARKS: &[(&str, &str)] = &[
    ("delivery-timeout", "a record expired in a producer's buffer"),
    ("buffer-full", "a send waited for room, or failed for want of it"),
    ("rebalance", "a group's assignment changed after the start"),
    ("session-expired", "a group's coordinator threw a silent member out"),
    ("fence-held", "a request waited behind a fence"),
    ("fence-answered", "a request was answered by a fence"),
    ("switched", "a route changed its target"),
    ("unreplicated-tail", "a mirror was cut off with records still to copy"),
    ("read-only-refused", "a write was refused because the topic is a mirror"),
    ("leader-moved", "a partition got another leader"),
    ("offset-reset", "a consumer's position was reset"),
    ("epoch-bumped", "a producer raised its epoch"),
    ("fatal-client", "a client stopped for good"),
    ("stuck-client", "a client got nothing done in the recovery phase"),
    ("gateway-died", "an instance of the gateway died"),
    ("rebootstrap", "a client went back to its bootstrap servers"),
];

/// What must hold in every run, unless the scenario says that it violates it.
pub const ORACLES: &[(&str, &str)] = &[
    ("no-loss", "no acknowledged record is lost, beyond what the scenario allows"),
    ("no-duplicates", "no record is there twice without a cut that left its fate open"),
    ("no-reordering", "records of a producer stand in a partition in the order they were sent"),
    ("exactly-once-delivery", "a group reads every record once unless a cause is named"),
    ("no-upstream-address", "no byte that a client received names a broker behind the gateway"),
    ("fence-tight", "a fence lets nothing through"),
    ("one-writer", "no two clusters take writes for one topic"),
    ("named-closes", "every session closes with a cause"),
    ("recovery", "everything works again in the recovery phase"),
    ("bounded-memory", "the gateway keeps within its limits"),
];
