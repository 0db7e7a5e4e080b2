//! The port strategy: a route's ports, one for the bootstrap and one for every node id.
//!
//! ```text
//!  endpoint port 19092, ranges 1–3 and 101–103
//!
//!  19092      19093 19094 19095   19096 19097 19098
//!  bootstrap  1     2     3       101   102   103
//! ```
//! Invariants: the ports are contiguous from the bootstrap on; a port stands for at most one node id and
//! a node id has at most one port; the order of the ranges is the order of their ports.

use std::ops::RangeInclusive;

use super::NodeId;

/// Which port of a route stands for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMap {
    bootstrap_port: u16,
    last_port: u16,
    /// Ascending by port, which is the order of the ranges.
    by_port: Vec<Block>,
    /// The same blocks, ascending by node id.
    by_node: Vec<Block>,
}

/// Node ids in a row on ports in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    first_port: u16,
    first_node: i32,
    last_node: i32,
}

/// What a client that connects to a port wants to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VirtualEndpoint {
    /// Any broker of the domain.
    Bootstrap,
    /// This broker and no other.
    Node(NodeId),
}

/// Why ranges cannot be laid onto ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortMapError {
    /// No node id could ever be reached.
    #[error("there is no range of node ids")]
    NoRange,
    /// Its end stands before its start.
    #[error("range {start} to {end} ends before it starts")]
    Reversed {
        /// As given.
        start: i32,
        /// As given.
        end: i32,
    },
    /// Kafka's node ids start at 0.
    #[error("range {start} to {end} has negative node ids")]
    Negative {
        /// As given.
        start: i32,
        /// As given.
        end: i32,
    },
    /// Two ranges hold the same node id.
    #[error("node id {node} is in two ranges")]
    Overlap {
        /// The smallest such id of the two ranges.
        node: NodeId,
    },
    /// TCP has no such port.
    #[error("{needed} ports from {bootstrap_port} on go beyond port 65535")]
    BeyondLastPort {
        /// The route's bootstrap port.
        bootstrap_port: u16,
        /// Ports for the bootstrap and every node id.
        needed: u64,
    },
}

impl PortMap {
    /// Packs the ranges one after another from the port behind the bootstrap port on.
    pub fn new(bootstrap_port: u16, ranges: &[RangeInclusive<i32>]) -> Result<Self, PortMapError> {
        if ranges.is_empty() {
            return Err(PortMapError::NoRange);
        }
        let by_node_ranges = ascending(ranges)?;
        debug_assert_eq!(by_node_ranges.len(), ranges.len());

        let needed = 1 + ranges.iter().map(node_count).sum::<u64>();
        let beyond = PortMapError::BeyondLastPort { bootstrap_port, needed };
        let last_port = u64::from(bootstrap_port) + needed - 1;
        let last_port = u16::try_from(last_port).map_err(|_| beyond.clone())?;

        let mut by_port = Vec::with_capacity(ranges.len());
        let mut used: u64 = 1;
        for range in ranges {
            let first_port = u64::from(bootstrap_port) + used;
            by_port.push(Block {
                first_port: u16::try_from(first_port).map_err(|_| beyond.clone())?,
                first_node: *range.start(),
                last_node: *range.end(),
            });
            used += node_count(range);
        }
        let mut by_node = by_port.clone();
        by_node.sort_unstable_by_key(|block| block.first_node);
        Ok(Self { bootstrap_port, last_port, by_port, by_node })
    }

    /// The port of the bootstrap endpoint.
    pub fn bootstrap_port(&self) -> u16 {
        self.bootstrap_port
    }

    /// Every port, the bootstrap's first.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.bootstrap_port..=self.last_port
    }

    /// The port that stands for a node id; `None` outside the ranges.
    pub fn port_of(&self, node: NodeId) -> Option<u16> {
        let after = self.by_node.partition_point(|block| block.first_node <= node.0);
        let block = self.by_node.get(after.checked_sub(1)?)?;
        if node.0 > block.last_node {
            return None;
        }
        let offset = u16::try_from(node.0 - block.first_node).ok()?;
        block.first_port.checked_add(offset)
    }

    /// What a port stands for; `None` when it is not one of this map's.
    pub fn endpoint_at(&self, port: u16) -> Option<VirtualEndpoint> {
        if port == self.bootstrap_port {
            return Some(VirtualEndpoint::Bootstrap);
        }
        if !self.ports().contains(&port) {
            return None;
        }
        let after = self.by_port.partition_point(|block| block.first_port <= port);
        let block = self.by_port.get(after.checked_sub(1)?)?;
        let node = block.first_node.checked_add(i32::from(port - block.first_port))?;
        Some(VirtualEndpoint::Node(NodeId(node)))
    }

    /// The node ids that have a port, in the order of their ports.
    pub fn node_ranges(&self) -> impl Iterator<Item = RangeInclusive<i32>> {
        self.by_port.iter().map(|block| block.first_node..=block.last_node)
    }

    /// Every node id with its port, in the order of the ports.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, u16)> {
        self.by_port.iter().flat_map(|block| {
            (block.first_node..=block.last_node).map(NodeId).zip(block.first_port..=u16::MAX)
        })
    }
}

