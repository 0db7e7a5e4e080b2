//! One route under control, and what is kept and said of it.

use std::sync::Arc;

use tracing::info;

use crate::{
    config::{Model, Route as RouteConfig},
    driver::{
        plane::Plane,
        status::{DesiredStatus, FenceStatus, LastChange, MoveStatus, ObservedStatus, RouteStatus},
    },
    route::{Gate, Route, Snapshot, eligible_domains, state::Record},
};

/// A route under control.
pub(super) struct Controlled {
    pub(super) config: Arc<RouteConfig>,
    pub(super) machine: Route,
    pub(super) published: Arc<Snapshot>,
    pub(super) last_change: LastChange,
}

impl Controlled {
    pub(super) fn record(&self) -> Record {
        let desired = self.machine.desired();
        Record {
            revision: desired.revision,
            target: desired.target.clone(),
            fence: desired.fence.as_ref().map(Into::into),
            moved: desired.moved,
            section_digest: Some(Arc::clone(&self.config.digest)),
            decided_by: self.last_change.by,
            decided_at: self.last_change.at.clone(),
        }
    }

    pub(super) fn status(&self, model: &Model) -> RouteStatus {
        let desired = self.machine.desired();
        let snapshot = self.machine.snapshot();
        let gate = match snapshot.gate {
            Gate::Open => "open",
            Gate::Hold => "hold",
            Gate::Answer { .. } => "answer",
        };
        RouteStatus {
            name: Arc::clone(&self.config.name),
            endpoint: self.config.endpoint(),
            client_view: self.config.client_view,
            desired: DesiredStatus {
                revision: desired.revision,
                target: desired.target.clone(),
                fence: desired
                    .fence
                    .as_ref()
                    .map(|fence| FenceStatus { mode: fence.mode, error_code: fence.error_code }),
            },
            observed: ObservedStatus {
                phase: self.machine.phase(),
                gate: gate.to_owned(),
                domain: Arc::clone(&snapshot.target.domain),
                sessions: self.machine.observed(),
                last_move: self.machine.cut().map(|cut| MoveStatus {
                    from: cut.from.clone(),
                    drained: cut.drained,
                    cut_off: cut.in_flight,
                }),
            },
            eligible_domains: eligible_domains(model, &self.config).cloned().collect(),
            last_change: self.last_change.clone(),
        }
    }
}

/// Tells the sessions of a route what has changed, if anything has.
pub(super) fn publish<P: Plane>(plane: &P, name: &str, route: &mut Controlled) {
    let snapshot = route.machine.snapshot();
    if !Arc::ptr_eq(snapshot, &route.published) {
        info!(
            route = name, revision = snapshot.revision, domain = %snapshot.target.domain,
            gate = ?snapshot.gate, phase = route.machine.phase().label(), "route changes"
        );
        route.published = Arc::clone(snapshot);
        plane.publish(name, Arc::clone(snapshot));
    }
}
