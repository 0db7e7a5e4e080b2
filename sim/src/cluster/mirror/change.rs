//! What an operator does to topics of a link: promote, fail over, reverse, pause, resume.

use kafka_protocol::{ResponseError, messages::TopicName};

use super::{
    super::{Cluster, time::Time},
    Link, LinkEvent, Pair, Unreplicated,
    access::{common_end, count_records},
    spec::Mode,
    topic::{MirrorPartition, Phase, Purpose},
};

/// Which topics of a link a command is for, by the source's names.
#[derive(Clone, Copy, Debug)]
pub enum Topics<'a> {
    /// All that the command fits.
    All,
    /// These; each must be a topic of the link that the command fits, or nothing is done.
    Named(&'a [&'a str]),
}

/// Why a command was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The clusters do not reach each other.
    #[error("link `{link}`: the clusters do not reach each other; mend the link, or fail over")]
    SourceUnavailable {
        /// Name of the link.
        link: String,
    },
    /// No topic of this link.
    #[error("topic `{topic}` is not one of this link; `status` lists them")]
    UnknownTopic {
        /// The name given.
        topic: String,
    },
    /// The name is taken.
    #[error("topic `{topic}` already exists; delete it on the target, or leave it out of the link")]
    TopicExists {
        /// The name given.
        topic: String,
    },
    /// The target does not make the topic.
    #[error("topic `{topic}`: the target refuses to create it: {error:?}")]
    Refused {
        /// The name given.
        topic: String,
        /// What `CreateTopics` would answer.
        error: ResponseError,
    },
    /// The topic is in a state that the command does not fit.
    #[error("topic `{topic}` is {state}; {remedy}")]
    WrongState {
        /// The name given.
        topic: String,
        /// Its state.
        state: super::MirrorState,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The link makes writable copies.
    #[error("link `{link}` makes writable copies: there is nothing to promote or to reverse")]
    WritableCopies {
        /// Name of the link.
        link: String,
    },
}

impl Link {
    /// Promotes mirror topics: each becomes writable once nothing is missing and groups' offsets are carried over.
    /// Records that the source takes later are not copied: fence its producers first.
    ///
    /// # Errors
    /// When the clusters do not reach each other, a topic is not of this link or does not follow its source, or the
    /// link makes writable copies. A link that breaks later leaves the topic pending.
    pub fn promote(
        &mut self,
        now: Time,
        a: &Cluster,
        b: &Cluster,
        topics: Topics<'_>,
    ) -> Result<(), LinkError> {
        self.refuse_writable_copies()?;
        if !self.reaches(a, b) {
            return Err(LinkError::SourceUnavailable { link: self.spec.name.clone() });
        }
        let names = self.select(
            topics,
            |phase| phase == Phase::Active,
            "only an ACTIVE topic can be promoted",
        )?;
        for name in names {
            self.set_phase(now, &name, Phase::Stopping(Purpose::Promotion));
        }
        self.wake(now);
        Ok(())
    }

    /// Makes mirror topics writable at once, whatever is missing; of MirrorMaker: ends the copying. Says what the
    /// source has acknowledged and the target does not have: the recovery point.
    ///
    /// # Errors
    /// When a topic is not of this link, or has been stopped.
    pub fn failover(
        &mut self,
        now: Time,
        a: &mut Cluster,
        b: &mut Cluster,
        topics: Topics<'_>,
    ) -> Result<Vec<Unreplicated>, LinkError> {
        let names =
            self.select(topics, |phase| phase != Phase::Stopped, "it is writable already")?;
        let mut missing = Vec::new();
        for name in names {
            self.stop(now, a, b, &name);
            missing.extend(self.unreplicated_of(a, b, &name));
        }
        Ok(missing)
    }

