//! Each fault: what a client sees while it acts, and that it ends.

use std::time::Duration;

use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, FetchRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest,
    create_topics_request::CreatableTopic,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    metadata_request::MetadataRequestTopic,
    produce_request::{PartitionProduceData, TopicProduceData},
};

use super::{
    super::{
        CloseCause, ConnectionId,
        api::tests::{Heard, Story, text, topic},
        conversation::{self, Records},
    },
    Effect, Fault, Share,
};

fn story() -> Story {
    let mut story = Story::new();
    for name in ["orders", "other"] {
        let new = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(1)
            .with_replication_factor(3);
        story.ask(1, 7, &CreateTopicsRequest::default().with_topics(vec![new]));
    }
    story
}

fn metadata(name: &str) -> MetadataRequest {
    let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
    MetadataRequest::default().with_topics(Some(vec![asked]))
}

fn produce(acks: i16) -> ProduceRequest {
    let data = TopicProduceData::default()
        .with_name(topic("orders"))
        .with_partition_data(vec![PartitionProduceData::default()]);
    ProduceRequest::default().with_acks(acks).with_topic_data(vec![data])
}

impl Story {
    fn leader(&self) -> i32 {
        let partition = self.cluster.topics.partition(&topic("orders"), 0).expect("there");
        partition.leader.expect("led").0
    }

    fn is_answered(&mut self, connection: ConnectionId) -> bool {
        matches!(self.hear(connection), Heard::Frame(_))
    }

    fn produce_error(&mut self, broker: i32) -> i16 {
        let answer = self.ask(broker, 9, &produce(1));
        answer.responses[0].partition_responses[0].error_code
    }
}

#[test]
fn a_slow_broker_answers_late_and_requests_behind_wait() {
    let mut story = story();
    let id = story.cluster.inject(story.now, Fault::slow_broker(1, 100, 100));
    let slow = story.connect(1).expect("runs");
    let quick = story.connect(2).expect("runs");
    for connection in [slow, quick] {
        story.send(connection, 4, &metadata("orders"));
        story.send(connection, 4, &metadata("orders"));
    }
    assert!(story.is_answered(quick) && story.is_answered(quick));
    story.pass(99);
    assert!(!story.is_answered(slow));
    story.pass(1);
    assert!(story.is_answered(slow) && !story.is_answered(slow), "the second waits as long again");
    assert!(story.cluster.heal(story.now, id));
    story.pass(100);
    assert!(story.is_answered(slow), "what was held back still leaves");
    story.send(slow, 4, &metadata("orders"));
    assert!(story.is_answered(slow));
    assert!(!story.cluster.heal(story.now, id));
}

#[test]
fn a_client_that_leaves_a_slow_broker_is_forgotten() {
    let mut story = story();
    story.cluster.inject(story.now, Fault::slow_broker(1, 100, 200));
    let client = story.connect(1).expect("runs");
    story.send(client, 4, &metadata("orders"));
    story.cluster.close(client);
    story.pass(1_000);
    assert!(matches!(story.hear(client), Heard::Nothing));
    assert!(story.cluster.faults.held.is_empty() && story.cluster.faults.plans.is_empty());
}

#[test]
fn a_failing_broker_answers_every_api_with_its_error_but_tells_versions() {
    let mut story = story();
    story.cluster.inject(story.now, Fault::failing_broker(1, 3));
    assert_eq!(story.ask(1, 4, &metadata("orders")).topics[0].error_code, 3);
    assert_eq!(story.produce_error(1), 3);
    let hello = ApiVersionsRequest::default()
        .with_client_software_name(text("a"))
        .with_client_software_version(text("1"));
    assert_eq!(story.ask(1, 3, &hello).error_code, 0);
    assert_eq!(story.ask(2, 4, &metadata("orders")).topics[0].error_code, 0);
}

/// Kafka tells a producer that wants no answers of an error by its connection.
#[test]
fn an_error_for_a_producer_without_answers_closes_the_connection() {
    let mut story = story();
    story.cluster.inject(story.now, Fault::failing_broker(1, 56));
    let client = story.connect(1).expect("runs");
    story.send(client, 9, &produce(0));
    assert!(matches!(story.hear(client), Heard::Closed(CloseCause::Fault)));
}

