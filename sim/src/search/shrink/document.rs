//! A scenario file as keys and values that is complete in itself.

use std::{fs, path::Path};

use serde_json::{Map, Value};
use switchyard::config::{
    duration,
    strict::{self, ConfigError},
};

use crate::{
    random,
    scenario::{
        self, Scenario,
        model::{Action, When},
        values::Span,
    },
};

/// A scenario without variants, with the gateway's configuration in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    value: Value,
    /// What its timeline's random numbers are derived from.
    name: String,
}

impl Document {
    /// What a file says of one of its scenarios. `set` was set in it already, when it was loaded.
    ///
    /// # Errors
    /// When the file is not the scenario any more.
    pub fn read(
        file: &Path,
        scenario: &Scenario,
        set: &[(String, Value)],
    ) -> std::io::Result<Self> {
        let text = fs::read(file)?;
        let invalid = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        let mut value: Value = serde_yaml::from_slice(&text).map_err(invalid)?;
        let variant = scenario.name.split_once('/').map(|(_, variant)| variant);
        let variant = variant.and_then(|name| value["variants"].get(name).cloned());
        let variant = variant.unwrap_or_default();
        let own = variant["set"].as_object().cloned().unwrap_or_default();
        for (path, new) in own.into_iter().chain(set.iter().cloned()) {
            // Those of the gateway are in its text.
            if !path.starts_with("gateway.") {
                strict::put(&mut value, &path, new);
            }
        }
        value["gateway"] = serde_yaml::from_str(&scenario.gateway_text).map_err(invalid)?;
        if let Some(keys) = value.as_object_mut() {
            keys.remove("variants");
            let expect = keys.entry("expect").or_insert_with(|| Value::Object(Map::new()));
            let own = variant["expect"].as_object().cloned().unwrap_or_default();
            if let Some(expect) = expect.as_object_mut() {
                for (key, bound) in own {
                    match (expect.get_mut(&key), bound) {
                        // Marks and oracles of a variant come on top.
                        (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
                        (_, bound) => drop(expect.insert(key, bound)),
                    }
                }
            }
            if let Some(about) = variant.get("about") {
                keys.insert("about".to_owned(), about.clone());
            }
        }
        Ok(Self { value, name: scenario.name.clone() })
    }

    /// From values; for tests.
    #[cfg(test)]
    pub(super) fn new(value: Value, name: &str) -> Self {
        Self { value, name: name.to_owned() }
    }

    /// The keys and values.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The same scenario with other values.
    #[must_use]
    pub fn with(&self, value: Value) -> Self {
        Self { value, name: self.name.clone() }
    }

    /// As it is written into a file.
    pub fn text(&self) -> String {
        // Keys and values that came from YAML can be written as YAML.
        serde_yaml::to_string(&self.value).unwrap_or_default()
    }

    /// As it is run.
    ///
    /// # Errors
    /// Every fault.
    pub fn scenario(&self) -> Result<Scenario, ConfigError> {
        let text = self.value.to_string();
        let mut read =
            scenario::read(text.as_bytes(), &self.name, &self.name, Path::new("."), &[])?;
        // Without variants there is exactly one where there is no fault.
        read.pop().ok_or_else(|| ConfigError { origin: self.name.clone(), faults: Vec::new() })
    }

    /// The same with the times that the seed draws written down.
    #[must_use]
    pub fn resolved(&self, seed: u64) -> Self {
        let Ok(scenario) = self.scenario() else { return self.clone() };
        let mut value = self.value.clone();
        for (index, step) in scenario.timeline.iter().enumerate() {
            let section = &mut value["timeline"][index];
            // As the operator of a rehearsal draws them.
            let mut random = random::stream(seed, "timeline", &format!("{}/{index}", self.name));
            let mut fix = |section: &mut Value, key: &str, span: &Span| {
                let drawn = span.draw(&mut random);
                if span.range.start() != span.range.end() {
                    section[key] = duration::render(drawn).into();
                }
            };
            match &step.when {
                When::At(span) => fix(section, "at", span),
                When::After(span) => fix(section, "after", span),
            }
            let keys = section.as_object_mut().into_iter().flatten();
            let action = keys.map(|(key, value)| (key.as_str(), value));
            let Some((_, action)) =
                action.into_iter().find(|(key, _)| !["at", "after"].contains(key))
            else {
                continue;
            };
            match &step.action {
                Action::RestartGateway { down, .. } => fix(action, "down", down),
                Action::StallConsumer { lasts, .. }
                | Action::BlackHole { lasts: Some(lasts), .. }
                | Action::RegionDown { lasts: Some(lasts), .. }
                | Action::Refuse { lasts: Some(lasts), .. }
                | Action::Slow { lasts: Some(lasts), .. }
                | Action::KillBroker { lasts: Some(lasts), .. }
                | Action::StopBroker { lasts: Some(lasts), .. }
                | Action::KillGateway { lasts: Some(lasts), .. } => fix(action, "for", lasts),
                // A fault of a cluster draws while it lasts, too.
                _ => {}
            }
        }
        self.with(value)
    }
}
