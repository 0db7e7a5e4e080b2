//! What a cluster holds, for reports. Reading it changes nothing.

use super::{Cluster, controller::is_internal};

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInventory {
    /// Its name.
    pub name: String,
    /// How many.
    pub partitions: usize,
    /// Offsets that are kept, over all partitions.
    pub records: i64,
    /// Bytes that are kept.
    pub bytes: usize,
}

impl Cluster {
    /// All topics but Kafka's own, in the order of their names.
    pub fn inventory(&self) -> Vec<TopicInventory> {
        let topics = self.topics.iter().filter(|(name, _)| !is_internal(name));
        let topics = topics.map(|(name, topic)| {
            let logs = || topic.partitions.iter().map(|partition| &partition.log);
            TopicInventory {
                name: name.to_string(),
                partitions: topic.partitions.len(),
                records: logs().map(|log| log.end() - log.start()).sum(),
                bytes: logs().map(super::log::Log::bytes).sum(),
            }
        });
        topics.collect()
    }
}
