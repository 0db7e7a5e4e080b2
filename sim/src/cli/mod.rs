//! The command line: one file a subcommand.
//!
//! Exit codes: 0 done and as expected, 1 failure at run time or an expectation that was not met, 2 bad input.

mod assess;
mod cluster;
mod demo;
mod interrupt;
mod list;
mod progress;
mod rehearse;
mod replay;
mod scenario;
mod schema;
mod shrink;
mod sweep;
mod values;

use std::{
    fs,
    io::{Write as _, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use switchyard::config::strict::ConfigError;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

/// Failure at run time.
const FAILED: u8 = 1;
/// Bad input: an argument, a file with faults, a port that is taken.
const BAD_INPUT: u8 = 2;

/// Rehearsals of a Switchyard gateway, and the fake Kafka clusters they run on.
#[derive(Parser)]
#[command(name = "switchyard-sim", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
A rehearsal is a pure function of its scenario and its seed: the same command gives the same result everywhere. \
RUST_LOG=debug shows what `demo` and `cluster` do.

Examples:
  switchyard-sim assess gateway.yaml --producer producer.properties
  switchyard-sim rehearse scenarios/regional-outage.yaml --seed 7
  switchyard-sim sweep scenarios/regional-outage.yaml --seeds 0..100
  switchyard-sim demo --for 30s
  switchyard-sim cluster --topic orders:6:3 --sasl alice:secret";

#[derive(Subcommand)]
enum Command {
    /// Says what outages and switchovers would cost with a gateway file and client settings.
    Assess(assess::Args),
    /// Runs a scenario and compares what came of it with what it expects.
    Rehearse(rehearse::Args),
    /// Runs a scenario and prints everything that happened.
    Replay(replay::Args),
    /// Runs a scenario over many seeds, and over settings.
    Sweep(sweep::Args),
    /// Looks for a smaller scenario that fails in the same way.
    Shrink(shrink::Args),
    /// Lists scenarios.
    List(list::Args),
    /// Prints the JSON Schema of scenario files, for editors.
    Schema(schema::Args),
    /// Runs a gateway in front of two fake clusters, with some load, to try switchovers on.
    Demo(demo::Args),
    /// Serves one fake cluster, as a stand-in for Kafka in tests.
    Cluster(cluster::Args),
}

/// Runs the command and gives its exit code.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let lives_in_the_real_world = matches!(command, Command::Demo(_) | Command::Cluster(_));
    // A rehearsal takes the gateway's log down itself.
    if lives_in_the_real_world && std::env::var_os("RUST_LOG").is_some() {
        let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
        lines.with_env_filter(EnvFilter::from_default_env()).init();
    }
    let outcome = match command {
        Command::Assess(args) => assess::run(args),
        Command::Rehearse(args) => rehearse::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Sweep(args) => sweep::run(args),
        Command::Shrink(args) => shrink::run(args),
        Command::List(args) => list::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Demo(args) => run(|| demo::run(args)),
        Command::Cluster(args) => run(|| cluster::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.code)
        }
    }
}

/// Why a command came to nothing.
struct Failure {
    code: u8,
    /// Empty: everything was said already.
    error: String,
    remedy: String,
}

impl Failure {
    fn bad_input(error: impl ToString, remedy: impl Into<String>) -> Self {
        Self { code: BAD_INPUT, error: error.to_string(), remedy: remedy.into() }
    }

    fn at_run_time(error: impl ToString) -> Self {
        Self { code: FAILED, error: error.to_string(), remedy: String::new() }
    }

    /// What was printed shows that not everything is as expected.
    const fn not_as_expected() -> Self {
        Self { code: FAILED, error: String::new(), remedy: String::new() }
    }

    fn tell(&self) {
        if self.error.is_empty() {
            return;
        }
        eprintln!("error: {}", self.error);
        if !self.remedy.is_empty() {
            eprintln!("  remedy: {}", self.remedy);
        }
    }
}

/// All faults of a file, each with its own remedy.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::bad_input(error, "")
    }
}

/// Prints; whoever reads may have seen enough and gone.
fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a file that the user has asked for.
fn write_file(path: &Path, content: &str) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| {
        let error = format!("{} cannot be written: {error}", path.display());
        Failure::bad_input(error, "name a file in a folder that is there and may be written to")
    })
}

/// `1 run`, `3 runs`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Everything runs on this thread: one core is what a fake cluster is measured by.
fn run<F: Future<Output = Result<(), Failure>>>(
    command: impl FnOnce() -> F,
) -> Result<(), Failure> {
    let runtime: Runtime =
        Builder::new_current_thread().enable_all().build().map_err(Failure::at_run_time)?;
    runtime.block_on(command())
}

/// Returns when the command has run for as long as it was asked to, or is interrupted.
#[expect(clippy::disallowed_methods, reason = "commands run in the real world")]
async fn end(after: Option<Duration>) {
    let time = async {
        match after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return time.await;
    };
    tokio::select! {
        () = time => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
