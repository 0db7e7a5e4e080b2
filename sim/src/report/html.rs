//! One self-contained page: no script, no network, readable in light and dark.

use std::fmt::Write as _;

use super::{
    Outcome,
    series::{Band, Series},
    text,
};

/// Width of the drawing in its own units; it scales with the window.
const WIDTH: f64 = 1000.0;
/// Room for the names of lanes.
const LEFT: f64 = 130.0;
/// Room at the right for the end of the last label.
const RIGHT: f64 = 24.0;
/// Room at the top for the numbers of notes.
const TOP: f64 = 20.0;
/// Numbers of notes need so much room.
const NOTE: f64 = 34.0;
const LANE: f64 = 56.0;
const BAND: f64 = 26.0;

/// For every page.
pub const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2330; --dim: #667085; --paper: #fff; --line: #d6dae2;
  --a: #2563eb; --b: #d97706; --c: #059669; --bad: #dc2626; --held: #a855f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --dim: #98a2b3; --paper: #14171d;
  --line: #333a46; --a: #60a5fa; --b: #fbbf24; --c: #34d399; --bad: #f87171; --held: #c084fc; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.05rem; margin-top: 2rem; }
.about { color: var(--dim); margin-top: .25rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: .5rem .9rem; min-width: 6.5rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: .85rem; } .tile.bad b { color: var(--bad); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th { color: var(--dim); font-weight: 500; } .ok { color: var(--c); } .no { color: var(--bad); }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .dim { fill: var(--dim); } svg .note { fill: var(--paper); font-weight: 600; }
code { font-size: .9em; overflow-wrap: anywhere; } .at { color: var(--bad); font-weight: 600; }
.numbers td, .numbers th { text-align: right; white-space: nowrap; padding: .3rem .5rem; }
.legend { color: var(--dim); font-size: .85rem; margin: 0 0 .5rem; } .legend span { margin-right: 1rem; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .35rem;
  vertical-align: -1px; } li { margin: .25rem 0; }
";

#[expect(clippy::cast_precision_loss, reason = "shown to a tenth")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

/// Text with what HTML would take for markup escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// The page of one run.
pub fn page(outcome: &Outcome) -> String {
    let mut out = String::new();
    let title = escape(&outcome.scenario);
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}, seed {}</title><style>{STYLE}</style></head><body>",
        outcome.seed
    );
    let (class, state) =
        if outcome.passed() { ("ok", "as expected") } else { ("no", "not as expected") };
    let _ = write!(
        out,
        "<h1>{title}, seed {} — <span class=\"{class}\">{state}</span></h1><p class=\"about\">{}</p>",
        outcome.seed,
        escape(outcome.about.trim())
    );
    tiles(&mut out, outcome);
    failures(&mut out, outcome);
    out.push_str("<h2>Over time</h2>");
    drawing(&mut out, outcome);
    margins(&mut out, outcome);
    happened(&mut out, outcome);
    let _ = write!(
        out,
        "<p class=\"about\">{}. Trace <code>{}</code>.<br>See it again: <code>{}</code></p></body></html>",
        text::speed(outcome),
        escape(&outcome.digest),
        escape(&outcome.replay)
    );
    out
}

fn tiles(out: &mut String, outcome: &Outcome) {
    let verdict = &outcome.verdict;
    let figure = |name: &str| verdict.figures.get(name).copied().unwrap_or_default();
    let rto = figure("rto");
    let tiles = [
        (figure("lost").to_string(), "lost (RPO)", figure("lost") > 0),
        (format!("{}.{} s", rto / 1000, rto % 1000 / 100), "longest gap (RTO)", false),
        (figure("failed").to_string(), "failed sends", figure("failed") > 0),
        (figure("duplicated").to_string(), "duplicated", figure("duplicated") > 0),
        (figure("reordered").to_string(), "reordered", figure("reordered") > 0),
        (figure("missed").to_string(), "missed by groups", figure("missed") > 0),
        (figure("repeated").to_string(), "read again", false),
        (figure("rebalances").to_string(), "rebalances", false),
        (figure("fatal").to_string(), "clients dead", figure("fatal") > 0),
        (verdict.acknowledged.to_string(), "acknowledged", false),
    ];
    out.push_str("<div class=\"tiles\">");
    for (value, name, bad) in tiles {
        let class = if bad { "tile bad" } else { "tile" };
        let _ = write!(out, "<div class=\"{class}\"><b>{value}</b><span>{name}</span></div>");
    }
    out.push_str("</div>");
}

