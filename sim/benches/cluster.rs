//! How many small requests a second the cluster answers as a pure state machine: a rehearsal's speed hangs on it.

use std::hint::black_box;

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
        RequestHeader, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Encodable, Request, StrBytes},
};
use switchyard_sim::cluster::{Cluster, ClusterSpec, ConnectionId, Output, Time};

const BATCH_BYTES_FEW: usize = 100;
const BATCH_BYTES_MANY: usize = 64 << 10;

/// A batch of one record with a value of so many bytes, from no idempotent producer.
fn batch(value_bytes: usize) -> Bytes {
    let mut record = BytesMut::new();
    record.put_slice(&[0, 0, 0, 1]);
    put_varint(&mut record, value_bytes);
    record.put_bytes(b'x', value_bytes);
    record.put_u8(0);
    let mut bytes = BytesMut::zeroed(61);
    put_varint(&mut bytes, record.len());
    bytes.put_slice(&record);
    let length = i32::try_from(bytes.len() - 12).expect("small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

fn put_varint(bytes: &mut BytesMut, number: usize) {
    let mut bits = number << 1;
    while bits >= 0x80 {
        bytes.put_u8(u8::try_from(bits & 0x7f).expect("seven bits") | 0x80);
        bits >>= 7;
    }
    bytes.put_u8(u8::try_from(bits).expect("seven bits"));
}

fn frame<Q: Request>(version: i16, request: &Q) -> Bytes {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("bench")))
        .encode(&mut frame, Q::header_version(version))
        .expect("header");
    request.encode(&mut frame, version).expect("request");
    frame.freeze()
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

fn produce(value_bytes: usize) -> Bytes {
    let partition = PartitionProduceData::default().with_records(Some(batch(value_bytes)));
    let topic = TopicProduceData::default().with_name(topic()).with_partition_data(vec![partition]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    frame(12, &request)
}

fn fetch(offset: i64) -> Bytes {
    let partition =
        FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    frame(12, &request)
}

fn list_offsets() -> Bytes {
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    frame(9, &ListOffsetsRequest::default().with_topics(vec![topic]))
}

fn metadata() -> Bytes {
    let topic = MetadataRequestTopic::default().with_name(Some(topic()));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    frame(12, &request)
}

/// A cluster with one topic, and a connection to its leader.
fn cluster() -> (Cluster, ConnectionId) {
    let mut cluster = Cluster::new(ClusterSpec::new("bench", 1, "localhost", [9092]));
    let connection = cluster.open(1, "127.0.0.1").expect("broker 1 runs");
    answer(&mut cluster, connection, &metadata(), 0);
    (cluster, connection)
}

fn answer(cluster: &mut Cluster, connection: ConnectionId, frame: &Bytes, at_ms: u64) -> Bytes {
    cluster.handle_frame(Time::from_ms(at_ms), connection, frame.clone());
    match cluster.poll_output() {
        Some(Output::Send { frame, .. }) => frame,
        other => panic!("no answer but {other:?}"),
    }
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("requests");
    group.throughput(Throughput::Elements(1));
    let frames = [
        ("produce 1 record", produce(BATCH_BYTES_FEW)),
        ("metadata of 1 topic", metadata()),
        ("fetch at the end", fetch(0)),
        ("list offsets", list_offsets()),
        ("api versions", frame(3, &ApiVersionsRequest::default())),
    ];
    for (name, frame) in frames {
        let (mut cluster, connection) = cluster();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(answer(&mut cluster, connection, &frame, 1000)));
        });
    }
    group.finish();
}

fn throughput(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bytes");
    let bytes = u64::try_from(BATCH_BYTES_MANY).expect("fits");
    let (mut writer, connection) = cluster();
    let frame = produce(BATCH_BYTES_MANY);
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("produce a batch of 64 KiB", |bencher| {
        bencher.iter(|| black_box(answer(&mut writer, connection, &frame, 1000)));
    });
    let (mut reader, connection) = cluster();
    for _ in 0..32 {
        answer(&mut reader, connection, &frame, 1000);
    }
    let frame = fetch(0);
    group.throughput(Throughput::Bytes(15 * bytes));
    group.bench_function("fetch 15 batches of 64 KiB", |bencher| {
        bencher.iter(|| black_box(answer(&mut reader, connection, &frame, 1000)));
    });
    group.finish();
}

criterion_group!(benches, requests, throughput);
criterion_main!(benches);
