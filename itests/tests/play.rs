//! Scenarios on real Kafka.

use std::{path::Path, time::Duration};

use switchyard_itests::{Result, itest, play};
use switchyard_sim::scenario::{self, Scenario};

/// A small scenario that touches most of what a play has.
const SMALL: &str = "
about: A planned move behind a fence, and a black hole.
gateway: ../examples/two-regions.yaml
clusters: {east: {brokers: 1}, west: {brokers: 1}}
topics: [{name: orders, partitions: 2}]
mirror: {from: east, to: west, lag: 20ms..50ms, offset-sync: 1s}
producers:
  - {name: checkout, route: sales, topic: orders, rate: 10}
  - {name: sensors, profile: librdkafka, route: sales, topic: orders, rate: 10}
consumers:
  - {name: billing, route: sales, topics: [orders], settings: {auto.offset.reset: earliest}}
duration: 18s
recovery: 20s
timeline:
  - {at: 6s, fence: {route: sales, mode: hold}}
  - {await: {for: drained, route: sales}}
  - {await: {for: caught-up}}
  - {promote: {}}
  - {await: {for: promoted}}
  - {switchover: {route: sales, to: west}}
  - {await: {for: serving, route: sales}}
  - {unfence: {route: sales}}
  - {after: 1s, black-hole: {between: [gateway, west], for: 2s}}
";

fn small() -> Result<Scenario> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let read = scenario::read(SMALL.as_bytes(), "the test", "small", &base, &[]);
    let scenario = read.map_err(|error| error.to_string())?.into_iter().next();
    scenario.ok_or_else(|| "no scenario".into())
}

#[test]
fn planned_move_and_a_black_hole_lose_nothing() {
    itest(async {
        let played = play::play(&small()?).await?;
        let verdict = played.verdict();
        println!("{:?}\n{:?}\n{verdict:#?}", played.remarks, played.times);
        for figure in ["lost", "duplicated", "reordered", "failed", "missed", "fatal"] {
            assert_eq!(verdict.figures[figure], 0, "{figure}: {:?}", verdict.witnesses.get(figure));
        }
        assert_eq!(verdict.violations, []);
        for mark in ["fence-held", "switched"] {
            assert!(verdict.marks.contains(mark), "{mark}: {:?}", verdict.marks);
        }
        assert!(verdict.sent > 200, "{} records", verdict.sent);
        assert!(played.wall() < Duration::from_mins(2), "{:?}", played.times);
        Ok(())
    });
}
