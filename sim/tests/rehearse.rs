//! The commands that rehearse, as their users run them: the real binary, its output and its exit codes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// Short, with a step that hurts: records wait for two seconds at most, and the link is silent for five.
const FAILING: &str = "
about: A link is silent for longer than a record may wait. It is here to fail.
gateway: GATEWAY
clusters: {kafka: {brokers: 1, first-node-id: 0}}
topics: [{name: orders, partitions: 2}]
producers:
  - name: checkout
    count: 2
    route: all
    topic: orders
    rate: 5
    settings: {delivery.timeout.ms: 2000, request.timeout.ms: 1000, linger.ms: 0}
duration: 12s
recovery: 5s
timeline:
  - {at: 2s..3s, slow: {between: [clients, gateway], latency: 5ms, for: 1s}}
  - {at: 5s, black-hole: {between: [gateway, kafka], for: 5s}}
expect: {rto: ..20s}
variants:
  fails: {about: It does.}
  expected: {about: The same and known., expect: {failed: 1.., duplicated: .., sometimes: [delivery-timeout]}}
";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text.replace("GATEWAY", &example("minimal.yaml"))).expect("a file");
        path.display().to_string()
    }

    /// Runs the binary in the folder.
    fn run(&self, arguments: &[&str]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-sim"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        Done::new(command.output().expect("the binary runs"))
    }
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).display().to_string()
}

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    fn expect(self, code: i32, told: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        for text in told {
            assert!(
                self.out.contains(text) || self.err.contains(text),
                "`{text}` is missing\n{}\n{}",
                self.out,
                self.err
            );
        }
        self
    }
}

#[test]
fn rehearse_says_what_failed_and_how_to_see_it_again() {
    let folder = Folder::new();
    let file = folder.write("s.yaml", FAILING);
    let replay = format!("switchyard-sim replay {file} --variant fails --seed 3");
    folder.run(&["rehearse", &file, "--variant", "fails", "--seed", "3"]).expect(
        1,
        &[
            "NOT AS EXPECTED",
            "FAILED failed: expected exactly 0",
            "first witness: ",
            &replay,
            "as fast as reality",
        ],
    );
    let arguments =
        ["rehearse", &file, "--variant", "expected", "--html", "p.html", "--json", "o.json"];
    folder.run(&arguments).expect(0, &["as expected"]);
    assert!(fs::read_to_string(folder.path("p.html")).expect("a page").contains("<svg"));
    let json = fs::read_to_string(folder.path("o.json")).expect("the outcomes");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[0]["passed"], true);
    folder
        .run(&["rehearse", &file, "--html", "all.html"])
        .expect(1, &["1 of 2 variants as expected"]);
    assert!(folder.path("all-fails.html").exists() && folder.path("all-expected.html").exists());
}

/// The promise on which everything else rests.
#[test]
fn replay_gives_the_same_trace_every_time() {
    let folder = Folder::new();
    let file = folder.write("s.yaml", FAILING);
    let replay = |more: &[&str]| {
        let arguments = ["replay", &file, "--variant", "fails", "--seed", "7"];
        folder.run(&[&arguments, more].concat()).expect(0, &["trace "]).out
    };
    let whole = replay(&[]);
    assert_eq!(whole, replay(&[]));
    let digest = whole.lines().last().expect("the digest");
    let some = replay(&["--until", "6s", "--filter", "network"]);
    assert_eq!(some.lines().last(), Some(digest), "the digest is that of the whole trace");
    assert!(some.lines().rev().skip(1).all(|line| line.contains("network")), "{some}");
    assert!(some.contains("black hole") && !some.contains("carries again"), "{some}");
}

#[test]
fn bad_input_is_listed_as_a_whole_with_remedies() {
    let folder = Folder::new();
    let file = folder.write(
        "bad.yaml",
        &FAILING
            .replace("topic: orders", "topic: order")
            .replace("route: all", "route: al")
            .replace("at: 5s", "at: 5h")
            .replace("latency:", "latencies:"),
    );
    let done = folder.run(&["rehearse", &file]).expect(
        2,
        &[
            "no topic of this scenario",
            "did you mean `orders`?",
            "no route of this scenario",
            "behind the end of the run",
            "did you mean `latency`?",
        ],
    );
    assert!(done.err.starts_with("error: "), "{}", done.err);
    let good = folder.write("good.yaml", FAILING);
    folder
        .run(&["rehearse", &good, "--variant", "fail"])
        .expect(2, &["error: there is no variant `fail`", "  remedy: did you mean `fails`?"]);
    folder.run(&["replay", &good, "--seed", "1"]).expect(2, &["has 2 variants", "`--variant`"]);
    folder
        .run(&["rehearse", &good, "--set", "timeline[9].at=5s"])
        .expect(2, &["`timeline[9].at` leads to no value"]);
    folder.run(&["rehearse", "nowhere.yaml"]).expect(2, &["cannot be read", "remedy: "]);
    folder.run(&["sweep", &good, "--seeds", "5..2"]).expect(2, &["write a range such as"]);
    folder.run(&["list", "nowhere"]).expect(2, &["cannot be listed", "remedy: "]);
}

