//! The mirror link between the two clusters, and what an operator's runbook does about it at a switchover:
//!
//! ```text
//!  Following ──the route is to move: requests are held──▶ Promoting ──nothing is missing──▶ Promoted
//!      ▲                                                                                       │
//!      └──────────────── the route has moved: the link is turned round ────────────────────────┘
//! ```
//! The promotion begins while the gateway drains: producers are held back then, and those that the fence lets through
//! again find a topic that takes writes. Without a drain the route moves first, and producers meet a mirror that is
//! read-only for a moment.

#![expect(clippy::disallowed_methods, reason = "it follows the gateway in real time")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use switchyard::driver::{ControlHandle, status::RouteStatus};
use tokio::{task::JoinSet, time::Instant};

use super::{EAST, TOPIC};
use crate::{
    cluster::mirror::{self, ClusterLinking, Lag, LinkError, LinkSpec, MirrorState, Mode, Topics},
    linked::LinkedClusters,
    serve::{Clock, SharedCluster},
};

/// How often the route is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// From the order to move until the promotion, while the gateway drains: what producers have in flight ends in less.
const DRAIN_HEAD_START: Duration = Duration::from_millis(50);
/// How long a record is on its way.
const LAG: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));
/// How often groups' offsets are carried over.
const OFFSET_SYNC_EVERY: Duration = Duration::from_secs(1);

/// A running link.
pub(super) struct Link {
    clusters: LinkedClusters,
    switchovers: Arc<AtomicU64>,
    /// Ends with it.
    _tasks: JoinSet<()>,
}

impl Link {
    /// Links the two clusters, the first of which is the source.
    pub(super) fn start(
        east: &SharedCluster,
        west: &SharedCluster,
        clock: Clock,
        control: ControlHandle,
    ) -> Self {
        let linking = ClusterLinking {
            offset_sync_interval: Some(OFFSET_SYNC_EVERY),
            ..ClusterLinking::default()
        };
        let spec = LinkSpec {
            mode: Mode::ClusterLinking(linking),
            lag: Lag::Between(LAG.0, LAG.1),
            ..LinkSpec::cluster_linking("demo", 1)
        };
        let link = mirror::Link::new(spec);
        let clusters = LinkedClusters::new(east.clone(), west.clone(), link, clock);
        let switchovers = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(clusters.clone().keep_time());
        tasks.spawn(follow(control, clusters.clone(), Arc::clone(&switchovers)));
        Self { clusters, switchovers, _tasks: tasks }
    }

    /// Records that are yet to be copied.
    pub(super) fn lag(&self) -> Option<u64> {
        let status = self.clusters.with(|link, a, b, now| link.status(now, a, b));
        let partitions = status.topics.iter().flat_map(|topic| &topic.partitions);
        status.connected.then(|| partitions.map(|partition| partition.unreplicated).sum())
    }

    /// How often the route has moved.
    pub(super) fn switchovers(&self) -> u64 {
        self.switchovers.load(Ordering::Relaxed)
    }
}

/// Follows the route as the runbook says.
async fn follow(control: ControlHandle, clusters: LinkedClusters, switchovers: Arc<AtomicU64>) {
    let mut leading: Arc<str> = EAST.into();
    let mut at: Arc<str> = EAST.into();
    let mut ordered: Option<Instant> = None;
    while let Some(status) = control.status().await {
        let Some(route) = status.routes.first() else { return };
        if route.observed.domain != at {
            at = Arc::clone(&route.observed.domain);
            switchovers.fetch_add(1, Ordering::Relaxed);
        }
        if route.desired.target.domain == leading {
            ordered = None;
        } else if is_time(route, *ordered.get_or_insert_with(Instant::now)) {
            match hand_over(&clusters, at == route.desired.target.domain) {
                Ok(true) => leading = Arc::clone(&route.desired.target.domain),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the mirror cannot be promoted yet"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether the promotion may begin.
fn is_time(route: &RouteStatus, ordered: Instant) -> bool {
    let moved = route.observed.domain == route.desired.target.domain;
    moved || ordered.elapsed() >= DRAIN_HEAD_START
}

/// Does what the mirror's state asks for next; `true`: the former source follows the former mirror.
fn hand_over(clusters: &LinkedClusters, moved: bool) -> Result<bool, LinkError> {
    clusters.with(|link, a, b, now| {
        let status = link.status(now, a, b);
        let topic = status.topics.iter().find(|topic| topic.source_topic == TOPIC);
        match topic.map(|topic| topic.state) {
            Some(MirrorState::Active) => link.promote(now, a, b, Topics::All).map(|()| false),
            Some(MirrorState::Stopped) if moved => {
                link.reverse(now, a, b, Topics::All).map(|_| true)
            }
            _ => Ok(false),
        }
    })
}
