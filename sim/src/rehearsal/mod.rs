//! A rehearsal: one scenario, one seed, one history.
//!
//! ```text
//!  scenario ─▶ World (clusters, gateways, network) ─┐
//!           ─▶ clients ─────────────────────────────┼─▶ Recorder ─▶ history, digest ─▶ judge ─▶ Outcome
//!           ─▶ Operator (timeline) ─────────────────┘
//! ```
//! A run is a pure function of (scenario, seed, build). It has a safety phase, in which the timeline plays, and a recovery
//! phase: everything that is still broken is mended, nothing new is sent, and what is open has to come to an end.

#![expect(clippy::disallowed_methods, reason = "clock and tasks are the simulation's")]
#![expect(
    clippy::disallowed_types,
    reason = "the real time that a run takes is told, and decides nothing"
)]

mod application;
mod case;
mod clients;
mod margins;
mod operator;
mod recorder;
mod setting;
mod world;

use std::{
    cell::Cell,
    panic,
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use crate::{
    oracle::{Case, judge},
    report::{Outcome, failures},
    scenario::{Scenario, model::Host},
};
pub use case::{Ended, case, route_entry};
use clients::Clients;
pub use clients::{QUIET, names, start_delay};
use operator::{Operator, Power};
pub use recorder::Recorder;
pub use setting::{condition_label, fault_label, latency_range};
use world::World;

/// Segments that a connection may have under way; a storm of connects needs as many at a listener.
const TCP_CAPACITY: usize = 10_000;
/// Finest step of the simulation.
const TICK_MIN: Duration = Duration::from_millis(1);
/// How often the routes of the gateways are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// How often the recovery phase looks whether everything has come to an end.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// Why a run has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task has panicked: a bug of the gateway or of the simulation.
    #[error("a task has panicked: {0}")]
    Panic(String),
    /// The operator of the timeline could not go on.
    #[error("the timeline cannot be played: {0}")]
    Timeline(String),
    /// A simulated host has failed.
    #[error("a simulated host has failed: {0}")]
    Host(String),
}

thread_local! {
    /// The first panic of a task of the run on this thread: tokio catches it, and the run must not go on as if nothing were.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                let first = PANIC.take().unwrap_or_else(|| info.to_string());
                PANIC.set(Some(first));
            } else {
                before(info);
            }
        }));
    });
}

/// Rehearses a scenario.
///
/// # Errors
/// When the run has no outcome: a bug, or a timeline that cannot be played.
pub fn run(scenario: &Arc<Scenario>, seed: u64) -> Result<Outcome, RunError> {
    note_panics();
    PANIC.set(None);
    RUNNING.set(true);
    let began = Instant::now();
    let recorder = Recorder::default();
    let subscriber = recorder.subscriber();
    let played = tracing::subscriber::with_default(subscriber, || play(scenario, seed, &recorder));
    RUNNING.set(false);
    if let Some(panic) = PANIC.take() {
        return Err(RunError::Panic(panic));
    }
    let Played { case, simulated, margins } = played?;
    let (history, digest) = recorder.finish();
    let verdict = judge(&history, &case);
    Ok(Outcome {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        seed,
        replay: format!("switchyard-sim replay {} --seed {seed}", file_of(&scenario.name)),
        failures: failures(&verdict, &scenario.expect),
        margins: margins.of(&history),
        history,
        case,
        verdict,
        simulated,
        wall: began.elapsed(),
        digest,
    })
}

/// What names a scenario on the command line.
fn file_of(name: &str) -> String {
    match name.split_once('/') {
        Some((file, variant)) => format!("scenarios/{file}.yaml --variant {variant}"),
        None => format!("scenarios/{name}.yaml"),
    }
}

struct Played {
    case: Case,
    simulated: Duration,
    margins: clients::Margins,
}

