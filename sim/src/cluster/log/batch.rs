//! Record batches of format v2, as they stand on the wire.
//!
//! ```text
//!  0 base offset i64 │ 8 length i32 │ 12 leader epoch i32 │ 16 magic i8 │ 17 crc u32 │ 21 attributes i16
//! 23 last offset delta i32 │ 27 base timestamp i64 │ 35 max timestamp i64 │ 43 producer id i64
//! 51 producer epoch i16 │ 53 base sequence i32 │ 57 record count i32 │ 61 records
//! ```
//! The length counts from 12 on, the checksum from 21 on: offset and leader epoch can be written without it.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;

use super::validate::Refused;

/// Bytes of a batch's header.
pub(super) const HEADER_BYTES: usize = 61;
const LENGTH_COUNTS_FROM: usize = 12;
const CRC_COUNTS_FROM: usize = 21;
/// What must be there to tell the format of a batch.
const UP_TO_MAGIC_BYTES: usize = 17;
/// Kafka takes a batch below the overhead of a record of format v0 for corrupt.
const LENGTH_MIN: i32 = 14;
const MAGIC: i8 = 2;

const COMPRESSION: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
/// The number of zstd in a batch's attributes.
const ZSTD: i16 = 4;

/// No timestamp, as a client writes it.
pub(super) const NO_TIMESTAMP: i64 = -1;

/// One whole batch of format v2. Its checksum and its contents may still be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Batch(Bytes);

impl Batch {
    /// The only batch of what a client produces to one partition. What stands behind it and is no whole batch is
    /// ignored, as Kafka does.
    pub(in super::super) fn only(records: &Bytes, version: i16) -> Result<Self, Refused> {
        let mut rest = records.clone();
        let (magic, bytes) = next(&mut rest)?.ok_or(ResponseError::InvalidRecord)?;
        if magic != MAGIC {
            return Err(ResponseError::InvalidRecord.into());
        }
        if bytes.len() < HEADER_BYTES {
            return Err(ResponseError::CorruptMessage.into());
        }
        let batch = Self(bytes);
        if version < 7 && batch.compression() >= ZSTD {
            return Err(if batch.compression() == ZSTD {
                ResponseError::UnsupportedCompressionType.into()
            } else {
                ResponseError::UnknownServerError.into()
            });
        }
        match next(&mut rest)? {
            Some(_) => Err(ResponseError::InvalidRecord.into()),
            None => Ok(batch),
        }
    }

    /// Whether what a client produces to one partition begins with a transactional batch.
    pub(in super::super) fn is_transactional_in(records: &Bytes) -> bool {
        records.len() >= HEADER_BYTES
            && records[16].cast_signed() == MAGIC
            && Self(records.clone()).is_transactional()
    }

    /// Every batch of what another log has given, such as the source of a mirror.
    pub(in super::super) fn all(records: &Bytes) -> Result<Vec<Self>, ResponseError> {
        let mut rest = records.clone();
        let mut batches = Vec::new();
        while let Some((magic, bytes)) = next(&mut rest).map_err(|refused| refused.error)? {
            let batch = Self(bytes);
            if magic != MAGIC || batch.0.len() < HEADER_BYTES || !batch.checksum_is_right() {
                return Err(ResponseError::CorruptMessage);
            }
            batches.push(batch);
        }
        Ok(batches)
    }

