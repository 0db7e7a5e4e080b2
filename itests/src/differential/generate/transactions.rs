//! Producers with ids: sequences, epochs, transactions of both kinds.

use super::{Draft, Move};

pub(super) const MOVES: &[Move] = &[
    initialise,
    initialise,
    produce,
    produce,
    produce,
    produce,
    add_partitions,
    add_partitions,
    add_offsets,
    commit_offsets,
    end,
    end,
    end,
    read,
    read,
    describe,
    describe,
];

fn producer(draft: &mut Draft) -> Option<(String, Option<String>)> {
    if draft.producers.is_empty() {
        return None;
    }
    let index = draft.random.usize(..draft.producers.len());
    Some(draft.producers[index].clone())
}

fn initialise(draft: &mut Draft) -> String {
    let (version, label) = (draft.version(0, 5), draft.label());
    let known = producer(draft).filter(|_| draft.random.u8(..3) == 0);
    let id = match &known {
        Some((_, id)) => id.clone(),
        None => Some(draft.one(&["$x0", "$x0", "$x0", "$x1", "null"]))
            .filter(|id| *id != "null")
            .map(str::to_owned),
    };
    let (producer, epoch) = match known {
        Some((label, _)) => (format!("@{label}.ProducerId"), format!("@{label}.ProducerEpoch")),
        None => ("-1".to_owned(), "-1".to_owned()),
    };
    let text = id.clone().unwrap_or_else(|| "null".to_owned());
    draft.producers.push((label.clone(), id));
    format!(
        "{label} = InitProducerId v{version} {{TransactionalId: {text}, TransactionTimeoutMs: 60000, ProducerId: {producer}, \
         ProducerEpoch: {epoch}}}"
    )
}

fn produce(draft: &mut Draft) -> String {
    let Some((label, id)) = producer(draft) else { return initialise(draft) };
    let (topic, partition, version) = (draft.topic(), draft.partition(), draft.version(3, 13));
    let count = draft.random.u8(1..4);
    let key = (label.clone(), topic.to_owned(), partition);
    let next = draft.sequences.get(&key).copied().unwrap_or(0);
    let sequence = match draft.random.u8(..10) {
        0 => next + 3,
        1 => (next - 1).max(0),
        2 => 0,
        _ => next,
    };
    draft.sequences.insert(key, sequence + i64::from(count));
    let epoch = draft.one(&["", "", "", "", "", "", "+1", "-1"]);
    let transactional = id.is_some() && draft.random.u8(..12) != 0;
    let attributes = if transactional { 16 } else { 0 };
    let id = id.unwrap_or_else(|| "null".to_owned());
    let acks = draft.one(&["-1", "-1", "-1", "-1", "1"]);
    format!(
        "Produce v{version} {{TransactionalId: {id}, Acks: {acks}, TimeoutMs: 1000, TopicData: [{{Name: {topic}, \
         TopicId: {topic}.id, PartitionData: [{{Index: {partition}, Records: records[{{Attributes: {attributes}, Count: {count}, \
         BaseTimestamp: now, ProducerId: @{label}.ProducerId, ProducerEpoch: @{label}.ProducerEpoch{epoch}, \
         BaseSequence: {sequence}}}]}}]}}]}}"
    )
}

/// The fields that say who asks.
fn identity(draft: &mut Draft) -> Option<(String, String)> {
    let (label, id) = producer(draft)?;
    let id = id?;
    let epoch = draft.one(&["", "", "", "", "", "+1", "-1"]);
    Some((
        label.clone(),
        format!(
            "TransactionalId: {id}, ProducerId: @{label}.ProducerId, ProducerEpoch: @{label}.ProducerEpoch{epoch}"
        ),
    ))
}

fn add_partitions(draft: &mut Draft) -> String {
    let Some((label, Some(id))) = producer(draft) else { return initialise(draft) };
    let (topic, partition, version) = (draft.topic(), draft.partition(), draft.version(0, 3));
    let epoch = draft.one(&["", "", "", "", "", "+1", "-1"]);
    format!(
        "AddPartitionsToTxn v{version} {{V3AndBelowTransactionalId: {id}, V3AndBelowProducerId: @{label}.ProducerId, \
         V3AndBelowProducerEpoch: @{label}.ProducerEpoch{epoch}, V3AndBelowTopics: [{{Name: {topic}, Partitions: [{partition}]}}]}}"
    )
}

fn add_offsets(draft: &mut Draft) -> String {
    let Some((_, who)) = identity(draft) else { return initialise(draft) };
    let (group, version) = (draft.group(), draft.version(0, 4));
    format!("AddOffsetsToTxn v{version} {{{who}, GroupId: {group}}}")
}

fn commit_offsets(draft: &mut Draft) -> String {
    let Some((_, who)) = identity(draft) else { return initialise(draft) };
    let (group, topic, version) = (draft.group(), draft.topic(), draft.version(0, 5));
    let offset = draft.random.u8(..9);
    format!(
        "TxnOffsetCommit v{version} {{{who}, GroupId: {group}, GenerationId: -1, MemberId: '', Topics: [{{Name: {topic}, \
         Partitions: [{{PartitionIndex: 0, CommittedOffset: {offset}, CommittedMetadata: 'm'}}]}}]}}"
    )
}

fn end(draft: &mut Draft) -> String {
    let Some((producer, who)) = identity(draft) else { return initialise(draft) };
    let (version, committed) = (draft.version(0, 5), draft.random.bool());
    if version < 5 {
        return format!("EndTxn v{version} {{{who}, Committed: {committed}}}");
    }
    // The answer has the epoch for what comes next.
    let label = draft.label();
    let id =
        draft.producers.iter().find(|(own, _)| *own == producer).and_then(|(_, id)| id.clone());
    draft.producers.push((label.clone(), id));
    format!("{label} = EndTxn v5 {{{who}, Committed: {committed}}}")
}

fn read(draft: &mut Draft) -> String {
    let (topic, isolation) = (draft.topic(), draft.one(&["0", "1", "1"]));
    match draft.random.u8(..4) {
        0 => format!(
            "ListOffsets v{} {{ReplicaId: -1, IsolationLevel: {isolation}, Topics: [{{Name: {topic}, Partitions: [\
             {{PartitionIndex: 0, CurrentLeaderEpoch: -1, Timestamp: -1}}]}}]}}",
            draft.version(2, 10)
        ),
        1 => format!(
            "OffsetFetch v7 {{GroupId: $g0, Topics: [{{Name: {topic}, PartitionIndexes: [0]}}], RequireStable: {}}}",
            draft.random.bool()
        ),
        _ => format!(
            "Fetch v{} {{ReplicaId: -1, MaxWaitMs: 0, MinBytes: 0, MaxBytes: 1000000, IsolationLevel: {isolation}, SessionEpoch: -1, \
             Topics: [{{Topic: {topic}, TopicId: {topic}.id, Partitions: [{{Partition: 0, CurrentLeaderEpoch: -1, FetchOffset: 0, \
             LastFetchedEpoch: -1, PartitionMaxBytes: 100000}}]}}]}}",
            draft.version(4, 18)
        ),
    }
}

fn describe(draft: &mut Draft) -> String {
    match draft.random.u8(..4) {
        0 => format!(
            "DescribeProducers v0 {{Topics: [{{Name: {}, PartitionIndexes: [0, 1]}}]}}",
            draft.topic()
        ),
        1 => format!(
            "ListTransactions v{} {{StateFilters: [], ProducerIdFilters: []}}",
            draft.version(0, 2)
        ),
        _ => "DescribeTransactions v0 {TransactionalIds: [$x0, $x1]}".to_owned(),
    }
}
