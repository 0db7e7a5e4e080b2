//! Requests as data, before anybody knows what a cluster will call things.
//!
//! A [`Term`] is a value with references in it, which are resolved for each target by that target's own answers. A
//! [`Sequence`] of requests is written as [`super::parse`] reads it; what is displayed can be read again.

use std::{fmt, ops::RangeInclusive};

use switchyard::wire::schema::Api;

use super::value::Value;

/// A value, or what will be one.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// The same for every target.
    Value(Value),
    /// An array.
    Array(Vec<Term>),
    /// A structure.
    Struct(Vec<(String, Term)>),
    /// `$t0`: a name that only this sequence has.
    Name(String),
    /// `$t0.id`: the id of the topic of this name; an id that nobody has, if there is no such topic.
    TopicId(String),
    /// `@join.MemberId`, `@join.GenerationId+1`: from an answer; what a field of its kind is by default, if it has no such place.
    Answer {
        /// Label of the step.
        label: String,
        /// Where in the answer.
        path: String,
        /// Added to it.
        plus: i64,
    },
    /// `now-1000`: milliseconds since 1970, counted from when the run began.
    Now(i64),
    /// `'x'*300`: a long string.
    Repeat(String, usize),
    /// `records[{Count: 3}, …]`: record batches, built by the module `batch`.
    Records(Vec<Term>),
}

impl Term {
    /// The field of a structure.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(fields) => {
                fields.iter().find(|(own, _)| own == name).map(|(_, term)| term)
            }
            _ => None,
        }
    }
}

impl From<Value> for Term {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<i64> for Term {
    fn from(value: i64) -> Self {
        Self::Value(Value::Int(value))
    }
}

impl From<bool> for Term {
    fn from(value: bool) -> Self {
        Self::Value(Value::Bool(value))
    }
}

impl From<&str> for Term {
    /// A string; a name if it starts with `$`.
    fn from(text: &str) -> Self {
        match text.strip_prefix('$') {
            Some(name) => Self::Name(name.to_owned()),
            None => Self::Value(Value::String(text.to_owned())),
        }
    }
}

impl From<Vec<Term>> for Term {
    fn from(elements: Vec<Term>) -> Self {
        Self::Array(elements)
    }
}

impl<const N: usize> From<[(&str, Term); N]> for Term {
    fn from(fields: [(&str, Term); N]) -> Self {
        Self::Struct(fields.map(|(name, term)| (name.to_owned(), term)).into())
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What later steps call its answer.
    pub label: Option<String>,
    /// Whose connection it takes.
    pub client: String,
    /// Node that is asked; `None`: the first one.
    pub node: Option<i32>,
    /// Which API.
    pub api: &'static Api,
    /// Its versions: the sequence is played once for each, together with those of its other steps.
    pub versions: RangeInclusive<i16>,
    /// The answer is awaited when something needs it: it may take what later steps do.
    pub detached: bool,
    /// The request's fields, of any version: those that a version lacks are left out.
    pub body: Term,
}

/// One step of a sequence.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request.
    Ask(Ask),
    /// So many milliseconds pass.
    Pause(u64),
}

/// Steps that are played one after the other on things that nobody else uses.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// What it shows.
    pub name: String,
    /// What is done.
    pub steps: Vec<Step>,
}

impl Sequence {
    /// How often it is to be played until every version of every step was.
    pub fn rounds(&self) -> usize {
        let spans = self.steps.iter().map(|step| match step {
            Step::Ask(ask) => ask.versions.clone().count(),
            Step::Pause(_) => 1,
        });
        spans.max().unwrap_or(1)
    }

    /// Leaves out those versions of steps that are not `compared`, which are the first or last ones, and steps of which no
    /// version is left. How many these were.
    pub fn limit(&mut self, compared: impl Fn(&Api, i16) -> bool) -> usize {
        let before = self.steps.len();
        self.steps.retain_mut(|step| {
            let Step::Ask(ask) = step else { return true };
            let mut left = ask.versions.clone().filter(|version| compared(ask.api, *version));
            let Some(first) = left.next() else { return false };
            ask.versions = first..=left.last().unwrap_or(first);
            true
        });
        before - self.steps.len()
    }

