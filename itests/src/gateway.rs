//! The gateway as its users run it: the release binary, a configuration file, the control API and the command line.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Result, cluster::Cluster, eventually, machine, process::Process};

/// Port of the first route's bootstrap endpoint; brokers follow from the next one on.
pub const ROUTE_PORT: u16 = 19092;

/// Health and metrics.
const ADMIN_PORT: u16 = 19190;

/// Status and commands.
const CONTROL_PORT: u16 = 19180;

/// How long a gateway may take to start or to take over a changed file.
const START_TIME_MAX: Duration = Duration::from_secs(15);

/// One streaming domain of a configuration.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Addresses of its brokers, separated by commas.
    pub endpoint: String,
}

/// One route of a configuration.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Port of its bootstrap endpoint.
    pub port: u16,
    /// Name of the domain that it points at.
    pub domain: String,
    /// `native` or `neutral`.
    pub view: &'static str,
    /// The value of the key `fence`, in flow style.
    pub fence: Option<String>,
}

/// A configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Domains in order.
    pub domains: Vec<Domain>,
    /// Routes in order.
    pub routes: Vec<Route>,
    /// Host that clients are told, when it is not the one that is listened on.
    pub advertised: Option<String>,
}

impl Config {
    /// One route in the given view that points at the first of the clusters.
    pub fn new(view: &'static str, clusters: &[&Cluster]) -> Self {
        let domain = |cluster: &&Cluster| Domain {
            name: cluster.plan().name.clone(),
            endpoint: cluster.bootstrap(),
        };
        let domains: Vec<_> = clusters.iter().map(domain).collect();
        let first = domains.first().map(|domain| domain.name.clone()).unwrap_or_default();
        let route =
            Route { name: "main".into(), port: ROUTE_PORT, domain: first, view, fence: None };
        Self { domains, routes: vec![route], advertised: None }
    }

    /// The file's text for a gateway that listens on `host`.
    fn text(&self, host: &str) -> Result<String> {
        let advertised = self.advertised.as_deref().unwrap_or(host);
        let mut text = String::from("gateway:\n  name: itests\n  streamingDomains:\n");
        for Domain { name, endpoint } in &self.domains {
            write!(
                text,
                "  - name: {name}\n    kafkaCluster:\n      bootstrapServers:\n      \
                 - {{id: external, endpoint: \"{endpoint}\"}}\n      \
                 nodeIdRanges: [{{name: all, start: 1, end: 3}}]\n"
            )?;
        }
        text.push_str("  routes:\n");
        for Route { name, port, domain, view, fence } in &self.routes {
            write!(
                text,
                "  - name: {name}\n    endpoint: \"{advertised}:{port}\"\n    bindAddress: {host}\n    \
                 clientView: {view}\n    \
                 streamingDomain: {{name: {domain}, bootstrapServerId: external}}\n"
            )?;
            if let Some(fence) = fence {
                writeln!(text, "    fence: {fence}")?;
            }
        }
        write!(
            text,
            "  admin: {{bindAddress: {host}, port: {ADMIN_PORT}}}\n  \
             control: {{bindAddress: {host}, port: {CONTROL_PORT}}}\n"
        )?;
        Ok(text)
    }
}

/// A running gateway with a loopback address of its own.
pub struct Gateway {
    process: Process,
    directory: TempDir,
    host: String,
    config: Config,
}

impl Gateway {
    /// Starts the gateway and waits until it is ready.
    pub async fn start(config: Config) -> Result<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let host = machine::address(21, COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = TempDir::new()?;
        let file = directory.path().join("gateway.yaml");
        fs::write(&file, config.text(&host)?)?;
        let process = launch(&file)?;
        let mut gateway = Self { process, directory, host, config };
        gateway.await_ready().await?;
        Ok(gateway)
    }

    async fn await_ready(&mut self) -> Result<()> {
        let url = format!("http://{}:{ADMIN_PORT}/readyz", self.host);
        let ready = eventually("readiness of the gateway", START_TIME_MAX, || async {
            (get(&url).ok()?.0 == 200).then_some(())
        })
        .await;
        ready.map_err(|error| format!("{error}; its output ends:{}", self.process.tail()).into())
    }

    /// Where clients bootstrap on the first route. With `SWITCHYARD_ITESTS_DIRECT=1` that is the first cluster
    /// itself: what fails then as well is not the gateway's doing.
    pub fn bootstrap(&self) -> String {
        if std::env::var("SWITCHYARD_ITESTS_DIRECT").is_ok_and(|value| value == "1")
            && let Some(domain) = self.config.domains.first()
        {
            return domain.endpoint.clone();
        }
        let host = self.config.advertised.as_deref().unwrap_or(&self.host);
        format!("{host}:{ROUTE_PORT}")
    }

    /// Where clients of the first route find a node.
    pub fn node(&self, node: u16) -> String {
        format!("{}:{}", self.host, ROUTE_PORT + node)
    }

