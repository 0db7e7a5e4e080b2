//! The fake broker held against a real one: the same requests to both, and the same answers.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, time::Duration, time::Instant};

use switchyard::wire::schema;
use switchyard_itests::{
    Result,
    cluster::{Cluster, Plan},
    differential::{
        allowed::Allowances,
        bench::{Bench, Disagreement},
        fake_and_real::{self, is_compared, offered},
        generate, parse,
        shrink::shrink,
        target::Target,
        term::Sequence,
    },
    fake::{FakeCluster, FakePlan},
    itest_within,
    version::Version,
};
use switchyard_sim::cluster::versions::Profile;

/// The real one.
fn reference(version: Version) -> Plan {
    let mut plan = Plan::published("reference", "switchyardDifferentia0", 13, &[1]);
    if version.since(4, 2) {
        // Of several changes of a group, its next assignment would wait for a second (KAFKA-20291).
        let name = "group.consumer.assignment.interval.ms";
        plan.settings.insert(name.to_owned(), "0".to_owned());
    }
    plan
}

/// The fake one, with the settings of the real one's container.
const SETTINGS: &[(&str, &str)] = SETTINGS_39.split_at(1).1;

/// Those of a container before Kafka 4.0, whose brokers are told one more ([`Version::broker_settings`]).
const SETTINGS_39: &[(&str, &str)] = &[
    ("group.coordinator.rebalance.protocols", "classic,consumer"),
    ("auto.create.topics.enable", "false"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "5"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.num.partitions", "5"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
    ("log.cleaner.dedupe.buffer.size", "2097152"),
    ("num.network.threads", "1"),
    ("num.io.threads", "2"),
];

/// Sequences that take longer are told.
const SLOW: Duration = Duration::from_secs(4);

/// Random sequences in a run that asks for no other number.
const SEQUENCES: u64 = 60;
/// Their steps.
const STEPS: usize = 14;
/// Sequences that are played to shrink one.
const TRIES_MAX: usize = 150;

/// Sequences that are played at the same time: requests that wait cost no time of others.
const AT_ONCE: usize = 4;

fn corpus() -> Result<Vec<Sequence>> {
    if let Ok(file) = std::env::var("SWITCHYARD_DIFFERENTIAL_FILE") {
        return parse::sequences(&std::fs::read_to_string(file)?);
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let sequences = parse::sequences(&std::fs::read_to_string(&file)?);
        found.extend(sequences.map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(found)
}

/// A number from the environment.
fn parameter(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}={text}: no number").into()),
        Err(_) => Ok(default),
    }
}

/// The rounds of the corpus, of versions that are compared. What is left out is told.
fn rounds(profile: Profile) -> Result<Vec<Sequence>> {
    let mut found = Vec::new();
    let (mut rounds_out, mut steps_out) = (0, 0);
    for mut sequence in corpus()? {
        let rounds = sequence.rounds();
        let out = sequence.limit(|api, version| is_compared(profile, api, version));
        if out > 0 {
            eprintln!("{profile:?} lacks {out} steps of: {}", sequence.name);
        }
        steps_out += out;
        if sequence.steps.is_empty() {
            rounds_out += rounds;
            continue;
        }
        rounds_out += rounds - sequence.rounds();
        found.extend((0..sequence.rounds()).map(|round| sequence.round(round)));
    }
    eprintln!(
        "{} rounds; left out for their versions: {rounds_out} rounds, {steps_out} steps",
        found.len()
    );
    Ok(found)
}

/// Every version that is compared and that no sequence has.
fn missing(profile: Profile, bench: &Bench) -> String {
    let exercised = bench.exercised();
    let lines = schema::apis().iter().flat_map(|api| {
        let missing =
            offered(profile, api).filter(|version| !exercised.contains(&(api.key, *version)));
        missing.map(|version| format!("no sequence has {} v{version}\n", api.name))
    });
    lines.collect()
}

/// Plays random sequences, and shrinks those that targets disagree on.
async fn random(profile: Profile, bench: &Bench) -> Result<String> {
    let count = parameter("SWITCHYARD_DIFFERENTIAL_SEQUENCES", SEQUENCES)?;
    let first = parameter("SWITCHYARD_DIFFERENTIAL_SEED", 1)?;
    let mut sequences = (first..first + count)
        .map(|seed| generate::sequence(seed, STEPS))
        .collect::<Result<Vec<_>>>()?;
    let lower = |it: &mut Sequence| it.lower(|api, version| is_compared(profile, api, version));
    let lowered: usize = sequences.iter_mut().map(lower).sum();
    eprintln!("{count} random sequences; {lowered} steps of them in an earlier version than drawn");
    let mut found: Vec<(Sequence, Disagreement)> = Vec::new();
    let mut report = String::new();
    bench
        .play_all(&sequences, AT_ONCE, false, |sequence, outcome, _| match outcome {
            Ok(disagreements) => {
                let first = disagreements.into_iter().next();
                // One of each kind is enough to shrink.
                if let Some(first) =
                    first.filter(|first| !found.iter().any(|(_, other)| first.is_like(other)))
                {
                    found.push((sequence.clone(), first));
                }
            }
            Err(error) => {
                report.extend(["\n", &error.to_string(), "; in\n", &sequence.to_string()]);
            }
        })
        .await;
    for (sequence, disagreement) in found {
        let seed = sequence.name.clone();
        let shrunk = shrink(bench, &sequence, disagreement, TRIES_MAX).await;
        let text = format!(
            "\n{}{}replay: {seed} of SWITCHYARD_DIFFERENTIAL_SEED, or the lines above in SWITCHYARD_DIFFERENTIAL_FILE\n",
            shrunk.sequence, shrunk.disagreement
        );
        eprintln!("{text}");
        report.push_str(&text);
    }
    Ok(report)
}

/// A rehearsal is worth what its brokers are: each answer of the fake ones is one that a real one gives.
#[test]
fn fake_broker_answers_as_kafka_does() {
    itest_within(Duration::from_mins(10), async {
        let start = Instant::now();
        let version = Version::under_test()?;
        let profile = fake_and_real::profile(version);
        let settings = if profile == Profile::Kafka39 { SETTINGS_39 } else { SETTINGS };
        let plan = FakePlan { brokers: 1, settings, profile, ..FakePlan::default() };
        let (real, fake) = (Cluster::start(reference(version)).await?, FakeCluster::start(plan)?);
        let targets = vec![
            // Letters whose difference is no multiple of five, or a group had the same of five partitions on both.
            Target::new("Kafka", 'r', BTreeMap::from([(1, real.address(1))])),
            Target::new("fake", 'f', BTreeMap::from([(1, fake.address(1))])),
        ];
        let bench = Bench::new(targets, Allowances::of(&fake_and_real::allowed(version)));
        bench.warm_up().await?;
        eprintln!("Kafka {version}: brokers ready after {:?}", start.elapsed());
        let refused = schema::apis().iter().map(|api| fake_and_real::refused(profile, api).count());
        eprintln!("{} versions that the fake one advertises, yet refuses", refused.sum::<usize>());
        let rounds = rounds(profile)?;
        let mut report = String::new();
        let mut shown = BTreeMap::new();
        let mut broken = Vec::new();
        bench
            .play_all(&rounds, AT_ONCE, true, |sequence, outcome, took| {
                if took > SLOW {
                    eprintln!("{:.1} s: {}", took.as_secs_f64(), sequence.name);
                }
                match outcome {
                    Ok(disagreements) => {
                        for disagreement in disagreements {
                            let text = format!("\n## {}\n{disagreement}", sequence.name);
                            // The versions of a step mostly differ in the same way: the first shows it.
                            let key =
                                (&sequence.name, disagreement.step, &disagreement.differences);
                            shown.entry(format!("{key:?}")).or_insert_with(|| {
                                eprintln!("{text}");
                                text
                            });
                        }
                    }
                    Err(error) => {
                        eprintln!("{error}; in\n{sequence}");
                        broken.push(format!("{error}; in\n{sequence}"));
                    }
                }
            })
            .await;
        report.extend(broken);
        report.extend(shown.into_values());
        report.push_str(&missing(profile, &bench));
        report.push_str(&random(profile, &bench).await?);
        for entry in bench.allowances().unused() {
            writeln!(report, "unused: {} {}: {}", entry.api, entry.path, entry.reason)?;
        }
        eprintln!("done after {:?}", start.elapsed());
        if report.is_empty() { Ok(()) } else { Err(report.into()) }
    });
}
