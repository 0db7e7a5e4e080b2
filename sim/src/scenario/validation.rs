//! How plays on real Kafka are compared with rehearsals: what a scenario file says of it, and what holds where it says
//! nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use switchyard::config::{
    duration,
    strict::{Path, quoted},
};

use super::{
    check::Checker,
    expect,
    raw::{self, NumberOrText},
    values::Bounds,
};
use crate::oracle::{FIGURES, MARKS, ORACLES};

/// Section `validation` of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Divides long times, on both sides of the comparison.
    pub time_scale: u32,
    /// By figure of [`COMPARED`], those that the file gives itself.
    pub tolerance: BTreeMap<String, Tolerance>,
    /// Known differences of this scenario, or of this variant.
    pub differences: Vec<Difference>,
}

/// How far outside of the simulated range a measured figure may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tolerance {
    /// In the figure's own unit.
    pub absolute: u64,
    /// Of the end of the range that is next.
    pub percent: u64,
    /// Whether it also widens a range of nothing but 0. Where it does not, what never happens in rehearsals must not happen.
    pub from_zero: bool,
}

/// A known difference between rehearsals and real Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In what.
    pub subject: Subject,
    /// What the measured figure may be; of marks and oracles there is nothing to bound.
    pub measured: Bounds,
    /// Why.
    pub reason: String,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// One of [`COMPARED`].
    Figure(String),
    /// How often clients reported an error, by its name.
    Code(String),
    /// Whether a mark of [`MARKS`] was reached.
    Mark(String),
    /// Whether an oracle of [`ORACLES`] was violated.
    Oracle(String),
}

/// Figures that are compared in every scenario, what each is, and how far it may be off unless the scenario says otherwise.
///
/// Real machines are slower to notice and slower to come back, by a second or so and by what else they do; counts that hang
/// on where in its interval an outage begins differ from run to run as much as between worlds.
pub const COMPARED: &[(&str, &str, Tolerance)] = &[
    ("sent", "records handed over by applications", widened(50, 5)),
    ("acknowledged", "of these, in tenths of a percent", widened(10, 0)),
    ("lost", described("lost"), harm(20, 50)),
    ("duplicated", described("duplicated"), harm(20, 50)),
    ("reordered", described("reordered"), harm(20, 50)),
    ("failed", described("failed"), harm(20, 50)),
    ("rto", described("rto"), widened(1500, 10)),
    ("rebalances", described("rebalances"), harm(2, 50)),
    ("missed", described("missed"), harm(20, 50)),
    ("repeated", described("repeated"), harm(200, 50)),
    ("fatal", described("fatal"), harm(1, 0)),
    ("errors", described("errors"), harm(20, 50)),
];

/// As [`COMPARED`], for the errors that clients reported, by name.
pub const CODES: Tolerance = harm(20, 50);

/// Around any range.
const fn widened(absolute: u64, percent: u64) -> Tolerance {
    Tolerance { absolute, percent, from_zero: true }
}

/// Around a range that has more than 0 in it.
const fn harm(absolute: u64, percent: u64) -> Tolerance {
    Tolerance { absolute, percent, from_zero: false }
}

/// What the oracles say of their figure.
const fn described(figure: &str) -> &'static str {
    let mut index = 0;
    while index < FIGURES.len() {
        if same(FIGURES[index].0.as_bytes(), figure.as_bytes()) {
            return FIGURES[index].1;
        }
        index += 1;
    }
    panic!("every figure that is compared is sent, acknowledged, or one of the oracles'")
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

impl Default for Validation {
    fn default() -> Self {
        Self { time_scale: 1, tolerance: BTreeMap::new(), differences: Vec::new() }
    }
}

impl Validation {
    /// The tolerance of a figure: the scenario's own, or the default.
    ///
    /// # Panics
    /// When the figure is none of [`COMPARED`].
    pub fn tolerance(&self, figure: &str) -> Tolerance {
        let default = COMPARED.iter().find(|(name, ..)| *name == figure);
        let (.., default) = default.unwrap_or_else(|| panic!("`{figure}` is not compared"));
        self.tolerance.get(figure).copied().unwrap_or(*default)
    }

