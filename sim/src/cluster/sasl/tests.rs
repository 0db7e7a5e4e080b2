//! Authentication as clients go through it.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::{Buf, Bytes};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
    protocol::StrBytes,
};
use proptest::{collection::vec, prelude::*};

use super::{
    super::{
        CloseCause, Cluster, ClusterSpec, Output, SaslSpec,
        transaction::client::{Client, Heard, text},
    },
    scram::Hash,
};

const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// With what SCRAM escapes.
const USER: &str = "al,i=ce";
const PASSWORD: &str = "pa,ss=w\u{f6}rd";

fn spec(settings: &[(&str, &str)]) -> ClusterSpec {
    let mut spec = ClusterSpec::new("test", 7, "127.0.0.1", [9092]);
    let users = [(USER, PASSWORD), ("bob", "bob-pw")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    spec.sasl = Some(SaslSpec { users: users.into_iter().map(owned).collect() });
    spec.settings = settings.iter().copied().map(owned).collect();
    spec
}

fn client(settings: &[(&str, &str)]) -> Client {
    Client::of(spec(settings))
}

fn handshake(client: &mut Client, mechanism: &str) -> SaslHandshakeResponse {
    client.ask(1, &SaslHandshakeRequest::default().with_mechanism(text(mechanism)))
}

fn token(client: &mut Client, token: impl Into<Bytes>) -> SaslAuthenticateResponse {
    client.ask(2, &SaslAuthenticateRequest::default().with_auth_bytes(token.into()))
}

/// The client's side of SCRAM, written after the RFC.
struct ScramClient {
    hash: Hash,
    password: &'static str,
    bare: String,
}

impl ScramClient {
    fn new(mechanism: &str, user: &str, password: &'static str) -> Self {
        let hash = if mechanism.ends_with("256") { Hash::Sha256 } else { Hash::Sha512 };
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, password, bare: format!("n={user},r=client-nonce") }
    }

    fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The last message, and the answer that proves the server.
    fn last(&self, challenge: &str) -> (String, String) {
        self.last_with_nonce(challenge, "")
    }

    /// With something before the nonce.
    fn last_with_nonce(&self, challenge: &str, before: &str) -> (String, String) {
        let fields: BTreeMap<_, _> =
            challenge.split(',').filter_map(|field| field.split_once('=')).collect();
        assert!(fields["r"].starts_with("client-nonce") && fields["r"] != "client-nonce");
        let salt = BASE64.decode(fields["s"]).expect("a salt");
        let salted = self.hash.salted(self.password, &salt, fields["i"].parse().expect("rounds"));
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let last = format!("c=biws,r={before}{}", fields["r"]);
        let messages = format!("{},{challenge},{last}", self.bare);
        let signature = self.hash.hmac(&self.hash.digest(&client_key), messages.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        let signature = self.hash.hmac(&server_key, messages.as_bytes());
        (format!("{last},p={}", BASE64.encode(proof)), format!("v={}", BASE64.encode(signature)))
    }
}

/// Goes through all of it; gives the last answer.
fn authenticate(
    client: &mut Client,
    mechanism: &str,
    user: &str,
    password: &'static str,
) -> SaslAuthenticateResponse {
    assert_eq!(handshake(client, mechanism).error_code, 0);
    if mechanism == "PLAIN" {
        return token(client, format!("\0{user}\0{password}"));
    }
    let scram = ScramClient::new(mechanism, user, password);
    let challenge = token(client, scram.first());
    if challenge.error_code != 0 {
        return challenge;
    }
    let challenge = str::from_utf8(&challenge.auth_bytes).expect("text");
    let (last, signature) = scram.last(challenge);
    let answer = token(client, last);
    if answer.error_code == 0 {
        assert_eq!(answer.auth_bytes, signature.as_bytes(), "the server has proven itself");
    }
    answer
}

fn is_closed(client: &mut Client) -> bool {
    matches!(client.hear::<MetadataResponse>(4), Err(CloseCause::Authentication))
}

/// The published example of RFC 7677.
#[test]
fn scram_agrees_with_the_rfc() {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base 64");
    let salted = Hash::Sha256.salted("pencil", &salt, 4096);
    let client_key = Hash::Sha256.hmac(&salted, b"Client Key");
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let messages = format!(
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
    );
    let stored_key = Hash::Sha256.digest(&client_key);
    let signature = Hash::Sha256.hmac(&stored_key, messages.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    assert_eq!(BASE64.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
}

#[test]
fn every_mechanism_lets_a_known_user_in() {
    for mechanism in MECHANISMS {
        let mut client = client(&[]);
        let versions = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("test"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        assert_eq!(client.ask(3, &versions).error_code, 0);
        let answer = authenticate(&mut client, mechanism, USER, PASSWORD);
        assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 0), "{mechanism}");
        let metadata = client.ask(4, &MetadataRequest::default());
        assert_eq!(metadata.brokers.len(), 1, "{mechanism}");
    }
}

/// A slip of librdkafka's that Kafka forgives.
#[test]
fn client_nonce_may_stand_twice_in_the_last_message() {
    let mut client = client(&[]);
    handshake(&mut client, "SCRAM-SHA-256");
    let scram = ScramClient::new("SCRAM-SHA-256", USER, PASSWORD);
    let challenge = token(&mut client, scram.first()).auth_bytes;
    let challenge = str::from_utf8(&challenge).expect("text");
    let (last, signature) = scram.last_with_nonce(challenge, "client-nonce");
    assert_eq!(token(&mut client, last).auth_bytes, signature.as_bytes());
}

/// Who fails is told so and closed, and learns nothing of who has an account.
#[test]
fn wrong_password_and_unknown_user_are_refused_alike() {
    for mechanism in MECHANISMS {
        let refusals = [(USER, "wrong"), ("nobody", PASSWORD)].map(|(user, password)| {
            let mut client = client(&[]);
            let answer = authenticate(&mut client, mechanism, user, password);
            assert!(is_closed(&mut client), "{mechanism} {user}");
            assert_eq!(answer.error_code, ResponseError::SaslAuthenticationFailed.code());
            answer.error_message
        });
        assert!(refusals[0].is_some());
        assert_eq!(refusals[0], refusals[1], "{mechanism}");
    }
}

#[test]
fn nobody_acts_for_another_user() {
    let mut plain = client(&[]);
    handshake(&mut plain, "PLAIN");
    assert_ne!(token(&mut plain, "bob\0al,i=ce\0pa,ss=w\u{f6}rd").error_code, 0);
    let mut scram = client(&[]);
    handshake(&mut scram, "SCRAM-SHA-256");
    assert_ne!(token(&mut scram, "n,a=bob,n=al=2Ci=3Dce,r=nonce").error_code, 0);
}

#[test]
fn mechanism_that_is_not_enabled_is_refused_with_those_that_are() {
    let mut client = client(&[("sasl.enabled.mechanisms", "SCRAM-SHA-512,GSSAPI,PLAIN")]);
    let answer = handshake(&mut client, "SCRAM-SHA-256");
    assert_eq!(answer.error_code, ResponseError::UnsupportedSaslMechanism.code());
    let names: Vec<_> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
    assert_eq!(names, ["SCRAM-SHA-512", "PLAIN"]);
    assert!(is_closed(&mut client));
}

/// Nothing is looked at of a client that nobody knows.
#[test]
fn other_requests_before_authentication_close_the_connection() {
    for early in 0..3 {
        let mut client = client(&[]);
        match early {
            0 => {}
            1 => drop(client.ask(3, &ApiVersionsRequest::default())),
            _ => drop(handshake(&mut client, "PLAIN")),
        }
        client.send(4, &MetadataRequest::default());
        assert!(is_closed(&mut client), "{early}");
    }
    let mut twice = client(&[]);
    twice.ask(3, &ApiVersionsRequest::default());
    twice.send(3, &ApiVersionsRequest::default());
    assert!(matches!(twice.hear::<ApiVersionsResponse>(3), Err(CloseCause::Authentication)));
    let mut token_first = client(&[]);
    token_first.send(2, &SaslAuthenticateRequest::default());
    assert!(is_closed(&mut token_first));
}

#[test]
fn large_frame_before_authentication_closes_the_connection() {
    let mut client = client(&[("sasl.server.max.receive.size", "100")]);
    client.send_frame(Bytes::from(vec![0; 101]));
    assert!(is_closed(&mut client));
}

/// Where no authentication is asked for, or none is due, Kafka says that it is out of place and goes on.
#[test]
fn authentication_out_of_place_is_an_error() {
    let mut open = Client::new(&[]);
    let mut known = client(&[]);
    authenticate(&mut known, "PLAIN", USER, PASSWORD);
    for client in [&mut open, &mut known] {
        let illegal = ResponseError::IllegalSaslState.code();
        assert_eq!(handshake(client, "PLAIN").error_code, illegal);
        assert_eq!(token(client, "").error_code, illegal);
        assert_eq!(client.ask(4, &MetadataRequest::default()).brokers.len(), 1);
    }
}

/// KIP-368: a session ends unless its client authenticates again.
#[test]
fn session_that_has_ended_is_closed_at_its_next_request() {
    let mut client = client(&[("connections.max.reauth.ms", "60000")]);
    let answer = authenticate(&mut client, "SCRAM-SHA-256", USER, PASSWORD);
    assert_eq!(answer.session_lifetime_ms, 60_000);
    client.pass(Duration::from_secs(50));
    let answer = authenticate(&mut client, "SCRAM-SHA-256", USER, PASSWORD);
    assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 60_000));
    let again = handshake(&mut client, "SCRAM-SHA-256");
    assert_eq!(again.error_code, ResponseError::IllegalSaslState.code(), "once a second at most");
    client.pass(Duration::from_mins(1));
    assert_eq!(client.ask(4, &MetadataRequest::default()).brokers.len(), 1);
    client.pass(Duration::from_millis(1));
    client.send(4, &MetadataRequest::default());
    assert!(is_closed(&mut client));
}

