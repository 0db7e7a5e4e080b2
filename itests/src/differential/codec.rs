//! Bytes ⇄ [`Value`]s of any API and version, by the core's schema tables.
//!
//! Nothing is refused that can be written: what a test wants malformed, a null where none may be, leaves as it is.

use switchyard::wire::schema::{Default, Field, Kind, Message};

use super::value::Value;
use crate::Result;

/// Name of a tagged field that no schema has: `#` and its tag, such as `#700`. Its value is bytes.
const UNKNOWN_TAG: &str = "#";

/// Writes a message. Fields that the value lacks get their defaults, those that the version lacks are left out.
pub fn encode(message: &Message, version: i16, value: &Value) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Writer { version, flexible: message.is_flexible(version) }.fields(
        message.fields,
        value,
        &mut out,
    )?;
    Ok(out)
}

/// Reads a message. Tagged fields that are absent have their defaults.
pub fn decode(message: &Message, version: i16, bytes: &[u8]) -> Result<Value> {
    let mut reader = Reader { version, flexible: message.is_flexible(version), bytes };
    let value = reader.fields(message.fields)?;
    if !reader.bytes.is_empty() {
        return Err(
            format!("{} v{version}: {} bytes too many", message.name, reader.bytes.len()).into()
        );
    }
    Ok(value)
}

/// What a field is when nobody says anything else.
pub fn default(field: &Field, version: i16) -> Value {
    let nullable = field.nullable.contains(version);
    match (&field.kind, field.default) {
        (Kind::Bool, default) => Value::Bool(matches!(default, Default::Int(1..))),
        (Kind::Float64, _) => Value::Float(0.0),
        (Kind::Uuid, _) => Value::Uuid(0),
        (
            Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) | Kind::Struct(_),
            Default::Null,
        ) if nullable => Value::Null,
        (Kind::String, _) => Value::String(String::new()),
        (Kind::Bytes | Kind::Records, _) => Value::Bytes(Vec::new()),
        (Kind::Array(_), _) => Value::Array(Vec::new()),
        (Kind::Struct(fields), _) => Value::Struct(
            fields
                .iter()
                .filter(|field| field.versions.contains(version))
                .map(|field| (field.name.to_owned(), default(field, version)))
                .collect(),
        ),
        (_, Default::Int(value)) => Value::Int(value),
        (_, Default::Zero | Default::Null) => Value::Int(0),
    }
}

struct Writer {
    version: i16,
    flexible: bool,
}

impl Writer {
    fn fields(&self, schema: &[Field], value: &Value, out: &mut Vec<u8>) -> Result<()> {
        let Value::Struct(given) = value else {
            return Err(format!("no structure: {value}").into());
        };
        for field in schema.iter().filter(|field| field.is_plain(self.version)) {
            match value.field(field.name) {
                Some(value) => self.field(field, value, out)?,
                None => self.field(field, &default(field, self.version), out)?,
            }
        }
        if !self.flexible {
            return Ok(());
        }
        let mut tagged = Vec::new();
        for field in schema.iter().filter(|field| field.is_tagged(self.version)) {
            if let Some(value) = value.field(field.name) {
                let mut content = Vec::new();
                self.field(field, value, &mut content)?;
                tagged.push((field.tag, content));
            }
        }
        for (name, value) in given {
            if let (Some(tag), Value::Bytes(content)) = (name.strip_prefix(UNKNOWN_TAG), value) {
                tagged.push((tag.parse()?, content.clone()));
            }
        }
        tagged.sort_by_key(|(tag, _)| *tag);
        varint(tagged.len(), out);
        for (tag, content) in tagged {
            varint(tag as usize, out);
            varint(content.len(), out);
            out.extend_from_slice(&content);
        }
        Ok(())
    }

    fn field(&self, field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        let nullable = field.nullable.contains(self.version);
        self.value(&field.kind, nullable, value, out)
            .map_err(|error| format!("{}: {error}", field.name).into())
    }

