//! What holds where the file says nothing. The schema shows the same constants.

use std::{ops::RangeInclusive, time::Duration};

/// A default as the program uses it and as a file would write it.
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) text: &'static str,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

pub(super) const GATEWAY_NAME: &str = "gateway";
/// Node ids of a domain that names none.
pub(super) const NODE_IDS: RangeInclusive<i32> = 0..=9;

pub(super) const ADMIN_ADDRESS: &str = "0.0.0.0";
pub(super) const ADMIN_PORT: u16 = 9190;
pub(super) const CONTROL_ADDRESS: &str = "127.0.0.1";
pub(super) const CONTROL_PORT: u16 = 9180;

pub(super) const FENCE_ERROR_NAME: &str = "BROKER_NOT_AVAILABLE";
pub(super) const FENCE_ERROR_CODE: i16 = 8;
pub(super) const HOLD_TIME: Setting<Duration> =
    Setting { value: Duration::from_mins(1), text: "60s" };
pub(super) const HOLD_BYTES: Setting<usize> = Setting { value: 64 * MIB, text: "64MiB" };

pub(super) const CONNECTIONS_MAX: u32 = 10_000;
pub(super) const IN_FLIGHT_MAX: u32 = 1024;
/// As Kafka's own `socket.request.max.bytes`.
pub(super) const FRAME_BYTES: Setting<usize> = Setting { value: 100 * MIB, text: "100MiB" };
pub(super) const FIRST_FRAME_BYTES: Setting<usize> = Setting { value: 64 * KIB, text: "64KiB" };
pub(super) const REWRITE_BYTES: Setting<usize> = Setting { value: 16 * MIB, text: "16MiB" };
pub(super) const FIRST_REQUEST: Setting<Duration> =
    Setting { value: Duration::from_secs(30), text: "30s" };
pub(super) const CONNECT: Setting<Duration> =
    Setting { value: Duration::from_secs(10), text: "10s" };
pub(super) const WRITE_STALL: Setting<Duration> =
    Setting { value: Duration::from_mins(1), text: "60s" };
pub(super) const SHUTDOWN_DRAIN: Setting<Duration> =
    Setting { value: Duration::from_secs(10), text: "10s" };
