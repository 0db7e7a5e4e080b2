//! Records that wait and records that are under way, partition by partition.
//!
//! ```text
//!  append ─▶ batches (tail open) ─drain─▶ in flight ─answer─▶ done
//!               ▲                            │
//!               └───── retry, in order ◀─────┘
//! ```
//!
//! Invariants: a batch is either queued or in flight; ids rise in the order of the records; batches that have a
//! sequence stand before those that have none.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kafka_protocol::messages::TopicName;

use super::super::{
    batch::{self, Author, NewRecord, header_bytes},
    network::NodeId,
    record::Numbered,
};
use crate::cluster::Time;

/// One record. Its value is written when it is sent.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) key: Option<Bytes>,
    pub(super) at: Time,
    pub(super) value_bytes_min: u32,
    /// What it takes in its batch; before it is in one, at most.
    pub(super) bytes: u32,
}

/// Producer id, epoch and first sequence that a batch was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) producer: ProducerIdentity,
    pub(super) base: i32,
}

/// Producer id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerIdentity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// Records that are sent together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: u64,
    pub(super) messages: VecDeque<Message>,
    pub(super) bytes: usize,
    /// What it takes of the buffer.
    pub(super) reserved: usize,
    pub(super) created: Time,
    pub(super) attempts: u32,
    /// Attempts that make the next wait longer.
    pub(super) failures: u32,
    /// Not to be sent again before.
    pub(super) retry_at: Time,
    pub(super) sequence: Option<Sequence>,
    /// Its sequence was given anew after an epoch bump.
    pub(super) sequence_reset: bool,
    /// Takes no more records.
    pub(super) closed: bool,
    /// Leader's epoch at the last attempt.
    pub(super) leader: Option<(NodeId, Option<i32>)>,
}

impl Batch {
    /// The sequence of its last record.
    pub(super) fn last_sequence(&self) -> Option<i32> {
        let count = i32::try_from(self.messages.len()).expect("batches are bounded");
        Some(self.sequence?.base.wrapping_add(count - 1) & i32::MAX)
    }

    /// Its bytes as they go over the wire.
    pub(super) fn encode(&self, producer: &str, transactional: bool) -> Bytes {
        let author = self.sequence.map_or(Author::NOBODY, |sequence| Author {
            producer_id: sequence.producer.id,
            producer_epoch: sequence.producer.epoch,
            base_sequence: sequence.base,
            transactional,
        });
        let records = self.messages.iter().map(|message| NewRecord {
            timestamp_ms: message.at.ms(),
            key: message.key.as_ref(),
            value: Numbered { producer, number: message.number },
            value_bytes_min: message.value_bytes_min as usize,
        });
        batch::encode(author, records, self.bytes)
    }
}

/// Sequences of one partition, as Java's `TxnPartitionEntry` keeps them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequences {
    pub(super) producer: Option<ProducerIdentity>,
    pub(super) next: i32,
    pub(super) last_acknowledged: i32,
    /// A batch expired while nobody knew whether the broker had it: nothing new is sent before that is settled.
    pub(super) unresolved: bool,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) batches: VecDeque<Batch>,
    pub(super) in_flight: BTreeMap<u64, Batch>,
    pub(super) sequences: Sequences,
    /// Something failed, or the leader is another one: nothing is sent before everything in flight is answered.
    pub(super) draining: bool,
    /// Whom it goes to.
    pub(super) leader: Option<NodeId>,
}

