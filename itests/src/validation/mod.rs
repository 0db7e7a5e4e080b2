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
//! | [`compare`] | samples → rows; the only place that decides whether the worlds agree |
//! | [`report`] | what was compared, when and where; kept as JSON, and added to by later runs |
//! | [`show`], [`markdown`], [`html`] | rows as people read them |
//! | [`readme`] | the newest table between two marks of a file |

pub mod compare;
pub mod html;
mod lateness;
pub mod markdown;
pub mod readme;
pub mod report;
pub mod sample;
pub mod show;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use switchyard_sim::{
    oracle::History,
    rehearsal,
    scenario::{
        Scenario,
        validation::{Subject, Validation},
    },
};

use crate::{Result, play::Played};
use compare::Row;
use report::Comparison;
use sample::Sample;

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

/// Rehearses a scenario over some seeds, and plays it; it is taken [as validated](Scenario::as_validated) before.
///
/// # Errors
/// When a rehearsal or the play has no outcome.
pub async fn validate(
    scenario: &Arc<Scenario>,
    time_scale: u32,
    seeds: &[u64],
    play: impl AsyncFnOnce(&Scenario) -> Result<Played>,
) -> Result<Validated> {
    let began = Instant::now();
    let (samples, simulated) = rehearse(scenario, seeds).await?;
    let rehearsed = began.elapsed();
    let watch = lateness::Watch::start();
    let played = play(scenario).await?;
    let late = watch.end();
    let sample = Sample::of(&played.history, &played.verdict());
    let validation = scenario.validation.clone().unwrap_or_default();
    let rows = compare::rows(&validation, &scenario.expect.sometimes, &samples, &sample);
    let comparison = Comparison {
        scenario: scenario.name.clone(),
        about: scenario.about.trim().to_owned(),
        time_scale,
        seeds: seeds.to_vec(),
        unneeded: unneeded(&validation, &rows),
        rows,
        played_ms: millis(played.wall()),
        brokers: played.brokers,
        kafka: played.versions,
        remarks: lateness::remark(late).into_iter().chain(played.remarks).collect(),
        late_ms: millis(late),
        rehearsed_ms: millis(rehearsed),
        ..Comparison::here_and_now()
    };
    Ok(Validated { comparison, simulated, measured: played.history })
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
fn unneeded(validation: &Validation, rows: &[Row]) -> Vec<String> {
    let used = |subject: &Subject| {
        let own = rows.iter().find(|row| row.subject == *subject);
        own.is_some_and(|row| row.agreement != compare::Agreement::Agrees)
    };
    let differences = validation.differences.iter().map(|it| &it.subject);
    differences.filter(|subject| !used(subject)).map(show::subject).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use switchyard_sim::{oracle::history::What, scenario};

    use super::*;

    fn fence() -> Arc<Scenario> {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/fence-error-or-hold.yaml");
        let scenarios = scenario::load_for_validation(&file, &[]).expect("a good file");
        let hold = scenarios.iter().find(|it| it.name == "fence-error-or-hold/hold");
        Arc::new(hold.expect("the variant").as_validated(Some(4)))
    }

    /// A second rehearsal in place of a play: the whole way without Docker.
    async fn another_rehearsal(scenario: &Scenario) -> Result<Played> {
        let scenario = Arc::new(scenario.clone());
        let run = tokio::task::spawn_blocking(move || rehearsal::run(&scenario, 4711));
        let outcome = run.await??;
        Ok(Played {
            history: outcome.history,
            case: outcome.case,
            remarks: Vec::new(),
            brokers: BTreeMap::new(),
            versions: BTreeMap::new(),
            usages: Vec::new(),
            times: Vec::new(),
        })
    }

    fn run(play: impl AsyncFnOnce(&Scenario) -> Result<Played>) -> Validated {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(validate(&fence(), 4, &[1, 2], play)).expect("an outcome")
    }

    #[test]
    fn a_world_like_the_rehearsed_one_agrees() {
        let validated = run(another_rehearsal);
        let text = show::text(&validated.comparison);
        assert!(validated.comparison.passes(), "{text}");
        assert!(text.contains("came to fence-held"), "{text}");
        assert_eq!(validated.comparison.seeds, [1, 2]);
    }

    /// What would be the use of a comparison that overlooks a lost record?
    #[test]
    fn a_world_that_loses_one_record_does_not() {
        let validated = run(async |scenario: &Scenario| {
            let mut measured = another_rehearsal(scenario).await?;
            let log = measured.history.logs.get_mut("east").ok_or("no log")?;
            log.pop().ok_or("nothing is stored")?;
            Ok(measured)
        });
        let rows = validated.comparison.rows.iter();
        let differs = rows.filter(|row| !row.agreement.passes());
        let names: Vec<_> = differs.map(|row| show::subject(&row.subject)).collect();
        assert_eq!(names, ["lost"]);
    }

    #[test]
    fn a_world_whose_clients_see_errors_does_not() {
        let validated = run(async |scenario: &Scenario| {
            let mut measured = another_rehearsal(scenario).await?;
            let reason = "NotLeaderOrFollowerException: moved".into();
            let mut entry = measured.history.entries[0].clone();
            entry.what = What::Error { reason };
            measured.history.entries.push(entry);
            Ok(measured)
        });
        let text = show::text(&validated.comparison);
        assert!(!validated.comparison.passes(), "{text}");
        assert!(text.contains("DIFFERS error NOT_LEADER_OR_FOLLOWER"), "{text}");
    }
}
