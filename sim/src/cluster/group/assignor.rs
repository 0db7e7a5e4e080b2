//! Who is to read which partitions: Kafka's two assignors of the KIP-848 protocol.
//!
//! Both are functions of the members, what they subscribe to and what they were to read before. `uniform` moves
//! as little as a balanced assignment allows; `range` gives each member neighbouring partitions, and the same
//! ones of topics that are alike.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// Partitions by topic. No topic is without partitions.
pub(in crate::cluster) type Assignment = BTreeMap<Uuid, BTreeSet<i32>>;

/// One of Kafka's assignors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cluster) enum Assignor {
    Uniform,
    Range,
}

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Subscriber {
    pub(in crate::cluster) id: StrBytes,
    pub(in crate::cluster) instance: Option<StrBytes>,
    /// Topics that exist, of those that it subscribes to.
    pub(in crate::cluster) topics: BTreeSet<Uuid>,
    /// What it was to read before.
    pub(in crate::cluster) before: Assignment,
}

impl Assignor {
    /// Of a name that a client asks for.
    pub(in crate::cluster) fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    pub(in crate::cluster) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Gives every partition of a topic that somebody subscribes to, to exactly one of those who do.
    pub(in crate::cluster) fn assign(
        self,
        members: &[Subscriber],
        partitions: &BTreeMap<Uuid, i32>,
    ) -> BTreeMap<StrBytes, Assignment> {
        match self {
            Self::Uniform => uniform(members, partitions),
            Self::Range => range(members, partitions),
        }
    }
}

fn range(
    members: &[Subscriber],
    partitions: &BTreeMap<Uuid, i32>,
) -> BTreeMap<StrBytes, Assignment> {
    let mut sorted: Vec<&Subscriber> = members.iter().collect();
    // Static members first, and in an order that outlives their processes.
    sorted.sort_by(|a, b| {
        let key = |member: &Subscriber| (member.instance.is_none(), member.instance.clone());
        key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
    });
    let mut assigned: BTreeMap<_, Assignment> =
        members.iter().map(|member| (member.id.clone(), Assignment::new())).collect();
    for (topic, count) in partitions {
        let readers: Vec<_> =
            sorted.iter().filter(|member| member.topics.contains(topic)).collect();
        let Ok(size) = i32::try_from(readers.len()) else { continue };
        let mut next = 0;
        for (place, member) in (0..).zip(readers) {
            let end = next + count / size + i32::from(place < count % size);
            if end > next
                && let Some(assignment) = assigned.get_mut(&member.id)
            {
                assignment.insert(*topic, (next..end).collect());
            }
            next = end;
        }
    }
    assigned
}

/// What is being handed out: by member in the order of `members`.
struct Hand<'a> {
    members: &'a [Subscriber],
    held: Vec<BTreeSet<(Uuid, i32)>>,
    free: BTreeSet<(Uuid, i32)>,
}

fn uniform(
    members: &[Subscriber],
    partitions: &BTreeMap<Uuid, i32>,
) -> BTreeMap<StrBytes, Assignment> {
    let mut free: BTreeSet<(Uuid, i32)> = partitions
        .iter()
        .filter(|(topic, _)| members.iter().any(|member| member.topics.contains(*topic)))
        .flat_map(|(topic, count)| (0..*count).map(move |partition| (*topic, partition)))
        .collect();
    let mut held = Vec::new();
    for member in members {
        let before = member.before.iter().filter(|(topic, _)| member.topics.contains(*topic));
        let before = before.flat_map(|(topic, partitions)| {
            partitions.iter().map(move |partition| (*topic, *partition))
        });
        held.push(before.filter(|partition| free.remove(partition)).collect());
    }
    let alike = members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    let mut hand = Hand { members, held, free };
    if alike {
        hand.by_quota();
    } else {
        hand.balanced();
    }
    let held = hand.held.into_iter().map(|partitions| {
        let mut assignment = Assignment::new();
        for (topic, partition) in partitions {
            assignment.entry(topic).or_default().insert(partition);
        }
        assignment
    });
    members.iter().map(|member| member.id.clone()).zip(held).collect()
}

impl Hand<'_> {
    /// All members may read all topics: each gets its share.
    fn by_quota(&mut self) {
        let count = self.free.len() + self.held.iter().map(BTreeSet::len).sum::<usize>();
        let (share, mut extra) =
            (count / self.members.len().max(1), count % self.members.len().max(1));
        let mut quotas = Vec::new();
        for held in &mut self.held {
            let quota = share + usize::from(extra > 0);
            extra = extra.saturating_sub(1);
            while held.len() > quota {
                self.free.extend(held.pop_last());
            }
            quotas.push(quota);
        }
        for (held, quota) in self.held.iter_mut().zip(quotas) {
            while held.len() < quota
                && let Some(partition) = self.free.pop_first()
            {
                held.insert(partition);
            }
        }
    }

    /// Subscriptions differ: whoever may read a partition and has the fewest gets it, and then partitions move
    /// from those who have more to those who have fewer for as long as that evens them out.
    fn balanced(&mut self) {
        while let Some(partition) = self.free.pop_first() {
            if let Some(reader) = self.least_loaded(partition.0) {
                self.held[reader].insert(partition);
            }
        }
        let mut moved = true;
        while moved {
            moved = false;
            for from in 0..self.held.len() {
                for partition in self.held[from].clone() {
                    let Some(to) = self.least_loaded(partition.0) else { continue };
                    // Every move makes the sum of squares smaller, so this ends.
                    if self.held[to].len() + 1 < self.held[from].len() {
                        self.held[from].remove(&partition);
                        self.held[to].insert(partition);
                        moved = true;
                    }
                }
            }
        }
    }

    fn least_loaded(&self, topic: Uuid) -> Option<usize> {
        let readers =
            (0..self.members.len()).filter(|at| self.members[*at].topics.contains(&topic));
        readers.min_by_key(|at| self.held[*at].len())
    }
}

#[cfg(test)]
mod tests;
