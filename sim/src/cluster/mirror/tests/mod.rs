//! Two clusters and a link between them, driven through a hand-moved clock.

#![expect(clippy::unwrap_used, reason = "tests")]

mod changes;
mod copies;
mod makers;
mod model;
mod shared;
mod world;
