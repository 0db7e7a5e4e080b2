//! The way of a route to another domain, step by step.

use super::*;
use crate::{config::model::FenceMode, route::Phase};

fn sees(world: &World, behind: usize, on_old_target: usize, in_flight: usize) {
    let observed = Observed {
        sessions: 3,
        sessions_behind: behind,
        sessions_on_old_target: on_old_target,
        in_flight,
        parked_bytes: 0,
    };
    world.plane.with(|inner| inner.observed.insert("r".to_owned(), observed));
}

async fn is(world: &World, phase: Phase, domain: &str, gate: &Gate) {
    assert_eq!(world.route("r").await.observed.phase, phase);
    let published = world.published("r");
    assert_eq!((&*published.target.domain, &published.gate), (domain, gate));
}

/// A request that is cut off is sent again and may be done twice; a session that is let through too early
/// writes to the old cluster.
#[tokio::test(start_paused = true)]
async fn switchover_with_drain_and_fence_moves_step_by_step_until_every_session_has_moved() {
    let world = World::new(&File::new()).await;
    sees(&world, 3, 0, 2);
    let request = SwitchoverRequest {
        fence: Some(FenceMode::Hold),
        drain: Some(ms(5000)),
        ..switchover("b")
    };
    let accepted = world.command("r", Command::Switchover(request)).await.expect("accepted");
    assert_eq!(accepted.revision, 2);
    assert_eq!(&*world.store.last().routes["r"].target.domain, "b", "kept before it is done");
    is(&world, Phase::Draining, "a", &Gate::Hold).await;
    sees(&world, 1, 0, 0);
    sleep(ms(50)).await;
    is(&world, Phase::Draining, "a", &Gate::Hold).await;
    sees(&world, 0, 0, 1);
    sleep(ms(50)).await;
    is(&world, Phase::Draining, "a", &Gate::Hold).await;
    sees(&world, 0, 2, 0);
    sleep(ms(50)).await;
    is(&world, Phase::Moving, "b", &Gate::Hold).await;
    sees(&world, 0, 1, 0);
    sleep(ms(50)).await;
    is(&world, Phase::Moving, "b", &Gate::Hold).await;
    sees(&world, 0, 0, 0);
    sleep(ms(50)).await;
    is(&world, Phase::Serving, "b", &Gate::Open).await;
    let last_move = world.route("r").await.observed.last_move.expect("moved");
    assert_eq!((&*last_move.from.domain, last_move.drained, last_move.cut_off), ("a", true, 0));
}

/// One request that never ends must not hold back every client for ever.
#[tokio::test(start_paused = true)]
async fn drain_past_its_deadline_moves_and_says_what_was_cut_off() {
    let world = World::new(&File::new()).await;
    sees(&world, 0, 0, 4);
    let request = SwitchoverRequest { drain: Some(ms(1000)), ..switchover("b") };
    world.command("r", Command::Switchover(request)).await.expect("accepted");
    sleep(ms(900)).await;
    assert_eq!(world.route("r").await.observed.phase, Phase::Draining);
    sees(&world, 0, 3, 4);
    sleep(ms(150)).await;
    is(&world, Phase::Moving, "b", &Gate::Open).await;
    assert_eq!(world.route("r").await.observed.last_move.expect("moved").cut_off, 4);
}

/// A route that was fenced before stays fenced: only its operator knows whether clients may go on.
#[tokio::test(start_paused = true)]
async fn fence_that_stood_before_a_switchover_stands_after_it() {
    let world = World::new(&File::new()).await;
    world.command("r", fence()).await.expect("accepted");
    let request = SwitchoverRequest { fence: Some(FenceMode::Hold), ..switchover("b") };
    world.command("r", Command::Switchover(request)).await.expect("accepted");
    sees(&world, 0, 0, 0);
    sleep(ms(50)).await;
    let route = world.route("r").await;
    assert_eq!((route.observed.phase, &*route.observed.domain), (Phase::Fenced, "b"));
    assert!(matches!(world.published("r").gate, Gate::Answer { .. }));
}

/// A second operator's fence during a drain must be neither lost nor overtaken by the drain.
#[tokio::test(start_paused = true)]
async fn unfence_during_a_drain_is_refused_and_a_fence_is_taken() {
    let world = World::new(&File::new()).await;
    sees(&world, 0, 0, 1);
    let request = SwitchoverRequest { drain: Some(ms(5000)), ..switchover("b") };
    world.command("r", Command::Switchover(request)).await.expect("accepted");
    let refused = world.command("r", Command::Unfence).await.expect_err("refused");
    assert!(refused.remedy().contains("drain"), "{}", refused.remedy());
    world.command("r", fence()).await.expect("accepted");
    assert_eq!(world.route("r").await.desired.revision, 3);
}

/// A repeated switchover to the present target is no reason to look at it, or to cut anybody off.
#[tokio::test(start_paused = true)]
async fn switchover_to_the_present_target_changes_nothing() {
    let world = World::new(&File::new()).await;
    let accepted = world.command("r", Command::Switchover(switchover("a"))).await;
    assert_eq!(accepted.expect("accepted"), Accepted { revision: 1, changed: false });
    assert_eq!(world.calls(), Vec::<String>::new());
}

/// An operator who cuts requests off must not be told that there were none.
#[tokio::test(start_paused = true)]
async fn switchover_without_a_drain_says_how_many_requests_it_cut_off() {
    let world = World::new(&File::new()).await;
    sees(&world, 0, 0, 3);
    world.command("r", Command::Switchover(switchover("b"))).await.expect("accepted");
    let cut = world.route("r").await.observed.last_move.expect("moved");
    assert_eq!((cut.drained, cut.cut_off), (false, 3));
}
