//! Comparisons as one self-contained page, in the style of rehearsals: no script, no network, readable in light and dark.

use std::fmt::Write as _;

use switchyard_sim::{
    report::{STYLE, escape},
    scenario::values::Bounds,
};

use super::{
    compare::{Agreement, Row},
    report::{Comparison, Report},
    show,
};

/// Size of the drawing of one row, in its own units.
const WIDTH: f64 = 220.0;
const HEIGHT: f64 = 16.0;

/// For what other pages do not have.
const OWN_STYLE: &str = "
td svg { width: 220px; height: 16px; display: block; } .mid { color: var(--b); }
details { border-bottom: 1px solid var(--line); padding: .4rem 0; } summary { cursor: pointer; }
summary b { display: inline-block; min-width: 20rem; }
";

/// The page.
pub fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Rehearsals held against real Kafka</title>\
         <style>{STYLE}{OWN_STYLE}</style></head><body>\
         <h1>Rehearsals held against real Kafka</h1><p class=\"about\">The same scaled scenario, rehearsed over several \
         seeds and played once on real Kafka with real clients, judged by the same oracles. A figure agrees when the \
         measured one lies in the simulated range, widened by its tolerance.</p>"
    );
    tiles(&mut out, report);
    out.push_str(
        "<p class=\"legend\"><span><i style=\"background:var(--line)\"></i>allowed</span>\
         <span><i style=\"background:var(--a)\"></i>simulated</span>\
         <span><i style=\"background:var(--c);border-radius:50%\"></i>measured</span></p>",
    );
    for comparison in report.comparisons.values() {
        section(&mut out, comparison);
    }
    out.push_str("</body></html>");
    out
}

fn tiles(out: &mut String, report: &Report) {
    let all = report.comparisons.values();
    let count = |kind| all.clone().map(|comparison| comparison.count(kind)).sum::<usize>();
    let bad = count(Agreement::Differs) + count(Agreement::Missing) + count(Agreement::NotReached);
    let tiles = [
        (all.len(), "scenarios and variants", false),
        (all.clone().filter(|comparison| comparison.passes()).count(), "agree", false),
        (count(Agreement::Agrees), "figures agree", false),
        (count(Agreement::Documented), "differ as documented", false),
        (bad, "do not agree", bad > 0),
    ];
    out.push_str("<div class=\"tiles\">");
    for (value, name, is_bad) in tiles {
        let class = if is_bad { "tile bad" } else { "tile" };
        let _ = write!(out, "<div class=\"{class}\"><b>{value}</b><span>{name}</span></div>");
    }
    out.push_str("</div>");
}

fn section(out: &mut String, comparison: &Comparison) {
    let passes = comparison.passes();
    let (class, open) = if passes { ("ok", "") } else { ("no", " open") };
    let _ = write!(
        out,
        "<details{open}><summary><b>{}</b> <span class=\"{class}\">{}</span></summary>\
         <p class=\"about\">{}<br>{}</p>",
        escape(&comparison.scenario),
        escape(&show::outcome(comparison)),
        escape(&comparison.about),
        escape(&circumstances(comparison))
    );
    out.push_str("<table><tr><th><th>simulated<th>measured<th><th>allowed<th>tolerance<th>");
    for row in &comparison.rows {
        let class = class_of(row.agreement);
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"{class}\">{}",
            escape(&show::subject(&row.subject)),
            show::simulated(row),
            show::measured(row),
            drawing(row),
            show::allowed(row),
            show::tolerance(row),
            show::agreement(row.agreement)
        );
    }
    out.push_str("</table>");
    said(out, comparison);
    out.push_str("</details>");
}

/// Reasons and witnesses.
fn said(out: &mut String, comparison: &Comparison) {
    out.push_str("<ul>");
    for row in &comparison.rows {
        let name = escape(&show::subject(&row.subject));
        if let Some(reason) = &row.reason {
            let _ = write!(out, "<li>{name}, documented: {}", escape(reason));
        }
        for (world, witness) in ["simulated", "measured"].iter().zip(&row.witnesses) {
            if let Some(witness) = witness.as_ref().filter(|_| !row.agreement.passes()) {
                let _ = write!(
                    out,
                    "<li>{name}, first witness, {world}: <code>{}</code>",
                    escape(witness)
                );
            }
        }
    }
    for remark in &comparison.remarks {
        let _ = write!(out, "<li>the play: {}", escape(remark));
    }
    for name in &comparison.unneeded {
        let _ = write!(out, "<li>a documented difference did not come up: {}", escape(name));
    }
    out.push_str("</ul>");
}

fn circumstances(comparison: &Comparison) -> String {
    format!(
        "{}; {}; {}; {} cores, {} GiB",
        show::setting(comparison),
        comparison.date,
        show::versions(comparison),
        comparison.cores,
        comparison.memory_mib.div_ceil(1024)
    )
}

const fn class_of(agreement: Agreement) -> &'static str {
    match agreement {
        Agreement::Agrees => "ok",
        Agreement::Documented => "mid",
        Agreement::Differs | Agreement::Missing | Agreement::NotReached => "no",
    }
}

/// Allowed range, simulated range and measured value on one line; nothing where there is no number to place.
fn drawing(row: &Row) -> String {
    let (Some(simulated), Some(allowed), Some(measured), None) =
        (row.simulated, row.allowed, row.measured, row.runs)
    else {
        return String::new();
    };
    let most = [allowed.max, simulated.max, measured].into_iter().max().unwrap_or(0).max(1);
    #[expect(clippy::cast_precision_loss, reason = "drawn a few pixels wide")]
    let x = |value: u64| 5.0 + value as f64 / most as f64 * (WIDTH - 10.0);
    let bar = |bounds: Bounds, height: f64, colour: &str| {
        let (from, to) = (x(bounds.min), x(bounds.max));
        format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\" \
             fill=\"var(--{colour})\"/>",
            from - 1.0,
            (HEIGHT - height) / 2.0,
            to - from + 2.0
        )
    };
    let colour = match row.agreement {
        Agreement::Agrees => "c",
        Agreement::Documented => "b",
        Agreement::Differs | Agreement::Missing | Agreement::NotReached => "bad",
    };
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"measured {measured}, allowed {} to {}\">\
         {}{}<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"var(--{colour})\" stroke=\"var(--paper)\"/></svg>",
        allowed.min,
        allowed.max,
        bar(allowed, 12.0, "line"),
        bar(simulated, 4.0, "a"),
        x(measured),
        HEIGHT / 2.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::report::tests::comparison;

    #[test]
    fn page_needs_no_network_and_escapes_what_it_quotes() {
        let mut report = Report::default();
        report.put(comparison("fence/hold"));
        let page = page(&report);
        for foreign in ["http://", "https://", "<script", "<is>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("checkout-1 #7 &lt;is&gt; gone"), "{page}");
        assert!(page.contains("prefers-color-scheme: dark"));
        for tag in ["details", "table", "svg", "ul", "div"] {
            let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(page.matches(&opened).count(), page.matches(&closed).count(), "{tag}");
        }
    }
}
