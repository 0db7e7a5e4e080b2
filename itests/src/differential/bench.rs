//! Plays sequences on all targets step by step, and compares what they say.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::try_join_all, stream};

use super::{
    allowed::{Allowances, Scene},
    batch, canonical,
    connection::SILENT,
    target::{Party, Target},
    term::{Ask, Sequence, Step, Term},
    value::{self, Difference, Value},
};
use crate::Result;

/// So long a detached request has the brokers for itself, which makes its place among later ones sure.
const HEAD_START: Duration = Duration::from_millis(60);

/// A sequence that goes wrong does so this often, or not at all.
const PLAYS: usize = 3;

/// Requests that change nothing. Brokers learn of some changes a little later than they answer, so these are repeated
/// before their answers count as different.
const READERS: &[&str] = &[
    "Metadata",
    "ListOffsets",
    "FindCoordinator",
    "OffsetFetch",
    "OffsetForLeaderEpoch",
    "DescribeGroups",
    "ListGroups",
    "DescribeConfigs",
    "DescribeCluster",
    "DescribeProducers",
    "DescribeTransactions",
    "ListTransactions",
    "ConsumerGroupDescribe",
    "DescribeTopicPartitions",
    "DescribeAcls",
    "DescribeClientQuotas",
    "DescribeUserScramCredentials",
    "ListConfigResources",
    "ShareGroupDescribe",
    "DescribeShareGroupOffsets",
];

/// Targets, and what may differ between them.
pub struct Bench {
    targets: Vec<Target>,
    allowances: Allowances,
    /// Waits between the tries of a reader.
    patience: Vec<Duration>,
    /// Part of all names, so that a cluster can serve several runs.
    run: String,
    /// What `now` is in every sequence.
    now_ms: i64,
    cases: AtomicUsize,
    /// Key and version of every request that all targets have dealt with.
    exercised: Mutex<BTreeSet<(i16, i16)>>,
    /// Those of them to which all targets have said something, instead of closing the connection.
    answered: Mutex<BTreeSet<(i16, i16)>>,
}

/// Two targets that do not say the same.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// Index of the step.
    pub step: usize,
    /// The API that was asked.
    pub api: &'static str,
    /// The step as text.
    pub text: String,
    /// Who was compared.
    pub targets: [String; 2],
    /// Where their answers differ.
    pub differences: Vec<Difference>,
}

impl Disagreement {
    /// Whether one of them said nothing at all. Then it is no use to go on.
    fn is_silence(&self) -> bool {
        let values = self.differences.iter().flat_map(|found| [&found.left, &found.right]);
        values.flatten().any(|value| value.text() == Some(SILENT))
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, right] = &self.targets;
        writeln!(out, "step {}, {}", self.step + 1, self.text)?;
        writeln!(out, "  {left} | {right}")?;
        self.differences.iter().try_for_each(|difference| writeln!(out, "  {difference}"))
    }
}

/// A request that was sent to all parties.
struct Sent<'s> {
    step: usize,
    ask: &'s Ask,
    bodies: Vec<Value>,
}

impl Bench {
    /// At least two targets; the first is what the others are compared with.
    pub fn new(targets: Vec<Target>, allowances: Allowances) -> Self {
        let now_ms = batch::now_ms();
        Self {
            targets,
            allowances,
            patience: [20, 60, 150, 300, 600].map(Duration::from_millis).into(),
            run: format!("d{:x}", now_ms & 0xff_ffff),
            now_ms,
            cases: AtomicUsize::new(0),
            exercised: Mutex::default(),
            answered: Mutex::default(),
        }
    }

    /// The table of what may differ.
    pub fn allowances(&self) -> &Allowances {
        &self.allowances
    }

