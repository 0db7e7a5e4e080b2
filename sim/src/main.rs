//! The `switchyard-sim` command.

#![expect(clippy::disallowed_methods, reason = "commands run in the real world")]

use std::sync::Arc;

use switchyard::driver::{Network as _, TokioNetwork};
use switchyard_sim::{
    cluster::{Cluster, ClusterSpec, Time},
    serve::{SharedCluster, accept},
};

fn main() {
    tracing_subscriber::fmt::init();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let spec = ClusterSpec::new("fake", 1, "127.0.0.1", 19092..19095);
        let brokers = spec.brokers.clone();
        let clock = Arc::new(|| {
            let since = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            Time::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
        });
        let cluster = SharedCluster::new(Cluster::new(spec), clock);
        for broker in brokers {
            let address = ([127, 0, 0, 1], broker.port).into();
            let listener = TokioNetwork.bind(address).await.expect("bind");
            tokio::spawn(accept(TokioNetwork, listener, cluster.clone(), broker.id));
        }
        cluster.keep_time().await;
    });
}
