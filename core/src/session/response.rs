//! Upstream's side of a session: responses are matched to their requests, and let through or rewritten.

use std::time::Duration;

use crate::{
    topology::{BrokerAddress, NodeId, VirtualEndpoint},
    wire::{
        api::{ClientView, ResponseHandling},
        header::LENGTH_BYTES,
        rewrite::{self, Context, Neutraliser},
    },
};

use super::{CloseCause, Event, Ops, Session, Upstream, in_flight::Forwarded};

/// Length and correlation id.
const RESPONSE_HEAD_BYTES: usize = LENGTH_BYTES + 4;

/// Produce and Fetch responses up to this size are collected when they arrive in pieces, so that the
/// brokers they name can be kept; larger ones are neutralised while they stream.
const COLLECTED_BYTES_MAX: usize = 16 * 1024;

/// Where in upstream's stream of frames the session stands.
pub(super) enum ResponseState {
    /// `have` bytes of the next frame's head have arrived.
    Head { head: [u8; RESPONSE_HEAD_BYTES], have: usize },
    /// The rest of a frame goes to the client.
    Forwarding { remaining: usize },
    /// The rest of a frame goes to the client, checked on its way.
    Neutralising { remaining: usize, neutraliser: Box<Neutraliser> },
    /// A frame (without its length) is collected to be rewritten.
    Collecting { frame: Vec<u8>, frame_bytes: usize },
}

impl Default for ResponseState {
    fn default() -> Self {
        Self::Head { head: [0; RESPONSE_HEAD_BYTES], have: 0 }
    }
}

impl ResponseState {
    pub(super) fn is_mid_frame(&self) -> bool {
        !matches!(self, Self::Head { have: 0, .. })
    }
}

/// What a rewrite left.
enum Rewritten {
    Unchanged,
    Changed(Vec<u8>),
}

impl Session {
    /// Takes all of `chunk`, which came from upstream. Ranges in `ops` refer to `chunk`, some bytes of
    /// which may be changed.
    pub fn handle_upstream(&mut self, now: Duration, chunk: &mut [u8], ops: &mut Ops) {
        let mut position = 0;
        while self.closed.is_none() && position < chunk.len() {
            match self.take_response_bytes(now, chunk, position, ops) {
                Ok(next) => position = next,
                Err(cause) => self.close(cause),
            }
        }
    }

    /// One step: returns the position behind what was taken. A step that takes nothing has changed the
    /// state, so that the next one does.
    fn take_response_bytes(
        &mut self,
        now: Duration,
        chunk: &mut [u8],
        position: usize,
        ops: &mut Ops,
    ) -> Result<usize, CloseCause> {
        let rest = chunk.len() - position;
        match &mut self.response {
            ResponseState::Head { .. } => self.begin_response(now, chunk, position, ops),
            ResponseState::Forwarding { remaining } => {
                let end = position + rest.min(*remaining);
                *remaining -= end - position;
                let done = *remaining == 0;
                ops.forward(position..end);
                if done {
                    self.end_response(ops);
                }
                Ok(end)
            }
            ResponseState::Neutralising { remaining, neutraliser } => {
                let end = position + rest.min(*remaining);
                *remaining -= end - position;
                let done = *remaining == 0;
                let mut fed = neutraliser.feed(&mut chunk[position..end]);
                if done && fed.is_ok() {
                    fed = neutraliser.finish();
                }
                fed.map_err(|_| CloseCause::MalformedResponse)?;
                ops.forward(position..end);
                if done {
                    self.end_response(ops);
                }
                Ok(end)
            }
            ResponseState::Collecting { frame, frame_bytes } => {
                let end = position + rest.min(*frame_bytes - frame.len());
                frame.extend_from_slice(&chunk[position..end]);
                if frame.len() == *frame_bytes {
                    let frame = std::mem::take(frame);
                    let bytes = match self.rewrite(&frame, ops)? {
                        Rewritten::Changed(bytes) => bytes,
                        Rewritten::Unchanged => with_length(&frame),
                    };
                    ops.send(bytes);
                    self.end_response(ops);
                }
                Ok(end)
            }
        }
    }

