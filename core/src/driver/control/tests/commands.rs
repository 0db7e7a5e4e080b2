//! Commands: what is taken, what is refused, and that a refusal leaves no trace.

use super::*;
use crate::{
    config::model::FenceMode,
    route::{Refused, Unresolvable},
};

/// A fence that is acknowledged and then forgotten would open by itself at the next restart.
#[tokio::test(start_paused = true)]
async fn fence_acknowledged_is_kept_and_published() {
    let world = World::new(&File::new()).await;
    let accepted = world.command("r", fence()).await.expect("accepted");
    assert_eq!(accepted, Accepted { revision: 2, changed: true });
    let record = &world.store.last().routes["r"];
    assert_eq!((record.revision, record.decided_by), (2, DecidedBy::Api));
    assert!(record.fence.is_some());
    assert!(matches!(world.published("r").gate, Gate::Answer { error_code: 8, .. }));
    assert_eq!(world.published("s").gate, Gate::Open, "the other route is not fenced");
    let route = world.route("r").await;
    assert_eq!(route.desired.fence.expect("stands").mode, FenceMode::Error);
    assert_eq!(route.last_change.by, DecidedBy::Api);
}

/// An operator who repeats a command must neither get an error nor move the revision under others' feet.
#[tokio::test(start_paused = true)]
async fn fence_repeated_changes_and_writes_nothing() {
    let world = World::new(&File::new()).await;
    world.command("r", fence()).await.expect("accepted");
    let before = world.trace().await;
    world.store.with(|inner| inner.full = true);
    let again = world.control.command("r", fence(), NOTHING, DecidedBy::Cli).await;
    assert_eq!(again.expect("accepted"), Accepted { revision: 2, changed: false });
    assert_eq!(world.trace().await, before);
}

#[tokio::test(start_paused = true)]
async fn unfence_opens_and_is_kept() {
    let world = World::new(&File::new()).await;
    world.command("r", fence()).await.expect("accepted");
    world.command("r", Command::Unfence).await.expect("accepted");
    assert_eq!(world.published("r").gate, Gate::Open);
    assert_eq!(world.store.last().routes["r"].fence, None);
}

/// Two operators must not undo each other's work unknowingly.
#[tokio::test(start_paused = true)]
async fn command_expecting_another_revision_is_refused_without_a_trace() {
    let world = World::new(&File::new()).await;
    world.command("r", fence()).await.expect("accepted");
    let before = world.trace().await;
    let expect = Expect { revision: None, expected_revision: Some(1) };
    let refused = world.control.command("r", Command::Unfence, expect, DecidedBy::Api).await;
    assert!(matches!(
        refused,
        Err(CommandError::Refused(Refused::ChangedMeanwhile { expected: 1, current: 2 }))
    ));
    let expect = Expect { revision: Some(2), expected_revision: None };
    let refused = world.control.command("r", Command::Unfence, expect, DecidedBy::Api).await;
    assert!(matches!(refused, Err(CommandError::Refused(Refused::Stale { given: 2, current: 2 }))));
    assert_eq!(world.trace().await, before);
}

/// A refused revision must not cost the target's brokers a connection either.
#[tokio::test(start_paused = true)]
async fn switchover_with_a_stale_revision_is_refused_before_the_target_is_looked_at() {
    let world = World::new(&File::new()).await;
    let expect = Expect { revision: Some(1), expected_revision: None };
    let command = Command::Switchover(switchover("b"));
    let refused = world.control.command("r", command, expect, DecidedBy::Api).await;
    assert!(matches!(refused, Err(CommandError::Refused(Refused::Stale { .. }))));
    assert_eq!(world.calls(), Vec::<String>::new());
}

/// A typing error must be answered with the names that exist.
#[tokio::test(start_paused = true)]
async fn command_with_unknown_names_is_refused_with_the_known_ones() {
    let world = World::new(&File::new()).await;
    let before = world.trace().await;
    let refused = world.command("q", fence()).await.expect_err("unknown");
    assert_eq!(refused.remedy(), "name one of: r, s");
    let command = Command::Switchover(switchover("c"));
    let refused = world.command("r", command).await.expect_err("unknown");
    assert!(matches!(refused, CommandError::Unresolvable(Unresolvable::UnknownDomain { .. })));
    assert_eq!(refused.remedy(), "name one of: a, b");
    let server = SwitchoverRequest { bootstrap_server_id: Some("x".into()), ..switchover("b") };
    let refused = world.command("r", Command::Switchover(server)).await.expect_err("unknown");
    assert_eq!(refused.remedy(), "name one of: main");
    assert_eq!(world.trace().await, before);
}

/// Clients would take error code 0 for success: records that nobody has.
#[tokio::test(start_paused = true)]
async fn fence_answering_success_is_refused() {
    let world = World::new(&File::new()).await;
    let request = FenceRequest { error_code: Some(0), ..FenceRequest::default() };
    let refused = world.command("r", Command::Fence(request)).await.expect_err("refused");
    assert!(matches!(refused, CommandError::Unresolvable(Unresolvable::ErrorCodeIsNone)));
}

