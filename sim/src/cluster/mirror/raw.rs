//! Batches as a link carries them: bytes of which only the header is read.
//!
//! The layout stands at [`Batch`](super::super::log::Batch).

use bytes::{Buf, Bytes, BytesMut};

const HEADER_BYTES: usize = 61;
const LENGTH_COUNTS_FROM: usize = 12;
const CRC_COUNTS_FROM: usize = 21;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw(Bytes);

impl Raw {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..].first_chunk().copied().expect("a batch has a whole header")
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(super) fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset() + i64::from(i32::from_be_bytes(self.field(23)))
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field(12))
    }

    fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(21))
    }

    pub(super) fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(43))
    }

    /// Whether it ends a transaction instead of holding records.
    pub(super) fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Records of clients at `from` and behind it.
    pub(super) fn records_from(&self, from: i64) -> u64 {
        if self.is_control() {
            return 0;
        }
        let count = i32::from_be_bytes(self.field(57));
        let below = (from - self.base_offset()).max(0);
        u64::try_from(i64::from(count) - below).unwrap_or(0)
    }

    /// Whether both are the same batch at the same place. Leader epochs, which each cluster has its own of, do not
    /// count; nor does the checksum cover them.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        self.0[..LENGTH_COUNTS_FROM] == other.0[..LENGTH_COUNTS_FROM]
            && self.0[16..] == other.0[16..]
    }

    /// The same batch with another leader epoch.
    pub(super) fn with_leader_epoch(self, epoch: i32) -> Self {
        if self.leader_epoch() == epoch {
            return self;
        }
        let mut bytes = BytesMut::from(self.0.as_ref());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        Self(bytes.freeze())
    }

    /// The same records as a producer without idempotence sends them.
    pub(super) fn produced_anew(&self) -> Self {
        let mut bytes = BytesMut::from(self.0.as_ref());
        let attributes = self.attributes() & !TRANSACTIONAL;
        bytes[..8].copy_from_slice(&0_i64.to_be_bytes());
        bytes[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[43..51].copy_from_slice(&(-1_i64).to_be_bytes());
        bytes[51..53].copy_from_slice(&(-1_i16).to_be_bytes());
        bytes[53..57].copy_from_slice(&(-1_i32).to_be_bytes());
        let crc = crc32c::crc32c(&bytes[CRC_COUNTS_FROM..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Self(bytes.freeze())
    }
}

/// Takes apart what a log has given out: whole batches, one behind the other.
pub(super) fn batches(mut records: Bytes) -> Vec<Raw> {
    let mut batches = Vec::new();
    while records.len() >= HEADER_BYTES {
        let length = i32::from_be_bytes(*records[8..].first_chunk().expect("a whole header"));
        let bytes = usize::try_from(length).unwrap_or(0) + LENGTH_COUNTS_FROM;
        if bytes < HEADER_BYTES || bytes > records.len() {
            break;
        }
        batches.push(Raw(records.copy_to_bytes(bytes)));
    }
    debug_assert!(batches.is_empty() || records.is_empty(), "a log gives out whole batches");
    batches
}
