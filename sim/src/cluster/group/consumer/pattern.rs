//! A regular expression that a member subscribes by. Kafka's are RE2's, and so, nearly, are those of `regex`.

use kafka_protocol::{messages::TopicName, protocol::StrBytes};
use regex::{Regex, RegexBuilder};

/// What a compiled expression may take up at the most.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A compiled expression; two are equal when they were written the same.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Pattern {
    text: StrBytes,
    regex: Regex,
}

/// What a heartbeat says of the member's pattern.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster) enum PatternChange {
    Kept,
    Dropped,
    Set(Pattern),
}

impl Pattern {
    /// Of a client's text; `Err` says what is wrong with it.
    pub(in crate::cluster) fn new(text: &StrBytes) -> Result<Self, String> {
        // Compiled on its own first: `)(` is not to be saved by the parentheses around it.
        let compile = |text: &str| {
            let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
            built.map_err(|error| error.to_string())
        };
        compile(text)?;
        let regex = compile(&format!("^(?:{text})$"))?;
        Ok(Self { text: super::super::own(text), regex })
    }

    pub(in crate::cluster) fn text(&self) -> &StrBytes {
        &self.text
    }

    /// Whether the whole name matches.
    pub(in crate::cluster) fn matches(&self, topic: &TopicName) -> bool {
        self.regex.is_match(topic)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
