//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    ResponseError,
    messages::{
        AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, TopicName,
        alter_configs_response::AlterConfigsResourceResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
        incremental_alter_configs_request::AlterableConfig,
        incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse,
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        controller::{Refusal, check_name},
        settings::{Alteration, Described, Kind},
        versions::Profile,
    },
    Context, Reply,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGERS: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// The first version that tells types.
const TELLS_TYPES: i16 = 3;
/// `DYNAMIC_BROKER_LOGGER_CONFIG`.
const LOGGER_SOURCE: i8 = 6;
const DEFAULT_SOURCE: i8 = 5;

/// What is to change in one resource.
struct Change {
    kind: i8,
    name: String,
    /// `None`: the request's own fault was found before.
    alterations: Result<BTreeMap<String, Alteration>, Refusal>,
}

impl Cluster {
    pub(super) fn describe_configs(
        &mut self,
        context: &Context,
        request: DescribeConfigsRequest,
    ) -> Reply<DescribeConfigsResponse> {
        let results = request.resources.into_iter().map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match self.describe_resource(context, &resource) {
                Ok(mut entries) => {
                    if let Some(keys) = resource.configuration_keys.filter(|keys| !keys.is_empty())
                    {
                        entries.retain(|entry| keys.contains(&entry.name));
                    }
                    for entry in &mut entries {
                        if !request.include_synonyms {
                            entry.synonyms.clear();
                        }
                        if context.version() < TELLS_TYPES {
                            entry.config_type = 0;
                            entry.documentation = None;
                        }
                    }
                    // Kafka says "" where all is well.
                    result.with_error_message(Some(StrBytes::default())).with_configs(entries)
                }
                Err(refusal) => result
                    .with_error_code(refusal.error.code())
                    .with_error_message(Some(refusal.text().unwrap_or_default())),
            }
        });
        Reply::Now(DescribeConfigsResponse::default().with_results(results.collect()))
    }

    fn describe_resource(
        &self,
        context: &Context,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let invalid = |text: &str| Err(Refusal::new(ResponseError::InvalidRequest, text));
        let name = resource.resource_name.as_str();
        let described = match resource.resource_type {
            TOPIC => {
                check_name(name)?;
                let key = TopicName(resource.resource_name.clone());
                let topic = self.topics.get(&key).filter(|_| self.is_visible(&key));
                let unknown = ResponseError::UnknownTopicOrPartition;
                let topic = topic.ok_or(Refusal { error: unknown, message: None })?;
                self.settings.describe_topic(&topic.configs, context.broker)
            }
            BROKER if name.is_empty() => self.settings.describe_all_brokers(),
            BROKER => {
                Self::check_broker_name(context, name, true)?;
                self.settings.describe_broker(context.broker, &self.own_settings(context))
            }
            LOGGERS if name.is_empty() => return invalid("Broker id must not be empty"),
            LOGGERS => {
                // Kafka documents loggers with "".
                let root = plain("root", "INFO", LOGGER_SOURCE, Kind::Unknown);
                return Ok(vec![root.with_documentation(Some(StrBytes::default()))]);
            }
            CLIENT_METRICS if name.is_empty() => {
                return invalid("Client metrics subscription name must not be empty");
            }
            // Kafka 3.9 tells what is set alone, which nothing is here.
            CLIENT_METRICS if self.profile == Profile::Kafka39 => return Ok(Vec::new()),
            CLIENT_METRICS => {
                return Ok(vec![
                    plain("interval.ms", "300000", DEFAULT_SOURCE, Kind::Int),
                    plain("match", "", DEFAULT_SOURCE, Kind::List),
                    plain("metrics", "", DEFAULT_SOURCE, Kind::List),
                ]);
            }
            // Kafka 3.9 does not take this kind, which it lets be altered.
            GROUP if self.profile == Profile::Kafka39 => return invalid(MALFORMED),
            GROUP if name.is_empty() => return invalid("Group name must not be empty"),
            GROUP => self.settings.describe_group(name, context.broker),
            _ => return invalid(MALFORMED),
        };
        Ok(described.into_iter().map(entry).collect())
    }

    /// A broker tells of itself alone.
    fn check_broker_name(context: &Context, name: &str, describes: bool) -> Result<(), Refusal> {
        let own = context.broker.0;
        let text = match name.parse::<i32>() {
            Ok(id) if id == own => return Ok(()),
            Ok(_) if describes => {
                format!("Unexpected broker id, expected {own} or empty string, but received {name}")
            }
            Ok(_) => format!("Unexpected broker id, expected {own}, but received {name}"),
            Err(_) if describes => format!("Broker id must be an integer, but it is: {name}"),
            Err(_) => format!("Node id must be an integer, but it is: {name}"),
        };
        Err(Refusal::new(ResponseError::InvalidRequest, text))
    }

    /// What only the broker itself can tell.
    fn own_settings(&self, context: &Context) -> Vec<(&'static str, Kind, String)> {
        let Some(broker) = self.brokers.get(&context.broker) else { return Vec::new() };
        let id = broker.id.0.to_string();
        let listener = format!("PLAINTEXT://{}:{}", broker.host, broker.port);
        let mut own = vec![
            ("advertised.listeners", Kind::Text, listener.clone()),
            ("broker.id", Kind::Int, id.clone()),
            ("controller.listener.names", Kind::Text, "CONTROLLER".to_owned()),
            ("listeners", Kind::Text, listener),
            ("log.dirs", Kind::Text, format!("/var/lib/kafka/{id}")),
            ("node.id", Kind::Int, id),
            ("process.roles", Kind::List, "broker,controller".to_owned()),
        ];
        own.extend(broker.rack.clone().map(|rack| ("broker.rack", Kind::Text, rack)));
        own
    }

    pub(super) fn incremental_alter_configs(
        &mut self,
        context: &Context,
        request: IncrementalAlterConfigsRequest,
    ) -> Reply<IncrementalAlterConfigsResponse> {
        let changes = request.resources.iter().map(|resource| Change {
            kind: resource.resource_type,
            name: resource.resource_name.to_string(),
            alterations: alterations(resource.resource_type, &resource.configs),
        });
        let results = self.alter_all(context, changes.collect(), request.validate_only);
        let responses = request.resources.iter().zip(results).map(|(resource, refusal)| {
            IncrementalResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(refusal.as_ref().map_or(0, |refusal| refusal.error.code()))
                .with_error_message(refusal.as_ref().and_then(Refusal::text))
        });
        let response = IncrementalAlterConfigsResponse::default();
        Reply::Now(response.with_responses(responses.collect()))
    }

    pub(super) fn alter_configs(
        &mut self,
        context: &Context,
        request: AlterConfigsRequest,
    ) -> Reply<AlterConfigsResponse> {
        let changes = request.resources.iter().map(|resource| {
            let mut alterations = BTreeMap::new();
            let mut fault = Ok(());
            // What is not named goes.
            for name in self.altered_names(context, resource.resource_type, &resource.resource_name)
            {
                alterations.insert(name, Alteration::Delete);
            }
            let mut seen = BTreeSet::new();
            for config in &resource.configs {
                let name = config.name.to_string();
                if !seen.insert(name.clone()) {
                    fault = Err(repeated());
                }
                match &config.value {
                    Some(value) => {
                        alterations.insert(name, Alteration::Set(value.to_string()));
                    }
                    None => fault = Err(null(&[name.as_str()])),
                }
            }
            Change {
                kind: resource.resource_type,
                name: resource.resource_name.to_string(),
                alterations: fault.map(|()| alterations),
            }
        });
        let changes = changes.collect();
        let results = self.alter_all(context, changes, request.validate_only);
        let responses = request.resources.iter().zip(results).map(|(resource, refusal)| {
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(refusal.as_ref().map_or(0, |refusal| refusal.error.code()))
                .with_error_message(refusal.as_ref().and_then(Refusal::text))
        });
        Reply::Now(AlterConfigsResponse::default().with_responses(responses.collect()))
    }

    /// What is set for a resource itself.
    fn altered_names(&self, context: &Context, kind: i8, name: &StrBytes) -> Vec<String> {
        match kind {
            TOPIC => {
                let topic = self.topics.get(&TopicName(name.clone()));
                topic.map(|topic| topic.configs.keys().cloned().collect()).unwrap_or_default()
            }
            BROKER => {
                let broker = (!name.is_empty()).then_some(context.broker);
                self.settings.altered_names(broker)
            }
            GROUP => self.settings.group_names(name),
            _ => Vec::new(),
        }
    }

    /// Alters resources, each whole or not at all; one answer for each.
    fn alter_all(
        &mut self,
        context: &Context,
        changes: Vec<Change>,
        validate_only: bool,
    ) -> Vec<Option<Refusal>> {
        let mut counts = BTreeMap::<_, usize>::new();
        for change in &changes {
            *counts.entry((change.kind, change.name.clone())).or_default() += 1;
        }
        let each = changes.into_iter().map(|change| {
            if counts[&(change.kind, change.name.clone())] > 1 {
                let text = "Each resource must appear at most once.";
                return Some(Refusal::new(ResponseError::InvalidRequest, text));
            }
            self.alter_one(context, change, validate_only).err()
        });
        let results = each.collect();
        self.settings_changed();
        results
    }

    fn alter_one(
        &mut self,
        context: &Context,
        change: Change,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let invalid = |text: String| Err(Refusal::new(ResponseError::InvalidRequest, text));
        let alterations = change.alterations?;
        let name = change.name;
        match change.kind {
            TOPIC if name.is_empty() => {
                invalid("Default topic resources are not allowed.".to_owned())
            }
            TOPIC => {
                check_name(&name)?;
                let key = TopicName(StrBytes::from_string(name.clone()));
                let none = BTreeMap::new();
                let topic = self.topics.get(&key);
                let current = topic.map_or(&none, |topic| &topic.configs);
                let configs = self.settings.alter_topic(current, &alterations)?;
                let Some(topic) = self.topics.get_mut(&key) else {
                    let text = format!("The topic '{name}' does not exist.");
                    return Err(Refusal::new(ResponseError::UnknownTopicOrPartition, text));
                };
                if !validate_only {
                    topic.configs = configs;
                }
                Ok(())
            }
            BROKER => {
                if !name.is_empty() {
                    Self::check_broker_name(context, &name, false)?;
                }
                let broker = (!name.is_empty()).then_some(context.broker);
                self.settings.alter_broker(broker, &alterations, validate_only)
            }
            GROUP if name.is_empty() => {
                invalid("Default group resources are not allowed.".to_owned())
            }
            GROUP => self.settings.alter_group(&name, &alterations, validate_only),
            // Levels of loggers and subscriptions to metrics change nothing here.
            LOGGERS | CLIENT_METRICS => Ok(()),
            other => invalid(format!("Unknown resource type {other}")),
        }
    }
}

