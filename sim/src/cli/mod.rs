//! The command line: one file a subcommand.
//!
//! Exit codes: 0 done, 1 failure at run time, 2 bad input.

mod cluster;
mod demo;
mod values;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

/// Failure at run time.
const FAILED: u8 = 1;
/// Bad input: an argument, a port that is taken.
const BAD_INPUT: u8 = 2;

/// Fake Kafka clusters: to try Switchyard without Kafka, and to test what speaks to Kafka.
#[derive(Parser)]
#[command(name = "switchyard-sim", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Nothing is kept: records live in memory and are gone with the process. RUST_LOG=debug shows what happens.

Examples:
  switchyard-sim demo --for 30s
  switchyard-sim cluster --brokers 3 --port 9092
  switchyard-sim cluster --topic orders:6:3 --sasl alice:secret";

#[derive(Subcommand)]
enum Command {
    /// Runs a gateway in front of two fake clusters, with some load, to try switchovers on.
    Demo(demo::Args),
    /// Serves one fake cluster, as a stand-in for Kafka in tests.
    Cluster(cluster::Args),
}

/// Runs the command and gives its exit code.
pub fn main() -> ExitCode {
    if std::env::var_os("RUST_LOG").is_some() {
        let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
        lines.with_env_filter(EnvFilter::from_default_env()).init();
    }
    let outcome = match Cli::parse().command {
        Command::Demo(args) => run(|| demo::run(args)),
        Command::Cluster(args) => run(|| cluster::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.error);
            if !failure.remedy.is_empty() {
                eprintln!("  remedy: {}", failure.remedy);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Why a command came to nothing.
struct Failure {
    code: u8,
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
