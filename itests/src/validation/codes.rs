//! What libraries say of an error → the error's name: Kafka's own, or what all libraries would call it.
//!
//! | who | says |
//! |---|---|
//! | model clients | `NotLeaderOrFollower`, `Fatal(ProducerFenced)`, `_MSG_TIMED_OUT` |
//! | the Java client | `NotLeaderOrFollowerException: This server is not …; caused by …` |
//! | librdkafka | `NOT_LEADER_OR_FOLLOWER: Message production error: …`, `_MSG_TIMED_OUT: …` |

/// Java's exceptions and errors of librdkafka itself, where they are called otherwise than Kafka's errors or by more than
/// one name.
const SAME: &[(&str, &str)] = &[
    ("_FENCED", "PRODUCER_FENCED"),
    ("_MAX_POLL_EXCEEDED", "MAX_POLL_EXCEEDED"),
    ("_MSG_TIMED_OUT", "DELIVERY_TIMEOUT"),
    ("_PURGE_INFLIGHT", "PURGED"),
    ("_PURGE_QUEUE", "PURGED"),
    ("_QUEUE_FULL", "BUFFER_FULL"),
    ("_TRANSPORT", "NETWORK_EXCEPTION"),
    ("_UNKNOWN_TOPIC", "TOPIC_NOT_PRESENT"),
    ("BUFFER_EXHAUSTED", "BUFFER_FULL"),
    ("CORRUPT_RECORD", "CORRUPT_MESSAGE"),
    ("DISCONNECT", "NETWORK_EXCEPTION"),
    ("DISCONNECTED", "NETWORK_EXCEPTION"),
    ("INVALID_PID_MAPPING", "INVALID_PRODUCER_ID_MAPPING"),
    ("NETWORK", "NETWORK_EXCEPTION"),
    ("NO_OFFSET_FOR_PARTITION", "NO_POSITION"),
    ("OUT_OF_ORDER_SEQUENCE", "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    ("RECORD_TOO_LARGE", "MESSAGE_TOO_LARGE"),
    ("TOO_LARGE", "MESSAGE_TOO_LARGE"),
    ("TRANSACTION_ABORTED", "ABORTED"),
];

/// Parts of texts that say more than the name of the error.
const TEXTS: &[(&str, &str)] = &[
    ("since batch creation", "DELIVERY_TIMEOUT"),
    ("max.block.ms", "BUFFER_FULL"),
    ("max blocking time", "BUFFER_FULL"),
    ("not present in metadata", "TOPIC_NOT_PRESENT"),
    ("NoPosition", "NO_POSITION"),
];

/// The name of the error that a reason is about.
pub fn name(reason: &str) -> String {
    if let Some((_, name)) = TEXTS.iter().find(|(part, _)| reason.contains(part)) {
        return (*name).to_owned();
    }
    let reason = reason.strip_prefix("transaction: ").unwrap_or(reason);
    // What a model says in Rust's own way: the innermost is the error.
    let reason = reason.strip_prefix("Error { error: ").unwrap_or(reason).trim_end_matches(" }");
    let reason = reason.strip_prefix("Fatal(").unwrap_or(reason).trim_end_matches(')');
    let first = reason.split([':', ' ', '(', '{']).next().unwrap_or_default();
    // Java wraps what it cannot retry; the cause is what happened.
    let wraps = ["KafkaException", "IllegalStateException"].contains(&first);
    if let Some((_, cause)) = reason.split_once("; caused by ").filter(|_| wraps) {
        return name(cause);
    }
    let own = screaming(first.strip_suffix("Exception").unwrap_or(first));
    SAME.iter().find(|(name, _)| *name == own).map_or(own, |(_, same)| (*same).to_owned())
}

/// `NotLeaderOrFollower` as `NOT_LEADER_OR_FOLLOWER`; what is written so already stays.
fn screaming(name: &str) -> String {
    if !name.chars().any(char::is_lowercase) {
        return name.to_owned();
    }
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {

    /// Two names for one error would be a disagreement that is none.
    #[test]
    fn every_library_comes_to_the_same_name() {
        for (name, said) in [
            (
                "DELIVERY_TIMEOUT",
                "TimeoutException: Expiring 3 record(s) for orders-1:30000 ms has passed since batch creation",
            ),
            ("DELIVERY_TIMEOUT", "_MSG_TIMED_OUT"),
            (
                "DELIVERY_TIMEOUT",
                "_MSG_TIMED_OUT: Message production error: Local: Message timed out",
            ),
            ("BUFFER_FULL", "TimeoutException: no memory for max.block.ms"),
            (
                "BUFFER_FULL",
                "BufferExhaustedException: Failed to allocate 100 bytes within the configured max blocking time 60000 ms.",
            ),
            ("BROKER_NOT_AVAILABLE", "BrokerNotAvailable"),
            ("BROKER_NOT_AVAILABLE", "BrokerNotAvailableException: The broker is not available."),
            (
                "BROKER_NOT_AVAILABLE",
                "BROKER_NOT_AVAILABLE: Message production error: BrokerNotAvailable (Broker: Broker not available)",
            ),
            ("OUT_OF_ORDER_SEQUENCE_NUMBER", "Fatal(OutOfOrderSequenceNumber)"),
            (
                "OUT_OF_ORDER_SEQUENCE_NUMBER",
                "OutOfOrderSequenceException: The broker received an out of order sequence number.",
            ),
            (
                "INVALID_PRODUCER_EPOCH",
                "KafkaException: Cannot execute transactional method; caused by InvalidProducerEpochException: Producer attempted …",
            ),
            (
                "TOPIC_NOT_PRESENT",
                "TimeoutException: Topic orders not present in metadata after 60000 ms.",
            ),
            ("UNKNOWN_TOPIC_ID", "Error { error: UnknownTopicId }"),
            ("PRODUCER_FENCED", "transaction: ProducerFenced"),
            (
                "TIMEOUT",
                "TimeoutException: Timeout expired after 60000 ms while awaiting InitProducerId",
            ),
        ] {
            assert_eq!(super::name(said), name, "{said}");
        }
    }
}
