//! Which partition a record goes to.

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::records::IEEE;

use super::super::config::Library;
use crate::cluster::Time;

/// librdkafka's `sticky.partitioning.linger.ms`, as it is by default.
const STICKY_LINGER: std::time::Duration = std::time::Duration::from_millis(10);

/// The partition of a key: the same in every client of one library.
pub(super) fn of_key(library: Library, key: &[u8], partitions: usize) -> usize {
    let hash = match library {
        Library::Java => murmur2(key) & 0x7fff_ffff,
        Library::Librdkafka => IEEE.checksum(key),
    };
    hash as usize % partitions
}

/// Where records without a key go: to one partition, until it is another's turn.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    current: Option<usize>,
    bytes: usize,
    since: Time,
}

impl Sticky {
    /// The partition whose turn it is, out of those that have a leader.
    pub(super) fn current(
        &mut self,
        now: Time,
        library: Library,
        random: &mut Rng,
        count: usize,
        has_leader: impl Fn(usize) -> bool,
    ) -> usize {
        let lingered = library == Library::Librdkafka && self.since + STICKY_LINGER <= now;
        if let Some(current) = self.current
            && current < count
            && !lingered
        {
            return current;
        }
        let available: Vec<usize> = (0..count).filter(|index| has_leader(*index)).collect();
        let chosen = if available.is_empty() {
            random.usize(..count)
        } else {
            available[random.usize(..available.len())]
        };
        (self.current, self.bytes, self.since) = (Some(chosen), 0, now);
        chosen
    }

    /// Java: a record was appended. At `batch_bytes` it is another's turn, as soon as the batches are full.
    pub(super) fn appended(&mut self, bytes: usize, batch_bytes: usize, batches_full: bool) {
        self.bytes += bytes;
        if self.bytes >= batch_bytes && (batches_full || self.bytes >= 2 * batch_bytes) {
            self.current = None;
        }
    }
}

/// Of a record that has a key, even an empty one.
pub(super) fn has_key(library: Library, key: Option<&Bytes>) -> bool {
    match library {
        Library::Java => key.is_some(),
        // `consistent_random`: an empty key is none.
        Library::Librdkafka => key.is_some_and(|key| !key.is_empty()),
    }
}

/// MurmurHash2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes(chunk.try_into().expect("four bytes"));
        word = word.wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own `UtilsTest`.
    #[test]
    fn murmur2_is_that_of_kafka() {
        let cases = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn java_stays_with_a_partition_for_a_batch_and_then_moves() {
        let mut random = Rng::with_seed(1);
        let mut sticky = Sticky::default();
        let mut take = |sticky: &mut Sticky| {
            sticky.current(Time::default(), Library::Java, &mut random, 1000, |_| true)
        };
        let first = take(&mut sticky);
        sticky.appended(99, 100, true);
        assert_eq!(take(&mut sticky), first);
        sticky.appended(1, 100, true);
        assert_ne!(take(&mut sticky), first);
    }

    #[test]
    fn partitions_without_a_leader_are_left_out() {
        let mut random = Rng::with_seed(1);
        for _ in 0..50 {
            let mut sticky = Sticky::default();
            let is_third = |index| index == 3;
            let now = Time::default();
            assert_eq!(sticky.current(now, Library::Java, &mut random, 8, is_third), 3);
        }
    }
}
