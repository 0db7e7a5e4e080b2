//! Where replicas go: striped over the brokers, as Kafka's placer does it roughly.
//!
//! ```text
//!  one rack, brokers 1 to 3, start 2     racks a (1, 2) and b (3, 4), two replicas
//!    p0: 2 3 1                             p0: 1 3
//!    p1: 3 1 2                             p1: 4 2
//!    p2: 1 2 3                             p2: 1 3 …
//! ```
//!
//! Racks are asked in turn, and in each rack its brokers; where both start is drawn. Brokers that are away are
//! taken last and never lead.

use std::collections::BTreeMap;

use fastrand::Rng;
use kafka_protocol::messages::BrokerId;

/// A broker that could hold a replica.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) id: BrokerId,
    pub(super) rack: Option<String>,
    pub(super) active: bool,
}

/// Why replicas cannot be placed. The text is Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlacementError {
    #[error("Invalid replication factor {0}: the replication factor must be positive.")]
    NotPositive(usize),
    #[error("All brokers are currently fenced.")]
    AllFenced,
    #[error(
        "The target replication factor of {wanted} cannot be reached because only {registered} broker(s) are registered."
    )]
    TooFew { wanted: usize, registered: usize },
}

/// The brokers of one rack, asked in turn.
#[derive(Default)]
struct Ring {
    brokers: Vec<BrokerId>,
    start: usize,
    taken: usize,
}

impl Ring {
    fn next(&mut self) -> Option<BrokerId> {
        if self.taken == self.brokers.len() {
            return None;
        }
        let at = (self.start + self.taken) % self.brokers.len();
        self.taken += 1;
        Some(self.brokers[at])
    }

    fn turn(&mut self) {
        self.start += 1;
        self.taken = 0;
    }
}

#[derive(Default)]
struct Rack {
    active: Ring,
    away: Ring,
}

impl Rack {
    fn rings(&mut self) -> [&mut Ring; 2] {
        [&mut self.active, &mut self.away]
    }
}

/// Replicas of so many partitions, the preferred leader first.
pub(super) fn place(
    random: &mut Rng,
    candidates: &[Candidate],
    partitions: usize,
    replicas: usize,
) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
    let registered = candidates.len();
    let active = candidates.iter().filter(|candidate| candidate.active).count();
    match replicas {
        0 => return Err(PlacementError::NotPositive(0)),
        _ if active == 0 => return Err(PlacementError::AllFenced),
        wanted if wanted > registered => {
            return Err(PlacementError::TooFew { wanted, registered });
        }
        _ => {}
    }
    let mut racks = racks(random, candidates);
    let mut first_rack = random.usize(..racks.len());
    let placed = (0..partitions).map(|partition| {
        if partition > 0 && active > 1 && partition % active == 0 {
            // Everybody has led once: another order, so that the same brokers do not share partitions for ever.
            random.shuffle(&mut racks);
            for ring in racks.iter_mut().flat_map(Rack::rings) {
                random.shuffle(&mut ring.brokers);
            }
        }
        let chosen = stripe(&mut racks, first_rack, replicas);
        first_rack += 1;
        for ring in racks.iter_mut().flat_map(Rack::rings) {
            ring.turn();
        }
        chosen
    });
    Ok(placed.collect())
}

fn racks(random: &mut Rng, candidates: &[Candidate]) -> Vec<Rack> {
    let mut racks = BTreeMap::<Option<&str>, Rack>::new();
    for candidate in candidates {
        let rack = racks.entry(candidate.rack.as_deref()).or_default();
        let ring = if candidate.active { &mut rack.active } else { &mut rack.away };
        ring.brokers.push(candidate.id);
    }
    let mut racks: Vec<_> = racks.into_values().collect();
    for ring in racks.iter_mut().flat_map(Rack::rings).filter(|ring| !ring.brokers.is_empty()) {
        ring.start = random.usize(..ring.brokers.len());
    }
    racks
}

