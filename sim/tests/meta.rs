//! Two processes must play the same scenario the same way: whatever differs would make a replay another run.

use std::{path::Path, process::Command};

/// The trace of one run, in a process of its own.
fn trace(file: &Path, variant: Option<&str>, seed: u64) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-sim"));
    command.arg("replay").arg(file).args(["--seed", &seed.to_string()]);
    if let Some(variant) = variant {
        command.args(["--variant", variant]);
    }
    let output = command.output().expect("the command runs");
    let text = String::from_utf8(output.stdout).expect("a trace is text");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(text.lines().count() > 100, "{}: {error}", file.display());
    text.lines().map(str::to_owned).collect()
}

/// Plays every variant of some scenarios twice, and compares line by line.
fn compare(part: usize, parts: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for file in files.iter().skip(part).step_by(parts) {
        for scenario in switchyard_sim::scenario::load(file, &[]).expect("without faults") {
            let variant = scenario.name.split_once('/').map(|(_, variant)| variant);
            let (one, other) = (trace(file, variant, 3), trace(file, variant, 3));
            let differs = one.iter().zip(&other).position(|(one, other)| one != other);
            if let Some(line) = differs {
                panic!(
                    "{}: line {} differs\n  {}\n  {}",
                    scenario.name,
                    line + 1,
                    one[line],
                    other[line]
                );
            }
            assert_eq!(one.len(), other.len(), "{}: one trace is longer", scenario.name);
        }
    }
}

#[test]
fn two_processes_give_one_trace_first_half() {
    compare(0, 2);
}

#[test]
fn two_processes_give_one_trace_second_half() {
    compare(1, 2);
}
