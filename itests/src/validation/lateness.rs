//! How late this machine comes with everything: on one that others keep busy, what is measured is not Kafka's doing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

/// How often a timer is tried.
const EVERY: Duration = Duration::from_millis(20);

/// From here on figures that differ may be the machine's fault.
const WORRYING: Duration = Duration::from_millis(200);

/// Tries timers while something else runs.
pub(super) struct Watch {
    task: JoinHandle<()>,
    seen: Arc<Mutex<Vec<Duration>>>,
}

impl Watch {
    /// Begins.
    pub(super) fn start() -> Self {
        let seen = Arc::<Mutex<Vec<Duration>>>::default();
        let own = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let before = Instant::now();
                tokio::time::sleep(EVERY).await;
                let late = before.elapsed().saturating_sub(EVERY);
                own.lock().unwrap_or_else(PoisonError::into_inner).push(late);
            }
        });
        Self { task, seen }
    }

    /// Ends, and gives how late one timer in a hundred was, at least.
    pub(super) fn end(self) -> Duration {
        self.task.abort();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        one_in_a_hundred(seen.clone())
    }
}

fn one_in_a_hundred(mut seen: Vec<Duration>) -> Duration {
    seen.sort_unstable();
    seen.get(seen.len().saturating_sub(1 + seen.len() / 100)).copied().unwrap_or_default()
}

/// What there is to say of it.
pub(super) fn remark(late: Duration) -> Option<String> {
    let ms = late.as_millis();
    (late >= WORRYING).then(|| {
        format!("the machine was busy: one timer in a hundred came {ms} ms late or more; repeat it on a calm one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_late_timer_in_a_hundred_is_what_counts() {
        let ms = Duration::from_millis;
        let mut seen: Vec<_> = vec![ms(1); 198];
        seen.extend([ms(900), ms(400)]);
        assert_eq!(one_in_a_hundred(seen.clone()), ms(1));
        seen.push(ms(300));
        seen.extend([ms(300); 4]);
        assert_eq!(one_in_a_hundred(seen), ms(300));
        assert_eq!(one_in_a_hundred(Vec::new()), Duration::ZERO);
        assert_eq!(remark(ms(50)), None);
        assert!(remark(ms(300)).is_some_and(|text| text.contains("300 ms")));
    }
}
