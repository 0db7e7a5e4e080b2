//! `switchyard-sim rehearse`

use std::path::{Path, PathBuf};

use super::{
    Failure, counted, say,
    scenario::{ScenarioArgs, Taken, variant_of},
    write_file,
};
use crate::report::{self, Outcome};

/// Runs a scenario and compares what came of it with what it expects.
#[derive(clap::Args)]
#[command(after_help = "\
Without `--variant`, every variant of the scenario is run. The exit code is 0 when everything came as expected, 1 when \
an expectation was not met, 2 when the file has faults.

Examples:
  switchyard-sim rehearse scenarios/regional-outage.yaml
  switchyard-sim rehearse scenarios/regional-outage.yaml --seed 7 --html outage.html
  switchyard-sim rehearse scenarios/fence-error-or-hold.yaml --variant hold
  switchyard-sim rehearse scenarios/regional-outage.yaml --set 'timeline[1].after=150s' --set 'producers[0].count=2'")]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    taken: Taken,
    /// What every random number is derived from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes one page with the course of the run; with several variants, one for each.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the outcomes as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let scenarios = args.taken.load(&args.scenario)?;
    let several = scenarios.len() > 1;
    let (mut passed, mut all) = (0, Vec::new());
    for (index, scenario) in scenarios.iter().enumerate() {
        if index > 0 {
            say("\n");
        }
        let outcome = args.taken.rehearse(&args.scenario, scenario, args.seed)?;
        say(&report::summary(&outcome));
        passed += usize::from(outcome.passed());
        if let Some(file) = &args.html {
            write_file(&page_file(file, several, &outcome), &report::page(&outcome))?;
        }
        all.push(outcome.json());
    }
    if let Some(file) = &args.json {
        write_file(file, &format!("{:#}\n", serde_json::Value::Array(all)))?;
    }
    if several {
        say(&format!("\n{passed} of {} as expected\n", counted(scenarios.len(), "variant")));
    }
    if passed == scenarios.len() { Ok(()) } else { Err(Failure::not_as_expected()) }
}

/// `page.html`, or `page-hold.html` for one of several variants.
fn page_file(file: &Path, several: bool, outcome: &Outcome) -> PathBuf {
    match variant_of(&outcome.scenario).filter(|_| several) {
        None => file.to_owned(),
        Some(variant) => {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let ending = file.extension().map(|ending| format!(".{}", ending.to_string_lossy()));
            file.with_file_name(format!("{stem}-{variant}{}", ending.unwrap_or_default()))
        }
    }
}
