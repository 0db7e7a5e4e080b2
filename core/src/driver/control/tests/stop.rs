//! The end.

use tokio::time::timeout;

use super::*;

/// Requests in flight get their time, and no more than that.
#[tokio::test(start_paused = true)]
async fn stop_drains_and_answers_when_it_is_done() {
    let world = World::new(&File::new()).await;
    world.plane.with(|inner| inner.shutdown_time = ms(700));
    let before = tokio::time::Instant::now();
    world.control.stop(ms(2000)).await;
    assert!(before.elapsed() >= ms(700), "returned while sessions were still draining");
    assert_eq!(world.calls(), ["shutdown within 2s"]);
    assert!(matches!(world.command("r", fence()).await, Err(CommandError::Stopping)));
    assert!(world.control.status().await.is_none());
    assert!(matches!(world.apply(&File::new()).await, Err(ApplyError::Stopping)));
}

/// A load balancer must hear at once that the gateway goes; an operator must not wait for a dead one.
#[tokio::test(start_paused = true)]
async fn calls_while_the_gateway_drains_are_told_so_at_once() {
    let world = World::new(&File::new()).await;
    world.plane.with(|inner| inner.shutdown_time = ms(5000));
    let control = world.control.clone();
    let stopping = tokio::spawn(async move { control.stop(ms(5000)).await });
    sleep(ms(100)).await;
    let status = timeout(ms(10), world.control.status()).await;
    assert!(status.expect("at once").is_none());
    let command = timeout(ms(10), world.command("r", fence())).await;
    assert!(matches!(command.expect("at once"), Err(CommandError::Stopping)));
    assert!(!stopping.is_finished(), "the drain goes on");
    stopping.await.expect("ends");
}
