//! Rows as people read them, and a comparison as text for a terminal.

use std::fmt::Write as _;

use switchyard_sim::scenario::{
    validation::{Subject, Tolerance},
    values::Bounds,
};

use super::{
    compare::{Agreement, Row},
    report::Comparison,
};

/// What a row is about: `lost`, `error delivery timeout`, `came to switched`, `violated one-writer`.
pub fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Figure(name) if name == "rto" => "longest gap (RTO)".to_owned(),
        Subject::Figure(name) => name.clone(),
        Subject::Code(name) => format!("error {name}"),
        Subject::Mark(name) => format!("came to {name}"),
        Subject::Oracle(name) => format!("violated {name}"),
    }
}

/// A value in the unit of its figure.
pub fn value(subject: &Subject, value: u64) -> String {
    match subject {
        Subject::Figure(name) if name == "rto" => {
            format!("{}.{} s", value / 1000, value % 1000 / 100)
        }
        Subject::Figure(name) if name == "acknowledged" => {
            format!("{}.{} %", value / 10, value % 10)
        }
        Subject::Mark(_) | Subject::Oracle(_) if value == 0 => "no".to_owned(),
        Subject::Mark(_) | Subject::Oracle(_) => "yes".to_owned(),
        Subject::Figure(_) | Subject::Code(_) => value.to_string(),
    }
}

/// A range in the unit of its figure; one value where both ends are shown alike.
pub fn range(of: &Subject, bounds: Bounds) -> String {
    let (min, max) = (value(of, bounds.min), value(of, bounds.max));
    if min == max { min } else { format!("{min}–{max}") }
}

/// What rehearsals came to: a range, or in how many of them.
pub fn simulated(row: &Row) -> String {
    match (row.runs, row.simulated) {
        (Some((runs, all)), _) if runs > 0 && runs < all => format!("in {runs} of {all}"),
        (_, Some(bounds)) => range(&row.subject, bounds),
        (_, None) => "missing".to_owned(),
    }
}

/// What was measured.
pub fn measured(row: &Row) -> String {
    row.measured.map_or_else(|| "missing".to_owned(), |measured| value(&row.subject, measured))
}

/// Where it may be.
pub fn allowed(row: &Row) -> String {
    match row.allowed {
        // What some rehearsals come to and others do not may be either way.
        Some(Bounds { min: 0, max: 1 }) if row.runs.is_some() => "either".to_owned(),
        Some(allowed) => range(&row.subject, allowed),
        None => "–".to_owned(),
    }
}

/// `± 1.5 s + 10 %`; empty where there is none.
pub fn tolerance(row: &Row) -> String {
    let Some(tolerance) = row.tolerance else { return String::new() };
    let is_zero = row.simulated.is_some_and(|simulated| simulated.max == 0);
    if is_zero && !tolerance.from_zero {
        return "exactly".to_owned();
    }
    amounts(&row.subject, tolerance)
}

fn amounts(of: &Subject, tolerance: Tolerance) -> String {
    match (tolerance.absolute, tolerance.percent) {
        (0, 0) => "exactly".to_owned(),
        (absolute, 0) => format!("± {}", value(of, absolute)),
        (0, percent) => format!("± {percent} %"),
        (absolute, percent) => format!("± {} + {percent} %", value(of, absolute)),
    }
}

/// In words.
pub const fn agreement(agreement: Agreement) -> &'static str {
    match agreement {
        Agreement::Agrees => "agrees",
        Agreement::Documented => "differs as documented",
        Agreement::Differs => "DIFFERS",
        Agreement::Missing => "MISSING",
        Agreement::NotReached => "NOT REACHED by any rehearsal",
    }
}

/// `times divided by 4; seeds 1, 2, 3; brokers: east 3, west 1; …`
pub fn setting(comparison: &Comparison) -> String {
    let scale = match comparison.time_scale {
        0 | 1 => "times as they are".to_owned(),
        factor => format!("times divided by {factor}"),
    };
    let brokers: Vec<_> =
        comparison.brokers.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let brokers = if brokers.is_empty() { "unknown".to_owned() } else { brokers.join(", ") };
    format!(
        "{scale}; {} rehearsals; brokers: {brokers}; played in {} s",
        comparison.seeds.len(),
        comparison.played_ms / 1000
    )
}

