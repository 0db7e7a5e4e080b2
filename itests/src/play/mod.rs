//! Plays of scenario files on real Kafka: the same files, the same history, the same judge as in a rehearsal.

pub mod clients;
pub mod link;
mod recorder;

pub use recorder::Recorder;
