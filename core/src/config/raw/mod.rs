//! The file as it is written: every key, its type and its meaning, once.
//!
//! The JSON Schema is derived from these types, [`super::shape`] checks files against that schema, and what
//! has passed is deserialised into these types. So a key is named in one place, and editor, check and
//! gateway cannot disagree about it.
//!
//! Every field is optional here: what `#[schemars(required)]` demands is missing only where a fault has
//! been reported already, and the rest of the file is still looked at.
//!
//! Absent on purpose: the inner keys of sections that are not supported yet. Such a key carries
//! [`NOT_YET`], whose value is the remedy shown when the file puts something into it.

#![expect(dead_code, reason = "some keys have one possible value, which only the shape checks")]

mod domain;
mod operation;
mod route;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

pub(super) use domain::{BootstrapServer, NodeIdRange, StreamingDomain};
pub(super) use operation::{Admin, Control, Limits};
pub(super) use route::{Fence, FenceScope, Route};

use super::defaults;

/// Keyword of the schema that marks what is recognised and refused; its value is the remedy.
pub(super) const NOT_YET: &str = "x-not-yet";

const STATIC_ONLY: &str =
    "write `static`: a route has one streaming domain at a time, and is repointed";
const NO_SECRETS: &str = "remove it: credentials pass through, the gateway stores none";

/// Configuration of one gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Gateway {
    /// Name of this gateway in logs and answers of the control API. `$(gatewayNodeId)` stands for the
    /// environment variable GATEWAY_NODE_ID, here and in every other text.
    #[schemars(extend("default" = defaults::GATEWAY_NAME), length(min = 1))]
    pub(super) name: Option<String>,
    /// How routes find their streaming domain.
    #[schemars(extend("default" = "static"))]
    pub(super) mode: Option<Mode>,
    /// Backend clusters.
    #[schemars(required, length(min = 1, max = 100))]
    pub(super) streaming_domains: Option<Vec<StreamingDomain>>,
    /// What clients connect to.
    #[schemars(required, length(min = 1, max = 1000))]
    pub(super) routes: Option<Vec<Route>>,
    /// Where credentials of swapped authentication come from.
    #[schemars(extend("x-not-yet" = NO_SECRETS))]
    pub(super) secret_stores: Option<NotYet>,
    /// Health and metrics.
    pub(super) admin: Option<Admin>,
    /// `/config` and the control calls.
    pub(super) control: Option<Control>,
    /// Limits on what clients and brokers can make the gateway hold.
    pub(super) limits: Option<Limits>,
    /// Settings of the operating system's interfaces.
    pub(super) advanced: Option<Advanced>,
    /// Where fences and switchovers decided through the control API are kept; relative paths start at the
    /// configuration file. Default: beside the configuration file.
    #[schemars(length(min = 1))]
    pub(super) state_file: Option<String>,
    /// Identifies this version of the file in `/config`. Default: derived from the file's content.
    #[schemars(regex(pattern = CONFIG_ID_PATTERN))]
    pub(super) config_id: Option<String>,
}

/// What `configId` may look like.
pub(super) const CONFIG_ID_PATTERN: &str = "^[a-zA-Z0-9._:-]{1,64}$";

/// How routes find their streaming domain.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Each route names it.
    Static,
    /// By rules on topics.
    #[schemars(extend("x-not-yet" = STATIC_ONLY))]
    Dynamic,
}

/// Settings of the operating system's interfaces.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Advanced {
    /// Sockets by io_uring.
    #[schemars(extend("x-not-yet" = "write `false`: sockets are served by epoll"))]
    pub(super) use_io_uring: Option<NotYet>,
}

/// Any value of a key that is recognised and refused, unless it is empty or `false`.
#[derive(Debug, Default)]
pub(super) struct NotYet;

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for NotYet {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NotYet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

/// A whole number, or text that stands for one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum NumberOrText {
    /// `8`
    Number(i64),
    /// `BROKER_NOT_AVAILABLE`, `64MiB`
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

/// Labels by name.
pub(super) type Tags = BTreeMap<String, String>;
