//! What the control of routes asks of the part that carries bytes.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    config::{Domain, Model, Route as RouteConfig},
    route::{Observed, Snapshot, Target},
};

/// Listeners and sessions, as [`super::control`] sees them.
pub trait Plane: Send + Sync + 'static {
    /// Replaces domains and limits for what is opened from now on; running sessions are not disturbed.
    fn configure(&self, model: &Arc<Model>);

    /// Binds every port of the route, then accepts on all of them. All or nothing.
    fn open_route(
        &self,
        route: &Arc<RouteConfig>,
        snapshot: Arc<Snapshot>,
    ) -> impl Future<Output = Result<(), OpenError>> + Send;

    /// Takes over a route section that changed in something else than its target and fence. Ports that
    /// are new are bound; sessions go on.
    fn reconfigure_route(
        &self,
        route: &Arc<RouteConfig>,
    ) -> impl Future<Output = Result<(), OpenError>> + Send;

    /// Stops accepting, lets requests in flight finish until the deadline, closes the sessions.
    fn close_route(&self, name: &str, drain: Duration) -> impl Future<Output = ()> + Send;

    /// Publishes the newest state of a route to its sessions.
    fn publish(&self, name: &str, snapshot: Arc<Snapshot>);

    /// What the sessions of a route have done so far.
    fn observe(&self, name: &str) -> Observed;

    /// Dials the target's bootstrap servers and reads ApiVersions and Metadata. The domain is given as it
    /// is about to be, which may not be how it is configured yet.
    fn probe(
        &self,
        domain: &Arc<Domain>,
        target: &Target,
    ) -> impl Future<Output = Result<Probe, ProbeError>> + Send;

    /// Stops accepting everywhere, drains until the deadline, closes everything.
    fn shutdown(&self, drain: Duration) -> impl Future<Output = ()> + Send;
}

/// What a probe of a target found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The bootstrap server that answered.
    pub bootstrap_server_id: Arc<str>,
    /// `None` where the cluster wants authentication first, which is the client's to give.
    pub metadata: Option<ProbedMetadata>,
}

/// What the target's Metadata said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedMetadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// How many brokers it has.
    pub brokers: usize,
    /// Node ids without a place in the domain's ranges.
    pub outside_ranges: Vec<i32>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The configuration has no such domain or bootstrap server.
    #[error("streaming domain `{domain}` has no bootstrap server `{bootstrap_server_id}`")]
    Unknown {
        /// Name asked for.
        domain: Arc<str>,
        /// Id asked for.
        bootstrap_server_id: Arc<str>,
    },
    /// Every bootstrap server failed; the text says how each did.
    #[error("no bootstrap server of streaming domain `{domain}` answered: {detail}")]
    Unreachable {
        /// The domain.
        domain: Arc<str>,
        /// One clause for each server tried.
        detail: Box<str>,
    },
}

/// Why a route cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An address cannot be listened on.
    #[error("route `{route}`: cannot listen on {address}: {source}")]
    Bind {
        /// The route.
        route: Arc<str>,
        /// What was to be bound.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}