    /// The address that it listens on.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        Ok(self.process.footprint()?.resident_kib)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("gateway.yaml")
    }

    /// Saves a changed configuration, as an editor does, and leaves the rest to the gateway.
    pub fn save(&mut self, change: impl FnOnce(&mut Config)) -> Result<()> {
        change(&mut self.config);
        let text = self.config.text(&self.host)?;
        self.save_text(&text)
    }

    /// Saves any text as the configuration file.
    pub fn save_text(&self, text: &str) -> Result<()> {
        let new = self.directory.path().join("gateway.yaml.new");
        fs::write(&new, text)?;
        fs::rename(new, self.file())?;
        Ok(())
    }

    /// Sends it a signal by its name, without `SIG`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends it by a signal, `TERM` or `KILL`; its files stay.
    pub async fn halt(&mut self, signal: &str) -> Result<()> {
        self.process.signal(signal)?;
        self.process.end(Duration::from_secs(30)).await?;
        Ok(())
    }

    /// Starts it again with its files as they are now, and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = launch(&self.file())?;
        self.await_ready().await
    }

    /// Kills it and starts it again with the same files.
    pub async fn crash_and_restart(&mut self) -> Result<()> {
        self.halt("KILL").await?;
        self.start_again().await
    }

    /// Asks it to stop and gives what it wrote to its log.
    pub async fn stop(mut self) -> Result<String> {
        self.process.signal("TERM")?;
        let status = self.process.end(Duration::from_secs(30)).await?;
        if status.success() {
            Ok(self.log())
        } else {
            Err(format!("stopped with {status}:{}", self.log()).into())
        }
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> String {
        self.process.stderr(|lines| lines.join("\n"))
            + &self.process.stdout(|lines| lines.join("\n"))
    }

    /// Its status, as the control API gives it.
    pub fn status(&self) -> Result<Value> {
        let (status, body) = get(&format!("http://{}:{CONTROL_PORT}/config", self.host))?;
        if status == 200 {
            Ok(serde_json::from_str(&body)?)
        } else {
            Err(format!("/config: {status}: {body}").into())
        }
    }

    /// One field of the first route's status, by its JSON pointer.
    pub fn route(&self, pointer: &str) -> Result<Value> {
        let status = self.status()?;
        let found = status.pointer(&format!("/routes/0{pointer}"));
        found.cloned().ok_or_else(|| format!("no {pointer} in {status}").into())
    }

    /// Waits until a field of the first route's status has a value.
    pub async fn await_route(&self, pointer: &str, value: &Value) -> Result<()> {
        let what = format!("{pointer} = {value}");
        let seen = eventually(&what, START_TIME_MAX, || async {
            (self.route(pointer).ok()? == *value).then_some(())
        });
        seen.await
            .map_err(|error| format!("{error}: {:?}; log:\n{}", self.status(), self.log()).into())
    }

    /// The metrics' text.
    pub fn metrics(&self) -> Result<String> {
        Ok(get(&format!("http://{}:{ADMIN_PORT}/metrics", self.host))?.1)
    }

    /// A command to the first route by the control API: `fence`, `unfence` or `switchover`.
    pub fn command(&self, command: &str, body: &Value) -> Result<Value> {
        let route = self.config.routes.first().ok_or("no route")?;
        let url = format!("http://{}:{CONTROL_PORT}/routes/{}/{command}", self.host, route.name);
        tokio::task::block_in_place(|| {
            let mut answer = agent().post(&url).send_json(body)?;
            let text = answer.body_mut().read_to_string()?;
            match answer.status().as_u16() {
                200..=299 => Ok(serde_json::from_str(&text)?),
                status => Err(format!("{command}: {status}: {text}").into()),
            }
        })
    }

    /// A command by the command line; gives what it printed. Fails when the command did.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let said = tokio::task::block_in_place(|| {
            Command::new(binary()?)
                .args(arguments)
                .env("SWITCHYARD_CONTROL", format!("http://{}:{CONTROL_PORT}", self.host))
                .stdin(Stdio::null())
                .output()
                .map_err(crate::Error::from)
        })?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if said.status.success() {
            Ok(text)
        } else {
            Err(format!("{arguments:?}: {}: {text}", said.status).into())
        }
    }
}

/// The gateway's binary: `SWITCHYARD_BIN`, or the release build.
pub fn binary() -> Result<PathBuf> {
    let path = match (std::env::var("SWITCHYARD_BIN"), std::env::var("CARGO_TARGET_DIR")) {
        (Ok(path), _) => PathBuf::from(path),
        (Err(_), Ok(target)) => Path::new(&target).join("release/switchyard"),
        (Err(_), Err(_)) => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/switchyard")
        }
    };
    if path.exists() {
        Ok(path)
    } else {
        let build =
            "run `cargo build --release -p kafka-switchyard`, or name a binary in SWITCHYARD_BIN";
        Err(format!("no gateway at {}: {build}", path.display()).into())
    }
}

fn launch(config: &Path) -> Result<Process> {
    let arguments = ["run".to_owned(), config.display().to_string()];
    Process::start("gateway", &binary()?.display().to_string(), &arguments)
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        // A refusal has a body that says why.
        .http_status_as_error(false);
    config.build().into()
}

fn get(url: &str) -> Result<(u16, String)> {
    tokio::task::block_in_place(|| {
        let mut answer = agent().get(url).call()?;
        let text = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), text))
    })
}
