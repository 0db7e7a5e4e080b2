//! Which broker coordinates a group or a transactional id.

use kafka_protocol::messages::BrokerId;

use super::Cluster;

/// Partitions of `__consumer_offsets` and of `__transaction_state`, by which Kafka spreads its coordinators.
const COORDINATOR_PARTITIONS: u32 = 50;

impl Cluster {
    /// The coordinator of a group or of a transactional id; `None` while no broker is there.
    pub(super) fn coordinator_of(&self, key: &str) -> Option<BrokerId> {
        let brokers: Vec<_> = self
            .brokers
            .values()
            .filter(|broker| broker.is_listed())
            .map(|broker| broker.id)
            .collect();
        let partition = usize::try_from(coordinator_partition(key)).unwrap_or(0);
        brokers.get(partition % brokers.len().max(1)).copied()
    }
}

/// The partition that keeps what is known of a group or of a transactional id.
pub(super) fn coordinator_partition(key: &str) -> i32 {
    let partition = (java_hash(key).cast_unsigned() & 0x7fff_ffff) % COORDINATOR_PARTITIONS;
    partition.cast_signed()
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
        assert_eq!(
            java_hash("switchyard"),
            "switchyard"
                .bytes()
                .fold(0_i32, |hash, byte| { hash.wrapping_mul(31).wrapping_add(i32::from(byte)) })
        );
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }
}
