//! The controller: which topics there are, where their replicas are, who leads them, who is there at all.
//!
//! What Kafka's brokers learn from their controller's log holds here at once. What takes time is told by brokers'
//! states and timers: a failure is noticed after `broker.session.timeout.ms`, a broker that returned is in sync
//! again after [`CATCH_UP`].
//!
//! Absent on purpose: a quorum of controllers (any broker that is there answers as one), reassignment of
//! replicas, unclean shutdowns that cost a broker its eligible replicas (a disk forgets nothing here).

mod election;
mod liveness;
mod placement;
mod topics;

#[cfg(test)]
mod tests;

use std::time::Duration;

use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, TopicName},
    protocol::StrBytes,
};

pub(super) use election::Election;
pub(super) use topics::{CreatedTopic, NewTopic, check_name, is_internal};

use self::election::{Change, Rules, change};
use super::{
    Cluster, broker::BrokerState, coordinator::OFFSETS_TOPIC, log::LogConfig, sights::Sight,
    timers::Timer, versions::Profile,
};

/// How long a replica that runs again needs until it is in sync: `replica.fetch.wait.max.ms`, since the leader
/// lets it into the ISR at one of its fetches.
const CATCH_UP: Duration = Duration::from_millis(500);

/// An error of Kafka with the text that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: ResponseError,
    /// `None` where Kafka gives none.
    pub(super) message: Option<String>,
}

impl Refusal {
    pub(super) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: Some(message.into()) }
    }

    /// The error with Kafka's general text for it.
    pub(super) fn plain(error: ResponseError) -> Self {
        let message = match error {
            ResponseError::UnknownTopicOrPartition => {
                "This server does not host this topic-partition."
            }
            ResponseError::UnknownTopicId => "This server does not host this topic ID.",
            ResponseError::ElectionNotNeeded => "Leader election not needed for topic partition.",
            ResponseError::PreferredLeaderNotAvailable => "The preferred leader was not available.",
            ResponseError::EligibleLeadersNotAvailable => {
                "Eligible topic partition leaders are not available."
            }
            ResponseError::TopicDeletionDisabled => "Topic deletion is disabled.",
            _ => return Self { error, message: None },
        };
        Self::new(error, message)
    }

    pub(super) fn text(&self) -> Option<StrBytes> {
        self.message.clone().map(StrBytes::from_string)
    }
}

impl Cluster {
    /// The broker that clients are told is the controller: as with KRaft, any that is there.
    pub(super) fn controller(&self) -> Option<BrokerId> {
        self.brokers.values().find(|broker| broker.is_listed()).map(|broker| broker.id)
    }

    /// Elects a leader by hand.
    ///
    /// # Errors
    /// Those of ElectLeaders.
    pub(super) fn elect_leader(
        &mut self,
        name: &TopicName,
        index: i32,
        election: Election,
    ) -> Result<(), Refusal> {
        let unknown = ResponseError::UnknownTopicOrPartition;
        if self.topics.get(name).is_none() {
            return Err(Refusal::new(unknown, format!("No such topic as {}", name.as_str())));
        }
        let Some(partition) = self.topics.partition(name, index) else {
            let text = format!("No such partition as {}-{index}", name.as_str());
            return Err(Refusal::new(unknown, text));
        };
        let preferred = election == Election::Preferred;
        let needed =
            if preferred { !partition.has_preferred_leader() } else { partition.leader.is_none() };
        if !needed {
            return Err(Refusal::plain(ResponseError::ElectionNotNeeded));
        }
        let isr = partition.isr.clone();
        let changed = self.change_partition(name, index, isr, election);
        if changed == Change::default() {
            return Err(Refusal::plain(if preferred {
                ResponseError::PreferredLeaderNotAvailable
            } else {
                ResponseError::EligibleLeadersNotAvailable
            }));
        }
        Ok(())
    }

