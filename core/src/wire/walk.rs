//! The resumable bounded walker: follows a message through its schema, chunk by chunk.
//!
//! Nothing is decoded and nothing is kept but a small stack, whose depth the schema fixes. Every count and
//! length is compared with the bytes that the frame still has before it is believed. What a caller wants
//! to know of a message it hears as a [`Visitor`]; positions count from the first byte fed.
//!
//! Accepted as Kafka's own readers do: overlong varints of up to five bytes, unknown tags. Refused: null
//! where the schema has none, a tagged field whose size is not its content's, bytes behind the message.

use super::schema::{self, Field, Kind, Message};

/// Which half of an API's schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From client to broker.
    Request,
    /// From broker to client.
    Response,
}

/// Why a message is not what its schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// No schema for this API key and version.
    #[error("no schema for API key {api_key} version {api_version}")]
    Unknown {
        /// API key.
        api_key: i16,
        /// Version.
        api_version: i16,
    },
    /// A length or count that the rest of the frame cannot hold.
    #[error("{field} at byte {at}: {claimed} claimed, {remaining} bytes remain")]
    PastEnd {
        /// Name of the field.
        field: &'static str,
        /// Where it stands.
        at: usize,
        /// What it claims: bytes of a string, elements of an array.
        claimed: u64,
        /// Bytes that remain in the frame.
        remaining: usize,
    },
    /// Null, or a negative length, where the schema allows neither.
    #[error("{field} at byte {at}: null is not allowed")]
    Null {
        /// Name of the field.
        field: &'static str,
        /// Where it stands.
        at: usize,
    },
    /// A varint of more than five bytes or 32 bits.
    #[error("varint at byte {at} has more than 32 bits")]
    Varint {
        /// Where it ends.
        at: usize,
    },
    /// A tagged field whose size is not that of its content.
    #[error("tagged field {field} at byte {at}: its size is wrong")]
    TagSize {
        /// Name of the field.
        field: &'static str,
        /// Where its content ends.
        at: usize,
    },
    /// The frame ends inside the message.
    #[error("the frame ends at byte {at}, inside the message")]
    Truncated {
        /// Where.
        at: usize,
    },
    /// The frame goes on behind the message.
    #[error("the message ends at byte {at}, the frame goes on")]
    Trailing {
        /// Where.
        at: usize,
    },
    /// A visitor's own limit.
    #[error("the message is larger than the gateway handles")]
    TooLarge,
}

/// A value of fixed width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Any integer, a bool, or the bits of a float.
    Int(i64),
    /// A UUID.
    Uuid(u128),
}

