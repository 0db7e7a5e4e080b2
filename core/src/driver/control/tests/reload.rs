//! Configurations that are put in force while running.

use super::*;
use crate::route::Phase;

fn names(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

/// A new route must not cost the clients of the others anything.
#[tokio::test(start_paused = true)]
async fn reload_touches_what_was_edited_and_nothing_else() {
    let world = World::new(&File::new()).await;
    let file = File::new().without("s").with("t", 19200, "b").keys("r", ", clientView: native");
    let applied = world.apply(&file).await.expect("applies");
    assert_eq!(names(&applied.added), ["t"]);
    assert_eq!(names(&applied.removed), ["s"]);
    assert_eq!(names(&applied.edited), ["r"]);
    sleep(ms(1)).await;
    assert_eq!(world.calls(), ["reconfigure r", "open t", "close s within 10s"]);
    assert_eq!(&*world.published("t").target.domain, "b");
    let state = world.store.last();
    assert_eq!(state.routes["s"].section_digest, None);
    assert_eq!(state.routes["t"].decided_by, DecidedBy::Config);
}

/// A fence put up by command must survive that another route's section is edited.
#[tokio::test(start_paused = true)]
async fn reload_leaves_commands_on_unedited_routes_in_force() {
    let world = World::new(&File::new()).await;
    world.command("s", fence()).await.expect("accepted");
    world.command("s", Command::Switchover(switchover("b"))).await.expect("accepted");
    sleep(ms(50)).await;
    world.forget();
    let before = world.published("s");
    world.apply(&File::new().keys("r", ", clientView: native")).await.expect("applies");
    assert_eq!(world.calls(), ["reconfigure r"]);
    assert!(Arc::ptr_eq(&before, &world.published("s")));
    assert_eq!(world.route("s").await.desired.revision, 3);
}

/// The same file again must not wake a single session.
#[tokio::test(start_paused = true)]
async fn reload_of_the_same_configuration_changes_nothing() {
    let world = World::new(&File::new()).await;
    let saved = world.store.with(|inner| inner.saved.len());
    let applied = world.apply(&File::new()).await.expect("applies");
    assert_eq!(applied, super::super::Applied::default());
    assert_eq!(world.calls(), Vec::<String>::new());
    assert_eq!(world.store.with(|inner| inner.saved.len()), saved);
}

/// Clients that are repointed by file must be treated as gently as those repointed by command.
#[tokio::test(start_paused = true)]
async fn reload_with_another_target_looks_at_it_and_drains() {
    let world = World::new(&File::new()).await;
    let busy = Observed { sessions: 1, in_flight: 1, ..Observed::default() };
    world.plane.with(|inner| inner.observed.insert("r".to_owned(), busy));
    world.apply(&File::new().with("r", 19000, "b")).await.expect("applies");
    assert_eq!(world.calls()[0], "probe b");
    let route = world.route("r").await;
    assert_eq!((route.observed.phase, route.desired.revision), (Phase::Draining, 2));
    assert_eq!(route.last_change.by, DecidedBy::Config);
    world.plane.with(|inner| inner.observed.clear());
    sleep(ms(50)).await;
    assert_eq!(&*world.published("r").target.domain, "b");
}

/// A file that repoints a route at a dead cluster must be refused like such a command.
#[tokio::test(start_paused = true)]
async fn reload_with_a_target_that_is_down_changes_nothing() {
    let world = World::new(&File::new()).await;
    world.plane.with(|inner| inner.down.insert("b"));
    let before = world.trace().await;
    let refused = world.apply(&File::new().with("r", 19000, "b")).await;
    assert!(matches!(refused, Err(ApplyError::Target { .. })), "{refused:?}");
    assert_eq!(world.trace().await, before);
}

/// What a switchover decides while a configuration's targets are looked at must not lead to a repoint to a
/// target that nobody has looked at.
#[tokio::test(start_paused = true)]
async fn reload_whose_route_moves_during_the_look_looks_again() {
    let world = World::new(&File::new()).await;
    // The new route `r` is still at `a`, so only `s` has to be looked at.
    let file = File::new().keys("r", ", clientView: native").with("s", 19100, "b");
    world.plane.with(|inner| inner.probe_time = ms(1000));
    let (control, model) = (world.control.clone(), file.model());
    let applying = tokio::spawn(async move { control.apply(model).await });
    sleep(ms(500)).await;
    world.plane.with(|inner| inner.probe_time = ms(10));
    world.command("r", Command::Switchover(switchover("b"))).await.expect("accepted");
    sleep(ms(50)).await;
    world.plane.with(|inner| inner.down.insert("a"));
    let refused = applying.await.expect("ends");
    assert!(matches!(refused, Err(ApplyError::Target { .. })), "{refused:?}");
    assert_eq!(&*world.published("r").target.domain, "b");
}

/// A configuration is in force as a whole or not at all: a half-applied one is neither the old nor the new.
#[tokio::test(start_paused = true)]
async fn reload_with_a_port_that_is_taken_leaves_everything_as_it_was() {
    let world = World::new(&File::new()).await;
    let (_, saved, status) = world.trace().await;
    let configured = world.plane.with(|inner| inner.configured.clone());
    let open = world.plane.with(|inner| inner.open.clone());
    world.plane.with(|inner| inner.taken.insert("t"));
    // In the order of names: `q` is opened and `r` changed before `t` fails.
    let file = File::new()
        .without("s")
        .with("q", 19300, "a")
        .with("t", 19200, "a")
        .keys("r", ", fence: {scope: ALL}");
    let refused = world.apply(&file).await;
    assert!(matches!(refused, Err(ApplyError::Open(_))), "{refused:?}");
    sleep(ms(50)).await;
    let (calls, saved_after, status_after) = world.trace().await;
    assert_eq!((saved_after, status_after), (saved, status));
    assert_eq!(world.plane.with(|inner| inner.configured.clone()), configured);
    assert_eq!(world.plane.with(|inner| inner.open.clone()), open, "{calls:?}");
    assert_eq!(world.published("r").gate, Gate::Open);
    assert!(calls.contains(&"close q within 0ns".to_owned()), "{calls:?}");
}

/// A reload that the next restart would not know of must not be acknowledged.
#[tokio::test(start_paused = true)]
async fn reload_that_cannot_be_kept_leaves_everything_as_it_was() {
    let world = World::new(&File::new()).await;
    let (_, saved, status) = world.trace().await;
    let open = world.plane.with(|inner| inner.open.clone());
    world.store.with(|inner| inner.full = true);
    let refused = world.apply(&File::new().keys("r", ", fence: {scope: ALL}")).await;
    assert!(matches!(refused, Err(ApplyError::NotKept { .. })), "{refused:?}");
    let (_, saved_after, status_after) = world.trace().await;
    assert_eq!((saved_after, status_after), (saved, status));
    assert_eq!(world.plane.with(|inner| inner.open.clone()), open);
    assert_eq!(world.published("r").gate, Gate::Open);
}

/// A domain must not be taken away under a route that was moved to it.
#[tokio::test(start_paused = true)]
async fn reload_without_the_domain_that_a_route_was_moved_to_is_refused() {
    let world = World::new(&File::new()).await;
    world.command("r", Command::Switchover(switchover("b"))).await.expect("accepted");
    let before = world.trace().await;
    let refused = world.apply(&File::new().domains(&["a"])).await;
    assert!(matches!(refused, Err(ApplyError::State(_))), "{refused:?}");
    assert_eq!(world.trace().await.1, before.1);
    assert_eq!(&*world.published("r").target.domain, "b");
}

/// An edited section is an operator's newest word, also about the fence.
#[tokio::test(start_paused = true)]
async fn reload_with_an_edited_fence_replaces_the_fence_of_a_command() {
    let world = World::new(&File::new()).await;
    world.command("r", fence()).await.expect("accepted");
    let edited = File::new().keys("r", ", fence: {scope: ALL, mode: hold}");
    world.apply(&edited).await.expect("applies");
    assert_eq!(world.published("r").gate, Gate::Hold);
    world.apply(&File::new()).await.expect("applies");
    assert_eq!(world.published("r").gate, Gate::Open);
    assert_eq!(world.route("r").await.desired.revision, 4);
}
