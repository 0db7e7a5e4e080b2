//! The policy table: for every API key and version, what is done with request and response.
//!
//! Unknown means not advertised and refused, never passed unparsed. A test fails when the protocol crate
//! gains an API or a version that the table does not name.

use std::ops::RangeInclusive;

use super::schema;

/// What a route lets its clients learn of the cluster behind it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ClientView {
    /// The cluster as it is.
    Native,
    /// Nothing that holds for one cluster only, so that clients can be moved to another.
    Neutral,
}

/// What the gateway reads of a request before it forwards the bytes unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestHandling {
    /// Nothing but the header.
    Forward,
    /// Produce: `acks`, because `acks=0` has no response.
    Acks,
    /// InitProducerId: whether the transactional id is null.
    TransactionalId,
    /// ConsumerGroupHeartbeat: the member epoch.
    MemberEpoch,
}

/// What is done with the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseHandling {
    /// Bytes unchanged, streamed.
    Forward,
    /// The whole frame is collected (bounded) and given to [`super::rewrite::rewrite`].
    Rewrite,
    /// Small frames are collected and rewritten; large ones are streamed through
    /// [`super::rewrite::Neutraliser`].
    RewriteOrNeutralise,
}

/// What is done with one request and its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is read of the request.
    pub request: RequestHandling,
    /// What is done with the response.
    pub response: ResponseHandling,
}

/// Versions that carry what must be rewritten.
#[derive(Clone, Copy)]
enum Rewritten {
    Never,
    /// From this version on, in both views.
    From(i16),
    /// From this version on: only because of what the neutral view hides.
    NeutralFrom(i16),
    /// From this version on: only because of what the native view must mend.
    NativeFrom(i16),
    /// From this version on, too large to be always collected.
    StreamedFrom(i16),
}

/// Why an API is not advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Brokers and controllers speak it among themselves.
    BetweenBrokers,
    /// Operators speak it to controllers, which a gateway does not stand before.
    Controller,
    /// Kafka's definition is known, but nothing to hold it against (groups of Kafka Streams, KIP-1071).
    Unproven,
}

struct Row {
    key: i16,
    /// Inclusive versions in the native view.
    native: Result<(i16, i16), Hidden>,
    /// The last version of the neutral view; `None`: not advertised there.
    neutral_max: Option<i16>,
    request: RequestHandling,
    rewritten: Rewritten,
}

/// An API whose versions are the same in both views and whose bytes pass unchanged.
const fn pass(key: i16, min: i16, max: i16) -> Row {
    capped(key, min, max, Some(max))
}

/// The same with another last version in the neutral view.
const fn capped(key: i16, min: i16, max: i16, neutral_max: Option<i16>) -> Row {
    Row {
        key,
        native: Ok((min, max)),
        neutral_max,
        request: RequestHandling::Forward,
        rewritten: Rewritten::Never,
    }
}

const fn hidden(key: i16, why: Hidden) -> Row {
    Row {
        key,
        native: Err(why),
        neutral_max: None,
        request: RequestHandling::Forward,
        rewritten: Rewritten::Never,
    }
}

impl Row {
    const fn looks_at(mut self, request: RequestHandling) -> Self {
        self.request = request;
        self
    }

    const fn rewritten(mut self, rewritten: Rewritten) -> Self {
        self.rewritten = rewritten;
        self
    }
}

use Hidden::{BetweenBrokers, Controller, Unproven};

