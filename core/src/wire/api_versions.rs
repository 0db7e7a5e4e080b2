//! ApiVersions: what upstream offers ∩ what the gateway can process ∩ what other domains offer.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use super::{
    api::{self, ClientView},
    schema::{self, Field, Mark},
    tree::{self, Value},
    walk::{self, Direction, Scalar, Visitor, WalkError},
};

/// API key of ApiVersions.
pub const API_VERSIONS: i16 = 18;

/// Versions of it that the gateway speaks.
pub const VERSIONS: RangeInclusive<i16> = 0..=4;

/// Error code for a request whose version is not known.
pub const UNSUPPORTED_VERSION: i16 = 35;

/// Versions that a broker offers, by API key: inclusive minimum and maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered(pub BTreeMap<i16, (i16, i16)>);

impl Offered {
    /// Reads what a response offers. `frame` is the response behind its length; its header is always v0,
    /// and the body of an error answer may be v0 whatever was asked (KIP-511).
    pub fn from_response(version: i16, frame: &[u8]) -> Result<Self, WalkError> {
        let body = frame.get(4..).ok_or(WalkError::Truncated { at: frame.len() })?;
        let mut reading = Reading::default();
        let version = body_version(version, body);
        walk::visit(Direction::Response, API_VERSIONS, version, body, &mut reading)?;
        Ok(reading.offered)
    }

    /// What both offer; APIs without a common version are left out.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(key, own)| {
            let (min, max) = other.0.get(key)?;
            let (min, max) = (own.0.max(*min), own.1.min(*max));
            (min <= max).then_some((*key, (min, max)))
        });
        Self(both.collect())
    }

    /// What is left of this when the gateway stands between under `view`.
    #[must_use]
    pub fn clamp(&self, view: ClientView) -> Self {
        self.intersect(&Self::processable(view))
    }

    /// What the gateway may advertise under this view.
    pub fn processable(view: ClientView) -> Self {
        let all = api::supported_keys(view).filter_map(|key| {
            let versions = api::supported(key, view)?;
            Some((key, (api::advertised_min(key, *versions.start()), *versions.end())))
        });
        Self(all.collect())
    }

    /// What clients are told: this ∩ the gateway ∩ every other domain of the route.
    #[must_use]
    pub fn for_clients(&self, view: ClientView, elsewhere: &[Arc<Self>]) -> Self {
        elsewhere.iter().fold(self.clamp(view), |left, other| left.intersect(other))
    }
}

/// The version in which a response's body is written: an error answer to a request that the broker does
/// not know comes as v0.
pub fn body_version(version: i16, body: &[u8]) -> i16 {
    match body.first_chunk() {
        Some(code) if i16::from_be_bytes(*code) == UNSUPPORTED_VERSION => 0,
        _ => version,
    }
}

#[derive(Default)]
struct Reading {
    offered: Offered,
    key: i16,
    min: i16,
}

impl Visitor for Reading {
    fn scalar(&mut self, field: &'static Field, _start: usize, value: Scalar) {
        let Scalar::Int(value) = value else { return };
        let Ok(value) = i16::try_from(value) else { return };
        match field.mark {
            Mark::ApiKey => self.key = value,
            Mark::MinVersion => self.min = value,
            Mark::MaxVersion => {
                self.offered.0.insert(self.key, (self.min, value));
            }
            _ => {}
        }
    }
}

/// A framed response from the gateway's own knowledge.
pub fn answer(version: i16, correlation_id: i32, offered: &Offered) -> Vec<u8> {
    response(version, correlation_id, 0, offered)
}

/// The framed answer to an ApiVersions request of a version that is too new: v0, with the versions of
/// ApiVersions itself, so that the client can ask again (KIP-511).
pub fn too_new_answer(correlation_id: i32) -> Vec<u8> {
    let own = BTreeMap::from([(API_VERSIONS, (*VERSIONS.start(), *VERSIONS.end()))]);
    response(0, correlation_id, UNSUPPORTED_VERSION, &Offered(own))
}

fn response(version: i16, correlation_id: i32, error_code: i16, offered: &Offered) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if let Some(api) = schema::api(API_VERSIONS) {
        let find = |fields: &'static [Field], mark| fields.iter().find(|field| field.mark == mark);
        let mut fields = Vec::new();
        if let Some(field) = find(api.response.fields, Mark::ErrorCode) {
            fields.push((field, Value::Int(error_code.into())));
        }
        if let Some(array) = find(api.response.fields, Mark::ApiKeys)
            && let schema::Kind::Array(schema::Kind::Struct(element)) = &array.kind
        {
            let element_of = |(key, (min, max)): (&i16, &(i16, i16))| {
                let values =
                    [(Mark::ApiKey, *key), (Mark::MinVersion, *min), (Mark::MaxVersion, *max)];
                let fields = values.into_iter().filter_map(|(mark, value)| {
                    Some((find(element, mark)?, Value::Int(value.into())))
                });
                Value::Struct(Some(fields.collect()))
            };
            let elements = offered.0.iter().map(element_of).collect();
            fields.push((array, Value::Array(Some(elements))));
        }
        tree::encode(&api.response, version, &fields, &mut out);
    }
    // A few hundred bytes.
    let length = i32::try_from(out.len() - 4).unwrap_or(i32::MAX);
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}
