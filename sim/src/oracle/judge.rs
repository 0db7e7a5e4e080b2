//! From a history to figures, marks and violations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use super::{
    groups::{self, Reading},
    history::{Entry, History, Record, Stored, What},
    world,
};

/// What the judge has to know about a run besides its history.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// When the last fault had ended and the recovery phase began.
    pub recovery_began: Duration,
    /// When the run ended.
    pub ended: Duration,
    /// For each producer (all of one name, `checkout-1`): its topic, and the cluster that its route points at in the end.
    pub producers: BTreeMap<Arc<str>, Home>,
    /// For each group: the topics that it reads, and its cluster in the end.
    pub groups: BTreeMap<Arc<str>, GroupHome>,
    /// The group of each consumer.
    pub members: BTreeMap<Arc<str>, Arc<str>>,
    /// The longest time that a message takes one way; answers may be under way for twice as long.
    pub latency_max: Duration,
    /// Bytes that fences may hold, over all routes of an instance.
    pub parked_bytes_max: u64,
    /// Whether clusters copy each other's records; without a mirror, a record that two clusters hold was written twice.
    pub mirrored: bool,
    /// Whether anybody switched back to a cluster that was left before.
    pub switches_back: bool,
}

/// Where a producer's records belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Topic.
    pub topic: Arc<str>,
    /// Cluster.
    pub cluster: Arc<str>,
    /// The route, where it connects through one.
    pub route: Option<Arc<str>>,
}

/// Where a group reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupHome {
    /// Topics.
    pub topics: BTreeSet<Arc<str>>,
    /// Cluster.
    pub cluster: Arc<str>,
}

/// What a run has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// By the names of [`super::FIGURES`]; times in milliseconds.
    pub figures: BTreeMap<&'static str, u64>,
    /// The first witness of each figure that is not 0.
    pub witnesses: BTreeMap<&'static str, String>,
    /// Reached, of [`super::MARKS`].
    pub marks: BTreeSet<&'static str>,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// Records sent, acknowledged.
    pub sent: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records read by groups, each once.
    pub consumed: u64,
}

/// A broken rule and its first witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Of [`super::ORACLES`].
    pub oracle: &'static str,
    /// When, in milliseconds since the start.
    pub at_ms: u64,
    /// Who saw it.
    pub who: Arc<str>,
    /// What was seen.
    pub what: String,
}

/// What is known of one producer's records.
#[derive(Default)]
struct Written {
    sent: BTreeMap<u64, u64>,
    acknowledged: BTreeMap<u64, u64>,
    /// When its connections broke.
    cuts: Vec<u64>,
    /// Of a producer with transactions: the records of those that were committed. What was not is no loss.
    committed: Option<BTreeSet<u64>>,
}

/// Judges a history.
pub fn judge(history: &History, case: &Case) -> Verdict {
    let mut verdict = Verdict::default();
    for (name, _) in super::FIGURES {
        verdict.figures.insert(name, 0);
    }
    let somewhere = stored_somewhere(history);
    let mut written: BTreeMap<Arc<str>, Written> = BTreeMap::new();
    for entry in &history.entries {
        verdict.count(entry);
        let own = || Arc::clone(&entry.who);
        match &entry.what {
            What::Sent { number } => {
                written.entry(own()).or_default().sent.insert(*number, entry.at_us);
            }
            What::Acknowledged { number, .. } => {
                written.entry(own()).or_default().acknowledged.insert(*number, entry.at_us);
            }
            What::Transaction { numbers, committed } => {
                let own = written.entry(own()).or_default().committed.get_or_insert_default();
                own.extend(numbers.iter().filter(|_| *committed));
            }
            What::Disconnected { .. } => written.entry(own()).or_default().cuts.push(entry.at_us),
            _ => {}
        }
    }
    if switched(history) {
        verdict.marks.insert("switched");
    }
    for (producer, home) in &case.producers {
        let Some(records) = written.get(producer) else { continue };
        verdict.sent += records.sent.len() as u64;
        verdict.acknowledged += records.acknowledged.len() as u64;
        let stored = history.logs.get(&*home.cluster).map(Vec::as_slice).unwrap_or_default();
        verdict.judge_producer(producer, home, records, stored);
        verdict.judge_vanished(producer, records, somewhere.get(producer));
    }
    verdict.judge_rto(history, case);
    verdict.judge_recovery(history, case, &written);
    let reading = groups::read(history, case);
    verdict.judge_groups(&reading, history, case);
    verdict.violations.extend(world::violations(history, case));
    verdict.violations.sort_by_key(|violation| violation.at_ms);
    verdict
}

