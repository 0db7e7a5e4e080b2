//! Each oracle is shown a history in which its rule holds, and one with a planted violation that it must catch.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    history::{Entry, Position, Record, Stored, What},
    *,
};

/// A history in the making: producer `p` writes to `t` behind route `r`, group `g` reads, cluster `east`.
struct Story {
    history: History,
    case: Case,
}

impl Story {
    fn new() -> Self {
        let home = Home { topic: "t".into(), cluster: "east".into(), route: Some("r".into()) };
        let group = GroupHome { topics: BTreeSet::from(["t".into()]), cluster: "east".into() };
        let case = Case {
            recovery_began: Duration::from_mins(1),
            ended: Duration::from_secs(90),
            producers: [("p".into(), home)].into(),
            groups: [("g".into(), group)].into(),
            members: [("c".into(), "g".into())].into(),
            latency_max: Duration::from_millis(10),
            parked_bytes_max: 1000,
            mirrored: false,
            switches_back: false,
        };
        Self { history: History::default(), case }
    }

    /// A run in which nothing went wrong: three records written and read.
    fn good() -> Self {
        let mut story = Self::new();
        story.at(0, "c", assigned());
        for number in 0..3 {
            let ms = 1000 * (number + 1);
            story.at(ms, "p", What::Sent { number });
            story.at(ms + 5, "east", appended());
            story.at(ms + 10, "p", acknowledged(number));
            story.store(number);
            story.at(ms + 20, "c", consumed(number));
        }
        // So that the time behind the last acknowledgement is no outage.
        story.case.recovery_began = Duration::from_secs(4);
        story
    }

    fn at(&mut self, ms: u64, who: &str, what: What) {
        self.history.entries.push(Entry { at_us: ms * 1000, who: who.into(), what });
    }

    fn store(&mut self, number: u64) {
        let log = self.history.logs.entry("east".to_owned()).or_default();
        let offset = i64::try_from(log.len()).expect("few");
        log.push(Stored { position: position(offset), record: record(number) });
    }

    fn judge(&self) -> Verdict {
        judge(&self.history, &self.case)
    }

    fn figure(&self, name: &str) -> u64 {
        self.judge().figures[name]
    }

    fn violated(&self) -> Vec<&'static str> {
        self.judge().violations.iter().map(|violation| violation.oracle).collect()
    }
}

fn position(offset: i64) -> Position {
    Position { topic: "t".into(), partition: 0, offset }
}

fn record(number: u64) -> Record {
    Record { producer: "p".into(), number }
}

fn acknowledged(number: u64) -> What {
    What::Acknowledged { number, position: position(i64::try_from(number).expect("small")) }
}

fn consumed(number: u64) -> What {
    let position = position(i64::try_from(number).expect("small"));
    What::Consumed { group: "g".into(), position, record: record(number) }
}

fn assigned() -> What {
    What::Assigned { group: "g".into(), partitions: vec![("t".into(), 0)] }
}

fn appended() -> What {
    What::Appended { topic: "t".into(), partition: 0, records: 1 }
}

fn route(fence: Option<&str>, in_flight: u64, parked_bytes: u64) -> What {
    What::Route {
        route: "r".into(),
        domain: "east".into(),
        phase: "serving".into(),
        fence: fence.map(Arc::from),
        sessions: 1,
        in_flight,
        parked_bytes,
        revision: 1,
    }
}

fn reason(text: &str) -> Arc<str> {
    text.into()
}

#[test]
fn record_that_was_left_on_another_cluster_is_lost_and_has_not_vanished() {
    let mut story = Story::good();
    let log = story.history.logs.remove("east").expect("the log of east");
    story.history.logs.insert("west".to_owned(), log);
    assert_eq!((story.figure("lost"), story.figure("vanished")), (3, 0));
    story.history.logs.clear();
    assert_eq!((story.figure("lost"), story.figure("vanished")), (3, 3));
}

#[test]
fn good_run_violates_nothing_and_every_figure_is_zero() {
    let story = Story::good();
    let verdict = story.judge();
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.sent, verdict.acknowledged, verdict.consumed), (3, 3, 3));
    for (figure, value) in &verdict.figures {
        assert!(*figure == "rto" || *value == 0, "{figure} is {value}");
    }
    assert_eq!(verdict.figures["rto"], 1000);
}

