//! The gateway held against no gateway: the same requests to real Kafka directly and through it, and the same answers but
//! for what it is there to change.
//!
//! What is forwarded is enumerated from the gateway's own table: a version of an API that no request of `corpus-gateway`
//! exercises fails the test, in both views.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kafka_protocol::messages::ApiVersionsRequest;
use switchyard::wire::{
    api::{self, ClientView},
    api_versions::API_VERSIONS,
};
use switchyard_itests::{
    Result,
    cluster::{Cluster, Plan},
    differential::{
        allowed::{Allowance, Allowances},
        bench::Bench,
        gateway_and_none::{BOTH_VIEWS, NEUTRAL, OF_ITSELF},
        parse,
        target::{Lie, Target},
        term::{Ask, Sequence, Step, Term},
        value::Value,
    },
    gateway::{Config, Gateway},
    itest_within, java,
    version::Version,
    wire,
    world::create_topic,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
};

/// Two nodes: a broker that does not lead a partition says who does.
const NODES: [i32; 2] = [1, 2];

/// What makes brokers serve requests that they refuse otherwise.
const SETTINGS: [(&str, &str); 4] = [
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
    ("delegation.token.secret.key", "secret"),
    // As many partitions as the topic gets that is made below.
    ("share.coordinator.state.topic.num.partitions", "5"),
];

/// Sequences that are played at the same time: requests that wait cost no time of others.
const AT_ONCE: usize = 4;

/// The address that a gateway shows, and the broker's in its place.
static BEHIND: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// The cluster of this file's tests.
async fn cluster() -> Result<&'static Cluster> {
    CLUSTER.get_or_try_init(start).await
}

/// A cluster whose coordinators are all on node 1, so that groups of all names are found there.
async fn start() -> Result<Cluster> {
    let mut plan = Plan::published("direct", "switchyardGatewayDif00", 14, &NODES);
    plan.settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let cluster = Cluster::start(plan).await?;
    for topic in ["__consumer_offsets", "__transaction_state"] {
        create_topic(&cluster, topic, &[&[1_i32] as &[i32]; 5]).await?;
    }
    let version = Version::under_test()?;
    if version.since(4, 1) && !version.since(4, 2) {
        // A preview then, which brokers serve when they are told to.
        let arguments = ["upgrade", "--feature", "share.version=1"];
        let at = ["--bootstrap-server", &cluster.address(1)];
        java::tool("org.apache.kafka.tools.FeatureCommand", &[&at[..], &arguments].concat())
            .await?;
    }
    if version.since(4, 1) {
        create_topic(&cluster, "__share_group_state", &[&[1_i32] as &[i32]; 5]).await?;
    }
    Ok(cluster)
}

/// All sequences, with the versions that a view forwards. With `SWITCHYARD_DIFFERENTIAL_FILE` those of that file alone.
fn corpus(view: ClientView) -> Result<Vec<Sequence>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus-gateway");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    files.sort();
    if let Ok(file) = std::env::var("SWITCHYARD_DIFFERENTIAL_FILE") {
        files = vec![file.into()];
    }
    let mut found = Vec::new();
    for file in files {
        let sequences = parse::sequences(&std::fs::read_to_string(&file)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        found.extend(sequences.into_iter().map(|sequence| under(view, sequence)));
    }
    Ok(found)
}

/// The sequence with those versions only that the gateway forwards under a view. Steps that have none are left out.
fn under(view: ClientView, mut sequence: Sequence) -> Sequence {
    sequence.steps.retain_mut(|step| {
        let Step::Ask(ask) = step else { return true };
        let Some(supported) = api::supported(ask.api.key, view) else { return false };
        let first = *ask.versions.start().max(supported.start());
        let last = *ask.versions.end().min(supported.end());
        ask.versions = first..=last;
        first <= last
    });
    sequence
}

/// Addresses become bytes, which are compared as they are; those of the gateway before that the brokers' for which they stand,
/// and any other something that no broker says.
fn plain(answer: &mut Value, through: bool) {
    answer.visit_mut("", &mut |name, value| {
        if let ("ClusterId", Value::String(id)) = (name, &*value) {
            *value = Value::Bytes(id.clone().into_bytes());
        }
        let Value::Struct(fields) = value else { return };
        let place = |name| fields.iter().position(|(own, _)| own == name);
        let (Some(host), Some(port)) = (place("Host"), place("Port")) else { return };
        let (Value::String(name), Value::Int(number)) = (&fields[host].1, &fields[port].1) else {
            return;
        };
        if name.is_empty() {
            return;
        }
        let mut address = format!("{name}:{number}");
        if through {
            let behind = BEHIND.lock().unwrap_or_else(PoisonError::into_inner);
            let unknown = || format!("not the gateway's: {address}");
            address = behind.get(&address).cloned().unwrap_or_else(unknown);
        }
        fields[host].1 = Value::Bytes(address.into_bytes());
        fields[port].1 = Value::Null;
    });
}

