//! Error answers in every API's own shape, made up by the gateway while the request streams in.
//!
//! The request is walked, never decoded: names, ids and indexes are kept within a budget, records are
//! passed over. The response is its schema's defaults with the error wherever it has room for one, and
//! with one element for every element asked for, as Kafka's own requests build their error responses.

use std::borrow::Cow;

use super::{
    header::{LENGTH_BYTES, response_is_flexible},
    rewrite::VirtualAddresses,
    schema::{self, Api, Field, Kind},
    tree::{self, Builder, Fields, Value},
    walk::{Direction, WalkError, Walker},
};
use crate::topology::NodeId;

/// What the names and indexes of one request may take in memory.
const BUDGET_BYTES: usize = 4 << 20;

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;

/// Why no answer could be made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The request is not what its schema says.
    #[error("the request cannot be parsed: {0}")]
    Malformed(WalkError),
    /// The request names more than fits into the budget.
    #[error("the request asks for too much to be answered one by one")]
    TooLarge,
}

impl From<WalkError> for AnswerError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::TooLarge => Self::TooLarge,
            error => Self::Malformed(error),
        }
    }
}

/// The route's own brokers, for answers that list brokers: clients must know where to ask again.
pub struct Brokers<'a> {
    /// Node ids that exist.
    pub nodes: &'a [NodeId],
    /// Where clients reach them.
    pub addresses: &'a dyn VirtualAddresses,
}

/// An answer in the making. Feed it the request's body in any split, then [`finish`](Self::finish).
pub struct ErrorAnswer {
    api: &'static Api,
    version: i16,
    correlation_id: i32,
    error_code: i16,
    message: Option<Box<str>>,
    brokers: Vec<Value>,
    walker: Walker,
    builder: Builder,
}

impl ErrorAnswer {
    /// Starts the answer to a request whose body has `body_bytes` bytes.
    pub fn new(
        api_key: i16,
        version: i16,
        correlation_id: i32,
        body_bytes: usize,
        error: (i16, Option<&str>),
        brokers: &Brokers<'_>,
    ) -> Result<Self, AnswerError> {
        let walker = Walker::body(Direction::Request, api_key, version, body_bytes)?;
        let api =
            schema::api(api_key).ok_or(WalkError::Unknown { api_key, api_version: version })?;
        let brokers = match api_key {
            METADATA => broker_values(api, brokers),
            _ => Vec::new(),
        };
        Ok(Self {
            api,
            version,
            correlation_id,
            error_code: error.0,
            message: error.1.map(Into::into),
            brokers,
            walker,
            builder: Builder::new(BUDGET_BYTES),
        })
    }

