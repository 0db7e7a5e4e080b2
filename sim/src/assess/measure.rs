//! Rehearses one event.

use std::sync::Arc;

use super::{Event, Sample, Subject, trial};
use crate::{client::Library, rehearsal};

/// Rehearses an event with so many seeds, from 1 on.
pub fn measure(subject: &Subject, event: Event, reaction_s: u64, seeds: u64) -> Sample {
    let mut sample = Sample::new(event, reaction_s);
    let scenario = match trial::scenario(subject, event, reaction_s) {
        Ok(scenario) => Arc::new(scenario),
        Err(error) => {
            sample.error = Some(error.to_string());
            return sample;
        }
    };
    let limits = limits(subject);
    for seed in 1..=seeds {
        match rehearsal::run(&scenario, seed) {
            Ok(outcome) => sample.add(&outcome, &limits),
            Err(error) => sample.error = Some(format!("seed {seed}: {error}")),
        }
    }
    sample
}

/// Timeouts besides that of a record, in milliseconds.
fn limits(subject: &Subject) -> Vec<(&'static str, u64)> {
    let of = |properties: &crate::client::Properties, name: &'static str| {
        properties.value(name).trim().parse().ok().map(|limit| (name, limit))
    };
    let mut limits = Vec::new();
    // librdkafka does not wait for room.
    if subject.library == Library::Java {
        limits.extend(of(&subject.producer, "max.block.ms"));
    }
    limits.extend(of(&subject.consumer, "session.timeout.ms"));
    limits
}
