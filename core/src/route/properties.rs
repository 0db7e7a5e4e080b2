//! Any sequence of changes, observations and time leaves a route within its promises.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{
    tests::{fence, ms, repoint, target},
    *,
};
use crate::config::model::FenceMode;

#[derive(Clone, Debug)]
enum Input {
    Change(Change, Expect),
    Observed(Observed),
    Time,
}

fn mode() -> impl Strategy<Value = FenceMode> {
    prop_oneof![Just(FenceMode::Error), Just(FenceMode::Hold)]
}

fn moves() -> impl Strategy<Value = Change> {
    let domain = prop::sample::select(vec!["a", "b", "c"]);
    (domain, prop::option::of(0_u64..2000), prop::option::of(mode()))
        .prop_map(|(domain, drain, cover)| repoint(domain, drain, cover))
}

fn change() -> impl Strategy<Value = Change> {
    let configured = (moves(), prop::option::of(mode())).prop_map(|(change, stands)| {
        let Change::Repoint(repoint) = change else { unreachable!() };
        Change::Configured { repoint, fence: stands.map(fence) }
    });
    prop_oneof![
        mode().prop_map(|mode| Change::Fence(fence(mode))),
        Just(Change::Unfence),
        moves(),
        configured,
    ]
}

fn expect() -> impl Strategy<Value = Expect> {
    let number = || prop::option::weighted(0.2, 0_u64..30);
    (number(), number())
        .prop_map(|(revision, expected_revision)| Expect { revision, expected_revision })
}

fn input() -> impl Strategy<Value = Input> {
    let count = || prop_oneof![2 => Just(0_usize), 1 => 1_usize..4];
    let observed = (count(), count(), count(), 0_usize..2000).prop_map(
        |(sessions_behind, sessions_on_old_target, in_flight, parked_bytes)| {
            Input::Observed(Observed {
                sessions: 4,
                sessions_behind,
                sessions_on_old_target,
                in_flight,
                parked_bytes,
            })
        },
    );
    prop_oneof![
        (change(), expect()).prop_map(|(change, expect)| Input::Change(change, expect)),
        observed,
        Just(Input::Time),
    ]
}

/// What must hold between two neighbouring states, whatever led from one to the other.
fn check_step(before: &Route, after: &Route, now: Duration) {
    let (old, new) = (before.snapshot(), after.snapshot());
    assert_eq!(new.revision, after.desired().revision);
    assert!(new.revision >= old.revision, "revisions only rise");
    assert_eq!(new.target_epoch > old.target_epoch, new.target != old.target);
    assert!(new.target_epoch <= old.target_epoch + 1);
    assert!(new.moved >= old.moved, "what has moved has moved");
    assert!(new.moved || new.target.domain == old.target.domain);
    assert_eq!(Arc::ptr_eq(old, new), old == new, "an equal snapshot is the same one");
    if after.desired().fence.is_some() {
        assert_ne!(new.gate, Gate::Open, "a fence that is wanted stands");
    }
    match after.phase() {
        Phase::Draining => {
            assert_ne!(new.gate, Gate::Open, "nothing is let in while draining");
            assert!(after.deadline().is_some(), "a drain ends by itself");
        }
        Phase::Serving => assert_eq!(new.gate, Gate::Open),
        Phase::Fenced | Phase::Moving => {}
    }
    if after.phase() != Phase::Draining {
        assert_eq!(new.target, after.desired().target);
    }
    if new.gate == Gate::Hold {
        assert!(after.deadline().is_some(), "a hold ends by itself");
        assert!(after.wants_observation());
    }
    assert!(after.deadline().is_none_or(|at| at > now) || before == after);
}

proptest! {
    #[test]
    fn route_under_any_inputs_keeps_its_promises(
        inputs in prop::collection::vec((0_u64..400, input()), 1..60),
    ) {
        let desired =
            Desired { revision: 1, target: target("a"), fence: None, moved: false };
        let mut now = ms(0);
        let mut route = Route::new(now, desired);
        for (pause, input) in inputs {
            now += ms(pause);
            let before = route.clone();
            route.handle_time(now);
            check_step(&before, &route, now);
            let before = route.clone();
            match input {
                Input::Change(change, expect) => {
                    let unfences = matches!(
                        change,
                        Change::Unfence | Change::Configured { fence: None, .. }
                    );
                    match route.handle_change(now, change, expect) {
                        Ok(accepted) => {
                            prop_assert_eq!(accepted.revision, route.desired().revision);
                            prop_assert!(
                                !accepted.changed || accepted.revision > before.desired().revision
                            );
                        }
                        Err(_) => prop_assert_eq!(&before, &route),
                    }
                    prop_assert!(
                        unfences || before.desired().fence.is_none()
                            || route.desired().fence.is_some(),
                        "only an unfence takes a fence down"
                    );
                }
                Input::Observed(observed) => route.handle_observed(now, observed),
                Input::Time => route.handle_time(now),
            }
            // A drain without patience is over at the next look at the clock.
            route.handle_time(now);
            check_step(&before, &route, now);
        }
        // Left alone for long enough, nothing drains and nothing holds.
        route.handle_time(now + DRAIN_MAX);
        route.handle_time(now + DRAIN_MAX + DRAIN_MAX);
        prop_assert_ne!(route.phase(), Phase::Draining);
        prop_assert_ne!(&route.snapshot().gate, &Gate::Hold);
    }
}
