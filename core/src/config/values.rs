//! Texts of the file that stand for something: addresses, times, sizes, Kafka errors.

use std::{net::IpAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use jiff::SignedDuration;
use kafka_protocol::error::ResponseError;
use serde::{Deserialize, Serialize};

use super::{findings::quoted, raw::NumberOrText, suggest};
use crate::topology::BrokerAddress;

/// Why a text cannot stand for what it should, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) remedy: String,
}

fn wrong<T>(problem: impl Into<String>, remedy: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { problem: problem.into(), remedy: remedy.into() })
}

/// One or more addresses, and whether a prefix asked for TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) addresses: Vec<BrokerAddress>,
    pub(super) tls_asked: bool,
}

/// `host:port`, or several separated by commas, each optionally after `PROTOCOL://`.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, Wrong> {
    let mut endpoint = Endpoint { addresses: Vec::new(), tls_asked: false };
    for part in text.split(',').map(str::trim) {
        let address = match part.split_once("://") {
            Some((protocol, address)) => {
                endpoint.tls_asked |= asks_tls(protocol)?;
                address
            }
            None => part,
        };
        endpoint.addresses.push(host_and_port(address)?);
    }
    Ok(endpoint)
}

fn asks_tls(protocol: &str) -> Result<bool, Wrong> {
    match protocol.to_ascii_uppercase().as_str() {
        "PLAINTEXT" | "SASL_PLAINTEXT" => Ok(false),
        "SSL" | "SASL_SSL" => Ok(true),
        _ => wrong(
            format!("{} is not a protocol of Kafka listeners", quoted(protocol)),
            "write `host:port`, or put `PLAINTEXT://` or `SASL_PLAINTEXT://` before it",
        ),
    }
}

fn host_and_port(text: &str) -> Result<BrokerAddress, Wrong> {
    const EXAMPLE: &str = "write `host:port`, for example `kafka-1.example.com:9092`";
    if text.is_empty() {
        return wrong("has an empty address", EXAMPLE);
    }
    if text.contains("$(") {
        let problem = format!("{} has a placeholder that has no meaning here", quoted(text));
        return wrong(problem, "only `$(gatewayNodeId)` is filled in");
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let Some((host, port)) = bracketed.or_else(|| text.rsplit_once(':')) else {
        return wrong(format!("{} has no port", quoted(text)), EXAMPLE);
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()); // Rust would also take `+1`.
    match port.parse::<u16>() {
        Ok(port) if port > 0 && digits && is_host(host, bracketed.is_some()) => {
            Ok(BrokerAddress { host: host.to_owned(), port })
        }
        Ok(1..) if host.contains(':') => {
            let problem = format!("{} is ambiguous", quoted(text));
            wrong(problem, format!("put an IPv6 address in brackets: `[{host}]:{port}`"))
        }
        Ok(1..) => wrong(format!("{} is not a host and a port", quoted(text)), EXAMPLE),
        Ok(0) | Err(_) => {
            let problem = format!("{} has no port from 1 to 65535", quoted(text));
            wrong(problem, EXAMPLE)
        }
    }
}

/// A host name (with underscores, which container networks use) or an IP address.
fn is_host(host: &str, bracketed: bool) -> bool {
    if bracketed {
        return host.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= 253 && name.split('.').all(is_label)
}

/// An IP address to listen on.
pub(super) fn listen_address(text: &str) -> Result<IpAddr, Wrong> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(address),
        Err(_) if bare == "localhost" => Ok(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        Err(_) => wrong(
            format!("{} is not an IP address", quoted(text)),
            "write an address of this machine, `127.0.0.1`, or `0.0.0.0` for all of them",
        ),
    }
}

/// Longest time that a setting may have.
const DURATION_MAX: Duration = Duration::from_hours(24);

/// A time with its unit: `500ms`, `30s`, `1m 30s`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    const EXAMPLE: &str = "write a time with its unit, at most a day: `500ms`, `30s`, `2m`";
    let parsed = text.parse::<SignedDuration>().ok();
    match parsed.and_then(|parsed| Duration::try_from(parsed).ok()) {
        Some(duration) if duration.is_zero() => wrong("is no time at all", EXAMPLE),
        Some(duration) if duration <= DURATION_MAX => Ok(duration),
        Some(_) => wrong(format!("{} is longer than a day", quoted(text)), EXAMPLE),
        None => wrong(format!("{} is not a time", quoted(text)), EXAMPLE),
    }
}

