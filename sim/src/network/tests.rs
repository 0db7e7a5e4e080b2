//! The gateway's own driver between a client and a fake cluster, all on the simulated network.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, MetadataRequest, MetadataResponse, RequestHeader},
    protocol::{Decodable, Encodable},
};
use switchyard::{
    config::{Environment, Source, check},
    driver::{Gateway, Network as _, control, state_file::StateStore},
    route::state::State,
    telemetry::Metrics,
    topology::BrokerAddress,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    cluster::{ClusterSpec, Time},
    serve::{SharedCluster, serve_broker},
};

const FILE: &str = "
streamingDomains:
  - name: east
    kafkaCluster: {bootstrapServers: [{id: main, endpoint: 'east.example:9092'}], nodeIdRanges: [{name: n, start: 1, end: 3}]}
routes:
  - {name: sales, endpoint: 'gateway.example:19092', streamingDomain: {name: east}}
";

struct NoStore;

impl StateStore for NoStore {
    async fn save(&self, _: State) -> io::Result<()> {
        Ok(())
    }

    fn place(&self) -> String {
        "nowhere".to_owned()
    }
}

fn now() -> Time {
    Time::from_ms(1_700_000_000_000) + turmoil::sim_elapsed().unwrap_or_default()
}

/// A fake cluster `east` and a gateway before it, on hosts of their names.
fn world(seed: u64) -> (turmoil::Sim<'static>, SimNetwork) {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH)
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(Duration::from_mins(10))
        .min_message_latency(Duration::from_millis(4))
        .max_message_latency(Duration::from_millis(8))
        .tcp_capacity(10_000)
        .build();
    let network = SimNetwork::default();
    let place = |host: &str, port| Place { host: host.to_owned(), port };
    network.names.set("east.example", 9092, vec![place("east", 9092)]);
    for port in 19092..=19095 {
        network.names.set("gateway.example", port, vec![place("gateway", port)]);
    }
    let cluster_network = network.clone();
    sim.host("east", move || {
        let network = cluster_network.clone();
        async move {
            let spec = ClusterSpec::new("east", seed, "east.example", 9092..9095);
            let brokers = spec.brokers.clone();
            let cluster = SharedCluster::new(spec, Arc::new(now));
            for broker in brokers {
                let address: SocketAddr = ([0, 0, 0, 0], broker.port).into();
                let listener = network.bind(address).await?;
                let (network, cluster) = (network.clone(), cluster.clone());
                tokio::spawn(serve_broker(network, address, listener, cluster, broker.id));
            }
            cluster.keep_time().await;
            Ok(())
        }
    });
    let gateway_network = network.clone();
    sim.host("gateway", move || {
        let network = gateway_network.clone();
        async move {
            let source = Source::Inline(FILE.to_owned());
            let model =
                check(FILE.as_bytes(), &source, &Environment::default()).expect("valid").model;
            let metrics = Arc::new(Metrics::default());
            let gateway = Gateway::new(network, Arc::clone(&metrics), &model);
            let clock: control::Clock = Arc::new(String::new);
            let _control =
                control::start(Arc::new(gateway), NoStore, State::default(), model, metrics, clock)
                    .await?;
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    (sim, network)
}

/// One request and the body of its answer.
async fn ask(stream: &mut SimStream, version: i16) -> io::Result<Bytes> {
    let mut frame = BytesMut::from(&[0; 4][..]);
    RequestHeader::default()
        .with_request_api_key(ApiKey::Metadata as i16)
        .with_request_api_version(version)
        .encode(&mut frame, 1)
        .expect("a header");
    MetadataRequest::default().with_topics(None).encode(&mut frame, version).expect("a request");
    let length = u32::try_from(frame.len() - 4).expect("small");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame).await?;
    let length = stream.read_u32().await?;
    let mut answer = BytesMut::new();
    answer.put_bytes(0, usize::try_from(length).expect("small"));
    stream.read_exact(&mut answer).await?;
    Ok(answer.freeze().slice(4..))
}

type Log = Rc<RefCell<Vec<String>>>;

fn run(seed: u64, script: impl AsyncFnOnce(SimNetwork, Log) + 'static) -> Vec<String> {
    let (mut sim, network) = world(seed);
    let log = Log::default();
    let written = Rc::clone(&log);
    sim.client("client", async move {
        script(network, written).await;
        Ok(())
    });
    sim.run().expect("the client ends");
    log.borrow().clone()
}

fn gateway() -> BrokerAddress {
    BrokerAddress { host: "gateway.example".into(), port: 19092 }
}

async fn list_brokers(network: SimNetwork, log: Log) {
    let mut stream = network.connect(&gateway()).await.expect("connected");
    let mut body = ask(&mut stream, 1).await.expect("answered");
    let response = MetadataResponse::decode(&mut body, 1).expect("Metadata v1");
    for broker in response.brokers {
        log.borrow_mut().push(format!("{:?} {}:{}", turmoil::elapsed(), broker.host, broker.port));
    }
}

#[test]
fn gateway_and_cluster_run_on_the_simulated_network() {
    let lines = run(7, list_brokers);
    let addresses: Vec<_> = lines.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(
        addresses,
        ["gateway.example:19093", "gateway.example:19094", "gateway.example:19095"]
    );
    assert_eq!(lines, run(7, list_brokers), "the same seed, the same run");
}

/// A client must notice a region that has gone silent when its kernel would.
#[test]
fn black_hole_breaks_a_connection_after_the_user_timeout() {
    let lines = run(7, async |network, log| {
        let mut stream = network.connect(&gateway()).await.expect("connected");
        ask(&mut stream, 1).await.expect("answered");
        let (here, there) = (turmoil::lookup("client"), turmoil::lookup("gateway"));
        network.links.hold(here, there);
        let began = turmoil::elapsed();
        let error = ask(&mut stream, 1).await.expect_err("nothing arrives");
        let seconds = turmoil::elapsed().saturating_sub(began).as_secs();
        log.borrow_mut().push(format!("{:?} after {seconds} s", error.kind()));
    });
    assert_eq!(lines, ["TimedOut after 30 s"]);
}

/// What TCP retransmits after a short cut arrives, late but whole.
#[test]
fn short_black_hole_delays_what_was_sent() {
    let lines = run(7, async |network, log| {
        let mut stream = network.connect(&gateway()).await.expect("connected");
        ask(&mut stream, 1).await.expect("answered");
        let (here, there) = (turmoil::lookup("client"), turmoil::lookup("gateway"));
        network.links.hold(here, there);
        let links = network.links.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            links.release(here, there);
        });
        let began = turmoil::elapsed();
        ask(&mut stream, 1).await.expect("answered late");
        log.borrow_mut()
            .push(format!("after {} s", turmoil::elapsed().saturating_sub(began).as_secs()));
    });
    assert_eq!(lines, ["after 10 s"]);
}

