use bytes::{BufMut, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiVersionsResponse, HeartbeatRequest, SaslAuthenticateResponse, SaslHandshakeResponse,
        api_versions_response::ApiVersion,
    },
    protocol::Encodable,
};
use switchyard::wire::header::{Peek, peek_request, response_is_flexible};

use super::{
    super::config::{ConsumerSettings, ProducerSettings, Properties, Role},
    *,
};

const START: Time = Time::from_ms(1_000_000);
const NODE: NodeId = 1;

/// One client's connections, and a clock.
struct Story {
    network: Network<&'static str>,
    now: Time,
    log: Vec<String>,
}

impl Story {
    fn new(library: Library, properties: &str) -> Self {
        let text = format!("bootstrap.servers=a:1\n{properties}");
        let properties = Properties::parse(library, Role::Producer, &text).expect("properties");
        let settings = ProducerSettings::new(&properties).expect("settings").common;
        let mut network = Network::new(settings, 7, "test");
        network.know(NODE, "a", 1);
        Self { network, now: START, log: Vec::new() }
    }

    fn at_ms(&mut self, ms: u64) -> &mut Self {
        self.now = START + Duration::from_millis(ms);
        self.network.handle_time(self.now);
        self.collect();
        self
    }

    fn wants(&mut self) -> &mut Self {
        self.network.ready(self.now, NODE);
        self.collect();
        self
    }

    fn connected(&mut self, connection: u64) -> &mut Self {
        self.network.handle_connected(self.now, ConnectionId(connection));
        self.collect();
        self
    }

    fn closed(&mut self, connection: u64) -> &mut Self {
        self.network.handle_closed(self.now, ConnectionId(connection));
        self.collect();
        self
    }

    fn answers<R: Encodable>(
        &mut self,
        connection: u64,
        (key, version, correlation): (ApiKey, i16, i32),
        response: &R,
    ) -> &mut Self {
        let mut frame = BytesMut::new();
        frame.put_i32(correlation);
        if response_is_flexible(key as i16, version) {
            frame.put_u8(0);
        }
        response.encode(&mut frame, version).expect("an answer");
        self.network.handle_frame(self.now, ConnectionId(connection), frame.freeze());
        self.collect();
        self
    }

    /// Everything is set up: the first connection is ready.
    fn ready(&mut self) -> &mut Self {
        self.wants().connected(0);
        self.answers(0, (ApiKey::ApiVersions, 3, 0), &versions(&[(ApiKey::Heartbeat, 4)]))
    }

    fn asks(&mut self, tag: &'static str) -> &mut Self {
        let timeout = self.network.settings.request_timeout;
        let request = HeartbeatRequest::default();
        self.network.send(self.now, NODE, 3, &request, timeout, Some(tag));
        self.collect();
        self
    }

    fn collect(&mut self) {
        let ms = self.now.since(START).as_millis();
        while let Some(output) = self.network.outputs.pop_front() {
            self.log.push(match output {
                Output::Dial { connection, host, port } => {
                    format!("{ms:4} ms  dial {} {host}:{port}", connection.0)
                }
                Output::Send { connection, frame } => {
                    let frame = frame.slice(4..);
                    let Peek::Ready(head) = peek_request(&frame, frame.len()) else {
                        panic!("no request")
                    };
                    let key = ApiKey::try_from(head.api_key).expect("a key");
                    format!("{ms:4} ms  send {} {key:?} v{}", connection.0, head.api_version)
                }
                Output::Close { connection } => format!("{ms:4} ms  close {}", connection.0),
                Output::Event(event) => format!("{ms:4} ms  {event:?}"),
            });
        }
        while let Some(happening) = self.network.poll() {
            self.log.push(match happening {
                Happening::Answer { tag, .. } => format!("{ms:4} ms  answered {tag}"),
                Happening::Lost { tag, timed_out, .. } => {
                    format!("{ms:4} ms  lost {tag}{}", if timed_out { ", too late" } else { "" })
                }
                Happening::Disconnected { breakage, .. } => {
                    format!("{ms:4} ms  disconnected {breakage:?}")
                }
                Happening::Ready => format!("{ms:4} ms  ready"),
            });
        }
    }

