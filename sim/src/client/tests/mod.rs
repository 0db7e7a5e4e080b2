//! Models against the fake cluster, in one process, with a clock that is moved by hand.

mod consumer;
mod moved;
mod producer;
mod transactions;
mod world;
