//! The network of a play: a [`Link`] between every two hosts that speak with each other, and a listener in front of every
//! port that somebody connects to.
//!
//! Brokers tell everybody who connects other addresses: they have a listener for each viewer (the clients past the gateway,
//! MirrorMaker, each instance of the gateway), advertised as the address of the proxy that leads from that viewer. So a
//! fault between two hosts hits these two alone, and no connection passes by.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use switchyard_sim::{
    oracle::history::What,
    rehearsal::latency_range,
    scenario::{
        Scenario,
        model::{Entry, Host},
    },
};

use super::{
    Recorder,
    link::{Backend, Direction, Endurance, Front, Link, Watch},
};
use crate::{
    Result,
    cluster::{BROKER_PORT, Cluster, Listener},
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

    fn listener(self) -> String {
        match self {
            Self::Clients => "CLIENTS".to_owned(),
            Self::Mirror => "MIRROR".to_owned(),
            Self::Gateway(number) => format!("GATEWAY{number}"),
        }
    }
}

/// Everything between the hosts of a play.
pub(super) struct Network {
    /// From viewers to clusters.
    upstream: BTreeMap<(Viewer, String), Link>,
    /// From clients to instances of the gateway.
    downstream: BTreeMap<usize, Link>,
    /// Node ids of each cluster, in the order of the clusters' addresses.
    nodes: BTreeMap<String, Vec<i32>>,
    /// Hosts of the routes in the gateway's file; each has an address of its own.
    route_hosts: Vec<String>,
    fronts: Vec<(String, i32, Front)>,
}

impl Network {
    /// All links of a scenario whose clusters have these nodes.
    pub(super) fn new(scenario: &Scenario, nodes: BTreeMap<String, Vec<i32>>) -> Self {
        let instances = 1..=scenario.instances;
        let mut viewers: Vec<_> = instances.clone().map(Viewer::Gateway).collect();
        viewers.push(Viewer::Clients);
        viewers.extend(scenario.mirror.iter().map(|_| Viewer::Mirror));
        let mut upstream = BTreeMap::new();
        for cluster in nodes.keys() {
            for &viewer in &viewers {
                let link = upstream_link(scenario, viewer, cluster);
                upstream.insert((viewer, cluster.clone()), link);
            }
        }
        let downstream = instances.map(|number| {
            let latency = latency_range(scenario, &Host::Clients, &Host::Gateway(number));
            (number, Link::new(latency).with_endurance(None, Some(Endurance::GATEWAY)))
        });
        let mut route_hosts: Vec<_> =
            scenario.gateway.routes.values().map(|route| route.host.to_string()).collect();
        route_hosts.sort();
        route_hosts.dedup();
        Self { upstream, downstream: downstream.collect(), nodes, route_hosts, fronts: Vec::new() }
    }

    fn subnet(&self, cluster: &str) -> u8 {
        let place = self.nodes.keys().position(|name| name == cluster).unwrap_or_default();
        CLUSTER_SUBNET + u8::try_from(place).unwrap_or_default()
    }

    fn advertised(&self, viewer: Viewer, cluster: &str, node: i32) -> String {
        let host = machine::address(self.subnet(cluster), u8::try_from(node).unwrap_or_default());
        format!("{host}:{}", BROKER_PORT + viewer.index())
    }

