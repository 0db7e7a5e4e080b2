//! What a classic consumer says in the bytes that only the consumers of its group are to read: Kafka's
//! coordinator reads the topics in them all the same.
//!
//! Not decoded by the protocol crate: nobody has bounded the counts in these bytes.

use std::collections::BTreeSet;

use bytes::Buf;
use kafka_protocol::{messages::TopicName, protocol::StrBytes};

/// The topics that a consumer subscribes to; `None`: the bytes are of another kind.
pub(super) fn topics(mut metadata: &[u8]) -> Option<BTreeSet<TopicName>> {
    if metadata.try_get_i16().ok()? < 0 {
        return None;
    }
    let count = metadata.try_get_i32().ok()?;
    (0..count).map(|_| name(&mut metadata)).collect()
}

fn name(bytes: &mut &[u8]) -> Option<TopicName> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let (name, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(TopicName(StrBytes::from_string(str::from_utf8(name).ok()?.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_up_to_what_the_client_keeps_for_itself() {
        let metadata = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        let found: Vec<_> = topics(metadata)
            .expect("a subscription")
            .iter()
            .map(|topic| topic.0.to_string())
            .collect();
        assert_eq!(found, ["a", "bc"]);
    }

    /// The count is the client's: a group must not fall over it.
    #[test]
    fn counts_and_lengths_beyond_the_bytes_are_no_subscription() {
        assert_eq!(topics(b"\0\0\x7f\xff\xff\xff\0\x01a"), None);
        assert_eq!(topics(b"\0\0\0\0\0\x01\x7f\xffa"), None);
        assert_eq!(topics(b"\0\0\0\0\0\x01\xff\xff"), None);
        assert_eq!(topics(b""), None);
    }
}
