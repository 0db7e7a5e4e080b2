//! Messages as trees of named values, with paths to their leaves.

use std::fmt;

use kafka_protocol::ResponseError;

/// A value of any kind that Kafka's messages have.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The absent string, array, structure, or bytes.
    Null,
    /// A bool.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// A UUID.
    Uuid(u128),
    /// A string.
    String(String),
    /// Bytes, or records.
    Bytes(Vec<u8>),
    /// An array.
    Array(Vec<Value>),
    /// A structure: its fields in the order of the wire.
    Struct(Vec<(String, Value)>),
}

impl Value {
    /// The field of a structure.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(fields) => {
                fields.iter().find(|(own, _)| own == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The elements of an array, or none.
    pub fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) => elements,
            _ => &[],
        }
    }

    /// The elements of an array that is a structure's field, or none.
    pub fn list(&self, name: &str) -> &[Self] {
        self.field(name).map_or(&[], Self::elements)
    }

    /// The integer, if it is one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// What stands at a path such as `Responses[0].PartitionResponses[1].ErrorCode`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        let mut value = self;
        for part in path.split(['.', '[']) {
            value = match part.strip_suffix(']') {
                Some(index) => value.elements().get(index.parse::<usize>().ok()?)?,
                None => value.field(part)?,
            };
        }
        Some(value)
    }

    /// Calls `visit` with every value of the tree, itself included, and the name of the field that holds it:
    /// elements have the name of their array.
    pub fn visit<'a>(&'a self, name: &'a str, visit: &mut impl FnMut(&'a str, &'a Self)) {
        visit(name, self);
        match self {
            Self::Array(elements) => {
                for element in elements {
                    element.visit(name, visit);
                }
            }
            Self::Struct(fields) => {
                for (name, value) in fields {
                    value.visit(name, visit);
                }
            }
            _ => {}
        }
    }

    /// As [`Self::visit`], to change them. Parents come before what they hold.
    pub fn visit_mut(&mut self, name: &str, visit: &mut impl FnMut(&str, &mut Self)) {
        visit(name, self);
        match self {
            Self::Array(elements) => {
                for element in elements {
                    element.visit_mut(name, visit);
                }
            }
            Self::Struct(fields) => {
                for (name, value) in fields {
                    value.visit_mut(name, visit);
                }
            }
            _ => {}
        }
    }

    /// The values of some fields; the value itself if it is no structure.
    pub(super) fn key(&self, names: &[&str]) -> String {
        if names.is_empty() {
            return self.to_string();
        }
        let value = |name: &&str| match self.field(name) {
            Some(Self::String(text)) => text.clone(),
            // A version may lack a field; what is no structure is its own key.
            None if matches!(self, Self::Struct(_)) => String::new(),
            found => found.unwrap_or(self).to_string(),
        };
        names.iter().map(value).collect::<Vec<_>>().join(" ")
    }

    /// Every error code in the tree.
    pub fn error_codes(&self) -> Vec<i64> {
        let mut codes = Vec::new();
        self.visit("", &mut |name, value| {
            if let (true, Self::Int(code)) = (name.ends_with("ErrorCode"), value) {
                codes.push(*code);
            }
        });
        codes
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => value.fmt(out),
            Self::Int(value) => value.fmt(out),
            Self::Float(value) => value.fmt(out),
            Self::Uuid(value) => write!(out, "uuid:{value:032x}"),
            Self::String(text) => write!(out, "'{text}'"),
            Self::Bytes(bytes) => {
                out.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
            Self::Array(elements) => {
                out.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    write!(out, "{}{element}", if index == 0 { "" } else { ", " })?;
                }
                out.write_str("]")
            }
            Self::Struct(fields) => {
                out.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(out, "{comma}{name}: {}", Named(name, value))?;
                }
                out.write_str("}")
            }
        }
    }
}

/// A value whose field's name tells more of it: error codes are shown with Kafka's names.
pub(super) struct Named<'a>(pub(super) &'a str, pub(super) &'a Value);

impl fmt::Display for Named<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.fmt(out)?;
        let code = self.1.int().filter(|_| self.0.ends_with("ErrorCode"));
        let error = code.and_then(|code| ResponseError::try_from_code(i16::try_from(code).ok()?));
        error.map_or(Ok(()), |error| write!(out, " ({error:?})"))
    }
}

/// Characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 300;

