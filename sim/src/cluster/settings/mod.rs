//! Settings of brokers, topics and groups by Kafka's own names, with Kafka's defaults.
//!
//! ```text
//!  a topic's or group's own ─▶ a broker's, altered ─▶ all brokers', altered ─▶ as given at the start ─▶ default
//! ```
//!
//! The cluster itself goes by all of these but the settings that were altered for one broker alone: those are kept
//! and shown only.

mod catalogue;
mod describe;
mod value;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::{ResponseError, messages::BrokerId};

pub(super) use describe::Described;
pub(super) use value::Kind;

use self::catalogue::{
    ALLOWED, BROKER, BROKER_39, BROKER_ONLY_39, BrokerSetting, GROUP, OwnSetting, STAND_INS, TOPIC,
    TOPIC_39,
};
use super::{controller::Refusal, topic::Topic, versions::Profile};

/// Settings that are kept for one topic, group or broker.
const PER_RESOURCE_MAX: usize = 1000;
/// Groups that have settings of their own.
const GROUPS_MAX: usize = 10_000;

/// What the cluster was given and what was altered since.
#[derive(Debug)]
pub(super) struct Settings {
    given: BTreeMap<String, String>,
    /// Given under another name and unit: `log.retention.hours` as `log.retention.ms`.
    derived: BTreeMap<&'static str, String>,
    /// Altered for all brokers.
    altered: BTreeMap<String, String>,
    /// Altered for one.
    altered_of: BTreeMap<BrokerId, BTreeMap<String, String>>,
    groups: BTreeMap<String, BTreeMap<String, String>>,
    profile: Profile,
}

const MIN_ISR: &str = "min.insync.replicas";

/// How one setting is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Alteration {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

impl Settings {
    pub(super) fn new(given: BTreeMap<String, String>, profile: Profile) -> Self {
        let mut settings = Self {
            given,
            derived: BTreeMap::new(),
            altered: BTreeMap::new(),
            altered_of: BTreeMap::new(),
            groups: BTreeMap::new(),
            profile,
        };
        for (name, stand_ins) in STAND_INS {
            let found = stand_ins.iter().find_map(|(other, factor)| {
                let value = settings.given.get(*other)?.parse::<i64>().ok()?;
                // Negative means for ever, in whatever unit.
                Some(if value < 0 { value } else { value.saturating_mul(*factor) })
            });
            if let Some(value) = found.filter(|_| !settings.given.contains_key(*name)) {
                settings.derived.insert(name, value.to_string());
            }
        }
        if settings.keeps_elr() {
            let value = settings.text(MIN_ISR).to_owned();
            settings.altered.insert(MIN_ISR.to_owned(), value);
        }
        settings
    }

    /// A setting of the brokers; "" where it is not set.
    pub(super) fn text(&self, name: &str) -> &str {
        let own = self.altered.get(name).or_else(|| self.given.get(name));
        if let Some(value) = own.or_else(|| self.derived.get(name)) {
            return value;
        }
        let known = self.broker_setting(name);
        let known = known.unwrap_or_else(|| panic!("`{name}` is not in the catalogue"));
        self.default_of(known).unwrap_or("")
    }

