//! Record batches of format v2, as they stand on the wire. Only their header is ever read.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;

/// Bytes of a batch's header.
const HEADER_BYTES: usize = 61;
/// Behind base offset and length.
const LENGTH_COUNTS_FROM: usize = 12;
const CRC_COUNTS_FROM: usize = 21;

/// One batch. Its fields stand at fixed places:
///
/// ```text
///  0 base offset i64 │ 8 length i32 │ 12 leader epoch i32 │ 16 magic i8 │ 17 crc u32 │ 21 attributes i16
/// 23 last offset delta i32 │ 27 base timestamp i64 │ 35 max timestamp i64 │ 43 producer id i64
/// 51 producer epoch i16 │ 53 base sequence i32 │ 57 record count i32 │ 61 records
/// ```
#[derive(Clone, Debug)]
pub(in super::super) struct Batch {
    bytes: Bytes,
    base_offset: i64,
}

impl Batch {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes[at..].first_chunk().copied().expect("a batch has a whole header")
    }

    pub(in super::super) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub(in super::super) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(i32::from_be_bytes(self.field(23)))
    }

    pub(in super::super) fn is_transactional(&self) -> bool {
        i16::from_be_bytes(self.field(21)) & (1 << 4) != 0
    }

    pub(in super::super) fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(43))
    }

    pub(in super::super) fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field(51))
    }

    pub(in super::super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Writes offset and leader epoch, which the checksum does not cover.
    pub(super) fn place(&mut self, base_offset: i64, leader_epoch: i32) {
        // A copy, also so that a batch does not keep the request that it came in.
        let mut bytes = BytesMut::from(self.bytes.as_ref());
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
        self.bytes = bytes.freeze();
        self.base_offset = base_offset;
    }
}

/// A control batch that ends a producer's transaction.
pub(super) fn marker(
    producer_id: i64,
    producer_epoch: i16,
    commit: bool,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Batch {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + 17);
    bytes.put_i64(0);
    bytes.put_i32(66);
    bytes.put_i32(0);
    bytes.put_i8(2);
    bytes.put_u32(0);
    bytes.put_i16(0b11_0000); // Transactional, control.
    bytes.put_i32(0);
    bytes.put_i64(timestamp);
    bytes.put_i64(timestamp);
    bytes.put_i64(producer_id);
    bytes.put_i16(producer_epoch);
    bytes.put_i32(-1);
    bytes.put_i32(1);
    // Length, attributes, deltas and the key's length are varints.
    bytes.put_slice(&[32, 0, 0, 0, 8]);
    bytes.put_i16(0);
    bytes.put_i16(i16::from(commit));
    bytes.put_u8(12);
    bytes.put_i16(0);
    bytes.put_i32(coordinator_epoch);
    bytes.put_u8(0);
    let crc = crc32c::crc32c(&bytes[CRC_COUNTS_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch { bytes: bytes.freeze(), base_offset: 0 }
}

/// Takes records apart into batches and validates each.
pub(in super::super) fn split(records: &Bytes) -> Result<Vec<Batch>, ResponseError> {
    let mut rest = records.clone();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let header = rest.get(..HEADER_BYTES).ok_or(ResponseError::CorruptMessage)?;
        let length = i32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        let bytes = usize::try_from(length).map_err(|_| ResponseError::CorruptMessage)?;
        let bytes = bytes + LENGTH_COUNTS_FROM;
        if bytes < HEADER_BYTES || bytes > rest.len() || header[16] != 2 {
            return Err(ResponseError::CorruptMessage);
        }
        let batch = rest.split_to(bytes);
        let crc = u32::from_be_bytes(batch[17..21].try_into().expect("four bytes"));
        if crc32c::crc32c(&batch[CRC_COUNTS_FROM..]) != crc {
            return Err(ResponseError::CorruptMessage);
        }
        batches.push(Batch { bytes: batch, base_offset: 0 });
    }
    Ok(batches)
}
