//! Values of a scenario file that are texts with a meaning: times, ranges, bounds.

use std::{ops::RangeInclusive, time::Duration};

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use switchyard::config::duration;

use super::raw::NumberOrText;

/// A time that is fixed, or that a seed draws from a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// From and to, inclusive.
    pub range: RangeInclusive<Duration>,
}

impl Span {
    /// Always the same time.
    pub const fn fixed(time: Duration) -> Self {
        Self { range: RangeInclusive::new(time, time) }
    }

    /// Reads `30s` or `20s..40s`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (from, to) = match text.split_once("..") {
            Some((from, to)) => (duration::parse(from).ok()?, duration::parse(to).ok()?),
            None => {
                let time = duration::parse(text).ok()?;
                (time, time)
            }
        };
        (from <= to).then_some(Self { range: from..=to })
    }

    /// A time in the range, to the millisecond.
    pub fn draw(&self, random: &mut Rng) -> Duration {
        let ms = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(random.u64(ms(self.range.start())..=ms(self.range.end())))
    }
}

/// What a figure must lie in, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Bounds {
    /// Exactly this.
    pub const fn exactly(value: u64) -> Self {
        Self { min: value, max: value }
    }

    /// Whether the figure is as expected.
    pub fn hold(&self, figure: u64) -> bool {
        (self.min..=self.max).contains(&figure)
    }

    /// Reads `0`, `..5`, `3..` or `1..3` with `number` reading what stands between the dots.
    fn parse(text: &str, number: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let Some((min, max)) = text.split_once("..") else {
            return number(text).map(Self::exactly);
        };
        let min = if min.is_empty() { 0 } else { number(min)? };
        let max = if max.is_empty() { u64::MAX } else { number(max)? };
        (min <= max).then_some(Self { min, max })
    }

    pub(super) fn of_count(written: &NumberOrText) -> Option<Self> {
        match written {
            NumberOrText::Number(number) => Some(Self::exactly(u64::try_from(*number).ok()?)),
            NumberOrText::Text(text) => Self::parse(text, |part| part.trim().parse().ok()),
        }
    }

    /// In milliseconds.
    pub(super) fn of_time(written: &NumberOrText) -> Option<Self> {
        let ms = |text: &str| u64::try_from(duration::parse(text).ok()?.as_millis()).ok();
        match written {
            NumberOrText::Number(_) => None,
            NumberOrText::Text(text) => Self::parse(text, ms),
        }
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.min, self.max) {
            (min, max) if min == max => write!(f, "exactly {min}"),
            (0, u64::MAX) => f.write_str("any"),
            (0, max) => write!(f, "at most {max}"),
            (min, u64::MAX) => write!(f, "at least {min}"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> NumberOrText {
        NumberOrText::Text(text.to_owned())
    }

    #[test]
    fn span_is_one_time_or_a_range() {
        let seconds = Duration::from_secs;
        assert_eq!(Span::parse("30s"), Some(Span::fixed(seconds(30))));
        assert_eq!(Span::parse("20s..40s"), Some(Span { range: seconds(20)..=seconds(40) }));
        for bad in ["", "..", "40s..20s", "30", "x"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
        let drawn = Span::parse("1s..2s").expect("a range").draw(&mut Rng::with_seed(1));
        assert!((seconds(1)..=seconds(2)).contains(&drawn));
    }

    #[test]
    fn bounds_read_numbers_and_open_ranges() {
        let count = |written: NumberOrText| Bounds::of_count(&written);
        assert_eq!(count(NumberOrText::Number(3)), Some(Bounds::exactly(3)));
        assert_eq!(count(text("..5")), Some(Bounds { min: 0, max: 5 }));
        assert_eq!(count(text("3..")), Some(Bounds { min: 3, max: u64::MAX }));
        assert_eq!(count(text("1..3")), Some(Bounds { min: 1, max: 3 }));
        for bad in [text("3..1"), text("a"), NumberOrText::Number(-1)] {
            assert_eq!(count(bad), None);
        }
        assert_eq!(Bounds::of_time(&text("..100s")), Some(Bounds { min: 0, max: 100_000 }));
        assert_eq!(Bounds::of_time(&NumberOrText::Number(5)), None, "a time needs a unit");
    }
}
