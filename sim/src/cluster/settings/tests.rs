//! The catalogue itself, and what wins over what.

use std::collections::BTreeMap;

use super::{ALLOWED, Alteration, BROKER, GROUP, Settings, TOPIC, broker_setting, value};
use crate::cluster::versions::Profile;

fn set(name: &str, value: &str) -> BTreeMap<String, Alteration> {
    [(name.to_owned(), Alteration::Set(value.to_owned()))].into()
}

/// A name out of order would not be found, and a default that its own type refuses would be no default.
#[test]
fn catalogue_is_sorted_and_its_defaults_are_of_their_types() {
    assert!(BROKER.is_sorted_by_key(|setting| setting.name));
    for setting in BROKER {
        if let Some(default) = setting.default {
            let allowed = super::allowed(setting.name);
            value::check(setting.name, setting.kind, allowed, default).expect(setting.name);
        }
    }
    for setting in TOPIC.iter().chain(GROUP) {
        let allowed = super::allowed(setting.name);
        value::check(setting.name, setting.kind, allowed, setting.default).expect(setting.name);
        if let Some(name) = setting.broker {
            assert!(broker_setting(name).is_some(), "{name}");
        }
    }
    assert!(ALLOWED.is_sorted_by_key(|(name, _)| *name));
}

#[test]
fn what_was_altered_wins_over_what_was_given_and_that_over_the_default() {
    let given = [("message.max.bytes".to_owned(), "1000".to_owned())];
    let mut settings = Settings::new(given.into(), Profile::Kafka41);
    assert_eq!(settings.int("message.max.bytes"), 1000);
    settings.alter_broker(None, &set("message.max.bytes", "2000"), true).expect("allowed");
    assert_eq!(settings.int("message.max.bytes"), 1000, "only validated");
    settings.alter_broker(None, &set("message.max.bytes", "2000"), false).expect("allowed");
    assert_eq!(settings.int("message.max.bytes"), 2000);
    let delete = [("message.max.bytes".to_owned(), Alteration::Delete)].into();
    settings.alter_broker(None, &delete, false).expect("allowed");
    assert_eq!(settings.int("message.max.bytes"), 1000);
}

#[test]
fn a_groups_own_settings_win_over_the_brokers() {
    let mut settings = Settings::new(BTreeMap::new(), Profile::Kafka41);
    let name = "consumer.session.timeout.ms";
    assert_eq!(settings.group_text("g", name), "45000");
    settings.alter_group("g", &set(name, "50000"), false).expect("allowed");
    assert_eq!(settings.group_text("g", name), "50000");
    assert_eq!(settings.group_text("h", name), "45000");
    let text = settings.alter_group("g", &set(name, "70000"), false).expect_err("above").message;
    assert_eq!(
        text.as_deref(),
        Some(
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"
        )
    );
}

#[test]
fn defaults_are_those_of_the_release() {
    let name = "log.message.timestamp.after.max.ms";
    let of = |profile| Settings::new(BTreeMap::new(), profile).int(name);
    assert_eq!(of(Profile::Kafka39), i64::MAX);
    assert_eq!(of(Profile::Kafka41), 3_600_000);
}
