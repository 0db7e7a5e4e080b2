#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn topic(name: u8) -> TopicName {
    TopicName(StrBytes::from_string(format!("t{name}")))
}

fn at(number: u64) -> Committed {
    Committed {
        offset: i64::try_from(number).unwrap(),
        leader_epoch: -1,
        metadata: StrBytes::default(),
        at: Time::from_ms(number),
        expires_at: None,
        number,
    }
}

#[test]
fn offset_of_a_transaction_counts_once_it_is_committed() {
    let mut offsets = Offsets::default();
    offsets.commit(&topic(1), 0, at(1));
    offsets.commit_in_transaction(7, &topic(1), 0, at(2));
    assert_eq!(offsets.get(&topic(1), 0).unwrap().offset, 1);
    assert!(offsets.is_unstable(&topic(1), 0));
    assert!(!offsets.is_unstable(&topic(1), 1));
    offsets.end_transaction(8, true);
    assert!(offsets.is_unstable(&topic(1), 0));
    offsets.end_transaction(7, true);
    assert_eq!(offsets.get(&topic(1), 0).unwrap().offset, 2);
    assert!(!offsets.is_unstable(&topic(1), 0));
}

#[test]
fn offset_of_an_aborted_transaction_is_forgotten() {
    let mut offsets = Offsets::default();
    offsets.commit_in_transaction(7, &topic(1), 0, at(1));
    offsets.end_transaction(7, false);
    assert!(offsets.is_empty());
}

#[test]
fn offsets_expire_by_age_unless_they_are_read_or_pending() {
    let retention = Duration::from_millis(100);
    let mut offsets = Offsets::default();
    for name in 1..=3 {
        offsets.commit(&topic(name), 0, at(10));
    }
    offsets.commit(&topic(4), 0, Committed { expires_at: Some(Time::from_ms(900)), ..at(10) });
    offsets.commit_in_transaction(7, &topic(3), 0, at(11));
    offsets.expire(Time::from_ms(109), retention, Aging::FromCommit, |_| false);
    assert_eq!(offsets.iter().count(), 4);
    offsets.expire(Time::from_ms(110), retention, Aging::FromCommit, |name| *name == topic(2));
    let left: Vec<_> = offsets.iter().map(|(name, ..)| name.to_string()).collect();
    assert_eq!(left, ["t2", "t3", "t4"]);
    offsets.expire(Time::from_ms(900), retention, Aging::From(Time::from_ms(850)), |_| false);
    let left: Vec<_> = offsets.iter().map(|(name, ..)| name.to_string()).collect();
    assert_eq!(left, ["t2", "t3"]);
}

#[derive(Clone, Debug)]
enum Step {
    Commit(u8, i32),
    InTransaction(i64, u8, i32),
    End(i64, bool),
    Delete(u8, i32),
    Forget(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_u8, 0..2).prop_map(|(topic, partition)| Step::Commit(topic, partition)),
        (0..3_i64, 0..3_u8, 0..2).prop_map(|(producer, topic, partition)| {
            Step::InTransaction(producer, topic, partition)
        }),
        (0..3_i64, any::<bool>()).prop_map(|(producer, commit)| Step::End(producer, commit)),
        (0..3_u8, 0..2).prop_map(|(topic, partition)| Step::Delete(topic, partition)),
        (0..3_u8).prop_map(Step::Forget),
    ]
}

/// One write: what of, by whose transaction if that is still open, and its place.
type Write = ((u8, i32), Option<i64>, u64);

/// Keeps all writes and looks through them.
fn naive(writes: &mut Vec<Write>, number: u64, step: &Step) {
    match *step {
        Step::Commit(topic, partition) => writes.push(((topic, partition), None, number)),
        Step::InTransaction(producer, topic, partition) => {
            writes.push(((topic, partition), Some(producer), number));
        }
        Step::End(producer, commit) => {
            writes.retain(|write| commit || write.1 != Some(producer));
            for write in writes.iter_mut().filter(|write| write.1 == Some(producer)) {
                write.1 = None;
            }
        }
        Step::Delete(topic, partition) => writes.retain(|write| write.0 != (topic, partition)),
        Step::Forget(topic) => writes.retain(|write| write.0.0 != topic),
    }
}

proptest! {
    #[test]
    fn offsets_are_those_of_a_list_of_all_writes(steps in prop::collection::vec(step(), 0..60)) {
        let (mut offsets, mut writes) = (Offsets::default(), Vec::new());
        for (number, step) in (1..).zip(&steps) {
            naive(&mut writes, number, step);
            match *step {
                Step::Commit(name, partition) => offsets.commit(&topic(name), partition, at(number)),
                Step::InTransaction(producer, name, partition) => {
                    offsets.commit_in_transaction(producer, &topic(name), partition, at(number));
                }
                Step::End(producer, commit) => offsets.end_transaction(producer, commit),
                Step::Delete(name, partition) => offsets.delete(&topic(name), partition),
                Step::Forget(name) => offsets.forget_topic(&topic(name)),
            }
            for name in 0..3 {
                for partition in 0..2 {
                    let of = |write: &&Write| write.0 == (name, partition);
                    let visible = writes.iter().filter(of).filter(|write| write.1.is_none());
                    let newest = visible.map(|write| write.2).max();
                    let known = offsets.get(&topic(name), partition).map(|offset| offset.number);
                    prop_assert_eq!(known, newest);
                    let open = writes.iter().filter(of).any(|write| write.1.is_some());
                    prop_assert_eq!(offsets.is_unstable(&topic(name), partition), open);
                }
            }
            prop_assert_eq!(offsets.is_empty(), writes.is_empty());
        }
    }
}
