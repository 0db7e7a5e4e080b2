//! Two clusters that several tasks use while their link is stepped.

#![expect(clippy::disallowed_methods, reason = "what is tested owns the clock and the tasks")]

use std::{sync::Arc, time::Duration};

use kafka_protocol::records::NO_PRODUCER_ID;
use tokio::time::Instant;

use super::{
    super::{
        super::{ClusterSpec, Time, log::Log},
        Link, MirrorState, Topics,
        raw::batches,
    },
    world::{copy_of, encode, linking, name},
};
use crate::{
    linked::LinkedClusters,
    serve::{Clock, SharedCluster},
};

fn end(cluster: &SharedCluster) -> i64 {
    cluster.with(|cluster, _| cluster.log_of(&name("orders"), 0).map_or(0, Log::end))
}

/// The link takes both locks, everybody else one: a circle of waiting would stop both clusters for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_is_stepped_while_others_use_its_clusters() {
    let began = Instant::now();
    let clock: Clock =
        Arc::new(move || Time::from_ms(1_000_000) + Instant::now().duration_since(began));
    let cluster = |name: &str, seed| {
        SharedCluster::new(ClusterSpec::new(name, seed, "host", [9092]), Arc::clone(&clock))
    };
    let (a, b) = (cluster("a", 1), cluster("b", 2));
    a.with(|cluster, _| cluster.create_copy(&name("orders"), &copy_of(1), false)).unwrap();
    let linked =
        LinkedClusters::new(a.clone(), b.clone(), Link::new(linking()), Arc::clone(&clock));
    let keeper = tokio::spawn(linked.clone().keep_time());

    let writer = tokio::spawn({
        let a = a.clone();
        async move {
            for number in 0..200 {
                let values = [format!("record {number}")].into_iter();
                let batch = batches(encode(values, NO_PRODUCER_ID, false)).remove(0);
                a.with(|cluster, now| cluster.append_produced(now, &name("orders"), 0, &batch))
                    .unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    let caught_up = async {
        writer.await.unwrap();
        while end(&b) < 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        linked.with(|link, a, b, now| link.promote(now, a, b, Topics::All)).unwrap();
        let state = || {
            let status = linked.with(|link, a, b, now| link.status(now, a, b));
            status.topics.first().map(|topic| topic.state)
        };
        while state() != Some(MirrorState::Stopped) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), caught_up).await.unwrap();
    keeper.abort();
}
