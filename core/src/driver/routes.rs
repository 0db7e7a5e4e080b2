//! A route as its sessions and the control of routes share it: what is published, what is observed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::{
    route::Observed,
    session::{CloseCause, Setting},
    telemetry::RouteMetrics,
};

/// Locks; a panic of another session does not make the data wrong.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `upstream_epoch` of a session that has no upstream.
const NO_UPSTREAM: u64 = u64::MAX;

/// Sessions are told to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) cause: CloseCause,
    /// Without waiting for requests in flight.
    pub(super) at_once: bool,
}

/// The newest word to the sessions of a route.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) version: u64,
    pub(super) setting: Arc<Setting>,
    /// Of the route under its present domain.
    pub(super) metrics: Arc<RouteMetrics>,
    pub(super) ending: Option<Ending>,
}

/// One route's shared state.
pub(super) struct RouteState {
    /// Read by every session at every step; the lock is taken only when it has changed.
    version: AtomicU64,
    publication: Mutex<Publication>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    next_id: u64,
    records: BTreeMap<u64, Arc<SessionRecord>>,
    /// Waits for the last session to end.
    emptied: Option<Waker>,
}

impl RouteState {
    pub(super) fn new(setting: Arc<Setting>, metrics: Arc<RouteMetrics>) -> Self {
        Self {
            version: AtomicU64::new(1),
            publication: Mutex::new(Publication { version: 1, setting, metrics, ending: None }),
            sessions: Mutex::default(),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn published(&self) -> Publication {
        lock(&self.publication).clone()
    }

    /// Replaces what the sessions go by and wakes them all.
    pub(super) fn publish(&self, setting: Arc<Setting>, metrics: Arc<RouteMetrics>) {
        self.change(|publication| {
            publication.setting = setting;
            publication.metrics = metrics;
        });
    }

    /// Tells every session to end.
    pub(super) fn end(&self, ending: Ending) {
        self.change(|publication| publication.ending = Some(ending));
    }

    fn change(&self, change: impl FnOnce(&mut Publication)) {
        {
            let mut publication = lock(&self.publication);
            change(&mut publication);
            publication.version += 1;
            self.version.store(publication.version, Ordering::Release);
        }
        for record in lock(&self.sessions).records.values() {
            record.wake();
        }
    }

    /// Enters a new session; its record leaves when the returned guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        let record = Arc::new(SessionRecord::default());
        let mut sessions = lock(&self.sessions);
        let id = sessions.next_id;
        sessions.next_id += 1;
        sessions.records.insert(id, Arc::clone(&record));
        Entered { route: Arc::clone(self), id, record }
    }

    pub(super) fn observed(&self) -> Observed {
        let publication = self.published();
        let epoch = publication.setting.snapshot.target_epoch;
        let sessions = lock(&self.sessions);
        let mut observed = Observed { sessions: sessions.records.len(), ..Observed::default() };
        for record in sessions.records.values() {
            let upstream_epoch = record.upstream_epoch.load(Ordering::Acquire);
            observed.sessions_behind +=
                usize::from(record.version.load(Ordering::Acquire) < publication.version);
            observed.sessions_on_old_target +=
                usize::from(upstream_epoch != NO_UPSTREAM && upstream_epoch != epoch);
            observed.in_flight += record.in_flight.load(Ordering::Acquire);
            observed.parked_bytes += record.parked_bytes.load(Ordering::Acquire);
        }
        observed
    }

    /// Resolves when no session is open.
    pub(super) fn poll_empty(&self, context: &Context<'_>) -> Poll<()> {
        let mut sessions = lock(&self.sessions);
        if sessions.records.is_empty() {
            return Poll::Ready(());
        }
        sessions.emptied = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A session's presence in its route.
pub(super) struct Entered {
    route: Arc<RouteState>,
    id: u64,
    pub(super) record: Arc<SessionRecord>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut sessions = lock(&self.route.sessions);
        sessions.records.remove(&self.id);
        if sessions.records.is_empty()
            && let Some(waker) = sessions.emptied.take()
        {
            waker.wake();
        }
    }
}

/// What a session lets others see. Written by its task alone.
pub(super) struct SessionRecord {
    /// The last publication that it acted on.
    version: AtomicU64,
    upstream_epoch: AtomicU64,
    in_flight: AtomicUsize,
    parked_bytes: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Default for SessionRecord {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            upstream_epoch: AtomicU64::new(NO_UPSTREAM),
            in_flight: AtomicUsize::new(0),
            parked_bytes: AtomicUsize::new(0),
            waker: Mutex::new(None),
        }
    }
}

impl SessionRecord {
    pub(super) fn update(
        &self,
        version: u64,
        in_flight: usize,
        upstream_epoch: Option<u64>,
        parked_bytes: usize,
    ) {
        self.in_flight.store(in_flight, Ordering::Release);
        self.parked_bytes.store(parked_bytes, Ordering::Release);
        self.upstream_epoch.store(upstream_epoch.unwrap_or(NO_UPSTREAM), Ordering::Release);
        // Last: whoever sees the version sees at least this state.
        self.version.store(version, Ordering::Release);
    }

    pub(super) fn leave_waker(&self, waker: &Waker) {
        *lock(&self.waker) = Some(waker.clone());
    }

    fn wake(&self) {
        if let Some(waker) = lock(&self.waker).as_ref() {
            waker.wake_by_ref();
        }
    }
}
