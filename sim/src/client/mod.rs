//! Model Kafka clients: producers and consumers that behave like the Java client or librdkafka.
//!
//! ```text
//!  connected, frame, closed, command, time ─▶ Producer, Consumer ─▶ Dial, Send, Close, Event
//!                                                              ─▶ deadline
//! ```
//!
//! They are pure state machines: no socket, clock, thread or entropy; randomness comes from
//! [`crate::random::stream`]. Drain `poll_output` after every input, then wait for `deadline` at most.
//!
//! A profile is data (the catalogue of properties, the versions spoken, backoffs) and a few strategies, chosen by
//! [`Library`] at the places where the libraries differ. What they do when they are moved to another cluster is
//! what was measured on the real ones.

mod base;
mod batch;
mod config;
mod connection;
mod consumer;
mod coordinator;
mod metadata;
mod network;
mod producer;
pub mod record;
mod versions;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use kafka_protocol::{ResponseError, messages::TopicName};

pub use config::{
    Acks, ConsumerSettings, GroupProtocol, Library, ProducerSettings, Properties, PropertyError,
    RecoveryStrategy, ResetPolicy, Role,
};
pub use connection::Breakage;
pub use consumer::{Consumer, ResetCause};
pub use producer::{FailureReason, Producer};

/// Offsets and values of the records that committed reads find in batches, given the producer id and first offset of every
/// aborted transaction among them.
pub fn committed(mut batches: Bytes, aborted: &[(i64, i64)]) -> Vec<(i64, Bytes)> {
    let mut found = Vec::new();
    // Producers that are in an aborted transaction at this place of the log.
    let mut open: std::collections::BTreeSet<i64> = std::collections::BTreeSet::new();
    let mut ahead = aborted.to_vec();
    ahead.sort_by_key(|(_, first)| *first);
    let mut ahead = ahead.into_iter().peekable();
    while let Ok(Some(batch)) = batch::next(&mut batches) {
        while let Some((id, _)) = ahead.next_if(|(_, first)| *first <= batch.last_offset()) {
            open.insert(id);
        }
        if batch.is_control() {
            if batch.is_abort() {
                open.remove(&batch.producer_id());
            }
            continue;
        }
        if batch.is_transactional() && open.contains(&batch.producer_id()) {
            continue;
        }
        let records = batch.records();
        found.extend(records.flatten().filter_map(|record| Some((record.offset, record.value?))));
    }
    found
}

/// A connection of one client, never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A partition of a topic.
pub type TopicPartition = (TopicName, i32);

/// What happens to a client.
#[derive(Clone, Debug)]
pub enum Input {
    /// A dial has succeeded.
    Connected(ConnectionId),
    /// A dial has failed, or the other side has closed.
    Closed(ConnectionId),
    /// A whole frame has arrived, without its length.
    Frame(ConnectionId, Bytes),
    /// The application wants something.
    Command(Command),
    /// Time has passed.
    Time,
}

/// What an application asks of its client.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send the next numbered record.
    Send(Send),
    /// Start a transaction.
    BeginTransaction,
    /// Commit it.
    CommitTransaction,
    /// Abort it.
    AbortTransaction,
    /// Commit offsets of a consumer group within the transaction.
    SendOffsets {
        /// Whose.
        group: String,
        /// The next offset to consume, by partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A consumer's application does something else than polling.
    Pause,
    /// It polls again, all the time.
    Resume,
    /// Commit what was consumed.
    Commit,
    /// Finish: nothing more is asked.
    Close,
}

/// A record to send. Its number is the producer's count.
#[derive(Clone, Debug)]
pub struct Send {
    /// Where to.
    pub topic: TopicName,
    /// `None`: the partitioner decides.
    pub partition: Option<i32>,
    /// Decides the partition, where it is there.
    pub key: Option<Bytes>,
    /// Size of the value at least.
    pub value_bytes_min: usize,
}