/// Two values that differ at the same place.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where, such as `Topics[0].ErrorCode`; empty for the whole message.
    pub path: String,
    /// What the first has; `None`: it has nothing there.
    pub left: Option<Value>,
    /// What the second has.
    pub right: Option<Value>,
}

impl Difference {
    /// The path without indexes, such as `Topics[].ErrorCode`.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        let mut in_index = false;
        for letter in self.path.chars() {
            in_index &= letter != ']';
            if !in_index {
                pattern.push(letter);
            }
            in_index |= letter == '[';
        }
        pattern
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.rsplit('.').next().unwrap_or_default();
        write!(out, "{}:", if self.path.is_empty() { "answer" } else { &self.path })?;
        for value in [&self.left, &self.right] {
            match value {
                Some(value) => {
                    let text = Named(name, value).to_string();
                    let cut = text.char_indices().nth(SHOWN_CHARS_MAX).map(|(at, _)| at);
                    match cut {
                        Some(at) => write!(out, "  {}…", &text[..at])?,
                        None => write!(out, "  {text}")?,
                    }
                }
                None => out.write_str("  nothing")?,
            }
        }
        Ok(())
    }
}

/// Every place at which two trees differ, as deep as it goes. Of arrays for which `keys` names fields, by the path without
/// indexes, those elements are compared that have the same values there; the values stand in the paths as indexes.
pub fn differences<'k>(
    left: &Value,
    right: &Value,
    keys: &impl Fn(&str) -> Option<&'k [&'k str]>,
) -> Vec<Difference> {
    let mut comparison = Comparison { keys, found: Vec::new() };
    comparison.values(String::new(), String::new(), Some(left), Some(right));
    comparison.found
}

struct Comparison<'c, K> {
    keys: &'c K,
    found: Vec<Difference>,
}

impl<'k, K: Fn(&str) -> Option<&'k [&'k str]>> Comparison<'_, K> {
    /// `pattern` is the path without indexes.
    fn values(
        &mut self,
        path: String,
        pattern: String,
        left: Option<&Value>,
        right: Option<&Value>,
    ) {
        match (left, right) {
            (Some(Value::Array(left)), Some(Value::Array(right))) => {
                let keys = (self.keys)(&pattern);
                let (left, right) = (named(left, keys), named(right, keys));
                self.parts(
                    left,
                    right,
                    |name| format!("{path}[{name}]"),
                    |_| format!("{pattern}[]"),
                );
            }
            (Some(Value::Struct(left)), Some(Value::Struct(right))) => {
                let under = |stem: &str, name: &str| {
                    format!("{stem}{}{name}", if stem.is_empty() { "" } else { "." })
                };
                let (left, right) = (fields(left), fields(right));
                self.parts(left, right, |name| under(&path, name), |name| under(&pattern, name));
            }
            (left, right) if left == right => {}
            (left, right) => {
                self.found.push(Difference { path, left: left.cloned(), right: right.cloned() });
            }
        }
    }

    fn parts(
        &mut self,
        left: Vec<(String, &Value)>,
        right: Vec<(String, &Value)>,
        path: impl Fn(&str) -> String,
        pattern: impl Fn(&str) -> String,
    ) {
        let of =
            |parts: &[(String, &Value)], name: &str| parts.iter().position(|(own, _)| own == name);
        for (name, value) in &left {
            let other = of(&right, name).map(|index| right[index].1);
            self.values(path(name), pattern(name), Some(value), other);
        }
        for (name, value) in right.iter().filter(|(name, _)| of(&left, name).is_none()) {
            self.values(path(name), pattern(name), None, Some(value));
        }
    }
}

/// Elements with what tells them apart: their places, or the values of their keys and, of equal ones, which it is.
fn named<'v>(elements: &'v [Value], keys: Option<&[&str]>) -> Vec<(String, &'v Value)> {
    let mut seen: Vec<String> = Vec::new();
    let names = elements.iter().enumerate().map(|(index, element)| {
        let Some(keys) = keys else { return index.to_string() };
        let key = element.key(keys);
        seen.push(key.clone());
        match seen.iter().filter(|own| **own == key).count() {
            1 => key,
            count => format!("{key} #{count}"),
        }
    });
    names.collect::<Vec<_>>().into_iter().zip(elements).collect()
}

fn fields(fields: &[(String, Value)]) -> Vec<(String, &Value)> {
    fields.iter().map(|(name, value)| (name.clone(), value)).collect()
}
