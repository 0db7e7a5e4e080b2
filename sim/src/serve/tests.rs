//! Clients on real sockets of this machine; time is real as well.

use std::{net::Ipv4Addr, time::Duration};

use bytes::BytesMut;
use kafka_protocol::{
    messages::{ApiVersionsRequest, MetadataRequest, RequestHeader, metadata_request},
    protocol::{Encodable, StrBytes},
};
use switchyard::driver::TokioNetwork;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Ending, Listening, Server, machine_clock};
use crate::{
    ask::{Connection, topic_name},
    cluster::{ClusterSpec, ConnectionId},
};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

/// A cluster of one broker on an address of its own, so that tests do not meet.
async fn server(number: u8) -> (Server, String) {
    let ip = Ipv4Addr::new(127, 41, 0, number);
    let spec = ClusterSpec::new("tested", 1, &ip.to_string(), [17092]);
    let server = Server::start(TokioNetwork, spec, ip.into(), machine_clock()).await;
    (server.expect("a free port"), format!("{ip}:17092"))
}

/// A request as it stands on the wire.
fn frame(correlation_id: i32) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(18)
        .with_request_api_version(0)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, 1).expect("a header");
    ApiVersionsRequest::default().encode(&mut bytes, 0).expect("a request");
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [length.as_slice(), &bytes].concat()
}

/// Reads one answer; `None`: the connection is closed.
async fn answer(stream: &mut TcpStream) -> Option<i32> {
    let length = stream.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut body).await.ok()?;
    body.first_chunk::<4>().map(|id| i32::from_be_bytes(*id))
}

/// Whatever still comes; ends when the connection does.
async fn rest(stream: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("an end");
    // A cut connection may be reset.
    read.unwrap_or(bytes.len())
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_however_they_are_split() {
    let (server, address) = server(1).await;
    let mut stream = TcpStream::connect(&address).await.expect("connected");
    let requests: Vec<u8> = (0..500).flat_map(frame).collect();
    for piece in requests.chunks(1013) {
        stream.write_all(piece).await.expect("written");
    }
    for expected in 0..500 {
        assert_eq!(timeout(LIMIT, answer(&mut stream)).await, Ok(Some(expected)));
    }
    assert_eq!(server.cluster().traffic().requests, 500);
    server.stop().await;
}

/// A length alone must neither cost memory nor hold a connection.
#[tokio::test]
async fn frame_beyond_the_limit_or_of_negative_length_closes_the_connection() {
    let (server, address) = server(2).await;
    for length in [(100 << 20) + 1, -1, i32::MIN] {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        stream.write_all(&length.to_be_bytes()).await.expect("written");
        assert_eq!(rest(&mut stream).await, 0, "{length}");
    }
    server.stop().await;
}

#[tokio::test]
async fn request_that_is_none_closes_the_connection_behind_earlier_answers() {
    let (server, address) = server(3).await;
    let mut stream = TcpStream::connect(&address).await.expect("connected");
    let garbage = [0, 0, 0, 8, 0x7f, 0xff, 0, 0, 0, 0, 0, 9];
    let bytes = [frame(7), garbage.to_vec(), frame(8)].concat();
    stream.write_all(&bytes).await.expect("written");
    assert_eq!(answer(&mut stream).await, Some(7));
    assert_eq!(answer(&mut stream).await, None);
    server.stop().await;
}

/// A client asks for more than all buffers hold and reads nothing: its answers must stay bounded, and a broker that is
/// killed must still be rid of it.
#[tokio::test]
async fn client_that_does_not_read_is_not_read_either_and_can_be_cut_off() {
    let (server, address) = server(4).await;
    let mut stream = TcpStream::connect(&address).await.expect("connected");
    let request = frame(1);
    let flood = async {
        // Ends when the server has stopped reading and every buffer on the way is full.
        while timeout(Duration::from_millis(300), stream.write_all(&request.repeat(1000)))
            .await
            .is_ok()
        {}
    };
    timeout(LIMIT, flood).await.expect("back-pressure");
    let so_far = server.cluster().traffic().requests;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.cluster().traffic().requests, so_far, "it is still read");
    let mut other = Connection::open(&address).await.expect("others are served");
    other.ask(&ApiVersionsRequest::default(), 0).await.expect("an answer");
    cut(&server, ConnectionId(0));
    let gone = async {
        while server.cluster().lock().seats.contains_key(&ConnectionId(0)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(2), gone).await.expect("its task has ended");
    server.stop().await;
}

/// As the cluster does when the connection's broker dies.
fn cut(server: &Server, connection: ConnectionId) {
    let mut state = server.cluster().lock();
    state.cluster.close(connection);
    let seat = state.seats.get_mut(&connection).expect("open");
    seat.ending = Some(Ending::Cut);
    seat.wake.notify_one();
}

#[tokio::test]
async fn listener_refuses_while_its_broker_is_down_and_accepts_again_after() {
    let (server, address) = server(5).await;
    let listening = server.cluster().inner.listening.get(&1).expect("broker 1");
    for _ in 0..3 {
        listening.send_replace(Listening::Down);
        let refused = async { while TcpStream::connect(&address).await.is_ok() {} };
        timeout(LIMIT, refused).await.expect("refused");
        listening.send_replace(Listening::Up);
        let accepted = async { while TcpStream::connect(&address).await.is_err() {} };
        timeout(LIMIT, accepted).await.expect("accepted");
    }
    server.stop().await;
}

#[tokio::test]
async fn stop_ends_idle_and_waiting_connections_and_frees_the_port() {
    let (server, address) = server(6).await;
    let mut idle = TcpStream::connect(&address).await.expect("connected");
    idle.write_all(&frame(1)).await.expect("written");
    assert_eq!(answer(&mut idle).await, Some(1));
    server.stop().await;
    assert_eq!(rest(&mut idle).await, 0);
    assert!(TcpStream::connect(&address).await.is_err());
    let again = self::server(6).await;
    again.0.stop().await;
}

/// Two brokers at one port: nothing must be left listening.
#[tokio::test]
async fn start_on_a_taken_port_says_which_and_leaves_nothing_behind() {
    let ip = Ipv4Addr::new(127, 41, 0, 7);
    let spec = || ClusterSpec::new("tested", 1, "x", [17092, 17093, 17092]);
    let error = Server::start(TokioNetwork, spec(), ip.into(), machine_clock()).await.err();
    let error = error.expect("the port is taken").to_string();
    assert!(error.contains("127.41.0.7:17092 for broker 3 of cluster `tested`"), "{error}");
    assert!(TcpStream::connect((ip, 17093)).await.is_err());
}

#[tokio::test]
async fn frame_larger_than_any_buffer_arrives_whole() {
    let (server, address) = server(8).await;
    let mut connection = Connection::open(&address).await.expect("connected");
    let name = topic_name(&"x".repeat(30_000));
    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic; 150]))
        .with_allow_auto_topic_creation(false);
    let answer = connection.ask(&request, 8).await.expect("an answer");
    assert_eq!(answer.brokers.len(), 1);
    assert!(server.cluster().traffic().bytes_in > 4 << 20);
    server.stop().await;
}
