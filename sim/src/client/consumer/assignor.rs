//! How the leader of a classic group gives partitions to members.
//!
//! All are functions of their input alone, in the order of member ids, so that every leader comes to the same.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
        consumer_protocol_assignment, consumer_protocol_subscription,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use super::super::TopicPartition;

/// Version of the embedded protocol that is written; later ones only add the rack.
const VERSION: i16 = 2;

/// What one member subscribes to and holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topics: Vec<TopicName>,
    pub(super) owned: Vec<TopicPartition>,
    pub(super) generation: i32,
}

/// What each member gets.
pub(super) type Assignment = BTreeMap<StrBytes, Vec<TopicPartition>>;

pub(super) fn encode_subscription(subscription: &Subscription) -> Bytes {
    let topics = subscription.topics.iter().map(|topic| topic.0.clone()).collect();
    let owned = by_topic(&subscription.owned).into_iter().map(|(topic, partitions)| {
        consumer_protocol_subscription::TopicPartition::default()
            .with_topic(topic)
            .with_partitions(partitions)
    });
    let message = ConsumerProtocolSubscription::default()
        .with_topics(topics)
        .with_owned_partitions(owned.collect())
        .with_generation_id(subscription.generation);
    encode(&message)
}

pub(super) fn decode_subscription(bytes: &Bytes) -> Option<Subscription> {
    let message: ConsumerProtocolSubscription = decode(bytes, 3)?;
    let owned = message.owned_partitions.into_iter().flat_map(|topic| {
        let name = topic.topic;
        topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
    });
    Some(Subscription {
        topics: message.topics.into_iter().map(TopicName).collect(),
        owned: owned.collect(),
        generation: message.generation_id,
    })
}

pub(super) fn encode_assignment(partitions: &[TopicPartition]) -> Bytes {
    let assigned = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        consumer_protocol_assignment::TopicPartition::default()
            .with_topic(topic)
            .with_partitions(partitions)
    });
    encode(&ConsumerProtocolAssignment::default().with_assigned_partitions(assigned.collect()))
}

/// An empty assignment is no bytes at all.
pub(super) fn decode_assignment(bytes: &Bytes) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let message: ConsumerProtocolAssignment = decode(bytes, 3)?;
    let assigned = message.assigned_partitions.into_iter().flat_map(|topic| {
        let name = topic.topic;
        topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
    });
    Some(assigned.collect())
}

fn encode<M: Encodable>(message: &M) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    message.encode(&mut bytes, VERSION).expect("every field is in this version");
    bytes.freeze()
}

fn decode<M: Decodable>(bytes: &Bytes, newest: i16) -> Option<M> {
    let mut bytes = bytes.clone();
    if bytes.len() < 2 {
        return None;
    }
    let version = bytes.get_i16();
    M::decode(&mut bytes, version.clamp(0, newest)).ok()
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<TopicName, Vec<i32>> {
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic.clone()).or_default().push(*partition);
    }
    topics
}

/// Members by id, partition counts by topic.
pub(super) fn assign(
    name: &str,
    members: &BTreeMap<StrBytes, Subscription>,
    counts: &BTreeMap<TopicName, i32>,
) -> Assignment {
    match name {
        "roundrobin" => round_robin(members, counts),
        "cooperative-sticky" => cooperative_sticky(members, counts),
        _ => range(members, counts),
    }
}

/// Topic by topic, neighbouring partitions to one member.
fn range(
    members: &BTreeMap<StrBytes, Subscription>,
    counts: &BTreeMap<TopicName, i32>,
) -> Assignment {
    let mut assignment = nobody(members);
    for (topic, count) in counts {
        let takers: Vec<_> =
            members.iter().filter(|(_, it)| it.topics.contains(topic)).map(|(id, _)| id).collect();
        let Some(size) = i32::try_from(takers.len()).ok().filter(|size| *size > 0) else {
            continue;
        };
        let (each, extra) = (count / size, count % size);
        let mut next = 0;
        for (place, id) in (0..).zip(takers) {
            let end = next + each + i32::from(place < extra);
            let given = assignment.get_mut(id).expect("every member is there");
            given.extend((next..end).map(|partition| (topic.clone(), partition)));
            next = end;
        }
    }
    assignment
}

/// Partition by partition, member by member.
fn round_robin(
    members: &BTreeMap<StrBytes, Subscription>,
    counts: &BTreeMap<TopicName, i32>,
) -> Assignment {
    let mut assignment = nobody(members);
    let ids: Vec<_> = members.keys().cloned().collect();
    let mut turn = 0;
    for (topic, partition) in all(counts) {
        let takes = |id: &StrBytes| members[id].topics.contains(&topic);
        let Some(skip) = (0..ids.len()).find(|skip| takes(&ids[(turn + skip) % ids.len()])) else {
            continue;
        };
        let id = &ids[(turn + skip) % ids.len()];
        turn = (turn + skip + 1) % ids.len();
        assignment.get_mut(id).expect("every member is there").push((topic, partition));
    }
    assignment
}

