//! Producer ids. The controller hands them out in blocks, as Kafka's does, so two clusters that were formatted alike
//! give their producers the same ids.

use std::{collections::BTreeMap, ops::Range};

use kafka_protocol::messages::{self, BrokerId};

/// Ids in a block.
const BLOCK: i64 = 1000;
/// A broker asks for its next block when it has used this much of the one it has.
const PREFETCH_AT: i64 = 900;

/// Stands for no producer id.
pub(in super::super) const NO_PRODUCER_ID: i64 = -1;
/// Stands for no producer epoch.
pub(in super::super) const NO_PRODUCER_EPOCH: i16 = -1;

/// A producer, as transactions and logs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Producer {
    pub(in super::super) id: i64,
    pub(in super::super) epoch: i16,
}

impl Producer {
    /// Nobody: what answers carry beside an error.
    pub(in super::super) const NONE: Self = Self { id: NO_PRODUCER_ID, epoch: NO_PRODUCER_EPOCH };

    /// As requests carry it.
    pub(in super::super) fn new(id: messages::ProducerId, epoch: i16) -> Self {
        Self { id: id.0, epoch }
    }

    /// The id, as answers carry it.
    pub(in super::super) fn wire_id(self) -> messages::ProducerId {
        messages::ProducerId(self.id)
    }
}

/// Ids that are left, by broker.
#[derive(Debug, Default)]
pub(in super::super) struct ProducerIds {
    /// The first id that no broker was given.
    next_block: i64,
    blocks: BTreeMap<BrokerId, Blocks>,
}

#[derive(Debug)]
struct Blocks {
    current: Range<i64>,
    next: Option<Range<i64>>,
}

impl ProducerIds {
    /// An id that no producer has had.
    pub(in super::super) fn take(&mut self, broker: BrokerId) -> i64 {
        let next_block = &mut self.next_block;
        let mut allocate = || {
            let first = *next_block;
            *next_block += BLOCK;
            first..first + BLOCK
        };
        let blocks =
            self.blocks.entry(broker).or_insert_with(|| Blocks { current: allocate(), next: None });
        if blocks.current.is_empty() {
            blocks.current = blocks.next.take().unwrap_or_else(&mut allocate);
        }
        let id = blocks.current.start;
        blocks.current.start += 1;
        if blocks.current.start >= blocks.current.end - BLOCK + PREFETCH_AT && blocks.next.is_none()
        {
            blocks.next = Some(allocate());
        }
        id
    }

    /// A broker that starts again has lost what it had left, and takes a new block at its next need.
    pub(in super::super) fn broker_restarted(&mut self, broker: BrokerId) {
        self.blocks.remove(&broker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BrokerId = BrokerId(1);
    const TWO: BrokerId = BrokerId(2);

    #[test]
    fn ids_start_at_zero_and_every_broker_has_its_own_block() {
        let mut ids = ProducerIds::default();
        assert_eq!([ids.take(ONE), ids.take(ONE), ids.take(TWO), ids.take(ONE)], [0, 1, 1000, 2]);
    }

    #[test]
    fn a_broker_that_restarts_leaves_the_rest_of_its_block_behind() {
        let mut ids = ProducerIds::default();
        assert_eq!(ids.take(ONE), 0);
        ids.broker_restarted(ONE);
        assert_eq!([ids.take(ONE), ids.take(TWO)], [1000, 2000]);
    }

    /// The next block is asked for before the current one is empty, so another broker's comes after it.
    #[test]
    fn the_next_block_is_taken_ahead() {
        let mut ids = ProducerIds::default();
        let first: Vec<i64> = (0..PREFETCH_AT).map(|_| ids.take(ONE)).collect();
        assert_eq!(first, (0..PREFETCH_AT).collect::<Vec<_>>());
        assert_eq!(ids.take(TWO), 2000, "block 1000 is broker 1's already");
        let rest: Vec<i64> = (PREFETCH_AT..1002).map(|_| ids.take(ONE)).collect();
        assert_eq!(rest, (PREFETCH_AT..1002).collect::<Vec<_>>());
    }
}
