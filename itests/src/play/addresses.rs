//! Where the hosts of a play are found. All of it is known before anything runs.
//!
//! Brokers tell everybody who connects other addresses: they have a listener for each viewer (the clients past the gateway,
//! MirrorMaker, each instance of the gateway), advertised as the address of the proxy that leads there from that viewer.

use std::collections::BTreeMap;

use switchyard_sim::scenario::{Scenario, model::Entry};

use crate::{
    cluster::{BROKER_PORT, Listener},
    machine,
};

/// Second byte of the addresses at which the first cluster's brokers are advertised.
const CLUSTER_SUBNET: u8 = 31;
/// Of the addresses that instances of the gateway listen on.
const GATEWAY_SUBNET: u8 = 23;
/// Of the addresses at which clients find routes.
const ROUTE_SUBNET: u8 = 24;
/// Port of the first listener in the brokers' containers.
const LISTENER_PORT: u16 = 9100;
/// Addresses of an instance begin so far apart; it has one for each host name of its routes.
const INSTANCES_MAX: u8 = 10;

/// Who connects to brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Viewer {
    /// Clients that go past the gateway.
    Clients,
    /// MirrorMaker.
    Mirror,
    /// An instance of the gateway, from 1 on.
    Gateway(usize),
}

impl Viewer {
    fn index(self) -> u16 {
        match self {
            Self::Clients => 0,
            Self::Mirror => 1,
            Self::Gateway(number) => 1 + u16::try_from(number).unwrap_or(u16::MAX / 2),
        }
    }

    /// Port of this viewer's listener in the brokers' containers.
    pub(super) fn port(self) -> u16 {
        LISTENER_PORT + self.index()
    }

    fn listener(self) -> String {
        match self {
            Self::Clients => "CLIENTS".to_owned(),
            Self::Mirror => "MIRROR".to_owned(),
            Self::Gateway(number) => format!("GATEWAY{number}"),
        }
    }
}

/// The addresses of a play.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// Everybody who connects to brokers. The clients come first.
    pub(super) viewers: Vec<Viewer>,
    /// Node ids of each cluster, in the order of the clusters' addresses.
    pub(super) nodes: BTreeMap<String, Vec<i32>>,
    /// Hosts of the routes in the gateway's file; each has an address of its own.
    route_hosts: Vec<String>,
}

impl Addresses {
    /// Of a scenario whose clusters have these nodes.
    pub(super) fn new(scenario: &Scenario, nodes: BTreeMap<String, Vec<i32>>) -> Self {
        let mut viewers = vec![Viewer::Clients];
        viewers.extend(scenario.mirror.iter().map(|_| Viewer::Mirror));
        viewers.extend((1..=scenario.instances).map(Viewer::Gateway));
        let mut route_hosts: Vec<_> =
            scenario.gateway.routes.values().map(|route| route.host.to_string()).collect();
        route_hosts.sort();
        route_hosts.dedup();
        Self { viewers, nodes, route_hosts }
    }

    /// Every address at which a broker is advertised, without its port.
    pub(super) fn broker_hosts(&self) -> Vec<String> {
        let host = |cluster: &str, node: i32| {
            machine::address(self.subnet(cluster), u8::try_from(node).unwrap_or_default())
        };
        let each = self.nodes.iter();
        each.flat_map(|(cluster, nodes)| nodes.iter().map(move |&node| host(cluster, node)))
            .collect()
    }

    fn subnet(&self, cluster: &str) -> u8 {
        let place = self.nodes.keys().position(|name| name == cluster).unwrap_or_default();
        CLUSTER_SUBNET + u8::try_from(place).unwrap_or_default()
    }

    pub(super) fn advertised(&self, viewer: Viewer, cluster: &str, node: i32) -> String {
        let host = machine::address(self.subnet(cluster), u8::try_from(node).unwrap_or_default());
        format!("{host}:{}", BROKER_PORT + viewer.index())
    }

    /// The listeners that a cluster's brokers need. The first one is for whoever stands beside the network.
    pub(super) fn listeners(&self, cluster: &str) -> Vec<Listener> {
        let listener = |viewer: &Viewer| Listener {
            name: viewer.listener(),
            port: viewer.port(),
            advertised: self.nodes[cluster]
                .iter()
                .map(|&node| (node, self.advertised(*viewer, cluster, node)))
                .collect(),
        };
        self.viewers.iter().map(listener).collect()
    }

    /// Where a viewer finds a cluster's brokers, separated by commas.
    pub(super) fn brokers_for(&self, viewer: Viewer, cluster: &str) -> String {
        let each = self.nodes[cluster].iter();
        each.map(|&node| self.advertised(viewer, cluster, node)).collect::<Vec<_>>().join(",")
    }

    /// `bootstrap.servers` of a client.
    pub(super) fn bootstrap(&self, scenario: &Scenario, entry: &Entry) -> String {
        match entry {
            Entry::Cluster(cluster) => self.brokers_for(Viewer::Clients, cluster),
            Entry::Route(name) => {
                let route = &scenario.gateway.routes[name.as_str()];
                format!("{}:{}", self.route_host(&route.host), route.port)
            }
        }
    }

    fn place_of(&self, host: &str) -> u8 {
        let place = self.route_hosts.iter().position(|known| known == host).unwrap_or_default();
        u8::try_from(place).unwrap_or_default()
    }

    /// The address that stands for the host of a route.
    pub(super) fn route_host(&self, host: &str) -> String {
        machine::address(ROUTE_SUBNET, 1 + self.place_of(host))
    }

    /// The address on which an instance listens for a route's host.
    pub(super) fn instance_host(&self, number: usize, host: &str) -> String {
        let number = u8::try_from(number).unwrap_or_default();
        machine::address(GATEWAY_SUBNET, number + INSTANCES_MAX * self.place_of(host))
    }
}
