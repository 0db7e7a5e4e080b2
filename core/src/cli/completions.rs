//! `switchyard completions`

use std::{io, process::ExitCode};

use clap::CommandFactory;
use clap_complete::Shell;

/// Which shell.
#[derive(clap::Args)]
#[command(after_help = "Example: switchyard completions bash > /etc/bash_completion.d/switchyard")]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run<C: CommandFactory>(args: Args) -> ExitCode {
    clap_complete::generate(args.shell, &mut C::command(), "switchyard", &mut io::stdout());
    ExitCode::SUCCESS
}
