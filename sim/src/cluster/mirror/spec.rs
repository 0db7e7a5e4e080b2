//! What a link is made of, as a caller asks for it.

use std::time::Duration;

/// A link to be.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// Name in reports; also what the drawn lags are derived from.
    pub name: String,
    /// Whatever the link draws is drawn from this.
    pub seed: u64,
    /// Which of the two clusters is the source of topics that the link finds itself.
    pub direction: Direction,
    /// How it copies.
    pub mode: Mode,
    /// Topics that get a copy without being named. Kafka's internal ones (`__…`) never do.
    pub topics: Filter,
    /// Consumer groups whose offsets are carried over.
    pub groups: Filter,
    /// How long a batch is on its way.
    pub lag: Lag,
    /// Bytes a second that the link carries, all partitions together; `None`: any number.
    pub bytes_per_second: Option<u64>,
    /// How often the source is asked for new batches. Stands for the long poll of the fetchers: a batch waits up
    /// to so long at the source before its lag begins.
    pub fetch_interval: Duration,
    /// How often topics, partitions and topic settings are compared: `topic.config.sync.ms`.
    pub metadata_interval: Duration,
    /// How long the source must be out of reach for its mirror topics to say so: five failures of
    /// `availability.check.ms`.
    pub unavailable_after: Duration,
}

/// How a link copies.
#[derive(Clone, Debug)]
pub enum Mode {
    /// As Confluent's Cluster Linking.
    ClusterLinking(ClusterLinking),
    /// As Kafka's MirrorMaker 2.
    MirrorMaker(MirrorMaker),
}

/// Read-only copies, offsets kept.
#[derive(Clone, Debug)]
pub struct ClusterLinking {
    /// `consumer.offset.sync.ms`; `None`: `consumer.offset.sync.enable=false`.
    pub offset_sync_interval: Option<Duration>,
    /// Which leader epochs the copies bear.
    pub epochs: Epochs,
}

/// Which leader epochs the batches and partitions of a mirror topic have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// Those of the mirror's own elections, which know nothing of the source's: a client that moves meets whatever
    /// number the other cluster has come to.
    Own,
    /// Batches keep the source's, and the mirror's own epoch is raised so that it is never below: the invariant
    /// that KIP-1279 states for mirrors (destination's epoch ≥ source's).
    NotBelowSource,
}

/// Writable copies, offsets of their own.
#[derive(Clone, Debug)]
pub struct MirrorMaker {
    /// What copies are called.
    pub naming: Naming,
    /// What its consumer reads. Kafka's default is `read_uncommitted`; control records are copied in neither.
    pub isolation: Isolation,
    /// `offset.lag.max`: how far behind a translated offset may be while records flow.
    pub offset_lag_max: i64,
    /// `emit.checkpoints.interval.seconds` and `sync.group.offsets.interval.seconds`; `None`:
    /// `sync.group.offsets.enabled=false`, which is Kafka's default.
    pub checkpoint_interval: Option<Duration>,
    /// `offset.flush.interval.ms`: how often its own position and delayed offset syncs are written down.
    pub flush_interval: Duration,
}

/// What the copies of MirrorMaker are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `IdentityReplicationPolicy`.
    Identity,
    /// `DefaultReplicationPolicy`: this alias of the source, a dot, the topic.
    Prefixed(String),
}

/// `isolation.level` of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark, aborted records too.
    ReadUncommitted,
    /// Up to the last stable offset, aborted records left out.
    ReadCommitted,
}

/// Which of the two clusters that a caller hands over is the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The first is.
    AToB,
    /// The second is.
    BToA,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }
}

/// How long a batch is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// Always the same.
    Fixed(Duration),
    /// Drawn for each batch, evenly. Batches of one partition do not overtake each other.
    Between(Duration, Duration),
}

/// Names that are meant.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these must fit.
    pub include: Vec<Pattern>,
    /// None of these may.
    pub exclude: Vec<Pattern>,
}

/// One name or many, as Confluent's filters have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `"name": "*"`.
    Any,
    /// `"patternType": "LITERAL"`.
    Literal(String),
    /// `"patternType": "PREFIXED"`.
    Prefixed(String),
}

impl Filter {
    /// Every name.
    pub fn all() -> Self {
        Self { include: vec![Pattern::Any], exclude: Vec::new() }
    }

    /// No name.
    pub fn none() -> Self {
        Self::default()
    }

    /// These names.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let include = names.into_iter().map(|name| Pattern::Literal(name.to_owned()));
        Self { include: include.collect(), exclude: Vec::new() }
    }

    /// Whether a name is meant.
    pub fn fits(&self, name: &str) -> bool {
        let fits = |pattern: &Pattern| match pattern {
            Pattern::Any => true,
            Pattern::Literal(literal) => name == literal,
            Pattern::Prefixed(prefix) => name.starts_with(prefix),
        };
        self.include.iter().any(fits) && !self.exclude.iter().any(fits)
    }
}

impl LinkSpec {
    /// A link from the first cluster to the second as Cluster Linking has it: all topics, all groups, no lag.
    pub fn cluster_linking(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            seed,
            direction: Direction::AToB,
            mode: Mode::ClusterLinking(ClusterLinking::default()),
            topics: Filter::all(),
            groups: Filter::all(),
            lag: Lag::Fixed(Duration::ZERO),
            bytes_per_second: None,
            fetch_interval: Duration::from_millis(10),
            metadata_interval: Duration::from_secs(5),
            unavailable_after: Duration::from_mins(5),
        }
    }

    /// A link from the first cluster to the second as MirrorMaker 2 has it, with the filters that are its default.
    pub fn mirror_maker(name: &str, seed: u64) -> Self {
        let prefixed = |prefix: &str| Pattern::Prefixed(prefix.to_owned());
        let exclude = vec![prefixed("console-consumer-"), prefixed("connect-"), prefixed("__")];
        Self {
            mode: Mode::MirrorMaker(MirrorMaker::default()),
            groups: Filter { include: vec![Pattern::Any], exclude },
            metadata_interval: Duration::from_mins(10),
            ..Self::cluster_linking(name, seed)
        }
    }
}

impl Default for ClusterLinking {
    fn default() -> Self {
        Self { offset_sync_interval: Some(Duration::from_secs(30)), epochs: Epochs::Own }
    }
}

impl Default for MirrorMaker {
    fn default() -> Self {
        Self {
            naming: Naming::Identity,
            isolation: Isolation::ReadUncommitted,
            offset_lag_max: 100,
            checkpoint_interval: Some(Duration::from_mins(1)),
            flush_interval: Duration::from_mins(1),
        }
    }
}
