//! `switchyard schema`

use std::process::ExitCode;

/// Prints the JSON Schema of the configuration file.
#[derive(clap::Args)]
#[command(after_help = "\
Example: switchyard schema > gateway.schema.json
Then, in the first line of the configuration: # yaml-language-server: $schema=gateway.schema.json")]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> ExitCode {
    let schema = crate::config::json_schema();
    println!("{}", serde_json::to_string_pretty(&schema).unwrap_or_default());
    ExitCode::SUCCESS
}
