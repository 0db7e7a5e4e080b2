//! From where an effect begins to what to do about it.

use std::collections::BTreeMap;

use super::{Advice, Conclusion, Effect, Event, Sample, Subject, Threshold, span, trial};
use crate::client::Library;

/// Reaction times that advice is given for, in seconds.
const ADVISED: &[u64] = &[60, 120, 300, 600];
/// What clients need after the way is free again: detection, backoffs, new connections, metadata.
const COMING_BACK_S: u64 = 15;
/// How long a fence holds, below its route in the gateway's file.
const HOLD_TIME: &str = "fence.holdTimeMax";

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
            format!("{} not read", are(sample.figure("missed"), "acknowledged record")),
            "a group that has no committed offset there begins at `auto.offset.reset`".to_owned(),
        ),
        Effect::Rebalanced => rebalanced(subject, threshold.event, sample, setting.as_ref()),
        Effect::Fatal => (
            format!("clients stop for good ({})", sample.figure("fatal")),
            format!(
                "let the application create them again; the first was: {}",
                witness(sample, "fatal")
            ),
        ),
        Effect::Answered => (
            "the fence gives up holding and answers with errors".to_owned(),
            "requests wait no longer than `holdTimeMax`, and clients retry from then on".to_owned(),
        ),
    };
    Conclusion { threshold: threshold.clone(), text, remedy, setting }
}

/// `1 record is`, `3 records are`.
fn are(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what} is") } else { format!("{count} {what}s are") }
}

/// The first thing that happened, without its time.
fn witness<'s>(sample: &'s Sample, figure: &str) -> &'s str {
    let line = sample.witnesses.get(figure).map_or("", String::as_str);
    line.split_once(' ').map_or(line, |(_, rest)| rest.trim_start())
}

fn lost(subject: &Subject, sample: &Sample) -> (String, String) {
    let lost = are(sample.figure("lost"), "acknowledged record");
    match (sample.event, &subject.to) {
        (Event::Outage, Some(_)) => (
            format!("{lost} lost: the mirror had not copied everything"),
            format!(
                "no setting of a client prevents it; a mirror that is less behind than {} loses less",
                trial::MIRROR_LAG.replace("..", "–")
            ),
        ),
        _ => (
            format!("{lost} lost"),
            format!("report this as a defect; the first was {}", witness(sample, "lost")),
        ),
    }
}

fn failed(sample: &Sample, setting: Option<&Advice>) -> (String, String) {
    let text = format!("sends fail, as the application sees it ({} here)", sample.figure("failed"));
    let remedy = match setting {
        Some(advice) if advice.name.ends_with(HOLD_TIME) => {
            "the fence gives up holding, and answers with an error that clients do not retry"
                .to_owned()
        }
        Some(advice) if advice.name == "max.block.ms" => {
            "a send waits no longer for metadata or room".to_owned()
        }
        Some(advice) if advice.name == "buffer.memory" || advice.name.starts_with("queue.") => {
            "what waits has no more room".to_owned()
        }
        Some(_) => "a record waits no longer for its acknowledgement".to_owned(),
        None => format!("the first was: {}", witness(sample, "failed")),
    };
    (text, remedy)
}

fn duplicated(subject: &Subject, sample: &Sample) -> (String, String) {
    let text = format!("{} there twice", are(sample.figure("duplicated"), "record"));
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
    let text = format!("groups rebalance ({} in all)", sample.figure("rebalances"));
    let remedy = match setting {
        Some(_) => "members are away for longer than their coordinator waits".to_owned(),
        None if subject.to.is_some() && event != Event::Restart => {
            "the other cluster does not know the group's members: no setting prevents one rebalance"
                .to_owned()
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
        Effect::Answered => hold_time(subject, threshold.from_s),
        Effect::Missed => {
            let current = subject.consumer.value("auto.offset.reset");
            // librdkafka has more words for it.
            let is_there = ["earliest", "smallest", "beginning"].contains(&current);
            (!is_there).then(|| Advice {
                name: "auto.offset.reset".to_owned(),
                current: current.to_owned(),
                needed: "earliest".to_owned(),
                survives_s: None,
            })
        }
        Effect::Lost | Effect::Duplicated | Effect::Fatal => None,
    }
}

fn hold_time(subject: &Subject, from_s: u64) -> Option<Advice> {
    let route = subject.model.routes.get(&*subject.route)?;
    let index = subject.model.routes.keys().position(|name| **name == *subject.route)?;
    let survives_s = advised(from_s);
    Some(Advice {
        name: format!("routes[{index}].{HOLD_TIME}"),
        current: format!("{}s", route.fence_defaults.hold_time_max.as_secs()),
        needed: format!("{}s", survives_s + COMING_BACK_S),
        survives_s: Some(survives_s),
    })
}

fn failed_advice(subject: &Subject, threshold: &Threshold, sample: &Sample) -> Option<Advice> {
    let first = witness(sample, "failed");
    let route = subject.model.routes.get(&*subject.route)?;
    let is_held = threshold.event == Event::Planned;
    if is_held && threshold.from_s + 1 >= route.fence_defaults.hold_time_max.as_secs() {
        return hold_time(subject, threshold.from_s);
    }
    let limit = |name: &str| subject.producer.value(name).trim().parse::<u64>().ok();
    if first.contains("TopicNotPresent") && subject.library == Library::Java {
        return Some(timeout("max.block.ms", limit("max.block.ms")?, threshold.from_s));
    }
    if first.contains("max.block.ms") || first.contains("_QUEUE_FULL") {
        return Some(room(subject, threshold.from_s));
    }
    let name = match subject.library {
        Library::Java => "delivery.timeout.ms",
        Library::Librdkafka => "message.timeout.ms",
    };
    let expired = sample.marks.contains("delivery-timeout");
    expired.then(|| limit(name)).flatten().map(|limit| timeout(name, limit, threshold.from_s))
}

/// Room for what is written while nothing is acknowledged, with as much again for the headers of batches.
fn room(subject: &Subject, from_s: u64) -> Advice {
    let survives_s = advised(from_s);
    let records = survives_s * u64::from(subject.rate) * 2;
    let (name, needed) = match subject.library {
        Library::Java => {
            ("buffer.memory", (records * u64::from(subject.record_bytes)).max(1 << 20))
        }
        Library::Librdkafka => ("queue.buffering.max.messages", records),
    };
    Advice {
        name: name.to_owned(),
        current: subject.producer.value(name).to_owned(),
        needed: needed.to_string(),
        survives_s: Some(survives_s),
    }
}

/// A timeout that would be long enough for the next of the usual reaction times.
fn timeout(name: &str, limit_ms: u64, from_s: u64) -> Advice {
    let survives_s = advised(from_s);
    Advice {
        name: name.to_owned(),
        current: limit_ms.to_string(),
        needed: ((survives_s + COMING_BACK_S) * 1000).to_string(),
        survives_s: Some(survives_s),
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