/// A number of bytes, plain or with a unit: `65536`, `64KiB`, `1.5` is none.
pub(super) fn bytes(value: &NumberOrText, allowed: RangeInclusive<usize>) -> Result<usize, Wrong> {
    const EXAMPLE: &str = "write a number of bytes, or a text such as `64MiB`";
    let parsed = match value {
        NumberOrText::Number(number) => usize::try_from(*number).ok(),
        NumberOrText::Text(text) => bytes_with_unit(text),
    };
    let shown = match value {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => quoted(text),
    };
    match parsed {
        None => wrong(format!("{shown} is not a size"), EXAMPLE),
        Some(bytes) if allowed.contains(&bytes) => Ok(bytes),
        Some(_) => wrong(
            format!("{shown} is out of bounds"),
            format!("write {} to {} bytes", allowed.start(), allowed.end()),
        ),
    }
}

fn bytes_with_unit(text: &str) -> Option<usize> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor)
}

/// An error of Kafka's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KafkaError {
    pub(super) code: i16,
    pub(super) name: String,
    pub(super) retriable: bool,
}

/// Every error of Kafka's protocol, by ascending code.
///
/// The names are those of Kafka's `Errors` enumeration, which kafka-protocol writes in another case.
pub(super) fn kafka_errors() -> impl Iterator<Item = KafkaError> {
    /// Far beyond the last code that exists.
    const CODE_MAX: i16 = 512;
    (-1..=CODE_MAX).filter_map(|code| match ResponseError::try_from_code(code)? {
        ResponseError::Unknown(_) => None,
        error => Some(KafkaError {
            code,
            name: screaming_snake(&error.to_string()),
            retriable: error.is_retriable(),
        }),
    })
}

fn screaming_snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 8);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}

/// A Kafka error by its name or its number.
pub(super) fn kafka_error(value: &NumberOrText) -> Result<KafkaError, Wrong> {
    const EXAMPLE: &str = "write the name of a Kafka error, for example `NOT_LEADER_OR_FOLLOWER`";
    let number = match value {
        NumberOrText::Number(number) => Some(*number),
        NumberOrText::Text(text) => text.parse::<i64>().ok(),
    };
    if number == Some(0) || matches!(value, NumberOrText::Text(text) if text == "NONE") {
        // A client would take a blocked request for a successful one.
        return wrong("means success", EXAMPLE);
    }
    let found = kafka_errors().find(|error| match (number, value) {
        (Some(number), _) => i64::from(error.code) == number,
        (None, NumberOrText::Text(name)) => error.name == *name,
        (None, NumberOrText::Number(_)) => false,
    });
    match (found, value) {
        (Some(error), _) => Ok(error),
        (None, NumberOrText::Text(name)) if number.is_none() => {
            let names: Vec<String> = kafka_errors().map(|error| error.name).collect();
            let remedy = match suggest::nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => EXAMPLE.to_owned(),
            };
            wrong(format!("{} is not a Kafka error", quoted(name)), remedy)
        }
        (None, _) => {
            let number = number.unwrap_or_default();
            wrong(format!("no Kafka error has the number {number}"), EXAMPLE)
        }
    }
}

/// A Kafka error by its number or its name, as an operator gives it: `8`, `BROKER_NOT_AVAILABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i16", try_from = "NumberOrText")]
pub struct ErrorCode(i16);

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.0
    }
}

impl TryFrom<NumberOrText> for ErrorCode {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match kafka_error(&value) {
            Ok(error) => Ok(Self(error.code)),
            Err(Wrong { problem, remedy }) => Err(format!("{problem}; {remedy}")),
        }
    }
}

