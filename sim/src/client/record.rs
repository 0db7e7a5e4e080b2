//! Numbered records: what a model producer writes, so that a history can be judged by what was read.
//!
//! A value is text that a person can read, too: `42 orders-app`, filled with dots to the size that was asked for.

use bytes::{BufMut, Bytes};

/// Longest name of a producer.
pub const PRODUCER_NAME_BYTES_MAX: usize = 64;

/// What a value says about its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numbered<'a> {
    /// Who wrote it.
    pub producer: &'a str,
    /// Counted from 0 on, in the order in which the application handed the records over.
    pub number: u64,
}

impl<'a> Numbered<'a> {
    /// Reads a value; `None`: something else wrote it.
    pub fn decode(value: &'a [u8]) -> Option<Self> {
        // The padding is not looked at: a value costs the same whatever its size.
        let head = &value[..value.len().min(20 + 1 + PRODUCER_NAME_BYTES_MAX + 1)];
        let mut words = head.splitn(3, |byte| *byte == b' ');
        let number = str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let producer = str::from_utf8(words.next()?).ok()?;
        Some(Self { producer, number })
    }

    /// Bytes of the value when at least `bytes_min` are wanted.
    pub fn len(&self, bytes_min: usize) -> usize {
        self.least().max(bytes_min)
    }

    /// Writes the value.
    pub fn encode(&self, buffer: &mut impl BufMut, bytes_min: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = self.number;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).expect("one digit");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        buffer.put_slice(&digits[at..]);
        buffer.put_u8(b' ');
        buffer.put_slice(self.producer.as_bytes());
        let padding = bytes_min.saturating_sub(self.least());
        if padding > 0 {
            buffer.put_u8(b' ');
            buffer.put_bytes(b'.', padding - 1);
        }
    }

    fn least(&self) -> usize {
        let digits = self.number.checked_ilog10().unwrap_or(0) as usize + 1;
        digits + 1 + self.producer.len()
    }
}

/// The value of a numbered record alone.
pub fn value(numbered: Numbered<'_>, bytes_min: usize) -> Bytes {
    let mut buffer = Vec::with_capacity(numbered.len(bytes_min));
    numbered.encode(&mut buffer, bytes_min);
    buffer.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_were_written_in_every_size() {
        for number in [0, 9, 10, 99_999, u64::MAX] {
            for size in [0, 12, 13, 14, 15, 1024] {
                let numbered = Numbered { producer: "orders-app", number };
                let value = value(numbered, size);
                assert_eq!(value.len(), numbered.len(size));
                assert!(value.len() >= size);
                assert_eq!(Numbered::decode(&value), Some(numbered));
            }
        }
    }

    #[test]
    fn values_of_others_are_not_taken_for_numbered_ones() {
        for value in ["", "42", "hello world", "-1 a"] {
            assert_eq!(Numbered::decode(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Numbered::decode(&[0xff, b' ', b'a']), None);
    }
}
