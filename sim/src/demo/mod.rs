//! A gateway in front of two fake clusters, in one process, with some load: to try switchovers on.
//!
//! ```text
//!  load (demo/load) ──▶ route `sales` of a real gateway ──▶ east ┐
//!                                                     └──▶ west ┘ mirror link (demo/link)
//! ```
//! Clusters, gateway and load are the same as anywhere else; they know nothing of each other but addresses. What an
//! operator's runbook would do besides the switchover itself, the promotion of the mirror, its module `link` does.

mod gateway;
mod link;
mod load;
mod table;
#[cfg(test)]
mod tests;

use std::{net::Ipv4Addr, ops::RangeInclusive};

use switchyard::{
    driver::{TokioNetwork, Workers, status::RouteStatus},
    process::{Process, StartError},
};
use tempfile::TempDir;

use crate::{
    ask::{AskError, Connection},
    cluster::ClusterSpec,
    serve::{BindError, Server, machine_clock},
};

use link::Link;
use load::Load;
pub use load::Totals;
pub use table::{Rates, line, moves, table, words};

/// Name of the route.
pub const ROUTE: &str = "sales";
/// Name of the topic that the load uses.
pub const TOPIC: &str = "orders";
/// The cluster that the route points at to begin with, and the other.
pub const EAST: &str = "east";
/// See [`EAST`].
pub const WEST: &str = "west";

/// Brokers of each cluster.
const BROKERS: u16 = 3;
const PARTITIONS: i32 = 3;
const REPLICATION: i16 = 3;
/// From the route's ports to those of a cluster's brokers.
const EAST_PORTS_FROM: u16 = 100;
const WEST_PORTS_FROM: u16 = 200;

/// Highest first port with room for all others behind it.
pub const PORT_BASE_MAX: u16 = u16::MAX - WEST_PORTS_FROM - BROKERS;

/// What a demo is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The route's port. Its nodes have the next ones; the clusters' brokers stand 100 and 200 above.
    pub port_base: u16,
    /// The gateway's control port.
    pub control_port: u16,
    /// The gateway's port for health and metrics.
    pub admin_port: u16,
    /// Whether there is a producer and a consumer.
    pub load: bool,
}

impl Plan {
    /// Where clients bootstrap.
    pub fn route(self) -> String {
        format!("127.0.0.1:{}", self.port_base)
    }

    /// Where one of the two clusters is found without the gateway.
    pub fn bootstrap(self, cluster: &str) -> String {
        format!("127.0.0.1:{}", self.ports(cluster).start())
    }

    fn ports(self, cluster: &str) -> RangeInclusive<u16> {
        let from = if cluster == EAST { EAST_PORTS_FROM } else { WEST_PORTS_FROM };
        let first = self.port_base + from;
        first..=first + BROKERS - 1
    }
}

/// Why a demo does not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A broker's port is taken.
    #[error(transparent)]
    Cluster(#[from] BindError),
    /// A port of the gateway is taken.
    #[error(transparent)]
    Gateway(#[from] StartError),
    /// The topic cannot be created.
    #[error(transparent)]
    Topic(#[from] AskError),
    /// The configuration file cannot be written.
    #[error("cannot write the gateway's configuration: {0}")]
    File(#[from] std::io::Error),
}

impl DemoError {
    /// Whether other arguments would help.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Cluster(_) | Self::Gateway(_))
    }
}

/// What there is to see.
#[derive(Clone, Debug)]
pub struct Look {
    /// The gateway's route.
    pub route: RouteStatus,
    /// Of the load, where there is one.
    pub totals: Option<Totals>,
    /// Records that the mirror has yet to copy.
    pub mirror_lag: Option<u64>,
    /// Changes of the cluster behind the route.
    pub switchovers: u64,
}

/// A running demo.
pub struct Demo {
    east: Server,
    west: Server,
    gateway: Process,
    link: Link,
    load: Option<Load>,
    directory: TempDir,
}

impl Demo {
    /// Starts everything, or nothing.
    ///
    /// # Errors
    /// When a port or a file cannot be had.
    pub async fn start(plan: Plan) -> Result<Self, DemoError> {
        let ip = Ipv4Addr::LOCALHOST;
        let clock = machine_clock();
        let spec = |name| ClusterSpec::new(name, 1, &ip.to_string(), plan.ports(name));
        let east = Server::start(TokioNetwork, spec(EAST), ip.into(), clock.clone()).await?;
        let west = Server::start(TokioNetwork, spec(WEST), ip.into(), clock.clone()).await?;
        let mut admin = Connection::open(&plan.bootstrap(EAST)).await?;
        admin.create_topic(TOPIC, PARTITIONS, REPLICATION).await?;
        let directory = TempDir::with_prefix("switchyard-demo-")?;
        let source = gateway::write_configuration(plan, directory.path())?;
        let gateway = Process::start(source, Workers::here()).await?;
        let control = gateway.control().clone();
        let link = Link::start(east.cluster(), west.cluster(), clock, control);
        let load = plan.load.then(|| Load::start(plan.route(), TOPIC, PARTITIONS));
        Ok(Self { east, west, gateway, link, load, directory })
    }

    /// Where the gateway's configuration file is.
    pub fn configuration(&self) -> std::path::PathBuf {
        gateway::configuration(self.directory.path())
    }

    /// How things stand; `None`: the gateway has stopped.
    pub async fn look(&self) -> Option<Look> {
        let status = self.gateway.control().status().await?;
        Some(Look {
            route: status.routes.into_iter().next()?,
            totals: self.load.as_ref().map(Load::totals),
            mirror_lag: self.link.lag(),
            switchovers: self.link.switchovers(),
        })
    }

    /// Ends the load, waits until what was acknowledged is consumed, and stops everything.
    pub async fn stop(self) -> (Option<Totals>, u64) {
        let totals = match self.load {
            Some(load) => Some(load.finish().await),
            None => None,
        };
        let switchovers = self.link.switchovers();
        drop(self.link);
        self.gateway.stop().await;
        tokio::join!(self.east.stop(), self.west.stop());
        (totals, switchovers)
    }
}
