//! The counters of one route under one domain, resolved once, counted without a lock.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

use super::{Families, Histogram};
use crate::{
    session::{AnswerKind, CloseCause},
    wire::api,
};

/// API keys that have a slot; Kafka's end far below.
const KEYS: usize = 128;

/// What the sessions of a route count.
pub struct RouteMetrics {
    families: Arc<Families>,
    route: String,
    connections: Counter,
    received: Counter,
    sent: Counter,
    parked: Counter,
    requests: Box<[OnceLock<Counter>; KEYS]>,
    latency: Box<[OnceLock<Histogram>; KEYS]>,
}

/// The name under which an API is counted. Keys that nobody knows share one, so that clients cannot make
/// up labels.
fn api_label(api_key: i16) -> &'static str {
    api::name(api_key).unwrap_or("unknown")
}

impl RouteMetrics {
    pub(super) fn new(families: &Arc<Families>, route: &str, domain: &str) -> Self {
        Self {
            families: Arc::clone(families),
            route: route.to_owned(),
            connections: families.connections.with(&[route]),
            received: families.bytes.with(&[route, domain, "received"]),
            sent: families.bytes.with(&[route, domain, "sent"]),
            parked: families.parked.with(&[route]),
            requests: Box::new([const { OnceLock::new() }; KEYS]),
            latency: Box::new([const { OnceLock::new() }; KEYS]),
        }
    }

    /// A connection was accepted.
    pub fn opened(&self) {
        self.connections.inc();
    }

    /// A session ended.
    pub fn closed(&self, cause: CloseCause) {
        self.families.closes.with(&[&self.route, cause.label()]).inc();
    }

    /// Bytes were read from a client.
    pub fn bytes_from_client(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
    }

    /// Bytes are written to a client.
    pub fn bytes_to_client(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }

    /// A request is forwarded.
    pub fn request(&self, api_key: i16) {
        let resolve = || self.families.requests.with(&[&self.route, api_label(api_key)]);
        if let Some(slot) = usize::try_from(api_key).ok().and_then(|key| self.requests.get(key)) {
            slot.get_or_init(resolve).inc();
        }
    }

    /// A request was answered.
    pub fn latency(&self, api_key: i16, latency: Duration) {
        let resolve = || self.families.latency.with(&[&self.route, api_label(api_key)]);
        if let Some(slot) = usize::try_from(api_key).ok().and_then(|key| self.latency.get(key)) {
            slot.get_or_init(resolve).observe(latency);
        }
    }

    /// A response was changed.
    pub fn rewritten(&self, api_key: i16) {
        self.families.rewrites.with(&[&self.route, api_label(api_key)]).inc();
    }

    /// The gateway answered by itself.
    pub fn short_circuit(&self, api_key: i16, kind: AnswerKind) {
        let kind = match kind {
            AnswerKind::ApiVersions => "api_versions",
            AnswerKind::ApiVersionsTooNew => "api_versions_too_new",
            AnswerKind::Fence => "fence",
        };
        self.families.short_circuits.with(&[&self.route, api_label(api_key), kind]).inc();
    }

    /// A request waits behind a fence.
    pub fn parked(&self) {
        self.parked.inc();
    }

    /// A request was refused.
    pub fn refused(&self, api_key: i16) {
        self.families.refusals.with(&[&self.route, api_label(api_key)]).inc();
    }

    /// Brokers were removed from a response.
    pub fn dropped_nodes(&self, count: usize) {
        self.families.dropped_nodes.with(&[&self.route]).inc_by(count as u64);
    }
}
