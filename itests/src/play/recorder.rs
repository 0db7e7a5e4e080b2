//! Takes down what happens in a play, in the form that the oracles of rehearsals read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use switchyard_sim::oracle::history::{Entry, What};

/// Everything that was taken down so far. Cloning gives another handle.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    start: Instant,
    start_unix: Duration,
    entries: Mutex<Vec<Entry>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            start_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            entries: Mutex::default(),
        }))
    }
}

impl Recorder {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the start of the play.
    pub fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// When the play started, since the Unix epoch: for clients in other processes, which tell times of their own.
    pub fn start_unix(&self) -> Duration {
        self.0.start_unix
    }

    /// Takes down that `who` sees `what` now.
    pub fn record(&self, who: &str, what: What) {
        self.record_at(self.elapsed(), who, what);
    }

    /// Takes down what was seen at another moment, since the start.
    pub fn record_at(&self, at: Duration, who: &str, what: What) {
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        self.entries().push(Entry { at_us, who: who.into(), what });
    }

    /// An operator did something, or something broke.
    pub fn note(&self, who: &str, text: impl Into<Arc<str>>) {
        self.record(who, What::Note { text: text.into() });
    }

    /// What was taken down so far, in the order of time.
    pub fn entries_in_order(&self) -> Vec<Entry> {
        let mut entries = self.entries().clone();
        // Clients in other processes are heard a moment late.
        entries.sort_by_key(|entry| entry.at_us);
        entries
    }
}
