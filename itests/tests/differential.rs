//! The fake broker held against a real one: the same requests to both, and the same answers.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, time::Duration, time::Instant};

use switchyard_itests::{
    Result,
    cluster::{Cluster, Plan},
    differential::{
        allowed::Allowances, bench::Bench, fake_and_real::ALLOWED, parse, target::Target,
        term::Sequence,
    },
    fake::{FakeCluster, FakePlan},
    itest_within,
};

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

/// A rehearsal is worth what its brokers are: each answer of the fake ones is one that a real one gives.
#[test]
fn fake_broker_answers_as_kafka_does() {
    itest_within(Duration::from_mins(10), async {
        let start = Instant::now();
        let plan = FakePlan { brokers: 1, settings: SETTINGS, ..FakePlan::default() };
        let (real, fake) = (Cluster::start(reference()).await?, FakeCluster::start(plan)?);
        let targets = vec![
            Target::new("Kafka", 'k', BTreeMap::from([(1, real.address(1))])),
            Target::new("fake", 'f', BTreeMap::from([(1, fake.address(1))])),
        ];
        let bench = Bench::new(targets, Allowances::new(ALLOWED));
        let rounds: Vec<_> = corpus()?
            .into_iter()
            .flat_map(|sequence| (0..sequence.rounds()).map(move |round| sequence.round(round)))
            .collect();
        eprintln!("{} sequences; brokers ready after {:?}", rounds.len(), start.elapsed());
        let mut report = String::new();
        let mut shown = BTreeMap::new();
        let played = bench.play_all(&rounds, AT_ONCE).await;
        for (sequence, outcome) in rounds.iter().zip(played) {
            let disagreements = outcome.map_err(|error| format!("{error}; in\n{sequence}"))?;
            for disagreement in disagreements {
                let text = format!("\n## {}\n{disagreement}", sequence.name);
                // The versions of a step mostly differ in the same way: the first shows it.
                let key = (sequence.name.clone(), disagreement.step, disagreement.differences);
                shown.entry(format!("{key:?}")).or_insert(text);
            }
        }
        report.extend(shown.into_values());
        for entry in bench.allowances().unused() {
            writeln!(report, "unused: {} {}: {}", entry.api, entry.path, entry.reason)?;
        }
        eprintln!("done after {:?}", start.elapsed());
        if report.is_empty() { Ok(()) } else { Err(report.into()) }
    });
}
