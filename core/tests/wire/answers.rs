//! Error answers: every advertised API and version can say no in its own shape.

use std::sync::Arc;

use kafka_protocol::messages::ApiKey;
use switchyard::{
    topology::{NodeId, PortMap, RouteAddresses},
    wire::{
        answer::{Brokers, ErrorAnswer},
        api::ClientView,
        header::response_is_flexible,
        schema,
        walk::Direction,
    },
};

use crate::{
    advertised, decode,
    generate::{Random, Shape, body},
};

const BROKER_NOT_AVAILABLE: i16 = 8;

fn answer(key: ApiKey, version: i16, request: &[u8], split: usize) -> Option<Vec<u8>> {
    let addresses = RouteAddresses {
        host: "gw".into(),
        ports: Arc::new(PortMap::new(9092, &[0..=9]).unwrap()),
    };
    let brokers = Brokers { nodes: &[NodeId(1), NodeId(2)], addresses: &addresses };
    let error = (BROKER_NOT_AVAILABLE, Some("fenced"));
    let mut answer =
        ErrorAnswer::new(key as i16, version, 77, request.len(), error, &brokers).unwrap();
    for piece in request.chunks(split) {
        answer.feed(piece).unwrap();
    }
    answer.finish().unwrap()
}

/// The response's body, its frame and header checked and taken off.
fn unframe(key: ApiKey, version: i16, framed: &[u8]) -> &[u8] {
    let length = i32::from_be_bytes(framed[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), framed.len() - 4);
    assert_eq!(framed[4..8], 77_i32.to_be_bytes());
    if response_is_flexible(key as i16, version) {
        assert_eq!(framed[8], 0);
        &framed[9..]
    } else {
        &framed[8..]
    }
}

/// A client that cannot read the answer of a fence takes the fence for a broken cluster.
#[test]
fn every_advertised_request_gets_an_error_that_its_client_can_read() {
    let mut without_error = Vec::new();
    for (key, version) in advertised(ClientView::Native) {
        let api = schema::api(key as i16).unwrap();
        let mut says_error = false;
        for seed in 0..24 {
            let request = body(&api.request, version, Shape::SMALL, &mut Random::new(seed));
            let Some(framed) = answer(key, version, &request, 1 + seed as usize) else {
                assert_eq!(key, ApiKey::Produce);
                continue;
            };
            assert_eq!(
                Some(&framed),
                answer(key, version, &request, usize::MAX).as_ref(),
                "split changes the answer"
            );
            let body = unframe(key, version, &framed);
            let (text, _) = decode(key, version, Direction::Response, body)
                .unwrap_or_else(|e| panic!("{} v{version}: {e}\n{body:02x?}", api.name));
            says_error |= text.contains("error_code: 8");
        }
        if !says_error {
            without_error.push(format!("{} v{version}", api.name));
        }
    }
    // These say it per element of a map that the request does not give, or have no place for it at all.
    let known = ["DescribeLogDirs v1", "DescribeLogDirs v2"];
    without_error.retain(|name| !known.contains(&name.as_str()));
    assert_eq!(without_error, Vec::<String>::new());
}

/// An answer that nobody waits for would be taken for the answer to the next request.
#[test]
fn produce_without_acks_gets_no_answer() {
    let api = schema::api(0).unwrap();
    let request = [0xff, 0xff, 0, 0, 0, 0, 0x75, 0x30, 0, 0, 0, 0]; // v3: null, acks 0, 30 s, no topics
    assert!(api.request.versions.contains(3));
    assert_eq!(answer(ApiKey::Produce, 3, &request, 3), None);
}

/// Clients ask the brokers that a Metadata response names; without any they are stranded.
#[test]
fn metadata_error_names_the_brokers_of_the_route() {
    let request = [0, 0, 0, 1, 0, 1, b't']; // v1: topic "t"
    let framed = answer(ApiKey::Metadata, 1, &request, 2).unwrap();
    let body = unframe(ApiKey::Metadata, 1, &framed);
    let (text, _) = decode(ApiKey::Metadata, 1, Direction::Response, body).unwrap();
    assert!(text.contains("host: \"gw\", port: 9094"), "{text}");
    assert!(text.contains("error_code: 8"), "{text}");
}
