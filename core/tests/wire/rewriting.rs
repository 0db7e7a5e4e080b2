//! What clients get to see: no address of upstream, nothing of one cluster in the neutral view, and everything else
//! as it was.

use std::sync::Arc;

use kafka_protocol::messages::ApiKey;
use switchyard::{
    topology::{NodeId, PortMap, RouteAddresses},
    wire::{
        api::{self, ClientView, ResponseHandling},
        api_versions::{self, Offered},
        header::response_is_flexible,
        rewrite::{Context, Neutraliser, ProducerIdTag, Report, rewrite},
        schema::{self, Kind, Mark},
        tree::{self, Fields, Value},
        walk::{Direction, WalkError},
    },
};

use crate::{
    advertised, decode,
    generate::{Random, Shape, UPSTREAM_HOST, UPSTREAM_PORT, body, fields},
};

pub(crate) const TAG: ProducerIdTag = ProducerIdTag(5);

/// A response behind its length: header and body.
pub(crate) fn framed(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = 42_i32.to_be_bytes().to_vec();
    if response_is_flexible(key, version) {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame
}

fn unframed(key: i16, version: i16, frame: &[u8]) -> &[u8] {
    &frame[if response_is_flexible(key, version) { 5 } else { 4 }..]
}

/// The route's clients reach node ids 0–9 as gw:9093–9102.
pub(crate) fn addresses() -> RouteAddresses {
    RouteAddresses { host: "gw".into(), ports: Arc::new(PortMap::new(9092, &[0..=9]).unwrap()) }
}

/// The frame as clients get it, and what was found.
pub(crate) fn rewritten(
    key: i16,
    version: i16,
    view: ClientView,
    frame: &[u8],
) -> Result<(Vec<u8>, Report), WalkError> {
    let addresses = addresses();
    let neutral = view == ClientView::Neutral;
    let context = Context {
        api_key: key,
        api_version: version,
        view,
        addresses: &addresses,
        cluster_id: neutral.then_some("clusterclusterclusterA"),
        producer_id_tag: neutral.then_some(TAG),
        moved_member: true,
        offered_elsewhere: &[],
    };
    let mut out = Vec::new();
    let report = rewrite(&context, frame, &mut out)?;
    if !report.changed {
        assert!(out.is_empty(), "unchanged, and yet something was written");
        return Ok((frame.to_vec(), report));
    }
    let length = i32::from_be_bytes(out[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), out.len() - 4, "the length is wrong");
    Ok((out.split_off(4), report))
}

fn is_rewritten(key: i16, version: i16, view: ClientView) -> bool {
    api::policy(key, version, view).unwrap().response != ResponseHandling::Forward
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// One address that gets through is one client that stays behind at the next switch.
#[test]
fn no_upstream_address_is_left_in_any_response_of_any_version() {
    let mut exposing = 0;
    for view in [ClientView::Native, ClientView::Neutral] {
        for (name, version) in advertised(view) {
            let key = name as i16;
            if !is_rewritten(key, version, view) || name == ApiKey::DescribeConfigs {
                continue;
            }
            let message = &schema::api(key).unwrap().response;
            for seed in 0..30 {
                let shape = Shape { known_nodes: seed % 3 != 0, ..Shape::SMALL };
                let body = body(message, version, shape, &mut Random::new(seed));
                let frame = framed(key, version, &body);
                let (seen, report) = rewritten(key, version, view, &frame)
                    .unwrap_or_else(|e| panic!("{} v{version}: {e}", message.name));
                exposing += usize::from(contains(&frame, UPSTREAM_HOST.as_bytes()));
                assert!(!contains(&seen, UPSTREAM_HOST.as_bytes()), "{} v{version}", message.name);
                for (node, address) in &report.learned {
                    assert!(node.0 >= 0);
                    assert_eq!(address.to_string(), format!("{UPSTREAM_HOST}:{UPSTREAM_PORT}"));
                }
                assert!(report.dropped.iter().all(|node| !(0..=9).contains(&node.0)));
                let body_version = match name {
                    ApiKey::ApiVersions => api_versions::body_version(version, &body),
                    _ => version,
                };
                decode(name, body_version, Direction::Response, unframed(key, version, &seen))
                    .unwrap_or_else(|e| panic!("{} v{version} seed {seed}: {e}", message.name));
            }
        }
    }
    assert!(exposing > 500, "only {exposing} responses had an address");
}

/// Sets every host and port to the gateway's and every leader epoch to −1, the slow way.
fn edit(values: &mut Fields, view: ClientView) {
    let mut node = None;
    for (field, value) in values.iter_mut() {
        match (field.mark, &mut *value) {
            (Mark::NodeId, Value::Int(id)) => node = Some(*id),
            (Mark::Host, value) if node.is_some_and(|id| id >= 0) => {
                *value = Value::Text(Some(b"gw".to_vec()));
            }
            (Mark::Port, value) if node.is_some_and(|id| id >= 0) => {
                *value = Value::Int(9093 + node.unwrap());
            }
            (Mark::LeaderEpoch, value) if view == ClientView::Neutral => *value = Value::Int(-1),
            (Mark::ClusterId, Value::Text(Some(text)))
                if view == ClientView::Neutral && !text.is_empty() =>
            {
                *text = b"clusterclusterclusterA".to_vec();
            }
            (Mark::ProducerId, Value::Int(id))
                if view == ClientView::Neutral && (0..1 << 40).contains(id) =>
            {
                *id |= i64::from(TAG.0) << 40;
            }
            (_, Value::Struct(Some(inner))) => edit(inner, view),
            (_, Value::Array(Some(values))) => {
                for value in values {
                    if let Value::Struct(Some(inner)) = value {
                        edit(inner, view);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Nothing but what has to be is changed: the edited bytes are those of the edited message.
#[test]
fn edited_bytes_are_the_edited_message_encoded() {
    for view in [ClientView::Native, ClientView::Neutral] {
        for (name, version) in advertised(view) {
            let key = name as i16;
            let special = [
                ApiKey::ApiVersions,
                ApiKey::DescribeConfigs,
                ApiKey::DescribeQuorum,
                ApiKey::ConsumerGroupHeartbeat,
            ];
            if !is_rewritten(key, version, view) || special.contains(&name) {
                continue;
            }
            let message = &schema::api(key).unwrap().response;
            for seed in 0..20 {
                let mut values =
                    fields(message.fields, version, Shape::SMALL, &mut Random::new(seed));
                let mut before = Vec::new();
                tree::encode(message, version, &values, &mut before);
                edit(&mut values, view);
                let mut wanted = Vec::new();
                tree::encode(message, version, &values, &mut wanted);
                let (seen, _) =
                    rewritten(key, version, view, &framed(key, version, &before)).unwrap();
                if name == ApiKey::FindCoordinator {
                    // Rows without a node lose their host as well; that has a test of its own.
                    continue;
                }
                assert_eq!(
                    unframed(key, version, &seen),
                    wanted,
                    "{} v{version} seed {seed} {view:?}",
                    message.name
                );
            }
        }
    }
}

fn marked(field: &'static schema::Field, mark: Mark) -> bool {
    field.mark == mark
}

/// A made-up Metadata response with these node ids.
fn metadata_with(version: i16, nodes: &[i64]) -> Vec<u8> {
    let message = &schema::api(3).unwrap().response;
    let brokers = message.fields.iter().find(|field| marked(field, Mark::Brokers)).unwrap();
    let Kind::Array(Kind::Struct(inner)) = &brokers.kind else { unreachable!("an array") };
    let broker = |id: &i64| {
        let shape = Shape { tagged: false, ..Shape::SMALL };
        let mut values = fields(inner, version, shape, &mut Random::new(1));
        for (field, value) in &mut values {
            if marked(field, Mark::NodeId) {
                *value = Value::Int(*id);
            }
        }
        Value::Struct(Some(values))
    };
    let values = vec![(brokers, Value::Array(Some(nodes.iter().map(broker).collect())))];
    let mut body = Vec::new();
    tree::encode(message, version, &values, &mut body);
    body
}

/// One broker outside the ranges must not cost the clients the others.
#[test]
fn broker_outside_the_ranges_is_removed_and_reported() {
    for version in 0..=13 {
        let frame = framed(3, version, &metadata_with(version, &[1, 77, 2, 78]));
        let (seen, report) = rewritten(3, version, ClientView::Native, &frame).unwrap();
        assert_eq!(report.dropped, [NodeId(77), NodeId(78)]);
        assert_eq!(
            report.learned.len(),
            4,
            "addresses are learned whether or not they can be shown"
        );
        let (text, _) =
            decode(ApiKey::Metadata, version, Direction::Response, unframed(3, version, &seen))
                .unwrap();
        assert_eq!(text.matches("MetadataResponseBroker {").count(), 2, "{text}");
        assert!(text.contains("port: 9094") && text.contains("port: 9095"), "{text}");
    }
}

/// The first FindCoordinator row of a made-up response.
fn coordinator(version: i16, node: i64) -> String {
    let mut bytes = Vec::new();
    let string = |text: &str, out: &mut Vec<u8>| {
        if version >= 3 {
            out.push(u8::try_from(text.len() + 1).unwrap());
        } else {
            out.extend_from_slice(&i16::try_from(text.len()).unwrap().to_be_bytes());
        }
        out.extend_from_slice(text.as_bytes());
    };
    if version >= 1 {
        bytes.extend_from_slice(&0_i32.to_be_bytes()); // throttle
    }
    if version >= 4 {
        bytes.push(2); // one coordinator
        string("group", &mut bytes);
    } else {
        bytes.extend_from_slice(&0_i16.to_be_bytes());
        if version >= 1 {
            string("", &mut bytes);
        }
    }
    bytes.extend_from_slice(&i32::try_from(node).unwrap().to_be_bytes());
    string(if node < 0 { "" } else { UPSTREAM_HOST }, &mut bytes);
    bytes.extend_from_slice(&(if node < 0 { -1 } else { i32::from(UPSTREAM_PORT) }).to_be_bytes());
    if version >= 4 {
        bytes.extend_from_slice(&0_i16.to_be_bytes());
        string("", &mut bytes);
        bytes.extend_from_slice(&[0, 0]);
    } else if version >= 3 {
        bytes.push(0);
    }
    let (seen, _) =
        rewritten(10, version, ClientView::Native, &framed(10, version, &bytes)).unwrap();
    decode(ApiKey::FindCoordinator, version, Direction::Response, unframed(10, version, &seen))
        .unwrap()
        .0
}

/// A coordinator that clients cannot reach is one that is not available: they ask again.
#[test]
fn coordinator_outside_the_ranges_is_not_available() {
    for version in 0..=6 {
        let text = coordinator(version, 77);
        assert!(text.contains("error_code: 15") && text.contains("port: -1"), "v{version}: {text}");
        assert!(text.contains("node_id: -1") && text.contains("host: \"\""), "v{version}: {text}");
        let text = coordinator(version, 3);
        assert!(text.contains("host: \"gw\"") && text.contains("port: 9096"), "v{version}: {text}");
        assert!(text.contains("error_code: 0"), "v{version}: {text}");
        let text = coordinator(version, -1);
        assert!(
            text.contains("host: \"\"") && text.contains("error_code: 0"),
            "v{version}: {text}"
        );
    }
}

/// Values that name addresses must not be read from a broker's configuration.
#[test]
fn listeners_in_a_brokers_configuration_are_hidden() {
    let message = &schema::api(32).unwrap().response;
    for version in 1..=4 {
        let mut values = fields(
            message.fields,
            version,
            Shape { elements: 1, ..Shape::SMALL },
            &mut Random::new(2),
        );
        values.retain(|(field, _)| field.name != "Results");
        let results = message.fields.iter().find(|field| field.name == "Results").unwrap();
        let Kind::Array(Kind::Struct(result)) = &results.kind else { unreachable!("an array") };
        let field = |name: &str| result.iter().find(|field| field.name == name).unwrap();
        let configs = field("Configs");
        let Kind::Array(Kind::Struct(config)) = &configs.kind else { unreachable!("an array") };
        let of = |name: &str| config.iter().find(|field| field.name == name).unwrap();
        let row = |name: &str, value: &str| {
            Value::Struct(Some(vec![
                (of("Name"), Value::Text(Some(name.into()))),
                (of("Value"), Value::Text(Some(value.into()))),
            ]))
        };
        let rows = vec![row("advertised.listeners", UPSTREAM_HOST), row("num.io.threads", "8")];
        let result = Value::Struct(Some(vec![
            (field("ResourceType"), Value::Int(4)),
            (configs, Value::Array(Some(rows))),
        ]));
        values.push((results, Value::Array(Some(vec![result]))));
        let mut body = Vec::new();
        tree::encode(message, version, &values, &mut body);
        let (seen, _) =
            rewritten(32, version, ClientView::Native, &framed(32, version, &body)).unwrap();
        assert!(!contains(&seen, UPSTREAM_HOST.as_bytes()), "v{version}");
        let (text, _) = decode(
            ApiKey::DescribeConfigs,
            version,
            Direction::Response,
            unframed(32, version, &seen),
        )
        .unwrap();
        assert!(text.contains("advertised.listeners") && text.contains("\"8\""), "{text}");
    }
}

/// What the gateway cannot process must not be offered to clients, whatever the broker can.
#[test]
fn api_versions_are_those_of_broker_and_gateway() {
    let offered = Offered(
        [(0, (0, 99)), (3, (0, 7)), (4, (0, 3)), (18, (0, 5)), (68, (0, 1)), (999, (0, 1))].into(),
    );
    for version in 0..=4 {
        let frame = api_versions::answer(version, 42, &offered).split_off(4);
        let seen_by = |view| {
            let (seen, report) = rewritten(18, version, view, &frame).unwrap();
            assert_eq!(report.offered.as_ref(), Some(&offered));
            Offered::from_response(version, &seen).unwrap().0
        };
        let native = seen_by(ClientView::Native);
        assert_eq!(native, [(0, (0, 13)), (3, (0, 7)), (18, (0, 4)), (68, (0, 1))].into());
        assert_eq!(seen_by(ClientView::Neutral), [(0, (0, 12)), (3, (0, 7)), (18, (0, 4))].into());
    }
}

/// A broker that does not know the version asked for answers in v0; so it must stay.
#[test]
fn error_answer_of_an_older_broker_stays_in_version_0() {
    let frame = api_versions::too_new_answer(42).split_off(4);
    let (seen, _) = rewritten(18, 3, ClientView::Native, &frame).unwrap();
    let (text, _) = decode(ApiKey::ApiVersions, 0, Direction::Response, &seen[4..]).unwrap();
    assert!(text.contains("error_code: 35"), "{text}");
}

/// GROUP_ID_NOT_FOUND ends a KIP-848 consumer; UNKNOWN_MEMBER_ID makes it join again.
#[test]
fn moved_member_is_unknown_and_not_its_group() {
    let body = [0, 0, 0, 0, 0, 69, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0];
    let (seen, _) = rewritten(68, 0, ClientView::Native, &framed(68, 0, &body)).unwrap();
    let (text, _) =
        decode(ApiKey::ConsumerGroupHeartbeat, 0, Direction::Response, unframed(68, 0, &seen))
            .unwrap();
    assert!(text.contains("error_code: 25"), "{text}");
}

/// Large responses stream: their addresses go without a byte more or less, wherever the chunks end.
#[test]
fn neutralised_responses_decode_without_endpoints_in_any_split() {
    let mut with_endpoints = 0;
    for (key, versions) in [(0, 10..=13), (1, 16..=18)] {
        let message = &schema::api(key).unwrap().response;
        for version in versions {
            for seed in 0..60 {
                let mut random = Random::new(seed);
                let body = body(message, version, Shape::SMALL, &mut random);
                let frame = framed(key, version, &body);
                let stream = |size: usize| {
                    let mut bytes = frame.clone();
                    let mut neutraliser = Neutraliser::new(key, version, frame.len()).unwrap();
                    for chunk in bytes.chunks_mut(size) {
                        neutraliser.feed(chunk).unwrap();
                    }
                    neutraliser.finish().unwrap();
                    bytes
                };
                let whole = stream(frame.len());
                for size in [1, 2, 3, 7, 1 + random.below(frame.len())] {
                    assert_eq!(
                        stream(size),
                        whole,
                        "{} v{version} seed {seed} in {size}s",
                        message.name
                    );
                }
                with_endpoints += usize::from(contains(&frame, UPSTREAM_HOST.as_bytes()));
                assert!(
                    !contains(&whole, UPSTREAM_HOST.as_bytes()),
                    "{} v{version} seed {seed}",
                    message.name
                );
                let name = ApiKey::try_from(key).unwrap();
                let (text, _) =
                    decode(name, version, Direction::Response, unframed(key, version, &whole))
                        .unwrap();
                assert!(text.contains("node_endpoints: []"), "{text}");
                let (original, _) = decode(name, version, Direction::Response, &body).unwrap();
                let until = |text: &str| text.split("node_endpoints").next().unwrap().to_owned();
                assert_eq!(until(&text), until(&original), "something else was changed");
            }
        }
    }
    assert!(with_endpoints > 50, "only {with_endpoints} responses had endpoints");
}
