//! The catalogue of metrics, and how logs are written.

pub mod catalogue;
mod histogram;
pub mod log;
mod route;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        TypedMetric,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
    },
    registry::Registry,
};

pub use catalogue::CATALOGUE;
use histogram::Histogram;
pub use route::RouteMetrics;

/// Label values of one metric, in the order of the catalogue's label names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels(Vec<(&'static str, String)>);

impl EncodeLabelSet for Labels {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

/// One metric under all of its labels.
struct Labelled<M, C = fn() -> M> {
    names: &'static [&'static str],
    family: Family<Labels, M, C>,
}

impl<M: Clone, C: MetricConstructor<M>> Labelled<M, C> {
    /// The metric under these label values.
    fn with(&self, values: &[&str]) -> M {
        assert_eq!(self.names.len(), values.len(), "label values do not match the catalogue");
        let pairs = self.names.iter().zip(values).map(|(name, value)| (*name, (*value).to_owned()));
        self.family.get_or_create(&Labels(pairs.collect())).clone()
    }

    fn clear(&self) {
        self.family.clear();
    }
}

type GaugeF64 = Gauge<f64, AtomicU64>;

/// Every metric of a gateway. Byte and request counters go through [`RouteMetrics`], which a session
/// holds on to.
pub struct Metrics {
    registry: Registry,
    routes: Mutex<BTreeMap<(String, String), Arc<RouteMetrics>>>,
    families: Arc<Families>,
}

/// The families behind all handles.
struct Families {
    connections: Labelled<Counter>,
    closes: Labelled<Counter>,
    bytes: Labelled<Counter>,
    requests: Labelled<Counter>,
    latency: Labelled<Histogram>,
    rewrites: Labelled<Counter>,
    short_circuits: Labelled<Counter>,
    refusals: Labelled<Counter>,
    parked: Labelled<Counter>,
    dropped_nodes: Labelled<Counter>,
    upstream_connects: Labelled<Counter>,
    probes: Labelled<Counter>,
    commands: Labelled<Counter>,
    reloads: Labelled<Counter>,
    config_applied: GaugeF64,
    sessions: Labelled<Gauge>,
    sessions_behind: Labelled<Gauge>,
    in_flight: Labelled<Gauge>,
    parked_bytes: Labelled<Gauge>,
    revision: Labelled<Gauge>,
    phase: Labelled<Gauge>,
    fenced: Labelled<Gauge>,
}

/// What a look at the routes gives, for the gauges; see [`Metrics::render`].
pub struct RouteGauges<'a> {
    /// The route.
    pub route: &'a str,
    /// The domain that it points at.
    pub domain: &'a str,
    /// Its phase's label.
    pub phase: &'a str,
    /// Mode of the fence that stands.
    pub fence: Option<&'a str>,
    /// Its revision.
    pub revision: u64,
    /// What its sessions have done.
    pub observed: crate::route::Observed,
}

/// Registers metrics by their catalogue entries.
struct Registration {
    registry: Registry,
}

impl Registration {
    fn add(&mut self, name: &str, metric: impl prometheus_client::registry::Metric) {
        // Counters get `_total` from the encoder.
        let name = name.strip_prefix(catalogue::PREFIX).unwrap_or(name);
        let help = catalogue::entry(name).meaning;
        self.registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric);
    }

    fn labelled<M>(&mut self, name: &str) -> Labelled<M>
    where
        M: EncodeMetric + TypedMetric + Default + Clone + Send + Sync + fmt::Debug + 'static,
    {
        let family = Family::<Labels, M>::default();
        self.add(name, family.clone());
        Labelled { names: catalogue::entry(name).labels, family }
    }
}

impl Metrics {
    /// All metrics at zero; `common_tags` are put on each.
    pub fn new(common_tags: &BTreeMap<String, String>) -> Self {
        let tags = common_tags.iter().map(|(k, v)| (k.clone().into(), v.clone().into()));
        let registry = Registry::with_prefix_and_labels(
            catalogue::PREFIX.trim_end_matches('_'),
            tags.collect::<Vec<_>>().into_iter(),
        );
        let mut r = Registration { registry };
        let build: Labelled<Gauge> = r.labelled("build_info");
        build.with(&[env!("CARGO_PKG_VERSION")]).set(1);
        let config_applied = GaugeF64::default();
        r.add("config_applied_timestamp_seconds", config_applied.clone());
        let families = Families {
            connections: r.labelled("connections_total"),
            closes: r.labelled("closes_total"),
            bytes: r.labelled("bytes_total"),
            requests: r.labelled("requests_total"),
            latency: r.labelled("request_seconds"),
            rewrites: r.labelled("rewrites_total"),
            short_circuits: r.labelled("short_circuit_answers_total"),
            refusals: r.labelled("refused_requests_total"),
            parked: r.labelled("parked_requests_total"),
            dropped_nodes: r.labelled("dropped_nodes_total"),
            upstream_connects: r.labelled("upstream_connects_total"),
            probes: r.labelled("probes_total"),
            commands: r.labelled("commands_total"),
            reloads: r.labelled("reloads_total"),
            config_applied,
            sessions: r.labelled("sessions"),
            sessions_behind: r.labelled("sessions_behind"),
            in_flight: r.labelled("in_flight_requests"),
            parked_bytes: r.labelled("parked_bytes"),
            revision: r.labelled("route_revision"),
            phase: r.labelled("route_phase"),
            fenced: r.labelled("route_fenced"),
        };
        Self { registry: r.registry, routes: Mutex::default(), families: Arc::new(families) }
    }

