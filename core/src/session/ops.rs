//! What a session tells its driver to do, and what it noticed.

use std::{ops::Range, time::Duration};

use crate::{
    topology::{BrokerAddress, NodeId},
    wire::api_versions::Offered,
};

/// One step of output, to be carried out in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Op {
    /// These bytes of the chunk go to the other side.
    Forward(Range<usize>),
    /// These bytes go to the client.
    Send(Vec<u8>),
}

/// The gateway's own part in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerKind {
    /// ApiVersions from what is known of the target, while a fence holds.
    ApiVersions,
    /// ApiVersions in a version that is too new for the gateway.
    ApiVersionsTooNew,
    /// The error of a fence.
    Fence,
}

/// Something that is counted, logged or learned. Never needed to carry bytes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A request is being forwarded.
    Forwarded {
        /// Its API.
        api_key: i16,
    },
    /// Upstream's answer to the oldest request arrived.
    Answered {
        /// Its API.
        api_key: i16,
        /// Since the request was begun.
        latency: Duration,
    },
    /// A response was changed.
    Rewritten {
        /// Its API.
        api_key: i16,
    },
    /// The gateway answers by itself.
    ShortCircuit {
        /// The request's API.
        api_key: i16,
        /// Why.
        kind: AnswerKind,
    },
    /// A request waits behind the fence.
    Parked,
    /// A client's request was refused (the session closes).
    Refused {
        /// API key as sent.
        api_key: i16,
        /// Version as sent.
        api_version: i16,
    },
    /// Broker addresses passed by.
    Learned(Vec<(NodeId, BrokerAddress)>),
    /// The versions that upstream offers passed by.
    Offered(Offered),
    /// Node ids outside the ranges were removed from a response.
    Dropped(Vec<NodeId>),
}

/// The output of one input. Reused by the driver: clearing keeps the memory.
#[derive(Debug, Default)]
pub struct Ops {
    /// Bytes to move.
    pub ops: Vec<Op>,
    /// Things noticed.
    pub events: Vec<Event>,
}

impl Ops {
    /// Forgets what was carried out.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.events.clear();
    }

    /// Neighbouring slices become one write.
    pub(super) fn forward(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if let Some(Op::Forward(last)) = self.ops.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
        } else {
            self.ops.push(Op::Forward(range));
        }
    }

    pub(super) fn send(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.ops.push(Op::Send(bytes));
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}