/// The replicas of one partition. There are at least so many brokers, and one of them is active.
fn stripe(racks: &mut [Rack], first: usize, replicas: usize) -> Vec<BrokerId> {
    let count = racks.len();
    let mut at = first;
    let mut chosen = Vec::with_capacity(replicas);
    while chosen.len() < replicas {
        let rack = &mut racks[at % count];
        at += 1;
        // The first one leads, so it must be there.
        let next = match rack.active.next() {
            None if !chosen.is_empty() => rack.away.next(),
            active => active,
        };
        chosen.extend(next);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fastrand::Rng;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn candidates(racks: &[Option<&str>]) -> Vec<Candidate> {
        let each = (1..).zip(racks).map(|(id, rack)| Candidate {
            id: BrokerId(id),
            rack: rack.map(str::to_owned),
            active: true,
        });
        each.collect()
    }

    fn ids(placed: &[Vec<BrokerId>]) -> Vec<Vec<i32>> {
        placed.iter().map(|replicas| replicas.iter().map(|id| id.0).collect()).collect()
    }

    /// A placement that crowds one broker would make a rehearsal of its failure say nothing about the others.
    #[test]
    fn one_rack_gives_every_broker_one_leader_and_shifted_followers() {
        let placed = place(&mut Rng::with_seed(1), &candidates(&[None; 3]), 3, 3).expect("placed");
        let leaders: BTreeSet<_> = placed.iter().map(|replicas| replicas[0]).collect();
        assert_eq!(leaders.len(), 3);
        for replicas in ids(&placed) {
            assert_eq!(replicas[1], replicas[0] % 3 + 1);
            assert_eq!(replicas[2], replicas[1] % 3 + 1);
        }
    }

    #[test]
    fn racks_each_get_a_replica() {
        let racks = [Some("a"), Some("a"), Some("b"), Some("b")];
        let placed = place(&mut Rng::with_seed(2), &candidates(&racks), 8, 2).expect("placed");
        for replicas in ids(&placed) {
            let of: BTreeSet<_> = replicas.iter().map(|id| (*id - 1) / 2).collect();
            assert_eq!(of.len(), 2, "{replicas:?} share a rack");
        }
    }

    #[test]
    fn placement_that_cannot_be_is_refused_in_kafkas_words() {
        let mut away = candidates(&[None, None]);
        let refused = place(&mut Rng::with_seed(1), &away, 1, 3).expect_err("too few");
        assert_eq!(
            refused.to_string(),
            "The target replication factor of 3 cannot be reached because only 2 broker(s) are registered."
        );
        for candidate in &mut away {
            candidate.active = false;
        }
        let refused = place(&mut Rng::with_seed(1), &away, 1, 1).expect_err("nobody there");
        assert_eq!(refused, PlacementError::AllFenced);
    }

    proptest! {
        #[test]
        fn any_placement_names_each_broker_once_and_a_leader_that_is_there(
            seed: u64,
            brokers in prop::collection::vec((0_u8..4, any::<bool>()), 1..12),
            partitions in 1_usize..40,
            replicas in 1_usize..6,
        ) {
            let candidates: Vec<_> = (1..)
                .zip(&brokers)
                .map(|(id, (rack, active))| Candidate {
                    id: BrokerId(id),
                    rack: (*rack > 0).then(|| rack.to_string()),
                    active: *active,
                })
                .collect();
            let Ok(placed) = place(&mut Rng::with_seed(seed), &candidates, partitions, replicas) else {
                prop_assert!(replicas > brokers.len() || brokers.iter().all(|(_, active)| !active));
                return Ok(());
            };
            prop_assert_eq!(placed.len(), partitions);
            for chosen in placed {
                let distinct: BTreeSet<_> = chosen.iter().collect();
                prop_assert_eq!(distinct.len(), replicas);
                prop_assert!(candidates.iter().any(|candidate| candidate.id == chosen[0] && candidate.active));
            }
        }
    }
}
