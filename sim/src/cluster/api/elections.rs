//! ElectLeaders.

use kafka_protocol::{
    ResponseError,
    messages::{
        ElectLeadersRequest, ElectLeadersResponse, TopicName,
        elect_leaders_response::{PartitionResult, ReplicaElectionResult},
    },
};

use super::{
    super::{
        Cluster,
        controller::{Election, Refusal},
    },
    Context, Reply,
};

impl Cluster {
    pub(super) fn elect_leaders_by_request(
        &mut self,
        _: &Context,
        request: ElectLeadersRequest,
    ) -> Reply<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Ok(Election::Preferred),
            1 => Ok(Election::Unclean),
            other => Err(Refusal::new(
                ResponseError::InvalidRequest,
                format!("Unknown election type {other}"),
            )),
        };
        let all = request.topic_partitions.is_none();
        let asked: Vec<(TopicName, Vec<i32>)> = match request.topic_partitions {
            Some(topics) => {
                topics.into_iter().map(|topic| (topic.topic, topic.partitions)).collect()
            }
            None if election.is_err() => Vec::new(),
            None => {
                let visible = self.topics.iter().filter(|(name, _)| self.is_visible(name));
                let each = visible.map(|(name, topic)| {
                    (name.clone(), (0..).zip(&topic.partitions).map(|(index, _)| index).collect())
                });
                each.collect()
            }
        };
        let mut response = ElectLeadersResponse::default()
            .with_error_code(election.as_ref().err().map_or(0, |refusal| refusal.error.code()));
        for (name, indexes) in asked {
            let mut results = Vec::new();
            for index in indexes {
                let elected = match &election {
                    Ok(election) => self.elect_leader(&name, index, *election),
                    Err(refusal) => Err(refusal.clone()),
                };
                let refusal = elected.err();
                let needless = refusal
                    .as_ref()
                    .is_some_and(|refusal| refusal.error == ResponseError::ElectionNotNeeded);
                if all && needless {
                    continue;
                }
                let error = refusal.as_ref().map_or(0, |refusal| refusal.error.code());
                results.push(
                    PartitionResult::default()
                        .with_partition_id(index)
                        .with_error_code(error)
                        .with_error_message(refusal.as_ref().and_then(Refusal::text)),
                );
            }
            let result = ReplicaElectionResult::default().with_topic(name);
            response.replica_election_results.push(result.with_partition_result(results));
        }
        Reply::Now(response)
    }
}
