//! `switchyard status`

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
    thread,
    time::Duration,
};

use super::client::{Client, ControlArgs};
use crate::{
    config::model::FenceMode,
    driver::status::{GatewayStatus, RouteStatus},
};

/// Shows the routes of a running gateway.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  switchyard status
  switchyard status --watch
  switchyard status --json | jq '.routes[].observed.phase'")]
pub(super) struct Args {
    /// The whole status as JSON.
    #[arg(long)]
    json: bool,
    /// Shows it anew every second until interrupted.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    control: ControlArgs,
}

const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";

pub(super) fn run(args: Args) -> ExitCode {
    let client = match Client::new(&args.control) {
        Ok(client) => client,
        Err(error) => return error.report(),
    };
    loop {
        let status = match client.status() {
            Ok(status) => status,
            Err(error) => return error.report(),
        };
        let text = match (args.json, args.watch) {
            (true, true) => serde_json::to_string(&status).unwrap_or_default() + "\n",
            (true, false) => serde_json::to_string_pretty(&status).unwrap_or_default() + "\n",
            (false, true) => CLEAR_SCREEN.to_owned() + &table(&status),
            (false, false) => table(&status),
        };
        let mut out = io::stdout();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        // Whoever read along may have seen enough.
        if written.is_err() || !args.watch {
            return ExitCode::SUCCESS;
        }
        thread::sleep(Duration::from_secs(1));
    }
}

const HEADINGS: [&str; 9] = [
    "ROUTE",
    "ENDPOINT",
    "DOMAIN",
    "PHASE",
    "FENCE",
    "SESSIONS",
    "IN FLIGHT",
    "PARKED",
    "REVISION",
];

/// The table that people read.
fn table(status: &GatewayStatus) -> String {
    let rows: Vec<_> = status.routes.iter().map(row).collect();
    let headings = HEADINGS.map(str::to_owned);
    let width = |column: usize| {
        rows.iter().chain([&headings]).map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "gateway {}, configuration {} applied {}\n",
        status.name, status.config_id, status.applied_at
    );
    for row in [&headings].into_iter().chain(&rows) {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn row(route: &RouteStatus) -> [String; 9] {
    let observed = &route.observed;
    let desired = &route.desired.target.domain;
    let domain = if observed.domain == *desired {
        desired.to_string()
    } else {
        format!("{} → {desired}", observed.domain)
    };
    let behind = observed.sessions.sessions_on_old_target;
    let sessions = if behind == 0 {
        observed.sessions.sessions.to_string()
    } else {
        format!("{} ({behind} to move)", observed.sessions.sessions)
    };
    [
        route.name.to_string(),
        route.endpoint.clone(),
        domain,
        observed.phase.label().to_owned(),
        fence(route),
        sessions,
        observed.sessions.in_flight.to_string(),
        format!("{} B", observed.sessions.parked_bytes),
        route.desired.revision.to_string(),
    ]
}

/// The fence that stands, and whether it is a hold that lets nobody wait any more.
fn fence(route: &RouteStatus) -> String {
    let Some(fence) = &route.desired.fence else { return "–".to_owned() };
    if fence.mode == FenceMode::Hold && route.observed.gate == "answer" {
        return "hold, past its bounds: error".to_owned();
    }
    fence.mode.label().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients of such a route see errors, which an operator who reads `hold` would look for elsewhere.
    #[test]
    fn hold_past_its_bounds_can_be_told_from_a_hold() {
        let status = |gate: &str| -> RouteStatus {
            serde_json::from_value(serde_json::json!({
                "name": "sales", "endpoint": "gw.example:9092", "clientView": "neutral",
                "desired": {
                    "revision": 7, "domain": "west", "bootstrapServerId": "x",
                    "fence": {"mode": "hold", "errorCode": 8},
                },
                "observed": {
                    "phase": "fenced", "gate": gate, "domain": "west", "sessions": 0,
                    "sessionsBehind": 0, "sessionsOnOldTarget": 0, "inFlight": 0, "parkedBytes": 0,
                    "lastMove": null,
                },
                "eligibleDomains": ["west"],
                "lastChange": {"by": "api", "at": "2026-01-02T03:04:05Z"},
            }))
            .expect("a status")
        };
        assert_eq!(fence(&status("hold")), "hold");
        assert_eq!(fence(&status("answer")), "hold, past its bounds: error");
    }

    #[test]
    fn table_shows_a_route_on_its_way() {
        let status: GatewayStatus = serde_json::from_value(serde_json::json!({
            "configId": "c1", "appliedAt": "2026-01-02T03:04:05Z", "name": "gw",
            "routes": [{
                "name": "sales", "endpoint": "gw.example:9092", "clientView": "neutral",
                "desired": {"revision": 7, "domain": "west", "bootstrapServerId": "x", "fence": null},
                "observed": {
                    "phase": "draining", "gate": "hold", "domain": "east", "sessions": 12,
                    "sessionsBehind": 0, "sessionsOnOldTarget": 3, "inFlight": 5, "parkedBytes": 99,
                    "lastMove": null,
                },
                "eligibleDomains": ["east", "west"],
                "lastChange": {"by": "api", "at": "2026-01-02T03:04:05Z"},
            }],
        }))
        .expect("a status");
        insta::assert_snapshot!(table(&status), @r"
        gateway gw, configuration c1 applied 2026-01-02T03:04:05Z

        ROUTE  ENDPOINT         DOMAIN       PHASE     FENCE  SESSIONS        IN FLIGHT  PARKED  REVISION
        sales  gw.example:9092  east → west  draining  –      12 (3 to move)  5          99 B    7
        ");
    }
}
