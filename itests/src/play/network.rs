//! The network of a play: a [`Link`] between every two hosts that speak with each other, and a listener in front of every
//! port that somebody connects to.
//!
//! A fault between two hosts hits these two alone, and no connection passes by: [`Addresses`] sees to that.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use switchyard_sim::{
    oracle::history::What,
    rehearsal::latency_range,
    scenario::{Scenario, model::Host},
};

use super::{
    Recorder,
    addresses::{Addresses, Viewer},
    link::{Backend, Direction, Endurance, Front, Link, Watch},
};
use crate::{Result, cluster::Cluster};

/// Everything between the hosts of a play.
pub(super) struct Network {
    addresses: Addresses,
    /// From viewers to clusters.
    upstream: BTreeMap<(Viewer, String), Link>,
    /// From clients to instances of the gateway.
    downstream: BTreeMap<usize, Link>,
    /// Of brokers: which cluster's, and which node's.
    fronts: Vec<(String, i32, Front)>,
}

impl Network {
    /// All links of a scenario.
    pub(super) fn new(scenario: &Scenario, addresses: &Addresses) -> Self {
        let mut upstream = BTreeMap::new();
        for cluster in addresses.nodes.keys() {
            for &viewer in &addresses.viewers {
                let link = upstream_link(scenario, viewer, cluster);
                upstream.insert((viewer, cluster.clone()), link);
            }
        }
        let downstream = (1..=scenario.instances).map(|number| {
            let latency = latency_range(scenario, &Host::Clients, &Host::Gateway(number));
            (number, Link::new(latency).with_endurance(None, Some(Endurance::GATEWAY)))
        });
        let addresses = addresses.clone();
        Self { addresses, upstream, downstream: downstream.collect(), fronts: Vec::new() }
    }

    /// Opens the ways to a cluster that runs.
    pub(super) fn open_cluster(&mut self, name: &str, cluster: &Cluster) -> Result<()> {
        for ((viewer, of), link) in &self.upstream {
            if of != name {
                continue;
            }
            for &node in &self.addresses.nodes[name] {
                let advertised: SocketAddr =
                    self.addresses.advertised(*viewer, name, node).parse()?;
                let mut broker: SocketAddr = cluster.address(node).parse()?;
                broker.set_port(viewer.port());
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
        let recorder = recorder.clone();
        let watch = Arc::new(Watch::new(self.addresses.broker_hosts(), move |address| {
            recorder.record("clients", What::UpstreamAddress { address: address.into() });
        }));
        for route in scenario.gateway.routes.values() {
            for port in route.ports() {
                let address =
                    format!("{}:{port}", self.addresses.route_host(&route.host)).parse()?;
                let backend = |(number, link): (&usize, &Link)| -> Result<Backend> {
                    let host = self.addresses.instance_host(*number, &route.host);
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
        // MirrorMaker stands beside its target; what it reads comes from afar. A record waits for the answer before its own on
        // top of what the link takes, so half of the scenario's lag makes about the whole of it.
        Viewer::Mirror => {
            let link = Link::new((Duration::ZERO, Duration::ZERO));
            if let Some(mirror) = scenario.mirror.as_ref().filter(|mirror| mirror.from == cluster) {
                let (min, max) = mirror.lag.range.clone().into_inner();
                link.set_latency(Direction::Back, (min / 2, max / 2));
            }
            link
        }
    }
}
