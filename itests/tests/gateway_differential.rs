//! The gateway held against no gateway: the same requests to real Kafka directly and through it, and the same answers but
//! for what it is there to change.
//!
//! What is forwarded is enumerated from the gateway's own table: a version of an API that no request of `corpus-gateway`
//! exercises fails the test, in both views.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

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
        gateway_and_none::{NATIVE, NEUTRAL},
        parse,
        target::{Lie, Target},
        term::{Ask, Sequence, Step},
        value::Value,
    },
    gateway::{Config, Gateway},
    itest_within, java,
    version::Version,
    world::create_topic,
};

/// Two nodes: a broker that does not lead a partition says who does.
const NODES: [i32; 2] = [1, 2];

/// What makes brokers serve requests that they refuse otherwise.
const SETTINGS: [(&str, &str); 3] = [
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
    ("delegation.token.secret.key", "secret"),
];

/// Sequences that are played at the same time: requests that wait cost no time of others.
const AT_ONCE: usize = 4;

/// The address that a gateway shows, and the broker's in its place.
static BEHIND: OnceLock<BTreeMap<(String, i64), (String, i64)>> = OnceLock::new();

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
        java::tool("org.apache.kafka.tools.FeatureCommand", &[&at[..], &arguments].concat()).await?;
    }
    if version.since(4, 1) {
        create_topic(&cluster, "__share_group_state", &[&[1_i32] as &[i32]; 5]).await?;
    }
    Ok(cluster)
}

fn corpus(view: ClientView) -> Result<Vec<Sequence>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus-gateway");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    files.sort();
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

/// Addresses of the gateway become those of the brokers that it stands for; any other address becomes what no broker says.
fn with_addresses_of_brokers(_: &Ask, answer: &mut Value) {
    answer.visit_mut("", &mut |_, value| {
        let Value::Struct(fields) = value else { return };
        let place = |name| fields.iter().position(|(own, _)| own == name);
        let (Some(host), Some(port)) = (place("Host"), place("Port")) else { return };
        let (Value::String(name), Value::Int(number)) = (&fields[host].1, &fields[port].1) else { return };
        if name.is_empty() {
            return;
        }
        let address = (name.clone(), *number);
        match BEHIND.get().and_then(|behind| behind.get(&address)) {
            Some((host_behind, port_behind)) => {
                fields[host].1 = Value::String(host_behind.clone());
                fields[port].1 = Value::Int(*port_behind);
            }
            None => fields[host].1 = Value::Bytes(format!("{name}:{number}").into_bytes()),
        }
    });
}

/// What a broker offers becomes what the gateway's table promises to show of it.
fn with_versions_of_gateway(view: ClientView, ask: &Ask, answer: &mut Value) {
    if ask.api.key != API_VERSIONS {
        return;
    }
    answer.visit_mut("", &mut |name, value| {
        let ("ApiKeys", Value::Array(offered)) = (name, value) else { return };
        offered.retain_mut(|offer| {
            let number = |name| offer.field(name).and_then(Value::int).and_then(|it| i16::try_from(it).ok());
            let (Some(key), Some(min), Some(max)) =
                (number("ApiKey"), number("MinVersion"), number("MaxVersion")) else { return true };
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

struct Case {
    view: ClientView,
    name: &'static str,
    allowed: &'static [Allowance],
    promise: Lie,
    letters: [char; 2],
}

const CASES: [Case; 2] = [
    Case {
        view: ClientView::Native,
        name: "native",
        allowed: NATIVE,
        promise: |ask, answer| with_versions_of_gateway(ClientView::Native, ask, answer),
        letters: ['d', 'g'],
    },
    Case {
        view: ClientView::Neutral,
        name: "neutral",
        allowed: NEUTRAL,
        promise: |ask, answer| with_versions_of_gateway(ClientView::Neutral, ask, answer),
        letters: ['e', 'n'],
    },
];

/// Plays the corpus under one view; gives what is wrong, as text.
async fn play(case: &Case, cluster: &Cluster, gateway: &Gateway) -> Result<String> {
    let direct = NODES.map(|node| (node, cluster.address(node)));
    let through = NODES.map(|node| (node, gateway.node(u16::try_from(node).unwrap_or_default())));
    let [letter, letter_through] = case.letters;
    let mut kafka = Target::new("Kafka", letter, direct.clone());
    kafka.lie = Some(case.promise);
    let mut gateway = Target::new(case.name, letter_through, through);
    gateway.lie = Some(with_addresses_of_brokers);
    gateway.aside = Some(direct.into());
    let bench = Bench::new(vec![kafka, gateway], Allowances::new(case.allowed));
    let rounds: Vec<_> = corpus(case.view)?
        .into_iter()
        .filter(|sequence| !sequence.steps.is_empty())
        .flat_map(|sequence| (0..sequence.rounds()).map(move |round| sequence.round(round)))
        .collect();
    let mut report = String::new();
    let played = bench.play_all(&rounds, AT_ONCE).await;
    for (sequence, outcome) in rounds.iter().zip(played) {
        let disagreements = outcome.map_err(|error| format!("{error}; in\n{sequence}"))?;
        for disagreement in disagreements {
            writeln!(report, "\n## {}: {}\n{disagreement}", case.name, sequence.name)?;
        }
    }
    let exercised = bench.exercised();
    for (key, version) in forwarded(case.view).difference(&exercised) {
        let name = api::name(*key).unwrap_or("unknown");
        writeln!(report, "{}: nobody asks {name} v{version}", case.name)?;
    }
    for entry in bench.allowances().unused() {
        writeln!(report, "{}, unused: {} {}: {}", case.name, entry.api, entry.path, entry.reason)?;
    }
    eprintln!("{}: {} sequences, {} versions of APIs", case.name, rounds.len(), exercised.len());
    Ok(report)
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
        let cluster = start().await?;
        let mut gateways = Vec::new();
        let mut behind = BTreeMap::new();
        for case in &CASES {
            let gateway = Gateway::start(Config::new(case.name, &[&cluster])).await?;
            for node in NODES {
                let address = |text: String| -> Result<(String, i64)> {
                    let (host, port) = text.rsplit_once(':').ok_or("no port")?;
                    Ok((host.to_owned(), port.parse()?))
                };
                let shown = address(gateway.node(u16::try_from(node)?))?;
                behind.insert(shown, address(cluster.address(node))?);
            }
            gateways.push(gateway);
        }
        BEHIND.set(behind).map_err(|_| "set before")?;
        eprintln!("ready after {:?}", start_time.elapsed());
        let mut report = String::new();
        for (case, gateway) in CASES.iter().zip(&gateways) {
            report += &play(case, &cluster, gateway).await?;
        }
        eprintln!("done after {:?}", start_time.elapsed());
        if report.is_empty() { Ok(()) } else { Err(report.into()) }
    });
}
