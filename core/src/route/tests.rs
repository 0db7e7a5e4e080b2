//! Stories of one route with a hand-moved clock.

use std::time::Duration;

use super::*;
use crate::config::model::{Fence, FenceMode};

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn target(domain: &str) -> Target {
    Target { domain: domain.into(), bootstrap_server_id: "main".into() }
}

/// Answers BROKER_NOT_AVAILABLE, or holds for a second and a kilobyte at most.
pub(super) fn fence(mode: FenceMode) -> Fence {
    Fence {
        mode,
        error_code: 8,
        error_message: None,
        hold_bytes_max: 1024,
        hold_time_max: ms(1000),
    }
}

fn desired() -> Desired {
    Desired { revision: 1, target: target("a"), fence: None, moved: false }
}

pub(super) fn repoint(domain: &str, drain_ms: Option<u64>, cover: Option<FenceMode>) -> Change {
    Change::Repoint(Repoint {
        target: target(domain),
        drain: drain_ms.map(|time| Drain::new(ms(time), &fence(FenceMode::Error))),
        fence: cover.map(fence),
    })
}

fn configured(domain: &str, stands: Option<FenceMode>) -> Change {
    let Change::Repoint(repoint) = repoint(domain, Some(500), None) else { unreachable!() };
    Change::Configured { repoint, fence: stands.map(fence) }
}

const ERROR: Gate = Gate::Answer { error_code: 8, message: None };
const NOTHING: Expect = Expect { revision: None, expected_revision: None };

/// A route in fewer words.
struct Story {
    route: Route,
    now: Duration,
}

impl Story {
    fn new() -> Self {
        Self { route: Route::new(ms(0), desired()), now: ms(0) }
    }

    fn at_ms(&mut self, at: u64) -> &mut Self {
        self.now = ms(at);
        self.route.handle_time(self.now);
        self
    }

    fn takes(&mut self, change: Change) -> Accepted {
        self.route.handle_change(self.now, change, NOTHING).expect("the change is admissible")
    }

    fn refuses(&mut self, change: Change, expect: Expect) -> Refused {
        let before = self.route.clone();
        let refused =
            self.route.handle_change(self.now, change, expect).expect_err("the change is refused");
        assert_eq!(self.route, before, "a refused change leaves no trace");
        refused
    }

    fn sees(&mut self, behind: usize, old: usize, in_flight: usize, parked: usize) {
        let observed = Observed {
            sessions: 3,
            sessions_behind: behind,
            sessions_on_old_target: old,
            in_flight,
            parked_bytes: parked,
        };
        self.route.handle_observed(self.now, observed);
    }

    fn is(&self, phase: Phase, domain: &str, gate: &Gate) {
        let snapshot = self.route.snapshot();
        assert_eq!(self.route.phase(), phase);
        assert_eq!(&*snapshot.target.domain, domain);
        assert_eq!(snapshot.gate, *gate);
    }
}

/// The plain round of an outage: block, move, open.
#[test]
fn fenced_route_when_repointed_stays_fenced_until_unfence() {
    let mut story = Story::new();
    assert_eq!(story.takes(Change::Fence(fence(FenceMode::Error))).revision, 2);
    story.is(Phase::Fenced, "a", &ERROR);
    assert_eq!(story.takes(repoint("b", None, None)).revision, 3);
    story.is(Phase::Moving, "b", &ERROR);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Fenced, "b", &ERROR);
    assert_eq!(story.takes(Change::Unfence).revision, 4);
    story.is(Phase::Serving, "b", &Gate::Open);
    assert!(story.route.snapshot().moved);
    assert_eq!(story.route.snapshot().target_epoch, 1);
}

/// A request whose answer is cut off is sent again and may be done twice.
#[test]
fn drain_waits_for_every_session_and_every_request() {
    let mut story = Story::new();
    story.takes(repoint("b", Some(500), None));
    story.is(Phase::Draining, "a", &Gate::Hold);
    story.sees(1, 0, 0, 0);
    story.is(Phase::Draining, "a", &Gate::Hold);
    story.sees(0, 0, 1, 0);
    story.is(Phase::Draining, "a", &Gate::Hold);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Moving, "b", &Gate::Open);
    story.sees(0, 2, 0, 0);
    story.is(Phase::Moving, "b", &Gate::Open);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Serving, "b", &Gate::Open);
    let cut = story.route.cut().expect("the target has changed");
    assert_eq!((cut.in_flight, cut.drained, &*cut.from.domain), (0, true, "a"));
}

/// A broker that never answers must not keep the clients from the cluster that would.
#[test]
fn drain_at_its_deadline_moves_on_and_says_what_it_cut() {
    let mut story = Story::new();
    story.takes(repoint("b", Some(500), None));
    story.sees(0, 0, 7, 0);
    assert_eq!(story.route.deadline(), Some(ms(500)));
    story.at_ms(499).is(Phase::Draining, "a", &Gate::Hold);
    story.at_ms(500).is(Phase::Moving, "b", &Gate::Open);
    assert_eq!(story.route.cut().map(|cut| cut.in_flight), Some(7));
}

