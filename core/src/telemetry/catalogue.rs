//! Every metric that the gateway has: the one table from which they are registered and documented.

use std::fmt::Write as _;

/// Stands before every name.
pub const PREFIX: &str = "switchyard_";

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name without the prefix; counters end in `_total`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, and in which unit.
    pub meaning: &'static str,
}

const fn entry_of(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Entry {
    Entry { name, kind, labels, meaning }
}

/// In the order of the documentation.
pub const CATALOGUE: &[Entry] = &[
    entry_of("build_info", "gauge", &["version"], "Always 1; the label says which build runs"),
    entry_of("connections_total", "counter", &["route"], "Client connections accepted"),
    entry_of("sessions", "gauge", &["route", "domain"], "Client connections that are open"),
    entry_of(
        "sessions_behind",
        "gauge",
        &["route"],
        "Sessions that have not acted on the route's newest state yet",
    ),
    entry_of("closes_total", "counter", &["route", "cause"], "Sessions that ended, by cause"),
    entry_of(
        "bytes_total",
        "counter",
        &["route", "domain", "direction"],
        "Bytes `received` from and `sent` to clients",
    ),
    entry_of("requests_total", "counter", &["route", "api"], "Requests forwarded"),
    entry_of(
        "request_seconds",
        "histogram",
        &["route", "api"],
        "Seconds from the start of a request to the start of its response",
    ),
    entry_of("in_flight_requests", "gauge", &["route"], "Requests forwarded and not yet answered"),
    entry_of(
        "rewrites_total",
        "counter",
        &["route", "api"],
        "Responses in which something was replaced",
    ),
    entry_of(
        "short_circuit_answers_total",
        "counter",
        &["route", "api", "kind"],
        "Requests that the gateway answered by itself",
    ),
    entry_of(
        "refused_requests_total",
        "counter",
        &["route", "api"],
        "Requests of APIs or versions that were never advertised",
    ),
    entry_of(
        "parked_requests_total",
        "counter",
        &["route"],
        "Requests that had to wait behind a fence",
    ),
    entry_of("parked_bytes", "gauge", &["route"], "Bytes of requests that wait behind a fence"),
    entry_of(
        "dropped_nodes_total",
        "counter",
        &["route"],
        "Brokers removed from responses because their node id is outside `nodeIdRanges`",
    ),
    entry_of(
        "upstream_connects_total",
        "counter",
        &["domain", "outcome"],
        "Attempts to connect to a broker: `connected`, or the cause of the failure",
    ),
    entry_of(
        "probes_total",
        "counter",
        &["domain", "outcome"],
        "Looks at a streaming domain by the gateway itself: `answered` or `failed`",
    ),
    entry_of("route_revision", "gauge", &["route"], "Revision of the route's desired state"),
    entry_of("route_phase", "gauge", &["route", "phase"], "1 for the phase that the route is in"),
    entry_of("route_fenced", "gauge", &["route", "mode"], "1 while a fence stands, with its mode"),
    entry_of(
        "commands_total",
        "counter",
        &["command", "outcome"],
        "Commands by API and CLI: `accepted` or `refused`",
    ),
    entry_of(
        "reloads_total",
        "counter",
        &["outcome"],
        "Configurations offered while running: `applied`, `unchanged` or `refused`",
    ),
    entry_of(
        "config_applied_timestamp_seconds",
        "gauge",
        &[],
        "When the configuration in force was applied, in seconds since the Unix epoch",
    ),
];

/// Whether a label has this name already, so that nobody else may give it to a metric.
pub fn is_own_label(name: &str) -> bool {
    let of_histograms = name == "le";
    of_histograms || CATALOGUE.iter().any(|entry| entry.labels.contains(&name))
}

/// The entry of a metric.
pub(super) fn entry(name: &str) -> &'static Entry {
    CATALOGUE
        .iter()
        .find(|entry| entry.name == name)
        .unwrap_or_else(|| panic!("metric `{name}` is not in the catalogue"))
}

/// The table as Markdown.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\nServed as OpenMetrics text on the admin port under `/metrics`. \
         `commonTags` of the configuration are put on every one.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for entry in CATALOGUE {
        let labels: Vec<_> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            text,
            "| `{PREFIX}{}` | {} | {} | {} |",
            entry.name,
            entry.kind,
            labels.join(", "),
            entry.meaning
        );
    }
    text.push_str("\nValues of `cause`:\n\n");
    for cause in crate::session::CloseCause::ALL {
        let _ = writeln!(text, "- `{}`", cause.label());
    }
    text
}
