//! What came of one event with one reaction time.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Effect, Event, millis};
use crate::{
    oracle::{
        History,
        history::{Entry, What},
    },
    report::{Margin, Outcome},
};

/// What came of one event with one reaction time: the worst over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Event.
    pub event: Event,
    /// Reaction time in seconds.
    pub reaction_s: u64,
    /// By the names of [`crate::oracle::FIGURES`].
    pub figures: BTreeMap<String, u64>,
    /// The first witness of each figure that is not 0.
    pub witnesses: BTreeMap<String, String>,
    /// Reached, of [`crate::oracle::MARKS`].
    pub marks: BTreeSet<String>,
    /// How much was left before each timeout.
    pub margins: Vec<Margin>,
    /// Why there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Sample {
    /// One of which nothing is known yet.
    pub fn new(event: Event, reaction_s: u64) -> Self {
        Self {
            event,
            reaction_s,
            figures: BTreeMap::new(),
            witnesses: BTreeMap::new(),
            marks: BTreeSet::new(),
            margins: Vec::new(),
            error: None,
        }
    }

    /// Takes in a run; what is worse counts.
    pub fn add(&mut self, outcome: &Outcome, limits: &[(&'static str, u64)]) {
        for (name, value) in &outcome.verdict.figures {
            let most = self.figures.entry((*name).to_owned()).or_default();
            *most = (*most).max(*value);
        }
        for (name, witness) in &outcome.verdict.witnesses {
            self.witnesses.entry((*name).to_owned()).or_insert_with(|| witness.clone());
        }
        self.marks.extend(outcome.verdict.marks.iter().map(|mark| (*mark).to_owned()));
        let mut margins = outcome.margins.clone();
        margins.extend(own_margins(outcome, limits));
        for margin in margins {
            let known = self.margins.iter_mut().find(|it| it.setting == margin.setting);
            match known {
                Some(known) => {
                    known.longest_ms = known.longest_ms.max(margin.longest_ms);
                    known.exceeded += margin.exceeded;
                }
                None => self.margins.push(margin),
            }
        }
    }

    /// A figure, 0 where nothing is known.
    pub fn figure(&self, name: &str) -> u64 {
        self.figures.get(name).copied().unwrap_or_default()
    }

    /// The margin before a timeout.
    pub fn margin(&self, setting: &str) -> Option<&Margin> {
        self.margins.iter().find(|margin| margin.setting == setting)
    }

    /// Whether the event had this effect.
    pub fn has(&self, effect: Effect) -> bool {
        match effect {
            Effect::Lost => self.figure("lost") > 0,
            Effect::Failed => self.figure("failed") > 0,
            Effect::Duplicated => self.figure("duplicated") > 0,
            Effect::Missed => self.figure("missed") > 0,
            Effect::Rebalanced => self.figure("rebalances") > 0,
            Effect::Fatal => self.figure("fatal") > 0,
            // A fence that answers is only a surprise where it was told to hold.
            Effect::Answered => {
                self.event == Event::Planned && self.marks.contains("fence-answered")
            }
        }
    }
}

/// Margins before timeouts that are not about single records, where the outcome has none of its own.
fn own_margins(outcome: &Outcome, limits: &[(&'static str, u64)]) -> Vec<Margin> {
    let missing = limits
        .iter()
        .filter(|(name, _)| outcome.margins.iter().all(|margin| margin.setting != *name));
    let margin = |(setting, limit_ms): &(&'static str, u64)| {
        let (who, longest_ms) = match *setting {
            "max.block.ms" => ("producers", longest_blocked(&outcome.history)),
            _ => ("consumers", longest_unread(&outcome.history)),
        };
        let exceeded = match *setting {
            "session.timeout.ms" => expired(&outcome.history),
            _ => u64::from(longest_ms >= *limit_ms),
        };
        let setting = (*setting).to_owned();
        Margin { who: who.to_owned(), setting, limit_ms: *limit_ms, longest_ms, exceeded }
    };
    missing.map(margin).collect()
}

fn expired(history: &History) -> u64 {
    let expired =
        |entry: &&crate::oracle::history::Entry| matches!(entry.what, What::MemberExpired { .. });
    history.entries.iter().filter(expired).count() as u64
}

/// The longest that an application waited for room, in milliseconds.
fn longest_blocked(history: &History) -> u64 {
    let mut since = BTreeMap::new();
    let mut longest = 0;
    for entry in &history.entries {
        match &entry.what {
            What::BufferFull => drop(since.entry(&entry.who).or_insert(entry.at())),
            What::Sent { .. } => {
                if let Some(since) = since.remove(&entry.who) {
                    longest = longest.max(millis(entry.at().saturating_sub(since)));
                }
            }
            _ => {}
        }
    }
    longest
}

/// The longest in which the consumers read nothing, in milliseconds: heartbeats go where records come from.
fn longest_unread(history: &History) -> u64 {
    let is_read =
        |entry: &&crate::oracle::history::Entry| matches!(entry.what, What::Consumed { .. });
    let times: Vec<_> = history.entries.iter().filter(is_read).map(Entry::at).collect();
    let gaps = times.windows(2).map(|pair| millis(pair[1].saturating_sub(pair[0])));
    gaps.max().unwrap_or(0)
}
