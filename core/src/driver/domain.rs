//! What is known of a streaming domain at run time: its brokers' addresses and what they offer.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use tracing::warn;

use super::routes::lock;
use crate::{
    config::Domain,
    topology::{BrokerAddress, Directory, NodeId},
    wire::api_versions::Offered,
};

/// A domain as configured, and what has passed by of it.
pub(super) struct DomainState {
    pub(super) name: Arc<str>,
    config: Mutex<Arc<Domain>>,
    directory: Mutex<Directory>,
    offered: Mutex<Option<Arc<Offered>>>,
    /// Node ids without a virtual endpoint that were logged.
    dropped: Mutex<BTreeSet<NodeId>>,
}

impl DomainState {
    pub(super) fn new(config: Arc<Domain>) -> Self {
        Self {
            name: Arc::clone(&config.name),
            config: Mutex::new(config),
            directory: Mutex::default(),
            offered: Mutex::default(),
            dropped: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> Arc<Domain> {
        Arc::clone(&lock(&self.config))
    }

    /// Takes over an edited section, with the same bootstrap servers.
    pub(super) fn reconfigure(&self, config: Arc<Domain>) {
        *lock(&self.config) = config;
    }

    pub(super) fn address_of(&self, node: NodeId) -> Option<BrokerAddress> {
        lock(&self.directory).get(node).cloned()
    }

    pub(super) fn learn(&self, brokers: &[(NodeId, BrokerAddress)]) -> bool {
        lock(&self.directory).learn(brokers)
    }

    pub(super) fn offered(&self) -> Option<Arc<Offered>> {
        lock(&self.offered).clone()
    }

    /// Node ids whose address is known.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        lock(&self.directory).iter().map(|(node, _)| node).collect()
    }

    /// Says of every node id without a virtual endpoint, once, that clients cannot see it.
    pub(super) fn warn_of_dropped(&self, nodes: &[NodeId]) {
        let mut dropped = lock(&self.dropped);
        for node in nodes.iter().filter(|node| dropped.insert(**node)) {
            warn!(
                domain = %self.name, %node,
                "node id outside `nodeIdRanges`: clients cannot see this broker; widen the ranges"
            );
        }
    }

    /// Returns whether it is news.
    pub(super) fn offer(&self, offered: Offered) -> bool {
        let mut current = lock(&self.offered);
        if current.as_deref() == Some(&offered) {
            return false;
        }
        *current = Some(Arc::new(offered));
        true
    }

    /// Every bootstrap address of the domain, those of the preferred server first.
    pub(super) fn bootstrap_addresses(&self, preferred: &str) -> Vec<BrokerAddress> {
        let config = self.config();
        let (first, others): (Vec<_>, Vec<_>) =
            config.bootstrap_servers.iter().partition(|server| *server.id == *preferred);
        first.into_iter().chain(others).flat_map(|server| server.addresses.clone()).collect()
    }
}
