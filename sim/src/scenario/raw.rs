//! The scenario file as it is written: every key, its type and its meaning, once.
//!
//! As with the gateway's own file, the JSON Schema is derived from these types and files are checked against it, so every
//! field is optional here and what is required is said by `schemars`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

/// A rehearsal: clusters, a gateway, clients, what happens to them, and what is expected to come of it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Scenario {
    /// What the scenario is about, and what it proves; shown in lists and reports.
    #[schemars(required, length(min = 1))]
    pub(super) about: Option<String>,
    /// The gateway's configuration: the path of the file that production runs (relative to the scenario), or the same keys
    /// written here.
    #[schemars(required)]
    pub(super) gateway: Option<PathOrSection>,
    /// Instances of the gateway behind a load balancer.
    #[schemars(range(min = 1, max = 9), extend("default" = 1))]
    pub(super) instances: Option<i64>,
    /// The cluster behind each streaming domain, by the domain's name.
    #[schemars(required)]
    pub(super) clusters: Option<BTreeMap<String, ClusterSection>>,
    /// Topics that exist at the start.
    #[schemars(required, length(min = 1, max = 1000))]
    pub(super) topics: Option<Vec<Topic>>,
    /// The link that copies topics from one cluster to another.
    pub(super) mirror: Option<Mirror>,
    /// Latencies between hosts; what is not named has 1ms..2ms.
    pub(super) links: Option<Vec<Link>>,
    /// Clients that write numbered records.
    pub(super) producers: Option<Vec<Producer>>,
    /// Clients that read in groups.
    pub(super) consumers: Option<Vec<Consumer>>,
    /// How long things happen: clients write, and the timeline runs.
    #[schemars(required)]
    pub(super) duration: Option<String>,
    /// How long after that everything may take to recover; clients only read what is left.
    #[schemars(extend("default" = "2m"))]
    pub(super) recovery: Option<String>,
    /// What happens, in order.
    pub(super) timeline: Option<Vec<Step>>,
    /// What must come of it.
    pub(super) expect: Option<Expectations>,
    /// The same with other settings, each a run of its own, by name.
    pub(super) variants: Option<BTreeMap<String, Variant>>,
    /// How a run on real Kafka may differ from a rehearsal, and why.
    pub(super) validation: Option<Validation>,
}

/// A path, or a section of keys and values.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PathOrSection {
    Path(String),
    Section(serde_json::Map<String, Value>),
}

impl JsonSchema for PathOrSection {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PathOrSection".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "object"], "additionalProperties": {} })
    }
}

/// A number, or a range of numbers as text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum NumberOrText {
    Number(i64),
    Text(String),
}

impl JsonSchema for NumberOrText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NumberOrText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"] })
    }
}

/// Settings by their own names; values as text, numbers or flags.
pub(super) type Settings = BTreeMap<String, Value>;

/// A fake Kafka cluster.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ClusterSection {
    /// Brokers, with node ids from `first-node-id` on.
    #[schemars(range(min = 1, max = 9), extend("default" = 3))]
    pub(super) brokers: Option<i64>,
    /// Node id of the first broker.
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 1))]
    pub(super) first_node_id: Option<i64>,
    /// Whose versions it offers.
    #[schemars(extend("default" = "4.1"))]
    pub(super) kafka: Option<KafkaVersion>,
    /// Broker settings by Kafka's own names.
    pub(super) settings: Option<Settings>,
    /// Elections that every partition has been through already: where its leader epochs begin.
    #[schemars(range(min = 0, max = 1000), extend("default" = 0))]
    pub(super) leader_epoch: Option<i64>,
    /// Nobody has asked it anything yet: how much longer the first request of each API takes at each broker, and the first records
    /// that it writes, a time or a range of times. Real brokers load what they need for it.
    pub(super) cold: Option<String>,
}

/// A release of Kafka.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum KafkaVersion {
    /// 3.9
    #[serde(rename = "3.9")]
    V39,
    /// 4.1
    #[serde(rename = "4.1")]
    V41,
}

