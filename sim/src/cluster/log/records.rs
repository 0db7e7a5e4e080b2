//! The records of an uncompressed batch, one after the other.
//!
//! ```text
//! length │ attributes i8 │ timestamp delta │ offset delta │ key length, key │ value length, value │ headers
//! ```
//! All numbers are zigzag varints. Compressed batches are opaque here: the cluster has no codec.

/// What is looked at of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) has_key: bool,
}

/// Longest varints of 32 and of 64 bits.
const INT_BYTES_MAX: u32 = 5;
const LONG_BYTES_MAX: u32 = 10;

/// The bytes are no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Too few or too many of them, or a length that cannot be.
    Records,
    /// A number that does not end.
    Number,
}

/// Calls `visit` with every record; there must be exactly `count`.
pub(super) fn walk(
    mut bytes: &[u8],
    count: i32,
    mut visit: impl FnMut(Record),
) -> Result<(), Malformed> {
    for _ in 0..count {
        let length = length(&mut bytes)?;
        let (mut record, rest) = bytes.split_at_checked(length).ok_or(Malformed::Records)?;
        bytes = rest;
        visit(one(&mut record)?);
    }
    if bytes.is_empty() { Ok(()) } else { Err(Malformed::Records) }
}

fn one(bytes: &mut &[u8]) -> Result<Record, Malformed> {
    skip(bytes, 1)?;
    let timestamp_delta = varint(bytes, LONG_BYTES_MAX)?;
    let offset_delta =
        i32::try_from(varint(bytes, INT_BYTES_MAX)?).map_err(|_| Malformed::Records)?;
    let has_key = skip_nullable(bytes)?;
    skip_nullable(bytes)?;
    for _ in 0..length(bytes)? {
        let key = length(bytes)?;
        skip(bytes, key)?;
        skip_nullable(bytes)?;
    }
    if bytes.is_empty() {
        Ok(Record { timestamp_delta, offset_delta, has_key })
    } else {
        Err(Malformed::Records)
    }
}

fn skip(bytes: &mut &[u8], count: usize) -> Result<(), Malformed> {
    *bytes = bytes.get(count..).ok_or(Malformed::Records)?;
    Ok(())
}

/// Skips bytes behind their length; whether they are not null.
fn skip_nullable(bytes: &mut &[u8]) -> Result<bool, Malformed> {
    match usize::try_from(varint(bytes, INT_BYTES_MAX)?) {
        Ok(count) => skip(bytes, count).map(|()| true),
        Err(_) => Ok(false),
    }
}

fn length(bytes: &mut &[u8]) -> Result<usize, Malformed> {
    usize::try_from(varint(bytes, INT_BYTES_MAX)?).map_err(|_| Malformed::Records)
}

fn varint(bytes: &mut &[u8], bytes_max: u32) -> Result<i64, Malformed> {
    let mut bits = 0_u64;
    for place in 0..bytes_max {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed::Records)?;
        *bytes = rest;
        bits |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
        }
    }
    Err(Malformed::Number)
}
