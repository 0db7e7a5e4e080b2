//! Topics that come, grow and go.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, TopicName},
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    super::{
        Cluster,
        broker::Broker,
        coordinator::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC},
        topic::{Partition, Topic},
    },
    Refusal,
    placement::{Candidate, PlacementError, place},
};

/// The longest name of a topic.
const NAME_BYTES_MAX: usize = 249;
/// Partitions that one request may create: Kafka bounds the records of one operation so.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Partitions of all topics together, so that clients cannot fill the memory.
const PARTITIONS_MAX: usize = 200_000;

/// A topic that is asked for.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct NewTopic {
    /// −1: `num.partitions`.
    pub(in super::super) partitions: i32,
    /// −1: `default.replication.factor`.
    pub(in super::super) replicas: i16,
    /// Replicas by partition, where they are given.
    pub(in super::super) assignments: Vec<(i32, Vec<BrokerId>)>,
    pub(in super::super) configs: BTreeMap<String, Option<String>>,
}

/// A topic that has been created or could be.
pub(in super::super) struct CreatedTopic {
    pub(in super::super) id: Uuid,
    pub(in super::super) topic: Topic,
}

/// Whether Kafka keeps it for itself.
pub(in super::super) fn is_internal(name: &TopicName) -> bool {
    [OFFSETS_TOPIC, TRANSACTIONS_TOPIC].contains(&name.as_str())
}

/// Whether a topic may be called so; the text is Kafka's.
pub(in super::super) fn check_name(name: &str) -> Result<(), Refusal> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || [b'.', b'_', b'-'].contains(&byte);
    let fault = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.len() > NAME_BYTES_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {NAME_BYTES_MAX}")
        }
        _ if !name.bytes().all(known) => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ),
        _ => return Ok(()),
    };
    let text = format!("Topic name is invalid: {fault}");
    Err(Refusal::new(ResponseError::InvalidTopicException, text))
}

impl Cluster {
    /// Whether so many more partitions are too many for one request, or for the cluster.
    pub(in super::super) fn check_partition_count(&self, more: usize) -> Result<(), Refusal> {
        let all = self.topics.partition_count().saturating_add(more);
        if more >= PARTITIONS_PER_REQUEST_MAX || all > PARTITIONS_MAX {
            let text = "Excessively large number of partitions per request.";
            return Err(Refusal::new(ResponseError::PolicyViolation, text));
        }
        Ok(())
    }

    /// What a topic would be; nothing is changed, but for the id that is drawn.
    pub(in super::super) fn plan_topic(
        &mut self,
        name: &TopicName,
        new: &NewTopic,
    ) -> Result<CreatedTopic, Refusal> {
        check_name(name.as_str())?;
        if self.topics.get(name).is_some() {
            let text = format!("Topic '{}' already exists.", name.as_str());
            return Err(Refusal::new(ResponseError::TopicAlreadyExists, text));
        }
        self.check_collision(name)?;
        let configs = self.settings.check_topic_configs(&new.configs)?;
        let replicas = if new.assignments.is_empty() {
            self.place_topic(name, new)?
        } else {
            self.check_assignments(new)?
        };
        let partitions = self.partitions(0, replicas)?;
        let id = self.new_topic_id();
        Ok(CreatedTopic { id, topic: Topic::new(id, partitions, configs) })
    }

    /// Creates a topic.
    pub(in super::super) fn create_topic(
        &mut self,
        name: &TopicName,
        new: &NewTopic,
    ) -> Result<(), Refusal> {
        self.check_partition_count(usize::try_from(new.partitions).unwrap_or(1))?;
        let created = self.plan_topic(name, new)?;
        self.insert_topic(name, created.topic);
        Ok(())
    }

    /// Creates a topic that was planned. Its name is copied: it must not keep the request that it came in.
    pub(in super::super) fn insert_topic(&mut self, name: &TopicName, topic: Topic) {
        self.topics.insert(TopicName(StrBytes::from_string(name.to_string())), topic);
    }

