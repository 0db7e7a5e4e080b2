//! A run as people and programs read it: a summary in text, JSON, and one HTML page that needs no network.

mod html;
mod series;
#[cfg(test)]
pub(crate) mod tests;
mod text;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    oracle::{Case, History, Verdict},
    scenario::model::Expectations,
};

pub use html::{STYLE, escape, page};
#[cfg(test)]
pub(crate) use tests::assert_well_formed;
pub use text::summary;

/// One run and what came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// What it is about.
    pub about: String,
    /// Seed.
    pub seed: u64,
    /// How to see it again.
    pub replay: String,
    /// What was seen.
    pub history: History,
    /// What the judge had to know.
    pub case: Case,
    /// What came of it.
    pub verdict: Verdict,
    /// Expectations that were not met, each with its witness.
    pub failures: Vec<Failure>,
    /// How much was left before each timeout.
    pub margins: Vec<Margin>,
    /// Time that passed in the simulation.
    pub simulated: Duration,
    /// Time that it took.
    pub wall: Duration,
    /// SHA-256 of the trace.
    pub digest: String,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Figure or oracle.
    pub check: String,
    /// What was expected.
    pub expected: String,
    /// What came of it.
    pub found: String,
    /// The first witness.
    pub witness: String,
}

/// How much was left before a timeout of some clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Margin {
    /// Whose: the name of producers or consumers as the scenario has it.
    pub who: String,
    /// The setting, by the library's own name.
    pub setting: String,
    /// Its value in milliseconds.
    pub limit_ms: u64,
    /// The longest that anything came to, in milliseconds.
    pub longest_ms: u64,
    /// What went over it.
    pub exceeded: u64,
}

/// Compares a verdict with what the scenario expects.
pub fn failures(verdict: &Verdict, expect: &Expectations) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (figure, bounds) in &expect.figures {
        let found = verdict.figures.get(figure.as_str()).copied().unwrap_or_default();
        if !bounds.hold(found) {
            let unit = if figure == "rto" { " ms" } else { "" };
            let witness = verdict.witnesses.get(figure.as_str()).cloned().unwrap_or_default();
            failures.push(Failure {
                check: figure.clone(),
                expected: format!("{bounds}{unit}"),
                found: format!("{found}{unit}"),
                witness,
            });
        }
    }
    let violated: BTreeMap<&str, _> =
        verdict.violations.iter().rev().map(|violation| (violation.oracle, violation)).collect();
    for (oracle, violation) in &violated {
        if !expect.violates.iter().any(|allowed| allowed == oracle) {
            failures.push(Failure {
                check: (*oracle).to_owned(),
                expected: "holds".to_owned(),
                found: format!("violated at {} ms by {}", violation.at_ms, violation.who),
                witness: violation.what.clone(),
            });
        }
    }
    for oracle in &expect.violates {
        if !violated.contains_key(oracle.as_str()) {
            failures.push(Failure {
                check: oracle.clone(),
                expected: "is violated: that is what the scenario shows".to_owned(),
                found: "holds".to_owned(),
                witness: String::new(),
            });
        }
    }
    failures
}

impl Outcome {
    /// Whether everything came as expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// The outcome without the history, as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "scenario": self.scenario,
            "seed": self.seed,
            "passed": self.passed(),
            "verdict": self.verdict,
            "failures": self.failures,
            "margins": self.margins,
            "simulated_ms": u64::try_from(self.simulated.as_millis()).unwrap_or(u64::MAX),
            "digest": self.digest,
            "replay": self.replay,
        })
    }
}
