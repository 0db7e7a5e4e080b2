//! Keys of a route.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{NotYet, NumberOrText, domain::NO_TLS};
use crate::{
    config::{defaults, model::FenceMode},
    wire::api::ClientView,
};

const PORTS_ONLY: &str =
    "write `type: port`: every node id gets a port of its own behind the route's";
const PASSTHROUGH_ONLY: &str = "write `passthrough`: clients authenticate at the cluster itself";
const ONE_DOMAIN: &str =
    "write `streamingDomain: {name, bootstrapServerId}`: a route has one at a time";
const WHOLE_ROUTES: &str = "remove it: a route and its fence always concern all topics";

/// What clients connect to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// Unique name.
    #[schemars(required, length(min = 1, max = 128))]
    pub(in crate::config) name: Option<String>,
    /// `host:port` that clients bootstrap from. The host is what they are told for every broker.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) endpoint: Option<String>,
    /// IP address to listen on. Default: what the endpoint's host stands for on this machine.
    pub(in crate::config) bind_address: Option<String>,
    /// How a connection shows which broker it is meant for.
    pub(in crate::config) broker_identification_strategy: Option<BrokerIdentificationStrategy>,
    /// Where the route points.
    #[schemars(required)]
    pub(in crate::config) streaming_domain: Option<StreamingDomainReference>,
    /// Several domains for one route.
    #[schemars(extend("x-not-yet" = ONE_DOMAIN))]
    pub(in crate::config) streaming_domains: Option<NotYet>,
    /// Routing and fencing by topic.
    #[schemars(extend("x-not-yet" = WHOLE_ROUTES))]
    pub(in crate::config) rules: Option<NotYet>,
    /// Blocks client traffic deliberately.
    pub(in crate::config) fence: Option<Fence>,
    /// Who authenticates clients.
    pub(in crate::config) security: Option<Security>,
    /// What clients may learn of the cluster. Default: `neutral` where several streaming domains are
    /// configured, `native` otherwise.
    pub(in crate::config) client_view: Option<ClientView>,
}

/// How a connection shows which broker it is meant for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct BrokerIdentificationStrategy {
    /// By port or by host name.
    #[schemars(extend("default" = "port"))]
    pub(in crate::config) r#type: Option<StrategyType>,
    /// Host names of brokers.
    #[schemars(extend("x-not-yet" = PORTS_ONLY))]
    pub(in crate::config) pattern: Option<NotYet>,
}

/// By port or by host name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum StrategyType {
    /// Every node id has its port.
    Port,
    /// Every node id has its host name.
    #[schemars(extend("x-not-yet" = PORTS_ONLY))]
    Host,
}

/// Where a route points.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct StreamingDomainReference {
    /// Name of a streaming domain.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) name: Option<String>,
    /// Id of one of its bootstrap servers. Default: the only one, where there is only one.
    #[schemars(length(min = 1))]
    pub(in crate::config) bootstrap_server_id: Option<String>,
}

/// Blocks client traffic deliberately. The settings also hold for fences set through the control API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Fence {
    /// Whether the fence stands.
    #[schemars(extend("default" = "NONE"))]
    pub(in crate::config) scope: Option<FenceScope>,
    /// Kafka error that fenced clients get, by name or number.
    #[schemars(extend("default" = defaults::FENCE_ERROR_NAME))]
    pub(in crate::config) error_code: Option<NumberOrText>,
    /// Text that goes with the error, in answers that have room for it.
    #[schemars(length(max = 1024))]
    pub(in crate::config) error_message: Option<String>,
    /// Whether requests are answered with an error or wait.
    #[schemars(extend("default" = "error"))]
    pub(in crate::config) mode: Option<FenceMode>,
    /// How long requests wait in mode `hold` before the fence answers with errors: `30s`, `2m`.
    #[schemars(extend("default" = defaults::HOLD_TIME.text))]
    pub(in crate::config) hold_time_max: Option<String>,
    /// Most bytes of requests that wait in mode `hold`, over all clients of the route: `64MiB`, or a
    /// number of bytes.
    #[schemars(extend("default" = defaults::HOLD_BYTES.text))]
    pub(in crate::config) hold_bytes_max: Option<NumberOrText>,
}

/// What a fence blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::config) enum FenceScope {
    /// Every request of the route's clients.
    All,
    /// Nothing.
    None,
}

/// Who authenticates clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Security {
    /// Who checks the clients' credentials.
    #[schemars(extend("default" = "passthrough"))]
    pub(in crate::config) auth: Option<Authentication>,
    /// TLS towards clients.
    #[schemars(extend("x-not-yet" = NO_TLS))]
    pub(in crate::config) ssl: Option<NotYet>,
    /// Credentials exchanged by the gateway.
    #[schemars(extend("x-not-yet" = PASSTHROUGH_ONLY))]
    pub(in crate::config) swap_config: Option<NotYet>,
    /// Credentials for each domain.
    #[schemars(extend("x-not-yet" = PASSTHROUGH_ONLY))]
    pub(in crate::config) cluster: Option<NotYet>,
}

/// Who checks the clients' credentials.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Authentication {
    /// The cluster; the gateway passes SASL through.
    Passthrough,
    /// The gateway, which logs in with other credentials.
    #[schemars(extend("x-not-yet" = PASSTHROUGH_ONLY))]
    Swap,
}
