//! Soaks: minutes of a scenario by dice on real Kafka, and whether the gateway is in the end what it was in the beginning.

mod growth;

use std::{fmt::Write as _, path::Path, time::Duration};

use switchyard_sim::{report::failures, scenario, soak};

use crate::{
    Result,
    play::{self, Played},
};
pub use growth::{Growth, growth};

/// What a soak has come to.
#[derive(Debug)]
pub struct Soaked {
    /// The play.
    pub played: Played,
    /// What is not as it has to be, a line each.
    pub faults: Vec<String>,
    /// What each process of the gateway used over its life.
    pub growth: Vec<Growth>,
}

/// Plays a soak of a seed.
///
/// # Errors
/// When the duration is out of range, or the play cannot be played.
pub async fn run(duration: Duration, seed: u64) -> Result<Soaked> {
    let text = soak::scenario(duration, seed)?;
    let read = scenario::read(text.as_bytes(), "soak", "soak", Path::new("."), &[])?;
    let scenario = read.into_iter().next().ok_or("a soak without a scenario")?;
    let played = play::play(&scenario).await?;
    let growth = growth(&played.usages);
    let told = failures(&played.verdict(), &scenario.expect).into_iter().map(|failure| {
        let (check, witness) = (failure.check, failure.witness);
        format!("{check}: expected {}, found {}; {witness}", failure.expected, failure.found)
    });
    let mut faults: Vec<_> = told.collect();
    faults.extend(growth.iter().flat_map(Growth::faults));
    if growth.is_empty() {
        faults.push("nothing is known of what the gateway used".to_owned());
    }
    Ok(Soaked { played, faults, growth })
}

/// What came of it, as text.
pub fn summary(soaked: &Soaked) -> String {
    let mut out = String::new();
    let verdict = soaked.played.verdict();
    // Writing into a string does not fail.
    let _ = writeln!(
        out,
        "  {} records sent, {} acknowledged, {} read",
        verdict.sent, verdict.acknowledged, verdict.consumed
    );
    let figures: Vec<_> =
        verdict.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let _ = writeln!(out, "  {} (rto in ms)", figures.join(", "));
    let marks: Vec<_> = verdict.marks.iter().copied().collect();
    let _ = writeln!(out, "  came to: {}", marks.join(", "));
    for life in &soaked.growth {
        let _ = writeln!(out, "  {life}");
    }
    for remark in &soaked.played.remarks {
        let _ = writeln!(out, "  note: {remark}");
    }
    for fault in &soaked.faults {
        let _ = writeln!(out, "  FAILED {fault}");
    }
    out
}