    fn broker_setting(&self, name: &str) -> Option<&'static BrokerSetting> {
        broker_setting(name).or_else(|| {
            let mut older = BROKER_ONLY_39.iter().filter(|_| self.profile == Profile::Kafka39);
            older.find(|setting| setting.name == name)
        })
    }

    fn default_of(&self, setting: &BrokerSetting) -> Option<&'static str> {
        let older = BROKER_39.iter().find(|(name, _)| *name == setting.name);
        match older {
            Some((_, default)) if self.profile == Profile::Kafka39 => Some(default),
            _ => setting.default,
        }
    }

    /// With eligible replicas (KIP-966) all brokers must agree on `min.insync.replicas`.
    fn keeps_elr(&self) -> bool {
        self.profile >= Profile::Kafka41
    }

    /// A setting of a topic: its own, or the brokers' under the name that they use for it.
    #[expect(dead_code, reason = "logs ask for it")]
    pub(super) fn of_topic<'a>(
        &'a self,
        topic: &'a Topic,
        name: &str,
        _broker_name: &str,
    ) -> &'a str {
        self.topic_text(topic, name)
    }

    /// A setting of a topic: its own, or the brokers' under the name that they use for it.
    pub(super) fn topic_text<'a>(&'a self, topic: &'a Topic, name: &str) -> &'a str {
        self.own(&topic.configs, topic_settings(self.profile), name)
    }

    pub(super) fn topic_int(&self, topic: &Topic, name: &str) -> i64 {
        self.topic_text(topic, name).parse().unwrap_or_default()
    }

    /// A setting of a group: its own, or the brokers'.
    pub(super) fn group_text(&self, group: &str, name: &str) -> &str {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.own(self.groups.get(group).unwrap_or(&NONE), GROUP, name)
    }

    fn own<'a>(
        &'a self,
        configs: &'a BTreeMap<String, String>,
        catalogue: &'static [OwnSetting],
        name: &str,
    ) -> &'a str {
        if let Some(value) = configs.get(name) {
            return value;
        }
        let setting = own_setting(catalogue, name);
        let setting = setting.unwrap_or_else(|| panic!("`{name}` is not in the catalogue"));
        match setting.broker.map(|name| self.text(name)) {
            None | Some("") => setting.default,
            Some(value) => value,
        }
    }

    pub(super) fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    pub(super) fn millis(&self, name: &str) -> Duration {
        super::time::millis(self.int(name))
    }

    /// Checks the settings that a cluster is to start with.
    pub(super) fn check_given(given: &BTreeMap<String, String>) -> Result<(), Refusal> {
        for (name, value) in given {
            match broker_setting(name) {
                Some(setting) => {
                    value::check(name, setting.kind, allowed(name), value)?;
                }
                None => return Err(unknown("broker", name)),
            }
        }
        Ok(())
    }

    /// The settings of a topic that is to be created.
    pub(super) fn check_topic_configs(
        &self,
        configs: &BTreeMap<String, Option<String>>,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let nulls: Vec<_> = configs
            .iter()
            .filter_map(|(name, value)| value.is_none().then_some(name.as_str()))
            .collect();
        if !nulls.is_empty() {
            let text = format!("Null value not supported for topic configs: {}", nulls.join(","));
            return Err(Refusal::new(ResponseError::InvalidConfig, text));
        }
        let set = configs
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), Alteration::Set(value.clone()?))));
        self.alter_topic(&BTreeMap::new(), &set.collect())
    }

    /// What becomes of a topic's own settings.
    pub(super) fn alter_topic(
        &self,
        current: &BTreeMap<String, String>,
        alterations: &BTreeMap<String, Alteration>,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let catalogue = topic_settings(self.profile);
        let default = |name: &str| {
            let setting = own_setting(catalogue, name)?;
            Some((setting.kind, setting.default))
        };
        let altered = alter(current, alterations, default)?;
        check_own("topic", catalogue, altered)
    }

    /// Alters a group's own settings.
    pub(super) fn alter_group(
        &mut self,
        group: &str,
        alterations: &BTreeMap<String, Alteration>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let current = self.groups.get(group).cloned().unwrap_or_default();
        let default = |name: &str| {
            let setting = own_setting(GROUP, name)?;
            Some((setting.kind, setting.default))
        };
        let altered = check_own("group", GROUP, alter(&current, alterations, default)?)?;
        for (name, value) in &altered {
            self.check_group_range(name, value)?;
        }
        if validate_only {
            return Ok(());
        }
        if altered.is_empty() {
            self.groups.remove(group);
        } else if self.groups.len() < GROUPS_MAX || self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), altered);
        } else {
            let text = "Too many groups have settings of their own.";
            return Err(Refusal::new(ResponseError::PolicyViolation, text));
        }
        Ok(())
    }

    /// What was altered for all brokers or for one.
    pub(super) fn altered_names(&self, broker: Option<BrokerId>) -> Vec<String> {
        let altered = match broker {
            None => Some(&self.altered),
            Some(id) => self.altered_of.get(&id),
        };
        altered.map(|altered| altered.keys().cloned().collect()).unwrap_or_default()
    }

    /// What was set for a group.
    pub(super) fn group_names(&self, group: &str) -> Vec<String> {
        let set = self.groups.get(group);
        set.map(|configs| configs.keys().cloned().collect()).unwrap_or_default()
    }

    /// A group's timeouts must lie between the brokers' bounds.
    fn check_group_range(&self, name: &str, value: &str) -> Result<(), Refusal> {
        let Some(rest) = name.strip_prefix("consumer.") else { return Ok(()) };
        let number = value.parse::<i64>().unwrap_or_default();
        let bound = |which: &str| format!("group.consumer.{which}.{rest}");
        let wrong = |than: &str, bound: &str| {
            let text = format!("{name} must be {than} than or equal to {bound}");
            Err(Refusal::new(ResponseError::InvalidConfig, text))
        };
        let (min, max) = (bound("min"), bound("max"));
        if number < self.int(&min) {
            return wrong("greater", &min);
        }
        if number > self.int(&max) {
            return wrong("less", &max);
        }
        Ok(())
    }

    /// Alters settings of all brokers (`None`) or of one.
    pub(super) fn alter_broker(
        &mut self,
        broker: Option<BrokerId>,
        alterations: &BTreeMap<String, Alteration>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let fixed: Vec<_> = alterations
            .keys()
            .filter(|name| self.broker_setting(name).is_some_and(|setting| !setting.dynamic))
            .map(String::as_str)
            .collect();
        if !fixed.is_empty() {
            let fixed = fixed.join(", ");
            let text = format!("Cannot update these configs dynamically: Set({fixed})");
            return Err(Refusal::new(ResponseError::InvalidRequest, text));
        }
        self.check_min_isr(broker, alterations)?;
        for (name, alteration) in alterations {
            let (verb, known) = match alteration {
                Alteration::Append(_) => ("append", self.broker_setting(name)),
                Alteration::Subtract(_) => ("subtract", self.broker_setting(name)),
                Alteration::Set(_) | Alteration::Delete => continue,
            };
            if known.is_none_or(|setting| setting.kind != Kind::List) {
                let text = format!("Config value {verb} is not allowed for config key: {name}");
                return Err(Refusal::new(ResponseError::InvalidConfig, text));
            }
        }
        let current = match broker {
            None => self.altered.clone(),
            Some(id) => self.altered_of.get(&id).cloned().unwrap_or_default(),
        };
        let default = |name: &str| {
            let setting = self.broker_setting(name)?;
            Some((setting.kind, setting.default.unwrap_or("")))
        };
        let mut altered = alter(&current, alterations, default)?;
        for (name, value) in &mut altered {
            let kind = self.broker_setting(name).map_or(Kind::Unknown, |setting| setting.kind);
            *value = value::check(name, kind, allowed(name), value)
                .map_err(|refusal| Refusal { error: ResponseError::InvalidRequest, ..refusal })?;
        }
        if validate_only {
            return Ok(());
        }
        match broker {
            None => self.altered = altered,
            Some(id) => {
                self.altered_of.insert(id, altered);
            }
        }
        Ok(())
    }
}