/// A topic.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Topic {
    /// Its name.
    #[schemars(required, length(min = 1, max = 249))]
    pub(super) name: Option<String>,
    /// Partitions.
    #[schemars(range(min = 1, max = 1000), extend("default" = 6))]
    pub(super) partitions: Option<i64>,
    /// Replicas of each partition.
    #[schemars(range(min = 1, max = 9), extend("default" = 3))]
    pub(super) replicas: Option<i64>,
    /// Clusters that have it from the start; the default is all that the mirror does not write to.
    pub(super) on: Option<Vec<String>>,
    /// Topic settings by Kafka's own names.
    pub(super) settings: Option<Settings>,
}

/// A link that copies topics.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Mirror {
    /// Where records come from.
    #[schemars(required)]
    pub(super) from: Option<String>,
    /// Where they are copied to.
    #[schemars(required)]
    pub(super) to: Option<String>,
    /// How it copies.
    #[schemars(extend("default" = "cluster-linking"))]
    pub(super) kind: Option<MirrorKind>,
    /// How far the copy is behind: a time or a range of times.
    #[schemars(extend("default" = "20ms..100ms"))]
    pub(super) lag: Option<String>,
    /// How often consumers' offsets are copied.
    #[schemars(extend("default" = "5s"))]
    pub(super) offset_sync: Option<String>,
    /// Topics that are copied; the default is all.
    pub(super) topics: Option<Vec<String>>,
}

/// How a link copies.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MirrorKind {
    /// Offsets are kept, mirror topics are read-only until they are promoted.
    ClusterLinking,
    /// Writable copies with offsets of their own.
    MirrorMaker2,
}

/// Latency of a link.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Link {
    /// Two of `clients`, `gateway` and the clusters' names.
    #[schemars(required, length(min = 2, max = 2))]
    pub(super) between: Option<Vec<String>>,
    /// One way: a time or a range of times.
    #[schemars(required)]
    pub(super) latency: Option<String>,
}

/// Which library a client is a model of.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProfileName {
    /// Apache Kafka's Java client, 4.1.
    Java,
    /// librdkafka, 2.x.
    Librdkafka,
}

/// Producers of one kind.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Producer {
    /// Unique name; several are told apart by `-1`, `-2`, ….
    #[schemars(required, length(min = 1, max = 100))]
    pub(super) name: Option<String>,
    /// The library.
    #[schemars(extend("default" = "java"))]
    pub(super) profile: Option<ProfileName>,
    /// How many.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 1))]
    pub(super) count: Option<i64>,
    /// The route that they connect to; or `cluster` for clients that bypass the gateway.
    pub(super) route: Option<String>,
    /// A cluster that they connect to directly.
    pub(super) cluster: Option<String>,
    /// Where they write.
    #[schemars(required)]
    pub(super) topic: Option<String>,
    /// Records a second, each.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 10))]
    pub(super) rate: Option<i64>,
    /// Bytes of a record.
    #[schemars(range(min = 32, max = 1_000_000), extend("default" = 100))]
    pub(super) record_bytes: Option<i64>,
    /// Records of a transaction; absent: no transactions.
    #[schemars(range(min = 1, max = 100_000))]
    pub(super) transaction_records: Option<i64>,
    /// When they start.
    #[schemars(extend("default" = "0s"))]
    pub(super) start: Option<String>,
    /// Client settings by the library's own names.
    pub(super) settings: Option<Settings>,
}

/// Consumers of one group.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Consumer {
    /// Unique name, and that of the group unless `group.id` is set.
    #[schemars(required, length(min = 1, max = 100))]
    pub(super) name: Option<String>,
    /// The library.
    #[schemars(extend("default" = "java"))]
    pub(super) profile: Option<ProfileName>,
    /// Members.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 1))]
    pub(super) count: Option<i64>,
    /// The route that they connect to.
    pub(super) route: Option<String>,
    /// A cluster that they connect to directly.
    pub(super) cluster: Option<String>,
    /// What they subscribe to.
    #[schemars(required, length(min = 1))]
    pub(super) topics: Option<Vec<String>>,
    /// Each member is static (`group.instance.id`).
    #[schemars(extend("default" = false))]
    pub(super) r#static: Option<bool>,
    /// When they start.
    #[schemars(extend("default" = "0s"))]
    pub(super) start: Option<String>,
    /// Client settings by the library's own names.
    pub(super) settings: Option<Settings>,
}

