//! What the instances of the gateway use of the machine while a play runs.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::world::World;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What one process of an instance used at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Since the start of the play.
    pub at: Duration,
    /// Which instance, from 1 on.
    pub instance: usize,
    /// Its process: an instance that was killed and started again is another one.
    pub process: u32,
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Open file descriptors.
    pub descriptors: u64,
}

impl World {
    /// What every instance that runs uses now.
    pub(super) fn usage(&self) -> Vec<Usage> {
        let at = self.recorder.elapsed();
        let of = |(instance, it): (usize, &super::instances::Instance)| {
            let (process, footprint) = it.footprint()?;
            let (resident_kib, descriptors) = (footprint.resident_kib, footprint.descriptors);
            Some(Usage { at, instance, process, resident_kib, descriptors })
        };
        (1..).zip(&self.instances).filter_map(of).collect()
    }

    /// Takes down what the instances use, for ever.
    pub(super) async fn watch_usage(self: Arc<Self>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.note_usage();
        }
    }

    /// Takes down what the instances use now.
    pub(super) fn note_usage(&self) {
        let now = self.usage();
        self.usages.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(now);
    }
}
