//! The client's side of a session: frames are recognised, let through, answered or refused.

use std::time::Duration;

use crate::{
    route::Gate,
    wire::{
        answer::{AnswerError, Brokers, ErrorAnswer},
        api::{self, RequestHandling},
        api_versions::{self, API_VERSIONS},
        header::{self, LENGTH_BYTES, Peek, RequestHead, Stranger},
        inspect,
    },
};

use super::{
    AnswerKind, ClientWait, CloseCause, Event, Ops, Session, Upstream, in_flight::Forwarded,
};

/// API key, version, correlation id: no request is shorter.
const REQUEST_BYTES_MIN: usize = 8;

/// SASL exchanges are not answered by a fence: every client takes an error there for wrong credentials.
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

/// Where in the client's stream of frames the session stands.
pub(super) enum RequestState {
    /// The next byte starts a frame.
    Boundary,
    /// The rest of a frame goes upstream.
    Forwarding { remaining: usize, answered: bool },
    /// The rest of a frame, whose head still has `head` bytes to come, is read by the answer that the
    /// gateway makes up.
    Answering { head: usize, remaining: usize, answer: Box<ErrorAnswer> },
    /// The rest of a frame is of no interest: it is answered already.
    Discarding { remaining: usize },
}

impl RequestState {
    pub(super) fn is_mid_frame(&self) -> bool {
        !matches!(self, Self::Boundary)
    }

    /// Being forwarded, and upstream will never answer it (acks=0).
    pub(super) fn is_unanswerable(&self) -> bool {
        matches!(self, Self::Forwarding { answered: false, .. })
    }
}

/// What became of the look at a frame's head.
enum Begun {
    /// The state is set; go on with the bytes.
    Yes,
    /// Nothing was taken.
    Wait(ClientWait),
    Close(CloseCause),
}

impl Session {
    /// Takes bytes of the client from the front of `chunk` and says how many; the rest is to be offered
    /// again. Ranges in `ops` refer to `chunk`.
    pub fn handle_client(&mut self, now: Duration, chunk: &mut [u8], ops: &mut Ops) -> usize {
        let mut position = 0;
        if !chunk.is_empty() {
            self.request_progress_at = now;
        }
        while self.closed.is_none() && position < chunk.len() {
            let rest = chunk.len() - position;
            match &mut self.request {
                RequestState::Boundary => match self.begin_request(now, &chunk[position..], ops) {
                    Begun::Yes => self.wait = ClientWait::Nothing,
                    Begun::Wait(wait) => {
                        if wait.is_fence() && !self.wait.is_fence() {
                            ops.event(Event::Parked);
                        }
                        self.wait = wait;
                        return position;
                    }
                    Begun::Close(cause) => self.close(cause),
                },
                RequestState::Forwarding { remaining, .. } => {
                    let taken = rest.min(*remaining);
                    *remaining -= taken;
                    let done = *remaining == 0;
                    ops.forward(position..position + taken);
                    position += taken;
                    if done {
                        self.end_request();
                    }
                }
                RequestState::Answering { head, remaining, answer } => {
                    let taken = rest.min(*remaining);
                    let skipped = taken.min(*head);
                    *head -= skipped;
                    *remaining -= taken;
                    let done = *remaining == 0;
                    let fed = answer.feed(&chunk[position + skipped..position + taken]);
                    position += taken;
                    if let Err(error) = fed {
                        self.close(cause_of(error));
                    } else if done {
                        self.finish_answer(ops);
                    }
                }
                RequestState::Discarding { remaining } => {
                    let taken = rest.min(*remaining);
                    *remaining -= taken;
                    position += taken;
                    if *remaining == 0 {
                        self.end_request();
                    }
                }
            }
        }
        position
    }

    fn end_request(&mut self) {
        self.request = RequestState::Boundary;
        self.close_if_drained();
    }

