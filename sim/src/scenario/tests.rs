use std::path::Path;

use serde_json::json;

use super::*;
use crate::scenario::{model::Action, values::Bounds};

const GOOD: &str = r"
about: Region east goes silent.
gateway:
  streamingDomains:
    - {name: east, kafkaCluster: {bootstrapServers: [{id: main, endpoint: 'east.example:9092'}]}}
    - {name: west, kafkaCluster: {bootstrapServers: [{id: main, endpoint: 'west.example:9092'}]}}
  routes:
    - {name: sales, endpoint: 'gateway.example:19092', streamingDomain: {name: east}}
clusters: {east: {}, west: {brokers: 1}}
topics: [{name: orders, partitions: 3}]
mirror: {from: east, to: west, lag: 50ms..200ms}
producers: [{name: checkout, route: sales, topic: orders, rate: 20}]
consumers: [{name: billing, route: sales, topics: [orders]}]
duration: 3m
timeline:
  - {at: 20s..30s, region-down: {cluster: east}}
  - {at: 60s, failover: {}}
  - {after: 1s, switchover: {route: sales, to: west}}
expect: {lost: ..50, rto: ..60s, sometimes: [unreplicated-tail]}
variants:
  native: {about: As it is., set: {'gateway.routes[0].clientView': native}}
  neutral: {about: Hidden., set: {'gateway.routes[0].clientView': neutral}, expect: {rto: ..40s}}
";

fn load_text(text: &str) -> Result<Vec<Scenario>, ConfigError> {
    read(text.as_bytes(), "s.yaml", "s", Path::new("."), &[])
}

#[test]
fn scenario_variants_differ_in_what_they_set() {
    let scenarios = load_text(GOOD).expect("a good file");
    let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(names, ["s/native", "s/neutral"]);
    let view = |scenario: &Scenario| scenario.gateway.routes["sales"].client_view;
    assert_ne!(view(&scenarios[0]), view(&scenarios[1]));
    let rto = |scenario: &Scenario| scenario.expect.figures["rto"];
    assert_eq!(rto(&scenarios[0]), Bounds { min: 0, max: 60_000 });
    assert_eq!(rto(&scenarios[1]), Bounds { min: 0, max: 40_000 });
    let first = &scenarios[0];
    assert_eq!(first.expect.figures["duplicated"], Bounds::exactly(0), "what is not named is 0");
    // The mirror makes it on the other side.
    assert_eq!(first.topics[0].on, ["east"]);
    assert!(
        matches!(&first.timeline[0].action, Action::RegionDown { cluster, .. } if cluster == "east")
    );
    assert_eq!(first.timeline[2].path, "timeline[2]");
}

/// A caller's value must win, or a sweep would vary nothing.
#[test]
fn scenario_values_can_be_set_by_path() {
    let set = [("producers[0].rate".to_owned(), json!(7)), ("duration".to_owned(), json!("2m"))];
    let scenarios = read(GOOD.as_bytes(), "s.yaml", "s", Path::new("."), &set).expect("good");
    assert_eq!(scenarios[0].producers[0].rate, 7);
    assert_eq!(scenarios[0].duration.as_secs(), 120);
}

#[test]
fn scenario_faults_are_all_told_at_once_with_place_and_remedy() {
    let text = r"
about: What an operator may get wrong.
gateway:
  streamingDomains:
    - {name: east, kafkaCluster: {bootstrapServers: [{id: main, endpoint: 'east.example:9092'}]}}
  routes:
    - {name: sales, endpoint: 'gateway.example:19092', streamingDomain: {name: east}}
clusters: {est: {}}
topics: [{name: orders, replicas: 5}]
producers:
  - {name: checkout, route: sale, topic: order, rat: 5}
  - {name: checkout, topic: orders}
duration: 1m
timeline:
  - {at: 5m, kill-broker: {cluster: est, broker: 9}}
  - {at: 10s, after: 5s, unfence: {route: sales}}
  - {at: soon, promote: {}}
  - {at: 1s}
  - {at: 1s, inject: {cluster: est, fault: error, api: Prodce}}
  - {at: 1s, kill-gateway: {instance: 2}}
expect: {lost: many, sometimes: [rebalanced]}
";
    let error = load_text(text).expect_err("many faults");
    insta::assert_snapshot!(error);
}

/// A section that is misread would compare something else than its author means.
#[test]
fn faults_of_the_section_validation_are_told_with_place_and_remedy() {
    let section = r"
validation:
  time-scale: 0
  set: {'producers[9].rate': 5}
  tolerance: {rto: five, lost: 5 + 5, lots: 3}
  differences:
    - {figure: repeated, reason: Without a bound.}
    - {mark: switched, measured: ..5, reason: A bound of what is no number.}
    - {figure: lost, code: OFFSET_OUT_OF_RANGE, measured: 1, reason: Two at once.}
    - {reason: About nothing.}
    - {oracle: no-losses, reason: Unknown.}
    - {figure: lost, measured: ..5}
    - {figure: lost, variants: [natve], measured: ..5, reason: In no variant.}
";
    let error = load_text(&format!("{GOOD}{section}")).expect_err("many faults");
    insta::assert_snapshot!(error);
}

#[test]
fn scenario_schema_describes_every_key() {
    let schema = json_schema();
    for (section, definition) in schema["$defs"].as_object().expect("definitions") {
        let Some(keys) = definition["properties"].as_object() else { continue };
        for (key, value) in keys {
            assert!(value["description"].is_string(), "{section}.{key} has no description");
        }
    }
}

/// Every file that is delivered has to be one that can be run.
#[test]
fn delivered_scenarios_are_free_of_faults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            let scenarios = load(&file, &[]).unwrap_or_else(|error| panic!("{error}"));
            names.extend(scenarios.into_iter().map(|scenario| scenario.name));
        }
    }
    assert!(names.len() >= 18, "{names:?}");
}
