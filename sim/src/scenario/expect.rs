//! What a scenario expects.

use switchyard::config::strict::{Path, quoted};

use super::{
    check::Checker,
    model::Expectations,
    raw::{self, NumberOrText},
    values::Bounds,
};
use crate::oracle::{FIGURES, MARKS, ORACLES};

/// Figures that are times.
pub(super) const TIMES: &[&str] = &["rto"];
/// What is 0 unless the file says otherwise.
const ZERO: &[&str] = &["lost", "duplicated", "reordered", "failed", "missed", "fatal"];

pub(super) fn read(
    checker: &mut Checker<'_>,
    path: &Path,
    raw: Option<&raw::Expectations>,
) -> Expectations {
    let mut expect = Expectations::default();
    for figure in ZERO {
        expect.figures.insert((*figure).to_owned(), Bounds::exactly(0));
    }
    if let Some(raw) = raw {
        overlay(checker, path, raw, &mut expect);
    }
    expect
}

/// Puts what is written in place of what is there.
pub(super) fn overlay(
    checker: &mut Checker<'_>,
    path: &Path,
    raw: &raw::Expectations,
    expect: &mut Expectations,
) {
    let written = [
        ("lost", &raw.lost),
        ("vanished", &raw.vanished),
        ("duplicated", &raw.duplicated),
        ("reordered", &raw.reordered),
        ("failed", &raw.failed),
        ("missed", &raw.missed),
        ("repeated", &raw.repeated),
        ("rebalances", &raw.rebalances),
        ("fatal", &raw.fatal),
        ("errors", &raw.errors),
        ("rto", &raw.rto),
        ("connections", &raw.connections),
    ];
    for (figure, written) in written {
        if let Some(bounds) = bound(checker, &path.key(figure), figure, written.as_ref()) {
            expect.figures.insert(figure.to_owned(), bounds);
        }
    }
    for (key, names, known, list) in [
        ("sometimes", &raw.sometimes, MARKS, &mut expect.sometimes),
        ("violates", &raw.violates, ORACLES, &mut expect.violates),
    ] {
        for (index, name) in names.iter().flatten().enumerate() {
            let path = path.key(key).index(index);
            let what = if key == "sometimes" { "mark" } else { "oracle" };
            if checker.known(&path, what, name, known.iter().map(|(name, _)| *name)) {
                list.push(name.clone());
            }
        }
    }
}

/// The bounds of one figure.
pub(super) fn bound(
    checker: &mut Checker<'_>,
    path: &Path,
    figure: &str,
    written: Option<&NumberOrText>,
) -> Option<Bounds> {
    let written = written?;
    if !FIGURES.iter().any(|(known, _)| *known == figure) {
        checker.known(path, "figure", figure, FIGURES.iter().map(|(name, _)| *name));
        return None;
    }
    read_bounds(checker, path, figure, written)
}

/// As [`bound`], of a figure that is known to be one.
pub(super) fn read_bounds(
    checker: &mut Checker<'_>,
    path: &Path,
    figure: &str,
    written: &NumberOrText,
) -> Option<Bounds> {
    let (bounds, remedy) = if TIMES.contains(&figure) {
        (Bounds::of_time(written), "write a time such as `..100s` or `5s..60s`")
    } else {
        (Bounds::of_count(written), "write a number, or a range such as `..5`, `3..` or `1..3`")
    };
    if bounds.is_none() {
        let shown = match written {
            NumberOrText::Number(number) => format!("{number}"),
            NumberOrText::Text(text) => quoted(text),
        };
        checker.findings.fault(path, format!("{shown} is no bound"), remedy);
    }
    bounds
}
