//! The wire layer held against the protocol crate: every API, every version, messages made up from the
//! schema, whole and in pieces, sound and mutilated.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "made-up values may be anything"
)]

mod answers;
mod generate;
mod mutated;
mod rewriting;
mod snapshots;
mod walking;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use switchyard::wire::{
    api::{self, ClientView},
    schema::{self, Message},
    walk::Direction,
};

/// Every message of every version that both our tables and the protocol crate have.
fn messages() -> impl Iterator<Item = (ApiKey, i16, Direction, &'static Message)> {
    ApiKey::iter().flat_map(|key| {
        let api = schema::api(key as i16).unwrap();
        let versions = key.valid_versions();
        [(Direction::Request, &api.request), (Direction::Response, &api.response)]
            .into_iter()
            .flat_map(move |(direction, message)| {
                (versions.min..=versions.max)
                    .filter(|version| message.versions.contains(*version))
                    .filter(move |version| !overstated(key, *version))
                    .map(move |version| (key, version, direction, message))
            })
    })
}

/// The protocol crate gives one range of versions for both halves; of these it has only one half.
fn overstated(key: ApiKey, version: i16) -> bool {
    matches!(
        (key, version),
        (ApiKey::OffsetCommit | ApiKey::OffsetFetch, 10) | (ApiKey::InitProducerId, 6)
    )
}

/// What the protocol crate makes of a body: its text, and what it encodes again.
fn decode(
    key: ApiKey,
    version: i16,
    direction: Direction,
    body: &[u8],
) -> Result<(String, Vec<u8>), String> {
    let mut bytes = Bytes::copy_from_slice(body);
    let mut again = bytes::BytesMut::new();
    let text = match direction {
        Direction::Request => {
            let message =
                RequestKind::decode(key, &mut bytes, version).map_err(|e| format!("{e:#}"))?;
            message.encode(&mut again, version).map_err(|e| format!("{e:#}"))?;
            format!("{message:?}")
        }
        Direction::Response => {
            let message =
                ResponseKind::decode(key, &mut bytes, version).map_err(|e| format!("{e:#}"))?;
            message.encode(&mut again, version).map_err(|e| format!("{e:#}"))?;
            format!("{message:?}")
        }
    };
    if bytes.is_empty() {
        Ok((text, again.to_vec()))
    } else {
        Err(format!("{} bytes left", bytes.len()))
    }
}

/// Every API and version that is advertised under a view.
fn advertised(view: ClientView) -> impl Iterator<Item = (ApiKey, i16)> {
    api::supported_keys(view).flat_map(move |key| {
        let name = ApiKey::try_from(key).unwrap();
        api::supported(key, view).unwrap().map(move |version| (name, version))
    })
}
