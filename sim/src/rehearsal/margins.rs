//! How much was left before each timeout of the clients.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    oracle::{History, history::What},
    report::Margin,
    scenario::{
        Scenario,
        model::{Library, Producer},
    },
};

/// Timeouts of a scenario's clients.
#[derive(Clone, Debug)]
pub(super) struct Margins {
    producers: Vec<(String, Limit)>,
}

/// One timeout.
#[derive(Clone, Debug)]
struct Limit {
    setting: &'static str,
    ms: u64,
}

impl Margins {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let producers = scenario.producers.iter().map(|it| (it.name.clone(), delivery(it)));
        Self { producers: producers.collect() }
    }

    /// The margins of a run.
    pub(super) fn of(&self, history: &History) -> Vec<Margin> {
        let mut sent: BTreeMap<(&Arc<str>, u64), u64> = BTreeMap::new();
        let mut longest: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for entry in &history.entries {
            let (number, failed) = match &entry.what {
                What::Sent { number } => {
                    sent.insert((&entry.who, *number), entry.at_us);
                    continue;
                }
                What::Acknowledged { number, .. } => (*number, false),
                What::Failed { number, .. } => (*number, true),
                _ => continue,
            };
            let Some(since) = sent.remove(&(&entry.who, number)) else { continue };
            let kind = entry.who.rsplit_once('-').map_or(&*entry.who, |(kind, _)| kind);
            let (most, exceeded) = longest.entry(kind).or_default();
            *most = (*most).max((entry.at_us - since) / 1000);
            *exceeded += u64::from(failed);
        }
        let margin = |(who, limit): &(String, Limit)| {
            let (longest_ms, exceeded) = longest.get(who.as_str()).copied().unwrap_or_default();
            Margin {
                who: who.clone(),
                setting: limit.setting.to_owned(),
                limit_ms: limit.ms,
                longest_ms,
                exceeded,
            }
        };
        self.producers.iter().map(margin).collect()
    }
}

/// How long a record may take, by the library's own setting and default.
fn delivery(producer: &Producer) -> Limit {
    let (setting, default) = match producer.library {
        Library::Java => ("delivery.timeout.ms", 120_000),
        Library::Librdkafka => ("message.timeout.ms", 300_000),
    };
    let aliases = [setting, "delivery.timeout.ms"];
    let given = aliases.iter().find_map(|name| producer.settings.get(*name));
    Limit { setting, ms: given.and_then(|ms| ms.parse().ok()).unwrap_or(default) }
}
