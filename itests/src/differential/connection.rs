//! One connection of a client to a broker: any request as a value, its answer as a value.

use std::{collections::VecDeque, time::Duration};

use switchyard::wire::{
    api_versions::API_VERSIONS,
    header::response_is_flexible,
    schema::{self, Api},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{batch, codec, value::Value};
use crate::Result;

/// What stands for an answer when the broker closed the connection instead.
pub(super) const CLOSED: &str = "the connection is closed";
/// What stands for an answer that did not come in time.
pub(super) const SILENT: &str = "no answer in time";
/// What stands for the answer to a request that asks for none.
pub(super) const NO_ANSWER: &str = "no answer is wanted";

/// Key of Produce.
const PRODUCE: i16 = 0;
/// Kafka's error for a version of ApiVersions that it does not serve; the answer is then of version 0.
const UNSUPPORTED_VERSION: i64 = 35;
/// Largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A connection. Answers come in the order of the requests.
pub(super) struct Connection {
    stream: TcpStream,
    correlation_id: i32,
    waiting: VecDeque<Sent>,
    /// Ended by the broker, or not usable any more.
    ended: bool,
}

/// A request whose answer has not been read.
#[derive(Clone, Copy)]
struct Sent {
    api: &'static Api,
    version: i16,
    correlation_id: i32,
    wants_none: bool,
}

impl Connection {
    pub(super) async fn open(address: &str) -> Result<Self> {
        let stream = timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0, waiting: VecDeque::new(), ended: false })
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the value does not fit the schema. A broken connection shows at the answer.
    pub(super) async fn send(
        &mut self,
        api: &'static Api,
        version: i16,
        body: &Value,
    ) -> Result<()> {
        let wants_none =
            api.key == PRODUCE && body.field("Acks").and_then(Value::int).unwrap_or(0) == 0;
        self.write(api, version, body, wants_none).await?;
        if wants_none {
            // Its answer shows that the other request is done with, and whether the connection outlived it.
            let probe = schema::api(API_VERSIONS).ok_or("no schema of ApiVersions")?;
            self.write(probe, 0, &Value::Struct(Vec::new()), false).await?;
        }
        Ok(())
    }

    async fn write(
        &mut self,
        api: &'static Api,
        version: i16,
        body: &Value,
        wants_none: bool,
    ) -> Result<()> {
        self.correlation_id += 1;
        // Of a version that nobody knows the broker reads the header at most.
        let known = version.clamp(api.request.versions.min.min(version), api.request.versions.max);
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&api.key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&self.correlation_id.to_be_bytes());
        let client_id = b"differential";
        frame.extend_from_slice(&i16::try_from(client_id.len())?.to_be_bytes());
        frame.extend_from_slice(client_id);
        if api.request.is_flexible(known) {
            frame.push(0);
        }
        frame.extend(codec::encode(&api.request, known, body)?);
        let length = u32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let sent = Sent { api, version, correlation_id: self.correlation_id, wants_none };
        self.waiting.push_back(sent);
        if self.stream.write_all(&frame).await.is_err() {
            self.ended = true;
        }
        Ok(())
    }

    /// The answer to the oldest request that has none yet.
    pub(super) async fn receive(&mut self, limit: Duration) -> Value {
        let Some(mut sent) = self.waiting.pop_front() else {
            return Value::String("nothing was asked".into());
        };
        let wants_none = sent.wants_none;
        if let (true, Some(probe)) = (wants_none, self.waiting.pop_front()) {
            sent = probe;
        }
        let outcome = timeout(limit, self.frame()).await;
        let frame = match outcome {
            Ok(Ok(frame)) => frame,
            Ok(Err(_)) => {
                self.ended = true;
                return Value::String(CLOSED.into());
            }
            Err(_) => {
                self.ended = true;
                return Value::String(SILENT.into());
            }
        };
        match read(sent, &frame) {
            Ok(_) if wants_none => Value::String(NO_ANSWER.into()),
            Ok(body) => body,
            Err(error) => Value::String(format!("an answer that cannot be read: {error}")),
        }
    }

    async fn frame(&mut self) -> Result<Vec<u8>> {
        let length = self.stream.read_u32().await? as usize;
        if length > ANSWER_BYTES_MAX {
            return Err("an answer of over 64 MiB".into());
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame)
    }
}

fn read(sent: Sent, frame: &[u8]) -> Result<Value> {
    let Sent { api, mut version, .. } = sent;
    let (id, mut body) = frame.split_at_checked(4).ok_or("no correlation id")?;
    if id != sent.correlation_id.to_be_bytes() {
        return Err("the correlation id is another one".into());
    }
    if api.key == API_VERSIONS && version > api.response.versions.max {
        version = 0;
    }
    if response_is_flexible(api.key, version) {
        let (0, rest) =
            body.split_first().map(|(count, rest)| (*count, rest)).ok_or("no header")?
        else {
            return Err("tagged fields in the header".into());
        };
        body = rest;
    }
    let decoded = codec::decode(&api.response, version, body);
    let mut value = match decoded {
        Err(_) if api.key == API_VERSIONS => codec::decode(&api.response, 0, body)
            .ok()
            .filter(|value| value.error_codes().contains(&UNSUPPORTED_VERSION))
            .ok_or("an ApiVersions answer of another version")?,
        decoded => decoded?,
    };
    value.visit_mut("", &mut |name, value| {
        if let ("Records", Value::Bytes(bytes)) = (name, &*value) {
            *value = batch::decode(bytes);
        }
    });
    Ok(value)
}
