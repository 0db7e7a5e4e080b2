//! `switchyard switchover`

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use super::{
    client::{CallError, Client, ControlArgs},
    fail,
    fence::RevisionArgs,
};
use crate::{
    admin::SwitchoverBody,
    config::{duration, model::FenceMode},
    driver::status::RouteStatus,
    route::Phase,
};

/// Points a route at another streaming domain.
#[derive(clap::Args)]
#[command(after_help = "\
The target is looked at first; if it does not answer, nothing changes. With `--drain`, requests in flight \
finish on the old cluster while new ones wait; without, they are cut off. `--fence` keeps clients back until \
every session has left the old cluster. A route that was fenced before stays fenced.

Example: switchyard switchover --route sales --to west --fence hold --drain 5s")]
pub(super) struct Args {
    /// Name of the route.
    #[arg(long)]
    route: String,
    /// Streaming domain to point it at.
    #[arg(long, value_name = "DOMAIN")]
    to: String,
    /// Bootstrap server of the domain [default: its first].
    #[arg(long, value_name = "ID")]
    bootstrap_server: Option<String>,
    /// Keeps clients back until every session has moved.
    #[arg(long, value_enum)]
    fence: Option<FenceMode>,
    /// How long requests in flight may take, such as `5s` [default: they are cut off].
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    drain: Option<Duration>,
    /// How long to wait for the sessions to move.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "60s")]
    timeout: Duration,
    #[command(flatten)]
    revisions: RevisionArgs,
    #[command(flatten)]
    control: ControlArgs,
}

/// Progress is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(args: Args) -> ExitCode {
    match switch(&args) {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

fn switch(args: &Args) -> Result<ExitCode, CallError> {
    let client = Client::new(&args.control)?;
    let started = Instant::now();
    let body = SwitchoverBody {
        to: args.to.as_str().into(),
        bootstrap_server_id: args.bootstrap_server.as_deref().map(Into::into),
        fence: args.fence,
        drain: args.drain,
        revision: args.revisions.revision,
        expected_revision: args.revisions.expected_revision,
    };
    let sessions_before = find(&client, &args.route)?.map_or(0, |r| r.observed.sessions.sessions);
    let decided = client.command(&args.route, "switchover", &body)?;
    let revision = decided.revision;
    if !decided.changed {
        println!("{} points at {} already (revision {revision})", args.route, args.to);
        return Ok(ExitCode::SUCCESS);
    }
    println!("accepted as revision {revision}");
    let mut said = String::new();
    loop {
        let Some(route) = find(&client, &args.route)? else {
            return Ok(fail(1, &format!("route `{}` is gone", args.route), ""));
        };
        if route.desired.revision > revision {
            let newer = route.desired.revision;
            let error = format!("the route was changed meanwhile and is at revision {newer}");
            return Ok(fail(1, &error, "look at it with `switchyard status`"));
        }
        let progress = progress(&route);
        if progress != said {
            println!("{:6.1} s  {progress}", started.elapsed().as_secs_f64());
            said = progress;
        }
        if matches!(route.observed.phase, Phase::Serving | Phase::Fenced) {
            report(&route, sessions_before, started.elapsed());
            return Ok(ExitCode::SUCCESS);
        }
        if started.elapsed() > args.timeout {
            let error = "not every session has moved in time; the switchover goes on";
            return Ok(fail(1, &error, "follow it with `switchyard status --watch`"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn find(client: &Client, route: &str) -> Result<Option<RouteStatus>, CallError> {
    Ok(client.status()?.routes.into_iter().find(|status| *status.name == *route))
}

fn progress(route: &RouteStatus) -> String {
    let sessions = &route.observed.sessions;
    match route.observed.phase {
        Phase::Draining => format!("draining: {} requests in flight", sessions.in_flight),
        Phase::Moving => format!("moving: {} sessions left", sessions.sessions_on_old_target),
        phase @ (Phase::Serving | Phase::Fenced) => phase.label().to_owned(),
    }
}

fn report(route: &RouteStatus, sessions: usize, took: Duration) {
    let cut_off = route.observed.last_move.as_ref().map_or(0, |last| last.cut_off);
    println!(
        "{} points at {} (revision {}): {sessions} sessions moved, {cut_off} requests cut off, {:.1} s",
        route.name,
        route.observed.domain,
        route.desired.revision,
        took.as_secs_f64(),
    );
    if route.observed.phase == Phase::Fenced {
        println!(
            "the fence that stood before still stands: `switchyard unfence --route {}`",
            route.name
        );
    }
}
