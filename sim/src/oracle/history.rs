//! What happened, as those who took part saw it: the one thing that oracles read, for rehearsals and for real Kafka.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// Everything that was seen in one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// In the order of time.
    pub entries: Vec<Entry>,
    /// What each cluster holds in the end.
    pub logs: BTreeMap<String, Vec<Stored>>,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Since the start, in microseconds.
    pub at_us: u64,
    /// Who saw it: a client (`checkout-3`), a gateway (`gateway-1`), a cluster (`east`), `operator` or `network`.
    pub who: Arc<str>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

impl Entry {
    /// Since the start.
    pub const fn at(&self) -> Duration {
        Duration::from_micros(self.at_us)
    }
}

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// A numbered record: who wrote it, and its how many-th it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// Name of the producer.
    pub producer: Arc<str>,
    /// Counted by the producer, from 0.
    pub number: u64,
}

/// A record that a cluster holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stored {
    /// Where.
    #[serde(flatten)]
    pub position: Position,
    /// Which.
    #[serde(flatten)]
    pub record: Record,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// A producer's application has handed a record over.
    Sent {
        /// Its number.
        number: u64,
    },
    /// A producer's application had to wait for room, or was refused for want of it.
    BufferFull,
    /// A record was acknowledged.
    Acknowledged {
        /// Its number.
        number: u64,
        /// Where the broker says that it is.
        #[serde(flatten)]
        position: Position,
    },
    /// A record will not be sent any more.
    Failed {
        /// Its number.
        number: u64,
        /// Why, in the library's words.
        reason: Arc<str>,
    },
    /// A transaction ended.
    Transaction {
        /// Numbers of its records.
        numbers: Vec<u64>,
        /// Whether it was committed.
        committed: bool,
    },
    /// A consumer got partitions; all that it has now.
    Assigned {
        /// Group.
        group: Arc<str>,
        /// Topic and partition.
        partitions: Vec<(Arc<str>, i32)>,
    },
    /// A consumer lost partitions.
    Revoked {
        /// Group.
        group: Arc<str>,
        /// Topic and partition.
        partitions: Vec<(Arc<str>, i32)>,
    },
    /// A consumer has read a record.
    Consumed {
        /// Group.
        group: Arc<str>,
        /// Where it stood.
        #[serde(flatten)]
        position: Position,
        /// Which it was.
        #[serde(flatten)]
        record: Record,
    },
    /// A consumer's position was put elsewhere than behind what it had read.
    Reset {
        /// Group.
        group: Arc<str>,
        /// Where to.
        #[serde(flatten)]
        position: Position,
        /// Why.
        reason: Arc<str>,
    },
    /// A client has connected.
    Connected,
    /// A client's connection has ended without its wish.
    Disconnected {
        /// How.
        reason: Arc<str>,
    },
    /// A client has gone back to its bootstrap servers.
    Rebootstrapped,
    /// A producer has raised its epoch.
    EpochBumped,
    /// An error that an application saw, and that was not for good.
    Error {
        /// In the library's words.
        reason: Arc<str>,
    },
    /// The client is of no use any more.
    Fatal {
        /// In the library's words.
        reason: Arc<str>,
    },
    /// A byte sequence that a client received names an upstream broker.
    UpstreamAddress {
        /// The address.
        address: Arc<str>,
    },
    /// A cluster has appended records of a client (not of a mirror).
    Appended {
        /// Topic.
        topic: Arc<str>,
        /// Partition.
        partition: i32,
        /// How many.
        records: u64,
    },
    /// A write was refused because the topic is a mirror.
    ReadOnlyRefused,
    /// A partition has another leader.
    LeaderMoved {
        /// Topic.
        topic: Arc<str>,
        /// Partition.
        partition: i32,
    },
    /// A group's coordinator has thrown a silent member out.
    MemberExpired {
        /// Group.
        group: Arc<str>,
    },
    /// What a gateway says of one of its routes.
    Route {
        /// Route.
        route: Arc<str>,
        /// Domain that it points at.
        domain: Arc<str>,
        /// `serving`, `fenced`, …
        phase: Arc<str>,
        /// Fence mode, where there is one.
        fence: Option<Arc<str>>,
        /// Sessions.
        sessions: u64,
        /// Requests in flight.
        in_flight: u64,
        /// Bytes of parked requests.
        parked_bytes: u64,
        /// Revision.
        revision: u64,
    },
    /// A session of a gateway has ended; `cause` is empty where none was named.
    SessionClosed {
        /// Why.
        cause: Arc<str>,
    },
    /// Requests were answered by a fence.
    FenceAnswered,
    /// An operator begins to let a route's clients through.
    Opening {
        /// Route.
        route: Arc<str>,
    },
    /// An instance of the gateway has died.
    GatewayDied,
    /// How far a mirror is behind.
    MirrorLag {
        /// Acknowledged records that it does not have.
        records: u64,
    },
    /// A mirror was cut off from its source.
    MirrorCut {
        /// Records that were left behind.
        unreplicated: u64,
    },
    /// A line of a gateway's log.
    Log {
        /// `warn`, `info`, …
        level: Arc<str>,
        /// The line.
        text: Arc<str>,
    },
    /// A fault began or ended, an operator did something, the mirror changed.
    Note {
        /// In words.
        text: Arc<str>,
    },
}

impl fmt::Display for Entry {
    /// One line of a trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        write!(f, "{seconds:>5}.{micros:06} {:<16} ", self.who)?;
        match serde_json::to_value(&self.what) {
            Ok(serde_json::Value::Object(fields)) => {
                let name = fields.get("what").and_then(|name| name.as_str()).unwrap_or_default();
                f.write_str(name)?;
                for (key, value) in fields.iter().filter(|(key, _)| *key != "what") {
                    match value {
                        serde_json::Value::String(text) => write!(f, " {key}={text}")?,
                        other => write!(f, " {key}={other}")?,
                    }
                }
                Ok(())
            }
            _ => Err(fmt::Error),
        }
    }
}
