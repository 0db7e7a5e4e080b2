//! `switchyard-sim schema`

use super::{Failure, say};

/// Prints the JSON Schema of scenario files.
#[derive(clap::Args)]
#[command(after_help = "\
Example: switchyard-sim schema > scenario.schema.json
Then, in the first line of a scenario: # yaml-language-server: $schema=scenario.schema.json")]
pub(super) struct Args {}

#[expect(clippy::unnecessary_wraps, reason = "every subcommand may fail")]
pub(super) fn run(_args: Args) -> Result<(), Failure> {
    say(&format!("{:#}\n", crate::scenario::json_schema()));
    Ok(())
}
