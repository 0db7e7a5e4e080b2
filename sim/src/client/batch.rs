//! Record batches of format v2: written without compression, read as cheaply as possible.
//!
//! ```text
//!  0 base offset i64 │ 8 length i32 │ 12 leader epoch i32 │ 16 magic i8 │ 17 crc u32 │ 21 attributes i16
//! 23 last offset delta i32 │ 27 base timestamp i64 │ 35 max timestamp i64 │ 43 producer id i64
//! 51 producer epoch i16 │ 53 base sequence i32 │ 57 record count i32 │ 61 records
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::record::Numbered;

const HEADER_BYTES: usize = 61;
const LENGTH_COUNTS_FROM: usize = 12;
const CRC_COUNTS_FROM: usize = 21;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const COMPRESSION: i16 = 7;

/// Who writes a batch, as brokers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Author {
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) transactional: bool,
}

impl Author {
    /// A producer that is not idempotent.
    pub(super) const NOBODY: Self =
        Self { producer_id: -1, producer_epoch: -1, base_sequence: -1, transactional: false };
}

/// One record to write. Its value is made from the number when the batch is written, and never kept.
pub(super) struct NewRecord<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<&'a Bytes>,
    pub(super) value: Numbered<'a>,
    pub(super) value_bytes_min: usize,
}

/// Bytes that a record takes at most in a batch, as the libraries estimate before they know its place.
pub(super) fn record_bytes_max(key: Option<&Bytes>, value_bytes: usize) -> usize {
    // Lengths of 5 bytes, attributes, timestamp delta of 10, offset delta of 5, no headers.
    let key_bytes = key.map_or(0, Bytes::len);
    5 + 1 + 10 + 5 + 5 + key_bytes + 5 + value_bytes + 1
}

/// Bytes that a record takes in a batch, so many records behind the first and so many milliseconds after it.
pub(super) fn record_bytes(
    key: Option<&Bytes>,
    value_bytes: usize,
    delta: usize,
    age_ms: i64,
) -> usize {
    let body = body_bytes(key, value_bytes, delta, age_ms);
    varint_bytes(zigzag(i64::try_from(body).expect("short"))) + body
}

/// The same without the length that stands in front of it.
fn body_bytes(key: Option<&Bytes>, value_bytes: usize, delta: usize, age_ms: i64) -> usize {
    let length_bytes = |length: usize| varint_bytes(zigzag(i64::try_from(length).expect("short")));
    let key_bytes = key.map_or(1, |key| length_bytes(key.len()) + key.len());
    // Attributes, deltas, key, value, the number of headers.
    let deltas = varint_bytes(zigzag(age_ms)) + length_bytes(delta);
    1 + deltas + key_bytes + length_bytes(value_bytes) + value_bytes + 1
}

/// Bytes of a batch without its records.
pub(super) const fn header_bytes() -> usize {
    HEADER_BYTES
}

/// Writes one batch.
pub(super) fn encode<'a>(
    author: Author,
    records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    bytes_about: usize,
) -> Bytes {
    let count = i32::try_from(records.len()).expect("batches are bounded");
    let mut buffer = BytesMut::with_capacity(bytes_about);
    buffer.put_bytes(0, HEADER_BYTES);
    let (mut base, mut max) = (None, i64::MIN);
    for (delta, record) in records.enumerate() {
        let base = *base.get_or_insert(record.timestamp_ms);
        max = max.max(record.timestamp_ms);
        put_record(&mut buffer, delta, base, &record);
    }
    let base = base.unwrap_or(-1);
    let length = i32::try_from(buffer.len() - LENGTH_COUNTS_FROM).expect("batches are bounded");
    let attributes = if author.transactional { TRANSACTIONAL } else { 0 };
    let mut header = &mut buffer[..HEADER_BYTES];
    header.put_i64(0);
    header.put_i32(length);
    header.put_i32(-1);
    header.put_i8(2);
    header.put_u32(0);
    header.put_i16(attributes);
    header.put_i32(count - 1);
    header.put_i64(base);
    header.put_i64(max);
    header.put_i64(author.producer_id);
    header.put_i16(author.producer_epoch);
    header.put_i32(author.base_sequence);
    header.put_i32(count);
    let crc = crc32c::crc32c(&buffer[CRC_COUNTS_FROM..]);
    buffer[17..21].copy_from_slice(&crc.to_be_bytes());
    buffer.freeze()
}

