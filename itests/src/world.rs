//! The two clusters that the tests of one file share.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::ClientConfig,
};
use tokio::sync::OnceCell;

use crate::{
    Result,
    cluster::{Cluster, Plan},
    eventually, wire,
};

/// Both clusters, running.
pub struct World {
    /// Three brokers: nodes 1 to 3.
    pub alpha: Cluster,
    /// One broker: node 1.
    pub beta: Cluster,
}

static WORLD: OnceCell<World> = OnceCell::const_new();

/// The clusters, started by the first test that asks; what an earlier test broke is mended.
pub async fn world() -> Result<&'static World> {
    let world = WORLD
        .get_or_try_init(|| async {
            let alpha = Plan::published("alpha", "switchyardItestsAlphaA", 11, &[1, 2, 3]);
            let beta = Plan::published("beta", "switchyardItestsBeta0A", 12, &[1]);
            let (alpha, beta) = tokio::try_join!(Cluster::start(alpha), Cluster::start(beta))?;
            Ok::<_, crate::Error>(World { alpha, beta })
        })
        .await?;
    world.alpha.heal().await?;
    world.beta.heal().await?;
    Ok(world)
}

/// Ids of the idempotent producers that have written to a topic.
pub async fn producer_ids(cluster: &Cluster, topic: &str) -> Result<BTreeSet<i64>> {
    let some_node = cluster.plan().nodes.first().copied().ok_or("no node")?;
    let mut ids = BTreeSet::new();
    let leaders = wire::leaders(&cluster.address(some_node), topic).await?;
    for (partition, &(leader, _)) in (0..).zip(&leaders) {
        ids.extend(wire::producer_ids(&cluster.address(leader), topic, partition).await?);
    }
    Ok(ids)
}

/// A name that no other test of this process uses.
pub fn unique(stem: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{stem}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Creates a topic whose partition `i` has the replicas `replicas[i]`, the first of which leads, and waits
/// until it is ready.
pub async fn create_topic(cluster: &Cluster, topic: &str, replicas: &[&[i32]]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create()?;
    let partitions = i32::try_from(replicas.len())?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Variable(replicas));
    for created in admin.create_topics([&new], &AdminOptions::new()).await? {
        created.map_err(|(topic, code)| format!("cannot create {topic}: {code}"))?;
    }
    for &node in &cluster.plan().nodes {
        let address = cluster.address(node);
        eventually(&format!("leaders of {topic}"), std::time::Duration::from_secs(20), || async {
            let leaders = wire::leaders(&address, topic).await.ok()?;
            let ready =
                leaders.len() == replicas.len() && leaders.iter().all(|&(node, _)| node > 0);
            ready.then_some(())
        })
        .await?;
    }
    Ok(())
}
