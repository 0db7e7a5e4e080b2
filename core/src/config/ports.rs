//! Which port belongs to whom: the gateway's own listeners, and each route's block under every domain.
//!
//! A route's block is contiguous from its bootstrap port on, so two blocks meet exactly when one holds the
//! bootstrap port of the other. Ranges that stand in the file are taken as they are; the default ranges are
//! cut back to the ports that are free before the next bootstrap port.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::Arc,
};

use super::{
    domains,
    findings::{Findings, Path},
    model::Ineligible,
};
use crate::topology::{PortMap, PortMapError};

/// Ports of one route under each domain.
pub(super) type Candidates = BTreeMap<Arc<str>, Result<Arc<PortMap>, Ineligible>>;

/// On which of the machine's addresses something listens, as far as the file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them, or those of a name that only the machine can resolve: no port can be shared.
    Any,
    /// What `localhost` stands for.
    Loopback,
    /// This one.
    Only(IpAddr),
}

impl Scope {
    pub(super) fn of_address(address: IpAddr) -> Self {
        if address.is_unspecified() { Self::Any } else { Self::Only(address) }
    }

    pub(super) fn of_host(host: &str) -> Self {
        match host.parse() {
            Ok(address) => Self::of_address(address),
            Err(_) if host.eq_ignore_ascii_case("localhost") => Self::Loopback,
            Err(_) => Self::Any,
        }
    }

    fn meets(self, other: Self) -> bool {
        let is_localhost = |address| {
            address == IpAddr::from(Ipv4Addr::LOCALHOST) || address == Ipv6Addr::LOCALHOST
        };
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) | (Self::Loopback, Self::Loopback) => true,
            (Self::Loopback, Self::Only(address)) | (Self::Only(address), Self::Loopback) => {
                is_localhost(address)
            }
            (Self::Only(left), Self::Only(right)) => left == right,
        }
    }
}

/// Something that listens on one port, before any node ids.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Where its port stands in the file.
    pub(super) path: Path,
    /// ``route `sales` ``
    pub(super) owner: Arc<str>,
    pub(super) scope: Scope,
    pub(super) port: u16,
    /// The domain that a route points at; `None` for the gateway's own listeners.
    pub(super) target: Option<Arc<str>>,
}

type Drafts = BTreeMap<Arc<str>, domains::Draft>;

/// Lays out the ports of all claims, in their order; the gateway's own listeners get no candidates.
pub(super) fn plan(claims: &[Claim], domains: &Drafts, findings: &mut Findings) -> Vec<Candidates> {
    let plan = Plan { claims, domains };
    for index in 0..claims.len() {
        plan.check_bootstrap_port(index, findings);
        plan.check_target(index, findings);
    }
    if findings.has_faults() {
        // Nothing of this file will be used; what else could be said follows from the faults.
        return claims.iter().map(|_| Candidates::new()).collect();
    }
    let candidates = plan.candidates();
    for (claim, candidates) in claims.iter().zip(&candidates) {
        plan.notices(claim, candidates, findings);
    }
    candidates
}

struct Plan<'p> {
    claims: &'p [Claim],
    domains: &'p Drafts,
}

impl<'p> Plan<'p> {
    /// Claims that could collide with this one.
    fn others(&self, index: usize) -> impl Iterator<Item = (usize, &'p Claim)> {
        let scope = self.claims[index].scope;
        self.claims
            .iter()
            .enumerate()
            .filter(move |(other, claim)| *other != index && scope.meets(claim.scope))
    }

    fn check_bootstrap_port(&self, index: usize, findings: &mut Findings) {
        let claim = &self.claims[index];
        let mut earlier = self.others(index).take_while(|(other, _)| *other < index);
        if let Some((_, first)) = earlier.find(|(_, first)| first.port == claim.port) {
            let line = findings.line(&first.path);
            let line = line.map_or_else(String::new, |line| format!(" (line {line})"));
            let problem = format!("port {} belongs to {}{line}", claim.port, first.owner);
            let remedy = "take another port, or give both a `bindAddress` of their own";
            findings.fault(&claim.path, problem, remedy);
        }
    }

    /// Faults of the route under the domain that the file points it at.
    fn check_target(&self, index: usize, findings: &mut Findings) {
        let claim = &self.claims[index];
        let Some(draft) = claim.target.as_ref().and_then(|target| self.domains.get(target)) else {
            return;
        };
        if findings.is_faulty(&draft.path.key("kafkaCluster.nodeIdRanges")) {
            return;
        }
        let domain = &draft.domain.name;
        let ports = match self.block(index, draft) {
            Ok(ports) => ports.ports(),
            Err(reason) => {
                let problem = format!("streaming domain `{domain}` does not fit: {reason}");
                let remedy = match reason {
                    Ineligible::Unmappable(_) => "take a smaller port, or fewer node ids",
                    _ => "leave a port for every node id behind the route's own",
                };
                findings.fault(&claim.path, problem, remedy);
                return;
            }
        };
        for (_, other) in self.others(index) {
            if other.port > *ports.start() && other.port <= *ports.end() {
                let problem = format!(
                    "needs ports {} to {} for the node ids of `{domain}`, and port {} belongs to {}",
                    ports.start(),
                    ports.end(),
                    other.port,
                    other.owner,
                );
                let remedy = match ports.end().checked_add(1) {
                    Some(free) => format!(
                        "let {} begin at port {free} or above, or give both a `bindAddress` of their own",
                        other.owner
                    ),
                    None => "give both a `bindAddress` of their own".to_owned(),
                };
                findings.fault(&claim.path, problem, remedy);
            }
        }
    }

