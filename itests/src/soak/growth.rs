//! Whether a process has grown over its life.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::play::Usage;

/// A life that is shorter says nothing about growth of memory: the allocator is still warming up.
const LIFE_MIN: Duration = Duration::from_mins(1);
/// Memory that may be gained from the first third of a life to the last, whatever the process started with.
const RESIDENT_GAIN_MAX_KIB: u64 = 8 * 1024;
/// The share of what it had that may be gained, in percent, where that is more.
const RESIDENT_GAIN_MAX_PERCENT: u64 = 20;
/// Descriptors beyond those of an instance without clients that may be open when all clients have gone.
const DESCRIPTORS_LEFT_MAX: u64 = 4;

/// What one process of an instance used from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Which instance.
    pub instance: usize,
    /// Its process.
    pub process: u32,
    /// How long it was looked at.
    pub life: Duration,
    /// Medians of resident memory in KiB, of the first and the last third of its life.
    pub resident_kib: (u64, u64),
    /// Most descriptors that were open at once.
    pub descriptors_most: u64,
    /// Descriptors before the first client came and after the last had gone; `None`: this process did not see both, and
    /// is held against the one that did see the start.
    pub descriptors: (Option<u64>, Option<u64>),
}

/// Every process of a play, in the order of their starts. The first look is before the clients come, the last after they have
/// gone.
pub fn growth(usages: &[Usage]) -> Vec<Growth> {
    let mut lives: Vec<(usize, u32, Vec<Usage>)> = Vec::new();
    for usage in usages {
        let own = lives.iter_mut().find(|(_, process, _)| *process == usage.process);
        match own {
            Some((_, _, life)) => life.push(*usage),
            None => lives.push((usage.instance, usage.process, vec![*usage])),
        }
    }
    let mut idle: BTreeMap<usize, u64> = BTreeMap::new();
    let last_at = usages.iter().map(|usage| usage.at).max();
    let mut growth = Vec::new();
    for (instance, process, life) in lives {
        let (Some(first), Some(last)) = (life.first(), life.last()) else { continue };
        let before = *idle.entry(instance).or_insert(first.descriptors);
        let saw_the_end = Some(last.at) == last_at;
        let third = life.len().div_ceil(3);
        growth.push(Growth {
            instance,
            process,
            life: last.at.saturating_sub(first.at),
            resident_kib: (
                median(life.get(..third).unwrap_or_default()),
                median(life.get(life.len() - third..).unwrap_or_default()),
            ),
            descriptors_most: life.iter().map(|it| it.descriptors).max().unwrap_or_default(),
            descriptors: (Some(before), saw_the_end.then_some(last.descriptors)),
        });
    }
    growth
}

fn median(usages: &[Usage]) -> u64 {
    let mut resident: Vec<_> = usages.iter().map(|usage| usage.resident_kib).collect();
    resident.sort_unstable();
    resident.get(resident.len() / 2).copied().unwrap_or_default()
}

impl Growth {
    /// What has grown and must not.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let (first, last) = self.resident_kib;
        let gain_max = RESIDENT_GAIN_MAX_KIB.max(first * RESIDENT_GAIN_MAX_PERCENT / 100);
        if self.life >= LIFE_MIN && last > first + gain_max {
            faults.push(format!("memory grew by more than {gain_max} KiB: {self}"));
        }
        if let (Some(before), Some(after)) = self.descriptors
            && after > before + DESCRIPTORS_LEFT_MAX
        {
            faults.push(format!("{after} descriptors are open when all clients have gone: {self}"));
        }
        faults
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, process, life, resident_kib: (first, last), .. } = self;
        write!(
            f,
            "gateway-{instance}, process {process}, {} s: {first} KiB resident in its first third, {last} KiB in its last; \
             {} descriptors at most",
            life.as_secs(),
            self.descriptors_most
        )?;
        if let (Some(before), Some(after)) = self.descriptors {
            write!(f, ", {before} without clients at the start, {after} at the end")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look a second: resident memory in MiB and descriptors.
    fn looks(process: u32, from: u64, looks: impl IntoIterator<Item = (u64, u64)>) -> Vec<Usage> {
        let look = |(second, (mib, descriptors))| Usage {
            at: Duration::from_secs(from + second),
            instance: 1,
            process,
            resident_kib: mib * 1024,
            descriptors,
        };
        (0..).zip(looks).map(look).collect()
    }

    fn faults(usages: &[Usage]) -> Vec<String> {
        growth(usages).iter().flat_map(Growth::faults).collect()
    }

    #[test]
    fn process_that_stays_as_it_is_has_no_fault() {
        let steady = looks(
            7,
            0,
            (0..120).map(|second| (30, if second == 0 || second == 119 { 15 } else { 80 })),
        );
        assert_eq!(faults(&steady), Vec::<String>::new());
    }

    #[test]
    fn process_that_gains_memory_all_the_time_is_found() {
        let growing = looks(7, 0, (0..120).map(|second| (30 + second / 5, 15)));
        let found = faults(&growing);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("memory grew"), "{found:?}");
    }

    #[test]
    fn descriptors_that_stay_open_are_found_also_after_a_restart() {
        let mut two_lives = looks(7, 0, (0..20).map(|_| (30, 15)));
        two_lives.extend(looks(8, 25, (0..20).map(|_| (30, 90))));
        let found = faults(&two_lives);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("90 descriptors"), "{found:?}");
    }

    #[test]
    fn short_life_says_nothing_about_memory() {
        let short = looks(7, 0, (0..30).map(|second| (10 + second, 15)));
        assert_eq!(faults(&short), Vec::<String>::new());
    }

    #[test]
    fn each_process_has_a_life_of_its_own() {
        let mut usages = looks(7, 0, (0..70).map(|_| (60, 15)));
        usages.extend(looks(8, 80, (0..70).map(|_| (80, 15))));
        let lives = growth(&usages);
        assert_eq!(lives.iter().map(|life| life.process).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(faults(&usages), Vec::<String>::new());
    }
}
