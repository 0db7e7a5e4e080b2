//! A look at a streaming domain by the gateway itself: is it there, what does it offer, who are its brokers.
//!
//! The gateway holds no credentials of its own. Where a cluster wants authentication before Metadata, the
//! probe proves that (its listener negotiates SASL) and goes without.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, MetadataRequest, MetadataResponse, RequestHeader,
        ResponseHeader, SaslHandshakeRequest, SaslHandshakeResponse,
        metadata_response::MetadataResponseBroker,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    dial::attempt,
    domain::DomainState,
    gateway::Shared,
    network::Network,
    plane::{Probe, ProbeError, ProbedMetadata},
};
use crate::{
    route::Target,
    topology::{BrokerAddress, NodeId},
    wire::{
        api_versions::Offered,
        walk::{self, Direction},
    },
};

/// A probe asks for no topics, so a larger answer is not Kafka's.
const RESPONSE_BYTES_MAX: usize = 4 << 20;
const CORRELATION_ID: i32 = 1;
const CLIENT_ID: &str = "switchyard";
/// Names and addresses of the brokers, and the cluster's id.
const METADATA_VERSION: i16 = 2;
const METADATA: i16 = ApiKey::Metadata as i16;
const SASL_HANDSHAKE: i16 = ApiKey::SaslHandshake as i16;
/// Error of a listener that does no SASL.
const ILLEGAL_SASL_STATE: i16 = 34;

/// What one server said.
struct Answer {
    offered: Offered,
    metadata: Option<MetadataResponse>,
}

/// Probes a target: its own bootstrap server first, then the others of the domain.
pub(super) async fn probe<N: Network>(
    shared: &Arc<Shared<N>>,
    domain: &Arc<DomainState>,
    target: &Target,
) -> Result<Probe, ProbeError> {
    let unknown = || ProbeError::Unknown {
        domain: Arc::clone(&target.domain),
        bootstrap_server_id: Arc::clone(&target.bootstrap_server_id),
    };
    let config = domain.config();
    let server = config
        .bootstrap_servers
        .iter()
        .find(|server| server.id == target.bootstrap_server_id)
        .ok_or_else(unknown)?;
    let mut failures = Vec::new();
    for address in domain.bootstrap_addresses(&server.id) {
        match ask(shared, domain, &address).await {
            Ok(answer) => {
                shared.metrics.probe(&domain.name, "answered");
                return Ok(take_in(shared, domain, target, answer));
            }
            Err(failure) => failures.push(format!("{address}: {failure}")),
        }
    }
    shared.metrics.probe(&domain.name, "failed");
    Err(ProbeError::Unreachable {
        domain: Arc::clone(&target.domain),
        detail: failures.join("; ").into(),
    })
}

/// Keeps what was learned, and says what an operator wants to know of it.
fn take_in<N: Network>(
    shared: &Arc<Shared<N>>,
    domain: &Arc<DomainState>,
    target: &Target,
    answer: Answer,
) -> Probe {
    let Answer { offered, metadata } = answer;
    let brokers = metadata.as_ref().map(brokers).unwrap_or_default();
    // Both, before anybody is told: sessions go by what they are told here, a fence's answers among it.
    if domain.offer(offered) | domain.learn(&brokers) {
        shared.republish();
    }
    let metadata = metadata.map(|metadata| {
        let ranges = &domain.config().node_id_ranges;
        let outside = |node: &NodeId| !ranges.iter().any(|range| range.contains(&node.0));
        let outside: Vec<_> =
            brokers.iter().map(|(node, _)| *node).filter(|node| outside(node)).collect();
        domain.warn_of_dropped(&outside);
        ProbedMetadata {
            cluster_id: metadata.cluster_id.map(|id| id.to_string()),
            brokers: brokers.len(),
            outside_ranges: outside.iter().map(|node| node.0).collect(),
        }
    });
    Probe { bootstrap_server_id: Arc::clone(&target.bootstrap_server_id), metadata }
}

