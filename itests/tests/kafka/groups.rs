//! Consumer groups through the gateway, by both protocols and both client libraries.

use std::{collections::BTreeSet, time::Duration};

use switchyard_itests::{
    Result, eventually,
    gateway::{Config, Gateway},
    itest,
    java::{GroupProtocol, Load, VerifiableConsumer, VerifiableProducer},
    librdkafka::GroupConsumer,
    version::Version,
    world::{create_topic, unique, world},
};

const RECORDS: usize = 6000;

const LIMIT: Duration = Duration::from_mins(1);

/// Six partitions with leaders on three brokers.
const REPLICAS: [&[i32]; 6] = [&[1, 2], &[2, 3], &[3, 1], &[1, 3], &[2, 1], &[3, 2]];

/// A gateway in the given view and a topic that holds the records `1.0` to `1.5999`.
async fn filled_topic(view: &'static str) -> Result<(Gateway, String)> {
    let world = world().await?;
    let gateway = Gateway::start(Config::new(view, &[&world.alpha])).await?;
    let topic = unique("groups");
    create_topic(&world.alpha, &topic, &REPLICAS).await?;
    produce(&gateway, &topic, 1).await?;
    Ok((gateway, topic))
}

async fn produce(gateway: &Gateway, topic: &str, prefix: u32) -> Result<()> {
    let load = Load { topic, prefix, records: Some(RECORDS), rate: None };
    let ledger = VerifiableProducer::start(&gateway.bootstrap(), load, &[])?.end(LIMIT).await?;
    assert_eq!(ledger.acknowledged.len(), RECORDS);
    Ok(())
}

/// Two members share the partitions; when one leaves, the other has them all and goes on where the group was.
async fn librdkafka_group(view: &'static str, protocol: GroupProtocol) -> Result<()> {
    let (gateway, topic) = filled_topic(view).await?;
    librdkafka_group_at(&gateway, &gateway.bootstrap(), &topic, protocol).await
}