/// One row an API key. Versions are those of which both request and response can be processed.
const ROWS: &[Row] = &[
    // Topic ids from v13. NodeEndpoints (KIP-951) from v10.
    capped(0, 3, 13, Some(12))
        .looks_at(RequestHandling::Acks)
        .rewritten(Rewritten::StreamedFrom(10)),
    // Topic ids from v13. NodeEndpoints from v16.
    capped(1, 4, 18, Some(12)).rewritten(Rewritten::StreamedFrom(16)),
    // Leader epochs from v4.
    pass(2, 1, 10).rewritten(Rewritten::NeutralFrom(4)),
    // librdkafka sends epochs of its own once v9 is there; topic ids from v10.
    capped(3, 0, 13, Some(8)).rewritten(Rewritten::From(0)),
    hidden(4, BetweenBrokers),
    hidden(5, BetweenBrokers),
    hidden(6, BetweenBrokers),
    hidden(7, Controller),
    pass(8, 2, 9),
    // Leader epochs of commits from v5.
    pass(9, 1, 9).rewritten(Rewritten::NeutralFrom(5)),
    pass(10, 0, 6).rewritten(Rewritten::From(0)),
    pass(11, 0, 9),
    pass(12, 0, 4),
    pass(13, 0, 5),
    pass(14, 0, 5),
    pass(15, 0, 6),
    pass(16, 0, 5),
    // With v0 what follows are bare tokens instead of requests.
    pass(17, 1, 1),
    // v5 (KIP-1242) would carry the id of the cluster that the client expects.
    pass(18, 0, 4).rewritten(Rewritten::From(0)),
    // The response has topic ids from v7.
    capped(19, 2, 7, Some(6)),
    // Topic ids from v6.
    capped(20, 1, 6, Some(5)),
    pass(21, 0, 2),
    pass(22, 0, 5).looks_at(RequestHandling::TransactionalId).rewritten(Rewritten::NeutralFrom(0)),
    // KIP-320 compares epochs of one cluster.
    capped(23, 2, 4, None),
    pass(24, 0, 5),
    pass(25, 0, 4),
    pass(26, 0, 5),
    hidden(27, BetweenBrokers),
    pass(28, 0, 5),
    pass(29, 1, 3),
    pass(30, 1, 3),
    pass(31, 1, 3),
    // Listeners of brokers are addresses.
    pass(32, 1, 4).rewritten(Rewritten::From(0)),
    pass(33, 0, 2),
    pass(34, 1, 2),
    pass(35, 1, 4),
    pass(36, 0, 2),
    pass(37, 0, 3),
    pass(38, 1, 3),
    pass(39, 1, 2),
    pass(40, 1, 2),
    pass(41, 1, 3),
    pass(42, 0, 2),
    pass(43, 0, 2),
    pass(44, 0, 1),
    pass(45, 0, 1),
    pass(46, 0, 0),
    pass(47, 0, 0),
    pass(48, 0, 1),
    pass(49, 0, 1),
    pass(50, 0, 0),
    pass(51, 0, 0),
    hidden(52, BetweenBrokers),
    hidden(53, BetweenBrokers),
    hidden(54, BetweenBrokers),
    pass(55, 0, 2).rewritten(Rewritten::From(2)),
    hidden(56, BetweenBrokers),
    pass(57, 0, 2),
    hidden(58, BetweenBrokers),
    hidden(59, BetweenBrokers),
    pass(60, 0, 2).rewritten(Rewritten::From(0)),
    pass(61, 0, 0),
    hidden(62, Controller),
    hidden(63, Controller),
    hidden(64, Controller),
    pass(65, 0, 0),
    pass(66, 0, 2),
    hidden(67, BetweenBrokers),
    // KIP-848 speaks of topics by their ids.
    capped(68, 0, 1, None)
        .looks_at(RequestHandling::MemberEpoch)
        .rewritten(Rewritten::NativeFrom(0)),
    capped(69, 0, 1, None),
    hidden(70, Controller),
    pass(71, 0, 0),
    pass(72, 0, 0),
    hidden(73, BetweenBrokers),
    pass(74, 0, 1),
    // Topic ids and leader epochs.
    capped(75, 0, 0, None),
    capped(76, 1, 1, None),
    capped(77, 1, 1, None),
    capped(78, 1, 1, None).rewritten(Rewritten::From(0)),
    capped(79, 1, 1, None).rewritten(Rewritten::From(0)),
    hidden(80, Controller),
    hidden(81, Controller),
    hidden(82, BetweenBrokers),
    hidden(83, BetweenBrokers),
    hidden(84, BetweenBrokers),
    hidden(85, BetweenBrokers),
    hidden(86, BetweenBrokers),
    hidden(87, BetweenBrokers),
    hidden(88, Unproven),
    hidden(89, Unproven),
    capped(90, 0, 0, None),
    capped(91, 0, 0, None),
    capped(92, 0, 0, None),
];