/// What was sent into a long black hole must not arrive when it ends.
#[test]
fn long_black_hole_loses_what_was_sent_and_resets_its_connections() {
    let lines = run(7, async |network, log| {
        let mut stream = network.connect(&gateway()).await.expect("connected");
        ask(&mut stream, 1).await.expect("answered");
        let (here, there) = (turmoil::lookup("client"), turmoil::lookup("gateway"));
        network.links.hold(here, there);
        tokio::time::sleep(Duration::from_secs(40)).await;
        network.links.release(here, there);
        let error = ask(&mut stream, 1).await.expect_err("reset");
        let mut fresh = network.connect(&gateway()).await.expect("connected again");
        let answered = ask(&mut fresh, 1).await.is_ok();
        log.borrow_mut().push(format!("{:?}, then {answered}", error.kind()));
    });
    assert_eq!(lines, ["ConnectionReset, then true"]);
}

/// A link that loses packets in one direction only is as dead for a conversation, and does not refuse anybody.
#[test]
fn one_way_black_hole_breaks_connections_and_refuses_none() {
    let lines = run(7, async |network, log| {
        let mut stream = network.connect(&gateway()).await.expect("connected");
        ask(&mut stream, 1).await.expect("answered");
        let (here, there) = (turmoil::lookup("client"), turmoil::lookup("gateway"));
        network.links.hold_one_way(here, there);
        let error = ask(&mut stream, 1).await.expect_err("nothing arrives");
        let patience = Duration::from_secs(20);
        let dialled = tokio::time::timeout(patience, network.connect(&gateway())).await;
        network.links.release(here, there);
        let mut fresh = network.connect(&gateway()).await.expect("connected again");
        let answered = ask(&mut fresh, 1).await.is_ok();
        log.borrow_mut().push(format!("{:?}, {}, {answered}", error.kind(), dialled.is_err()));
    });
    assert_eq!(lines, ["TimedOut, true, true"]);
}
