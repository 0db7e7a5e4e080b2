//! What the gateway's own work on the bytes costs: walking, rewriting, and a session's way from chunk to outputs.
//!
//! `cargo bench -p kafka-switchyard`. Nothing here does I/O: the system calls that carry the bytes cost far more
//! (`ci/bench` measures both together).
#![expect(clippy::unwrap_used, reason = "messages made here are sound")]

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::{
    messages::{
        ApiVersionsResponse, BrokerId, FetchResponse, MetadataResponse, ProduceRequest,
        ProduceResponse, TopicName,
        api_versions_response::ApiVersion,
        fetch_response::{FetchableTopicResponse, PartitionData},
        metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::{Encodable, StrBytes},
};
use switchyard::{
    config::model::Limits,
    route::{Gate, Snapshot, Target},
    session::{Ops, Session, Setting},
    topology::{NodeId, PortMap, RouteAddresses},
    wire::{
        api::ClientView,
        api_versions::{API_VERSIONS, Offered},
        header::response_is_flexible,
        rewrite::{Context, rewrite},
        walk::{self, Direction},
    },
};

const PRODUCE: (i16, i16) = (0, 11);
const FETCH: (i16, i16) = (1, 16);
const METADATA: (i16, i16) = (3, 12);

/// First version of Fetch that names topics by id, which the neutral view does not offer.
const FETCH_BY_TOPIC_ID: i16 = 13;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const SIZES: [usize; 3] = [KIB, 64 * KIB, MIB];

/// What one read gives at most, as in the driver.
const CHUNK_BYTES: usize = 256 * KIB;

fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn name(text: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(text))
}

fn produce_body(records: usize) -> Vec<u8> {
    let partition = PartitionProduceData::default()
        .with_index(7)
        .with_records(Some(Bytes::from(vec![7; records])));
    let topic =
        TopicProduceData::default().with_name(name("orders")).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
    encoded(&request, PRODUCE.1)
}

fn produced_body() -> Vec<u8> {
    let topic = TopicProduceResponse::default()
        .with_name(name("orders"))
        .with_partition_responses(vec![PartitionProduceResponse::default().with_index(7)]);
    encoded(&ProduceResponse::default().with_responses(vec![topic]), PRODUCE.1)
}

/// Four partitions share the bytes.
fn fetched_body(version: i16, records: usize) -> Vec<u8> {
    let partitions = (0..4).map(|index| {
        PartitionData::default()
            .with_partition_index(index)
            .with_records(Some(Bytes::from(vec![7; records / 4])))
    });
    let mut topic = FetchableTopicResponse::default().with_partitions(partitions.collect());
    if version < FETCH_BY_TOPIC_ID {
        topic.topic = name("orders");
    }
    encoded(&FetchResponse::default().with_responses(vec![topic]), version)
}

fn metadata_body(partitions: i32) -> Vec<u8> {
    let brokers = (1..=3).map(|node| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(node))
            .with_host(StrBytes::from_string(format!("kafka-{node}.upstream.internal")))
            .with_port(9092)
    });
    let partitions = (0..partitions).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(index % 3 + 1))
            .with_leader_epoch(4)
            .with_replica_nodes(vec![BrokerId(1), BrokerId(2), BrokerId(3)])
            .with_isr_nodes(vec![BrokerId(1), BrokerId(2), BrokerId(3)])
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(name("orders")))
        .with_partitions(partitions.collect());
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_static_str("5L6g3nShT-eMCtK--X86sw")))
        .with_topics(vec![topic]);
    encoded(&response, METADATA.1)
}

fn with_length(frame: &[u8]) -> Vec<u8> {
    let mut whole = i32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
    whole.extend_from_slice(frame);
    whole
}

/// A request as it comes from a client called `bench`.
fn request(api: (i16, i16), body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api.0.to_be_bytes());
    frame.extend_from_slice(&api.1.to_be_bytes());
    frame.extend_from_slice(&42_i32.to_be_bytes());
    frame.extend_from_slice(b"\0\x05bench\0");
    frame.extend_from_slice(body);
    with_length(&frame)
}

/// A response behind its length.
fn response(api: (i16, i16), body: &[u8]) -> Vec<u8> {
    let mut frame = 42_i32.to_be_bytes().to_vec();
    if response_is_flexible(api.0, api.1) {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame
}

fn addresses() -> RouteAddresses {
    let ports = PortMap::new(19092, &[0..=9]).unwrap();
    RouteAddresses { host: "gateway.example".into(), ports: Arc::new(ports) }
}

fn walker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk");
    for size in SIZES {
        for (label, direction, api, body) in [
            ("produce request", Direction::Request, PRODUCE, produce_body(size)),
            ("fetch response", Direction::Response, FETCH, fetched_body(FETCH.1, size)),
        ] {
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_with_input(BenchmarkId::new(label, size), &body, |bencher, body| {
                bencher.iter(|| walk::check(direction, api.0, api.1, black_box(body)).unwrap());
            });
        }
    }
}

