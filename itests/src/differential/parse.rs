//! The text of sequences.
//!
//! ```text
//! ## A sequence starts with what it shows
//! # A comment.
//! CreateTopics v7 {Topics: [{Name: $t0, NumPartitions: 1, ReplicationFactor: 1}], TimeoutMs: 5000}
//! p = InitProducerId v0..5 {TransactionalId: null}
//! b: Produce v13 {Acks: -1, TopicData: [{TopicId: $t0.id, PartitionData: [
//!   {Index: 0, Records: records[{ProducerId: @p.ProducerId, ProducerEpoch: @p.ProducerEpoch+1}]}]}]}
//! pause 100
//! b: JoinGroup v9 {GroupId: $g0} &
//! ```
//!
//! A step goes on in lines that begin with a space. `b:` names the client, `b@2:` also the node that is asked; `&` lets the
//! next steps begin before the answer is there. A field is checked against the schemas of all versions of its message.

use std::ops::RangeInclusive;

use switchyard::wire::schema::{self, Api, Field, Kind};

use super::{
    batch,
    term::{Ask, Sequence, Step, Term},
    value::Value,
};
use crate::Result;

/// Reads sequences.
///
/// # Errors
/// With the line and what is wrong there.
pub fn sequences(text: &str) -> Result<Vec<Sequence>> {
    let mut found: Vec<Sequence> = Vec::new();
    for (number, line) in steps(text) {
        if let Some(name) = line.strip_prefix("##") {
            found.push(Sequence { name: name.trim().to_owned(), steps: Vec::new() });
            continue;
        }
        let sequence =
            found.last_mut().ok_or_else(|| format!("line {number}: no `##` before it"))?;
        let step = step(&line).map_err(|error| format!("line {number}: {error}"))?;
        sequence.steps.push(step);
    }
    Ok(found)
}

/// Lines with their numbers; those that begin with a space belong to the one before.
fn steps(text: &str) -> Vec<(usize, String)> {
    let mut steps: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let comment = line.trim_start().starts_with('#') && !line.starts_with("##");
        if comment || line.trim().is_empty() {
            continue;
        }
        match steps.last_mut() {
            Some((_, last)) if line.starts_with(' ') => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => steps.push((number, line.trim_end().to_owned())),
        }
    }
    steps
}

/// Reads one step.
///
/// # Errors
/// Says what is wrong.
pub fn step(line: &str) -> Result<Step> {
    if let Some(ms) = line.strip_prefix("pause ") {
        return Ok(Step::Pause(ms.trim().parse()?));
    }
    let mut parser = Parser { rest: line };
    let mut word = parser.word()?;
    let label = parser.takes("=").then(|| word.to_owned());
    if label.is_some() {
        word = parser.word()?;
    }
    let mut client = "a".to_owned();
    let mut node = None;
    if parser.takes("@") {
        node = Some(i32::try_from(parser.number()?)?);
    }
    if parser.takes(":") {
        word.clone_into(&mut client);
        word = parser.word()?;
    }
    let api = schema::apis()
        .iter()
        .find(|api| api.name == word)
        .ok_or_else(|| format!("there is no API `{word}`"))?;
    let versions = parser.versions()?;
    let body = parser.term()?;
    let detached = parser.takes("&");
    parser.end()?;
    check(api, &body)?;
    Ok(Step::Ask(Ask { label, client, node, api, versions, detached, body }))
}

/// Whether every field is one of the API's request.
///
/// # Errors
/// Names the field that is not.
pub fn check(api: &'static Api, body: &Term) -> Result<()> {
    check_fields(api.request.fields, body)
}

