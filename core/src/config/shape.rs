//! Checks a file's values against the JSON Schema of the configuration: keys, types, bounds.
//!
//! The schema is the one that editors get, so what is checked here is what is documented there. Only the
//! keywords that the schema's generator uses are understood; a test fails when it comes to use another one.
//!
//! What is at fault is reported and taken out, so that the rest can be looked at further: a key vanishes
//! from its section, an item of a list becomes an empty section so that the others keep their index.

use serde_json::{Map, Value};

use super::{
    findings::{Findings, Path, quoted},
    raw::NOT_YET,
    schema::DEFINITIONS,
    suggest,
};

/// Checks `value` against `section`, which may refer to `definitions`; what is at fault is taken out.
pub(super) fn check(
    value: &mut Value,
    section: &Value,
    definitions: &Value,
    findings: &mut Findings,
) {
    let mut shape = Shape { definitions, findings };
    if !shape.conforms(value, section, &Path::root()) {
        *value = Value::Object(Map::new());
    }
}

struct Shape<'s, 'f> {
    definitions: &'s Value,
    findings: &'f mut Findings,
}

impl<'s> Shape<'s, '_> {
    /// Whether the value can be kept.
    fn conforms(&mut self, value: &mut Value, schema: &'s Value, path: &Path) -> bool {
        if let Some(remedy) = schema[NOT_YET].as_str() {
            return self.is_nothing_yet(value, remedy, path);
        }
        if is_anything(schema) {
            return true;
        }
        let schema = self.resolve(schema);
        let words = words(schema);
        if !words.is_empty() {
            return self.is_one_of(value, &words, path);
        }
        if !has_type(value, schema) {
            self.wrong_type(value, schema, path);
            return false;
        }
        match value {
            Value::Object(keys) => self.section(keys, schema, path),
            Value::Array(items) => return self.list(items, schema, path),
            Value::Number(_) => return self.number(value, schema, path),
            Value::String(text) => return self.text(text, schema, path),
            Value::Null | Value::Bool(_) => {}
        }
        true
    }

    /// Follows references, and leaves out that a value may also be null: a key without a value is a
    /// key that is not there.
    fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        loop {
            if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix(DEFINITIONS)) {
                schema = &self.definitions[name];
            } else if let Some(choices) = schema["anyOf"].as_array() {
                let real = choices.iter().find(|choice| choice["type"] != "null");
                schema = real.unwrap_or(&Value::Null);
            } else {
                return schema;
            }
        }
    }

    fn section(&mut self, keys: &mut Map<String, Value>, schema: &'s Value, path: &Path) {
        self.misspelled(keys, schema, path);
        keys.retain(|key, value| {
            let path = path.foreign_key(key);
            let schema = match (schema["properties"].get(key), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ (Value::Object(_) | Value::Bool(true))) => {
                    schema
                }
                (None, _) => {
                    self.unknown_key(key, schema, &path);
                    return false;
                }
            };
            !value.is_null() && self.conforms(value, schema, &path)
        });
        for required in schema["required"].as_array().into_iter().flatten() {
            let Some(required) = required.as_str() else { continue };
            let path = path.key(required);
            if !keys.contains_key(required) && !self.findings.is_faulty(&path) {
                let remedy = format!(
                    "write `{required}`: {}",
                    self.describe(&schema["properties"][required])
                );
                self.findings.fault(&path, "is missing", remedy);
            }
        }
    }

    /// A key that is one slip away from one that is not there stands for it from here on: the section would
    /// miss it otherwise, and its other faults would be hidden.
    fn misspelled(&mut self, keys: &mut Map<String, Value>, schema: &'s Value, path: &Path) {
        let Some(known) = schema["properties"].as_object() else { return };
        let unknown: Vec<_> =
            keys.keys().filter(|key| !known.contains_key(*key)).cloned().collect();
        for key in unknown {
            let near = suggest::nearest(&key, known.keys().map(String::as_str));
            if let Some(near) = near.filter(|near| !keys.contains_key(*near))
                && let Some(value) = keys.remove(&key)
            {
                self.unknown_key(&key, schema, &path.foreign_key(&key));
                keys.insert(near.to_owned(), value);
            }
        }
    }

    fn list(&mut self, items: &mut [Value], schema: &'s Value, path: &Path) -> bool {
        if items.is_empty() && schema["minItems"].as_u64() > Some(0) {
            let remedy = "write at least one item, or remove the key";
            self.findings.fault(path, "is an empty list", remedy);
            return false;
        }
        if let Some(max) = schema["maxItems"].as_u64().filter(|max| items.len() as u64 > *max) {
            let problem = format!("has {} items", items.len());
            self.findings.fault(path, problem, format!("write at most {max}"));
            return false;
        }
        for (index, item) in items.iter_mut().enumerate() {
            if !self.conforms(item, &schema["items"], &path.index(index)) {
                *item = Value::Object(Map::new());
            }
        }
        true
    }

    fn number(&mut self, value: &Value, schema: &Value, path: &Path) -> bool {
        let Some(number) = value.as_i64() else {
            self.wrong_type(value, schema, path);
            return false;
        };
        let (minimum, maximum) = bounds(schema);
        let fits = (minimum..=maximum).contains(&number);
        if !fits {
            let problem = format!("{number} is out of bounds");
            self.findings.fault(path, problem, format!("write {}", type_name(schema)));
        }
        fits
    }

    fn text(&mut self, text: &str, schema: &Value, path: &Path) -> bool {
        let length = text.chars().count() as u64;
        let (problem, remedy) = if schema["minLength"].as_u64().is_some_and(|min| length < min) {
            ("is empty".to_owned(), "write a value".to_owned())
        } else if let Some(max) = schema["maxLength"].as_u64().filter(|max| length > *max) {
            (format!("has {length} characters"), format!("write at most {max}"))
        } else {
            return true; // `pattern` is for editors; whoever reads the text checks it.
        };
        self.findings.fault(path, problem, remedy);
        false
    }

    fn is_one_of(&mut self, value: &Value, words: &[Word<'_>], path: &Path) -> bool {
        let usable = || words.iter().filter(|word| word.not_yet.is_none()).map(|word| word.text);
        let alternatives = format!("write {}", suggest::alternatives(usable()));
        let Some(text) = value.as_str() else {
            self.findings.fault(path, format!("is {}", kind(value)), alternatives);
            return false;
        };
        match words.iter().find(|word| word.text == text) {
            Some(Word { not_yet: None, .. }) => true,
            Some(Word { not_yet: Some(remedy), .. }) => {
                let problem = format!("`{text}` is not supported yet");
                self.findings.fault(path, problem, *remedy);
                false
            }
            None => {
                let remedy = match suggest::nearest(text, usable()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => alternatives,
                };
                self.findings.fault(path, format!("{} is unknown", quoted(text)), remedy);
                false
            }
        }
    }

    /// What does not exist yet may be named, as long as nothing is asked of it.
    fn is_nothing_yet(&mut self, value: &Value, remedy: &str, path: &Path) -> bool {
        let nothing = asks_nothing(value);
        if !nothing {
            self.findings.fault(path, "is not supported yet", remedy);
        }
        nothing
    }

    fn unknown_key(&mut self, key: &str, section: &Value, path: &Path) {
        let known = section["properties"].as_object();
        let known = || known.into_iter().flat_map(Map::keys).map(String::as_str);
        let remedy = if key == "<<" {
            "merge keys are not read; write the keys out".to_owned()
        } else if let Some(near) = suggest::nearest(key, known()) {
            format!("did you mean `{near}`?")
        } else if let Some(section) = self.section_with(key) {
            format!("`{key}` belongs into {section}")
        } else {
            let keys = suggest::alternatives(known());
            format!("remove it; known here are {}", keys.replace(" or ", " and "))
        };
        self.findings.fault(path, "is not a known key", remedy);
    }

    /// Where a key that stands in the wrong section would be right, if that is one place.
    fn section_with(&self, key: &str) -> Option<String> {
        let mut places = Vec::new();
        let mut open = vec![(&self.definitions["Gateway"], String::new())];
        while let Some((section, path)) = open.pop() {
            let keys = section["properties"].as_object();
            for (name, schema) in keys.into_iter().flatten() {
                if name == key {
                    places.push(path.clone());
                }
                let dot = if path.is_empty() { "" } else { "." };
                let schema = self.resolve(schema);
                open.push((schema, format!("{path}{dot}{name}")));
                open.push((self.resolve(&schema["items"]), format!("{path}{dot}{name}[]")));
            }
        }
        match places.as_slice() {
            [place] if place.is_empty() => Some("the top level".to_owned()),
            [place] => Some(format!("`{place}`")),
            _ => None,
        }
    }

    fn wrong_type(&mut self, value: &Value, schema: &Value, path: &Path) {
        let wanted = type_name(schema);
        let remedy = match value {
            Value::Number(number) if allows(schema, "string") => {
                format!("put it in quotes: \"{number}\"")
            }
            Value::Bool(word) if allows(schema, "string") => {
                format!("put it in quotes: \"{word}\"")
            }
            Value::String(text) if allows(schema, "integer") && text.parse::<i64>().is_ok() => {
                format!("write it without quotes: {text}")
            }
            _ => format!("write {wanted}"),
        };
        self.findings.fault(path, format!("is {}, not {wanted}", kind(value)), remedy);
    }

    /// What a missing key is for, in the words of the schema.
    fn describe(&self, schema: &'s Value) -> String {
        let description = schema["description"].as_str();
        let description = description.or_else(|| self.resolve(schema)["description"].as_str());
        let text = description.unwrap_or("it is required").replace('\n', " ");
        let first_sentence = text.split(". ").next().unwrap_or_default();
        let mut letters = first_sentence.trim_end_matches('.').chars();
        letters
            .next()
            .map(|first| first.to_lowercase().chain(letters).collect())
            .unwrap_or_default()
    }
}