/// One thing that happens. Exactly one key besides `at` and `after` says what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Step {
    /// When, counted from the start: a time, or a range of times that the seed draws from.
    pub(super) at: Option<String>,
    /// When, counted from the end of the step before.
    pub(super) after: Option<String>,
    /// A link goes silent: nothing is refused and nothing arrives.
    pub(super) black_hole: Option<Between>,
    /// A whole cluster's region goes silent, for everybody.
    pub(super) region_down: Option<Cut>,
    /// The links to a cluster refuse and reset connections.
    pub(super) refuse: Option<Cut>,
    /// A link becomes slow.
    pub(super) slow: Option<Slow>,
    /// All connections over a link are reset.
    pub(super) reset: Option<Between>,
    /// A broker dies; `for` brings it back.
    pub(super) kill_broker: Option<Broker>,
    /// A broker is shut down in order; `for` brings it back.
    pub(super) stop_broker: Option<Broker>,
    /// A broker comes back.
    pub(super) start_broker: Option<Broker>,
    /// A fault of a cluster.
    pub(super) inject: Option<Inject>,
    /// An instance of the gateway dies; `for` brings it back with the state that it kept.
    pub(super) kill_gateway: Option<Instance>,
    /// Instances are ended in order and started again, as a change of configuration needs it elsewhere.
    pub(super) restart_gateway: Option<Restart>,
    /// The operator blocks a route.
    pub(super) fence: Option<Fence>,
    /// The operator lets a route's clients through again.
    pub(super) unfence: Option<Unfence>,
    /// The operator points a route at another domain.
    pub(super) switchover: Option<Switchover>,
    /// The operator promotes mirror topics: when nothing is left to copy.
    pub(super) promote: Option<Promote>,
    /// The operator makes mirror topics writable at once; what was not copied is left behind.
    pub(super) failover: Option<Promote>,
    /// The mirror runs in the other direction from now on.
    pub(super) reverse_mirror: Option<Empty>,
    /// The operator waits for something.
    pub(super) r#await: Option<Await>,
    /// Members of a group stop polling, as an application that hangs.
    pub(super) stall_consumer: Option<Stall>,
}

/// Nothing more to say.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

/// A link and for how long.
#[expect(clippy::struct_field_names, reason = "named as in the file")]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Between {
    /// Two of `clients`, `gateway`, `gateway-1` … and the clusters' names.
    #[schemars(required, length(min = 2, max = 2))]
    pub(super) between: Option<Vec<String>>,
    /// How long; absent: to the end of the timeline.
    pub(super) r#for: Option<String>,
    /// Only what the first sends to the second vanishes.
    #[schemars(extend("default" = false))]
    pub(super) one_way: Option<bool>,
    /// How often it happens; each time is followed by a pause of the same length.
    #[schemars(range(min = 1, max = 1000), extend("default" = 1))]
    pub(super) times: Option<i64>,
}

/// A cluster and for how long.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Cut {
    /// Which cluster.
    #[schemars(required)]
    pub(super) cluster: Option<String>,
    /// How long; absent: to the end of the timeline.
    pub(super) r#for: Option<String>,
}

/// A slow link.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Slow {
    /// Two of `clients`, `gateway`, `gateway-1` … and the clusters' names.
    #[schemars(required, length(min = 2, max = 2))]
    pub(super) between: Option<Vec<String>>,
    /// One way: a time.
    #[schemars(required)]
    pub(super) latency: Option<String>,
    /// How long; absent: to the end of the timeline.
    pub(super) r#for: Option<String>,
}

/// A broker.
#[expect(clippy::struct_field_names, reason = "named as in the file")]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Broker {
    /// Which cluster.
    #[schemars(required)]
    pub(super) cluster: Option<String>,
    /// Node id.
    #[schemars(required, range(min = 0, max = 1_000_000))]
    pub(super) broker: Option<i64>,
    /// How long; absent: for good.
    pub(super) r#for: Option<String>,
}

