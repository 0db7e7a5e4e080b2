//! What a demo looks like: a table that is drawn again in place, or lines, one a second.

use std::{fmt::Write as _, time::Duration};

use switchyard::driver::status::RouteStatus;

use super::{Look, Totals};

/// Records a second since the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Acknowledged.
    pub produced: u64,
    /// Consumed.
    pub consumed: u64,
}

impl Rates {
    /// What has happened between two looks.
    pub fn between(before: Totals, after: Totals, time: Duration) -> Self {
        let ms = time.as_millis().max(1);
        let rate = |before: u64, after: u64| {
            let records = u128::from(after.saturating_sub(before));
            u64::try_from((records * 1000 + ms / 2) / ms).unwrap_or(u64::MAX)
        };
        Self {
            produced: rate(before.acknowledged, after.acknowledged),
            consumed: rate(before.consumed, after.consumed),
        }
    }
}

const HEADINGS: [&str; 10] = [
    "ROUTE",
    "ENDPOINT",
    "DOMAIN",
    "PHASE",
    "SESSIONS",
    "PARKED",
    "PRODUCED/S",
    "CONSUMED/S",
    "LAG",
    "MIRROR LAG",
];

/// Two rows and the totals below.
pub fn table(look: &Look, rates: Rates, since: Duration) -> String {
    let cells = row(look, rates);
    let (mut headings, mut values) = (String::new(), String::new());
    for (heading, cell) in HEADINGS.iter().zip(&cells) {
        let width = heading.chars().count().max(cell.chars().count());
        // Writing to a string does not fail.
        let _ = write!(headings, "{heading:width$}  ");
        let _ = write!(values, "{cell:width$}  ");
    }
    format!(
        "{}\n{}\n{}\n",
        headings.trim_end(),
        values.trim_end(),
        words(look.totals, look.switchovers, since)
    )
}

/// One line, for a log.
pub fn line(look: &Look, rates: Rates, since: Duration) -> String {
    let [route, _, domain, phase, sessions, _, produced, consumed, lag, mirror_lag] =
        row(look, rates);
    format!(
        "{} s  {route} at {domain}, {phase}  {sessions} sessions  {produced} produced/s  \
         {consumed} consumed/s  lag {lag}  mirror lag {mirror_lag}",
        since.as_secs()
    )
}

/// What it has come to. Records are missing until a consumer has read them.
pub fn words(totals: Option<Totals>, switchovers: u64, since: Duration) -> String {
    let time = format!("{} s, {}", since.as_secs(), moves(switchovers));
    match totals {
        None => time,
        Some(totals) => format!(
            "{time}, {} acknowledged, {} consumed, {} not yet, {} twice",
            totals.acknowledged, totals.consumed, totals.missing, totals.duplicated
        ),
    }
}

/// A number of switchovers.
pub fn moves(count: u64) -> String {
    format!("{count} switchover{}", if count == 1 { "" } else { "s" })
}

fn row(look: &Look, rates: Rates) -> [String; 10] {
    let RouteStatus { name, endpoint, desired, observed, .. } = &look.route;
    let domain = if observed.domain == desired.target.domain {
        observed.domain.to_string()
    } else {
        format!("{} → {}", observed.domain, desired.target.domain)
    };
    let load = |number: &dyn ToString| match look.totals {
        Some(_) => number.to_string(),
        None => "–".to_owned(),
    };
    [
        name.to_string(),
        endpoint.clone(),
        domain,
        observed.phase.label().to_owned(),
        observed.sessions.sessions.to_string(),
        format!("{} B", observed.sessions.parked_bytes),
        load(&rates.produced),
        load(&rates.consumed),
        load(&look.totals.map_or(0, |totals| totals.lag)),
        look.mirror_lag.map_or("–".to_owned(), |lag| lag.to_string()),
    ]
}