fn failures(out: &mut String, outcome: &Outcome) {
    if outcome.failures.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Not as expected</h2><table><tr><th>check<th>expected<th>found<th>first witness",
    );
    for failure in &outcome.failures {
        let _ = write!(
            out,
            "<tr><td class=\"no\">{}<td>{}<td>{}<td>{}",
            escape(&failure.check),
            escape(&failure.expected),
            escape(&failure.found),
            escape(&failure.witness)
        );
    }
    out.push_str("</table>");
}

fn margins(out: &mut String, outcome: &Outcome) {
    if outcome.margins.is_empty() {
        return;
    }
    out.push_str("<h2>Margin before each timeout</h2><table><tr><th>clients<th>setting<th>limit<th>longest<th>");
    for margin in &outcome.margins {
        let (class, state) = if margin.exceeded > 0 {
            ("no", format!("exceeded {} times", margin.exceeded))
        } else {
            let left = margin.limit_ms.saturating_sub(margin.longest_ms);
            ("ok", format!("{:.1} s left", seconds(left)))
        };
        let _ = write!(
            out,
            "<tr><td>{}<td><code>{}</code><td>{:.1} s<td>{:.1} s<td class=\"{class}\">{state}",
            escape(&margin.who),
            escape(&margin.setting),
            seconds(margin.limit_ms),
            seconds(margin.longest_ms)
        );
    }
    out.push_str("</table>");
}

/// Between the marks of the axis: what people count in.
fn tick_ms(total_ms: u64) -> u64 {
    let steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];
    let wanted = steps.iter().map(|step| step * 1000).find(|step| total_ms / step <= 14);
    wanted.unwrap_or(total_ms.max(1))
}

fn happened(out: &mut String, outcome: &Outcome) {
    let series = Series::of(outcome);
    out.push_str("<h2>What happened</h2><table><tr><th><th>at<th>who<th>what");
    for (index, (at_ms, who, what)) in series.notes.iter().enumerate() {
        let at = seconds(*at_ms);
        let _ = write!(
            out,
            "<tr><td class=\"at\">{}<td>{at:.1} s<td>{}<td>{}",
            index + 1,
            escape(who),
            escape(what)
        );
    }
    out.push_str("</table>");
}

/// Draws lanes one below the other.
struct Canvas<'o> {
    out: &'o mut String,
    y: f64,
    /// Units a step of time is wide.
    step: f64,
}

impl Canvas<'_> {
    fn x(&self, step: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred steps")]
        let step = step as f64;
        LEFT + step * self.step
    }

    fn name(&mut self, name: &str, height: f64) {
        let y = self.y + height / 2.0 + 4.0;
        let _ = write!(self.out, "<text x=\"0\" y=\"{y:.1}\">{}</text>", escape(name));
    }

    /// A filled curve with its highest value beside it.
    #[expect(clippy::cast_precision_loss, reason = "drawn a few pixels high")]
    fn curve(&mut self, name: &str, values: &[u64], unit: &str, colour: &str, scale: f64) {
        self.name(name, LANE);
        let highest = values.iter().copied().max().unwrap_or(0).max(1) as f64;
        let base = self.y + LANE - 6.0;
        let mut path = format!("M{LEFT:.1},{base:.1}");
        for (step, value) in values.iter().enumerate() {
            // Stretched, so that the usual rate is still seen beside the rush after an outage.
            let y = base - (*value as f64 / highest).sqrt() * (LANE - 14.0);
            let _ = write!(path, "L{:.1},{y:.1}", self.x(step));
        }
        let _ = write!(path, "L{:.1},{base:.1}Z", self.x(values.len().saturating_sub(1)));
        let _ = write!(
            self.out,
            "<path d=\"{path}\" fill=\"var(--{colour})\" fill-opacity=\".35\" stroke=\"var(--{colour})\"/>\
             <text class=\"dim\" x=\"0\" y=\"{:.1}\">max {:.0}{unit}</text>",
            base - 4.0,
            highest * scale
        );
        self.y += LANE;
    }

    /// Which domain a route points at, and where it is fenced.
    fn bands(&mut self, name: &str, bands: &[Band], steps: usize) {
        self.name(name, BAND);
        let mut domains: Vec<&str> = bands.iter().map(|(_, domain, _)| &**domain).collect();
        domains.sort_unstable();
        domains.dedup();
        for (index, (from, domain, fence)) in bands.iter().enumerate() {
            let to = bands.get(index + 1).map_or(steps, |(step, ..)| *step);
            let (x, width) = (self.x(*from), self.x(to) - self.x(*from));
            let known = domains.iter().position(|known| *known == &**domain).unwrap_or(0);
            let colour = if fence.is_some() { "held" } else { ["a", "b", "c"][known % 3] };
            let label = fence.as_ref().map_or_else(|| domain.to_string(), |mode| format!("{mode}"));
            let _ = write!(
                self.out,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"3\" \
                 fill=\"var(--{colour})\" fill-opacity=\".45\"><title>{}</title></rect>",
                self.y + 4.0,
                width.max(1.0),
                BAND - 8.0,
                escape(&label)
            );
            if width > 40.0 {
                let y = self.y + BAND / 2.0 + 4.0;
                let _ = write!(
                    self.out,
                    "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                    x + 6.0,
                    escape(&label)
                );
            }
        }
        self.y += BAND;
    }
}

