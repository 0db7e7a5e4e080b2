//! Clients that are not what they should be.

use std::sync::atomic::Ordering;

use socket2::SockRef;
use switchyard::{
    config::model::FenceMode,
    route::{Command, Expect, FenceRequest, state::DecidedBy},
};

use super::*;

const SASL_HANDSHAKE: i16 = 17;
const FETCH: i16 = 1;

/// Sends bytes as a session's first, and sees how it ends while another session goes on.
async fn stranger(bytes: &[u8], cause: &str) {
    let rig = Rig::new().await;
    let mut other = rig.client().await;
    other.works().await;
    let mut client = rig.client().await;
    client.send_bytes(bytes).await;
    client.is_closed().await;
    rig.ends_with(cause).await;
    other.works().await;
}

/// A client that is configured for TLS must be told from a broken one.
#[tokio::test]
async fn tls_client_hello_is_closed_with_its_cause() {
    stranger(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc], "tls_on_plaintext").await;
}

/// A browser or a health check of a load balancer must not be taken for a huge Kafka request.
#[tokio::test]
async fn http_request_is_closed_with_its_cause() {
    stranger(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", "http_on_kafka").await;
}

/// A length must never be believed before it is checked.
#[tokio::test]
async fn frame_with_an_oversized_length_is_closed_with_its_cause() {
    stranger(&[0x7f, 0xff, 0xff, 0xff, 0, 18, 0, 0, 0, 0, 0, 1], "frame_too_large").await;
}

/// A negative length must be no huge one.
#[tokio::test]
async fn frame_with_a_negative_length_is_closed_with_its_cause() {
    stranger(&[0xff, 0xff, 0xff, 0xff, 0, 18, 0, 0, 0, 0, 0, 1], "frame_too_small").await;
}

/// What the gateway does not know it cannot rewrite: real addresses would leak.
#[tokio::test]
async fn request_of_an_unknown_api_is_closed_with_its_cause() {
    stranger(&request((9999, 0), 1, "x", &[]), "unknown_api").await;
}

#[tokio::test]
async fn request_of_an_unadvertised_version_is_closed_with_its_cause() {
    stranger(&request((METADATA, 99), 1, "x", &[]), "unsupported_version").await;
}

/// A client id longer than its frame must not be read beyond it.
#[tokio::test]
async fn request_with_a_header_that_lies_is_closed_with_its_cause() {
    stranger(&with_length(&[0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff]), "malformed_request").await;
}

/// Connections that say nothing must not fill the gateway up.
#[tokio::test]
async fn first_request_that_comes_too_slowly_is_closed_with_its_cause() {
    let rig = Rig::limited("firstRequestTimeout: 300ms").await;
    let mut other = rig.client().await;
    other.works().await;
    let mut client = rig.client().await;
    let frame = request((API_VERSIONS, 0), 1, "good", &[]);
    let drip = async {
        for byte in &frame {
            client.send_bytes(&[*byte]).await;
            sleep(Duration::from_millis(100)).await;
            if rig.closes("first_request_timeout") > 0 {
                return;
            }
        }
        panic!("the whole request was taken");
    };
    timeout(PATIENCE, drip).await.expect("closed in time");
    client.is_closed().await;
    rig.ends_with("first_request_timeout").await;
    other.works().await;
}

/// A request that stops in its middle must not hold a connection for ever.
#[tokio::test]
async fn request_that_stalls_is_closed_with_its_cause() {
    let rig = Rig::limited("writeStallTimeout: 300ms").await;
    let mut client = rig.client().await;
    client.works().await;
    client.send_bytes(&[0, 0, 0, 50, 0]).await;
    client.is_closed().await;
    rig.ends_with("request_stalled").await;
}

/// An idle client that sends nothing between requests is in order.
#[tokio::test]
async fn idle_client_past_every_timeout_stays() {
    let rig = Rig::limited("writeStallTimeout: 100ms, firstRequestTimeout: 100ms").await;
    let mut client = rig.client().await;
    client.works().await;
    sleep(Duration::from_millis(400)).await;
    client.works().await;
}

/// A broker's answers must not pile up in the gateway when a client does not take them.
#[tokio::test]
async fn client_that_never_reads_stops_upstream_and_is_closed_with_its_cause() {
    let rig = Rig::limited("writeStallTimeout: 1s").await;
    let mut other = rig.client().await;
    other.works().await;
    let mut client = rig.client().await;
    client.works().await;
    client.send((FETCH, 4), "flood", &fetch_body()).await;
    rig.ends_with("client_not_reading").await;
    let flooded = rig.broker.shared.flooded.load(Ordering::Relaxed);
    assert!(flooded > 0, "nothing was fetched");
    assert!(
        flooded < fake::FLOOD_BYTES / 2,
        "{flooded} bytes were taken for a client that never reads"
    );
    other.works().await;
}

/// Fetch of version 4 from no topic.
pub(super) fn fetch_body() -> Vec<u8> {
    let mut body = Vec::new();
    for number in [-1_i32, 100, 1, i32::MAX] {
        body.extend(number.to_be_bytes());
    }
    body.push(0);
    body.extend(0_i32.to_be_bytes());
    body
}

/// A client that asks and never reads must not make a fenced gateway keep every answer; and what it does not
/// get sent because of that must not be taken for its own delay.
#[tokio::test]
async fn fenced_client_that_never_reads_is_not_read_any_more() {
    /// What the kernel keeps on the way, and a little more.
    const ANSWER_BYTES_MAX: u64 = 6 << 20;
    let rig = Rig::limited("writeStallTimeout: 1s").await;
    let mut client = rig.client().await;
    SockRef::from(&client.stream).set_recv_buffer_size(32 << 10).expect("can be set");
    client.works().await;
    fence(&rig, FenceMode::Error).await;
    let requests = request((METADATA, 2), 1, "good", &0_i32.to_be_bytes()).repeat(4096);
    let flood = async {
        while rig.bytes_to_clients() < ANSWER_BYTES_MAX {
            if client.stream.write_all(&requests).await.is_err() {
                return;
            }
        }
    };
    // The kernel's buffers grow for a while, so the end may take longer than this.
    drop(timeout(Duration::from_secs(4), flood).await);
    let answered = rig.bytes_to_clients();
    assert!(answered < ANSWER_BYTES_MAX, "{answered} bytes for a client that never reads");
    assert_eq!(rig.closes("request_stalled"), 0, "the gateway's own pause was the client's fault");
}

async fn fence(rig: &Rig, mode: FenceMode) {
    let request = FenceRequest { mode: Some(mode), ..FenceRequest::default() };
    let (command, expect) = (Command::Fence(request), Expect::default());
    rig.control.command("r", command, expect, DecidedBy::Api).await.expect("accepted");
}

/// A client that has closed its side waits for nothing.
#[tokio::test]
async fn client_that_closes_its_side_with_a_request_in_flight_ends_the_session() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.ask("silent").await;
    eventually("in flight", || async { rig.route().await.observed.sessions.in_flight == 1 }).await;
    client.stream.shutdown().await.expect("can be shut down");
    client.is_closed().await;
    rig.ends_with("client_closed").await;
    assert_eq!(rig.route().await.observed.sessions.sessions, 0);
}