    /// Reads the head of a frame, which may come in pieces, and decides what becomes of the frame.
    fn begin_response(
        &mut self,
        now: Duration,
        chunk: &mut [u8],
        position: usize,
        ops: &mut Ops,
    ) -> Result<usize, CloseCause> {
        let ResponseState::Head { head, have } = &mut self.response else {
            unreachable!("called at a frame's head only");
        };
        let in_pieces = *have > 0;
        let behind_head = chunk.len().min(position + RESPONSE_HEAD_BYTES - *have);
        let arrived = &chunk[position..behind_head];
        head[*have..*have + arrived.len()].copy_from_slice(arrived);
        *have += arrived.len();
        if *have < RESPONSE_HEAD_BYTES {
            return Ok(behind_head);
        }
        let mut head = *head;
        let frame_bytes = self.match_response(now, head, ops)?;
        let handling = self.oldest_request()?.handling;
        let whole = !in_pieces && chunk.len() - position >= LENGTH_BYTES + frame_bytes;
        let streams = match handling {
            ResponseHandling::Forward => true,
            ResponseHandling::Rewrite => false,
            ResponseHandling::RewriteOrNeutralise => !whole && frame_bytes > COLLECTED_BYTES_MAX,
        };
        if !streams && frame_bytes > self.setting.limits.rewrite_bytes_max {
            return Err(CloseCause::ResponseTooLarge);
        }
        if whole && !streams {
            let end = position + LENGTH_BYTES + frame_bytes;
            match self.rewrite(&chunk[position + LENGTH_BYTES..end], ops)? {
                Rewritten::Changed(bytes) => ops.send(bytes),
                Rewritten::Unchanged => ops.forward(position..end),
            }
            self.end_response(ops);
            return Ok(end);
        }
        if !streams {
            // What the peer claims is not allocated before it has come.
            let mut frame = Vec::with_capacity(frame_bytes.min(COLLECTED_BYTES_MAX));
            frame.extend_from_slice(&head[LENGTH_BYTES..]);
            self.response = ResponseState::Collecting { frame, frame_bytes };
            return Ok(behind_head);
        }
        let remaining = frame_bytes - (RESPONSE_HEAD_BYTES - LENGTH_BYTES);
        self.response = if handling == ResponseHandling::Forward {
            ResponseState::Forwarding { remaining }
        } else {
            let request = self.oldest_request()?;
            let malformed = |_| CloseCause::MalformedResponse;
            let mut neutraliser =
                Neutraliser::new(request.api_key, request.api_version, frame_bytes)
                    .map_err(malformed)?;
            neutraliser.feed(&mut head[LENGTH_BYTES..]).map_err(malformed)?;
            let neutraliser = Box::new(neutraliser);
            ResponseState::Neutralising { remaining, neutraliser }
        };
        if in_pieces {
            ops.send(head.to_vec());
        } else {
            ops.forward(position..behind_head);
        }
        if remaining == 0 {
            self.end_response(ops);
        }
        Ok(behind_head)
    }

    /// Checks that the frame answers the oldest request and gives its length.
    fn match_response(
        &mut self,
        now: Duration,
        head: [u8; RESPONSE_HEAD_BYTES],
        ops: &mut Ops,
    ) -> Result<usize, CloseCause> {
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let request = self.oldest_request()?;
        if request.correlation_id != i32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(CloseCause::CorrelationMismatch);
        }
        let frame_bytes = match usize::try_from(i32::from_be_bytes([l0, l1, l2, l3])) {
            Ok(length) if length > self.setting.limits.frame_bytes_max => {
                return Err(CloseCause::ResponseTooLarge);
            }
            Ok(length) if length >= RESPONSE_HEAD_BYTES - LENGTH_BYTES => length,
            Ok(_) | Err(_) => return Err(CloseCause::MalformedResponse),
        };
        let latency = now.saturating_sub(request.sent_at);
        ops.event(Event::Answered { api_key: request.api_key, latency });
        Ok(frame_bytes)
    }

    fn oldest_request(&self) -> Result<Forwarded, CloseCause> {
        self.in_flight.oldest().copied().ok_or(CloseCause::UnexpectedResponse)
    }

    fn end_response(&mut self, ops: &mut Ops) {
        self.response = ResponseState::default();
        self.in_flight.complete_oldest(ops);
        self.close_if_drained();
    }

    /// Rewrites the response (without its length) to the oldest request.
    fn rewrite(&mut self, frame: &[u8], ops: &mut Ops) -> Result<Rewritten, CloseCause> {
        let request = self.oldest_request()?;
        let setting = &self.setting;
        let neutral = setting.view == ClientView::Neutral;
        let context = Context {
            api_key: request.api_key,
            api_version: request.api_version,
            view: setting.view,
            addresses: setting.addresses.as_ref(),
            cluster_id: neutral.then_some(&*setting.cluster_id),
            producer_id_tag: setting.producer_id_tag.filter(|_| neutral && request.tag_producer_id),
            moved_member: request.moved_member,
            offered_elsewhere: &setting.offered_elsewhere,
        };
        let mut out = Vec::new();
        let report = rewrite::rewrite(&context, frame, &mut out)
            .map_err(|_| CloseCause::MalformedResponse)?;
        if !report.learned.is_empty() {
            self.note_learned(&report.learned);
            ops.event(Event::Learned(report.learned));
        }
        if !report.dropped.is_empty() {
            ops.event(Event::Dropped(report.dropped));
        }
        if let Some(offered) = report.offered {
            ops.event(Event::Offered(offered));
        }
        if !report.changed {
            return Ok(Rewritten::Unchanged);
        }
        ops.event(Event::Rewritten { api_key: request.api_key });
        Ok(Rewritten::Changed(out))
    }

    /// A client that asked for a node before anybody knew it is sent to the real broker: its session ends
    /// once the answers that it waits for are delivered, and it connects again.
    fn note_learned(&mut self, learned: &[(NodeId, BrokerAddress)]) {
        let VirtualEndpoint::Node(node) = self.endpoint() else { return };
        let Upstream::Connected { provisional, .. } = &mut self.upstream else { return };
        let Some(own) = learned.iter().find(|(id, _)| *id == node) else { return };
        match provisional.take() {
            Some(dialled) if dialled != own.1 => {
                self.closing.get_or_insert(CloseCause::BrokerLearned);
            }
            Some(_) | None => {}
        }
    }
}

fn with_length(frame: &[u8]) -> Vec<u8> {
    // Frames are bounded by a limit far below i32::MAX.
    let length = i32::try_from(frame.len()).unwrap_or(i32::MAX);
    let mut whole = Vec::with_capacity(LENGTH_BYTES + frame.len());
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(frame);
    whole
}
