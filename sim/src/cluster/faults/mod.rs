//! Faults that a scenario asks of a running cluster, and takes back.
//!
//! ```text
//!  request ─▶ matching faults ─┬─ Error, Close    before anything is done with it
//!                              └─ served ─▶ answer ─┬─ Delay       it leaves later
//!                                                   ├─ Throttle    it leaves, and the connection is mute (KIP-219)
//!                                                   └─ LoseAnswer  done, but the client never hears of it
//! ```
//!
//! Whatever is drawn comes from a stream of the fault's own, so that one fault more does not reshuffle another.
//! Several faults may meet in one request: each acts, in the order in which they were injected.

mod act;

#[cfg(test)]
mod tests;

pub(super) use act::Leaving;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

use super::{
    Time,
    api::Image,
    connection::{ConnectionId, Ticket},
};

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Something happens to a share of the requests.
    Requests {
        /// Which it can happen to.
        #[serde(default)]
        only: Matching,
        /// How many of them.
        #[serde(default)]
        share: Share,
        /// What.
        effect: Effect,
    },
    /// A broker's disk is full: what is produced to it is answered with `KAFKA_STORAGE_ERROR`.
    FullDisk {
        /// Whose.
        broker: i32,
        /// The broker has taken its log directory offline: its replicas are gone as well, and leaders move.
        #[serde(default)]
        offline: bool,
    },
    /// Leaders of all topics move on, again and again.
    LeaderElections {
        /// How often.
        every_ms: u32,
    },
    /// Coordinators of groups and transactions move on, again and again.
    CoordinatorsMove {
        /// How often.
        every_ms: u32,
    },
    /// A broker goes on telling the metadata of the moment at which the fault began.
    StaleMetadata {
        /// Which.
        broker: i32,
    },
    /// Brokers that nobody has asked yet: at each of them the first request of each API takes longer, and so do the first records
    /// that it writes; what arrives meanwhile waits as long. To refuse is faster than to write and to replicate.
    Cold {
        /// At the least.
        min_ms: u32,
        /// At the most.
        max_ms: u32,
    },
}

/// Which requests a fault concerns; what is not given concerns all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matching {
    /// Those to this broker.
    pub broker: Option<i32>,
    /// Those with this API key.
    pub api: Option<i16>,
    /// Those that name this topic, or its id. An incremental fetch names no topic that it does not change.
    pub topic: Option<String>,
}

/// How many of the requests that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share {
    per_million: u32,
}

impl Share {
    const WHOLE: u32 = 1_000_000;

    /// Every one.
    pub const ALL: Self = Self { per_million: Self::WHOLE };

    /// So many per million; above one million: all.
    pub const fn per_million(per_million: u32) -> Self {
        Self { per_million }
    }

    fn draw(self, random: &mut Rng) -> bool {
        // Drawn in any case: a share that is changed leaves later draws where they were.
        random.u32(..Self::WHOLE) < self.per_million
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is not served, and answered with this error wherever its API has room for one.
    Error(i16),
    /// It is not served, and the connection is closed.
    Close,
    /// Its answer is late, by a time drawn from this range. Requests behind it wait.
    Delay {
        /// At the least.
        min_ms: u32,
        /// At the most.
        max_ms: u32,
    },
    /// Its answer says that the client is throttled, and nothing more of its connection is served for as long.
    Throttle {
        /// How long.
        ms: u32,
    },
    /// It is served, but instead of an answer the connection is closed.
    LoseAnswer,
}

impl Fault {
    /// Something happens to requests to one broker.
    pub fn of_broker(broker: i32, effect: Effect) -> Self {
        let only = Matching { broker: Some(broker), ..Matching::default() };
        Self::Requests { only, share: Share::ALL, effect }
    }

    /// A broker that takes its time.
    pub fn slow_broker(broker: i32, min_ms: u32, max_ms: u32) -> Self {
        Self::of_broker(broker, Effect::Delay { min_ms, max_ms })
    }

    /// A broker that answers everything with an error.
    pub fn failing_broker(broker: i32, error: i16) -> Self {
        Self::of_broker(broker, Effect::Error(error))
    }

    /// Something happens to a share of the requests of one API.
    pub fn of_api(api: i16, share: Share, effect: Effect) -> Self {
        let only = Matching { api: Some(api), ..Matching::default() };
        Self::Requests { only, share, effect }
    }

    /// The same, of those that name a topic.
    #[must_use]
    pub fn for_topic(mut self, name: &str) -> Self {
        if let Self::Requests { only, .. } = &mut self {
            only.topic = Some(name.to_owned());
        }
        self
    }
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

/// All faults that act, and what they hold back.
#[derive(Default)]
pub(super) struct Faults {
    active: BTreeMap<FaultId, Active>,
    injected: u64,
    /// What is to happen to the answers of the requests that are served.
    plans: BTreeMap<ConnectionId, Plan>,
    held: BTreeMap<ConnectionId, (Ticket, Held)>,
}

struct Active {
    fault: Fault,
    random: Rng,
    /// What a broker with stale metadata tells.
    image: Option<Image>,
    /// Since when a cold broker does something as fast as ever.
    warm_from: BTreeMap<(i32, Work), Time>,
}

impl Active {
    /// How much longer a cold broker takes for something than it will later.
    fn warms_up(&mut self, now: Time, broker: i32, what: Work) -> Option<Duration> {
        let Fault::Cold { min_ms, max_ms } = self.fault else { return None };
        let random = &mut self.random;
        let warm_from = self.warm_from.entry((broker, what)).or_insert_with(|| {
            now + Duration::from_millis(
                random.u64(u64::from(min_ms)..=u64::from(max_ms.max(min_ms))),
            )
        });
        (*warm_from > now).then(|| warm_from.since(now))
    }
}

/// What a broker does for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// It takes in a request of this API.
    Serve(i16),
    /// It writes records.
    Append,
}

/// What is to happen to one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Plan {
    delay: Duration,
    throttle_ms: u32,
    is_lost: bool,
}

/// What waits for its moment.
enum Held {
    /// An answer that is late, and how long its connection is mute then.
    Answer(Option<Bytes>, u32),
    /// A connection that is mute.
    Mute,
}

impl Faults {
    /// Forgets what is held for a connection that is gone.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.plans.remove(&connection);
        self.held.remove(&connection);
    }

    /// A broker has written records of a request, for which a cold one takes its time.
    pub(super) fn appended(&mut self, now: Time, broker: i32, connection: ConnectionId) {
        for active in self.active.values_mut() {
            if let Some(delay) = active.warms_up(now, broker, Work::Append) {
                self.plans.entry(connection).or_default().delay += delay;
            }
        }
    }

    /// What a broker tells in place of the current metadata.
    pub(super) fn stale_image(&self, broker: i32) -> Option<&Image> {
        self.active.values().find_map(|active| match active.fault {
            Fault::StaleMetadata { broker: of } if of == broker => active.image.as_ref(),
            _ => None,
        })
    }

    fn disk_is_full(&self, broker: i32) -> Option<bool> {
        let of = self.active.values().filter_map(|active| match active.fault {
            Fault::FullDisk { broker: of, offline } if of == broker => Some(offline),
            _ => None,
        });
        of.reduce(|one, other| one || other)
    }
}

/// `KAFKA_STORAGE_ERROR`.
const STORAGE_ERROR: i16 = ResponseError::KafkaStorageError.code();
