use proptest::prelude::*;

use super::*;

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn member(name: &str, topics: &[u128]) -> Subscriber {
    Subscriber {
        id: StrBytes::from_string(name.to_owned()),
        instance: None,
        topics: topics.iter().copied().map(topic).collect(),
        before: Assignment::new(),
    }
}

fn of(assigned: &BTreeMap<StrBytes, Assignment>, name: &str, number: u128) -> Vec<i32> {
    let assignment = &assigned[&StrBytes::from_string(name.to_owned())];
    assignment.get(&topic(number)).into_iter().flatten().copied().collect()
}

#[test]
fn range_gives_neighbours_and_the_same_ones_of_each_topic() {
    let members = [member("b", &[1, 2]), member("a", &[1, 2])];
    let assigned = Assignor::Range.assign(&members, &[(topic(1), 5), (topic(2), 5)].into());
    for number in [1, 2] {
        assert_eq!(of(&assigned, "a", number), [0, 1, 2]);
        assert_eq!(of(&assigned, "b", number), [3, 4]);
    }
}

/// A static member's process has another id each time, and should find the same partitions.
#[test]
fn range_puts_static_members_first_by_instance() {
    let mut members = [member("a", &[1]), member("z", &[1])];
    members[1].instance = Some(StrBytes::from_static_str("i"));
    let assigned = Assignor::Range.assign(&members, &[(topic(1), 2)].into());
    assert_eq!(of(&assigned, "z", 1), [0]);
}

/// What moves stands still meanwhile.
#[test]
fn uniform_moves_no_more_than_a_newcomer_needs() {
    let mut old = member("a", &[1]);
    old.before = [(topic(1), (0..4).collect())].into();
    let assigned = Assignor::Uniform.assign(&[old, member("b", &[1])], &[(topic(1), 4)].into());
    assert_eq!(of(&assigned, "a", 1), [0, 1]);
    assert_eq!(of(&assigned, "b", 1), [2, 3]);
}

#[test]
fn uniform_evens_out_what_one_member_alone_may_read() {
    let members = [member("a", &[1, 2]), member("b", &[1])];
    let assigned = Assignor::Uniform.assign(&members, &[(topic(1), 4), (topic(2), 4)].into());
    assert_eq!(of(&assigned, "a", 2), [0, 1, 2, 3]);
    assert_eq!(of(&assigned, "b", 1), [0, 1, 2, 3]);
}

prop_compose! {
    fn subscriptions()(topics in prop::collection::vec(prop::collection::btree_set(1..5_u128, 0..4), 1..6))
        -> Vec<Subscriber> {
        topics
            .into_iter()
            .enumerate()
            .map(|(at, topics)| {
                member(&format!("m{at}"), &topics.into_iter().collect::<Vec<_>>())
            })
            .collect()
    }
}

proptest! {
    /// A partition with two readers is read twice, one with none is not read at all.
    #[test]
    fn every_partition_that_is_subscribed_to_has_one_reader(
        mut members in subscriptions(),
        counts in prop::collection::vec(0..7_i32, 4),
        rounds in 1..3_usize,
    ) {
        let partitions: BTreeMap<Uuid, i32> =
            (1..).map(topic).zip(counts).filter(|(_, count)| *count > 0).collect();
        for assignor in [Assignor::Uniform, Assignor::Range] {
            for _ in 0..rounds {
                let assigned = assignor.assign(&members, &partitions);
                for (topic, count) in &partitions {
                    let wanted = members.iter().any(|member| member.topics.contains(topic));
                    for partition in 0..*count {
                        let readers = members.iter().filter(|member| {
                            let held = assigned[&member.id].get(topic);
                            held.is_some_and(|held| held.contains(&partition))
                        });
                        let readers: Vec<_> = readers.collect();
                        prop_assert_eq!(readers.len(), usize::from(wanted));
                        prop_assert!(readers.iter().all(|member| member.topics.contains(topic)));
                    }
                }
                for member in &mut members {
                    member.before = assigned[&member.id].clone();
                }
            }
            members.rotate_left(1);
        }
    }

    /// A rebalance that changes nothing must not move anything.
    #[test]
    fn uniform_keeps_what_is_balanced(members in subscriptions(), count in 1..9_i32) {
        let partitions: BTreeMap<Uuid, i32> = (1..5).map(|at| (topic(at), count)).collect();
        let mut members = members;
        let first = Assignor::Uniform.assign(&members, &partitions);
        for member in &mut members {
            member.before = first[&member.id].clone();
        }
        prop_assert_eq!(Assignor::Uniform.assign(&members, &partitions), first);
    }
}
