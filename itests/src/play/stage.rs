//! The clusters of a play, and what they have before anything happens.

use std::{collections::BTreeMap, fs, time::Duration};

use futures_util::future::try_join_all;
use kafka_protocol::{
    ResponseError,
    messages::{
        AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, ElectLeadersRequest,
        alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
        create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
        elect_leaders_request::TopicPartitions,
    },
    protocol::StrBytes,
};
use switchyard_sim::{
    cluster::versions::Profile,
    scenario::{
        Scenario,
        model::{self, Topic},
    },
};

use super::addresses::Addresses;
use crate::{
    Result,
    cluster::{Access, Cluster, Plan},
    eventually,
    version::Version,
    wire::{self, Connection, topic_name},
};

/// Memory of one broker with what the kernel keeps for it.
const BROKER_KIB: u64 = 400 << 10;
/// Memory for everything else of a play: MirrorMaker, the Java clients, the gateway.
const OTHERS_KIB: u64 = 1 << 20;
/// How long topics may take to have leaders.
const TOPIC_TIME_MAX: Duration = Duration::from_mins(1);
/// How long one round of elections may take.
const ELECTION_TIME_MAX: Duration = Duration::from_secs(20);

/// What the fake clusters have that the tests' clusters have otherwise: Kafka's own defaults.
const SETTINGS: [(&str, &str); 4] = [
    ("auto.create.topics.enable", "true"),
    ("broker.heartbeat.interval.ms", "2000"),
    ("broker.session.timeout.ms", "9000"),
    ("group.initial.rebalance.delay.ms", "3000"),
];

/// What the brokers of every play have otherwise than the fake clusters.
pub(super) const OTHERWISE: &str = "offsets and transaction state have 5 partitions instead of 50";

/// The nodes that each cluster gets, and a remark where these are not those of the scenario.
pub(super) fn nodes(scenario: &Scenario) -> (BTreeMap<String, Vec<i32>>, Vec<String>) {
    let wanted: usize = scenario.clusters.values().map(|cluster| cluster.brokers.len()).sum();
    let available = memory_available_kib().unwrap_or(u64::MAX);
    let fits = available >= OTHERS_KIB + BROKER_KIB * wanted as u64;
    let mut remarks = Vec::new();
    let nodes = scenario.clusters.iter().map(|(name, cluster)| {
        let all = cluster.brokers.len();
        let count = if fits { all } else { 1 };
        if count < all {
            let mib = available >> 10;
            remarks.push(format!(
                "{name} has 1 broker instead of {all}: {mib} MiB of memory are left"
            ));
        }
        (name.clone(), cluster.brokers.iter().take(count).copied().collect())
    });
    (nodes.collect(), remarks)
}

/// `MemAvailable` of this machine.
fn memory_available_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The version of Kafka that stands for a profile; `None`: the one under test.
pub(super) fn version(cluster: &model::Cluster) -> Result<Option<Version>> {
    Ok(match cluster.kafka {
        Profile::Kafka39 => Some(Version::named("3.9")?),
        Profile::Kafka41 => None,
    })
}

/// The cluster of a scenario as containers.
pub(super) fn plan(
    scenario: &Scenario,
    name: &str,
    nodes: &[i32],
    addresses: &Addresses,
) -> Result<Plan> {
    let cluster = &scenario.clusters[name];
    let version = version(cluster)?;
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut settings: BTreeMap<_, _> = SETTINGS.map(own).into();
    if version.is_some() {
        // Clusters of the profile offer the classic protocol alone, as Kafka 3.9 does unless it is told otherwise.
        settings.extend([own(("group.coordinator.rebalance.protocols", "classic"))]);
    }
    settings.extend(cluster.settings.clone());
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    Ok(Plan {
        id: format!("{:0<21}A", format!("play{plain}").chars().take(21).collect::<String>()),
        name: format!("play-{plain}"),
        nodes: nodes.to_vec(),
        access: Access::Behind(addresses.listeners(name)),
        version,
        settings,
    })
}

/// Makes the topics that a cluster has from the start, those included that a mirror is to fill. Gives what cannot be as in
/// the scenario.
pub(super) async fn furnish(
    scenario: &Scenario,
    name: &str,
    cluster: &Cluster,
) -> Result<Vec<String>> {
    let mirrored = |topic: &Topic| {
        let mirror = scenario.mirror.as_ref();
        mirror.is_some_and(|mirror| mirror.to == name && mirror.topics.contains(&topic.name))
    };
    let own: Vec<_> = scenario
        .topics
        .iter()
        .filter(|topic| topic.on.iter().any(|on| on == name) || mirrored(topic))
        .collect();
    let place = scenario.clusters.keys().position(|known| known == name).unwrap_or_default();
    let epochs = scenario.clusters[name].leader_epoch;
    let stage = Stage { cluster, place, topics: own };
    if stage.topics.is_empty() {
        return Ok(Vec::new());
    }
    stage.create(usize::try_from(epochs).unwrap_or_default()).await?;
    if epochs == 0 {
        return Ok(Vec::new());
    }
    if cluster.plan().nodes.len() < 2 {
        return Ok(vec![format!("leader epochs of {name} stay at 0: it has one broker")]);
    }
    stage.age_leaders(epochs).await?;
    Ok(Vec::new())
}

