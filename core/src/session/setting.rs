//! What a session knows of its route. Immutable; replaced as a whole.

use std::sync::Arc;

use crate::{
    config::model::Limits,
    route::Snapshot,
    topology::{NodeId, RouteAddresses},
    wire::{api::ClientView, api_versions::Offered, rewrite::ProducerIdTag},
};

/// The route as its sessions see it, under its present target.
pub struct Setting {
    /// The route's name, for logs.
    pub route: Arc<str>,
    /// Desired state.
    pub snapshot: Arc<Snapshot>,
    /// What clients may learn.
    pub view: ClientView,
    /// Where clients reach the node ids of the present target.
    pub addresses: Arc<RouteAddresses>,
    /// Node ids with a virtual endpoint, for answers that list the brokers of a fenced route.
    pub known_nodes: Arc<[NodeId]>,
    /// Shown in the neutral view in place of the cluster's id.
    pub cluster_id: Arc<str>,
    /// Of the present target's domain.
    pub producer_id_tag: Option<ProducerIdTag>,
    /// What the present target was last seen to offer.
    pub offered_here: Option<Arc<Offered>>,
    /// What every other domain offers that the route may be pointed to.
    pub offered_elsewhere: Arc<[Arc<Offered>]>,
    /// Limits on everything.
    pub limits: Arc<Limits>,
}

impl Setting {
    /// What an ApiVersions request may be told without asking upstream; `None` while nothing is known.
    pub(super) fn answerable_versions(&self) -> Option<Offered> {
        let here = self.offered_here.as_ref()?;
        Some(here.for_clients(self.view, &self.offered_elsewhere))
    }
}