fn rewriting(criterion: &mut Criterion) {
    let addresses = addresses();
    let other = Offered([(0, (3, 11)), (1, (4, 16)), (3, (0, 12)), (18, (0, 3))].into());
    let elsewhere = [Arc::new(other)];
    let mut group = criterion.benchmark_group("rewrite");
    let mut bench = |label: &str, api: (i16, i16), view, frame: Vec<u8>| {
        let context = Context {
            api_key: api.0,
            api_version: api.1,
            view,
            addresses: &addresses,
            cluster_id: None,
            producer_id_tag: None,
            moved_member: false,
            offered_elsewhere: &elsewhere,
        };
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_with_input(BenchmarkId::new(label, frame.len()), &frame, |bencher, frame| {
            bencher.iter(|| {
                let mut out = Vec::new();
                rewrite(&context, black_box(frame), &mut out).unwrap();
                out
            });
        });
    };
    for partitions in [100, 1000] {
        let label = format!("metadata of {partitions} partitions");
        let frame = response(METADATA, &metadata_body(partitions));
        bench(&label, METADATA, ClientView::Native, frame);
    }
    let keys = Offered::processable(ClientView::Native).0.into_iter().map(|(key, (min, max))| {
        // A broker that is a little newer than the gateway.
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max + 1)
    });
    let offered = ApiVersionsResponse::default().with_api_keys(keys.collect());
    let api = (API_VERSIONS, 3);
    let frame = response(api, &encoded(&offered, api.1));
    bench("api versions merged", api, ClientView::Native, frame);
}

fn setting(view: ClientView) -> Arc<Setting> {
    let target = Target { domain: "a".into(), bootstrap_server_id: "x".into() };
    let gate = Gate::Open;
    let snapshot = Snapshot { revision: 1, target, target_epoch: 1, gate, moved: false };
    Arc::new(Setting {
        route: "bench".into(),
        snapshot: Arc::new(snapshot),
        view,
        addresses: Arc::new(addresses()),
        known_nodes: Arc::new([NodeId(1)]),
        cluster_id: "clusterclusterclusterA".into(),
        producer_id_tag: None,
        offered_here: None,
        offered_elsewhere: Arc::new([]),
        limits: Arc::new(Limits {
            connections_max: 10,
            frame_bytes_max: 100 * MIB,
            first_frame_bytes_max: 2 * MIB,
            rewrite_bytes_max: 16 * MIB,
            in_flight_max: 1024,
            first_request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_mins(1),
            shutdown_drain: Duration::from_secs(10),
        }),
    })
}

/// A session whose upstream is connected.
fn relaying(setting: &Arc<Setting>) -> Session {
    let mut session = Session::new(Duration::ZERO, 19092, Arc::clone(setting));
    let mut first = request(PRODUCE, &produce_body(0));
    let mut ops = Ops::default();
    session.handle_client(Duration::ZERO, &mut first, &mut ops);
    assert!(session.poll_dial());
    session.handle_connected(1, None);
    session
}

/// One request and its response, in chunks of what a read gives, and what is to be done with each.
fn exchange(session: &mut Session, request: &mut [u8], response: &mut [u8], ops: &mut Ops) {
    for chunk in request.chunks_mut(CHUNK_BYTES) {
        let length = chunk.len();
        assert_eq!(session.handle_client(Duration::ZERO, chunk, ops), length);
        black_box(&*ops);
        ops.clear();
    }
    for chunk in response.chunks_mut(CHUNK_BYTES) {
        session.handle_upstream(Duration::ZERO, chunk, ops);
        black_box(&*ops);
        ops.clear();
    }
    assert_eq!((session.in_flight(), session.closed()), (0, None));
}

fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    for (view, view_name) in [(ClientView::Native, "native"), (ClientView::Neutral, "neutral")] {
        let setting = setting(view);
        for size in SIZES {
            let fetch_version = match view {
                ClientView::Native => FETCH.1,
                ClientView::Neutral => FETCH_BY_TOPIC_ID - 1,
            };
            let fetch = (FETCH.0, fetch_version);
            let produced = with_length(&response(PRODUCE, &produced_body()));
            let fetched = with_length(&response(fetch, &fetched_body(fetch_version, size)));
            for (label, request, response) in [
                ("produce", request(PRODUCE, &produce_body(size)), produced),
                ("fetch", request(fetch, &[0; 40]), fetched),
            ] {
                let label = format!("{label}, {view_name}");
                group.throughput(Throughput::Bytes((request.len() + response.len()) as u64));
                group.bench_function(BenchmarkId::new(label, size), |bencher| {
                    let (mut request, mut response) = (request.clone(), response.clone());
                    let mut session = relaying(&setting);
                    let mut ops = Ops::default();
                    bencher.iter(|| {
                        exchange(&mut session, &mut request, &mut response, &mut ops);
                    });
                });
            }
        }
    }
}

criterion_group!(benches, walker, rewriting, session);
criterion_main!(benches);