    fn finish_answer(&mut self, ops: &mut Ops) {
        let state = std::mem::replace(&mut self.request, RequestState::Boundary);
        if let RequestState::Answering { answer, .. } = state {
            match answer.finish() {
                Ok(Some(bytes)) => self.in_flight.answer(bytes, ops),
                Ok(None) => {} // acks=0: an answer would be taken for another request's.
                Err(error) => self.close(cause_of(error)),
            }
        }
        self.close_if_drained();
    }

    fn begin_request(&mut self, now: Duration, bytes: &[u8], ops: &mut Ops) -> Begun {
        if self.closing.is_some() {
            return Begun::Wait(ClientWait::Closing);
        }
        if self.requests == 0
            && let Some(stranger) = header::sniff(bytes)
        {
            return Begun::Close(match stranger {
                Stranger::Tls => CloseCause::TlsOnPlaintext,
                Stranger::Http => CloseCause::HttpOnKafka,
            });
        }
        let frame_bytes = match self.frame_length(bytes) {
            Ok(Some(length)) => length,
            Ok(None) => return Begun::Wait(ClientWait::MoreBytes),
            Err(cause) => return Begun::Close(cause),
        };
        let arrived = &bytes[LENGTH_BYTES..bytes.len().min(LENGTH_BYTES + frame_bytes)];
        let head = match header::peek_request(arrived, frame_bytes) {
            Peek::Ready(head) => head,
            Peek::NeedMore => return Begun::Wait(ClientWait::MoreBytes),
            Peek::Malformed(_) => return Begun::Close(CloseCause::MalformedRequest),
        };
        if head.api_key == API_VERSIONS && !api_versions::VERSIONS.contains(&head.api_version) {
            // KIP-511: whoever speaks a newer ApiVersions learns from a v0 body which versions exist.
            let answer = api_versions::too_new_answer(head.correlation_id);
            return self.answer_with(frame_bytes, answer, AnswerKind::ApiVersionsTooNew, ops);
        }
        let Some(policy) = api::policy(head.api_key, head.api_version, self.setting.view) else {
            let (api_key, api_version) = (head.api_key, head.api_version);
            ops.event(Event::Refused { api_key, api_version });
            return Begun::Close(match api::supported(api_key, self.setting.view) {
                Some(_) => CloseCause::UnsupportedVersion,
                None => CloseCause::UnknownApi,
            });
        };
        if !self.in_flight.has_room(&self.setting.limits) {
            return Begun::Wait(ClientWait::Window);
        }
        match &self.setting.snapshot.gate {
            Gate::Open => self.begin_forwarding(now, &head, policy, arrived, frame_bytes, ops),
            gate => {
                let answer = match gate {
                    Gate::Answer { error_code, message } => Some((*error_code, message.clone())),
                    Gate::Open | Gate::Hold => None,
                };
                self.begin_fenced(&head, frame_bytes, answer, ops)
            }
        }
    }