fn play(scenario: &Arc<Scenario>, seed: u64, recorder: &Recorder) -> Result<Played, RunError> {
    let (min, max) = latencies(scenario);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH)
        .tick_duration((min / 4).max(TICK_MIN))
        .simulation_duration(scenario.duration + scenario.recovery + Duration::from_mins(10))
        .min_message_latency(min)
        .max_message_latency(max)
        .tcp_capacity(TCP_CAPACITY)
        .build();
    let world = World::build(scenario, seed, &mut sim, recorder);
    let clients = Clients::new(&world);
    let margins = clients.margins();
    clients.start(&mut sim);
    set_latencies(scenario, &sim);
    let operator = Operator::new(world.clone(), clients.stalls());
    let recovery_began = play_phases(&mut sim, &world, &operator, &clients);
    let outcome = step(&mut sim, &operator);
    let simulated = sim.elapsed();
    // The clusters are read when nothing runs any more.
    drop(sim);
    outcome?;
    let recovery_began = recovery_began.lock().ok().and_then(|phase| phase.clone());
    let recovery_began = recovery_began.unwrap_or(Ok(simulated)).map_err(RunError::Timeline)?;
    world.read_logs();
    let ended =
        Ended { targets: world.targets(), recovery_began, ended: simulated, latency_max: max };
    Ok(Played { case: case(scenario, &ended), simulated, margins })
}

type Phase = Arc<std::sync::Mutex<Option<Result<Duration, String>>>>;

/// Registers the operator, whose end is that of the run.
fn play_phases(
    sim: &mut turmoil::Sim<'static>,
    world: &World,
    operator: &Operator,
    clients: &Clients,
) -> Phase {
    let phase = Phase::default();
    let (own, world, operator, clients) =
        (Arc::clone(&phase), world.clone(), operator.clone(), clients.clone());
    sim.client("operator", async move {
        tokio::spawn(world.clone().sample(SAMPLE_EVERY));
        tokio::spawn(world.clone().watch_clusters(SAMPLE_EVERY));
        let played = operator.play().await;
        clients.stop_sending();
        operator.mend_all();
        let now = turmoil::sim_elapsed().unwrap_or_default();
        world
            .recorder
            .note("operator", "recovery phase: everything is mended, nothing new is sent");
        *world::lock(&own) = Some(played.map(|()| now));
        let deadline = tokio::time::Instant::now() + world.scenario.recovery;
        while tokio::time::Instant::now() < deadline && !clients.have_settled(&world) {
            tokio::time::sleep(SETTLE_EVERY).await;
        }
        world.note_targets().await;
        Ok(())
    });
    phase
}

/// Steps the simulation to its end, doing between the steps what cannot be done inside.
fn step(sim: &mut turmoil::Sim<'static>, operator: &Operator) -> Result<(), RunError> {
    loop {
        let finished = sim.step().map_err(|error| RunError::Host(error.to_string()))?;
        for power in operator.powers() {
            match power {
                Power::Crash(host) => sim.crash(host),
                Power::Bounce(host) => sim.bounce(host),
                Power::Latency(a, b, latency) => sim.set_link_latency(a, b, latency),
            }
        }
        if let Some(panic) = PANIC.take() {
            return Err(RunError::Panic(panic));
        }
        if finished {
            return Ok(());
        }
    }
}

/// Everybody on the network.
fn hosts(scenario: &Scenario) -> Vec<Host> {
    let gateways = (1..=scenario.instances).map(Host::Gateway);
    let clusters = scenario.clusters.keys().map(|name| Host::Cluster(name.clone()));
    std::iter::once(Host::Clients).chain(gateways).chain(clusters).collect()
}

/// The smallest and the largest latency of any link.
fn latencies(scenario: &Scenario) -> (Duration, Duration) {
    let hosts = hosts(scenario);
    let pairs = hosts.iter().enumerate();
    let pairs = pairs.flat_map(|(index, a)| hosts[index + 1..].iter().map(move |b| (a, b)));
    let ranges = pairs.map(|(a, b)| setting::latency_range(scenario, a, b));
    let widest = ranges.reduce(|(min, max), (from, to)| (min.min(from), max.max(to)));
    widest.unwrap_or(setting::LATENCY)
}

fn set_latencies(scenario: &Scenario, sim: &turmoil::Sim<'_>) {
    let hosts = hosts(scenario);
    let name = |host: &Host| match host {
        Host::Clients => clients::HOST.to_owned(),
        Host::Gateway(number) => format!("gateway-{number}"),
        Host::Gateways => unreachable!("only single hosts are listed"),
        Host::Cluster(name) => name.clone(),
    };
    for (index, a) in hosts.iter().enumerate() {
        for b in &hosts[index + 1..] {
            let (from, to) = setting::latency_range(scenario, a, b);
            if from == to {
                sim.set_link_latency(name(a), name(b), to);
            } else {
                sim.set_link_max_message_latency(name(a), name(b), to);
            }
        }
    }
}