/// Ids of producers that are not transactional carry a tag in the neutral view, above this bit.
const TAG_SHIFT: u32 = 40;

/// The producer id without its tag; one that has none where it should, or the other way round, becomes what no broker says.
fn without_tag(ask: &Ask, answer: &mut Value) {
    let Value::Struct(fields) = answer else { return };
    for (name, value) in fields {
        if let ("ProducerId", Value::Int(id @ 0..)) = (name.as_str(), &*value) {
            let transactional =
                ask.body.field("TransactionalId").is_some_and(|id| matches!(id, Term::Name(_)));
            *value = if transactional == (id >> TAG_SHIFT == 0) {
                Value::Int(id & ((1 << TAG_SHIFT) - 1))
            } else {
                Value::Bytes(format!("a wrong tag: {id:x}").into_bytes())
            };
        }
    }
}

/// What a broker offers becomes what the gateway's table promises to show of it.
fn with_versions_of_gateway(view: ClientView, ask: &Ask, answer: &mut Value) {
    if ask.api.key != API_VERSIONS {
        return;
    }
    answer.visit_mut("", &mut |name, value| {
        let ("ApiKeys", Value::Array(offered)) = (name, value) else { return };
        offered.retain_mut(|offer| {
            let number =
                |name| offer.field(name).and_then(Value::int).and_then(|it| i16::try_from(it).ok());
            let (Some(key), Some(min), Some(max)) =
                (number("ApiKey"), number("MinVersion"), number("MaxVersion"))
            else {
                return true;
            };
            let Some(own) = api::supported(key, view) else { return false };
            // Clients take a broker without Produce v0 for an ancient one.
            let min = if key == 0 { min } else { min.max(*own.start()) };
            let max = max.min(*own.end());
            let Value::Struct(fields) = offer else { return true };
            for (name, value) in fields {
                match name.as_str() {
                    "MinVersion" => *value = Value::Int(min.into()),
                    "MaxVersion" => *value = Value::Int(max.into()),
                    _ => {}
                }
            }
            min <= max
        });
    });
}

#[derive(Clone, Copy)]
struct Case {
    view: ClientView,
    name: &'static str,
    allowed: &'static [&'static [Allowance]],
    /// What makes the direct answers what they are promised to be through the gateway.
    direct: Lie,
    through: Lie,
    letters: [char; 2],
}

const CASES: [Case; 2] = [
    Case {
        view: ClientView::Native,
        name: "native",
        allowed: &[OF_ITSELF, BOTH_VIEWS],
        direct: |ask, answer| {
            with_versions_of_gateway(ClientView::Native, ask, answer);
            plain(answer, false);
        },
        through: |_, answer| plain(answer, true),
        letters: ['d', 'g'],
    },
    Case {
        view: ClientView::Neutral,
        name: "neutral",
        allowed: &[OF_ITSELF, BOTH_VIEWS, NEUTRAL],
        direct: |ask, answer| {
            with_versions_of_gateway(ClientView::Neutral, ask, answer);
            plain(answer, false);
        },
        through: |ask, answer| {
            if ask.api.name == "InitProducerId" {
                without_tag(ask, answer);
            }
            plain(answer, true);
        },
        letters: ['e', 'n'],
    },
];

/// What has come of a case.
struct Outcome {
    report: String,
    /// Entries of the tables that no difference has needed.
    unused: BTreeSet<(&'static str, &'static str)>,
}

impl Case {
    /// A gateway that shows the cluster under this view.
    async fn gateway(&self, cluster: &Cluster) -> Result<Gateway> {
        let gateway = Gateway::start(Config::new(self.name, &[cluster])).await?;
        let mut behind = BEHIND.lock().unwrap_or_else(PoisonError::into_inner);
        for node in NODES {
            behind.insert(gateway.node(u16::try_from(node)?), cluster.address(node));
        }
        Ok(gateway)
    }