    /// The known difference in something, if there is one.
    pub fn difference(&self, subject: &Subject) -> Option<&Difference> {
        self.differences.iter().find(|difference| difference.subject == *subject)
    }
}

impl Tolerance {
    /// A range with this much more on either side.
    pub fn around(&self, simulated: Bounds) -> Bounds {
        if simulated.max == 0 && !self.from_zero {
            return simulated;
        }
        let more = |end: u64| self.absolute.saturating_add(end.saturating_mul(self.percent) / 100);
        Bounds {
            min: simulated.min.saturating_sub(more(simulated.min)),
            max: simulated.max.saturating_add(more(simulated.max)),
        }
    }

    /// Reads `5`, `10%` or `5 + 10%`, with `number` reading what is no percentage. Written in a file, it counts from 0 as well.
    fn parse(text: &str, number: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let mut tolerance = widened(0, 0);
        let (mut has_absolute, mut has_percent) = (false, false);
        for part in text.split('+').map(str::trim) {
            let (value, seen) = match part.strip_suffix('%') {
                Some(percent) => {
                    tolerance.percent = percent.trim().parse().ok()?;
                    (tolerance.percent, &mut has_percent)
                }
                None => {
                    tolerance.absolute = number(part)?;
                    (tolerance.absolute, &mut has_absolute)
                }
            };
            // Beyond this it would be no figure any more; twice is a slip.
            if value > u64::from(u32::MAX) || std::mem::replace(seen, true) {
                return None;
            }
        }
        Some(tolerance)
    }
}

/// The section as checked; `None` where there is none, or after a fault.
pub(super) fn read(
    checker: &mut Checker<'_>,
    raw: &raw::Scenario,
    variant: Option<&str>,
) -> Option<Validation> {
    let section = raw.validation.as_ref()?;
    let path = Path::root().key("validation");
    let mut validation = Validation {
        time_scale: section.time_scale.and_then(|scale| u32::try_from(scale).ok()).unwrap_or(1),
        tolerance: BTreeMap::new(),
        differences: Vec::new(),
    };
    for (figure, written) in section.tolerance.iter().flatten() {
        let path = path.key("tolerance").foreign_key(figure);
        if let Some(tolerance) = tolerance(checker, &path, figure, written) {
            validation.tolerance.insert(figure.clone(), tolerance);
        }
    }
    for (index, written) in (0..).zip(section.differences.iter().flatten()) {
        let path = path.key("differences").index(index);
        let of_variant = in_variant(checker, &path, raw, written, variant);
        if let Some(difference) = difference(checker, &path, written).filter(|_| of_variant) {
            validation.differences.push(difference);
        }
    }
    Some(validation)
}

fn compared() -> impl Iterator<Item = &'static str> + Clone {
    COMPARED.iter().map(|(name, ..)| *name)
}

fn tolerance(
    checker: &mut Checker<'_>,
    path: &Path,
    figure: &str,
    written: &NumberOrText,
) -> Option<Tolerance> {
    if !checker.known(path, "compared figure", figure, compared()) {
        return None;
    }
    let ms = |text: &str| u64::try_from(duration::parse(text).ok()?.as_millis()).ok();
    let is_time = expect::TIMES.contains(&figure);
    let text = match written {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => text.clone(),
    };
    let (read, remedy) = if is_time {
        (Tolerance::parse(&text, ms), "write `2s`, `10%` or `2s + 10%`")
    } else {
        (Tolerance::parse(&text, |part| part.parse().ok()), "write `5`, `10%` or `5 + 10%`")
    };
    if read.is_none() {
        checker.findings.fault(path, format!("{} is no tolerance", quoted(&text)), remedy);
    }
    read
}

