//! `switchyard check`

use std::{fmt::Write as _, process::ExitCode};

use serde_json::json;

use super::{
    BAD_INPUT,
    source::{ConfigArgs, load_here},
};
use crate::{
    config::{LoadError, Loaded, Route, model::Model},
    wire::api::ClientView,
};

/// Checks a configuration without starting anything.
#[derive(clap::Args)]
#[command(after_help = "\
Every fault is shown at once, with its line and what to write instead; the exit code is then 2.

Example: switchyard check gateway.yaml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Faults and notices as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> ExitCode {
    let loaded = args.config.source().and_then(|source| load_here(&source));
    match loaded {
        Ok(loaded) if args.json => {
            println!("{}", json!({"valid": true, "notices": loaded.notices}));
            ExitCode::SUCCESS
        }
        Ok(loaded) => {
            show(&loaded);
            ExitCode::SUCCESS
        }
        Err(LoadError::Config(error)) if args.json => {
            println!("{}", json!({"valid": false, "faults": error.faults}));
            ExitCode::from(BAD_INPUT)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn show(loaded: &Loaded) {
    for notice in &loaded.notices {
        println!("note: {notice}");
    }
    if !loaded.notices.is_empty() {
        println!();
    }
    for route in loaded.model.routes.values() {
        println!("{}", describe(&loaded.model, route));
    }
    println!(
        "valid: {}, {}",
        counted(loaded.model.routes.len(), "route"),
        counted(loaded.model.domains.len(), "streaming domain")
    );
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn describe(model: &Model, route: &Route) -> String {
    let view = match route.client_view {
        ClientView::Native => "native",
        ClientView::Neutral => "neutral",
    };
    let mut text = format!(
        "route {}: {} on {} → domain {} ({}), clients see it {view}\n",
        route.name,
        route.endpoint(),
        route.bind_address(),
        route.target.domain,
        route.target.bootstrap_server_id,
    );
    for (name, map) in route.eligible() {
        let nodes: Vec<_> =
            map.node_ranges().map(|range| format!("{}–{}", range.start(), range.end())).collect();
        let ports = map.ports();
        let servers: Vec<_> = model.domains[name]
            .bootstrap_servers
            .iter()
            .flat_map(|server| &server.addresses)
            .map(ToString::to_string)
            .collect();
        let _ = writeln!(
            text,
            "  under {name}: ports {}–{}, node ids {}, servers {}",
            ports.start(),
            ports.end(),
            nodes.join(", "),
            servers.join(", ")
        );
    }
    text
}
