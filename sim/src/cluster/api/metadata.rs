//! Metadata.

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, MetadataRequest, MetadataResponse, TopicName,
        metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
    },
    protocol::StrBytes,
};

use super::{
    super::{Cluster, topic::Topic},
    Context, Reply,
};

impl Cluster {
    pub(super) fn metadata(
        &mut self,
        context: &Context,
        request: MetadataRequest,
    ) -> Reply<MetadataResponse> {
        let brokers = self.brokers.values().filter(|broker| broker.is_listed()).map(|broker| {
            MetadataResponseBroker::default()
                .with_node_id(broker.id)
                .with_host(StrBytes::from_string(broker.host.clone()))
                .with_port(i32::from(broker.port))
                .with_rack(broker.rack.clone().map(StrBytes::from_string))
        });
        let mut response = MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(self.cluster_id.clone()))
            .with_controller_id(self.controller().unwrap_or(BrokerId(-1)));
        let asked: Vec<TopicName> = match request.topics {
            // Before v1 an empty list means all.
            Some(topics) if !(topics.is_empty() && context.version() == 0) => {
                topics.into_iter().filter_map(|topic| topic.name).collect()
            }
            _ => self.topics.iter().map(|(name, _)| name.clone()).collect(),
        };
        for name in asked {
            if self.topics.get(&name).is_none() && request.allow_auto_topic_creation {
                self.create_topic_automatically(&name);
            }
            response.topics.push(match self.topics.get(&name) {
                Some(topic) => describe(&name, topic),
                None => MetadataResponseTopic::default()
                    .with_error_code(ResponseError::UnknownTopicOrPartition.code())
                    .with_name(Some(name)),
            });
        }
        Reply::Now(response)
    }
}

fn describe(name: &TopicName, topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(partition.leader.unwrap_or(BrokerId(-1)))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(partition.replicas.clone())
            .with_isr_nodes(partition.isr.clone())
    });
    MetadataResponseTopic::default()
        .with_name(Some(name.clone()))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}