#[test]
fn lost_record_is_counted_with_its_witness() {
    let mut story = Story::good();
    story.history.logs.get_mut("east").expect("a log").remove(1);
    let verdict = story.judge();
    assert_eq!(verdict.figures["lost"], 1);
    assert_eq!(verdict.witnesses["lost"], "p #1, acknowledged at 2.010 s, is not on east");
}

/// The application knows that an aborted transaction is to be done again.
#[test]
fn record_of_a_transaction_that_was_not_committed_is_no_loss() {
    let mut story = Story::good();
    story.history.logs.get_mut("east").expect("a log").clear();
    story.at(3900, "p", What::Transaction { numbers: vec![0], committed: true });
    story.at(3950, "p", What::Transaction { numbers: vec![1, 2], committed: false });
    assert_eq!(story.figure("lost"), 1);
}

/// A record on the cluster that was left behind is of no use to anybody.
#[test]
fn record_on_the_other_cluster_only_is_lost() {
    let mut story = Story::good();
    let log = story.history.logs.remove("east").expect("a log");
    story.history.logs.insert("west".to_owned(), log);
    assert_eq!(story.figure("lost"), 3);
}

#[test]
fn duplicate_needs_a_cut_that_left_its_fate_open() {
    let mut story = Story::good();
    story.store(2);
    assert_eq!(story.figure("duplicated"), 1);
    assert_eq!(story.violated(), ["no-duplicates"]);

    let mut cut = Story::new();
    cut.at(1000, "p", What::Sent { number: 0 });
    cut.at(1005, "p", What::Disconnected { reason: reason("reset") });
    cut.at(1100, "p", acknowledged(0));
    cut.store(0);
    cut.store(0);
    assert_eq!(cut.figure("duplicated"), 1);
    assert!(!cut.violated().contains(&"no-duplicates"));
}

#[test]
fn reordered_record_is_counted_once() {
    let mut story = Story::good();
    let log = story.history.logs.get_mut("east").expect("a log");
    log.swap(0, 2);
    assert_eq!(story.figure("reordered"), 2, "#1 and #0 stand behind #2");
}

#[test]
fn record_read_twice_without_a_cause_is_a_violation() {
    let mut story = Story::good();
    story.at(5000, "c", consumed(1));
    assert_eq!(story.figure("repeated"), 1);
    assert_eq!(story.violated(), ["exactly-once-delivery"]);

    let mut after_rebalance = Story::good();
    after_rebalance.at(4500, "c", assigned());
    after_rebalance.at(5000, "c", consumed(1));
    assert_eq!(after_rebalance.figure("repeated"), 1);
    assert_eq!(after_rebalance.figure("rebalances"), 1);
    assert_eq!(after_rebalance.violated(), Vec::<&str>::new());
}

/// A cut leaves a record on both clusters when its answer was lost: whoever moves between them reads both.
#[test]
fn record_that_two_clusters_hold_is_read_twice_unless_one_is_a_mirror_of_the_other() {
    let mut story = Story::good();
    story.at(5000, "c", consumed(1));
    let copy = Stored { position: position(0), record: record(1) };
    story.history.logs.insert("west".to_owned(), vec![copy]);
    assert_eq!(story.violated(), Vec::<&str>::new());
    story.case.mirrored = true;
    assert_eq!(story.violated(), ["exactly-once-delivery"]);
}

#[test]
fn record_that_a_group_never_reads_is_missed() {
    let mut story = Story::good();
    story.history.entries.retain(|entry| entry.what != consumed(1));
    assert_eq!(story.figure("missed"), 1);
    assert_eq!(story.judge().witnesses["missed"], "g has not read p #1");
}

#[test]
fn upstream_address_is_a_violation() {
    let mut story = Story::good();
    story.at(5000, "c", What::UpstreamAddress { address: "east.example:9092".into() });
    assert_eq!(story.violated(), ["no-upstream-address"]);
}

#[test]
fn acknowledgement_behind_a_fence_is_a_violation() {
    let mut story = Story::good();
    story.at(3500, "gateway-1", route(Some("hold"), 0, 0));
    story.at(3510, "p", acknowledged(2));
    assert_eq!(story.violated(), Vec::<&str>::new(), "that answer was under way");
    story.at(6000, "p", acknowledged(2));
    assert_eq!(story.violated(), ["fence-tight"]);
}

