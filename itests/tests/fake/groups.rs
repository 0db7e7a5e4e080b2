//! Consumer groups, by both protocols and both client libraries.

use std::{collections::BTreeSet, time::Duration};

use switchyard_itests::{
    Result, eventually,
    fake::{FakeCluster, FakePlan},
    fake_test,
    java::{self, GroupProtocol, VerifiableConsumer},
    librdkafka::{GroupConsumer, Producer},
};

use crate::LIMIT;

const RECORDS: usize = 2000;
const PARTITIONS: usize = 6;
const TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

async fn filled() -> Result<FakeCluster> {
    let cluster = FakeCluster::start(FakePlan::default())?;
    cluster.create_topic("read", i32::try_from(PARTITIONS)?, 3).await?;
    produce(&cluster, "1").await?;
    Ok(cluster)
}

async fn produce(cluster: &FakeCluster, prefix: &str) -> Result<()> {
    // Partitioned by turns, so that every partition gets some.
    let settings = [("sticky.partitioning.linger.ms", "0")];
    let producer = Producer::new(&cluster.bootstrap(), &settings)?;
    for number in 0..RECORDS {
        producer.send("read", prefix, number).await?;
    }
    producer.flush()?;
    producer.healthy()
}

fn fresh(values: &[String]) -> usize {
    let values: BTreeSet<_> = values.iter().filter(|value| value.starts_with("2.")).collect();
    values.len()
}

/// Two members share the partitions; when one leaves, the other has them all and goes on where the group was.
async fn librdkafka_group(protocol: GroupProtocol) -> Result<()> {
    let cluster = filled().await?;
    let bootstrap = cluster.bootstrap();
    let settings = [("group.protocol", protocol.name())];
    let start = || GroupConsumer::start(&bootstrap, "read", "group", &settings);
    let (first, second) = (start()?, start()?);
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
    produce(&cluster, "2").await?;
    eventually("all new records at the member that stayed", LIMIT, || async {
        (fresh(&first.values()) == RECORDS).then_some(())
    })
    .await?;
    first.healthy()?;
    drop(first);

    // A new member has the group's offsets and nothing to read.
    let third = start()?;
    eventually("partitions of the third member", LIMIT, || async {
        (third.partitions() == PARTITIONS).then_some(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(third.count(), 0, "committed records are read again");
    third.healthy()
}

#[test]
fn librdkafka_classic_group_shares_rebalances_and_resumes() {
    fake_test(librdkafka_group(GroupProtocol::Classic));
}

#[test]
fn librdkafka_consumer_protocol_group_shares_rebalances_and_resumes() {
    fake_test(librdkafka_group(GroupProtocol::Consumer));
}

#[test]
fn librdkafka_cooperative_group_of_static_members_shares_and_rebalances() {
    fake_test(async {
        let cluster = filled().await?;
        let bootstrap = cluster.bootstrap();
        let start = |instance: &str| {
            let settings = [
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("group.instance.id", instance),
            ];
            GroupConsumer::start(&bootstrap, "read", "static", &settings)
        };
        let (first, second) = (start("a")?, start("b")?);
        eventually("partitions of both members", LIMIT, || async {
            (first.partitions() == 3 && second.partitions() == 3).then_some(())
        })
        .await?;
        // A static member that returns in time gets what it had, and the other is not disturbed.
        let before = first.assignments();
        drop(second);
        let second = start("b")?;
        eventually("partitions of the member that returned", LIMIT, || async {
            (second.partitions() == 3).then_some(())
        })
        .await?;
        assert_eq!((first.partitions(), first.assignments()), (3, before));
        first.healthy()?;
        second.healthy()
    });
}

/// The same with two Java consumers, which commit after every poll.
async fn java_group(protocol: GroupProtocol) -> Result<()> {
    let cluster = filled().await?;
    let bootstrap = cluster.bootstrap();
    let start = || VerifiableConsumer::start(&bootstrap, "read", "group", protocol);
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
    produce(&cluster, "2").await?;
    eventually("all new records at the member that stayed", LIMIT, || async {
        (fresh(&first.values()) == RECORDS).then_some(())
    })
    .await?;
    first.undisturbed()?;
    first.leave().await
}

#[test]
fn java_classic_group_shares_and_rebalances() {
    fake_test(java_group(GroupProtocol::Classic));
}

#[test]
fn java_consumer_protocol_group_shares_and_rebalances() {
    fake_test(java_group(GroupProtocol::Consumer));
}

#[test]
fn groups_are_described_reset_and_deleted_by_the_java_tool() {
    fake_test(async {
        let cluster = filled().await?;
        let bootstrap = cluster.bootstrap();
        let member = GroupConsumer::start(&bootstrap, "read", "described", &[])?;
        member.await_count(RECORDS, LIMIT).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let groups = async |arguments: &[&str]| {
            java::tool(TOOL, &[&["--bootstrap-server", &bootstrap], arguments].concat()).await
        };
        let named = ["--group", "described"];
        let described = groups(&[&["--describe"], &named[..]].concat()).await?;
        let rows = described.lines().filter(|line| line.starts_with("described"));
        let lags: Vec<_> = rows.filter_map(|row| row.split_whitespace().nth(5)).collect();
        assert_eq!(lags, ["0"; PARTITIONS], "{described}");
        assert!(described.contains("rdkafka"), "{described}");
        drop(member);

        let reset = ["--reset-offsets", "--to-earliest", "--all-topics", "--execute"];
        groups(&[&reset[..], &named].concat()).await?;
        let again = GroupConsumer::start(&bootstrap, "read", "described", &[])?;
        again.await_count(RECORDS, LIMIT).await?;
        drop(again);

        groups(&[&["--delete"], &named[..]].concat()).await?;
        let listed = groups(&["--list"]).await?;
        assert!(!listed.contains("described"), "{listed}");
        Ok(())
    });
}