/// A fault of a cluster.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Inject {
    /// Which cluster.
    #[schemars(required)]
    pub(super) cluster: Option<String>,
    /// What.
    #[schemars(required)]
    pub(super) fault: Option<FaultKind>,
    /// Only this broker.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(super) broker: Option<i64>,
    /// Only requests of this API (`Produce`).
    pub(super) api: Option<String>,
    /// Only this topic.
    pub(super) topic: Option<String>,
    /// The error that is answered, by name.
    pub(super) error: Option<String>,
    /// Share of requests in percent.
    #[schemars(range(min = 1, max = 100), extend("default" = 100))]
    pub(super) percent: Option<i64>,
    /// Delay or throttle: a time or a range of times.
    pub(super) delay: Option<String>,
    /// How long; absent: to the end of the timeline.
    pub(super) r#for: Option<String>,
}

/// What a cluster can be made to do.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FaultKind {
    /// Answers are late by `delay`.
    Slow,
    /// Requests are answered with `error`.
    Error,
    /// Connections are closed instead of an answer.
    Close,
    /// Requests are carried out, and the connection is closed instead of an answer.
    LoseAnswer,
    /// Writes fail: the disk is full.
    FullDisk,
    /// Leaders move every `delay`.
    ElectionStorm,
    /// Coordinators of groups move.
    MoveCoordinators,
    /// Clients are throttled by `delay`.
    Throttle,
    /// Metadata of `broker` stays as it is now.
    StaleMetadata,
}

/// Instances of the gateway.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Instance {
    /// Which, from 1 on.
    #[schemars(required, range(min = 1, max = 9))]
    pub(super) instance: Option<i64>,
    /// How long; absent: for good.
    pub(super) r#for: Option<String>,
}

/// A restart with an edited file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Restart {
    /// Which, from 1 on; absent: all.
    #[schemars(range(min = 1, max = 9))]
    pub(super) instance: Option<i64>,
    /// The route whose `streamingDomain` the file now names differently.
    pub(super) route: Option<String>,
    /// That domain.
    pub(super) to: Option<String>,
    /// How long nothing listens meanwhile.
    #[schemars(extend("default" = "3s"))]
    pub(super) down: Option<String>,
}

/// A fence.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Fence {
    /// Which route.
    #[schemars(required)]
    pub(super) route: Option<String>,
    /// What happens to requests.
    #[schemars(extend("default" = "hold"))]
    pub(super) mode: Option<FenceMode>,
    /// Only this instance.
    #[schemars(range(min = 1, max = 9))]
    pub(super) instance: Option<i64>,
}

/// What a fence does to requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FenceMode {
    /// They wait.
    Hold,
    /// They are answered with an error.
    Error,
}

/// The end of a fence.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Unfence {
    /// Which route.
    #[schemars(required)]
    pub(super) route: Option<String>,
    /// Only this instance.
    #[schemars(range(min = 1, max = 9))]
    pub(super) instance: Option<i64>,
}

/// A switchover.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Switchover {
    /// Which route.
    #[schemars(required)]
    pub(super) route: Option<String>,
    /// To which domain.
    #[schemars(required)]
    pub(super) to: Option<String>,
    /// Block the route meanwhile.
    pub(super) fence: Option<FenceMode>,
    /// Let requests in flight finish for so long.
    pub(super) drain: Option<String>,
    /// Only this instance.
    #[schemars(range(min = 1, max = 9))]
    pub(super) instance: Option<i64>,
}

/// Mirror topics become writable.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Promote {
    /// Which; the default is all.
    pub(super) topics: Option<Vec<String>>,
}

/// What to wait for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Await {
    /// The condition.
    #[schemars(required)]
    pub(super) r#for: Option<Condition>,
    /// When it is about a route, which.
    pub(super) route: Option<String>,
    /// How long at most; then the run fails.
    #[schemars(extend("default" = "60s"))]
    pub(super) at_most: Option<String>,
}