#[test]
fn sweep_tells_failing_seeds_and_goes_on_where_it_was() {
    let folder = Folder::new();
    let file = folder.write("s.yaml", FAILING);
    let sweep = |more: &[&str]| {
        let vary = "timeline[1].black-hole.for=1s,5s";
        let arguments = ["sweep", &file, "--variant", "fails", "--vary", vary, "--out", "r.jsonl"];
        folder.run(&[&arguments, more].concat())
    };
    let replay =
        format!("replay {file} --variant fails --set 'timeline[1].black-hole.for=5s' --seed 1");
    let first = sweep(&["--seeds", "0..2"])
        .expect(1, &["timeline[1].black-hole.for=5s: 2 runs not", &replay]);
    let rows = |folder: &Folder| fs::read_to_string(folder.path("r.jsonl")).expect("rows");
    assert_eq!(rows(&folder).lines().count(), 4);
    // A line that was cut off when the machine went away is done again.
    let whole = rows(&folder);
    fs::write(folder.path("r.jsonl"), &whole[..whole.len() - 20]).expect("a file");
    let again = sweep(&["--seeds", "0..2", "--resume", "--jobs", "2"])
        .expect(1, &["3 of 4 runs are there"]);
    assert_eq!(again.out, first.out, "whatever was there already");
    assert_eq!(rows(&folder), whole, "a run gives the same row every time");
}

/// A suite in which the delivery timeout never passes proves nothing about it.
#[test]
fn sweep_fails_when_no_seed_comes_to_what_it_is_about() {
    let folder = Folder::new();
    let file = folder.write("s.yaml", FAILING);
    let tame =
        ["--set", "timeline[1].black-hole.for=1s", "--set", "variants.expected.expect.failed=0"];
    let arguments = ["sweep", &file, "--variant", "expected", "--seeds", "0..2"];
    let told = "no seed came to `delivery-timeout`";
    let done = folder.run(&[&arguments[..], &tame].concat()).expect(1, &[told]);
    assert!(!done.out.contains("replay"), "no run has failed by itself: {}", done.out);
}

#[test]
fn shrink_writes_a_scenario_that_fails_the_same_check() {
    let folder = Folder::new();
    let file = folder.write("s.yaml", FAILING);
    let arguments = [
        "shrink",
        &file,
        "--variant",
        "fails",
        "--seed",
        "1",
        "--runs",
        "12",
        "--out",
        "small.yaml",
    ];
    folder
        .run(&arguments)
        .expect(0, &["fails: failed", "1 step, ", "rehearse small.yaml --seed 1"]);
    let small = fs::read_to_string(folder.path("small.yaml")).expect("a scenario");
    assert!(small.contains("black-hole") && !small.contains("slow"), "{small}");
    folder.run(&["rehearse", "small.yaml", "--seed", "1"]).expect(1, &["FAILED failed"]);
    let arguments = ["shrink", &file, "--variant", "expected", "--seed", "1"];
    folder.run(&arguments).expect(2, &["comes as expected", "remedy: "]);
}

#[test]
fn list_and_schema_show_what_can_be_written() {
    let folder = Folder::new();
    folder.write("s.yaml", FAILING);
    let listed = folder.run(&["list", "."]).expect(0, &["s.yaml", "--variant expected"]);
    assert!(listed.out.contains("may wait.\n"), "the first sentence only: {}", listed.out);
    let schema = folder.run(&["schema"]).expect(0, &["\"title\": \"Switchyard scenario\""]);
    serde_json::from_str::<serde_json::Value>(&schema.out).expect("JSON");
}

#[test]
fn assess_lists_the_faults_of_all_its_files() {
    let folder = Folder::new();
    let gateway = folder.write("g.yaml", "routes: []\n");
    let producer = folder.write("p.properties", "delivery.timout.ms=5\n");
    folder
        .run(&["assess", &gateway, "--producer", &producer])
        .expect(2, &["error: ", "streamingDomains", "did you mean `delivery.timeout.ms`?"]);
    folder
        .run(&["assess", &example("minimal.yaml"), "--route", "al"])
        .expect(2, &["there is no route `al`", "remedy: did you mean `all`?"]);
}
