//! Rehearsals held against real Kafka: the same scaled scenario is rehearsed over several seeds and played once, both are
//! judged by the same oracles, and every figure that was measured has to lie where rehearsals put it.
//!
//! ```text
//!            ┌─ rehearsal::run, seeds 1..n ─▶ history ─▶ judge ─▶ Sample × n ─┐
//!  scenario ─┤                                                                ├─▶ compare ─▶ Row … ─▶ Report
//!   (scaled) └─ play on real Kafka ─────────▶ history ─▶ judge ─▶ Sample ─────┘               text, Markdown, HTML, JSON
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`sample`] | what one run has come to, in the terms that are compared |
//! | [`codes`] | what libraries say of an error → the error's name |
//! | [`compare`] | samples → rows; the only place that decides whether the worlds agree |
//! | [`report`] | what was compared, when and where; kept as JSON, and added to by later runs |
//! | [`show`], [`markdown`], [`html`] | rows as people read them |
//! | [`readme`] | the newest table between two marks of a file |

pub mod codes;
pub mod compare;
pub mod html;
pub mod markdown;
pub mod readme;
pub mod report;
pub mod sample;
pub mod show;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use switchyard_sim::{
    oracle::{Case, History, judge},
    rehearsal,
    scenario::Scenario,
};

use crate::Result;
use compare::Row;
use report::Comparison;
use sample::Sample;

/// What a play on real Kafka has come to.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// What was seen.
    pub history: History,
    /// What the judge has to know.
    pub case: Case,
    /// Brokers of each cluster: as many as there was memory for.
    pub brokers: BTreeMap<String, usize>,
}

/// A comparison, and the histories that it is made of, for study.
#[derive(Clone, Debug)]
pub struct Validated {
    /// What came of it.
    pub comparison: Comparison,
    /// Of the first seed.
    pub simulated: History,
    /// Of the play.
    pub measured: History,
}

/// The scenario as it is rehearsed and played for a comparison: scaled, and with the mirror that real Kafka has.
pub fn prepared(scenario: &Scenario, time_scale: u32) -> Scenario {
    scenario.with_mirror_maker().scaled(time_scale)
}

/// Rehearses a scenario that was [`prepared`] over some seeds, and plays it.
///
/// # Errors
/// When a rehearsal or the play has no outcome.
pub async fn validate(
    scenario: &Arc<Scenario>,
    time_scale: u32,
    seeds: &[u64],
    play: impl AsyncFnOnce(&Scenario) -> Result<Measured>,
) -> Result<Validated> {
    let began = Instant::now();
    let (samples, simulated) = rehearse(scenario, seeds).await?;
    let rehearsed = began.elapsed();
    let began = Instant::now();
    let measured = play(scenario).await?;
    let played = began.elapsed();
    let verdict = judge(&measured.history, &measured.case);
    let sample = Sample::of(&measured.history, &verdict);
    let validation = scenario.validation.clone().unwrap_or_default();
    let rows = compare::rows(&validation, &scenario.expect.sometimes, &samples, &sample);
    let comparison = Comparison {
        scenario: scenario.name.clone(),
        about: scenario.about.trim().to_owned(),
        time_scale,
        seeds: seeds.to_vec(),
        unneeded: unneeded(&validation, &rows),
        rows,
        brokers: measured.brokers,
        rehearsed_ms: millis(rehearsed),
        played_ms: millis(played),
        ..Comparison::here_and_now()
    };
    Ok(Validated { comparison, simulated, measured: measured.history })
}

/// Rehearsals one after the other, away from the runtime's own threads: samples, and the first history.
async fn rehearse(scenario: &Arc<Scenario>, seeds: &[u64]) -> Result<(Vec<Sample>, History)> {
    let (mut samples, mut first) = (Vec::new(), None);
    for seed in seeds.iter().copied() {
        let scenario = Arc::clone(scenario);
        let run = tokio::task::spawn_blocking(move || rehearsal::run(&scenario, seed));
        let outcome = run.await?.map_err(|error| format!("rehearsal with seed {seed}: {error}"))?;
        samples.push(Sample::of(&outcome.history, &outcome.verdict));
        first.get_or_insert(outcome.history);
    }
    Ok((samples, first.unwrap_or_default()))
}

/// Differences that were not needed: the worlds agree, or nothing of the kind came up.
fn unneeded(
    validation: &switchyard_sim::scenario::validation::Validation,
    rows: &[Row],
) -> Vec<String> {
    let used = |subject| {
        let own = rows.iter().find(|row| row.subject == *subject);
        own.is_some_and(|row| row.agreement != compare::Agreement::Agrees)
    };
    let differences = validation.differences.iter().map(|it| &it.subject);
    differences.filter(|subject| !used(subject)).map(show::subject).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
