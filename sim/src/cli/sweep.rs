//! `switchyard-sim sweep`

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Failure, counted,
    interrupt::Interrupt,
    progress::Progress,
    say,
    scenario::{ScenarioArgs, command, shown, variant_of},
    values,
};
use crate::search::{
    row::{self, Key, Row},
    seeds::{Seeds, Shard},
    sweep::{self, Run, Setting},
    table::{self, Tally},
};

/// Failing seeds that are shown for each setting; the file of `--out` has all.
const FAILING_MAX: usize = 10;
/// Most runs of one sweep.
const RUNS_MAX: usize = 10_000_000;

/// Runs a scenario over many seeds, and over settings.
#[derive(clap::Args)]
#[command(after_help = "\
Prints a table of outcomes over the settings, and each seed that did not come as expected with the command that replays it. \
What a scenario expects to happen `sometimes` has to happen with at least one of the seeds of each setting. Ctrl-C prints \
what is known so far; with `--out` and `--resume` the rest can be done later.

Examples:
  switchyard-sim sweep scenarios/regional-outage.yaml --seeds 0..1000 --jobs 4
  switchyard-sim sweep scenarios/delivery-timeout.yaml --vary 'timeline[0].black-hole.for=110s,119s,121s'
  switchyard-sim sweep scenarios/regional-outage.yaml --seeds 0..1000 --out results.jsonl --resume
  switchyard-sim sweep scenarios/regional-outage.yaml --seeds 0..1000 --shard 1/4 --out part-1.jsonl")]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// From one seed on up to another, which is not among them.
    #[arg(long, value_name = "FROM..TO", default_value = "0..20")]
    seeds: Seeds,
    /// Runs the scenario with each of these values at a path; several combine.
    #[arg(long, value_name = "PATH=VALUE,VALUE", value_parser = values::alternatives)]
    vary: Vec<(String, Vec<Value>)>,
    /// Runs side by side; the default is one for each core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Does only a share of the runs, such as `1/4`.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Writes a line of JSON for each run.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keeps the runs that the file of `--out` has already, and does the rest.
    #[arg(long, requires = "out")]
    resume: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let settings = settings(&args)?;
    let shard = args.shard.unwrap_or(Shard::ALL);
    let seeds = args.seeds.0.end - args.seeds.0.start;
    if usize::try_from(seeds).map_or(true, |seeds| seeds > RUNS_MAX / settings.len()) {
        let error = format!("{seeds} seeds of {}", counted(settings.len(), "setting"));
        return Err(Failure::bad_input(error, format!("ask for at most {RUNS_MAX} runs")));
    }
    let mut runs = sweep::plan(&settings, &args.seeds, shard);
    let mut tallies = tallies(&settings, &runs);
    let known = known(&args)?;
    let all = runs.len();
    runs.retain(|run| match known.get(&key_text(&run.key)) {
        Some(row) => {
            tallies[run.setting].add(row.clone());
            false
        }
        None => true,
    });
    if args.resume {
        eprintln!("{} of {} are there already", all - runs.len(), counted(all, "run"));
    }
    let mut out = args.out.as_deref().map(|file| open(file, args.resume)).transpose()?;
    let broken = go(runs, jobs(&args), &mut tallies, out.as_mut());
    if let (Some(error), Some(file)) = (broken.write_error, &args.out) {
        return Err(Failure::at_run_time(format!("{} cannot be written: {error}", file.display())));
    }
    if broken.interrupted {
        say("Interrupted; what is known so far:\n\n");
    }
    // A share of the runs says nothing about what must happen in some run.
    let judges_marks = args.shard.is_none() && !broken.interrupted;
    tell(&args, &settings, &tallies, judges_marks)
}

/// The scenario with every combination of values.
fn settings(args: &Args) -> Result<Vec<Setting>, Failure> {
    let mut settings = Vec::new();
    for varied in sweep::combinations(&args.vary) {
        let set: Vec<_> = args.scenario.set.iter().cloned().chain(varied.clone()).collect();
        let one = ScenarioArgs {
            file: args.scenario.file.clone(),
            variant: args.scenario.variant.clone(),
            set: set.clone(),
        };
        let loaded = one.load()?;
        settings
            .extend(loaded.into_iter().map(|it| Setting { settings: set.clone(), scenario: it }));
    }
    Ok(settings)
}

