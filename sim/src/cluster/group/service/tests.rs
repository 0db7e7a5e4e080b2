#![expect(clippy::unwrap_used, reason = "tests")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
        DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
        LeaveGroupRequest, ListGroupsRequest, MetadataRequest, OffsetCommitRequest,
        OffsetDeleteRequest, OffsetFetchRequest, RequestHeader, ResponseHeader, SyncGroupRequest,
        TransactionalId, TxnOffsetCommitRequest, join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity, metadata_request::MetadataRequestTopic,
        offset_commit_request as commit, offset_delete_request as delete,
        offset_fetch_request as fetch, txn_offset_commit_request as txn,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request},
};
use proptest::prelude::*;

use super::*;
use crate::cluster::{
    BrokerId, ClusterSpec, ConnectionId, Output, transaction::Initialise, versions,
};

/// A cluster of three brokers with one topic, a clock, and a connection to the coordinator of group `g`.
struct Story {
    now: Time,
    cluster: Cluster,
    connection: ConnectionId,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text("g"))
}

fn topic() -> TopicName {
    TopicName(text("t"))
}

impl Story {
    /// Another broker leads what keeps the group.
    fn move_coordinator(&mut self) {
        let (topic, index) = self.cluster.offsets_partition("g");
        let partition = self.cluster.topics.partition_mut(&topic, index).unwrap();
        let leader = partition.leader;
        partition.leader = partition.replicas.iter().copied().find(|id| Some(*id) != leader);
        self.cluster.groups_moved(self.now);
    }

    fn new() -> Self {
        let mut cluster = Cluster::new(ClusterSpec::new("groups", 1, "127.0.0.1", 9092..9095));
        let broker = cluster.coordinator_of("g").unwrap();
        let connection = cluster.open(broker.0, "127.0.0.1").unwrap();
        let mut story = Self { now: Time::from_ms(1_000_000), cluster, connection };
        let wanted = MetadataRequestTopic::default().with_name(Some(topic()));
        story.ask(4, &MetadataRequest::default().with_topics(Some(vec![wanted])));
        story
    }

    fn send<Q: Request>(&mut self, version: i16, request: &Q) {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(text("client")))
            .encode(&mut frame, <Q as HeaderVersion>::header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        self.cluster.handle_frame(self.now, self.connection, frame.freeze());
    }

    /// The answer, once it is there.
    fn receive<Q: Request>(&mut self, version: i16) -> Option<Q::Response> {
        match self.cluster.poll_output()? {
            Output::Send { frame, .. } => {
                let mut body = frame.slice(4..);
                let header = <Q::Response as HeaderVersion>::header_version(version);
                ResponseHeader::decode(&mut body, header).unwrap();
                let response = Q::Response::decode(&mut body, version).unwrap();
                assert!(body.is_empty());
                Some(response)
            }
            Output::Close { cause, .. } => panic!("closed: {cause:?}"),
        }
    }

