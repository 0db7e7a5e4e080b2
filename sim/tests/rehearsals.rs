//! Every delivered scenario, over several seeds: what it expects has to come of each run, and what it is about has to
//! happen in some.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, sync::Arc};

use switchyard_sim::{
    rehearsal,
    report::{Outcome, summary},
    scenario::{self, Scenario},
};

/// Each scenario is played with these.
const SEEDS: std::ops::Range<u64> = 1..4;

fn load(name: &str) -> Vec<Arc<Scenario>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.yaml"));
    let scenarios = scenario::load(&file, &[]).unwrap_or_else(|error| panic!("{error}"));
    scenarios.into_iter().map(Arc::new).collect()
}

fn run(scenario: &Arc<Scenario>, seed: u64) -> Outcome {
    rehearsal::run(scenario, seed)
        .unwrap_or_else(|error| panic!("{} seed {seed}: {error}", scenario.name))
}

/// Plays all variants of a scenario over all seeds; the outcome of the first seed is what reviewers read.
fn rehearse(name: &str) {
    let mut failed = Vec::new();
    let mut outcomes = String::new();
    for scenario in load(name) {
        let mut reached = BTreeSet::new();
        for seed in SEEDS {
            let outcome = run(&scenario, seed);
            reached.extend(outcome.verdict.marks.iter().copied());
            if !outcome.passed() {
                failed.push(summary(&outcome));
            }
            if seed == SEEDS.start {
                outcomes.push_str(&reviewed(&outcome));
            }
        }
        for mark in &scenario.expect.sometimes {
            if !reached.contains(mark.as_str()) {
                failed.push(format!("{}: no seed came to `{mark}`", scenario.name));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots/scenarios");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, outcomes));
}

/// The outcome without what differs from build to build or machine to machine.
fn reviewed(outcome: &Outcome) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} seed {}", outcome.scenario, outcome.seed);
    let verdict = &outcome.verdict;
    let _ = writeln!(
        text,
        "  sent {}, acknowledged {}, read {}",
        verdict.sent, verdict.acknowledged, verdict.consumed
    );
    for (figure, value) in &verdict.figures {
        let _ = writeln!(text, "  {figure}: {value}");
    }
    let marks: Vec<_> = verdict.marks.iter().copied().collect();
    let _ = writeln!(text, "  came to: {}", marks.join(", "));
    let violated: BTreeSet<_> = verdict.violations.iter().map(|it| it.oracle).collect();
    for oracle in violated {
        let _ = writeln!(text, "  violates: {oracle}");
    }
    text
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                rehearse($name);
            }
        )*

        /// A file that no test plays would rot.
        #[test]
        fn every_scenario_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
            let files = std::fs::read_dir(folder).expect("a folder").filter_map(|entry| {
                let path = entry.ok()?.path();
                let yaml = path.extension().is_some_and(|extension| extension == "yaml");
                yaml.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
            });
            let played = BTreeSet::from([$($name.to_owned()),*]);
            assert_eq!(files.collect::<BTreeSet<_>>(), played);
        }
    };
}

scenarios! {
    active_active_split: "active-active-split",
    broker_rolling_restart: "broker-rolling-restart",
    delivery_timeout: "delivery-timeout",
    fence_error_or_hold: "fence-error-or-hold",
    flapping_link: "flapping-link",
    gateway_lost: "gateway-lost",
    leader_epoch_regression: "leader-epoch-regression",
    migration: "migration",
    mirror_still_read_only: "mirror-still-read-only",
    planned_switchover: "planned-switchover",
    producer_id_collision: "producer-id-collision",
    reconnect_storm: "reconnect-storm",
    regional_outage: "regional-outage",
    regional_outage_too_late: "regional-outage-too-late",
    restart_severs: "restart-severs",
    session_timeout_rebalance: "session-timeout-rebalance",
    split_brain: "split-brain",
    topic_id_change: "topic-id-change",
}

/// The same scenario and seed must give the same trace, whatever ran in the process before.
/// As with the real libraries: only one of them lets the application know.
#[test]
fn a_late_poll_is_an_error_for_the_application_of_librdkafka_alone() {
    for (profile, errors) in [("java", 0), ("librdkafka", 1)] {
        let text = format!(
            "about: A consumer that polls too late.\n\
             gateway: ../examples/two-regions.yaml\n\
             clusters: {{east: {{}}, west: {{}}}}\n\
             topics: [{{name: orders, partitions: 2}}]\n\
             consumers:\n\
             - {{name: billing, profile: {profile}, cluster: east, topics: [orders], \
             settings: {{session.timeout.ms: 6000, max.poll.interval.ms: 8000}}}}\n\
             duration: 30s\n\
             timeline: [{{at: 10s, stall-consumer: {{consumer: billing, for: 12s}}}}]\n"
        );
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let scenarios = scenario::read(text.as_bytes(), "late", "late", &base, &[]);
        let scenario = scenarios.unwrap_or_else(|error| panic!("{error}")).remove(0);
        let outcome = run(&Arc::new(scenario), 1);
        assert_eq!(outcome.verdict.figures["errors"], errors, "{profile}");
        assert_eq!(outcome.verdict.figures["rebalances"], 1, "{profile}");
    }
}

#[test]
fn same_seed_gives_the_same_trace_and_another_seed_another() {
    let scenario = load("flapping-link").remove(0);
    let digest = |seed| run(&scenario, seed).digest;
    let first = digest(7);
    assert_eq!(first, digest(7));
    assert_ne!(first, digest(8));
}

/// With MirrorMaker there is nothing to promote, but the runbook is the same: stop it once it has everything.
#[test]
fn planned_switchover_by_mirror_maker_loses_nothing() {
    let scenario = load("planned-switchover").remove(0);
    let outcome = run(&Arc::new(scenario.with_mirror_maker()), 1);
    let figure = |name| outcome.verdict.figures[name];
    assert_eq!((figure("lost"), figure("duplicated"), figure("missed")), (0, 0, 0));
    assert!(outcome.verdict.marks.contains("switched"), "{:?}", outcome.verdict.marks);
    assert!(outcome.verdict.violations.is_empty(), "{:?}", outcome.verdict.violations);
}