    /// The counters of a route while it points at a domain.
    pub fn route(&self, route: &str, domain: &str) -> Arc<RouteMetrics> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (route.to_owned(), domain.to_owned());
        let metrics = || Arc::new(RouteMetrics::new(&self.families, route, domain));
        Arc::clone(routes.entry(key).or_insert_with(metrics))
    }

    /// An attempt to connect upstream has ended.
    pub fn upstream_connect(&self, domain: &str, outcome: &str) {
        self.families.upstream_connects.with(&[domain, outcome]).inc();
    }

    /// A look at a domain has ended.
    pub fn probe(&self, domain: &str, outcome: &str) {
        self.families.probes.with(&[domain, outcome]).inc();
    }

    /// A command was taken or refused.
    pub fn command(&self, command: &str, outcome: &str) {
        self.families.commands.with(&[command, outcome]).inc();
    }

    /// A configuration was applied or refused.
    pub fn reload(&self, outcome: &str) {
        self.families.reloads.with(&[outcome]).inc();
    }

    /// A configuration came into force, seconds after the Unix epoch.
    pub fn config_applied(&self, unix_seconds: f64) {
        self.families.config_applied.set(unix_seconds);
    }

    /// Everything in OpenMetrics text; the gauges are those of the routes given.
    pub fn render(&self, routes: &[RouteGauges<'_>]) -> String {
        let f = &self.families;
        for gauge in [
            &f.sessions,
            &f.sessions_behind,
            &f.in_flight,
            &f.parked_bytes,
            &f.revision,
            &f.phase,
            &f.fenced,
        ] {
            gauge.clear(); // A route may be gone, or point elsewhere.
        }
        let set = |gauge: &Labelled<Gauge>, labels: &[&str], value: usize| {
            gauge.with(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        for route in routes {
            let name = route.route;
            set(&f.sessions, &[name, route.domain], route.observed.sessions);
            set(&f.sessions_behind, &[name], route.observed.sessions_behind);
            set(&f.in_flight, &[name], route.observed.in_flight);
            set(&f.parked_bytes, &[name], route.observed.parked_bytes);
            f.revision.with(&[name]).set(i64::try_from(route.revision).unwrap_or(i64::MAX));
            set(&f.phase, &[name, route.phase], 1);
            set(
                &f.fenced,
                &[name, route.fence.unwrap_or("none")],
                usize::from(route.fence.is_some()),
            );
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&BTreeMap::new())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::{AnswerKind, CloseCause};

    fn used() -> Metrics {
        let metrics = Metrics::new(&BTreeMap::from([("site".to_owned(), "west".to_owned())]));
        let route = metrics.route("sales", "a");
        route.opened();
        route.closed(CloseCause::ClientClosed);
        route.bytes_from_client(10);
        route.bytes_to_client(20);
        route.request(0);
        route.latency(0, Duration::from_millis(3));
        route.rewritten(3);
        route.short_circuit(3, AnswerKind::Fence);
        route.refused(99);
        route.parked();
        route.dropped_nodes(2);
        metrics.upstream_connect("a", "connected");
        metrics.probe("a", "answered");
        metrics.command("fence", "accepted");
        metrics.reload("applied");
        metrics.config_applied(1.5);
        metrics
    }

    fn rendered() -> String {
        used().render(&[RouteGauges {
            route: "sales",
            domain: "a",
            phase: "fenced",
            fence: Some("hold"),
            revision: 7,
            observed: crate::route::Observed { sessions: 3, ..Default::default() },
        }])
    }

    /// What is documented must exist, and what exists must be documented, types and labels included.
    #[test]
    fn catalogue_and_registry_agree() {
        let text = rendered();
        let mut registered = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            {
                let suffix = if kind == "counter" { "_total" } else { "" };
                registered.insert(format!("{name}{suffix}"), kind.to_owned());
            }
        }
        let documented: BTreeMap<_, _> = CATALOGUE
            .iter()
            .map(|entry| (format!("{}{}", catalogue::PREFIX, entry.name), entry.kind.to_owned()))
            .collect();
        assert_eq!(registered, documented);
        for entry in CATALOGUE {
            let name = format!("{}{}", catalogue::PREFIX, entry.name);
            let sample = text
                .lines()
                .find(|line| line.starts_with(&name))
                .unwrap_or_else(|| panic!("{name} has no sample"));
            for label in entry.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{sample} lacks {label}");
            }
            assert!(sample.contains("site=\"west\""), "{sample} lacks the common tag");
        }
    }

    #[test]
    fn histogram_counts_into_the_bucket_of_the_value() {
        let text = rendered();
        let bucket = |le: &str| {
            let line = text.lines().find(|line| {
                line.contains("request_seconds_bucket") && line.contains(&format!("le=\"{le}\""))
            });
            line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        assert_eq!(bucket("0.0025").as_deref(), Some("0"), "{text}");
        assert_eq!(bucket("0.005").as_deref(), Some("1"));
        assert_eq!(bucket("+Inf").as_deref(), Some("1"));
    }

    /// The table in the documentation is the catalogue's.
    #[test]
    fn documentation_shows_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let wanted = catalogue::markdown();
        if std::env::var_os("SWITCHYARD_UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).expect("docs/ can be written");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(found, wanted, "run the tests with SWITCHYARD_UPDATE_DOCS=1 to write it anew");
    }
}
