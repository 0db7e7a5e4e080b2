//! Clients that must log in.

use switchyard_itests::{
    Result, eventually,
    fake::{FakeCluster, FakePlan, kcat_listing},
    fake_test, java,
    librdkafka::Producer,
    wire,
};

use crate::LIMIT;

const USERS: &[(&str, &str)] = &[("alice", "alice's secret, with a comma")];
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

async fn guarded() -> Result<FakeCluster> {
    let cluster = FakeCluster::start(FakePlan { users: USERS, ..FakePlan::default() })?;
    cluster.create_topic("guarded", 3, 3).await?;
    Ok(cluster)
}

fn login<'a>(mechanism: &'a str, password: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", "alice"),
        ("sasl.password", password),
    ]
}

#[test]
fn librdkafka_logs_in_by_every_mechanism() {
    fake_test(async {
        let cluster = guarded().await?;
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let producer = Producer::new(&cluster.bootstrap(), &login(mechanism, USERS[0].1))?;
            for number in 0..100 {
                producer.send("guarded", mechanism, number).await?;
            }
            producer.flush()?;
            producer.undisturbed().map_err(|error| format!("{mechanism}: {error}"))?;
            assert_eq!(producer.acknowledged(), 100, "{mechanism}");
        }
        Ok(())
    });
}

#[test]
fn librdkafka_is_told_that_a_password_is_wrong_by_every_mechanism() {
    fake_test(async {
        let cluster = guarded().await?;
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let producer = Producer::new(&cluster.bootstrap(), &login(mechanism, "wrong"))?;
            producer.send("guarded", "r", 0).await?;
            let said = || async {
                let error = producer.undisturbed().err()?.to_string();
                error.contains("uthentication").then_some(())
            };
            eventually(&format!("refusal by {mechanism}"), LIMIT, said).await?;
            assert_eq!(producer.acknowledged(), 0);
        }
        Ok(())
    });
}

#[test]
fn client_that_does_not_log_in_gets_nothing() {
    fake_test(async {
        let cluster = guarded().await?;
        assert!(wire::metadata(&cluster.address(1), &[]).await.is_err());
        Ok(())
    });
}

/// The Java client sends its versions before and after the handshake, and SCRAM in Java is another implementation.
#[test]
fn java_admin_client_logs_in_by_plain_and_scram() {
    fake_test(async {
        let cluster = guarded().await?;
        for (mechanism, module) in [
            ("PLAIN", "org.apache.kafka.common.security.plain.PlainLoginModule"),
            ("SCRAM-SHA-512", "org.apache.kafka.common.security.scram.ScramLoginModule"),
        ] {
            let (user, password) = USERS[0];
            let jaas = format!("{module} required username=\"{user}\" password=\"{password}\";");
            let file = java::settings_file(&[
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", &jaas),
            ])?;
            let file = file.path().display().to_string();
            let arguments =
                ["--bootstrap-server", &cluster.bootstrap(), "--command-config", &file, "--list"];
            assert_eq!(java::tool(TOPICS, &arguments).await?.trim(), "guarded", "{mechanism}");
        }
        Ok(())
    });
}

#[test]
fn kcat_logs_in_and_lists_the_topic() {
    fake_test(async {
        let cluster = guarded().await?;
        let settings = login("PLAIN", USERS[0].1).map(|(name, value)| format!("{name}={value}"));
        let mut arguments = vec!["-b".to_owned(), cluster.bootstrap(), "-L".to_owned()];
        for setting in settings {
            arguments.extend(["-X".to_owned(), setting]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let printed = kcat_listing(&arguments).await?;
        assert!(printed.contains("topic \"guarded\" with 3 partitions"), "{printed}");
        Ok(())
    });
}
