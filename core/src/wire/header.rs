//! Request and response headers, peeked without decoding.

use std::ops::Range;

use super::{api_versions::API_VERSIONS, schema};

/// Bytes of the length that stands before every frame.
pub const LENGTH_BYTES: usize = 4;

/// Key, version and correlation id stand before the client id.
const FIXED_BYTES: usize = 8;

/// A request header as it stands on the wire; offsets count from the first byte behind the length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// API key as sent; may be one that nobody knows.
    pub api_key: i16,
    /// API version as sent.
    pub api_version: i16,
    /// Chosen by the client; may be negative.
    pub correlation_id: i32,
    /// Where the client id's bytes stand; `None` when it is null.
    pub client_id: Option<Range<usize>>,
    /// Where the request's body starts. Of an unknown API or version: behind the client id.
    pub body_offset: usize,
}

/// What a look at the first bytes of a frame gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek<T> {
    /// The bytes at hand end before the answer is known.
    NeedMore,
    /// The answer.
    Ready(T),
    /// No Kafka client sends this.
    Malformed(&'static str),
}

impl<T> Peek<T> {
    /// The answer, turned into something else.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Peek<U> {
        match self {
            Self::NeedMore => Peek::NeedMore,
            Self::Ready(answer) => Peek::Ready(turn(answer)),
            Self::Malformed(why) => Peek::Malformed(why),
        }
    }
}

/// Somebody who does not speak Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A TLS handshake.
    Tls,
    /// An HTTP request.
    Http,
}

/// Recognises other protocols by a connection's first bytes. None of the patterns is the start of a Kafka
/// request: as a length each is beyond 300 MiB.
pub fn sniff(bytes: &[u8]) -> Option<Stranger> {
    const METHODS: [&[u8; 4]; 8] =
        [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"CONN", b"PRI ", b"DELE"];
    let start = bytes.first_chunk::<4>()?;
    // A record of type handshake, version 3.x.
    if start[..2] == [0x16, 0x03] {
        return Some(Stranger::Tls);
    }
    METHODS.contains(&start).then_some(Stranger::Http)
}

/// Reads a request's header. `bytes` are those behind the length that have arrived, of `frame_bytes`.
///
/// Header v1 and, in flexible versions, v2: a tag section follows the client id, which itself keeps its
/// two-byte length (KIP-482).
pub fn peek_request(bytes: &[u8], frame_bytes: usize) -> Peek<RequestHead> {
    debug_assert!(bytes.len() <= frame_bytes);
    let mut reader = Reader { bytes, frame_bytes, position: 0 };
    match read_head(&mut reader) {
        Ok(head) => Peek::Ready(head),
        Err(stop) => stop.into(),
    }
}

fn read_head(reader: &mut Reader<'_>) -> Result<RequestHead, Stop> {
    let api_key = i16::from_be_bytes(reader.take()?);
    let api_version = i16::from_be_bytes(reader.take()?);
    let correlation_id = i32::from_be_bytes(reader.take()?);
    debug_assert_eq!(reader.position, FIXED_BYTES);
    let client_id = reader.text(false)?;
    if request_is_flexible(api_key, api_version) {
        reader.tags()?;
    }
    Ok(RequestHead {
        api_key,
        api_version,
        correlation_id,
        client_id,
        body_offset: reader.position,
    })
}

fn request_is_flexible(api_key: i16, api_version: i16) -> bool {
    // Of a version that nobody knows, nobody knows the header either: what is refused needs no more.
    schema::api(api_key).is_some_and(|api| {
        api.request.versions.contains(api_version) && api.request.is_flexible(api_version)
    })
}

/// Whether the response's header has a tag section. That of ApiVersions never has (KIP-511).
pub fn response_is_flexible(api_key: i16, api_version: i16) -> bool {
    api_key != API_VERSIONS
        && schema::api(api_key).is_some_and(|api| api.response.is_flexible(api_version))
}

/// Why a reader stopped.
pub(super) enum Stop {
    NeedMore,
    Malformed(&'static str),
}

impl<T> From<Stop> for Peek<T> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::NeedMore => Self::NeedMore,
            Stop::Malformed(why) => Self::Malformed(why),
        }
    }
}

/// Reads the start of a frame of which not every byte may have arrived.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) frame_bytes: usize,
    pub(super) position: usize,
}

impl Reader<'_> {
    fn need(&self, count: usize) -> Result<(), Stop> {
        let end = self.position + count;
        if end > self.frame_bytes {
            return Err(Stop::Malformed("the frame ends before what it must have"));
        }
        if end > self.bytes.len() {
            return Err(Stop::NeedMore);
        }
        Ok(())
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.need(N)?;
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[self.position..self.position + N]);
        self.position += N;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u32, Stop> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map_err(|_| Stop::Malformed("a varint of over 32 bits"));
            }
        }
        Err(Stop::Malformed("a varint of over five bytes"))
    }

    /// A nullable string: where its bytes stand. They need not have arrived, only what follows.
    pub(super) fn text(&mut self, compact: bool) -> Result<Option<Range<usize>>, Stop> {
        let length = if compact {
            match self.varint()? {
                0 => return Ok(None),
                biased => biased as usize - 1,
            }
        } else {
            match i16::from_be_bytes(self.take()?) {
                -1 => return Ok(None),
                length => {
                    usize::try_from(length).map_err(|_| Stop::Malformed("a negative length"))?
                }
            }
        };
        self.skip(length)?;
        Ok(Some(self.position - length..self.position))
    }

    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        self.need(count)?;
        self.position += count;
        Ok(())
    }

    fn tags(&mut self) -> Result<(), Stop> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let bytes = self.varint()? as usize;
            self.skip(bytes)?;
        }
        Ok(())
    }
}
