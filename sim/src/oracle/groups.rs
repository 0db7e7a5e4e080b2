//! What groups have read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    history::{History, Record, What},
    judge::{Case, Violation},
};

/// Records of one producer in one partition, as a group reads them: group, topic, partition, producer.
type Lane = (Arc<str>, Arc<str>, i32, Arc<str>);

/// What the groups of a run have read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// By group: every record that it has read.
    read: BTreeMap<Arc<str>, BTreeSet<Record>>,
    /// By group, partition and producer: the first number read.
    first: BTreeMap<Lane, u64>,
    pub(super) consumed: u64,
    pub(super) repeated: u64,
    pub(super) first_repeat: String,
    pub(super) rebalances: u64,
    pub(super) first_rebalance: String,
    pub(super) violations: Vec<Violation>,
}

/// Goes through a history once.
pub(super) fn read(history: &History, case: &Case) -> Reading {
    let mut reading = Reading::default();
    let doubled = doubled(history, case.mirrored);
    // By member: assignments so far, and what it has read since the last.
    let mut assignments: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    let mut since: BTreeMap<Arc<str>, BTreeSet<Record>> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            What::Assigned { group, .. } => {
                let count = assignments.entry(Arc::clone(&entry.who)).or_default();
                *count += 1;
                if *count > 1 && reading.first_rebalance.is_empty() {
                    reading.first_rebalance =
                        format!("{group}: {} at {} ms", entry.who, entry.at_us / 1000);
                }
                since.remove(&entry.who);
            }
            What::Reset { .. } | What::Revoked { .. } => drop(since.remove(&entry.who)),
            What::Consumed { group, position, record } => {
                let again =
                    !since.entry(Arc::clone(&entry.who)).or_default().insert(record.clone());
                let fresh =
                    reading.read.entry(Arc::clone(group)).or_default().insert(record.clone());
                let key = (
                    Arc::clone(group),
                    Arc::clone(&position.topic),
                    position.partition,
                    Arc::clone(&record.producer),
                );
                reading.first.entry(key).or_insert(record.number);
                if fresh {
                    reading.consumed += 1;
                    continue;
                }
                reading.repeated += 1;
                let show = format!(
                    "{group}: {} reads {} #{} again at {} ms",
                    entry.who,
                    record.producer,
                    record.number,
                    entry.at_us / 1000
                );
                // A record that is stored twice is read twice; that is the producer's matter.
                if again && !doubled.contains(record) {
                    reading.violations.push(Violation {
                        oracle: "exactly-once-delivery",
                        at_ms: entry.at_us / 1000,
                        who: Arc::clone(&entry.who),
                        what: format!("{show}, without a rebalance or a reset"),
                    });
                }
                if reading.first_repeat.is_empty() {
                    reading.first_repeat = show;
                }
            }
            _ => {}
        }
    }
    // A group has rebalanced as often as the member that saw most of it.
    for group in case.groups.keys() {
        let own = case.members.iter().filter(|(_, of)| *of == group);
        let most = own.filter_map(|(member, _)| assignments.get(member)).max();
        reading.rebalances += most.map_or(0, |count| count.saturating_sub(1));
    }
    reading
}

/// Records that were written more than once: those that some cluster holds twice, and those that two clusters hold though
/// nothing copies them.
fn doubled(history: &History, mirrored: bool) -> BTreeSet<&Record> {
    let mut doubled = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for log in history.logs.values() {
        if mirrored {
            seen.clear();
        }
        doubled.extend(log.iter().map(|it| &it.record).filter(|record| !seen.insert(*record)));
    }
    doubled
}

/// Acknowledged records that are on a group's cluster, behind the first that it has read of their partition, and that it
/// has not read.
pub(super) fn missed(
    reading: &Reading,
    history: &History,
    case: &Case,
    acknowledged: &BTreeSet<Record>,
) -> Vec<(Arc<str>, Record)> {
    let mut missed = Vec::new();
    for (group, home) in &case.groups {
        let read = reading.read.get(group);
        for stored in history.logs.get(&*home.cluster).into_iter().flatten() {
            let (position, record) = (&stored.position, &stored.record);
            let key = (
                Arc::clone(group),
                Arc::clone(&position.topic),
                position.partition,
                Arc::clone(&record.producer),
            );
            let behind = reading.first.get(&key).is_some_and(|first| record.number > *first);
            let unread = read.is_none_or(|read| !read.contains(record));
            if home.topics.contains(&position.topic)
                && behind
                && unread
                && acknowledged.contains(record)
            {
                missed.push((Arc::clone(group), record.clone()));
            }
        }
    }
    missed.sort();
    missed.dedup();
    missed
}
