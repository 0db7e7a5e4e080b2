//! What clients tell: to the recorder, and into the counts that say whether anybody still has something to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use switchyard_sim::oracle::history::{Entry, What};

use crate::play::Recorder;

/// Takes what clients tell. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Told(Arc<Inner>);

struct Inner {
    recorder: Recorder,
    /// Records handed over and not decided, over all producers.
    open: AtomicI64,
    /// When something was acknowledged or read for the last time, in microseconds of the play.
    progress_us: AtomicU64,
    /// When clients began to close, likewise.
    closing_us: AtomicU64,
}

impl Told {
    pub(super) fn new(recorder: &Recorder) -> Self {
        Self(Arc::new(Inner {
            recorder: recorder.clone(),
            open: AtomicI64::default(),
            progress_us: AtomicU64::default(),
            closing_us: AtomicU64::new(u64::MAX),
        }))
    }

    /// When the play started, since the Unix epoch.
    pub(super) fn start_unix(&self) -> Duration {
        self.0.recorder.start_unix()
    }

    /// Since the start of the play.
    pub(super) fn elapsed(&self) -> Duration {
        self.0.recorder.elapsed()
    }

    /// A client of this process sees something now.
    pub(super) fn tell(&self, who: &str, what: What) {
        self.take(self.elapsed(), who, what);
    }

    /// A client of another process has seen something.
    pub(super) fn pass_on(&self, entry: Entry) {
        self.take(entry.at(), &entry.who, entry.what);
    }

    fn take(&self, at: Duration, who: &str, what: What) {
        self.count(&what);
        // Whoever closes leaves its partitions to those that close a moment later. No rehearsal has that.
        let parts = matches!(
            what,
            What::Assigned { .. } | What::Revoked { .. } | What::Disconnected { .. }
        );
        let closing_us = self.0.closing_us.load(Ordering::Relaxed);
        if !parts || micros(at) < closing_us {
            self.0.recorder.record_at(at, who, what);
        }
    }

    /// From now on clients close.
    pub(super) fn close(&self) {
        self.0.closing_us.store(micros(self.elapsed()), Ordering::Relaxed);
    }

    fn count(&self, what: &What) {
        match what {
            What::Sent { .. } => drop(self.0.open.fetch_add(1, Ordering::Relaxed)),
            What::Acknowledged { .. } => {
                self.0.open.fetch_sub(1, Ordering::Relaxed);
                self.progress();
            }
            What::Failed { .. } => drop(self.0.open.fetch_sub(1, Ordering::Relaxed)),
            What::Consumed { .. } => self.progress(),
            _ => {}
        }
    }

    /// Something has come forward.
    pub(super) fn progress(&self) {
        self.0.progress_us.store(micros(self.elapsed()), Ordering::Relaxed);
    }

    /// Records handed over and not decided.
    pub(super) fn open(&self) -> u64 {
        u64::try_from(self.0.open.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// For how long nothing has come forward.
    pub(super) fn idle(&self) -> Duration {
        let last = Duration::from_micros(self.0.progress_us.load(Ordering::Relaxed));
        self.elapsed().saturating_sub(last)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