    fn transcript(&self) -> String {
        self.log.join("\n")
    }
}

fn versions(apis: &[(ApiKey, i16)]) -> ApiVersionsResponse {
    let api = |(key, max): &(ApiKey, i16)| {
        ApiVersion::default().with_api_key(*key as i16).with_max_version(*max)
    };
    ApiVersionsResponse::default().with_api_keys(apis.iter().map(api).collect())
}

#[test]
fn a_connection_asks_for_versions_first_and_then_is_ready() {
    let mut story = Story::new(Library::Librdkafka, "");
    story.ready().asks("heartbeat");
    insta::assert_snapshot!(story.transcript(), @r"
       0 ms  dial 0 a:1
       0 ms  send 0 ApiVersions v3
       0 ms  ready
       0 ms  send 0 Heartbeat v3
    ");
}

#[test]
fn a_broker_that_knows_an_older_api_versions_is_asked_again_in_its_version() {
    let mut story = Story::new(Library::Java, "");
    story.wants().connected(0);
    let unsupported = versions(&[(ApiKey::ApiVersions, 3)])
        .with_error_code(ResponseError::UnsupportedVersion.code());
    // Such an answer is always in version 0.
    story.answers(0, (ApiKey::ApiVersions, 0, 0), &unsupported);
    story.answers(0, (ApiKey::ApiVersions, 3, 1), &versions(&[]));
    insta::assert_snapshot!(story.transcript(), @r"
       0 ms  dial 0 a:1
       0 ms  send 0 ApiVersions v4
       0 ms  send 0 ApiVersions v3
       0 ms  ready
    ");
}

#[test]
fn sasl_plain_comes_before_the_connection_is_ready_and_a_refusal_is_told() {
    let properties = "security.protocol=sasl_plaintext\nsasl.mechanisms=PLAIN\n\
        sasl.username=u\nsasl.password=p";
    let offered = versions(&[(ApiKey::SaslHandshake, 1), (ApiKey::SaslAuthenticate, 2)]);
    for (error, expected) in [(0, "ready"), (58, "disconnected Some(AuthenticationFailed)")] {
        let mut story = Story::new(Library::Librdkafka, properties);
        story.wants().connected(0);
        story.answers(0, (ApiKey::ApiVersions, 3, 0), &offered);
        story.answers(0, (ApiKey::SaslHandshake, 1, 1), &SaslHandshakeResponse::default());
        let answer = SaslAuthenticateResponse::default().with_error_code(error);
        story.answers(0, (ApiKey::SaslAuthenticate, 1, 2), &answer);
        assert!(story.transcript().ends_with(expected), "{}", story.transcript());
    }
}

/// What is behind a lost answer in the stream cannot be told apart any more.
#[test]
fn a_request_that_times_out_takes_everything_in_flight_with_it() {
    let mut story = Story::new(Library::Librdkafka, "socket.timeout.ms=1000");
    story.ready().asks("first").at_ms(500).asks("second").at_ms(999).at_ms(1000);
    insta::assert_snapshot!(story.transcript(), @r"
       0 ms  dial 0 a:1
       0 ms  send 0 ApiVersions v3
       0 ms  ready
       0 ms  send 0 Heartbeat v3
     500 ms  send 0 Heartbeat v3
    1000 ms  close 0
    1000 ms  lost first, too late
    1000 ms  lost second, too late
    1000 ms  disconnected Some(RequestTimeout)
    ");
}

#[test]
fn bytes_that_answer_nothing_close_the_connection() {
    let mut story = Story::new(Library::Librdkafka, "");
    story.ready().asks("heartbeat");
    let heartbeat = kafka_protocol::messages::HeartbeatResponse::default();
    story.answers(0, (ApiKey::Heartbeat, 3, 99), &heartbeat);
    insta::assert_snapshot!(story.transcript(), @r"
       0 ms  dial 0 a:1
       0 ms  send 0 ApiVersions v3
       0 ms  ready
       0 ms  send 0 Heartbeat v3
       0 ms  close 0
       0 ms  lost heartbeat
       0 ms  disconnected Some(Malformed)
    ");
}

fn waits(library: Library, count: usize) -> Vec<Duration> {
    let mut story = Story::new(library, "");
    let mut waits = Vec::new();
    for connection in 0..count as u64 {
        story.wants().closed(connection);
        story.wants();
        let until = story.network.deadline().expect("it is wanted");
        waits.push(until.since(story.now));
        let ms = u64::try_from(until.since(START).as_millis()).expect("soon") + 1;
        // Dials by itself, because it was wanted.
        story.at_ms(ms);
    }
    waits
}

#[test]
fn java_backs_off_from_50_ms_to_1_s_with_a_fifth_of_jitter() {
    let waits = waits(Library::Java, 8);
    for (at, wait) in waits.iter().enumerate() {
        let middle = (50.0 * 2_f64.powi(i32::try_from(at).expect("few"))).min(1000.0);
        let ms = wait.as_secs_f64() * 1000.0;
        assert!(ms >= middle * 0.8 - 1.0 && ms <= (middle * 1.2).min(1000.0) + 1.0, "{waits:?}");
    }
    assert!(waits[7] > Duration::from_millis(790), "{waits:?}");
}

#[test]
fn librdkafka_backs_off_from_100_ms_to_10_s_and_moves_twice_for_a_failed_dial() {
    let waits = waits(Library::Librdkafka, 6);
    assert!(waits[0] >= Duration::from_millis(150) && waits[0] <= Duration::from_millis(300));
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(10)), "{waits:?}");
    assert!(*waits.last().expect("six") > Duration::from_secs(7), "{waits:?}");
}

#[test]
fn a_dial_that_nobody_answers_is_given_up_after_the_setup_timeout_which_grows_in_java() {
    let mut story = Story::new(Library::Java, "");
    story.wants();
    let first = story.network.deadline().expect("a dial").since(START);
    assert!((8.0..=12.0).contains(&first.as_secs_f64()), "{first:?}");
    story.at_ms(12_001).at_ms(13_000).wants();
    let second = story.network.deadline().expect("a dial").since(story.now);
    assert!((16.0..=24.0).contains(&second.as_secs_f64()), "{second:?}");
}

#[test]
fn a_connection_that_is_not_used_is_closed_by_java_after_nine_minutes_and_kept_by_librdkafka() {
    let mut java = Story::new(Library::Java, "");
    java.ready().at_ms(539_999);
    assert!(java.network.is_ready(NODE));
    java.at_ms(540_000);
    assert!(!java.network.is_ready(NODE));
    let mut librdkafka = Story::new(Library::Librdkafka, "");
    librdkafka.ready().at_ms(10_000_000);
    assert!(librdkafka.network.is_ready(NODE));
}

#[test]
fn the_least_loaded_node_is_one_that_is_ready_then_one_being_dialled_then_one_that_may_be() {
    let mut story = Story::new(Library::Librdkafka, "");
    story.network.know(2, "b", 1);
    let ask = |story: &mut Story| story.network.least_loaded(story.now, &[1, 2]);
    assert!(ask(&mut story).node.is_some());
    story.wants();
    assert_eq!(ask(&mut story), LeastLoaded { node: Some(1), any_ready: false });
    story.connected(0);
    story.answers(0, (ApiKey::ApiVersions, 3, 0), &versions(&[(ApiKey::Heartbeat, 4)]));
    assert_eq!(ask(&mut story), LeastLoaded { node: Some(1), any_ready: true });
    story.closed(0).at_ms(1).closed(0);
    let settings = ConsumerSettings::new(
        &Properties::parse(Library::Java, Role::Consumer, "bootstrap.servers=a:1").expect("good"),
    );
    assert_eq!(settings.expect("settings").common.in_flight_max, 100);
}
