//! Ways in which a scenario may become smaller: each gives documents that are smaller by one change.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard::config::duration;

/// In the order in which they are tried: first what makes every later run cheaper.
pub(super) const PASSES: &[fn(&Value) -> Vec<Value>] =
    &[without_sections, without_items, fewer, without_settings, shorter];

/// Lists whose items may go.
const LISTS: &[&str] = &["consumers", "producers", "topics", "links"];
/// Keys at the top that may go.
const SECTIONS: &[&str] = &["consumers", "mirror", "links", "instances", "validation"];
/// Counts and their smallest values, by key.
const COUNTS: &[&str] =
    &["count", "brokers", "partitions", "rate", "instances", "times", "record-bytes"];
/// Keys whose values are times.
const TIMES: &[&str] = &["duration", "recovery", "at", "after", "for", "down", "drain", "start"];

fn without_sections(document: &Value) -> Vec<Value> {
    let there = SECTIONS.iter().filter(|key| document.get(**key).is_some());
    there.map(|key| without(document, key)).collect()
}

fn without(document: &Value, key: &str) -> Value {
    let mut smaller = document.clone();
    if let Some(keys) = smaller.as_object_mut() {
        keys.remove(key);
    }
    smaller
}

fn without_items(document: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for key in LISTS {
        let count = document[*key].as_array().map_or(0, Vec::len);
        for index in 0..count {
            let mut smaller = document.clone();
            if let Some(items) = smaller[*key].as_array_mut() {
                items.remove(index);
            }
            all.push(smaller);
        }
    }
    all
}

/// Numbers of clients, brokers, partitions and the like: 1, else half of it.
fn fewer(document: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for pointer in pointers(document) {
        let key = last_key(&pointer);
        let Some(count) = document.pointer(&pointer).and_then(Value::as_u64) else { continue };
        let min = if key == "record-bytes" { 32 } else { 1 };
        if !COUNTS.contains(&key) || count <= min {
            continue;
        }
        let mut smaller = vec![min, count / 2, count - 1];
        smaller.retain(|it| (min..count).contains(it));
        smaller.dedup();
        all.extend(smaller.into_iter().map(|it| with(document, &pointer, json!(it))));
    }
    // What is not written has a default that is more than one.
    for (list, key) in [("clusters", "brokers"), ("topics", "partitions")] {
        for pointer in pointers(document)
            .into_iter()
            .filter(|it| it.starts_with(&format!("/{list}/")) && it.matches('/').count() == 2)
        {
            let section = document.pointer(&pointer);
            if section.is_some_and(|it| it.is_object() && it.get(key).is_none()) {
                all.push(with_key(document, &pointer, key, json!(1)));
            }
        }
    }
    all
}

/// Settings of clusters, topics and clients.
fn without_settings(document: &Value) -> Vec<Value> {
    let within = pointers(document).into_iter().filter(|pointer| {
        pointer.rsplit_once('/').is_some_and(|(outer, _)| last_key(outer) == "settings")
            && !pointer.starts_with("/gateway")
    });
    let remove = |pointer: String| {
        let (outer, key) = pointer.rsplit_once('/')?;
        let mut smaller = document.clone();
        let key = key.replace("~1", "/").replace("~0", "~");
        smaller.pointer_mut(outer)?.as_object_mut()?.remove(&key)?;
        Some(smaller)
    };
    within.filter_map(remove).collect()
}

/// Times: half of it, rounded to what a person would write.
fn shorter(document: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for pointer in pointers(document) {
        if !TIMES.contains(&last_key(&pointer)) || pointer.starts_with("/gateway") {
            continue;
        }
        let written = document.pointer(&pointer).and_then(Value::as_str);
        let Some(time) = written.and_then(|text| duration::parse(text).ok()) else { continue };
        let rounded = Duration::from_secs(time.as_secs());
        let mut smaller = vec![half(time)];
        if rounded != time {
            smaller.push(rounded);
        }
        // The last second matters where a timeout lies.
        if time > Duration::from_secs(1) {
            smaller.push(rounded.saturating_sub(Duration::from_secs(1)));
        }
        smaller.retain(|it| *it < time && (!it.is_zero() || last_key(&pointer) != "duration"));
        smaller.dedup();
        all.extend(
            smaller.into_iter().map(|it| with(document, &pointer, json!(duration::render(it)))),
        );
    }
    all
}

fn half(time: Duration) -> Duration {
    let half = time / 2;
    if half >= Duration::from_secs(1) {
        Duration::from_secs(half.as_secs())
    } else if half >= Duration::from_millis(10) {
        Duration::from_millis(u64::try_from(half.as_millis()).unwrap_or(0))
    } else {
        Duration::ZERO
    }
}

fn with(document: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = document.clone();
    if let Some(place) = changed.pointer_mut(pointer) {
        *place = value;
    }
    changed
}

fn with_key(document: &Value, pointer: &str, key: &str, value: Value) -> Value {
    let mut changed = document.clone();
    if let Some(section) = changed.pointer_mut(pointer).and_then(Value::as_object_mut) {
        section.insert(key.to_owned(), value);
    }
    changed
}

fn last_key(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or(pointer, |(_, key)| key)
}

/// JSON pointers of all values below the root, in the order in which they are written.
fn pointers(document: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, all: &mut Vec<String>) {
        let mut each = |key: &str, value: &Value| {
            let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            all.push(pointer.clone());
            walk(value, &pointer, all);
        };
        match value {
            Value::Object(keys) => keys.iter().for_each(|(key, value)| each(key, value)),
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    each(&index.to_string(), value);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    walk(document, "", &mut all);
    all
}
