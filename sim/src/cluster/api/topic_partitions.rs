//! DescribeTopicPartitions: metadata of topics, page by page.

use std::collections::BTreeSet;

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
        describe_topic_partitions_response::{
            Cursor, DescribeTopicPartitionsResponsePartition as PartitionPage,
            DescribeTopicPartitionsResponseTopic as TopicPage,
        },
    },
};

use super::{
    super::{
        Cluster,
        controller::{check_name, is_internal},
        topic::Topic,
    },
    Context, Reply,
    metadata::TOPIC_OPERATIONS,
};

impl Cluster {
    pub(super) fn describe_topic_partitions(
        &mut self,
        _: &Context,
        request: DescribeTopicPartitionsRequest,
    ) -> Reply<DescribeTopicPartitionsResponse> {
        let all = request.topics.is_empty();
        let mut names: BTreeSet<TopicName> = if all {
            let visible = self.topics.iter().filter(|(name, _)| self.is_visible(name));
            visible.map(|(name, _)| name.clone()).collect()
        } else {
            request.topics.iter().map(|topic| topic.name.clone()).collect()
        };
        let cursor = request.cursor.as_ref();
        if let Some(cursor) = cursor {
            names.retain(|name| *name >= cursor.topic_name);
            let listed = all || names.contains(&cursor.topic_name);
            if !listed || cursor.partition_index < 0 {
                return Reply::Now(refuse(&request));
            }
        }
        let most = self.settings.int("max.request.partition.size.limit");
        let mut left = i64::from(request.response_partition_limit).min(most).max(1);
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names {
            let first = cursor
                .filter(|cursor| cursor.topic_name == name)
                .map_or(0, |cursor| cursor.partition_index);
            if left <= 0 {
                response.next_cursor = Some(Cursor::default().with_topic_name(name));
                break;
            }
            let topic = self.topics.get(&name).filter(|_| self.is_visible(&name));
            let Some(topic) = topic else {
                if !all {
                    response.topics.push(unknown(name));
                }
                continue;
            };
            let page = self.page(&name, topic, first, left);
            let next = i64::from(first).saturating_add(left);
            left -= i64::try_from(page.partitions.len()).unwrap_or(i64::MAX);
            response.topics.push(page);
            let count = i64::try_from(topic.partitions.len()).unwrap_or(i64::MAX);
            if let Some(next) = i32::try_from(next).ok().filter(|next| i64::from(*next) < count) {
                let cursor = Cursor::default().with_topic_name(name).with_partition_index(next);
                response.next_cursor = Some(cursor);
                break;
            }
        }
        Reply::Now(response)
    }

    fn page(&self, name: &TopicName, topic: &Topic, first: i32, count: i64) -> TopicPage {
        let skipped = usize::try_from(first).unwrap_or(0);
        let count = usize::try_from(count).unwrap_or(0);
        let page = (0..).zip(&topic.partitions).skip(skipped).take(count);
        let partitions = page.map(|(index, partition)| {
            let error = match partition.leader {
                Some(_) => 0,
                None => ResponseError::LeaderNotAvailable.code(),
            };
            PartitionPage::default()
                .with_error_code(error)
                .with_partition_index(index)
                .with_leader_id(partition.leader.unwrap_or(BrokerId(-1)))
                .with_leader_epoch(partition.leader_epoch)
                .with_replica_nodes(partition.replicas.clone())
                .with_isr_nodes(partition.isr.clone())
                .with_eligible_leader_replicas(Some(partition.elr.clone()))
                .with_last_known_elr(Some(Vec::new()))
                .with_offline_replicas(self.offline(partition))
        });
        TopicPage::default()
            .with_name(Some(name.clone()))
            .with_topic_id(topic.id)
            .with_is_internal(is_internal(name))
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(TOPIC_OPERATIONS)
    }
}

fn unknown(name: TopicName) -> TopicPage {
    let error = match check_name(name.as_str()) {
        Err(refusal) => refusal.error,
        Ok(()) => ResponseError::UnknownTopicOrPartition,
    };
    TopicPage::default()
        .with_error_code(error.code())
        .with_is_internal(is_internal(&name))
        .with_name(Some(name))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

/// The cursor points nowhere.
fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        TopicPage::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_name(Some(topic.name.clone()))
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}
