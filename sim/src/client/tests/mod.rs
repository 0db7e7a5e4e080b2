//! Models against the fake cluster, in one process, with a clock that is moved by hand.

mod consumer;
mod epochs;
mod moved;
mod outages;
mod producer;
mod transactions;
mod view;
mod world;
