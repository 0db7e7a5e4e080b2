//! Connections of clients: one request is served at a time, as Kafka does, so answers keep their order.

use std::collections::VecDeque;

use bytes::Bytes;
use kafka_protocol::messages::BrokerId;

/// One connection, never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A request that waits for its answer: enough to find the way back and to encode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) connection: ConnectionId,
    /// Unique in the cluster: an answer to a request that was answered before is a bug.
    pub(super) number: u64,
    pub(super) correlation_id: i32,
    pub(super) api_key: i16,
    pub(super) api_version: i16,
}

impl Ticket {
    /// Before every ticket of a connection, after those of earlier ones.
    pub(super) fn first_of(connection: ConnectionId) -> Self {
        Self {
            connection,
            number: 0,
            correlation_id: i32::MIN,
            api_key: i16::MIN,
            api_version: i16::MIN,
        }
    }
}

/// Why the cluster closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCause {
    /// The bytes are no request, or one of a version that was not offered.
    InvalidRequest,
    /// The client must authenticate first, or has failed to.
    Authentication,
    /// The broker went down.
    BrokerDown,
    /// A fault that was asked for.
    Fault,
    /// A produce that asked for no answer has failed: there is no other way to say so.
    ProduceFailed,
}

/// One connection of a client.
pub(super) struct Connection {
    pub(super) broker: BrokerId,
    /// As the groups show it: `/127.0.0.1`.
    pub(super) host: String,
    /// Frames that arrived while another was served.
    pub(super) queue: VecDeque<Bytes>,
    /// The request that is served.
    pub(super) serving: Option<u64>,
    /// How far the client has authenticated.
    pub(super) authentication: super::sasl::Authentication,
}
