//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
        leave_group_request::MemberIdentity, leave_group_response::MemberResponse,
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        group::{
            Answer, Members, Rules,
            classic::{ClassicGroup, Identity, Join, Sync},
            own,
            service::named_or_not,
        },
        time::{Time, millis},
        versions::Profile,
    },
    Context, Reply,
};

/// From which version on several members leave at once.
const BATCHED_LEAVE: i16 = 3;
/// From which version on a sync has to say which protocol it is for.
const NAMES_PROTOCOL: i16 = 5;

impl Cluster {
    pub(super) fn join_group(
        &mut self,
        context: &Context,
        request: JoinGroupRequest,
    ) -> Reply<JoinGroupResponse> {
        if let Err(error) = self.check_join(context, &request) {
            let mut response = JoinGroupResponse::default().with_error_code(error.code());
            if matches!(error, ResponseError::InvalidGroupId | ResponseError::InvalidSessionTimeout)
            {
                response.member_id = request.member_id;
            }
            return Reply::Now(named_or_not(context.version(), response));
        }
        let uuid = self.new_member_uuid();
        let rules = Rules::new(&self.settings);
        let id = request.group_id.clone();
        let is_new = request.member_id.is_empty();
        let join = self.read_join(context, request, uuid);
        let member_id = join.member_id.clone();
        match self.groups.classic_to_join(context.now, &id, context.broker, is_new) {
            Ok(group) => {
                let answers = group.join(context.now, &rules, join);
                self.finish_group(context.now, &id, answers);
            }
            Err(error) => {
                let response = JoinGroupResponse::default()
                    .with_error_code(error.code())
                    .with_member_id(member_id);
                self.finish_group(context.now, &id, vec![Answer::Join(context.ticket, response)]);
            }
        }
        Reply::Later
    }