fn tallies(settings: &[Setting], runs: &[Run]) -> Vec<Tally> {
    let tally = |(index, setting): (usize, &Setting)| {
        let mut label = setting.scenario.name.clone();
        for (path, value) in &setting.settings {
            label.push(' ');
            label.push_str(path);
            label.push('=');
            label.push_str(&shown(value));
        }
        let planned = runs.iter().filter(|run| run.setting == index).count();
        Tally::new(label, setting.scenario.expect.sometimes.clone(), planned)
    };
    settings.iter().enumerate().map(tally).collect()
}

/// Rows of an earlier sweep, by what tells them apart.
fn known(args: &Args) -> Result<BTreeMap<String, Row>, Failure> {
    let Some(file) = args.out.as_deref().filter(|_| args.resume) else {
        return Ok(BTreeMap::new());
    };
    let rows = row::read(file).map_err(|error| {
        let error = format!("{}: {error}", file.display());
        Failure::bad_input(error, "name the file of an earlier sweep, or one that is not there yet")
    })?;
    Ok(rows.into_iter().map(|row| (key_text(&row.key), row)).collect())
}

fn key_text(key: &Key) -> String {
    serde_json::to_string(key).unwrap_or_default()
}

fn open(file: &Path, resume: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).read(true);
    if resume {
        options.append(true)
    } else {
        options.truncate(true)
    };
    let wrong = |error: std::io::Error| {
        let error = format!("{} cannot be written: {error}", file.display());
        Failure::bad_input(error, "name a file in a folder that is there and may be written to")
    };
    let mut opened = options.open(file).map_err(wrong)?;
    if resume {
        // A line that was cut off would swallow the next one.
        let text = std::fs::read(file).map_err(wrong)?;
        if text.last().is_some_and(|last| *last != b'\n') {
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            opened.set_len(whole as u64).map_err(wrong)?;
        }
        opened.flush().map_err(wrong)?;
    }
    Ok(opened)
}

fn jobs(args: &Args) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    args.jobs.map_or(cores, usize::from)
}

/// How a sweep ended before its time.
#[derive(Default)]
struct Broken {
    interrupted: bool,
    write_error: Option<std::io::Error>,
}

fn go(runs: Vec<Run>, jobs: usize, tallies: &mut [Tally], mut out: Option<&mut File>) -> Broken {
    let interrupt = Interrupt::listen();
    let total = runs.len();
    let mut progress = Progress::new(total);
    let (mut done, mut failing, mut write_error) = (0, 0, None);
    sweep::sweep(
        runs,
        jobs,
        || interrupt.is_set(),
        |run, row| {
            done += 1;
            failing += usize::from(!row.passed);
            if let (Some(out), None) = (out.as_mut(), &write_error) {
                // A row is plain data.
                let line = serde_json::to_string(&row).unwrap_or_default();
                write_error = writeln!(out, "{line}").err();
            }
            tallies[run.setting].add(row);
            progress.show(done, &format!("{failing} failing"));
        },
    );
    progress.clear();
    Broken { interrupted: done < total, write_error }
}

fn tell(
    args: &Args,
    settings: &[Setting],
    tallies: &[Tally],
    judges_marks: bool,
) -> Result<(), Failure> {
    say(&table::table(tallies));
    let mut passed = true;
    for (setting, tally) in settings.iter().zip(tallies) {
        let failing: Vec<&Row> = tally.failing().collect();
        passed &= failing.is_empty();
        if !failing.is_empty() {
            say(&format!("\n{}: {} not as expected\n", tally.label, counted(failing.len(), "run")));
        }
        for row in failing.iter().take(FAILING_MAX) {
            let variant = variant_of(&setting.scenario.name);
            let replay =
                command("replay", &args.scenario.file, variant, &setting.settings, row.key.seed);
            say(&format!("  seed {}: {}\n    {replay}\n", row.key.seed, row.reason()));
        }
        if failing.len() > FAILING_MAX {
            say(&format!("  … and {} more\n", failing.len() - FAILING_MAX));
        }
        if judges_marks && tally.is_complete() {
            for mark in tally.unreached() {
                passed = false;
                say(&format!(
                    "\n{}: no seed came to `{mark}`, so it proves nothing about it\n",
                    tally.label
                ));
            }
        }
    }
    let complete = tallies.iter().all(Tally::is_complete);
    if passed && complete { Ok(()) } else { Err(Failure::not_as_expected()) }
}