    /// The listeners that a cluster's brokers need. The first one is for whoever stands beside the network.
    pub(super) fn listeners(&self, cluster: &str) -> Vec<Listener> {
        let viewers =
            self.upstream.keys().filter(|(_, of)| of == cluster).map(|(viewer, _)| *viewer);
        let listener = |viewer: Viewer| Listener {
            name: viewer.listener(),
            port: LISTENER_PORT + viewer.index(),
            advertised: self.nodes[cluster]
                .iter()
                .map(|&node| (node, self.advertised(viewer, cluster, node)))
                .collect(),
        };
        viewers.map(listener).collect()
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

    /// Opens the ways to a cluster that runs.
    pub(super) fn open_cluster(&mut self, name: &str, cluster: &Cluster) -> Result<()> {
        for ((viewer, of), link) in &self.upstream {
            if of != name {
                continue;
            }
            for &node in &self.nodes[name] {
                let advertised: SocketAddr = self.advertised(*viewer, name, node).parse()?;
                let mut broker: SocketAddr = cluster.address(node).parse()?;
                broker.set_port(LISTENER_PORT + viewer.index());
                let front = Front::listen(advertised, vec![Backend::new(link, broker)], None)?;
                self.fronts.push((name.to_owned(), node, front));
            }
        }
        Ok(())
    }

    /// A broker that has started again may have another address.
    pub(super) fn broker_moved(&self, name: &str, node: i32, cluster: &Cluster) -> Result<()> {
        let broker: SocketAddr = cluster.address(node).parse()?;
        for (_, _, front) in self.fronts.iter().filter(|(of, at, _)| of == name && *at == node) {
            front.move_backends(broker.ip());
        }
        Ok(())
    }

    /// Opens the ways from clients to the gateway. Bytes that name a broker's address are taken down.
    pub(super) fn open_routes(&mut self, scenario: &Scenario, recorder: &Recorder) -> Result<()> {
        let forbidden = self.nodes.keys().flat_map(|cluster| {
            let subnet = self.subnet(cluster);
            self.nodes[cluster]
                .iter()
                .map(move |&node| machine::address(subnet, u8::try_from(node).unwrap_or_default()))
        });
        let recorder = recorder.clone();
        let watch = Arc::new(Watch::new(forbidden.collect(), move |address| {
            recorder.record("clients", What::UpstreamAddress { address: address.into() });
        }));
        for route in scenario.gateway.routes.values() {
            for port in route.ports() {
                let address = format!("{}:{port}", self.route_host(&route.host)).parse()?;
                let backend = |(number, link): (&usize, &Link)| -> Result<Backend> {
                    let host = self.instance_host(*number, &route.host);
                    Ok(Backend::new(link, format!("{host}:{port}").parse()?))
                };
                let backends: Result<Vec<_>> = self.downstream.iter().map(backend).collect();
                let front = Front::listen(address, backends?, Some(Arc::clone(&watch)))?;
                self.fronts.push((String::new(), 0, front));
            }
        }
        Ok(())
    }

    /// Links between two hosts, and which direction leads from the first to the second.
    pub(super) fn between(&self, a: &Host, b: &Host) -> Vec<(Link, Direction)> {
        let mut links = Vec::new();
        for (one, other, direction) in [(a, b, Direction::Forth), (b, a, Direction::Back)] {
            for ((viewer, cluster), link) in &self.upstream {
                if dials(*viewer, one, cluster) && *other == Host::Cluster(cluster.clone()) {
                    links.push((link.clone(), direction));
                }
            }
            for (number, link) in &self.downstream {
                let listens = *other == Host::Gateways || *other == Host::Gateway(*number);
                if *one == Host::Clients && listens {
                    links.push((link.clone(), direction));
                }
            }
        }
        links
    }

    /// Every link of a cluster.
    pub(super) fn of_cluster(&self, cluster: &str) -> Vec<Link> {
        let own = self.upstream.iter().filter(|((_, of), _)| of == cluster);
        own.map(|(_, link)| link.clone()).collect()
    }

    /// Links of a cluster to clients and gateways.
    pub(super) fn of_clients(&self, cluster: &str) -> Vec<Link> {
        let own = self
            .upstream
            .iter()
            .filter(|((viewer, of), _)| of == cluster && *viewer != Viewer::Mirror);
        own.map(|(_, link)| link.clone()).collect()
    }

    /// The link from MirrorMaker to a cluster.
    pub(super) fn of_mirror(&self, cluster: &str) -> Option<&Link> {
        self.upstream.get(&(Viewer::Mirror, cluster.to_owned()))
    }
}

/// Whether a host of the scenario is who dials here. What lies between two clusters is MirrorMaker's.
fn dials(viewer: Viewer, host: &Host, to: &str) -> bool {
    match (viewer, host) {
        (Viewer::Clients, Host::Clients) | (Viewer::Gateway(_), Host::Gateways) => true,
        (Viewer::Gateway(number), Host::Gateway(other)) => number == *other,
        (Viewer::Mirror, Host::Cluster(from)) => from != to,
        _ => false,
    }
}

fn upstream_link(scenario: &Scenario, viewer: Viewer, cluster: &str) -> Link {
    let to = Host::Cluster(cluster.to_owned());
    match viewer {
        Viewer::Clients => Link::new(latency_range(scenario, &Host::Clients, &to)),
        Viewer::Gateway(number) => {
            let latency = latency_range(scenario, &Host::Gateway(number), &to);
            Link::new(latency).with_endurance(Some(Endurance::GATEWAY), None)
        }
        // MirrorMaker stands beside its target; what it reads comes from afar, by the lag of the scenario's mirror.
        Viewer::Mirror => {
            let link = Link::new((Duration::ZERO, Duration::ZERO));
            if let Some(mirror) = scenario.mirror.as_ref().filter(|mirror| mirror.from == cluster) {
                link.set_latency(Direction::Back, mirror.lag.range.clone().into_inner());
            }
            link
        }
    }
}
