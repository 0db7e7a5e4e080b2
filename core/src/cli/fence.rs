//! `switchyard fence` and `switchyard unfence`

use std::process::ExitCode;

use super::client::{Client, ControlArgs, Decided};
use crate::{
    admin::{FenceBody, RevisionBody},
    config::{ErrorCode, model::FenceMode},
};

/// Blocks a route's clients on purpose.
#[derive(clap::Args)]
#[command(after_help = "\
A fence in mode `hold` lets requests wait, within the bounds of the route's configuration; in mode `error` \
each is answered with a retriable error. A fence stands until `switchyard unfence`, also over a restart.

Example: switchyard fence --route sales --mode hold")]
pub(super) struct FenceArgs {
    /// Name of the route.
    #[arg(long)]
    route: String,
    /// What happens to requests [default: as configured].
    #[arg(long, value_enum)]
    mode: Option<FenceMode>,
    /// Kafka error of mode `error`, by name or number [default: as configured].
    #[arg(long)]
    error_code: Option<ErrorCode>,
    /// Text for APIs that have room for one [default: as configured].
    #[arg(long)]
    error_message: Option<String>,
    #[command(flatten)]
    revisions: RevisionArgs,
    #[command(flatten)]
    control: ControlArgs,
}

/// Lets a route's clients through again.
#[derive(clap::Args)]
#[command(after_help = "Example: switchyard unfence --route sales")]
pub(super) struct UnfenceArgs {
    /// Name of the route.
    #[arg(long)]
    route: String,
    #[command(flatten)]
    revisions: RevisionArgs,
    #[command(flatten)]
    control: ControlArgs,
}

/// What the command expects of the route's revision.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct RevisionArgs {
    /// Revision that the command brings about; refused unless newer than the route's.
    #[arg(long)]
    pub(super) revision: Option<u64>,
    /// Fails when the route is at another revision: somebody else changed it first.
    #[arg(long)]
    pub(super) expected_revision: Option<u64>,
}

pub(super) fn fence(args: FenceArgs) -> ExitCode {
    let body = FenceBody {
        mode: args.mode,
        error_code: args.error_code,
        error_message: args.error_message.map(Into::into),
        revision: args.revisions.revision,
        expected_revision: args.revisions.expected_revision,
    };
    command(&args.control, &args.route, "fence", &body, "fenced")
}

pub(super) fn unfence(args: UnfenceArgs) -> ExitCode {
    let RevisionArgs { revision, expected_revision } = args.revisions;
    let body = RevisionBody { revision, expected_revision };
    command(&args.control, &args.route, "unfence", &body, "open")
}

fn command(
    control: &ControlArgs,
    route: &str,
    action: &str,
    body: &impl serde::Serialize,
    outcome: &str,
) -> ExitCode {
    let decided = Client::new(control).and_then(|client| client.command(route, action, body));
    match decided {
        Ok(Decided { revision, changed: true }) => {
            println!("{route} is {outcome} (revision {revision})");
        }
        Ok(Decided { revision, changed: false }) => {
            println!("{route} was {outcome} already (revision {revision})");
        }
        Err(error) => return error.report(),
    }
    ExitCode::SUCCESS
}
