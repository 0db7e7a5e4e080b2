//! The checked model of a configuration.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    route::Target,
    topology::{BrokerAddress, PortMap, PortMapError},
    wire::{api::ClientView, rewrite::ProducerIdTag},
};

/// A configuration in which every reference holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Name of this gateway.
    pub name: Arc<str>,
    /// Streaming domains by name.
    pub domains: BTreeMap<Arc<str>, Arc<Domain>>,
    /// Routes by name.
    pub routes: BTreeMap<Arc<str>, Arc<Route>>,
    /// Health and metrics (9190).
    pub admin: Admin,
    /// `/config` and the control calls (9180).
    pub control: Control,
    /// Limits on everything.
    pub limits: Limits,
    /// Where decisions by API and CLI are kept; `None`: beside the configuration file.
    pub state_file: Option<PathBuf>,
    /// `configId` as given in the file, or derived from its content.
    pub config_id: String,
}

/// One backend cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Unique name.
    pub name: Arc<str>,
    /// The cluster's name, for people; the domain's own where the file gives none.
    pub cluster_name: Arc<str>,
    /// In the order of the file.
    pub bootstrap_servers: Vec<BootstrapServer>,
    /// Inclusive ranges of node ids, in the order of the file, which is the order of their ports. Behind a
    /// route fewer may have a port; [`Route::port_map`] is what counts there.
    pub node_id_ranges: Vec<RangeInclusive<i32>>,
    /// Keeps this domain's producer ids apart from those of every other domain.
    pub producer_id_tag: ProducerIdTag,
}

/// One listener of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapServer {
    /// Listener id.
    pub id: Arc<str>,
    /// One or more addresses (a comma-separated endpoint).
    pub addresses: Vec<BrokerAddress>,
}

/// What clients connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique name.
    pub name: Arc<str>,
    /// Host that clients are told.
    pub host: Arc<str>,
    /// Port of the bootstrap endpoint; node ids follow from the next one on.
    pub port: u16,
    /// Address to listen on; `None`: derived from the host.
    pub bind: Option<IpAddr>,
    /// Where the file points the route.
    pub target: Target,
    /// The file's fence, when its scope is ALL.
    pub fence: Option<Fence>,
    /// How a fence of this route behaves when the command says nothing else.
    pub fence_defaults: Fence,
    /// What clients may learn.
    pub client_view: ClientView,
    /// For every streaming domain: the ports of the route under that target, or why it cannot be pointed
    /// there. Whichever of these targets the routes have, no two routes ever need the same port.
    pub candidates: BTreeMap<Arc<str>, Result<Arc<PortMap>, Ineligible>>,
    /// SHA-256 of the route's section, independent of its formatting (lower-case hex).
    pub digest: Arc<str>,
}

impl Route {
    /// Where clients bootstrap.
    pub fn endpoint(&self) -> String {
        BrokerAddress { host: self.host.to_string(), port: self.port }.to_string()
    }

    /// The address that the route listens on: as configured, or what the host is where it is an address;
    /// loopback for `localhost`; for any other name every address.
    pub fn bind_address(&self) -> IpAddr {
        if let Some(bind) = self.bind {
            return bind;
        }
        match self.host.parse() {
            Ok(address) => address,
            Err(_) if &*self.host == "localhost" => Ipv4Addr::LOCALHOST.into(),
            Err(_) => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// Every port that the route listens on: under any domain that it can be pointed at, so that a switch
    /// never waits for a port.
    pub fn ports(&self) -> RangeInclusive<u16> {
        let last = self.eligible().map(|(_, ports)| *ports.ports().end()).max();
        self.port..=last.unwrap_or(self.port)
    }

    /// The ports of the route while it points at this domain; `None` where it cannot be pointed there.
    pub fn port_map(&self, domain: &str) -> Option<&Arc<PortMap>> {
        self.candidates.get(domain)?.as_ref().ok()
    }

    /// The domains that the route can be pointed at.
    pub fn eligible(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<PortMap>)> {
        self.candidates.iter().filter_map(|(domain, ports)| Some((domain, ports.as_ref().ok()?)))
    }
}

/// Why a route cannot be pointed at a streaming domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    /// Its node ids would need ports of something else that listens on the same address.
    #[error("it would need ports {} to {}, and port {port} belongs to {owner}", ports.start(), ports.end())]
    PortTaken {
        /// What the route would need under this domain.
        ports: RangeInclusive<u16>,
        /// The first of them that is taken.
        port: u16,
        /// Who has it: ``route `b` ``.
        owner: Arc<str>,
    },
    /// There is not one free port behind the bootstrap port.
    #[error("no port is left for node ids, because port {port} belongs to {owner}")]
    NoRoom {
        /// The port behind the bootstrap port.
        port: u16,
        /// Who has it.
        owner: Arc<str>,
    },
    /// The ranges cannot be laid onto ports from this bootstrap port on.
    #[error("{0}")]
    Unmappable(#[from] PortMapError),
}

/// How a fence behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Answer or wait.
    pub mode: FenceMode,
    /// Kafka error code of mode `error`, and of `hold` once its bounds are passed.
    pub error_code: i16,
    /// Text for APIs that have room for it.
    pub error_message: Option<Arc<str>>,
    /// Bytes of parked requests over all sessions of the route.
    pub hold_bytes_max: usize,
    /// How long requests wait before the fence answers with errors.
    pub hold_time_max: Duration,
}

/// What a fence does with a request.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum FenceMode {
    /// Answers a retriable error.
    Error,
    /// Lets it wait.
    Hold,
}

impl FenceMode {
    /// As metric label and in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Hold => "hold",
        }
    }
}

/// Where health and metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Listen address.
    pub address: SocketAddr,
    /// Whether `/metrics` is served.
    pub metrics: bool,
    /// Labels on every metric.
    pub common_tags: BTreeMap<String, String>,
}

/// Where `/config` and the control calls are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Listen address; beyond loopback only with a token.
    pub address: SocketAddr,
    /// File whose content is the bearer token.
    pub token_file: Option<PathBuf>,
}

/// A limit on everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections over all routes.
    pub connections_max: usize,
    /// Largest request or response frame that is streamed.
    pub frame_bytes_max: usize,
    /// Largest request frame before a session's first ordinary request (SASL still to come).
    pub first_frame_bytes_max: usize,
    /// Largest response frame that is collected to be rewritten.
    pub rewrite_bytes_max: usize,
    /// Requests of one session that are forwarded and not yet answered.
    pub in_flight_max: usize,
    /// From accept to the first complete request header.
    pub first_request_timeout: Duration,
    /// For each attempt to connect upstream.
    pub connect_timeout: Duration,
    /// How long a peer may take no byte of what waits for it.
    pub write_stall_timeout: Duration,
    /// How long sessions may finish their requests when the gateway stops.
    pub shutdown_drain: Duration,
}
