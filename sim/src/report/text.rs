//! The summary that a person understands at once.

use std::{fmt::Write as _, time::Duration};

use super::Outcome;
use crate::oracle::history::What;

/// Events of the timeline that are shown; the rest is in the trace.
const TIMELINE_MAX: usize = 40;

fn seconds(ms: u64) -> String {
    format!("{}.{:01} s", ms / 1000, ms % 1000 / 100)
}

/// The outcome as text, without colour.
pub fn summary(outcome: &Outcome) -> String {
    let mut out = String::new();
    let verdict = &outcome.verdict;
    let figure = |name: &str| verdict.figures.get(name).copied().unwrap_or_default();
    let state = if outcome.passed() { "as expected" } else { "NOT AS EXPECTED" };
    let _ = writeln!(out, "{} seed {}: {state}", outcome.scenario, outcome.seed);
    let _ = writeln!(out, "  {}\n", outcome.about.trim());
    let _ = writeln!(
        out,
        "  lost (RPO)        {:>8}   of {} acknowledged, {} sent",
        figure("lost"),
        verdict.acknowledged,
        verdict.sent
    );
    let _ = writeln!(
        out,
        "  longest gap (RTO) {:>8}   without an acknowledgement",
        seconds(figure("rto"))
    );
    let _ = writeln!(out, "  failed sends      {:>8}   told to the application", figure("failed"));
    let _ = writeln!(
        out,
        "  duplicated        {:>8}   reordered {}",
        figure("duplicated"),
        figure("reordered")
    );
    let _ = writeln!(
        out,
        "  read              {:>8}   missed {}, read again {}",
        verdict.consumed,
        figure("missed"),
        figure("repeated")
    );
    let _ = writeln!(
        out,
        "  rebalances        {:>8}   fatal errors {}, connections {}",
        figure("rebalances"),
        figure("fatal"),
        figure("connections")
    );
    if !outcome.margins.is_empty() {
        let _ = writeln!(out, "\n  margin before each timeout");
        for margin in &outcome.margins {
            let left = margin.limit_ms.saturating_sub(margin.longest_ms);
            let state = if margin.exceeded > 0 {
                format!("exceeded {} times", margin.exceeded)
            } else {
                format!("{} left", seconds(left))
            };
            let _ = writeln!(
                out,
                "    {:<16} {:<24} {:>9} of {:>9}   {state}",
                margin.who,
                margin.setting,
                seconds(margin.longest_ms),
                seconds(margin.limit_ms)
            );
        }
    }
    timeline(&mut out, outcome);
    if !verdict.marks.is_empty() {
        let marks: Vec<_> = verdict.marks.iter().copied().collect();
        let _ = writeln!(out, "\n  came to: {}", marks.join(", "));
    }
    for failure in &outcome.failures {
        let _ = writeln!(
            out,
            "\n  FAILED {}: expected {}, found {}",
            failure.check, failure.expected, failure.found
        );
        if !failure.witness.is_empty() {
            let _ = writeln!(out, "    first witness: {}", failure.witness);
        }
    }
    if !outcome.passed() {
        let _ = writeln!(out, "  see it again: {}", outcome.replay);
    }
    let _ = writeln!(out, "\n  {}, trace {}", speed(outcome), outcome.digest);
    out
}

/// Simulated time beside real time.
pub(super) fn speed(outcome: &Outcome) -> String {
    let ratio =
        outcome.simulated.as_secs_f64() / outcome.wall.max(Duration::from_millis(1)).as_secs_f64();
    format!(
        "{:.0} s simulated in {:.1} s, {ratio:.0} times as fast as reality",
        outcome.simulated.as_secs_f64(),
        outcome.wall.as_secs_f64()
    )
}

fn timeline(out: &mut String, outcome: &Outcome) {
    let notes = outcome.history.entries.iter().filter_map(|entry| match &entry.what {
        What::Note { text } => Some((entry.at_us / 1000, &entry.who, text.to_string())),
        What::GatewayDied => Some((entry.at_us / 1000, &entry.who, "died".to_owned())),
        _ => None,
    });
    let notes: Vec<_> = notes.collect();
    if notes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n  what happened");
    for (at_ms, who, text) in notes.iter().take(TIMELINE_MAX) {
        let _ = writeln!(out, "    {:>9}  {who:<12} {text}", seconds(*at_ms));
    }
    if notes.len() > TIMELINE_MAX {
        let _ = writeln!(out, "    … and {} more", notes.len() - TIMELINE_MAX);
    }
}