/// Keys are looked up by index.
const KEYS: usize = 128;
const NO_ROW: u8 = u8::MAX;

const INDEX: [u8; KEYS] = {
    let mut index = [NO_ROW; KEYS];
    let mut row = 0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "few rows, small keys"
    )]
    while row < ROWS.len() {
        index[ROWS[row].key as usize] = row as u8;
        row += 1;
    }
    index
};

fn row(api_key: i16) -> Option<&'static Row> {
    let index = *INDEX.get(usize::try_from(api_key).ok()?)?;
    ROWS.get(usize::from(index))
}

impl Row {
    fn versions(&self, view: ClientView) -> Option<RangeInclusive<i16>> {
        let (min, max) = self.native.ok()?;
        match view {
            ClientView::Native => Some(min..=max),
            ClientView::Neutral => Some(min..=self.neutral_max?),
        }
    }
}

/// The policy of one request, or `None` when it was never advertised under this view.
pub fn policy(api_key: i16, api_version: i16, view: ClientView) -> Option<Policy> {
    let row = row(api_key)?;
    row.versions(view)?.contains(&api_version).then(|| Policy {
        request: row.request,
        response: match row.rewritten {
            Rewritten::From(from) if api_version >= from => ResponseHandling::Rewrite,
            Rewritten::NeutralFrom(from) if api_version >= from && view == ClientView::Neutral => {
                ResponseHandling::Rewrite
            }
            Rewritten::NativeFrom(from) if api_version >= from && view == ClientView::Native => {
                ResponseHandling::Rewrite
            }
            Rewritten::StreamedFrom(from) if api_version >= from => match view {
                ClientView::Native => ResponseHandling::RewriteOrNeutralise,
                // Erasing while streaming leaves leader epochs where they are. What is left here under this
                // view is Produce, whose responses have no records and are small.
                ClientView::Neutral => ResponseHandling::Rewrite,
            },
            _ => ResponseHandling::Forward,
        },
    })
}

/// The versions of an API that the gateway can process under this view; `None`: never advertised.
pub fn supported(api_key: i16, view: ClientView) -> Option<RangeInclusive<i16>> {
    row(api_key)?.versions(view)
}

/// The lowest version to advertise where upstream has it. librdkafka decides by Produce v0 what a broker
/// is able to, so that brokers advertise versions which they refuse (KAFKA-18659); so does the gateway.
pub fn advertised_min(api_key: i16, min: i16) -> i16 {
    if api_key == 0 { 0 } else { min }
}

/// Every API key that the gateway forwards under this view, ascending.
pub fn supported_keys(view: ClientView) -> impl Iterator<Item = i16> {
    ROWS.iter().filter(move |row| row.versions(view).is_some()).map(|row| row.key)
}

/// Why an API is never advertised; `None` when it is, or when nobody knows the key.
pub fn hidden_because(api_key: i16) -> Option<Hidden> {
    row(api_key)?.native.err()
}

