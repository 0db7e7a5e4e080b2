//! Records, what reads them, and the topics themselves.

use super::{Draft, Move};

pub(super) const MOVES: &[Move] = &[
    produce,
    produce,
    produce,
    fetch,
    fetch,
    fetch,
    session,
    session,
    list_offsets,
    epochs,
    metadata,
    delete_records,
    create_topics,
    create_partitions,
    delete_topics,
    alter,
    describe,
];

/// A batch without a producer.
fn batch(draft: &mut Draft) -> String {
    let count = draft.random.u8(1..4);
    let age = draft.one(&["", "", "-1000", "-60000", "-9999999", "+1000", "+9999999"]);
    let oddity = draft.one(&[
        "",
        "",
        "",
        "",
        "",
        ", CrcError: 1",
        ", BaseOffset: 3",
        ", Attributes: 8",
        ", Attributes: 32",
        ", SaidCount: 1",
        ", LastOffsetDelta: 1",
        ", Magic: 1",
        ", PartitionLeaderEpoch: 3",
        ", BaseSequence: 4",
        ", LengthError: 1",
        ", MaxTimestamp: 3",
        ", Attributes: 16",
    ]);
    format!("{{Count: {count}, BaseTimestamp: now{age}{oddity}}}")
}

fn produce(draft: &mut Draft) -> String {
    let (topic, partition, version) = (draft.topic(), draft.partition(), draft.version(3, 13));
    let acks = draft.one(&["-1", "-1", "-1", "1", "0", "2"]);
    let first = batch(draft);
    let more =
        if draft.random.u8(..12) == 0 { format!(", {}", batch(draft)) } else { String::new() };
    format!(
        "Produce v{version} {{Acks: {acks}, TimeoutMs: 1000, TopicData: [{{Name: {topic}, TopicId: {topic}.id, \
         PartitionData: [{{Index: {partition}, Records: records[{first}{more}]}}]}}]}}"
    )
}

fn asked(draft: &mut Draft) -> String {
    let (topic, partition) = (draft.topic(), draft.partition());
    let epoch = draft.one(&["-1", "-1", "-1", "0", "0", "1"]);
    let last = draft.one(&["-1", "-1", "-1", "0", "1"]);
    let offset = draft.one(&["0", "0", "0", "1", "2", "3", "4", "7", "99", "-1"]);
    let bytes = draft.one(&["100000", "100000", "1", "150", "0"]);
    format!(
        "{{Topic: {topic}, TopicId: {topic}.id, Partitions: [{{Partition: {partition}, CurrentLeaderEpoch: {epoch}, \
         FetchOffset: {offset}, LastFetchedEpoch: {last}, LogStartOffset: -1, PartitionMaxBytes: {bytes}}}]}}"
    )
}

fn fetch(draft: &mut Draft) -> String {
    let version = draft.version(4, 18);
    let first = asked(draft);
    let more = if draft.random.bool() { format!(", {}", asked(draft)) } else { String::new() };
    let isolation = draft.one(&["0", "0", "1"]);
    let bytes = draft.one(&["1000000", "1000000", "1", "100"]);
    let wait = draft.one(&["0", "0", "100"]);
    format!(
        "Fetch v{version} {{ReplicaId: -1, MaxWaitMs: {wait}, MinBytes: 1, MaxBytes: {bytes}, IsolationLevel: {isolation}, \
         SessionEpoch: -1, Topics: [{first}{more}]}}"
    )
}

fn session(draft: &mut Draft) -> String {
    let version = draft.version(7, 18);
    let what = "ReplicaId: -1, MaxWaitMs: 0, MinBytes: 0, MaxBytes: 1000000";
    if draft.sessions.is_empty() || draft.random.u8(..6) == 0 {
        let (label, first, second) = (draft.label(), asked(draft), asked(draft));
        draft.sessions.push((label.clone(), 1));
        return format!(
            "{label} = Fetch v{version} {{{what}, SessionEpoch: 0, Topics: [{first}, {second}]}}"
        );
    }
    let index = draft.random.usize(..draft.sessions.len());
    let (label, epoch) = draft.sessions[index].clone();
    let epoch = if draft.random.u8(..10) == 0 { epoch + 1 } else { epoch };
    draft.sessions[index].1 = epoch + 1;
    let topics = if draft.random.bool() { asked(draft) } else { String::new() };
    let forgotten = match draft.random.u8(..4) {
        0 => format!(
            "{{Topic: {0}, TopicId: {0}.id, Partitions: [{1}]}}",
            draft.topic(),
            draft.partition()
        ),
        _ => String::new(),
    };
    format!(
        "Fetch v{version} {{{what}, SessionId: @{label}.SessionId, SessionEpoch: {epoch}, Topics: [{topics}], \
         ForgottenTopicsData: [{forgotten}]}}"
    )
}

fn list_offsets(draft: &mut Draft) -> String {
    let (topic, partition, version) = (draft.topic(), draft.partition(), draft.version(1, 10));
    let epoch = draft.one(&["-1", "-1", "0", "1"]);
    let isolation = draft.one(&["0", "0", "1"]);
    let time = draft.one(&[
        "-1",
        "-2",
        "-3",
        "-4",
        "-5",
        "-6",
        "0",
        "now",
        "now-1000",
        "now-30000",
        "now+5000000",
    ]);
    format!(
        "ListOffsets v{version} {{ReplicaId: -1, IsolationLevel: {isolation}, Topics: [{{Name: {topic}, Partitions: [\
         {{PartitionIndex: {partition}, CurrentLeaderEpoch: {epoch}, Timestamp: {time}}}]}}]}}"
    )
}

