//! The outcomes of a sweep over its settings.

use std::{collections::BTreeSet, fmt::Write as _};

use super::row::Row;

/// Figures that the table shows.
const FIGURES: &[&str] = &["lost", "failed", "duplicated", "rto", "rebalances"];

/// What the runs of one setting came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The scenario and what was set.
    pub label: String,
    /// Marks that some run has to reach.
    pub sometimes: Vec<String>,
    /// Runs that were to be done.
    pub planned: usize,
    rows: Vec<Row>,
    marks: BTreeSet<String>,
}

impl Tally {
    /// One that is to have so many runs.
    pub fn new(label: String, sometimes: Vec<String>, planned: usize) -> Self {
        Self { label, sometimes, planned, ..Self::default() }
    }

    /// Takes in a run.
    pub fn add(&mut self, row: Row) {
        self.marks.extend(row.marks.iter().cloned());
        self.rows.push(row);
    }

    /// Runs that did not come as expected, in the order of their seeds.
    pub fn failing(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.passed)
    }

    /// Whether every run that was planned is there.
    pub fn is_complete(&self) -> bool {
        self.rows.len() >= self.planned
    }

    /// Marks that no run has reached. Of some of the runs only, this says nothing yet.
    pub fn unreached(&self) -> impl Iterator<Item = &str> {
        self.sometimes.iter().map(String::as_str).filter(|mark| !self.marks.contains(*mark))
    }

    /// The smallest, the middle and the largest value of a figure over the runs that have an outcome.
    fn range(&self, figure: &str) -> Option<[u64; 3]> {
        let mut values: Vec<_> =
            self.rows.iter().filter_map(|row| row.figures.get(figure).copied()).collect();
        values.sort_unstable();
        Some([*values.first()?, values[values.len() / 2], *values.last()?])
    }
}

fn cell(tally: &Tally, figure: &str) -> String {
    let Some(range) = tally.range(figure) else { return "–".to_owned() };
    let value = |value: u64| match figure {
        "rto" => format!("{}.{}", value / 1000, value % 1000 / 100),
        _ => value.to_string(),
    };
    let [min, median, max] = range.map(value);
    if min == max { min } else { format!("{min}/{median}/{max}") }
}

/// The table, one line a setting.
pub fn table(tallies: &[Tally]) -> String {
    let title = |figure: &&str| match *figure {
        "rto" => "rto s".to_owned(),
        other => other.to_owned(),
    };
    let mut lines = vec![vec!["setting".to_owned(), "runs".to_owned(), "failing".to_owned()]];
    lines[0].extend(FIGURES.iter().map(title));
    for tally in tallies {
        let failing = tally.failing().count();
        let mut line = vec![tally.label.clone(), tally.rows.len().to_string(), failing.to_string()];
        line.extend(FIGURES.iter().map(|figure| cell(tally, figure)));
        lines.push(line);
    }
    format!("Figures are minimum/median/maximum over the seeds.\n\n{}", align(&lines))
}

/// The first column to the left, the others to the right.
pub(crate) fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let _ = if column == 0 {
                write!(out, "  {cell:<width$}")
            } else {
                write!(out, "  {cell:>width$}")
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{report::Failure, search::row::Key};

    fn row(seed: u64, lost: u64, rto: u64, marks: &[&str]) -> Row {
        let failure = Failure {
            check: "lost".to_owned(),
            expected: "exactly 0".to_owned(),
            found: lost.to_string(),
            witness: String::new(),
        };
        let figures = [("lost", lost), ("rto", rto), ("failed", 0), ("duplicated", 2)];
        Row {
            key: Key { scenario: "s".to_owned(), settings: BTreeMap::new(), seed },
            passed: lost == 0,
            figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
            marks: marks.iter().map(|mark| (*mark).to_owned()).collect(),
            failures: if lost == 0 { Vec::new() } else { vec![failure] },
            error: None,
            digest: String::new(),
            simulated_ms: 1000,
        }
    }

    #[test]
    fn table_shows_how_far_the_seeds_are_apart() {
        let mut slow = Tally::new("s rate=10".to_owned(), vec!["switched".to_owned()], 3);
        for it in [row(0, 0, 4_100, &[]), row(1, 7, 9_000, &["switched"]), row(2, 1, 5_250, &[])] {
            slow.add(it);
        }
        let mut never = Tally::new("s rate=100".to_owned(), vec!["switched".to_owned()], 2);
        never.add(Row {
            error: Some("a task has panicked".to_owned()),
            passed: false,
            figures: BTreeMap::new(),
            ..row(0, 0, 0, &[])
        });
        insta::assert_snapshot!(table(&[slow.clone(), never.clone()]), @r"
        Figures are minimum/median/maximum over the seeds.

          setting     runs  failing   lost  failed  duplicated        rto s  rebalances
          s rate=10      3        2  0/1/7       0           2  4.1/5.2/9.0           –
          s rate=100     1        1      –       –           –            –           –
        ");
        assert_eq!(slow.unreached().count(), 0, "one seed that reached it is enough");
        assert_eq!(never.unreached().collect::<Vec<_>>(), ["switched"]);
        assert!(slow.is_complete() && !never.is_complete());
        let reasons: Vec<_> = slow.failing().chain(never.failing()).map(Row::reason).collect();
        let lost = |count| format!("lost: expected exactly 0, found {count}");
        assert_eq!(reasons, [lost(7), lost(1), "a task has panicked".to_owned()]);
    }
}
