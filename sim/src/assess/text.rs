//! An assessment as a person reads it in a terminal.

use std::fmt::Write as _;

use super::{Assessment, Conclusion, Event, Sample, Subject, conclude::since, span, trial};
use crate::{client::Library, search::table::align};

/// Timeouts that have a column, each with a short title.
const TIMEOUTS: &[(&str, &str)] = &[
    ("delivery.timeout.ms", "delivery left"),
    ("message.timeout.ms", "message left"),
    ("max.block.ms", "block left"),
    ("session.timeout.ms", "session left"),
    ("max.poll.interval.ms", "poll left"),
];

/// The tables and what follows from them.
pub fn text(subject: &Subject, assessment: &Assessment) -> String {
    let mut out = introduction(subject);
    for event in Event::ALL {
        let samples: Vec<_> = assessment.of(event).collect();
        if samples.is_empty() {
            continue;
        }
        let _ = write!(out, "\n{}\n\n{}", title(subject, event), align(&table(&samples)));
        for sample in &samples {
            if let Some(error) = &sample.error {
                let _ = writeln!(out, "  {}: {error}", span(sample.reaction_s));
            }
        }
        let _ = writeln!(out);
        for line in conclusions(assessment, event) {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// What was assessed, in a few lines.
pub(super) fn introduction(subject: &Subject) -> String {
    let library = match subject.library {
        Library::Java => "Java",
        Library::Librdkafka => "librdkafka",
    };
    let to = match &subject.to {
        Some(to) => format!("`{}`, which can be moved to `{to}`", subject.from),
        None => format!("`{}`", subject.from),
    };
    let mut out = format!(
        "{}: route `{}` at {to}\n{library} clients; each producer writes {} records of {} bytes a second; every link takes \
         {} one way.\n",
        subject.origin,
        subject.route,
        subject.rate,
        subject.record_bytes,
        trial::LATENCY,
    );
    for note in &subject.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

/// What an event is, in words.
pub(super) fn title(subject: &Subject, event: Event) -> String {
    let from = &subject.from;
    match (event, &subject.to) {
        (Event::Outage, Some(to)) => format!(
            "Outage: `{from}` goes silent; after the reaction time the mirror in `{to}` is failed over and the route repointed"
        ),
        (Event::Outage, None) => {
            format!("Outage: `{from}` goes silent, and is back after the reaction time")
        }
        (Event::Planned, Some(to)) => {
            format!("Planned: the route is held, and moved to `{to}` after the reaction time")
        }
        (Event::Planned, None) => "Planned: the route is held for the reaction time".to_owned(),
        (Event::Restart, Some(to)) => format!(
            "Restart, as gateways without hot repointing need it: away for the reaction time, back with the route at `{to}`"
        ),
        (Event::Restart, None) => "Restart: the gateway is away for the reaction time".to_owned(),
    }
}

/// Lines of cells, the first with the titles.
pub(super) fn table(samples: &[&Sample]) -> Vec<Vec<String>> {
    let timeouts: Vec<_> = TIMEOUTS
        .iter()
        .filter(|(setting, _)| samples.iter().any(|sample| sample.margin(setting).is_some()))
        .collect();
    let titles =
        ["reaction", "lost", "failed", "duplicated", "missed", "rebalances", "dead", "gap"];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    lines[0].extend(timeouts.iter().map(|(_, title)| (*title).to_owned()));
    for sample in samples {
        let mut line = vec![span(sample.reaction_s)];
        let counts = ["lost", "failed", "duplicated", "missed", "rebalances", "fatal"];
        line.extend(counts.map(|figure| sample.figure(figure).to_string()));
        line.push(seconds(sample.figure("rto")));
        line.extend(timeouts.iter().map(|(setting, _)| left(sample, setting)));
        lines.push(line);
    }
    lines
}

fn left(sample: &Sample, setting: &str) -> String {
    match sample.margin(setting) {
        None => "–".to_owned(),
        Some(margin) if margin.longest_ms >= margin.limit_ms => "over".to_owned(),
        Some(margin) => seconds(margin.limit_ms - margin.longest_ms),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// What follows for one event, a line each.
pub(super) fn conclusions(assessment: &Assessment, event: Event) -> Vec<String> {
    let own = assessment.conclusions.iter().filter(|it| it.threshold.event == event);
    let mut lines: Vec<_> = own.map(sentence).collect();
    if lines.is_empty() {
        let longest = assessment.of(event).map(|sample| sample.reaction_s).max().unwrap_or(0);
        lines.push(format!("Up to {}, nothing is lost, duplicated or failed.", span(longest)));
    }
    lines
}

fn sentence(conclusion: &Conclusion) -> String {
    let since = since(&conclusion.threshold);
    let mut since = since.chars();
    let since: String =
        since.next().into_iter().flat_map(char::to_uppercase).chain(since).collect();
    let mut text = format!("{since}: {}; {}.", conclusion.text, conclusion.remedy);
    if let Some(advice) = &conclusion.setting {
        let survives = advice
            .survives_s
            .map_or_else(|| "prevent it".to_owned(), |it| format!("survive {}", span(it)));
        let _ = write!(
            text,
            " `{}` is {}; {} would {survives}.",
            advice.name, advice.current, advice.needed
        );
    }
    text
}

impl Assessment {
    /// The samples of an event in the order of their reaction times; those in between are left out.
    pub(super) fn of(&self, event: Event) -> impl Iterator<Item = &Sample> {
        let own = self.samples.values().filter(move |sample| sample.event == event);
        own.filter(|sample| super::REACTIONS.contains(&sample.reaction_s))
    }
}
