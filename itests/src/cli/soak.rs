//! `switchyard-itests soak`

use std::{path::PathBuf, time::Duration};

use switchyard::config::duration;
use switchyard_sim::soak as dice;

use super::{Failure, say};
use crate::{machine, soak};

/// Plays a scenario by dice on real Kafka, for minutes.
#[derive(clap::Args)]
#[command(after_help = "\
Repoints, fences, dying brokers, silent links and a dying gateway follow each other in an order that the seed decides; clients \
write and read all the time. In the end no acknowledged record may be gone, no send may have failed, everybody must have come \
back, and the gateway may have grown neither in memory nor in open descriptors.

The exit code is 0 when all holds, 1 when something does not, 2 when an argument is bad or Docker is missing.

Examples:
  switchyard-itests soak --for 10m --seed 7
  switchyard-itests soak --for 10m --seed 7 --print > soak.yaml && switchyard-sim rehearse soak.yaml")]
pub(super) struct Args {
    /// How long, from 1m to 6h.
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    duration: Duration,
    /// Decides what happens when.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Prints the scenario and plays nothing.
    #[arg(long)]
    print: bool,
    /// Keeps the history here, one entry a line [default: only after a failure, in target/soak.jsonl].
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let text = dice::scenario(args.duration, args.seed)
        .map_err(|error| Failure::bad_input(error, "write a time such as `--for 10m`"))?;
    if args.print {
        say(&text);
        return Ok(());
    }
    machine::ready().map_err(|missing| Failure::bad_input(missing, ""))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::at_run_time)?;
    let (seconds, seed) = (args.duration.as_secs(), args.seed);
    say(&format!("soak of {seconds} s, seed {seed}\n"));
    let soaked =
        runtime.block_on(soak::run(args.duration, args.seed)).map_err(Failure::at_run_time)?;
    say(&soak::summary(&soaked));
    let failed = !soaked.faults.is_empty();
    let kept = args.history.or_else(|| failed.then(|| PathBuf::from("target/soak.jsonl")));
    if let Some(path) = kept {
        super::write_history(&path, &soaked.played.history).map_err(Failure::at_run_time)?;
        say(&format!("  history: {}\n", path.display()));
    }
    if failed {
        say(&format!("FAILED; again: switchyard-itests soak --for {seconds}s --seed {seed}\n"));
        return Err(Failure::disagreement());
    }
    say("everything holds\n");
    Ok(())
}
