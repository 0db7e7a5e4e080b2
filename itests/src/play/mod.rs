//! Plays of scenario files on real Kafka: the same files, the same history, the same judge as in a rehearsal.
//!
//! ```text
//!  scenario ─▶ World (clusters, MirrorMaker, gateways, links) ─┐
//!           ─▶ Clients (Java, librdkafka) ─────────────────────┼─▶ Recorder ─▶ History ─▶ judge
//!           ─▶ Operator (timeline) ────────────────────────────┘
//! ```
//! Every connection between hosts of the scenario passes a [`link`] of ours, so that faults hit exactly the pair that the
//! timeline names. A play has the phases of a rehearsal: the timeline, then recovery, in which everything is mended and
//! nothing new is sent.

mod addresses;
pub mod clients;
mod flow;
mod instances;
pub mod link;
mod logs;
mod mirror;
mod network;
mod operator;
mod recorder;
mod stage;
mod usage;
mod watch;
mod world;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use switchyard_sim::{
    oracle::{Case, History, Verdict, judge},
    rehearsal::{Ended, case, latency_range},
    scenario::{Scenario, model::Host},
};

use crate::Result;
use addresses::Addresses;
use clients::{Clients, Prepared};
use operator::Operator;
pub use recorder::Recorder;
pub use usage::Usage;
use world::World;

/// How often the recovery phase looks whether everything has come to an end.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// A play that has come to its end.
#[derive(Clone, Debug)]
pub struct Played {
    /// What was seen.
    pub history: History,
    /// What the judge has to know besides.
    pub case: Case,
    /// What was otherwise than in the scenario, a line each.
    pub remarks: Vec<String>,
    /// Brokers of each cluster.
    pub brokers: BTreeMap<String, usize>,
    /// Kafka's version in each cluster.
    pub versions: BTreeMap<String, String>,
    /// What the gateways used, every second, before the clients started, and after they had gone.
    pub usages: Vec<Usage>,
    /// What took how long.
    pub times: Vec<(&'static str, Duration)>,
}

impl Played {
    /// What the play has come to, by the oracles of rehearsals.
    pub fn verdict(&self) -> Verdict {
        judge(&self.history, &self.case)
    }

    /// How long all of it took.
    pub fn wall(&self) -> Duration {
        self.times.iter().map(|(_, took)| *took).sum()
    }
}

/// Measures phases.
struct Stopwatch {
    since: Instant,
    times: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { since: Instant::now(), times: Vec::new() }
    }

    fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.times.push((name, now - self.since));
        self.since = now;
    }
}

/// Plays a scenario on real Kafka.
///
/// # Errors
/// When the scenario has something that has no counterpart, something does not start, or the timeline cannot be played.
pub async fn play(scenario: &Scenario) -> Result<Played> {
    let (nodes, remarks) = stage::nodes(scenario);
    let has_node = |cluster: &str, node| nodes.get(cluster).is_some_and(|it| it.contains(&node));
    if let Some(fault) = operator::unplayable(scenario, has_node).into_iter().next() {
        return Err(format!("{}: {fault}", scenario.name).into());
    }
    let mut watch = Stopwatch::start();
    let addresses = Addresses::new(scenario, nodes);
    let bootstrap = |entry: &_| addresses.bootstrap(scenario, entry);
    // A compiler and a JVM of their own: they load while the brokers do.
    let (mut world, prepared) = tokio::try_join!(
        World::build(scenario, &addresses, remarks, &mut watch),
        Clients::prepare(scenario, bootstrap)
    )?;
    watch.lap("preparing of clients");
    world.begin()?;
    world.note_usage();
    let world = Arc::new(world);
    let outcome = perform(&world, prepared, &mut watch).await;
    let (history, unread) = world.history().await;
    watch.lap("reading of logs");
    let mut remarks = world.remarks.clone();
    remarks.extend(unread);
    world.end().await;
    watch.lap("end");
    let (ended, own) = outcome?;
    remarks.extend(own);
    Ok(Played {
        history,
        case: case(scenario, &ended),
        remarks,
        brokers: world.sizes(),
        versions: world.versions(),
        usages: world.usages.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        times: watch.times,
    })
}

/// From the start of the clients to their end. Gives how it ended, and remarks.
async fn perform(
    world: &Arc<World>,
    prepared: Prepared,
    watch: &mut Stopwatch,
) -> Result<(Ended, Vec<String>)> {
    let watchers = [
        tokio::spawn(Arc::clone(world).watch_routes()),
        tokio::spawn(Arc::clone(world).watch_logs()),
        tokio::spawn(Arc::clone(world).watch_usage()),
    ];
    let clients = Arc::new(Mutex::new(Some(prepared.start(&world.recorder)?)));
    let operator = Operator::new(world, &clients);
    let outcome = phases(world, &operator, &clients, watch).await;
    let clients = clients.lock().unwrap_or_else(PoisonError::into_inner).take();
    let closed = match clients {
        Some(clients) => clients.end().await,
        None => Ok(()),
    };
    for watcher in watchers {
        watcher.abort();
    }
    world.await_no_sessions().await;
    world.note_usage();
    watch.lap("closing of clients");
    let (ended, mut remarks) = outcome?;
    remarks.extend(closed.err().map(|error| format!("clients did not close in order: {error}")));
    Ok((ended, remarks))
}

async fn phases(
    world: &World,
    operator: &Operator,
    clients: &Mutex<Option<Clients>>,
    watch: &mut Stopwatch,
) -> Result<(Ended, Vec<String>)> {
    let recorder = &world.recorder;
    let with = |what: &dyn Fn(&mut Clients) -> Result<bool>| -> Result<bool> {
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.as_mut().map_or(Ok(true), what)
    };
    let played = operator.play().await;
    watch.lap("timeline");
    with(&|clients| clients.stop_sending().map(|()| true))?;
    operator.mend_all().await;
    recorder.note("operator", "recovery phase: everything is mended, nothing new is sent");
    let recovery_began = recorder.elapsed();
    played?;
    let mut remarks = Vec::new();
    let deadline = recovery_began + world.scenario.recovery;
    while !with(&|clients| clients.have_settled())? {
        if recorder.elapsed() > deadline {
            remarks.push("clients had not settled when the time for recovery was over".to_owned());
            break;
        }
        tokio::time::sleep(SETTLE_EVERY).await;
    }
    let targets = world.targets().await;
    let ended = recorder.elapsed();
    watch.lap("recovery");
    let latency_max = latency_max(&world.scenario);
    Ok((Ended { targets, recovery_began, ended, latency_max }, remarks))
}

/// The largest latency of any link to or from the gateway.
fn latency_max(scenario: &Scenario) -> Duration {
    let clusters = scenario.clusters.keys().map(|name| Host::Cluster(name.clone()));
    let ends = clusters.chain([Host::Clients]);
    let latency = |end| latency_range(scenario, &Host::Gateways, &end).1;
    ends.map(latency).max().unwrap_or_default()
}
