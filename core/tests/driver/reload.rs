//! Configurations that are put in force while clients work: ports, brokers, targets.

use std::sync::atomic::Ordering;

use switchyard::{
    driver::control::ApplyError,
    route::{Command, Expect, Phase, SwitchoverRequest, state::DecidedBy},
};

use super::*;

/// A new port must not cost the clients of the old one their sessions.
#[tokio::test]
async fn edited_port_opens_the_new_one_and_keeps_sessions() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    let mut edited = rig.file.clone();
    edited.routes[0].1 = 19292;
    rig.control.apply(edited.model()).await.expect("applies");
    client.works().await;
    rig.client_at(19292).await.works().await;
    assert!(Client::connect(rig.address, PORT).await.is_err(), "the old port is closed");
    rig.control.apply(rig.file.model()).await.expect("applies");
    rig.client().await.works().await;
}

/// A refused configuration must give back the ports that it had given up already.
#[tokio::test]
async fn reload_with_a_port_that_is_taken_keeps_the_old_ports() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    let taken = tokio::net::TcpListener::bind((rig.address, 19392)).await.expect("a free port");
    let mut edited = rig.file.clone();
    edited.routes[0].1 = 19292;
    edited.routes.push(("s", 19392, "a"));
    let refused = rig.control.apply(edited.model()).await;
    assert!(matches!(refused, Err(ApplyError::Open(_))), "{refused:?}");
    client.works().await;
    rig.client().await.works().await;
    assert!(Client::connect(rig.address, 19292).await.is_err(), "the new port is closed");
    drop(taken);
    rig.control.apply(edited.model()).await.expect("applies once the port is free");
    rig.client_at(19392).await.works().await;
}

/// A route that gets another name keeps its port: nobody else has it.
#[tokio::test]
async fn renamed_route_keeps_its_port() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    let mut renamed = rig.file.clone();
    renamed.routes[0].0 = "q";
    rig.control.apply(renamed.model()).await.expect("applies");
    client.is_closed().await;
    rig.client().await.works().await;
    let text = rig.metrics.render(&[]);
    assert!(text.contains("switchyard_connections_total{route=\"q\"} 1"), "{text}");
}

/// Two routes may exchange their ports.
#[tokio::test]
async fn swapped_ports_are_served_by_the_other_route() {
    let rig = Rig::new().await;
    let mut both = rig.file.clone();
    both.routes.push(("s", 19292, "a"));
    rig.control.apply(both.model()).await.expect("applies");
    let mut swapped = rig.file.clone();
    swapped.routes = vec![("r", 19292, "a"), ("s", PORT, "a")];
    rig.control.apply(swapped.model()).await.expect("applies");
    rig.client().await.works().await;
    let text = rig.metrics.render(&[]);
    assert!(text.contains("switchyard_connections_total{route=\"s\"} 1"), "{text}");
    rig.client_at(19292).await.works().await;
}

/// A refused configuration must give a port back to the route that had it.
#[tokio::test]
async fn renamed_route_in_a_refused_reload_keeps_its_port() {
    let rig = Rig::new().await;
    let _taken = tokio::net::TcpListener::bind((rig.address, 19392)).await.expect("a free port");
    let mut renamed = rig.file.clone();
    renamed.routes[0].0 = "q";
    renamed.routes.push(("s", 19392, "a"));
    let refused = rig.control.apply(renamed.model()).await;
    assert!(matches!(refused, Err(ApplyError::Open(_))), "{refused:?}");
    rig.client().await.works().await;
    let text = rig.metrics.render(&[]);
    assert!(text.contains("switchyard_connections_total{route=\"r\"} 1"), "{text}");
}

/// What was learned of the old brokers counts no more, and the new ones are looked at without delay: until
/// then a fenced route could not even say which versions it speaks.
#[tokio::test]
async fn edited_bootstrap_server_is_looked_at_and_used_at_once() {
    let rig = Rig::new().await;
    rig.client().await.works().await;
    let moved = Broker::start(rig.address, 9192).await;
    let asked = || moved.shared.requests.load(Ordering::Relaxed);
    let mut edited = rig.file.clone();
    edited.domains[0].1 = moved.address().to_string();
    rig.control.apply(edited.model()).await.expect("applies");
    eventually("ApiVersions and Metadata are asked", || async { asked() == 2 }).await;
    rig.client().await.works().await;
    assert_eq!(asked(), 3);
}

/// Clients that stay on the old cluster after a switchover would write where nobody reads.
#[tokio::test]
async fn switchover_ends_sessions_and_leads_new_ones_to_the_target() {
    let rig = Rig::new().await;
    let second = Broker::start(rig.address, 9192).await;
    let mut both = rig.file.clone();
    both.domains.push(("b", second.address().to_string()));
    rig.control.apply(both.model()).await.expect("applies");
    let mut client = rig.client().await;
    client.works().await;
    let request = SwitchoverRequest {
        to: "b".into(),
        bootstrap_server_id: None,
        fence: None,
        drain: Some(PATIENCE),
    };
    let command = Command::Switchover(request);
    let switched = rig.control.command("r", command, Expect::default(), DecidedBy::Api).await;
    switched.expect("accepted");
    client.is_closed().await;
    rig.ends_with("repointed").await;
    eventually("settled", || async { rig.route().await.observed.phase == Phase::Serving }).await;
    let before = second.shared.requests.load(Ordering::Relaxed);
    rig.client().await.works().await;
    assert_eq!(second.shared.requests.load(Ordering::Relaxed), before + 1);
}
