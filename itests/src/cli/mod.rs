//! The command line: one file a subcommand.
//!
//! Exit codes: 0 done and in agreement, 1 failure at run time or a disagreement, 2 bad input, or something of this machine
//! is missing.

mod soak;
mod table;
mod validate;

use std::{
    fs,
    io::{BufWriter, Write as _, stdout},
    path::Path,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use switchyard::config::strict::ConfigError;
use switchyard_sim::oracle::History;

use crate::Result;

/// Failure at run time.
const FAILED: u8 = 1;
/// Bad input: an argument, a file with faults, no Docker.
const BAD_INPUT: u8 = 2;

/// Where results are kept unless somewhere else is asked for.
const OUT: &str = "target/validation";

/// Rehearsals held against real Kafka.
#[derive(Parser)]
#[command(name = "switchyard-itests", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Real Kafka runs in containers: `ci/setup` installs what is needed. SWITCHYARD_KAFKA_VERSION chooses the version of Kafka, \
SWITCHYARD_BIN the gateway.

Examples:
  switchyard-itests validate scenarios/fence-error-or-hold.yaml --variant hold
  switchyard-itests validate --keep-going
  switchyard-itests soak --for 10m --seed 7
  switchyard-itests table --readme";

#[derive(Subcommand)]
enum Command {
    /// Rehearses scenarios, plays them on real Kafka, and compares the two.
    Validate(validate::Args),
    /// Plays a scenario by dice on real Kafka, for minutes.
    Soak(soak::Args),
    /// Prints the newest results as one table, or puts it into the README.
    Table(table::Args),
}

/// Runs the command and gives its exit code.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Validate(args) => validate::run(args),
        Command::Soak(args) => soak::run(args),
        Command::Table(args) => table::run(args),
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
#[derive(Debug)]
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

    /// What was printed shows that not everything agrees.
    const fn disagreement() -> Self {
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

/// What stands before the variant in a scenario's name.
fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Keeps a history, one entry a line: entries in the order of time, then what each cluster holds in the end.
fn write_history(path: &Path, history: &History) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| write_lines(path, history))
        .map_err(|error| format!("{} cannot be written: {error}", path.display()).into())
}

fn write_lines(path: &Path, history: &History) -> std::io::Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    for entry in &history.entries {
        serde_json::to_writer(&mut out, entry)?;
        writeln!(out)?;
    }
    for (cluster, log) in &history.logs {
        for stored in log {
            serde_json::to_writer(
                &mut out,
                &serde_json::json!({ "holds": cluster, "record": stored }),
            )?;
            writeln!(out)?;
        }
    }
    out.flush()
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