/// Hears what a walker comes across. Positions count from the first byte fed.
#[expect(unused_variables, reason = "every method is optional")]
pub trait Visitor {
    /// A value of fixed width that starts at `start`.
    fn scalar(&mut self, field: &'static Field, start: usize, value: Scalar) {}

    /// A string, bytes or records: its length stands at `start`, its content at `body`; `None`: null.
    fn text(&mut self, field: &'static Field, start: usize, body: usize, bytes: Option<usize>) {}

    /// A piece of the content of the last [`Self::text`].
    fn text_piece(&mut self, field: &'static Field, piece: &[u8]) {}

    /// An array (count at `start`, elements from `body`) or a nullable structure begins.
    fn array(&mut self, field: &'static Field, start: usize, body: usize, count: Option<u32>) {}

    /// An element begins.
    fn element(&mut self, field: &'static Field, at: usize) {}

    /// An element has ended.
    fn element_end(&mut self, field: &'static Field, at: usize) {}

    /// All elements have ended.
    fn array_end(&mut self, field: &'static Field, at: usize) {}

    /// A structure that is no array's element begins; `present` is false when it is null.
    fn structure(&mut self, field: &'static Field, present: bool) {}

    /// That structure has ended.
    fn structure_end(&mut self, field: &'static Field) {}

    /// A known tagged field: its tag stands at `tag_at`, its size at `size_at`, its content at `body`.
    fn tagged(&mut self, field: &'static Field, tag_at: usize, size_at: usize, body: usize) {}

    /// That tagged field has ended.
    fn tagged_end(&mut self, field: &'static Field, at: usize) {}

    /// Whether the content of this known tagged field is to be passed over like an unknown one's. Asked
    /// when its tag has been read, while the last byte of the tag is in the chunk at hand.
    fn passes_over(&mut self, field: &'static Field, tag_at: usize) -> bool {
        false
    }

    /// The content of a field passed over.
    fn passed_over(&mut self, field: &'static Field, body: usize, bytes: usize) {}

    /// Asked now and then: whether the walk goes on.
    fn check(&self) -> Result<(), WalkError> {
        Ok(())
    }
}

/// Wants to know nothing but whether the message is sound.
impl Visitor for () {}

#[derive(Clone, Copy)]
enum Level {
    Struct {
        fields: &'static [Field],
        next: usize,
        flexible: bool,
        owner: Option<&'static Field>,
    },
    Tags {
        fields: &'static [Field],
        left: u32,
        open: Option<(&'static Field, usize)>,
        owner: Option<&'static Field>,
    },
    Array {
        field: &'static Field,
        element: &'static Kind,
        left: u32,
        open: bool,
    },
}

/// What the next bytes are for.
#[derive(Clone, Copy)]
enum Then {
    Value(&'static Field),
    TextLength(&'static Field),
    Count(&'static Field, &'static Kind),
    Presence(&'static Field, &'static [Field]),
    TagCount,
    Tag,
    TagSize { field: Option<&'static Field>, tag_at: usize, over: bool },
}

#[derive(Clone, Copy)]
enum Token {
    /// Look at the stack.
    Plan,
    Fixed(usize, Then),
    Varint(Then),
    /// Content of a text.
    Text {
        field: &'static Field,
        left: usize,
    },
    /// Of no interest.
    Skip {
        left: usize,
    },
    Done,
}

/// Longest token that is looked at as a whole: a UUID.
const TOKEN_BYTES_MAX: usize = 16;
const VARINT_BYTES_MAX: usize = 5;
/// Deeper than any schema; the stack grows by itself should one be deeper.
const LEVELS: usize = 10;

/// Follows one message. Feed it the frame's bytes in any split, then ask whether it [finished](Self::finish).
pub struct Walker {
    version: i16,
    flexible: bool,
    stack: Vec<Level>,
    token: Token,
    /// Bytes of a token that did not come whole.
    partial: [u8; TOKEN_BYTES_MAX],
    partial_bytes: usize,
    position: usize,
    frame_bytes: usize,
}

static RESPONSE_HEADER: [Field; 1] = [Field {
    name: "CorrelationId",
    versions: schema::Versions { min: 0, max: i16::MAX },
    nullable: schema::Versions { min: 1, max: 0 },
    tag: 0,
    tagged: schema::Versions { min: 1, max: 0 },
    default: schema::Default::Zero,
    kind: Kind::Int32,
    mark: schema::Mark::None,
}];

impl Walker {
    /// Follows a body of `frame_bytes` bytes.
    pub fn body(
        direction: Direction,
        api_key: i16,
        api_version: i16,
        frame_bytes: usize,
    ) -> Result<Self, WalkError> {
        let message = message(direction, api_key, api_version)?;
        Ok(Self::over(message, api_version, frame_bytes))
    }

    /// Follows a response from its header on: correlation id, tags where the header has them, body.
    /// `frame_bytes` is the frame's length.
    pub fn response(api_key: i16, api_version: i16, frame_bytes: usize) -> Result<Self, WalkError> {
        let message = message(Direction::Response, api_key, api_version)?;
        let mut walker = Self::over(message, api_version, frame_bytes);
        walker.stack.push(Level::Struct {
            fields: &RESPONSE_HEADER,
            next: 0,
            // KIP-511: the header of ApiVersions responses never has tags.
            flexible: walker.flexible && api_key != super::api_versions::API_VERSIONS,
            owner: None,
        });
        Ok(walker)
    }

    fn over(message: &'static Message, version: i16, frame_bytes: usize) -> Self {
        let flexible = message.is_flexible(version);
        let mut stack = Vec::with_capacity(LEVELS);
        stack.push(Level::Struct { fields: message.fields, next: 0, flexible, owner: None });
        Self {
            version,
            flexible,
            stack,
            token: Token::Plan,
            partial: [0; TOKEN_BYTES_MAX],
            partial_bytes: 0,
            position: 0,
            frame_bytes,
        }
    }

    /// Bytes fed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Whether the message is complete and the frame has ended with it.
    pub fn finish(&mut self) -> Result<(), WalkError> {
        // A message may end with something that needs no byte.
        self.feed(&[], &mut ())?;
        match self.token {
            Token::Done if self.position == self.frame_bytes => Ok(()),
            Token::Done => Err(WalkError::Trailing { at: self.position }),
            _ => Err(WalkError::Truncated { at: self.position }),
        }
    }

    /// Goes on with these bytes.
    pub fn feed<V: Visitor>(&mut self, chunk: &[u8], visitor: &mut V) -> Result<(), WalkError> {
        let mut rest = chunk;
        loop {
            match self.token {
                Token::Plan => {
                    visitor.check()?;
                    self.plan(visitor)?;
                }
                Token::Done if rest.is_empty() => return Ok(()),
                Token::Done => return Err(WalkError::Trailing { at: self.position }),
                Token::Text { field, left } => {
                    let taken = left.min(rest.len());
                    if taken > 0 {
                        visitor.text_piece(field, &rest[..taken]);
                    }
                    rest = &rest[taken..];
                    self.position += taken;
                    if taken < left {
                        self.token = Token::Text { field, left: left - taken };
                        return Ok(());
                    }
                    self.token = Token::Plan;
                }
                Token::Skip { left } => {
                    let taken = left.min(rest.len());
                    rest = &rest[taken..];
                    self.position += taken;
                    if taken < left {
                        self.token = Token::Skip { left: left - taken };
                        return Ok(());
                    }
                    self.token = Token::Plan;
                }
                Token::Fixed(bytes, then) => {
                    let Some((start, value)) = self.fixed(bytes, &mut rest) else { return Ok(()) };
                    self.apply(then, start, value, visitor)?;
                }
                Token::Varint(then) => {
                    let Some((start, value)) = self.varint(&mut rest)? else { return Ok(()) };
                    self.apply(then, start, u128::from(value), visitor)?;
                }
            }
        }
    }

    fn remaining(&self) -> usize {
        self.frame_bytes.saturating_sub(self.position)
    }

    /// A big-endian number of `bytes` bytes, once they are all there, and where it started.
    fn fixed(&mut self, bytes: usize, rest: &mut &[u8]) -> Option<(usize, u128)> {
        let wanted = bytes - self.partial_bytes;
        let taken = wanted.min(rest.len());
        let (head, tail) = rest.split_at(taken);
        self.position += taken;
        *rest = tail;
        let start = self.position - self.partial_bytes - taken;
        if self.partial_bytes == 0 && taken == wanted {
            return Some((start, big_endian(head)));
        }
        self.partial[self.partial_bytes..self.partial_bytes + taken].copy_from_slice(head);
        self.partial_bytes += taken;
        if self.partial_bytes < bytes {
            return None;
        }
        self.partial_bytes = 0;
        Some((start, big_endian(&self.partial[..bytes])))
    }

    fn varint(&mut self, rest: &mut &[u8]) -> Result<Option<(usize, u32)>, WalkError> {
        while let Some((&byte, tail)) = rest.split_first() {
            *rest = tail;
            self.position += 1;
            self.partial[self.partial_bytes] = byte;
            self.partial_bytes += 1;
            if byte & 0x80 == 0 {
                let bytes = &self.partial[..self.partial_bytes];
                let value =
                    bytes.iter().rev().fold(0_u64, |value, b| value << 7 | u64::from(b & 0x7f));
                let start = self.position - self.partial_bytes;
                self.partial_bytes = 0;
                let value =
                    u32::try_from(value).map_err(|_| WalkError::Varint { at: self.position })?;
                return Ok(Some((start, value)));
            }
            if self.partial_bytes == VARINT_BYTES_MAX {
                return Err(WalkError::Varint { at: self.position });
            }
        }
        Ok(None)
    }

    /// Decides from the stack what comes next.
    fn plan<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), WalkError> {
        let at = self.position;
        let version = self.version;
        match self.stack.last_mut() {
            None => self.token = Token::Done,
            Some(Level::Struct { fields, next, flexible, owner }) => {
                let (fields, owner) = (*fields, *owner);
                while *next < fields.len() && !fields[*next].is_plain(version) {
                    *next += 1;
                }
                if let Some(field) = fields.get(*next) {
                    *next += 1;
                    let nullable = field.nullable.contains(version);
                    self.begin(field, &field.kind, nullable, visitor);
                } else if *flexible {
                    self.stack.pop();
                    self.stack.push(Level::Tags { fields, left: 0, open: None, owner });
                    self.token = Token::Varint(Then::TagCount);
                } else {
                    self.end_structure(owner, visitor);
                }
            }
            Some(Level::Tags { left, open, owner, .. }) => {
                if let Some((field, end)) = open.take() {
                    if end != at {
                        return Err(WalkError::TagSize { field: field.name, at });
                    }
                    visitor.tagged_end(field, at);
                }
                if *left == 0 {
                    let owner = *owner;
                    self.end_structure(owner, visitor);
                } else {
                    *left -= 1;
                    self.token = Token::Varint(Then::Tag);
                }
            }
            Some(Level::Array { field, element, left, open }) => {
                let (field, element) = (*field, *element);
                if *open {
                    visitor.element_end(field, at);
                }
                *open = *left > 0;
                if *open {
                    *left -= 1;
                    visitor.element(field, at);
                    self.begin(field, element, false, visitor);
                } else {
                    visitor.array_end(field, at);
                    self.stack.pop();
                }
            }
        }
        Ok(())
    }

    fn end_structure<V: Visitor>(&mut self, owner: Option<&'static Field>, visitor: &mut V) {
        self.stack.pop();
        if let Some(field) = owner {
            visitor.structure_end(field);
        }
    }

    /// Sets the token of a value of this kind, or enters the structure.
    fn begin<V: Visitor>(
        &mut self,
        field: &'static Field,
        kind: &'static Kind,
        nullable: bool,
        visitor: &mut V,
    ) {
        let element = !std::ptr::eq(kind, &raw const field.kind);
        let length = |bytes, then| {
            if self.flexible { Token::Varint(then) } else { Token::Fixed(bytes, then) }
        };
        self.token = match kind {
            Kind::Bool | Kind::Int8 => Token::Fixed(1, Then::Value(field)),
            Kind::Int16 | Kind::Uint16 => Token::Fixed(2, Then::Value(field)),
            Kind::Int32 | Kind::Uint32 => Token::Fixed(4, Then::Value(field)),
            Kind::Int64 | Kind::Float64 => Token::Fixed(8, Then::Value(field)),
            Kind::Uuid => Token::Fixed(16, Then::Value(field)),
            Kind::String => length(2, Then::TextLength(field)),
            Kind::Bytes | Kind::Records => length(4, Then::TextLength(field)),
            Kind::Array(element) => length(4, Then::Count(field, element)),
            Kind::Struct(fields) if nullable => Token::Fixed(1, Then::Presence(field, fields)),
            Kind::Struct(fields) => {
                let owner = (!element).then_some(field);
                if owner.is_some() {
                    visitor.structure(field, true);
                }
                self.stack.push(Level::Struct { fields, next: 0, flexible: self.flexible, owner });
                Token::Plan
            }
        };
    }

    /// A token is complete.
    fn apply<V: Visitor>(
        &mut self,
        then: Then,
        start: usize,
        value: u128,
        visitor: &mut V,
    ) -> Result<(), WalkError> {
        self.token = Token::Plan;
        let at = self.position;
        match then {
            Then::Value(field) => visitor.scalar(field, start, scalar(element_kind(field), value)),
            Then::TextLength(field) => {
                let short = matches!(element_kind(field), Kind::String);
                let length = self.length(value, if short { 2 } else { 4 });
                let bytes = self.believe(field, start, length, 1)?;
                visitor.text(field, start, at, bytes.map(|bytes| bytes as usize));
                if let Some(bytes) = bytes {
                    self.token = Token::Text { field, left: bytes as usize };
                }
            }
            Then::Count(field, element) => {
                let length = self.length(value, 4);
                let element_bytes_min = self.bytes_min(element);
                let count = self.believe(field, start, length, element_bytes_min)?;
                visitor.array(field, start, at, count);
                if let Some(left) = count {
                    self.stack.push(Level::Array { field, element, left, open: false });
                }
            }
            Then::Presence(field, fields) => {
                let present = value < 0x80; // A negative byte says null.
                visitor.structure(field, present);
                if present {
                    let flexible = self.flexible;
                    self.stack.push(Level::Struct {
                        fields,
                        next: 0,
                        flexible,
                        owner: Some(field),
                    });
                } else {
                    visitor.structure_end(field);
                }
            }
            Then::TagCount => {
                let left = self.claim("tagged fields", start, value, 2)?;
                if let Some(Level::Tags { left: expected, .. }) = self.stack.last_mut() {
                    *expected = left;
                }
            }
            Then::Tag => {
                let Some(Level::Tags { fields, .. }) = self.stack.last() else { return Ok(()) };
                let field =
                    fields.iter().find(|f| u128::from(f.tag) == value && f.is_tagged(self.version));
                let over = field.is_some_and(|field| visitor.passes_over(field, start));
                self.token = Token::Varint(Then::TagSize { field, tag_at: start, over });
            }
            Then::TagSize { field, tag_at, over } => {
                let name = field.map_or("unknown tag", |field| field.name);
                let bytes = self.claim(name, start, value, 1)? as usize;
                match field {
                    Some(field) if !over => {
                        if let Some(Level::Tags { open, .. }) = self.stack.last_mut() {
                            *open = Some((field, at + bytes));
                        }
                        visitor.tagged(field, tag_at, start, at);
                        let nullable = field.nullable.contains(self.version);
                        self.begin(field, &field.kind, nullable, visitor);
                    }
                    field => {
                        if let Some(field) = field {
                            visitor.passed_over(field, at, bytes);
                        }
                        self.token = Token::Skip { left: bytes };
                    }
                }
            }
        }
        Ok(())
    }

    /// A length or count as read, without the bias of the compact form; `None` is null.
    fn length(&self, value: u128, bytes: u32) -> Option<u64> {
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        if self.flexible {
            value.checked_sub(1)
        } else {
            // Negative lengths are null, as Kafka reads them.
            (value < 1 << (8 * bytes - 1)).then_some(value)
        }
    }

    /// Checks a length against nullability and the rest of the frame.
    fn believe(
        &self,
        field: &'static Field,
        start: usize,
        length: Option<u64>,
        unit_bytes_min: usize,
    ) -> Result<Option<u32>, WalkError> {
        match length {
            Some(length) => {
                self.claim(field.name, start, u128::from(length), unit_bytes_min).map(Some)
            }
            None if field.nullable.contains(self.version) => Ok(None),
            None => Err(WalkError::Null { field: field.name, at: start }),
        }
    }

    fn claim(
        &self,
        field: &'static str,
        at: usize,
        claimed: u128,
        unit_bytes_min: usize,
    ) -> Result<u32, WalkError> {
        let remaining = self.remaining();
        let fits = claimed * (unit_bytes_min as u128) <= remaining as u128;
        u32::try_from(claimed).ok().filter(|_| fits).ok_or(WalkError::PastEnd {
            field,
            at,
            claimed: u64::try_from(claimed).unwrap_or(u64::MAX),
            remaining,
        })
    }

    /// The fewest bytes that a value of this kind takes; at least one, so that counts are bounded.
    fn bytes_min(&self, kind: &Kind) -> usize {
        match kind {
            Kind::Int16 | Kind::Uint16 => 2,
            Kind::Int32 | Kind::Uint32 => 4,
            Kind::Int64 | Kind::Float64 => 8,
            Kind::Uuid => 16,
            Kind::String if !self.flexible => 2,
            Kind::Bytes | Kind::Records | Kind::Array(_) if !self.flexible => 4,
            Kind::Bool
            | Kind::Int8
            | Kind::String
            | Kind::Bytes
            | Kind::Records
            | Kind::Array(_) => 1,
            Kind::Struct(fields) => {
                let plain = fields.iter().filter(|field| field.is_plain(self.version));
                let bytes: usize = plain
                    .map(|field| match field.kind {
                        Kind::Struct(_) if field.nullable.contains(self.version) => 1,
                        _ => self.bytes_min(&field.kind),
                    })
                    .sum();
                (bytes + usize::from(self.flexible)).max(1)
            }
        }
    }
}

/// The kind of a field's value, or of its elements: no schema has arrays of arrays.
fn element_kind(field: &'static Field) -> &'static Kind {
    match &field.kind {
        Kind::Array(element) => element,
        kind => kind,
    }
}

fn big_endian(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "reinterprets the bits read"
)]
fn scalar(kind: &Kind, value: u128) -> Scalar {
    Scalar::Int(match kind {
        Kind::Int8 => i64::from(value as u8 as i8),
        Kind::Int16 => i64::from(value as u16 as i16),
        Kind::Int32 => i64::from(value as u32 as i32),
        Kind::Uuid => return Scalar::Uuid(value),
        _ => value as u64 as i64,
    })
}

fn message(
    direction: Direction,
    api_key: i16,
    api_version: i16,
) -> Result<&'static Message, WalkError> {
    schema::api(api_key)
        .map(|api| match direction {
            Direction::Request => &api.request,
            Direction::Response => &api.response,
        })
        .filter(|message| message.versions.contains(api_version))
        .ok_or(WalkError::Unknown { api_key, api_version })
}

/// Walks a whole body: whatever passes here holds no count or length that its bytes do not back.
pub fn check(
    direction: Direction,
    api_key: i16,
    api_version: i16,
    body: &[u8],
) -> Result<(), WalkError> {
    let mut walker = Walker::body(direction, api_key, api_version, body.len())?;
    walker.feed(body, &mut ())?;
    walker.finish()
}

/// Walks a whole body for a visitor.
pub fn visit<V: Visitor>(
    direction: Direction,
    api_key: i16,
    api_version: i16,
    body: &[u8],
    visitor: &mut V,
) -> Result<(), WalkError> {
    let mut walker = Walker::body(direction, api_key, api_version, body.len())?;
    walker.feed(body, visitor)?;
    walker.finish()
}