    /// Turns topics round: the former source becomes the mirror of the former mirror.
    ///
    /// Of a topic that was stopped (`truncate-and-restore`) the former source is cut off where the two part, and
    /// what was cut off is counted. One that follows its source (`reverse-and-start`) first synchronizes: the source
    /// takes no more writes from now on, and the change comes when nothing is missing.
    ///
    /// # Errors
    /// When the clusters do not reach each other, a topic is not of this link or in another state, or the link makes
    /// writable copies.
    pub fn reverse(
        &mut self,
        now: Time,
        a: &mut Cluster,
        b: &mut Cluster,
        topics: Topics<'_>,
    ) -> Result<Vec<Unreplicated>, LinkError> {
        self.refuse_writable_copies()?;
        if !self.reaches(a, b) {
            return Err(LinkError::SourceUnavailable { link: self.spec.name.clone() });
        }
        let fits = |phase| matches!(phase, Phase::Active | Phase::Stopped);
        let names = self.select(topics, fits, "only an ACTIVE or STOPPED topic can be reversed")?;
        let mut cut = Vec::new();
        for name in names {
            if self.topics[&name].phase == Phase::Stopped {
                cut.extend(self.turn_round(now, a, b, &name));
            } else {
                let topic = &self.topics[&name];
                let Pair { source, .. } = Pair::of(topic.direction, &mut *a, &mut *b);
                source.set_read_only(&topic.source, true);
                self.set_phase(now, &name, Phase::Stopping(Purpose::Reversal));
            }
        }
        self.wake(now);
        Ok(cut)
    }

    /// Pauses topics; what is on its way is dropped and fetched again later.
    ///
    /// # Errors
    /// When a topic is not of this link or does not follow its source.
    pub fn pause(
        &mut self,
        now: Time,
        a: &Cluster,
        b: &Cluster,
        topics: Topics<'_>,
    ) -> Result<(), LinkError> {
        let names = self.select(
            topics,
            |phase| phase == Phase::Active,
            "only an ACTIVE topic can be paused",
        )?;
        for name in names {
            self.drop_in_flight(a, b, &name);
            self.set_phase(now, &name, Phase::Paused);
        }
        Ok(())
    }

    /// Goes on after [`Self::pause`].
    ///
    /// # Errors
    /// When a topic is not of this link or not paused.
    pub fn resume(&mut self, now: Time, topics: Topics<'_>) -> Result<(), LinkError> {
        let names = self.select(
            topics,
            |phase| phase == Phase::Paused,
            "only a PAUSED topic can be resumed",
        )?;
        for name in names {
            self.set_phase(now, &name, Phase::Active);
        }
        self.wake(now);
        Ok(())
    }

    /// Stops what was to stop and misses nothing any more.
    pub(super) fn settle(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster) {
        let stopping = self.topics.iter().filter_map(|(name, topic)| match topic.phase {
            Phase::Stopping(purpose) => Some((name.clone(), purpose)),
            Phase::Active | Phase::Paused | Phase::Stopped | Phase::Failed => None,
        });
        for (name, purpose) in stopping.collect::<Vec<_>>() {
            if !self.misses_nothing(a, b, &name) {
                continue;
            }
            self.sync_offsets_of(now, a, b, Some(&name));
            self.stop(now, a, b, &name);
            if purpose == Purpose::Reversal {
                self.turn_round(now, a, b, &name);
            }
        }
    }

    fn misses_nothing(&self, a: &Cluster, b: &Cluster, name: &TopicName) -> bool {
        let topic = &self.topics[name];
        let Pair { source, target } = Pair::of(topic.direction, a, b);
        (0..).zip(&topic.partitions).all(|(index, partition)| {
            let from = source.served_log(&topic.source, index);
            let to = target.served_log(&topic.mirror, index);
            let (Some(from), Some(to)) = (from, to) else { return false };
            partition.in_flight.is_empty() && to.end() >= from.high_watermark()
        })
    }

