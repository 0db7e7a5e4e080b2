//! What a client reads of a session that ends while its requests are on their way. A reset would take answers from it
//! that it has not read: it would send what is already written once more, to the other cluster.

use socket2::SockRef;
use switchyard::{
    config::model::FenceMode,
    route::{Command, Expect, Phase, SwitchoverRequest, state::DecidedBy},
};
use tokio::{io::AsyncReadExt, time::Instant};

use super::*;

const FETCH: i16 = 1;

/// A switchover to domain `b` begins: the fence holds what comes, and requests in flight are waited for.
async fn repoint(rig: &Rig) {
    let second = Broker::start(rig.address, 9192).await;
    let mut both = rig.file.clone();
    both.domains.push(("b", second.address().to_string()));
    rig.control.apply(both.model()).await.expect("applies");
    let request = SwitchoverRequest {
        to: "b".into(),
        bootstrap_server_id: None,
        fence: Some(FenceMode::Hold),
        drain: Some(PATIENCE),
    };
    let command = Command::Switchover(request);
    let switched = rig.control.command("r", command, Expect::default(), DecidedBy::Api).await;
    switched.expect("accepted");
}

/// More requests behind the fence than the gateway reads: it stops with the first.
async fn send_what_is_held(rig: &Rig, client: &mut Client) {
    client.send((METADATA, 2), "good", &0_i32.to_be_bytes()).await;
    eventually("parked", || async { rig.route().await.observed.sessions.parked_bytes > 0 }).await;
    client.send((METADATA, 2), "good", &0_i32.to_be_bytes()).await;
}

/// The rest of what a client reads must be the end, and not a reset.
async fn reads_the_end(client: &mut Client) {
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, client.stream.read_to_end(&mut rest)).await.expect("in time");
    assert_eq!(end.expect("the end of the stream, not a reset"), 0, "more than was asked for");
    // After the end of the stream the kernel keeps a reset for the next write.
    let error = client.stream.take_error().expect("can be asked");
    assert!(error.is_none(), "{error:?}");
}

/// A client that writes before it reads would give the connection up, with the answers that it has not read.
#[tokio::test]
async fn client_with_unread_requests_reads_its_last_answer_then_the_end() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.ask("slow").await;
    let correlation_id = client.correlation_id;
    eventually("in flight", || async { rig.route().await.observed.sessions.in_flight == 1 }).await;
    repoint(&rig).await;
    send_what_is_held(&rig, &mut client).await;
    rig.broker.shared.release.notify_one();
    // A client with other work: what arrives meanwhile waits in its socket, a reset included.
    sleep(Duration::from_millis(200)).await;
    client.ask("good").await;
    let answer = client.receive().await.expect("the answer to the request in flight");
    assert_eq!(answer[..4], correlation_id.to_be_bytes());
    reads_the_end(&mut client).await;
    drop(client);
    rig.ends_with("repointed").await;
}

/// The kernel forgets what it has not delivered when a socket is closed with bytes unread.
#[tokio::test]
async fn client_with_unread_requests_reads_the_whole_of_a_large_last_answer() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    SockRef::from(&client.stream).set_recv_buffer_size(32 << 10).expect("can be set");
    client.works().await;
    client.send((FETCH, 4), "flood", &clients::fetch_body()).await;
    eventually("in flight", || async { rig.route().await.observed.sessions.in_flight == 1 }).await;
    repoint(&rig).await;
    send_what_is_held(&rig, &mut client).await;
    let answer = client.receive().await.expect("the whole answer to the request in flight");
    assert!(answer.len() > fake::FLOOD_BYTES);
    reads_the_end(&mut client).await;
    drop(client);
    rig.ends_with("repointed").await;
}

/// The fence of a switchover holds every client: one that is slow to close must not make it longer.
#[tokio::test]
async fn client_that_does_not_close_keeps_no_switchover_waiting() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    repoint(&rig).await;
    eventually("settled", || async { rig.route().await.observed.phase == Phase::Serving }).await;
    assert_eq!(rig.closes("repointed"), 0, "it waited until the client was given up");
    rig.ends_with("repointed").await;
}

/// A client that does not hear that the session is over must not keep its place, nor the gateway from ending.
#[tokio::test]
async fn client_that_sends_on_after_the_end_is_cut_off_in_time() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    let (control, before) = (rig.control.clone(), Instant::now());
    let stopping = tokio::spawn(async move { control.stop(PATIENCE).await });
    let frame = request((API_VERSIONS, 0), 2, "good", &[]);
    let sending = async {
        while client.stream.write_all(&frame).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, sending).await.expect("cut off in time");
    timeout(PATIENCE, stopping).await.expect("in time").expect("ends");
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert_eq!(rig.closes("shutdown"), 1);
}
