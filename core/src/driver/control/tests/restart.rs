//! What counts when a gateway comes back.

use super::*;
use crate::route::state::StateError;

async fn moved_and_fenced() -> State {
    let world = World::new(&File::new()).await;
    world.command("r", Command::Switchover(switchover("b"))).await.expect("accepted");
    world.command("r", fence()).await.expect("accepted");
    world.store.last()
}

/// A gateway that comes back must neither drift back to the old cluster nor open a fence.
#[tokio::test(start_paused = true)]
async fn restart_with_an_unchanged_section_goes_on_where_it_was() {
    let state = moved_and_fenced().await;
    let world = World::resumed(&File::new(), state).await.expect("starts");
    let published = world.published("r");
    assert_eq!((&*published.target.domain, published.revision), ("b", 3));
    assert!(matches!(published.gate, Gate::Answer { .. }));
    assert!(published.moved);
    let route = world.route("r").await;
    assert_eq!(route.last_change.by, DecidedBy::Api, "the operator's decision, not the file's");
    assert_eq!(world.store.with(|inner| inner.saved.len()), 0, "nothing new to keep");
}

/// An operator's newest word counts, whichever way it was given.
#[tokio::test(start_paused = true)]
async fn restart_with_an_edited_section_follows_the_configuration() {
    let state = moved_and_fenced().await;
    let file = File::new().keys("r", ", clientView: neutral");
    let world = World::resumed(&file, state).await.expect("starts");
    let published = world.published("r");
    assert_eq!((&*published.target.domain, &published.gate), ("a", &Gate::Open));
    assert_eq!(published.revision, 4, "newer than what was decided before");
    assert!(published.moved, "members of groups may come from the other cluster");
    assert_eq!(world.store.last().routes["r"].revision, 4);
}

/// To start with another target than the one that was decided would be a failover that nobody ordered.
#[tokio::test(start_paused = true)]
async fn restart_without_the_decided_domain_is_refused_with_a_remedy() {
    let state = moved_and_fenced().await;
    let refused = World::resumed(&File::new().domains(&["a"]), state).await.err();
    let Some(ApplyError::State(error @ StateError::Dangling { .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.remedy().contains("route `r`"), "{}", error.remedy());
}

/// A read-only disk is no reason for an outage, but nothing may be promised that a restart would undo.
#[tokio::test(start_paused = true)]
async fn start_without_a_place_for_decisions_serves_and_refuses_commands() {
    let store = FakeStore::default();
    store.with(|inner| inner.full = true);
    let started = World::started(&File::new(), State::default(), store).await;
    let world = started.expect("starts");
    assert_eq!(world.published("r").gate, Gate::Open);
    assert!(matches!(world.command("r", fence()).await, Err(CommandError::NotKept { .. })));
}

/// A route that was removed and comes back must not bring an old fence, nor an old revision.
#[tokio::test(start_paused = true)]
async fn route_removed_and_added_again_follows_the_configuration_with_a_newer_revision() {
    let world = World::new(&File::new()).await;
    world.command("r", fence()).await.expect("accepted");
    world.apply(&File::new().without("r")).await.expect("applies");
    world.apply(&File::new()).await.expect("applies");
    let published = world.published("r");
    assert_eq!((published.revision, &published.gate), (3, &Gate::Open));
}
