//! Two clusters and a link between them, driven through a hand-moved clock.

mod changes;
mod copies;
mod makers;
mod model;
mod world;
