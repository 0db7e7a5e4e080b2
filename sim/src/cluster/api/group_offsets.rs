//! OffsetCommit, OffsetFetch, OffsetDelete, TxnOffsetCommit.

use kafka_protocol::{
    ResponseError,
    messages::{
        GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
        OffsetDeleteResponse, TopicName, TransactionalId, TxnOffsetCommitRequest,
        TxnOffsetCommitResponse,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
        txn_offset_commit_response::{
            TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
        },
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        group::{Members, classic::Identity, offsets::Committed, own},
        time::{Time, millis},
        transaction::{Membership, Producer},
    },
    Context, Reply,
};

/// From which version on members of KIP-848 groups may commit.
const KNOWS_EPOCHS: i16 = 9;

/// Who commits.
struct Committer<'a> {
    group: &'a GroupId,
    member: &'a StrBytes,
    instance: Option<&'a StrBytes>,
    /// A generation, or a member's epoch; negative: nobody's.
    generation: i32,
    /// The transaction that it is part of, by its id and its producer.
    transaction: Option<(&'a TransactionalId, Producer)>,
    /// An old client's own time for its offsets.
    expires_at: Option<Time>,
}

/// An offset that a client wants to commit.
struct Wanted<'a> {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&'a StrBytes>,
}

/// A topic's partitions and what has come of each, as error codes.
type Outcome = Vec<(TopicName, Vec<(i32, i16)>)>;

