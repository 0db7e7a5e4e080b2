//! Transactions of both libraries.

use switchyard_itests::{
    fake::{FakeCluster, FakePlan},
    fake_test,
    java::{self, TransactionalWriter},
    ledger::Found,
    librdkafka::Producer,
};

use crate::{LIMIT, check};

const TOOL: &str = "org.apache.kafka.tools.TransactionsCommand";
const RECORDS: usize = 500;

/// Transactions of librdkafka, every eleventh of them aborted, then a copy of the rest by the Java client in
/// transactions that commit the read offsets too.
#[test]
fn transactions_of_both_libraries_show_what_was_committed_and_nothing_else() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("from", 1, 3).await?;
        cluster.create_topic("to", 2, 3).await?;
        let bootstrap = cluster.bootstrap();
        let producer = Producer::new(&bootstrap, &[("transactional.id", "writer")])?;
        producer.init_transactions()?;
        for transaction in 0..55 {
            producer.begin()?;
            let aborted = transaction % 11 == 10;
            let prefix = if aborted { "aborted" } else { "committed" };
            for number in 0..RECORDS / 50 {
                producer.send("from", prefix, transaction * RECORDS + number).await?;
            }
            producer.flush()?;
            if aborted { producer.abort()? } else { producer.commit()? }
        }
        producer.undisturbed()?;
        let mut ledger = producer.ledger();
        ledger.acknowledged.retain(|value| value.starts_with("committed"));
        assert_eq!(ledger.acknowledged.len(), RECORDS);
        assert_eq!(check(&cluster, "from", &ledger)?.count("aborted"), 0);

        java::copy_in_transactions(&bootstrap, "from", "to", "copier", RECORDS).await?;
        assert_eq!(check(&cluster, "to", &ledger)?.count(""), RECORDS);
        Ok(())
    });
}

#[test]
fn open_transaction_is_listed_and_described_by_the_java_tool_and_hides_its_records() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("open", 1, 3).await?;
        let bootstrap = cluster.bootstrap();
        let producer = Producer::new(&bootstrap, &[("transactional.id", "opener")])?;
        producer.init_transactions()?;
        producer.begin()?;
        producer.send("open", "r", 0).await?;
        producer.flush()?;
        let tool = async |arguments: &[&str]| {
            java::tool(TOOL, &[&["--bootstrap-server", &bootstrap], arguments].concat()).await
        };
        let listed = tool(&["list"]).await?;
        let line = listed.lines().find(|line| line.starts_with("opener")).unwrap_or_default();
        assert!(line.contains("Ongoing"), "{listed}");
        let described = tool(&["describe", "--transactional-id", "opener"]).await?;
        assert!(described.contains("open-0"), "{described}");
        let mut found = Found::default();
        found.read(&bootstrap, "open")?;
        assert_eq!(found.count(""), 0);
        producer.commit()?;
        found.read(&bootstrap, "open")?;
        assert_eq!(found.count(""), 1);
        Ok(())
    });
}

/// A producer that takes over an id fences the one that had it.
#[test]
fn second_librdkafka_producer_of_an_id_fences_the_first() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("fenced", 1, 3).await?;
        let settings = [("transactional.id", "twice")];
        let (first, second) = (
            Producer::new(&cluster.bootstrap(), &settings)?,
            Producer::new(&cluster.bootstrap(), &settings)?,
        );
        first.init_transactions()?;
        first.begin()?;
        first.send("fenced", "first", 0).await?;
        first.flush()?;
        second.init_transactions()?;
        second.begin()?;
        second.send("fenced", "second", 0).await?;
        second.commit()?;
        let refused = first.commit().expect_err("the first is fenced").to_string();
        assert!(refused.to_lowercase().contains("fenced"), "{refused}");
        let mut found = Found::default();
        found.read(&cluster.bootstrap(), "fenced")?;
        assert_eq!((found.count("first"), found.count("second")), (0, 1));
        Ok(())
    });
}

/// Brokers die and return under a transactional producer: every transaction that is seen is whole, and every one that was
/// reported as committed is seen, once.
#[test]
fn transactions_stay_whole_while_brokers_are_killed() {
    fake_test(async {
        let cluster = FakeCluster::start(FakePlan::default())?;
        cluster.create_topic("whole", 3, 3).await?;
        let bootstrap = cluster.bootstrap();
        let writer = TransactionalWriter::start(&bootstrap, "whole", "whole")?;
        writer.await_committed(5, LIMIT).await?;
        for node in 1..=3 {
            cluster.kill(node);
            let committed = writer.committed().len();
            writer.await_committed(committed + 3, LIMIT).await?;
            cluster.start_again(node);
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        let committed = writer.committed();
        drop(writer);
        let mut found = Found::default();
        found.read(&bootstrap, "whole")?;
        assert_eq!(found.duplicated(), [""; 0]);
        for transaction in committed {
            assert_eq!(found.count(&format!("{transaction}.")), 10, "{transaction}");
        }
        let torn = found.0.keys().filter_map(|value| value.split('.').next());
        for transaction in torn {
            assert_eq!(found.count(&format!("{transaction}.")), 10, "{transaction}");
        }
        Ok(())
    });
}