/// Kafka's name of an API (`Produce`); `None` for a key that nobody knows.
pub fn name(api_key: i16) -> Option<&'static str> {
    schema::api(api_key).map(|api| api.name)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;

    use super::*;

    /// The protocol crate gives one range for request and response; of these the response ends earlier.
    const CLAMPED: &[(i16, i16)] = &[(8, 9), (9, 9), (22, 5)];

    /// A version that nobody decided about must not be passed on, and must not be forgotten either.
    #[test]
    fn table_names_every_api_and_version_of_the_protocol_crate() {
        for key in ApiKey::iter() {
            let versions = key.valid_versions();
            let key = key as i16;
            let row = row(key).unwrap_or_else(|| panic!("no row for API key {key}"));
            let Ok((min, max)) = row.native else { continue };
            let clamped = CLAMPED.iter().find(|(own, _)| *own == key).map(|(_, max)| *max);
            assert_eq!(
                max,
                clamped.unwrap_or(versions.max).min(if key == 18 { 4 } else { 99 }),
                "max of {key}"
            );
            assert!(min >= versions.min, "min of {key}");
        }
        for row in ROWS.iter().filter(|row| ApiKey::try_from(row.key).is_err()) {
            assert!(row.native.is_err(), "{} is not in the protocol crate", row.key);
        }
    }

    #[test]
    fn schemas_cover_every_version_that_is_forwarded() {
        for key in supported_keys(ClientView::Native) {
            let versions = supported(key, ClientView::Native).expect("supported");
            let api = schema::api(key).expect("has a schema");
            for message in [&api.request, &api.response] {
                assert!(
                    message.versions.contains(*versions.end()),
                    "{} {versions:?}",
                    message.name
                );
                assert!(
                    message.versions.contains(*versions.start()),
                    "{} {versions:?}",
                    message.name
                );
            }
        }
    }

    #[test]
    fn neutral_view_is_a_part_of_the_native_one() {
        for key in supported_keys(ClientView::Neutral) {
            let native = supported(key, ClientView::Native).expect("native");
            let neutral = supported(key, ClientView::Neutral).expect("neutral");
            assert_eq!(native.start(), neutral.start());
            assert!(native.end() >= neutral.end());
        }
    }

    /// No message with an address may be handed on as it is.
    #[test]
    fn every_response_with_a_host_field_is_rewritten() {
        fn has_host(fields: &'static [schema::Field], version: i16) -> bool {
            let own = || fields.iter().filter(|field| field.versions.contains(version));
            // A host without a port is a client's.
            own().any(|field| field.name == "Host") && own().any(|field| field.name == "Port")
                || own().any(|field| match &field.kind {
                    schema::Kind::Struct(inner)
                    | schema::Kind::Array(schema::Kind::Struct(inner)) => has_host(inner, version),
                    _ => false,
                })
        }
        for view in [ClientView::Native, ClientView::Neutral] {
            for key in supported_keys(view) {
                let api = schema::api(key).expect("has a schema");
                for version in supported(key, view).expect("supported") {
                    let policy = policy(key, version, view).expect("supported");
                    let exposes = has_host(api.response.fields, version);
                    assert!(
                        !exposes || policy.response != ResponseHandling::Forward,
                        "{} v{version}",
                        api.name
                    );
                }
            }
        }
    }

    /// A leader epoch that slips through in one large answer keeps its client from following a switch.
    #[test]
    fn no_response_with_a_leader_epoch_streams_through_the_neutral_view() {
        fn has_epoch(fields: &'static [schema::Field], version: i16) -> bool {
            fields.iter().filter(|field| field.versions.contains(version)).any(|field| {
                field.mark == schema::Mark::LeaderEpoch
                    || match &field.kind {
                        schema::Kind::Struct(inner)
                        | schema::Kind::Array(schema::Kind::Struct(inner)) => {
                            has_epoch(inner, version)
                        }
                        _ => false,
                    }
            })
        }
        let mut with_epoch = 0;
        for key in supported_keys(ClientView::Neutral) {
            let api = schema::api(key).expect("has a schema");
            for version in supported(key, ClientView::Neutral).expect("supported") {
                if has_epoch(api.response.fields, version) {
                    with_epoch += 1;
                    let policy = policy(key, version, ClientView::Neutral).expect("supported");
                    assert_eq!(
                        policy.response,
                        ResponseHandling::Rewrite,
                        "{} v{version}",
                        api.name
                    );
                }
            }
        }
        assert!(with_epoch > 10, "only {with_epoch}");
    }

    #[test]
    fn unknown_keys_and_versions_have_no_policy() {
        for (key, version) in
            [(-1, 0), (93, 0), (127, 0), (128, 0), (i16::MAX, 0), (0, 14), (0, -1), (18, 5), (7, 0)]
        {
            assert_eq!(policy(key, version, ClientView::Native), None, "{key} v{version}");
        }
    }
}