/// The brokers that have an address that can be dialled.
fn brokers(metadata: &MetadataResponse) -> Vec<(NodeId, BrokerAddress)> {
    let address = |broker: &MetadataResponseBroker| {
        let port = u16::try_from(broker.port).ok()?;
        Some((NodeId(broker.node_id.0), BrokerAddress { host: broker.host.to_string(), port }))
    };
    metadata.brokers.iter().filter_map(address).collect()
}

/// Asks one server for ApiVersions and Metadata.
async fn ask<N: Network>(
    shared: &Arc<Shared<N>>,
    domain: &DomainState,
    address: &BrokerAddress,
) -> Result<Answer, String> {
    let patience = shared.limits().connect_timeout;
    let connect = || async {
        attempt(shared, domain, address, patience).await.map_err(|cause| cause.label().to_owned())
    };
    let mut stream = connect().await?;
    let request = ApiVersionsRequest::default();
    let frame = exchange(&mut stream, ApiKey::ApiVersions, 0, &request, patience)
        .await
        .map_err(|error| format!("ApiVersions: {error}"))?;
    let offered = Offered::from_response(0, &frame)
        .map_err(|error| format!("ApiVersions: cannot be parsed: {error:?}"))?;
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    match exchange(&mut stream, ApiKey::Metadata, METADATA_VERSION, &request, patience).await {
        Ok(frame) => {
            let metadata = decode::<MetadataResponse>(METADATA, METADATA_VERSION, frame)?;
            Ok(Answer { offered, metadata: Some(metadata) })
        }
        // A listener with SASL hangs up on whoever asks before authenticating.
        Err(error)
            if error.kind() == io::ErrorKind::UnexpectedEof
                || error.kind() == io::ErrorKind::ConnectionReset =>
        {
            if wants_sasl(&mut connect().await?, patience).await? {
                Ok(Answer { offered, metadata: None })
            } else {
                Err(format!("Metadata: {error}"))
            }
        }
        Err(error) => Err(format!("Metadata: {error}")),
    }
}

async fn wants_sasl<S>(stream: &mut S, patience: Duration) -> Result<bool, String>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let request =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    let frame = exchange(stream, ApiKey::SaslHandshake, 1, &request, patience)
        .await
        .map_err(|error| format!("SaslHandshake: {error}"))?;
    let response = decode::<SaslHandshakeResponse>(SASL_HANDSHAKE, 1, frame)?;
    Ok(response.error_code != ILLEGAL_SASL_STATE)
}

/// Sends one request and reads its response: header and body.
async fn exchange<S, R>(
    stream: &mut S,
    api_key: ApiKey,
    api_version: i16,
    request: &R,
    patience: Duration,
) -> io::Result<Bytes>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
    R: Encodable,
{
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&[0; 4]);
    RequestHeader::default()
        .with_request_api_key(api_key as i16)
        .with_request_api_version(api_version)
        .with_correlation_id(CORRELATION_ID)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)))
        .encode(&mut bytes, api_key.request_header_version(api_version))
        .and_then(|()| request.encode(&mut bytes, api_version))
        .map_err(io::Error::other)?;
    let length = i32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    let conversation = async {
        stream.write_all(&bytes).await?;
        let length = usize::try_from(stream.read_i32().await?).map_err(io::Error::other)?;
        if !(4..=RESPONSE_BYTES_MAX).contains(&length) {
            return Err(io::Error::other(format!("a response of {length} bytes")));
        }
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await?;
        if frame[..4] != CORRELATION_ID.to_be_bytes() {
            return Err(io::Error::other("the answer to another request"));
        }
        Ok(Bytes::from(frame))
    };
    timeout(patience, conversation).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn decode<R: Decodable>(api_key: i16, api_version: i16, mut frame: Bytes) -> Result<R, String> {
    let failed = |error: &dyn std::fmt::Debug| format!("cannot be parsed: {error:?}");
    // Versions are chosen so that response headers have no tagged fields.
    ResponseHeader::decode(&mut frame, 0).map_err(|error| failed(&error))?;
    walk::check(Direction::Response, api_key, api_version, &frame)
        .map_err(|error| failed(&error))?;
    R::decode(&mut frame, api_version).map_err(|error| failed(&error))
}
