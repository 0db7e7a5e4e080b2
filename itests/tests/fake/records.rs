//! Producers and consumers of both libraries, undisturbed: no error, no warning, every record once.

use switchyard_itests::{
    Result,
    fake::{FakeCluster, FakePlan},
    fake_test,
    java::{GroupProtocol, Load, VerifiableConsumer, VerifiableProducer},
    librdkafka::Producer,
    wire,
};
use switchyard_sim::cluster::versions::Profile;

use crate::{LIMIT, check};

const RECORDS: usize = 5000;

async fn librdkafka_writes_every_record_once(settings: &[(&str, &str)]) -> Result<()> {
    let cluster = FakeCluster::start(FakePlan::default())?;
    cluster.create_topic("written", 6, 3).await?;
    let producer = Producer::new(&cluster.bootstrap(), settings)?;
    for number in 0..RECORDS {
        producer.send("written", "r", number).await?;
    }
    producer.flush()?;
    producer.undisturbed()?;
    let ledger = producer.ledger();
    assert_eq!(ledger.acknowledged.len(), RECORDS);
    check(&cluster, "written", &ledger)?;
    Ok(())
}

#[test]
fn librdkafka_writes_every_record_once_without_idempotence() {
    fake_test(librdkafka_writes_every_record_once(&[("acks", "1"), ("linger.ms", "2")]));
}

#[test]
fn librdkafka_idempotent_producer_writes_every_record_once() {
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "50")];
    fake_test(librdkafka_writes_every_record_once(&settings));
}

/// The brokers remember the producer by the id that they gave it.
#[test]
fn idempotent_producer_is_known_by_its_id_at_the_leader() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("known", 1, 3).await?;
        let producer = Producer::new(&cluster.bootstrap(), &[("enable.idempotence", "true")])?;
        producer.send("known", "r", 0).await?;
        producer.flush()?;
        let id = producer.producer_id().await?;
        let leaders = wire::leaders(&cluster.address(1), "known").await?;
        let leader = cluster.address(leaders[0].0);
        assert_eq!(wire::producer_ids(&leader, "known", 0).await?, [id]);
        Ok(())
    });
}

async fn java_round_trip(profile: Profile) -> Result<()> {
    let cluster = FakeCluster::start(FakePlan { profile, ..FakePlan::default() })?;
    cluster.create_topic("trip", 4, 3).await?;
    let bootstrap = cluster.bootstrap();
    let load = Load { topic: "trip", prefix: 1, records: Some(RECORDS), rate: None };
    let producer = VerifiableProducer::start(&bootstrap, load, &[])?;
    producer.await_acknowledged(RECORDS, LIMIT).await?;
    producer.undisturbed()?;
    let ledger = producer.end(LIMIT).await?;
    assert_eq!(ledger.acknowledged.len(), RECORDS);
    check(&cluster, "trip", &ledger)?;
    let consumer = VerifiableConsumer::start(&bootstrap, "trip", "trip", GroupProtocol::Classic)?;
    consumer.await_count(RECORDS, LIMIT).await?;
    consumer.undisturbed()?;
    consumer.leave().await
}

#[test]
fn java_writes_and_reads_every_record_on_a_cluster_of_4_1() {
    fake_test(java_round_trip(Profile::Kafka41));
}

#[test]
fn java_writes_and_reads_every_record_on_a_cluster_of_3_9() {
    fake_test(java_round_trip(Profile::Kafka39));
}