    /// Goes on with these bytes of the body.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), AnswerError> {
        Ok(self.walker.feed(chunk, &mut self.builder)?)
    }

    /// The framed response; `None` when the request gets none (Produce with `acks=0`).
    pub fn finish(mut self) -> Result<Option<Vec<u8>>, AnswerError> {
        self.walker.finish()?;
        let request = std::mem::replace(&mut self.builder, Builder::new(0)).finish();
        let unanswered = matches!(tree::get(&request, "Acks"), Some(Value::Int(0)));
        if self.api.key == PRODUCE && unanswered {
            return Ok(None);
        }
        let response = self.structure(self.api.response.fields, &Scope::Root(&request));
        let mut out = vec![0; LENGTH_BYTES];
        out.extend_from_slice(&self.correlation_id.to_be_bytes());
        if response_is_flexible(self.api.key, self.version) {
            out.push(0); // No tagged fields in the header.
        }
        tree::encode(&self.api.response, self.version, &response, &mut out);
        let length = i32::try_from(out.len() - LENGTH_BYTES).map_err(|_| AnswerError::TooLarge)?;
        out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(Some(out))
    }

    fn structure(&self, schema: &'static [Field], scope: &Scope<'_>) -> Fields {
        let plain = schema.iter().filter(|field| field.is_plain(self.version));
        plain.filter_map(|field| Some((field, self.field(field, scope)?))).collect()
    }

    /// `None`: the default will do.
    fn field(&self, field: &'static Field, scope: &Scope<'_>) -> Option<Value> {
        let nullable = field.nullable.contains(self.version);
        match (&field.kind, field.name) {
            (Kind::Int16, name) if name.ends_with("ErrorCode") => {
                Some(Value::Int(self.error_code.into()))
            }
            (Kind::String, "ErrorMessage") => {
                let text = self.message.as_deref().map(|text| text.as_bytes().to_vec());
                Some(Value::Text(text.or_else(|| (!nullable).then(Vec::new))))
            }
            // librdkafka does not take null for an empty set of records.
            (Kind::Records, _) => Some(Value::Text(Some(Vec::new()))),
            (Kind::Array(_), "Brokers") if self.api.key == METADATA => {
                Some(Value::Array(Some(self.brokers.clone())))
            }
            (Kind::Array(element), name) => {
                let asked = mirrored(self.api.key, name)?;
                let elements = asked.iter().flat_map(|path| scope.elements(path));
                Some(Value::Array(Some(
                    elements.map(|asked| self.element(element, asked)).collect(),
                )))
            }
            (_, name) if UNKNOWN_IS_MINUS_ONE.contains(&name) && scope.key(field).is_none() => {
                Some(Value::Int(-1))
            }
            _ => scope.key(field),
        }
    }

    fn element(&self, kind: &'static Kind, asked: &Value) -> Value {
        match (kind, asked) {
            (Kind::Struct(schema), Value::Struct(Some(fields))) => {
                Value::Struct(Some(self.structure(schema, &Scope::Element(fields))))
            }
            (Kind::Struct(schema), key) => {
                Value::Struct(Some(self.structure(schema, &Scope::Key(key))))
            }
            (_, key) => key.clone(),
        }
    }
}

/// Numbers that say "none" by −1 where the schema has no default.
const UNKNOWN_IS_MINUS_ONE: &[&str] = &[
    "BaseOffset",
    "HighWatermark",
    "LastStableOffset",
    "CommittedOffset",
    "ProducerId",
    "ProducerEpoch",
    "GenerationId",
    "NodeId",
    "Port",
    "LeaderId",
    "LowWatermark",
];

/// What was asked for, at the place that is being answered.
enum Scope<'a> {
    /// The request itself. Its fields are not the response's: both have a `MemberId`, say.
    Root(&'a Fields),
    /// An element of an array of structures.
    Element(&'a Fields),
    /// An element that is nothing but a name or number.
    Key(&'a Value),
}

impl Scope<'_> {
    /// The elements of an array; `Outer.Inner` are those of all inner arrays.
    fn elements(&self, path: &str) -> Vec<&Value> {
        let (Self::Root(fields) | Self::Element(fields)) = self else { return Vec::new() };
        let (name, inner) = match path.split_once('.') {
            Some((name, inner)) => (name, Some(inner)),
            None => (path, None),
        };
        let Some(Value::Array(Some(values))) = tree::get(fields, name) else { return Vec::new() };
        match inner {
            None => values.iter().collect(),
            Some(inner) => values
                .iter()
                .filter_map(|value| match value {
                    Value::Struct(Some(fields)) => Some(elements_of(fields, inner)),
                    _ => None,
                })
                .flatten()
                .collect(),
        }
    }

    /// What names the element, if this field of the response is it.
    fn key(&self, field: &Field) -> Option<Value> {
        match self {
            Self::Root(_) => None,
            Self::Element(fields) => {
                let wanted = canonical(field.name);
                let found = fields.iter().find(|(own, _)| canonical(own.name) == wanted)?;
                same_shape(&field.kind, &found.1).then(|| found.1.clone())
            }
            Self::Key(key) => same_shape(&field.kind, key).then(|| Value::clone(key)),
        }
    }
}

fn elements_of<'a>(fields: &'a Fields, name: &str) -> Vec<&'a Value> {
    match tree::get(fields, name) {
        Some(Value::Array(Some(values))) => values.iter().collect(),
        _ => Vec::new(),
    }
}

