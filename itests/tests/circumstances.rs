//! What a run of the tests does where something is missing, broken or left over. Each test here runs this file's binary again,
//! as a run of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    time::Duration,
};

use switchyard_itests::{
    Result,
    cluster::{Cluster, Plan},
    eventually, itest, machine,
    version::Version,
};

/// Says that a test has come to its body.
const REACHED: &str = "the body of a test is reached";

/// A run of a single test, without the output that this one is to have.
fn run_of(test: &str) -> Result<Command> {
    let mut run = Command::new(std::env::current_exe()?);
    run.args(["--exact", test, "--ignored", "--nocapture"])
        .env("SWITCHYARD_ITESTS_SLOT", machine::slot_within().to_string())
        .env("RUST_BACKTRACE", "0")
        .env_remove("SWITCHYARD_SKIP_DOCKER")
        .stdin(Stdio::null());
    Ok(run)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
#[ignore = "run by the tests beside it, each in a process with something missing"]
fn that_needs_docker() {
    itest(async {
        println!("{REACHED}");
        Ok(())
    });
}

/// A run without Docker that passed would say that everything holds, of which nothing was tried.
#[test]
fn run_without_docker_fails_with_one_line_that_says_how_to_get_it() -> Result<()> {
    for (variable, value, why) in
        [("DOCKER_HOST", "tcp://127.0.0.1:1", "127.0.0.1:1"), ("PATH", "", "docker: ")]
    {
        let output = run_of("that_needs_docker")?.env(variable, value).output()?;
        let text = text(&output);
        assert!(!output.status.success() && !text.contains(REACHED), "{variable}: {text}");
        let lines: Vec<_> = text.lines().filter(|line| line.contains("Docker engine")).collect();
        let [line] = &lines[..] else { return Err(format!("{variable}: {text}").into()) };
        assert!(line.starts_with("no Docker engine answers (") && line.contains(why), "{line}");
        assert!(line.ends_with("): run ci/setup"), "{line}");
    }
    Ok(())
}

/// Who wants to go without Docker is told each time what was not tried, also where the runner hides what passing tests print.
#[test]
fn run_that_may_skip_says_what_it_skips() -> Result<()> {
    let mut run = Command::new(std::env::current_exe()?);
    let output = run
        .args(["--exact", "that_needs_docker", "--ignored"])
        .env("DOCKER_HOST", "tcp://127.0.0.1:1")
        .env("SWITCHYARD_SKIP_DOCKER", "1")
        .output()?;
    let text = text(&output);
    assert!(output.status.success() && !text.contains(REACHED), "{text}");
    assert!(
        text.contains("SKIPPED, for SWITCHYARD_SKIP_DOCKER=1: no Docker engine answers"),
        "{text}"
    );
    Ok(())
}

/// An image of which nobody knows is no reason to pass, either.
#[test]
fn run_without_an_image_fails_with_the_image_that_it_wants() {
    itest(async {
        let output = run_of("that_needs_docker")?
            .env("SWITCHYARD_KAFKA_IMAGE", "nobody/kafka:1.2.3")
            .output()?;
        let text = text(&output);
        assert!(!output.status.success() && !text.contains(REACHED), "{text}");
        assert!(text.contains("no image nobody/kafka:1.2.3: run ci/setup"), "{text}");
        Ok(())
    });
}

/// A container of the tests of a slot that does nothing; gives its id.
fn plant(slot: u8) -> Result<String> {
    let (name, tag) = machine::image_of(Version::under_test()?)?;
    let label = format!("{}={slot}", machine::LABEL);
    let output = Command::new("docker")
        .args(["create", "--label", &label, &format!("{name}:{tag}")])
        .output()?;
    if output.status.success() {
        Ok(text(&output).trim().to_owned())
    } else {
        Err(text(&output).into())
    }
}

fn is_there(container: &str) -> Result<bool> {
    Ok(Command::new("docker").args(["inspect", container]).output()?.status.success())
}

/// A run that the machine's end cut off cleaned up nothing, and its addresses are those of the next.
#[test]
fn containers_that_a_run_has_left_are_removed_by_the_next_of_its_slot() {
    itest(async {
        let (left, of_this_run) = (plant(machine::slot_within())?, plant(machine::slot())?);
        let output = run_of("that_needs_docker")?.output()?;
        assert!(output.status.success() && text(&output).contains(REACHED), "{}", text(&output));
        assert!(!is_there(&left)?, "{left} is still there");
        assert!(is_there(&of_this_run)?, "a run has removed a container of another slot");
        Ok(())
    });
}

#[test]
#[ignore = "never ends: run, and killed, by containers_of_a_run_that_is_killed_are_removed"]
fn that_is_interrupted() {
    itest(async {
        println!("{REACHED}: {}", plant(machine::slot())?);
        std::future::pending().await
    });
}

/// Nobody waits for a run that was killed, and the next one may be of another project.
#[test]
fn containers_of_a_run_that_is_killed_are_removed() {
    itest(async {
        let mut run = run_of("that_is_interrupted")?.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(run.stdout.take().ok_or("no output")?).lines();
        let said = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.rsplit_once(REACHED)?.1.to_owned()));
        let container = said.ok_or("it said nothing")?.trim_start_matches(": ").to_owned();
        assert!(is_there(&container)?);
        run.kill()?;
        run.wait()?;
        eventually("the end of its container", Duration::from_secs(20), || async {
            (!is_there(&container).ok()?).then_some(())
        })
        .await
    });
}

/// Why a broker does not start stands in its log, which is gone with its container.
#[test]
fn broker_that_does_not_start_is_reported_with_the_end_of_its_log() {
    itest(async {
        let mut plan = Plan::published("broken", "switchyardBrokenPlan00", 15, &[1]);
        plan.settings.insert("num.io.threads".into(), "none".into());
        let Err(error) = Cluster::start(plan).await.map(drop) else {
            return Err("a broker without threads has started".into());
        };
        let error = error.to_string();
        assert!(error.contains("broken1 did not start"), "{error}");
        let log = error.split_once("the end of its log:").map(|(_, log)| log).unwrap_or_default();
        assert!(log.contains("Invalid value none for configuration num.io.threads"), "{error}");
        Ok(())
    });
}
