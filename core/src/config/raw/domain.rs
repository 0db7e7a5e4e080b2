//! Keys of a streaming domain.

use schemars::JsonSchema;
use serde::Deserialize;

use super::NotYet;

/// Why TLS keys are refused, and what works until then.
pub(super) const NO_TLS: &str =
    "remove it: the gateway speaks plaintext for now; let a TLS proxy stand on that side";

/// One backend cluster.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct StreamingDomain {
    /// Unique name, by which routes and switchovers refer to this domain.
    #[schemars(required, length(min = 1, max = 128))]
    pub(in crate::config) name: Option<String>,
    /// What kind of cluster it is.
    #[schemars(extend("default" = "kafka"))]
    pub(in crate::config) r#type: Option<DomainType>,
    /// The cluster.
    #[schemars(required)]
    pub(in crate::config) kafka_cluster: Option<KafkaCluster>,
}

/// What kind of cluster a streaming domain is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum DomainType {
    /// Anything that speaks the Kafka protocol.
    Kafka,
}

/// How a cluster is reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct KafkaCluster {
    /// Name for people. Default: the domain's name.
    #[schemars(length(min = 1))]
    pub(in crate::config) name: Option<String>,
    /// Listeners of the cluster that a route can use.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) bootstrap_servers: Option<Vec<BootstrapServer>>,
    /// Node ids that get a port each, packed one range after the other. Default: 0 to 9, cut back to the
    /// ports that are free behind each route.
    #[schemars(length(min = 1))]
    pub(in crate::config) node_id_ranges: Option<Vec<NodeIdRange>>,
}

/// One listener of a cluster.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct BootstrapServer {
    /// Unique within the domain.
    #[schemars(required, length(min = 1, max = 128))]
    pub(in crate::config) id: Option<String>,
    /// `host:port`, or several separated by commas, each optionally after `PLAINTEXT://` or
    /// `SASL_PLAINTEXT://`.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) endpoint: Option<String>,
    /// TLS towards the cluster.
    #[schemars(extend("x-not-yet" = NO_TLS))]
    pub(in crate::config) ssl: Option<NotYet>,
}

/// Node ids in a row; both ends are included.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct NodeIdRange {
    /// Name for people.
    pub(in crate::config) name: Option<String>,
    /// First node id.
    #[schemars(required, range(min = 0))]
    pub(in crate::config) start: Option<i32>,
    /// Last node id.
    #[schemars(required, range(min = 0))]
    pub(in crate::config) end: Option<i32>,
}
