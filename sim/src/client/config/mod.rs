//! Settings of clients, by the clients' own property names and with their own defaults.
//!
//! ```text
//! .properties text, pairs ─▶ Properties ─▶ ProducerSettings, ConsumerSettings (settings.rs)
//!                            catalogue of the library: java.rs, librdkafka.rs
//! ```
//!
//! The catalogues hold every property that a library knows, also those without an effect here (TLS, serializers,
//! statistics): a file that production uses must be accepted as it is. What no library knows is an error, because
//! a misspelled `delivery.timeout.ms` would otherwise make a rehearsal lie.

mod catalogue;
mod java;
mod librdkafka;
mod settings;

use std::{collections::BTreeMap, time::Duration};

use thiserror::Error;

use catalogue::{Kind, Property};
pub use settings::{
    Acks, ConsumerSettings, GroupProtocol, ProducerSettings, RecoveryStrategy, ResetPolicy,
};
pub(super) use settings::{Backoff, CommonSettings};

/// Whose client is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// The Java client, kafka-clients 4.1.
    Java,
    /// librdkafka 2.12 and what is built on it.
    Librdkafka,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It sends records.
    Producer,
    /// It reads records.
    Consumer,
}

/// Why properties were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PropertyError {
    /// Nobody knows it.
    #[error("`{name}` is no {role} property of {library}{}", match .suggestion {
        Some(known) => format!(": did you mean `{known}`?"),
        None => String::new(),
    })]
    Unknown {
        /// As written.
        name: String,
        /// What the client does.
        role: &'static str,
        /// Whose properties were searched.
        library: &'static str,
        /// The known name next to it.
        suggestion: Option<&'static str>,
    },
    /// A value that the client refuses at its start.
    #[error("`{name}={value}`: expected {expected}")]
    Invalid {
        /// Property.
        name: &'static str,
        /// As written.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A line that is no pair.
    #[error("line {line}: expected `name=value`")]
    Syntax {
        /// From 1 on.
        line: usize,
    },
}

/// Checked properties of one client.
#[derive(Clone, Debug)]
pub struct Properties {
    library: Library,
    role: Role,
    /// By the names of the catalogue, not by aliases.
    given: BTreeMap<&'static str, String>,
}

impl Library {
    fn properties(self) -> &'static [Property] {
        match self {
            Self::Java => java::PROPERTIES,
            Self::Librdkafka => librdkafka::PROPERTIES,
        }
    }

    fn aliases(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Java => &[],
            Self::Librdkafka => librdkafka::ALIASES,
        }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Java => "the Java client",
            Self::Librdkafka => "librdkafka",
        }
    }

    /// Every property that such a client knows.
    #[cfg(test)]
    pub(crate) fn names(self, role: Role) -> impl Iterator<Item = &'static str> {
        let own = self.properties().iter().filter(move |property| role.has(property));
        own.map(|property| property.name)
    }

    /// The name that the catalogue has for a property, which may be given by another.
    pub(crate) fn canonical(self, role: Role, name: &str) -> Option<&'static str> {
        self.property(role, name).map(|property| property.name)
    }

    /// The least that a property of this name may be; `None` where it is no number.
    pub(crate) fn least(self, role: Role, name: &str) -> Option<i64> {
        match self.property(role, name)?.kind {
            Kind::Int { min, .. } => Some(min),
            Kind::Flag | Kind::Choice(_) | Kind::Text => None,
        }
    }

    fn property(self, role: Role, name: &str) -> Option<&'static Property> {
        let alias = self.aliases().iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, real)| *real);
        self.properties().iter().find(|property| property.name == name && role.has(property))
    }
}

