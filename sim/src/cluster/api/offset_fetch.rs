//! OffsetFetch: of one group before version 8, of several from there on.

use kafka_protocol::{
    ResponseError,
    messages::{
        GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        group::{Group, Members},
    },
    Context, Reply,
};

/// From which version on several groups are asked for at once.
const BATCHED: i16 = 8;
/// From which version on there is room for an error of the whole group.
const GROUP_ERROR: i16 = 2;

impl Cluster {
    pub(super) fn offset_fetch(
        &mut self,
        context: &Context,
        request: OffsetFetchRequest,
    ) -> Reply<OffsetFetchResponse> {
        let stable = request.require_stable;
        if context.version() >= BATCHED {
            let groups = request.groups.into_iter();
            let groups = groups.map(|group| self.fetch_group(context, group, stable)).collect();
            return Reply::Now(OffsetFetchResponse::default().with_groups(groups));
        }
        let topics = request.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic.name)
                    .with_partition_indexes(topic.partition_indexes)
            });
            topics.collect::<Vec<_>>()
        });
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(request.group_id)
            .with_topics(topics.clone());
        let mut found = self.fetch_group(context, group, stable);
        let mut response = OffsetFetchResponse::default();
        if context.version() >= GROUP_ERROR {
            response.error_code = found.error_code;
        } else if found.error_code != 0 {
            found.topics = all_failed(topics.unwrap_or_default(), found.error_code);
        }
        response.topics = found.topics.into_iter().map(ungrouped).collect();
        Reply::Now(response)
    }

    fn fetch_group(
        &mut self,
        context: &Context,
        request: OffsetFetchRequestGroup,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let id = request.group_id.clone();
        let answer = OffsetFetchResponseGroup::default();
        let result = self
            .check_group(context.now, context.broker, &id)
            .and_then(|()| self.fetch_topics(&id, request, stable));
        let answer = match result {
            Ok(topics) => answer.with_topics(topics),
            Err(error) => answer.with_error_code(error.code()),
        };
        answer.with_group_id(id)
    }

    fn fetch_topics(
        &self,
        id: &GroupId,
        request: OffsetFetchRequestGroup,
        stable: bool,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ResponseError> {
        let group = self.groups.get(id);
        if let Some(Members::Consumer(members)) = group.map(|group| &group.members) {
            members.check_fetch(request.member_id.as_ref(), request.member_epoch)?;
        }
        let topics: Vec<(TopicName, Vec<i32>)> = match request.topics {
            Some(topics) => {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
            }
            None => group.map(all_of).unwrap_or_default(),
        };
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partitions =
                partitions.into_iter().map(|partition| offset(group, &name, partition, stable));
            let partitions = partitions.collect();
            OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
        });
        Ok(topics.collect())
    }
}

/// Everything that a group has committed.
fn all_of(group: &Group) -> Vec<(TopicName, Vec<i32>)> {
    let mut topics: Vec<(TopicName, Vec<i32>)> = Vec::new();
    for (name, partition, _) in group.offsets.iter() {
        match topics.last_mut() {
            Some((last, partitions)) if last == name => partitions.push(partition),
            Some(_) | None => topics.push((name.clone(), vec![partition])),
        }
    }
    topics
}

fn offset(
    group: Option<&Group>,
    topic: &TopicName,
    partition: i32,
    stable: bool,
) -> OffsetFetchResponsePartitions {
    let nothing = OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(-1);
    let Some(group) = group else { return nothing };
    if stable && group.offsets.is_unstable(topic, partition) {
        return nothing.with_error_code(ResponseError::UnstableOffsetCommit.code());
    }
    match group.offsets.get(topic, partition) {
        None => nothing,
        Some(committed) => nothing
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(committed.metadata.clone())),
    }
}

fn all_failed(topics: Vec<OffsetFetchRequestTopics>, code: i16) -> Vec<OffsetFetchResponseTopics> {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.into_iter().map(|partition| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(partition)
                .with_committed_offset(-1)
                .with_metadata(Some(StrBytes::default()))
                .with_error_code(code)
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

fn ungrouped(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    });
    OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
}
