//! The way to a partition's leader.

use std::{net::SocketAddr, time::Duration};

use kafka_protocol::messages::{MetadataRequest, metadata_request::MetadataRequestTopic};

use super::Shared;
use crate::ask::{AskError, Connection, accepted, topic_name};

/// Newest version that every view of a gateway offers.
const METADATA_VERSION: i16 = 8;
/// Pause after a failure, as clients have one.
pub(super) const BACKOFF: Duration = Duration::from_millis(100);

/// A connection to the leader of one partition; asked for anew whenever it was given up.
pub(super) struct Leader {
    shared: Shared,
    partition: i32,
    connection: Option<Connection>,
}

impl Leader {
    pub(super) fn new(shared: Shared, partition: i32) -> Self {
        Self { shared, partition, connection: None }
    }

    /// The connection, there already or new.
    pub(super) async fn connection(&mut self) -> Result<&mut Connection, AskError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Whatever it was, the next request looks for the leader again.
    pub(super) fn give_up(&mut self) {
        self.connection = None;
        self.shared.with(self.partition, |tally| tally.retries += 1);
    }

    async fn connect(&self) -> Result<Connection, AskError> {
        let mut bootstrap = Connection::open(&self.shared.bootstrap).await?;
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(&self.shared.topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        let metadata = bootstrap.ask(&request, METADATA_VERSION).await?;
        let what = format!("leader of {}-{}", self.shared.topic, self.partition);
        let unavailable = kafka_protocol::ResponseError::LeaderNotAvailable.code();
        let partition = metadata
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .find(|partition| partition.partition_index == self.partition);
        let leader = partition.and_then(|partition| {
            metadata.brokers.iter().find(|broker| broker.node_id == partition.leader_id)
        });
        let Some(leader) = leader else {
            return Err(accepted(&what, unavailable).expect_err("not zero"));
        };
        let address = match leader.host.parse() {
            Ok(ip) => SocketAddr::new(ip, u16::try_from(leader.port).unwrap_or(0)).to_string(),
            Err(_) => format!("{}:{}", leader.host.as_str(), leader.port),
        };
        Connection::open(&address).await
    }
}
