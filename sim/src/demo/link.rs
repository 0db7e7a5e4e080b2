//! The mirror link between the two clusters, and what an operator's runbook does about it: when the route has moved, the
//! mirror is promoted.

#![expect(clippy::disallowed_methods, reason = "it follows the gateway in real time")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use switchyard::driver::ControlHandle;
use tokio::task::JoinHandle;

use super::EAST;
use crate::{
    ask::AskError,
    serve::SharedCluster,
};

/// How often the route is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running link.
pub(super) struct Link {
    switchovers: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Link {
    pub(super) async fn start(
        east: &SharedCluster,
        west: &SharedCluster,
        control: ControlHandle,
    ) -> Result<Self, AskError> {
        let _ = (east, west);
        let switchovers = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(follow(control, Arc::clone(&switchovers)));
        Ok(Self { switchovers, task })
    }

    /// Records that are yet to be copied.
    pub(super) fn lag(&self) -> Option<i64> {
        None
    }

    /// How often the route has moved.
    pub(super) fn switchovers(&self) -> u64 {
        self.switchovers.load(Ordering::Relaxed)
    }

    pub(super) fn stop(self) {
        self.task.abort();
    }
}

/// Notices when the route has moved.
async fn follow(control: ControlHandle, switchovers: Arc<AtomicU64>) {
    let mut domain: Arc<str> = EAST.into();
    while let Some(status) = control.status().await {
        if let Some(route) = status.routes.first()
            && route.observed.domain != domain
        {
            domain = Arc::clone(&route.observed.domain);
            switchovers.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
