//! The librdkafka clients of a play, in this process: a thread for each application, and those of the library.

mod consuming;
mod context;
mod producing;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use switchyard_sim::oracle::history::What;

use super::{Application, Plan, told::Told};
use crate::Result;
use context::Context;

/// What the library is asked to log besides: connections, and epochs of producers.
const DEBUG: &str = "broker,eos";
/// How often a thread that waits looks whether everything ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long one client may take to close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// What the applications are told by whoever plays.
#[derive(Clone, Default)]
struct Wishes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sends_nothing: AtomicBool,
    ends: AtomicBool,
    /// Until when consumers do not poll, by their names.
    stalls: Mutex<BTreeMap<String, Instant>>,
}

impl Wishes {
    fn sends(&self) -> bool {
        !self.0.sends_nothing.load(Ordering::Relaxed)
    }

    fn ends(&self) -> bool {
        self.0.ends.load(Ordering::Relaxed)
    }

    fn is_stalled(&self, plan: &Plan) -> bool {
        let stalls = self.0.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        [&plan.kind, &plan.name]
            .into_iter()
            .any(|name| stalls.get(name).is_some_and(|it| *it > now))
    }

    /// Sleeps until then, unless everything ends.
    fn sleep_until(&self, at: Instant) {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ends() {
                return;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

/// The threads of all applications. Dropping it tells them to end.
pub(super) struct Threads {
    wishes: Wishes,
    threads: Vec<(String, JoinHandle<()>)>,
}

impl Threads {
    pub(super) fn start(plans: Vec<Plan>, told: &Told) -> Self {
        let wishes = Wishes::default();
        let start = |plan: Plan| {
            let name = plan.name.clone();
            let (told, wishes) = (told.clone(), wishes.clone());
            let start = Instant::now() + plan.start.saturating_sub(told.elapsed());
            let thread = std::thread::spawn(move || {
                wishes.sleep_until(start);
                if !wishes.ends() {
                    live(&plan, &told, &wishes);
                }
            });
            (name, thread)
        };
        let threads = plans.into_iter().map(start).collect();
        Self { wishes, threads }
    }

    pub(super) fn stall(&self, name: &str, lasts: Duration) {
        let mut stalls = self.wishes.0.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.insert(name.to_owned(), Instant::now() + lasts);
    }

    pub(super) fn stop_sending(&self) {
        self.wishes.0.sends_nothing.store(true, Ordering::Relaxed);
    }

    /// Tells everybody to close.
    pub(super) fn begin_end(&self) {
        self.stop_sending();
        self.wishes.0.ends.store(true, Ordering::Relaxed);
    }

    /// Waits until everybody has closed. Who does not is left behind.
    pub(super) async fn end(&mut self, deadline: Instant) -> Result<()> {
        for (name, thread) in self.threads.drain(..) {
            while !thread.is_finished() {
                if Instant::now() > deadline {
                    return Err(format!("{name} does not close").into());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            thread.join().map_err(|_| format!("the application of {name} has panicked"))?;
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.begin_end();
    }
}

/// The life of one client.
fn live(plan: &Plan, told: &Told, wishes: &Wishes) {
    let mut config = ClientConfig::new();
    config.extend(plan.properties.clone());
    let debug =
        config.get("debug").map_or_else(|| DEBUG.to_owned(), |own| format!("{own},{DEBUG}"));
    config.set("debug", debug);
    config.set_log_level(RDKafkaLogLevel::Debug);
    let context = Context::new(plan, told);
    let outcome = match &plan.application {
        Application::Writes { .. } => producing::run(plan, &config, context.clone(), wishes),
        Application::Reads { .. } => consuming::run(plan, &config, &context, wishes),
    };
    if let Err(error) = outcome {
        context.tell(What::Fatal { reason: error.to_string().into() });
    }
}