impl Role {
    fn has(self, property: &Property) -> bool {
        match self {
            Self::Producer => property.roles.0,
            Self::Consumer => property.roles.1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

impl Properties {
    /// Properties from a `.properties` file. Every fault is listed, not only the first.
    pub fn parse(library: Library, role: Role, text: &str) -> Result<Self, Vec<PropertyError>> {
        let mut faults = Vec::new();
        let mut pairs = Vec::new();
        for (line, text) in logical_lines(text) {
            match split_pair(&text) {
                Some(pair) => pairs.push(pair),
                None => faults.push(PropertyError::Syntax { line }),
            }
        }
        let parsed = Self::new(library, role, pairs);
        match parsed {
            Ok(properties) if faults.is_empty() => Ok(properties),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }

    /// Properties from pairs; the last of one name counts, as in a file.
    pub fn new<N: AsRef<str>, V: Into<String>>(
        library: Library,
        role: Role,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Vec<PropertyError>> {
        let mut given = BTreeMap::new();
        let mut faults = Vec::new();
        for (name, value) in pairs {
            let name = name.as_ref();
            let Some(property) = library.property(role, name) else {
                faults.push(unknown(library, role, name));
                continue;
            };
            let value = value.into();
            match check(property, &value) {
                Ok(()) => {
                    given.insert(property.name, value);
                }
                Err(expected) => {
                    faults.push(PropertyError::Invalid { name: property.name, value, expected });
                }
            }
        }
        if faults.is_empty() { Ok(Self { library, role, given }) } else { Err(faults) }
    }

    /// Whose client this is.
    pub fn library(&self) -> Library {
        self.library
    }

    /// What was given, by the names of the catalogue.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// What holds: the value given, or the library's default.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.text(name)
    }

    fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Value or default; empty when neither is there.
    fn text(&self, name: &str) -> &str {
        let property = self
            .library
            .property(self.role, name)
            .unwrap_or_else(|| panic!("the catalogue has no `{name}`"));
        self.given.get(property.name).map_or(property.default, String::as_str)
    }

    fn optional(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn int(&self, name: &str) -> i64 {
        self.text(name).trim().parse().expect("integers are checked when they are given")
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(0)
    }

    /// A number of milliseconds; a fraction is allowed where the library allows it.
    fn millis(&self, name: &str) -> Duration {
        let ms: f64 = self.text(name).trim().parse().unwrap_or_default();
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }
}

fn check(property: &Property, value: &str) -> Result<(), String> {
    let value = value.trim();
    match property.kind {
        Kind::Text => Ok(()),
        Kind::Flag => {
            let is_flag = ["true", "false"].iter().any(|flag| value.eq_ignore_ascii_case(flag));
            if is_flag { Ok(()) } else { Err("`true` or `false`".to_owned()) }
        }
        Kind::Choice(values) => {
            if values.iter().any(|known| value.eq_ignore_ascii_case(known)) {
                Ok(())
            } else {
                Err(format!("one of {}", values.join(", ")))
            }
        }
        Kind::Int { min, max } => match value.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(()),
            _ if min == i64::MIN => Err("an integer".to_owned()),
            _ if max == i64::MAX => Err(format!("an integer from {min} on")),
            _ => Err(format!("an integer from {min} to {max}")),
        },
    }
}

fn unknown(library: Library, role: Role, name: &str) -> PropertyError {
    let names = library.properties().iter().filter(|property| role.has(property));
    let names = names.map(|property| property.name);
    let known = names.chain(library.aliases().iter().map(|(alias, _)| *alias));
    let nearest = known.map(|known| (distance(name, known), known)).min();
    PropertyError::Unknown {
        name: name.to_owned(),
        role: role.name(),
        library: library.name(),
        // Further away, a guess would mislead.
        suggestion: nearest.filter(|(far, _)| *far * 3 <= name.len()).map(|(_, known)| known),
    }
}

/// How many letters to insert, remove or replace.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (done, letter) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = done + 1;
        for (at, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Lines without comments and blanks, joined where one ends in a backslash; each with the number of its first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if !continues && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        let goes_on = backslashes % 2 == 1;
        let content = if goes_on { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, last)) if continues => last.push_str(content),
            _ => lines.push((at + 1, content.to_owned())),
        }
        continues = goes_on;
    }
    lines
}

/// `name=value`, `name: value` or `name value`, as Java reads them.
fn split_pair(line: &str) -> Option<(String, String)> {
    let end = line.find(|letter: char| matches!(letter, '=' | ':') || letter.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
    if name.is_empty() { None } else { Some((name.to_owned(), value.replace("\\\\", "\\"))) }
}

#[cfg(test)]
mod tests;