    /// Adds partitions up to `count`.
    pub(in super::super) fn add_partitions(
        &mut self,
        name: &TopicName,
        count: i32,
        assignments: Option<&[Vec<BrokerId>]>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topics.get(name) else {
            return Err(Refusal { error: ResponseError::UnknownTopicOrPartition, message: None });
        };
        let existing = topic.partitions.len();
        let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        let wanted = usize::try_from(count).unwrap_or(0);
        let invalid = |text| Err(Refusal::new(ResponseError::InvalidPartitions, text));
        if wanted == existing {
            return invalid(format!("Topic already has {existing} partition(s)."));
        }
        if wanted < existing {
            return invalid(format!(
                "The topic {} currently has {existing} partition(s); {count} would not be an increase.",
                name.as_str()
            ));
        }
        let more = wanted - existing;
        self.check_partition_count(more)?;
        let replicas = match assignments {
            Some(given) if given.len() != more => {
                let text = format!(
                    "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                    given.len()
                );
                return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text));
            }
            Some(given) => {
                for replicas in given {
                    self.check_replicas(replicas, Some(factor))?;
                }
                given.to_vec()
            }
            None => self.place(name, existing, more, factor).map_err(|error| {
                Refusal::new(ResponseError::InvalidReplicationFactor, error.to_string())
            })?,
        };
        let new = self.partitions(existing, replicas)?;
        if !validate_only && let Some(topic) = self.topics.get_mut(name) {
            topic.partitions.extend(new);
        }
        Ok(())
    }

    /// Deletes a topic; `None`: there is none.
    pub(in super::super) fn delete_topic(&mut self, name: &TopicName) -> Option<Topic> {
        let topic = self.topics.remove(name)?;
        for (index, _) in (0..).zip(&topic.partitions) {
            self.leadership_changed(name, index);
        }
        self.forget_offsets_of(name);
        self.replace_internal_topic(name);
        Some(topic)
    }

    /// A topic that a client has named for the first time, where the settings allow it.
    pub(in super::super) fn create_topic_automatically(
        &mut self,
        name: &TopicName,
    ) -> Result<(), Refusal> {
        let new = NewTopic { partitions: -1, replicas: -1, ..NewTopic::default() };
        self.create_topic(name, &new)
    }

    /// Replicas for `partitions` partitions from `first` on.
    fn place(
        &self,
        name: &TopicName,
        first: usize,
        partitions: usize,
        replicas: usize,
    ) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
        let candidates = self.brokers.values().map(|broker| Candidate {
            id: broker.id,
            rack: broker.rack.clone(),
            active: broker.is_active(),
        });
        let stream = format!("{}/{}/{first}", self.name, name.as_str());
        let mut random = crate::random::stream(self.seed, "placement", &stream);
        place(&mut random, &candidates.collect::<Vec<_>>(), partitions, replicas)
    }

    /// Two names that differ only in `.` and `_` are one in Kafka's metrics.
    fn check_collision(&self, name: &TopicName) -> Result<(), Refusal> {
        let unified = |name: &str| name.replace('.', "_");
        if !name.as_str().contains(['.', '_']) {
            return Ok(());
        }
        let this = unified(name.as_str());
        match self.topics.iter().find(|(other, _)| unified(other.as_str()) == this) {
            None => Ok(()),
            Some((other, _)) => {
                let (name, other) = (name.as_str(), other.as_str());
                let text = format!("Topic '{name}' collides with existing topic: {other}");
                Err(Refusal::new(ResponseError::InvalidTopicException, text))
            }
        }
    }

    fn place_topic(&self, name: &TopicName, new: &NewTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        if new.replicas < -1 || new.replicas == 0 {
            let text = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ResponseError::InvalidReplicationFactor, text));
        }
        if new.partitions < -1 || new.partitions == 0 {
            let text = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ResponseError::InvalidPartitions, text));
        }
        let or_default = |given: i64, setting| match given {
            -1 => self.settings.int(setting),
            given => given,
        };
        let partitions = or_default(new.partitions.into(), "num.partitions");
        let replicas = or_default(new.replicas.into(), "default.replication.factor");
        let count = usize::try_from(partitions).unwrap_or(0);
        self.check_partition_count(count)?;
        self.place(name, 0, count, usize::try_from(replicas).unwrap_or(0)).map_err(|error| {
            let text = format!("Unable to replicate the partition {replicas} time(s): {error}");
            Refusal::new(ResponseError::InvalidReplicationFactor, text)
        })
    }

    fn check_assignments(&self, new: &NewTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        const GIVEN: &str = "A manual partition assignment was specified, but";
        if new.replicas != -1 {
            let text = format!("{GIVEN} replication factor was not set to -1.");
            return Err(Refusal::new(ResponseError::InvalidRequest, text));
        }
        if new.partitions != -1 {
            let text = format!("{GIVEN} numPartitions was not set to -1.");
            return Err(Refusal::new(ResponseError::InvalidRequest, text));
        }
        self.check_partition_count(new.assignments.len())?;
        let invalid = |text| Refusal::new(ResponseError::InvalidReplicaAssignment, text);
        let mut by_index = BTreeMap::new();
        let mut factor = None;
        for (index, replicas) in &new.assignments {
            if by_index.contains_key(index) {
                let text =
                    format!("Found multiple manual partition assignments for partition {index}");
                return Err(invalid(text));
            }
            self.check_replicas(replicas, factor)?;
            factor = Some(replicas.len());
            by_index.insert(*index, replicas.clone());
        }
        if !by_index.keys().zip(0..).all(|(index, expected)| *index == expected) {
            let text = "partitions should be a consecutive 0-based integer sequence".to_owned();
            return Err(invalid(text));
        }
        Ok(by_index.into_values().collect())
    }

    fn check_replicas(&self, replicas: &[BrokerId], factor: Option<usize>) -> Result<(), Refusal> {
        let invalid = |text: String| {
            let text = format!("The manual partition assignment includes {text}");
            Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text))
        };
        if replicas.is_empty() {
            return invalid("an empty replica list.".into());
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        let mut seen = BTreeSet::new();
        for id in sorted {
            if !self.brokers.contains_key(&id) {
                return invalid(format!("broker {}, but no such broker is registered.", id.0));
            }
            if !seen.insert(id) {
                return invalid(format!("the broker {} more than once.", id.0));
            }
        }
        match factor.filter(|factor| *factor != replicas.len()) {
            None => Ok(()),
            Some(factor) => invalid(format!(
                "a partition with {} replica(s), but this is not consistent with previous partitions, which have {factor} replica(s).",
                replicas.len()
            )),
        }
    }

    /// New partitions; whoever is away is not in their ISR.
    fn partitions(
        &self,
        first: usize,
        replicas: Vec<Vec<BrokerId>>,
    ) -> Result<Vec<Partition>, Refusal> {
        let each = (first..).zip(replicas).map(|(index, replicas)| {
            let active = |id: &&BrokerId| self.brokers.get(*id).is_some_and(Broker::is_active);
            let isr: Vec<_> = replicas.iter().filter(active).copied().collect();
            if isr.is_empty() {
                let text = format!(
                    "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
                );
                return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text));
            }
            let mut partition = Partition::new(replicas, isr);
            for id in &partition.replicas {
                if !partition.isr.contains(id) {
                    partition.log.replica_stopped(*id);
                }
            }
            Ok(partition)
        });
        each.collect()
    }

    pub(in super::super) fn new_topic_id(&mut self) -> Uuid {
        let name = format!("{}/{}", self.name, self.topics_created);
        self.topics_created += 1;
        Uuid::from_u128(crate::random::stream(self.seed, "topic-id", &name).u128(..))
    }
}