async fn librdkafka_group_at(
    gateway: &Gateway,
    bootstrap: &str,
    topic: &str,
    protocol: GroupProtocol,
) -> Result<()> {
    let group = unique("group");
    let settings = [("group.protocol", protocol.name())];
    let first = GroupConsumer::start(bootstrap, topic, &group, &settings)?;
    let second = GroupConsumer::start(bootstrap, topic, &group, &settings)?;
    eventually("partitions of both members", LIMIT, || async {
        (first.partitions() == 3 && second.partitions() == 3).then_some(())
    })
    .await?;
    eventually("every record at one of two members", LIMIT, || async {
        let values: BTreeSet<_> = [first.values(), second.values()].into_iter().flatten().collect();
        (values.len() == RECORDS).then_some(())
    })
    .await?;
    // The positions reached are committed every 200 ms.
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(second);
    produce(gateway, topic, 2).await?;
    let fresh = |consumer: &GroupConsumer| {
        consumer.values().iter().filter(|value| value.starts_with("2.")).count()
    };
    eventually("all new records at the member that stayed", LIMIT, || async {
        (fresh(&first) == RECORDS).then_some(())
    })
    .await?;
    first.healthy()?;
    drop(first);

    // A new member has the group's offsets and nothing to read.
    let third = GroupConsumer::start(bootstrap, topic, &group, &settings)?;
    eventually("partitions of the third member", LIMIT, || async {
        (third.partitions() == REPLICAS.len()).then_some(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(third.count(), 0, "committed records are read again");
    third.healthy()
}

/// librdkafka takes brokers that do not offer its version of KIP-848 for a coordinator that cannot be used, and looks for
/// another one, for ever and without an error; the group exists nowhere, and the log alone says why.
async fn librdkafka_gets_nothing_and_logs_why(bootstrap: &str, topic: &str) -> Result<()> {
    let settings = [("group.protocol", GroupProtocol::Consumer.name()), ("debug", "cgrp")];
    let member = GroupConsumer::start(bootstrap, topic, &unique("group"), &settings)?;
    eventually("the reason in librdkafka's log", LIMIT, || async {
        member.has_logged("ConsumerGroupHeartbeatRequest not supported by broker").then_some(())
    })
    .await
    .map_err(|error| format!("{error}:{}", member.log_tail(20)))?;
    assert_eq!((member.partitions(), member.count()), (0, 0));
    member.healthy()
}

/// The group of [`librdkafka_group_at`] by KIP-848, which was a preview before Kafka 4.0.
async fn librdkafka_consumer_protocol_group_at(
    gateway: &Gateway,
    bootstrap: &str,
    topic: &str,
) -> Result<()> {
    if Version::under_test()?.since(4, 0) {
        librdkafka_group_at(gateway, bootstrap, topic, GroupProtocol::Consumer).await
    } else {
        librdkafka_gets_nothing_and_logs_why(bootstrap, topic).await
    }
}

/// The same with two Java consumers, which commit after every poll.
async fn java_group(view: &'static str, protocol: GroupProtocol) -> Result<()> {
    let (gateway, topic) = filled_topic(view).await?;
    let (bootstrap, group) = (gateway.bootstrap(), unique("group"));
    let start = || VerifiableConsumer::start(&bootstrap, &topic, &group, protocol);
    let (first, second) = (start()?, start()?);
    eventually("every record at one of two members", LIMIT, || async {
        let values: BTreeSet<_> = [first.values(), second.values()].into_iter().flatten().collect();
        (values.len() == RECORDS).then_some(())
    })
    .await?;
    eventually("partitions of both members", LIMIT, || async {
        (first.assignments() > 0 && second.assignments() > 0).then_some(())
    })
    .await?;
    second.leave().await?;
    produce(&gateway, &topic, 2).await?;
    eventually("all new records at the member that stayed", LIMIT, || async {
        let values = first.values();
        (values.iter().filter(|value| value.starts_with("2.")).count() == RECORDS).then_some(())
    })
    .await?;
    first.leave().await
}

#[test]
fn librdkafka_classic_group_in_native_view_shares_rebalances_and_resumes() {
    itest(librdkafka_group("native", GroupProtocol::Classic));
}

#[test]
fn librdkafka_classic_group_in_neutral_view_shares_rebalances_and_resumes() {
    itest(librdkafka_group("neutral", GroupProtocol::Classic));
}

#[test]
fn librdkafka_consumer_protocol_group_in_native_view_shares_rebalances_and_resumes() {
    itest(async {
        let (gateway, topic) = filled_topic("native").await?;
        librdkafka_consumer_protocol_group_at(&gateway, &gateway.bootstrap(), &topic).await
    });
}

/// The same without the gateway between: what the test before expects is what librdkafka does.
#[test]
fn librdkafka_consumer_protocol_group_at_the_cluster_itself_does_the_same() {
    itest(async {
        let (gateway, topic) = filled_topic("native").await?;
        let bootstrap = world().await?.alpha.bootstrap();
        librdkafka_consumer_protocol_group_at(&gateway, &bootstrap, &topic).await
    });
}

/// The neutral view does not advertise KIP-848.
#[test]
fn librdkafka_consumer_protocol_group_in_neutral_view_gets_nothing_and_logs_why() {
    itest(async {
        let (gateway, topic) = filled_topic("neutral").await?;
        librdkafka_gets_nothing_and_logs_why(&gateway.bootstrap(), &topic).await
    });
}

#[test]
fn java_classic_group_in_native_view_shares_and_rebalances() {
    itest(java_group("native", GroupProtocol::Classic));
}

#[test]
fn java_classic_group_in_neutral_view_shares_and_rebalances() {
    itest(java_group("neutral", GroupProtocol::Classic));
}

#[test]
fn java_consumer_protocol_group_in_native_view_shares_and_rebalances() {
    itest(java_group("native", GroupProtocol::Consumer));
}
