//! Metadata, and the view of the cluster that it tells.

use std::collections::{BTreeMap, BTreeSet};

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
    super::{
        Cluster,
        broker::{Broker, BrokerState},
        controller::{check_name, is_internal},
        topic::{Partition, Topic},
    },
    Context, Reply,
};

/// What an unrestricted client may do with a topic, as the bits of Kafka's operations.
pub(super) const TOPIC_OPERATIONS: i32 = 0x0df8;
/// The same with the cluster.
pub(super) const CLUSTER_OPERATIONS: i32 = 0x1fa0;
/// From which version on an answer has an error of its own.
const SAYS_ERROR: i16 = 13;
/// Nobody has asked what the client may do.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// What a broker tells of the cluster: the current state, or that of an earlier moment.
pub(in super::super) struct Image {
    brokers: Vec<MetadataResponseBroker>,
    controller: BrokerId,
    topics: BTreeMap<TopicName, MetadataResponseTopic>,
}

impl Image {
    /// All of it, now.
    pub(in super::super) fn of(cluster: &Cluster) -> Self {
        let topics = cluster.topics.iter().filter(|(name, _)| cluster.is_visible(name));
        Self {
            brokers: cluster.listed_brokers(),
            controller: cluster.controller().unwrap_or(BrokerId(-1)),
            topics: topics.map(|(name, it)| (name.clone(), cluster.tell(name, it))).collect(),
        }
    }
}

impl Cluster {
    pub(super) fn metadata(
        &mut self,
        context: &Context,
        request: MetadataRequest,
    ) -> Reply<MetadataResponse> {
        let version = context.version();
        if let Some(refused) = refuse(version, &request) {
            return Reply::Now(refused);
        }
        let image = self.faults.stale_image(context.broker.0);
        let brokers = image.map_or_else(|| self.listed_brokers(), |image| image.brokers.clone());
        let controller = image
            .map(|image| image.controller)
            .or_else(|| self.controller())
            .unwrap_or(BrokerId(-1));
        let mut topics: Vec<MetadataResponseTopic> = match request.topics {
            // Before v1 an empty list means all.
            Some(topics) if !(topics.is_empty() && version == 0) => {
                let ids = topics.iter().map(|topic| topic.topic_id).filter(|id| !id.is_nil());
                let ids: BTreeSet<_> = ids.collect();
                if ids.is_empty() {
                    let names: BTreeSet<_> =
                        topics.into_iter().filter_map(|topic| topic.name).collect();
                    let create = version < 4 || request.allow_auto_topic_creation;
                    names.into_iter().map(|name| self.told(context, name, create)).collect()
                } else {
                    ids.into_iter().map(|id| self.told_by_id(context, id)).collect()
                }
            }
            _ => match self.faults.stale_image(context.broker.0) {
                Some(image) => image.topics.values().cloned().collect(),
                None => Image::of(self).topics.into_values().collect(),
            },
        };
        for topic in &mut topics {
            if version == 0 {
                self.hide_absent(topic);
            }
            if version >= 8 && request.include_topic_authorized_operations {
                topic.topic_authorized_operations = TOPIC_OPERATIONS;
            }
        }
        let asked = (8..=10).contains(&version) && request.include_cluster_authorized_operations;
        Reply::Now(
            MetadataResponse::default()
                .with_brokers(brokers)
                .with_cluster_id(Some(self.cluster_id.clone()))
                .with_controller_id(controller)
                .with_topics(topics)
                .with_cluster_authorized_operations(if asked {
                    CLUSTER_OPERATIONS
                } else {
                    OPERATIONS_NOT_ASKED
                }),
        )
    }

    /// Every broker that clients are told of.
    fn listed_brokers(&self) -> Vec<MetadataResponseBroker> {
        let listed = self.brokers.values().filter(|broker| broker.is_listed());
        let told = listed.map(|broker| {
            MetadataResponseBroker::default()
                .with_node_id(broker.id)
                .with_host(StrBytes::from_string(broker.host.clone()))
                .with_port(i32::from(broker.port))
                .with_rack(broker.rack.clone().map(StrBytes::from_string))
        });
        told.collect()
    }