    fn check_join(
        &mut self,
        context: &Context,
        request: &JoinGroupRequest,
    ) -> Result<(), ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let session = i64::from(request.session_timeout_ms);
        let shortest = self.settings.int("group.min.session.timeout.ms");
        let longest = self.settings.int("group.max.session.timeout.ms");
        if session < shortest || session > longest {
            return Err(ResponseError::InvalidSessionTimeout);
        }
        self.check_group(context.now, context.broker, &request.group_id)
    }

    /// Copies what the group is to keep.
    fn read_join(&self, context: &Context, request: JoinGroupRequest, uuid: uuid::Uuid) -> Join {
        let client_id = context.client_id.as_ref().map(own).unwrap_or_default();
        let prefix = request.group_instance_id.as_ref().unwrap_or(&client_id);
        let protocols = request
            .protocols
            .iter()
            .map(|protocol| (own(&protocol.name), Bytes::copy_from_slice(&protocol.metadata)));
        // Version 0 knows one timeout for both.
        let rebalance_timeout_ms = if context.version() == 0 {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        };
        Join {
            ticket: context.ticket,
            member_id: own(&request.member_id),
            new_id: StrBytes::from_string(format!("{prefix}-{uuid}")),
            instance: request.group_instance_id.as_ref().map(own),
            client_host: self.client_host(context),
            protocol_type: own(&request.protocol_type),
            protocols: protocols.collect(),
            session_timeout: millis(request.session_timeout_ms),
            rebalance_timeout: millis(rebalance_timeout_ms),
            client_id,
        }
    }

    /// As groups show it: `/127.0.0.1`.
    pub(super) fn client_host(&self, context: &Context) -> StrBytes {
        let connection = self.connections.get(&context.ticket.connection);
        connection
            .map(|connection| StrBytes::from_string(connection.host.clone()))
            .unwrap_or_default()
    }

    /// The classic group of a member that says to be in one.
    fn classic_group(
        &mut self,
        context: &Context,
        id: &kafka_protocol::messages::GroupId,
    ) -> Result<&mut ClassicGroup, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_group(context.now, context.broker, id)?;
        match self.groups.get_mut(id).map(|group| &mut group.members) {
            Some(Members::Classic(group)) => Ok(group),
            Some(Members::Consumer(_)) | None => Err(ResponseError::UnknownMemberId),
        }
    }

    pub(super) fn sync_group(
        &mut self,
        context: &Context,
        request: SyncGroupRequest,
    ) -> Reply<SyncGroupResponse> {
        let id = request.group_id.clone();
        let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
        let group = if context.version() >= NAMES_PROTOCOL && unnamed {
            Err(ResponseError::InconsistentGroupProtocol)
        } else {
            self.classic_group(context, &id)
        };
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                return Reply::Now(SyncGroupResponse::default().with_error_code(error.code()));
            }
        };
        let assignments = request.assignments.iter().map(|assignment| {
            (own(&assignment.member_id), Bytes::copy_from_slice(&assignment.assignment))
        });
        let sync = Sync {
            ticket: context.ticket,
            identity: Identity {
                member: &request.member_id,
                instance: request.group_instance_id.as_ref(),
            },
            generation: request.generation_id,
            protocol_type: request.protocol_type.as_ref(),
            protocol_name: request.protocol_name.as_ref(),
            assignments: assignments.collect(),
        };
        let answers = group.sync(context.now, sync);
        self.finish_group(context.now, &id, answers);
        Reply::Later
    }

    pub(super) fn heartbeat(
        &mut self,
        context: &Context,
        request: HeartbeatRequest,
    ) -> Reply<HeartbeatResponse> {
        let id = request.group_id.clone();
        let result = self.classic_group(context, &id).and_then(|group| {
            let instance = request.group_instance_id.as_ref();
            let identity = Identity { member: &request.member_id, instance };
            group.heartbeat(context.now, identity, request.generation_id)
        });
        self.finish_group(context.now, &id, Vec::new());
        let code = result.err().map_or(0, |error| error.code());
        Reply::Now(HeartbeatResponse::default().with_error_code(code))
    }

    pub(super) fn leave_group(
        &mut self,
        context: &Context,
        mut request: LeaveGroupRequest,
    ) -> Reply<LeaveGroupResponse> {
        let batched = context.version() >= BATCHED_LEAVE;
        if !batched {
            let only = MemberIdentity::default().with_member_id(request.member_id.clone());
            request.members = vec![only];
        }
        let response = match self.leave_members(context.now, context, &request) {
            Ok(members) => LeaveGroupResponse::default().with_members(members),
            Err(error) => LeaveGroupResponse::default().with_error_code(error.code()),
        };
        if batched {
            return Reply::Now(response);
        }
        let code = match response.members.first() {
            Some(member) => member.error_code,
            None => response.error_code,
        };
        Reply::Now(LeaveGroupResponse::default().with_error_code(code))
    }

    fn leave_members(
        &mut self,
        now: Time,
        context: &Context,
        request: &LeaveGroupRequest,
    ) -> Result<Vec<MemberResponse>, ResponseError> {
        let id = &request.group_id;
        let identities = request.members.iter().map(|member| Identity {
            member: &member.member_id,
            instance: member.group_instance_id.as_ref(),
        });
        let identities: Vec<_> = identities.collect();
        if id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_group(now, context.broker, id)?;
        let (results, answers) = match self.groups.get_mut(id).map(|group| &mut group.members) {
            Some(Members::Classic(group)) => group.leave(now, &identities),
            Some(Members::Consumer(group)) => {
                let results = identities.iter().map(|identity| match self.profile {
                    // It only takes this from members that speak the classic protocol, which none here does.
                    Profile::Kafka39 => group
                        .member_named(identity.member, identity.instance)
                        .and(Err(ResponseError::UnknownMemberId)),
                    Profile::Kafka41 => group.remove_member(identity.member, identity.instance),
                });
                (results.collect(), Vec::new())
            }
            // Then none of them is a member of it.
            None => (vec![Err(ResponseError::UnknownMemberId); identities.len()], Vec::new()),
        };
        self.finish_group(now, id, answers);
        let members = identities.iter().zip(results).map(|(identity, result)| {
            MemberResponse::default()
                .with_member_id(identity.member.clone())
                .with_group_instance_id(identity.instance.cloned())
                .with_error_code(result.err().map_or(0, |error| error.code()))
        });
        Ok(members.collect())
    }
}
