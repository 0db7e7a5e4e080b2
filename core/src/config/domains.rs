//! Streaming domains as written → checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
};

use super::{
    defaults, digest,
    findings::{Findings, Path, quoted},
    model::{BootstrapServer, Domain},
    raw, values,
};

/// A domain whose name is known; the rest may still lack what is reported as a fault.
pub(super) struct Draft {
    pub(super) path: Path,
    pub(super) domain: Domain,
    /// Whether the ranges stand in the file, and so must not be cut back.
    pub(super) ranges_written: bool,
}

/// Path of the `index`th domain.
pub(super) fn path(index: usize) -> Path {
    Path::root().key("streamingDomains").index(index)
}

/// Every domain that has a name of its own.
pub(super) fn read(
    domains: &[raw::StreamingDomain],
    findings: &mut Findings,
) -> BTreeMap<Arc<str>, Draft> {
    let mut drafts = BTreeMap::<Arc<str>, Draft>::new();
    for (index, raw) in domains.iter().enumerate() {
        let path = path(index);
        let draft = read_one(raw, &path, findings);
        let Some(name) = &raw.name else { continue };
        check_name(name, &path.key("name"), findings);
        if let Some(first) = drafts.get(name.as_str()) {
            doubled(name, &first.path, &path.key("name"), findings);
        } else {
            drafts.insert(Arc::clone(&draft.domain.name), draft);
        }
    }
    check_tags(&drafts, findings);
    drafts
}

fn read_one(raw: &raw::StreamingDomain, path: &Path, findings: &mut Findings) -> Draft {
    let name: Arc<str> = raw.name.as_deref().unwrap_or_default().into();
    let cluster = raw.kafka_cluster.as_ref();
    let cluster_path = path.key("kafkaCluster");

    let servers = cluster.and_then(|cluster| cluster.bootstrap_servers.as_deref());
    let servers_path = cluster_path.key("bootstrapServers");
    let bootstrap_servers = bootstrap_servers(servers.unwrap_or_default(), &servers_path, findings);

    let ranges = cluster.and_then(|cluster| cluster.node_id_ranges.as_deref());
    let ranges_path = cluster_path.key("nodeIdRanges");
    let node_id_ranges = match ranges {
        Some(ranges) => node_id_ranges(ranges, &ranges_path, findings),
        None => {
            let (first, last) = (defaults::NODE_IDS.start(), defaults::NODE_IDS.end());
            let message = format!(
                "no `nodeIdRanges`: node ids {first} to {last} get a port each, as far as ports are free; \
                 brokers with other ids are not shown to clients"
            );
            findings.notice(&cluster_path, message);
            vec![defaults::NODE_IDS]
        }
    };

    let cluster_name = cluster.and_then(|cluster| cluster.name.as_deref());
    let domain = Domain {
        cluster_name: cluster_name.map_or_else(|| Arc::clone(&name), Arc::from),
        bootstrap_servers,
        node_id_ranges,
        producer_id_tag: digest::producer_id_tag(&name),
        name,
    };
    Draft { path: path.clone(), domain, ranges_written: ranges.is_some() }
}

fn bootstrap_servers(
    servers: &[raw::BootstrapServer],
    path: &Path,
    findings: &mut Findings,
) -> Vec<BootstrapServer> {
    let mut read = Vec::new();
    let mut seen = BTreeMap::<&str, Path>::new();
    for (index, server) in servers.iter().enumerate() {
        let path = path.index(index);
        if let Some(id) = &server.id {
            check_name(id, &path.key("id"), findings);
            if let Some(first) = seen.get(id.as_str()) {
                doubled(id, first, &path.key("id"), findings);
            } else {
                seen.insert(id, path.clone());
            }
        }
        let Some(endpoint) = &server.endpoint else { continue };
        match values::endpoint(endpoint) {
            Ok(endpoint) => {
                if endpoint.tls_asked {
                    let message = "asks for TLS, which the gateway does not speak to brokers yet: it will \
                                   send plaintext, so this must be a plaintext listener";
                    findings.notice(&path.key("endpoint"), message);
                }
                let id = server.id.as_deref().unwrap_or_default().into();
                read.push(BootstrapServer { id, addresses: endpoint.addresses });
            }
            Err(wrong) => findings.fault(&path.key("endpoint"), wrong.problem, wrong.remedy),
        }
    }
    read
}