    /// Moves a leader to the next replica that may lead; `false`: there is none.
    pub(super) fn move_leader(&mut self, name: &TopicName, index: i32) -> bool {
        let Some(partition) = self.topics.partition_mut(name, index) else { return false };
        let replicas = &partition.replicas;
        let at = replicas.iter().position(|id| Some(*id) == partition.leader).unwrap_or(0);
        let after = replicas.iter().cycle().skip(at + 1).take(replicas.len());
        let brokers = &self.brokers;
        let may_lead = |id: &&BrokerId| {
            Some(**id) != partition.leader
                && partition.isr.contains(id)
                && brokers.get(*id).is_some_and(super::broker::Broker::is_active)
        };
        let Some(next) = after.into_iter().find(may_lead).copied() else { return false };
        partition.leader = Some(next);
        partition.leader_epoch += 1;
        self.leadership_changed(name, index);
        true
    }

    /// Gives a partition this ISR, elects, and tells whom it concerns.
    fn change_partition(
        &mut self,
        name: &TopicName,
        index: i32,
        isr: Vec<BrokerId>,
        election: Election,
    ) -> Change {
        let Some(rules) = self.rules(name) else { return Change::default() };
        let unclean = self.elects_uncleanly(name);
        let Some(partition) = self.topics.partition_mut(name, index) else {
            return Change::default();
        };
        let election = match election {
            Election::Online if unclean => Election::Unclean,
            given => given,
        };
        let changed = change(partition, &rules, isr, election);
        if changed.leader {
            self.leadership_changed(name, index);
            self.wake_followers(name, index);
        } else if changed.isr {
            self.isr_changed(name, index);
        }
        changed
    }

    /// Settings were altered: whoever may lead now does.
    pub(super) fn settings_changed(&mut self) {
        self.log_defaults = LogConfig::of_brokers(&self.settings);
        self.fetch_bytes_max = self.settings.int("fetch.max.bytes");
        for (name, index) in self.topics.all_partitions() {
            if let Some(partition) = self.topics.partition(&name, index)
                && partition.leader.is_none()
            {
                let isr = partition.isr.clone();
                self.change_partition(&name, index, isr, Election::Online);
            }
        }
    }

    fn rules(&self, name: &TopicName) -> Option<Rules> {
        let min_isr = self.settings.topic_int(self.topics.get(name)?, "min.insync.replicas");
        let brokers = self.brokers.values();
        let active = brokers.clone().filter(|broker| broker.is_active()).map(|broker| broker.id);
        let unfenced = brokers
            .filter(|broker| broker.disk_online && broker.state != BrokerState::Fenced)
            .map(|broker| broker.id);
        Some(Rules {
            active: active.collect(),
            unfenced: unfenced.collect(),
            min_isr: usize::try_from(min_isr).unwrap_or(1),
            keeps_elr: self.profile >= Profile::Kafka41,
        })
    }

    fn elects_uncleanly(&self, name: &TopicName) -> bool {
        self.topics.get(name).is_some_and(|topic| {
            self.settings.topic_text(topic, "unclean.leader.election.enable") == "true"
        })
    }

    /// A partition has another leader, or none: whoever waits at the old one is to be answered.
    pub(super) fn leadership_changed(&mut self, name: &TopicName, index: i32) {
        if self.topics.partition(name, index).is_some_and(|it| !it.has_preferred_leader()) {
            self.balance_later();
        }
        self.isr_changed(name, index);
        self.see(|| Sight::LeaderMoved { topic: name.clone(), partition: index });
        if name.as_str() == OFFSETS_TOPIC {
            self.groups_moved(self.now);
        }
    }

    /// A leader is not where it should be: the controller will look whether it can go back.
    fn balance_later(&mut self) {
        if self.settings.flag("auto.leader.rebalance.enable")
            && !self.timers.is_set(&Timer::LeaderBalance)
        {
            let seconds = self.settings.int("leader.imbalance.check.interval.seconds");
            let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            self.timers.set(Timer::LeaderBalance, self.now + wait);
        }
    }

    /// A partition's ISR has changed, so its high watermark may rise.
    pub(super) fn isr_changed(&mut self, name: &TopicName, index: i32) {
        self.partition_changed(name, index);
    }
}
