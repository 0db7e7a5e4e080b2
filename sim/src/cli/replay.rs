//! `switchyard-sim replay`

use std::{
    io::{BufWriter, Write as _, stdout},
    time::Duration,
};

use switchyard::config::duration;

use super::{
    Failure,
    scenario::{ScenarioArgs, Taken},
};

/// Runs a scenario and prints everything that happened, one line an event.
#[derive(clap::Args)]
#[command(after_help = "\
A line has the time in simulated seconds, who saw it, and what. The last line is the digest of the whole trace, whatever \
`--until` and `--filter` leave out: two runs with one digest were the same.

Examples:
  switchyard-sim replay scenarios/regional-outage.yaml --seed 7 --until 40s
  switchyard-sim replay scenarios/regional-outage.yaml --seed 7 --filter checkout-3
  switchyard-sim replay scenarios/fence-error-or-hold.yaml --variant hold --seed 7 | less")]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    taken: Taken,
    /// What every random number is derived from.
    #[arg(long)]
    seed: u64,
    /// Nothing later than this, such as `40s`.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    until: Option<Duration>,
    /// Only lines that contain this text; may be repeated, then any of the texts is enough.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let scenario = args.scenario.only(args.taken.load(&args.scenario)?)?;
    let outcome = args.taken.rehearse(&args.scenario, &scenario, args.seed)?;
    let until = args.until.unwrap_or(Duration::MAX);
    let mut out = BufWriter::new(stdout().lock());
    for entry in outcome.history.entries.iter().take_while(|entry| entry.at() <= until) {
        let line = entry.to_string();
        let wanted = args.filter.is_empty() || args.filter.iter().any(|text| line.contains(text));
        if wanted && writeln!(out, "{line}").is_err() {
            // Whoever reads has seen enough.
            return Ok(());
        }
    }
    let _ = writeln!(out, "trace {}", outcome.digest).and_then(|()| out.flush());
    Ok(())
}
