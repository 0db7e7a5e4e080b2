//! YAML as written → checked model. No other module sees the YAML shapes.
//!
//! ```text
//!  text ─document▶ values and positions ─shape▶ values that fit the schema ─raw▶ typed sections
//!                                                                                     │
//!        faults, notices ◀── findings ◀── domains, routes, operation, ports ◀─────────┘──▶ Model
//! ```
//! All faults of a file are found in one go, because every step takes out what it reports and the next one
//! looks at the rest. A file with a fault gives no model.
//!
//! Absent on purpose: anything that depends on the network. Whether names resolve and brokers answer is
//! asked when a route is opened or repointed, not when a file is checked.

mod defaults;
mod digest;
mod document;
mod domains;
pub mod duration;
mod findings;
pub mod model;
mod operation;
mod ports;
mod raw;
mod routes;
mod schema;
mod shape;
mod source;
pub mod strict;
pub mod suggest;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use serde_json::Value;

pub use findings::{ConfigError, Fault, Notice, Position};
use findings::{Findings, Path, quoted};
pub use model::{Domain, Model, Route};
pub use schema::json_schema;
pub use source::{Environment, Source, SourceError, read_bounded};
pub use values::ErrorCode;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub model: Arc<Model>,
    /// What it leaves to defaults, and what that costs; to be logged when it takes effect.
    pub notices: Vec<Notice>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no text.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The text is not a configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads and checks a configuration.
pub fn load(source: &Source, environment: &Environment) -> Result<Loaded, LoadError> {
    Ok(check(&source.read()?, source, environment)?)
}

/// Checks a configuration whose text was read before; `source` names it and anchors relative paths.
pub fn check(
    text: &[u8],
    source: &Source,
    environment: &Environment,
) -> Result<Loaded, ConfigError> {
    let mut findings = Findings::default();
    let model = read(text, source, environment, &mut findings);
    let origin = source.origin();
    let notices = findings.into_result(&origin)?;
    // Without a fault there is a model; should that ever be wrong, say so instead of panicking.
    let Some(model) = model else {
        let problem = "could not be understood, and no fault was found".to_owned();
        let remedy = "report this file as a defect of the gateway".to_owned();
        let fault = Fault { position: None, path: String::new(), problem, remedy };
        return Err(ConfigError { origin, faults: vec![fault] });
    };
    Ok(Loaded { model: Arc::new(model), notices })
}

fn read(
    text: &[u8],
    source: &Source,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Model> {
    let Ok(utf8) = std::str::from_utf8(text) else {
        findings.fault(&Path::root(), "is not UTF-8 text", "save it as UTF-8");
        return None;
    };
    let mut values = document::read(utf8, findings)?;
    let written_routes = values["routes"].as_array().cloned().unwrap_or_default();
    fill_node_id(&mut values, &Path::root(), environment.node_id.as_deref(), findings);
    let schema = json_schema();
    shape::check(&mut values, &schema["else"], &schema["$defs"], findings);
    let raw = match serde_json::from_value::<raw::Gateway>(values) {
        Ok(raw) => raw,
        Err(error) => {
            // The schema is derived from these types, so what conforms to it deserialises.
            findings.fault(&Path::root(), error.to_string(), "report this as a defect");
            return None;
        }
    };
    assemble(&raw, &written_routes, text, source, findings)
}

/// Everything about the values that the schema cannot say.
fn assemble(
    raw: &raw::Gateway,
    written_routes: &[Value],
    text: &[u8],
    source: &Source,
    findings: &mut Findings,
) -> Option<Model> {
    let raw_domains = raw.streaming_domains.as_deref();
    let domains = domains::read(raw_domains.unwrap_or_default(), findings);
    // A domain whose name could not be read may be the one that a route means.
    let all_named = raw_domains.is_some_and(|domains| domains.iter().all(|it| it.name.is_some()));
    let raw_routes = raw.routes.as_deref().unwrap_or_default();
    let routes = routes::read(raw_routes, written_routes, (&domains, all_named), findings);
    let admin = operation::admin(raw.admin.as_ref().unwrap_or(&raw::Admin::default()), findings);
    let control = raw.control.as_ref();
    let control =
        operation::control(control.unwrap_or(&raw::Control::default()), source.base(), findings);
    let limits =
        operation::limits(raw.limits.as_ref().unwrap_or(&raw::Limits::default()), findings);
    let config_id = config_id(raw.config_id.as_deref(), text, findings);

    let mut claims = operation::claims(&admin, &control).to_vec();
    let own_claims = claims.len();
    claims.extend(routes.iter().map(routes::Draft::claim));
    let candidates = ports::plan(&claims, &domains, findings);
    if findings.has_faults() {
        return None;
    }
    let routes = routes.into_iter().zip(candidates.into_iter().skip(own_claims));
    let routes = routes.map(|(draft, ports)| {
        let route = draft.finish(ports, &domains, findings);
        (Arc::clone(&route.name), Arc::new(route))
    });
    let name = raw.name.as_deref().unwrap_or(defaults::GATEWAY_NAME);
    Some(Model {
        name: name.into(),
        routes: routes.collect(),
        domains: domains.into_iter().map(|(name, draft)| (name, Arc::new(draft.domain))).collect(),
        admin,
        control,
        limits,
        state_file: operation::state_file(raw.state_file.as_deref(), source.base()),
        config_id,
    })
}

fn config_id(written: Option<&str>, text: &[u8], findings: &mut Findings) -> String {
    let Some(id) = written else { return digest::config_id(text) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if !(1..=64).contains(&id.len()) || !id.bytes().all(allowed) {
        let problem = format!("{} cannot be used as an id", quoted(id));
        let remedy = "write 1 to 64 letters, digits, `.`, `_`, `:` or `-`";
        findings.fault(&Path::root().key("configId"), problem, remedy);
    }
    id.to_owned()
}

/// What the environment fills in.
const NODE_ID_PLACEHOLDER: &str = "$(gatewayNodeId)";

/// Puts the gateway's node id into every text that asks for it.
fn fill_node_id(value: &mut Value, path: &Path, node_id: Option<&str>, findings: &mut Findings) {
    match value {
        Value::Object(keys) => {
            for (key, value) in keys {
                fill_node_id(value, &path.foreign_key(key), node_id, findings);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill_node_id(item, &path.index(index), node_id, findings);
            }
        }
        Value::String(text) if text.contains(NODE_ID_PLACEHOLDER) => match node_id {
            Some(node_id) => *text = text.replace(NODE_ID_PLACEHOLDER, node_id),
            None => {
                let problem = "asks for the gateway's node id, and GATEWAY_NODE_ID is not set";
                findings.fault(path, problem, "set it, for example to `1`");
                // The fault is reported; what follows from it is not looked for.
                *text = text.replace(NODE_ID_PLACEHOLDER, "0");
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
