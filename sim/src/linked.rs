//! Two clusters on sockets with a link between them.
//!
//! Locks are always taken in one order: the link, cluster `a`, cluster `b`. Whoever uses one of the clusters alone
//! holds no other lock, so nobody waits in a circle.

#![expect(clippy::disallowed_methods, reason = "it owns the clock and the tasks")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{
    cluster::{Cluster, Time, mirror::Link},
    serve::{Clock, SharedCluster},
};

/// Two clusters and their link, which several tasks use.
#[derive(Clone)]
pub struct LinkedClusters {
    a: SharedCluster,
    b: SharedCluster,
    link: Arc<Mutex<Link>>,
    /// The link's next deadline may be earlier than it was.
    changed: Arc<Notify>,
    clock: Clock,
}

impl LinkedClusters {
    /// Links two clusters, which must not be the same; all three read one clock.
    pub fn new(a: SharedCluster, b: SharedCluster, link: Link, clock: Clock) -> Self {
        Self { a, b, link: Arc::new(Mutex::new(link)), changed: Arc::new(Notify::new()), clock }
    }

    /// Does something with the link and both clusters at the current time: a command, a look at the status.
    pub fn with<T>(&self, act: impl FnOnce(&mut Link, &mut Cluster, &mut Cluster, Time) -> T) -> T {
        let result = self.act(act);
        self.changed.notify_one();
        result
    }

    /// Looks at the link and both clusters, without waking anything.
    pub fn look<T>(&self, look: impl FnOnce(&Link, &Cluster, &Cluster) -> T) -> T {
        self.act(|link, a, b, _| look(link, a, b))
    }

    /// Steps the link at its deadlines, for ever.
    pub async fn keep_time(self) {
        loop {
            let changed = self.changed.notified();
            let deadline = self.link().deadline();
            match deadline {
                None => changed.await,
                Some(deadline) => {
                    let wait = deadline.since((self.clock)());
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep(wait) => self.act(|link, a, b, now| link.handle_time(now, a, b)),
                    }
                }
            }
        }
    }

    fn act<T>(&self, act: impl FnOnce(&mut Link, &mut Cluster, &mut Cluster, Time) -> T) -> T {
        let mut link = self.link();
        self.a.with(|a, now| self.b.with(|b, _| act(&mut link, a, b, now)))
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // A panic in the link is a bug that its own task reports; the others need not fall over it.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