#[test]
fn reauthentication_changes_neither_user_nor_mechanism() {
    let settings = &[("connections.max.reauth.ms", "60000")];
    for (mechanism, user, password) in
        [("PLAIN", "bob", "bob-pw"), ("SCRAM-SHA-256", USER, PASSWORD)]
    {
        let mut client = client(settings);
        authenticate(&mut client, "PLAIN", USER, PASSWORD);
        let answer = authenticate(&mut client, mechanism, user, password);
        assert_eq!(
            answer.error_code,
            ResponseError::SaslAuthenticationFailed.code(),
            "{mechanism}"
        );
        assert!(is_closed(&mut client), "{mechanism}");
    }
}

/// Clients from before Kafka 1.0 send their tokens without a request around them.
#[test]
fn tokens_stand_alone_after_a_handshake_of_v0() {
    let plain = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
    let mut known = client(&[]);
    known.ask(0, &plain);
    known.send_frame("\0bob\0bob-pw".into());
    let Some(Output::Send { mut frame, .. }) = known.cluster.poll_output() else {
        panic!("a token comes back")
    };
    assert_eq!((frame.get_u32(), frame.len()), (0, 0), "an empty one");
    assert_eq!(known.ask(4, &MetadataRequest::default()).brokers.len(), 1);

    let mut unknown = client(&[]);
    unknown.ask(0, &plain);
    unknown.send_frame("\0bob\0wrong".into());
    assert!(is_closed(&mut unknown));
}

