//! One name for each way in which things fail, whoever tells of it: the model clients, the Java client, librdkafka. With it what
//! was rehearsed and what was measured can be counted side by side.

/// What clients come to by themselves, and their words for it: the first that a reason contains decides.
const OWN: &[(&str, &[&str])] = &[
    ("delivery timeout", &["since batch creation", "_MSG_TIMED_OUT", "DeliveryTimeout"]),
    (
        "buffer full",
        &["no memory for max.block.ms", "BufferExhausted", "_QUEUE_FULL", "BufferFull"],
    ),
    (
        "topic not in metadata",
        &["not present in metadata", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "TopicNotPresent"],
    ),
    // A transaction ends; its record is not to blame.
    (
        "aborted",
        &[
            "TransactionAborted",
            "Transaction Request was aborted",
            "_PURGE_QUEUE",
            "_PURGE_INFLIGHT",
        ],
    ),
    ("closed", &["closed forcefully", "closed while send in progress", "_DESTROY"]),
    ("poll interval exceeded", &["_MAX_POLL_EXCEEDED", "PollIntervalExceeded"]),
    // There is no position, and the application forbade to choose one.
    (
        "no position",
        &[
            "NoPosition",
            "NoOffsetForPartitionException",
            "OffsetOutOfRangeException",
            "LogTruncationException",
            "_AUTO_OFFSET_RESET",
        ],
    ),
    // What Java makes of a transaction whose records have expired.
    ("REQUEST_TIMED_OUT", &["can no longer retry them"]),
];