fn put_record(buffer: &mut BytesMut, delta: usize, base: i64, record: &NewRecord<'_>) {
    let timestamp = zigzag(record.timestamp_ms - base);
    let offset = zigzag(i64::try_from(delta).expect("few"));
    let key = record.key.map(|key| (zigzag(i64::try_from(key.len()).expect("short")), key));
    let value_bytes = record.value.len(record.value_bytes_min);
    let value = zigzag(i64::try_from(value_bytes).expect("short"));
    let body = body_bytes(record.key, value_bytes, delta, record.timestamp_ms - base);
    put_varint(buffer, zigzag(i64::try_from(body).expect("short")));
    buffer.put_i8(0);
    put_varint(buffer, timestamp);
    put_varint(buffer, offset);
    match key {
        Some((length, key)) => {
            put_varint(buffer, length);
            buffer.put_slice(key);
        }
        None => put_varint(buffer, zigzag(-1)),
    }
    put_varint(buffer, value);
    record.value.encode(buffer, record.value_bytes_min);
    put_varint(buffer, 0);
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn varint_bytes(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(buffer: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        buffer.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    buffer.put_u8((number & 0x7f) as u8);
}

/// What was fetched is not what a broker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One fetched batch.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    bytes: Bytes,
}

/// One fetched record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

/// The first batch of what was fetched; `None`: no whole one is left. The last batch of a fetch may be cut.
pub(super) fn next(records: &mut Bytes) -> Result<Option<Batch>, Malformed> {
    let Some(header) = records.get(..HEADER_BYTES) else { return Ok(None) };
    let length = i32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
    let bytes = usize::try_from(length).map_err(|_| Malformed)? + LENGTH_COUNTS_FROM;
    if bytes < HEADER_BYTES || header[16] != 2 {
        return Err(Malformed);
    }
    if bytes > records.len() {
        return Ok(None);
    }
    let batch = Batch { bytes: records.split_to(bytes) };
    if batch.attributes() & COMPRESSION != 0 { Err(Malformed) } else { Ok(Some(batch)) }
}

impl Batch {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes[at..].first_chunk().copied().expect("a batch has a whole header")
    }

    fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(21))
    }

    pub(super) fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(i32::from_be_bytes(self.field(23))))
    }

    /// Of the leader that wrote it.
    pub(super) fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field(12))
    }

    pub(super) fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(43))
    }

    #[cfg(test)]
    pub(super) fn author(&self) -> Author {
        Author {
            producer_id: self.producer_id(),
            producer_epoch: i16::from_be_bytes(self.field(51)),
            base_sequence: i32::from_be_bytes(self.field(53)),
            transactional: self.is_transactional(),
        }
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// A control batch that ends a transaction without effect.
    pub(super) fn is_abort(&self) -> bool {
        let record = self.records().next();
        let key = record.and_then(Result::ok).and_then(|record| record.key);
        key.is_some_and(|key| key.get(2..4) == Some(&[0, 0]))
    }

    pub(super) fn records(&self) -> Records {
        let count = i32::from_be_bytes(self.field(57));
        Records {
            base_offset: self.base_offset(),
            left: count.max(0),
            rest: self.bytes.slice(HEADER_BYTES..),
        }
    }
}

/// Records of a batch, in order; ends behind the first malformed one.
pub(super) struct Records {
    base_offset: i64,
    left: i32,
    rest: Bytes,
}

impl Iterator for Records {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = self.take();
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or(Malformed))
    }
}

