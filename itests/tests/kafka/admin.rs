//! Administration through the gateway: what the admin clients of both libraries ask, in both views.

use std::time::Duration;

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    config::ClientConfig,
};
use switchyard_itests::{
    Result,
    gateway::{Config, Gateway},
    itest, java,
    java::{GroupProtocol, Load, VerifiableConsumer, VerifiableProducer},
    wire,
    world::{create_topic, unique, world},
};

/// Creates, describes, alters, extends and deletes a topic by librdkafka's admin client.
async fn topic_by_librdkafka(view: &'static str) -> Result<()> {
    let world = world().await?;
    let gateway = Gateway::start(Config::new(view, &[&world.alpha, &world.beta])).await?;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", gateway.bootstrap()).create()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    let topic = unique("administered");

    let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(3)).set("retention.ms", "3600000");
    let created = admin.create_topics([&new], &options).await?;
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    let again = admin.create_topics([&new], &options).await?;
    assert!(again.iter().all(Result::is_err), "a second creation must be refused: {again:?}");

    let specifier = ResourceSpecifier::Topic(&topic);
    // The broker that is asked may hear of it a moment later.
    switchyard_itests::eventually("retention of 3600000 ms", Duration::from_secs(20), || async {
        let shown = retention(&admin, &specifier, &options).await;
        shown.is_ok_and(|shown| shown == "3600000").then_some(())
    })
    .await?;
    let altered = AlterConfig::new(specifier).set("retention.ms", "7200000");
    let altered = admin.alter_configs([&altered], &options).await?;
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    // The broker that is asked may hear of it a moment later.
    switchyard_itests::eventually("retention of 7200000 ms", Duration::from_secs(20), || async {
        let shown = retention(&admin, &specifier, &options).await;
        shown.is_ok_and(|shown| shown == "7200000").then_some(())
    })
    .await?;

    let extended = admin.create_partitions([&NewPartitions::new(&topic, 5)], &options).await?;
    assert!(extended.iter().all(Result::is_ok), "{extended:?}");
    switchyard_itests::eventually("five partitions", Duration::from_secs(20), || async {
        let leaders = wire::leaders(&world.alpha.address(1), &topic).await;
        leaders.is_ok_and(|leaders| leaders.len() == 5).then_some(())
    })
    .await?;

    let deleted = admin.delete_topics(&[&topic], &options).await?;
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    Ok(())
}

async fn retention(
    admin: &AdminClient<DefaultClientContext>,
    topic: &ResourceSpecifier<'_>,
    options: &AdminOptions,
) -> Result<String> {
    for resource in admin.describe_configs([topic], options).await? {
        let resource = resource?;
        if let Some(entry) = resource.get("retention.ms") {
            return Ok(entry.value.clone().unwrap_or_default());
        }
    }
    Err("no retention.ms".into())
}

#[test]
fn librdkafka_admin_in_native_view_does_what_it_is_asked() {
    itest(topic_by_librdkafka("native"));
}

#[test]
fn librdkafka_admin_in_neutral_view_does_what_it_is_asked() {
    itest(topic_by_librdkafka("neutral"));
}

/// Kafka's own tools: topics, configurations, offsets, groups and the quorum.
async fn by_java_tools(view: &'static str) -> Result<()> {
    let world = world().await?;
    let gateway = Gateway::start(Config::new(view, &[&world.alpha, &world.beta])).await?;
    let bootstrap = gateway.bootstrap();
    let topic = unique("described");
    create_topic(&world.alpha, &topic, &[&[2, 3, 1], &[3, 1, 2]]).await?;
    let load = Load { topic: &topic, prefix: 1, records: Some(1000), rate: None };
    VerifiableProducer::start(&bootstrap, load, &[])?.end(Duration::from_mins(1)).await?;
    let group = unique("group");
    let member = VerifiableConsumer::start(&bootstrap, &topic, &group, GroupProtocol::Classic)?;
    member.await_count(1000, Duration::from_mins(1)).await?;
    member.leave().await?;

    let at = ["--bootstrap-server", &bootstrap];
    let run = async |class: &str, rest: &[&str]| java::tool(class, &[&at, rest].concat()).await;
    let described =
        run("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", &topic]).await?;
    assert!(described.contains("Leader: 2") && described.contains("Leader: 3"), "{described}");
    let offsets = run("org.apache.kafka.tools.GetOffsetShell", &["--topic", &topic]).await?;
    let total: usize =
        offsets.lines().filter_map(|line| line.rsplit(':').next()?.parse::<usize>().ok()).sum();
    assert_eq!(total, 1000, "{offsets}");
    let groups = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let described = run(groups, &["--describe", "--group", &group]).await?;
    assert!(described.contains(&topic), "{described}");
    let quorum =
        run("org.apache.kafka.tools.MetadataQuorumCommand", &["describe", "--status"]).await?;
    assert!(quorum.contains("LeaderId"), "{quorum}");
    let config = ["--describe", "--entity-type", "brokers", "--entity-name", "1", "--all"];
    let config = run("org.apache.kafka.tools.ConfigCommand", &config).await?;
    assert!(config.contains("node.id=1"), "{config}");
    for output in [&described, &quorum, &config] {
        assert!(
            !output.contains(&world.alpha.plan().host(1)[..7]),
            "an upstream address: {output}"
        );
    }
    Ok(())
}

#[test]
fn java_tools_in_native_view_do_what_they_are_asked() {
    itest(by_java_tools("native"));
}

#[test]
fn java_tools_in_neutral_view_do_what_they_are_asked() {
    itest(by_java_tools("neutral"));
}