/// Names that do not follow from Kafka's own for the same error, without `Exception`.
const IRREGULAR: &[(&str, &str)] = &[
    // Java's classes.
    ("ClusterAuthorization", "CLUSTER_AUTHORIZATION_FAILED"),
    ("ControllerMoved", "STALE_CONTROLLER_EPOCH"),
    ("CorruptRecord", "CORRUPT_MESSAGE"),
    ("Disconnect", "NETWORK_EXCEPTION"),
    ("DuplicateSequence", "DUPLICATE_SEQUENCE_NUMBER"),
    ("GroupAuthorization", "GROUP_AUTHORIZATION_FAILED"),
    ("GroupNotEmpty", "NON_EMPTY_GROUP"),
    ("InvalidPidMapping", "INVALID_PRODUCER_ID_MAPPING"),
    ("InvalidTopic", "INVALID_TOPIC_EXCEPTION"),
    ("InvalidTxnTimeout", "INVALID_TRANSACTION_TIMEOUT"),
    ("KafkaStorage", "KAFKA_STORAGE_ERROR"),
    ("Network", "NETWORK_EXCEPTION"),
    ("OutOfOrderSequence", "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    ("RecordBatchTooLarge", "RECORD_LIST_TOO_LARGE"),
    ("RecordTooLarge", "MESSAGE_TOO_LARGE"),
    ("SaslAuthentication", "SASL_AUTHENTICATION_FAILED"),
    ("Timeout", "REQUEST_TIMED_OUT"),
    ("TopicAuthorization", "TOPIC_AUTHORIZATION_FAILED"),
    ("TransactionalIdAuthorization", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    ("UnknownServer", "UNKNOWN_SERVER_ERROR"),
    // librdkafka's own.
    ("_FENCED", "PRODUCER_FENCED"),
    ("_TIMED_OUT", "REQUEST_TIMED_OUT"),
    ("_TRANSPORT", "NETWORK_EXCEPTION"),
    // The models'.
    ("Aborted", "aborted"),
    ("Disconnected", "NETWORK_EXCEPTION"),
    ("TooLarge", "MESSAGE_TOO_LARGE"),
];

/// The name of what went wrong, given the `reason` of a [`Failed`](super::history::What::Failed),
/// [`Error`](super::history::What::Error) or [`Fatal`](super::history::What::Fatal): Kafka's own for the error of a broker
/// (`NOT_LEADER_OR_FOLLOWER`), and words such as `delivery timeout` for what a client came to by itself. A reason that nobody
/// has foreseen gives its first word.
pub fn error_code(reason: &str) -> String {
    let is = |words: &&[&str]| words.iter().any(|word| reason.contains(word));
    if let Some((name, _)) = OWN.iter().find(|(_, words)| is(words)) {
        return (*name).to_owned();
    }
    let word = deciding_word(reason);
    let word = word.strip_suffix("Exception").filter(|rest| !rest.is_empty()).unwrap_or(word);
    match IRREGULAR.iter().find(|(theirs, _)| *theirs == word) {
        Some((_, name)) => (*name).to_owned(),
        None => screaming(word),
    }
}

/// The word that names the error: the innermost of what wraps others.
fn deciding_word(reason: &str) -> &str {
    let mut rest = reason.strip_prefix("transaction: ").unwrap_or(reason);
    // Java's `KafkaException` says nothing; what caused it does.
    while rest.starts_with("KafkaException") || rest.starts_with("ExecutionException") {
        let Some((_, cause)) = rest.split_once("; caused by ") else { break };
        rest = cause;
    }
    for wrapper in ["Error { error: ", "Fatal(", "Broker("] {
        rest = rest.strip_prefix(wrapper).unwrap_or(rest);
    }
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    rest.split(|letter| !is_letter(letter)).next().unwrap_or(rest)
}

/// `NotLeaderOrFollower` as `NOT_LEADER_OR_FOLLOWER`; what is written so already stays.
fn screaming(word: &str) -> String {
    let mut text = String::new();
    let mut after_small = false;
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && after_small {
            text.push('_');
        }
        after_small = letter.is_ascii_lowercase();
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a model says, what the Java client says, what librdkafka says, by their one name.
    const WORDS: &[(&str, [&str; 3])] = &[
        (
            "NOT_LEADER_OR_FOLLOWER",
            [
                "NotLeaderOrFollower",
                "NotLeaderOrFollowerException: For requests intended only for the leader, this error",
                "NotLeaderOrFollower: Message production error",
            ],
        ),
        (
            "BROKER_NOT_AVAILABLE",
            [
                "BrokerNotAvailable",
                "BrokerNotAvailableException: The broker is not available.",
                "BrokerNotAvailable: Message production error",
            ],
        ),
        (
            "delivery timeout",
            [
                "TimeoutException: delivery.timeout.ms has passed since batch creation",
                "TimeoutException: Expiring 9 record(s) for orders-1:8005 ms has passed since batch creation",
                "_MSG_TIMED_OUT: Message production error",
            ],
        ),
        (
            "buffer full",
            [
                "TimeoutException: no memory for max.block.ms",
                "BufferExhaustedException: Failed to allocate 1000 bytes within the configured max blocking time 1500 ms.",
                "_QUEUE_FULL: Message production error",
            ],
        ),
        (
            "topic not in metadata",
            [
                "TopicNotPresent",
                "TimeoutException: Topic orders not present in metadata after 3000 ms.; caused by UnknownTopicOrPartitionException: This server does not host this topic-partition.",
                "_UNKNOWN_TOPIC: Message production error",
            ],
        ),
        (
            "INVALID_PRODUCER_EPOCH",
            [
                "InvalidProducerEpoch",
                "InvalidProducerEpochException: Producer attempted to produce with an old epoch.",
                "InvalidProducerEpoch: Message production error",
            ],
        ),
        (
            "INVALID_PRODUCER_ID_MAPPING",
            [
                "transaction: InvalidProducerIdMapping",
                "transaction: KafkaException: Cannot execute transactional method because we are in an error state; caused by InvalidPidMappingException: The producer attempted to use a producer id",
                "transaction: InvalidProducerIdMapping: Local",
            ],
        ),
        (
            "OUT_OF_ORDER_SEQUENCE_NUMBER",
            [
                "Fatal(OutOfOrderSequenceNumber)",
                "OutOfOrderSequenceException: The broker received an out of order sequence number.",
                "OutOfOrderSequenceNumber: ProduceRequest for orders [0]",
            ],
        ),
        (
            "REQUEST_TIMED_OUT",
            [
                "transaction: RequestTimedOut",
                "transaction: KafkaException: The client hasn't received acknowledgment for some previously sent messages and can no longer retry them. It is safe to abort the transaction and continue.",
                "_TIMED_OUT: Local",
            ],
        ),
        (
            "NETWORK_EXCEPTION",
            [
                "Disconnected",
                "NetworkException: Disconnected from node 1",
                "_TRANSPORT: Local: Broker transport failure",
            ],
        ),
        (
            "aborted",
            [
                "Aborted",
                "TransactionAbortedException: Failing batch since transaction was aborted",
                "_PURGE_QUEUE: Message production error",
            ],
        ),
        (
            "GROUP_ID_NOT_FOUND",
            [
                "GroupIdNotFound",
                "GroupIdNotFoundException: Group billing not found.",
                "GroupIdNotFound: Consumption error",
            ],
        ),
        (
            "no position",
            [
                "NoPosition { topic: TopicName(\"orders\"), partition: 0, cause: OutOfRange }",
                "OffsetOutOfRangeException: Offsets out of range with no configured reset policy for partitions: {orders-0=5}",
                "_AUTO_OFFSET_RESET: fetch failed",
            ],
        ),
        (
            "FENCED_INSTANCE_ID",
            [
                "Error { error: FencedInstanceId }",
                "FencedInstanceIdException: The broker rejected this static consumer",
                "FencedInstanceId: Consumption error",
            ],
        ),
    ];

    #[test]
    fn the_same_error_has_one_name_in_the_words_of_everybody() {
        for (name, words) in WORDS {
            for reason in words {
                assert_eq!(error_code(reason), *name, "{reason}");
            }
        }
    }

    /// A reset is not an error, and an error of ListOffsets or Fetch that a broker answered is not a missing position.
    #[test]
    fn what_is_not_foreseen_keeps_its_own_name() {
        assert_eq!(error_code("OffsetOutOfRange"), "OFFSET_OUT_OF_RANGE");
        assert_eq!(error_code("SomethingNewException: of Kafka 9"), "SOMETHING_NEW");
        assert_eq!(error_code("_SSL: no"), "_SSL");
        assert_eq!(error_code(""), "");
    }
}
