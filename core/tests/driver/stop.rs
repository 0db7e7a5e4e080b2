//! The end of a gateway and of a route, with requests in flight.

use tokio::time::Instant;

use super::*;

async fn in_flight(rig: &Rig) {
    eventually("in flight", || async { rig.route().await.observed.sessions.in_flight == 1 }).await;
}

/// A request that a broker already holds must be answered: the client could not tell its fate.
#[tokio::test]
async fn stop_lets_a_request_in_flight_finish_then_closes() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.ask("slow").await;
    in_flight(&rig).await;
    let control = rig.control.clone();
    let stopping = tokio::spawn(async move { control.stop(PATIENCE).await });
    eventually("no new connections", || async {
        Client::connect(rig.address, PORT).await.is_err()
    })
    .await;
    assert!(!stopping.is_finished());
    rig.broker.shared.release.notify_one();
    let answer = client.receive().await.expect("the answer to the request in flight");
    assert_eq!(answer[..4], client.correlation_id.to_be_bytes());
    client.is_closed().await;
    timeout(Duration::from_secs(2), stopping)
        .await
        .expect("ends with its last session")
        .expect("ends");
    assert_eq!(rig.closes("shutdown"), 1);
}

/// A broker that never answers must not keep the process from ending.
#[tokio::test]
async fn stop_past_its_deadline_closes_what_is_left() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.ask("silent").await;
    in_flight(&rig).await;
    let before = Instant::now();
    timeout(PATIENCE, rig.control.stop(Duration::from_millis(300))).await.expect("in time");
    assert!(before.elapsed() >= Duration::from_millis(300));
    client.is_closed().await;
    assert_eq!(rig.closes("shutdown"), 1);
}

/// An idle client must not hold up the end.
#[tokio::test]
async fn stop_closes_idle_sessions_at_once() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    let stranger = rig.client().await;
    eventually("accepted", || async { rig.route().await.observed.sessions.sessions == 2 }).await;
    timeout(Duration::from_secs(2), rig.control.stop(PATIENCE)).await.expect("at once");
    client.is_closed().await;
    drop(stranger);
    assert_eq!(rig.closes("shutdown"), 2);
}

/// A route that is taken out of the configuration ends its own sessions, gently.
#[tokio::test]
async fn removed_route_lets_a_request_in_flight_finish_then_closes() {
    let rig = Rig::new().await;
    let mut with_other = rig.file.clone();
    with_other.routes.push(("s", 19192, "a"));
    rig.control.apply(with_other.model()).await.expect("applies");
    let mut other = rig.client_at(19192).await;
    other.works().await;
    let mut client = rig.client().await;
    client.ask("slow").await;
    in_flight(&rig).await;
    let mut without = with_other;
    without.routes.remove(0);
    rig.control.apply(without.model()).await.expect("applies");
    rig.broker.shared.release.notify_one();
    client.receive().await.expect("the answer to the request in flight");
    client.is_closed().await;
    rig.ends_with("route_removed").await;
    other.works().await;
}
