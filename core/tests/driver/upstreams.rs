//! Brokers that are not what they should be.

use std::sync::atomic::Ordering;

use super::*;

const PRODUCE: i16 = 0;

/// A broker that answers one session with this habit, while another session goes on.
async fn misbehaves(api: (i16, i16), habit: &str, body: &[u8], cause: &str) {
    let rig = Rig::new().await;
    let mut other = rig.client().await;
    other.works().await;
    let mut client = rig.client().await;
    client.send(api, habit, body).await;
    client.is_closed().await;
    rig.ends_with(cause).await;
    other.works().await;
}

#[tokio::test]
async fn upstream_closing_between_frames_ends_the_session_with_its_cause() {
    misbehaves((API_VERSIONS, 0), "close", &[], "upstream_closed").await;
}

/// Half an answer must not be taken for a whole one.
#[tokio::test]
async fn upstream_closing_in_the_middle_of_a_frame_ends_the_session_with_its_cause() {
    misbehaves((API_VERSIONS, 0), "truncate", &[], "upstream_truncated").await;
}

/// An answer to another request would be taken for the wrong records.
#[tokio::test]
async fn upstream_answering_another_request_ends_the_session_with_its_cause() {
    misbehaves((API_VERSIONS, 0), "confused", &[], "correlation_mismatch").await;
}

#[tokio::test]
async fn upstream_answering_twice_ends_the_session_with_its_cause() {
    misbehaves((API_VERSIONS, 0), "chatty", &[], "unexpected_response").await;
}

#[tokio::test]
async fn upstream_frame_with_an_oversized_length_ends_the_session_with_its_cause() {
    misbehaves((API_VERSIONS, 0), "endless", &[], "response_too_large").await;
}

#[tokio::test]
async fn upstream_frame_with_a_negative_length_ends_the_session_with_its_cause() {
    // All bits set are also its correlation id.
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.send_bytes(&request((API_VERSIONS, 0), -1, "negative", &[])).await;
    client.is_closed().await;
    rig.ends_with("malformed_response").await;
}

/// What cannot be parsed may hold addresses that clients must not see.
#[tokio::test]
async fn upstream_answer_that_cannot_be_parsed_ends_the_session_with_its_cause() {
    misbehaves((METADATA, 2), "garbage", &0_i32.to_be_bytes(), "malformed_response").await;
}

/// A broker that is down must be told from a client that is at fault, and sessions that stand go on.
#[tokio::test]
async fn upstream_that_refuses_ends_the_session_with_its_cause() {
    let mut rig = Rig::new().await;
    let mut other = rig.client().await;
    other.works().await;
    rig.broker.stop_listening().await;
    let mut client = rig.client().await;
    client.ask("good").await;
    client.is_closed().await;
    rig.ends_with("upstream_refused").await;
    other.works().await;
}

/// A host that swallows packets must cost a client no more than the configured time.
#[tokio::test]
async fn upstream_that_does_not_accept_in_time_ends_the_session_with_its_cause() {
    let address = own_address();
    let broker = Broker::start(address, 9092).await;
    // A queue of accepted connections that is full: the next ones get no answer.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let full = full.expect("a socket");
    let place = std::net::SocketAddr::new(address, 9093);
    full.bind(&place.into()).expect("a free port");
    full.listen(0).expect("listens");
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(place)).await
    {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue never fills");
    }
    let mut file = File::new(address, &broker);
    file.domains[0].1 = place.to_string();
    file.limits = "connectTimeout: 300ms";
    let rig = Rig::on(broker, file).await;
    let mut client = rig.client().await;
    client.ask("good").await;
    client.is_closed().await;
    rig.ends_with("upstream_connect_timeout").await;
}

/// A broker that accepts and never answers holds what was asked of it, and nothing else.
#[tokio::test]
async fn upstream_that_never_answers_holds_its_own_session_only() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.ask("silent").await;
    eventually("in flight", || async { rig.route().await.observed.sessions.in_flight == 1 }).await;
    let mut other = rig.client().await;
    other.works().await;
    drop(client);
    rig.ends_with("client_closed").await;
    other.works().await;
}

/// Records that a broker does not take must wait with their client, not in the gateway.
#[tokio::test]
async fn upstream_that_never_reads_stops_the_client_and_ends_the_session_with_its_cause() {
    let rig = Rig::limited("writeStallTimeout: 1s").await;
    let mut other = rig.client().await;
    other.works().await;
    let mut client = rig.client().await;
    client.ask("deaf").await;
    // A Produce of version 3 that is never complete: acks 1, one topic, records without end.
    let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0x75, 0x30];
    body.extend(1_i32.to_be_bytes());
    body.extend([0, 1, b't']);
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend((90_i32 << 20).to_be_bytes());
    let mut frame = request((PRODUCE, 3), 2, "deaf", &body);
    let length = i32::try_from(frame.len() - 4).expect("short") + (90 << 20);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    client.send_bytes(&frame).await;
    let chunk = vec![0x5a; 64 << 10];
    let mut sent = 0;
    let flood = async {
        while client.stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
    };
    timeout(PATIENCE, flood).await.expect("closed in time");
    rig.ends_with("upstream_not_reading").await;
    assert!(sent < 45 << 20, "{sent} bytes were taken for a broker that never reads");
    other.works().await;
}

/// Nobody but a client with a request may cause a connection: strangers would reach the cluster.
#[tokio::test]
async fn client_without_a_request_causes_no_upstream_connection() {
    let rig = Rig::new().await;
    let asked = || rig.broker.shared.requests.load(Ordering::Relaxed);
    eventually("the gateway's own look", || async { asked() == 2 }).await;
    let connects = |rig: &Rig| {
        let text = rig.metrics.render(&[]);
        let line = text.lines().find(|line| line.contains("outcome=\"connected\""));
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    let before = connects(&rig);
    let mut client = rig.client().await;
    client.send_bytes(&[0, 0]).await;
    eventually("accepted", || async { rig.route().await.observed.sessions.sessions == 1 }).await;
    assert_eq!(connects(&rig), before);
}
