//! Requests made up from the schemas: whatever a client sends, it gets an answer that decodes, or is closed.

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::messages::{ApiKey, ResponseKind};
use proptest::prelude::{any, prop, proptest};
use switchyard::wire::{
    schema::{self, Field, Kind},
    tree::{self, Fields, Value},
};

use super::{
    super::super::{Cluster, versions},
    story::{Heard, Story},
};

/// The APIs of this family.
const KEYS: &[ApiKey] = &[
    ApiKey::Metadata,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeCluster,
    ApiKey::DescribeTopicPartitions,
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "a.b",
    "a_b",
    "b",
    "orders",
    "..",
    "ü",
    "__consumer_offsets",
    "__cluster_metadata",
    "1",
    "2",
    "-7",
    "retention.ms",
    "cleanup.policy",
    "min.insync.replicas",
    "message.max.bytes",
    "num.partitions",
    "compact",
    "delete,compact",
    "true",
    "5000",
    "99999999999999999999",
    "consumer.session.timeout.ms",
    "unclean.leader.election.enable",
];

const NUMBERS: &[i64] =
    &[0, 1, 2, 3, 4, 8, 16, 32, -1, -2, 100, 9999, 10_000, i64::MAX, i64::MIN, 0x7fff_ffff, 0x7fff];

fn fields(random: &mut Rng, known: &[u128], of: &'static [Field], version: i16) -> Fields {
    let plain = of.iter().filter(|field| field.is_plain(version));
    plain
        .map(|field| {
            let null = field.nullable.contains(version) && random.u8(..4) == 0;
            (field, value(random, known, &field.kind, version, null))
        })
        .collect()
}

fn value(random: &mut Rng, known: &[u128], kind: &'static Kind, version: i16, null: bool) -> Value {
    match kind {
        Kind::Bool => Value::Int(i64::from(random.bool())),
        Kind::Int8
        | Kind::Int16
        | Kind::Uint16
        | Kind::Int32
        | Kind::Uint32
        | Kind::Int64
        | Kind::Float64 => {
            let bits = match kind {
                Kind::Int8 => 8,
                Kind::Int16 | Kind::Uint16 => 16,
                Kind::Int32 | Kind::Uint32 => 32,
                _ => 64,
            };
            let number = NUMBERS[random.usize(..NUMBERS.len())];
            Value::Int(number << (64 - bits) >> (64 - bits))
        }
        Kind::Uuid => Value::Uuid(*random.choice(known).unwrap_or(&0)),
        Kind::String | Kind::Bytes | Kind::Records => {
            let text = TEXTS[random.usize(..TEXTS.len())];
            Value::Text((!null).then(|| text.as_bytes().to_vec()))
        }
        Kind::Struct(_) if null => Value::Struct(None),
        Kind::Struct(of) => Value::Struct(Some(fields(random, known, of, version))),
        Kind::Array(_) if null => Value::Array(None),
        Kind::Array(element) => {
            let count = random.usize(..4);
            let each = (0..count).map(|_| value(random, known, element, version, false));
            Value::Array(Some(each.collect()))
        }
    }
}

/// Asks once, and checks what comes.
fn ask_at_random(story: &mut Story, random: &mut Rng, key: ApiKey, version: i16) -> Bytes {
    let known: Vec<u128> = [0, 7]
        .into_iter()
        .chain(story.cluster.topics.iter().map(|(_, topic)| topic.id.as_u128()))
        .collect();
    let api = schema::api(key as i16).expect("the gateway knows every API that is served");
    let mut body = Vec::new();
    let request = fields(random, &known, api.request.fields, version);
    tree::encode(&api.request, version, &request, &mut body);
    let connection = story.connect(1).expect("the broker runs");
    let header_version = key.request_header_version(version);
    story.send_body(connection, key as i16, version, header_version, &body);
    let frame = match story.hear(connection) {
        Heard::Frame(frame) => {
            let header = usize::from(u8::from(key.response_header_version(version) >= 1));
            let mut answer: Bytes = frame.slice(8 + header..);
            ResponseKind::decode(key, &mut answer, version).expect("the answer decodes");
            assert!(answer.is_empty(), "{key:?} v{version}: nothing behind the answer");
            frame
        }
        Heard::Closed(cause) => panic!("{key:?} v{version} was closed: {cause:?}"),
        Heard::Nothing => panic!("{key:?} v{version} got no answer"),
    };
    story.cluster.close(connection);
    check(&story.cluster);
    frame
}

fn check(cluster: &Cluster) {
    for (_, topic) in cluster.topics.iter() {
        assert!(!topic.partitions.is_empty());
        for partition in &topic.partitions {
            assert!(partition.isr.iter().all(|id| partition.replicas.contains(id)));
        }
    }
}

/// Asks all of this, and gives back every answer.
fn converse(seed: u64, asked: &[(usize, u16)]) -> Vec<Bytes> {
    let mut random = Rng::with_seed(seed);
    let mut story = Story::new();
    let answers = asked.iter().map(|(key, version)| {
        let key = KEYS[*key];
        let served: Vec<i16> = (0..20)
            .filter(|version| versions::is_served(story.cluster.profile, key, *version))
            .collect();
        let version = served[usize::from(*version) % served.len()];
        ask_at_random(&mut story, &mut random, key, version)
    });
    answers.collect()
}

proptest! {
    #[test]
    fn any_administrative_request_gets_an_answer_that_decodes_and_always_the_same(
        seed: u64,
        asked in prop::collection::vec((0..KEYS.len(), any::<u16>()), 1..40),
    ) {
        assert_eq!(converse(seed, &asked), converse(seed, &asked));
    }
}