/// The ranges in their own order; those at fault are left out.
fn node_id_ranges(
    ranges: &[raw::NodeIdRange],
    path: &Path,
    findings: &mut Findings,
) -> Vec<RangeInclusive<i32>> {
    /// Every node id needs a port behind the bootstrap port, and port 0 is none.
    const NODE_IDS_MAX: i64 = 65_534;

    let mut read: Vec<(i32, i32, usize)> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let (Some(start), Some(end)) = (range.start, range.end) else { continue };
        if start > end {
            let problem = format!("ends at {end}, before it starts at {start}");
            findings.fault(&path.index(index), problem, "write the smaller node id as `start`");
        } else {
            read.push((start, end, index));
        }
    }
    let mut ascending = read.clone();
    ascending.sort_unstable();
    // The widest of the ranges so far: with a range inside another, the neighbour is not enough.
    let mut widest: Option<(i32, i32, usize)> = None;
    for range in ascending {
        if let Some(wide) = widest
            && range.0 <= wide.1
        {
            let (first, second) = if wide.2 < range.2 { (wide, range) } else { (range, wide) };
            let problem = format!(
                "{} to {} overlaps {} to {} (`{}`)",
                second.0,
                second.1,
                first.0,
                first.1,
                path.index(first.2),
            );
            let remedy = "let every node id stand in one range only";
            findings.fault(&path.index(second.2), problem, remedy);
        }
        if widest.is_none_or(|wide| range.1 > wide.1) {
            widest = Some(range);
        }
    }
    let total: i64 =
        read.iter().map(|(start, end, _)| i64::from(*end) - i64::from(*start) + 1).sum();
    if total > NODE_IDS_MAX {
        let problem = format!("hold {total} node ids, more than there are ports");
        findings.fault(
            path,
            problem,
            "write the node ids that the cluster has, and a few to spare",
        );
    }
    read.into_iter().map(|(start, end, _)| start..=end).collect()
}

/// Two domains whose producer ids could not be kept apart.
fn check_tags(drafts: &BTreeMap<Arc<str>, Draft>, findings: &mut Findings) {
    let mut seen = BTreeMap::<u32, &Draft>::new();
    let mut in_file_order: Vec<&Draft> = drafts.values().collect();
    in_file_order.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    for draft in in_file_order {
        let Some(first) = seen.insert(draft.domain.producer_id_tag.0, draft) else { continue };
        let problem = format!(
            "producer ids of this domain could not be told from those of {}: both names have tag {}",
            quoted(&first.domain.name),
            draft.domain.producer_id_tag.0,
        );
        findings.fault(
            &draft.path.key("name"),
            problem,
            "give this domain a slightly different name",
        );
    }
}

/// Names stand in logs, metrics and addresses of the control API.
pub(super) fn check_name(name: &str, path: &Path, findings: &mut Findings) {
    let bad = |character: char| character.is_control() || character == '/';
    if name.chars().any(bad) || name.trim() != name {
        let problem = format!("{} cannot be used as a name", quoted(name));
        findings.fault(path, problem, "leave out `/`, control characters and outer blanks");
    }
}

/// A name that something of the same kind has already.
pub(super) fn doubled(name: &str, first: &Path, path: &Path, findings: &mut Findings) {
    let line = findings.line(first).map_or_else(String::new, |line| format!(" on line {line}"));
    let problem = format!("{} is taken by `{first}`{line}", quoted(name));
    findings.fault(path, problem, "give each a name of its own");
}

/// Names of all domains, for the remedy of a reference that leads nowhere.
pub(super) fn names(drafts: &BTreeMap<Arc<str>, Draft>) -> BTreeSet<&str> {
    drafts.keys().map(|name| &**name).collect()
}
