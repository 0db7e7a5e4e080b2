//! CreateTopics, DeleteTopics, CreatePartitions.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
        CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic,
        create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
        delete_topics_request::DeleteTopicState,
        delete_topics_response::DeletableTopicResult,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    super::{
        Cluster,
        controller::{CreatedTopic, NewTopic, Refusal},
    },
    Context, Reply,
};

/// The topic of Kafka's controllers, which nobody may create.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// The first version of CreateTopics that tells more than an error.
const TELLS_CONFIGS: i16 = 5;

impl Cluster {
    pub(super) fn create_topics(
        &mut self,
        context: &Context,
        request: CreateTopicsRequest,
    ) -> Reply<CreateTopicsResponse> {
        let named = request.topics.iter().map(|topic| &topic.name);
        let duplicates = duplicates(named);
        let mut response = CreateTopicsResponse::default();
        let single = request.topics.iter().filter(|topic| !duplicates.contains(&topic.name));
        let counts = single.clone().map(|topic| match topic.num_partitions {
            given if given > 0 => usize::try_from(given).unwrap_or(0),
            _ => topic.assignments.len(),
        });
        let all = self.check_partition_count(counts.fold(0, usize::saturating_add));
        for topic in single {
            let created = match &all {
                Ok(()) => self.create_one(context, topic, request.validate_only),
                Err(refusal) => Err(refusal.clone()),
            };
            let name = topic.name.clone();
            response.topics.push(created.unwrap_or_else(|refusal| refused(name, &refusal)));
        }
        let twice = Refusal::new(ResponseError::InvalidRequest, "Duplicate topic name.");
        response.topics.extend(duplicates.into_iter().map(|name| refused(name, &twice)));
        Reply::Now(response)
    }

