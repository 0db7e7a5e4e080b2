//! How long a rehearsal takes: `regional-outage`, five simulated minutes with six brokers and twenty clients. The goal is ten
//! seconds on one core.

use std::{path::Path, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use switchyard_sim::{rehearsal, scenario};

fn regional_outage(criterion: &mut Criterion) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/regional-outage.yaml");
    let scenario = scenario::load(&file, &[]).expect("a scenario without faults").remove(0);
    let scenario = Arc::new(scenario);
    let mut group = criterion.benchmark_group("rehearsal");
    group.sample_size(10).measurement_time(Duration::from_mins(1));
    group.bench_function("regional-outage", |bencher| {
        bencher.iter(|| rehearsal::run(&scenario, 1).expect("an outcome"));
    });
    group.finish();
}

criterion_group!(benches, regional_outage);
criterion_main!(benches);