/// With one instance open the route is open.
#[test]
fn fence_on_one_of_two_instances_lets_the_other_through() {
    let mut story = Story::good();
    story.at(3400, "gateway-2", route(None, 0, 0));
    story.at(3500, "gateway-1", route(Some("hold"), 0, 0));
    story.at(6000, "p", acknowledged(2));
    assert_eq!(story.violated(), Vec::<&str>::new());
}

#[test]
fn second_writer_is_a_violation_unless_somebody_switches_back() {
    let mut story = Story::good();
    story.at(4000, "west", appended());
    assert_eq!(story.violated(), Vec::<&str>::new(), "one switch");
    story.at(5000, "east", appended());
    assert_eq!(story.violated(), ["one-writer"]);
    story.case.switches_back = true;
    assert_eq!(story.violated(), Vec::<&str>::new());
}

#[test]
fn session_without_a_cause_is_a_violation() {
    let mut story = Story::good();
    story.at(4000, "gateway-1", What::SessionClosed { cause: "client_closed".into() });
    assert_eq!(story.violated(), Vec::<&str>::new());
    story.at(5000, "gateway-1", What::SessionClosed { cause: "".into() });
    assert_eq!(story.violated(), ["named-closes"]);
}

#[test]
fn record_without_an_end_is_a_violation_of_recovery() {
    let mut story = Story::good();
    story.at(3900, "p", What::Sent { number: 3 });
    let verdict = story.judge();
    assert_eq!(verdict.violations[0].oracle, "recovery");
    assert!(verdict.marks.contains("stuck-client"));
    story.at(3950, "p", What::Failed { number: 3, reason: reason("gave up") });
    assert_eq!(story.violated(), Vec::<&str>::new());
}

#[test]
fn parked_bytes_beyond_the_limit_are_a_violation() {
    let mut story = Story::good();
    story.at(4000, "gateway-1", route(Some("hold"), 0, 1001));
    assert_eq!(story.violated(), ["bounded-memory"]);
}

#[test]
fn outage_that_does_not_end_counts_until_recovery() {
    let mut story = Story::good();
    story.case.recovery_began = Duration::from_mins(1);
    assert_eq!(story.figure("rto"), 60_000 - 3010);
}

/// Every oracle that is promised has to be one that can speak.
#[test]
fn marks_are_reached_by_what_they_are_about() {
    let mut story = Story::new();
    let expired = "Expiring 1 record(s) for t-0:120000 ms has passed since batch creation";
    story.at(1, "p", What::Failed { number: 0, reason: reason(expired) });
    story.at(2, "p", What::BufferFull);
    story.at(3, "p", What::EpochBumped);
    story.at(4, "p", What::Rebootstrapped);
    story.at(5, "p", What::Fatal { reason: reason("fenced") });
    story.at(6, "east", What::ReadOnlyRefused);
    story.at(7, "east", What::LeaderMoved { topic: "t".into(), partition: 0 });
    story.at(8, "east", What::MemberExpired { group: "g".into() });
    story.at(9, "gateway-1", What::FenceAnswered);
    story.at(11, "gateway-1", What::GatewayDied);
    story.at(12, "mirror", What::MirrorCut { unreplicated: 3 });
    let reset = What::Reset { group: "g".into(), position: position(0), reason: reason("r") };
    story.at(13, "c", reset);
    story.at(14, "c", assigned());
    story.at(15, "c", assigned());
    story.at(15, "gateway-1", route(None, 0, 0));
    let mut switched = route(Some("hold"), 0, 1);
    if let What::Route { domain, .. } = &mut switched {
        *domain = "west".into();
    }
    story.at(16, "gateway-1", switched);
    story.at(17, "p", What::Sent { number: 1 });
    let reached = story.judge().marks;
    // `stuck-client` needs a client that is alive: see the test of recovery.
    let all: BTreeSet<_> =
        MARKS.iter().map(|(name, _)| *name).filter(|n| *n != "stuck-client").collect();
    assert_eq!(reached, all);
}