    /// Key and version of every request so far.
    pub fn exercised(&self) -> BTreeSet<(i16, i16)> {
        self.exercised.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Key and version of every request that all targets have answered at least once.
    pub fn answered(&self) -> BTreeSet<(i16, i16)> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has every coordinator of every target at work, which the first request that needs one brings about.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn warm_up(&self) -> Result<()> {
        for target in &self.targets {
            Party::new(target, &self.run, self.now_ms).warm_up().await?;
        }
        Ok(())
    }

    /// Plays a sequence under names that are new. With `thorough`, it goes on after a disagreement, whose consequences
    /// may be more of them.
    ///
    /// # Errors
    /// When a request cannot be written, a target cannot be reached, or does not come to rest.
    pub async fn play(&self, sequence: &Sequence, thorough: bool) -> Result<Vec<Disagreement>> {
        let case = format!("{}-{:05}", self.run, self.cases.fetch_add(1, Ordering::Relaxed));
        let mut parties: Vec<_> =
            self.targets.iter().map(|target| Party::new(target, &case, self.now_ms)).collect();
        let outcome = self.steps(sequence, &mut parties, thorough).await;
        try_join_all(parties.iter_mut().map(Party::clean_up)).await?;
        outcome
    }

    /// Plays sequences, so many at the same time, and tells of each as soon as it is done. One that does not go well is
    /// played again: what counts shows each time, what a loaded machine does to a broker's timing does not.
    pub async fn play_all(
        &self,
        sequences: &[Sequence],
        at_once: usize,
        thorough: bool,
        mut tell: impl FnMut(&Sequence, Result<Vec<Disagreement>>, Duration),
    ) {
        let plays = sequences.iter().map(|sequence| async move {
            let start = tokio::time::Instant::now();
            let mut outcome = self.play(sequence, thorough).await;
            for _ in 1..PLAYS {
                if !outcome.as_ref().is_ok_and(Vec::is_empty) {
                    outcome = self.play(sequence, thorough).await;
                }
            }
            (sequence, outcome, start.elapsed())
        });
        let mut plays = stream::iter(plays).buffer_unordered(at_once);
        while let Some((sequence, outcome, took)) = plays.next().await {
            tell(sequence, outcome, took);
        }
    }

    async fn steps(
        &self,
        sequence: &Sequence,
        parties: &mut [Party<'_>],
        thorough: bool,
    ) -> Result<Vec<Disagreement>> {
        let mut found = Vec::new();
        let mut pending: Vec<Sent<'_>> = Vec::new();
        for (index, step) in sequence.steps.iter().enumerate() {
            let Step::Ask(ask) = step else {
                if let Step::Pause(ms) = step {
                    tokio::time::sleep(Duration::from_millis(*ms)).await;
                }
                continue;
            };
            while let Some(place) = pending.iter().position(|sent| ask.needs(sent.ask)) {
                found.extend(self.collect(pending.remove(place), parties).await?);
            }
            if !found.is_empty() && !thorough {
                return Ok(found);
            }
            let bodies =
                parties.iter().map(|party| party.resolve(&ask.body)).collect::<Option<_>>();
            let sent =
                Sent { step: index, ask, bodies: bodies.ok_or("a body that is no structure")? };
            if ask.detached {
                let sends = parties.iter_mut().zip(&sent.bodies);
                try_join_all(sends.map(|(party, body)| party.send(ask, body))).await?;
                tokio::time::sleep(HEAD_START).await;
                pending.push(sent);
            } else {
                found.extend(self.ask(&sent, parties).await?);
            }
            let silent = found.iter().any(Disagreement::is_silence);
            if silent || (!found.is_empty() && !thorough) {
                return Ok(found);
            }
        }
        for sent in pending {
            found.extend(self.collect(sent, parties).await?);
        }
        Ok(found)
    }

    async fn collect(
        &self,
        sent: Sent<'_>,
        parties: &mut [Party<'_>],
    ) -> Result<Option<Disagreement>> {
        let answers = parties.iter_mut().map(|party| party.collect(sent.ask));
        let answers = try_join_all(answers).await?;
        let disagreement = self.compare(&sent, parties, &answers);
        Self::conclude(&sent, parties, &answers).await?;
        Ok(disagreement)
    }

    async fn ask(
        &self,
        sent: &Sent<'_>,
        parties: &mut [Party<'_>],
    ) -> Result<Option<Disagreement>> {
        let mut waits =
            if sent.ask.is_reader(&sent.bodies) { self.patience.iter() } else { [].iter() };
        loop {
            let asks = parties.iter_mut().zip(&sent.bodies);
            let answers = try_join_all(asks.map(|(party, body)| party.ask(sent.ask, body))).await?;
            let disagreement = self.compare(sent, parties, &answers);
            match (&disagreement, waits.next()) {
                (Some(found), Some(wait)) if !found.is_silence() => {
                    tokio::time::sleep(*wait).await;
                }
                _ => {
                    Self::conclude(sent, parties, &answers).await?;
                    return Ok(disagreement);
                }
            }
        }
    }

    async fn conclude(sent: &Sent<'_>, parties: &mut [Party<'_>], answers: &[Value]) -> Result<()> {
        let all = parties.iter_mut().zip(&sent.bodies).zip(answers);
        let settled = all.map(|((party, body), answer)| {
            party.remember(sent.ask, answer);
            party.settle(sent.ask, body, answer)
        });
        try_join_all(settled).await?;
        Ok(())
    }

    fn compare(
        &self,
        sent: &Sent<'_>,
        parties: &mut [Party<'_>],
        answers: &[Value],
    ) -> Option<Disagreement> {
        let ask = sent.ask;
        let (api, version): (&'static str, _) = (ask.api.name, *ask.versions.start());
        self.exercised
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((ask.api.key, version));
        let mut canonical = Vec::new();
        for ((party, body), answer) in parties.iter_mut().zip(&sent.bodies).zip(answers) {
            let mut answer = answer.clone();
            self.allowances.sort(api, &mut answer);
            let mut answer = canonical::answer(party, api, body, &answer);
            self.allowances.sort(api, &mut answer);
            canonical.push(answer);
        }
        if canonical.iter().all(|answer| matches!(answer, Value::Struct(_))) {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.insert((ask.api.key, version));
        }
        let (left, others) = canonical.split_first()?;
        others.iter().zip(1..).find_map(|(right, other)| {
            let scene = Scene { api, version, request: &sent.bodies[0], left, right };
            let keys = |pattern: &str| self.allowances.keys(api, pattern);
            let mut differences = value::differences(left, right, &keys);
            differences.retain(|difference| !self.allowances.allow(&scene, difference));
            let targets = [0, other].map(|index| self.targets[index].name.clone());
            let text = ask.to_string();
            (!differences.is_empty()).then_some(Disagreement {
                step: sent.step,
                api,
                text,
                targets,
                differences,
            })
        })
    }
}

impl Ask {
    /// Whether this can only be sent when the answer to `earlier` is there.
    fn needs(&self, earlier: &Self) -> bool {
        let same_connection = self.client == earlier.client && self.node == earlier.node;
        same_connection || earlier.label.as_ref().is_some_and(|label| self.body.refers_to(label))
    }

    fn is_reader(&self, bodies: &[Value]) -> bool {
        // Without a session a fetch leaves nothing behind.
        let epoch = bodies.first().and_then(|body| body.field("SessionEpoch")?.int());
        READERS.contains(&self.api.name) || (self.api.name == "Fetch" && epoch == Some(-1))
    }
}

impl Term {
    /// Whether the answer to this step is part of it.
    pub(super) fn refers_to(&self, step: &str) -> bool {
        match self {
            Self::Answer { label, .. } => label == step,
            Self::Array(terms) | Self::Records(terms) => {
                terms.iter().any(|term| term.refers_to(step))
            }
            Self::Struct(fields) => fields.iter().any(|(_, term)| term.refers_to(step)),
            _ => false,
        }
    }
}