    fn ask<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        self.send(version, request);
        self.receive::<Q>(version).expect("answered at once")
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + millis(i64::try_from(ms).unwrap());
        while let Some(deadline) = self.cluster.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.cluster.handle_time(self.now);
        }
        self.now = end;
    }

    fn commit(&mut self, request: OffsetCommitRequest, offset: i64) -> i16 {
        let partition =
            commit::OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let wanted = commit::OffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition]);
        let request = request.with_group_id(group()).with_topics(vec![wanted]);
        self.ask(9, &request).topics[0].partitions[0].error_code
    }

    fn fetch(&mut self, stable: bool) -> (i64, i16) {
        let wanted = fetch::OffsetFetchRequestTopics::default()
            .with_name(topic())
            .with_partition_indexes(vec![0]);
        let asked = fetch::OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_topics(Some(vec![wanted]));
        let request =
            OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(stable);
        let response = self.ask(8, &request);
        let partition = &response.groups[0].topics[0].partitions[0];
        (partition.committed_offset, partition.error_code)
    }

    fn beat(&mut self, epoch: i32) -> i16 {
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text("m"))
            .with_member_epoch(epoch)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None);
        if epoch == 0 {
            request.rebalance_timeout_ms = 5_000;
            request.subscribed_topic_names = Some(vec![topic()]);
            request.topic_partitions = Some(Vec::new());
        }
        self.ask(1, &request).error_code
    }

    fn state(&mut self) -> String {
        let request = ListGroupsRequest::default();
        let groups = self.ask(5, &request).groups;
        let shown = groups.iter().map(|group| {
            format!("{} {} {}", group.group_id.0, group.group_type, group.group_state)
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

fn join(member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t"));
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

#[test]
fn offsets_of_a_simple_consumer_are_kept_until_their_retention() {
    let mut story = Story::new();
    assert_eq!(story.fetch(false), (-1, 0));
    assert_eq!(story.commit(OffsetCommitRequest::default(), 5), 0);
    assert_eq!(story.fetch(false), (5, 0));
    assert_eq!(story.state(), "g classic Empty");
    story.pass(7 * 24 * 3_600_000 - 1);
    assert_eq!(story.fetch(false), (5, 0));
    story.pass(600_000);
    assert_eq!(story.state(), "");
    assert_eq!(story.cluster.deadline(), None);
}

#[test]
fn group_is_of_the_broker_that_coordinates_it() {
    let mut story = Story::new();
    let right = story.cluster.coordinator_of("g").unwrap();
    let wrong = story.cluster.brokers.keys().find(|id| **id != right).unwrap().0;
    story.connection = story.cluster.open(wrong, "127.0.0.1").unwrap();
    let error = ResponseError::NotCoordinator.code();
    assert_eq!(story.ask(9, &join("")).error_code, error);
    assert_eq!(story.beat(0), error);
    assert_eq!(story.commit(OffsetCommitRequest::default(), 1), error);
    assert_eq!(story.ask(4, &HeartbeatRequest::default().with_group_id(group())).error_code, error);
    let found = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    assert_eq!(story.ask(4, &found).coordinators[0].node_id, right);
}

#[test]
fn group_survives_its_coordinator() {
    let mut story = Story::new();
    assert_eq!(story.commit(OffsetCommitRequest::default(), 5), 0);
    assert_eq!(story.beat(0), 0);
    story.move_coordinator();
    assert_eq!(story.beat(1), ResponseError::NotCoordinator.code());
    let second = story.cluster.coordinator_of("g").unwrap();
    story.connection = story.cluster.open(second.0, "127.0.0.1").unwrap();
    assert_eq!(story.fetch(false), (5, 0));
    assert_eq!(story.beat(1), 0);
}

#[test]
fn waiting_join_is_sent_away_when_the_coordinator_moves() {
    let mut story = Story::new();
    story.send(3, &join(""));
    story.move_coordinator();
    let answer = story.receive::<JoinGroupRequest>(3).unwrap();
    assert_eq!(answer.error_code, ResponseError::NotCoordinator.code());
}

/// An offset sync through an administrator's client makes such a group: members of the new protocol that were
/// moved here find it, and are told that it is none of theirs.
#[test]
fn empty_classic_group_becomes_a_consumer_group_when_a_member_joins_anew() {
    let mut story = Story::new();
    assert_eq!(story.commit(OffsetCommitRequest::default(), 5), 0);
    assert_eq!(story.beat(3), ResponseError::GroupIdNotFound.code());
    assert_eq!(story.beat(0), 0);
    assert_eq!(story.state(), "g consumer Stable");
    assert_eq!(story.fetch(false), (5, 0));
    assert_eq!(
        story.commit(OffsetCommitRequest::default(), 6),
        ResponseError::UnknownMemberId.code()
    );
    let classic = story.ask(9, &join(""));
    assert_eq!(classic.error_code, ResponseError::InconsistentGroupProtocol.code());
    assert_eq!(story.beat(-1), 0);
    assert_eq!(story.state(), "g consumer Empty");
    let classic = story.ask(9, &join(""));
    assert_eq!(classic.error_code, ResponseError::MemberIdRequired.code());
    assert_eq!(story.state(), "g classic Empty");
    assert_eq!(story.fetch(false), (5, 0));
}

#[test]
fn group_with_members_is_neither_deleted_nor_synced() {
    let mut story = Story::new();
    story.send(3, &join(""));
    story.pass(3_000);
    let member = story.receive::<JoinGroupRequest>(3).unwrap().member_id;
    let sync = (7, 2, "meta");
    let refused = story.cluster.sync_offset(story.now, &group(), &topic(), 0, sync);
    assert_eq!(refused, Err(ResponseError::UnknownMemberId));
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    let results = story.ask(2, &request).results;
    assert_eq!(results[0].error_code, ResponseError::NonEmptyGroup.code());
    let identity = MemberIdentity::default().with_member_id(member);
    let request = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![identity]);
    assert_eq!(story.ask(5, &request).members[0].error_code, 0);
    assert_eq!(story.cluster.sync_offset(story.now, &group(), &topic(), 0, sync), Ok(()));
    assert_eq!(story.fetch(false), (7, 0));
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(story.ask(2, &request).results[0].error_code, 0);
    assert_eq!(story.ask(2, &request).results[0].error_code, ResponseError::GroupIdNotFound.code());
}

#[test]
fn offset_of_a_transaction_is_unstable_until_it_ends() {
    let mut story = Story::new();
    let id = TransactionalId(text("t"));
    let initialise = Initialise { timeout: millis(60_000), expected: None };
    let producer =
        story.cluster.initialise_producer(story.now, BrokerId(1), &id, &initialise).unwrap();
    let partition = txn::TxnOffsetCommitRequestPartition::default().with_committed_offset(9);
    let wanted = txn::TxnOffsetCommitRequestTopic::default()
        .with_name(topic())
        .with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(id)
        .with_group_id(group())
        .with_producer_id(producer.wire_id())
        .with_producer_epoch(producer.epoch)
        .with_generation_id(-1)
        .with_topics(vec![wanted]);
    assert_eq!(story.ask(5, &request).topics[0].partitions[0].error_code, 0);
    assert_eq!(story.fetch(false), (-1, 0));
    assert_eq!(story.fetch(true), (-1, ResponseError::UnstableOffsetCommit.code()));
    story.cluster.end_group_transactions(producer.id, true);
    assert_eq!(story.fetch(true), (9, 0));
    story.cluster.forget_offsets_of(&topic());
    assert_eq!(story.fetch(true), (-1, 0));
}

#[test]
fn metadata_of_an_offset_is_limited() {
    let mut story = Story::new();
    for (length, code) in [(4096, 0), (4097, ResponseError::OffsetMetadataTooLarge.code())] {
        let partition = commit::OffsetCommitRequestPartition::default()
            .with_committed_metadata(Some(text(&"x".repeat(length))));
        let wanted = commit::OffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition]);
        let request =
            OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![wanted]);
        assert_eq!(story.ask(9, &request).topics[0].partitions[0].error_code, code);
    }
}

