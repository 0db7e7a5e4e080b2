//! Requests that wait for a partition: fetches for bytes, produces for replicas.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::TopicName;

use super::super::{
    Cluster,
    connection::{ConnectionId, Ticket},
    timers::Timer,
};

/// Which requests wait for which partition, so that a change wakes those alone.
#[derive(Debug, Default)]
pub(in super::super) struct Waits(BTreeMap<TopicName, BTreeMap<i32, BTreeSet<Ticket>>>);

impl Waits {
    pub(super) fn insert(&mut self, topic: &TopicName, partition: i32, ticket: Ticket) {
        let partitions = match self.0.get_mut(topic) {
            Some(partitions) => partitions,
            None => self.0.entry(topic.clone()).or_default(),
        };
        partitions.entry(partition).or_default().insert(ticket);
    }

    pub(super) fn remove(&mut self, topic: &TopicName, partition: i32, ticket: Ticket) {
        let Some(partitions) = self.0.get_mut(topic) else { return };
        let Some(tickets) = partitions.get_mut(&partition) else { return };
        tickets.remove(&ticket);
        if tickets.is_empty() {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    /// Those that wait for one partition.
    fn of(&self, topic: &TopicName, partition: i32) -> Vec<Ticket> {
        let tickets = self.0.get(topic).and_then(|partitions| partitions.get(&partition));
        tickets.map(|tickets| tickets.iter().copied().collect()).unwrap_or_default()
    }
}

impl Cluster {
    /// To be called after whatever has changed a partition: its log, its ISR, its leader or its existence. Moves the
    /// high watermark and answers the requests that have waited for it.
    pub(in super::super) fn partition_changed(&mut self, topic: &TopicName, index: i32) {
        let defaults = self.log_defaults;
        if let Some(topic) = self.topics.get_mut(topic)
            && let Some(partition) =
                usize::try_from(index).ok().and_then(|index| topic.partitions.get_mut(index))
        {
            partition.replicate(defaults.of_topic(&topic.configs).isr_min);
        }
        for ticket in self.produce_waits.of(topic, index) {
            self.look_at_produce(ticket);
        }
        for ticket in self.fetch_waits.of(topic, index) {
            self.look_at_fetch(ticket);
        }
    }

    /// Forgets the request that a connection, which is gone, has waited with.
    pub(in super::super) fn forget_waiting(&mut self, connection: ConnectionId) {
        let of_connection = |ticket: &Ticket| ticket.connection == connection;
        let first = Ticket::first_of(connection);
        let fetch = self.waiting_fetches.range(first..).next().map(|(ticket, _)| *ticket);
        if let Some(ticket) = fetch.filter(of_connection) {
            self.take_fetch(ticket);
        }
        let produce = self.waiting_produces.range(first..).next().map(|(ticket, _)| *ticket);
        if let Some(ticket) = produce.filter(of_connection) {
            self.take_produce(ticket);
        }
    }

    pub(super) fn take_fetch(&mut self, ticket: Ticket) -> Option<super::WaitingFetch> {
        let waiting = self.waiting_fetches.remove(&ticket)?;
        self.timers.clear(&Timer::Fetch(ticket));
        for (topic, partition) in waiting.partitions() {
            self.fetch_waits.remove(topic, partition, ticket);
        }
        Some(waiting)
    }

    pub(super) fn take_produce(&mut self, ticket: Ticket) -> Option<super::WaitingProduce> {
        let waiting = self.waiting_produces.remove(&ticket)?;
        self.timers.clear(&Timer::Produce(ticket));
        for (topic, partition) in waiting.partitions() {
            self.produce_waits.remove(topic, partition, ticket);
        }
        Some(waiting)
    }
}