/// Whether a difference is about this variant; names that no variant has are faults.
fn in_variant(
    checker: &mut Checker<'_>,
    path: &Path,
    raw: &raw::Scenario,
    written: &raw::Difference,
    variant: Option<&str>,
) -> bool {
    let Some(names) = &written.variants else { return true };
    let known = raw.variants.iter().flatten().map(|(name, _)| name.as_str());
    for (index, name) in (0..).zip(names) {
        checker.known(&path.key("variants").index(index), "variant", name, known.clone());
    }
    names.iter().any(|name| Some(name.as_str()) == variant)
}

fn difference(
    checker: &mut Checker<'_>,
    path: &Path,
    written: &raw::Difference,
) -> Option<Difference> {
    let of = |make: fn(String) -> Subject, name: &Option<String>| name.clone().map(make);
    let named = [
        of(Subject::Figure, &written.figure),
        of(Subject::Code, &written.code),
        of(Subject::Mark, &written.mark),
        of(Subject::Oracle, &written.oracle),
    ];
    let mut named = named.into_iter().flatten();
    let (Some(subject), None) = (named.next(), named.next()) else {
        let remedy = "write exactly one of `figure`, `code`, `mark` and `oracle`";
        checker.findings.fault(path, "does not say in what the worlds differ", remedy);
        return None;
    };
    let known = match &subject {
        Subject::Figure(name) => {
            checker.known(&path.key("figure"), "compared figure", name, compared())
        }
        Subject::Code(_) => true,
        Subject::Mark(name) => {
            checker.known(&path.key("mark"), "mark", name, MARKS.iter().map(|(name, _)| *name))
        }
        Subject::Oracle(name) => {
            checker.known(&path.key("oracle"), "oracle", name, ORACLES.iter().map(|(n, _)| *n))
        }
    };
    let key = path.key("measured");
    let measured = match (&subject, &written.measured) {
        (Subject::Figure(name), Some(bounds)) => expect::read_bounds(checker, &key, name, bounds)?,
        (Subject::Code(_), Some(bounds)) => expect::read_bounds(checker, &key, "errors", bounds)?,
        (Subject::Mark(_) | Subject::Oracle(_), None) => Bounds { min: 0, max: u64::MAX },
        (Subject::Figure(_) | Subject::Code(_), None) => {
            let remedy = "write what it may be instead, such as `..50`";
            checker.findings.fault(&key, "is missing", remedy);
            return None;
        }
        (Subject::Mark(_) | Subject::Oracle(_), Some(_)) => {
            let problem = "bounds what is no number";
            checker.findings.fault(&key, problem, "leave it out: a mark is reached, or it is not");
            return None;
        }
    };
    let reason = written.reason.clone().filter(|_| known)?;
    Some(Difference { subject, measured, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Option<Tolerance> {
        Tolerance::parse(text, |part| part.parse().ok())
    }

    #[test]
    fn tolerance_is_an_amount_a_percentage_or_both() {
        assert_eq!(count("5"), Some(widened(5, 0)));
        assert_eq!(count("10%"), Some(widened(0, 10)));
        assert_eq!(count("5 + 10%"), Some(widened(5, 10)));
        assert_eq!(count("10 % + 5"), Some(widened(5, 10)));
        for bad in ["", "5 + 5", "1% + 2%", "-1", "a", "5 +", "99999999999"] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }

    /// A default that widens 0 would let a loss pass that no rehearsal knows.
    #[test]
    fn harm_that_never_comes_in_rehearsals_is_not_tolerated_by_default() {
        let section = Validation::default();
        for figure in ["lost", "duplicated", "reordered", "failed", "missed", "fatal", "errors"] {
            let around = section.tolerance(figure).around(Bounds::exactly(0));
            assert_eq!(around, Bounds::exactly(0), "{figure}");
        }
        let lost = section.tolerance("lost").around(Bounds { min: 40, max: 60 });
        assert_eq!(lost, Bounds { min: 0, max: 110 });
        let rto = section.tolerance("rto").around(Bounds { min: 20_000, max: 21_000 });
        assert_eq!(rto, Bounds { min: 16_500, max: 24_600 });
        assert_eq!(count("3").expect("one").around(Bounds::exactly(0)), Bounds { min: 0, max: 3 });
    }
}