fn same_shape(kind: &Kind, value: &Value) -> bool {
    matches!(
        (kind, value),
        (Kind::String, Value::Text(_))
            | (Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64, Value::Int(_))
            | (Kind::Uuid, Value::Uuid(_))
    )
}

/// Requests and responses call the same thing by different names.
fn canonical(name: &str) -> &str {
    match name {
        "Index" | "PartitionIndex" | "PartitionId" => "Partition",
        "Topic" | "TopicName" | "User" => "Name",
        name => name,
    }
}

#[expect(clippy::match_same_arms, reason = "one row an API reads better")]
/// Which arrays of the request an array of the response answers, element by element.
fn mirrored(api_key: i16, array: &str) -> Option<&'static [&'static str]> {
    Some(match (api_key, array) {
        (0, "Responses") => &["TopicData"],
        (0, "PartitionResponses") => &["PartitionData"],
        (1 | 79, "Responses") => &["Topics"],
        (9 | 61, "Partitions") => &["PartitionIndexes"],
        (10, "Coordinators") => &["CoordinatorKeys"],
        (9 | 15 | 90, "Groups") => &["Groups"],
        (20, "Responses") => &["TopicNames", "Topics"],
        (24, "ResultsByTopicV3AndBelow") => &["V3AndBelowTopics"],
        (24, "ResultsByTransaction") => &["Transactions"],
        (24, "TopicResults") => &["Topics"],
        (24, "ResultsByPartition") => &["Partitions"],
        (30, "Results") => &["Creations"],
        (31, "FilterResults") => &["Filters"],
        (32, "Results") | (33 | 44, "Responses") => &["Resources"],
        (34, "Results") => &["Dirs.Topics"],
        (37, "Results") => &["Topics"],
        (42, "Results") => &["GroupsNames"],
        (43, "ReplicaElectionResults") => &["TopicPartitions"],
        (43, "PartitionResult") => &["Partitions"],
        (45, "Responses") => &["Topics"],
        (49, "Entries") => &["Entries"],
        (49, "Entity") => &["Entity"],
        (51, "Results") => &["Deletions", "Upsertions"],
        (57, "Results") => &["FeatureUpdates"],
        (65, "TransactionStates") => &["TransactionalIds"],
        (69 | 77 | 89, "Groups") => &["GroupIds"],
        (2 | 3 | 8 | 9 | 19 | 21 | 23 | 28 | 47 | 61 | 75, "Topics") => &["Topics"],
        (1 | 2 | 8 | 21 | 23 | 28 | 34 | 45 | 47 | 79, "Partitions") => &["Partitions"],
        _ => return None,
    })
}

fn broker_values(api: &'static Api, brokers: &Brokers<'_>) -> Vec<Value> {
    let Some(Kind::Array(Kind::Struct(schema))) =
        api.response.fields.iter().find(|field| field.name == "Brokers").map(|field| &field.kind)
    else {
        return Vec::new();
    };
    let known =
        brokers.nodes.iter().filter_map(|node| Some((node, brokers.addresses.address_of(*node)?)));
    known
        .map(|(node, (host, port))| {
            let value = |field: &'static Field| {
                Some(match field.name {
                    "NodeId" => Value::Int(node.0.into()),
                    "Host" => Value::Text(Some(Cow::from(host).into_owned().into_bytes())),
                    "Port" => Value::Int(port.into()),
                    _ => return None,
                })
            };
            Value::Struct(Some(
                schema.iter().filter_map(|field| Some((field, value(field)?))).collect(),
            ))
        })
        .collect()
}