/// Kafka's text for a request that makes no sense.
const MALFORMED: &str = "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.";

fn repeated() -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, "Error due to duplicate config keys")
}

fn null(names: &[&str]) -> Refusal {
    let text = format!("Null value not supported for : {}", names.join(", "));
    Refusal::new(ResponseError::InvalidRequest, text)
}

fn alterations(
    kind: i8,
    configs: &[AlterableConfig],
) -> Result<BTreeMap<String, Alteration>, Refusal> {
    const DELETE: i8 = 1;
    let mut alterations = BTreeMap::new();
    let nulls = configs
        .iter()
        .filter(|config| config.config_operation != DELETE && config.value.is_none())
        .map(|config| config.name.as_str());
    let nulls: Vec<_> = nulls.collect();
    for config in configs {
        let value = config.value.as_ref().map(ToString::to_string).unwrap_or_default();
        let alteration = match config.config_operation {
            0 => Alteration::Set(value),
            DELETE => Alteration::Delete,
            2 => Alteration::Append(value),
            3 => Alteration::Subtract(value),
            other if kind == BROKER => {
                let text = format!("Unknown operations type {other}");
                return Err(Refusal::new(ResponseError::InvalidRequest, text));
            }
            _ => return Err(Refusal { error: ResponseError::UnknownServerError, message: None }),
        };
        if alterations.insert(config.name.to_string(), alteration).is_some() {
            return Err(repeated());
        }
    }
    if nulls.is_empty() { Ok(alterations) } else { Err(null(&nulls)) }
}

fn entry(described: Described) -> DescribeConfigsResourceResult {
    let sensitive = described.is_sensitive();
    let synonyms = described.synonyms.into_iter().map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_string(synonym.name))
            .with_value((!sensitive).then(|| StrBytes::from_string(synonym.value)))
            .with_source(synonym.source as i8)
    });
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(described.name))
        .with_value(described.value.map(StrBytes::from_string))
        .with_read_only(described.read_only)
        .with_config_source(described.source as i8)
        .with_is_sensitive(sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(described.kind as i8)
        // Kafka's own texts are not ours to repeat.
        .with_documentation(None)
}

fn plain(
    name: &'static str,
    value: &'static str,
    source: i8,
    kind: Kind,
) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(Some(StrBytes::from_static_str(value)))
        .with_config_source(source)
        .with_config_type(kind as i8)
        .with_documentation(None)
}