    fn create_one(
        &mut self,
        context: &Context,
        asked: &CreatableTopic,
        validate_only: bool,
    ) -> Result<CreatableTopicResult, Refusal> {
        if asked.name.as_str() == METADATA_TOPIC {
            let text = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
            return Err(Refusal::new(ResponseError::InvalidRequest, text));
        }
        let assignments = asked
            .assignments
            .iter()
            .map(|assignment| (assignment.partition_index, assignment.broker_ids.clone()));
        let configs = asked.configs.iter().map(|config| {
            (config.name.to_string(), config.value.as_ref().map(ToString::to_string))
        });
        let new = NewTopic {
            partitions: asked.num_partitions,
            replicas: asked.replication_factor,
            assignments: assignments.collect(),
            configs: configs.collect(),
        };
        let CreatedTopic { id, topic } = self.plan_topic(&asked.name, &new)?;
        let mut result =
            CreatableTopicResult::default().with_name(asked.name.clone()).with_error_message(None);
        if context.version() >= TELLS_CONFIGS {
            let configs = self.settings.describe_topic(&topic.configs, context.broker);
            let configs = configs.into_iter().map(|config| {
                CreatableTopicConfigs::default()
                    .with_name(StrBytes::from_string(config.name))
                    .with_value(config.value.map(StrBytes::from_string))
                    .with_config_source(config.source as i8)
            });
            let factor = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
            result = result
                .with_topic_id(if context.version() >= 7 { id } else { Uuid::nil() })
                .with_num_partitions(i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
                .with_replication_factor(i16::try_from(factor).unwrap_or(i16::MAX))
                .with_configs(Some(configs.collect()));
        }
        if !validate_only {
            self.insert_topic(&asked.name, topic);
        }
        Ok(result)
    }

    pub(super) fn delete_topics(
        &mut self,
        context: &Context,
        request: DeleteTopicsRequest,
    ) -> Reply<DeleteTopicsResponse> {
        let by_name = |name| DeleteTopicState::default().with_name(Some(name));
        let mut asked: Vec<_> = request.topic_names.into_iter().map(by_name).collect();
        asked.extend(request.topics);
        let mut responses = Vec::new();
        let mut seen = BTreeSet::new();
        let names = asked.iter().filter_map(|topic| topic.name.as_ref());
        let repeated_names = duplicates(names);
        let ids = asked.iter().filter(|topic| topic.name.is_none()).map(|topic| &topic.topic_id);
        let repeated_ids = duplicates(ids);
        for topic in asked {
            let repeated = match &topic.name {
                Some(name) => repeated_names.contains(name),
                None => !topic.topic_id.is_nil() && repeated_ids.contains(&topic.topic_id),
            };
            // One answer for all that ask for the same.
            if repeated && !seen.insert((topic.name.clone(), topic.topic_id)) {
                continue;
            }
            let (name, id) = (topic.name.clone(), topic.topic_id);
            let (name, id, refusal) = match self.delete_one(context, topic, repeated) {
                Ok((name, id)) => (Some(name), id, None),
                Err(refusal) => (name, id, Some(refusal)),
            };
            let version = context.version();
            let text = refusal.as_ref().and_then(Refusal::text).filter(|_| version >= 5);
            responses.push(
                DeletableTopicResult::default()
                    // Before ids could be asked for, every topic had its name.
                    .with_name(if version >= 6 { name } else { Some(name.unwrap_or_default()) })
                    .with_topic_id(if version >= 6 { id } else { Uuid::nil() })
                    .with_error_code(refusal.map_or(0, |refusal| refusal.error.code()))
                    .with_error_message(text),
            );
        }
        Reply::Now(DeleteTopicsResponse::default().with_responses(responses))
    }

    fn delete_one(
        &mut self,
        context: &Context,
        asked: DeleteTopicState,
        repeated: bool,
    ) -> Result<(TopicName, Uuid), Refusal> {
        let invalid = |text| Err(Refusal::new(ResponseError::InvalidRequest, text));
        if !self.settings.flag("delete.topic.enable") {
            return match context.version() {
                ..3 => invalid("Topic deletion is disabled."),
                _ => Err(Refusal::plain(ResponseError::TopicDeletionDisabled)),
            };
        }
        let name = match asked.name {
            None if asked.topic_id.is_nil() => {
                return invalid("Neither topic name nor id were specified.");
            }
            Some(_) if !asked.topic_id.is_nil() => {
                return invalid("You may not specify both topic name and topic id.");
            }
            None if repeated => return invalid("Duplicate topic id."),
            Some(_) if repeated => return invalid("Duplicate topic name."),
            None => {
                let name = self.topics.name_of(asked.topic_id).cloned();
                name.ok_or_else(|| Refusal::plain(ResponseError::UnknownTopicId))?
            }
            Some(name) => name,
        };
        if !self.is_visible(&name) {
            return Err(Refusal::plain(ResponseError::UnknownTopicOrPartition));
        }
        match self.delete_topic(&name) {
            Some(topic) => Ok((name, topic.id)),
            None => Err(Refusal::plain(ResponseError::UnknownTopicOrPartition)),
        }
    }

    pub(super) fn create_partitions(
        &mut self,
        _: &Context,
        request: CreatePartitionsRequest,
    ) -> Reply<CreatePartitionsResponse> {
        let duplicates = duplicates(request.topics.iter().map(|topic| &topic.name));
        let mut results = Vec::new();
        let twice = Refusal::new(ResponseError::InvalidRequest, "Duplicate topic name.");
        let mut push = |name: TopicName, refusal: Option<Refusal>| {
            results.push(
                CreatePartitionsTopicResult::default()
                    .with_name(name)
                    .with_error_code(refusal.as_ref().map_or(0, |refusal| refusal.error.code()))
                    .with_error_message(refusal.as_ref().and_then(Refusal::text)),
            );
        };
        for name in &duplicates {
            push(name.clone(), Some(twice.clone()));
        }
        for topic in request.topics {
            if duplicates.contains(&topic.name) {
                continue;
            }
            let assignments = topic.assignments.map(|given| {
                given.into_iter().map(|given| given.broker_ids).collect::<Vec<Vec<BrokerId>>>()
            });
            let added = self.add_partitions(
                &topic.name,
                topic.count,
                assignments.as_deref(),
                request.validate_only,
            );
            push(topic.name, added.err());
        }
        Reply::Now(CreatePartitionsResponse::default().with_results(results))
    }
}

/// What is asked for more than once.
fn duplicates<'a, T: Ord + Clone + 'a>(asked: impl Iterator<Item = &'a T>) -> BTreeSet<T> {
    let mut counts = BTreeMap::<&T, usize>::new();
    for one in asked {
        *counts.entry(one).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(one, _)| one.clone()).collect()
}

fn refused(name: TopicName, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name)
        .with_error_code(refusal.error.code())
        .with_error_message(refusal.text())
}
