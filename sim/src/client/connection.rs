//! One connection to a broker: set-up, requests in flight, their timeouts.
//!
//! ```text
//!  Dialling ─connected─▶ Versions ─[SASL]─▶ Handshake ─▶ Authenticate ─▶ Ready
//!      └────── refused, closed, setup or request timeout (from any state) ──────▶ gone
//! ```
//!
//! Invariants: answers come in the order of the requests; a request that times out takes the connection and
//! everything else in flight with it, because what is behind it in the stream can no longer be told apart.

use std::{collections::VecDeque, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, Request, StrBytes},
};
use switchyard::wire::{
    header::{LENGTH_BYTES, response_is_flexible},
    walk::Walker,
};

use super::{
    ConnectionId,
    config::{CommonSettings, Library},
    versions::{Offered, newest},
};
use crate::cluster::Time;

/// How far the set-up has come.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Dialling,
    Versions,
    Handshake,
    Authenticate,
    Ready,
}

/// What a request was for.
#[derive(Debug)]
enum Purpose<T> {
    Setup,
    Caller(T),
}

struct InFlight<T> {
    correlation_id: i32,
    key: ApiKey,
    version: i16,
    expires: Time,
    purpose: Purpose<T>,
}

/// What a connection has to say of a frame or of the time.
pub(super) enum Progress<T> {
    /// Nothing that the caller must know.
    None,
    /// The set-up is complete.
    Ready,
    /// An answer: its body alone.
    Answer { tag: T, version: i16, body: Bytes },
    /// The connection is of no use any more.
    Broken(Breakage),
}

/// Why a connection was given up from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breakage {
    /// No connection in time.
    SetupTimeout,
    /// No answer in time.
    RequestTimeout,
    /// Bytes that answer nothing that was asked.
    Malformed,
    /// The broker does not know the user, or not the mechanism.
    AuthenticationFailed,
    /// Unused for too long.
    Idle,
    /// The broker is not one of the cluster's any more.
    Retired,
}

/// One connection.
pub(super) struct Connection<T> {
    pub(super) id: ConnectionId,
    pub(super) phase: Phase,
    pub(super) offered: Offered,
    in_flight: VecDeque<InFlight<T>>,
    /// Until then it must be set up.
    setup_until: Time,
    pub(super) last_used: Time,
    next_correlation: i32,
    versions_version: i16,
}