    fn told_by_id(&self, context: &Context, id: uuid::Uuid) -> MetadataResponseTopic {
        let known = match self.faults.stale_image(context.broker.0) {
            Some(image) => image.topics.values().find(|topic| topic.topic_id == id).cloned(),
            None => self
                .topics
                .name_of(id)
                .filter(|name| self.is_visible(name))
                .and_then(|name| Some(self.tell(name, self.topics.get(name)?))),
        };
        known.unwrap_or_else(|| {
            MetadataResponseTopic::default()
                .with_error_code(ResponseError::UnknownTopicId.code())
                .with_name(None)
                .with_topic_id(id)
        })
    }

    /// What is told of a topic that a client names. One that is created for it is told next time only, as Kafka's
    /// brokers hear of it from the controller.
    fn told(&mut self, context: &Context, name: TopicName, create: bool) -> MetadataResponseTopic {
        let image = self.faults.stale_image(context.broker.0);
        let known = match image {
            Some(image) => image.topics.get(&name).cloned(),
            None => self
                .topics
                .get(&name)
                .filter(|_| self.is_visible(&name))
                .map(|topic| self.tell(&name, topic)),
        };
        if let Some(known) = known {
            return known;
        }
        let error = match check_name(name.as_str()) {
            Err(refusal) => refusal.error,
            Ok(()) => ResponseError::UnknownTopicOrPartition,
        };
        if create && self.settings.flag("auto.create.topics.enable") {
            self.reveal_internal(&name);
            // Why it was not created is not told: the client sees that it does not come.
            let _ = self.create_topic_automatically(&name);
        }
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_is_internal(is_internal(&name))
            .with_name(Some(name))
    }

    fn tell(&self, name: &TopicName, topic: &Topic) -> MetadataResponseTopic {
        let partitions = (0..)
            .zip(&topic.partitions)
            .map(|(index, partition)| self.tell_partition(index, partition));
        MetadataResponseTopic::default()
            .with_name(Some(name.clone()))
            .with_topic_id(topic.id)
            .with_is_internal(is_internal(name))
            .with_partitions(partitions.collect())
    }

    fn tell_partition(&self, index: i32, partition: &Partition) -> MetadataResponsePartition {
        let error = match partition.leader {
            Some(_) => 0,
            None => ResponseError::LeaderNotAvailable.code(),
        };
        MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index)
            .with_leader_id(partition.leader.unwrap_or(BrokerId(-1)))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(partition.replicas.clone())
            .with_isr_nodes(partition.isr.clone())
            .with_offline_replicas(self.offline(partition))
    }

    /// Replicas that the controller knows to be away.
    pub(super) fn offline(&self, partition: &Partition) -> Vec<BrokerId> {
        let is_there = |broker: &Broker| broker.state != BrokerState::Fenced && broker.disk_online;
        let away = |id: &&BrokerId| !self.brokers.get(*id).is_some_and(is_there);
        partition.replicas.iter().filter(away).copied().collect()
    }

    /// Clients of v0 are not told of replicas that are away, but of an error.
    fn hide_absent(&self, topic: &mut MetadataResponseTopic) {
        let listed = |id: &BrokerId| self.brokers.get(id).is_some_and(Broker::is_listed);
        for partition in &mut topic.partitions {
            let before = partition.replica_nodes.len() + partition.isr_nodes.len();
            partition.replica_nodes.retain(listed);
            partition.isr_nodes.retain(listed);
            let after = partition.replica_nodes.len() + partition.isr_nodes.len();
            if after < before && partition.error_code == 0 {
                partition.error_code = ResponseError::ReplicaNotAvailable.code();
            }
        }
    }
}

/// A request that names a topic in a way that its version cannot is refused as a whole.
fn refuse(version: i16, request: &MetadataRequest) -> Option<MetadataResponse> {
    let asked = request.topics.as_ref()?;
    let error = if version < 12 {
        let wrong = asked.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_nil());
        wrong.then_some(ResponseError::InvalidRequest)
    } else {
        let wrong = asked.iter().any(|topic| topic.name.is_none() && topic.topic_id.is_nil());
        wrong.then_some(ResponseError::UnknownServerError)
    }?;
    let topics = asked.iter().map(|topic| {
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
    });
    let response = MetadataResponse::default()
        .with_topics(topics.collect())
        .with_error_code(if version >= SAYS_ERROR { error.code() } else { 0 });
    Some(response.with_cluster_id(None).with_controller_id(BrokerId(-1)))
}