/// `Kafka 4.1.1, Java client 4.1.1, librdkafka 2.12.1, Switchyard 0.1.0`
pub fn versions(comparison: &Comparison) -> String {
    let mut kafka: Vec<&str> = comparison.kafka.values().map(String::as_str).collect();
    kafka.sort_unstable();
    kafka.dedup();
    let mut all = vec![format!("Kafka {}", kafka.join(" and "))];
    for (key, name) in
        [("java", "Java client"), ("librdkafka", "librdkafka"), ("switchyard", "Switchyard")]
    {
        let version = comparison.versions.get(key);
        all.extend(version.map(|version| format!("{name} {version}")));
    }
    all.join(", ")
}

/// `agrees`, `differs as documented`, `DIFFERS`: the worst of all rows.
pub fn outcome(comparison: &Comparison) -> String {
    let count = |kind| comparison.count(kind);
    let bad = count(Agreement::Differs) + count(Agreement::Missing) + count(Agreement::NotReached);
    match (bad, count(Agreement::Documented)) {
        _ if comparison.rows.is_empty() => "NOTHING COMPARED".to_owned(),
        (0, 0) => "agrees".to_owned(),
        (0, documented) => format!("agrees, but for {documented} documented"),
        (bad, _) => format!("DIFFERS in {bad}"),
    }
}

/// The comparison for a terminal.
pub fn text(comparison: &Comparison) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}: {}", comparison.scenario, outcome(comparison));
    let _ = writeln!(out, "  {}\n  {}\n", comparison.about, setting(comparison));
    let head = ["", "simulated", "measured", "allowed", "tolerance"].map(str::to_owned);
    let mut lines = vec![(head, String::new())];
    for row in &comparison.rows {
        let cells =
            [subject(&row.subject), simulated(row), measured(row), allowed(row), tolerance(row)];
        let said = if row.agreement == Agreement::Agrees { "" } else { agreement(row.agreement) };
        lines.push((cells, said.to_owned()));
    }
    let mut widths = [0; 5];
    for (cells, _) in &lines {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    for (cells, said) in &lines {
        let mut line = String::from("  ");
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            // Names to the left, values to the right.
            let _ = if index == 0 {
                write!(line, "{cell:<width$}  ")
            } else {
                write!(line, "{cell:>width$}  ")
            };
        }
        let _ = writeln!(out, "{}", format!("{line}{said}").trim_end());
    }
    for row in comparison.rows.iter().filter(|row| row.agreement != Agreement::Agrees) {
        let name = subject(&row.subject);
        if let Some(reason) = &row.reason {
            let _ = writeln!(out, "\n  {name}, documented: {reason}");
            continue;
        }
        let _ = writeln!(out, "\n  {} {name}", agreement(row.agreement));
        for (world, witness) in ["simulated", "measured"].iter().zip(&row.witnesses) {
            if let Some(witness) = witness {
                let _ = writeln!(out, "    first witness, {world}: {witness}");
            }
        }
    }
    for remark in &comparison.remarks {
        let _ = writeln!(out, "\n  the play: {remark}");
    }
    for name in &comparison.unneeded {
        let _ = writeln!(out, "\n  a documented difference did not come up: {name}");
    }
    out
}

#[cfg(test)]
mod tests {
    use switchyard_sim::scenario::validation::{CODES, COMPARED};

    use super::*;
    use crate::validation::report::tests::comparison;

    /// Who reads what a tolerance is must not read an old one.
    #[test]
    fn documentation_has_every_default() {
        let docs = include_str!("../../../docs/validation.md");
        let line = |name: &str, what: &str, subject: &Subject, tolerance: Tolerance| {
            let strict = if tolerance.from_zero { "" } else { "yes" };
            format!("| {name} | {what} | {} | {strict} |", amounts(subject, tolerance))
        };
        let mut lines: Vec<_> = COMPARED
            .iter()
            .map(|(name, what, tolerance)| {
                let subject = Subject::Figure((*name).to_owned());
                line(&format!("`{name}`"), what, &subject, *tolerance)
            })
            .collect();
        let codes = Subject::Code(String::new());
        lines.push(line("error by code", "failed sends and errors of one name", &codes, CODES));
        for line in lines {
            assert!(docs.contains(&line), "docs/validation.md lacks\n{line}");
        }
    }

    #[test]
    fn text_shows_every_row_its_tolerance_and_what_differs_with_its_witness() {
        let text = text(&comparison("fence/hold"));
        for part in [
            "fence/hold: DIFFERS in 1",
            "times divided by 3; 2 rehearsals; brokers: east 3, west 1; played in 61 s",
            "10.0 s",
            "11.3 s",
            "± 1.5 s + 10 %",
            "repeated, documented: MirrorMaker 2 translates offsets conservatively.",
            "first witness, measured: checkout-1 #7 <is> gone",
            "came to fence-held",
            "the play: west has 1 broker instead of 3",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