    fn value(&self, kind: &Kind, nullable: bool, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        match (kind, value) {
            (Kind::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
            (Kind::Float64, Value::Float(value)) => out.extend_from_slice(&value.to_be_bytes()),
            (Kind::Uuid, Value::Uuid(value)) => out.extend_from_slice(&value.to_be_bytes()),
            (Kind::String, Value::String(text)) => {
                self.length(Some(text.len()), true, out)?;
                out.extend_from_slice(text.as_bytes());
            }
            (Kind::Bytes | Kind::Records, Value::Bytes(bytes)) => {
                self.length(Some(bytes.len()), false, out)?;
                out.extend_from_slice(bytes);
            }
            (Kind::Array(element), Value::Array(elements)) => {
                self.length(Some(elements.len()), false, out)?;
                for value in elements {
                    self.value(element, false, value, out)?;
                }
            }
            (Kind::Struct(schema), Value::Struct(_)) => {
                if nullable {
                    out.push(1);
                }
                self.fields(schema, value, out)?;
            }
            (Kind::Struct(_), Value::Null) => out.push(0xff),
            (Kind::String, Value::Null) => self.length(None, true, out)?,
            (Kind::Bytes | Kind::Records | Kind::Array(_), Value::Null) => {
                self.length(None, false, out)?;
            }
            (_, Value::Int(value)) => {
                let bytes = width(kind).ok_or_else(|| format!("{value} is no {kind:?}"))?;
                out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
            }
            (kind, value) => return Err(format!("{value} is no {kind:?}").into()),
        }
        Ok(())
    }

    fn length(&self, length: Option<usize>, short: bool, out: &mut Vec<u8>) -> Result<()> {
        if self.flexible {
            varint(length.map_or(0, |length| length + 1), out);
        } else if short {
            let length = length.map_or(Ok(-1), i16::try_from)?;
            out.extend_from_slice(&length.to_be_bytes());
        } else {
            let length = length.map_or(Ok(-1), i32::try_from)?;
            out.extend_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }
}

/// Bytes of an integer.
const fn width(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::Int8 => Some(1),
        Kind::Int16 | Kind::Uint16 => Some(2),
        Kind::Int32 | Kind::Uint32 => Some(4),
        Kind::Int64 => Some(8),
        _ => None,
    }
}

/// Appends an unsigned varint.
fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

struct Reader<'a> {
    version: i16,
    flexible: bool,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("the message ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn int(&mut self, bytes: usize) -> Result<i64> {
        let taken = self.take(bytes)?;
        let negative = taken.first().is_some_and(|byte| byte & 0x80 != 0);
        let start = if negative { -1 } else { 0 };
        Ok(taken.iter().fold(start, |value, byte| value << 8 | i64::from(*byte)))
    }