/// A switch to a cluster that is down would turn a rehearsed failover into an outage.
#[tokio::test(start_paused = true)]
async fn switchover_to_a_target_that_is_down_changes_nothing() {
    let world = World::new(&File::new()).await;
    world.plane.with(|inner| inner.down.insert("b"));
    let before = world.trace().await;
    let refused = world.command("r", Command::Switchover(switchover("b"))).await;
    assert!(matches!(refused, Err(CommandError::Target(ProbeError::Unreachable { .. }))));
    assert_eq!(world.calls(), ["probe b"]);
    assert_eq!(world.trace().await, before);
}

/// A decision that cannot be kept would be undone by the next restart, so it is not taken.
#[tokio::test(start_paused = true)]
async fn command_that_cannot_be_kept_is_refused_without_a_trace() {
    let world = World::new(&File::new()).await;
    let before = world.trace().await;
    world.store.with(|inner| inner.full = true);
    for command in [fence(), Command::Switchover(switchover("b"))] {
        let refused = world.command("r", command).await.expect_err("refused");
        assert!(matches!(refused, CommandError::NotKept { .. }), "{refused}");
    }
    assert_eq!(world.trace().await, before);
    world.store.with(|inner| inner.full = false);
    let accepted = world.command("r", fence()).await.expect("accepted once there is room");
    assert_eq!(accepted.revision, 2);
}

/// A slow look at a target must keep no operator from fencing, and must not undo what was decided meanwhile.
#[tokio::test(start_paused = true)]
async fn switchover_whose_route_changes_during_the_look_is_refused() {
    let world = World::new(&File::new()).await;
    world.plane.with(|inner| inner.probe_time = ms(5000));
    let control = world.control.clone();
    let switch = tokio::spawn(async move {
        let command = Command::Switchover(switchover("b"));
        control.command("r", command, NOTHING, DecidedBy::Api).await
    });
    sleep(ms(100)).await;
    let fenced = tokio::time::timeout(ms(100), world.command("r", fence())).await;
    assert_eq!(fenced.expect("at once").expect("accepted").revision, 2);
    let refused = switch.await.expect("ends");
    assert!(matches!(
        refused,
        Err(CommandError::Refused(Refused::ChangedMeanwhile { expected: 1, current: 2 }))
    ));
    assert_eq!(&*world.published("r").target.domain, "a");
}

/// A route that points at a domain which is gone would keep the gateway from starting again.
#[tokio::test(start_paused = true)]
async fn switchover_whose_target_is_removed_during_the_look_is_refused() {
    let world = World::new(&File::new()).await;
    world.plane.with(|inner| inner.probe_time = ms(5000));
    let control = world.control.clone();
    let switch = tokio::spawn(async move {
        let command = Command::Switchover(switchover("b"));
        control.command("r", command, NOTHING, DecidedBy::Api).await
    });
    sleep(ms(100)).await;
    world.apply(&File::new().domains(&["a"])).await.expect("applies");
    let refused = switch.await.expect("ends");
    assert!(
        matches!(refused, Err(CommandError::Unresolvable(Unresolvable::UnknownDomain { .. }))),
        "{refused:?}"
    );
    assert_eq!(&*world.route("r").await.desired.target.domain, "a");
}

/// Held clients fail their application when the hold never ends.
#[tokio::test(start_paused = true)]
async fn hold_past_its_time_answers_with_errors_and_the_fence_still_stands() {
    let file = File::new().keys("r", ", fence: {scope: NONE, mode: hold, holdTimeMax: 2s}");
    let world = World::new(&file).await;
    world.command("r", fence()).await.expect("accepted");
    assert_eq!(world.published("r").gate, Gate::Hold);
    sleep(ms(1900)).await;
    assert_eq!(world.published("r").gate, Gate::Hold);
    sleep(ms(200)).await;
    assert!(matches!(world.published("r").gate, Gate::Answer { .. }));
    assert!(world.route("r").await.desired.fence.is_some());
}

/// Parked requests are memory: over all sessions of the route they must stay within the bound.
#[tokio::test(start_paused = true)]
async fn hold_past_its_bytes_answers_with_errors() {
    let file = File::new().keys("r", ", fence: {scope: NONE, mode: hold, holdBytesMax: 1KiB}");
    let world = World::new(&file).await;
    world.command("r", fence()).await.expect("accepted");
    let parked = Observed { sessions: 2, parked_bytes: 1025, ..Observed::default() };
    world.plane.with(|inner| inner.observed.insert("r".to_owned(), parked));
    sleep(ms(50)).await;
    assert!(matches!(world.published("r").gate, Gate::Answer { .. }));
}
