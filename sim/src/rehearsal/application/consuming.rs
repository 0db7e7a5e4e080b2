//! An application that reads in a group.

use std::{collections::BTreeSet, sync::Arc};

use kafka_protocol::{messages::TopicName, protocol::StrBytes};

use super::{Application, producing::properties};
use crate::{
    client::{
        Command, Consumer, ConsumerSettings, Event, Input, Library, Output, ResetCause, Role,
        TopicPartition, record::Numbered,
    },
    cluster::Time,
    oracle::history::{Position, Record, What},
    rehearsal::{clients::Shared, world::after_start},
    scenario::model,
};

/// Reads whatever its group gives it.
pub(in super::super) struct Consuming {
    name: Arc<str>,
    /// As the scenario calls it, without a number.
    kind: String,
    group: Arc<str>,
    library: Library,
    consumer: Consumer,
    shared: Shared,
    /// What it has been given and not given back.
    assigned: BTreeSet<TopicPartition>,
    /// Until when the application does not poll.
    stalled_until: Option<Time>,
}

impl Consuming {
    pub(in super::super) fn new(
        name: &str,
        spec: &model::Consumer,
        bootstrap: &str,
        seed: u64,
        shared: Shared,
    ) -> Self {
        let group = shared.recorder.name(&spec.settings["group.id"]);
        let properties = properties(spec.library, Role::Consumer, spec.properties(name, bootstrap));
        let settings = ConsumerSettings::new(&properties)
            .unwrap_or_else(|fault| panic!("a scenario with faults was run: {fault}"));
        let topics = spec.topics.iter();
        let topics = topics.map(|topic| TopicName(StrBytes::from_string(topic.clone())));
        Self {
            name: shared.recorder.name(name),
            kind: spec.name.clone(),
            group,
            library: spec.library,
            consumer: Consumer::new(name, seed, settings, topics),
            shared,
            assigned: BTreeSet::new(),
            stalled_until: None,
        }
    }

    fn record(&self, what: What) {
        self.shared.recorder.record(&self.name, what);
    }

    fn all(&self) -> Vec<(Arc<str>, i32)> {
        let pair = |it: &TopicPartition| (self.shared.recorder.name(&it.0), it.1);
        self.assigned.iter().map(pair).collect()
    }

    fn pairs(&self, partitions: &[TopicPartition]) -> Vec<(Arc<str>, i32)> {
        let pair = |it: &TopicPartition| (self.shared.recorder.name(&it.0), it.1);
        partitions.iter().map(pair).collect()
    }

    fn consumed(&self, topic: &TopicName, partition: i32, offset: i64, value: &[u8]) {
        let Some(numbered) = Numbered::decode(value) else { return };
        let producer = self.shared.recorder.name(numbered.producer);
        self.record(What::Consumed {
            group: Arc::clone(&self.group),
            position: Position { topic: self.shared.recorder.name(topic), partition, offset },
            record: Record { producer, number: numbered.number },
        });
    }
}

impl Application for Consuming {
    fn handle_time(&mut self, now: Time) {
        let until = self.shared.stalls.until(&self.kind).map(after_start);
        let wanted = until.filter(|until| *until > now);
        if wanted.is_some() && self.stalled_until.is_none() {
            self.consumer.handle_input(now, Input::Command(Command::Pause));
        } else if wanted.is_none() && self.stalled_until.is_some() {
            self.consumer.handle_input(now, Input::Command(Command::Resume));
        }
        self.stalled_until = wanted;
        self.consumer.handle_input(now, Input::Time);
    }

    fn handle_input(&mut self, now: Time, input: Input) {
        self.consumer.handle_input(now, input);
    }

    fn handle_event(&mut self, _: Time, event: Event) {
        let group = || Arc::clone(&self.group);
        match event {
            Event::Consumed { topic, partition, offset, value } => {
                self.consumed(&topic, partition, offset, &value);
            }
            Event::Assigned { partitions } => {
                self.assigned.extend(partitions);
                self.record(What::Assigned { group: group(), partitions: self.all() });
            }
            Event::Revoked { partitions } | Event::Lost { partitions } => {
                for partition in &partitions {
                    self.assigned.remove(partition);
                }
                let partitions = self.pairs(&partitions);
                self.record(What::Revoked { group: group(), partitions });
            }
            Event::PositionReset { topic, partition, to, cause, from } => {
                // A group that starts has no position yet: that is no reset of one.
                if from.is_none() && cause == ResetCause::NoCommittedOffset {
                    return;
                }
                let topic = self.shared.recorder.name(&topic);
                let position = Position { topic, partition, offset: to };
                self.record(What::Reset {
                    group: group(),
                    position,
                    reason: format!("{cause:?}").into(),
                });
            }
            Event::Fatal { error } => {
                self.record(What::Fatal { reason: format!("{error:?}").into() });
            }
            // librdkafka's application gets it out of a poll, Java's does not.
            Event::PollIntervalExceeded if self.library == Library::Librdkafka => {
                self.record(What::Error { reason: "_MAX_POLL_EXCEEDED".into() });
            }
            Event::Error { .. } | Event::NoPosition { .. } => {
                self.record(What::Error { reason: format!("{event:?}").into() });
            }
            other => self.shared.note_event(&self.name, &other),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.consumer.poll_output()
    }

    fn deadline(&self) -> Option<Time> {
        [self.consumer.deadline(), self.stalled_until].into_iter().flatten().min()
    }
}
