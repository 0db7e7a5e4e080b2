//! Keys of how the gateway itself is watched, controlled and bounded.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{NotYet, NumberOrText, Tags};
use crate::config::defaults;

/// Health and metrics over HTTP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// IP address to listen on.
    #[schemars(extend("default" = defaults::ADMIN_ADDRESS))]
    pub(in crate::config) bind_address: Option<String>,
    /// TCP port.
    #[schemars(extend("default" = defaults::ADMIN_PORT), range(min = 1))]
    pub(in crate::config) port: Option<u16>,
    /// What is served.
    pub(in crate::config) endpoints: Option<AdminEndpoints>,
    /// Metrics of a Java virtual machine.
    #[schemars(extend("x-not-yet" = "remove it or write `[]`: there is no Java virtual machine here"))]
    pub(in crate::config) jvm_metrics: Option<NotYet>,
    /// Labels on every metric.
    pub(in crate::config) common_tags: Option<Tags>,
}

/// What the admin port serves besides health.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct AdminEndpoints {
    /// Whether `/metrics` is served.
    #[schemars(extend("default" = true))]
    pub(in crate::config) metrics: Option<bool>,
}

/// `/config` and the control calls over HTTP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Control {
    /// IP address to listen on; one that is not loopback needs `tokenFile`.
    #[schemars(extend("default" = defaults::CONTROL_ADDRESS))]
    pub(in crate::config) bind_address: Option<String>,
    /// TCP port.
    #[schemars(extend("default" = defaults::CONTROL_PORT), range(min = 1))]
    pub(in crate::config) port: Option<u16>,
    /// File that holds the bearer token which callers must show; relative paths start at the
    /// configuration file.
    #[schemars(length(min = 1))]
    pub(in crate::config) token_file: Option<String>,
}

/// Limits on what clients and brokers can make the gateway hold. Sizes are numbers of bytes or texts such
/// as `64MiB`, times are texts such as `30s`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Client connections over all routes.
    #[schemars(extend("default" = defaults::CONNECTIONS_MAX), range(min = 1, max = 1_000_000))]
    pub(in crate::config) connections_max: Option<u32>,
    /// Largest request or response that is passed on.
    #[schemars(extend("default" = defaults::FRAME_BYTES.text))]
    pub(in crate::config) frame_bytes_max: Option<NumberOrText>,
    /// Largest request before a connection's first complete one.
    #[schemars(extend("default" = defaults::FIRST_FRAME_BYTES.text))]
    pub(in crate::config) first_frame_bytes_max: Option<NumberOrText>,
    /// Largest response that is collected in memory to be rewritten.
    #[schemars(extend("default" = defaults::REWRITE_BYTES.text))]
    pub(in crate::config) rewrite_bytes_max: Option<NumberOrText>,
    /// Requests of one connection that wait for their answers.
    #[schemars(extend("default" = defaults::IN_FLIGHT_MAX), range(min = 1, max = 1_000_000))]
    pub(in crate::config) in_flight_max: Option<u32>,
    /// From accept to a connection's first complete request.
    #[schemars(extend("default" = defaults::FIRST_REQUEST.text))]
    pub(in crate::config) first_request_timeout: Option<String>,
    /// For each attempt to connect to a broker.
    #[schemars(extend("default" = defaults::CONNECT.text))]
    pub(in crate::config) connect_timeout: Option<String>,
    /// How long a peer may take none of the bytes that wait for it.
    #[schemars(extend("default" = defaults::WRITE_STALL.text))]
    pub(in crate::config) write_stall_timeout: Option<String>,
    /// How long requests in flight may take to finish when the gateway stops.
    #[schemars(extend("default" = defaults::SHUTDOWN_DRAIN.text))]
    pub(in crate::config) shutdown_drain: Option<String>,
}
