//! Which real address a node id was last seen at.
//!
//! Monotonic: an entry is replaced by a newer address of the same node, never dropped. A broker that is
//! down for a while disappears from Metadata, but clients keep its virtual endpoint and come back to it.

use std::collections::BTreeMap;

use super::{BrokerAddress, NodeId};

/// Broker addresses of one streaming domain, as its answers showed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    addresses: BTreeMap<NodeId, BrokerAddress>,
}

impl Directory {
    /// Takes over what an answer showed; `true` when anything is new.
    ///
    /// The caller has removed node ids outside the domain's ranges, which also bounds the size.
    pub fn learn(&mut self, seen: &[(NodeId, BrokerAddress)]) -> bool {
        let mut changed = false;
        for (node, address) in seen {
            // Nearly every answer repeats what is known; only news is copied.
            if self.addresses.get(node) != Some(address) {
                self.addresses.insert(*node, address.clone());
                changed = true;
            }
        }
        changed
    }

    /// Where the node lives, if any answer ever said so.
    pub fn get(&self, node: NodeId) -> Option<&BrokerAddress> {
        self.addresses.get(&node)
    }

    /// Every known node in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &BrokerAddress)> {
        self.addresses.iter().map(|(node, address)| (*node, address))
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> BrokerAddress {
        BrokerAddress { host: host.to_owned(), port: 9092 }
    }

    /// A broker that is down must stay reachable under its endpoint once it is back.
    #[test]
    fn directory_answer_without_a_known_node_keeps_that_node() {
        let mut directory = Directory::default();
        assert!(directory.learn(&[(NodeId(1), address("a")), (NodeId(2), address("b"))]));
        assert!(!directory.learn(&[(NodeId(1), address("a"))]));
        assert_eq!(directory.get(NodeId(2)), Some(&address("b")));
        assert_eq!(directory.len(), 2);
    }

    #[test]
    fn directory_node_that_moved_is_replaced_and_reported() {
        let mut directory = Directory::default();
        assert!(directory.is_empty());
        directory.learn(&[(NodeId(1), address("a"))]);
        assert!(directory.learn(&[(NodeId(1), address("c"))]));
        assert_eq!(directory.iter().collect::<Vec<_>>(), [(NodeId(1), &address("c"))]);
    }
}
