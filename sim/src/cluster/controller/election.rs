//! Who leads a partition: one change of its ISR or leader, by the rules of Kafka's controller.

use std::collections::BTreeSet;

use kafka_protocol::messages::BrokerId;

use super::super::topic::Partition;

/// How far an election may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Election {
    /// Keeps the leader where it may lead, else the first replica that may.
    Online,
    /// The first replica, if it may lead.
    Preferred,
    /// As `Online`; where nobody may lead, any replica that is there: what it does not have is lost.
    Unclean,
}

/// What the controller goes by.
pub(super) struct Rules {
    /// Brokers that can be elected.
    pub(super) active: BTreeSet<BrokerId>,
    /// Those and the ones whose failure has not been noticed.
    pub(super) unfenced: BTreeSet<BrokerId>,
    /// The partition's `min.insync.replicas`.
    pub(super) min_isr: usize,
    /// Whether eligible replicas are kept (KIP-966): from Kafka 4.1 on.
    pub(super) keeps_elr: bool,
}

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) leader: bool,
    pub(super) isr: bool,
}

/// Gives the partition this ISR and holds an election.
pub(super) fn change(
    partition: &mut Partition,
    rules: &Rules,
    mut isr: Vec<BrokerId>,
    election: Election,
) -> Change {
    let mut elr = Vec::new();
    if rules.keeps_elr && isr.len() < rules.min_isr {
        let eligible = |id: &&BrokerId| partition.isr.contains(id) || partition.elr.contains(id);
        elr = partition.replicas.iter().filter(eligible).copied().collect();
        elr.retain(|id| !isr.contains(id));
    } else if isr.is_empty() {
        // The last one stays: it alone is known to have everything.
        isr.clone_from(&partition.isr);
    }
    let leader = match choose(partition, rules, &isr, &elr, election) {
        Some((id, clean)) => {
            if !clean {
                (isr, elr) = (vec![id], Vec::new());
            } else if elr.contains(&id) {
                isr = vec![id];
                elr.retain(|other| *other != id);
            }
            Some(id)
        }
        None => None,
    };
    let changed = Change { leader: leader != partition.leader, isr: isr != partition.isr };
    partition.isr = isr;
    partition.elr = elr;
    if changed.leader {
        partition.leader = leader;
        partition.leader_epoch += 1;
        if let Some(id) = leader {
            lead(partition, id);
        }
    }
    changed
}

/// The leader, and whether it is known to have everything.
fn choose(
    partition: &Partition,
    rules: &Rules,
    isr: &[BrokerId],
    elr: &[BrokerId],
    election: Election,
) -> Option<(BrokerId, bool)> {
    let complete = |id: &BrokerId| isr.contains(id) || isr.is_empty() && elr.contains(id);
    let may_lead = |id: &BrokerId| rules.active.contains(id) && complete(id);
    let in_order = || partition.replicas.iter().copied();
    let preferred = partition.replicas.first().copied().filter(may_lead);
    // A leader that is silent leads until the controller has noticed.
    let stays = partition.leader.filter(|id| rules.unfenced.contains(id) && complete(id));
    let clean = match election {
        Election::Preferred => preferred.or(stays),
        Election::Online | Election::Unclean => stays,
    };
    if let Some(id) = clean.or_else(|| in_order().find(may_lead)) {
        return Some((id, true));
    }
    if election != Election::Unclean {
        return None;
    }
    Some((in_order().find(|id| rules.active.contains(id))?, false))
}

/// The log is now that of this replica: what it does not have is gone for everybody.
fn lead(partition: &mut Partition, id: BrokerId) {
    if partition.log.is_stopped(id) {
        let end = partition.log.end_of_replica(id).max(partition.log.start());
        partition.log.truncate(end);
        partition.log.replica_returned(id);
    }
}