/// What an operator waits for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Condition {
    /// No request of the route is in flight.
    Drained,
    /// The mirror has copied everything.
    CaughtUp,
    /// Every mirror topic is writable.
    Promoted,
    /// The route serves, and every session of it is at its target.
    Serving,
}

/// Members that stop polling.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Stall {
    /// Name of the consumers.
    #[schemars(required)]
    pub(super) consumer: Option<String>,
    /// How long.
    #[schemars(required)]
    pub(super) r#for: Option<String>,
}

/// What must come of a run. Each bound is a number (`0`), or `..5`, `3..`, `1..3`; times likewise (`..100s`).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Expectations {
    /// Records that were acknowledged and are on no cluster that a route points at in the end (RPO). Default: 0.
    pub(super) lost: Option<NumberOrText>,
    /// Records that were acknowledged and are on no cluster at all.
    pub(super) vanished: Option<NumberOrText>,
    /// Records that are there more than once. Default: 0.
    pub(super) duplicated: Option<NumberOrText>,
    /// Records that stand behind a later one of the same producer and partition. Default: 0.
    pub(super) reordered: Option<NumberOrText>,
    /// Records whose send failed, as the application saw it. Default: 0.
    pub(super) failed: Option<NumberOrText>,
    /// Acknowledged records that a group has not read in the end. Default: 0.
    pub(super) missed: Option<NumberOrText>,
    /// Records that a group has read more than once.
    pub(super) repeated: Option<NumberOrText>,
    /// Rebalances of all groups after the start.
    pub(super) rebalances: Option<NumberOrText>,
    /// Errors that stopped a client for good. Default: 0.
    pub(super) fatal: Option<NumberOrText>,
    /// Errors that applications saw and that were not for good.
    pub(super) errors: Option<NumberOrText>,
    /// The longest time in which no producer got an acknowledgement (RTO).
    pub(super) rto: Option<NumberOrText>,
    /// Connections that clients opened.
    pub(super) connections: Option<NumberOrText>,
    /// What must have happened in some run over the seeds: a run that never came to what it is about proves nothing.
    pub(super) sometimes: Option<Vec<String>>,
    /// Oracles that this scenario is meant to violate.
    pub(super) violates: Option<Vec<String>>,
}

/// Another run of the same scenario.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Variant {
    /// What is different about it.
    #[schemars(required, length(min = 1))]
    pub(super) about: Option<String>,
    /// Values by path: `gateway.routes[0].clientView: neutral`.
    pub(super) set: Option<Settings>,
    /// Bounds that take the place of those of the same name.
    pub(super) expect: Option<Expectations>,
}

/// How a play on real Kafka is set up and compared with rehearsals.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Validation {
    /// Long times, those of the timeline, of clients and of the gateway, are divided by this, on both sides.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    pub(super) time_scale: Option<i64>,
    /// Values by path that hold on both sides of a comparison alone: fewer clients than a machine has room for.
    pub(super) set: Option<Settings>,
    /// How far outside of the simulated range a measured figure may be, by its name: `5`, `10%`, `5 + 10%`; for times
    /// `2s + 10%`.
    pub(super) tolerance: Option<BTreeMap<String, NumberOrText>>,
    /// Known differences and their reasons.
    pub(super) differences: Option<Vec<Difference>>,
}

/// A known difference between rehearsals and real Kafka. Exactly one of `figure`, `code`, `mark` and `oracle` says in what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Difference {
    /// In a figure.
    pub(super) figure: Option<String>,
    /// In how often clients reported an error, by its name.
    #[schemars(length(min = 1))]
    pub(super) code: Option<String>,
    /// In whether a mark was reached.
    pub(super) mark: Option<String>,
    /// In whether an oracle was violated.
    pub(super) oracle: Option<String>,
    /// In these variants alone; the default is all.
    #[schemars(length(min = 1))]
    pub(super) variants: Option<Vec<String>>,
    /// What the measured figure may be instead: a difference that was understood is still bounded.
    pub(super) measured: Option<NumberOrText>,
    /// Why they differ.
    #[schemars(required, length(min = 1))]
    pub(super) reason: Option<String>,
}
