//! A rehearsal: one scenario, one seed, one history.

mod recorder;

pub use recorder::Recorder;
