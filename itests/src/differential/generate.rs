//! Sequences drawn at random: steps that mostly make sense together, and now and then a field that makes none.

use std::collections::BTreeMap;

use fastrand::Rng;
use switchyard::wire::schema::{Field, Kind};

use super::{
    parse,
    term::{Ask, Sequence, Step, Term},
    value::Value,
};
use crate::Result;

mod groups;
mod partitions;
mod transactions;

/// One step in this many has a field that makes no sense.
const SENSELESS_ONE_IN: usize = 6;

/// Fields that say how long something may take: a senseless one would hold up the test, not the broker.
const WAITS: &[&str] = &[
    "MaxWaitMs",
    "TimeoutMs",
    "timeoutMs",
    "RebalanceTimeoutMs",
    "SessionTimeoutMs",
    "TransactionTimeoutMs",
];

/// A step as text, made up of what the sequence has so far.
type Move = fn(&mut Draft) -> String;

/// A sequence that is being drawn.
struct Draft {
    random: Rng,
    steps: Vec<Step>,
    /// Labels of answers with a producer's id, and how its ids are transactional.
    producers: Vec<(String, Option<String>)>,
    /// Labels of answers to joins, with their groups.
    members: Vec<(String, String)>,
    /// Labels of answers to first heartbeats, with their groups.
    consumers: Vec<(String, String)>,
    /// Labels of answers that began a fetch session, and its next epoch.
    sessions: Vec<(String, i32)>,
    /// Next sequence by producer and partition.
    sequences: BTreeMap<(String, String, i32), i64>,
    labels: usize,
}

/// A sequence of so many steps after those that create topics; the same for the same seed.
///
/// # Errors
/// When a step cannot be read, which is a fault of this module.
pub fn sequence(seed: u64, steps: usize) -> Result<Sequence> {
    let mut draft = Draft {
        random: Rng::with_seed(seed),
        steps: Vec::new(),
        producers: Vec::new(),
        members: Vec::new(),
        consumers: Vec::new(),
        sessions: Vec::new(),
        sequences: BTreeMap::new(),
        labels: 0,
    };
    draft.add(
        "CreateTopics v7 {Topics: [{Name: $t0, NumPartitions: 2, ReplicationFactor: 1}, \
         {Name: $t1, NumPartitions: 1, ReplicationFactor: 1}], timeoutMs: 5000}",
    )?;
    let families = [partitions::MOVES, groups::MOVES, transactions::MOVES];
    // Most sequences stay with one subject, or little would come of it.
    let family = families[draft.random.usize(..families.len())];
    for _ in 0..steps {
        let family = if draft.random.u8(..8) == 0 {
            families[draft.random.usize(..families.len())]
        } else {
            family
        };
        let next = family[draft.random.usize(..family.len())];
        let text = next(&mut draft);
        draft.add(&text)?;
        if draft.random.usize(..SENSELESS_ONE_IN) == 0
            && let Some(Step::Ask(ask)) = draft.steps.last_mut()
        {
            spoil(&mut draft.random, ask);
        }
    }
    Ok(Sequence { name: format!("seed {seed}"), steps: draft.steps })
}

impl Draft {
    fn add(&mut self, text: &str) -> Result<()> {
        let parsed = parse::step(text).map_err(|error| format!("{error} in {text}"))?;
        self.steps.push(parsed);
        Ok(())
    }

    /// One of these.
    fn one<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.random.usize(..choices.len())]
    }

    /// A version of an API between these.
    fn version(&mut self, min: i16, max: i16) -> i16 {
        self.random.i16(min..=max)
    }

    /// A label that is not taken.
    fn label(&mut self) -> String {
        self.labels += 1;
        format!("s{}", self.labels)
    }

    fn topic(&mut self) -> &'static str {
        self.one(&["$t0", "$t0", "$t0", "$t1", "$t2"])
    }

    fn partition(&mut self) -> i32 {
        [0, 0, 0, 0, 1, 1, 5][self.random.usize(..7)]
    }

    fn group(&mut self) -> &'static str {
        self.one(&["$g0", "$g0", "$g0", "$g1"])
    }
}

/// Gives one field of a request a value that makes little sense.
fn spoil(random: &mut Rng, ask: &mut Ask) {
    let version = *ask.versions.start();
    let mut places = 0;
    visit(ask.api.request.fields, version, &mut ask.body, &mut |_, _| places += 1);
    if places == 0 {
        return;
    }
    let chosen = random.usize(..places);
    let mut place = 0;
    visit(ask.api.request.fields, version, &mut ask.body, &mut |field, term| {
        if place == chosen {
            *term = senseless(random, field, term);
        }
        place += 1;
    });
}

/// Calls `change` with every field of a version that a body has, outer ones first.
fn visit(
    schema: &'static [Field],
    version: i16,
    body: &mut Term,
    change: &mut impl FnMut(&'static Field, &mut Term),
) {
    let Term::Struct(fields) = body else { return };
    for (name, term) in fields {
        let found =
            schema.iter().find(|field| field.name == name && field.versions.contains(version));
        let Some(field) = found.filter(|field| !WAITS.contains(&field.name)) else { continue };
        change(field, term);
        match (&field.kind, term) {
            (Kind::Array(Kind::Struct(inner)), Term::Array(elements)) => {
                for element in elements {
                    visit(inner, version, element, change);
                }
            }
            (Kind::Struct(inner), term) => visit(inner, version, term, change),
            _ => {}
        }
    }
}

fn senseless(random: &mut Rng, field: &Field, term: &Term) -> Term {
    const NUMBERS: [i64; 9] = [-1, -2, -7, 0, 1, 2, 3, 100, i64::MAX];
    match &field.kind {
        Kind::Bool => random.bool().into(),
        Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Uint16 | Kind::Uint32 => {
            NUMBERS[random.usize(..NUMBERS.len())].into()
        }
        Kind::Uuid => Value::Uuid(u128::from(random.u8(..2))).into(),
        Kind::String => match random.u8(..5) {
            0 if !field.nullable.contains(0) => "".into(),
            0 | 1 => Value::Null.into(),
            // A name too long for anything, and one with signs that some names may not have; no other sequence has them.
            2 => Term::Name("x".repeat(300)),
            3 => Term::Name("a*c".into()),
            _ => "".into(),
        },
        Kind::Array(_) => match (random.u8(..4), term) {
            (0, _) => Value::Null.into(),
            (1, Term::Array(elements)) => {
                Term::Array(elements.iter().chain(elements).cloned().collect())
            }
            _ => Term::Array(Vec::new()),
        },
        Kind::Bytes | Kind::Records => match random.u8(..3) {
            0 => Value::Null.into(),
            1 => Value::Bytes(Vec::new()).into(),
            _ => Value::Bytes(vec![7; 40]).into(),
        },
        Kind::Struct(_) | Kind::Float64 => term.clone(),
    }
}
