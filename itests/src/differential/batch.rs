//! Record batches (magic 2): written from terms with everything wrong that a test wants wrong, and read into values.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{term::Term, value::Value};
use crate::Result;

/// Bytes before a batch's length ends.
const LENGTH_END: usize = 12;
/// What the checksum covers begins here.
const CRC_END: usize = 21;
/// Attribute of a batch whose time is that of its append.
const LOG_APPEND_TIME: u8 = 0x08;
/// Attribute of a batch with a marker of a transaction.
const CONTROL: u8 = 0x20;
/// Bytes before the first record.
const HEADER_BYTES: usize = 61;

/// Fields of a batch in `records[{…}]`, with their defaults. Those that follow from others are `None`.
const FIELDS: &[(&str, Option<i64>)] = &[
    ("BaseOffset", Some(0)),
    ("PartitionLeaderEpoch", Some(-1)),
    ("Magic", Some(2)),
    ("Attributes", Some(0)),
    ("LastOffsetDelta", None),
    ("BaseTimestamp", Some(-1)),
    ("MaxTimestamp", None),
    ("ProducerId", Some(-1)),
    ("ProducerEpoch", Some(-1)),
    ("BaseSequence", Some(-1)),
    // Records that are made; `Records` lists them one by one instead.
    ("Count", Some(1)),
    // What the header says of their number.
    ("SaidCount", None),
    // Bits that are turned over in the checksum.
    ("CrcError", Some(0)),
    // Added to the length.
    ("LengthError", Some(0)),
];

/// Whether a term is a batch.
pub(super) fn check(batch: &Term) -> Result<()> {
    let Term::Struct(fields) = batch else { return Err("a batch is a structure".into()) };
    for (name, _) in fields {
        let known = name == "Records" || FIELDS.iter().any(|(field, _)| field == name);
        if !known {
            return Err(format!("a batch has no field `{name}`").into());
        }
    }
    Ok(())
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or_default()
}