#[expect(clippy::cast_precision_loss, reason = "drawn to a tenth of a pixel")]
fn drawing(out: &mut String, outcome: &Outcome) {
    let series = Series::of(outcome);
    let mut lanes = String::new();
    let step = (WIDTH - LEFT - RIGHT) / series.steps.max(1) as f64;
    let mut canvas = Canvas { out: &mut lanes, y: 26.0, step };
    let per_second = 1000.0 / series.step_ms as f64;
    for (route, bands) in &series.routes {
        canvas.bands(route, bands, series.steps);
    }
    for (cluster, values) in &series.appended {
        canvas.curve(&format!("{cluster} writes"), values, "/s", "a", per_second);
    }
    for (producer, values) in &series.acknowledged {
        canvas.curve(&format!("{producer} acked"), values, "/s", "c", per_second);
    }
    for (producer, values) in &series.buffered {
        canvas.curve(&format!("{producer} waiting"), values, "", "b", 1.0);
    }
    if !series.lag.is_empty() {
        canvas.curve("mirror lag", &series.lag, "", "b", 1.0);
    }
    for (group, values) in &series.consumed {
        canvas.curve(&format!("{group} read"), values, "/s", "a", per_second);
    }
    let bottom = canvas.y;
    let total_ms = series.step_ms * series.steps as u64;
    let x = |ms: u64| LEFT + ms as f64 / total_ms as f64 * (WIDTH - LEFT - RIGHT);
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\">", bottom + 24.0);
    let tick_ms = tick_ms(total_ms);
    for ms in (0..=total_ms).step_by(usize::try_from(tick_ms).unwrap_or(1)) {
        let x = x(ms);
        let _ = write!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\" stroke=\"var(--line)\"/>\
             <text class=\"dim\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            bottom + 16.0,
            ms / 1000
        );
    }
    out.push_str(&lanes);
    // Numbers of notes that lie close to each other share a place: the first and the last of them.
    let mut groups: Vec<(f64, usize, usize)> = Vec::new();
    for (index, (at_ms, who, what)) in series.notes.iter().enumerate() {
        let x = x(*at_ms);
        let _ = write!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\" stroke=\"var(--bad)\" \
             stroke-opacity=\".7\" stroke-dasharray=\"3 3\"><title>{}: {}</title></line>",
            escape(who),
            escape(what)
        );
        match groups.last_mut() {
            Some((from, _, last)) if x - *from < NOTE => *last = index + 1,
            _ => groups.push((x, index + 1, index + 1)),
        }
    }
    for (x, first, last) in groups {
        let label = if first == last { first.to_string() } else { format!("{first}–{last}") };
        let width = 9.0 + 6.5 * label.chars().count() as f64;
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"2\" width=\"{width:.1}\" height=\"16\" rx=\"8\" fill=\"var(--bad)\"/>\
             <text class=\"note\" x=\"{:.1}\" y=\"14\" text-anchor=\"middle\">{label}</text>",
            x - 8.0,
            x - 8.0 + width / 2.0
        );
    }
    out.push_str("</svg>");
}
