//! A broker that dies behind the gateway and comes back.

use std::time::Duration;

use switchyard_itests::{
    eventually,
    gateway::{Config, Gateway},
    itest,
    java::{Load, VerifiableProducer},
    ledger::{Found, none},
    librdkafka::{GroupConsumer, Producer, SteadyProducer},
    world::{create_topic, unique, world},
};

const LIMIT: Duration = Duration::from_mins(1);

/// Clients ride over the death of a broker as they would without a gateway: the leaders move, nothing is lost, and the
/// broker is used again when it is back.
#[test]
fn broker_killed_and_restarted_costs_no_acknowledged_record() {
    itest(async {
        let world = world().await?;
        let gateway = Gateway::start(Config::new("native", &[&world.alpha])).await?;
        let bootstrap = gateway.bootstrap();
        let topic = unique("brokers");
        create_topic(&world.alpha, &topic, &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]]).await?;
        let reader = GroupConsumer::start(&bootstrap, &topic, &unique("readers"), &[])?;
        let librdkafka = Producer::new(&bootstrap, &[("enable.idempotence", "true")])?;
        let librdkafka = SteadyProducer::start(librdkafka, &topic, "r", 200);
        let load = Load { topic: &topic, prefix: 7, records: None, rate: Some(200) };
        let java = VerifiableProducer::start(&bootstrap, load, &[])?;
        java.await_acknowledged(400, LIMIT).await?;

        world.alpha.kill(2)?;
        let (before_librdkafka, before_java) =
            (librdkafka.producer().acknowledged(), java.acknowledged());
        // The partition that broker 2 led is led by another within its session's three seconds.
        eventually("records of every partition without broker 2", LIMIT, || async {
            let librdkafka = librdkafka.producer().acknowledged() > before_librdkafka + 2000;
            (librdkafka && java.acknowledged() > before_java + 2000).then_some(())
        })
        .await?;
        world.alpha.start_again(2).await?;
        world.alpha.await_all().await?;
        // A client that was sent away finds the broker again at the same port of the gateway.
        let direct = format!("{}:{}", gateway.host(), switchyard_itests::gateway::ROUTE_PORT + 2);
        eventually("broker 2 behind its own port", LIMIT, || async {
            switchyard_itests::wire::metadata(&direct, &[]).await.ok()
        })
        .await?;

        let mut ledger = librdkafka.finish().await?;
        ledger.acknowledged.extend(java.finish().await?.acknowledged);
        let mut found = Found::default();
        found.read(&world.alpha.bootstrap(), &topic)?;
        none("acknowledged records are lost", &found.lost(&ledger))?;
        none("records are there twice", &found.duplicated())?;
        reader.await_count(ledger.acknowledged.len(), LIMIT).await?;
        reader.healthy()
    });
}
