//! Virtual endpoints of a route; the directory of learned broker addresses. Pure.
//!
//! A [`PortMap`] says which port of a route stands for which node id, a [`Directory`] where the node
//! really lives, and [`RouteAddresses`] what clients are told in its place.

mod directory;
mod port_map;

use std::sync::Arc;

pub use directory::Directory;
pub use port_map::{PortMap, PortMapError, VirtualEndpoint};

use crate::wire::rewrite::VirtualAddresses;

/// A broker's node id, the same before and behind the gateway.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct NodeId(pub i32);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Host and port of a real broker; never shown to a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerAddress {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What clients of a route are told: one host, and a port for every node id that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteAddresses {
    /// Host of every virtual endpoint of the route.
    pub host: Arc<str>,
    /// Ports under the route's current target.
    pub ports: Arc<PortMap>,
}

impl VirtualAddresses for RouteAddresses {
    fn address_of(&self, node: NodeId) -> Option<(&str, u16)> {
        self.ports.port_of(node).map(|port| (&*self.host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node without a port must vanish from answers, not borrow another node's address.
    #[test]
    fn route_addresses_node_outside_the_ranges_has_no_address() {
        let ports = PortMap::new(19092, &[1..=3]).expect("a valid map");
        let addresses = RouteAddresses { host: "gw.example".into(), ports: Arc::new(ports) };
        assert_eq!(addresses.address_of(NodeId(2)), Some(("gw.example", 19094)));
        assert_eq!(addresses.address_of(NodeId(4)), None);
    }

    #[test]
    fn broker_address_ipv6_host_is_shown_in_brackets() {
        let address = BrokerAddress { host: "::1".to_owned(), port: 9092 };
        assert_eq!(address.to_string(), "[::1]:9092");
    }
}