/// While some sessions write to the old cluster and others to the new, one partition has two heads.
#[test]
fn switchover_with_fence_opens_only_when_the_last_session_has_moved() {
    let mut story = Story::new();
    story.takes(repoint("b", Some(500), Some(FenceMode::Hold)));
    story.is(Phase::Draining, "a", &Gate::Hold);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Moving, "b", &Gate::Hold);
    story.sees(0, 1, 0, 0);
    story.is(Phase::Moving, "b", &Gate::Hold);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Serving, "b", &Gate::Open);
}

/// The switchover's own fence is temporary; the operator's is not.
#[test]
fn route_fence_when_put_up_during_a_move_outlives_it() {
    let mut story = Story::new();
    story.takes(repoint("b", None, Some(FenceMode::Hold)));
    story.takes(Change::Fence(fence(FenceMode::Error)));
    story.is(Phase::Moving, "b", &ERROR);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Fenced, "b", &ERROR);
}

/// Memory behind a held gate is bounded by time, and clients learn in time that they should retry.
#[test]
fn hold_past_its_time_answers_errors_and_never_opens() {
    let mut story = Story::new();
    story.takes(Change::Fence(fence(FenceMode::Hold)));
    assert_eq!(story.route.deadline(), Some(ms(1000)));
    story.at_ms(999).is(Phase::Fenced, "a", &Gate::Hold);
    story.at_ms(1000).is(Phase::Fenced, "a", &ERROR);
    assert_eq!(story.route.deadline(), None);
    story.at_ms(1_000_000).is(Phase::Fenced, "a", &ERROR);
}

/// The same by bytes.
#[test]
fn hold_past_its_bytes_answers_errors() {
    let mut story = Story::new();
    story.takes(Change::Fence(fence(FenceMode::Hold)));
    story.sees(0, 0, 0, 1024);
    story.is(Phase::Fenced, "a", &Gate::Hold);
    story.sees(0, 0, 0, 1025);
    story.is(Phase::Fenced, "a", &ERROR);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Fenced, "a", &ERROR);
}

/// To hold again is the only way from errors back to waiting that does not open the route in between.
#[test]
fn hold_when_expired_can_be_held_anew() {
    let mut story = Story::new();
    story.takes(Change::Fence(fence(FenceMode::Hold)));
    story.at_ms(1000).is(Phase::Fenced, "a", &ERROR);
    assert!(story.takes(Change::Fence(fence(FenceMode::Hold))).changed);
    story.is(Phase::Fenced, "a", &Gate::Hold);
    assert_eq!(story.route.deadline(), Some(ms(2000)));
}

/// A retried command must neither count twice nor prolong a hold.
#[test]
fn command_for_the_present_state_is_accepted_and_changes_nothing() {
    let mut story = Story::new();
    let nothing = Accepted { revision: 1, changed: false };
    assert_eq!(story.takes(Change::Unfence), nothing);
    assert_eq!(story.takes(repoint("a", Some(500), Some(FenceMode::Hold))), nothing);
    story.is(Phase::Serving, "a", &Gate::Open);
    story.takes(Change::Fence(fence(FenceMode::Hold)));
    story.at_ms(900);
    assert!(!story.takes(Change::Fence(fence(FenceMode::Hold))).changed);
    assert_eq!(story.route.deadline(), Some(ms(1000)));
}

/// One number for one decision over a fleet: the instance that had nothing to do takes it all the same.
#[test]
fn command_with_its_own_revision_takes_it_even_without_change() {
    let mut story = Story::new();
    let expect = Expect { revision: Some(40), expected_revision: Some(1) };
    let accepted = story.route.handle_change(ms(0), Change::Unfence, expect);
    assert_eq!(accepted, Ok(Accepted { revision: 40, changed: false }));
    assert_eq!(story.route.snapshot().revision, 40);
}

/// An old command that arrives late must not undo a newer one.
#[test]
fn command_that_is_not_newer_is_refused() {
    let mut story = Story::new();
    story.takes(Change::Fence(fence(FenceMode::Error)));
    for given in [0, 1, 2] {
        let expect = Expect { revision: Some(given), ..NOTHING };
        let refused = story.refuses(Change::Unfence, expect);
        assert_eq!(refused, Refused::Stale { given, current: 2 });
    }
    let expect = Expect { revision: Some(REVISION_MAX + 1), ..NOTHING };
    assert_eq!(story.refuses(Change::Unfence, expect), Refused::RevisionTooLarge);
}

