//! What stands between clients and cluster in some tests: a view that hides what only holds for one cluster, as a
//! gateway may do. Requests pass unchanged; answers are decoded, changed and encoded again.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsResponse, ConsumerGroupHeartbeatResponse, MetadataResponse,
        ResponseHeader,
    },
    protocol::{Decodable, Encodable},
};
use switchyard::wire::header::{Peek, peek_request, response_is_flexible};
use uuid::Uuid;

/// What is hidden.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Newest versions that are offered.
    pub(super) newest: Vec<(ApiKey, i16)>,
    /// Topic ids are zero in Metadata.
    pub(super) no_topic_ids: bool,
    /// Leader epochs are −1 in Metadata.
    pub(super) no_epochs: bool,
    /// A group that is not there is told as a member that is not (KIP-848).
    pub(super) unknown_member_for_unknown_group: bool,
    /// The next Metadata answers send clients back to their bootstrap servers, so many times.
    pub(super) rebootstraps: usize,
}

impl View {
    /// Produce and Fetch without topic ids.
    pub(super) fn without_topic_ids() -> Self {
        let newest = vec![(ApiKey::Produce, 12), (ApiKey::Fetch, 12)];
        Self { newest, no_topic_ids: true, ..Self::default() }
    }

    /// The one that was measured to suit every client.
    pub(super) fn neutral() -> Self {
        let newest = vec![(ApiKey::Produce, 12), (ApiKey::Fetch, 12), (ApiKey::Metadata, 8)];
        Self { newest, no_epochs: true, ..Self::default() }
    }
}

/// Requests of one link, in order.
#[derive(Default)]
pub(super) struct Pending(VecDeque<(i16, i16)>);

impl Pending {
    pub(super) fn asked(&mut self, frame: &Bytes) {
        if let Peek::Ready(head) = peek_request(frame, frame.len()) {
            self.0.push_back((head.api_key, head.api_version));
        }
    }

    /// An answer as the client gets it.
    pub(super) fn answered(&mut self, view: &mut View, frame: Bytes) -> Bytes {
        let Some((key, version)) = self.0.pop_front() else { return frame };
        match ApiKey::try_from(key) {
            Ok(ApiKey::ApiVersions) => {
                change(key, version, frame, |it: &mut ApiVersionsResponse| {
                    for (hidden, newest) in &view.newest {
                        for api in it.api_keys.iter_mut().filter(|it| it.api_key == *hidden as i16)
                        {
                            api.max_version = api.max_version.min(*newest);
                        }
                    }
                })
            }
            Ok(ApiKey::Metadata) => change(key, version, frame, |it: &mut MetadataResponse| {
                if version >= 13 && view.rebootstraps > 0 {
                    view.rebootstraps -= 1;
                    it.error_code = ResponseError::RebootstrapRequired.code();
                }
                for topic in &mut it.topics {
                    if view.no_topic_ids {
                        topic.topic_id = Uuid::nil();
                    }
                    for partition in topic.partitions.iter_mut().filter(|_| view.no_epochs) {
                        partition.leader_epoch = -1;
                    }
                }
            }),
            Ok(ApiKey::ConsumerGroupHeartbeat) if view.unknown_member_for_unknown_group => {
                change(key, version, frame, |it: &mut ConsumerGroupHeartbeatResponse| {
                    if it.error_code == ResponseError::GroupIdNotFound.code() {
                        it.error_code = ResponseError::UnknownMemberId.code();
                    }
                })
            }
            _ => frame,
        }
    }
}

fn change<R: Decodable + Encodable>(
    key: i16,
    version: i16,
    mut frame: Bytes,
    change: impl FnOnce(&mut R),
) -> Bytes {
    let header_version = i16::from(response_is_flexible(key, version));
    let header = ResponseHeader::decode(&mut frame, header_version).expect("a broker's answer");
    let mut response = R::decode(&mut frame, version).expect("a broker's answer");
    change(&mut response);
    let mut changed = BytesMut::new();
    changed.put_i32(header.correlation_id);
    if header_version == 1 {
        changed.put_u8(0);
    }
    response.encode(&mut changed, version).expect("it was decoded in this version");
    changed.freeze()
}
