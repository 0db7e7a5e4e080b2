//! What the cluster does about groups besides serving requests: timers, moves, and what a mirror needs.

use kafka_protocol::{
    ResponseError,
    messages::{BrokerId, GroupId, JoinGroupResponse, TopicName},
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{Answer, Members, Rules, classic::Identity, offsets::Committed};
use crate::cluster::{
    Cluster,
    sights::Sight,
    time::{Time, millis},
    timers::Timer,
};

impl Cluster {
    /// Whether this broker may speak for a group. What a coordinator before it only remembered is gone.
    pub(in crate::cluster) fn check_group(
        &mut self,
        now: Time,
        broker: BrokerId,
        id: &GroupId,
    ) -> Result<(), ResponseError> {
        match self.coordinator_of(&id.0) {
            None => Err(ResponseError::CoordinatorNotAvailable),
            Some(coordinator) if coordinator != broker => Err(ResponseError::NotCoordinator),
            Some(coordinator) => {
                self.move_group(now, id, coordinator);
                Ok(())
            }
        }
    }

    fn move_group(&mut self, now: Time, id: &GroupId, coordinator: BrokerId) {
        if self.groups.has_moved(id, coordinator) {
            let rules = Rules::new(&self.settings);
            let answers = self.groups.handle_move(now, &rules, id, coordinator);
            self.finish_group(now, id, answers);
        }
    }

    /// Brokers have come or gone: whoever waits at a coordinator that is none any more is told so.
    pub(in crate::cluster) fn groups_moved(&mut self, now: Time) {
        let ids: Vec<GroupId> = self.groups.iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(coordinator) = self.coordinator_of(&id.0) {
                self.move_group(now, &id, coordinator);
                self.finish_group(now, &id, Vec::new());
            }
        }
    }

    /// Sends what a group has answered, and sets its timer.
    pub(in crate::cluster) fn finish_group(
        &mut self,
        now: Time,
        id: &GroupId,
        answers: Vec<Answer>,
    ) {
        for answer in answers {
            match answer {
                Answer::Join(ticket, response) => {
                    self.answer(ticket, &named_or_not(ticket.api_version, response));
                }
                Answer::Sync(ticket, response) => self.answer(ticket, &response),
            }
        }
        match self.groups.get(id).map(super::Group::deadline) {
            Some(Some(deadline)) => self.timers.set(Timer::Group(id.clone()), deadline),
            Some(None) | None => self.timers.clear(&Timer::Group(id.clone())),
        }
        self.watch_offsets(now);
    }

    /// Looks at offsets' age for as long as there are groups.
    fn watch_offsets(&mut self, now: Time) {
        if !self.groups.is_empty() && !self.timers.is_set(&Timer::OffsetExpiry) {
            let interval = self.settings.int("offsets.retention.check.interval.ms").max(1);
            self.timers.set(Timer::OffsetExpiry, now + millis(interval));
        }
    }

    pub(in crate::cluster) fn group_is_due(&mut self, now: Time, id: &GroupId) {
        let Some(coordinator) = self.coordinator_of(&id.0) else {
            // Nobody is there to notice. The timer is set again when a broker is.
            return;
        };
        self.move_group(now, id, coordinator);
        let Some(group) = self.groups.get_mut(id) else { return };
        let members = group.member_count();
        let answers = group.handle_time(now);
        // Only silence takes a member away when nobody has asked for anything.
        if group.member_count() < members {
            self.see(|| Sight::MemberExpired { group: id.clone() });
        }
        self.finish_group(now, id, answers);
    }

    pub(in crate::cluster) fn offset_expiry_is_due(&mut self, now: Time) {
        let minutes = self.settings.int("offsets.retention.minutes");
        self.groups.expire(now, millis(minutes.saturating_mul(60_000)));
        self.watch_offsets(now);
    }

    /// An id for a new member, drawn from the cluster's seed.
    pub(in crate::cluster) fn new_member_uuid(&mut self) -> Uuid {
        let name = format!("{}/{}", self.name, self.groups.next_member());
        let bits = crate::random::stream(self.seed, "member-id", &name).u128(..);
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// Every offset that is committed, for a mirror to copy.
    pub(in crate::cluster) fn committed_offsets(
        &self,
    ) -> impl Iterator<Item = (&GroupId, &TopicName, i32, &Committed)> {
        self.groups.committed()
    }

    /// Writes an offset as an administrator does: it creates a group that is not there, and is refused while
    /// members are.
    ///
    /// # Errors
    /// Kafka's: `UNKNOWN_TOPIC_OR_PARTITION`, or `UNKNOWN_MEMBER_ID` for a group with members.
    pub(in crate::cluster) fn sync_offset(
        &mut self,
        now: Time,
        id: &GroupId,
        topic: &TopicName,
        partition: i32,
        offset: (i64, i32, &str),
    ) -> Result<(), ResponseError> {
        if self.topics.partition(topic, partition).is_none() {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        let coordinator = self.coordinator_of(&id.0);
        let coordinator = coordinator.ok_or(ResponseError::CoordinatorNotAvailable)?;
        let number = self.groups.next_commit();
        let not_found = ResponseError::GroupIdNotFound;
        let group = self.groups.group_to_commit(now, id, coordinator, -1, not_found)?;
        let nobody = StrBytes::default();
        match &mut group.members {
            Members::Classic(members) => {
                let identity = Identity { member: &nobody, instance: None };
                members.commit(now, identity, -1, false)?;
            }
            Members::Consumer(members) => members.check_commit(&nobody, -1, false, true)?,
        }
        let (offset, leader_epoch, metadata) = offset;
        let metadata = StrBytes::from_string(metadata.to_owned());
        let committed =
            Committed { offset, leader_epoch, metadata, at: now, expires_at: None, number };
        group.offsets.commit(topic, partition, committed);
        self.watch_offsets(now);
        Ok(())
    }

    /// A transaction has ended: what its producer has sent to groups is committed or forgotten.
    pub(in crate::cluster) fn end_group_transactions(&mut self, producer_id: i64, commit: bool) {
        self.groups.end_transaction(producer_id, commit);
    }

    /// A topic was deleted: its offsets go with it.
    pub(in crate::cluster) fn forget_offsets_of(&mut self, topic: &TopicName) {
        self.groups.forget_topic(topic);
    }
}

/// A protocol that is not chosen has an empty name before version 7, and none from there on.
pub(in crate::cluster) fn named_or_not(
    version: i16,
    mut response: JoinGroupResponse,
) -> JoinGroupResponse {
    let name = response.protocol_name.take().filter(|name| !name.is_empty());
    response.protocol_name = if version < 7 { Some(name.unwrap_or_default()) } else { name };
    response
}

#[cfg(test)]
mod tests;