fn epochs(draft: &mut Draft) -> String {
    let (topic, partition, version) = (draft.topic(), draft.partition(), draft.version(2, 4));
    let (current, epoch) = (draft.one(&["-1", "-1", "0", "2"]), draft.one(&["0", "0", "1", "-1"]));
    format!(
        "OffsetForLeaderEpoch v{version} {{ReplicaId: -1, Topics: [{{Topic: {topic}, Partitions: [\
         {{Partition: {partition}, CurrentLeaderEpoch: {current}, LeaderEpoch: {epoch}}}]}}]}}"
    )
}

fn metadata(draft: &mut Draft) -> String {
    let (one, other, version) = (draft.topic(), draft.topic(), draft.version(0, 13));
    format!(
        "Metadata v{version} {{Topics: [{{Name: {one}}}, {{Name: {other}}}], AllowAutoTopicCreation: true}}"
    )
}

fn delete_records(draft: &mut Draft) -> String {
    let (topic, partition, version) = (draft.topic(), draft.partition(), draft.version(0, 2));
    let offset = draft.one(&["0", "1", "2", "3", "-1", "-1", "50"]);
    format!(
        "DeleteRecords v{version} {{Topics: [{{Name: {topic}, Partitions: [{{PartitionIndex: {partition}, Offset: {offset}}}]}}], \
         TimeoutMs: 5000}}"
    )
}

fn create_topics(draft: &mut Draft) -> String {
    let (topic, version) = (draft.one(&["$t2", "$t2", "$t0"]), draft.version(2, 7));
    let partitions = draft.one(&["1", "2", "3", "-1", "0"]);
    let config = draft.one(&[
        "",
        "",
        "{Name: 'cleanup.policy', Value: 'compact'}",
        "{Name: 'max.message.bytes', Value: '150'}",
        "{Name: 'message.timestamp.type', Value: 'LogAppendTime'}",
        "{Name: 'retention.ms', Value: '-1'}",
        "{Name: 'min.insync.replicas', Value: '2'}",
        "{Name: 'nonsense', Value: ''}",
    ]);
    format!(
        "CreateTopics v{version} {{Topics: [{{Name: {topic}, NumPartitions: {partitions}, ReplicationFactor: 1, \
         Configs: [{config}]}}], timeoutMs: 5000}}"
    )
}

fn create_partitions(draft: &mut Draft) -> String {
    let (topic, version, count) = (draft.topic(), draft.version(0, 3), draft.random.u8(1..5));
    let only = draft.one(&["true", "false", "false"]);
    format!(
        "CreatePartitions v{version} {{Topics: [{{Name: {topic}, Count: {count}, Assignments: null}}], TimeoutMs: 5000, \
         ValidateOnly: {only}}}"
    )
}

fn delete_topics(draft: &mut Draft) -> String {
    let (topic, version) = (draft.one(&["$t1", "$t1", "$t2", "$t9"]), draft.version(1, 6));
    let by = draft.one(&["Name: null, TopicId: ", "TopicId: uuid:00, Name: "]);
    let by = if by.starts_with('N') { format!("{by}{topic}.id") } else { format!("{by}{topic}") };
    format!(
        "DeleteTopics v{version} {{Topics: [{{{by}}}], TopicNames: [{topic}], TimeoutMs: 5000}}"
    )
}

const SETTINGS: &[&str] = &[
    "'retention.ms', 'Value': '100000'",
    "'retention.ms', 'Value': 'x'",
    "'cleanup.policy', 'Value': 'compact'",
    "'max.message.bytes', 'Value': '120'",
    "'max.message.bytes', 'Value': '-3'",
    "'message.timestamp.type', 'Value': 'LogAppendTime'",
    "'message.timestamp.after.max.ms', 'Value': '1000'",
    "'nonsense', 'Value': '1'",
    "'segment.bytes', 'Value': null",
];

fn alter(draft: &mut Draft) -> String {
    let topic = draft.topic();
    let setting = draft.one(SETTINGS).replace("'Value'", "Value");
    let only = draft.one(&["true", "false", "false"]);
    if draft.random.u8(..3) == 0 {
        let version = draft.version(0, 2);
        return format!(
            "AlterConfigs v{version} {{Resources: [{{ResourceType: 2, ResourceName: {topic}, Configs: [{{Name: {setting}}}]}}], \
             ValidateOnly: {only}}}"
        );
    }
    let (version, operation) = (draft.version(0, 1), draft.one(&["0", "0", "0", "1", "2", "3"]));
    format!(
        "IncrementalAlterConfigs v{version} {{Resources: [{{ResourceType: 2, ResourceName: {topic}, \
         Configs: [{{Name: {setting}, ConfigOperation: {operation}}}]}}], ValidateOnly: {only}}}"
    )
}

fn describe(draft: &mut Draft) -> String {
    let (topic, version) = (draft.topic(), draft.version(1, 4));
    let keys = draft.one(&["null", "['retention.ms', 'cleanup.policy']", "[]"]);
    match draft.random.u8(..4) {
        0 => format!(
            "DescribeTopicPartitions v0 {{Topics: [{{Name: {topic}}}], ResponsePartitionLimit: 2}}"
        ),
        1 => format!(
            "DescribeProducers v0 {{Topics: [{{Name: {topic}, PartitionIndexes: [0, 1]}}]}}"
        ),
        _ => format!(
            "DescribeConfigs v{version} {{Resources: [{{ResourceType: 2, ResourceName: {topic}, ConfigurationKeys: {keys}}}], \
             IncludeSynonyms: true}}"
        ),
    }
}
