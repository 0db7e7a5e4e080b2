//! The way to the control task: what can be asked of it, and how the answer comes back.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{Applied, ApplyError, CommandError};
use crate::{
    config::Model,
    driver::{plane::ProbeError, status::GatewayStatus},
    route::{Accepted, Change, Command, Expect, Target, state::DecidedBy},
};

/// What the control task is asked.
pub(super) enum Request {
    Command(Box<Asked>),
    /// The target of a switchover was looked at, as this configuration has it.
    Probed(Box<Asked>, Change, Arc<Model>, Result<(), ProbeError>),
    Apply(Arc<Model>, oneshot::Sender<Result<Applied, ApplyError>>),
    /// The new targets of a configuration were looked at.
    ApplyProbed(
        Arc<Model>,
        oneshot::Sender<Result<Applied, ApplyError>>,
        Result<Vec<NewTarget>, ApplyError>,
    ),
    Status(oneshot::Sender<GatewayStatus>),
    Stop(Duration, oneshot::Sender<()>),
}

/// A target that a configuration would point a route at, and that was not its target before.
pub(super) type NewTarget = (Arc<str>, Target);

/// A command on its way to the answer.
pub(super) struct Asked {
    pub(super) route: Box<str>,
    pub(super) command: Command,
    pub(super) expect: Expect,
    pub(super) by: DecidedBy,
    pub(super) reply: oneshot::Sender<Result<Accepted, CommandError>>,
}

/// Speaks to the control task. Cloning gives another handle.
#[derive(Clone)]
pub struct ControlHandle {
    pub(super) requests: mpsc::Sender<Request>,
}

impl ControlHandle {
    /// Carries a command out: returns when it is decided and kept. What the sessions make of it is seen in
    /// [`Self::status`].
    pub async fn command(
        &self,
        route: &str,
        command: Command,
        expect: Expect,
        by: DecidedBy,
    ) -> Result<Accepted, CommandError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { route: route.into(), command, expect, by, reply };
        let sent = self.requests.send(Request::Command(Box::new(asked))).await;
        sent.map_err(|_| CommandError::Stopping)?;
        answer.await.map_err(|_| CommandError::Stopping)?
    }

    /// Puts a configuration in force, as a whole or not at all.
    pub async fn apply(&self, model: Arc<Model>) -> Result<Applied, ApplyError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Apply(model, reply)).await;
        sent.map_err(|_| ApplyError::Stopping)?;
        answer.await.map_err(|_| ApplyError::Stopping)?
    }

    /// What the gateway says of itself; `None` when it has stopped.
    pub async fn status(&self) -> Option<GatewayStatus> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Status(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Stops accepting, lets requests in flight finish until the deadline, closes everything.
    pub async fn stop(&self, drain: Duration) {
        let (reply, done) = oneshot::channel();
        if self.requests.send(Request::Stop(drain, reply)).await.is_ok() {
            // An error says that the task has ended, which is what was asked for.
            let _ = done.await;
        }
    }
}
