//! Samples → rows: the only place that decides whether the worlds agree. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use switchyard_sim::scenario::{
    validation::{CODES, COMPARED, Subject, Tolerance, Validation},
    values::Bounds,
};

use super::sample::Sample;

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What is compared.
    pub subject: Subject,
    /// From the least to the most over the seeds; of marks and oracles 0 is no and 1 is yes. `None`: some run has none.
    pub simulated: Option<Bounds>,
    /// In how many of the rehearsals a mark was reached or an oracle violated, of how many.
    pub runs: Option<(usize, usize)>,
    /// On real Kafka; `None`: there is none.
    pub measured: Option<u64>,
    /// What the simulated range was widened by; marks and oracles are not.
    pub tolerance: Option<Tolerance>,
    /// Where the measured one may be.
    pub allowed: Option<Bounds>,
    /// Whether they agree.
    pub agreement: Agreement,
    /// Of a documented difference: the reason.
    pub reason: Option<String>,
    /// Where they do not agree: the first witness of a rehearsal and of the play.
    pub witnesses: [Option<String>; 2],
}

/// Whether rehearsals and the play agree about something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// The measured one is where rehearsals put it.
    Agrees,
    /// It is not, and it is where the scenario's file says that it is instead.
    Documented,
    /// It is not.
    Differs,
    /// One side has no such figure.
    Missing,
    /// No rehearsal came to what the scenario is about, so that nothing is shown.
    NotReached,
}

impl Agreement {
    /// Whether a comparison with such a row has passed.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Agrees | Self::Documented)
    }
}

/// Every row of a comparison. `sometimes` are the marks that the scenario is about.
pub fn rows(
    validation: &Validation,
    sometimes: &[String],
    simulated: &[Sample],
    measured: &Sample,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (figure, ..) in COMPARED {
        let values = simulated.iter().map(|sample| sample.figures.get(*figure).copied());
        rows.push(Draft {
            subject: Subject::Figure((*figure).to_owned()),
            simulated: range(values),
            runs: None,
            measured: measured.figures.get(*figure).copied(),
            tolerance: Some(validation.tolerance(figure)),
        });
    }
    for code in names(simulated, measured, |sample| sample.codes.keys()) {
        let count = |sample: &Sample| sample.codes.get(&code).copied().unwrap_or(0);
        rows.push(Draft {
            simulated: range(simulated.iter().map(|sample| Some(count(sample)))),
            runs: None,
            measured: Some(count(measured)),
            tolerance: Some(CODES),
            subject: Subject::Code(code),
        });
    }
    for mark in sometimes {
        let reached = |sample: &Sample| sample.marks.contains(mark);
        rows.push(yes_or_no(Subject::Mark(mark.clone()), simulated, measured, reached));
    }
    for oracle in names(simulated, measured, |sample| sample.oracles.iter()) {
        let violated = |sample: &Sample| sample.oracles.contains(&oracle);
        rows.push(yes_or_no(Subject::Oracle(oracle.clone()), simulated, measured, violated));
    }
    rows.into_iter().map(|draft| draft.judge(validation, simulated, measured)).collect()
}

