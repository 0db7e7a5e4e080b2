//! Versions of Kafka: which one the tests are about, and what brokers and tools of a version have.

use std::{fmt, path::Path, process::Command, str::FromStr, sync::LazyLock};

/// A released version of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

static UNDER_TEST: LazyLock<Result<Version, String>> =
    LazyLock::new(|| match std::env::var("SWITCHYARD_KAFKA_VERSION") {
        Ok(name) => Version::named(&name),
        Err(_) => resolve(&[]),
    });

impl Version {
    /// The version that the tests of this run are about: `SWITCHYARD_KAFKA_VERSION`, and 4.1 unless set.
    pub fn under_test() -> Result<Self, String> {
        UNDER_TEST.clone()
    }

    /// The version that a name stands for: itself, the pinned one of a line (`3.9`), or `newest`. Which that is
    /// `ci/kafka-image/version` knows alone, for scripts and tests alike.
    pub fn named(name: &str) -> Result<Self, String> {
        name.parse().or_else(|_| resolve(&[name]))
    }

    /// Whether this is a version of the line `major.minor`, or a later one.
    pub fn since(self, major: u16, minor: u16) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// What brokers must be told, by their `KAFKA_*` variables, to serve what those of Kafka 4.1 serve unasked.
    pub fn broker_settings(self) -> Vec<(&'static str, &'static str)> {
        if self.since(4, 0) {
            Vec::new()
        } else {
            // The protocol of KIP-848 was a preview before 4.0.
            vec![("KAFKA_GROUP_COORDINATOR_REBALANCE_PROTOCOLS", "classic,consumer")]
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    /// Of a full version only, such as `4.1.1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<_>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            _ => Err(format!("`{text}` is no full version of Kafka, such as 4.1.1")),
        }
    }
}

fn resolve(arguments: &[&str]) -> Result<Version, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/kafka-image/version");
    let said = Command::new(&script)
        .args(arguments)
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    if said.status.success() {
        String::from_utf8_lossy(&said.stdout).trim().parse()
    } else {
        Err(String::from_utf8_lossy(&said.stderr).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_given_short_is_the_pinned_one_of_its_line() {
        let named = |name| Version::named(name).map(|version| version.to_string());
        assert_eq!(named("3.9"), Ok("3.9.2".to_owned()));
        assert_eq!(named("4.1"), Ok("4.1.1".to_owned()));
        assert_eq!(named("4.1.0"), Ok("4.1.0".to_owned()));
    }

    #[test]
    fn version_that_there_is_not_is_refused_with_what_to_give_instead() {
        let error = Version::named("four").expect_err("no version");
        assert!(error.contains("no Kafka four is known: give a version such as 4.1.1"), "{error}");
    }

    /// As text, 3.10 would come before 3.9.
    #[test]
    fn lines_are_compared_by_number() {
        let version = |text| Version::named(text).expect("a full version");
        assert!(version("3.10.0").since(3, 9));
        assert!(!version("3.9.2").since(4, 0));
        assert!(version("4.4.0").since(4, 4));
    }
}
