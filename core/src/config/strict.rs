//! Strict YAML files for other crates: the mechanism by which the gateway reads its own.
//!
//! A file's keys are the fields of a type; the JSON Schema that editors get is derived from that type, and files are
//! checked against that schema. All faults are found in one go, each with its place and a remedy.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use super::findings::{ConfigError, Fault, Findings, Notice, Path, Position, quoted};
use super::{document, shape};

/// The JSON Schema (2020-12) of files of this type.
pub fn json_schema<T: JsonSchema>(title: &str) -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let file = generator.subschema_for::<T>();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$ref": file.as_value()["$ref"],
        "$defs": definitions,
    })
}

/// Reads a file as far as it is right: what is at fault is reported and left out, so every field of `T` and of what
/// it holds has to be optional for serde. `set` puts values in place of those of the file, by path. `None`: nothing could
/// be read.
pub fn read<T: JsonSchema + DeserializeOwned>(
    text: &[u8],
    set: &[(String, Value)],
    findings: &mut Findings,
) -> Option<T> {
    let root = Path::root();
    let Ok(text) = std::str::from_utf8(text) else {
        findings.fault(&root, "is not UTF-8 text", "save it as UTF-8");
        return None;
    };
    let (mut value, positions) = document::parse(text, "split it", findings)?;
    findings.locate_by(positions);
    if !value.is_object() {
        let problem = if value.is_null() { "is empty" } else { "is not a set of keys and values" };
        findings.fault(&root, problem, "write keys and values");
        return None;
    }
    for (path, new) in set {
        if !put(&mut value, path, new.clone()) {
            let problem = format!("{} leads to no value", quoted(path));
            let remedy = "write a path such as `timeline[0].at`, with indices that are there";
            findings.fault(&root, problem, remedy);
        }
    }
    let schema = json_schema::<T>("");
    shape::check(&mut value, &json!({ "$ref": schema["$ref"] }), &schema["$defs"], findings);
    match serde_json::from_value(value) {
        Ok(read) => Some(read),
        Err(error) => {
            // The schema is derived from the type, so what conforms to it deserialises.
            findings.fault(&root, error.to_string(), "report this as a defect");
            None
        }
    }
}

/// Puts a value at a path such as `routes[0].clientView`; sections on the way come into being, items of lists do not.
/// Whether the path leads anywhere.
pub fn put(value: &mut Value, path: &str, new: Value) -> bool {
    let mut at = value;
    for part in path.split('.') {
        let (key, indices) = part.split_once('[').map_or((part, ""), |(key, rest)| (key, rest));
        if at.is_null() {
            *at = Value::Object(serde_json::Map::new());
        }
        let Value::Object(keys) = at else { return false };
        if key.is_empty() {
            return false;
        }
        at = keys.entry(key).or_insert(Value::Null);
        for index in indices.split_terminator('[') {
            let index = index.strip_suffix(']').and_then(|index| index.parse::<usize>().ok());
            let Some(item) = index.and_then(|index| at.get_mut(index)) else { return false };
            at = item;
        }
    }
    *at = new;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_follows_keys_and_indices() {
        let mut value = json!({ "a": [{ "b": 1 }, [2, 3]] });
        assert!(put(&mut value, "a[0].b", json!(5)));
        assert!(put(&mut value, "a[1][0]", json!(6)));
        assert!(put(&mut value, "c.d", json!(7)));
        assert_eq!(value, json!({ "a": [{ "b": 5 }, [6, 3]], "c": { "d": 7 } }));
        for nowhere in ["a[2].b", "a.b", "a[x]", "", "a[0", "a..b"] {
            assert!(!put(&mut value, nowhere, json!(0)), "{nowhere}");
        }
    }
}
