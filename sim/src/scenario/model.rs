//! A scenario in which every reference holds.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use switchyard::config::{Model as Gateway, model::FenceMode};

use super::{
    validation::Validation,
    values::{Bounds, Span},
};
use crate::cluster::versions::Profile as KafkaProfile;

/// A rehearsal that can be run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// File name without its ending, and the variant's behind a slash.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// The gateway's configuration as checked.
    pub gateway: Arc<Gateway>,
    /// The text of that configuration, for instances that are started.
    pub gateway_text: String,
    /// The file it came from, if any.
    pub gateway_file: Option<PathBuf>,
    /// Instances of the gateway.
    pub instances: usize,
    /// Clusters by the streaming domain that they stand behind.
    pub clusters: BTreeMap<String, Cluster>,
    /// Topics.
    pub topics: Vec<Topic>,
    /// The link between two clusters.
    pub mirror: Option<Mirror>,
    /// Latencies that differ from the default.
    pub links: Vec<Link>,
    /// Who writes.
    pub producers: Vec<Producer>,
    /// Who reads.
    pub consumers: Vec<Consumer>,
    /// How long things happen.
    pub duration: Duration,
    /// How long recovery may take.
    pub recovery: Duration,
    /// What happens.
    pub timeline: Vec<Step>,
    /// What must come of it.
    pub expect: Expectations,
    /// How plays on real Kafka are compared with it; `None` where they are not.
    pub validation: Option<Validation>,
}

/// A fake cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Node ids.
    pub brokers: Vec<i32>,
    /// Whose versions it offers.
    pub kafka: KafkaProfile,
    /// Broker settings.
    pub settings: BTreeMap<String, String>,
    /// Where leader epochs begin.
    pub leader_epoch: i32,
    /// How much longer what each broker does for the first time takes.
    pub cold: Option<Span>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Replicas.
    pub replicas: i16,
    /// Clusters that have it from the start.
    pub on: Vec<String>,
    /// Topic settings.
    pub settings: BTreeMap<String, String>,
}

/// A mirror link.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Source.
    pub from: String,
    /// Target.
    pub to: String,
    /// Whether it behaves as Cluster Linking; else as MirrorMaker 2.
    pub cluster_linking: bool,
    /// How far behind.
    pub lag: Span,
    /// Interval of offset sync.
    pub offset_sync: Duration,
    /// Topics that are copied.
    pub topics: Vec<String>,
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// All clients.
    Clients,
    /// All instances of the gateway.
    Gateways,
    /// One instance, from 1 on.
    Gateway(usize),
    /// A cluster.
    Cluster(String),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clients => f.write_str("clients"),
            Self::Gateways => f.write_str("gateway"),
            Self::Gateway(number) => write!(f, "gateway-{number}"),
            Self::Cluster(name) => f.write_str(name),
        }
    }
}

/// Latency of a link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its ends.
    pub between: [Host; 2],
    /// One way.
    pub latency: Span,
}

pub use crate::client::Library;

/// Where a client connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A route of the gateway.
    Route(String),
    /// A cluster, past the gateway.
    Cluster(String),
}

/// Producers of one kind.
#[derive(Clone, Debug)]
pub struct Producer {
    /// Name.
    pub name: String,
    /// Library.
    pub library: Library,
    /// How many.
    pub count: usize,
    /// Where they connect.
    pub entry: Entry,
    /// Where they write.
    pub topic: String,
    /// Records a second, each.
    pub rate: u32,
    /// Bytes of a record.
    pub record_bytes: usize,
    /// Records of a transaction.
    pub transaction_records: Option<usize>,
    /// When they start.
    pub start: Duration,
    /// Settings.
    pub settings: BTreeMap<String, String>,
}

/// Consumers of one group.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Name.
    pub name: String,
    /// Library.
    pub library: Library,
    /// Members.
    pub count: usize,
    /// Where they connect.
    pub entry: Entry,
    /// What they subscribe to.
    pub topics: Vec<String>,
    /// Whether members are static.
    pub is_static: bool,
    /// When they start.
    pub start: Duration,
    /// Settings; `group.id` is always there.
    pub settings: BTreeMap<String, String>,
}

impl Producer {
    /// Properties of one of these producers: what the scenario says, and what follows from the producer's name.
    pub fn properties(&self, name: &str, bootstrap: &str) -> BTreeMap<String, String> {
        let mut properties = properties(&self.settings, name, bootstrap);
        if self.transaction_records.is_some() {
            properties.entry("transactional.id".to_owned()).or_insert_with(|| name.to_owned());
        }
        properties
    }
}

impl Consumer {
    /// Properties of one of these consumers: what the scenario says, and what follows from the consumer's name.
    pub fn properties(&self, name: &str, bootstrap: &str) -> BTreeMap<String, String> {
        let mut properties = properties(&self.settings, name, bootstrap);
        if self.is_static {
            properties.entry("group.instance.id".to_owned()).or_insert_with(|| name.to_owned());
        }
        properties
    }
}

fn properties(
    settings: &BTreeMap<String, String>,
    name: &str,
    bootstrap: &str,
) -> BTreeMap<String, String> {
    let mut properties = settings.clone();
    properties.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
    properties.entry("client.id".to_owned()).or_insert_with(|| name.to_owned());
    properties
}

