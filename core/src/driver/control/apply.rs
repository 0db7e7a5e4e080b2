//! Configurations: put in force as a whole, or taken back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tracing::error;

use super::{
    Applied, ApplyError, Controller,
    controlled::{Controlled, publish},
    handle::{NewTarget, Request},
};
use crate::{
    config::{Model, Route as RouteConfig},
    driver::{plane::Plane, state_file::StateStore, status::LastChange},
    route::{
        Change, Drain, Expect, Repoint,
        state::{DecidedBy, check_target},
    },
};

/// How long requests in flight may take when a configuration repoints a route.
const CONFIGURED_DRAIN: Duration = Duration::from_secs(5);

impl<P: Plane, S: StateStore> Controller<P, S> {
    /// Looks at every target that the configuration would point a route at, then goes on.
    pub(super) fn apply(
        &self,
        model: Arc<Model>,
        reply: oneshot::Sender<Result<Applied, ApplyError>>,
    ) {
        let targets = self.new_targets(&model);
        let plane = Arc::clone(&self.plane);
        let requests = self.requests.clone();
        tokio::spawn(async move {
            let outcome = look_at(&*plane, &model, targets).await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::ApplyProbed(model, reply, outcome)).await;
            }
        });
    }

    /// Where the configuration would point routes that are open and point elsewhere.
    pub(super) fn new_targets(&self, model: &Model) -> Vec<NewTarget> {
        let is_new = |(name, config): &(&Arc<str>, &Arc<RouteConfig>)| {
            self.routes.get(*name).is_some_and(|route| {
                route.config.digest != config.digest
                    && route.machine.desired().target != config.target
            })
        };
        let new = model.routes.iter().filter(is_new);
        new.map(|(name, config)| (Arc::clone(name), config.target.clone())).collect()
    }

    /// Applies a configuration as a whole, or takes back what was done of it.
    pub(super) async fn put_in_force(&mut self, model: Arc<Model>) -> Result<Applied, ApplyError> {
        let (next, applied) = self.plan(&model)?;
        let old_model = Arc::clone(&self.model);
        self.plane.configure(&model);
        let mut done = Vec::new();
        let mut outcome = Ok(());
        for (name, route) in &next {
            let opened = if applied.added.contains(name) {
                self.plane.open_route(&route.config, Arc::clone(&route.published)).await
            } else if self.needs_reconfiguring(name, route) {
                self.plane.reconfigure_route(&route.config).await
            } else {
                continue;
            };
            if let Err(error) = opened {
                outcome = Err(ApplyError::Open(error));
                break;
            }
            done.push(Arc::clone(name));
        }
        let mut state = self.state.clone();
        if outcome.is_ok() {
            for (name, route) in &next {
                state.routes.insert(Arc::clone(name), route.record());
            }
            for name in &applied.removed {
                if let Some(record) = state.routes.get_mut(name) {
                    record.section_digest = None;
                }
            }
            if state != self.state
                && let Err(source) = self.store.save(state.clone()).await
            {
                outcome = Err(ApplyError::NotKept { place: self.store.place(), source });
            }
        }
        if let Err(error) = outcome {
            self.take_back(&old_model, &done, &applied.removed).await;
            return Err(error);
        }
        self.state = state;
        self.model = model;
        self.applied_at = (self.clock)();
        for name in &applied.removed {
            self.routes.remove(name);
            let (plane, name) = (Arc::clone(&self.plane), Arc::clone(name));
            let drain = self.model.limits.shutdown_drain;
            tokio::spawn(async move { plane.close_route(&name, drain).await });
        }
        for (name, mut route) in next {
            publish(&*self.plane, &name, &mut route);
            self.routes.insert(name, route);
        }
        Ok(applied)
    }

    /// What every route will be, without having done anything.
    fn plan(
        &self,
        model: &Arc<Model>,
    ) -> Result<(BTreeMap<Arc<str>, Controlled>, Applied), ApplyError> {
        let mut applied = Applied::default();
        let mut next = BTreeMap::new();
        for (name, config) in &model.routes {
            let Some(old) = self.routes.get(name) else {
                applied.added.push(Arc::clone(name));
                next.insert(Arc::clone(name), self.decide(model, config)?);
                continue;
            };
            let mut route = Controlled {
                config: Arc::clone(config),
                machine: self.observed(name, old),
                published: Arc::clone(&old.published),
                last_change: old.last_change.clone(),
            };
            if old.config.digest == config.digest {
                check_target(model, config, &old.machine.desired().target)?;
            } else {
                applied.edited.push(Arc::clone(name));
                let change = Change::Configured {
                    repoint: Repoint {
                        target: config.target.clone(),
                        drain: Some(Drain::new(CONFIGURED_DRAIN, &config.fence_defaults)),
                        fence: None,
                    },
                    fence: config.fence.clone(),
                };
                let refused = |source| ApplyError::Refused { route: Arc::clone(name), source };
                let accepted = route
                    .machine
                    .handle_change(self.now(), change, Expect::default())
                    .map_err(refused)?;
                if accepted.changed {
                    route.last_change = LastChange { by: DecidedBy::Config, at: (self.clock)() };
                }
            }
            next.insert(Arc::clone(name), route);
        }
        let gone = self.routes.keys().filter(|name| !model.routes.contains_key(*name));
        applied.removed = gone.cloned().collect();
        Ok((next, applied))
    }

    fn needs_reconfiguring(&self, name: &str, route: &Controlled) -> bool {
        self.routes.get(name).is_some_and(|old| old.config != route.config)
    }

    /// Routes that are gone from the configuration may have lost their ports to others, so they take part. What
    /// is new is closed last: until then its ports can be handed back.
    async fn take_back(&self, old_model: &Arc<Model>, done: &[Arc<str>], removed: &[Arc<str>]) {
        let (old, new): (Vec<_>, Vec<_>) =
            done.iter().chain(removed).partition(|name| self.routes.contains_key(*name));
        for name in old {
            if let Some(old) = self.routes.get(name)
                && let Err(error) = self.plane.reconfigure_route(&old.config).await
            {
                error!(route = %name, %error, "cannot go back to the route's old ports");
            }
        }
        for name in new {
            self.plane.close_route(name, Duration::ZERO).await;
        }
        self.plane.configure(old_model);
    }
}

/// Gives the targets back if every one of them answers.
async fn look_at<P: Plane>(
    plane: &P,
    model: &Model,
    targets: Vec<NewTarget>,
) -> Result<Vec<NewTarget>, ApplyError> {
    for (route, target) in &targets {
        if let Some(domain) = model.domains.get(&target.domain) {
            let refused = |source| ApplyError::Target { route: Arc::clone(route), source };
            plane.probe(domain, target).await.map_err(refused)?;
        }
    }
    Ok(targets)
}
