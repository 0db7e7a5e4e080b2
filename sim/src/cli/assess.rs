//! `switchyard-sim assess`
use super::Failure;
/// x
#[derive(clap::Args)]
pub(super) struct Args {}
pub(super) fn run(_args: Args) -> Result<(), Failure> { Ok(()) }
