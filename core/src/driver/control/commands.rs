//! Commands: looked at, decided, kept, and only then carried out.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    CommandError, Controller,
    controlled::{Controlled, publish},
    handle::{Asked, Request},
};
use crate::{
    driver::{plane::Plane, state_file::StateStore, status::LastChange},
    route::{Accepted, Change, Command, Expect, Route, Target, state::DecidedBy},
};

impl<P: Plane, S: StateStore> Controller<P, S> {
    pub(super) fn answer(
        &self,
        route: &str,
        command: &Command,
        by: DecidedBy,
        reply: oneshot::Sender<Result<Accepted, CommandError>>,
        outcome: Result<Accepted, CommandError>,
    ) {
        let (command, by) = (command.label(), by.label());
        match &outcome {
            Ok(Accepted { revision, changed }) => {
                self.metrics.command(command, "accepted");
                info!(route, command, by, revision, changed, "command accepted");
            }
            Err(error) => {
                self.metrics.command(command, "refused");
                warn!(route, command, by, %error, "command refused");
            }
        }
        let _ = reply.send(outcome);
    }

    pub(super) async fn command(&mut self, asked: Asked) {
        let resolved = self.resolve(&asked);
        let (change, revision) = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                let Asked { route, command, by, reply, .. } = asked;
                return self.answer(&route, &command, by, reply, Err(error));
            }
        };
        let Some(target) = self.new_target(&asked.route, &change) else {
            let outcome = self.carry_out(&asked.route, change, asked.expect, asked.by).await;
            let Asked { route, command, by, reply, .. } = asked;
            return self.answer(&route, &command, by, reply, outcome);
        };
        // The look at the target takes time in which other commands go on; if this route changes
        // meanwhile, the command was given for a state that is gone.
        let mut asked = asked;
        asked.expect.expected_revision.get_or_insert(revision);
        let (plane, model) = (Arc::clone(&self.plane), Arc::clone(&self.model));
        let domain = model.domains.get(&target.domain).cloned();
        let requests = self.requests.clone();
        tokio::spawn(async move {
            let outcome = match domain {
                Some(domain) => plane.probe(&domain, &target).await.map(drop),
                None => Ok(()), // Resolved against this model: cannot be.
            };
            if let Some(requests) = requests.upgrade() {
                let _ =
                    requests.send(Request::Probed(Box::new(asked), change, model, outcome)).await;
            }
        });
    }

    fn resolve(&self, asked: &Asked) -> Result<(Change, u64), CommandError> {
        let route = self.routes.get(&*asked.route).ok_or_else(|| CommandError::UnknownRoute {
            route: asked.route.clone(),
            known: self.routes.keys().cloned().collect(),
        })?;
        let change = asked.command.resolve(&self.model, &route.config)?;
        // What the machine would refuse is not worth a look at the target.
        let mut trial = route.machine.clone();
        trial.handle_change(self.now(), change.clone(), asked.expect)?;
        Ok((change, route.machine.desired().revision))
    }

    /// The target that a change would point the route at, if it is another one.
    fn new_target(&self, route: &str, change: &Change) -> Option<Target> {
        let (Change::Repoint(repoint) | Change::Configured { repoint, .. }) = change else {
            return None;
        };
        let desired = self.routes.get(route)?.machine.desired();
        (desired.target != repoint.target).then(|| repoint.target.clone())
    }

    /// Decides, keeps, and only then does.
    pub(super) async fn carry_out(
        &mut self,
        name: &str,
        change: Change,
        expect: Expect,
        by: DecidedBy,
    ) -> Result<Accepted, CommandError> {
        let known = || self.routes.keys().cloned().collect();
        let route = self
            .routes
            .get(name)
            .ok_or_else(|| CommandError::UnknownRoute { route: name.into(), known: known() })?;
        let mut next = Controlled {
            config: Arc::clone(&route.config),
            machine: self.observed(name, route),
            published: Arc::clone(&route.published),
            last_change: LastChange { by, at: (self.clock)() },
        };
        let accepted = next.machine.handle_change(self.now(), change, expect)?;
        if !accepted.changed && accepted.revision == route.machine.desired().revision {
            return Ok(accepted);
        }
        let name = Arc::clone(&next.config.name);
        let mut state = self.state.clone();
        state.routes.insert(Arc::clone(&name), next.record());
        self.store
            .save(state.clone())
            .await
            .map_err(|source| CommandError::NotKept { place: self.store.place(), source })?;
        self.state = state;
        publish(&*self.plane, &name, &mut next);
        self.routes.insert(name, next);
        Ok(accepted)
    }

    /// The machine of a route with what its sessions do at this moment, before it is changed: a route that serves
    /// is not looked at otherwise, and the change may cut off what is in flight.
    pub(super) fn observed(&self, name: &str, route: &Controlled) -> Route {
        let mut machine = route.machine.clone();
        machine.handle_observed(self.now(), self.plane.observe(name));
        machine
    }
}
