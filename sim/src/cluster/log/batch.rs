//! Record batches of format v2, as they stand on the wire. Only their header is ever read.

use bytes::{Bytes, BytesMut};
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
        let base_offset = i64::from_be_bytes(batch[..8].try_into().expect("eight bytes"));
        batches.push(Batch { bytes: batch, base_offset });
    }
    Ok(batches)
}
