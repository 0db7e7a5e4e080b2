//! The requests of a session that wait for their answers, oldest first.

use std::{collections::VecDeque, time::Duration};

use crate::{config::model::Limits, wire::api::ResponseHandling};

use super::Ops;

/// Bytes of finished answers that may wait for older requests before no further request is taken.
const QUEUED_ANSWER_BYTES_MAX: usize = 1 << 20;

/// A request that upstream has, or is getting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) correlation_id: i32,
    pub(super) api_key: i16,
    pub(super) api_version: i16,
    pub(super) handling: ResponseHandling,
    /// InitProducerId without a transactional id: the producer id is tagged.
    pub(super) tag_producer_id: bool,
    /// ConsumerGroupHeartbeat of a member that had joined elsewhere.
    pub(super) moved_member: bool,
    pub(super) sent_at: Duration,
}

#[derive(Debug)]
enum Entry {
    Forwarded(Forwarded),
    /// Finished, but older requests are not answered yet.
    Answer(Vec<u8>),
}

/// First in, first out, as Kafka answers one connection.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    entries: VecDeque<Entry>,
    forwarded: usize,
    answer_bytes: usize,
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Requests that upstream owes an answer for.
    pub(super) fn forwarded(&self) -> usize {
        self.forwarded
    }

    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.entries.len() < limits.in_flight_max && self.answer_bytes < QUEUED_ANSWER_BYTES_MAX
    }

    pub(super) fn push(&mut self, request: Forwarded) {
        self.forwarded += 1;
        self.entries.push_back(Entry::Forwarded(request));
    }

    /// Sends the answer at once if nothing older is unanswered, else keeps it for its turn.
    pub(super) fn answer(&mut self, answer: Vec<u8>, ops: &mut Ops) {
        if self.entries.is_empty() {
            ops.send(answer);
        } else {
            self.answer_bytes += answer.len();
            self.entries.push_back(Entry::Answer(answer));
        }
    }

    /// The request whose response comes next.
    pub(super) fn oldest(&self) -> Option<&Forwarded> {
        match self.entries.front() {
            Some(Entry::Forwarded(request)) => Some(request),
            Some(Entry::Answer(_)) => {
                unreachable!("finished answers leave as soon as they are first")
            }
            None => None,
        }
    }

    /// The oldest request is answered; finished answers behind it follow.
    pub(super) fn complete_oldest(&mut self, ops: &mut Ops) {
        let done = self.entries.pop_front();
        assert!(matches!(done, Some(Entry::Forwarded(_))), "completed a request that nobody sent");
        self.forwarded -= 1;
        while let Some(Entry::Answer(_)) = self.entries.front() {
            if let Some(Entry::Answer(answer)) = self.entries.pop_front() {
                self.answer_bytes -= answer.len();
                ops.send(answer);
            }
        }
    }
}
