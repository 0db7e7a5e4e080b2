//! Which broker coordinates a group or a transactional id.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::{
    ResponseError,
    messages::{FindCoordinatorRequest, FindCoordinatorResponse},
    protocol::{Decodable, StrBytes},
};

use super::{
    base::Base,
    config::{Backoff, Library},
    network::NodeId,
};
use crate::cluster::Time;

/// librdkafka asks for the coordinator at most once in this time.
const QUERY_INTERVAL_LIBRDKAFKA: Duration = Duration::from_millis(500);
/// And only so long after it has lost it.
const LOST_WAIT_LIBRDKAFKA: Duration = Duration::from_secs(1);
/// Several keys in one request, from this version on.
const BATCHED: i16 = 4;

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Group = 0,
    Transaction = 1,
}

/// The search for a coordinator, and who it is.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    /// As the network knows it.
    pub(super) node: Option<NodeId>,
    sought: bool,
    retry_at: Time,
    failures: u32,
}

/// Broker, host and port of a coordinator.
pub(super) struct Found {
    pub(super) id: i32,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Coordinator {
    /// It is not, or may not be, the coordinator any more.
    pub(super) fn forget(&mut self) {
        self.node = None;
    }

    /// The connection to it has gone.
    pub(super) fn lost(&mut self, now: Time, library: Library) {
        self.node = None;
        if library == Library::Librdkafka {
            self.retry_at = now + LOST_WAIT_LIBRDKAFKA;
        }
    }

    /// Asks for it, where that is due and possible.
    pub(super) fn seek<C>(
        &mut self,
        now: Time,
        base: &mut Base<C>,
        kind: Kind,
        key: &str,
        call: impl FnOnce() -> C,
    ) {
        if self.node.is_some() || self.sought || self.retry_at > now {
            return;
        }
        let nodes = base.metadata.nodes.clone();
        let Some(node) = base.network.least_loaded(now, &nodes).node else { return };
        if !base.network.ready(now, node) {
            return;
        }
        let Some(version) = base.network.version::<FindCoordinatorRequest>(node, i16::MAX) else {
            return;
        };
        let key = StrBytes::from_string(key.to_owned());
        let mut request = FindCoordinatorRequest::default();
        if version >= 1 {
            request.key_type = kind as i8;
        }
        if version >= BATCHED {
            request.coordinator_keys = vec![key];
        } else {
            request.key = key;
        }
        self.sought = true;
        base.send(now, node, version, &request, None, Some(call()));
    }

    /// The search has been answered. `Err(None)`: with something that is no answer.
    pub(super) fn handle_answer(
        &mut self,
        version: i16,
        mut body: Bytes,
    ) -> Result<Found, Option<ResponseError>> {
        self.sought = false;
        let response = FindCoordinatorResponse::decode(&mut body, version).map_err(|_| None)?;
        let (error, id, host, port) = if version >= BATCHED {
            let found = response.coordinators.into_iter().next().ok_or(None)?;
            (found.error_code, found.node_id, found.host, found.port)
        } else {
            (response.error_code, response.node_id, response.host, response.port)
        };
        match ResponseError::try_from_code(error) {
            Some(error) => Err(Some(error)),
            None => Ok(Found {
                id: id.0,
                host: host.to_string(),
                port: u16::try_from(port).unwrap_or(0),
            }),
        }
    }

    pub(super) fn found(&mut self, node: NodeId) {
        self.node = Some(node);
        self.failures = 0;
    }

    /// The search failed, and is to be repeated.
    pub(super) fn failed(
        &mut self,
        now: Time,
        library: Library,
        backoff: Backoff,
        random: &mut Rng,
    ) {
        self.sought = false;
        let wait = match library {
            Library::Java => backoff.wait(random, self.failures),
            Library::Librdkafka => QUERY_INTERVAL_LIBRDKAFKA,
        };
        self.failures += 1;
        self.retry_at = now + wait;
    }

    pub(super) fn deadline(&self, now: Time) -> Option<Time> {
        Some(self.retry_at).filter(|at| self.node.is_none() && !self.sought && *at > now)
    }
}
