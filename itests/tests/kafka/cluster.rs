//! The harness itself, on clusters without a gateway: what later tests build on must hold by itself.

use std::time::Instant;

use switchyard_itests::{
    itest, wire,
    world::{create_topic, unique, world},
};

/// Two clusters that cannot be told apart would prove nothing about a move from one to the other.
#[test]
fn clusters_started_are_two_with_brokers_at_distinct_addresses() {
    itest(async {
        let world = world().await?;
        for cluster in [&world.alpha, &world.beta] {
            let metadata = wire::metadata(&cluster.address(1), &[]).await?;
            assert_eq!(metadata.cluster_id.as_deref(), Some(cluster.plan().id.as_str()));
            let mut hosts: Vec<_> = metadata
                .brokers
                .iter()
                .map(|broker| (broker.node_id.0, broker.host.to_string()))
                .collect();
            hosts.sort();
            let planned: Vec<_> = cluster
                .plan()
                .nodes
                .iter()
                .map(|&node| (node, cluster.plan().host(node)))
                .collect();
            assert_eq!(hosts, planned);
        }
        Ok(())
    });
}

/// The moves under test start from leader epochs that are well above those of the other cluster.
#[test]
fn leader_moved_six_times_has_an_epoch_above_five() {
    itest(async {
        let world = world().await?;
        let topic = unique("epochs");
        create_topic(&world.alpha, &topic, &[&[2, 3, 1]]).await?;
        let bootstrap = world.alpha.address(1);
        assert_eq!(wire::leaders(&bootstrap, &topic).await?, [(2, 0)]);
        for _ in 0..3 {
            wire::move_leader(&bootstrap, &topic, 0, &[3, 2, 1]).await?;
            wire::move_leader(&bootstrap, &topic, 0, &[2, 3, 1]).await?;
        }
        let leaders = wire::leaders(&bootstrap, &topic).await?;
        assert!(leaders[0].0 == 2 && leaders[0].1 > 5, "{leaders:?}");
        Ok(())
    });
}

/// Producer ids of two fresh clusters collide: the hazard that the tests of a move provoke exists.
#[test]
fn producer_ids_of_both_clusters_start_low() {
    itest(async {
        let world = world().await?;
        for cluster in [&world.alpha, &world.beta] {
            let mut connection = wire::Connection::open(&cluster.address(1)).await?;
            let id = wire::take_producer_id(&mut connection).await?;
            assert!(id < 10_000, "{id}");
        }
        Ok(())
    });
}

/// A broker that was killed comes back at its old address with its data.
#[test]
fn broker_killed_and_started_again_is_seen_at_its_old_address() {
    itest(async {
        let world = world().await?;
        world.alpha.kill(3)?;
        let start = Instant::now();
        let address = world.alpha.address(3);
        assert!(wire::metadata(&address, &[]).await.is_err());
        world.alpha.start_again(3).await?;
        world.alpha.await_all().await?;
        println!("back after {:.1} s", start.elapsed().as_secs_f32());
        Ok(())
    });
}
