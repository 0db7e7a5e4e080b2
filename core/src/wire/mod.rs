//! Bytes ⇄ frames ⇄ headers; the bounded walker; the API policy table; rewriting. Pure functions.
//!
//! Whatever came from a socket is hostile until the [`walk`]er has bounded it. Messages are never decoded
//! on their way: responses are edited where they stand ([`rewrite`]), errors are made up from the schema
//! ([`answer`]), and records are passed over.

pub mod answer;
pub mod api;
pub mod api_versions;
pub mod header;
pub mod inspect;
pub mod rewrite;
pub mod schema;
pub mod tree;
pub mod walk;