/// What a client wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, and tell whether it worked.
    Dial {
        /// Its id from now on.
        connection: ConnectionId,
        /// Host to dial.
        host: String,
        /// Port to dial.
        port: u16,
    },
    /// Send one whole frame, length included.
    Send {
        /// Whose.
        connection: ConnectionId,
        /// What.
        frame: Bytes,
    },
    /// Close a connection; nothing more is to be fed from it.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// The application hears of something.
    Event(Event),
}

/// What an application, or somebody who watches it, sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record was acknowledged.
    Acknowledged {
        /// Which one.
        number: u64,
        /// Where it is.
        topic: TopicName,
        /// Where it is.
        partition: i32,
        /// Where it is; −1: the broker did not say.
        offset: i64,
    },
    /// A record will not be sent any more; it may have arrived all the same.
    Failed {
        /// Which one.
        number: u64,
        /// Why.
        reason: FailureReason,
    },
    /// A transaction could be begun.
    TransactionReady,
    /// A transaction has been committed.
    TransactionCommitted,
    /// A transaction has been aborted.
    TransactionAborted,
    /// A transaction cannot be committed any more; it can be aborted, if that is said, or the client is of no use.
    TransactionFailed {
        /// Why.
        error: ResponseError,
        /// Whether the same client can go on after an abort.
        abortable: bool,
    },
    /// The client is of no use any more and has to be created anew.
    Fatal {
        /// Why.
        error: ResponseError,
    },
    /// The producer numbers its records anew, at this epoch of its id.
    EpochBumped {
        /// Producer id.
        producer_id: i64,
        /// From now on.
        epoch: i16,
    },
    /// A record was handed to the application.
    Consumed {
        /// Where it was.
        topic: TopicName,
        /// Where it was.
        partition: i32,
        /// Where it was.
        offset: i64,
        /// What [`record::Numbered::decode`] reads.
        value: Bytes,
    },
    /// Partitions were added to the consumer's; there may be none.
    Assigned {
        /// Which ones.
        partitions: Vec<TopicPartition>,
    },
    /// Partitions were given back.
    Revoked {
        /// Which ones.
        partitions: Vec<TopicPartition>,
    },
    /// Partitions are others' already.
    Lost {
        /// Which ones.
        partitions: Vec<TopicPartition>,
    },
    /// The group does not know the member any more; it joins again.
    MembershipLost {
        /// How it said so.
        error: ResponseError,
    },
    /// The application has not polled for `max.poll.interval.ms`; the consumer has left its group.
    PollIntervalExceeded,
    /// A position was chosen anew.
    PositionReset {
        /// Where.
        topic: TopicName,
        /// Where.
        partition: i32,
        /// Where it was; `None`: nowhere.
        from: Option<i64>,
        /// Where it is now.
        to: i64,
        /// Why.
        cause: ResetCause,
    },
    /// There is no position, and `auto.offset.reset` is `none`.
    NoPosition {
        /// Where.
        topic: TopicName,
        /// Where.
        partition: i32,
        /// Why.
        cause: ResetCause,
    },
    /// The group has taken offsets.
    Committed {
        /// The next offset to consume, by partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// The group has refused offsets.
    CommitFailed {
        /// Why.
        error: ResponseError,
    },
    /// An error that the application sees and that the client goes on after.
    Error {
        /// Which one.
        error: ResponseError,
    },
    /// The cluster does not know the client's user or password.
    AuthenticationFailed,
    /// No broker can be reached (librdkafka's `_ALL_BROKERS_DOWN`).
    AllBrokersDown,
    /// The client has started again from its bootstrap servers.
    Rebootstrapped,
    /// The client found itself on another cluster.
    ClusterIdChanged {
        /// The new one.
        id: String,
    },
    /// A description of the cluster was not believed, because its leader epochs were older than known ones.
    StaleMetadataIgnored,
    /// The client has closed everything.
    Closed,
}
