//! From where an effect begins to what to do about it.

use std::collections::BTreeMap;

use super::{Advice, Conclusion, Effect, Event, Sample, Subject, Threshold, span, trial};
use crate::client::Library;

/// Reaction times that advice is given for, in seconds.
const ADVISED: &[u64] = &[60, 120, 300, 600];
/// What clients need after the way is free again: detection, backoffs, new connections, metadata.
const COMING_BACK_S: u64 = 15;

/// What a threshold means, and what would help.
pub(super) fn conclude(
    subject: &Subject,
    threshold: &Threshold,
    samples: &BTreeMap<(Event, u64), Sample>,
) -> Conclusion {
    let sample = &samples[&(threshold.event, threshold.from_s)];
    let setting = advice(subject, threshold, sample);
    let (text, remedy) = match threshold.effect {
        Effect::Lost => lost(subject, sample),
        Effect::Failed => failed(sample, setting.as_ref()),
        Effect::Duplicated => duplicated(subject, sample),
        Effect::Missed => (
            format!("{} acknowledged records are not read", sample.figure("missed")),
            "a group that has no committed offset there begins at `auto.offset.reset`".to_owned(),
        ),
        Effect::Rebalanced => rebalanced(subject, threshold.event, sample, setting.as_ref()),
        Effect::Fatal => (
            format!("{} clients stop for good", sample.figure("fatal")),
            format!("let the application create them again; the first was: {}", witness(sample, "fatal")),
        ),
        Effect::Answered => (
            "the fence gives up holding and answers with errors".to_owned(),
            "requests wait no longer than `holdTimeMax`, and clients retry from then on".to_owned(),
        ),
    };
    Conclusion { threshold: threshold.clone(), text, remedy, setting }
}

/// The first thing that happened, without its time.
fn witness<'s>(sample: &'s Sample, figure: &str) -> &'s str {
    let line = sample.witnesses.get(figure).map_or("", String::as_str);
    line.split_once(' ').map_or(line, |(_, rest)| rest.trim_start())
}

fn lost(subject: &Subject, sample: &Sample) -> (String, String) {
    let count = sample.figure("lost");
    match (sample.event, &subject.to) {
        (Event::Outage, Some(_)) => (
            format!("{count} acknowledged records are lost: the mirror had not copied them"),
            format!(
                "no setting of a client prevents it; a mirror that is less behind than {} loses less",
                trial::MIRROR_LAG.replace("..", "–")
            ),
        ),
        _ => (
            format!("{count} acknowledged records are lost"),
            format!("report this as a defect; the first was {}", witness(sample, "lost")),
        ),
    }
}

fn failed(sample: &Sample, setting: Option<&Advice>) -> (String, String) {
    let text = format!("{} sends fail, as the application sees it", sample.figure("failed"));
    let remedy = match setting {
        Some(advice) => format!("records may wait for `{}`", advice.name),
        None => format!("the first was: {}", witness(sample, "failed")),
    };
    (text, remedy)
}

fn duplicated(subject: &Subject, sample: &Sample) -> (String, String) {
    let text = format!("{} records are there twice", sample.figure("duplicated"));
    let remedy = if subject.producer.value("enable.idempotence").eq_ignore_ascii_case("true") {
        "idempotence does not reach from one cluster to another: let consumers recognise what they have"
    } else {
        "answers were lost with connections, and the records sent again: set `enable.idempotence=true`"
    };
    (text, remedy.to_owned())
}

fn rebalanced(
    subject: &Subject,
    event: Event,
    sample: &Sample,
    setting: Option<&Advice>,
) -> (String, String) {
    let text = format!("groups rebalance ({} times)", sample.figure("rebalances"));
    let remedy = match setting {
        Some(_) => "members are away for longer than their coordinator waits".to_owned(),
        None if subject.to.is_some() && event != Event::Restart => {
            "the other cluster does not know the group's members: no setting prevents one rebalance".to_owned()
        }
        None => "members join again".to_owned(),
    };
    (text, remedy)
}

/// The setting whose limit was reached, if one was.
fn advice(subject: &Subject, threshold: &Threshold, sample: &Sample) -> Option<Advice> {
    match threshold.effect {
        Effect::Failed => failed_advice(subject, threshold, sample),
        Effect::Rebalanced => {
            // Where the group moves to another cluster it joins anew, whatever its members wait for.
            let expired = sample.marks.contains("session-expired");
            let limit = sample.margin("session.timeout.ms")?.limit_ms;
            (expired && threshold.from_s * 1000 + 5000 > limit)
                .then(|| timeout("session.timeout.ms", limit, threshold.from_s))
        }
        Effect::Answered => {
            let route = subject.model.routes.get(&*subject.route)?;
            let index = subject.model.routes.keys().position(|name| **name == *subject.route)?;
            let survives_s = advised(threshold.from_s);
            Some(Advice {
                name: format!("routes[{index}].fence.holdTimeMax"),
                current: format!("{}s", route.fence_defaults.hold_time_max.as_secs()),
                needed: format!("{}s", survives_s + COMING_BACK_S),
                survives_s,
            })
        }
        Effect::Missed => {
            let current = subject.consumer.value("auto.offset.reset");
            (current != "earliest").then(|| Advice {
                name: "auto.offset.reset".to_owned(),
                current: current.to_owned(),
                needed: "earliest".to_owned(),
                survives_s: threshold.from_s,
            })
        }
        Effect::Lost | Effect::Duplicated | Effect::Fatal => None,
    }
}

fn failed_advice(subject: &Subject, threshold: &Threshold, sample: &Sample) -> Option<Advice> {
    let name = match subject.library {
        Library::Java => "delivery.timeout.ms",
        Library::Librdkafka => "message.timeout.ms",
    };
    if sample.marks.contains("delivery-timeout") {
        let limit = subject.producer.value(name).trim().parse().ok()?;
        return Some(timeout(name, limit, threshold.from_s));
    }
    let first = witness(sample, "failed");
    if !(first.contains("max.block.ms") || first.contains("_QUEUE_FULL")) {
        return None;
    }
    // Room for what is written while nothing is acknowledged, with as much again for the headers of batches.
    let survives_s = advised(threshold.from_s);
    let bytes = survives_s * u64::from(subject.rate) * u64::from(subject.record_bytes) * 2;
    let (name, needed) = match subject.library {
        Library::Java => ("buffer.memory", bytes.max(1 << 20)),
        Library::Librdkafka => {
            ("queue.buffering.max.messages", survives_s * u64::from(subject.rate) * 2)
        }
    };
    Some(Advice {
        name: name.to_owned(),
        current: subject.producer.value(name).to_owned(),
        needed: needed.to_string(),
        survives_s,
    })
}

/// A timeout that would be long enough for the next of the usual reaction times.
fn timeout(name: &str, limit_ms: u64, from_s: u64) -> Advice {
    let survives_s = advised(from_s);
    Advice {
        name: name.to_owned(),
        current: limit_ms.to_string(),
        needed: ((survives_s + COMING_BACK_S) * 1000).to_string(),
        survives_s,
    }
}

/// The next usual reaction time that is not survived as it is.
fn advised(from_s: u64) -> u64 {
    ADVISED.iter().copied().find(|it| *it >= from_s).unwrap_or(from_s)
}

/// From when on, in words.
pub(super) fn since(threshold: &Threshold) -> String {
    match threshold.survived_s {
        None => "however fast".to_owned(),
        Some(_) => format!("from {} on", span(threshold.from_s)),
    }
}
