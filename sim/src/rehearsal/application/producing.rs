//! An application that writes numbered records at a rate.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kafka_protocol::{messages::TopicName, protocol::StrBytes};

use super::Application;
use crate::{
    client::{
        Command, Event, FailureReason, Input, Library, Output, Producer, ProducerSettings,
        Properties, Role, Send,
    },
    cluster::Time,
    oracle::history::{Position, What},
    rehearsal::clients::Shared,
    scenario::model,
};

/// Writes records, one every so often.
pub(in super::super) struct Producing {
    name: Arc<str>,
    producer: Producer,
    shared: Shared,
    topic: TopicName,
    topic_name: Arc<str>,
    value_bytes_min: usize,
    every: Duration,
    next: Option<Time>,
    library: Library,
    transaction: Option<Transaction>,
    /// Waited for room already: told once for each time.
    was_blocked: bool,
    dead: bool,
}

/// Where the application is in its transactions.
struct Transaction {
    records: usize,
    state: TransactionState,
    /// Numbers of the records of the one that is open.
    numbers: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransactionState {
    Starting,
    Open,
    Ending { commits: bool },
}

/// Settings as the library takes them. A scenario was checked, so what it says can be used.
pub(super) fn properties(
    library: Library,
    role: Role,
    settings: impl IntoIterator<Item = (String, String)>,
) -> Properties {
    Properties::new(library, role, settings)
        .unwrap_or_else(|faults| panic!("a scenario with faults was run: {faults:?}"))
}

impl Producing {
    pub(in super::super) fn new(
        name: &str,
        spec: &model::Producer,
        bootstrap: &str,
        seed: u64,
        shared: Shared,
    ) -> Self {
        let properties = properties(spec.library, Role::Producer, spec.properties(name, bootstrap));
        let settings = ProducerSettings::new(&properties)
            .unwrap_or_else(|fault| panic!("a scenario with faults was run: {fault}"));
        Self {
            name: shared.recorder.name(name),
            producer: Producer::new(name, seed, settings),
            topic_name: shared.recorder.name(&spec.topic),
            shared,
            topic: TopicName(StrBytes::from_string(spec.topic.clone())),
            value_bytes_min: spec.record_bytes,
            every: Duration::from_secs(1) / spec.rate,
            next: None,
            library: spec.library,
            transaction: spec.transaction_records.map(|records| Transaction {
                records,
                state: TransactionState::Starting,
                numbers: Vec::new(),
            }),
            was_blocked: false,
            dead: false,
        }
    }

    fn record(&self, what: What) {
        self.shared.recorder.record(&self.name, what);
    }

    /// Hands the next record over.
    fn send(&mut self, now: Time) {
        let number = self.producer.next_number();
        self.record(What::Sent { number });
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        if let Some(transaction) = &mut self.transaction {
            transaction.numbers.push(number);
        }
        let send = Send {
            topic: self.topic.clone(),
            partition: None,
            key: None,
            value_bytes_min: self.value_bytes_min,
        };
        self.producer.handle_input(now, Input::Command(Command::Send(send)));
        let blocked = self.producer.is_blocked();
        // At its start it waits for metadata, not for room.
        if blocked && !self.was_blocked && self.producer.buffered_bytes() > 0 {
            self.record(What::BufferFull);
        }
        self.was_blocked = blocked;
    }

    /// Ends a transaction that has all its records, begins one that is needed. Whether a record may be sent.
    fn steer_transaction(&mut self, now: Time) -> bool {
        let stopped = self.shared.stopped.load(Ordering::Relaxed);
        let Some(transaction) = &mut self.transaction else { return true };
        match transaction.state {
            TransactionState::Open
                if transaction.numbers.len() >= transaction.records
                    || (stopped && !transaction.numbers.is_empty()) =>
            {
                transaction.state = TransactionState::Ending { commits: true };
                self.producer.handle_input(now, Input::Command(Command::CommitTransaction));
                false
            }
            TransactionState::Open => true,
            TransactionState::Starting | TransactionState::Ending { .. } => false,
        }
    }

    fn ended(&mut self, now: Time, committed: bool) {
        let Some(transaction) = &mut self.transaction else { return };
        let numbers = std::mem::take(&mut transaction.numbers);
        transaction.state = TransactionState::Open;
        self.record(What::Transaction { numbers, committed });
        if !self.shared.stopped.load(Ordering::Relaxed) {
            self.producer.handle_input(now, Input::Command(Command::BeginTransaction));
        }
    }

    fn failed(&self, number: u64, reason: FailureReason) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if reason == FailureReason::BufferFull {
            self.record(What::BufferFull);
        }
        let reason = reason_text(self.library, reason).into();
        self.record(What::Failed { number, reason });
    }
}

impl Application for Producing {
    fn handle_time(&mut self, now: Time) {
        // After a fatal error the library goes on, with nobody to hand it anything.
        let next = *self.next.get_or_insert(now);
        if next <= now && !self.dead {
            // A thread that is blocked in a send hands nothing over, and does not catch up later.
            let stopped = self.shared.stopped.load(Ordering::Relaxed);
            let may_send = self.steer_transaction(now);
            if may_send && !stopped && !self.producer.is_blocked() {
                self.send(now);
            }
            self.next = Some((next + self.every).max(now));
        }
        self.producer.handle_input(now, Input::Time);
    }

    fn handle_input(&mut self, now: Time, input: Input) {
        self.producer.handle_input(now, input);
    }

    fn handle_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Acknowledged { number, partition, offset, .. } => {
                self.shared.open.fetch_sub(1, Ordering::Relaxed);
                let topic = Arc::clone(&self.topic_name);
                let position = Position { topic, partition, offset };
                self.record(What::Acknowledged { number, position });
            }
            Event::Failed { number, reason } => self.failed(number, reason),
            Event::TransactionReady => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.state = TransactionState::Open;
                }
                self.producer.handle_input(now, Input::Command(Command::BeginTransaction));
            }
            Event::TransactionCommitted => self.ended(now, true),
            Event::TransactionAborted => self.ended(now, false),
            Event::TransactionFailed { error, abortable } => {
                self.record(What::Error { reason: format!("transaction: {error:?}").into() });
                if let Some(transaction) = &mut self.transaction {
                    transaction.state = TransactionState::Ending { commits: false };
                }
                if abortable {
                    self.producer.handle_input(now, Input::Command(Command::AbortTransaction));
                }
            }
            Event::Fatal { error } => {
                self.record(What::Fatal { reason: format!("{error:?}").into() });
                self.dead = true;
            }
            other => self.shared.note_event(&self.name, &other),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.producer.poll_output()
    }

    fn deadline(&self) -> Option<Time> {
        let next = self.next.filter(|_| !self.dead);
        [self.producer.deadline(), next].into_iter().flatten().min()
    }
}

/// Why a record failed, in the library's own words.
fn reason_text(library: Library, reason: FailureReason) -> String {
    match (library, reason) {
        (Library::Java, FailureReason::DeliveryTimeout) => {
            "TimeoutException: delivery.timeout.ms has passed since batch creation".to_owned()
        }
        (Library::Librdkafka, FailureReason::DeliveryTimeout) => "_MSG_TIMED_OUT".to_owned(),
        (Library::Java, FailureReason::BufferFull) => {
            "TimeoutException: no memory for max.block.ms".to_owned()
        }
        (Library::Librdkafka, FailureReason::BufferFull) => "_QUEUE_FULL".to_owned(),
        (_, FailureReason::Broker(error)) => format!("{error:?}"),
        (_, other) => format!("{other:?}"),
    }
}