impl Settings {
    fn check_min_isr(
        &self,
        broker: Option<BrokerId>,
        alterations: &BTreeMap<String, Alteration>,
    ) -> Result<(), Refusal> {
        let text = match (broker, alterations.get(MIN_ISR)) {
            (Some(_), Some(_)) if self.keeps_elr() => {
                "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
            }
            (None, Some(Alteration::Delete)) if self.keeps_elr() => {
                "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
            }
            _ => return Ok(()),
        };
        Err(Refusal::new(ResponseError::InvalidConfig, text))
    }
}

fn broker_setting(name: &str) -> Option<&'static BrokerSetting> {
    BROKER.binary_search_by(|setting| setting.name.cmp(name)).ok().map(|at| &BROKER[at])
}

/// What topics of a release have.
fn topic_settings(profile: Profile) -> &'static [OwnSetting] {
    match profile {
        Profile::Kafka39 => TOPIC_39,
        Profile::Kafka41 => TOPIC,
    }
}

fn own_setting(catalogue: &'static [OwnSetting], name: &str) -> Option<&'static OwnSetting> {
    catalogue.iter().find(|setting| setting.name == name)
}

fn allowed(name: &str) -> Option<value::Allowed> {
    ALLOWED.iter().find(|(known, _)| *known == name).map(|(_, allowed)| *allowed)
}

fn unknown(what: &str, name: &str) -> Refusal {
    Refusal::new(ResponseError::InvalidConfig, format!("Unknown {what} config name: {name}"))
}

/// Checks all settings of a topic or group.
fn check_own(
    what: &str,
    catalogue: &'static [OwnSetting],
    configs: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let checked = configs.into_iter().map(|(name, given)| {
        let setting = own_setting(catalogue, &name).ok_or_else(|| unknown(what, &name))?;
        let value = value::check(&name, setting.kind, allowed(&name), &given)?;
        Ok((name, value))
    });
    checked.collect()
}

/// Applies alterations; `default` tells type and default of a known setting.
fn alter(
    current: &BTreeMap<String, String>,
    alterations: &BTreeMap<String, Alteration>,
    default: impl Fn(&str) -> Option<(Kind, &'static str)>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut altered = current.clone();
    for (name, alteration) in alterations {
        let (verb, list) = match alteration {
            Alteration::Set(value) => {
                altered.insert(name.clone(), value.clone());
                continue;
            }
            Alteration::Delete => {
                altered.remove(name);
                continue;
            }
            Alteration::Append(list) => ("APPEND", list),
            Alteration::Subtract(list) => ("SUBTRACT", list),
        };
        let Some((Kind::List, default)) = default(name) else {
            let text = format!("Can't {verb} to key {name} because its type is not LIST.");
            return Err(Refusal::new(ResponseError::InvalidConfig, text));
        };
        let now = current.get(name).map_or(default, String::as_str);
        let mut members: Vec<_> = now.split(',').filter(|member| !member.is_empty()).collect();
        for member in list.split(',') {
            if verb == "SUBTRACT" {
                members.retain(|other| *other != member);
            } else if !members.contains(&member) {
                members.push(member);
            }
        }
        altered.insert(name.clone(), members.join(","));
    }
    if altered.len() > PER_RESOURCE_MAX {
        let text = "Too many settings for one resource.";
        return Err(Refusal::new(ResponseError::PolicyViolation, text));
    }
    Ok(altered)
}
