//! Limits over all sessions.

use super::*;

/// One client that opens connections without end must not keep the others' sessions from working.
#[tokio::test]
async fn connection_beyond_the_limit_is_closed_with_its_cause() {
    let rig = Rig::limited("connectionsMax: 2").await;
    let mut first = rig.client().await;
    first.works().await;
    let mut second = rig.client().await;
    second.works().await;
    let mut third = rig.client().await;
    third.is_closed().await;
    rig.ends_with("too_many_connections").await;
    first.works().await;
    drop(second);
    eventually("a place is free", || async { rig.closes("client_closed") == 1 }).await;
    rig.client().await.works().await;
}

/// A client that sends requests without waiting must not fill the gateway's memory.
#[tokio::test]
async fn requests_beyond_the_window_wait_for_answers() {
    let rig = Rig::limited("inFlightMax: 2").await;
    let mut client = rig.client().await;
    for _ in 0..4 {
        client.ask("slow").await;
    }
    let in_flight = || async { rig.route().await.observed.sessions.in_flight };
    eventually("two in flight", || async { in_flight().await == 2 }).await;
    for answered in 1..=4 {
        eventually("the next one is asked", || async { in_flight().await > 0 }).await;
        assert!(in_flight().await <= 2);
        rig.broker.shared.release.notify_one();
        let answer = client.receive().await.expect("an answer");
        assert_eq!(answer[..4], i32::to_be_bytes(answered), "in the order of the requests");
    }
}

/// A client that is gone must not stay because its broker never answers: the connections would run out.
#[tokio::test]
async fn client_that_gives_up_behind_a_full_window_ends_the_session() {
    let rig = Rig::limited("inFlightMax: 1").await;
    let mut client = rig.client().await;
    client.ask("silent").await;
    client.ask("silent").await;
    eventually("in flight", || async { rig.route().await.observed.sessions.in_flight == 1 }).await;
    drop(client);
    rig.ends_with("client_closed").await;
}