#[test]
fn offsets_of_topics_that_members_read_are_not_deleted() {
    let mut story = Story::new();
    assert_eq!(story.commit(OffsetCommitRequest::default(), 5), 0);
    let partitions = [1, 0]
        .map(|index| delete::OffsetDeleteRequestPartition::default().with_partition_index(index));
    let wanted = delete::OffsetDeleteRequestTopic::default()
        .with_name(topic())
        .with_partitions(partitions.to_vec());
    let request = OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![wanted]);
    assert_eq!(story.beat(0), 0);
    let codes = |story: &mut Story| {
        let response = story.ask(0, &request);
        let partitions = response.topics[0].partitions.iter();
        partitions.map(|partition| partition.error_code).collect::<Vec<_>>()
    };
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let subscribed = ResponseError::GroupSubscribedToTopic.code();
    assert_eq!(codes(&mut story), [unknown, subscribed]);
    assert_eq!(story.beat(-1), 0);
    assert_eq!(codes(&mut story), [unknown, 0]);
    assert_eq!(story.fetch(false), (-1, 0));
}

#[test]
fn group_that_is_not_there_is_dead_or_not_found() {
    let mut story = Story::new();
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let old = story.ask(5, &request).groups.remove(0);
    assert_eq!((old.error_code, &*old.group_state), (0, "Dead"));
    let new = story.ask(6, &request).groups.remove(0);
    assert_eq!(new.error_code, ResponseError::GroupIdNotFound.code());
}

#[test]
fn sync_of_the_newest_version_says_which_protocol_it_is_for() {
    let mut story = Story::new();
    let unnamed = SyncGroupRequest::default().with_group_id(group());
    let error = ResponseError::InconsistentGroupProtocol.code();
    assert_eq!(story.ask(5, &unnamed).error_code, error);
    let error = ResponseError::UnknownMemberId.code();
    assert_eq!(story.ask(4, &unnamed).error_code, error);
}

