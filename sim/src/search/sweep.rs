//! A scenario over many seeds, and over settings.

#![expect(
    clippy::disallowed_methods,
    reason = "runs share nothing; what is told of them comes in a fixed order"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    row::{Key, Row},
    seeds::{Seeds, Shard},
};
use crate::{rehearsal, scenario::Scenario};

/// How often whoever waits for a result looks whether it was interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A scenario with some values set.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What was set, by path.
    pub settings: Vec<(String, Value)>,
    /// The scenario.
    pub scenario: Arc<Scenario>,
}

/// One run that is to be done.
#[derive(Clone, Debug)]
pub struct Run {
    /// Index of the setting.
    pub setting: usize,
    /// What tells it apart.
    pub key: Key,
    scenario: Arc<Scenario>,
}

/// Every combination of values.
pub fn combinations(vary: &[(String, Vec<Value>)]) -> Vec<Vec<(String, Value)>> {
    let mut all = vec![Vec::new()];
    for (path, values) in vary {
        let longer = |begun: &Vec<(String, Value)>| {
            let with = |value: &Value| {
                let mut begun = begun.clone();
                begun.push((path.clone(), value.clone()));
                begun
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// The runs of a sweep in their order: all settings of a seed before the next seed, so that a sweep that is interrupted has
/// something to say of each setting.
pub fn plan(settings: &[Setting], seeds: &Seeds, shard: Shard) -> Vec<Run> {
    let of_seed = |seed: u64| {
        settings.iter().enumerate().map(move |(index, setting)| Run {
            setting: index,
            key: Key {
                scenario: setting.scenario.name.clone(),
                settings: setting.settings.iter().cloned().collect(),
                seed,
            },
            scenario: Arc::clone(&setting.scenario),
        })
    };
    let all = seeds.0.clone().flat_map(of_seed).enumerate();
    all.filter(|(index, _)| shard.has(*index)).map(|(_, run)| run).collect()
}

/// Does the runs on some threads, and gives their rows in the order of the plan. What was done when `interrupted` says so is
/// given as well; runs under way are left behind.
pub fn sweep(
    runs: Vec<Run>,
    jobs: usize,
    interrupted: impl Fn() -> bool,
    mut done: impl FnMut(&Run, Row),
) {
    let runs = Arc::new(runs);
    let next = Arc::new(AtomicUsize::new(0));
    let (results, arrived) = mpsc::channel();
    for _ in 0..jobs.clamp(1, runs.len().max(1)) {
        let (runs, next, results) = (Arc::clone(&runs), Arc::clone(&next), results.clone());
        thread::spawn(move || {
            while let Some((index, run)) = take(&runs, &next) {
                let row = Row::new(run.key.clone(), rehearsal::run(&run.scenario, run.key.seed));
                if results.send((index, row)).is_err() {
                    return;
                }
            }
        });
    }
    drop(results);
    let mut early: BTreeMap<usize, Row> = BTreeMap::new();
    let mut told = 0;
    while !interrupted() {
        match arrived.recv_timeout(LOOK_EVERY) {
            Ok((index, row)) => drop(early.insert(index, row)),
            Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        while let Some(row) = early.remove(&told) {
            done(&runs[told], row);
            told += 1;
        }
    }
    for (index, row) in early {
        done(&runs[index], row);
    }
}

fn take<'r>(runs: &'r [Run], next: &AtomicUsize) -> Option<(usize, &'r Run)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    runs.get(index).map(|run| (index, run))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn combinations_have_every_value_with_every_other() {
        let vary = [
            ("a".to_owned(), vec![json!(1), json!(2)]),
            ("b".to_owned(), vec![json!("x"), json!("y"), json!("z")]),
        ];
        let all = combinations(&vary);
        assert_eq!(all.len(), 6);
        assert_eq!(all[1], [("a".to_owned(), json!(1)), ("b".to_owned(), json!("y"))]);
        assert_eq!(combinations(&[]), [Vec::new()], "nothing varied is one setting");
    }
}