    /// The nearest port above a claim's own that belongs to another.
    fn ceiling(&self, index: usize) -> Option<&'p Claim> {
        let port = self.claims[index].port;
        let above = self.others(index).map(|(_, other)| other).filter(|other| other.port > port);
        above.min_by_key(|other| other.port)
    }

    /// The ports of a route under a domain; default ranges are cut back, written ones are not.
    fn block(&self, index: usize, draft: &domains::Draft) -> Result<PortMap, Ineligible> {
        let claim = &self.claims[index];
        let ranges = &draft.domain.node_id_ranges;
        if draft.ranges_written {
            return Ok(PortMap::new(claim.port, ranges)?);
        }
        let ceiling = self.ceiling(index);
        let last_free = ceiling.map_or(u16::MAX, |above| above.port - 1);
        let room = i32::from(last_free - claim.port);
        if room == 0 {
            let Some(above) = ceiling else {
                let bootstrap_port = claim.port;
                return Err(PortMapError::BeyondLastPort { bootstrap_port, needed: 2 }.into());
            };
            return Err(Ineligible::NoRoom { port: above.port, owner: Arc::clone(&above.owner) });
        }
        // The default is one range, and only that may be shortened.
        let cut = |range: &RangeInclusive<i32>| {
            *range.start()..=(*range.end()).min(range.start().saturating_add(room - 1))
        };
        Ok(PortMap::new(claim.port, &ranges.iter().map(cut).collect::<Vec<_>>())?)
    }

    /// Targets are given their ports first, then the other domains in their order, route by route: who comes
    /// later and finds a port taken is not eligible.
    fn candidates(&self) -> Vec<Candidates> {
        let mut candidates: Vec<Candidates> =
            self.claims.iter().map(|_| Candidates::new()).collect();
        let mut reserved: Vec<RangeInclusive<u16>> =
            self.claims.iter().map(|claim| claim.port..=claim.port).collect();
        let routes = || self.claims.iter().enumerate().filter(|(_, claim)| claim.target.is_some());
        for targets in [true, false] {
            for (index, claim) in routes() {
                for (name, draft) in self.domains {
                    if (claim.target.as_ref() == Some(name)) != targets {
                        continue;
                    }
                    let candidate = self.candidate(index, draft, &reserved);
                    if let Ok(ports) = &candidate {
                        let end = (*reserved[index].end()).max(*ports.ports().end());
                        reserved[index] = claim.port..=end;
                    }
                    candidates[index].insert(Arc::clone(name), candidate);
                }
            }
        }
        candidates
    }

    fn candidate(
        &self,
        index: usize,
        draft: &domains::Draft,
        reserved: &[RangeInclusive<u16>],
    ) -> Result<Arc<PortMap>, Ineligible> {
        let map = self.block(index, draft)?;
        let ports = map.ports();
        for (other, claim) in self.others(index) {
            let taken = &reserved[other];
            if taken.start() <= ports.end() && ports.start() <= taken.end() {
                let port = *taken.start().max(ports.start());
                return Err(Ineligible::PortTaken { ports, port, owner: Arc::clone(&claim.owner) });
            }
        }
        Ok(Arc::new(map))
    }

    fn notices(&self, claim: &Claim, candidates: &Candidates, findings: &mut Findings) {
        for (name, candidate) in candidates {
            match candidate {
                Err(reason) => {
                    let message =
                        format!("cannot be pointed at streaming domain `{name}`: {reason}");
                    findings.notice(&claim.path, message);
                }
                Ok(ports) => self.notice_cut(claim, name, ports, findings),
            }
        }
        let mut eligible =
            candidates.iter().filter_map(|(name, ports)| Some((name, ports.as_ref().ok()?)));
        let Some((first_name, first)) = eligible.next() else { return };
        for (name, ports) in eligible {
            let differs = first.nodes().zip(ports.nodes()).find(|(left, right)| left != right);
            if let Some(((first_node, port), (node, _))) = differs {
                let message = format!(
                    "after a switch a port means another node: port {port} is node {first_node} of \
                     `{first_name}` and node {node} of `{name}`; the same `nodeIdRanges` for all domains \
                     would avoid that"
                );
                findings.notice(&claim.path, message);
                return;
            }
        }
    }

    fn notice_cut(&self, claim: &Claim, name: &Arc<str>, ports: &PortMap, findings: &mut Findings) {
        let Some(draft) = self.domains.get(name).filter(|draft| !draft.ranges_written) else {
            return;
        };
        if ports.node_ranges().eq(draft.domain.node_id_ranges.iter().cloned()) {
            return;
        }
        let last = ports.node_ranges().last().map_or(0, |range| *range.end());
        let message = format!(
            "only node ids 0 to {last} of streaming domain `{name}` get a port, up to {}: the next one is \
             taken; write `nodeIdRanges`, or leave more room behind port {}",
            ports.ports().end(),
            claim.port,
        );
        findings.notice(&claim.path, message);
    }
}
