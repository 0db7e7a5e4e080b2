//! Topics of the source: which get a copy, and what of them is followed.

use kafka_protocol::{messages::TopicName, protocol::StrBytes};

use super::{
    super::{Cluster, time::Time},
    Link, LinkError, LinkEvent, Pair,
    access::Shape,
    spec::{Mode, Naming},
    topic::{MirrorPartition, MirrorTopic, Phase},
};

/// Settings that a mirror topic has for itself: where its replicas are and what its cluster asks of them.
/// MirrorMaker 2 leaves these and [`TIMESTAMP_SETTINGS`] out by default (`config.properties.exclude`).
const OWN_SETTINGS: [&str; 4] = [
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "min.insync.replicas",
    "unclean.leader.election.enable",
];
const TIMESTAMP_SETTINGS: [&str; 2] =
    ["message.timestamp.difference.max.ms", "message.timestamp.type"];

impl Link {
    /// Makes a mirror of one topic now, whatever the filter says.
    ///
    /// # Errors
    /// When the source has no such topic or cannot be reached, or the target has one of that name already or
    /// refuses to make one.
    pub fn create_mirror(
        &mut self,
        now: Time,
        a: &mut Cluster,
        b: &mut Cluster,
        topic: &str,
    ) -> Result<(), LinkError> {
        if !self.reaches(a, b) {
            return Err(LinkError::SourceUnavailable { link: self.spec.name.clone() });
        }
        self.add_topic(now, a, b, &TopicName(StrBytes::from_string(topic.to_owned())))
    }

    /// Looks at the topics of both clusters.
    pub(super) fn discover(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster) {
        let source = Pair::of(self.direction, &mut *a, &mut *b).source;
        let found = source.topic_names();
        for name in found {
            let wanted = self.spec.topics.fits(&name) && !is_internal(&name, &self.spec.mode);
            if wanted && !self.topics.contains_key(&name) {
                // A name that is taken on the target is left alone, and looked at again the next time.
                let _ = self.add_topic(now, a, b, &name);
            }
        }
        let names: Vec<_> = self.topics.keys().cloned().collect();
        for name in names {
            self.follow_topic(now, a, b, &name);
        }
    }

    fn add_topic(
        &mut self,
        now: Time,
        a: &mut Cluster,
        b: &mut Cluster,
        name: &TopicName,
    ) -> Result<(), LinkError> {
        let topic = || name.to_string();
        if self.topics.contains_key(name) {
            return Err(LinkError::TopicExists { topic: topic() });
        }
        let Pair { source, target } = Pair::of(self.direction, &mut *a, &mut *b);
        let mut shape =
            source.shape_of(name).ok_or_else(|| LinkError::UnknownTopic { topic: topic() })?;
        self.keep_own_settings(&mut shape);
        let mirror = self.mirror_name(name);
        let read_only = matches!(self.spec.mode, Mode::ClusterLinking(_));
        if target.shape_of(&mirror).is_some() {
            if read_only {
                return Err(LinkError::TopicExists { topic: topic() });
            }
            target.grow_copy(&mirror, &shape);
        } else {
            target
                .create_copy(&mirror, &shape, read_only)
                .map_err(|error| LinkError::Refused { topic: topic(), error })?;
        }
        let partitions = (0..shape.partitions).map(|_| MirrorPartition::at(0));
        let topic = MirrorTopic {
            source: name.clone(),
            mirror: mirror.clone(),
            source_id: shape.id,
            mirror_id: target.shape_of(&mirror).map_or(shape.id, |copy| copy.id),
            direction: self.direction,
            phase: Phase::Active,
            partitions: partitions.collect(),
        };
        self.events.note(LinkEvent::Created { at: now, topic: topic.mirror.to_string() });
        self.topics.insert(name.clone(), topic);
        Ok(())
    }

    /// Follows what has become of one topic: its id, its partitions, its settings.
    fn follow_topic(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster, name: &TopicName) {
        let Some(topic) = self.topics.get(name) else { return };
        let Pair { source, target } = Pair::of(topic.direction, &mut *a, &mut *b);
        if target.shape_of(&topic.mirror).is_none_or(|copy| copy.id != topic.mirror_id) {
            // Deleted on the target: that ends the mirror. Where the filter wants it, it is made anew.
            if let Some(mut topic) = self.topics.remove(name) {
                let bytes: usize =
                    topic.partitions.iter_mut().map(|partition| partition.rewind(0)).sum();
                self.wire.received(bytes);
            }
            return;
        }
        if matches!(topic.phase, Phase::Stopped | Phase::Failed) {
            return;
        }
        let shape = source.shape_of(&topic.source);
        let Some(mut shape) = shape.filter(|shape| shape.id == topic.source_id) else {
            if matches!(self.spec.mode, Mode::ClusterLinking(_)) {
                self.set_phase(now, name, Phase::Failed);
            }
            return;
        };
        self.keep_own_settings(&mut shape);
        let mirror = topic.mirror.clone();
        target.grow_copy(&mirror, &shape);
        if let Some(topic) = self.topics.get_mut(name) {
            let known = topic.partitions.len();
            topic.partitions.extend((known..shape.partitions).map(|_| MirrorPartition::at(0)));
        }
        let mut configs = target.shape_of(&mirror).map(|shape| shape.configs).unwrap_or_default();
        configs.retain(|setting, _| self.is_own_setting(setting));
        configs.extend(shape.configs);
        target.set_configs(&mirror, &configs);
    }

    fn keep_own_settings(&self, shape: &mut Shape) {
        shape.configs.retain(|setting, _| !self.is_own_setting(setting));
    }

    fn is_own_setting(&self, setting: &str) -> bool {
        let timestamps = matches!(self.spec.mode, Mode::MirrorMaker(_));
        OWN_SETTINGS.contains(&setting) || (timestamps && TIMESTAMP_SETTINGS.contains(&setting))
    }

    fn mirror_name(&self, name: &TopicName) -> TopicName {
        match &self.spec.mode {
            Mode::MirrorMaker(maker) => match &maker.naming {
                Naming::Identity => name.clone(),
                Naming::Prefixed(alias) => {
                    TopicName(StrBytes::from_string(format!("{alias}.{}", name.as_str())))
                }
            },
            Mode::ClusterLinking(_) => name.clone(),
        }
    }
}

/// Topics that no filter asks for: Kafka's own, and those of MirrorMaker (`topics.exclude`).
fn is_internal(name: &str, mode: &Mode) -> bool {
    let of_maker = [".internal", "-internal", ".replica"].iter().any(|end| name.ends_with(end));
    name.starts_with("__") || (matches!(mode, Mode::MirrorMaker(_)) && of_maker)
}
