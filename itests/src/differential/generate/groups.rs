//! Members of both protocols, their offsets, and what asks about them.

use super::{Draft, Move};

pub(super) const MOVES: &[Move] = &[
    join,
    join,
    join,
    sync,
    sync,
    heartbeat,
    heartbeat,
    leave,
    commit,
    commit,
    fetch,
    delete_offsets,
    describe,
    describe,
    consumer,
    consumer,
    consumer,
];

/// A member that may be there, its group and generation, as fields of a request.
fn member(draft: &mut Draft) -> Option<(String, String)> {
    if draft.members.is_empty() {
        return None;
    }
    let index = draft.random.usize(..draft.members.len());
    Some(draft.members[index].clone())
}

fn join(draft: &mut Draft) -> String {
    let known = member(draft).filter(|_| draft.random.bool());
    let version = draft.version(0, 9);
    let group = known.as_ref().map_or_else(|| draft.group().to_owned(), |(_, group)| group.clone());
    let id =
        known.as_ref().map_or_else(|| "''".to_owned(), |(label, _)| format!("@{label}.MemberId"));
    let instance = draft.one(&["null", "null", "null", "'one'", "'two'"]);
    let protocols = draft.one(&[
        "{Name: 'range', Metadata: 0x00010000}",
        "{Name: 'range', Metadata: 0x00010000}",
        "{Name: 'sticky', Metadata: 0x0001}, {Name: 'range', Metadata: 0x02}",
        "{Name: 'sticky', Metadata: 0x}",
    ]);
    let kind = draft.one(&["consumer", "consumer", "consumer", "connect"]);
    let label = draft.label();
    // Each member has a connection of its own, for a join may wait for the others.
    let client = known.as_ref().map_or(label.as_str(), |(label, _)| label.as_str()).to_owned();
    draft.members.push((label.clone(), group.clone()));
    format!(
        "{label} = {client}: JoinGroup v{version} {{GroupId: {group}, SessionTimeoutMs: 10000, RebalanceTimeoutMs: 1500, \
         MemberId: {id}, GroupInstanceId: {instance}, ProtocolType: '{kind}', Protocols: [{protocols}]}} &"
    )
}

fn sync(draft: &mut Draft) -> String {
    let Some((label, group)) = member(draft) else { return join(draft) };
    let version = draft.version(0, 5);
    let generation = draft.one(&["", "", "", "", "+1", "-1"]);
    let assignments =
        draft.one(&["", "{MemberId: @M.MemberId, Assignment: 0x0102}"]).replace('M', &label);
    let assignments = assignments.replace(&format!("{label}emberId"), "MemberId");
    let (kind, name) = (
        draft.one(&["'consumer'", "'consumer'", "null"]),
        draft.one(&["'range'", "null", "'sticky'"]),
    );
    format!(
        "{label}: SyncGroup v{version} {{GroupId: {group}, GenerationId: @{label}.GenerationId{generation}, \
         MemberId: @{label}.MemberId, ProtocolType: {kind}, ProtocolName: {name}, Assignments: [{assignments}]}} &"
    )
}

fn heartbeat(draft: &mut Draft) -> String {
    let Some((label, group)) = member(draft) else { return describe(draft) };
    let version = draft.version(0, 4);
    let generation = draft.one(&["", "", "", "+1", "-1"]);
    let instance = draft.one(&["null", "null", "'one'"]);
    format!(
        "Heartbeat v{version} {{GroupId: {group}, GenerationId: @{label}.GenerationId{generation}, \
         MemberId: @{label}.MemberId, GroupInstanceId: {instance}}}"
    )
}

fn leave(draft: &mut Draft) -> String {
    let Some((label, group)) = member(draft) else { return describe(draft) };
    let version = draft.version(0, 5);
    let instance = draft.one(&["null", "null", "'one'"]);
    format!(
        "LeaveGroup v{version} {{GroupId: {group}, MemberId: @{label}.MemberId, \
         Members: [{{MemberId: @{label}.MemberId, GroupInstanceId: {instance}}}]}}"
    )
}

