//! Histories as curves over time.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    oracle::history::{Entry, What},
    report::Outcome,
};

/// Points of a curve: enough for a wide screen.
const POINTS: u64 = 300;

/// From this step on a route points at this domain, and has this fence.
pub(super) type Band = (usize, Arc<str>, Option<Arc<str>>);

/// Curves of one run. All have one value for each step of time.
pub(super) struct Series {
    /// Milliseconds of one step.
    pub(super) step_ms: u64,
    /// Steps.
    pub(super) steps: usize,
    /// Records that clients appended in a step, by cluster.
    pub(super) appended: BTreeMap<Arc<str>, Vec<u64>>,
    /// Acknowledged in a step, by kind of producer.
    pub(super) acknowledged: BTreeMap<String, Vec<u64>>,
    /// Handed over and not decided, by kind of producer, at the end of a step.
    pub(super) buffered: BTreeMap<String, Vec<u64>>,
    /// Records that the mirror does not have, at the end of a step.
    pub(super) lag: Vec<u64>,
    /// Read in a step, by group.
    pub(super) consumed: BTreeMap<Arc<str>, Vec<u64>>,
    /// Routes of each instance: domain and fence, from a step on.
    pub(super) routes: BTreeMap<String, Vec<Band>>,
    /// What operators did and what broke.
    pub(super) notes: Vec<(u64, Arc<str>, Arc<str>)>,
}

/// `checkout-3` is one of `checkout`.
fn kind(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => kind.to_owned(),
        _ => name.to_owned(),
    }
}

impl Series {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let total_ms = u64::try_from(outcome.simulated.as_millis()).unwrap_or(u64::MAX).max(1);
        let step_ms = total_ms.div_ceil(POINTS).max(100);
        let steps = usize::try_from(total_ms.div_ceil(step_ms)).unwrap_or(1);
        let mut series = Self {
            step_ms,
            steps,
            appended: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            buffered: BTreeMap::new(),
            lag: Vec::new(),
            consumed: BTreeMap::new(),
            routes: BTreeMap::new(),
            notes: Vec::new(),
        };
        let mut open: BTreeMap<String, u64> = BTreeMap::new();
        for entry in &outcome.history.entries {
            series.take(entry, &mut open);
        }
        for curve in series.buffered.values_mut() {
            hold(curve);
        }
        hold(&mut series.lag);
        series
    }

    fn step(&self, entry: &Entry) -> usize {
        let step = usize::try_from(entry.at_us / 1000 / self.step_ms).unwrap_or(usize::MAX);
        step.min(self.steps - 1)
    }

    fn take(&mut self, entry: &Entry, open: &mut BTreeMap<String, u64>) {
        let (step, steps) = (self.step(entry), self.steps);
        let zeros = || vec![0; steps];
        match &entry.what {
            What::Appended { records, .. } => {
                self.appended.entry(Arc::clone(&entry.who)).or_insert_with(zeros)[step] += records;
            }
            What::Sent { .. } | What::Acknowledged { .. } | What::Failed { .. } => {
                let kind = kind(&entry.who);
                let count = open.entry(kind.clone()).or_default();
                match &entry.what {
                    What::Sent { .. } => *count += 1,
                    _ => *count = count.saturating_sub(1),
                }
                // Marked, so that steps without an event can be filled from the one before.
                self.buffered.entry(kind.clone()).or_insert_with(|| vec![UNKNOWN; steps])[step] =
                    *count;
                if matches!(entry.what, What::Acknowledged { .. }) {
                    self.acknowledged.entry(kind).or_insert_with(zeros)[step] += 1;
                }
            }
            What::MirrorLag { records } => {
                if self.lag.is_empty() {
                    self.lag = vec![UNKNOWN; steps];
                }
                self.lag[step] = *records;
            }
            What::Consumed { group, .. } => {
                self.consumed.entry(Arc::clone(group)).or_insert_with(zeros)[step] += 1;
            }
            What::Route { route, domain, fence, .. } => {
                let bands = self.routes.entry(format!("{} {route}", entry.who)).or_default();
                let (domain, fence) = (Arc::clone(domain), fence.clone());
                if bands.last().is_none_or(|(_, d, f)| *d != domain || *f != fence) {
                    bands.push((step, domain, fence));
                }
            }
            What::Note { text } => {
                self.notes.push((entry.at_us / 1000, Arc::clone(&entry.who), Arc::clone(text)));
            }
            What::GatewayDied => {
                self.notes.push((entry.at_us / 1000, Arc::clone(&entry.who), "died".into()));
            }
            _ => {}
        }
    }
}

const UNKNOWN: u64 = u64::MAX;

/// Steps without a value have that of the step before.
fn hold(curve: &mut [u64]) {
    let mut last = 0;
    for value in curve {
        if *value == UNKNOWN {
            *value = last;
        }
        last = *value;
    }
}
