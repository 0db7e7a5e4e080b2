//! The instances of the gateway: its release binary, each with the scenario's own file.
//!
//! Of the file only what leads to another place is replaced: endpoints, addresses that are listened on, and where the state
//! is kept. The file may rely on relative paths in nothing else.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use switchyard::driver::status::GatewayStatus;
use switchyard_sim::scenario::Scenario;
use tempfile::TempDir;

use super::{
    Recorder,
    addresses::{Addresses, Viewer},
};
use crate::{
    Result, eventually,
    gateway::binary,
    process::{Footprint, Process},
};

/// Health and metrics.
const ADMIN_PORT: u16 = 19_190;
/// Status and commands.
const CONTROL_PORT: u16 = 19_180;
/// How long an instance may take to start on a loaded machine.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long an instance may take to end in order.
const END_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a call of the control API may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);

/// What is replaced in the gateway's file, for the output.
pub(super) const REPLACED: &str =
    "endpoints of clusters and routes, bindAddress of routes, admin and control, stateFile";

/// One instance.
pub(super) struct Instance {
    /// `gateway-1`, …
    pub(super) name: String,
    directory: TempDir,
    host: String,
    agent: ureq::Agent,
    /// There while it runs.
    process: Mutex<Option<Process>>,
    /// Lines of its log that were taken down.
    log_lines_read: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A gateway's file for one instance on the network of a play.
pub(super) fn file(scenario: &Scenario, addresses: &Addresses, number: usize) -> Result<Value> {
    let mut value: Value = serde_yaml::from_str(&scenario.gateway_text)?;
    let root = if value.get("gateway").is_some() { &mut value["gateway"] } else { &mut value };
    for domain in root["streamingDomains"].as_array_mut().ok_or("no streaming domains")? {
        let name = domain["name"].as_str().ok_or("a streaming domain has no name")?.to_owned();
        let brokers = addresses.brokers_for(Viewer::Gateway(number), &name);
        let servers = domain["kafkaCluster"]["bootstrapServers"].as_array_mut();
        for server in servers.ok_or("no bootstrap servers")? {
            server["endpoint"] = json!(brokers);
        }
    }
    let mut any_host = String::new();
    for route in root["routes"].as_array_mut().ok_or("no routes")? {
        let name = route["name"].as_str().ok_or("a route has no name")?;
        let checked = scenario.gateway.routes.get(name).ok_or("an unknown route")?;
        route["endpoint"] =
            json!(format!("{}:{}", addresses.route_host(&checked.host), checked.port));
        any_host = addresses.instance_host(number, &checked.host);
        route["bindAddress"] = json!(any_host);
    }
    for (section, port) in [("admin", ADMIN_PORT), ("control", CONTROL_PORT)] {
        if !root[section].is_object() {
            root[section] = json!({});
        }
        root[section]["bindAddress"] = json!(any_host);
        root[section]["port"] = json!(port);
    }
    root["stateFile"] = json!("state.json");
    Ok(value)
}

/// The same file with another target for a route.
fn edited(mut value: Value, route: &str, to: &str) -> Result<Value> {
    let root = if value.get("gateway").is_some() { &mut value["gateway"] } else { &mut value };
    let routes = root["routes"].as_array_mut().ok_or("the file has no routes")?;
    let own = routes.iter_mut().find(|own| own["name"] == route);
    let own = own.ok_or_else(|| format!("the file has no route {route}"))?;
    own["streamingDomain"] = json!({ "name": to });
    Ok(value)
}

impl Instance {
    /// An instance that does not run yet, with its file in a directory of its own.
    pub(super) fn new(scenario: &Scenario, addresses: &Addresses, number: usize) -> Result<Self> {
        let directory = TempDir::new()?;
        let mut value = file(scenario, addresses, number)?;
        let root = if value.get("gateway").is_some() { &mut value["gateway"] } else { &mut value };
        let host = root["control"]["bindAddress"].as_str().unwrap_or_default().to_owned();
        root["stateFile"] = json!(directory.path().join("state.json"));
        fs::write(directory.path().join("gateway.yaml"), value.to_string())?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIME_MAX))
            // A refusal has a body that says why.
            .http_status_as_error(false);
        Ok(Self {
            name: format!("gateway-{number}"),
            directory,
            host,
            agent: agent.build().into(),
            process: Mutex::default(),
            log_lines_read: Mutex::default(),
        })
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("gateway.yaml")
    }

    /// Starts it and waits until it listens; it may take longer to be ready.
    pub(super) async fn start(&self) -> Result<()> {
        // By `env`, so that the log's level is this one's alone.
        let arguments = [
            "GATEWAY_LOG_LEVEL=debug".to_owned(),
            binary()?.display().to_string(),
            "run".to_owned(),
            self.path().display().to_string(),
            "--log-format".to_owned(),
            "json".to_owned(),
        ];
        *lock(&self.log_lines_read) = 0;
        *lock(&self.process) = Some(Process::start(&self.name, "env", &arguments)?);
        let what = format!("start of {}", self.name);
        let live = eventually(&what, START_TIME_MAX, || async { self.status().await.ok() });
        let outcome = live.await;
        outcome
            .map(drop)
            .map_err(|error| format!("{error}; its output ends:{}", self.tail()).into())
    }

    /// Waits until it is ready to serve.
    pub(super) async fn await_ready(&self) -> Result<()> {
        let url = format!("http://{}:{ADMIN_PORT}/readyz", self.host);
        let what = format!("readiness of {}", self.name);
        let ready = eventually(&what, START_TIME_MAX, || async {
            (self.get(&url).await.ok()?.0 == 200).then_some(())
        });
        let outcome = ready.await;
        outcome.map_err(|error| format!("{error}; its output ends:{}", self.tail()).into())
    }

    fn tail(&self) -> String {
        lock(&self.process).as_ref().map(Process::tail).unwrap_or_default()
    }

    /// Its process, and what that holds of the machine; `None` while it does not run.
    pub(super) fn footprint(&self) -> Option<(u32, Footprint)> {
        let process = lock(&self.process);
        let process = process.as_ref()?;
        Some((process.id(), process.footprint().ok()?))
    }

    /// Whether nobody has ended it.
    pub(super) fn runs(&self) -> bool {
        lock(&self.process).is_some()
    }

    /// Ends it at once.
    pub(super) fn kill(&self, recorder: &Recorder) {
        self.take_log(recorder);
        // Dropping it kills it.
        *lock(&self.process) = None;
    }

    /// Ends it in order.
    pub(super) async fn stop(&self, recorder: &Recorder) -> Result<()> {
        let process = lock(&self.process).take();
        if let Some(mut process) = process {
            process.signal("TERM")?;
            process.end(END_TIME_MAX).await?;
            *lock(&self.process) = Some(process);
            self.take_log(recorder);
            *lock(&self.process) = None;
        }
        Ok(())
    }

    /// Lets its file name another target for a route, from its next start on.
    pub(super) fn edit(&self, route: &str, to: &str) -> Result<()> {
        let value: Value = serde_json::from_slice(&fs::read(self.path())?)?;
        Ok(fs::write(self.path(), edited(value, route, to)?.to_string())?)
    }

    async fn get(&self, url: &str) -> Result<(u16, String)> {
        let (agent, url) = (self.agent.clone(), url.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut answer = agent.get(&url).call()?;
            let text = answer.body_mut().read_to_string()?;
            Ok((answer.status().as_u16(), text))
        })
        .await?
    }

    /// What it says of itself.
    pub(super) async fn status(&self) -> Result<GatewayStatus> {
        let url = format!("http://{}:{CONTROL_PORT}/config", self.host);
        Ok(serde_json::from_str(&self.get(&url).await?.1)?)
    }

    /// Its metrics' text.
    pub(super) async fn metrics(&self) -> Result<String> {
        Ok(self.get(&format!("http://{}:{ADMIN_PORT}/metrics", self.host)).await?.1)
    }

    /// A command to a route by the control API.
    pub(super) async fn command(&self, route: &str, command: &str, body: Value) -> Result<()> {
        let url = format!("http://{}:{CONTROL_PORT}/routes/{route}/{command}", self.host);
        let agent = self.agent.clone();
        let (code, text) = tokio::task::spawn_blocking(move || {
            let mut answer = agent.post(&url).send_json(body)?;
            let text = answer.body_mut().read_to_string()?;
            Ok::<_, crate::Error>((answer.status().as_u16(), text))
        })
        .await??;
        if (200..300).contains(&code) { Ok(()) } else { Err(format!("{code}: {text}").into()) }
    }

    /// Takes down what it has logged since the last time.
    pub(super) fn take_log(&self, recorder: &Recorder) {
        let process = lock(&self.process);
        let Some(process) = process.as_ref() else { return };
        let mut read = lock(&self.log_lines_read);
        let lines = process.stderr(|lines| lines.get(*read..).unwrap_or_default().to_vec());
        *read += lines.len();
        for line in lines {
            super::watch::log_line(recorder, &self.name, &line);
        }
    }
}
