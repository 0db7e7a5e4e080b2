//! Settings as DescribeConfigs shows them: value, where it comes from, and what would hold without it.

use std::collections::BTreeMap;

use kafka_protocol::messages::BrokerId;

use super::{
    super::versions::Profile,
    Settings,
    catalogue::{BROKER, BROKER_ONLY_39, GROUP, NOT_IN_39, OwnSetting, STAND_INS},
    topic_settings,
    value::Kind,
};

/// Where a value comes from, by Kafka's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    Group = 8,
}

/// One setting.
#[derive(Clone, Debug)]
pub(in super::super) struct Described {
    pub(in super::super) name: String,
    /// `None`: not set, or a secret.
    pub(in super::super) value: Option<String>,
    pub(in super::super) kind: Kind,
    pub(in super::super) read_only: bool,
    pub(in super::super) source: Source,
    /// What holds, and what would hold without it.
    pub(in super::super) synonyms: Vec<Synonym>,
}

impl Described {
    /// Whether its value is kept secret, as that of a name that nobody knows.
    pub(in super::super) fn is_sensitive(&self) -> bool {
        self.kind == Kind::Unknown
    }
}

/// One value of several for the same setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Synonym {
    pub(in super::super) name: String,
    pub(in super::super) value: String,
    pub(in super::super) source: Source,
}

impl Settings {
    /// All settings of a topic, as the broker that was asked sees them.
    pub(in super::super) fn describe_topic(
        &self,
        configs: &BTreeMap<String, String>,
        asked: BrokerId,
    ) -> Vec<Described> {
        self.describe_own(configs, topic_settings(self.profile), Source::Topic, asked)
    }

    /// All settings of a group.
    pub(in super::super) fn describe_group(&self, group: &str, asked: BrokerId) -> Vec<Described> {
        let none = BTreeMap::new();
        let configs = self.groups.get(group).unwrap_or(&none);
        let mut all = self.describe_own(configs, GROUP, Source::Group, asked);
        for setting in &mut all {
            // A group's settings have no other names with brokers, as far as DescribeConfigs goes.
            let (name, source) = (setting.name.clone(), setting.source);
            let source = if source == Source::Group { source } else { Source::Default };
            let value = self.group_text(group, &name).to_owned();
            setting.source = source;
            setting.value = Some(value.clone());
            setting.synonyms = vec![Synonym { name, value, source }];
        }
        all
    }

    fn describe_own(
        &self,
        configs: &BTreeMap<String, String>,
        catalogue: &'static [OwnSetting],
        own: Source,
        asked: BrokerId,
    ) -> Vec<Described> {
        let each = catalogue.iter().map(|setting| {
            let name = setting.name;
            let broker = setting.broker.map(|name| self.synonyms(name, Some(asked)));
            let mut synonyms = broker.unwrap_or_default();
            if let Some(value) = configs.get(name) {
                let (name, value) = (name.to_owned(), value.clone());
                synonyms.insert(0, Synonym { name, value, source: own });
            }
            let first = synonyms.first();
            let value = first.map_or_else(
                || self.own(configs, catalogue, name).to_owned(),
                |synonym| synonym.value.clone(),
            );
            Described {
                name: name.to_owned(),
                value: Some(value),
                kind: setting.kind,
                read_only: false,
                source: first.map_or(Source::Default, |synonym| synonym.source),
                synonyms,
            }
        });
        each.collect()
    }

    /// All settings of one broker; `fixed` are those that only it can tell, such as its id.
    pub(in super::super) fn describe_broker(
        &self,
        id: BrokerId,
        fixed: &[(&str, Kind, String)],
    ) -> Vec<Described> {
        let altered = self
            .altered
            .keys()
            .chain(self.altered_of.get(&id).into_iter().flat_map(|altered| altered.keys()));
        let unknown = altered.filter(|name| self.broker_setting(name).is_none());
        let is_41 = self.profile >= Profile::Kafka41;
        let known = BROKER.iter().map(|setting| setting.name);
        let known = known.filter(|name| is_41 || !NOT_IN_39.contains(name));
        let only_39 = BROKER_ONLY_39.iter().map(|setting| setting.name).filter(|_| !is_41);
        let known = known.chain(only_39);
        let mut names: Vec<_> = known.chain(unknown.map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let mut all: Vec<_> =
            names.into_iter().map(|name| self.broker_entry(name, Some(id))).collect();
        all.extend(fixed.iter().map(|(name, kind, value)| {
            let source = Source::StaticBroker;
            let (name, value) = ((*name).to_owned(), value.clone());
            let synonym = Synonym { name: name.clone(), value: value.clone(), source };
            Described {
                name,
                value: Some(value),
                kind: *kind,
                read_only: true,
                source,
                synonyms: vec![synonym],
            }
        }));
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// What was altered for all brokers.
    pub(in super::super) fn describe_all_brokers(&self) -> Vec<Described> {
        self.altered.keys().map(|name| self.broker_entry(name, None)).collect()
    }

    fn broker_entry(&self, name: &str, broker: Option<BrokerId>) -> Described {
        let setting = self.broker_setting(name);
        let kind = setting.map_or(Kind::Unknown, |setting| setting.kind);
        let mut synonyms = self.synonyms(name, broker);
        if broker.is_none() {
            // What was altered for all brokers is told without what would hold else.
            synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
        }
        let first = synonyms.first();
        let secret = kind == Kind::Unknown;
        Described {
            name: name.to_owned(),
            value: first.filter(|_| !secret).map(|synonym| synonym.value.clone()),
            kind,
            read_only: setting.is_none_or(|setting| !setting.dynamic),
            source: first.map_or(Source::Default, |synonym| synonym.source),
            synonyms,
        }
    }

    /// What holds for a setting of the brokers, and what would hold without it: by source, and in each by name.
    /// Other names only show behind the setting's own.
    fn synonyms(&self, name: &str, broker: Option<BrokerId>) -> Vec<Synonym> {
        let stand_ins = STAND_INS.iter().find(|(known, _)| *known == name);
        let others =
            stand_ins.into_iter().flat_map(|(_, others)| others.iter().map(|(name, _)| *name));
        let names: Vec<_> = [name].into_iter().chain(others).collect();
        let altered_of = broker.and_then(|id| self.altered_of.get(&id));
        let layers = [
            (altered_of, Source::DynamicBroker),
            (Some(&self.altered), Source::DynamicDefaultBroker),
            (Some(&self.given), Source::StaticBroker),
        ];
        let set = layers.iter().flat_map(|(layer, source)| {
            names.iter().filter_map(|name| {
                let value = layer.as_ref()?.get(*name)?.clone();
                Some(Synonym { name: (*name).to_owned(), value, source: *source })
            })
        });
        let defaults = names.iter().filter_map(|name| {
            let value = self.default_of(self.broker_setting(name)?)?.to_owned();
            Some(Synonym { name: (*name).to_owned(), value, source: Source::Default })
        });
        set.chain(defaults).skip_while(|synonym| synonym.name != name).collect()
    }
}