/// Everybody keeps what is not too much; what moves is taken from its owner first and given in the next round.
fn cooperative_sticky(
    members: &BTreeMap<StrBytes, Subscription>,
    counts: &BTreeMap<TopicName, i32>,
) -> Assignment {
    let mut assignment = nobody(members);
    let mut free: BTreeSet<TopicPartition> = all(counts).collect();
    let newest = members.values().map(|it| it.generation).max().unwrap_or(-1);
    let mut owners: BTreeMap<TopicPartition, StrBytes> = BTreeMap::new();
    let most = free.len().div_ceil(members.len().max(1));
    let least = free.len() / members.len().max(1);
    let mut above_least = free.len() - least * members.len().max(1).min(free.len().max(1));
    if members.is_empty() {
        return assignment;
    }
    for (id, subscription) in members {
        if subscription.generation < newest {
            continue; // What it holds is of an older generation, and somebody else's by now.
        }
        for place in &subscription.owned {
            owners.entry(place.clone()).or_insert_with(|| id.clone());
        }
    }
    for (id, subscription) in members {
        let kept = assignment.get_mut(id).expect("every member is there");
        for place in &subscription.owned {
            let fits = kept.len() < least || (kept.len() < most && above_least > 0);
            if fits
                && owners.get(place) == Some(id)
                && subscription.topics.contains(&place.0)
                && free.remove(place)
            {
                if kept.len() >= least {
                    above_least -= 1;
                }
                kept.push(place.clone());
            }
        }
    }
    for place in free {
        let takers = members.iter().filter(|(_, it)| it.topics.contains(&place.0));
        let Some(id) = takers.map(|(id, _)| id).min_by_key(|id| assignment[*id].len()) else {
            continue;
        };
        let id = id.clone();
        assignment.get_mut(&id).expect("every member is there").push(place);
    }
    for (id, given) in &mut assignment {
        given.retain(|place| owners.get(place).is_none_or(|owner| owner == id));
    }
    assignment
}

fn nobody(members: &BTreeMap<StrBytes, Subscription>) -> Assignment {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}

fn all(counts: &BTreeMap<TopicName, i32>) -> impl Iterator<Item = TopicPartition> {
    counts
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(move |partition| (topic.clone(), partition)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: &[&'static str], owned: &[&[i32]]) -> BTreeMap<StrBytes, Subscription> {
        let orders = topic();
        ids.iter()
            .enumerate()
            .map(|(at, id)| {
                let owned = owned.get(at).copied().unwrap_or_default();
                let subscription = Subscription {
                    topics: vec![orders.clone()],
                    owned: owned.iter().map(|partition| (orders.clone(), *partition)).collect(),
                    generation: 1,
                };
                (StrBytes::from_static_str(id), subscription)
            })
            .collect()
    }

    fn topic() -> TopicName {
        TopicName(StrBytes::from_static_str("orders"))
    }

    fn given(name: &str, members: &BTreeMap<StrBytes, Subscription>, count: i32) -> Vec<Vec<i32>> {
        let counts = BTreeMap::from([(topic(), count)]);
        let assignment = assign(name, members, &counts);
        assignment
            .into_values()
            .map(|it| it.into_iter().map(|(_, index)| index).collect())
            .collect()
    }

    #[test]
    fn range_gives_neighbours_and_round_robin_takes_turns() {
        let members = members(&["a", "b"], &[]);
        assert_eq!(given("range", &members, 5), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(given("roundrobin", &members, 5), [vec![0, 2, 4], vec![1, 3]]);
    }

    #[test]
    fn cooperative_sticky_moves_a_partition_in_two_rounds() {
        let first = members(&["a", "b"], &[&[0, 1, 2, 3], &[]]);
        assert_eq!(given("cooperative-sticky", &first, 4), [vec![0, 1], vec![]]);
        let second = members(&["a", "b"], &[&[0, 1], &[]]);
        assert_eq!(given("cooperative-sticky", &second, 4), [vec![0, 1], vec![2, 3]]);
    }

    #[test]
    fn subscriptions_and_assignments_are_read_as_they_were_written() {
        let subscription = members(&["a"], &[&[0, 3]]).remove("a".as_bytes()).expect("a");
        let bytes = encode_subscription(&subscription);
        assert_eq!(decode_subscription(&bytes), Some(subscription.clone()));
        let bytes = encode_assignment(&subscription.owned);
        assert_eq!(decode_assignment(&bytes), Some(subscription.owned));
        assert_eq!(decode_assignment(&Bytes::new()), Some(Vec::new()));
        assert_eq!(decode_assignment(&Bytes::from_static(&[0])), None);
    }
}
