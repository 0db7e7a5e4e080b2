//! Trial.
use std::{path::Path, sync::Arc};

use switchyard_sim::{rehearsal, report, scenario};

#[test]
fn trial() {
    let name = std::env::var("SCENARIO").unwrap_or("flapping-link".to_owned());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let scenarios = scenario::load(&folder.join(format!("{name}.yaml")), &[]).expect("a good file");
    let variant = std::env::var("VARIANT").unwrap_or_default();
    for scenario in scenarios.into_iter().filter(|s| s.name.contains(&variant)) {
        match rehearsal::run(&Arc::new(scenario), 7) {
            Ok(outcome) => {
                println!("{}", report::summary(&outcome));
                for entry in outcome
                    .history
                    .entries
                    .iter()
                    .take(std::env::var("LINES").map_or(0, |n| n.parse().unwrap()))
                {
                    println!("{entry}");
                }
            }
            Err(error) => println!("ERROR {error}"),
        }
    }
}
