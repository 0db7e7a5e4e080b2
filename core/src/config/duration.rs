//! Durations as people write them: `500ms`, `5s`, `2m`, `1h`.

use std::time::Duration;

/// No such duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration; write a whole number and a unit, such as `500ms`, `5s`, `2m` or `1h`")]
pub struct NotADuration;

/// Reads a duration.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| NotADuration)?;
    let millis = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(NotADuration),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or(NotADuration)
}

/// Writes a duration so that [`parse`] reads it.
pub fn render(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

/// For fields of type `Option<Duration>`.
pub mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// As text.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => to.serialize_str(&super::render(*duration)),
            None => to.serialize_none(),
        }
    }

    /// From text.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| super::parse(&text).map_err(de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in
            [("5s", 5_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)]
        {
            let duration = parse(text).expect("a duration");
            assert_eq!(duration, Duration::from_millis(millis));
            assert_eq!(parse(&render(duration)), Ok(duration));
        }
        for text in ["", "5", "s", "-1s", "5 days", "1.5s", "99999999999999999999s"] {
            assert_eq!(parse(text), Err(NotADuration), "{text}");
        }
    }
}
