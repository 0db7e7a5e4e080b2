//! Makes a sequence that shows a disagreement as small as it can be.
//!
//! Every try is played on the targets, under new names. First steps go, in ever smaller groups; then, in what is left,
//! fields and elements, and numbers become simpler.

use super::{
    bench::{Bench, Disagreement},
    term::{Sequence, Step, Term},
    value::Value,
};
use crate::Result;

/// The smallest sequence that was found, and what it shows.
#[derive(Debug)]
pub struct Shrunk {
    /// The sequence.
    pub sequence: Sequence,
    /// What its targets disagree in.
    pub disagreement: Disagreement,
    /// How many sequences were played for it.
    pub tries: usize,
}

struct Shrinker<'b> {
    bench: &'b Bench,
    best: Shrunk,
    tries_max: usize,
}

/// Shrinks a sequence that the bench disagrees on, with at most `tries_max` tries.
pub async fn shrink(
    bench: &Bench,
    sequence: &Sequence,
    disagreement: Disagreement,
    tries_max: usize,
) -> Shrunk {
    let mut sequence = sequence.clone();
    sequence.steps.truncate(disagreement.step + 1);
    let best = Shrunk { sequence, disagreement, tries: 0 };
    let mut shrinker = Shrinker { bench, best, tries_max };
    loop {
        let before = shrinker.best.sequence.to_string();
        shrinker.remove_steps().await;
        shrinker.simplify_steps().await;
        if shrinker.best.sequence.to_string() == before || shrinker.is_out_of_tries() {
            return shrinker.best;
        }
    }
}

impl Shrinker<'_> {
    fn is_out_of_tries(&self) -> bool {
        self.best.tries >= self.tries_max
    }

    /// Takes a smaller sequence if it shows the same.
    async fn take(&mut self, sequence: Sequence) -> bool {
        if self.is_out_of_tries() || sequence.steps.is_empty() {
            return false;
        }
        self.best.tries += 1;
        let outcome: Result<Vec<Disagreement>> = self.bench.play(&sequence, false).await;
        let Some(found) = outcome.ok().and_then(|found| found.into_iter().next()) else {
            return false;
        };
        let same = found.is_like(&self.best.disagreement);
        if same {
            self.best.sequence = sequence;
            self.best.sequence.steps.truncate(found.step + 1);
            self.best.disagreement = found;
        }
        same
    }

    async fn remove_steps(&mut self) {
        let mut size = self.best.sequence.steps.len().div_ceil(2);
        while size > 0 {
            let mut end = self.best.sequence.steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut smaller = self.best.sequence.clone();
                smaller.steps.drain(start..end);
                self.take(smaller).await;
                end = start.min(self.best.sequence.steps.len());
            }
            size /= 2;
        }
    }

    async fn simplify_steps(&mut self) {
        let mut step = 0;
        while step < self.best.sequence.steps.len() {
            let mut change = 0;
            // A change that is taken leaves another one in its place.
            while let Some(simpler) = self.simpler(step, change) {
                if !self.take(simpler).await {
                    change += 1;
                }
                if self.is_out_of_tries() {
                    return;
                }
            }
            step += 1;
        }
    }

    /// The sequence with the change of this number made to a step; `None`: there are not so many.
    fn simpler(&self, step: usize, change: usize) -> Option<Sequence> {
        let mut sequence = self.best.sequence.clone();
        let Some(Step::Ask(ask)) = sequence.steps.get_mut(step) else { return None };
        let mut left = change;
        simplify(&mut ask.body, &mut left).then_some(sequence)
    }
}

impl Disagreement {
    /// Whether another is about the same fields of the same API.
    pub fn is_like(&self, other: &Self) -> bool {
        let first = |found: &Self| {
            let difference = found.differences.first()?;
            let pattern = difference.pattern();
            // Another error is another matter.
            let codes = pattern
                .ends_with("ErrorCode")
                .then(|| (difference.left.clone(), difference.right.clone()));
            Some((pattern, codes))
        };
        self.api == other.api && first(self) == first(other)
    }
}

/// Makes the change of number `left`, counted from the root, to a term. False: it has fewer, which are taken off.
fn simplify(term: &mut Term, left: &mut usize) -> bool {
    let take = |left: &mut usize| {
        let here = *left == 0;
        *left = left.saturating_sub(1);
        here
    };
    match term {
        Term::Struct(fields) => {
            for index in 0..fields.len() {
                if take(left) {
                    fields.remove(index);
                    return true;
                }
            }
            fields.iter_mut().any(|(_, term)| simplify(term, left))
        }
        // Numbers in batches are bits, or hang together.
        Term::Records(batches) => {
            for index in 0..batches.len() {
                if take(left) {
                    batches.remove(index);
                    return true;
                }
            }
            let mut fields = batches.iter_mut().filter_map(|batch| match batch {
                Term::Struct(fields) => Some(fields),
                _ => None,
            });
            fields.any(|fields| {
                let place = (0..fields.len()).find(|_| take(left));
                place.map(|place| fields.remove(place)).is_some()
            })
        }
        Term::Array(elements) => {
            for index in 0..elements.len() {
                if take(left) {
                    elements.remove(index);
                    return true;
                }
            }
            elements.iter_mut().any(|term| simplify(term, left))
        }
        // To something simpler only, or there would be no end.
        Term::Value(Value::Int(value)) if !(-1..=1).contains(value) => {
            let here = take(left);
            if here {
                *value = 1;
            }
            here
        }
        Term::Repeat(..) => {
            let here = take(left);
            if here {
                *term = "".into();
            }
            here
        }
        _ => false,
    }
}
