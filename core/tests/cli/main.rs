//! The `switchyard` binary as people and scripts use it.
#![expect(clippy::disallowed_methods, reason = "these tests run real processes in real time")]
#![expect(clippy::disallowed_types, reason = "these tests run real processes in real time")]

mod broker;
mod commands;
mod environment;
mod files;
mod help;
mod http;
mod restart;
mod stop;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use broker::Broker;

/// Nothing here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// An address of this machine that no other test has, so that ports need not be looked for.
fn own_address() -> IpAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(1);
    let process = std::process::id().to_be_bytes();
    let test = u8::try_from(TAKEN.fetch_add(1, Ordering::Relaxed)).expect("fewer than 256 tests");
    Ipv4Addr::new(127, 1 + process[2] % 254, process[3], test).into()
}

/// The binary, with nothing of this process's environment that it reads.
fn switchyard(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.args(arguments);
    let read = ["GATEWAY_CONFIG_FILE", "GATEWAY_CONFIG", "GATEWAY_LOG_LEVEL", "GATEWAY_NODE_ID"];
    for variable in read.into_iter().chain(["SWITCHYARD_CONTROL", "SWITCHYARD_TOKEN_FILE"]) {
        command.env_remove(variable);
    }
    command
}

/// What a command said and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn run(arguments: &[&str]) -> Said {
    said(&switchyard(arguments).output().expect("the binary runs"))
}

/// Looks until it is so.
#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A place for one gateway: an address, two clusters of one broker each, and a folder for its files.
struct Site {
    address: IpAddr,
    _east: Broker,
    west: Broker,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let address = own_address();
        let east = Broker::start(address, 9092);
        let west = Broker::start(address, 9192);
        Self { address, _east: east, west, folder: tempfile::tempdir().expect("a folder") }
    }

    /// Route `sales` at `domain`, with further keys of the route and of the file.
    fn text(&self, domain: &str, route: &str, more: &str) -> String {
        let Self { address, .. } = self;
        format!(
            "streamingDomains:
- {{name: east, kafkaCluster: {{bootstrapServers: [{{id: main, endpoint: '{address}:9092'}}]}}}}
- {{name: west, kafkaCluster: {{bootstrapServers: [{{id: main, endpoint: '{address}:9192'}}]}}}}
routes:
- name: sales
  endpoint: '{address}:19092'
  streamingDomain: {{name: {domain}, bootstrapServerId: main}}
  {route}
admin: {{bindAddress: {address}}}
control: {{bindAddress: {address}}}
{more}
"
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self, text: &str) -> PathBuf {
        let path = self.path("gateway.yaml");
        fs::write(&path, text).expect("writes");
        path
    }

    fn control(&self) -> String {
        format!("http://{}:9180", self.address)
    }

    /// Runs a command against this site's gateway.
    fn call(&self, arguments: &[&str]) -> Said {
        let mut command = switchyard(arguments);
        said(&command.env("SWITCHYARD_CONTROL", self.control()).output().expect("runs"))
    }

    /// `status --json` of the only route; `None` while nobody answers.
    fn route(&self) -> Option<serde_json::Value> {
        let said = self.call(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        status["routes"].get(0).cloned()
    }

    #[track_caller]
    fn domain(&self) -> String {
        let route = self.route().expect("the gateway answers");
        route["observed"]["domain"].as_str().expect("a name").to_owned()
    }

    /// Starts a gateway with the file as it is and waits until it is ready.
    #[track_caller]
    fn start(&self) -> Gateway {
        let gateway = Gateway::spawn(switchyard(&["run"]).arg(self.path("gateway.yaml")));
        gateway.says("ready");
        gateway
    }
}

/// A gateway's process, ended with its test.
struct Gateway {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    fn spawn(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().expect("no panic").push(line);
            }
        });
        Self { process, log }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// Waits for a line of the log that holds this.
    #[track_caller]
    fn says(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some(line) = log.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            assert!(Instant::now() < deadline, "never said {text:?}:\n{}", log.join("\n"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for its end.
    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        eventually("the process ends", || self.process.try_wait().expect("is a child")).code()
    }

    fn kill(mut self) {
        self.process.kill().expect("is a child");
        self.process.wait().expect("is a child");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