/// Everything of a kind that any run has.
fn names<'s, I: Iterator<Item = &'s String>>(
    simulated: &'s [Sample],
    measured: &'s Sample,
    of: impl Fn(&'s Sample) -> I,
) -> BTreeSet<String> {
    simulated.iter().chain([measured]).flat_map(of).cloned().collect()
}

/// From the least to the most; `None` where there is no run, or one that has no value.
fn range(values: impl Iterator<Item = Option<u64>>) -> Option<Bounds> {
    let values: Vec<u64> = values.collect::<Option<_>>()?;
    Some(Bounds { min: *values.iter().min()?, max: *values.iter().max()? })
}

fn yes_or_no(
    subject: Subject,
    simulated: &[Sample],
    measured: &Sample,
    holds: impl Fn(&Sample) -> bool,
) -> Draft {
    let runs = simulated.iter().filter(|sample| holds(sample)).count();
    Draft {
        subject,
        simulated: range(simulated.iter().map(|sample| Some(u64::from(holds(sample))))),
        runs: Some((runs, simulated.len())),
        measured: Some(u64::from(holds(measured))),
        tolerance: None,
    }
}

/// A row without a judgement.
struct Draft {
    subject: Subject,
    simulated: Option<Bounds>,
    runs: Option<(usize, usize)>,
    measured: Option<u64>,
    tolerance: Option<Tolerance>,
}

impl Draft {
    fn judge(self, validation: &Validation, simulated: &[Sample], measured: &Sample) -> Row {
        let allowed = self.simulated.map(|simulated| match self.tolerance {
            Some(tolerance) => tolerance.around(simulated),
            None => simulated,
        });
        let known = validation.difference(&self.subject);
        let never_reached = matches!(self.subject, Subject::Mark(_))
            && self.simulated.is_some_and(|simulated| simulated.max == 0);
        let agreement = match (allowed, self.measured) {
            (None, _) | (_, None) => Agreement::Missing,
            _ if never_reached && known.is_some() => Agreement::Documented,
            _ if never_reached => Agreement::NotReached,
            (Some(allowed), Some(value)) if allowed.hold(value) => Agreement::Agrees,
            (Some(_), Some(value)) if known.is_some_and(|it| it.measured.hold(value)) => {
                Agreement::Documented
            }
            (Some(_), Some(_)) => Agreement::Differs,
        };
        let documented = agreement == Agreement::Documented;
        let name = match &self.subject {
            Subject::Figure(name)
            | Subject::Code(name)
            | Subject::Mark(name)
            | Subject::Oracle(name) => name,
        };
        let witness = |sample: &Sample| sample.witnesses.get(name).cloned();
        let witnesses = if agreement == Agreement::Agrees {
            [None, None]
        } else {
            [simulated.iter().find_map(witness), witness(measured)]
        };
        Row {
            simulated: self.simulated,
            runs: self.runs,
            measured: self.measured,
            tolerance: self.tolerance,
            allowed,
            agreement,
            reason: known.filter(|_| documented).map(|it| it.reason.trim().to_owned()),
            witnesses,
            subject: self.subject,
        }
    }
}

#[cfg(test)]
mod tests {
    use switchyard_sim::scenario::validation::Difference;

    use super::*;

    /// A run in which everything went well, but for some figures.
    fn sample(figures: &[(&str, u64)]) -> Sample {
        let mut sample = Sample::default();
        for (figure, ..) in COMPARED {
            sample.figures.insert((*figure).to_owned(), 0);
        }
        sample.figures.insert("acknowledged".to_owned(), 1000);
        for (figure, value) in figures {
            sample.figures.insert((*figure).to_owned(), *value);
        }
        sample
    }

    fn agreement(rows: &[Row], name: &str) -> Agreement {
        let own = |row: &&Row| match &row.subject {
            Subject::Figure(own)
            | Subject::Code(own)
            | Subject::Mark(own)
            | Subject::Oracle(own) => own == name,
        };
        rows.iter().find(own).unwrap_or_else(|| panic!("no row for {name}")).agreement
    }

    fn compared(simulated: &[Sample], measured: &Sample) -> Vec<Row> {
        rows(&Validation::default(), &[], simulated, measured)
    }

    #[test]
    fn a_figure_within_the_widened_range_agrees() {
        let simulated = [sample(&[("rto", 20_000)]), sample(&[("rto", 21_000)])];
        for (measured, expected) in [
            (16_500, Agreement::Agrees),
            (24_600, Agreement::Agrees),
            (16_499, Agreement::Differs),
            (24_601, Agreement::Differs),
        ] {
            let rows = compared(&simulated, &sample(&[("rto", measured)]));
            assert_eq!(agreement(&rows, "rto"), expected, "{measured}");
        }
    }

    /// One lost record that no rehearsal knows of is what this is all for.
    #[test]
    fn a_loss_that_no_rehearsal_knows_differs() {
        let rows = compared(&[sample(&[])], &sample(&[("lost", 1)]));
        assert_eq!(agreement(&rows, "lost"), Agreement::Differs);
        assert_eq!(rows.iter().filter(|row| !row.agreement.passes()).count(), 1);
    }

    #[test]
    fn a_figure_that_one_side_does_not_have_fails() {
        let mut without = sample(&[]);
        without.figures.remove("missed");
        let rows = compared(&[sample(&[])], &without);
        assert_eq!(agreement(&rows, "missed"), Agreement::Missing);
        let rows = compared(&[sample(&[]), without], &sample(&[]));
        assert_eq!(agreement(&rows, "missed"), Agreement::Missing);
        assert!(compared(&[], &sample(&[])).iter().all(|row| !row.agreement.passes()));
    }

    #[test]
    fn an_error_that_only_one_side_reports_differs() {
        let mut fails = sample(&[]);
        fails.codes.insert("NOT_LEADER_OR_FOLLOWER".to_owned(), 3);
        let rows = compared(&[sample(&[])], &fails);
        assert_eq!(agreement(&rows, "NOT_LEADER_OR_FOLLOWER"), Agreement::Differs);
        let mut many = fails.clone();
        many.codes.insert("NOT_LEADER_OR_FOLLOWER".to_owned(), 300);
        let rows = compared(&[many], &sample(&[]));
        assert_eq!(agreement(&rows, "NOT_LEADER_OR_FOLLOWER"), Agreement::Differs);
        let rows = compared(&[sample(&[]), fails.clone()], &fails);
        assert_eq!(agreement(&rows, "NOT_LEADER_OR_FOLLOWER"), Agreement::Agrees);
    }

    #[test]
    fn an_oracle_has_to_be_violated_in_both_worlds_or_in_none() {
        let mut violates = sample(&[]);
        violates.oracles.insert("one-writer".to_owned());
        for (simulated, measured, expected) in [
            (vec![sample(&[])], &violates, Agreement::Differs),
            (vec![violates.clone()], &sample(&[]), Agreement::Differs),
            (vec![violates.clone()], &violates, Agreement::Agrees),
            (vec![violates.clone(), sample(&[])], &sample(&[]), Agreement::Agrees),
        ] {
            assert_eq!(agreement(&compared(&simulated, measured), "one-writer"), expected);
        }
    }

    #[test]
    fn a_mark_that_no_rehearsal_reaches_shows_nothing() {
        let mut reaches = sample(&[]);
        reaches.marks.insert("switched".to_owned());
        let about = ["switched".to_owned()];
        let compared = |simulated: &[Sample], measured: &Sample| {
            let rows = rows(&Validation::default(), &about, simulated, measured);
            agreement(&rows, "switched")
        };
        assert_eq!(compared(&[sample(&[])], &sample(&[])), Agreement::NotReached);
        assert_eq!(compared(&[sample(&[])], &reaches), Agreement::NotReached);
        assert_eq!(compared(&[reaches.clone()], &sample(&[])), Agreement::Differs);
        assert_eq!(compared(&[reaches.clone()], &reaches), Agreement::Agrees);
        // Unless the file says why neither world can come to it.
        let reason = "its mirror cannot".to_owned();
        let subject = Subject::Mark("switched".to_owned());
        let measured = Bounds { min: 0, max: u64::MAX };
        let known = vec![Difference { subject, measured, reason }];
        let validation = Validation { differences: known, ..Validation::default() };
        let rows = rows(&validation, &about, &[sample(&[])], &sample(&[]));
        assert_eq!(agreement(&rows, "switched"), Agreement::Documented);
    }

    /// An excuse without a bound would hide whatever comes after it.
    #[test]
    fn a_documented_difference_is_bounded_and_excuses_nothing_else() {
        let difference = Difference {
            subject: Subject::Figure("duplicated".to_owned()),
            measured: Bounds { min: 0, max: 30 },
            reason: "MirrorMaker 2 copies at least once.".to_owned(),
        };
        let validation = Validation { differences: vec![difference], ..Validation::default() };
        let against =
            |figures: &[(&str, u64)]| rows(&validation, &[], &[sample(&[])], &sample(figures));
        let documented = against(&[("duplicated", 30)]);
        assert_eq!(agreement(&documented, "duplicated"), Agreement::Documented);
        assert!(documented.iter().any(|row| row.reason.is_some()));
        assert_eq!(agreement(&against(&[("duplicated", 31)]), "duplicated"), Agreement::Differs);
        assert_eq!(agreement(&against(&[("lost", 1)]), "lost"), Agreement::Differs);
        assert_eq!(agreement(&against(&[]), "duplicated"), Agreement::Agrees);
    }

    #[test]
    fn what_differs_shows_its_witnesses() {
        let mut loses = sample(&[("lost", 2)]);
        loses.witnesses.insert("lost".to_owned(), "checkout-1 #7 is not on west".to_owned());
        let rows = compared(&[sample(&[])], &loses);
        let row = rows.iter().find(|row| !row.agreement.passes()).expect("one differs");
        assert_eq!(row.witnesses, [None, Some("checkout-1 #7 is not on west".to_owned())]);
    }
}
