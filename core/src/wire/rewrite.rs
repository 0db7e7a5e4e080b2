//! Responses as clients may see them: addresses replaced, what is particular to one cluster removed.
//!
//! Responses are edited, not decoded and encoded again: the walker says where the marked fields stand, and
//! the frame is copied once with other bytes in those places. What the gateway does not know of (tagged
//! fields of a later Kafka) survives. Error messages and other free text are left as they are, but for the
//! listeners in the configuration of a broker.

use std::{ops::Range, sync::Arc};

use super::{
    api::ClientView,
    api_versions::{self, API_VERSIONS, Offered},
    schema::{Field, Kind, Mark},
    tree::varint,
    walk::{Scalar, Visitor, WalkError, Walker},
};
use crate::topology::{BrokerAddress, NodeId};

const FIND_COORDINATOR: i16 = 10;
const DESCRIBE_QUORUM: i16 = 55;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

/// `EndpointType` of a DescribeCluster response that lists brokers (KIP-919).
const BROKER_ENDPOINTS: i64 = 1;

/// First version of FindCoordinator that asks for several (KIP-699).
const BATCHED_COORDINATORS: i16 = 4;

const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const UNKNOWN_MEMBER_ID: i16 = 25;
const GROUP_ID_NOT_FOUND: i64 = 69;

/// Type of a DescribeConfigs resource.
const BROKER_RESOURCE: i64 = 4;

/// Configuration keys of a broker whose values are addresses.
const ADDRESS_CONFIGS: &[&[u8]] = &[
    b"advertised.listeners",
    b"listeners",
    b"advertised.host.name",
    b"host.name",
    b"advertised.port",
    b"controller.quorum.voters",
    b"controller.quorum.bootstrap.servers",
    b"zookeeper.connect",
    b"confluent.metadata.server.advertised.listeners",
];

/// Where clients reach a node id: host and port of the gateway.
pub trait VirtualAddresses {
    /// `None`: the node id has no virtual endpoint and must not be shown.
    fn address_of(&self, node: NodeId) -> Option<(&str, u16)>;
}

/// What a rewrite needs to know about the response and its route.
pub struct Context<'a> {
    /// API key of the request.
    pub api_key: i16,
    /// API version of the request.
    pub api_version: i16,
    /// The route's client view.
    pub view: ClientView,
    /// Virtual addresses of the route under its current target.
    pub addresses: &'a dyn VirtualAddresses,
    /// Shown in place of the cluster's own id, whatever its form (neutral view).
    pub cluster_id: Option<&'a str>,
    /// Put into the producer id of InitProducerId responses; `None` for transactional producers and in
    /// the native view.
    pub producer_id_tag: Option<ProducerIdTag>,
    /// GROUP_ID_NOT_FOUND becomes UNKNOWN_MEMBER_ID (a member that was moved here).
    pub moved_member: bool,
    /// What the other domains of the route offer; ApiVersions answers are intersected with it.
    pub offered_elsewhere: &'a [Arc<Offered>],
}

/// Bits that keep the producer ids of two domains apart: `id | tag << 40`, 1 ≤ tag < 2^22.
///
/// Brokers take any producer id and any first sequence, so that only the answer to InitProducerId has to be
/// changed; the checksum of a batch covers the id, so that nothing could be changed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerIdTag(pub u32);

impl ProducerIdTag {
    /// First bit of the tag. Clusters count their ids up from 0 in blocks of 1,000.
    const SHIFT: u32 = 40;
    /// First tag that would make an id negative.
    pub const LIMIT: u32 = 1 << 22;

    /// The id as clients get it. One that already uses the upper bits (another gateway stands behind) is
    /// left alone.
    fn apply(self, producer_id: i64) -> i64 {
        if (0..1 << Self::SHIFT).contains(&producer_id) {
            producer_id | i64::from(self.0) << Self::SHIFT
        } else {
            producer_id
        }
    }
}

/// What a rewrite found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Brokers and their real addresses, as the response had them.
    pub learned: Vec<(NodeId, BrokerAddress)>,
    /// Node ids outside the ranges, removed from the response.
    pub dropped: Vec<NodeId>,
    /// Versions that upstream offers, when the response was ApiVersions.
    pub offered: Option<Offered>,
    /// Whether any byte was changed.
    pub changed: bool,
}

