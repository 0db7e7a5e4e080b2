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
/// it holds has to be optional for serde. `None`: nothing could be read.
pub fn read<T: JsonSchema + DeserializeOwned>(text: &[u8], findings: &mut Findings) -> Option<T> {
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
