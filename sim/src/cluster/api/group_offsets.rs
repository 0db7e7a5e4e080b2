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
    /// Whose transaction it is part of.
    producer_id: Option<i64>,
    /// That transaction's id, and who its producer says it is.
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
            producer_id: None,
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

    /// Whether the transaction is open and covers the group is the transaction coordinator's to know.
    pub(super) fn txn_offset_commit(
        &mut self,
        context: &Context,
        request: TxnOffsetCommitRequest,
    ) -> Reply<TxnOffsetCommitResponse> {
        let committer = Committer {
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_ref(),
            generation: request.generation_id,
            producer_id: Some(request.producer_id.0),
            transaction: Some((
                &request.transactional_id,
                Producer { id: request.producer_id.0, epoch: request.producer_epoch },
            )),
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

    /// Whether the transaction's coordinator knows that the group is part of it. Only the group's own coordinator asks.
    fn check_transaction(
        &mut self,
        context: &Context,
        committer: &Committer<'_>,
    ) -> Result<(), ResponseError> {
        let Some((id, producer)) = committer.transaction else { return Ok(()) };
        if self.coordinator_of(&committer.group.0) != Some(context.broker) {
            return Ok(());
        }
        let membership = Membership::of_offset_commit(context.version());
        let (now, group) = (context.now, committer.group);
        self.verify_or_add_offsets_to_transaction(now, id, producer, group, membership)
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
        let allowed = self.check_transaction(context, committer);
        let allowed = allowed.and_then(|()| self.check_committer(context, committer));
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
        let in_transaction = committer.producer_id.is_some();
        if in_transaction && committer.group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_group(context.now, context.broker, committer.group)?;
        let knows_epochs = context.version() >= KNOWS_EPOCHS;
        let not_found = if knows_epochs && !in_transaction {
            ResponseError::GroupIdNotFound
        } else {
            ResponseError::IllegalGeneration
        };
        let (now, generation) = (context.now, committer.generation);
        let group =
            self.groups.to_commit(now, committer.group, context.broker, generation, not_found)?;
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
        let committed = Committed {
            offset: wanted.offset,
            leader_epoch: wanted.leader_epoch,
            metadata: wanted.metadata.map(own).unwrap_or_default(),
            at: now,
            expires_at: committer.expires_at,
            number,
        };
        match committer.producer_id {
            None => offsets.commit(topic, wanted.partition, committed),
            Some(producer) => {
                offsets.commit_in_transaction(producer, topic, wanted.partition, committed);
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
        let mut response = OffsetDeleteResponse::default();
        for topic in request.topics {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let result = self.delete_offset(&request.group_id, &topic.name, index);
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(result.err().map_or(0, |error| error.code()))
            });
            let partitions = partitions.collect();
            response.topics.push(
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name)
                    .with_partitions(partitions),
            );
        }
        Reply::Now(response)
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
