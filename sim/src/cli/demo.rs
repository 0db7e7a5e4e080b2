//! `switchyard-sim demo`

#![expect(clippy::disallowed_methods, reason = "commands run in the real world")]

use std::{
    io::{IsTerminal as _, Write as _, stdout},
    time::Duration,
};

use switchyard::config::duration;
use tokio::time::Instant;

use super::{Failure, end};
use crate::demo::{
    Demo, DemoError, EAST, PORT_BASE_MAX, Plan, ROUTE, Rates, TOPIC, Totals, WEST, line, moves,
    table, words,
};

/// Runs a gateway in front of two fake clusters, with some load, to try switchovers on.
#[derive(clap::Args)]
#[command(after_help = "\
Everything listens on 127.0.0.1. Ctrl-C ends it and says what it came to.

Examples:
  switchyard-sim demo
  switchyard-sim demo --for 30s
  switchyard-sim demo --port-base 29092 --no-load
  switchyard switchover --route sales --to west --fence hold --drain 5s")]
pub(super) struct Args {
    /// Ends by itself after so long, such as `30s`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Port that clients bootstrap at; brokers stand behind it, and 100 and 200 above it.
    #[arg(long, value_name = "PORT", default_value_t = 19092, value_parser = clap::value_parser!(u16).range(1..=i64::from(PORT_BASE_MAX)))]
    port_base: u16,
    /// The gateway's control port, where `switchyard` looks for it.
    #[arg(long, value_name = "PORT", default_value_t = 9180, value_parser = clap::value_parser!(u16).range(1..))]
    control_port: u16,
    /// The gateway's port for health and metrics.
    #[arg(long, value_name = "PORT", default_value_t = 9190, value_parser = clap::value_parser!(u16).range(1..))]
    admin_port: u16,
    /// Without the built-in producer and consumer.
    #[arg(long)]
    no_load: bool,
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let plan = Plan {
        port_base: args.port_base,
        control_port: args.control_port,
        admin_port: args.admin_port,
        load: !args.no_load,
    };
    let demo = Demo::start(plan).await.map_err(failure)?;
    print!("{}", introduction(plan, &demo));
    let started = Instant::now();
    tokio::select! {
        () = end(args.duration) => {}
        () = show(&demo, started) => {}
    }
    let since = started.elapsed();
    let (totals, switchovers) = demo.stop().await;
    println!("\n{}", summary(totals, switchovers, since));
    Ok(())
}

fn failure(error: DemoError) -> Failure {
    if error.is_bad_input() {
        let remedy = "end what listens there, or write another `--port-base`, `--control-port` or \
                      `--admin-port`";
        Failure::bad_input(error, remedy)
    } else {
        Failure::at_run_time(error)
    }
}

/// What runs, and what to try.
fn introduction(plan: Plan, demo: &Demo) -> String {
    let (route, west) = (plan.route(), plan.bootstrap(WEST));
    let mut control = String::new();
    if plan.control_port != 9180 {
        control = format!(" --control http://127.0.0.1:{}", plan.control_port);
    }
    format!(
        "A gateway in front of two fake Kafka clusters, all in this process.\n\
         \n  clients   {route}  the gateway's route `{ROUTE}`, which points at `{EAST}`\
         \n  {EAST}      {}  three brokers\
         \n  {WEST}      {west}  three brokers, with a mirror of topic `{TOPIC}`\
         \n  file      {}\n\
         \nTry in another terminal (`switchyard` is `cargo run --release --bin switchyard --` here):\n\
         \n  switchyard status --watch{control}\
         \n  switchyard switchover --route {ROUTE} --to {WEST} --fence hold --drain 5s{control}\
         \n  switchyard switchover --route {ROUTE} --to {EAST} --fence hold --drain 5s{control}\
         \n  kcat -b {route} -L\
         \n  kcat -b {route} -C -t {TOPIC} -o -3 -e\
         \n  kcat -b {west} -C -t {TOPIC} -o -3 -e\n\n",
        plan.bootstrap(EAST),
        demo.configuration().display(),
    )
}

/// Shows how it goes, until the gateway has stopped.
async fn show(demo: &Demo, started: Instant) {
    let in_place = stdout().is_terminal();
    let mut before = (Totals::default(), started);
    let mut drawn = 0;
    let mut ticks = tokio::time::interval_at(started + LOOK_EVERY, LOOK_EVERY);
    loop {
        ticks.tick().await;
        let Some(look) = demo.look().await else { return };
        let now = Instant::now();
        let totals = look.totals.unwrap_or_default();
        let rates = Rates::between(before.0, totals, now - before.1);
        before = (totals, now);
        let since = now - started;
        let mut out = stdout().lock();
        // Whoever reads may have gone: that is no reason to end.
        let _ = if in_place {
            let text = table(&look, rates, since);
            let back = if drawn > 0 { format!("\x1b[{drawn}F\x1b[J") } else { String::new() };
            drawn = text.lines().count();
            write!(out, "{back}{text}")
        } else {
            writeln!(out, "{}", line(&look, rates, since))
        };
        let _ = out.flush();
    }
}

fn summary(totals: Option<Totals>, switchovers: u64, since: Duration) -> String {
    let Some(totals) = totals else { return words(None, switchovers, since) };
    format!(
        "In {} s: {} records acknowledged, {} consumed, {} lost, {} duplicated; {} seen.",
        since.as_secs(),
        totals.acknowledged,
        totals.consumed,
        totals.missing,
        totals.duplicated,
        moves(switchovers),
    )
}