    /// The frame's length behind the prefix; `None` while the prefix is incomplete.
    fn frame_length(&self, bytes: &[u8]) -> Result<Option<usize>, CloseCause> {
        let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let limits = &self.setting.limits;
        let bytes_max = match self.requests {
            0 => limits.first_frame_bytes_max.min(limits.frame_bytes_max),
            _ => limits.frame_bytes_max,
        };
        match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(length) if length > bytes_max => Err(CloseCause::FrameTooLarge),
            Ok(length) if length >= REQUEST_BYTES_MIN => Ok(Some(length)),
            Ok(_) | Err(_) => Err(CloseCause::FrameTooSmall),
        }
    }

    fn begin_forwarding(
        &mut self,
        now: Duration,
        head: &RequestHead,
        policy: api::Policy,
        arrived: &[u8],
        frame_bytes: usize,
        ops: &mut Ops,
    ) -> Begun {
        if !matches!(self.upstream, Upstream::Connected { .. }) {
            return Begun::Wait(ClientWait::Upstream);
        }
        let body = &arrived[head.body_offset..];
        let complete = arrived.len() == frame_bytes;
        let mut tag_producer_id = false;
        let mut moved_member = false;
        let mut answered = true;
        let looked = match policy.request {
            RequestHandling::Forward => Peek::Ready(()),
            RequestHandling::Acks => inspect::produce_acks(head.api_version, body, complete)
                .map(|acks| answered = acks != 0),
            RequestHandling::TransactionalId => {
                inspect::has_transactional_id(head.api_version, body, complete)
                    .map(|transactional| tag_producer_id = !transactional)
            }
            RequestHandling::MemberEpoch => inspect::member_epoch(head.api_version, body, complete)
                .map(|epoch| moved_member = epoch > 0),
        };
        match looked {
            Peek::Ready(()) => {}
            Peek::NeedMore => return Begun::Wait(ClientWait::MoreBytes),
            Peek::Malformed(_) => return Begun::Close(CloseCause::MalformedRequest),
        }
        if answered {
            self.in_flight.push(Forwarded {
                correlation_id: head.correlation_id,
                api_key: head.api_key,
                api_version: head.api_version,
                handling: policy.response,
                tag_producer_id,
                moved_member: moved_member && self.setting.snapshot.moved,
                sent_at: now,
            });
        }
        ops.event(Event::Forwarded { api_key: head.api_key });
        self.requests += 1;
        self.request = RequestState::Forwarding { remaining: LENGTH_BYTES + frame_bytes, answered };
        Begun::Yes
    }

    /// A request that meets a fence: `error` is what the fence answers, `None` lets it wait.
    fn begin_fenced(
        &mut self,
        head: &RequestHead,
        frame_bytes: usize,
        error: Option<(i16, Option<std::sync::Arc<str>>)>,
        ops: &mut Ops,
    ) -> Begun {
        if head.api_key == API_VERSIONS
            && let Some(offered) = self.setting.answerable_versions()
        {
            // It says what the gateway can do and asks nothing of the cluster. Clients give up on a
            // connection whose ApiVersions is late (librdkafka: 10 s) or fails.
            let answer = api_versions::answer(head.api_version, head.correlation_id, &offered);
            return self.answer_with(frame_bytes, answer, AnswerKind::ApiVersions, ops);
        }
        let Some((error_code, message)) = error else { return Begun::Wait(ClientWait::Gate) };
        if matches!(head.api_key, SASL_HANDSHAKE | SASL_AUTHENTICATE) {
            return Begun::Wait(ClientWait::OpenGate);
        }
        let brokers = Brokers {
            nodes: &self.setting.known_nodes,
            addresses: self.setting.addresses.as_ref(),
        };
        let answer = match ErrorAnswer::new(
            head.api_key,
            head.api_version,
            head.correlation_id,
            frame_bytes - head.body_offset,
            (error_code, message.as_deref()),
            &brokers,
        ) {
            Ok(answer) => answer,
            Err(error) => return Begun::Close(cause_of(error)),
        };
        ops.event(Event::ShortCircuit { api_key: head.api_key, kind: AnswerKind::Fence });
        self.requests += 1;
        self.request = RequestState::Answering {
            head: LENGTH_BYTES + head.body_offset,
            remaining: LENGTH_BYTES + frame_bytes,
            answer: Box::new(answer),
        };
        Begun::Yes
    }

    fn answer_with(
        &mut self,
        frame_bytes: usize,
        answer: Vec<u8>,
        kind: AnswerKind,
        ops: &mut Ops,
    ) -> Begun {
        ops.event(Event::ShortCircuit { api_key: API_VERSIONS, kind });
        self.requests += 1;
        self.in_flight.answer(answer, ops);
        self.request = RequestState::Discarding { remaining: LENGTH_BYTES + frame_bytes };
        Begun::Yes
    }
}

fn cause_of(error: AnswerError) -> CloseCause {
    match error {
        AnswerError::TooLarge => CloseCause::AnswerTooLarge,
        AnswerError::Malformed(_) => CloseCause::MalformedRequest,
    }
}