struct Stage<'a> {
    cluster: &'a Cluster,
    /// Which cluster it is: leaders of a topic are on other nodes than in the cluster before.
    place: usize,
    topics: Vec<&'a Topic>,
}

impl Stage<'_> {
    fn address(&self) -> String {
        let first = self.cluster.plan().nodes.first();
        first.map(|&node| self.cluster.address(node)).unwrap_or_default()
    }

    /// Replicas of a partition that is led by the node at some place.
    fn replicas(&self, topic: &Topic, partition: i32, place: usize) -> Vec<BrokerId> {
        let nodes = &self.cluster.plan().nodes;
        let first = self.place + place + usize::try_from(partition).unwrap_or_default();
        let count = usize::try_from(topic.replicas).unwrap_or(1).min(nodes.len());
        (0..count).map(|next| BrokerId(nodes[(first + next) % nodes.len()])).collect()
    }

    /// Creates the topics so that after so many moves of leaders each is where it belongs.
    async fn create(&self, moves: usize) -> Result<()> {
        let count = self.cluster.plan().nodes.len();
        let before = (count - moves % count) % count;
        let topic = |topic: &&Topic| {
            let assignment = |partition| {
                CreatableReplicaAssignment::default()
                    .with_partition_index(partition)
                    .with_broker_ids(self.replicas(topic, partition, before))
            };
            let config = |(name, value): (&String, &String)| {
                // What more replicas would have to do, fewer cannot.
                let fits = value.parse().is_ok_and(|wanted: usize| wanted > count);
                let value = if name == "min.insync.replicas" && fits {
                    count.to_string()
                } else {
                    value.clone()
                };
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_string(name.clone()))
                    .with_value(Some(StrBytes::from_string(value)))
            };
            CreatableTopic::default()
                .with_name(topic_name(&topic.name))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_assignments((0..topic.partitions).map(assignment).collect())
                .with_configs(topic.settings.iter().map(config).collect())
        };
        let request = CreateTopicsRequest::default()
            .with_topics(self.topics.iter().map(topic).collect())
            .with_timeout_ms(10_000);
        let answer = Connection::open(&self.address()).await?.ask(&request, 5).await?;
        for made in answer.topics {
            if let Some(error) = ResponseError::try_from_code(made.error_code) {
                return Err(format!("cannot create {}: {error}", made.name.0).into());
            }
        }
        try_join_all(self.topics.iter().map(|topic| self.await_leaders(topic))).await?;
        Ok(())
    }

    async fn await_leaders(&self, topic: &Topic) -> Result<()> {
        for &node in &self.cluster.plan().nodes {
            let address = self.cluster.address(node);
            let what = format!("leaders of {} on {}-{node}", topic.name, self.cluster.plan().name);
            eventually(&what, TOPIC_TIME_MAX, || async {
                let leaders = wire::leaders(&address, &topic.name).await.ok()?;
                let all = i32::try_from(leaders.len()).is_ok_and(|count| count == topic.partitions);
                (all && leaders.iter().all(|&(node, _)| node > 0)).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Moves every leader on until each partition has been through so many elections.
    async fn age_leaders(&self, elections: i32) -> Result<()> {
        let count = self.cluster.plan().nodes.len();
        let moves = usize::try_from(elections).unwrap_or_default();
        let before = (count - moves % count) % count;
        for moved in 1..=moves {
            self.move_leaders(before + moved, i32::try_from(moved)?).await?;
        }
        Ok(())
    }

    /// Makes the node at this place the leader of every partition.
    async fn move_leaders(&self, place: usize, epoch: i32) -> Result<()> {
        let mut reassign = AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000);
        let mut elect = ElectLeadersRequest::default().with_timeout_ms(10_000);
        let mut elected = Vec::new();
        for topic in &self.topics {
            let partition = |index| {
                ReassignablePartition::default()
                    .with_partition_index(index)
                    .with_replicas(Some(self.replicas(topic, index, place)))
            };
            let name = topic_name(&topic.name);
            reassign.topics.push(
                ReassignableTopic::default()
                    .with_name(name.clone())
                    .with_partitions((0..topic.partitions).map(partition).collect()),
            );
            let all = TopicPartitions::default().with_topic(name);
            elected.push(all.with_partitions((0..topic.partitions).collect()));
        }
        elect.topic_partitions = Some(elected);
        let mut connection = Connection::open(&self.address()).await?;
        let answer = connection.ask(&reassign, 0).await?;
        let codes = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let code = codes.map(|it| it.error_code).chain([answer.error_code]).find(|&code| code != 0);
        if let Some(code) = code {
            return Err(format!("AlterPartitionReassignments: error {code}").into());
        }
        // A controller that is not done with the reassignment answers with an error; the next try succeeds.
        eventually("elections of leaders", ELECTION_TIME_MAX, || async {
            Connection::open(&self.address()).await.ok()?.ask(&elect, 2).await.ok()?;
            for topic in &self.topics {
                let leaders = wire::leaders(&self.address(), &topic.name).await.ok()?;
                let led = |(index, &(node, reached)): (i32, &(i32, i32))| {
                    let wanted = self.replicas(topic, index, place);
                    reached >= epoch && wanted.first() == Some(&BrokerId(node))
                };
                if !(0..).zip(&leaders).all(led) {
                    return None;
                }
            }
            Some(())
        })
        .await
    }
}
