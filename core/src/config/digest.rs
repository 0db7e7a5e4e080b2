//! Fingerprints: of a route's section, of the whole file, and of a domain's name.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::wire::rewrite::ProducerIdTag;

/// Fingerprint of a section by its values alone: order of keys, formatting, comments, and keys without a
/// value make no difference. Lower-case hex.
pub(super) fn of_section(section: &Value) -> String {
    let mut canonical = String::new();
    write_canonical(section, &mut canonical);
    hex(&Sha256::digest(canonical.as_bytes()))
}

/// Identifies a file's content where the file does not identify itself.
pub(super) fn config_id(text: &[u8]) -> String {
    // A `configId` has at most 64 characters.
    const DIGITS: usize = 32;
    let digest = hex(&Sha256::digest(text));
    format!("sha256:{}", digest.get(..DIGITS).unwrap_or(&digest))
}

/// The tag depends on the name alone, so that it is the same after a restart, in every instance, and
/// whatever other domains there are: producers keep their ids for as long as they live.
pub(super) fn producer_id_tag(domain: &str) -> ProducerIdTag {
    /// Tags are 1 to 2^22 − 1: tagged ids stay positive and differ from untagged ones.
    const TAGS: u32 = (1 << 22) - 1;
    let digest = Sha256::digest(domain.as_bytes());
    let number = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    ProducerIdTag(number % TAGS + 1)
}

/// JSON with sorted keys and without nulls. Sorted here, because whether serde_json sorts depends on what
/// else is in the build.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(keys) => {
            let sorted: BTreeMap<&String, &Value> =
                keys.iter().filter(|(_, value)| !value.is_null()).collect();
            out.push('{');
            for (key, value) in sorted {
                write_plain(&Value::String(key.clone()), out);
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            write_plain(value, out);
        }
    }
}

fn write_plain(value: &Value, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(yaml: &str) -> String {
        of_section(&serde_yaml::from_str(yaml).expect("valid YAML"))
    }

    #[test]
    fn of_section_formatting_and_order_make_no_difference() {
        let plain = digest("name: a\nfence: {scope: NONE, errorCode: 8}\n");
        let other =
            digest("# why\nfence:\n  errorCode: 0x8\n  scope: 'NONE'\nsecurity:\nname: \"a\"");
        assert_eq!(plain, other);
        assert_eq!(plain.len(), 64);
    }

    #[test]
    fn of_section_any_value_makes_a_difference() {
        let base = digest("{a: 1, b: [x, y]}");
        for other in ["{a: 2, b: [x, y]}", "{a: '1', b: [x, y]}", "{a: 1, b: [y, x]}", "{a: 1}"] {
            assert_ne!(base, digest(other), "{other}");
        }
        // Text that looks like structure is still text.
        assert_ne!(digest("{a: 'x,y'}"), digest("{a: [x, y]}"));
    }

    /// Changing the rule would give moved producers ids that the other cluster may hold.
    #[test]
    fn producer_id_tag_is_fixed_for_a_name() {
        assert_eq!(producer_id_tag("eu-west"), producer_id_tag("eu-west"));
        assert_ne!(producer_id_tag("eu-west"), producer_id_tag("eu-north"));
        assert_eq!(producer_id_tag("eu-west"), ProducerIdTag(1_187_402));
        for name in 0..10_000 {
            let tag = producer_id_tag(&name.to_string()).0;
            assert!((1..1 << 22).contains(&tag));
        }
    }

    #[test]
    fn config_id_fits_its_own_pattern() {
        let id = config_id(b"routes: []");
        assert!(id.len() <= 64 && id.starts_with("sha256:"), "{id}");
        assert_ne!(id, config_id(b"routes: [] "));
    }
}
