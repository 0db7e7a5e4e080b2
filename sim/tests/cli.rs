//! The commands as their users run them: the real binary, real ports.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use kafka_protocol::messages::MetadataRequest;
use switchyard_sim::ask::Connection;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-sim"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running command whose output is read line by line; it is killed when dropped.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn await_line(&mut self, part: &str) -> String {
        let found = self.lines.by_ref().map_while(Result::ok).find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("no line with `{part}`"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn cluster_says_when_it_is_ready_has_its_topics_and_sums_up_at_the_end() {
    let arguments = ["cluster", "--port", "17392", "--topic", "orders:3:2", "--for", "2s"];
    let mut running = Running::start(&arguments);
    running.await_line("ready");
    let mut client = Connection::open("127.0.0.1:17393").await.expect("the second broker");
    let metadata = client.ask(&MetadataRequest::default().with_topics(None), 8).await;
    let metadata = metadata.expect("an answer");
    assert_eq!(metadata.brokers.len(), 3);
    assert_eq!(metadata.topics[0].partitions.len(), 3);
    running.await_line("orders  3 partitions, 0 records, 0 B");
    assert!(running.child.wait().expect("it ends").success());
}

#[test]
fn cluster_on_a_taken_port_says_what_to_do_and_exits_with_2() {
    let _taken = TcpListener::bind("127.0.0.1:17492").expect("a free port");
    let said = run(&["cluster", "--port", "17490"]);
    assert_eq!(said.status.code(), Some(2));
    let error = text(&said.stderr);
    assert!(error.contains("cannot listen on 127.0.0.1:17492"), "{error}");
    assert!(error.contains("write another `--port`"), "{error}");
}

#[test]
fn settings_that_kafka_does_not_know_and_topics_that_cannot_be_are_bad_input() {
    for arguments in [
        ["cluster", "--port", "17590", "--set", "num.partition=3"],
        ["cluster", "--port", "17590", "--topic", "a:1:4"],
        ["cluster", "--port", "17590", "--host", "0.0.0.0"],
        ["cluster", "--port", "65535", "--brokers", "2"],
    ] {
        let said = run(&arguments);
        assert_eq!(said.status.code(), Some(2), "{arguments:?}: {}", text(&said.stderr));
    }
}

/// The README's main command, at other ports.
#[test]
fn demo_runs_for_as_long_as_asked_and_loses_nothing_over_two_switchovers() {
    let mut running = Running::start(&[
        "demo",
        "--for",
        "8s",
        "--port-base",
        "16092",
        "--control-port",
        "16180",
        "--admin-port",
        "16190",
    ]);
    running.await_line("2 s  sales at east, serving");
    switch_over("west");
    running.await_line("sales at west, serving");
    switch_over("east");
    running.await_line("sales at east, serving");
    let summary = running.await_line("records acknowledged");
    assert!(summary.contains(" 0 lost, 0 duplicated; 2 switchovers seen"), "{summary}");
    assert!(running.child.wait().expect("it ends").success());
}

/// As `switchyard switchover` does.
fn switch_over(to: &str) {
    use std::io::{Read as _, Write as _};
    let body = format!("{{\"to\": \"{to}\", \"fence\": \"hold\", \"drain\": \"5s\"}}");
    let mut stream = std::net::TcpStream::connect("127.0.0.1:16180").expect("the control port");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    write!(
        stream,
        "POST /routes/sales/switchover HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("\"changed\":true"), "{answer}");
}

#[test]
fn demo_on_taken_ports_says_what_to_do_and_exits_with_2() {
    let _taken = TcpListener::bind("127.0.0.1:16592").expect("a free port");
    let ports = ["--control-port", "16680", "--admin-port", "16690"];
    let said = run(&[&["demo", "--port-base", "16592"], &ports[..]].concat());
    assert_eq!(said.status.code(), Some(2), "{}", text(&said.stderr));
    assert!(text(&said.stderr).contains("write another `--port-base`"), "{}", text(&said.stderr));
}
