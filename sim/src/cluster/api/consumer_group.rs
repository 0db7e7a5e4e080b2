//! ConsumerGroupHeartbeat, ConsumerGroupDescribe.

use std::collections::BTreeMap;

use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
        ConsumerGroupHeartbeatResponse, GroupId, TopicName,
        consumer_group_describe_response as describe,
        consumer_group_heartbeat_response as heartbeat,
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        group::{
            Members, Refusal, Rules,
            assignor::{Assignment, Assignor},
            consumer::{
                Beat, ConsumerGroup, Heartbeat, JOINING, LEAVING, LEAVING_FOR_A_WHILE, Member,
                Pattern, PatternChange,
            },
            own,
        },
        short_id,
        time::millis,
        versions::Profile,
    },
    Context, Reply,
};

/// From which version on members make their ids themselves.
const CLIENT_MAKES_IDS: i16 = 1;
/// A member of the KIP-848 protocol, as ConsumerGroupDescribe numbers it.
const MODERN_MEMBER: i8 = 1;

impl Cluster {
    pub(super) fn consumer_group_heartbeat(
        &mut self,
        context: &Context,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Reply<ConsumerGroupHeartbeatResponse> {
        let result = self
            .check_group(context.now, context.broker, &request.group_id)
            .map_err(|error| Refusal::new(error, ""))
            .and_then(|()| check(context.version(), &request))
            .and_then(|()| match request.member_epoch {
                LEAVING | LEAVING_FOR_A_WHILE => self.leave_consumer_group(&request),
                _ => self.beat(context, &request),
            });
        self.finish_group(context.now, &request.group_id, Vec::new());
        Reply::Now(result.unwrap_or_else(|refusal| {
            let message = (!refusal.message.is_empty()).then_some(refusal.message);
            ConsumerGroupHeartbeatResponse::default()
                .with_error_code(refusal.error.code())
                .with_error_message(message.map(StrBytes::from_string))
        }))
    }

    fn leave_consumer_group(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = &request.group_id;
        let Some(group) = self.groups.get_mut(id) else {
            let message = format!("Group {} not found.", id.0);
            return Err(Refusal::new(ResponseError::GroupIdNotFound, message));
        };
        let Members::Consumer(members) = &mut group.members else {
            let message = format!("Group {} is not a consumer group.", id.0);
            return Err(Refusal::new(ResponseError::GroupIdNotFound, message));
        };
        let (member, epoch) = (&request.member_id, request.member_epoch);
        members.leave(member, request.instance_id.as_ref(), epoch)?;
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(member.clone()))
            .with_member_epoch(epoch))
    }

    fn beat(
        &mut self,
        context: &Context,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let rules = Rules::new(&self.settings);
        let member_id = if request.member_id.is_empty() {
            StrBytes::from_string(short_id(self.new_member_uuid().as_u128()))
        } else {
            own(&request.member_id)
        };
        let beat = self.read_beat(context, request, member_id.clone())?;
        let id = &request.group_id;
        let joins = beat.epoch == JOINING;
        let group = self.groups.consumer_to_join(id, context.broker, joins)?;
        let result = group.heartbeat(context.now, &rules, &self.topics, beat);
        if result.is_err() {
            self.groups.remove_unborn(id);
        }
        let Beat { epoch, assignment } = result?;
        let interval = self.settings.int("group.consumer.heartbeat.interval.ms");
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(member_id))
            .with_member_epoch(epoch)
            .with_heartbeat_interval_ms(i32::try_from(interval).unwrap_or(i32::MAX))
            .with_assignment(assignment.map(|assignment| {
                let partitions = assignment.into_iter().map(|(topic, partitions)| {
                    heartbeat::TopicPartitions::default()
                        .with_topic_id(topic)
                        .with_partitions(partitions.into_iter().collect())
                });
                heartbeat::Assignment::default().with_topic_partitions(partitions.collect())
            })))
    }

    /// Copies what the group is to keep.
    fn read_beat(
        &self,
        context: &Context,
        request: &ConsumerGroupHeartbeatRequest,
        member_id: StrBytes,
    ) -> Result<Heartbeat, Refusal> {
        let pattern = match &request.subscribed_topic_regex {
            None => PatternChange::Kept,
            Some(text) if text.is_empty() => PatternChange::Dropped,
            Some(text) => PatternChange::Set(Pattern::new(text).map_err(|error| {
                let message = format!(
                    "SubscribedTopicRegex `{text}` is not a valid regular expression: {error}."
                );
                Refusal::new(ResponseError::InvalidRegularExpression, message)
            })?),
        };
        let owned = request.topic_partitions.as_ref().map(|topics| {
            let mut owned = Assignment::new();
            for topic in topics {
                owned.entry(topic.topic_id).or_default().extend(topic.partitions.iter().copied());
            }
            owned
        });
        let topics = request.subscribed_topic_names.as_ref();
        let timeout = Some(request.rebalance_timeout_ms).filter(|timeout| *timeout != -1);
        Ok(Heartbeat {
            member_id,
            epoch: request.member_epoch,
            instance: request.instance_id.as_ref().map(own),
            rack: request.rack_id.as_ref().map(own),
            client_id: context.client_id.as_ref().map(own).unwrap_or_default(),
            client_host: self.client_host(context),
            rebalance_timeout: timeout.map(millis),
            topics: topics
                .map(|topics| topics.iter().map(|topic| TopicName(own(&topic.0))).collect()),
            pattern,
            assignor: request.server_assignor.as_deref().and_then(Assignor::named),
            owned,
        })
    }

    /// All that may be done with a group, as Kafka answers when nothing is forbidden: read, delete, describe and, from 4.0 on,
    /// its configurations.
    pub(super) fn group_operations(&self) -> i32 {
        const CONFIGS: i32 = 1 << 10 | 1 << 11;
        let configs = if self.profile >= Profile::Kafka41 { CONFIGS } else { 0 };
        1 << 3 | 1 << 6 | 1 << 8 | configs
    }

    pub(super) fn consumer_group_describe(
        &mut self,
        context: &Context,
        request: ConsumerGroupDescribeRequest,
    ) -> Reply<ConsumerGroupDescribeResponse> {
        let groups = request.group_ids.into_iter().map(|id| {
            let described = match self.describable(context, &id) {
                Ok(group) => self.describe_consumer_group(context.version(), group),
                Err(refusal) => describe::DescribedGroup::default()
                    .with_error_code(refusal.error.code())
                    .with_error_message(
                        // Kafka 3.9 leaves the error to its code.
                        (self.profile >= Profile::Kafka41 && !refusal.message.is_empty())
                            .then(|| StrBytes::from_string(refusal.message)),
                    ),
            };
            let found = described.error_code == 0;
            let described = described.with_group_id(id);
            if found && request.include_authorized_operations {
                described.with_authorized_operations(self.group_operations())
            } else {
                described
            }
        });
        let groups = groups.collect();
        Reply::Now(ConsumerGroupDescribeResponse::default().with_groups(groups))
    }

    fn describable(&self, context: &Context, id: &GroupId) -> Result<&ConsumerGroup, Refusal> {
        if id.is_empty() {
            return Err(Refusal::new(ResponseError::InvalidGroupId, ""));
        }
        self.coordinates(context.broker, id).map_err(|error| Refusal::new(error, ""))?;
        let not_found = |message| Err(Refusal::new(ResponseError::GroupIdNotFound, message));
        match self.groups.get(id).map(|group| &group.members) {
            None => not_found(format!("Group {} not found.", id.0)),
            Some(Members::Classic(_)) => {
                not_found(format!("Group {} is not a consumer group.", id.0))
            }
            Some(Members::Consumer(group)) => Ok(group),
        }
    }

    fn describe_consumer_group(
        &self,
        version: i16,
        group: &ConsumerGroup,
    ) -> describe::DescribedGroup {
        let members = group.members().map(|(id, member, target)| {
            let described = self.describe_member(member, target).with_member_id(id.clone());
            if version >= 1 { described.with_member_type(MODERN_MEMBER) } else { described }
        });
        describe::DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str(group.state()))
            .with_group_epoch(group.epoch())
            .with_assignment_epoch(group.target_epoch())
            .with_assignor_name(StrBytes::from_static_str(group.assignor().name()))
            .with_members(members.collect())
    }

    fn describe_member(&self, member: &Member, target: Option<&Assignment>) -> describe::Member {
        // Where there is none, Kafka says so by an empty one.
        let pattern = member.pattern.as_ref().map(|pattern| pattern.text().clone());
        let pattern = Some(pattern.unwrap_or_default());
        describe::Member::default()
            .with_instance_id(member.instance.clone())
            .with_rack_id(member.rack.clone())
            .with_member_epoch(member.epoch)
            .with_client_id(member.client_id.clone())
            .with_client_host(member.client_host.clone())
            .with_subscribed_topic_names(member.topics.iter().cloned().collect())
            .with_subscribed_topic_regex(pattern)
            .with_assignment(self.describe_assignment(&member.assigned))
            .with_target_assignment(self.describe_assignment(target.unwrap_or(&BTreeMap::new())))
    }

    /// Topics that are gone are left out: nobody knows their names any more.
    fn describe_assignment(&self, assignment: &Assignment) -> describe::Assignment {
        let topics = assignment.iter().filter_map(|(id, partitions)| {
            let name = self.topics.name_of(*id)?;
            let topic = describe::TopicPartitions::default()
                .with_topic_id(*id)
                .with_topic_name(name.clone())
                .with_partitions(partitions.iter().copied().collect());
            Some(topic)
        });
        describe::Assignment::default().with_topic_partitions(topics.collect())
    }
}

