//! What outages and switchovers would cost, with a user's own gateway file and client settings.
//!
//! ```text
//!  gateway file, properties ─▶ Subject ─┬▶ event × reaction time ─▶ scenario ─▶ rehearsal ─▶ Sample
//!                                       │        ▲── bisected to the second ───────┘   │
//!                                       └▶ conclusions ◀── thresholds ◀────────────────┘─▶ text, JSON, page
//! ```
//! The scenarios are built in. Their clusters are healthy until the event, their clients few and slow, so what is told is
//! what timeouts and protocols do, not what load does.

mod conclude;
mod measure;
mod page;
mod sample;
mod subject;
#[cfg(test)]
mod tests;
mod text;
mod trial;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

pub use measure::measure;
pub use page::page;
pub use sample::Sample;
pub use subject::{Request, Subject, SubjectError};
pub use text::text;

/// Reaction times that are rehearsed, in seconds: from automatic to asleep.
pub const REACTIONS: &[u64] = &[5, 15, 30, 45, 60, 90, 120, 180, 300, 600];

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The region goes silent. After the reaction time the operator fails over, or the region comes back.
    Outage,
    /// The route is held for as long as the reaction time, and moved meanwhile where there is somewhere to move.
    Planned,
    /// The gateway is restarted with an edited file, and is away for as long as the reaction time.
    Restart,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Outage, Self::Planned, Self::Restart];
}

/// What an event may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Acknowledged records are gone.
    Lost,
    /// Sends fail, as the application sees it.
    Failed,
    /// Records are there more than once.
    Duplicated,
    /// Acknowledged records are not read.
    Missed,
    /// Groups rebalance.
    Rebalanced,
    /// Clients stop for good.
    Fatal,
    /// A fence that held answers with errors.
    Answered,
}

impl Effect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Lost,
        Self::Failed,
        Self::Duplicated,
        Self::Missed,
        Self::Rebalanced,
        Self::Fatal,
        Self::Answered,
    ];
}

/// From which reaction time on an event has an effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// Event.
    pub event: Event,
    /// Effect.
    pub effect: Effect,
    /// The shortest reaction time that has it, in seconds.
    pub from_s: u64,
    /// The longest below it that was rehearsed and does not have it, in seconds; `None`: there is none.
    pub survived_s: Option<u64>,
}

/// What to know and what to do about a threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conclusion {
    /// What it is about.
    #[serde(flatten)]
    pub threshold: Threshold,
    /// In words.
    pub text: String,
    /// What would help.
    pub remedy: String,
    /// The setting to change, if one would help.
    pub setting: Option<Advice>,
}

/// A setting to change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// By its own name.
    pub name: String,
    /// As it is.
    pub current: String,
    /// What would survive.
    pub needed: String,
    /// The reaction time that it would survive, in seconds; `None`: any.
    pub survives_s: Option<u64>,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// By event and reaction time in seconds; the rehearsed ones and those in between that were looked at.
    pub samples: BTreeMap<(Event, u64), Sample>,
    /// Where effects begin.
    pub thresholds: Vec<Threshold>,
    /// What follows.
    pub conclusions: Vec<Conclusion>,
}

impl Assessment {
    /// Rehearses every event with every reaction time, and looks for where effects begin. `measure` rehearses one, and gives
    /// nothing when it was interrupted.
    pub fn make(
        subject: &Subject,
        reactions: &[u64],
        mut measure: impl FnMut(Event, u64) -> Option<Sample>,
    ) -> Self {
        let mut samples = BTreeMap::new();
        let mut look = |event, seconds| {
            if let Some(known) = samples.get(&(event, seconds)) {
                return Some(Sample::clone(known));
            }
            let sample = measure(event, seconds)?;
            samples.insert((event, seconds), sample.clone());
            Some(sample)
        };
        for event in Event::ALL {
            for seconds in reactions {
                look(event, *seconds);
            }
        }
        let mut thresholds = Vec::new();
        for event in Event::ALL {
            for effect in Effect::ALL {
                thresholds.extend(threshold(event, effect, reactions, &mut look));
            }
        }
        let conclusions =
            thresholds.iter().map(|it| conclude::conclude(subject, it, &samples)).collect();
        Self { samples, thresholds, conclusions }
    }

    /// As JSON.
    pub fn json(&self, subject: &Subject) -> serde_json::Value {
        serde_json::json!({
            "gateway": subject.origin,
            "route": subject.route,
            "from": subject.from,
            "to": subject.to,
            "samples": self.samples.values().collect::<Vec<_>>(),
            "conclusions": self.conclusions,
        })
    }
}

/// Where an effect begins: the first reaction time that has it, and, between it and the one before, to the second.
fn threshold(
    event: Event,
    effect: Effect,
    reactions: &[u64],
    look: &mut impl FnMut(Event, u64) -> Option<Sample>,
) -> Option<Threshold> {
    let mut has = |seconds| look(event, seconds).map(|sample| sample.has(effect));
    let first = reactions.iter().position(|seconds| has(*seconds) == Some(true))?;
    let mut from_s = reactions[first];
    let mut survived_s = first.checked_sub(1).map(|before| reactions[before]);
    while let Some(below) = survived_s.filter(|below| from_s - below > 1) {
        let middle = below.midpoint(from_s);
        match has(middle) {
            Some(true) => from_s = middle,
            Some(false) => survived_s = Some(middle),
            None => break,
        }
    }
    Some(Threshold { event, effect, from_s, survived_s })
}

/// `45 s`, `2 min`, `2 min 7 s`.
pub(crate) fn span(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (1, 1..) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
