//! Some load: a producer and a consumer of each partition, through the gateway, as real clients would be.
//!
//! Every record holds a number, and the numbers of a partition rise by one. So what was acknowledged and never consumed
//! is lost, and what was consumed again is a duplicate.

mod partition;
mod reader;
mod tally;
mod writer;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use tally::Tally;

/// How long consumers may take at the end to read what was acknowledged.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a producer may take at the end for what it has sent.
const LAST_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they are done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the load has come to, over all partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that a producer was told are written.
    pub acknowledged: u64,
    /// Records that a consumer has read, each counted once.
    pub consumed: u64,
    /// Records that a consumer has read again.
    pub duplicated: u64,
    /// Acknowledged and not read so far: at the end, lost.
    pub missing: u64,
    /// What the brokers have that the consumers have yet to read.
    pub lag: i64,
    /// Requests that had to be sent again.
    pub retries: u64,
}

/// Shared by the producers and consumers.
#[derive(Clone)]
struct Shared {
    bootstrap: Arc<str>,
    topic: Arc<str>,
    tallies: Arc<Mutex<Vec<Tally>>>,
}

impl Shared {
    /// Looks at one partition's tally.
    fn with<T>(&self, partition: i32, act: impl FnOnce(&mut Tally) -> T) -> Option<T> {
        let index = usize::try_from(partition).ok()?;
        self.lock().get_mut(index).map(act)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Running producers and consumers.
pub(super) struct Load {
    shared: Shared,
    producing: watch::Sender<bool>,
    writers: JoinSet<()>,
    readers: JoinSet<()>,
}

impl Load {
    /// Starts a producer and a consumer for each partition.
    pub(super) fn start(bootstrap: String, topic: &str, partitions: i32) -> Self {
        let tallies = (0..partitions).map(|_| Tally::default()).collect();
        let shared = Shared {
            bootstrap: bootstrap.into(),
            topic: topic.into(),
            tallies: Arc::new(Mutex::new(tallies)),
        };
        let producing = watch::Sender::new(true);
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        for partition in 0..partitions {
            writers.spawn(writer::run(shared.clone(), partition, producing.subscribe()));
            readers.spawn(reader::run(shared.clone(), partition));
        }
        Self { shared, producing, writers, readers }
    }

    /// How it stands.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for tally in self.shared.lock().iter() {
            totals.acknowledged += tally.acknowledged();
            totals.consumed += tally.consumed();
            totals.duplicated += tally.duplicated();
            totals.missing += tally.missing();
            totals.lag += tally.lag();
            totals.retries += tally.retries;
        }
        totals
    }

    /// Ends the producers, gives the consumers time to read the rest, and says what it came to.
    #[expect(clippy::disallowed_methods, reason = "it waits in real time")]
    pub(super) async fn finish(mut self) -> Totals {
        self.producing.send_replace(false);
        let writers = &mut self.writers;
        let all = async { while writers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(LAST_ANSWER_TIME_MAX, all).await);
        self.writers.abort_all();
        let caught_up = async {
            while self.totals().missing > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        drop(tokio::time::timeout(CATCH_UP_TIME_MAX, caught_up).await);
        self.readers.abort_all();
        self.totals()
    }
}
