//! Where the fake broker and a real one may differ.

use super::allowed::{Allowance, Rule};

/// Every difference that is no fault of the fake broker.
pub const ALLOWED: &[Allowance] = &[Allowance {
    api: "*",
    path: "**.ErrorMessage",
    rule: Rule::Words,
    reason: "messages for people: their words are no part of the protocol",
}];