#[test]
fn administrator_removes_members_of_either_protocol() {
    let mut story = Story::new();
    assert_eq!(story.beat(0), 0);
    let members = ["m", "nobody"].map(|id| MemberIdentity::default().with_member_id(text(id)));
    let request =
        LeaveGroupRequest::default().with_group_id(group()).with_members(members.to_vec());
    let answer = story.ask(5, &request);
    assert_eq!(answer.members[0].error_code, 0);
    assert_eq!(answer.members[1].error_code, ResponseError::UnknownMemberId.code());
    assert_eq!(story.state(), "g consumer Empty");
    assert_eq!(story.beat(1), ResponseError::UnknownMemberId.code());
}

/// The seed decides over ids of members, and so over who reads what.
#[test]
fn same_seed_gives_the_same_member_ids() {
    let id = || Story::new().ask(9, &join("")).member_id;
    assert_eq!(id(), id());
}

/// Draws requests that make some sense, so that they get far.
struct Drawer(fastrand::Rng);

impl Drawer {
    fn text(&mut self) -> StrBytes {
        text(["", "g", "m", "h", "client-1", "range", "consumer", "("][self.0.usize(..8)])
    }

    fn some(&mut self) -> Option<StrBytes> {
        self.0.bool().then(|| self.text())
    }

    fn number(&mut self) -> i32 {
        [-2, -1, 0, 1, 2, 10_000, i32::MIN, i32::MAX][self.0.usize(..8)]
    }

    fn topic(&mut self) -> TopicName {
        TopicName(text(["t", "u"][self.0.usize(..2)]))
    }

    /// The body of a request; what a version lacks is left out.
    fn body(&mut self, key: ApiKey, version: i16) -> Option<Bytes> {
        let (group, member, instance) = (GroupId(self.text()), self.text(), self.some());
        let instance = instance.filter(|_| version >= 5);
        let body = match key {
            ApiKey::JoinGroup => {
                let mut request =
                    join(&member).with_group_id(group).with_group_instance_id(instance);
                request.session_timeout_ms = if self.0.bool() { 6_000 } else { self.number() };
                if version >= 1 {
                    request.rebalance_timeout_ms = self.number();
                }
                encoded(version, &request)
            }
            ApiKey::SyncGroup => encoded(
                version,
                &SyncGroupRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_group_instance_id(instance)
                    .with_generation_id(self.number()),
            ),
            ApiKey::Heartbeat => encoded(
                version,
                &HeartbeatRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_generation_id(self.number()),
            ),
            ApiKey::LeaveGroup => {
                let identity = MemberIdentity::default().with_member_id(member.clone());
                let request = LeaveGroupRequest::default().with_group_id(group);
                let request = match version {
                    ..3 => request.with_member_id(member),
                    3.. => request.with_members(vec![identity.with_group_instance_id(instance)]),
                };
                encoded(version, &request)
            }
            ApiKey::ConsumerGroupHeartbeat => {
                let mut request = ConsumerGroupHeartbeatRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_member_epoch(self.number())
                    .with_instance_id(self.some())
                    .with_rebalance_timeout_ms(self.number())
                    .with_subscribed_topic_names(self.0.bool().then(|| vec![self.topic()]))
                    .with_topic_partitions(self.0.bool().then(Vec::new));
                if version >= 1 {
                    request.subscribed_topic_regex = self.some();
                }
                encoded(version, &request)
            }
            _ => return self.offsets_or_admin(key, version, group, member),
        };
        Some(body)
    }

