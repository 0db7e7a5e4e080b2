//! The real clients of a scenario: the same numbers, names and settings as in a rehearsal, and applications that behave as
//! those there do.
//!
//! ```text
//!  scenario ─▶ prepare ─┬─ Java: one process for all, a thread each ──┐
//!                       └─ librdkafka: this process, a thread each ───┴─▶ Told ─▶ Recorder
//! ```
//!
//! What a library does not tell its application is read from its log: broken connections, raised epochs, reset positions.

mod java;
mod librdkafka;
mod told;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use switchyard_sim::{
    rehearsal::{QUIET, names, start_delay},
    scenario::{
        Scenario,
        model::{self, Library},
    },
};

use super::Recorder;
use crate::Result;
use java::Jvm;
use librdkafka::Threads;
use told::Told;

/// Decides when clients start within their second, as it does in the first run of a rehearsal.
const SEED: u64 = 1;

/// One client: what it is called, what it is told, and what its application does with it.
#[derive(Clone, Debug)]
struct Plan {
    name: String,
    /// As the scenario calls it, without a number.
    kind: String,
    library: Library,
    properties: BTreeMap<String, String>,
    /// Since the start of the play.
    start: Duration,
    application: Application,
}

/// What an application does.
#[derive(Clone, Debug)]
enum Application {
    /// Hands over a record every so often.
    Writes {
        topic: String,
        /// Records a second.
        rate: u32,
        record_bytes: usize,
        transaction_records: Option<usize>,
    },
    /// Reads whatever its group gives it.
    Reads { group: String, topics: Vec<String> },
}

/// Clients that are ready to start: what takes time has been done before the clock of the play runs.
pub struct Prepared {
    jvm: Option<Jvm>,
    librdkafka: Vec<Plan>,
}

/// The clients of a play.
pub struct Clients {
    told: Told,
    jvm: Option<Jvm>,
    threads: Threads,
}

impl Clients {
    /// Prepares all clients of a scenario; `bootstrap` says where those of a route or of a cluster begin.
    ///
    /// # Errors
    /// When the process of the Java clients does not become ready.
    pub async fn prepare(
        scenario: &Scenario,
        bootstrap: impl Fn(&model::Entry) -> String,
    ) -> Result<Prepared> {
        let plans = plans(scenario, bootstrap);
        let (java, librdkafka): (Vec<_>, Vec<_>) =
            plans.into_iter().partition(|plan| plan.library == Library::Java);
        let jvm = if java.is_empty() { None } else { Some(Jvm::start(&java).await?) };
        Ok(Prepared { jvm, librdkafka })
    }
}

impl Prepared {
    /// Starts the clients; each waits for its own time, which counts from the recorder's start.
    ///
    /// # Errors
    /// When the process of the Java clients is gone.
    pub fn start(self, recorder: &Recorder) -> Result<Clients> {
        let told = Told::new(recorder);
        if let Some(jvm) = &self.jvm {
            jvm.begin(&told)?;
        }
        let threads = Threads::start(self.librdkafka, &told);
        Ok(Clients { told, jvm: self.jvm, threads })
    }
}

impl Clients {
    /// Consumers of this name stop polling for a while.
    ///
    /// # Errors
    /// When the process of the Java clients is gone.
    pub fn stall(&self, name: &str, lasts: Duration) -> Result<()> {
        self.threads.stall(name, lasts);
        self.say(&format!("stall {name} {}", lasts.as_millis()))
    }

    /// Applications send nothing more; what they have handed over comes to its end.
    ///
    /// # Errors
    /// When the process of the Java clients is gone.
    pub fn stop_sending(&self) -> Result<()> {
        self.told.progress();
        self.threads.stop_sending();
        self.say("stop-sending")
    }

    /// Whether there is nothing left to wait for: no record is open, and nothing was acknowledged or read for as long as
    /// rehearsals wait.
    ///
    /// # Errors
    /// When the process of the Java clients is gone.
    pub fn have_settled(&mut self) -> Result<bool> {
        if let Some(jvm) = &mut self.jvm {
            jvm.healthy()?;
        }
        Ok(self.told.open() == 0 && self.told.idle() > QUIET)
    }

    /// Records that were handed over and are neither acknowledged nor failed.
    pub fn open(&self) -> u64 {
        self.told.open()
    }

    /// Closes every client in good order. All that they had to tell is with the recorder then.
    ///
    /// # Errors
    /// When a client does not close in time.
    pub async fn end(mut self) -> Result<()> {
        let deadline = Instant::now() + END_TIME_MAX;
        self.told.close();
        self.threads.begin_end();
        let java = match self.jvm.take() {
            Some(jvm) => jvm.end(END_TIME_MAX).await,
            None => Ok(()),
        };
        java.and(self.threads.end(deadline).await)
    }

    fn say(&self, line: &str) -> Result<()> {
        self.jvm.as_ref().map_or(Ok(()), |jvm| jvm.say(line))
    }
}

/// How long all clients together may take to close. Each gives up after ten seconds.
const END_TIME_MAX: Duration = Duration::from_secs(20);

fn plans(scenario: &Scenario, bootstrap: impl Fn(&model::Entry) -> String) -> Vec<Plan> {
    let producers = scenario.producers.iter().flat_map(|spec| {
        let servers = bootstrap(&spec.entry);
        names(&spec.name, spec.count).into_iter().map(move |name| Plan {
            kind: spec.name.clone(),
            library: spec.library,
            properties: spec.properties(&name, &servers),
            start: spec.start + start_delay(SEED, &name),
            application: Application::Writes {
                topic: spec.topic.clone(),
                rate: spec.rate,
                record_bytes: spec.record_bytes,
                transaction_records: spec.transaction_records,
            },
            name,
        })
    });
    let consumers = scenario.consumers.iter().flat_map(|spec| {
        let servers = bootstrap(&spec.entry);
        names(&spec.name, spec.count).into_iter().map(move |name| Plan {
            kind: spec.name.clone(),
            library: spec.library,
            properties: spec.properties(&name, &servers),
            start: spec.start + start_delay(SEED, &name),
            application: Application::Reads {
                group: spec.settings["group.id"].clone(),
                topics: spec.topics.clone(),
            },
            name,
        })
    });
    producers.chain(consumers).collect()
}