/// When a step happens.
#[derive(Clone, Debug)]
pub enum When {
    /// Counted from the start.
    At(Span),
    /// Counted from the end of the step before.
    After(Span),
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
    /// Where it stands in the file, for messages: `timeline[3]`.
    pub path: String,
}

/// What happens. Times that are absent last to the end of the timeline.
#[derive(Clone, Debug)]
pub enum Action {
    /// A link goes silent.
    BlackHole {
        /// Its ends.
        between: [Host; 2],
        /// How long each time.
        lasts: Option<Span>,
        /// How often, with pauses of the same length.
        times: u32,
        /// Only what the first sends to the second vanishes.
        one_way: bool,
    },
    /// A cluster's region goes silent.
    RegionDown {
        /// Which.
        cluster: String,
        /// How long.
        lasts: Option<Span>,
    },
    /// A cluster refuses and resets connections.
    Refuse {
        /// Which.
        cluster: String,
        /// How long.
        lasts: Option<Span>,
    },
    /// A link becomes slow.
    Slow {
        /// Its ends.
        between: [Host; 2],
        /// One way.
        latency: Duration,
        /// How long.
        lasts: Option<Span>,
    },
    /// Connections over a link are reset.
    Reset {
        /// Its ends.
        between: [Host; 2],
    },
    /// A broker dies.
    KillBroker {
        /// Of which cluster.
        cluster: String,
        /// Node id.
        broker: i32,
        /// How long; absent: until a step brings it back.
        lasts: Option<Span>,
    },
    /// A broker is shut down.
    StopBroker {
        /// Of which cluster.
        cluster: String,
        /// Node id.
        broker: i32,
        /// How long; absent: until a step brings it back.
        lasts: Option<Span>,
    },
    /// A broker comes back.
    StartBroker {
        /// Of which cluster.
        cluster: String,
        /// Node id.
        broker: i32,
    },
    /// A fault of a cluster.
    Inject {
        /// Which.
        cluster: String,
        /// What.
        fault: Fault,
        /// How long.
        lasts: Option<Span>,
    },
    /// An instance of the gateway dies.
    KillGateway {
        /// Which, from 1 on.
        instance: usize,
        /// How long; absent: for good.
        lasts: Option<Span>,
    },
    /// Instances are restarted.
    RestartGateway {
        /// Which; absent: all.
        instance: Option<usize>,
        /// A route and the domain that the file names for it now.
        edit: Option<(String, String)>,
        /// How long nothing listens.
        down: Span,
    },
    /// A route is fenced.
    Fence {
        /// Which.
        route: String,
        /// How.
        mode: FenceMode,
        /// On which instance; absent: on all.
        instance: Option<usize>,
    },
    /// A route is unfenced.
    Unfence {
        /// Which.
        route: String,
        /// On which instance; absent: on all.
        instance: Option<usize>,
    },
    /// A route is repointed.
    Switchover {
        /// Which.
        route: String,
        /// To which domain.
        to: String,
        /// Fenced meanwhile.
        fence: Option<FenceMode>,
        /// How long requests in flight may take.
        drain: Option<Duration>,
        /// On which instance; absent: on all.
        instance: Option<usize>,
    },
    /// Mirror topics are promoted.
    Promote {
        /// Which; none: all.
        topics: Vec<String>,
    },
    /// Mirror topics are made writable at once.
    Failover {
        /// Which; none: all.
        topics: Vec<String>,
    },
    /// The mirror turns round.
    ReverseMirror,
    /// The operator waits.
    Await {
        /// For what.
        what: Condition,
        /// How long at most.
        at_most: Duration,
    },
    /// Consumers stop polling.
    StallConsumer {
        /// Name of the consumers.
        consumer: String,
        /// How long.
        lasts: Span,
    },
}

/// What an operator waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No request of the route is in flight.
    Drained(String),
    /// The mirror has copied everything.
    CaughtUp,
    /// Every mirror topic is writable.
    Promoted,
    /// The route serves at its target.
    Serving(String),
}

/// A fault of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// What kind, by its name in the file.
    pub kind: FaultKind,
    /// Only this broker.
    pub broker: Option<i32>,
    /// Only this API.
    pub api: Option<i16>,
    /// Only this topic.
    pub topic: Option<String>,
    /// The error that is answered.
    pub error: Option<i16>,
    /// Share of requests.
    pub percent: u8,
    /// Delay, throttle or interval.
    pub delay: Option<Span>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultKind {
    /// Answers are late.
    #[default]
    Slow,
    /// Requests get an error.
    Error,
    /// Connections are closed.
    Close,
    /// Requests are carried out, connections closed.
    LoseAnswer,
    /// The disk is full.
    FullDisk,
    /// Leaders move all the time.
    ElectionStorm,
    /// Coordinators move.
    MoveCoordinators,
    /// Clients are throttled.
    Throttle,
    /// Metadata of a broker is old.
    StaleMetadata,
}

/// What must come of a run.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// Bounds by figure (`lost`, `rto`: in ms, …).
    pub figures: BTreeMap<String, Bounds>,
    /// Marks that some run over the seeds must reach.
    pub sometimes: Vec<String>,
    /// Oracles that this scenario violates on purpose.
    pub violates: Vec<String>,
}
