//! Comparisons as Markdown: one table with a line for each scenario, and one table for each.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use switchyard_sim::scenario::validation::Subject;

use super::{
    compare::Agreement,
    report::{Comparison, Report},
    show,
};

/// Figures of the overview, and how they are headed there.
const OVERVIEW: &[(&str, &str)] = &[
    ("acknowledged", "acknowledged"),
    ("lost", "lost"),
    ("duplicated", "duplicated"),
    ("reordered", "reordered"),
    ("failed", "failed"),
    ("rto", "longest gap"),
    ("rebalances", "rebalances"),
    ("missed", "missed"),
    ("fatal", "dead"),
];

/// Everything.
pub fn document(report: &Report) -> String {
    let mut out = String::from("# Rehearsals held against real Kafka\n\n");
    out.push_str(&overview(report));
    for comparison in report.comparisons.values() {
        section(&mut out, comparison);
    }
    out
}

/// One line for each scenario, simulated | measured in each cell, and below what was compared where.
pub fn overview(report: &Report) -> String {
    let mut out = String::from("| scenario |");
    for (_, head) in OVERVIEW {
        let _ = write!(out, " {head} |");
    }
    out.push_str(" errors by code | |\n|---|");
    out.push_str(&"---|".repeat(OVERVIEW.len() + 2));
    out.push('\n');
    for comparison in report.comparisons.values() {
        let _ = write!(out, "| `{}` |", comparison.scenario);
        for (figure, _) in OVERVIEW {
            let own =
                |subject: &Subject| matches!(subject, Subject::Figure(name) if name == figure);
            let _ = write!(out, " {} |", cell(comparison, own));
        }
        let codes = codes(comparison);
        let _ = writeln!(out, " {codes} | {} |", show::outcome(comparison));
    }
    let _ = writeln!(
        out,
        "\nEach cell: simulated, over all seeds → measured on real Kafka; one number where both are the same. {}",
        circumstances(report)
    );
    out
}

/// `49–61 → 52`; one value where both are shown alike.
fn cell(comparison: &Comparison, own: impl Fn(&Subject) -> bool) -> String {
    let Some(row) = comparison.rows.iter().find(|row| own(&row.subject)) else {
        return "–".to_owned();
    };
    let (simulated, measured) = (show::simulated(row), show::measured(row));
    let both = if simulated == measured { measured } else { format!("{simulated} → {measured}") };
    match row.agreement {
        Agreement::Agrees => both,
        Agreement::Documented => format!("{both} ¹"),
        Agreement::Differs | Agreement::Missing | Agreement::NotReached => format!("**{both}**"),
    }
}

fn codes(comparison: &Comparison) -> String {
    let mut cells = Vec::new();
    for row in &comparison.rows {
        if let Subject::Code(name) = &row.subject {
            let own = |subject: &Subject| *subject == row.subject;
            cells.push(format!("{name} {}", cell(comparison, own)));
        }
    }
    if cells.is_empty() { "none".to_owned() } else { cells.join(", ") }
}

/// With what and on what: what most were made with, and by name those that were made with something else.
fn circumstances(report: &Report) -> String {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for comparison in report.comparisons.values() {
        groups.entry(made(comparison)).or_default().push(&comparison.scenario);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, scenarios)| Reverse(scenarios.len()));
    let mut out = String::new();
    if report.comparisons.values().any(|it| it.count(Agreement::Documented) > 0) {
        out.push_str("¹ A difference with its reason in the scenario's file. ");
    }
    for (index, (made, scenarios)) in groups.iter().enumerate() {
        if index > 0 {
            let _ = write!(out, " `{}`: ", scenarios.join("`, `"));
        }
        out.push_str(made);
    }
    out
}

/// `Kafka 4.1.1, … on 2 cores with 23 GiB.`
fn made(comparison: &Comparison) -> String {
    format!(
        "{}; {} cores, {} GiB.",
        show::versions(comparison),
        comparison.cores,
        comparison.memory_mib.div_ceil(1024)
    )
}

fn section(out: &mut String, comparison: &Comparison) {
    let _ = write!(
        out,
        "\n## {}: {}\n\n{}\n\n{}; {}. {}\n\n\
         | | simulated | measured | allowed | tolerance | |\n|---|---|---|---|---|---|\n",
        comparison.scenario,
        show::outcome(comparison),
        comparison.about,
        show::setting(comparison),
        comparison.date,
        made(comparison),
    );
    for row in &comparison.rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            show::subject(&row.subject),
            show::simulated(row),
            show::measured(row),
            show::allowed(row),
            show::tolerance(row),
            show::agreement(row.agreement)
        );
    }
    for remark in &comparison.remarks {
        let _ = writeln!(out, "\n- The play: {remark}");
    }
    for row in &comparison.rows {
        if let Some(reason) = &row.reason {
            let _ = writeln!(out, "\n- {}: {reason}", show::subject(&row.subject));
        }
        for (world, witness) in ["simulated", "measured"].iter().zip(&row.witnesses) {
            // A pipe would end a cell, and this is no cell.
            if let Some(witness) = witness.as_ref().filter(|_| !row.agreement.passes()) {
                let name = show::subject(&row.subject);
                let _ = writeln!(out, "\n- {name}, first witness, {world}: `{witness}`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::report::tests::comparison;

    #[test]
    fn overview_has_a_line_for_each_scenario_with_both_worlds() {
        let mut report = Report::default();
        report.put(comparison("fence/hold"));
        report.put(comparison("planned"));
        let text = overview(&report);
        let lines: Vec<_> = text.lines().collect();
        let columns = |line: &str| line.matches('|').count();
        assert!(lines[..4].iter().all(|line| columns(line) == columns(lines[0])), "{text}");
        assert!(lines[2].starts_with("| `fence/hold` |"), "{text}");
        assert!(lines[2].contains("**0 → 3**"), "{text}");
        assert!(lines[2].contains("10.0 s → 11.3 s"), "{text}");
        assert!(text.contains("Kafka 4.1.1, Java client 4.1.1; 2 cores, 24 GiB."), "{text}");
        assert!(document(&report).contains("## planned: DIFFERS in 1"));
        let mut other = comparison("migration");
        other.cores = 4;
        report.put(other);
        let text = overview(&report);
        assert!(text.contains("2 cores, 24 GiB. `migration`: Kafka 4.1.1"), "{text}");
    }
}