    fn offsets_or_admin(
        &mut self,
        key: ApiKey,
        version: i16,
        group: GroupId,
        member: StrBytes,
    ) -> Option<Bytes> {
        let body = match key {
            ApiKey::OffsetCommit => {
                let partition = commit::OffsetCommitRequestPartition::default()
                    .with_partition_index(self.number())
                    .with_committed_offset(i64::from(self.number()))
                    .with_committed_metadata(self.some());
                let wanted = commit::OffsetCommitRequestTopic::default()
                    .with_name(self.topic())
                    .with_partitions(vec![partition]);
                let mut request = OffsetCommitRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_generation_id_or_member_epoch(self.number())
                    .with_topics(vec![wanted]);
                if version <= 4 {
                    request.retention_time_ms = i64::from(self.number());
                }
                encoded(version, &request)
            }
            ApiKey::TxnOffsetCommit => {
                let partition = txn::TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(self.number());
                let wanted = txn::TxnOffsetCommitRequestTopic::default()
                    .with_name(self.topic())
                    .with_partitions(vec![partition]);
                let request = TxnOffsetCommitRequest::default()
                    .with_group_id(group)
                    .with_producer_id(i64::from(self.number()).into())
                    .with_topics(vec![wanted]);
                encoded(version, &request)
            }
            ApiKey::OffsetFetch if version >= 8 => {
                let asked = fetch::OffsetFetchRequestGroup::default()
                    .with_group_id(group)
                    .with_topics(None);
                encoded(version, &OffsetFetchRequest::default().with_groups(vec![asked]))
            }
            ApiKey::OffsetFetch => {
                let wanted = fetch::OffsetFetchRequestTopic::default()
                    .with_name(self.topic())
                    .with_partition_indexes(vec![self.number()]);
                let topics = (version < 2 || self.0.bool()).then(|| vec![wanted]);
                let request =
                    OffsetFetchRequest::default().with_group_id(group).with_topics(topics);
                encoded(version, &request)
            }
            ApiKey::OffsetDelete => {
                let partition = delete::OffsetDeleteRequestPartition::default()
                    .with_partition_index(self.number());
                let wanted = delete::OffsetDeleteRequestTopic::default()
                    .with_name(self.topic())
                    .with_partitions(vec![partition]);
                let request =
                    OffsetDeleteRequest::default().with_group_id(group).with_topics(vec![wanted]);
                encoded(version, &request)
            }
            ApiKey::FindCoordinator => {
                let request = match version {
                    ..4 => FindCoordinatorRequest::default().with_key(member),
                    4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![member]),
                };
                let key_type = if version >= 1 { self.0.i8(-1..4) } else { 0 };
                encoded(version, &request.with_key_type(key_type))
            }
            ApiKey::ListGroups => encoded(version, &ListGroupsRequest::default()),
            ApiKey::DescribeGroups => {
                encoded(version, &DescribeGroupsRequest::default().with_groups(vec![group]))
            }
            ApiKey::DeleteGroups => {
                encoded(version, &DeleteGroupsRequest::default().with_groups_names(vec![group]))
            }
            ApiKey::ConsumerGroupDescribe => encoded(
                version,
                &ConsumerGroupDescribeRequest::default().with_group_ids(vec![group]),
            ),
            _ => return None,
        };
        Some(body)
    }
}

fn encoded<Q: Encodable>(version: i16, request: &Q) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("only what the version has");
    body.freeze()
}

proptest! {
    /// Every request of every version is answered, at the latest when all timers have run out: none panics, and
    /// none waits for ever.
    #[test]
    fn every_request_of_every_version_is_answered(seed: u64) {
        let mut story = Story::new();
        let mut drawer = Drawer(fastrand::Rng::with_seed(seed));
        let offered: Vec<(ApiKey, i16)> = versions::advertised(versions::Profile::Kafka41)
            .flat_map(|(key, versions)| versions.map(move |version| (key, version)))
            .filter(|(key, version)| key.valid_versions().min <= *version)
            .collect();
        let broker = story.cluster.coordinator_of("g").unwrap();
        let (mut asked, mut answered) = (0, 0);
        for _ in 0..100 {
            let (key, version) = offered[drawer.0.usize(..offered.len())];
            let Some(body) = drawer.body(key, version) else { continue };
            let mut frame = BytesMut::new();
            RequestHeader::default()
                .with_request_api_key(key as i16)
                .with_request_api_version(version)
                .encode(&mut frame, key.request_header_version(version))
                .unwrap();
            frame.extend_from_slice(&body);
            let connection = story.cluster.open(broker.0, "127.0.0.1").unwrap();
            story.cluster.handle_frame(story.now, connection, frame.freeze());
            asked += 1;
            story.pass(drawer.0.u64(..2_000));
        }
        story.pass(1_000_000);
        while let Some(output) = story.cluster.poll_output() {
            prop_assert!(matches!(output, Output::Send { .. }), "{output:?}");
            answered += 1;
        }
        prop_assert_eq!(answered, asked);
    }
}