/// A second challenge must not be like the first, or a recorded proof would open the door again.
#[test]
fn nonces_differ_and_challenges_come_from_the_seed_alone() {
    let challenges = |cluster: Cluster| {
        let mut client = Client::of(spec(&[]));
        client.cluster = cluster;
        [0, 1].map(|_| {
            client.reconnect(1);
            handshake(&mut client, "SCRAM-SHA-256");
            token(&mut client, "n,,n=bob,r=nonce").auth_bytes
        })
    };
    let first = challenges(Cluster::new(spec(&[])));
    assert_ne!(first[0], first[1]);
    assert_eq!(first, challenges(Cluster::new(spec(&[]))));
}

#[test]
fn passwords_are_in_no_debug_output() {
    let text = format!("{:?}", spec(&[]));
    assert!(text.contains("bob"));
    assert!(!text.contains("bob-pw"), "{text}");
}

proptest! {
    /// Tokens come from anybody.
    #[test]
    fn no_token_is_too_strange(
        mechanism in prop::sample::select(&MECHANISMS[..]),
        tokens in vec(
            prop_oneof![
                vec(any::<u8>(), 0..60),
                "(n|y|p=x),(a=b)?,(m=x,)?n=(bob|a=2C|=|\u{fc})?,r=[a-z]{0,3}(,x=y)?".prop_map(String::into_bytes),
                "c=biws,r=[a-z]{0,30},p=[A-Za-z=]{0,8}".prop_map(String::into_bytes),
                "[a-b]?\0(bob)?\0(bob-pw)?\0?".prop_map(String::into_bytes),
            ],
            1..4,
        ),
    ) {
        let mut client = client(&[]);
        handshake(&mut client, mechanism);
        for token in tokens {
            client.send(2, &SaslAuthenticateRequest::default().with_auth_bytes(token.into()));
            while let Ok(Heard::Answer(_)) = client.hear::<SaslAuthenticateResponse>(2) {}
        }
    }
}