/// Rewrites one response. `frame` is the response behind its length (header and body). If anything is to
/// be changed, `out` gets the new length and frame appended; else nothing.
pub fn rewrite(
    context: &Context<'_>,
    frame: &[u8],
    out: &mut Vec<u8>,
) -> Result<Report, WalkError> {
    let mut version = context.api_version;
    let mut offered = None;
    if context.api_key == API_VERSIONS {
        version = api_versions::body_version(version, frame.get(4..).unwrap_or_default());
        offered = Some(Offered::from_response(version, frame)?);
    }
    let shown =
        offered.as_ref().map(|all| all.for_clients(context.view, context.offered_elsewhere));
    let mut walker = Walker::response(context.api_key, version, frame.len())?;
    let mut editor = Editor::new(context, version, frame, shown);
    walker.feed(frame, &mut editor)?;
    walker.finish()?;
    let Editor { mut edits, mut report, .. } = editor;
    report.offered = offered;
    report.changed = !edits.is_empty();
    if report.changed {
        edits.sort_by_key(|edit| edit.start);
        apply(frame, &edits, out);
    }
    Ok(report)
}

/// Bytes `start..end` of the frame become `bytes`.
struct Edit {
    start: usize,
    end: usize,
    bytes: Vec<u8>,
}

fn apply(frame: &[u8], edits: &[Edit], out: &mut Vec<u8>) {
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut position = 0;
    for edit in edits {
        debug_assert!(position <= edit.start, "edits overlap");
        out.extend_from_slice(&frame[position..edit.start]);
        out.extend_from_slice(&edit.bytes);
        position = edit.end;
    }
    out.extend_from_slice(&frame[position..]);
    // The frame was bounded by a limit far below 2 GiB, and so is what replaces its parts.
    let length = i32::try_from(out.len() - length_at - 4).unwrap_or(i32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A broker whose fields have come by in part.
#[derive(Default)]
struct Broker {
    node: Option<(i64, usize)>,
    host: Option<(usize, usize, usize)>,
}

/// An array in which elements may be removed.
struct Listing {
    count_at: usize,
    body: usize,
    count: u32,
    removed: u32,
    element_at: usize,
    /// Edits before the present element.
    edits_before: usize,
    remove: bool,
}

struct Editor<'a> {
    context: &'a Context<'a>,
    frame: &'a [u8],
    compact: bool,
    shown: Option<Offered>,
    /// Whether addresses are those of brokers; controllers listen elsewhere under the same node ids.
    lists_brokers: bool,
    edits: Vec<Edit>,
    report: Report,
    listing: Option<Listing>,
    broker: Broker,
    error_at: Option<usize>,
    tagged: Option<(usize, usize, usize)>,
    resource_type: i64,
    address_config: bool,
    api_key: i16,
}

impl<'a> Editor<'a> {
    fn new(
        context: &'a Context<'a>,
        version: i16,
        frame: &'a [u8],
        shown: Option<Offered>,
    ) -> Self {
        let compact = super::schema::api(context.api_key)
            .is_some_and(|api| api.response.is_flexible(version));
        Self {
            context,
            frame,
            compact,
            shown,
            lists_brokers: context.api_key != DESCRIBE_QUORUM,
            edits: Vec::new(),
            report: Report::default(),
            listing: None,
            broker: Broker::default(),
            error_at: None,
            tagged: None,
            resource_type: 0,
            address_config: false,
            api_key: 0,
        }
    }

    fn edit(&mut self, start: usize, end: usize, bytes: Vec<u8>) {
        if self.frame.get(start..end) != Some(&bytes) {
            self.edits.push(Edit { start, end, bytes });
        }
    }

    fn patch<const N: usize>(&mut self, start: usize, bytes: [u8; N]) {
        self.edit(start, start + N, bytes.to_vec());
    }

    fn string(&self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len() + 3);
        if self.compact {
            varint(text.len() + 1, &mut bytes);
        } else {
            let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    fn neutral(&self) -> bool {
        self.context.view == ClientView::Neutral
    }

    /// Node id, host and port of one broker are known: the port came last.
    fn endpoint(&mut self, port_at: usize, port_bytes: usize, port: i64) {
        let (Some((node, node_at)), Some((host_at, host_body, host_end))) =
            (self.broker.node, self.broker.host.take())
        else {
            return;
        };
        let Some(id) = i32::try_from(node).ok().filter(|id| *id >= 0).map(NodeId) else {
            // No broker: an error row of FindCoordinator. Nothing but an error has no address.
            if host_end > host_body {
                let empty = self.string("");
                self.edit(host_at, host_end, empty);
            }
            return;
        };
        if self.lists_brokers {
            let host = String::from_utf8_lossy(&self.frame[host_body..host_end]);
            self.learn(id, &host, port);
        }
        if let Some((host, port)) = self.context.addresses.address_of(id) {
            let host = self.string(host);
            self.edit(host_at, host_end, host);
            let port = i64::from(port).to_be_bytes();
            self.edit(port_at, port_at + port_bytes, port[8 - port_bytes..].to_vec());
            return;
        }
        if !self.report.dropped.contains(&id) {
            self.report.dropped.push(id);
        }
        if let Some(listing) = &mut self.listing {
            listing.remove = true;
        } else {
            self.no_coordinator(node_at, (host_at, host_end), port_at);
        }
    }

    fn learn(&mut self, id: NodeId, host: &str, port: i64) {
        if let Ok(port @ 1..) = u16::try_from(port)
            && !host.is_empty()
            && !self.report.learned.iter().any(|(known, _)| *known == id)
        {
            self.report.learned.push((id, BrokerAddress { host: host.to_owned(), port }));
        }
    }

    /// The coordinator has no virtual endpoint: clients may not know it.
    fn no_coordinator(&mut self, node_at: usize, host: (usize, usize), port_at: usize) {
        if let Some(at) = self.error_at {
            self.patch(at, COORDINATOR_NOT_AVAILABLE.to_be_bytes());
        }
        self.patch(node_at, (-1_i32).to_be_bytes());
        let empty = self.string("");
        self.edit(host.0, host.1, empty);
        self.patch(port_at, (-1_i32).to_be_bytes());
    }

    fn api_version(&mut self, field: &Field, start: usize, value: i64) {
        let value = i16::try_from(value).unwrap_or(-1);
        if field.mark == Mark::ApiKey {
            self.api_key = value;
            let shown = self.shown.as_ref().is_some_and(|shown| shown.0.contains_key(&value));
            if let Some(listing) = &mut self.listing {
                listing.remove = !shown;
            }
            return;
        }
        let Some((min, max)) = self.shown.as_ref().and_then(|shown| shown.0.get(&self.api_key))
        else {
            return;
        };
        let bound = if field.mark == Mark::MinVersion { *min } else { *max };
        self.patch(start, bound.to_be_bytes());
    }

    fn error_code(&mut self, start: usize, value: i64) {
        match self.context.api_key {
            // The group is unknown here because it was joined elsewhere. Clients take "no such group" for
            // fatal; as an unknown member they join again.
            CONSUMER_GROUP_HEARTBEAT
                if self.context.moved_member && value == GROUP_ID_NOT_FOUND =>
            {
                self.patch(start, UNKNOWN_MEMBER_ID.to_be_bytes());
            }
            FIND_COORDINATOR if self.context.api_version < BATCHED_COORDINATORS => {
                self.error_at = Some(start);
            }
            FIND_COORDINATOR => self.error_behind_address(start),
            _ => {}
        }
    }

    /// In the batched form the error code comes behind the address.
    fn error_behind_address(&mut self, error_at: usize) {
        if let Some((_, node_at)) = self.broker.node.take()
            && self.edits.iter().any(|edit| edit.start == node_at)
        {
            self.patch(error_at, COORDINATOR_NOT_AVAILABLE.to_be_bytes());
        }
    }
}

impl Visitor for Editor<'_> {
    fn scalar(&mut self, field: &'static Field, start: usize, value: Scalar) {
        let Scalar::Int(value) = value else { return };
        match field.mark {
            Mark::NodeId => self.broker = Broker { node: Some((value, start)), host: None },
            Mark::Port => {
                let bytes = if matches!(field.kind, Kind::Uint16) { 2 } else { 4 };
                self.endpoint(start, bytes, value);
            }
            Mark::LeaderEpoch if self.neutral() => self.patch(start, (-1_i32).to_be_bytes()),
            Mark::ProducerId => {
                if let Some(tag) = self.context.producer_id_tag {
                    self.patch(start, tag.apply(value).to_be_bytes());
                }
            }
            Mark::ErrorCode => self.error_code(start, value),
            Mark::ApiKey | Mark::MinVersion | Mark::MaxVersion => {
                self.api_version(field, start, value);
            }
            Mark::EndpointType => self.lists_brokers = value == BROKER_ENDPOINTS,
            Mark::ResourceType => self.resource_type = value,
            _ => {}
        }
    }

    fn text(&mut self, field: &'static Field, start: usize, body: usize, bytes: Option<usize>) {
        let end = body + bytes.unwrap_or(0);
        // What the length claims was compared with the frame's own length.
        let content = self.frame.get(body..end).unwrap_or_default();
        match field.mark {
            Mark::Host => self.broker.host = Some((start, body, end)),
            Mark::ClusterId => {
                // Null and empty are no cluster's: errors come with them.
                if let Some(id) = self.context.cluster_id.filter(|_| !content.is_empty()) {
                    let id = self.string(id);
                    self.edit(start, end, id);
                }
            }
            Mark::ConfigName => {
                // `listener.name.x.…` has no addresses; keys of one listener end alike.
                self.address_config = ADDRESS_CONFIGS.contains(&content);
            }
            Mark::ConfigValue if self.address_config && self.resource_type == BROKER_RESOURCE => {
                let null = if self.compact { vec![0] } else { vec![0xff, 0xff] };
                self.edit(start, end, null);
            }
            _ => {}
        }
    }

    fn array(&mut self, field: &'static Field, start: usize, body: usize, count: Option<u32>) {
        if matches!(field.mark, Mark::Brokers | Mark::NodeEndpoints | Mark::ApiKeys) {
            self.listing = count.map(|count| Listing {
                count_at: start,
                body,
                count,
                removed: 0,
                element_at: body,
                edits_before: self.edits.len(),
                remove: false,
            });
        }
    }

    fn element(&mut self, field: &'static Field, at: usize) {
        if field.mark != Mark::None
            && let Some(listing) = &mut self.listing
        {
            listing.element_at = at;
            listing.edits_before = self.edits.len();
            listing.remove = false;
        }
    }

    fn element_end(&mut self, field: &'static Field, at: usize) {
        if field.mark != Mark::None
            && let Some(listing) = &mut self.listing
            && listing.remove
        {
            listing.removed += 1;
            let start = listing.element_at;
            self.edits.truncate(listing.edits_before);
            self.edits.push(Edit { start, end: at, bytes: Vec::new() });
        }
    }

    fn array_end(&mut self, field: &'static Field, _at: usize) {
        if field.mark == Mark::None {
            return;
        }
        let Some(listing) = self.listing.take() else { return };
        if listing.removed > 0 {
            let left = listing.count - listing.removed;
            let mut bytes = Vec::new();
            if self.compact {
                varint(left as usize + 1, &mut bytes);
            } else {
                bytes.extend_from_slice(&left.to_be_bytes());
            }
            self.edit(listing.count_at, listing.body, bytes);
        }
    }

    fn tagged(&mut self, field: &'static Field, _tag_at: usize, size_at: usize, body: usize) {
        if field.mark == Mark::NodeEndpoints {
            self.tagged = Some((size_at, body, self.edits.len()));
        }
    }

    fn tagged_end(&mut self, field: &'static Field, at: usize) {
        if field.mark == Mark::NodeEndpoints
            && let Some((size_at, body, first)) = self.tagged.take()
        {
            let inside = &self.edits[first..];
            let removed: usize = inside.iter().map(|edit| edit.end - edit.start).sum();
            let added: usize = inside.iter().map(|edit| edit.bytes.len()).sum();
            let mut bytes = Vec::new();
            varint(at - body - removed + added, &mut bytes);
            self.edit(size_at, body, bytes);
        }
    }
}

/// Follows a Produce or Fetch response that is too large to be collected, and makes its NodeEndpoints
/// (KIP-951: top level, tag 0, at the end) unreadable where they stand: the tag becomes one that nobody
/// knows, the content zeros. The length of the frame, which has gone out long before, stays true.
pub struct Neutraliser {
    walker: Walker,
    hiding: Hiding,
}

/// Tags are small numbers given out one by one; clients skip one that they do not know.
const UNKNOWN_TAG: u8 = 0x7f;

impl Neutraliser {
    /// For a response of `frame_bytes` bytes behind its length.
    pub fn new(api_key: i16, api_version: i16, frame_bytes: usize) -> Result<Self, WalkError> {
        let walker = Walker::response(api_key, api_version, frame_bytes)?;
        Ok(Self { walker, hiding: Hiding::default() })
    }

    /// Goes on with these bytes of the frame, the first of which are its correlation id.
    pub fn feed(&mut self, chunk: &mut [u8]) -> Result<(), WalkError> {
        let base = self.walker.position();
        self.walker.feed(chunk, &mut self.hiding)?;
        if let Some(at) = self.hiding.tag_at.take() {
            // Only a needlessly long tag can have begun in an earlier chunk, which is gone.
            let index = at.checked_sub(base).ok_or(WalkError::Varint { at })?;
            if let Some(tag) = chunk.get_mut(index) {
                *tag |= UNKNOWN_TAG;
            }
        }
        let hidden = &self.hiding.content;
        let start = hidden.start.max(base) - base;
        let end = hidden.end.min(base + chunk.len()).saturating_sub(base);
        if let Some(content) = chunk.get_mut(start..end) {
            content.fill(0);
        }
        Ok(())
    }

    /// Whether the message has ended with its frame.
    pub fn finish(&mut self) -> Result<(), WalkError> {
        self.walker.finish()
    }
}

#[derive(Default)]
struct Hiding {
    /// Where a tag stands that is to be changed.
    tag_at: Option<usize>,
    /// Where the content stands that is to be erased.
    content: Range<usize>,
}

impl Visitor for Hiding {
    fn passes_over(&mut self, field: &'static Field, tag_at: usize) -> bool {
        let hide = field.mark == Mark::NodeEndpoints;
        if hide {
            self.tag_at = Some(tag_at);
        }
        hide
    }

    fn passed_over(&mut self, _field: &'static Field, body: usize, bytes: usize) {
        self.content = body..body + bytes;
    }
}
