//! Values of arguments.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// A topic to create: `name:partitions:replication`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicArg {
    pub(super) name: String,
    pub(super) partitions: i32,
    /// −1: the broker's default.
    pub(super) replication: i16,
}

/// A text that is not what the argument wants.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("write {0}")]
pub(super) struct Wanted(&'static str);

impl FromStr for TopicArg {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<Self, Wanted> {
        const WANTED: Wanted = Wanted("`name`, `name:partitions` or `name:partitions:replication`");
        let mut parts = text.split(':');
        let name = parts.next().filter(|name| !name.is_empty()).ok_or(WANTED)?.to_owned();
        let partitions = parts.next().map_or(Ok(1), str::parse).map_err(|_| WANTED)?;
        let replication = parts.next().map_or(Ok(-1), str::parse).map_err(|_| WANTED)?;
        let valid = partitions > 0 && (replication > 0 || replication == -1);
        if !valid || parts.next().is_some() {
            return Err(WANTED);
        }
        Ok(Self { name, partitions, replication })
    }
}

/// `key=value`
pub(super) fn setting(text: &str) -> Result<(String, String), Wanted> {
    pair(text, '=').ok_or(Wanted("`key=value`, with the key as Kafka's broker settings spell it"))
}

/// `user:password`
pub(super) fn user(text: &str) -> Result<User, Wanted> {
    let (name, password) = pair(text, ':').ok_or(Wanted("`user:password`"))?;
    Ok(User { name, password })
}

/// `path=value`, where the value is YAML.
pub(super) fn assignment(text: &str) -> Result<(String, Value), Wanted> {
    const WANTED: Wanted = Wanted("`path=value`, such as `timeline[0].at=30s`");
    let (path, value) = pair(text, '=').ok_or(WANTED)?;
    Ok((path, yaml(&value).ok_or(WANTED)?))
}

/// `path=a,b,c`, where the values are YAML.
pub(super) fn alternatives(text: &str) -> Result<(String, Vec<Value>), Wanted> {
    const WANTED: Wanted = Wanted("`path=value,value`, such as `producers[0].rate=10,100`");
    let (path, values) = pair(text, '=').ok_or(WANTED)?;
    match yaml(&format!("[{values}]")) {
        Some(Value::Array(values)) if !values.is_empty() => Ok((path, values)),
        _ => Err(WANTED),
    }
}

/// The value of a YAML text.
pub(super) fn yaml(text: &str) -> Option<Value> {
    serde_yaml::from_str(text).ok()
}

fn pair(text: &str, mark: char) -> Option<(String, String)> {
    let (left, right) = text.split_once(mark)?;
    (!left.is_empty()).then(|| (left.to_owned(), right.to_owned()))
}

/// Who may log in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A number of bytes: `65536`, `256MiB`.
pub(super) fn bytes(text: &str) -> Result<usize, Wanted> {
    const WANTED: Wanted = Wanted("a number of bytes from 1 MiB on, such as `256MiB` or `2GiB`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(WANTED),
    };
    let number: usize = number.parse().map_err(|_| WANTED)?;
    number.checked_mul(factor).filter(|bytes| *bytes >= 1 << 20).ok_or(WANTED)
}

/// How people read a number of bytes.
pub(super) fn render_bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let amount = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", amount / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", amount / 1e6),
        _ => format!("{:.1} GB", amount / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_with_and_without_defaults() {
        let topic = |name: &str, partitions, replication| TopicArg {
            name: name.to_owned(),
            partitions,
            replication,
        };
        assert_eq!("a".parse(), Ok(topic("a", 1, -1)));
        assert_eq!("a:6".parse(), Ok(topic("a", 6, -1)));
        assert_eq!("a.b-c:6:3".parse(), Ok(topic("a.b-c", 6, 3)));
        for bad in ["", ":1", "a:0", "a:1:0", "a:1:1:1", "a:x", "a:1:-2", "a:99999999999"] {
            assert!(bad.parse::<TopicArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_and_bounded_below() {
        assert_eq!(bytes("256MiB"), Ok(256 << 20));
        assert_eq!(bytes("2 GiB"), Ok(2 << 30));
        for bad in ["", "1", "1023KiB", "MiB", "5MB", "99999999999GiB", "-1GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    /// A number that became a text, or half of a list, would be refused by the scenario's check.
    #[test]
    fn assigned_values_are_yaml() {
        use serde_json::json;
        let one = |text| assignment(text).expect(text).1;
        assert_eq!(one("a.b=5"), json!(5));
        assert_eq!(one("a=30s..40s"), json!("30s..40s"));
        assert_eq!(one("a={lost: 0, x: [1, 2]}"), json!({"lost": 0, "x": [1, 2]}));
        assert_eq!(one("settings={acks=1}"), json!({"acks=1": null}));
        let (path, values) = alternatives("producers[0].settings.acks=all,1,'1'").expect("values");
        assert_eq!(path, "producers[0].settings.acks");
        assert_eq!(values, [json!("all"), json!(1), json!("1")]);
        assert_eq!(alternatives("a=[1,2],[3]").expect("lists").1, [json!([1, 2]), json!([3])]);
        for bad in ["", "a", "=5"] {
            assert!(assignment(bad).is_err() && alternatives(bad).is_err(), "{bad}");
        }
        assert!(alternatives("a=").is_err());
        assert!(assignment("a={").is_err());
    }

    /// A password must not end up in a log by way of an argument's debug output.
    #[test]
    fn debug_output_of_a_user_hides_the_password() {
        let user = user("alice:hunter2:x").expect("a user");
        assert_eq!(user.password, "hunter2:x");
        assert!(!format!("{user:?}").contains("hunter2"));
    }
}
