//! The command line: one file a subcommand.
//!
//! Exit codes: 0 done, 1 failure at run time, 2 bad input.

#![expect(clippy::disallowed_types, reason = "commands run in the real world only")]

mod check;
mod client;
mod completions;
mod fence;
mod run;
mod schema;
mod source;
mod status;
mod switchover;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Bad input: a configuration, an argument, a port that is taken.
const BAD_INPUT: u8 = 2;

/// A Kafka gateway whose routes are repointed while clients work.
#[derive(Parser)]
#[command(name = "switchyard", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  switchyard check gateway.yaml
  switchyard run gateway.yaml
  switchyard status --watch
  switchyard switchover --route sales --to west --fence hold --drain 5s";

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway.
    Run(run::Args),
    /// Checks a configuration without starting anything.
    Check(check::Args),
    /// Prints the JSON Schema of the configuration file, for editors.
    Schema(schema::Args),
    /// Shows the routes of a running gateway.
    Status(status::Args),
    /// Blocks a route's clients on purpose.
    Fence(fence::FenceArgs),
    /// Lets a route's clients through again.
    Unfence(fence::UnfenceArgs),
    /// Points a route at another streaming domain.
    Switchover(switchover::Args),
    /// Prints completions for a shell.
    Completions(completions::Args),
}

/// Runs the command and gives its exit code.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Status(args) => status::run(args),
        Command::Fence(args) => fence::fence(args),
        Command::Unfence(args) => fence::unfence(args),
        Command::Switchover(args) => switchover::run(args),
        Command::Completions(args) => completions::run::<Cli>(args),
    }
}

/// One line for what went wrong, one for what to do.
fn fail(code: u8, error: &dyn std::fmt::Display, remedy: &str) -> ExitCode {
    eprintln!("error: {error}");
    if !remedy.is_empty() {
        eprintln!("  remedy: {remedy}");
    }
    ExitCode::from(code)
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
