//! Routes as written → checked.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, sync::Arc};

use serde_json::Value;

use super::{
    defaults, digest, domains,
    findings::{Findings, Path, quoted},
    model::{Fence, FenceMode, Route},
    operation::Section,
    ports::{Candidates, Claim, Scope},
    raw, suggest,
    values::{self, KafkaError},
};
use crate::{route::Target, topology::BrokerAddress, wire::api::ClientView};

type Domains = BTreeMap<Arc<str>, domains::Draft>;

/// The domains that have a name, and whether these are all.
type Named<'d> = (&'d Domains, bool);

/// A route in which everything but its ports has been checked.
pub(super) struct Draft {
    path: Path,
    name: Arc<str>,
    endpoint: BrokerAddress,
    bind: Option<IpAddr>,
    target: Target,
    fence: Option<Fence>,
    fence_defaults: Fence,
    client_view: ClientView,
    digest: Arc<str>,
}

/// Every route that could be read so far; `sections` are the routes as they stand in the file.
pub(super) fn read(
    routes: &[raw::Route],
    sections: &[Value],
    domains: Named<'_>,
    findings: &mut Findings,
) -> Vec<Draft> {
    let mut names = BTreeMap::<&str, Path>::new();
    let mut drafts = Vec::new();
    for (index, raw) in routes.iter().enumerate() {
        let path = Path::root().key("routes").index(index);
        if let Some(name) = &raw.name {
            domains::check_name(name, &path.key("name"), findings);
            if let Some(first) = names.get(name.as_str()) {
                domains::doubled(name, first, &path.key("name"), findings);
            } else {
                names.insert(name, path.clone());
            }
        }
        let section = sections.get(index).unwrap_or(&Value::Null);
        drafts.extend(read_one(raw, section, &path, domains, findings));
    }
    drafts
}

fn read_one(
    raw: &raw::Route,
    section: &Value,
    path: &Path,
    domains: Named<'_>,
    findings: &mut Findings,
) -> Option<Draft> {
    let endpoint = raw.endpoint.as_deref();
    let endpoint = endpoint.and_then(|text| endpoint_of(text, &path.key("endpoint"), findings));
    let bind = raw.bind_address.as_deref().map(values::listen_address);
    let bind = bind.and_then(|read| {
        read.map_err(|wrong| {
            findings.fault(&path.key("bindAddress"), wrong.problem, wrong.remedy);
        })
        .ok()
    });
    let target = target(raw, path, domains, findings);
    let fence_path = path.key("fence");
    let no_fence = raw::Fence::default();
    let raw_fence = raw.fence.as_ref().unwrap_or(&no_fence);
    let fence_defaults = fence(raw_fence, fence_path, findings);
    let fenced = raw_fence.scope == Some(raw::FenceScope::All);
    let client_view = client_view(raw.client_view, path, domains.0.len(), findings);
    Some(Draft {
        path: path.clone(),
        name: raw.name.as_deref()?.into(),
        endpoint: endpoint?,
        bind,
        target: target?,
        fence: fenced.then(|| fence_defaults.clone()),
        fence_defaults,
        client_view,
        digest: digest::of_section(section).into(),
    })
}

fn endpoint_of(text: &str, path: &Path, findings: &mut Findings) -> Option<BrokerAddress> {
    let endpoint = match values::endpoint(text) {
        Ok(endpoint) => endpoint,
        Err(wrong) => {
            findings.fault(path, wrong.problem, wrong.remedy);
            return None;
        }
    };
    let [address] = endpoint.addresses.as_slice() else {
        let remedy = "write one `host:port`; a name can stand for several gateways";
        findings.fault(path, "is more than one address", remedy);
        return None;
    };
    if endpoint.tls_asked {
        let message = "asks for TLS, which the gateway does not speak to clients yet: clients must use \
                       PLAINTEXT or SASL_PLAINTEXT";
        findings.notice(path, message);
    }
    if address.host.parse().is_ok_and(|address: IpAddr| address.is_unspecified()) {
        let message = format!(
            "clients are told to connect to {}, which only works on this machine; write the host that they \
             can reach, and `bindAddress: {}`",
            address.host, address.host,
        );
        findings.notice(path, message);
    }
    Some(address.clone())
}

fn target(
    raw: &raw::Route,
    path: &Path,
    domains: Named<'_>,
    findings: &mut Findings,
) -> Option<Target> {
    let reference = raw.streaming_domain.as_ref()?;
    let path = path.key("streamingDomain");
    let name = reference.name.as_deref()?;
    let (domains, all_named) = domains;
    let Some(draft) = domains.get(name) else {
        if all_named {
            let problem = format!("no streaming domain is called {}", quoted(name));
            let remedy = reference_remedy(name, domains::names(domains));
            findings.fault(&path.key("name"), problem, remedy);
        }
        return None;
    };
    if findings.is_faulty(&draft.path.key("kafkaCluster.bootstrapServers")) {
        return None;
    }
    let servers = &draft.domain.bootstrap_servers;
    let ids = || servers.iter().map(|server| &*server.id);
    let bootstrap_server_id = match (reference.bootstrap_server_id.as_deref(), servers.as_slice()) {
        (Some(id), servers) => servers.iter().find(|server| &*server.id == id).or_else(|| {
            let problem =
                format!("streaming domain `{name}` has no bootstrap server {}", quoted(id));
            findings.fault(&path.key("bootstrapServerId"), problem, reference_remedy(id, ids()));
            None
        }),
        (None, [only]) => {
            let message =
                format!("no `bootstrapServerId`: `{}` is the only one of `{name}`", only.id);
            findings.notice(&path, message);
            Some(only)
        }
        (None, _) => {
            let problem =
                format!("is missing, and `{name}` has {} bootstrap servers", servers.len());
            let remedy = format!("write {}", suggest::alternatives(ids()));
            findings.fault(&path.key("bootstrapServerId"), problem, remedy);
            None
        }
    };
    let bootstrap_server_id = Arc::clone(&bootstrap_server_id?.id);
    Some(Target { domain: Arc::clone(&draft.domain.name), bootstrap_server_id })
}

