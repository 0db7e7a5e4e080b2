//! The same requests to several targets, whose answers are compared field by field.
//!
//! ```text
//! text ─parse─▶ sequence of terms ─resolve for each target─▶ values ─codec─▶ bytes ─▶ target
//!                                                                                     │
//! disagreement ◀─allowed differences─ compare ◀─canonical answers ◀─codec─ bytes ◀────┘
//! ```
//!
//! Requests are data: any API in any version, with anything in its fields. They refer to what a target has called things by
//! symbols, so that one sequence fits every target; each playing of a sequence has names of its own.

pub mod allowed;
mod batch;
pub mod bench;
mod canonical;
pub mod codec;
mod connection;
pub mod fake_and_real;
pub mod gateway_and_none;
pub mod generate;
pub mod parse;
pub mod shrink;
pub mod target;
pub mod term;
pub mod value;