    /// Has steps of a version that is not `compared` ask for the last one before it that is. How many these were.
    pub fn lower(&mut self, compared: impl Fn(&Api, i16) -> bool) -> usize {
        let mut lowered = 0;
        for step in &mut self.steps {
            let Step::Ask(ask) = step else { continue };
            let drawn = *ask.versions.end();
            let version = (0..=drawn).rev().find(|version| compared(ask.api, *version));
            if let Some(version) = version.filter(|version| *version < drawn) {
                ask.versions = version..=version;
                lowered += 1;
            }
        }
        lowered
    }

    /// The sequence with one version for each step. Steps with fewer versions than others stay at their last.
    #[must_use]
    pub fn round(&self, round: usize) -> Self {
        let mut sequence = self.clone();
        for step in &mut sequence.steps {
            if let Step::Ask(ask) = step {
                let last = *ask.versions.end();
                let version = ask.versions.clone().nth(round).unwrap_or(last);
                ask.versions = version..=version;
            }
        }
        sequence
    }
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(out),
            Self::Array(elements) => list(out, "[", elements),
            Self::Struct(fields) => {
                out.write_str("{")?;
                for (index, (name, term)) in fields.iter().enumerate() {
                    write!(out, "{}{name}: {term}", if index == 0 { "" } else { ", " })?;
                }
                out.write_str("}")
            }
            Self::Name(name) => write!(out, "${name}"),
            Self::TopicId(name) => write!(out, "${name}.id"),
            Self::Answer { label, path, plus } => {
                write!(out, "@{label}.{path}")?;
                offset(out, *plus)
            }
            Self::Now(plus) => {
                out.write_str("now")?;
                offset(out, *plus)
            }
            Self::Repeat(text, count) => write!(out, "'{text}'*{count}"),
            Self::Records(batches) => list(out, "records[", batches),
        }
    }
}

fn list(out: &mut fmt::Formatter<'_>, start: &str, elements: &[Term]) -> fmt::Result {
    out.write_str(start)?;
    for (index, element) in elements.iter().enumerate() {
        write!(out, "{}{element}", if index == 0 { "" } else { ", " })?;
    }
    out.write_str("]")
}

fn offset(out: &mut fmt::Formatter<'_>, plus: i64) -> fmt::Result {
    if plus == 0 { Ok(()) } else { write!(out, "{plus:+}") }
}

impl fmt::Display for Ask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            write!(out, "{label} = ")?;
        }
        match self.node {
            Some(node) => write!(out, "{}@{node}: ", self.client)?,
            None if self.client != "a" => write!(out, "{}: ", self.client)?,
            None => {}
        }
        write!(out, "{} v{}", self.api.name, self.versions.start())?;
        if self.versions.start() != self.versions.end() {
            write!(out, "..{}", self.versions.end())?;
        }
        write!(out, " {}{}", self.body, if self.detached { " &" } else { "" })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(ask) => ask.fmt(out),
            Self::Pause(ms) => write!(out, "pause {ms}"),
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "## {}", self.name)?;
        self.steps.iter().try_for_each(|step| writeln!(out, "{step}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    const TEXT: &str = "## two steps\nFetch v4..18 {}\nProduce v13 {}\n";

    fn up_to_12(_: &Api, version: i16) -> bool {
        version <= 12
    }

    fn only() -> Sequence {
        parse::sequences(TEXT).expect("it can be read").remove(0)
    }

    #[test]
    fn steps_without_a_version_that_is_compared_are_left_out_and_counted() {
        let mut sequence = only();
        assert_eq!((sequence.limit(|_, _| true), sequence.rounds()), (0, 15));
        assert_eq!((sequence.limit(up_to_12), sequence.rounds()), (1, 9));
        assert_eq!(sequence.to_string(), "## two steps\nFetch v4..12 {}\n");
    }

    #[test]
    fn steps_of_later_versions_ask_for_the_last_one_that_is_compared() {
        let mut sequence = only().round(0);
        assert_eq!(sequence.lower(up_to_12), 1);
        assert_eq!(sequence.to_string(), "## two steps\nFetch v4 {}\nProduce v12 {}\n");
    }
}
