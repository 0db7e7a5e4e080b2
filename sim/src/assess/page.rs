//! An assessment as one page: no script, no network, readable in light and dark.

use std::fmt::Write as _;

use super::{Assessment, Event, Sample, Subject, span, text};
use crate::report::{STYLE, escape};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 14.0;
/// Curves of a drawing: the figure, its colour, and what it is called.
const CURVES: &[(&str, &str, &str)] =
    &[("failed", "bad", "failed sends"), ("lost", "b", "lost"), ("duplicated", "a", "duplicated")];

/// The page.
pub fn page(subject: &Subject, assessment: &Assessment) -> String {
    let title = escape(&format!("{}: what an outage would cost", subject.origin));
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
    );
    for line in text::introduction(subject).lines() {
        let _ = write!(out, "<p class=\"about\">{}</p>", code(line));
    }
    for event in Event::ALL {
        let samples: Vec<_> = assessment.of(event).collect();
        if samples.is_empty() {
            continue;
        }
        let _ = write!(out, "<h2>{}</h2><ul>", code(&text::title(subject, event)));
        for line in text::conclusions(assessment, event) {
            let _ = write!(out, "<li>{}</li>", code(&line));
        }
        out.push_str("</ul>");
        drawing(&mut out, &samples);
        table(&mut out, &samples);
    }
    out.push_str("</body></html>");
    out
}

/// What stands between backticks as code.
fn code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    });
    parts.collect()
}

fn table(out: &mut String, samples: &[&Sample]) {
    out.push_str("<table class=\"numbers\">");
    for (index, line) in text::table(samples).iter().enumerate() {
        let tag = if index == 0 { "th" } else { "td" };
        out.push_str("<tr>");
        for (column, cell) in line.iter().enumerate() {
            // What costs something stands out: lost, failed, duplicated, missed, dead, and a timeout that was passed.
            let costs = matches!(column, 1..=4 | 6) && cell != "0" || cell == "over";
            let class = if index > 0 && costs { " class=\"no\"" } else { "" };
            let _ = write!(out, "<{tag}{class}>{}</{tag}>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

/// Reaction times against what is lost. Both axes are stretched where little happens: the shortest reaction times and the
/// smallest losses matter most.
fn drawing(out: &mut String, samples: &[&Sample]) {
    let most = CURVES.iter().flat_map(|(figure, ..)| samples.iter().map(|it| it.figure(figure)));
    let most = most.max().unwrap_or(0);
    if most == 0 {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "drawn to a tenth of a pixel")]
    let x = |index: usize| {
        LEFT + index as f64 / (samples.len().max(2) - 1) as f64 * (WIDTH - LEFT - RIGHT)
    };
    #[expect(clippy::cast_precision_loss, reason = "drawn to a tenth of a pixel")]
    let y = |value: u64| {
        let share = (value as f64).ln_1p() / (most as f64).ln_1p();
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    };
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    let mut line = 1;
    while line <= most {
        let at = y(line);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\"/>\
             <text class=\"dim\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{line}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
        line *= 10;
    }
    for (index, sample) in samples.iter().enumerate() {
        let _ = write!(
            out,
            "<text class=\"dim\" x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            x(index),
            HEIGHT - 10.0,
            span(sample.reaction_s)
        );
    }
    for (figure, colour, name) in CURVES {
        if samples.iter().all(|sample| sample.figure(figure) == 0) {
            continue;
        }
        let points: Vec<_> = samples
            .iter()
            .enumerate()
            .map(|(index, sample)| format!("{:.1},{:.1}", x(index), y(sample.figure(figure))))
            .collect();
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"var(--{colour})\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        for (index, sample) in samples.iter().enumerate() {
            let value = sample.figure(figure);
            let _ = write!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"var(--{colour})\"><title>{}: {value} {name}</title></circle>",
                x(index),
                y(value),
                span(sample.reaction_s)
            );
        }
    }
    out.push_str("</svg><p class=\"legend\">");
    for (figure, colour, name) in CURVES {
        if samples.iter().any(|sample| sample.figure(figure) > 0) {
            let _ = write!(out, "<span><i style=\"background:var(--{colour})\"></i>{name}</span>");
        }
    }
    out.push_str(" over the reaction time</p>");
}
