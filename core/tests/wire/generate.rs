//! Messages made up from the schema.

use switchyard::wire::{
    schema::{Field, Kind, Mark, Message},
    tree::{self, Fields, Value},
};

/// Stands in every host field of what upstream says.
pub(crate) const UPSTREAM_HOST: &str = "kafka-7.upstream.internal";
pub(crate) const UPSTREAM_PORT: u16 = 19777;

/// A small generator, so that a failure names a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// How large and how wild the messages are.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Elements of an array, at most.
    pub(crate) elements: usize,
    /// Bytes of a text, at most.
    pub(crate) text: usize,
    /// Whether node ids are such that the route has ports for them.
    pub(crate) known_nodes: bool,
    /// Whether tagged fields are written.
    pub(crate) tagged: bool,
}

impl Shape {
    pub(crate) const SMALL: Self = Self { elements: 3, text: 12, known_nodes: true, tagged: true };
}

/// The encoded body of a made-up message.
pub(crate) fn body(
    message: &'static Message,
    version: i16,
    shape: Shape,
    random: &mut Random,
) -> Vec<u8> {
    let mut out = Vec::new();
    tree::encode(message, version, &fields(message.fields, version, shape, random), &mut out);
    out
}

pub(crate) fn fields(
    schema: &'static [Field],
    version: i16,
    shape: Shape,
    random: &mut Random,
) -> Fields {
    let mut fields = Fields::new();
    for field in schema {
        let tagged = field.is_tagged(version) && shape.tagged;
        if field.is_plain(version) || tagged && random.chance(2) {
            fields.push((field, value(field, &field.kind, version, shape, random)));
        }
    }
    fields
}

fn value(
    field: &'static Field,
    kind: &'static Kind,
    version: i16,
    shape: Shape,
    random: &mut Random,
) -> Value {
    let nullable = field.nullable.contains(version) && std::ptr::eq(kind, &raw const field.kind);
    if nullable && random.chance(4) {
        return match kind {
            Kind::Array(_) => Value::Array(None),
            Kind::Struct(_) => Value::Struct(None),
            _ => Value::Text(None),
        };
    }
    match (kind, field.mark) {
        (Kind::Struct(inner), _) => Value::Struct(Some(fields(inner, version, shape, random))),
        (Kind::Array(element), _) => {
            let count = random.below(shape.elements + 1);
            Value::Array(Some(
                (0..count).map(|_| value(field, element, version, shape, random)).collect(),
            ))
        }
        (Kind::String, Mark::Host) => Value::Text(Some(UPSTREAM_HOST.into())),
        (Kind::String, _) => {
            let length = random.below(shape.text + 1);
            Value::Text(Some((0..length).map(|_| b'a' + random.below(26) as u8).collect()))
        }
        (Kind::Bytes | Kind::Records, _) => {
            let length = random.below(shape.text * 4 + 1);
            Value::Text(Some((0..length).map(|_| random.next() as u8).collect()))
        }
        (Kind::Uuid, _) => Value::Uuid(u128::from(random.next()) << 64 | u128::from(random.next())),
        (_, Mark::Port) => Value::Int(UPSTREAM_PORT.into()),
        (_, Mark::NodeId) if shape.known_nodes => Value::Int(random.below(10) as i64),
        (Kind::Bool, _) => Value::Int(random.below(2) as i64),
        (Kind::Float64, _) => Value::Int(1.5_f64.to_bits() as i64),
        _ if random.chance(3) => Value::Int(random.next() as i64),
        _ => Value::Int(random.below(9) as i64 - 1),
    }
}
