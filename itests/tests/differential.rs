//! The fake broker held against a real one: the same requests to both, and the same answers.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, time::Duration, time::Instant};

use switchyard_itests::{
    Result,
    cluster::{Cluster, Plan},
    differential::{
        allowed::Allowances,
        bench::{Bench, Disagreement},
        fake_and_real::ALLOWED,
        generate, parse,
        shrink::shrink,
        target::Target,
        term::Sequence,
    },
    fake::{FakeCluster, FakePlan},
    itest_within,
};
use switchyard_sim::cluster::versions::{Profile, advertised};

/// The real one.
fn reference() -> Plan {
    Plan::published("reference", "switchyardDifferentia0", 13, &[1])
}

/// The fake one, with the settings of the real one's container.
const SETTINGS: &[(&str, &str)] = &[
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

/// Plays random sequences, and shrinks those that targets disagree on.
async fn random(bench: &Bench) -> Result<String> {
    let count = parameter("SWITCHYARD_DIFFERENTIAL_SEQUENCES", SEQUENCES)?;
    let first = parameter("SWITCHYARD_DIFFERENTIAL_SEED", 1)?;
    let sequences = (first..first + count)
        .map(|seed| generate::sequence(seed, STEPS))
        .collect::<Result<Vec<_>>>()?;
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
        let plan = FakePlan { brokers: 1, settings: SETTINGS, ..FakePlan::default() };
        let (real, fake) = (Cluster::start(reference()).await?, FakeCluster::start(plan)?);
        let targets = vec![
            // Letters whose difference is no multiple of five, or a group had the same of five partitions on both.
            Target::new("Kafka", 'r', BTreeMap::from([(1, real.address(1))])),
            Target::new("fake", 'f', BTreeMap::from([(1, fake.address(1))])),
        ];
        let bench = Bench::new(targets, Allowances::new(ALLOWED));
        bench.warm_up().await?;
        let rounds: Vec<_> = corpus()?
            .into_iter()
            .flat_map(|sequence| (0..sequence.rounds()).map(move |round| sequence.round(round)))
            .collect();
        eprintln!("{} sequences; brokers ready after {:?}", rounds.len(), start.elapsed());
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
        for (api, versions) in advertised(Profile::Kafka41) {
            for version in versions {
                if !bench.exercised().contains(&(api as i16, version)) {
                    writeln!(report, "no sequence has {api:?} v{version}")?;
                }
            }
        }
        report.push_str(&random(&bench).await?);
        for entry in bench.allowances().unused() {
            writeln!(report, "unused: {} {}: {}", entry.api, entry.path, entry.reason)?;
        }
        eprintln!("done after {:?}", start.elapsed());
        if report.is_empty() { Ok(()) } else { Err(report.into()) }
    });
}