fn commit(draft: &mut Draft) -> String {
    let version = draft.version(2, 9);
    let (topic, partition, offset) = (draft.topic(), draft.partition(), draft.random.u8(..5));
    let own = draft.random.bool();
    let (group, member, generation) = match member(draft) {
        Some((label, group)) if own => {
            (group, format!("@{label}.MemberId"), format!("@{label}.GenerationId"))
        }
        _ => match draft.consumers.last().cloned() {
            Some((label, group)) if own => {
                (group, format!("@{label}.MemberId"), format!("@{label}.MemberEpoch"))
            }
            _ => (draft.group().to_owned(), "''".to_owned(), "-1".to_owned()),
        },
    };
    format!(
        "OffsetCommit v{version} {{GroupId: {group}, GenerationIdOrMemberEpoch: {generation}, MemberId: {member}, Topics: [\
         {{Name: {topic}, Partitions: [{{PartitionIndex: {partition}, CommittedOffset: {offset}, CommittedLeaderEpoch: 0, \
         CommittedMetadata: 'm'}}]}}]}}"
    )
}

fn fetch(draft: &mut Draft) -> String {
    let (group, topic, version) = (draft.group(), draft.topic(), draft.version(2, 9));
    let topics = match draft.random.u8(..3) {
        0 => "null".to_owned(),
        _ => format!("[{{Name: {topic}, PartitionIndexes: [0, 1]}}]"),
    };
    let stable = draft.one(&["true", "false"]);
    format!(
        "OffsetFetch v{version} {{GroupId: {group}, Topics: {topics}, Groups: [{{GroupId: {group}, MemberId: null, \
         MemberEpoch: -1, Topics: {topics}}}], RequireStable: {stable}}}"
    )
}

fn delete_offsets(draft: &mut Draft) -> String {
    let (group, topic) = (draft.group(), draft.topic());
    if draft.random.bool() {
        let version = draft.version(0, 2);
        return format!("DeleteGroups v{version} {{GroupsNames: [{group}]}}");
    }
    format!(
        "OffsetDelete v0 {{GroupId: {group}, Topics: [{{Name: {topic}, Partitions: [{{PartitionIndex: 0}}]}}]}}"
    )
}

fn describe(draft: &mut Draft) -> String {
    let group = draft.group();
    match draft.random.u8(..4) {
        0 => format!("ListGroups v{} {{StatesFilter: [], TypesFilter: []}}", draft.version(0, 5)),
        1 => format!("ConsumerGroupDescribe v{} {{GroupIds: [{group}]}}", draft.version(0, 1)),
        _ => format!("DescribeGroups v{} {{Groups: [{group}]}}", draft.version(0, 6)),
    }
}

fn consumer(draft: &mut Draft) -> String {
    let version = draft.version(0, 1);
    if draft.consumers.is_empty() || draft.random.u8(..4) == 0 {
        let (group, label) = (draft.one(&["$g2", "$g2", "$g2", "$g3"]), draft.label());
        let (topics, instance) =
            (draft.one(&["[$t0]", "[$t0, $t1]", "[$t9]"]), draft.one(&["null", "null", "'one'"]));
        let assignor = draft.one(&["null", "null", "'uniform'", "'range'", "'mine'"]);
        draft.consumers.push((label.clone(), group.to_owned()));
        return format!(
            "{label} = ConsumerGroupHeartbeat v{version} {{GroupId: {group}, MemberId: 'm{label}', MemberEpoch: 0, \
             InstanceId: {instance}, RebalanceTimeoutMs: 5000, SubscribedTopicNames: {topics}, ServerAssignor: {assignor}, \
             TopicPartitions: []}}"
        );
    }
    let index = draft.random.usize(..draft.consumers.len());
    let (label, group) = draft.consumers[index].clone();
    let epoch = draft.one(&["E", "E", "E", "E", "E+1", "-1", "-2", "0"]);
    let epoch = epoch.replace('E', &format!("@{label}.MemberEpoch"));
    let owned = draft.one(&[
        "null",
        "null",
        "[]",
        "[{TopicId: $t0.id, Partitions: [0]}]",
        "[{TopicId: $t0.id, Partitions: [0, 1]}]",
    ]);
    let next = draft.label();
    // What the member is told from now on; its id stays.
    if draft.random.bool() {
        draft.consumers[index].0.clone_from(&next);
    }
    format!(
        "{next} = ConsumerGroupHeartbeat v{version} {{GroupId: {group}, MemberId: @{label}.MemberId, MemberEpoch: {epoch}, \
         RebalanceTimeoutMs: -1, SubscribedTopicNames: null, TopicPartitions: {owned}}}"
    )
}