/// The ranges by ascending node id, when none is reversed or negative and no two overlap.
fn ascending(ranges: &[RangeInclusive<i32>]) -> Result<Vec<(i32, i32)>, PortMapError> {
    let mut ascending = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (start, end) = (*range.start(), *range.end());
        if start > end {
            return Err(PortMapError::Reversed { start, end });
        }
        if start < 0 {
            return Err(PortMapError::Negative { start, end });
        }
        ascending.push((start, end));
    }
    ascending.sort_unstable();
    for pair in ascending.windows(2) {
        if let [(_, end), (next_start, _)] = pair
            && next_start <= end
        {
            return Err(PortMapError::Overlap { node: NodeId(*next_start) });
        }
    }
    Ok(ascending)
}

/// At most 2^31 for a range without negative ids.
fn node_count(range: &RangeInclusive<i32>) -> u64 {
    u64::try_from(i64::from(*range.end()) - i64::from(*range.start()) + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn port_map_one_range_counts_up_from_the_bootstrap() {
        let map = PortMap::new(19092, &[1..=5]).expect("a valid map");
        assert_eq!(map.ports(), 19092..=19097);
        assert_eq!(map.endpoint_at(19092), Some(VirtualEndpoint::Bootstrap));
        assert_eq!(map.port_of(NodeId(1)), Some(19093));
        assert_eq!(map.port_of(NodeId(5)), Some(19097));
        assert_eq!(map.endpoint_at(19098), None);
    }

    #[test]
    fn port_map_several_ranges_are_packed_in_their_own_order() {
        let map = PortMap::new(19092, &[101..=103, 1..=3]).expect("a valid map");
        assert_eq!(map.port_of(NodeId(101)), Some(19093));
        assert_eq!(map.port_of(NodeId(3)), Some(19098));
        assert_eq!(map.endpoint_at(19096), Some(VirtualEndpoint::Node(NodeId(1))));
        assert_eq!(map.port_of(NodeId(4)), None);
        assert_eq!(map.port_of(NodeId(-1)), None);
    }

    #[test]
    fn port_map_ranges_that_cannot_be_packed_are_refused() {
        let overlap = PortMapError::Overlap { node: NodeId(3) };
        assert_eq!(PortMap::new(1, &[3..=9, 0..=3]), Err(overlap));
        #[expect(clippy::reversed_empty_ranges, reason = "what is refused here")]
        let reversed = PortMap::new(1, &[2..=1]);
        assert_eq!(reversed, Err(PortMapError::Reversed { start: 2, end: 1 }));
        let negative = PortMapError::Negative { start: -1, end: 1 };
        assert_eq!(PortMap::new(1, &[-1..=1]), Err(negative));
        assert_eq!(PortMap::new(1, &[]), Err(PortMapError::NoRange));
        assert!(PortMap::new(65535, &[0..=0]).is_err());
        assert!(PortMap::new(65534, &[0..=0]).is_ok());
        // The largest range there is must be counted, not walked or overflowed.
        assert!(PortMap::new(1, &[0..=i32::MAX]).is_err());
    }

    prop_compose! {
        /// Disjoint ranges in any order: cut points with gaps between them.
        fn disjoint_ranges()(
            steps in prop::collection::vec((0..50_i32, 0..40_i32), 1..12),
            start in 0..1_000_000_i32,
        )(
            shuffled in Just({
                let mut next = start;
                steps.iter().map(|(gap, length)| {
                    let first = next + gap;
                    next = first + length + 1;
                    first..=first + length
                }).collect::<Vec<_>>()
            }).prop_shuffle(),
        ) -> Vec<RangeInclusive<i32>> { shuffled }
    }

    proptest! {
        /// Two nodes on one port, or a node on two, would send records to the wrong broker.
        #[test]
        fn port_map_packing_is_a_bijection(
            ranges in disjoint_ranges(),
            bootstrap in 1..60_000_u16,
        ) {
            let map = PortMap::new(bootstrap, &ranges).expect("disjoint and small enough");
            let mut seen = BTreeSet::new();
            let mut expected_port = bootstrap;
            for node in ranges.iter().cloned().flatten() {
                expected_port += 1;
                prop_assert_eq!(map.port_of(NodeId(node)), Some(expected_port));
                let endpoint = map.endpoint_at(expected_port);
                prop_assert_eq!(endpoint, Some(VirtualEndpoint::Node(NodeId(node))));
                prop_assert!(seen.insert(node));
            }
            prop_assert_eq!(map.ports(), bootstrap..=expected_port);
            prop_assert_eq!(map.nodes().count(), seen.len());
            for (node, port) in map.nodes() {
                prop_assert_eq!(map.port_of(node), Some(port));
            }
        }

        /// Every port outside the block and every node outside the ranges belongs to nobody.
        #[test]
        fn port_map_outside_of_it_nothing_is_found(
            ranges in disjoint_ranges(),
            bootstrap in 1..60_000_u16,
            port: u16,
            node: i32,
        ) {
            let map = PortMap::new(bootstrap, &ranges).expect("disjoint and small enough");
            prop_assert_eq!(map.endpoint_at(port).is_some(), map.ports().contains(&port));
            let inside = ranges.iter().any(|range| range.contains(&node));
            prop_assert_eq!(map.port_of(NodeId(node)).is_some(), inside);
        }

        /// Whatever ranges a file holds, the answer is a map or an error, never a panic.
        #[test]
        fn port_map_any_ranges_never_panic(
            ranges in prop::collection::vec((any::<i32>(), any::<i32>()), 0..6),
            bootstrap: u16,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, end)| start..=end).collect();
            if let Ok(map) = PortMap::new(bootstrap, &ranges) {
                prop_assert_eq!(map.endpoint_at(bootstrap), Some(VirtualEndpoint::Bootstrap));
            }
        }
    }
}