/// Two operators at once: the second must look again.
#[test]
fn command_with_another_expected_revision_is_refused() {
    let mut story = Story::new();
    let expect = Expect { expected_revision: Some(7), ..NOTHING };
    let refused = story.refuses(repoint("b", None, None), expect);
    assert_eq!(refused, Refused::ChangedMeanwhile { expected: 7, current: 1 });
}

/// A drain holds every client back; what would prolong or confuse it has to wait its few seconds.
#[test]
fn unfence_or_another_switchover_during_a_drain_is_refused() {
    let mut story = Story::new();
    story.takes(repoint("b", Some(500), None));
    let towards = || Refused::Draining { towards: "b".into() };
    assert_eq!(story.refuses(Change::Unfence, NOTHING), towards());
    assert_eq!(story.refuses(repoint("c", None, None), NOTHING), towards());
    assert_eq!(story.refuses(repoint("a", None, None), NOTHING), towards());
    assert!(!story.takes(repoint("b", Some(9000), None)).changed);
    assert_eq!(story.route.deadline(), Some(ms(500)));
}

/// Who sees that the old cluster is dead need not wait for the drain.
#[test]
fn switchover_to_the_same_target_without_drain_ends_the_drain() {
    let mut story = Story::new();
    story.takes(repoint("b", Some(500), None));
    assert!(story.takes(repoint("b", None, None)).changed);
    story.is(Phase::Moving, "b", &Gate::Open);
}

/// A session that is stuck on the old target must not lock the operator out.
#[test]
fn switchover_and_unfence_during_a_move_are_accepted() {
    let mut story = Story::new();
    story.takes(repoint("b", None, Some(FenceMode::Error)));
    story.sees(0, 1, 0, 0);
    assert!(story.takes(Change::Unfence).changed);
    story.is(Phase::Moving, "b", &Gate::Open);
    story.takes(repoint("c", None, None));
    story.is(Phase::Moving, "c", &Gate::Open);
    assert_eq!(story.route.snapshot().target_epoch, 2);
}

/// The file's word counts whatever is under way, and calling a drain back costs nobody a connection.
#[test]
fn configured_target_replaces_the_goal_of_a_drain() {
    let mut story = Story::new();
    story.takes(repoint("b", Some(500), None));
    story.takes(configured("c", None));
    story.is(Phase::Draining, "a", &Gate::Hold);
    story.takes(configured("a", None));
    story.is(Phase::Serving, "a", &Gate::Open);
    assert_eq!(story.route.snapshot().target_epoch, 0);
}

/// Target and fence of an edited section come together: never a moment open at the new target.
#[test]
fn configured_fence_and_target_take_effect_as_one() {
    let mut story = Story::new();
    assert_eq!(story.takes(configured("b", Some(FenceMode::Error))).revision, 2);
    story.is(Phase::Draining, "a", &ERROR);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Moving, "b", &ERROR);
    story.sees(0, 0, 0, 0);
    story.is(Phase::Fenced, "b", &ERROR);
    assert!(!story.takes(configured("b", Some(FenceMode::Error))).changed);
    story.takes(configured("b", None));
    story.is(Phase::Serving, "b", &Gate::Open);
}

/// Another listener of the same cluster is a new target, but group members remain where they were.
#[test]
fn repoint_within_a_domain_does_not_count_as_moved() {
    let mut story = Story::new();
    let other = Target { domain: "a".into(), bootstrap_server_id: "other".into() };
    story.takes(Change::Repoint(Repoint { target: other, drain: None, fence: None }));
    assert_eq!(story.route.snapshot().target_epoch, 1);
    assert!(!story.route.snapshot().moved);
}

/// A restarted gateway has no sessions on an old target, and its fence stands.
#[test]
fn route_restored_from_a_decision_is_settled() {
    let restored = Desired {
        revision: 12,
        target: target("b"),
        fence: Some(fence(FenceMode::Hold)),
        moved: true,
    };
    let route = Route::new(ms(50), restored);
    assert_eq!(route.phase(), Phase::Fenced);
    assert_eq!(route.snapshot().gate, Gate::Hold);
    assert_eq!(route.snapshot().revision, 12);
    assert_eq!(route.deadline(), Some(ms(1050)));
}

/// Observing costs a walk over all sessions; nobody needs it while nothing is under way.
#[test]
fn observation_is_wanted_only_while_something_is_under_way() {
    let mut story = Story::new();
    assert!(!story.route.wants_observation());
    story.takes(Change::Fence(fence(FenceMode::Error)));
    assert!(!story.route.wants_observation());
    story.takes(Change::Fence(fence(FenceMode::Hold)));
    assert!(story.route.wants_observation());
    story.takes(Change::Unfence);
    story.takes(repoint("b", None, None));
    assert!(story.route.wants_observation());
    story.sees(0, 0, 0, 0);
    assert!(!story.route.wants_observation());
}
