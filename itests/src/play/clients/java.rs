//! The Java clients of a play: one process (`itests/java/Clients.java`), for a JVM is dear on two cores.

use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use switchyard_sim::oracle::history::Entry;
use tempfile::NamedTempFile;

use super::{Application, Plan, told::Told};
use crate::{Result, eventually, java::class_path, process::Process};

/// Heap and compiler: it lives for minutes at most, on cores that it shares with the clusters.
const JVM: [&str; 4] = ["-Xms32m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// How long it may take to compile the program and to load the library, on a loaded machine.
const READY_TIME_MAX: Duration = Duration::from_mins(1);

/// The process of all Java clients.
pub(super) struct Jvm {
    process: Process,
    heard: Arc<Mutex<Heard>>,
    _plans: NamedTempFile,
}

/// What the process has said.
#[derive(Default)]
struct Heard {
    /// Who is told what the clients see; nobody before the play has begun.
    told: Option<Told>,
    is_ready: bool,
    /// Whether the library's log can be read.
    has_log: bool,
    /// Whether every client has closed; `None`: it has not said so yet.
    ended: Option<bool>,
    /// The first line that cannot be understood.
    fault: Option<String>,
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heard {
    fn hear(&mut self, line: &str) {
        if let Ok(entry) = serde_json::from_str::<Entry>(line) {
            if let Some(told) = &self.told {
                told.pass_on(entry);
            }
            return;
        }
        let state: Value = serde_json::from_str(line).unwrap_or_default();
        let value = state["value"].as_bool();
        match (state["state"].as_str(), value) {
            (Some("ready"), Some(has_log)) => (self.is_ready, self.has_log) = (true, has_log),
            (Some("ended"), Some(all)) => self.ended = Some(all),
            _ => drop(self.fault.get_or_insert_with(|| line.to_owned())),
        }
    }
}

impl Jvm {
    /// Starts the process, and waits until all that its clients need is loaded.
    pub(super) async fn start(plans: &[Plan]) -> Result<Self> {
        let file = NamedTempFile::new()?;
        let plans: Vec<_> = plans.iter().map(document).collect();
        fs::write(file.path(), serde_json::to_vec(&plans)?)?;
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/java");
        let mut arguments: Vec<_> = JVM.iter().map(|&option| option.to_owned()).collect();
        arguments.extend([
            format!("-Dlog4j2.configurationFile={own}/log4j2.properties"),
            format!("-Dlog4j.configuration=file:{own}/log4j.properties"),
            "-cp".to_owned(),
            class_path()?,
            format!("{own}/Clients.java"),
            file.path().display().to_string(),
        ]);
        let heard = Arc::<Mutex<Heard>>::default();
        let process = Process::converse("Clients.java", "java", &arguments, {
            let heard = Arc::clone(&heard);
            move |line| lock(&heard).hear(line)
        })?;
        let mut jvm = Self { process, heard, _plans: file };
        jvm.await_ready().await?;
        Ok(jvm)
    }

    async fn await_ready(&mut self) -> Result<()> {
        let own = Mutex::new(&mut *self);
        let outcome = eventually("the Java clients", READY_TIME_MAX, || async {
            let mut jvm = own.lock().unwrap_or_else(PoisonError::into_inner);
            match jvm.healthy() {
                Err(error) => Some(Err(error)),
                Ok(()) => lock(&jvm.heard).is_ready.then_some(Ok(())),
            }
        });
        outcome.await??;
        if lock(&self.heard).has_log {
            Ok(())
        } else {
            // Without it no broken connection would be known, and every duplicate would look like a fault.
            Err("Clients.java: no binding of SLF4J is among Kafka's jars: run ci/setup".into())
        }
    }

    /// The play has begun: whatever clients see from now on, `told` is told.
    pub(super) fn begin(&self, told: &Told) -> Result<()> {
        lock(&self.heard).told = Some(told.clone());
        self.say(&format!("start {}", told.start_unix().as_micros()))
    }

    /// Tells all clients something.
    pub(super) fn say(&self, line: &str) -> Result<()> {
        self.process.say(line)
    }

    /// Fails when the process is gone or says what nobody understands.
    pub(super) fn healthy(&mut self) -> Result<()> {
        let fault = lock(&self.heard).fault.clone();
        match (fault, self.process.ended()?) {
            (None, None) => Ok(()),
            (Some(line), _) => Err(format!("Clients.java says: {line}").into()),
            (None, Some(status)) => {
                let tail = self.process.tail();
                Err(format!("Clients.java has ended: {status}; its output ends:{tail}").into())
            }
        }
    }

    /// Closes all clients, and ends the process; it is killed when it does not end by itself.
    pub(super) async fn end(mut self, limit: Duration) -> Result<()> {
        self.healthy()?;
        self.say("end")?;
        let heard = &self.heard;
        let ended =
            eventually("the end of the Java clients", limit, || async { lock(heard).ended });
        match ended.await {
            Ok(true) => {}
            Ok(false) => return Err("Java clients that do not close".into()),
            Err(error) => {
                return Err(format!("{error}; its output ends:{}", self.process.tail()).into());
            }
        }
        self.process.end(limit).await?;
        Ok(())
    }
}

/// A client as `Clients.java` reads it.
fn document(plan: &Plan) -> Value {
    // Their names go into every record that is read, so that it can be told from others.
    let mut document = json!({
        "name": plan.name,
        "kind": plan.kind,
        "settings": plan.properties,
        "start_us": u64::try_from(plan.start.as_micros()).unwrap_or(u64::MAX),
    });
    let own = match &plan.application {
        Application::Writes { topic, rate, record_bytes, transaction_records } => json!({
            "topic": topic,
            "rate": rate,
            "record_bytes": record_bytes,
            "transaction_records": transaction_records.unwrap_or_default(),
        }),
        Application::Reads { group, topics } => json!({"group": group, "topics": topics}),
    };
    if let (Some(all), Value::Object(own)) = (document.as_object_mut(), own) {
        all.extend(own);
    }
    document
}