fn reference_remedy<'n>(name: &str, names: impl IntoIterator<Item = &'n str> + Clone) -> String {
    match suggest::nearest(name, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write {}", suggest::alternatives(names)),
    }
}

fn fence(raw: &raw::Fence, path: Path, findings: &mut Findings) -> Fence {
    const HOLD_BYTES: RangeInclusive<usize> = 1024..=0x7fff_ffff;
    let mode = raw.mode.unwrap_or(FenceMode::Error);
    let mut section = Section { path: path.clone(), findings };
    let hold_time_max =
        section.time("holdTimeMax", raw.hold_time_max.as_deref(), &defaults::HOLD_TIME);
    let hold_bytes_max = section.bytes(
        "holdBytesMax",
        raw.hold_bytes_max.as_ref(),
        &defaults::HOLD_BYTES,
        HOLD_BYTES,
    );
    let error = raw.error_code.as_ref().and_then(|code| match values::kafka_error(code) {
        Ok(error) => Some(error),
        Err(wrong) => {
            findings.fault(&path.key("errorCode"), wrong.problem, wrong.remedy);
            None
        }
    });
    let error_code = error.as_ref().map_or(defaults::FENCE_ERROR_CODE, |error| error.code);
    let answers = raw.scope == Some(raw::FenceScope::All) && mode == FenceMode::Error;
    if error.is_some() || answers {
        notice_error(error_code, &path, findings);
    }
    Fence {
        mode,
        error_code,
        error_message: raw.error_message.as_deref().map(Arc::from),
        hold_bytes_max,
        hold_time_max,
    }
}

fn notice_error(code: i16, path: &Path, findings: &mut Findings) {
    let error = values::kafka_errors().find(|error| error.code == code);
    if let Some(KafkaError { name, retriable: false, .. }) = error {
        let message = format!(
            "{name} is not an error that Kafka calls retriable: some clients fail at once when they get it; \
             NOT_LEADER_OR_FOLLOWER or `mode: hold` let them retry"
        );
        findings.notice(&path.key("errorCode"), message);
    }
}

fn client_view(
    written: Option<ClientView>,
    path: &Path,
    domain_count: usize,
    findings: &mut Findings,
) -> ClientView {
    let several = domain_count > 1;
    let view = match written {
        Some(view) => view,
        None if several => ClientView::Neutral,
        None => ClientView::Native,
    };
    let message = match (view, written, several) {
        (ClientView::Neutral, written, _) => {
            let why = match written {
                Some(_) => "neutral view",
                None => "neutral view, because several streaming domains are configured",
            };
            format!(
                "{why}: clients can be moved between clusters, and have no KIP-848 groups (consumer, share, \
                 streams), no truncation check (KIP-320) and no fast leader discovery (KIP-951)"
            )
        }
        (ClientView::Native, Some(_), true) => {
            "native view with several streaming domains: clients learn leader epochs, topic ids and \
             producer ids of one cluster, and may get stuck, replay or lose records when they are moved to \
             another"
                .to_owned()
        }
        (ClientView::Native, None, _) => {
            "native view, because one streaming domain is configured: clients see the cluster as it is"
                .to_owned()
        }
        (ClientView::Native, Some(_), false) => return view,
    };
    findings.notice(&path.key("clientView"), message);
    view
}

impl Draft {
    /// What the route needs of the machine's ports.
    pub(super) fn claim(&self) -> Claim {
        let scope =
            self.bind.map_or_else(|| Scope::of_host(&self.endpoint.host), Scope::of_address);
        Claim {
            path: self.path.key("endpoint"),
            owner: format!("route `{}`", self.name).into(),
            scope,
            port: self.endpoint.port,
            target: Some(Arc::clone(&self.target.domain)),
        }
    }

    /// The route with its ports.
    pub(super) fn finish(
        self,
        candidates: Candidates,
        domains: &Domains,
        findings: &mut Findings,
    ) -> Route {
        let route = Route {
            name: self.name,
            host: self.endpoint.host.into(),
            port: self.endpoint.port,
            bind: self.bind,
            target: self.target,
            fence: self.fence,
            fence_defaults: self.fence_defaults,
            client_view: self.client_view,
            candidates,
            digest: self.digest,
        };
        notice_loops(&route, &self.path.key("endpoint"), domains, findings);
        route
    }
}

/// A broker under the route's own name and port: right where names resolve differently for the gateway,
/// an endless loop otherwise.
fn notice_loops(route: &Route, path: &Path, domains: &Domains, findings: &mut Findings) {
    for (name, ports) in route.eligible() {
        let servers =
            domains.get(name).into_iter().flat_map(|draft| &draft.domain.bootstrap_servers);
        for address in servers.flat_map(|server| &server.addresses) {
            let same_host = address.host.eq_ignore_ascii_case(&route.host);
            if same_host && ports.ports().contains(&address.port) {
                let message = format!(
                    "{address} is a port of this route and a bootstrap server of `{name}`: unless the name \
                     means something else to the gateway, it will connect to itself"
                );
                findings.notice(path, message);
            }
        }
    }
}
