//! Every rewritten API and version before and after, for reviewers.

use std::fmt::Write as _;

use switchyard::wire::{
    api::{self, ClientView, ResponseHandling},
    api_versions::API_VERSIONS,
    schema::{self, Mark},
    tree::{self, Builder, Fields, Value},
    walk::{Direction, Walker},
};

use crate::{
    advertised,
    generate::{Random, Shape, UPSTREAM_HOST, body, fields},
    rewriting::{framed, rewritten},
};

/// KIP-848: the answer to a member of a group that was joined elsewhere.
const HEARTBEAT: i16 = 68;
const GROUP_ID_NOT_FOUND: i64 = 69;

/// Type of a DescribeConfigs resource.
const BROKER: i64 = 4;

/// A response of at most one element an array, its header taken off, as YAML.
fn yaml(key: i16, version: i16, frame: &[u8]) -> String {
    let header = framed(key, version, &[]).len();
    let body = &frame[header..];
    let mut walker = Walker::body(Direction::Response, key, version, body.len()).unwrap();
    let mut builder = Builder::new(1 << 20);
    walker.feed(body, &mut builder).unwrap();
    walker.finish().unwrap();
    let mut text = String::new();
    for (field, value) in builder.finish() {
        show(field.name, &value, 0, &mut text);
    }
    text
}

fn show(name: &str, value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Int(value) => writeln!(text, "{indent}{name}: {value}").unwrap(),
        Value::Uuid(value) => writeln!(text, "{indent}{name}: {value:032x}").unwrap(),
        Value::Text(None) | Value::Array(None) | Value::Struct(None) => {
            writeln!(text, "{indent}{name}: null").unwrap();
        }
        Value::Text(Some(value)) => {
            writeln!(text, "{indent}{name}: {:?}", String::from_utf8_lossy(value)).unwrap();
        }
        Value::Array(Some(values)) if values.is_empty() => {
            writeln!(text, "{indent}{name}: []").unwrap();
        }
        Value::Array(Some(values)) => {
            writeln!(text, "{indent}{name}:").unwrap();
            for value in values {
                show("-", value, depth + 1, text);
            }
        }
        Value::Struct(Some(fields)) => {
            writeln!(text, "{indent}{name}:").unwrap();
            for (field, value) in fields {
                show(field.name, value, depth + 1, text);
            }
        }
    }
}

/// Gives every field that may be rewritten a value for which it is.
fn make_telling(key: i16, values: &mut Fields, offers: &mut impl Iterator<Item = (i64, i64)>) {
    let offer = match values.first() {
        Some((field, _)) if field.mark == Mark::ApiKey => offers.next(),
        _ => None,
    };
    for (field, value) in values {
        match (field.mark, &mut *value) {
            (Mark::LeaderEpoch, Value::Int(epoch)) => *epoch = 6,
            (Mark::ProducerId, Value::Int(id)) => *id = 4001,
            (Mark::ClusterId, Value::Text(Some(id))) => *id = b"idOfTheClusterUpstream".to_vec(),
            (Mark::ResourceType, Value::Int(kind)) => *kind = BROKER,
            (Mark::ConfigName, Value::Text(Some(name))) => *name = b"listeners".to_vec(),
            (Mark::ConfigValue, config) => *config = Value::Text(Some(UPSTREAM_HOST.into())),
            (Mark::ErrorCode, Value::Int(code)) if key == HEARTBEAT => *code = GROUP_ID_NOT_FOUND,
            (Mark::ApiKey, Value::Int(api)) => *api = offer.map_or(0, |(api, _)| api),
            (Mark::MinVersion, Value::Int(min)) => *min = 0,
            (Mark::MaxVersion, Value::Int(max)) => *max = offer.map_or(0, |(_, max)| max),
            (_, Value::Struct(Some(inner))) => make_telling(key, inner, offers),
            (_, Value::Array(Some(values))) => {
                for value in values {
                    if let Value::Struct(Some(inner)) = value {
                        make_telling(key, inner, offers);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The message under the seed that has the most fields to rewrite.
fn telling(key: i16, version: i16, view: ClientView) -> (Vec<u8>, Vec<u8>) {
    let message = &schema::api(key).unwrap().response;
    let elements = if key == API_VERSIONS { 3 } else { 1 };
    let shape = Shape { elements, text: 22, known_nodes: true, tagged: true };
    let frame = |seed| {
        let mut values = fields(message.fields, version, shape, &mut Random::new(seed));
        // One that is cut back, one between brokers, one as it is.
        make_telling(key, &mut values, &mut [(3, 99), (4, 7), (11, 5)].into_iter().cycle());
        let mut body = Vec::new();
        tree::encode(message, version, &values, &mut body);
        framed(key, version, &body)
    };
    let fields_changed = |seed: &u64| {
        let before = frame(*seed);
        let after = rewritten(key, version, view, &before).unwrap().0;
        let (before, after) = (yaml(key, version, &before), yaml(key, version, &after));
        let differ = before.lines().zip(after.lines()).filter(|(before, after)| before != after);
        differ.count() + before.lines().count().abs_diff(after.lines().count())
    };
    let seed = (0..60).rev().max_by_key(fields_changed).unwrap();
    assert_ne!(fields_changed(&seed), 0, "{} v{version}: nothing to show", message.name);
    let before = frame(seed);
    let after = rewritten(key, version, view, &before).unwrap().0;
    (before, after)
}

#[test]
fn every_rewritten_response_before_and_after() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/wire"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    for view in [ClientView::Native, ClientView::Neutral] {
        for (name, version) in advertised(view) {
            let key = name as i16;
            if api::policy(key, version, view).unwrap().response == ResponseHandling::Forward {
                continue;
            }
            let (before, after) = telling(key, version, view);
            let label = if view == ClientView::Native { "native" } else { "neutral" };
            let text = format!(
                "before:\n{}after:\n{}",
                indented(&yaml(key, version, &before)),
                indented(&yaml(key, version, &after))
            );
            insta::assert_snapshot!(
                format!("{}_v{version:02}_{label}", api::name(key).unwrap()),
                text
            );
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}

/// The tree that snapshots are written from is the message: encoded again it gives the same bytes.
#[test]
fn trees_encode_to_the_bytes_they_were_read_from() {
    let message = &schema::api(3).unwrap().response;
    for version in 0..=13 {
        let body = body(message, version, Shape::SMALL, &mut Random::new(9));
        let mut walker = Walker::body(Direction::Response, 3, version, body.len()).unwrap();
        let mut builder = Builder::new(1 << 20);
        walker.feed(&body, &mut builder).unwrap();
        walker.finish().unwrap();
        let mut again = Vec::new();
        tree::encode(message, version, &builder.finish(), &mut again);
        assert_eq!(again, body, "v{version}");
    }
}