/// A record of a batch.
struct Record {
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// Writes a batch from the value of its term.
pub(super) fn encode(batch: &Value) -> Vec<u8> {
    let given = |name: &str| {
        let default = FIELDS.iter().find(|(field, _)| *field == name).and_then(|(_, value)| *value);
        batch.field(name).and_then(Value::int).or(default)
    };
    let number = |name: &str| given(name).unwrap_or_default();
    let base_timestamp = number("BaseTimestamp");
    let records = match batch.field("Records") {
        Some(list) => list.elements().iter().zip(0..).map(record).collect(),
        None => made(number("Count")),
    };
    let count = i64::try_from(records.len()).unwrap_or_default();
    let latest = records.iter().map(|record| record.timestamp_delta).max().unwrap_or(0);
    let mut out = Vec::new();
    put(&mut out, number("BaseOffset"), 8);
    put(&mut out, 0, 4);
    put(&mut out, number("PartitionLeaderEpoch"), 4);
    put(&mut out, number("Magic"), 1);
    put(&mut out, 0, 4);
    put(&mut out, number("Attributes"), 2);
    put(&mut out, given("LastOffsetDelta").unwrap_or(count - 1), 4);
    put(&mut out, base_timestamp, 8);
    put(&mut out, given("MaxTimestamp").unwrap_or(base_timestamp + latest), 8);
    put(&mut out, number("ProducerId"), 8);
    put(&mut out, number("ProducerEpoch"), 2);
    put(&mut out, number("BaseSequence"), 4);
    put(&mut out, given("SaidCount").unwrap_or(count), 4);
    for record in &records {
        put_record(&mut out, record);
    }
    let length = i64::try_from(out.len() - LENGTH_END).unwrap_or_default() + number("LengthError");
    out[8..LENGTH_END].copy_from_slice(&length.to_be_bytes()[4..]);
    let crc = i64::from(crc32c::crc32c(&out[CRC_END..])) ^ number("CrcError");
    out[17..CRC_END].copy_from_slice(&crc.to_be_bytes()[4..]);
    out
}

fn made(count: i64) -> Vec<Record> {
    let made = |index: i64| Record {
        timestamp_delta: 0,
        offset_delta: index,
        key: Some(b"k".to_vec()),
        value: Some(format!("v{index}").into_bytes()),
    };
    (0..count).map(made).collect()
}

/// A record as `Records` lists it: `{Key, Value, TimestampDelta, OffsetDelta}`.
fn record((term, index): (&Value, i64)) -> Record {
    let bytes = |name| match term.field(name) {
        Some(Value::String(text)) => Some(text.clone().into_bytes()),
        Some(Value::Bytes(bytes)) => Some(bytes.clone()),
        _ => None,
    };
    let number = |name| term.field(name).and_then(Value::int);
    Record {
        timestamp_delta: number("TimestampDelta").unwrap_or(0),
        offset_delta: number("OffsetDelta").unwrap_or(index),
        key: bytes("Key"),
        value: bytes("Value"),
    }
}

fn put(out: &mut Vec<u8>, value: i64, bytes: usize) {
    out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while bits >= 0x80 {
        out.push(u8::try_from(bits & 0x7f).unwrap_or_default() | 0x80);
        bits >>= 7;
    }
    out.push(u8::try_from(bits).unwrap_or_default());
}

fn put_record(out: &mut Vec<u8>, record: &Record) {
    let mut body = vec![0];
    put_varint(&mut body, record.timestamp_delta);
    put_varint(&mut body, record.offset_delta);
    for part in [&record.key, &record.value] {
        put_varint(&mut body, part.as_ref().map_or(-1, |part| part.len().try_into().unwrap_or(-1)));
        body.extend_from_slice(part.as_deref().unwrap_or_default());
    }
    put_varint(&mut body, 0);
    put_varint(out, body.len().try_into().unwrap_or(-1));
    out.extend_from_slice(&body);
}

/// Reads what a fetch gives: batches as structures, their records as bytes; what is no whole batch is bytes.
pub(super) fn decode(mut bytes: &[u8]) -> Value {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length =
            bytes[8..LENGTH_END].iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let Some((batch, rest)) = bytes.split_at_checked(LENGTH_END + length) else { break };
        if batch.len() < HEADER_BYTES {
            break;
        }
        batches.push(decode_one(batch));
        bytes = rest;
    }
    if !bytes.is_empty() {
        let rest = Value::Bytes(bytes.to_vec());
        batches.push(Value::Struct(vec![("Incomplete".to_owned(), rest)]));
    }
    Value::Array(batches)
}

fn decode_one(batch: &[u8]) -> Value {
    const LAYOUT: [(&str, usize, usize); 11] = [
        ("BaseOffset", 0, 8),
        ("PartitionLeaderEpoch", 12, 4),
        ("Magic", 16, 1),
        ("Attributes", 21, 2),
        ("LastOffsetDelta", 23, 4),
        ("BaseTimestamp", 27, 8),
        ("MaxTimestamp", 35, 8),
        ("ProducerId", 43, 8),
        ("ProducerEpoch", 51, 2),
        ("BaseSequence", 53, 4),
        ("Count", 57, 4),
    ];
    let mut fields: Vec<_> = LAYOUT
        .iter()
        .map(|&(name, start, width)| {
            let bytes = &batch[start..start + width];
            let start = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
            let value = bytes.iter().fold(start, |value, byte| value << 8 | i64::from(*byte));
            (name.to_owned(), Value::Int(value))
        })
        .collect();
    // The times of markers, and of topics with LogAppendTime, are the broker's: they have names of their own.
    if batch[CRC_END + 1] & (CONTROL | LOG_APPEND_TIME) != 0 {
        for (name, _) in fields.iter_mut().filter(|(name, _)| name.ends_with("Timestamp")) {
            *name = format!("Broker{name}");
        }
    }
    // Not the checksum itself: it covers the producer's id, which is not the same everywhere.
    let crc = crc32c::crc32c(&batch[CRC_END..]).to_be_bytes() == batch[17..CRC_END];
    fields.push(("CrcIsRight".to_owned(), Value::Bool(crc)));
    fields.push(("Payload".to_owned(), Value::Bytes(batch[HEADER_BYTES..].to_vec())));
    Value::Struct(fields)
}
