//! `switchyard-itests validate`

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use switchyard::config::suggest;
use switchyard_sim::scenario::{self, Scenario};

use super::{Failure, OUT, say, stem, table, write_history};
use crate::{
    Result, machine, play,
    validation::{
        self, Validated,
        report::{self, Report},
        show,
    },
};

/// Where scenarios are looked for.
const SCENARIOS: &str = "scenarios";

/// Rehearses scenarios, plays them on real Kafka, and compares the two.
#[derive(clap::Args)]
#[command(after_help = "\
Every figure that was measured has to lie in the range that the rehearsals span, widened by a tolerance that the table \
states. Defaults of tolerances and what they mean are in docs/validation.md; a scenario's section `validation` has its own, \
and differences that are known, with their reasons.

Results go to the folder of `--out`: validation.json with everything, validation.md, validation.html. A run replaces the \
results of its own scenarios and leaves the others. Where the worlds do not agree, both histories are kept there, one entry a \
line.

The exit code is 0 when all agree, 1 when something does not, 2 when a file has faults or Docker is missing.

Examples:
  switchyard-itests validate
  switchyard-itests validate scenarios/fence-error-or-hold.yaml --variant hold
  switchyard-itests validate scenarios/regional-outage.yaml --seeds 20 --time-scale 2
  switchyard-itests validate --keep-going --readme")]
pub(super) struct Args {
    /// Scenario files [default: all in scenarios/ that have a section `validation`].
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this variant of the file.
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// How many rehearsals, with seeds from 1 on.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Divides long times by this instead of by what the scenario's file says.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100))]
    time_scale: Option<u32>,
    /// Where the results go.
    #[arg(long, value_name = "FOLDER", default_value = OUT)]
    out: PathBuf,
    /// Goes on with the next scenario when one does not agree, or cannot be played.
    #[arg(long)]
    keep_going: bool,
    /// Puts the newest table into this file in the end [default: README.md].
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "README.md")]
    readme: Option<PathBuf>,
}

/// A file and what is to be played of it.
struct Chosen {
    file: PathBuf,
    /// Names of all its scenarios.
    names: Vec<String>,
    scenarios: Vec<Scenario>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let chosen = choose(&args)?;
    let mut report = Report::load(&args.out).map_err(|error| Failure::bad_input(error, ""))?;
    machine::ready().map_err(|missing| Failure::bad_input(missing, ""))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::at_run_time)?;
    let (mut agree, mut all) = (0, 0);
    for Chosen { file, names, scenarios } in &chosen {
        if args.variant.is_none() {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            report.forget_others(&stem(file), &names);
        }
        for scenario in scenarios {
            all += 1;
            let passed = runtime.block_on(one(&args, scenario, &mut report))?;
            agree += usize::from(passed);
            if !passed && !args.keep_going {
                say("\nstopped here; `--keep-going` goes on with the others\n");
                return Err(Failure::disagreement());
            }
        }
    }
    say(&format!("\n{agree} of {all} agree; {}\n", report::page(&args.out).display()));
    if let Some(readme) = &args.readme {
        table::put(readme, &report)?;
    }
    if agree == all { Ok(()) } else { Err(Failure::disagreement()) }
}

/// Validates one scenario, prints and keeps what came of it, and says whether the worlds agree.
async fn one(args: &Args, scenario: &Scenario, report: &mut Report) -> Result<bool, Failure> {
    let own = scenario.validation.as_ref().map_or(1, |validation| validation.time_scale);
    let time_scale = args.time_scale.unwrap_or(own);
    let prepared = Arc::new(scenario.as_validated(Some(time_scale)));
    let seeds: Vec<u64> = (1..=args.seeds).collect();
    say(&format!(
        "\n{}: {} rehearsals, then a play of {} s\n",
        scenario.name,
        seeds.len(),
        prepared.duration.as_secs()
    ));
    let validated = match validation::validate(&prepared, time_scale, &seeds, play::play).await {
        Ok(validated) => validated,
        Err(error) if args.keep_going => {
            say(&format!("{}: {error}\n", scenario.name));
            return Ok(false);
        }
        Err(error) => return Err(Failure::at_run_time(format!("{}: {error}", scenario.name))),
    };
    say(&show::text(&validated.comparison));
    let passed = validated.comparison.passes();
    if !passed {
        keep(&args.out, &validated).map_err(Failure::at_run_time)?;
    }
    report.put(validated.comparison);
    report.save(&args.out).map_err(Failure::at_run_time)?;
    Ok(passed)
}

/// What is to be validated.
fn choose(args: &Args) -> Result<Vec<Chosen>, Failure> {
    if args.files.is_empty() {
        if args.variant.is_some() {
            let remedy = "name the file that has the variant";
            return Err(Failure::bad_input("`--variant` without a file", remedy));
        }
        let mut all = Vec::new();
        for file in scenario_files()? {
            let chosen = load(&file)?;
            if chosen.scenarios.iter().any(|scenario| scenario.validation.is_some()) {
                all.push(chosen);
            }
        }
        if all.is_empty() {
            let error = format!("no file in {SCENARIOS}/ has a section `validation`");
            return Err(Failure::bad_input(error, "name a scenario file"));
        }
        return Ok(all);
    }
    let mut all: Vec<_> = args.files.iter().map(|file| load(file)).collect::<Result<_, _>>()?;
    let Some(variant) = &args.variant else { return Ok(all) };
    for Chosen { file, names, scenarios } in &mut all {
        let variants: Vec<_> = names.iter().filter_map(|name| variant_of(name)).collect();
        if !variants.contains(&variant.as_str()) {
            let error = format!("{} has no variant `{variant}`", file.display());
            let remedy = if variants.is_empty() {
                "leave out `--variant`: it has none".to_owned()
            } else {
                format!("write {}", suggest::alternatives(variants.into_iter()))
            };
            return Err(Failure::bad_input(error, remedy));
        }
        scenarios.retain(|scenario| variant_of(&scenario.name) == Some(variant));
    }
    Ok(all)
}

fn scenario_files() -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(SCENARIOS).map_err(|error| {
        let error = format!("{SCENARIOS}/ cannot be read: {error}");
        Failure::bad_input(error, "run this where the scenarios are, or name files")
    })?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    Ok(files)
}

fn load(file: &Path) -> Result<Chosen, Failure> {
    let scenarios = scenario::load_for_validation(file, &[])?;
    let names = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    Ok(Chosen { file: file.to_owned(), names, scenarios })
}

fn variant_of(name: &str) -> Option<&str> {
    name.split_once('/').map(|(_, variant)| variant)
}

/// Keeps both histories for study, one entry a line.
fn keep(folder: &Path, validated: &Validated) -> Result<()> {
    let name = validated.comparison.scenario.replace('/', "-");
    let both = [("simulated", &validated.simulated), ("measured", &validated.measured)];
    for (world, history) in both {
        let path = folder.join(format!("{name}.{world}.jsonl"));
        write_history(&path, history)?;
        say(&format!("  history, {world}: {}\n", path.display()));
    }
    Ok(())
}
