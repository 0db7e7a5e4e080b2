//! No client ever sees an address of a broker: neither in what it reports nor in any byte that it is sent.

use std::{collections::BTreeSet, process::Command, time::Duration};

use rdkafka::{
    config::ClientConfig,
    producer::{BaseProducer, Producer as _},
};
use switchyard_itests::{
    Result,
    cluster::BROKER_PORT,
    gateway::{Config, Gateway, ROUTE_PORT},
    itest, java,
    java::{GroupProtocol, Load, VerifiableConsumer, VerifiableProducer},
    librdkafka::{GroupConsumer, Producer, spoken},
    machine,
    tap::{Forbidden, Tap},
    wire,
    world::{create_topic, unique, world},
};

const LIMIT: Duration = Duration::from_mins(1);

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;

/// A gateway whose clients are told the addresses of a tap in front of it.
async fn tapped(view: &'static str, tap: u8) -> Result<(Gateway, Tap)> {
    let tap = machine::address(22, tap);
    let world = world().await?;
    let mut config = Config::new(view, &[&world.alpha, &world.beta]);
    config.advertised = Some(tap.clone());
    let gateway = Gateway::start(config).await?;
    let forbidden = Forbidden {
        // Every broker's address, and every container's name.
        hosts: vec![brokers(11), brokers(12), "switchyard-itests".into()],
        ports: vec![BROKER_PORT],
    };
    let ports = ROUTE_PORT..=ROUTE_PORT + 3;
    let tap = Tap::start(&tap, gateway.host(), ports, forbidden).await?;
    Ok((gateway, tap))
}

/// How the addresses of all brokers of a cluster begin.
fn brokers(subnet: u8) -> String {
    machine::address(subnet, 0).trim_end_matches('0').to_owned()
}

/// Where clients of a tap find nodes 1 to 3.
fn nodes_at(tap: u8) -> BTreeSet<String> {
    let host = machine::address(22, tap);
    (1..=3).map(|node| format!("{host}:{}", ROUTE_PORT + node)).collect()
}

/// Produces and consumes with both libraries, while leaders move: that is when answers to Produce and Fetch name brokers.
async fn work(gateway: &Gateway, protocol: GroupProtocol) -> Result<()> {
    let world = world().await?;
    let bootstrap = gateway.bootstrap();
    let topic = unique("addresses");
    create_topic(&world.alpha, &topic, &[&[2, 3, 1], &[3, 1, 2]]).await?;
    let settings = [("group.protocol", spoken(protocol)?.name())];
    let readers = GroupConsumer::start(&bootstrap, &topic, &unique("readers"), &settings)?;
    let java_readers = VerifiableConsumer::start(&bootstrap, &topic, &unique("readers"), protocol)?;
    let load = Load { topic: &topic, prefix: 1, records: Some(2000), rate: Some(400) };
    let java = VerifiableProducer::start(&bootstrap, load, &[])?;
    let producer = Producer::new(&bootstrap, &[("enable.idempotence", "true")])?;
    for number in 0..2000 {
        producer.send(&topic, "r", number).await?;
        if number % 500 == 250 {
            let replicas = if number % 1000 < 500 { [3, 2, 1] } else { [2, 3, 1] };
            wire::move_leader(&world.alpha.address(1), &topic, 0, &replicas).await?;
        }
    }
    producer.flush()?;
    java.end(LIMIT).await?;
    readers.await_count(4000, LIMIT).await?;
    java_readers.await_count(4000, LIMIT).await?;
    Ok(())
}

/// What three kinds of clients say the brokers are.
async fn reported(gateway: &Gateway) -> Result<BTreeSet<String>> {
    let bootstrap = gateway.bootstrap();
    let mut addresses = java::broker_addresses(&bootstrap).await?;
    let client: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;
    let metadata = tokio::task::block_in_place(|| client.client().fetch_metadata(None, LIMIT))?;
    let brokers = metadata.brokers().iter();
    addresses.extend(brokers.map(|broker| format!("{}:{}", broker.host(), broker.port())));
    let listed = Command::new("kcat").args(["-L", "-b", &bootstrap]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let brokers = listed.lines().filter_map(|line| line.split_once(" at ")).map(|(_, rest)| rest);
    let brokers = brokers.filter_map(|rest| rest.split_whitespace().next());
    addresses
        .extend(brokers.filter(|address| address.starts_with(char::is_numeric)).map(str::to_owned));
    Ok(addresses)
}

#[test]
fn clients_in_native_view_are_sent_no_upstream_address() {
    itest(async {
        let (gateway, tap) = tapped("native", 1).await?;
        work(&gateway, GroupProtocol::Consumer).await?;
        let expected: BTreeSet<_> = nodes_at(1);
        assert_eq!(reported(&gateway).await?, expected);
        println!("{:?}", tap.seen());
        tap.seen().check(&[PRODUCE, FETCH, METADATA, FIND_COORDINATOR])
    });
}

#[test]
fn clients_in_neutral_view_are_sent_no_upstream_address() {
    itest(async {
        let (gateway, tap) = tapped("neutral", 2).await?;
        work(&gateway, GroupProtocol::Classic).await?;
        let expected: BTreeSet<_> = nodes_at(2);
        assert_eq!(reported(&gateway).await?, expected);
        println!("{:?}", tap.seen());
        tap.seen().check(&[PRODUCE, FETCH, METADATA, FIND_COORDINATOR])
    });
}

/// The tap finds what it is there to find: without a gateway in between, everything leaks.
#[test]
fn tap_in_front_of_a_broker_finds_its_address() {
    itest(async {
        let world = world().await?;
        let forbidden = Forbidden { hosts: vec![brokers(12)], ports: vec![BROKER_PORT] };
        let address = machine::address(22, 3);
        let tap =
            Tap::start(&address, &world.beta.plan().host(1), [BROKER_PORT], forbidden).await?;
        wire::metadata(&format!("{address}:{BROKER_PORT}"), &[]).await?;
        let found: Vec<_> = tap.seen().leaks.into_iter().map(|(_, _, what)| what).collect();
        assert_eq!(found, [brokers(12), format!("port {BROKER_PORT}")]);
        Ok(())
    });
}
