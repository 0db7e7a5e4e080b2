//! What one run has come to, in the terms that are compared.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_sim::oracle::{
    History, Verdict, error_code,
    history::{Entry, What},
};

/// One run, rehearsed or played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// By the names of [`switchyard_sim::scenario::validation::COMPARED`].
    pub figures: BTreeMap<String, u64>,
    /// How often clients reported an error, by its name.
    pub codes: BTreeMap<String, u64>,
    /// Marks that were reached.
    pub marks: BTreeSet<String>,
    /// Oracles that were violated.
    pub oracles: BTreeSet<String>,
    /// The first witness of a figure, a code or an oracle, by its name.
    pub witnesses: BTreeMap<String, String>,
}

impl Sample {
    /// What a history and its verdict say.
    pub fn of(history: &History, verdict: &Verdict) -> Self {
        let mut sample = Self::default();
        for (figure, value) in &verdict.figures {
            sample.figures.insert((*figure).to_owned(), *value);
        }
        sample.figures.insert("sent".to_owned(), verdict.sent);
        if let Some(share) = (verdict.acknowledged * 1000).checked_div(verdict.sent) {
            sample.figures.insert("acknowledged".to_owned(), share);
        }
        for (figure, witness) in &verdict.witnesses {
            sample.witnesses.insert((*figure).to_owned(), witness.clone());
        }
        sample.marks = verdict.marks.iter().map(|mark| (*mark).to_owned()).collect();
        for violation in &verdict.violations {
            let oracle = violation.oracle.to_owned();
            sample.witnesses.entry(oracle.clone()).or_insert_with(|| {
                format!("{} ms, {}: {}", violation.at_ms, violation.who, violation.what)
            });
            sample.oracles.insert(oracle);
        }
        for entry in &history.entries {
            sample.count(entry);
        }
        sample
    }

    fn count(&mut self, entry: &Entry) {
        let (What::Failed { reason, .. } | What::Error { reason } | What::Fatal { reason }) =
            &entry.what
        else {
            return;
        };
        let name = error_code(reason);
        self.witnesses.entry(name.clone()).or_insert_with(|| entry.to_string().trim().to_owned());
        *self.codes.entry(name).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use switchyard_sim::oracle::{Case, Home, judge};

    use super::*;

    fn entry(at_us: u64, what: What) -> Entry {
        Entry { at_us, who: "checkout-1".into(), what }
    }

    #[test]
    fn a_sample_has_shares_codes_and_witnesses() {
        let failed = |number, reason: &str| What::Failed { number, reason: reason.into() };
        let entries = vec![
            entry(1, What::Sent { number: 0 }),
            entry(2, What::Sent { number: 1 }),
            entry(3, failed(0, "_MSG_TIMED_OUT: Local: Message timed out")),
            entry(4, failed(1, "TimeoutException: 30000 ms has passed since batch creation")),
        ];
        let history = History { entries, ..History::default() };
        let home = Home { topic: "orders".into(), cluster: "east".into(), route: None };
        let producers = [("checkout-1".into(), home)].into();
        let verdict = judge(&history, &Case { producers, ..Case::default() });
        let sample = Sample::of(&history, &verdict);
        assert_eq!((sample.figures["sent"], sample.figures["acknowledged"]), (2, 0));
        assert_eq!(sample.figures["failed"], 2);
        assert_eq!(sample.codes, [("delivery timeout".to_owned(), 2)].into());
        assert!(sample.witnesses["delivery timeout"].contains("_MSG_TIMED_OUT"));
        assert!(sample.marks.contains("delivery-timeout"));
    }

    /// A share of nothing is no share: that row has to fail.
    #[test]
    fn a_run_in_which_nothing_was_sent_has_no_share() {
        let sample = Sample::of(&History::default(), &Verdict::default());
        assert!(!sample.figures.contains_key("acknowledged"));
    }
}
