//! Who leads a partition, for requests that only its leader or its replicas may serve.

use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, TopicName},
    protocol::StrBytes,
};

use super::super::{Cluster, topic::Partition};

/// Who may serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Servant {
    /// The leader alone.
    Leader,
    /// Any replica.
    Replica,
}

/// A client that knows no leader epoch says so.
const NO_EPOCH: i32 = -1;

impl Cluster {
    /// A partition, if this broker may serve it to a client that takes `epoch` for the leader's.
    pub(super) fn served_partition(
        &self,
        broker: BrokerId,
        (topic, index): (&TopicName, i32),
        epoch: i32,
        servant: Servant,
    ) -> Result<&Partition, ResponseError> {
        let partition = self.topics.partition(topic, index);
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&broker) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        if epoch != NO_EPOCH && epoch < partition.leader_epoch {
            return Err(ResponseError::FencedLeaderEpoch);
        }
        if epoch > partition.leader_epoch {
            return Err(ResponseError::UnknownLeaderEpoch);
        }
        if servant == Servant::Leader && partition.leader != Some(broker) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        Ok(partition)
    }

    /// What KIP-951 tells a client that has asked the wrong broker: leader and leader epoch, -1 where unknown.
    pub(super) fn current_leader(&self, topic: &TopicName, index: i32) -> (BrokerId, i32) {
        match self.topics.partition(topic, index) {
            Some(partition) => (partition.leader.unwrap_or(BrokerId(-1)), partition.leader_epoch),
            None => (BrokerId(-1), -1),
        }
    }

    /// Where clients reach a broker: host, port, rack.
    pub(super) fn endpoint(&self, broker: BrokerId) -> Option<(StrBytes, i32, Option<StrBytes>)> {
        let broker = self.brokers.get(&broker).filter(|broker| broker.is_listed())?;
        Some((
            StrBytes::from_string(broker.host.clone()),
            i32::from(broker.port),
            broker.rack.clone().map(StrBytes::from_string),
        ))
    }
}
