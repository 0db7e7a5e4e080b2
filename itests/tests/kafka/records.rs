//! Records through the gateway, 100,000 at a time: each that was acknowledged is there, once.

use std::time::Duration;

use switchyard_itests::{
    Result,
    gateway::{Config, Gateway},
    itest, java,
    java::{GroupProtocol, Load, VerifiableConsumer, VerifiableProducer},
    ledger::{Found, Ledger, none},
    librdkafka::{GroupConsumer, Producer},
    world::{World, create_topic, unique, world},
};

const RECORDS: usize = 100_000;

/// How long a client may take for all of them.
const LIMIT: Duration = Duration::from_mins(2);

/// A gateway in front of both clusters and a topic whose leaders are spread over three brokers.
async fn prepared(partitions: usize) -> Result<(&'static World, Gateway, String)> {
    let world = world().await?;
    let gateway = Gateway::start(Config::new("neutral", &[&world.alpha, &world.beta])).await?;
    let topic = unique("records");
    let replicas: [&[i32]; 3] = [&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]];
    create_topic(&world.alpha, &topic, &replicas[..partitions]).await?;
    Ok((world, gateway, topic))
}

/// Reads the topic directly from the cluster and holds it against what the producer was told.
fn check(world: &World, topic: &str, ledger: &Ledger) -> Result<Found> {
    let mut found = Found::default();
    found.read(&world.alpha.bootstrap(), topic)?;
    none("acknowledged records are lost", &found.lost(ledger))?;
    none("records are there twice", &found.duplicated())?;
    Ok(found)
}

/// librdkafka writes, the Java client reads.
#[test]
fn librdkafka_producing_idempotently_loses_and_repeats_nothing() {
    itest(async {
        let (world, gateway, topic) = prepared(3).await?;
        let reader = VerifiableConsumer::start(
            &gateway.bootstrap(),
            &topic,
            &unique("readers"),
            GroupProtocol::Classic,
        )?;
        let producer = Producer::new(&gateway.bootstrap(), &[("enable.idempotence", "true")])?;
        for number in 0..RECORDS {
            producer.send(&topic, "1", number).await?;
        }
        producer.flush()?;
        producer.healthy()?;
        let ledger = producer.ledger();
        assert_eq!(ledger.acknowledged.len(), RECORDS);
        check(world, &topic, &ledger)?;
        reader.await_count(RECORDS, LIMIT).await?;
        assert_eq!(reader.count(), RECORDS);
        reader.leave().await
    });
}

/// The Java client writes, librdkafka reads.
#[test]
fn java_producing_idempotently_loses_and_repeats_nothing() {
    itest(async {
        let (world, gateway, topic) = prepared(3).await?;
        let bootstrap = gateway.bootstrap();
        let reader = GroupConsumer::start(&bootstrap, &topic, &unique("readers"), &[])?;
        let load = Load { topic: &topic, prefix: 2, records: Some(RECORDS), rate: None };
        let ledger = VerifiableProducer::start(&bootstrap, load, &[])?.end(LIMIT).await?;
        assert_eq!(ledger.acknowledged.len(), RECORDS);
        check(world, &topic, &ledger)?;
        reader.await_count(RECORDS, LIMIT).await?;
        reader.healthy()?;
        assert_eq!(reader.count(), RECORDS);
        Ok(())
    });
}

/// A hundred transactions of librdkafka, every tenth of them aborted, then a copy of the rest by the Java client in
/// transactions that commit the read offsets too.
#[test]
fn transactions_of_both_libraries_show_what_was_committed_and_nothing_else() {
    itest(async {
        let (world, gateway, topic) = prepared(1).await?;
        let bootstrap = gateway.bootstrap();
        let id = unique("writer");
        let producer = Producer::new(&bootstrap, &[("transactional.id", &id)])?;
        producer.init_transactions()?;
        for transaction in 0..110 {
            producer.begin()?;
            let aborted = transaction % 11 == 10;
            let prefix = if aborted { "aborted" } else { "committed" };
            for number in 0..RECORDS / 100 {
                producer.send(&topic, prefix, transaction * RECORDS + number).await?;
            }
            producer.flush()?;
            if aborted { producer.abort()? } else { producer.commit()? }
        }
        producer.healthy()?;
        let mut ledger = producer.ledger();
        ledger.acknowledged.retain(|value| value.starts_with("committed"));
        assert_eq!(ledger.acknowledged.len(), RECORDS);
        let found = check(world, &topic, &ledger)?;
        assert_eq!(found.count("aborted"), 0);

        let copy = unique("copy");
        create_topic(&world.alpha, &copy, &[&[3, 1, 2], &[2, 3, 1]]).await?;
        java::copy_in_transactions(&bootstrap, &topic, &copy, &unique("copier"), RECORDS).await?;
        let found = check(world, &copy, &ledger)?;
        assert_eq!(found.count(""), RECORDS);
        Ok(())
    });
}