impl Verdict {
    pub(super) fn add(
        &mut self,
        figure: &'static str,
        count: u64,
        witness: impl FnOnce() -> String,
    ) {
        if count > 0 {
            *self.figures.entry(figure).or_default() += count;
            self.witnesses.entry(figure).or_insert_with(witness);
        }
    }

    /// Figures and marks that one entry is enough for.
    fn count(&mut self, entry: &Entry) {
        let line = || entry.to_string().trim().to_owned();
        let mark = match &entry.what {
            What::Failed { reason, .. } => {
                self.add("failed", 1, line);
                // The Java client's words, and librdkafka's.
                let timed_out =
                    reason.contains("since batch creation") || reason.contains("MSG_TIMED_OUT");
                timed_out.then_some("delivery-timeout")
            }
            What::BufferFull => Some("buffer-full"),
            What::Error { .. } => {
                self.add("errors", 1, line);
                None
            }
            What::Fatal { .. } => {
                self.add("fatal", 1, line);
                Some("fatal-client")
            }
            What::Connected => {
                self.add("connections", 1, line);
                None
            }
            What::Reset { .. } => Some("offset-reset"),
            What::Rebootstrapped => Some("rebootstrap"),
            What::EpochBumped => Some("epoch-bumped"),
            What::ReadOnlyRefused => Some("read-only-refused"),
            What::LeaderMoved { .. } => Some("leader-moved"),
            What::MemberExpired { .. } => Some("session-expired"),
            What::FenceAnswered => Some("fence-answered"),
            What::GatewayDied => Some("gateway-died"),
            What::MirrorCut { unreplicated } => (*unreplicated > 0).then_some("unreplicated-tail"),
            What::Route { fence, parked_bytes, .. } => {
                if fence.as_deref() == Some("hold") && *parked_bytes > 0 {
                    self.marks.insert("fence-held");
                }
                None
            }
            What::Sent { .. }
            | What::Acknowledged { .. }
            | What::Transaction { .. }
            | What::Assigned { .. }
            | What::Revoked { .. }
            | What::Consumed { .. }
            | What::Disconnected { .. }
            | What::UpstreamAddress { .. }
            | What::Appended { .. }
            | What::SessionClosed { .. }
            | What::Opening { .. }
            | What::MirrorLag { .. }
            | What::Log { .. }
            | What::Note { .. } => None,
        };
        self.marks.extend(mark);
    }

    fn judge_producer(
        &mut self,
        producer: &Arc<str>,
        home: &Home,
        records: &Written,
        stored: &[Stored],
    ) {
        let mut copies: BTreeMap<u64, u64> = BTreeMap::new();
        let mut last: BTreeMap<i32, u64> = BTreeMap::new();
        let own = |stored: &&Stored| {
            stored.record.producer == *producer && stored.position.topic == home.topic
        };
        for it in stored.iter().filter(own) {
            let number = it.record.number;
            let copy = copies.entry(number).or_default();
            *copy += 1;
            let partition = it.position.partition;
            let show = || {
                format!("{producer} #{number} at {}-{partition}@{}", home.topic, it.position.offset)
            };
            if *copy > 1 {
                self.add("duplicated", 1, show);
                if !records.is_explained(number) {
                    self.violations.push(Violation {
                        oracle: "no-duplicates",
                        at_ms: records.sent.get(&number).map_or(0, |at| at / 1000),
                        who: Arc::clone(producer),
                        what: format!("{} is there twice, and no cut left its fate open", show()),
                    });
                }
            } else if last.get(&partition).is_some_and(|last| *last > number) {
                self.add("reordered", 1, show);
            }
            let last = last.entry(partition).or_default();
            *last = number.max(*last);
        }
        for number in records.owed() {
            if !copies.contains_key(&number) {
                let at = records.acknowledged[&number];
                let (seconds, ms) = (at / 1_000_000, at / 1000 % 1000);
                self.add("lost", 1, || {
                    format!(
                        "{producer} #{number}, acknowledged at {seconds}.{ms:03} s, is not on {}",
                        home.cluster
                    )
                });
            }
        }
    }

    /// What is lost may still lie on a cluster that was left; this lies nowhere.
    fn judge_vanished(
        &mut self,
        producer: &Arc<str>,
        records: &Written,
        stored: Option<&BTreeSet<u64>>,
    ) {
        for number in records.owed() {
            if stored.is_none_or(|stored| !stored.contains(&number)) {
                self.add("vanished", 1, || format!("{producer} #{number} is on no cluster"));
            }
        }
    }

