//! Soaks by dice, as rehearsals. The same text is played on real Kafka by `ci/soak`.

use std::{path::Path, sync::Arc, time::Duration};

use switchyard_sim::{rehearsal, report, scenario, soak};

const LENGTH: Duration = Duration::from_mins(4);

fn rehearse(seed: u64) {
    let text = soak::scenario(LENGTH, seed).expect("a length in range");
    let read = scenario::read(text.as_bytes(), "soak", "soak", Path::new("."), &[]);
    let scenario = Arc::new(read.expect("a valid scenario").remove(0));
    let outcome = rehearsal::run(&scenario, seed).expect("a run with an outcome");
    assert!(outcome.passed(), "{text}\n{}", report::summary(&outcome));
    assert!(outcome.verdict.acknowledged > 10_000, "{}", report::summary(&outcome));
}

#[test]
fn soak_of_first_seed_holds() {
    rehearse(1);
}

#[test]
fn soak_of_second_seed_holds() {
    rehearse(2);
}

#[test]
fn soak_of_third_seed_holds() {
    rehearse(3);
}
