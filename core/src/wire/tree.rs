//! Messages as trees of named values: read by a walker, written by the schema.
//!
//! Slow and general, for what is rare: error answers, dumps for people, tests. Nothing on the way of
//! records uses it.

use super::{
    schema::{Default, Field, Kind, Message},
    walk::{Scalar, Visitor, WalkError},
};

/// Fields with their values, in the order of the wire.
pub type Fields = Vec<(&'static Field, Value)>;

/// A value of any kind.
#[derive(Clone, Debug)]
pub enum Value {
    /// Any integer, a bool, or the bits of a float.
    Int(i64),
    /// A UUID.
    Uuid(u128),
    /// A string, bytes or records; `None` is null.
    Text(Option<Vec<u8>>),
    /// An array; `None` is null.
    Array(Option<Vec<Value>>),
    /// A structure; `None` is null.
    Struct(Option<Fields>),
}

/// What a value costs besides its text, for the budget.
const VALUE_BYTES: usize = size_of::<(&Field, Value)>();

enum Open {
    Struct { field: Option<&'static Field>, fields: Fields, present: bool },
    Array { field: &'static Field, values: Vec<Value> },
}

/// Builds the tree of a message while a walker follows it. The content of bytes and records is left out.
pub struct Builder {
    open: Vec<Open>,
    budget_bytes: usize,
    exceeded: bool,
    keeps_text: bool,
}

impl Builder {
    /// The tree may take about `budget_bytes` of memory; beyond it the walk ends with
    /// [`WalkError::TooLarge`].
    pub fn new(budget_bytes: usize) -> Self {
        let root = Open::Struct { field: None, fields: Vec::new(), present: true };
        Self { open: vec![root], budget_bytes, exceeded: false, keeps_text: false }
    }

    /// The message, once it was walked to its end.
    pub fn finish(mut self) -> Fields {
        match self.open.pop() {
            Some(Open::Struct { fields, .. }) if self.open.is_empty() => fields,
            _ => Vec::new(),
        }
    }

    fn spend(&mut self, bytes: usize) -> bool {
        self.exceeded |= self.budget_bytes < bytes;
        self.budget_bytes = self.budget_bytes.saturating_sub(bytes);
        !self.exceeded
    }

    fn push(&mut self, field: &'static Field, value: Value) {
        if !self.spend(VALUE_BYTES) {
            return;
        }
        match self.open.last_mut() {
            Some(Open::Struct { fields, .. }) => fields.push((field, value)),
            Some(Open::Array { values, .. }) => values.push(value),
            None => {}
        }
    }
}

impl Visitor for Builder {
    fn scalar(&mut self, field: &'static Field, _start: usize, value: Scalar) {
        self.push(
            field,
            match value {
                Scalar::Int(value) => Value::Int(value),
                Scalar::Uuid(value) => Value::Uuid(value),
            },
        );
    }

    fn text(&mut self, field: &'static Field, _start: usize, _body: usize, bytes: Option<usize>) {
        self.keeps_text = matches!(field.kind, Kind::String | Kind::Array(Kind::String));
        self.push(field, Value::Text(bytes.map(|_| Vec::new())));
    }

    fn text_piece(&mut self, _field: &'static Field, piece: &[u8]) {
        if !self.keeps_text || !self.spend(piece.len()) {
            return;
        }
        let last = match self.open.last_mut() {
            Some(Open::Struct { fields, .. }) => fields.last_mut().map(|(_, value)| value),
            Some(Open::Array { values, .. }) => values.last_mut(),
            None => None,
        };
        if let Some(Value::Text(Some(text))) = last {
            text.extend_from_slice(piece);
        }
    }

    fn array(&mut self, field: &'static Field, _start: usize, _body: usize, count: Option<u32>) {
        match count {
            Some(_) => self.open.push(Open::Array { field, values: Vec::new() }),
            None => self.push(field, Value::Array(None)),
        }
    }

    fn element(&mut self, field: &'static Field, _at: usize) {
        if matches!(field.kind, Kind::Array(Kind::Struct(_))) {
            self.open.push(Open::Struct { field: None, fields: Vec::new(), present: true });
        }
    }

    fn element_end(&mut self, field: &'static Field, _at: usize) {
        if matches!(field.kind, Kind::Array(Kind::Struct(_)))
            && let Some(Open::Struct { fields, .. }) = self.open.pop()
        {
            self.push(field, Value::Struct(Some(fields)));
        }
    }

    fn array_end(&mut self, _field: &'static Field, _at: usize) {
        if let Some(Open::Array { field, values }) = self.open.pop() {
            self.push(field, Value::Array(Some(values)));
        }
    }

    fn structure(&mut self, field: &'static Field, present: bool) {
        self.open.push(Open::Struct { field: Some(field), fields: Vec::new(), present });
    }

    fn structure_end(&mut self, _field: &'static Field) {
        if let Some(Open::Struct { field: Some(field), fields, present }) = self.open.pop() {
            self.push(field, Value::Struct(present.then_some(fields)));
        }
    }

    fn check(&self) -> Result<(), WalkError> {
        if self.exceeded { Err(WalkError::TooLarge) } else { Ok(()) }
    }
}

/// The value of a field by its name.
pub fn get<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(field, _)| field.name == name).map(|(_, value)| value)
}

/// Writes a message in this version. Fields that `values` lacks get their defaults; tagged fields are
/// written where `values` has them.
pub fn encode(message: &Message, version: i16, values: &Fields, out: &mut Vec<u8>) {
    let writer = Writer { version, flexible: message.is_flexible(version) };
    writer.structure(message.fields, values, out);
}

struct Writer {
    version: i16,
    flexible: bool,
}

impl Writer {
    fn structure(&self, schema: &'static [Field], values: &Fields, out: &mut Vec<u8>) {
        let given = |field: &'static Field| {
            values.iter().find(|(own, _)| std::ptr::eq(*own, field)).map(|(_, value)| value)
        };
        for field in schema.iter().filter(|field| field.is_plain(self.version)) {
            self.field(field, given(field), out);
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<_> = schema
            .iter()
            .filter(|field| field.is_tagged(self.version))
            .filter_map(|field| Some((field, given(field)?)))
            .collect();
        tagged.sort_by_key(|(field, _)| field.tag);
        varint(tagged.len(), out);
        for (field, value) in tagged {
            let mut content = Vec::new();
            self.field(field, Some(value), &mut content);
            varint(field.tag as usize, out);
            varint(content.len(), out);
            out.extend_from_slice(&content);
        }
    }

    fn field(&self, field: &'static Field, given: Option<&Value>, out: &mut Vec<u8>) {
        let nullable = field.nullable.contains(self.version);
        match given {
            Some(value) => self.value(&field.kind, nullable, value, out),
            None => self.value(&field.kind, nullable, &self.default(field), out),
        }
    }

    fn default(&self, field: &Field) -> Value {
        let null = field.default == Default::Null && field.nullable.contains(self.version);
        match (&field.kind, field.default) {
            (Kind::String | Kind::Bytes | Kind::Records, _) => Value::Text((!null).then(Vec::new)),
            (Kind::Array(_), _) => Value::Array((!null).then(Vec::new)),
            (Kind::Struct(_), _) => Value::Struct((!null).then(Vec::new)),
            (Kind::Uuid, _) => Value::Uuid(0),
            (_, Default::Int(value)) => Value::Int(value),
            (_, Default::Zero | Default::Null) => Value::Int(0),
        }
    }

    fn value(&self, kind: &'static Kind, nullable: bool, value: &Value, out: &mut Vec<u8>) {
        let bytes = match kind {
            Kind::Bool | Kind::Int8 => 1,
            Kind::Int16 | Kind::Uint16 => 2,
            Kind::Int32 | Kind::Uint32 => 4,
            _ => 8,
        };
        match value {
            Value::Int(value) => out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]),
            Value::Uuid(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Text(text) => {
                let short = matches!(kind, Kind::String);
                self.length(text.as_ref().map(Vec::len), short, nullable, out);
                out.extend_from_slice(text.as_deref().unwrap_or_default());
            }
            Value::Array(values) => {
                self.length(values.as_ref().map(Vec::len), false, nullable, out);
                if let Kind::Array(element) = kind {
                    for value in values.iter().flatten() {
                        self.value(element, false, value, out);
                    }
                }
            }
            Value::Struct(fields) => {
                if nullable {
                    out.push(if fields.is_some() { 1 } else { 0xff });
                }
                if let (Kind::Struct(schema), Some(fields)) = (kind, fields) {
                    self.structure(schema, fields, out);
                }
            }
        }
    }

    fn length(&self, length: Option<usize>, short: bool, nullable: bool, out: &mut Vec<u8>) {
        let length = if nullable { length } else { Some(length.unwrap_or(0)) };
        if self.flexible {
            varint(length.map_or(0, |length| length + 1), out);
        } else if short {
            let length = length.map_or(-1, |length| i16::try_from(length).unwrap_or(i16::MAX));
            out.extend_from_slice(&length.to_be_bytes());
        } else {
            let length = length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX));
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends an unsigned varint.
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(super) fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
