//! Connecting upstream: which server, within which time, and what a failure is called.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{
    domain::DomainState,
    gateway::Shared,
    network::{ConnectError, Network},
};
use crate::{
    session::{CloseCause, Setting},
    topology::{BrokerAddress, VirtualEndpoint},
};

/// A client whose connection is accepted and closed at once does not always back off before its next
/// attempt; this pause bounds what it can cost.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// A connection to a server of the target.
pub(super) struct Dialled<S> {
    pub(super) stream: S,
    /// Of the target that was dialled.
    pub(super) target_epoch: u64,
    /// The address, when it only stands in for a node that is not known yet.
    pub(super) provisional: Option<BrokerAddress>,
}

/// Connects a session's upstream: the node's own address where it is known, else the bootstrap servers
/// of the target, one after the other.
pub(super) async fn dial<N: Network>(
    shared: &Arc<Shared<N>>,
    setting: &Setting,
    endpoint: VirtualEndpoint,
) -> Result<Dialled<N::Stream>, CloseCause> {
    let snapshot = &setting.snapshot;
    let Some(domain) = shared.domain(&snapshot.target.domain) else {
        warn!(route = %setting.route, domain = %snapshot.target.domain, "the target's domain is gone");
        return Err(CloseCause::UpstreamUnresolvable);
    };
    let target_epoch = snapshot.target_epoch;
    let connect_timeout = setting.limits.connect_timeout;
    if let VirtualEndpoint::Node(node) = endpoint
        && let Some(address) = domain.address_of(node)
    {
        let stream = attempt(shared, &domain, &address, connect_timeout).await;
        return match stream {
            Ok(stream) => Ok(Dialled { stream, target_epoch, provisional: None }),
            Err(cause) => {
                sleep(REFUSAL_PAUSE).await;
                Err(cause)
            }
        };
    }
    let mut cause = CloseCause::UpstreamUnresolvable;
    for address in domain.bootstrap_addresses(&snapshot.target.bootstrap_server_id) {
        match attempt(shared, &domain, &address, connect_timeout).await {
            Ok(stream) => {
                let provisional = match endpoint {
                    VirtualEndpoint::Node(_) => Some(address),
                    VirtualEndpoint::Bootstrap => None,
                };
                return Ok(Dialled { stream, target_epoch, provisional });
            }
            Err(failed) => cause = failed,
        }
    }
    sleep(REFUSAL_PAUSE).await;
    Err(cause)
}

/// One attempt, counted and named.
pub(super) async fn attempt<N: Network>(
    shared: &Arc<Shared<N>>,
    domain: &DomainState,
    address: &BrokerAddress,
    connect_timeout: Duration,
) -> Result<N::Stream, CloseCause> {
    let (cause, detail) = match timeout(connect_timeout, shared.network.connect(address)).await {
        Ok(Ok(stream)) => {
            shared.metrics.upstream_connect(&domain.name, "connected");
            return Ok(stream);
        }
        Ok(Err(ConnectError::Refused(error))) => (CloseCause::UpstreamRefused, error.to_string()),
        Ok(Err(ConnectError::Unresolvable(error))) => {
            (CloseCause::UpstreamUnresolvable, error.to_string())
        }
        Err(_) => (CloseCause::UpstreamConnectTimeout, "no answer in time".to_owned()),
    };
    shared.metrics.upstream_connect(&domain.name, cause.label());
    debug!(domain = %domain.name, %address, cause = cause.label(), detail, "upstream connect failed");
    Err(cause)
}