    fn judge_rto(&mut self, history: &History, case: &Case) {
        let mut last: Option<u64> = None;
        for entry in &history.entries {
            if let What::Acknowledged { .. } = entry.what {
                let gap_ms = last.map_or(0, |last| (entry.at_us - last) / 1000);
                self.gap(gap_ms, entry.at_us);
                last = Some(entry.at_us);
            }
        }
        // Whoever is stuck in the end is stuck until the recovery phase begins, when nothing new is sent.
        let end = u64::try_from(case.recovery_began.as_micros()).unwrap_or(u64::MAX);
        if let Some(last) = last.filter(|last| *last < end) {
            self.gap((end - last) / 1000, end);
        }
    }

    fn gap(&mut self, gap_ms: u64, until_us: u64) {
        let longest = self.figures.entry("rto").or_default();
        if gap_ms > *longest {
            *longest = gap_ms;
            let (from, to) = (until_us / 1000 - gap_ms, until_us / 1000);
            self.witnesses.insert("rto", format!("no acknowledgement from {from} ms to {to} ms"));
        }
    }

    /// In the recovery phase nothing may be left undecided.
    fn judge_recovery(
        &mut self,
        history: &History,
        case: &Case,
        written: &BTreeMap<Arc<str>, Written>,
    ) {
        let mut decided: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        let mut dead: BTreeSet<&str> = BTreeSet::new();
        for entry in &history.entries {
            match &entry.what {
                What::Acknowledged { number, .. } | What::Failed { number, .. } => {
                    decided.entry(&entry.who).or_default().insert(*number);
                }
                What::Fatal { .. } => drop(dead.insert(&entry.who)),
                _ => {}
            }
        }
        let at_ms = u64::try_from(case.ended.as_millis()).unwrap_or(u64::MAX);
        for (producer, records) in written {
            if dead.contains(&**producer) {
                continue;
            }
            let done = decided.get(&**producer);
            let open = |number: &&u64| done.is_none_or(|done| !done.contains(number));
            if let Some(number) = records.sent.keys().find(open) {
                self.marks.insert("stuck-client");
                self.violations.push(Violation {
                    oracle: "recovery",
                    at_ms,
                    who: Arc::clone(producer),
                    what: format!("{producer} #{number} was neither acknowledged nor failed"),
                });
            }
        }
    }

    fn judge_groups(&mut self, reading: &Reading, history: &History, case: &Case) {
        self.consumed = reading.consumed;
        if reading.rebalances > 0 {
            self.marks.insert("rebalance");
        }
        self.add("rebalances", reading.rebalances, || reading.first_rebalance.clone());
        self.add("repeated", reading.repeated, || reading.first_repeat.clone());
        self.violations.extend(reading.violations.iter().cloned());
        let acknowledged = acknowledged(history);
        for (group, record) in groups::missed(reading, history, case, &acknowledged) {
            self.add("missed", 1, || {
                format!("{group} has not read {} #{}", record.producer, record.number)
            });
        }
    }
}

/// Whether some route has come to point at another domain.
fn switched(history: &History) -> bool {
    let mut first: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    history.entries.iter().any(|entry| match &entry.what {
        What::Route { route, domain, .. } => {
            *first.entry((&entry.who, route)).or_insert(domain) != &**domain
        }
        _ => false,
    })
}

/// Every record that some producer got an acknowledgement for.
fn acknowledged(history: &History) -> BTreeSet<Record> {
    let of = |entry: &Entry| match entry.what {
        What::Acknowledged { number, .. } => {
            Some(Record { producer: Arc::clone(&entry.who), number })
        }
        _ => None,
    };
    history.entries.iter().filter_map(of).collect()
}

/// By producer: numbers of its records that some cluster holds.
fn stored_somewhere(history: &History) -> BTreeMap<Arc<str>, BTreeSet<u64>> {
    let mut somewhere: BTreeMap<Arc<str>, BTreeSet<u64>> = BTreeMap::new();
    for stored in history.logs.values().flatten() {
        let own = somewhere.entry(Arc::clone(&stored.record.producer)).or_default();
        own.insert(stored.record.number);
    }
    somewhere
}

impl Written {
    /// Numbers of the records that a cluster owes its producer: acknowledged, and committed where there are transactions.
    fn owed(&self) -> impl Iterator<Item = u64> {
        let counts = |number: &u64| {
            self.committed.as_ref().is_none_or(|committed| committed.contains(number))
        };
        self.acknowledged.keys().copied().filter(counts)
    }

    /// Whether a connection broke between the hand-over of a record and its acknowledgement.
    fn is_explained(&self, number: u64) -> bool {
        let Some(sent) = self.sent.get(&number) else { return false };
        let until = self.acknowledged.get(&number).copied().unwrap_or(u64::MAX);
        self.cuts.iter().any(|cut| (*sent..=until).contains(cut))
    }
}
