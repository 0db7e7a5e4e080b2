//! Which broker coordinates a group or a transactional id: the leader of the partition of `__consumer_offsets` or
//! `__transaction_state` that its name falls on, so a coordinator moves as any leader does.
//!
//! The two topics are placed when the cluster starts, but clients see each only once a coordinator was looked for,
//! as with Kafka, which creates it then. Nothing is ever written to them here.

use kafka_protocol::{
    messages::{BrokerId, TopicName},
    protocol::StrBytes,
};

use super::{Cluster, controller::NewTopic, settings::Settings};

/// Kafka's topic of groups.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Kafka's topic of transactional ids.
pub(super) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coordinated {
    /// A group, by its id.
    Group,
    /// A producer, by its transactional id.
    Transaction,
}

impl Coordinated {
    pub(super) const ALL: [Self; 2] = [Self::Group, Self::Transaction];

    fn topic(self) -> TopicName {
        let name = match self {
            Self::Group => OFFSETS_TOPIC,
            Self::Transaction => TRANSACTIONS_TOPIC,
        };
        TopicName(StrBytes::from_static_str(name))
    }

    fn partitions(self, settings: &Settings) -> i64 {
        settings.int(match self {
            Self::Group => "offsets.topic.num.partitions",
            Self::Transaction => "transaction.state.log.num.partitions",
        })
    }

    fn replicas(self, settings: &Settings) -> i64 {
        settings.int(match self {
            Self::Group => "offsets.topic.replication.factor",
            Self::Transaction => "transaction.state.log.replication.factor",
        })
    }
}

/// Which of the internal topics clients see.
#[derive(Debug, Default)]
pub(super) struct Revealed {
    group: bool,
    transaction: bool,
}

impl Cluster {
    /// The coordinator of a group; `None` while no broker is there for it.
    pub(super) fn coordinator_of(&self, key: &str) -> Option<BrokerId> {
        self.coordinator(Coordinated::Group, key)
    }

    /// The coordinator of a group or of a transactional id; `None` while no broker is there for it.
    pub(super) fn coordinator(&self, what: Coordinated, key: &str) -> Option<BrokerId> {
        let partitions = &self.topics.get(&what.topic())?.partitions;
        let index = usize::try_from(coordinator_partition(key, partitions.len())).ok()?;
        partitions.get(index)?.leader
    }

    /// The coordinator of a transactional id; `None` while no broker is there for it.
    pub(super) fn transaction_coordinator_of(&self, id: &str) -> Option<BrokerId> {
        self.coordinator(Coordinated::Transaction, id)
    }

    /// The partition that keeps a group's offsets.
    pub(super) fn offsets_partition(&self, group: &str) -> (TopicName, i32) {
        let topic = Coordinated::Group.topic();
        let partitions = self.topics.get(&topic).map_or(0, |topic| topic.partitions.len());
        (topic, coordinator_partition(group, partitions))
    }

    /// A client looks for a coordinator: from now on it sees the topic.
    pub(super) fn reveal_coordinators(&mut self, what: Coordinated) {
        match what {
            Coordinated::Group => self.revealed.group = true,
            Coordinated::Transaction => self.revealed.transaction = true,
        }
    }

    /// Whether clients see this topic.
    pub(super) fn is_visible(&self, name: &TopicName) -> bool {
        match name.as_str() {
            OFFSETS_TOPIC => self.revealed.group,
            TRANSACTIONS_TOPIC => self.revealed.transaction,
            _ => true,
        }
    }

    /// Places both topics. Kafka refuses to create them with fewer brokers than replicas; here they then have as
    /// many replicas as there are brokers, so that small clusters need no settings.
    pub(super) fn place_internal_topics(&mut self) {
        for what in Coordinated::ALL {
            let brokers = i64::try_from(self.brokers.len()).unwrap_or(i64::MAX);
            let new = NewTopic {
                partitions: i32::try_from(what.partitions(&self.settings)).unwrap_or(50),
                replicas: i16::try_from(what.replicas(&self.settings).min(brokers)).unwrap_or(1),
                configs: [("cleanup.policy", "compact"), ("compression.type", "producer")]
                    .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
                    .into(),
                ..NewTopic::default()
            };
            // A cluster without brokers has nobody to coordinate either.
            let _ = self.create_topic(&what.topic(), &new);
        }
    }

    /// One that was deleted is there again for whoever looks for a coordinator next.
    pub(super) fn replace_internal_topic(&mut self, name: &TopicName) {
        for what in Coordinated::ALL {
            if what.topic() == *name {
                match what {
                    Coordinated::Group => self.revealed.group = false,
                    Coordinated::Transaction => self.revealed.transaction = false,
                }
                self.place_internal_topics();
            }
        }
    }

    /// A client names an internal topic, and would create it.
    pub(super) fn reveal_internal(&mut self, name: &TopicName) {
        for what in Coordinated::ALL {
            if what.topic() == *name {
                self.reveal_coordinators(what);
            }
        }
    }
}

/// The partition that keeps what is known of a group or of a transactional id.
fn coordinator_partition(key: &str, partitions: usize) -> i32 {
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX).max(1);
    // Java's absolute value, but for the one number that has none; not a mask, as Kafka takes elsewhere.
    java_hash(key).checked_abs().unwrap_or(0) % partitions
}

/// `String.hashCode` of Java, by which Kafka picks the partition.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_java() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("switchyard"), 0xeb5d_786e_u32.cast_signed());
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }

    /// As `Utils.abs` of Kafka has it: a coordinator that is looked for elsewhere is never found.
    #[test]
    fn partition_is_that_of_the_absolute_value() {
        assert_eq!(coordinator_partition("switchyard", 50), 346_195_858 % 50);
        assert_eq!(coordinator_partition("polygenelubricants", 50), 0);
        assert_eq!(coordinator_partition("a", 0), 0);
    }
}
