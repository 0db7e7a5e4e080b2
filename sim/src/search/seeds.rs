//! Which seeds, and which part of the runs.

use std::{ops::Range, str::FromStr};

/// Most seeds of one sweep.
const SEEDS_MAX: u64 = 10_000_000;

/// Seeds from one on up to another, which is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Range<u64>);

/// A text that names no seeds, or no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    /// Not seeds.
    #[error("write a range such as `0..1000`, or one seed")]
    Seeds,
    /// More than anybody can wait for.
    #[error("write at most {SEEDS_MAX} seeds")]
    TooMany,
    /// Not a share.
    #[error("write a share such as `1/4`: the first of four")]
    Shard,
}

impl FromStr for Seeds {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| BadRange::Seeds);
        let range = match text.split_once("..") {
            Some((from, to)) => match to.strip_prefix('=') {
                Some(last) => number(from)?..number(last)?.checked_add(1).ok_or(BadRange::Seeds)?,
                None => number(from)?..number(to)?,
            },
            None => {
                let seed = number(text)?;
                seed..seed.checked_add(1).ok_or(BadRange::Seeds)?
            }
        };
        match range.end.checked_sub(range.start) {
            None | Some(0) => Err(BadRange::Seeds),
            Some(count) if count > SEEDS_MAX => Err(BadRange::TooMany),
            Some(_) => Ok(Self(range)),
        }
    }
}

/// One of several machines that share a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 on.
    number: usize,
    of: usize,
}

impl Shard {
    /// Everything.
    pub const ALL: Self = Self { number: 1, of: 1 };

    /// Whether the run with this index, counted from 0, belongs to it.
    pub const fn has(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

impl FromStr for Shard {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let (number, of) = text.split_once('/').ok_or(BadRange::Shard)?;
        let parse = |text: &str| text.trim().parse::<usize>().map_err(|_| BadRange::Shard);
        let shard = Self { number: parse(number)?, of: parse(of)? };
        if (1..=shard.of).contains(&shard.number) { Ok(shard) } else { Err(BadRange::Shard) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_or_one() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0);
        assert_eq!(seeds("0..1000"), Ok(0..1000));
        assert_eq!(seeds("3..=5"), Ok(3..6));
        assert_eq!(seeds("7"), Ok(7..8));
        for bad in ["", "..", "5..5", "6..5", "a..b", "-1..3", "18446744073709551615"] {
            assert_eq!(seeds(bad), Err(BadRange::Seeds), "{bad}");
        }
        assert_eq!(seeds("0..99999999999"), Err(BadRange::TooMany));
    }

    /// A run that no machine does would be missing without a word.
    #[test]
    fn shards_do_every_run_once() {
        let shards: Vec<Shard> =
            ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().expect("a share")).collect();
        for index in 0..20 {
            assert_eq!(shards.iter().filter(|shard| shard.has(index)).count(), 1);
        }
        assert!((0..20).all(|index| Shard::ALL.has(index)));
        for bad in ["", "0/3", "4/3", "1/0", "1", "a/b"] {
            assert_eq!(bad.parse::<Shard>(), Err(BadRange::Shard), "{bad}");
        }
    }
}
