//! Transactions and producer ids: what the transaction coordinators know.
//!
//! ```text
//!            partition added            EndTxn, timeout or fence        every marker written
//!  Empty ───────────────────▶ Ongoing ─────────────────────▶ Prepare ──────────────────────▶ Complete
//!    ▲  ◀── InitProducerId ───────────────────────────────── Commit/Abort ◀─ TV2: abort ───  Commit/Abort
//!    └──────────────────────── InitProducerId ───────────────────────────────────────────────────┘
//!                                     Complete ── partition added ──▶ Ongoing
//! ```
//!
//! The machine of one id is in `state`; here are the table of ids and the cluster's side: markers, timers, and the
//! checks that produces ask for. One table serves all coordinators: what Kafka keeps in `__transaction_state` and a
//! new coordinator reads from there, it finds here at once.
//!
//! Invariants: a transaction that is prepared ends as it was decided, however long a partition's leader is away; an
//! epoch that a producer was given is never given to another.
//!
//! Absent on purpose: the topic `__transaction_state` itself; coordinator epochs other than 0; `PrepareEpochFence` and
//! `Dead`, which no client can observe; WriteTxnMarkers, which is for brokers among themselves.

#[cfg(test)]
pub(super) mod client;
mod markers;
mod producer_ids;
mod state;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, TransactionalId},
    protocol::StrBytes,
};

use super::{settings::Settings, time::Time};

pub(super) use markers::Membership;
pub(super) use producer_ids::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Producer, ProducerIds};
use state::{Ended, Initialised};
pub(super) use state::{TopicPartition, Transaction, TransactionState, TransactionVersion};

/// Transactional ids that are kept. Beyond, the one that was not used for longest is forgotten, as if it had expired.
const TRANSACTIONAL_IDS_MAX: usize = 20_000;

/// All transactional ids.
#[derive(Default)]
pub(super) struct Transactions {
    by_id: BTreeMap<TransactionalId, Transaction>,
    pub(super) producer_ids: ProducerIds,
}

/// When the coordinators look after ids that are not used, and for how long they wait.
#[derive(Clone, Copy)]
struct Patience {
    abort_interval: Duration,
    expiration: Duration,
    expiration_interval: Duration,
}

impl Patience {
    fn new(settings: &Settings) -> Self {
        Self {
            abort_interval: settings
                .millis("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            expiration: settings.millis("transactional.id.expiration.ms"),
            expiration_interval: settings
                .millis("transaction.remove.expired.transaction.cleanup.interval.ms"),
        }
    }

    /// When a transaction has to be looked at, if nobody asks for it before.
    fn deadline(self, now: Time, transaction: &Transaction) -> Time {
        transaction
            .times_out(self.abort_interval)
            .or_else(|| transaction.expires(self.expiration, self.expiration_interval))
            // Markers are to be written, and a leader is away.
            .unwrap_or(now + markers::RETRY)
    }
}

impl Transactions {
    pub(super) fn get(&self, id: &TransactionalId) -> Option<&Transaction> {
        self.by_id.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TransactionalId, &Transaction)> {
        self.by_id.iter()
    }

    fn get_mut(&mut self, id: &TransactionalId) -> Result<&mut Transaction, ResponseError> {
        self.by_id.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)
    }

    /// InitProducerId with a transactional id, at the broker that coordinates it.
    fn initialise(
        &mut self,
        now: Time,
        broker: BrokerId,
        id: &TransactionalId,
        request: &Initialise,
        server: TransactionVersion,
    ) -> Result<Initialised, ResponseError> {
        if !self.by_id.contains_key(id) {
            self.make_room()?;
            let transaction = Transaction::new(now, self.producer_ids.take(broker));
            // A copy, so that it does not keep the request that it came in.
            let id = TransactionalId(StrBytes::from_string(id.to_string()));
            self.by_id.insert(id, transaction);
        }
        let Self { by_id, producer_ids } = self;
        let transaction = by_id.get_mut(id).expect("it was just inserted");
        transaction.initialise(now, request.timeout, request.expected, server, || {
            producer_ids.take(broker)
        })
    }

    /// EndTxn.
    fn end(
        &mut self,
        now: Time,
        broker: BrokerId,
        id: &TransactionalId,
        request: &End,
    ) -> Result<Ended, ResponseError> {
        let Self { by_id, producer_ids } = self;
        let transaction = by_id.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        transaction.end(now, request.producer, request.commit, request.version, || {
            producer_ids.take(broker)
        })
    }

    /// Forgets the id that was not used for longest, where there are too many.
    fn make_room(&mut self) -> Result<(), ResponseError> {
        if self.by_id.len() < TRANSACTIONAL_IDS_MAX {
            return Ok(());
        }
        let idle = self.by_id.iter().filter_map(|(id, it)| Some((it.idle_since()?, id)));
        let oldest = idle.min().map(|(_, id)| id.clone());
        let oldest = oldest.ok_or(ResponseError::CoordinatorNotAvailable)?;
        self.by_id.remove(&oldest);
        Ok(())
    }
}

/// What InitProducerId asks for.
pub(super) struct Initialise {
    pub(super) timeout: Duration,
    /// What the producer believes that it is; `None` for one that is new.
    pub(super) expected: Option<Producer>,
}

/// What EndTxn asks for.
pub(super) struct End {
    pub(super) producer: Producer,
    pub(super) commit: bool,
    pub(super) version: TransactionVersion,
}
