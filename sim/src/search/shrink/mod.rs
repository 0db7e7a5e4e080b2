//! From a scenario that fails to a smaller one that fails the same check.
//!
//! ```text
//!  Document (variant folded in, gateway written out) ─resolve▶ times drawn by the seed are fixed
//!     ─▶ steps ─▶ clients, topics, mirror, settings ─▶ counts ─▶ times ─┐
//!         ▲──────────────── until nothing gets smaller ◀─────────────────┘
//! ```
//! Each change is kept when the scenario is still valid and still fails. Random streams are derived by name, so what is taken
//! out does not reshuffle what stays.

mod document;
mod passes;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use document::Document;

/// Looks for a smaller document, by trying changes.
pub struct Shrinker<'f> {
    fails: &'f mut dyn FnMut(&Document) -> bool,
    /// Told after each attempt: how many there were, and whether this one was kept. It says whether to go on.
    go_on: &'f mut dyn FnMut(usize, bool) -> bool,
    attempts: usize,
    attempts_max: usize,
    stopped: bool,
}

impl<'f> Shrinker<'f> {
    /// With what says whether a document still fails, and what is told of each attempt.
    pub fn new(
        attempts_max: usize,
        fails: &'f mut dyn FnMut(&Document) -> bool,
        go_on: &'f mut dyn FnMut(usize, bool) -> bool,
    ) -> Self {
        Self { fails, go_on, attempts: 0, attempts_max, stopped: false }
    }

    /// The smallest document that was found. The one given has to fail.
    pub fn shrink(&mut self, mut document: Document) -> Document {
        loop {
            let before = document.clone();
            self.remove_steps(&mut document);
            for pass in passes::PASSES {
                self.apply(&mut document, *pass);
            }
            if document == before || self.stopped {
                return document;
            }
        }
    }

    /// Tries one document and keeps it when it fails.
    fn attempt(&mut self, document: &mut Document, candidate: Value) -> bool {
        if self.stopped {
            return false;
        }
        let candidate = document.with(candidate);
        // What is not valid costs no run and is no attempt.
        if candidate.scenario().is_err() {
            return false;
        }
        let kept = (self.fails)(&candidate);
        if kept {
            *document = candidate;
        }
        self.attempts += 1;
        self.stopped = !(self.go_on)(self.attempts, kept) || self.attempts >= self.attempts_max;
        kept
    }

    /// Takes steps out of the timeline: halves first, then ever smaller pieces.
    fn remove_steps(&mut self, document: &mut Document) {
        let count =
            |document: &Document| document.value()["timeline"].as_array().map_or(0, Vec::len);
        let mut size = count(document).max(1);
        loop {
            let mut at = 0;
            while at < count(document) {
                let mut candidate = document.value().clone();
                if let Some(steps) = candidate["timeline"].as_array_mut() {
                    steps.drain(at..(at + size).min(steps.len()));
                }
                if !self.attempt(document, candidate) {
                    at += size;
                }
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    /// Tries the changes of one kind, until none is kept.
    fn apply(&mut self, document: &mut Document, pass: fn(&Value) -> Vec<Value>) {
        let mut skip = 0;
        loop {
            // After a change the list is another; those before it were tried already and would fail again.
            let candidates = pass(document.value());
            let Some(kept) = candidates
                .into_iter()
                .enumerate()
                .skip(skip)
                .find_map(|(index, it)| self.attempt(document, it).then_some(index))
            else {
                return;
            };
            skip = kept;
        }
    }
}
