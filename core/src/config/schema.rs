//! The JSON Schema of the configuration file.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{document::ROOT_KEY, raw::Gateway};

/// Where the schema says that a definition is one of its own.
pub(super) const DEFINITIONS: &str = "#/$defs/";

/// The schema of a configuration file, with and without the root key, for editors and other tools
/// (JSON Schema 2020-12).
pub fn json_schema() -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let gateway = generator.subschema_for::<Gateway>();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Switchyard gateway configuration",
        // An editor that had to choose between two shapes would explain neither's faults.
        "if": { "required": [ROOT_KEY] },
        "then": {
            "properties": { ROOT_KEY: gateway },
            "additionalProperties": false,
        },
        "else": gateway,
        "$defs": definitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of a section, for tests that look at single keys.
    fn section<'s>(schema: &'s Value, name: &str) -> &'s Value {
        &schema["$defs"][name]
    }

    #[test]
    fn schema_says_what_editors_need() {
        let schema = json_schema();
        let route = section(&schema, "Route");
        assert_eq!(route["required"], json!(["name", "endpoint", "streamingDomain"]));
        assert_eq!(route["additionalProperties"], json!(false));
        let port = &section(&schema, "Admin")["properties"]["port"];
        assert_eq!(port["default"], 9190);
        assert_eq!((&port["minimum"], &port["maximum"]), (&json!(1), &json!(65535)));
        let scope = &section(&schema, "FenceScope")["oneOf"];
        assert_eq!(scope[0]["const"], "ALL");
        assert!(scope[0]["description"].is_string());
    }

    /// A key without a description is a key that nobody can use from the schema alone.
    #[test]
    fn schema_every_key_is_described() {
        let schema = json_schema();
        let definitions = schema["$defs"].as_object().expect("definitions");
        for (section, definition) in definitions {
            let Some(keys) = definition["properties"].as_object() else { continue };
            for (key, value) in keys {
                assert!(value["description"].is_string(), "{section}.{key} has no description");
            }
        }
    }
}