    /// The cluster beside itself behind the gateway.
    async fn bench(&self, cluster: &Cluster, gateway: &Gateway) -> Result<Bench> {
        let direct = NODES.map(|node| (node, cluster.address(node)));
        let through =
            NODES.map(|node| (node, gateway.node(u16::try_from(node).unwrap_or_default())));
        let [letter, letter_through] = self.letters;
        let mut kafka = Target::new("Kafka", letter, direct.clone());
        kafka.lie = Some(self.direct);
        let mut gateway = Target::new(self.name, letter_through, through);
        gateway.lie = Some(self.through);
        gateway.aside = Some(direct.into());
        let bench = Bench::new(vec![kafka, gateway], Allowances::of(self.allowed));
        bench.warm_up().await?;
        Ok(bench)
    }
}

/// Plays the corpus under one view.
async fn play(case: &Case, cluster: &Cluster, gateway: &Gateway) -> Result<Outcome> {
    let bench = case.bench(cluster, gateway).await?;
    let rounds: Vec<_> = corpus(case.view)?
        .into_iter()
        .filter(|sequence| !sequence.steps.is_empty())
        .flat_map(|sequence| (0..sequence.rounds()).map(move |round| sequence.round(round)))
        .collect();
    let mut found = Vec::new();
    let mut broken = None;
    bench
        .play_all(&rounds, AT_ONCE, true, |sequence, outcome, _| match outcome {
            Ok(disagreements) => {
                for disagreement in disagreements {
                    found.push(format!("\n## {}: {}\n{disagreement}", case.name, sequence.name));
                }
            }
            Err(error) => broken = Some(format!("{error}; in\n{sequence}")),
        })
        .await;
    if let Some(broken) = broken {
        return Err(broken.into());
    }
    let mut report = found.concat();
    let (exercised, answered) = (bench.exercised(), bench.answered());
    let offered = offered(&cluster.address(1)).await?;
    for (key, version) in forwarded(case.view) {
        let name = api::name(key).unwrap_or("unknown");
        if !exercised.contains(&(key, version)) {
            writeln!(report, "{}: nobody asks {name} v{version}", case.name)?;
        } else if offered.get(&key).is_some_and(|offered| offered.contains(&version))
            && !answered.contains(&(key, version))
        {
            // Two closed connections are equal, too.
            writeln!(report, "{}: {name} v{version} is offered and never answered", case.name)?;
        }
    }
    let unused = bench.allowances().unused().map(|entry| (entry.api, entry.path)).collect();
    eprintln!(
        "{}: {} sequences, {} versions of APIs, of which {} are answered",
        case.name,
        rounds.len(),
        exercised.len(),
        answered.len()
    );
    Ok(Outcome { report, unused })
}

/// Versions that a broker offers, by API key.
async fn offered(address: &str) -> Result<BTreeMap<i16, RangeInclusive<i16>>> {
    let answer =
        wire::Connection::open(address).await?.ask(&ApiVersionsRequest::default(), 0).await?;
    Ok(answer.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect())
}

/// Key and version of every request that the gateway forwards under a view.
fn forwarded(view: ClientView) -> BTreeSet<(i16, i16)> {
    api::supported_keys(view)
        .flat_map(|key| {
            let versions = api::supported(key, view).into_iter().flatten();
            versions.map(move |version| (key, version))
        })
        .collect()
}

/// A client that is told something else through the gateway than its broker would have told it behaves in a way that
/// nobody has tested.
#[test]
fn gateway_answers_as_kafka_does_but_for_what_its_views_change() {
    itest_within(Duration::from_mins(8), async {
        let start_time = Instant::now();
        let cluster = cluster().await?;
        eprintln!("ready after {:?}", start_time.elapsed());
        let mut report = String::new();
        let mut unused = Vec::new();
        for case in &CASES {
            let gateway = case.gateway(cluster).await?;
            let outcome = play(case, cluster, &gateway).await?;
            report += &outcome.report;
            unused.push(outcome.unused);
        }
        // Whatever the gateway is said to change it does change.
        for (tables, unused) in
            [(&[BOTH_VIEWS][..], &unused[0]), (&[BOTH_VIEWS, NEUTRAL], &unused[1])]
        {
            for entry in tables.iter().copied().flatten() {
                if unused.contains(&(entry.api, entry.path)) {
                    writeln!(
                        report,
                        "allowed and never seen: {} {}: {}",
                        entry.api, entry.path, entry.reason
                    )?;
                }
            }
        }
        eprintln!("done after {:?}", start_time.elapsed());
        if report.is_empty() { Ok(()) } else { Err(report.into()) }
    });
}

/// The answer to a version of ApiVersions that is too new, in version 0: length, correlation id, error, and the versions of
/// ApiVersions itself.
const TOO_NEW: [u8; 20] = [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];