impl Queue {
    pub(super) fn new(topic: TopicName, partition: i32) -> Self {
        let sequences =
            Sequences { producer: None, next: 0, last_acknowledged: -1, unresolved: false };
        let (batches, in_flight) = (VecDeque::new(), BTreeMap::new());
        Self { topic, partition, batches, in_flight, sequences, draining: false, leader: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.in_flight.is_empty()
    }

    /// The batch that takes one record more, of so many bytes behind those that it has; `None`: a new one is needed.
    pub(super) fn open_batch(
        &mut self,
        bytes_behind: impl Fn(&VecDeque<Message>) -> usize,
        batch_bytes: usize,
    ) -> Option<&mut Batch> {
        let batch = self.batches.back_mut()?;
        let open = !batch.closed && batch.attempts == 0 && batch.sequence.is_none();
        if open && batch.bytes + bytes_behind(&batch.messages) <= batch_bytes {
            return Some(batch);
        }
        batch.closed = true;
        None
    }

    pub(super) fn push_new(&mut self, id: u64, reserved: usize, now: Time) -> &mut Batch {
        self.batches.push_back(Batch {
            id,
            messages: VecDeque::new(),
            bytes: header_bytes(),
            reserved,
            created: now,
            attempts: 0,
            failures: 0,
            retry_at: Time::default(),
            sequence: None,
            sequence_reset: false,
            closed: false,
            leader: None,
        });
        self.batches.back_mut().expect("it was just pushed")
    }

    /// Puts a batch back to where it belongs.
    pub(super) fn requeue(&mut self, batch: Batch) {
        let place = self.batches.partition_point(|queued| queued.id < batch.id);
        self.batches.insert(place, batch);
    }

    /// Goes to this leader from now on; librdkafka waits for what the one before has yet to answer (`rd_kafka_idemp_drain_toppar`).
    pub(super) fn go_to(&mut self, leader: NodeId) {
        self.draining |= self.leader.replace(leader).is_some_and(|before| before != leader);
    }

    /// Takes the batches before this one that were sent and wait to be sent again.
    pub(super) fn take_sent_before(&mut self, id: u64) -> Vec<Batch> {
        let is = |batch: &Batch| batch.id < id && batch.sequence.is_some();
        let count = self.batches.iter().take_while(|batch| is(batch)).count();
        self.batches.drain(..count).collect()
    }

    /// Whether a batch that has a sequence is neither acknowledged nor given up.
    pub(super) fn has_outstanding(&self) -> bool {
        self.first_outstanding().is_some()
    }

    /// The oldest of these batches.
    pub(super) fn first_outstanding(&self) -> Option<u64> {
        let queued = self.batches.front().filter(|batch| batch.sequence.is_some());
        let queued = queued.map(|batch| batch.id);
        let in_flight = self.in_flight.first_key_value().map(|(id, _)| *id);
        queued.into_iter().chain(in_flight).min()
    }

    /// Numbers outstanding batches from 0 on, under a new identity.
    pub(super) fn start_sequences(&mut self, producer: ProducerIdentity) {
        let mut next = 0_i32;
        let queued = self.batches.iter_mut().filter(|batch| batch.sequence.is_some());
        let mut outstanding: Vec<&mut Batch> = self.in_flight.values_mut().chain(queued).collect();
        outstanding.sort_by_key(|batch| batch.id);
        for batch in outstanding {
            batch.sequence = Some(Sequence { producer, base: next });
            batch.sequence_reset = true;
            next += i32::try_from(batch.messages.len()).expect("batches are bounded");
        }
        self.sequences =
            Sequences { producer: Some(producer), next, last_acknowledged: -1, unresolved: false };
    }

    /// Gives the next batch its sequence.
    pub(super) fn assign(&mut self, batch: &mut Batch, producer: ProducerIdentity) {
        if self.sequences.producer != Some(producer) {
            self.start_sequences(producer);
        }
        let base = self.sequences.next;
        let count = i32::try_from(batch.messages.len()).expect("batches are bounded");
        self.sequences.next = base.wrapping_add(count) & i32::MAX;
        batch.sequence = Some(Sequence { producer, base });
    }

    /// Whether this sequence follows the last acknowledged one.
    pub(super) fn is_next(&self, sequence: i32) -> bool {
        sequence.wrapping_sub(self.sequences.last_acknowledged) == 1
    }
}