#[test]
fn connections_close_in_place_of_an_answer() {
    let mut story = story();
    let of_api = |effect| Fault::of_api(ApiKey::CreateTopics as i16, Share::ALL, effect);
    let new = |name| {
        let new = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(1)
            .with_replication_factor(1);
        CreateTopicsRequest::default().with_topics(vec![new])
    };
    let id = story.cluster.inject(story.now, of_api(Effect::Close));
    let client = story.connect(1).expect("runs");
    story.send(client, 7, &new("refused"));
    assert!(matches!(story.hear(client), Heard::Closed(CloseCause::Fault)));
    assert!(story.cluster.topics.get(&topic("refused")).is_none(), "it was not served");
    story.cluster.heal(story.now, id);
    story.cluster.inject(story.now, of_api(Effect::LoseAnswer));
    let client = story.connect(1).expect("runs");
    story.send(client, 7, &new("done"));
    assert!(matches!(story.hear(client), Heard::Closed(CloseCause::Fault)));
    assert!(story.cluster.topics.get(&topic("done")).is_some(), "it was served");
}

#[test]
fn an_error_of_one_api_topic_and_share_hits_nothing_else() {
    let mut story = story();
    let half = Share::per_million(500_000);
    let fault = Fault::of_api(ApiKey::ListOffsets as i16, half, Effect::Error(6));
    story.cluster.inject(story.now, fault.for_topic("orders"));
    let ask = |story: &mut Story, name| {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let asked =
            ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let leader = story.cluster.topics.partition(&topic(name), 0).expect("there").leader;
        let request = ListOffsetsRequest::default().with_topics(vec![asked]);
        story.ask(leader.expect("led").0, 4, &request).topics[0].partitions[0].error_code
    };
    let hit = (0..100).filter(|_| ask(&mut story, "orders") == 6).count();
    assert!((30..70).contains(&hit), "{hit} of 100");
    assert!((0..20).all(|_| ask(&mut story, "other") == 0));
    assert_eq!(story.ask(1, 4, &metadata("orders")).topics[0].error_code, 0);
}

/// One fault more must not reshuffle what another draws.
#[test]
fn what_a_fault_draws_does_not_depend_on_other_faults() {
    let draws = |with_other: bool| {
        let mut story = story();
        let half = Share::per_million(500_000);
        let api = ApiKey::Metadata as i16;
        story.cluster.inject(story.now, Fault::of_api(api, half, Effect::Error(3)));
        if with_other {
            let other = Fault::of_broker(1, Effect::Delay { min_ms: 0, max_ms: 0 });
            story.cluster.inject(story.now, other);
        }
        let ask = |_| story.ask(1, 4, &metadata("orders")).topics[0].error_code;
        (0..50).map(ask).collect::<Vec<_>>()
    };
    assert_eq!(draws(false), draws(true));
}

/// What is asked while a broker warms up is answered when it has; later, nothing waits.
#[test]
fn a_cold_broker_is_late_with_the_first_of_each_api_alone() {
    let mut story = story();
    story.cluster.inject(story.now, Fault::Cold { min_ms: 200, max_ms: 200 });
    let (one, other) = (story.connect(1).expect("runs"), story.connect(1).expect("runs"));
    story.send(one, 4, &metadata("orders"));
    story.pass(150);
    story.send(other, 4, &metadata("orders"));
    story.pass(49);
    assert!(!story.is_answered(one) && !story.is_answered(other));
    story.pass(1);
    assert!(story.is_answered(one) && story.is_answered(other));
    story.send(one, 4, &metadata("orders"));
    assert!(story.is_answered(one), "it is warm");
    story.send(one, 1, &ListOffsetsRequest::default());
    assert!(!story.is_answered(one), "another API is not");
    let next = story.connect(2).expect("runs");
    story.send(next, 4, &metadata("orders"));
    assert!(!story.is_answered(next), "nor is another broker");
}

#[test]
fn a_cold_broker_is_faster_to_refuse_than_to_write() {
    let mut story = story();
    story.cluster.inject(story.now, Fault::Cold { min_ms: 200, max_ms: 200 });
    let leader = story.leader();
    let other = if leader == 1 { 2 } else { 1 };
    let mut answered_after = |broker: i32| {
        let client = story.connect(broker).expect("runs");
        let began = story.now;
        story.send(client, 9, &conversation::produce("orders", Records::new(1).bytes(), 1));
        while !story.is_answered(client) {
            story.pass(1);
        }
        story.now.since(began)
    };
    assert_eq!(answered_after(other), Duration::from_millis(200));
    assert_eq!(answered_after(leader), Duration::from_millis(400));
    assert_eq!(answered_after(leader), Duration::ZERO);
}

#[test]
fn a_full_disk_refuses_records_until_there_is_room() {
    let mut story = story();
    let leader = story.leader();
    let id = story.cluster.inject(story.now, Fault::FullDisk { broker: leader, offline: false });
    assert_eq!(story.produce_error(leader), 56);
    assert_eq!(story.leader(), leader);
    story.cluster.heal(story.now, id);
    assert_ne!(story.produce_error(leader), 56);
}

