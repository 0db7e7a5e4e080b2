//! Requests to a broker over a socket of this machine, one at a time: what the commands and the demo's load need of a
//! client. Model clients for rehearsals are another matter.

use std::{io, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        CreateTopicsRequest, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslHandshakeRequest, TopicName, create_topics_request::CreatableTopic,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest that connecting and one request may take; longer than a gateway holds clients back at a switch.
const REQUEST_TIME_MAX: Duration = Duration::from_mins(2);
/// Largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Sent in every request's header.
const CLIENT_ID: &str = "switchyard-sim";

const CREATE_TOPICS_VERSION: i16 = 5;
const CREATE_TOPICS_TIMEOUT_MS: i32 = 30_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The connection broke, or never came about.
    #[error("{address}: {source}")]
    Lost {
        /// Who was asked.
        address: String,
        /// What happened.
        source: io::Error,
    },
    /// The answer cannot be read, or the request not be written.
    #[error("{address}: bytes that are no message: {detail}")]
    Garbled {
        /// Who was asked.
        address: String,
        /// What is wrong with them.
        detail: String,
    },
    /// The broker refused.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's error.
        error: ResponseError,
    },
}

/// One connection, one request at a time.
pub struct Connection {
    address: String,
    stream: TcpStream,
    correlation_id: i32,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(address: &str) -> Result<Self, AskError> {
        let opened = async {
            let stream = timeout(REQUEST_TIME_MAX, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match opened.await {
            Ok(stream) => Ok(Self { address: address.to_owned(), stream, correlation_id: 0 }),
            Err(source) => Err(AskError::Lost { address: address.to_owned(), source }),
        }
    }

    /// Sends a request and gives its answer. A connection on which that failed is of no more use.
    ///
    /// # Errors
    /// When the connection breaks or what comes is no answer to it.
    pub async fn ask<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, AskError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame =
            encode(request, version, self.correlation_id).map_err(|detail| self.garbled(detail))?;
        let answer = match timeout(REQUEST_TIME_MAX, self.exchange(&frame)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => return Err(self.lost(source)),
            Err(elapsed) => return Err(self.lost(elapsed.into())),
        };
        decode::<R>(answer, version, self.correlation_id).map_err(|detail| self.garbled(detail))
    }

    async fn exchange(&mut self, frame: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        let length = self.stream.read_u32().await?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "answer too large"));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(Bytes::from(answer))
    }

    /// Logs in by SASL PLAIN.
    ///
    /// # Errors
    /// When the broker refuses it.
    pub async fn log_in(&mut self, user: &str, password: &str) -> Result<(), AskError> {
        let mechanism = StrBytes::from_static_str("PLAIN");
        let request = SaslHandshakeRequest::default().with_mechanism(mechanism);
        let shaken = self.ask(&request, 1).await?;
        accepted("SASL handshake", shaken.error_code)?;
        let bytes = Bytes::from(format!("\0{user}\0{password}"));
        let request = SaslAuthenticateRequest::default().with_auth_bytes(bytes);
        let authenticated = self.ask(&request, 1).await?;
        accepted("SASL authentication", authenticated.error_code)
    }

    /// Creates a topic; one that is there already is left as it is.
    ///
    /// # Errors
    /// When the broker refuses it.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication: i16,
    ) -> Result<(), AskError> {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(CREATE_TOPICS_TIMEOUT_MS);
        let created = self.ask(&request, CREATE_TOPICS_VERSION).await?;
        let code = created.topics.first().map_or(0, |topic| topic.error_code);
        if code == ResponseError::TopicAlreadyExists.code() {
            return Ok(());
        }
        accepted(&format!("creation of topic `{name}`"), code)
    }

    fn lost(&self, source: io::Error) -> AskError {
        AskError::Lost { address: self.address.clone(), source }
    }

    fn garbled(&self, detail: String) -> AskError {
        AskError::Garbled { address: self.address.clone(), detail }
    }
}

/// A topic's name as messages hold it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// An error of the protocol as one of Rust.
///
/// # Errors
/// Unless the code is 0.
pub fn accepted(what: &str, code: i16) -> Result<(), AskError> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(AskError::Refused { what: what.to_owned(), error }),
    }
}

fn encode<R: Request>(request: &R, version: i16, correlation_id: i32) -> Result<Bytes, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    header
        .encode(&mut frame, R::header_version(version))
        .and_then(|()| request.encode(&mut frame, version))
        .map_err(|error| error.to_string())?;
    let length = u32::try_from(frame.len() - 4).map_err(|error| error.to_string())?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

fn decode<R: Request>(
    mut answer: Bytes,
    version: i16,
    correlation_id: i32,
) -> Result<R::Response, String> {
    let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
        .map_err(|error| error.to_string())?;
    if header.correlation_id != correlation_id {
        return Err(format!("the answer to request {}", header.correlation_id));
    }
    let response = R::Response::decode(&mut answer, version).map_err(|error| error.to_string())?;
    if answer.has_remaining() {
        return Err(format!("{} bytes behind the answer", answer.remaining()));
    }
    Ok(response)
}