/// One allowed word of an enumeration.
struct Word<'s> {
    text: &'s str,
    not_yet: Option<&'s str>,
}

/// The words of an enumeration; empty for any other schema.
fn words(schema: &Value) -> Vec<Word<'_>> {
    let described = schema["oneOf"].as_array().into_iter().flatten().filter_map(|choice| {
        Some(Word { text: choice["const"].as_str()?, not_yet: choice[NOT_YET].as_str() })
    });
    described.collect()
}

/// Null, false, empty text, and lists and sections of nothing else.
fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(asks_nothing),
        Value::Object(keys) => keys.values().all(asks_nothing),
    }
}

/// Whether the schema names this type.
fn allows(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(names) => names.iter().any(|allowed| allowed == name),
        _ => true,
    }
}

fn has_type(value: &Value, schema: &Value) -> bool {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    allows(schema, name)
}

/// Smallest and largest whole number that the schema allows.
fn bounds(schema: &Value) -> (i64, i64) {
    let by_format = match schema["format"].as_str() {
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let minimum = schema["minimum"].as_i64().unwrap_or(by_format.0);
    let maximum = schema["maximum"].as_i64().unwrap_or(by_format.1);
    (minimum, maximum)
}

/// What the file should hold, as a person would say it.
fn type_name(schema: &Value) -> String {
    if allows(schema, "object") {
        "a section of keys and values".to_owned()
    } else if allows(schema, "array") {
        "a list".to_owned()
    } else if allows(schema, "boolean") {
        "`true` or `false`".to_owned()
    } else if allows(schema, "integer") && allows(schema, "string") {
        "a whole number or a text".to_owned()
    } else if allows(schema, "integer") {
        match bounds(schema) {
            (i64::MIN, _) | (_, i64::MAX) => "a whole number".to_owned(),
            (minimum, maximum) => format!("a whole number from {minimum} to {maximum}"),
        }
    } else {
        "a text".to_owned()
    }
}

/// A schema that asks nothing of what another mechanism checks.
fn is_anything(schema: &Value) -> bool {
    match schema {
        Value::Bool(allowed) => *allowed,
        Value::Object(keywords) => keywords.keys().all(|keyword| keyword == "description"),
        _ => false,
    }
}

/// What the file holds. Numbers and words are shown; texts are not, as they may be secret.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(word) => format!("`{word}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a section".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::config::schema::json_schema;

    fn faults(mut value: Value) -> String {
        let mut findings = Findings::default();
        let schema = json_schema();
        check(&mut value, &schema["else"], &schema["$defs"], &mut findings);
        findings.into_result("f").map_or_else(|error| error.to_string(), |_| String::new())
    }

    /// `value` at one key of a file that is right in everything else.
    fn with(pointer: &str, key: &str, value: Value) -> Value {
        let mut file = json!({
            "streamingDomains": [{
                "name": "eu",
                "kafkaCluster": { "bootstrapServers": [{ "id": "a", "endpoint": "k:9092" }] },
            }],
            "routes": [{
                "name": "sales", "endpoint": "gw:19092", "streamingDomain": { "name": "eu" },
            }],
        });
        let section = file.pointer_mut(pointer).and_then(Value::as_object_mut);
        section.expect("a section").insert(key.to_owned(), value);
        file
    }

    #[test]
    fn check_right_file_has_no_faults() {
        assert_eq!(faults(with("", "name", json!("gw"))), "");
        // A key without a value is a key that is not there.
        assert_eq!(faults(with("/routes/0", "security", Value::Null)), "");
    }

    #[test]
    fn check_unknown_key_suggests_near_key_or_right_section() {
        insta::assert_snapshot!(faults(with("/routes/0", "endpont", json!(1))), @r"
        f: routes[0].endpont: is not a known key
          remedy: did you mean `endpoint`?
        ");
        // Where it stands for a key that is missing it is told once, and what it holds is looked at.
        let mut misspelled = with("/routes/0", "endpont", json!("gw"));
        misspelled["routes"][0].as_object_mut().expect("a section").remove("endpoint");
        insta::assert_snapshot!(faults(misspelled), @r"
        f: routes[0].endpont: is not a known key
          remedy: did you mean `endpoint`?
        ");
        let misplaced = with("/streamingDomains/0", "nodeIdRanges", json!([]));
        insta::assert_snapshot!(faults(misplaced), @r"
        f: streamingDomains[0].nodeIdRanges: is not a known key
          remedy: `nodeIdRanges` belongs into `streamingDomains[].kafkaCluster`
        ");
        insta::assert_snapshot!(faults(with("/routes/0/streamingDomain", "xyz", json!(1))), @r"
        f: routes[0].streamingDomain.xyz: is not a known key
          remedy: remove it; known here are `bootstrapServerId` and `name`
        ");
    }

    #[test]
    fn check_wrong_types_say_what_to_write() {
        insta::assert_snapshot!(faults(with("/routes/0", "name", json!(5))), @r#"
        f: routes[0].name: is the number 5, not a text
          remedy: put it in quotes: "5"
        "#);
        insta::assert_snapshot!(faults(with("", "admin", json!({ "port": "9190" }))), @r"
        f: admin.port: is a text, not a whole number from 1 to 65535
          remedy: write it without quotes: 9190
        ");
        insta::assert_snapshot!(faults(with("", "admin", json!({ "port": 0 }))), @r"
        f: admin.port: 0 is out of bounds
          remedy: write a whole number from 1 to 65535
        ");
        insta::assert_snapshot!(faults(with("", "limits", json!({ "inFlightMax": 1.5 }))), @r"
        f: limits.inFlightMax: is the number 1.5, not a whole number from 1 to 1000000
          remedy: write a whole number from 1 to 1000000
        ");
        insta::assert_snapshot!(faults(with("/routes/0", "fence", json!({ "scope": "all" }))), @r"
        f: routes[0].fence.scope: `all` is unknown
          remedy: did you mean `ALL`?
        ");
    }

    /// A faulty item must not hide the faults of the items behind it, nor shift their index.
    #[test]
    fn check_goes_on_behind_a_faulty_item() {
        insta::assert_snapshot!(faults(json!({ "streamingDomains": [], "routes": [5, {}] })), @r"
        f: routes[0]: is the number 5, not a section of keys and values
          remedy: write a section of keys and values
        f: routes[1].endpoint: is missing
          remedy: write `endpoint`: `host:port` that clients bootstrap from
        f: routes[1].name: is missing
          remedy: write `name`: unique name
        f: routes[1].streamingDomain: is missing
          remedy: write `streamingDomain`: where the route points
        f: streamingDomains: is an empty list
          remedy: write at least one item, or remove the key
        ");
    }

    /// Silence about TLS would leave a user in the belief that it is on.
    #[test]
    fn check_what_does_not_exist_yet_is_refused_unless_it_asks_nothing() {
        let tls = json!({ "truststore": { "password": { "value": "hunter2" } } });
        let shown = faults(with("/routes/0", "security", json!({ "ssl": tls })));
        assert!(shown.contains("routes[0].security.ssl: is not supported yet"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");

        let idle = json!({ "ssl": { "ignoreTrust": false, "truststore": {} }, "swapConfig": {} });
        assert_eq!(faults(with("/routes/0", "security", idle)), "");
        let swap = faults(with("/routes/0", "security", json!({ "auth": "swap" })));
        assert!(swap.contains("`swap` is not supported yet"), "{swap}");
        assert_eq!(faults(with("", "advanced", json!({ "useIoUring": false }))), "");
    }

    /// A keyword that this module does not understand would be promised to editors and not be checked.
    #[test]
    fn schema_uses_only_keywords_that_are_understood() {
        fn collect(schema: &Value, keywords: &mut BTreeSet<String>) {
            match schema {
                Value::Object(keys) => {
                    for (key, value) in keys {
                        keywords.insert(key.clone());
                        match key.as_str() {
                            "properties" => {
                                value.as_object().into_iter().flatten().for_each(
                                    |(_, property)| {
                                        collect(property, keywords);
                                    },
                                );
                            }
                            "default" => {}
                            _ => collect(value, keywords),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| collect(item, keywords)),
                _ => {}
            }
        }
        let mut keywords = BTreeSet::new();
        for definition in json_schema()["$defs"].as_object().expect("definitions").values() {
            collect(definition, &mut keywords);
        }
        let used: Vec<&str> = keywords.iter().map(String::as_str).collect();
        let understood = [
            "$ref",
            "additionalProperties",
            "anyOf",
            "const",
            "default",
            "description",
            "format",
            "items",
            "maxItems",
            "maxLength",
            "maximum",
            "minItems",
            "minLength",
            "minimum",
            "oneOf",
            "pattern",
            "properties",
            "required",
            "type",
            NOT_YET,
        ];
        assert_eq!(used, understood);
    }
}
