//! What a gateway says of itself: desired and observed state of every route, as `/config` serves it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    config::model::FenceMode,
    route::{Observed, Phase, Target},
    wire::api::ClientView,
};

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Identifies the configuration in force.
    pub config_id: String,
    /// When it came into force, as RFC 3339.
    pub applied_at: String,
    /// Name of the gateway.
    pub name: Arc<str>,
    /// Routes by name, ascending.
    pub routes: Vec<RouteStatus>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where clients bootstrap.
    pub endpoint: String,
    /// What clients may learn.
    pub client_view: ClientView,
    /// What was decided.
    pub desired: DesiredStatus,
    /// What has been done of it.
    pub observed: ObservedStatus,
    /// Domains that the route can be pointed at.
    pub eligible_domains: Vec<Arc<str>>,
    /// The newest decision.
    pub last_change: LastChange,
}

/// What was decided for a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredStatus {
    /// Only ever rises.
    pub revision: u64,
    /// Where it shall point.
    #[serde(flatten)]
    pub target: Target,
    /// The fence that stands until an unfence.
    pub fence: Option<FenceStatus>,
}

/// A fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FenceStatus {
    /// Answer or wait.
    pub mode: FenceMode,
    /// What is answered.
    pub error_code: i16,
}

/// What the sessions of a route do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedStatus {
    /// How far the route has come.
    pub phase: Phase,
    /// `open`, `hold` or `answer`.
    pub gate: String,
    /// The domain that requests go to now.
    pub domain: Arc<str>,
    /// Of the route's sessions.
    #[serde(flatten)]
    pub sessions: Observed,
    /// What the newest change of target cut off.
    pub last_move: Option<MoveStatus>,
}

/// How a change of target went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveStatus {
    /// Where the route pointed before.
    pub from: Target,
    /// Whether requests in flight were given time.
    pub drained: bool,
    /// Requests that were still unanswered when the target changed.
    pub cut_off: usize,
}

/// The newest decision on a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastChange {
    /// `api`, `cli` or `config`.
    pub by: crate::route::state::DecidedBy,
    /// When, as RFC 3339.
    pub at: String,
}
