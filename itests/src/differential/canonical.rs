//! Answers in words that all targets share: names without their prefix, opaque ids as numbers in the order in which
//! they were first seen, and nothing of what other sequences have made.

use std::collections::BTreeSet;

use super::{target::Party, value::Value};

/// Fields that hold ids which a target makes up, and what kind of ids. Zero, -1 and empty ones stand for none.
const IDENTITIES: &[(&str, &str)] = &[
    ("TopicId", "topic id"),
    ("MemberId", "member id"),
    ("Leader", "member id"),
    ("ClusterId", "cluster id"),
    ("SessionId", "session id"),
    ("ProducerId", "producer id"),
    ("Host", "host"),
    ("Port", "port"),
];

/// Lists of all that there is: their API, the list, and the field that names an element.
const LISTINGS: &[(&str, &str, &str)] = &[
    ("Metadata", "Topics", "Name"),
    ("ListGroups", "Groups", "GroupId"),
    ("ListTransactions", "TransactionStates", "TransactionalId"),
    ("ElectLeaders", "ReplicaElectionResults", "Topic"),
    ("DescribeTopicPartitions", "Topics", "Name"),
];

/// An answer of this party to this request, so that it can be compared.
pub(super) fn answer(party: &mut Party<'_>, api: &str, request: &Value, answer: &Value) -> Value {
    let mut answer = answer.clone();
    keep_own(&party.prefix, api, request, &mut answer);
    answer.visit_mut("", &mut |name, value| rename(party, name, value));
    answer
}

fn keep_own(prefix: &str, api: &str, request: &Value, answer: &mut Value) {
    let mut asked = BTreeSet::new();
    request.visit("", &mut |_, value| {
        asked.extend(value.text().map(str::to_owned));
    });
    for (_, list, named) in LISTINGS.iter().filter(|(own, ..)| *own == api) {
        answer.visit_mut("", &mut |name, value| {
            if let (true, Value::Array(elements)) = (name == *list, value) {
                elements.retain(|element| {
                    element
                        .field(named)
                        .and_then(Value::text)
                        .is_none_or(|text| text.starts_with(prefix) || asked.contains(text))
                });
            }
        });
    }
}

fn rename(party: &mut Party<'_>, name: &str, value: &mut Value) {
    let kind = IDENTITIES.iter().find(|(field, _)| *field == name).map(|(_, kind)| *kind);
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Uuid(id) if *id != 0 => format!("{id:032x}"),
        Value::Int(id) if *id > 0 => id.to_string(),
        _ => return,
    };
    match kind {
        Some(kind) if !text.is_empty() => {
            let number = party.identity(kind, text);
            *value = Value::String(format!("{kind} {number}"));
        }
        _ => {
            if let Value::String(text) = value {
                *text = text.replace(&party.prefix, "$");
            }
        }
    }
}
