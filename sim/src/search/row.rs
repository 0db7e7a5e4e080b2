//! One run of a sweep, as a line of JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    rehearsal::RunError,
    report::{Failure, Outcome},
};

/// What tells runs apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Name of the scenario, with its variant.
    pub scenario: String,
    /// Values that were set, by path.
    pub settings: BTreeMap<String, Value>,
    /// Seed.
    pub seed: u64,
}

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which run.
    #[serde(flatten)]
    pub key: Key,
    /// Whether everything came as expected.
    pub passed: bool,
    /// By the names of [`crate::oracle::FIGURES`].
    pub figures: BTreeMap<String, u64>,
    /// Reached, of [`crate::oracle::MARKS`].
    pub marks: BTreeSet<String>,
    /// Expectations that were not met.
    pub failures: Vec<Failure>,
    /// Why there is no outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Digest of the trace.
    pub digest: String,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
}

impl Row {
    /// The row of a run.
    pub fn new(key: Key, result: Result<Outcome, RunError>) -> Self {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => {
                return Self {
                    key,
                    passed: false,
                    figures: BTreeMap::new(),
                    marks: BTreeSet::new(),
                    failures: Vec::new(),
                    error: Some(error.to_string()),
                    digest: String::new(),
                    simulated_ms: 0,
                };
            }
        };
        let figures = &outcome.verdict.figures;
        Self {
            key,
            passed: outcome.passed(),
            figures: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            marks: outcome.verdict.marks.iter().map(|mark| (*mark).to_owned()).collect(),
            simulated_ms: u64::try_from(outcome.simulated.as_millis()).unwrap_or(u64::MAX),
            failures: outcome.failures,
            error: None,
            digest: outcome.digest,
        }
    }

    /// Why the run is not as expected, in a few words.
    pub fn reason(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let told = self.failures.iter().map(|failure| {
            format!("{}: expected {}, found {}", failure.check, failure.expected, failure.found)
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

/// Rows of an earlier sweep. A last line that was cut off, as when the machine went away, is left out.
///
/// # Errors
/// When the file cannot be read; one that is not there holds no rows.
pub fn read(file: &Path) -> io::Result<Vec<Row>> {
    let file = match fs::File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = BufReader::new(file).lines().collect::<io::Result<Vec<_>>>()?;
    let read = |(index, line): (usize, &String)| match serde_json::from_str(line) {
        Ok(row) => Some(Ok(row)),
        Err(_) if index + 1 == lines.len() => None,
        Err(error) => {
            let text = format!("line {} is no row of a sweep: {error}", index + 1);
            Some(Err(io::Error::new(io::ErrorKind::InvalidData, text)))
        }
    };
    lines.iter().enumerate().filter_map(read).collect()
}
