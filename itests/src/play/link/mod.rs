//! Links between hosts of a play: TCP proxies that do what networks do.
//!
//! ```text
//!  dialler ──▶ Front (a listener) ──▶ Carrier (one a connection) ──▶ Backend
//!                     └────────── both ask their Link what to do ──────┘
//! ```
//! A [`Link`] is what lies between two hosts: latency, bandwidth, whether it carries at all. Each [`Front`] listens at one
//! address and leads to one or several backends, each behind a link.
//!
//! What a black hole does:
//! - bytes of established connections are kept and arrive when it ends, as retransmissions do (at once, not after the
//!   kernel's backoff);
//! - connection attempts are not answered: the listener's queue is kept full, so the kernel drops the SYN;
//! - an end whose kernel gives up after some time ([`Endurance`]) loses its connection; the other end hears of it when the
//!   link carries again.
//!
//! Absent on purpose: loss, duplication and reordering of packets, which TCP hides.

mod carrier;
mod front;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use front::{Backend, Front, Watch};

/// How a link carries in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// How long bytes are under way, at least and at most.
    pub latency: (Duration, Duration),
    /// Since when nothing arrives.
    held_since: Option<Instant>,
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who dials to who listens.
    Forth,
    /// From who listens to who dials.
    Back,
}

/// When the kernel of one end gives a connection up over which nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endurance {
    /// What was sent is unacknowledged for so long (`TCP_USER_TIMEOUT`).
    pub unacknowledged: Duration,
    /// Nothing was heard for so long (keepalive).
    pub silent: Duration,
}

impl Endurance {
    /// The gateway's sockets, both those that it opens and those that it accepts. Its user timeout is 30 s; keepalive
    /// begins after a minute and gives up, for the user timeout is over, with the second probe.
    pub const GATEWAY: Self =
        Self { unacknowledged: Duration::from_secs(30), silent: Duration::from_secs(70) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Forth and back.
    ways: [Way; 2],
    /// Of the end that dials and the one that listens; `None`: the kernel's defaults, which outlast every play.
    endurance: [Option<Endurance>; 2],
    /// Each direction, over all connections.
    bytes_per_second: Option<u64>,
    refuses: bool,
    /// Raised to reset every connection.
    resets: u64,
}

impl State {
    fn way(&self, direction: Direction) -> &Way {
        &self.ways[direction as usize]
    }

    /// Acknowledgements travel against the bytes, so a hole in one direction is one for connections as a whole.
    fn held_since(&self) -> Option<Instant> {
        self.ways.iter().filter_map(|way| way.held_since).min()
    }

    fn is_held(&self) -> bool {
        self.held_since().is_some()
    }
}

/// What lies between two hosts. Cloning gives another handle.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    state: watch::Sender<State>,
    /// Listeners that have to hear of changes.
    fronts: Mutex<Vec<Arc<Notify>>>,
    /// Until when the bandwidth of each direction is used up.
    busy_until: Mutex<[Option<Instant>; 2]>,
}

impl Link {
    /// A link with the same latency in both directions.
    pub fn new(latency: (Duration, Duration)) -> Self {
        let way = Way { latency, held_since: None };
        let state = State {
            ways: [way; 2],
            endurance: [None; 2],
            bytes_per_second: None,
            refuses: false,
            resets: 0,
        };
        Self(Arc::new(Shared {
            state: watch::Sender::new(state),
            fronts: Mutex::default(),
            busy_until: Mutex::default(),
        }))
    }

    /// When the ends' kernels give up.
    #[must_use]
    pub fn with_endurance(self, dials: Option<Endurance>, listens: Option<Endurance>) -> Self {
        self.change(|state| state.endurance = [dials, listens]);
        self
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.state.send_modify(change);
        for front in self.0.fronts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            front.notify_one();
        }
    }

    fn state(&self) -> State {
        *self.0.state.borrow()
    }

    /// How long bytes are under way in one direction from now on. Nothing is overtaken.
    pub fn set_latency(&self, direction: Direction, latency: (Duration, Duration)) {
        self.change(|state| state.ways[direction as usize].latency = latency);
    }

    /// Bytes a second that each direction carries; `None`: any number.
    pub fn set_bandwidth(&self, bytes_per_second: Option<u64>) {
        self.change(|state| state.bytes_per_second = bytes_per_second.map(|rate| rate.max(1)));
    }

    /// From now on nothing arrives in this direction.
    pub fn hold(&self, direction: Direction) {
        self.change(|state| {
            state.ways[direction as usize].held_since.get_or_insert_with(Instant::now);
        });
    }

    /// From now on nothing arrives.
    pub fn hold_both(&self) {
        self.hold(Direction::Forth);
        self.hold(Direction::Back);
    }

    /// Everything arrives again.
    pub fn release(&self) {
        self.change(|state| state.ways.iter_mut().for_each(|way| way.held_since = None));
    }

    /// Whether some direction carries nothing.
    pub fn is_held(&self) -> bool {
        self.state().is_held()
    }

    /// Connections are reset, and new ones refused, until this is taken back.
    pub fn refuse(&self, refuses: bool) {
        self.change(|state| {
            state.refuses = refuses;
            state.resets += u64::from(refuses);
        });
    }

    /// Every connection is reset, once.
    pub fn reset(&self) {
        self.change(|state| state.resets += 1);
    }

    /// When bytes that are read now arrive, behind what was read before.
    fn due(&self, direction: Direction, bytes: usize, before: Option<Instant>) -> Instant {
        let state = self.state();
        let now = Instant::now();
        let mut sent = now;
        if let Some(rate) = state.bytes_per_second {
            let mut busy = self.0.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = &mut busy[direction as usize];
            let nanos = (bytes as u128) * 1_000_000_000 / u128::from(rate);
            let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            sent = busy.map_or(now, |busy| busy.max(now)) + takes;
            *busy = Some(sent);
        }
        let due = sent + draw(state.way(direction).latency);
        before.map_or(due, |before| due.max(before))
    }
}

/// A time between two.
fn draw((min, max): (Duration, Duration)) -> Duration {
    let spread = u64::try_from(max.saturating_sub(min).as_micros()).unwrap_or(u64::MAX);
    min + Duration::from_micros(fastrand::u64(0..=spread))
}