/// A comparison that finds nothing proves nothing: each of these would be a fault of a gateway.
const FAULTS: [(&str, &str, Lie); 4] = [
    ("What is offered", "a version too many", |ask, answer| {
        change(ask, "ApiVersions", "MaxVersion", answer, |version| version + 1);
        plain(answer, true);
    }),
    ("The cluster described", "the port of another node", |ask, answer| {
        change(ask, "DescribeCluster", "Port", answer, |port| port - 1);
        plain(answer, true);
    }),
    ("The life of a topic", "another error", |ask, answer| {
        change(ask, "DeleteTopics", "ErrorCode", answer, |_| -1);
        plain(answer, true);
    }),
    ("A fetch session", "an offset of its own", |ask, answer| {
        change(ask, "Fetch", "HighWatermark", answer, |offset| offset + 1);
        plain(answer, true);
    }),
];

/// Changes every field of a name in the answers to one API.
fn change(ask: &Ask, api: &str, field: &str, answer: &mut Value, to: fn(i64) -> i64) {
    if ask.api.name == api {
        answer.visit_mut("", &mut |name, value| match value {
            Value::Int(number) if name == field => *number = to(*number),
            _ => {}
        });
    }
}

#[test]
fn gateway_that_changes_what_it_should_not_is_found() {
    itest_within(Duration::from_mins(2), async {
        let cluster = cluster().await?;
        let [native, _] = CASES;
        let gateway = native.gateway(cluster).await?;
        for (name, fault, through) in FAULTS {
            let bench = Case { through, ..native }.bench(cluster, &gateway).await?;
            let sequences = corpus(native.view)?;
            let sequence = sequences.iter().find(|sequence| sequence.name == name);
            let sequence = sequence.ok_or("no such sequence")?.round(0);
            assert!(!bench.play(&sequence, false).await?.is_empty(), "{fault} passes");
            let bench = native.bench(cluster, &gateway).await?;
            let found = bench.play(&sequence, true).await?;
            assert!(found.is_empty(), "without {fault}: {}", found[0]);
        }
        Ok(())
    });
}

/// A request of nothing but its header.
fn bare(key: i16, version: i16) -> Vec<u8> {
    let header =
        [key.to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7], [0, 1], [b'c', 0], [0, 0]]
            .concat();
    [&[0, 0, 0, u8::try_from(header.len()).unwrap_or_default()], &header[..]].concat()
}

/// What comes back for a request before the connection ends, which it does before long or not at all.
async fn answer(address: &str, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer);
    let count = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .map_err(|_| "neither an answer nor an end")??;
    answer.truncate(count);
    Ok(answer)
}

/// Sessions that ended for a cause, by the gateway's metrics.
fn closes(gateway: &Gateway, cause: &str) -> Result<u64> {
    let metrics = gateway.metrics()?;
    let of = |line: &&str| {
        line.contains("closes_total{") && line.contains(&format!("cause=\"{cause}\""))
    };
    let values =
        metrics.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(values.sum())
}

/// What is not forwarded never reaches a broker: the session is closed, with its cause. Only to a version of ApiVersions that is
/// too new there is an answer, by which clients find one that is not (KIP-511).
#[test]
fn requests_that_the_gateway_does_not_forward_are_refused_with_a_cause() {
    itest_within(Duration::from_mins(2), async {
        let cluster = cluster().await?;
        for case in &CASES {
            let gateway = Gateway::start(Config::new(case.name, &[cluster])).await?;
            let address = gateway.node(1);
            let (unknown, unsupported) =
                (closes(&gateway, "unknown_api")?, closes(&gateway, "unsupported_version")?);
            let (mut keys, mut versions) = (0, 0);
            for key in (-1..=100).chain([1000, i16::MAX]) {
                let Some(supported) = api::supported(key, case.view) else {
                    for version in [0, 1, 9] {
                        let answer = answer(&address, &bare(key, version)).await?;
                        assert!(answer.is_empty(), "{key} v{version}: {answer:x?}");
                        keys += 1;
                    }
                    continue;
                };
                for version in [-1, supported.start() - 1, supported.end() + 1, i16::MAX] {
                    let answer = answer(&address, &bare(key, version)).await?;
                    if key == API_VERSIONS {
                        assert_eq!(answer, TOO_NEW, "ApiVersions v{version}");
                        continue;
                    }
                    assert!(answer.is_empty(), "{key} v{version}: {answer:x?}");
                    versions += 1;
                }
            }
            assert_eq!(closes(&gateway, "unknown_api")? - unknown, keys);
            assert_eq!(closes(&gateway, "unsupported_version")? - unsupported, versions);
        }
        Ok(())
    });
}