impl<T> Connection<T> {
    pub(super) fn new(id: ConnectionId, now: Time, setup_timeout: Duration) -> Self {
        Self {
            id,
            phase: Phase::Dialling,
            offered: Offered::default(),
            in_flight: VecDeque::new(),
            setup_until: now + setup_timeout,
            last_used: now,
            next_correlation: 0,
            versions_version: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What was in flight when the connection went, in the order in which it was sent.
    pub(super) fn into_lost(self) -> impl Iterator<Item = T> {
        self.in_flight.into_iter().filter_map(|request| match request.purpose {
            Purpose::Setup => None,
            Purpose::Caller(tag) => Some(tag),
        })
    }

    /// The dial has succeeded. The first request asks for the versions.
    pub(super) fn handle_connected(&mut self, now: Time, settings: &CommonSettings) -> Bytes {
        self.phase = Phase::Versions;
        self.versions_version = newest(settings.library, ApiKey::ApiVersions);
        self.ask_versions(now, settings)
    }

    fn ask_versions(&mut self, now: Time, settings: &CommonSettings) -> Bytes {
        let mut request = ApiVersionsRequest::default();
        if self.versions_version >= 3 {
            let (name, version) = match settings.library {
                Library::Java => ("apache-kafka-java", "4.1.1"),
                Library::Librdkafka => ("librdkafka", "2.12.1"),
            };
            request = request
                .with_client_software_name(StrBytes::from_static_str(name))
                .with_client_software_version(StrBytes::from_static_str(version));
        }
        self.setup_request(now, settings, self.versions_version, &request)
    }

    fn setup_request<R: Request>(
        &mut self,
        now: Time,
        settings: &CommonSettings,
        version: i16,
        request: &R,
    ) -> Bytes {
        let timeout = settings.request_timeout;
        self.encode(now, settings, version, request, timeout, Some(Purpose::Setup))
    }

    /// The frame of a request; without a tag there is no answer to come.
    pub(super) fn request<R: Request>(
        &mut self,
        now: Time,
        settings: &CommonSettings,
        version: i16,
        request: &R,
        timeout: Duration,
        tag: Option<T>,
    ) -> Bytes {
        assert!(self.is_ready(), "requests wait until the connection is set up");
        self.encode(now, settings, version, request, timeout, tag.map(Purpose::Caller))
    }

    fn encode<R: Request>(
        &mut self,
        now: Time,
        settings: &CommonSettings,
        version: i16,
        request: &R,
        timeout: Duration,
        purpose: Option<Purpose<T>>,
    ) -> Bytes {
        let key = ApiKey::try_from(R::KEY).expect("every request has a key");
        let correlation_id = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1);
        self.last_used = now;
        if let Some(purpose) = purpose {
            let expires = now + timeout;
            self.in_flight.push_back(InFlight { correlation_id, key, version, expires, purpose });
        }
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(settings.client_id.clone()));
        let body = request.compute_size(version).unwrap_or_default();
        let mut frame =
            BytesMut::with_capacity(LENGTH_BYTES + 16 + settings.client_id.len() + body);
        frame.put_u32(0);
        let encoded = header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version));
        encoded.unwrap_or_else(|error| panic!("{key:?} v{version}: {error}"));
        let length = u32::try_from(frame.len() - LENGTH_BYTES).expect("requests are below 4 GiB");
        frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        frame.freeze()
    }

    /// A frame has arrived, without its length. May yield a frame to send.
    pub(super) fn handle_frame(
        &mut self,
        now: Time,
        settings: &CommonSettings,
        frame: Bytes,
    ) -> (Progress<T>, Option<Bytes>) {
        let malformed = (Progress::Broken(Breakage::Malformed), None);
        // It stays in flight until its answer is known to be one: what is not answered is lost with the rest.
        let Some(request) = self.in_flight.front() else { return malformed };
        self.last_used = now;
        // A broker that knows no such version of ApiVersions answers in version 0.
        let version = match request.key {
            ApiKey::ApiVersions if is_unsupported(&frame) => 0,
            _ => request.version,
        };
        let Some(body) = body(request.key, version, request.correlation_id, frame) else {
            return malformed;
        };
        let request = self.in_flight.pop_front().expect("it was just looked at");
        match request.purpose {
            Purpose::Caller(tag) => (Progress::Answer { tag, version, body }, None),
            Purpose::Setup => self.set_up(now, settings, version, body),
        }
    }

    fn set_up(
        &mut self,
        now: Time,
        settings: &CommonSettings,
        version: i16,
        mut body: Bytes,
    ) -> (Progress<T>, Option<Bytes>) {
        let malformed = (Progress::Broken(Breakage::Malformed), None);
        let refused = (Progress::Broken(Breakage::AuthenticationFailed), None);
        match self.phase {
            Phase::Versions => {
                let Ok(response) = ApiVersionsResponse::decode(&mut body, version) else {
                    return malformed;
                };
                self.handle_versions(now, settings, &response)
            }
            Phase::Handshake => match SaslHandshakeResponse::decode(&mut body, version) {
                Ok(response) if response.error_code == 0 => {
                    let (user, password) = settings.sasl.clone().unwrap_or_default();
                    let token = format!("\0{user}\0{password}").into_bytes();
                    let request = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
                    let key = ApiKey::SaslAuthenticate;
                    let version = self.offered.version(settings.library, key, i16::MAX);
                    self.phase = Phase::Authenticate;
                    let version = version.unwrap_or(0);
                    (Progress::None, Some(self.setup_request(now, settings, version, &request)))
                }
                Ok(_) => refused,
                Err(_) => malformed,
            },
            Phase::Authenticate => match SaslAuthenticateResponse::decode(&mut body, version) {
                Ok(response) if response.error_code == 0 => self.ready(),
                Ok(_) => refused,
                Err(_) => malformed,
            },
            Phase::Dialling | Phase::Ready => malformed,
        }
    }

    fn handle_versions(
        &mut self,
        now: Time,
        settings: &CommonSettings,
        response: &ApiVersionsResponse,
    ) -> (Progress<T>, Option<Bytes>) {
        let unsupported = ResponseError::UnsupportedVersion.code();
        if response.error_code == unsupported && self.versions_version > 0 {
            let own =
                response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions as i16);
            let newest = own.map_or(0, |api| api.max_version);
            self.versions_version = newest.clamp(0, self.versions_version - 1);
            return (Progress::None, Some(self.ask_versions(now, settings)));
        }
        if response.error_code != 0 {
            return (Progress::Broken(Breakage::Malformed), None);
        }
        let transactions = response
            .finalized_features
            .iter()
            .find(|feature| feature.name.as_str() == "transaction.version");
        let transactions = transactions.map_or(0, |feature| feature.max_version_level);
        self.offered = Offered::new(&response.api_keys, transactions);
        if settings.sasl.is_none() {
            return self.ready();
        }
        let mechanism = StrBytes::from_static_str("PLAIN");
        let request = SaslHandshakeRequest::default().with_mechanism(mechanism);
        self.phase = Phase::Handshake;
        (Progress::None, Some(self.setup_request(now, settings, 1, &request)))
    }

    fn ready(&mut self) -> (Progress<T>, Option<Bytes>) {
        self.phase = Phase::Ready;
        (Progress::Ready, None)
    }

    /// Whether the connection has failed by now.
    pub(super) fn handle_time(&self, now: Time, settings: &CommonSettings) -> Option<Breakage> {
        if matches!(self.phase, Phase::Dialling) {
            return (self.setup_until <= now).then_some(Breakage::SetupTimeout);
        }
        // librdkafka's limit holds for the whole set-up.
        let whole = settings.library == Library::Librdkafka && !self.is_ready();
        if whole && self.setup_until <= now {
            return Some(Breakage::SetupTimeout);
        }
        if self.in_flight.iter().any(|request| request.expires <= now) {
            return Some(Breakage::RequestTimeout);
        }
        let idle = self.idle_until(settings).is_some_and(|until| until <= now);
        idle.then_some(Breakage::Idle)
    }

    fn idle_until(&self, settings: &CommonSettings) -> Option<Time> {
        let unused = self.in_flight.is_empty() && self.is_ready();
        settings.idle_max.filter(|_| unused).map(|most| self.last_used + most)
    }

    /// When [`Self::handle_time`] is to be asked at the latest.
    pub(super) fn deadline(&self, settings: &CommonSettings) -> Option<Time> {
        let whole = settings.library == Library::Librdkafka && !self.is_ready();
        let setup = matches!(self.phase, Phase::Dialling) || whole;
        let requests = self.in_flight.iter().map(|request| request.expires);
        let setup = setup.then_some(self.setup_until);
        requests.chain(setup).chain(self.idle_until(settings)).min()
    }
}

/// Whether an answer to ApiVersions begins, behind its correlation id, with UNSUPPORTED_VERSION.
fn is_unsupported(frame: &[u8]) -> bool {
    frame.get(4..6) == Some(&ResponseError::UnsupportedVersion.code().to_be_bytes())
}

/// The body of a response whose shape the gateway's own walker has bounded.
fn body(key: ApiKey, version: i16, correlation_id: i32, mut frame: Bytes) -> Option<Bytes> {
    let mut walker = Walker::response(key as i16, version, frame.len()).ok()?;
    walker.feed(&frame, &mut ()).ok()?;
    walker.finish().ok()?;
    let flexible = i16::from(response_is_flexible(key as i16, version));
    let header = ResponseHeader::decode(&mut frame, flexible).ok()?;
    (header.correlation_id == correlation_id).then_some(frame)
}