impl Cluster {
    pub(super) fn offset_commit(
        &mut self,
        context: &Context,
        request: OffsetCommitRequest,
    ) -> Reply<OffsetCommitResponse> {
        let retention = Some(request.retention_time_ms).filter(|retention| *retention != -1);
        let committer = Committer {
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_ref(),
            generation: request.generation_id_or_member_epoch,
            transaction: None,
            expires_at: retention.map(|retention| context.now + millis(retention)),
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| Wanted {
                partition: partition.partition_index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref(),
            });
            (&topic.name, partitions.collect())
        });
        let outcome = self.commit(context, &committer, topics.collect());
        let topics = outcome.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, code)| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition)
                    .with_error_code(code)
            });
            OffsetCommitResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        Reply::Now(OffsetCommitResponse::default().with_topics(topics.collect()))
    }

    pub(super) fn txn_offset_commit(
        &mut self,
        context: &Context,
        request: TxnOffsetCommitRequest,
    ) -> Reply<TxnOffsetCommitResponse> {
        let producer = Producer::new(request.producer_id, request.producer_epoch);
        let committer = Committer {
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_ref(),
            generation: request.generation_id,
            transaction: Some((&request.transactional_id, producer)),
            expires_at: None,
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| Wanted {
                partition: partition.partition_index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref(),
            });
            (&topic.name, partitions.collect())
        });
        let outcome = self.commit(context, &committer, topics.collect());
        let topics = outcome.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, code)| {
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition)
                    .with_error_code(code)
            });
            TxnOffsetCommitResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        Reply::Now(TxnOffsetCommitResponse::default().with_topics(topics.collect()))
    }

    /// Commits what is of partitions that exist. As in Kafka, the group is only asked when there is any.
    fn commit(
        &mut self,
        context: &Context,
        committer: &Committer<'_>,
        topics: Vec<(&TopicName, Vec<Wanted<'_>>)>,
    ) -> Outcome {
        let (mut outcome, mut valid) = (Outcome::new(), Vec::new());
        for (name, wanted) in topics {
            let (known, unknown): (Vec<_>, Vec<_>) = wanted
                .into_iter()
                .partition(|wanted| self.topics.partition(name, wanted.partition).is_some());
            let code = ResponseError::UnknownTopicOrPartition.code();
            let unknown = unknown.into_iter().map(|wanted| (wanted.partition, code)).collect();
            add_outcome(&mut outcome, name, unknown);
            if !known.is_empty() {
                valid.push((name, known));
            }
        }
        if valid.is_empty() {
            return outcome;
        }
        let allowed = self.check_committer(context, committer);
        let metadata_max = self.settings.int("offset.metadata.max.bytes");
        for (name, wanted) in valid {
            let done = wanted.into_iter().map(|wanted| {
                let result = allowed.and_then(|()| {
                    self.commit_one(context.now, committer, name, &wanted, metadata_max)
                });
                (wanted.partition, result.err().map_or(0, |error| error.code()))
            });
            let done = done.collect();
            add_outcome(&mut outcome, name, done);
        }
        self.finish_group(context.now, committer.group, Vec::new());
        outcome
    }

    fn check_committer(
        &mut self,
        context: &Context,
        committer: &Committer<'_>,
    ) -> Result<(), ResponseError> {
        let in_transaction = committer.transaction.is_some();
        if in_transaction && committer.group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_group(context.now, context.broker, committer.group)?;
        if let Some((id, producer)) = committer.transaction {
            let membership = Membership::of_offset_commit(context.version());
            self.verify_or_add_offsets_to_transaction(
                context.now,
                id,
                producer,
                committer.group,
                membership,
            )?;
        }
        let knows_epochs = context.version() >= KNOWS_EPOCHS;
        let not_found = if knows_epochs && !in_transaction {
            ResponseError::GroupIdNotFound
        } else {
            ResponseError::IllegalGeneration
        };
        let (now, generation) = (context.now, committer.generation);
        let group = self.groups.group_to_commit(
            now,
            committer.group,
            context.broker,
            generation,
            not_found,
        )?;
        match &mut group.members {
            Members::Classic(members) => {
                let identity = Identity { member: committer.member, instance: committer.instance };
                members.commit(now, identity, generation, in_transaction)
            }
            Members::Consumer(members) => {
                members.check_commit(committer.member, generation, in_transaction, knows_epochs)
            }
        }
    }

    fn commit_one(
        &mut self,
        now: Time,
        committer: &Committer<'_>,
        topic: &TopicName,
        wanted: &Wanted<'_>,
        metadata_max: i64,
    ) -> Result<(), ResponseError> {
        // Kafka counts as Java does: units of UTF-16.
        let length = wanted.metadata.map_or(0, |metadata| metadata.encode_utf16().count());
        if i64::try_from(length).unwrap_or(i64::MAX) > metadata_max {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        let number = self.groups.next_commit();
        let group = self.groups.get_mut(committer.group);
        let offsets = &mut group.ok_or(ResponseError::GroupIdNotFound)?.offsets;
        let offset = Committed {
            offset: wanted.offset,
            leader_epoch: wanted.leader_epoch,
            metadata: wanted.metadata.map(own).unwrap_or_default(),
            at: now,
            expires_at: committer.expires_at,
            number,
        };
        match committer.transaction {
            None => offsets.commit(topic, wanted.partition, offset),
            Some((_, producer)) if !offsets.has_room_for(producer.id) => {
                return Err(ResponseError::CoordinatorNotAvailable);
            }
            Some((_, producer)) => {
                offsets.commit_in_transaction(producer.id, topic, wanted.partition, offset);
            }
        }
        Ok(())
    }

    pub(super) fn offset_delete(
        &mut self,
        context: &Context,
        request: OffsetDeleteRequest,
    ) -> Reply<OffsetDeleteResponse> {
        if let Err(error) = self.check_offset_delete(context, &request.group_id) {
            return Reply::Now(OffsetDeleteResponse::default().with_error_code(error.code()));
        }
        let mut outcome = Outcome::new();
        // As in commits, what does not exist is said first.
        for exists in [false, true] {
            for topic in &request.topics {
                let partitions = topic.partitions.iter().map(|partition| partition.partition_index);
                let partitions = partitions.filter(|partition| {
                    self.topics.partition(&topic.name, *partition).is_some() == exists
                });
                let partitions: Vec<i32> = partitions.collect();
                let done = partitions.into_iter().map(|partition| {
                    let result = self.delete_offset(&request.group_id, &topic.name, partition);
                    (partition, result.err().map_or(0, |error| error.code()))
                });
                let done = done.collect();
                add_outcome(&mut outcome, &topic.name, done);
            }
        }
        let topics = outcome.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, code)| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition)
                    .with_error_code(code)
            });
            OffsetDeleteResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        Reply::Now(OffsetDeleteResponse::default().with_topics(topics.collect()))
    }

    fn check_offset_delete(
        &mut self,
        context: &Context,
        id: &GroupId,
    ) -> Result<(), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_group(context.now, context.broker, id)?;
        let group = self.groups.get(id).ok_or(ResponseError::GroupIdNotFound)?;
        match &group.members {
            Members::Classic(members) => members.check_offset_delete(),
            Members::Consumer(_) => Ok(()),
        }
    }

    fn delete_offset(
        &mut self,
        id: &GroupId,
        topic: &TopicName,
        partition: i32,
    ) -> Result<(), ResponseError> {
        if self.topics.partition(topic, partition).is_none() {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        let group = self.groups.get_mut(id).ok_or(ResponseError::GroupIdNotFound)?;
        if group.is_subscribed_to(topic) {
            return Err(ResponseError::GroupSubscribedToTopic);
        }
        group.offsets.delete(topic, partition);
        Ok(())
    }
}

/// Adds to what is said of a topic; a client may name one twice.
fn add_outcome(outcome: &mut Outcome, name: &TopicName, partitions: Vec<(i32, i16)>) {
    if partitions.is_empty() {
        return;
    }
    match outcome.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => known.extend(partitions),
        None => outcome.push((name.clone(), partitions)),
    }
}
