//! ListGroups, DescribeGroups, DeleteGroups.

use std::collections::BTreeSet;

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
        DescribeGroupsResponse, GroupId, ListGroupsRequest, ListGroupsResponse,
        delete_groups_response::DeletableGroupResult,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
        list_groups_response::ListedGroup,
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        group::{
            Group, Members,
            classic::{CONSUMER, ClassicGroup},
        },
    },
    Context, Reply,
};

/// From which version on the answer has room for an error instead of the state of a dead group.
const SAYS_NOT_FOUND: i16 = 6;

impl Cluster {
    /// As [`Self::check_group`], for who only looks.
    pub(super) fn coordinates(&self, broker: BrokerId, id: &GroupId) -> Result<(), ResponseError> {
        match self.coordinator_of(&id.0) {
            None => Err(ResponseError::CoordinatorNotAvailable),
            Some(coordinator) if coordinator != broker => Err(ResponseError::NotCoordinator),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn list_groups(
        &mut self,
        context: &Context,
        request: ListGroupsRequest,
    ) -> Reply<ListGroupsResponse> {
        let lowercase = |names: Vec<StrBytes>| -> Vec<String> {
            names.iter().map(|name| name.to_lowercase().trim().to_owned()).collect()
        };
        let states = lowercase(request.states_filter);
        let types = lowercase(request.types_filter);
        let groups = self.groups.iter().filter(|(id, group)| {
            self.coordinates(context.broker, id).is_ok()
                && (states.is_empty() || states.contains(&group.state().to_lowercase()))
                && (types.is_empty() || types.iter().any(|wanted| wanted == type_of(group)))
        });
        let groups = groups.map(|(id, group)| {
            let listed = ListedGroup::default().with_group_id(id.clone()).with_protocol_type(
                match &group.members {
                    Members::Classic(members) => members.protocol_type(),
                    Members::Consumer(_) => StrBytes::from_static_str(CONSUMER),
                },
            );
            listed
                .with_group_state(StrBytes::from_static_str(group.state()))
                .with_group_type(StrBytes::from_static_str(type_of(group)))
        });
        Reply::Now(ListGroupsResponse::default().with_groups(groups.collect()))
    }

    pub(super) fn describe_groups(
        &mut self,
        context: &Context,
        request: DescribeGroupsRequest,
    ) -> Reply<DescribeGroupsResponse> {
        let groups = request.groups.into_iter().map(|id| {
            if let Err(error) = self.coordinates(context.broker, &id) {
                return DescribedGroup::default().with_error_code(error.code()).with_group_id(id);
            }
            let described = match self.groups.get(&id).map(|group| &group.members) {
                Some(Members::Classic(group)) => describe(group),
                Some(Members::Consumer(_)) => {
                    let message = format!("Group {} is not a classic group.", id.0);
                    dead(context.version(), message)
                }
                None => dead(context.version(), format!("Group {} not found.", id.0)),
            };
            let described = described.with_group_id(id);
            if described.error_code == 0 && request.include_authorized_operations {
                described.with_authorized_operations(self.group_operations())
            } else {
                described
            }
        });
        Reply::Now(DescribeGroupsResponse::default().with_groups(groups.collect()))
    }

    pub(super) fn delete_groups(
        &mut self,
        context: &Context,
        request: DeleteGroupsRequest,
    ) -> Reply<DeleteGroupsResponse> {
        let mut named = BTreeSet::new();
        let groups = request.groups_names.into_iter().filter(|id| named.insert(id.clone()));
        let groups: Vec<_> = groups.collect();
        let results = groups.into_iter().map(|id| {
            let result = self.delete_group(context, &id);
            DeletableGroupResult::default()
                .with_error_code(result.err().map_or(0, |error| error.code()))
                .with_group_id(id)
        });
        let results = results.collect();
        Reply::Now(DeleteGroupsResponse::default().with_results(results))
    }

    fn delete_group(&mut self, context: &Context, id: &GroupId) -> Result<(), ResponseError> {
        self.check_group(context.now, context.broker, id)?;
        let group = self.groups.get(id).ok_or(ResponseError::GroupIdNotFound)?;
        if !group.is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        self.groups.remove(id);
        self.finish_group(context.now, id, Vec::new());
        Ok(())
    }
}

fn type_of(group: &Group) -> &'static str {
    match &group.members {
        Members::Classic(_) => "classic",
        Members::Consumer(_) => "consumer",
    }
}

fn describe(group: &ClassicGroup) -> DescribedGroup {
    let members = group.describe().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(member.id.clone())
            .with_group_instance_id(member.instance.cloned())
            .with_client_id(member.client_id.clone())
            .with_client_host(member.client_host.clone())
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(group.state()))
        .with_protocol_type(group.protocol_type())
        .with_protocol_data(group.stable_protocol().cloned().unwrap_or_default())
        .with_members(members.collect())
}

/// A group that is not there, or of the other protocol.
fn dead(version: i16, message: String) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead"));
    if version >= SAYS_NOT_FOUND {
        dead.with_error_code(ResponseError::GroupIdNotFound.code())
            .with_error_message(Some(StrBytes::from_string(message)))
    } else {
        dead
    }
}
