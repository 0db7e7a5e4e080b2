//! `switchyard-sim shrink`

use std::{path::PathBuf, sync::Arc};

use super::{
    Failure, counted, interrupt::Interrupt, progress::Progress, say, scenario::ScenarioArgs,
    write_file,
};
use crate::{
    rehearsal::{self, RunError},
    report::Outcome,
    search::shrink::{Document, Shrinker},
};

/// Looks for a smaller scenario that fails in the same way.
#[derive(clap::Args)]
#[command(after_help = "\
Takes a run that fails and leaves out steps, clients, topics and brokers, and shortens what is left, as long as the same \
check still fails with the same seed. Ctrl-C ends the search with the smallest scenario so far.

Examples:
  switchyard-sim shrink my-scenario.yaml --seed 7
  switchyard-sim shrink my-scenario.yaml --variant hold --seed 7 --out small.yaml --runs 50")]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Seed of the run that fails.
    #[arg(long)]
    seed: u64,
    /// Where the smaller scenario is written; the default is the file's name with `-small`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Most rehearsals that are made.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let scenario = args.scenario.load_one()?;
    let first = rehearsal::run(&scenario, args.seed);
    let Some(check) = failed_check(&first) else {
        let error = format!("{} seed {} comes as expected", scenario.name, args.seed);
        return Err(Failure::bad_input(error, "name a seed that fails; `sweep` finds some"));
    };
    eprintln!("fails: {}", told(&first));
    let document = Document::read(&args.scenario.file, &scenario, &args.scenario.set)
        .map_err(Failure::at_run_time)?;
    let fails = |document: &Document| {
        let Ok(scenario) = document.scenario() else { return false };
        let result = rehearsal::run(&Arc::new(scenario), args.seed);
        // Another check that comes first now does not matter, as long as this one fails, too.
        checks(&result).any(|failed| failed == check)
    };
    let small = search(&args, document, fails)?;
    let size = |document: &Document| size(document).unwrap_or_default();
    let file = args.out.clone().unwrap_or_else(|| default_file(&args));
    let mut value = small.value().clone();
    value["about"] =
        format!("Fails `{check}` with seed {}: what is left of {}.", args.seed, scenario.name)
            .into();
    let small = small.with(value);
    write_file(&file, &small.text())?;
    say(&format!("{} with {}\n", file.display(), size(&small)));
    say(&format!("switchyard-sim rehearse {} --seed {}\n", file.display(), args.seed));
    Ok(())
}

fn search(
    args: &Args,
    document: Document,
    mut fails: impl FnMut(&Document) -> bool,
) -> Result<Document, Failure> {
    // Times as the seed drew them, so that they stay when steps before them go.
    let resolved = document.resolved(args.seed);
    let document = if fails(&resolved) { resolved } else { document };
    if !fails(&document) {
        let error = "the scenario does not fail when its gateway file is written into it";
        return Err(Failure::at_run_time(error));
    }
    let interrupt = Interrupt::listen();
    let runs = args.runs as usize;
    let mut progress = Progress::new(runs);
    let mut kept = 0;
    let mut go_on = |made, is_kept| {
        kept += usize::from(is_kept);
        progress.show(made, &format!("smaller {}", counted(kept, "time")));
        !interrupt.is_set()
    };
    let small = Shrinker::new(runs, &mut fails, &mut go_on).shrink(document);
    progress.clear();
    Ok(small)
}

/// What fails, by the names of figures and oracles; a run without an outcome has a name of its own.
fn checks(result: &Result<Outcome, RunError>) -> impl Iterator<Item = &str> {
    let (failures, error) = match result {
        Ok(outcome) => (outcome.failures.as_slice(), None),
        Err(RunError::Panic(_)) => (&[][..], Some("panic")),
        Err(RunError::Timeline(_)) => (&[][..], Some("timeline")),
        Err(RunError::Host(_)) => (&[][..], Some("host")),
    };
    failures.iter().map(|failure| failure.check.as_str()).chain(error)
}

fn failed_check(result: &Result<Outcome, RunError>) -> Option<String> {
    checks(result).next().map(str::to_owned)
}

fn told(result: &Result<Outcome, RunError>) -> String {
    match result {
        Ok(outcome) => outcome.failures.first().map_or_else(String::new, |failure| {
            format!("{}: expected {}, found {}", failure.check, failure.expected, failure.found)
        }),
        Err(error) => error.to_string(),
    }
}

/// How much there is in a scenario.
fn size(document: &Document) -> Option<String> {
    let scenario = document.scenario().ok()?;
    let clients = scenario.producers.iter().map(|it| it.count).sum::<usize>()
        + scenario.consumers.iter().map(|it| it.count).sum::<usize>();
    let brokers = scenario.clusters.values().map(|it| it.brokers.len()).sum();
    Some(format!(
        "{}, {}, {} and {}",
        counted(scenario.timeline.len(), "step"),
        counted(clients, "client"),
        counted(scenario.topics.len(), "topic"),
        counted(brokers, "broker"),
    ))
}

fn default_file(args: &Args) -> PathBuf {
    let stem = args.scenario.file.file_stem().unwrap_or_default().to_string_lossy();
    PathBuf::from(format!("{stem}-small.yaml"))
}
