//! Time as the cluster knows it: an argument, never read from a clock.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A moment, counted from the Unix epoch: one time serves timers and the timestamps of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    micros: u64,
}

impl Time {
    /// A moment so many milliseconds after the Unix epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self { micros: ms * 1000 }
    }

    /// A moment so many microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// Milliseconds since the Unix epoch, as Kafka writes timestamps.
    pub const fn ms(self) -> i64 {
        (self.micros / 1000).cast_signed()
    }

    /// How long ago `earlier` was; zero when it is yet to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates: a client may ask for a wait of centuries.
    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self { micros: self.micros.saturating_add(micros) }
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// A number of milliseconds as a client sends it; negative ones count as none.
pub(super) fn millis(ms: impl Into<i64>) -> Duration {
    Duration::from_millis(u64::try_from(ms.into()).unwrap_or(0))
}
