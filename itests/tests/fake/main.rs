//! Real clients against the fake cluster: kcat, librdkafka and the tools of Kafka's distribution. What passes here passes
//! on real Kafka too, in `tests/kafka`.

mod clients;
mod differential;
mod failures;
mod groups;
mod records;
mod sasl;
mod tools;
mod transactions;

use std::time::Duration;

use switchyard_itests::{
    Result,
    fake::FakeCluster,
    ledger::{Found, Ledger, none},
};

/// How long one step may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(45);

/// Reads a topic and checks that every acknowledged record is there, once.
fn check(cluster: &FakeCluster, topic: &str, ledger: &Ledger) -> Result<Found> {
    let mut found = Found::default();
    found.read(&cluster.bootstrap(), topic)?;
    none("records lost", &found.lost(ledger))?;
    none("records duplicated", &found.duplicated())?;
    Ok(found)
}