    /// A batch that ends a transaction: one control record.
    pub(super) fn marker(marker: &Marker) -> Self {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + 17);
        bytes.put_bytes(0, HEADER_BYTES);
        // Length of the record, attributes, deltas of timestamp and offset; varints are zigzag.
        bytes.put_slice(&[2 * 16, 0, 0, 0]);
        bytes.put_u8(2 * 4);
        bytes.put_i16(0);
        bytes.put_i16(i16::from(marker.commit));
        bytes.put_u8(2 * 6);
        bytes.put_i16(0);
        bytes.put_i32(marker.coordinator_epoch);
        bytes.put_u8(0);
        let length = i32::try_from(bytes.len() - LENGTH_COUNTS_FROM).expect("a marker is small");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = MAGIC.cast_unsigned();
        bytes[21..23].copy_from_slice(&(TRANSACTIONAL | CONTROL).to_be_bytes());
        bytes[27..35].copy_from_slice(&marker.timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&marker.timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&marker.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&marker.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&(-1_i32).to_be_bytes());
        bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
        seal(&mut bytes);
        Self(bytes.freeze())
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..].first_chunk().copied().expect("a batch has a whole header")
    }

    pub(in super::super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(in super::super) fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    /// Saturates: offsets of a batch that was not validated may be anything.
    pub(in super::super) fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field(12))
    }

    pub(super) fn checksum_is_right(&self) -> bool {
        u32::from_be_bytes(self.field(17)) == crc32c::crc32c(&self.0[CRC_COUNTS_FROM..])
    }

    fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(21))
    }

    /// 0: none. Above 4: no codec that Kafka knows.
    pub(super) fn compression(&self) -> i16 {
        self.attributes() & COMPRESSION
    }

    pub(super) fn has_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    pub(in super::super) fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    pub(super) fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(23))
    }

    pub(super) fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(27))
    }

    pub(super) fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(35))
    }

    pub(in super::super) fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(43))
    }

    /// Kafka takes any negative id for none.
    pub(super) fn has_producer(&self) -> bool {
        self.producer_id() >= 0
    }

    pub(in super::super) fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field(51))
    }

    pub(super) fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field(53))
    }

    /// Sequences go from 0 to 2^31 - 1 and then from 0 again.
    pub(super) fn last_sequence(&self) -> i32 {
        self.base_sequence().wrapping_add(self.last_offset_delta()) & i32::MAX
    }

    pub(super) fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    pub(super) fn records(&self) -> &[u8] {
        &self.0[HEADER_BYTES..]
    }

    /// Whether a control batch commits, and the epoch of the coordinator who said so; `None`: it is no marker.
    pub(super) fn marker_content(&self) -> Option<(bool, i32)> {
        let record = self.records();
        if !self.is_control() || record.len() < 16 {
            return None;
        }
        let commit = i16::from_be_bytes([record[7], record[8]]) == 1;
        let coordinator_epoch = i32::from_be_bytes(record[12..].first_chunk().copied()?);
        Some((commit, coordinator_epoch))
    }

    /// The batch as it stands in a log. A copy, so that it does not keep the request that it came in.
    pub(super) fn placed(&self, place: &Placement) -> Self {
        let mut bytes = BytesMut::from(self.0.as_ref());
        bytes[..8].copy_from_slice(&place.base_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&place.leader_epoch.to_be_bytes());
        let attributes = if place.log_append_time {
            self.attributes() | LOG_APPEND_TIME
        } else {
            self.attributes() & !LOG_APPEND_TIME
        };
        if attributes != self.attributes() || place.max_timestamp != self.max_timestamp() {
            bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
            bytes[35..43].copy_from_slice(&place.max_timestamp.to_be_bytes());
            seal(&mut bytes);
        }
        Self(bytes.freeze())
    }

    /// The same bytes in memory of their own.
    pub(super) fn copied(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

/// What a log writes into a batch.
pub(super) struct Placement {
    pub(super) base_offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) log_append_time: bool,
    pub(super) max_timestamp: i64,
}

/// How a transaction of one producer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Marker {
    pub(in super::super) producer_id: i64,
    pub(in super::super) producer_epoch: i16,
    pub(in super::super) commit: bool,
    pub(in super::super) coordinator_epoch: i32,
    /// Milliseconds since the Unix epoch.
    pub(in super::super) timestamp: i64,
}

/// Takes off a batch of any format, as Kafka takes records apart; `None`: what is left is no whole batch.
fn next(rest: &mut Bytes) -> Result<Option<(i8, Bytes)>, Refused> {
    if rest.len() < LENGTH_COUNTS_FROM {
        return Ok(None);
    }
    let length = i32::from_be_bytes(rest[8..].first_chunk().copied().expect("four bytes"));
    let corrupt = |message| {
        let error = ResponseError::CorruptMessage;
        Err(Refused { message: Some(message), ..error.into() })
    };
    if length < LENGTH_MIN {
        return corrupt(format!(
            "Record size {length} is less than the minimum record overhead ({LENGTH_MIN})"
        ));
    }
    if rest.len() < UP_TO_MAGIC_BYTES {
        return Ok(None);
    }
    let magic = rest[16].cast_signed();
    if !(0..=MAGIC).contains(&magic) {
        return corrupt(format!("Invalid magic found in record: {magic}"));
    }
    let bytes = usize::try_from(length).expect("positive") + LENGTH_COUNTS_FROM;
    Ok((bytes <= rest.len()).then(|| (magic, rest.split_to(bytes))))
}

/// Writes the checksum.
fn seal(bytes: &mut BytesMut) {
    let crc = crc32c::crc32c(&bytes[CRC_COUNTS_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}
