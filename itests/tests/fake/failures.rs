//! Brokers that fail under load and return.

use std::{collections::BTreeSet, time::Duration};

use switchyard_itests::{
    Result, eventually,
    fake::{FakeCluster, FakePlan},
    fake_test,
    java::{GroupProtocol, Load, VerifiableProducer},
    ledger::Ledger,
    librdkafka::{GroupConsumer, Producer, SteadyProducer},
};

use crate::{LIMIT, check};

const RATE: u32 = 300;

/// Kills each broker in turn while `acknowledged` rises, and brings it back.
async fn kill_each<F: Future<Output = Result<()>>>(
    cluster: &FakeCluster,
    progress: impl Fn() -> F,
) -> Result<()> {
    for node in 1..=3 {
        cluster.kill(node);
        progress().await?;
        cluster.start_again(node);
        progress().await?;
    }
    Ok(())
}

#[test]
fn librdkafka_producer_and_group_lose_and_repeat_nothing_while_every_broker_is_killed_once() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("killed", 6, 3).await?;
        let bootstrap = cluster.bootstrap();
        let producer = Producer::new(&bootstrap, &[("enable.idempotence", "true")])?;
        let producer = SteadyProducer::start(producer, "killed", "r", RATE);
        let member = GroupConsumer::start(&bootstrap, "killed", "killed", &[])?;
        kill_each(&cluster, || async {
            let before = producer.acknowledged();
            producer.await_acknowledged(before + 200, LIMIT).await
        })
        .await?;
        let ledger = producer.finish().await?;
        assert!(ledger.acknowledged.len() > 1200);
        check(&cluster, "killed", &ledger)?;
        all_read(&member, &ledger).await
    });
}

async fn all_read(member: &GroupConsumer, ledger: &Ledger) -> Result<()> {
    eventually("every acknowledged record at the consumer", LIMIT, || async {
        let values: BTreeSet<_> = member.values().into_iter().collect();
        ledger.acknowledged.is_subset(&values).then_some(())
    })
    .await?;
    member.healthy()
}

#[test]
fn librdkafka_consumer_protocol_group_survives_its_coordinators_death() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("survived", 6, 3).await?;
        let bootstrap = cluster.bootstrap();
        let settings = [("group.protocol", GroupProtocol::Consumer.name())];
        let member = GroupConsumer::start(&bootstrap, "survived", "survived", &settings)?;
        let producer = Producer::new(&bootstrap, &[])?;
        let producer = SteadyProducer::start(producer, "survived", "r", RATE);
        kill_each(&cluster, || async {
            let before = member.count();
            member.await_count(before + 200, LIMIT).await
        })
        .await?;
        let ledger = producer.finish().await?;
        all_read(&member, &ledger).await
    });
}

#[test]
fn java_producer_loses_and_repeats_nothing_while_every_broker_is_killed_once() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("java", 6, 3).await?;
        let bootstrap = cluster.bootstrap();
        let load = Load { topic: "java", prefix: 1, records: None, rate: Some(RATE) };
        let producer = VerifiableProducer::start(&bootstrap, load, &[])?;
        producer.await_acknowledged(100, LIMIT).await?;
        kill_each(&cluster, || async {
            let before = producer.acknowledged();
            producer.await_acknowledged(before + 200, LIMIT).await
        })
        .await?;
        let ledger = producer.finish().await?;
        check(&cluster, "java", &ledger)?;
        Ok(())
    });
}

/// A restart in good order hands leadership on first: clients only see their connections closed.
#[test]
fn rolling_restart_is_over_in_moments_for_an_idempotent_producer() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("rolled", 6, 3).await?;
        let producer = Producer::new(&cluster.bootstrap(), &[("enable.idempotence", "true")])?;
        let producer = SteadyProducer::start(producer, "rolled", "r", RATE);
        for node in 1..=3 {
            let before = producer.acknowledged();
            producer.await_acknowledged(before + 100, LIMIT).await?;
            cluster.stop(node);
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.start_again(node);
        }
        let before = producer.acknowledged();
        producer.await_acknowledged(before + 300, LIMIT).await?;
        let ledger = producer.finish().await?;
        check(&cluster, "rolled", &ledger)?;
        Ok(())
    });
}
