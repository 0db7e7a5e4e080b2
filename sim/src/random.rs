//! Streams of random numbers, derived from (seed, what, name): a draw more in one leaves all others as they are.

use fastrand::Rng;
use sha2::{Digest, Sha256};

/// The stream of one purpose (`what`, such as `topic-id`) and one thing (`name`).
pub fn stream(seed: u64, what: &str, name: &str) -> Rng {
    let digest = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(what.as_bytes())
        // Not part of a name: ("a", "bc") and ("ab", "c") are different streams.
        .chain_update([0])
        .chain_update(name.as_bytes())
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    Rng::with_seed(u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_name() {
        let draw = |seed, what, name| stream(seed, what, name).u64(..);
        let first = draw(7, "topic-id", "orders");
        assert_eq!(first, draw(7, "topic-id", "orders"));
        assert_ne!(first, draw(8, "topic-id", "orders"));
        assert_ne!(first, draw(7, "topic-i", "dorders"));
        assert_ne!(first, draw(7, "topic-id", "order"));
    }
}