/// A reset must be counted as what it is.
#[tokio::test]
async fn client_that_resets_ends_the_session_as_broken() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("can be set");
    drop(client);
    rig.ends_with("client_broken").await;
}

/// Clients whose authentication waits behind a fence give up and connect anew, again and again. If those that
/// are gone stayed, a fence of an hour would use up every connection that the gateway may have.
#[tokio::test]
async fn client_that_gives_up_behind_a_fence_ends_the_session() {
    let rig = Rig::new().await;
    fence(&rig, FenceMode::Error).await;
    let mut client = rig.client().await;
    client.send((SASL_HANDSHAKE, 1), "x", &[0, 5, b'P', b'L', b'A', b'I', b'N']).await;
    eventually("parked", || async { rig.route().await.observed.sessions.parked_bytes > 0 }).await;
    drop(client);
    rig.ends_with("client_closed").await;
}

#[tokio::test]
async fn client_that_gives_up_while_it_is_held_ends_the_session() {
    let rig = Rig::new().await;
    fence(&rig, FenceMode::Hold).await;
    let mut client = rig.client().await;
    client.send((METADATA, 2), "x", &0_i32.to_be_bytes()).await;
    eventually("parked", || async { rig.route().await.observed.sessions.parked_bytes > 0 }).await;
    drop(client);
    rig.ends_with("client_closed").await;
}

/// A held client that is still there gets its answer when the fence falls, and the request is sent once.
#[tokio::test]
async fn held_request_is_answered_after_the_fence() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.works().await;
    fence(&rig, FenceMode::Hold).await;
    client.send((METADATA, 2), "good", &0_i32.to_be_bytes()).await;
    eventually("parked", || async { rig.route().await.observed.sessions.parked_bytes > 0 }).await;
    let before = rig.broker.shared.requests.load(Ordering::Relaxed);
    let command = rig.control.command("r", Command::Unfence, Expect::default(), DecidedBy::Api);
    command.await.expect("accepted");
    let answer = client.receive().await.expect("an answer");
    assert_eq!(answer[..4], client.correlation_id.to_be_bytes());
    assert_eq!(rig.broker.shared.requests.load(Ordering::Relaxed), before + 1);
    let address = rig.address.to_string();
    let host = answer.windows(address.len()).position(|window| window == address.as_bytes());
    let port = host.expect("the gateway's address") + address.len();
    assert_eq!(answer[port..port + 4], i32::from(PORT + 1).to_be_bytes(), "the node's own port");
}