    fn varint(&mut self) -> Result<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a varint of over five bytes".into())
    }

    fn length(&mut self, short: bool) -> Result<Option<usize>> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1));
        }
        let length = self.int(if short { 2 } else { 4 })?;
        Ok(usize::try_from(length).ok())
    }

    fn fields(&mut self, schema: &[Field]) -> Result<Value> {
        let version = self.version;
        let mut fields = Vec::new();
        for field in schema.iter().filter(|field| field.is_plain(version)) {
            let value = self
                .value(&field.kind, field.nullable.contains(self.version))
                .map_err(|error| format!("{}: {error}", field.name))?;
            fields.push((field.name.to_owned(), value));
        }
        if !self.flexible {
            return Ok(Value::Struct(fields));
        }
        for field in schema.iter().filter(|field| field.is_tagged(self.version)) {
            fields.push((field.name.to_owned(), default(field, self.version)));
        }
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let bytes = self.varint()?;
            let content = self.take(bytes)?;
            let known = schema
                .iter()
                .find(|field| field.is_tagged(self.version) && field.tag as usize == tag);
            let (name, value) = match known {
                Some(field) => {
                    let mut inner = Reader { bytes: content, ..*self };
                    let value = inner.value(&field.kind, field.nullable.contains(self.version))?;
                    (field.name.to_owned(), value)
                }
                None => (format!("{UNKNOWN_TAG}{tag}"), Value::Bytes(content.to_vec())),
            };
            match fields.iter_mut().find(|(own, _)| *own == name) {
                Some((_, given)) => *given = value,
                None => fields.push((name, value)),
            }
        }
        Ok(Value::Struct(fields))
    }

    fn value(&mut self, kind: &Kind, nullable: bool) -> Result<Value> {
        Ok(match kind {
            Kind::Bool => Value::Bool(self.int(1)? != 0),
            Kind::Float64 => Value::Float(f64::from_be_bytes(self.take(8)?.try_into()?)),
            Kind::Uuid => Value::Uuid(u128::from_be_bytes(self.take(16)?.try_into()?)),
            Kind::Uint16 => Value::Int(self.int(2)? & 0xffff),
            Kind::Uint32 => Value::Int(self.int(4)? & 0xffff_ffff),
            Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 => {
                Value::Int(self.int(width(kind).unwrap_or(8))?)
            }
            Kind::String => match self.length(true)? {
                Some(length) => {
                    Value::String(String::from_utf8_lossy(self.take(length)?).into_owned())
                }
                None => Value::Null,
            },
            Kind::Bytes | Kind::Records => match self.length(false)? {
                Some(length) => Value::Bytes(self.take(length)?.to_vec()),
                None => Value::Null,
            },
            Kind::Array(element) => match self.length(false)? {
                Some(count) => {
                    let mut elements = Vec::new();
                    for _ in 0..count {
                        elements.push(self.value(element, false)?);
                    }
                    Value::Array(elements)
                }
                None => Value::Null,
            },
            Kind::Struct(schema) => {
                if nullable && self.int(1)? < 0 {
                    Value::Null
                } else {
                    self.fields(schema)?
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switchyard::wire::schema;

    use super::*;

    /// A value of some field, drawn by the generator's numbers.
    fn draw(random: &mut fastrand::Rng, kind: &Kind, nullable: bool, version: i16) -> Value {
        if nullable && random.u8(..4) == 0 {
            return Value::Null;
        }
        match kind {
            Kind::Bool => Value::Bool(random.bool()),
            Kind::Int8 => Value::Int(random.i8(..).into()),
            Kind::Int16 => Value::Int(random.i16(..).into()),
            Kind::Uint16 => Value::Int(random.u16(..).into()),
            Kind::Int32 => Value::Int(random.i32(..).into()),
            Kind::Uint32 => Value::Int(random.u32(..).into()),
            Kind::Int64 => Value::Int(random.i64(..)),
            Kind::Float64 => Value::Float(random.f64()),
            Kind::Uuid => Value::Uuid(random.u128(..)),
            Kind::String => Value::String("ä".repeat(random.usize(..100))),
            Kind::Bytes | Kind::Records => Value::Bytes(vec![7; random.usize(..200)]),
            Kind::Struct(fields) => draw_fields(random, fields, version),
            Kind::Array(element) => Value::Array(
                (0..random.usize(..3)).map(|_| draw(random, element, false, version)).collect(),
            ),
        }
    }

    fn draw_fields(random: &mut fastrand::Rng, schema: &[Field], version: i16) -> Value {
        let plain = schema.iter().filter(|field| field.is_plain(version));
        let tagged = schema.iter().filter(|field| field.is_tagged(version));
        let drawn = plain.chain(tagged).map(|field| {
            let nullable = field.nullable.contains(version);
            (field.name.to_owned(), draw(random, &field.kind, nullable, version))
        });
        Value::Struct(drawn.collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(api in 0..schema::apis().len(), version in 0..20_i16, seed: u64) {
            let api = &schema::apis()[api];
            for message in [&api.request, &api.response] {
                let version = version.clamp(message.versions.min, message.versions.max);
                let mut random = fastrand::Rng::with_seed(seed);
                let value = draw_fields(&mut random, message.fields, version);
                let bytes = encode(message, version, &value).expect("it fits the schema");
                let read = decode(message, version, &bytes).expect("it was written so");
                prop_assert_eq!(read, value, "{} v{}", message.name, version);
            }
        }
    }

    #[test]
    fn request_is_that_of_the_protocol_crate() {
        use kafka_protocol::{
            messages::{ApiVersionsRequest, FetchRequest, GroupId, JoinGroupRequest},
            protocol::{Encodable, StrBytes},
        };
        let check = |name: &str, version: i16, value: &[(&str, Value)], theirs: Vec<u8>| {
            let api = schema::apis().iter().find(|api| api.name == name).expect("it exists");
            let fields = value.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let ours = encode(&api.request, version, &Value::Struct(fields.collect()));
            assert_eq!(ours.expect("it fits"), theirs, "{name} v{version}");
        };
        for version in 4..=17 {
            let mut theirs = Vec::new();
            let request = FetchRequest::default()
                .with_max_wait_ms(5)
                .with_session_epoch(if version < 7 { -1 } else { 3 });
            request.encode(&mut theirs, version).expect("it encodes");
            let value = [("MaxWaitMs", Value::Int(5)), ("SessionEpoch", Value::Int(3))];
            check("Fetch", version, &value, theirs);
        }
        for version in 0..=9 {
            let mut theirs = Vec::new();
            let group = GroupId(StrBytes::from_static_str("g"));
            let request = JoinGroupRequest::default().with_group_id(group);
            request.encode(&mut theirs, version).expect("it encodes");
            check("JoinGroup", version, &[("GroupId", Value::String("g".into()))], theirs);
        }
        for version in 0..=4 {
            let mut theirs = Vec::new();
            ApiVersionsRequest::default().encode(&mut theirs, version).expect("it encodes");
            check("ApiVersions", version, &[], theirs);
        }
    }
}