#[test]
fn a_disk_that_goes_offline_takes_its_replicas_with_it() {
    let mut story = story();
    let leader = story.leader();
    let id = story.cluster.inject(story.now, Fault::FullDisk { broker: leader, offline: true });
    assert_ne!(story.leader(), leader);
    assert_eq!(story.produce_error(leader), 56);
    let told = story.ask(leader, 12, &metadata("orders"));
    assert_eq!(told.brokers.len(), 3, "it is still there");
    let offline = &told.topics[0].partitions[0].offline_replicas;
    assert_eq!(offline.iter().map(|id| id.0).collect::<Vec<_>>(), [leader]);
    story.cluster.heal(story.now, id);
    story.pass(300_000);
    assert_eq!(story.leader(), leader);
}

#[test]
fn a_storm_of_elections_moves_leaders_and_raises_epochs() {
    let mut story = story();
    let id = story.cluster.inject(story.now, Fault::LeaderElections { every_ms: 100 });
    let mut leaders = Vec::new();
    for _ in 0..3 {
        leaders.push(story.leader());
        story.pass(100);
    }
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 2, 3]);
    let epoch = |story: &Story| {
        story.cluster.topics.partition(&topic("orders"), 0).expect("there").leader_epoch
    };
    assert_eq!(epoch(&story), 4);
    story.cluster.heal(story.now, id);
    story.pass(1_000);
    assert_eq!(epoch(&story), 4);
}

#[test]
fn coordinators_move_while_leaders_of_topics_stay() {
    let mut story = story();
    let leader = story.leader();
    let before = story.cluster.coordinator_of("group");
    story.cluster.inject(story.now, Fault::CoordinatorsMove { every_ms: 100 });
    assert_ne!(story.cluster.coordinator_of("group"), before);
    story.pass(200);
    assert_eq!(story.cluster.coordinator_of("group"), before, "it has been everywhere");
    assert_eq!(story.leader(), leader);
}

#[test]
fn a_throttled_client_is_told_and_its_connection_mute_for_as_long() {
    let mut story = story();
    story.cluster.inject(story.now, Fault::of_broker(1, Effect::Throttle { ms: 250 }));
    let client = story.connect(1).expect("runs");
    for version in [4, 12] {
        story.send(client, version, &metadata("orders"));
        story.send(client, version, &metadata("orders"));
        let told = story.hear_answer::<MetadataRequest>(client, version);
        assert_eq!(told.throttle_time_ms, 250);
        assert!(matches!(story.hear(client), Heard::Nothing));
        story.pass(249);
        assert!(matches!(story.hear(client), Heard::Nothing));
        story.pass(1);
        assert!(story.is_answered(client));
        story.pass(250);
    }
    assert_eq!(story.ask(1, 9, &produce(1)).throttle_time_ms, 250);
    let fetch = FetchRequest::default().with_max_wait_ms(0);
    assert_eq!(story.ask(1, 12, &fetch).throttle_time_ms, 250);
}

#[test]
fn a_broker_with_stale_metadata_tells_the_past() {
    let mut story = story();
    let leader = story.leader();
    let asked = leader % 3 + 1;
    let id = story.cluster.inject(story.now, Fault::StaleMetadata { broker: asked });
    story.cluster.stop_broker(story.now, leader);
    let told = |story: &mut Story, broker| {
        let told = story.ask(broker, 12, &metadata("orders"));
        (told.brokers.len(), told.topics[0].partitions[0].leader_id.0)
    };
    assert_eq!(told(&mut story, asked), (3, leader));
    let fresh = (1..=3).find(|id| *id != leader && *id != asked).expect("a third");
    assert_eq!(told(&mut story, fresh).0, 2);
    story.ask(fresh, 4, &metadata("later"));
    assert_eq!(story.ask(fresh, 4, &metadata("later")).topics[0].error_code, 0);
    assert_eq!(story.ask(asked, 4, &metadata("later")).topics[0].error_code, 3);
    story.cluster.heal(story.now, id);
    assert_eq!(story.ask(asked, 4, &metadata("later")).topics[0].error_code, 0);
}

#[test]
fn faults_read_as_data_with_what_is_not_given_meaning_all() {
    let read: Fault =
        serde_json::from_str(r#"{"requests": {"only": {"api": 0}, "effect": {"error": 56}}}"#)
            .expect("reads");
    assert_eq!(read, Fault::of_api(0, Share::ALL, Effect::Error(56)));
    let read: Fault = serde_json::from_str(r#"{"full_disk": {"broker": 2}}"#).expect("reads");
    assert_eq!(read, Fault::FullDisk { broker: 2, offline: false });
}