impl Records {
    fn take(&mut self) -> Option<Record> {
        let length = usize::try_from(get_varint(&mut self.rest)?).ok()?;
        if length > self.rest.len() {
            return None;
        }
        let mut body = self.rest.split_to(length);
        if body.is_empty() {
            return None;
        }
        body.advance(1);
        get_varint(&mut body)?;
        let delta = get_varint(&mut body)?;
        let key = get_bytes(&mut body).ok()?;
        let value = get_bytes(&mut body).ok()?;
        Some(Record { offset: self.base_offset.saturating_add(delta), key, value })
    }
}

fn get_varint(bytes: &mut Bytes) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = bytes.first().copied()?;
        bytes.advance(1);
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

/// Bytes with their length; a negative one means null.
fn get_bytes(bytes: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
    match usize::try_from(get_varint(bytes).ok_or(Malformed)?) {
        Err(_) => Ok(None),
        Ok(length) if length <= bytes.len() => Ok(Some(bytes.split_to(length))),
        Ok(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    use super::*;

    fn batch(numbers: std::ops::Range<u64>, key: Option<Bytes>, size: usize) -> Bytes {
        let author =
            Author { producer_id: 7, producer_epoch: 1, base_sequence: 3, transactional: true };
        let records: Vec<_> = numbers
            .map(|number| NewRecord {
                timestamp_ms: 1_000 + i64::try_from(number).expect("small"),
                key: key.as_ref(),
                value: Numbered { producer: "p", number },
                value_bytes_min: size,
            })
            .collect();
        encode(author, records.into_iter(), 0)
    }

    proptest! {
        /// Written by hand here: what another implementation reads decides whether it is right.
        #[test]
        fn batches_are_what_kafka_protocol_reads(
            count in 1_u64..200,
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100)),
            size in 0_usize..300,
        ) {
            let key = key.map(Bytes::from);
            let bytes = batch(0..count, key.clone(), size);
            let set = RecordBatchDecoder::decode(&mut bytes.clone()).expect("a good batch");
            prop_assert_eq!(set.records.len() as u64, count);
            for (number, record) in (0_u64..).zip(&set.records) {
                prop_assert_eq!(&record.key, &key);
                let value = record.value.as_ref().expect("a value");
                prop_assert_eq!(Numbered::decode(value), Some(Numbered { producer: "p", number }));
                prop_assert_eq!(record.timestamp, 1_000 + i64::try_from(number).expect("small"));
                prop_assert_eq!(i64::from(record.sequence), 3 + i64::try_from(number).expect("small"));
                prop_assert!(record.transactional);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            cut in 0_usize..400,
            at in 0_usize..400,
            byte in any::<u8>(),
        ) {
            let mut bytes = batch(0..8, None, 20).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let mut rest = Bytes::from(bytes);
            while let Ok(Some(batch)) = next(&mut rest) {
                batch.last_offset();
                batch.is_abort();
                batch.records().for_each(drop);
            }
        }
    }

    #[test]
    fn records_are_read_with_their_offsets_and_a_cut_batch_is_left_out() {
        let mut bytes = BytesMut::from(batch(0..3, Some(Bytes::from_static(b"k")), 0).as_ref());
        bytes[..8].copy_from_slice(&100_i64.to_be_bytes());
        let whole = bytes.len();
        bytes.extend_from_slice(&batch(3..5, None, 0)[..70]);
        let mut rest = bytes.freeze();
        let first = next(&mut rest).expect("good").expect("whole");
        assert_eq!((first.base_offset(), first.last_offset()), (100, 102));
        assert_eq!(first.author().base_sequence, 3);
        let offsets: Vec<i64> = first.records().map(|it| it.expect("good").offset).collect();
        assert_eq!(offsets, [100, 101, 102]);
        assert_eq!(rest.len(), 70);
        assert!(matches!(next(&mut rest), Ok(None)));
        assert!(whole > HEADER_BYTES);
    }
}