impl FromStr for ErrorCode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(NumberOrText::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;

    /// An operator in a hurry writes what the client's log says, which may be either.
    #[test]
    fn error_code_name_and_number_are_the_same() {
        for given in ["8", "BROKER_NOT_AVAILABLE"] {
            assert_eq!(given.parse::<ErrorCode>().map(i16::from), Ok(8));
        }
        let code: Result<ErrorCode, _> = serde_json::from_str("\"NOT_LEADER_OR_FOLLOWER\"");
        assert_eq!(code.map(i16::from).ok(), Some(6));
        let near = "NOT_LEADER_OR_FOLLOWERS".parse::<ErrorCode>().expect_err("no such error");
        assert!(near.contains("did you mean `NOT_LEADER_OR_FOLLOWER`"), "{near}");
        assert!("0".parse::<ErrorCode>().is_err());
    }

    fn text(text: &str) -> NumberOrText {
        NumberOrText::Text(text.to_owned())
    }

    fn address(host: &str, port: u16) -> BrokerAddress {
        BrokerAddress { host: host.to_owned(), port }
    }

    #[test]
    fn endpoint_prefixes_lists_and_brackets_are_understood() {
        let parsed = endpoint("SASL_PLAINTEXT://a:1, b_2.example.com:65535 ,[::1]:3");
        let addresses = vec![address("a", 1), address("b_2.example.com", 65535), address("::1", 3)];
        assert_eq!(parsed, Ok(Endpoint { addresses, tls_asked: false }));
        assert!(endpoint("sasl_ssl://a:1").expect("valid").tls_asked);
    }

    #[test]
    fn endpoint_anything_else_is_refused_with_a_remedy() {
        for bad in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:1,",
            "a b:1",
            "http://a:1",
            "::1:9092",
            "[::1]",
            "[a]:1",
            "a..b:1",
            "$(x):1",
            "a:+1",
            "user:pass@host:9092",
            "a/b:1",
        ] {
            let Wrong { problem, remedy } = endpoint(bad).expect_err(bad);
            assert!(!problem.contains("pass"), "{problem}");
            assert!(!remedy.is_empty());
        }
        assert!(endpoint("::1:9092").expect_err("ambiguous").remedy.contains("[::1]:9092"));
    }

    #[test]
    fn duration_needs_a_unit_and_bounds() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "30", "0s", "-1s", "25h", "soon", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_with_and_without_unit_are_bounded() {
        assert_eq!(bytes(&text("64MiB"), 1..=usize::MAX), Ok(64 << 20));
        assert_eq!(bytes(&text("64 KiB"), 1..=usize::MAX), Ok(64 << 10));
        assert_eq!(bytes(&NumberOrText::Number(7), 1..=7), Ok(7));
        assert!(bytes(&NumberOrText::Number(-1), 0..=7).is_err());
        assert!(bytes(&NumberOrText::Number(8), 0..=7).is_err());
        for bad in ["", "MiB", "64MB", "64mib", "1.5MiB", "99999999999999999999GiB"] {
            assert!(bytes(&text(bad), 0..=usize::MAX).is_err(), "{bad}");
        }
    }

    /// What the schema shows as default must be what a file would get by writing it.
    #[test]
    fn defaults_texts_stand_for_their_values() {
        let times = [
            defaults::HOLD_TIME,
            defaults::FIRST_REQUEST,
            defaults::CONNECT,
            defaults::WRITE_STALL,
            defaults::SHUTDOWN_DRAIN,
        ];
        for time in times {
            assert_eq!(duration(time.text), Ok(time.value));
        }
        let sizes = [
            defaults::HOLD_BYTES,
            defaults::FRAME_BYTES,
            defaults::FIRST_FRAME_BYTES,
            defaults::REWRITE_BYTES,
        ];
        for size in sizes {
            assert_eq!(bytes(&text(size.text), 0..=usize::MAX), Ok(size.value));
        }
        let error = kafka_error(&text(defaults::FENCE_ERROR_NAME)).expect("exists");
        assert_eq!(error.code, defaults::FENCE_ERROR_CODE);
    }

    #[test]
    fn kafka_error_by_name_and_number_is_the_same() {
        let by_name = kafka_error(&text("NOT_LEADER_OR_FOLLOWER")).expect("exists");
        assert_eq!(kafka_error(&NumberOrText::Number(6)), Ok(by_name.clone()));
        assert_eq!(kafka_error(&text("6")), Ok(by_name.clone()));
        assert!(by_name.retriable);
        assert!(!kafka_error(&text("UNKNOWN_SERVER_ERROR")).expect("exists").retriable);
    }

    #[test]
    fn kafka_error_unknown_or_success_is_refused() {
        let near = kafka_error(&text("BROKER_NOT_AVAILBLE")).expect_err("misspelt");
        assert_eq!(near.remedy, "did you mean `BROKER_NOT_AVAILABLE`?");
        assert!(kafka_error(&NumberOrText::Number(0)).is_err());
        assert!(kafka_error(&text("NONE")).is_err());
        assert!(kafka_error(&NumberOrText::Number(31_000)).is_err());
        assert!(kafka_error(&NumberOrText::Number(i64::MAX)).is_err());
    }

    /// Kafka 4.1 has the codes −1 to 133 without a gap; 0 is not an error.
    #[test]
    fn kafka_errors_are_complete() {
        let codes: Vec<i16> = kafka_errors().map(|error| error.code).collect();
        let expected: Vec<i16> = (-1..=133).filter(|code| *code != 0).collect();
        assert_eq!(codes, expected);
        let name = |code| kafka_errors().find(|e| e.code == code).map(|e| e.name);
        assert_eq!(name(-1).as_deref(), Some("UNKNOWN_SERVER_ERROR"));
        assert_eq!(name(17).as_deref(), Some("INVALID_TOPIC_EXCEPTION"));
        assert_eq!(name(56).as_deref(), Some("KAFKA_STORAGE_ERROR"));
        assert_eq!(name(129).as_deref(), Some("REBOOTSTRAP_REQUIRED"));
        assert_eq!(name(133).as_deref(), Some("SHARE_SESSION_LIMIT_REACHED"));
    }
}