fn check_fields(schema: &'static [Field], term: &Term) -> Result<()> {
    let Term::Struct(fields) = term else { return Ok(()) };
    for (name, term) in fields.iter().filter(|(name, _)| !name.starts_with('#')) {
        let field = schema
            .iter()
            .find(|field| field.name == *name)
            .ok_or_else(|| format!("there is no field `{name}`"))?;
        match (&field.kind, term) {
            (Kind::Struct(inner), term) => check_fields(inner, term)?,
            (Kind::Array(Kind::Struct(inner)), Term::Array(elements)) => {
                elements.iter().try_for_each(|element| check_fields(inner, element))?;
            }
            (Kind::Records, Term::Records(batches)) => {
                batches.iter().try_for_each(batch::check)?;
            }
            _ => {}
        }
    }
    Ok(())
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn takes(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.takes(sign) { Ok(()) } else { Err(self.wanted(sign)) }
    }

    fn wanted(&self, what: &str) -> crate::Error {
        let rest: String = self.rest.trim_start().chars().take(30).collect();
        format!("`{what}` wanted before `{rest}`").into()
    }

    fn end(&self) -> Result<()> {
        if self.rest.trim().is_empty() { Ok(()) } else { Err(self.wanted("the end")) }
    }

    fn span(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find(|letter| !belongs(letter)).unwrap_or(rest.len());
        let (span, rest) = rest.split_at(end);
        self.rest = rest;
        span
    }

    fn word(&mut self) -> Result<&'a str> {
        let word = self.span(|letter| letter.is_ascii_alphanumeric() || "_#".contains(letter));
        if word.is_empty() { Err(self.wanted("a name")) } else { Ok(word) }
    }

    fn number(&mut self) -> Result<i64> {
        let negative = self.takes("-");
        let digits = self.span(|letter| letter.is_ascii_digit());
        let number: i128 = digits.parse().map_err(|_| self.wanted("a number"))?;
        Ok(i64::try_from(if negative { -number } else { number })?)
    }

    /// `v3` or `v0..5`.
    fn versions(&mut self) -> Result<RangeInclusive<i16>> {
        self.expect("v")?;
        let first = i16::try_from(self.number()?)?;
        let last = if self.takes("..") { i16::try_from(self.number()?)? } else { first };
        if first > last {
            return Err(format!("no version is in v{first}..{last}").into());
        }
        Ok(first..=last)
    }

    fn term(&mut self) -> Result<Term> {
        let rest = self.rest.trim_start();
        match rest.chars().next() {
            Some('{') => self.structure(),
            Some('[') => Ok(Term::Array(self.list()?)),
            Some('\'') => self.string(),
            Some('$') => self.name(),
            Some('@') => self.answer(),
            Some('0') if rest.starts_with("0x") => self.bytes(),
            Some('-' | '0'..='9') => self.numeral(),
            _ => match self.word()? {
                "null" => Ok(Value::Null.into()),
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                "now" => Ok(Term::Now(self.plus()?)),
                "records" => Ok(Term::Records(self.list()?)),
                "uuid" => {
                    self.expect(":")?;
                    let digits = self.span(|letter| letter.is_ascii_hexdigit());
                    Ok(Value::Uuid(u128::from_str_radix(digits, 16)?).into())
                }
                word => Err(format!("`{word}` is no value").into()),
            },
        }
    }

    fn numeral(&mut self) -> Result<Term> {
        let whole = self.number()?;
        if !self.takes(".") {
            return Ok(whole.into());
        }
        let digits = self.span(|letter| letter.is_ascii_digit());
        Ok(Value::Float(format!("{whole}.{digits}").parse()?).into())
    }

    fn structure(&mut self) -> Result<Term> {
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.takes("}") {
            let name = self.word()?.to_owned();
            self.expect(":")?;
            fields.push((name, self.term()?));
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Term::Struct(fields))
    }

    fn list(&mut self) -> Result<Vec<Term>> {
        self.expect("[")?;
        let mut elements = Vec::new();
        while !self.takes("]") {
            elements.push(self.term()?);
            if !self.takes(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(elements)
    }

    fn string(&mut self) -> Result<Term> {
        self.expect("'")?;
        let (text, rest) = self.rest.split_once('\'').ok_or("a string without an end")?;
        self.rest = rest;
        if self.takes("*") {
            return Ok(Term::Repeat(text.to_owned(), usize::try_from(self.number()?)?));
        }
        Ok(Value::String(text.to_owned()).into())
    }

    fn name(&mut self) -> Result<Term> {
        self.expect("$")?;
        let name = self.span(|letter| letter.is_ascii_alphanumeric() || "_*".contains(letter));
        if self.takes(".id") {
            return Ok(Term::TopicId(name.to_owned()));
        }
        Ok(Term::Name(name.to_owned()))
    }

    fn answer(&mut self) -> Result<Term> {
        self.expect("@")?;
        let label = self.word()?.to_owned();
        self.expect(".")?;
        let mut path =
            self.span(|letter| letter.is_ascii_alphanumeric() || letter == '.').to_owned();
        while self.rest.starts_with('[') {
            let (index, rest) = self.rest.split_once(']').ok_or("an index without an end")?;
            self.rest = rest;
            let more = self.span(|letter| letter.is_ascii_alphanumeric() || letter == '.');
            path = format!("{path}{index}]{more}");
        }
        Ok(Term::Answer { label, path, plus: self.plus()? })
    }

    /// `+1`, `-1` or nothing.
    fn plus(&mut self) -> Result<i64> {
        if self.takes("+") {
            return self.number();
        }
        if self.rest.starts_with('-') { self.number() } else { Ok(0) }
    }

    fn bytes(&mut self) -> Result<Term> {
        self.expect("0x")?;
        let digits = self.span(|letter| letter.is_ascii_hexdigit());
        let pairs = (0..digits.len()).step_by(2).map(|at| {
            let pair = digits.get(at..at + 2).ok_or("an odd number of digits")?;
            Ok(u8::from_str_radix(pair, 16)?)
        });
        Ok(Value::Bytes(pairs.collect::<Result<_>>()?).into())
    }
}
