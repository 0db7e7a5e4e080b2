//! The few fields of a request that decide what becomes of it. The bytes stay as they are.

use super::{
    header::{Peek, Reader, Stop},
    schema,
};

const PRODUCE: i16 = 0;
const INIT_PRODUCER_ID: i16 = 22;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

fn peek<T>(
    api_key: i16,
    version: i16,
    body: &[u8],
    complete: bool,
    read: impl FnOnce(&mut Reader<'_>, bool) -> Result<T, Stop>,
) -> Peek<T> {
    let compact = schema::api(api_key).is_some_and(|api| api.request.is_flexible(version));
    let frame_bytes = if complete { body.len() } else { usize::MAX };
    let mut reader = Reader { bytes: body, frame_bytes, position: 0 };
    match read(&mut reader, compact) {
        Ok(value) => Peek::Ready(value),
        Err(stop) => stop.into(),
    }
}

/// `acks` of a Produce request: with 0 the broker sends no response. Stands behind the transactional id.
pub fn produce_acks(version: i16, body: &[u8], complete: bool) -> Peek<i16> {
    peek(PRODUCE, version, body, complete, |reader, compact| {
        reader.text(compact)?;
        Ok(i16::from_be_bytes(reader.take()?))
    })
}

/// Whether an InitProducerId request names a transactional id. Brokers hand out a fresh producer id
/// when, and only when, it is null.
pub fn has_transactional_id(version: i16, body: &[u8], complete: bool) -> Peek<bool> {
    peek(INIT_PRODUCER_ID, version, body, complete, |reader, compact| {
        Ok(reader.text(compact)?.is_some())
    })
}

/// The member epoch of a ConsumerGroupHeartbeat: above 0 the member believes to be in the group
/// (KIP-848). Stands behind group id and member id.
pub fn member_epoch(version: i16, body: &[u8], complete: bool) -> Peek<i32> {
    peek(CONSUMER_GROUP_HEARTBEAT, version, body, complete, |reader, compact| {
        reader.text(compact)?;
        reader.text(compact)?;
        Ok(i32::from_be_bytes(reader.take()?))
    })
}
