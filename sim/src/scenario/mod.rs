//! The scenario file: what a rehearsal is made of, what happens in it, and what must come of it.
//!
//! It is as strict as the gateway's own file, and read by the same mechanism: unknown keys, names that nothing has,
//! times out of range are all reported at once, each with its place and a remedy.

mod check;
mod expect;
pub mod model;
mod raw;
mod scale;
mod steps;
#[cfg(test)]
mod tests;
pub mod validation;
pub mod values;

use std::{fs, path::Path as FilePath};

use serde_json::Value;
use switchyard::config::strict::{self, ConfigError, Fault, Findings};

pub use model::Scenario;

/// Paths into the gateway's configuration begin so.
const GATEWAY: &str = "gateway.";

/// The JSON Schema of a scenario file, for editors.
pub fn json_schema() -> Value {
    strict::json_schema::<raw::Scenario>("Switchyard scenario")
}

/// Reads a scenario file: the scenario, or, where it has variants, each of them. `set` puts values in place of those of the file,
/// by path (`timeline[0].at`).
///
/// # Errors
/// Every fault of the file.
pub fn load(file: &FilePath, set: &[(String, Value)]) -> Result<Vec<Scenario>, ConfigError> {
    load_for(Purpose::Rehearsal, file, set)
}

/// As [`load`], for a comparison with real Kafka: with the values that the file's section `validation` sets. Times are not
/// scaled yet.
///
/// # Errors
/// Every fault of the file.
pub fn load_for_validation(
    file: &FilePath,
    set: &[(String, Value)],
) -> Result<Vec<Scenario>, ConfigError> {
    load_for(Purpose::Validation, file, set)
}

/// What a file is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Rehearsal,
    Validation,
}

fn load_for(
    purpose: Purpose,
    file: &FilePath,
    set: &[(String, Value)],
) -> Result<Vec<Scenario>, ConfigError> {
    let origin = file.display().to_string();
    let text = fs::read(file).map_err(|error| {
        let remedy =
            "name a scenario file; `switchyard-sim list` shows those that there are".to_owned();
        let problem = format!("cannot be read: {error}");
        let fault = Fault { position: None, path: String::new(), problem, remedy };
        ConfigError { origin: origin.clone(), faults: vec![fault] }
    })?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let base = file.parent().unwrap_or(FilePath::new("."));
    read_for(purpose, &text, &origin, &name, base, set)
}

/// As [`load`], from text; relative paths in it start at `base`.
///
/// # Errors
/// Every fault of the text.
pub fn read(
    text: &[u8],
    origin: &str,
    name: &str,
    base: &FilePath,
    set: &[(String, Value)],
) -> Result<Vec<Scenario>, ConfigError> {
    read_for(Purpose::Rehearsal, text, origin, name, base, set)
}

fn read_for(
    purpose: Purpose,
    text: &[u8],
    origin: &str,
    name: &str,
    base: &FilePath,
    set: &[(String, Value)],
) -> Result<Vec<Scenario>, ConfigError> {
    let mut findings = Findings::default();
    let Some(mut raw) = read_raw(text, set, &mut findings) else {
        findings.into_result(origin)?;
        return Ok(Vec::new());
    };
    let mut scenarios = Vec::new();
    // What the caller sets wins over the variant, and that over what holds for all validations.
    let of_validation = raw.validation.as_ref().and_then(|validation| validation.set.clone());
    let of_validation = of_validation.filter(|_| purpose == Purpose::Validation);
    let base_set: Vec<_> = of_validation.unwrap_or_default().into_iter().collect();
    let with_own = |own: Vec<(String, Value)>| [base_set.clone(), own, set.to_vec()].concat();
    if !base_set.is_empty() {
        raw = read_raw(text, &with_own(Vec::new()), &mut findings).unwrap_or(raw);
    }
    let variants = raw.variants.clone().unwrap_or_default();
    if variants.is_empty() {
        let all = with_own(Vec::new());
        scenarios.extend(check::check(&raw, name, base, &all, None, &mut findings));
    }
    for (variant, section) in variants {
        let all = with_own(section.set.clone().unwrap_or_default().into_iter().collect());
        let Some(raw) = read_raw(text, &all, &mut findings) else { continue };
        let name = format!("{name}/{variant}");
        let own = Some((variant.as_str(), &section));
        scenarios.extend(check::check(&raw, &name, base, &all, own, &mut findings));
    }
    findings.into_result(origin)?;
    Ok(scenarios)
}

/// The file with values set; those of the gateway's section are set when that is read, for it may be another file.
fn read_raw(
    text: &[u8],
    set: &[(String, Value)],
    findings: &mut Findings,
) -> Option<raw::Scenario> {
    let own = set.iter().filter(|(path, _)| !path.starts_with(GATEWAY)).cloned();
    strict::read(text, &own.collect::<Vec<_>>(), findings)
}