    /// Ends the copying of a topic and opens its mirror to producers.
    fn stop(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster, name: &TopicName) {
        self.drop_in_flight(a, b, name);
        let Some(topic) = self.topics.get_mut(name) else { return };
        let Pair { source, target } = Pair::of(topic.direction, a, b);
        if topic.phase == Phase::Stopping(Purpose::Reversal) {
            // A reversal that was begun had closed the source.
            source.set_read_only(&topic.source, false);
        }
        if matches!(self.spec.mode, Mode::ClusterLinking(_)) {
            target.set_read_only(&topic.mirror, false);
            for (index, partition) in (0..).zip(&mut topic.partitions) {
                partition.fork =
                    target.log_of(&topic.mirror, index).map(super::super::log::Log::end);
            }
        }
        self.set_phase(now, name, Phase::Stopped);
    }

    /// Makes the former source follow the former mirror. What it had to itself is cut off and counted.
    fn turn_round(
        &mut self,
        now: Time,
        a: &mut Cluster,
        b: &mut Cluster,
        name: &TopicName,
    ) -> Vec<Unreplicated> {
        let Some(topic) = self.topics.get_mut(name) else { return Vec::new() };
        let Pair { source: former, target: leading } = Pair::of(topic.direction, a, b);
        let mut cuts = Vec::new();
        for (index, partition) in (0..).zip(&mut topic.partitions) {
            let logs = (former.log_of(&topic.source, index), leading.log_of(&topic.mirror, index));
            let (Some(old), Some(new)) = logs else { continue };
            let to = common_end(old, new);
            let confirmed = count_records(old, to, old.high_watermark());
            let records = count_records(old, to, old.end());
            let cut_off = partition.cut_off + records;
            *partition = MirrorPartition { cut_off, ..MirrorPartition::at(to) };
            former.truncate_log(&topic.source, index, to);
            let cut = Unreplicated {
                topic: name.to_string(),
                partition: index,
                from: to,
                records: confirmed,
                unconfirmed: records.saturating_sub(confirmed),
            };
            if records > 0 {
                let topic = name.to_string();
                self.events.note(LinkEvent::CutOff {
                    at: now,
                    topic,
                    partition: index,
                    to,
                    records,
                });
                cuts.push(cut);
            }
        }
        former.set_read_only(&topic.source, true);
        std::mem::swap(&mut topic.source_id, &mut topic.mirror_id);
        topic.direction = topic.direction.reversed();
        self.set_phase(now, name, Phase::Active);
        if self.topics.values().all(|topic| topic.direction != self.direction) {
            self.direction = self.direction.reversed();
        }
        self.wake(now);
        cuts
    }

    fn drop_in_flight(&mut self, a: &Cluster, b: &Cluster, name: &TopicName) {
        if let Some(topic) = self.topics.get_mut(name) {
            let target = Pair::of(topic.direction, a, b).target;
            let bytes = topic.forget_in_flight(target, &self.spec.mode);
            self.wire.received(bytes);
        }
    }

    fn refuse_writable_copies(&self) -> Result<(), LinkError> {
        match self.spec.mode {
            Mode::ClusterLinking(_) => Ok(()),
            Mode::MirrorMaker(_) => Err(LinkError::WritableCopies { link: self.spec.name.clone() }),
        }
    }

    fn select(
        &self,
        topics: Topics<'_>,
        fits: impl Fn(Phase) -> bool,
        remedy: &'static str,
    ) -> Result<Vec<TopicName>, LinkError> {
        match topics {
            Topics::All => {
                let fitting = self.topics.iter().filter(|(_, topic)| fits(topic.phase));
                Ok(fitting.map(|(name, _)| name.clone()).collect())
            }
            Topics::Named(names) => {
                names.iter().map(|name| self.select_one(name, &fits, remedy)).collect()
            }
        }
    }

    fn select_one(
        &self,
        name: &str,
        fits: impl Fn(Phase) -> bool,
        remedy: &'static str,
    ) -> Result<TopicName, LinkError> {
        let found = self.topics.iter().find(|(known, _)| known.as_str() == name);
        let (known, topic) =
            found.ok_or_else(|| LinkError::UnknownTopic { topic: name.to_owned() })?;
        if !fits(topic.phase) {
            return Err(LinkError::WrongState {
                topic: name.to_owned(),
                state: topic.phase.state(),
                remedy,
            });
        }
        Ok(known.clone())
    }
}
