//! Control of the routes: one task owns their state machines, takes commands and configurations, and tells
//! the plane. Nothing is acknowledged before it is kept.

mod apply;
mod commands;
mod controlled;
mod error;
mod handle;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    plane::Plane,
    state_file::StateStore,
    status::{GatewayStatus, LastChange},
};
use crate::{
    config::{Model, Route as RouteConfig},
    route::{
        Route,
        state::{DecidedBy, Decision, State, StateError},
    },
    telemetry::Metrics,
};
use controlled::{Controlled, publish};
pub use error::{Applied, ApplyError, CommandError};
pub use handle::ControlHandle;
use handle::{Asked, Request};

/// While a route is on its way, or holds, its sessions are looked at this often.
const OBSERVE_EVERY: Duration = Duration::from_millis(10);

/// Requests to the control task that may wait.
const QUEUE: usize = 64;

/// Gives the present moment as RFC 3339. Rehearsals have a clock of their own.
pub type Clock = Arc<dyn Fn() -> String + Send + Sync>;

struct Controller<P, S> {
    plane: Arc<P>,
    store: S,
    clock: Clock,
    metrics: Arc<Metrics>,
    started: Instant,
    model: Arc<Model>,
    applied_at: String,
    state: State,
    routes: BTreeMap<Arc<str>, Controlled>,
    requests: mpsc::WeakSender<Request>,
}

/// Opens every route of the model as the state and the configuration have it, and starts the control task.
/// The plane is configured with the model already.
pub async fn start<P: Plane, S: StateStore>(
    plane: Arc<P>,
    store: S,
    state: State,
    model: Arc<Model>,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> Result<ControlHandle, ApplyError> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut controller = Controller {
        plane,
        store,
        applied_at: clock(),
        clock,
        metrics,
        started: Instant::now(),
        model: Arc::clone(&model),
        state,
        routes: BTreeMap::new(),
        requests: sender.downgrade(),
    };
    let mut state = controller.state.clone();
    for route in model.routes.values() {
        let open = controller.decide(&model, route)?;
        state.routes.insert(Arc::clone(&route.name), open.record());
        controller.plane.open_route(route, Arc::clone(&open.published)).await?;
        controller.routes.insert(Arc::clone(&route.name), open);
    }
    if state != controller.state {
        match controller.store.save(state.clone()).await {
            Ok(()) => controller.state = state,
            Err(error) => warn!(
                place = controller.store.place(), %error,
                "decisions cannot be kept: fences and switchovers will be refused until this is mended"
            ),
        }
    }
    tokio::spawn(controller.run(receiver));
    Ok(ControlHandle { requests: sender })
}

impl<P: Plane, S: StateStore> Controller<P, S> {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let wake = self.next_look();
            tokio::select! {
                biased;
                request = requests.recv() => match request {
                    Some(Request::Stop(drain, reply)) => {
                        // Whoever calls now or waits in the queue is told at once, not after the drain.
                        requests.close();
                        while requests.try_recv().is_ok() {}
                        self.plane.shutdown(drain).await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(request) => self.handle(request).await,
                    None => return,
                },
                () = wake => {}
            }
            self.look();
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Resolves when a route has something to decide.
    fn next_look(&self) -> impl Future<Output = ()> + use<P, S> {
        let machines = || self.routes.values().map(|route| &route.machine);
        let observes = machines().any(Route::wants_observation);
        let observe_at = observes.then(|| self.now() + OBSERVE_EVERY);
        let at = machines().filter_map(Route::deadline).chain(observe_at).min();
        let at = at.map(|at| self.started + at);
        async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        }
    }

    /// Looks at what the sessions do, and tells them what has changed.
    fn look(&mut self) {
        let now = self.now();
        for (name, route) in &mut self.routes {
            if route.machine.wants_observation() {
                route.machine.handle_observed(now, self.plane.observe(name));
            } else {
                route.machine.handle_time(now);
            }
            publish(&*self.plane, name, route);
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Command(asked) => self.command(*asked).await,
            // What was looked at may be something else by now, or gone.
            Request::Probed(asked, _, model, _) if !Arc::ptr_eq(&model, &self.model) => {
                self.command(*asked).await;
            }
            Request::Probed(asked, change, _, outcome) => {
                let Asked { route, expect, by, reply, command } = *asked;
                let outcome = match outcome {
                    Ok(()) => self.carry_out(&route, change, expect, by).await,
                    Err(error) => Err(error.into()),
                };
                self.answer(&route, &command, by, reply, outcome);
            }
            Request::Apply(model, reply) => self.apply(model, reply),
            Request::ApplyProbed(model, reply, probed) => {
                let outcome = match probed {
                    // A command has moved a route meanwhile: another target than expected is new.
                    Ok(looked_at)
                        if self.new_targets(&model).iter().any(|t| !looked_at.contains(t)) =>
                    {
                        return self.apply(model, reply);
                    }
                    Ok(_) => self.put_in_force(model).await,
                    Err(error) => Err(error),
                };
                let _ = reply.send(outcome);
            }
            Request::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Request::Stop(..) => unreachable!("handled by the loop"),
        }
    }

    fn status(&self) -> GatewayStatus {
        let route = |(name, route): (&Arc<str>, &Controlled)| {
            let mut status = route.status(&self.model);
            status.observed.sessions = self.plane.observe(name);
            status
        };
        GatewayStatus {
            config_id: self.model.config_id.clone(),
            applied_at: self.applied_at.clone(),
            name: Arc::clone(&self.model.name),
            routes: self.routes.iter().map(route).collect(),
        }
    }

    /// What counts for a route that is not open yet.
    fn decide(&self, model: &Model, route: &Arc<RouteConfig>) -> Result<Controlled, StateError> {
        let (desired, decision) = self.state.decide(model, route)?;
        let last_change = match (decision, self.state.routes.get(&route.name)) {
            (Decision::State, Some(record)) => {
                LastChange { by: record.decided_by, at: record.decided_at.clone() }
            }
            _ => LastChange { by: DecidedBy::Config, at: (self.clock)() },
        };
        if decision == Decision::State && desired.target != route.target {
            info!(
                route = %route.name, domain = %desired.target.domain, revision = desired.revision,
                "the route goes on where it was pointed last, not where the configuration has it"
            );
        }
        let machine = Route::new(self.now(), desired);
        let published = Arc::clone(machine.snapshot());
        Ok(Controlled { config: Arc::clone(route), machine, published, last_change })
    }
}