/// Whether a request is one that a member can mean.
fn check(version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ResponseError::InvalidRequest, message));
    let is_blank = |text: Option<&StrBytes>| text.is_some_and(|text| text.trim().is_empty());
    let no_id = request.member_id.trim().is_empty();
    if version >= CLIENT_MAKES_IDS && no_id {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_blank(request.instance_id.as_ref()) {
        return invalid("InstanceId can't be empty.");
    }
    if is_blank(request.rack_id.as_ref()) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        LEAVING | 1.. if no_id => return invalid("MemberId can't be empty."),
        LEAVING | 1.. => {}
        JOINING => check_joining(request)?,
        LEAVING_FOR_A_WHILE if no_id => return invalid("MemberId can't be empty."),
        LEAVING_FOR_A_WHILE if request.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        LEAVING_FOR_A_WHILE => {}
        ..LEAVING_FOR_A_WHILE => return invalid("MemberEpoch is invalid."),
    }
    if let Some(name) = &request.server_assignor
        && Assignor::named(name).is_none()
    {
        let message =
            format!("ServerAssignor {name} is not supported. Supported assignors: uniform, range.");
        return Err(Refusal::new(ResponseError::UnsupportedAssignor, message));
    }
    Ok(())
}

fn check_joining(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ResponseError::InvalidRequest, message));
    if request.rebalance_timeout_ms == -1 {
        return invalid("RebalanceTimeoutMs must be provided in first request.");
    }
    if request.topic_partitions.as_ref().is_none_or(|topics| !topics.is_empty()) {
        return invalid("TopicPartitions must be empty when (re-)joining.");
    }
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        );
    }
    Ok(())
}
