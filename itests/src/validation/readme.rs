//! The newest table between two marks of a file, so that nobody types figures by hand.

use super::{markdown, report::Report};

/// Where the table begins.
pub const BEGIN: &str = "<!-- validation table: written by `switchyard-itests table --readme` -->";
/// Where it ends.
pub const END: &str = "<!-- end of the validation table -->";

/// The text with the newest table between the marks; `None` where it does not have both, in order.
pub fn with_table(text: &str, report: &Report) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let dates = report.comparisons.values().map(|it| it.date.get(..10).unwrap_or_default());
    let (first, last) = (dates.clone().min()?, dates.max()?);
    let when = if first == last { first.to_owned() } else { format!("{first} to {last}") };
    let table = markdown::overview(report);
    Some(format!(
        "{before}{BEGIN}\n{table}\nMade by `switchyard-itests validate`, {when}.\n{END}{after}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::report::tests::comparison;

    #[test]
    fn table_stands_between_the_marks_and_nothing_else_changes() {
        let mut report = Report::default();
        report.put(comparison("planned"));
        let file = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nmore\n");
        let once = with_table(&file, &report).expect("marks are there");
        assert!(once.starts_with("# Title\n\n<!--") && once.ends_with("-->\n\nmore\n"), "{once}");
        assert!(once.contains("| `planned` |") && !once.contains("old"), "{once}");
        assert!(once.contains("2026-11-26"), "{once}");
        assert_eq!(with_table(&once, &report), Some(once.clone()), "written again it is the same");
        assert_eq!(with_table("# Title\n", &report), None);
        assert_eq!(with_table(&file, &Report::default()), None, "there is no table");
    }
}
