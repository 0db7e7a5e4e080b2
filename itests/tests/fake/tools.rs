//! Tools that people have at hand: kcat and the commands of Kafka's distribution.

use std::collections::BTreeSet;

use serde_json::Value;
use switchyard_itests::{
    Result,
    fake::{FakeCluster, FakePlan, kcat, kcat_listing},
    fake_test, java,
};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "org.apache.kafka.tools.ConfigCommand";

#[test]
fn kcat_lists_brokers_and_leaders_as_they_are() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("listed", 3, 2).await?;
        let printed = kcat_listing(&["-b", &cluster.address(2), "-L", "-J"]).await?;
        let listed: Value = serde_json::from_str(&printed)?;
        let names: BTreeSet<_> = array(&listed["brokers"])
            .iter()
            .filter_map(|broker| broker["name"].as_str().map(str::to_owned))
            .collect();
        let expected: BTreeSet<_> = (1..=3).map(|node| cluster.address(node)).collect();
        assert_eq!(names, expected);
        let partitions = array(&listed["topics"][0]["partitions"]);
        assert_eq!(partitions.len(), 3, "{printed}");
        for partition in partitions {
            let replicas = array(&partition["replicas"]);
            assert_eq!(replicas.len(), 2, "{partition}");
            assert_eq!(array(&partition["isrs"]).len(), 2, "{partition}");
            assert_eq!(partition["leader"], replicas[0]["id"], "{partition}");
        }
        Ok(())
    });
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn kcat_reads_what_it_wrote_with_every_codec() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("codecs", 4, 3).await?;
        let bootstrap = cluster.bootstrap();
        let mut written = BTreeSet::new();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let lines: Vec<_> = (0..200).map(|number| format!("{codec}.{number}")).collect();
            let arguments = ["-b", &bootstrap, "-P", "-t", "codecs", "-z", codec];
            kcat(&arguments, Some(&(lines.join("\n") + "\n"))).await?;
            written.extend(lines);
        }
        let printed = kcat(&["-b", &bootstrap, "-C", "-t", "codecs", "-e", "-q"], None).await?;
        let read: Vec<_> = printed.lines().map(str::to_owned).collect();
        assert_eq!(read.len(), written.len());
        assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), written);
        Ok(())
    });
}

/// `kcat -o` with a timestamp asks for the first record from then on.
#[test]
fn kcat_finds_records_by_time_and_from_the_end() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("times", 1, 1).await?;
        let bootstrap = cluster.bootstrap();
        let write = async |line: &str| {
            kcat(&["-b", &bootstrap, "-P", "-t", "times"], Some(line)).await.map(drop)
        };
        write("old").await?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        write("new").await?;
        write("newest").await?;
        let read = async |from: &str| {
            kcat(&["-b", &bootstrap, "-C", "-t", "times", "-e", "-q", "-o", from], None).await
        };
        assert_eq!(read(&format!("s@{}", since.as_millis())).await?, "new\nnewest");
        assert_eq!(read("-1").await?, "newest");
        assert_eq!(read("1").await?, "new\nnewest");
        Ok(())
    });
}

#[test]
fn topics_are_created_described_extended_and_deleted_by_the_java_tool() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        let bootstrap = cluster.bootstrap();
        let topics = async |arguments: &[&str]| {
            java::tool(TOPICS, &[&["--bootstrap-server", &bootstrap], arguments].concat()).await
        };
        let create =
            ["--create", "--topic", "made", "--partitions", "3", "--replication-factor", "2"];
        topics(&[&create[..], &["--config", "retention.ms=60000"]].concat()).await?;
        let described = topics(&["--describe", "--topic", "made"]).await?;
        for part in ["PartitionCount: 3", "ReplicationFactor: 2", "retention.ms=60000"] {
            assert!(described.contains(part), "{part}: {described}");
        }
        topics(&["--alter", "--topic", "made", "--partitions", "5"]).await?;
        let described = topics(&["--describe", "--topic", "made"]).await?;
        assert!(described.contains("PartitionCount: 5"), "{described}");
        topics(&["--delete", "--topic", "made"]).await?;
        assert_eq!(topics(&["--list"]).await?.trim(), "");
        Ok(())
    });
}

#[test]
fn configurations_are_altered_and_described_by_the_java_tool() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("configured", 1, 1).await?;
        let bootstrap = cluster.bootstrap();
        let configs = async |arguments: &[&str]| {
            let common = ["--bootstrap-server", &bootstrap, "--entity-type"];
            java::tool(CONFIGS, &[&common, arguments].concat()).await
        };
        let topic = ["topics", "--entity-name", "configured"];
        let set = ["--alter", "--add-config", "retention.ms=1234567,cleanup.policy=delete"];
        configs(&[&topic[..], &set].concat()).await?;
        let described = configs(&[&topic[..], &["--describe"]].concat()).await?;
        assert!(described.contains("retention.ms=1234567"), "{described}");
        configs(&[&topic[..], &["--alter", "--delete-config", "retention.ms"]].concat()).await?;
        let described = configs(&[&topic[..], &["--describe"]].concat()).await?;
        assert!(!described.contains("1234567"), "{described}");
        let broker = ["brokers", "--entity-name", "1", "--describe", "--all"];
        let described = configs(&broker).await?;
        assert!(described.contains("min.insync.replicas=1"), "{described}");
        Ok(())
    });
}

const PERFORMANCE_RECORDS: &str = "50000";

#[test]
fn performance_tools_write_and_read_every_record() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("fast", 3, 3).await?;
        let bootstrap = cluster.bootstrap();
        let servers = format!("bootstrap.servers={bootstrap}");
        let arguments = [
            "--topic",
            "fast",
            "--num-records",
            PERFORMANCE_RECORDS,
            "--record-size",
            "1024",
            "--throughput",
            "-1",
            "--producer-props",
            &servers,
            "acks=all",
        ];
        let said = java::tool("org.apache.kafka.tools.ProducerPerformance", &arguments).await?;
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("50000 records sent"), "{said}");
        let arguments = [
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "fast",
            "--messages",
            PERFORMANCE_RECORDS,
            "--timeout",
            "20000",
        ];
        let said = java::tool("org.apache.kafka.tools.ConsumerPerformance", &arguments).await?;
        let last = said.lines().last().unwrap_or_default();
        let read: Option<u64> = last.split(", ").nth(4).and_then(|count| count.parse().ok());
        assert!(read.is_some_and(|read| read >= 50_000), "{said}");
        offsets(&bootstrap).await
    });
}

/// What the tool says of the ends, by every broker.
async fn offsets(bootstrap: &str) -> Result<()> {
    let arguments = ["--bootstrap-server", bootstrap, "--topic", "fast", "--time", "latest"];
    let said = java::tool("org.apache.kafka.tools.GetOffsetShell", &arguments).await?;
    let ends = said.lines().filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok());
    assert_eq!(ends.sum::<u64>(), 50_000, "{said}");
    Ok(())
}
