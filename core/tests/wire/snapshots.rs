//! Every rewritten API and version before and after, for reviewers.

use std::fmt::Write as _;

use switchyard::wire::{
    api::{self, ClientView, ResponseHandling},
    schema,
    tree::{self, Builder, Value},
    walk::{Direction, Walker},
};

use crate::{
    advertised,
    generate::{Random, Shape, body},
    rewriting::{framed, rewritten},
};

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

/// A seed under which the message has something to rewrite, if there is one.
fn telling(key: i16, version: i16, view: ClientView) -> (Vec<u8>, Vec<u8>) {
    let message = &schema::api(key).unwrap().response;
    let shape = Shape { elements: 1, text: 22, known_nodes: true, tagged: true };
    let frame = |seed| framed(key, version, &body(message, version, shape, &mut Random::new(seed)));
    let size_of_change = |seed: &u64| {
        let frame = frame(*seed);
        let Ok((seen, report)) = rewritten(key, version, view, &frame) else { return 0 };
        let differs = seen.iter().zip(&frame).filter(|(a, b)| a != b).count();
        if report.changed { 1000 + differs + 500 * report.learned.len() } else { 0 }
    };
    let seed = (0..60).rev().max_by_key(size_of_change).unwrap();
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
