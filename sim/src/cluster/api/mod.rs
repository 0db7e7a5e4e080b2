//! Requests and their answers, one file a family. Each handler is a method of the cluster.

mod cluster;
mod configs;
mod consumer_group;
mod elections;
mod fetch;
mod find_coordinator;
mod group_admin;
mod group_membership;
mod group_offsets;
mod init_producer_id;
mod leadership;
mod metadata;
mod offset_fetch;
mod offsets;
mod produce;
mod producers;
mod sasl;
mod topic_partitions;
mod topics;
mod transactions;
mod versions;
mod waiting;

#[cfg(test)]
pub(super) mod tests;

pub(super) use fetch::WaitingFetch;
pub(super) use metadata::Image;
pub(super) use produce::WaitingProduce;
pub(super) use waiting::Waits;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, BrokerId},
    protocol::{Decodable, Encodable, StrBytes},
};
use switchyard::wire::header::{LENGTH_BYTES, response_is_flexible};

use super::{
    Cluster,
    connection::{CloseCause, Ticket},
    time::Time,
};

/// What a handler may want to know of a request besides its body.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) now: Time,
    pub(super) ticket: Ticket,
    /// Who was asked.
    pub(super) broker: BrokerId,
    /// From the request's header.
    pub(super) client_id: Option<StrBytes>,
}

impl Context {
    /// Version of the request.
    pub(super) fn version(&self) -> i16 {
        self.ticket.api_version
    }
}

/// What a handler has come to.
pub(super) enum Reply<R> {
    /// The answer.
    Now(R),
    /// The handler has kept the ticket and calls [`Cluster::answer`] with it later.
    Later,
    /// There is none: `acks=0`.
    None,
    /// The connection is closed.
    Close(CloseCause),
}

impl Cluster {
    /// Serves a request whose bytes the walker has bounded.
    pub(super) fn dispatch(&mut self, context: &Context, key: ApiKey, body: Bytes) {
        match key {
            ApiKey::Produce => self.serve(context, body, Self::produce),
            ApiKey::Fetch => self.serve(context, body, Self::fetch),
            ApiKey::ListOffsets => self.serve(context, body, Self::list_offsets),
            ApiKey::Metadata => self.serve(context, body, Self::metadata),
            ApiKey::OffsetCommit => self.serve(context, body, Self::offset_commit),
            ApiKey::OffsetFetch => self.serve(context, body, Self::offset_fetch),
            ApiKey::FindCoordinator => self.serve(context, body, Self::find_coordinator),
            ApiKey::JoinGroup => self.serve(context, body, Self::join_group),
            ApiKey::Heartbeat => self.serve(context, body, Self::heartbeat),
            ApiKey::LeaveGroup => self.serve(context, body, Self::leave_group),
            ApiKey::SyncGroup => self.serve(context, body, Self::sync_group),
            ApiKey::DescribeGroups => self.serve(context, body, Self::describe_groups),
            ApiKey::ListGroups => self.serve(context, body, Self::list_groups),
            ApiKey::TxnOffsetCommit => self.serve(context, body, Self::txn_offset_commit),
            ApiKey::DeleteGroups => self.serve(context, body, Self::delete_groups),
            ApiKey::OffsetDelete => self.serve(context, body, Self::offset_delete),
            ApiKey::ConsumerGroupHeartbeat => {
                self.serve(context, body, Self::consumer_group_heartbeat);
            }
            ApiKey::ConsumerGroupDescribe => {
                self.serve(context, body, Self::consumer_group_describe);
            }
            ApiKey::DeleteRecords => self.serve(context, body, Self::delete_records),
            ApiKey::OffsetForLeaderEpoch => {
                self.serve(context, body, Self::offset_for_leader_epoch);
            }
            ApiKey::SaslHandshake => self.serve(context, body, Self::sasl_handshake),
            ApiKey::SaslAuthenticate => self.serve(context, body, Self::sasl_authenticate),
            ApiKey::ApiVersions => self.serve(context, body, Self::api_versions),
            ApiKey::InitProducerId => self.serve(context, body, Self::init_producer_id),
            ApiKey::AddPartitionsToTxn => self.serve(context, body, Self::add_partitions_to_txn),
            ApiKey::AddOffsetsToTxn => self.serve(context, body, Self::add_offsets_to_txn),
            ApiKey::EndTxn => self.serve(context, body, Self::end_txn),
            ApiKey::DescribeProducers => self.serve(context, body, Self::describe_producers),
            ApiKey::DescribeTransactions => self.serve(context, body, Self::describe_transactions),
            ApiKey::ListTransactions => self.serve(context, body, Self::list_transactions),
            ApiKey::CreateTopics => self.serve(context, body, Self::create_topics),
            ApiKey::DeleteTopics => self.serve(context, body, Self::delete_topics),
            ApiKey::DescribeConfigs => self.serve(context, body, Self::describe_configs),
            ApiKey::AlterConfigs => self.serve(context, body, Self::alter_configs),
            ApiKey::CreatePartitions => self.serve(context, body, Self::create_partitions),
            ApiKey::ElectLeaders => self.serve(context, body, Self::elect_leaders_by_request),
            ApiKey::IncrementalAlterConfigs => {
                self.serve(context, body, Self::incremental_alter_configs);
            }
            ApiKey::DescribeCluster => self.serve(context, body, Self::describe_cluster),
            ApiKey::DescribeTopicPartitions => {
                self.serve(context, body, Self::describe_topic_partitions);
            }
            _ => self.close_connection(context.ticket.connection, CloseCause::InvalidRequest),
        }
    }

    fn serve<Q: Decodable, R: Encodable>(
        &mut self,
        context: &Context,
        mut body: Bytes,
        handler: fn(&mut Self, &Context, Q) -> Reply<R>,
    ) {
        let Ok(request) = Q::decode(&mut body, context.ticket.api_version) else {
            return self.close_connection(context.ticket.connection, CloseCause::InvalidRequest);
        };
        match handler(self, context, request) {
            Reply::Now(response) => self.answer(context.ticket, &response),
            Reply::Later => {}
            Reply::None => self.finish(context.ticket, None),
            Reply::Close(cause) => self.close_connection(context.ticket.connection, cause),
        }
    }

    /// Answers a request, at once or after [`Reply::Later`].
    pub(super) fn answer<R: Encodable>(&mut self, ticket: Ticket, response: &R) {
        let frame = encode(ticket, response);
        self.finish(ticket, Some(frame));
    }
}

/// A whole frame, length included.
fn encode<R: Encodable>(ticket: Ticket, response: &R) -> Bytes {
    let body = response.compute_size(ticket.api_version).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + 5 + body);
    frame.put_u32(0);
    frame.put_i32(ticket.correlation_id);
    if response_is_flexible(ticket.api_key, ticket.api_version) {
        frame.put_u8(0);
    }
    response.encode(&mut frame, ticket.api_version).unwrap_or_else(|error| {
        panic!("answer to API {} v{}: {error}", ticket.api_key, ticket.api_version)
    });
    let length = u32::try_from(frame.len() - LENGTH_BYTES).expect("answers are below 4 GiB");
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}
