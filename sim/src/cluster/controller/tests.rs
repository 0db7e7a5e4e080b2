//! Brokers that go and come back, told as stories, and at random.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{BrokerId, TopicName};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::{
    super::{
        CloseCause, Cluster,
        api::tests::{Heard, Story, topic},
        broker::{Broker, BrokerState},
        log::Batch,
        topic::{Partition, Topic},
    },
    Election, NewTopic,
};

/// A batch of one record that nobody reads.
fn batch(timestamp: i64) -> Bytes {
    let mut behind = BytesMut::new();
    behind.put_i16(0);
    behind.put_i32(0);
    behind.put_i64(timestamp);
    behind.put_i64(timestamp);
    behind.put_i64(-1);
    behind.put_i16(-1);
    behind.put_i32(-1);
    behind.put_i32(1);
    behind.put_slice(&[12, 0, 0, 0, 1, 0, 0]);
    let crc = crc32c::crc32c(&behind);
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(4 + 1 + 4 + behind.len()).expect("small"));
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(crc);
    batch.extend_from_slice(&behind);
    batch.freeze()
}

impl Story {
    /// A topic `t` with these replicas of its only partition.
    fn with_replicas(settings: &[(&str, &str)], replicas: &[i32]) -> Self {
        let mut story = Self::with(settings);
        story.add("t", &[replicas]);
        story
    }

    fn add(&mut self, name: &str, replicas: &[&[i32]]) {
        let partitions = replicas.iter().map(|replicas| {
            let replicas: Vec<_> = replicas.iter().map(|id| BrokerId(*id)).collect();
            Partition::new(replicas.clone(), replicas)
        });
        let id = uuid::Uuid::from_u128(u128::try_from(name.len()).expect("small"));
        let new = Topic::new(id, partitions.collect(), std::collections::BTreeMap::new());
        self.cluster.insert_topic(&topic(name), new);
    }

    fn partition(&self) -> &Partition {
        self.cluster.topics.partition(&topic("t"), 0).expect("there")
    }

    /// Leader, its epoch, the ISR.
    fn state(&self) -> (Option<i32>, i32, Vec<i32>) {
        let partition = self.partition();
        let isr = partition.isr.iter().map(|id| id.0).collect();
        (partition.leader.map(|id| id.0), partition.leader_epoch, isr)
    }

    /// Writes one record where the leader runs; `true`: all of the ISR has it.
    fn write(&mut self, name: &TopicName, index: i32) -> bool {
        let brokers = &self.cluster.brokers;
        let min_isr = self.cluster.settings.int("min.insync.replicas");
        let min_isr = usize::try_from(min_isr).expect("small");
        let Some(partition) = self.cluster.topics.partition_mut(name, index) else { return false };
        let leads = |id: BrokerId| brokers.get(&id).is_some_and(Broker::is_active);
        if !partition.leader.is_some_and(leads) {
            return false;
        }
        let batch = Batch::only(&batch(self.now.ms()), 9).expect("the batch is sound");
        let config = self.cluster.log_defaults;
        partition.log.append(&batch, &config, self.now, partition.leader_epoch).expect("appended");
        if partition.isr.len() < min_isr.min(partition.replicas.len()) {
            return false;
        }
        partition.log.replicated(&partition.isr);
        partition.log.high_watermark() == partition.log.end()
    }
}

/// Clients find a silent broker for nine seconds: a fake that elected at once would hide the outage.
#[test]
fn a_killed_broker_leads_until_its_session_times_out() {
    let mut story = Story::with_replicas(&[], &[1, 2, 3]);
    let client = story.connect(1).expect("runs");
    assert!(story.cluster.kill_broker(story.now, 1));
    story.pass(8_999);
    assert!(matches!(story.hear(client), Heard::Closed(CloseCause::BrokerDown)));
    assert_eq!(story.connect(1), None, "nothing listens there");
    assert_eq!(story.state(), (Some(1), 0, vec![1, 2, 3]));
    story.pass(1);
    assert_eq!(story.state(), (Some(2), 1, vec![2, 3]));
}

#[test]
fn a_broker_that_stops_hands_its_leaders_over_at_once() {
    let mut story = Story::with_replicas(&[], &[1, 2, 3]);
    let client = story.connect(1).expect("runs");
    assert!(story.cluster.stop_broker(story.now, 1));
    story.pass(0);
    assert_eq!(story.state(), (Some(2), 1, vec![2, 3]));
    assert!(matches!(story.hear(client), Heard::Closed(CloseCause::BrokerDown)));
    assert!(!story.cluster.stop_broker(story.now, 1), "it is gone already");
    assert!(!story.cluster.kill_broker(story.now, 9), "there is no such broker");
}

#[test]
fn a_follower_that_goes_holds_the_high_watermark_until_it_is_fenced() {
    let mut story = Story::with_replicas(&[], &[1, 2]);
    assert!(story.write(&topic("t"), 0));
    story.cluster.kill_broker(story.now, 2);
    assert!(!story.write(&topic("t"), 0), "broker 2 does not have it");
    assert_eq!(story.partition().log.end_of_replica(BrokerId(2)), 1);
    assert_eq!(story.partition().log.high_watermark(), 1);
    story.pass(9_000);
    assert_eq!(story.state(), (Some(1), 0, vec![1]), "no election for a follower");
    assert_eq!(story.partition().log.high_watermark(), 2);
}

#[test]
fn a_broker_that_returns_catches_up_and_leads_again_when_leaders_are_balanced() {
    let mut story = Story::with_replicas(&[], &[1, 2, 3]);
    story.cluster.stop_broker(story.now, 1);
    assert!(story.cluster.start_broker(story.now, 1));
    story.pass(499);
    assert_eq!(story.state(), (Some(2), 1, vec![2, 3]));
    story.pass(1);
    assert_eq!(story.state(), (Some(2), 1, vec![2, 3, 1]));
    story.pass(300_000);
    assert_eq!(story.state(), (Some(1), 2, vec![2, 3, 1]));
}

#[test]
fn leaders_stay_where_they_are_without_rebalancing_until_elected_by_hand() {
    let mut story = Story::with_replicas(&[("auto.leader.rebalance.enable", "false")], &[1, 2, 3]);
    story.cluster.stop_broker(story.now, 1);
    story.cluster.start_broker(story.now, 1);
    story.pass(1_000_000);
    assert_eq!(story.state().0, Some(2));
    assert!(story.cluster.elect_leaders(story.now, false) > 0);
    assert_eq!(story.state(), (Some(1), 2, vec![2, 3, 1]));
}

/// A broker that is back before anybody noticed has lost its session all the same.
#[test]
fn a_restart_within_the_session_is_noticed_at_the_return() {
    let mut story = Story::with_replicas(&[], &[1, 2]);
    story.cluster.kill_broker(story.now, 1);
    story.pass(2_000);
    story.cluster.start_broker(story.now, 1);
    assert_eq!(story.state(), (Some(2), 1, vec![2]));
    story.pass(20_000);
    assert_eq!(story.state(), (Some(2), 1, vec![2, 1]));
}

#[test]
fn the_last_in_sync_replica_alone_may_lead_again() {
    let mut story = Story::with_replicas(&[], &[1, 2]);
    story.cluster.stop_broker(story.now, 2);
    assert!(story.write(&topic("t"), 0));
    story.cluster.stop_broker(story.now, 1);
    assert_eq!(story.state(), (None, 1, vec![]));
    assert_eq!(story.partition().elr, vec![BrokerId(1)]);
    story.cluster.start_broker(story.now, 2);
    story.pass(1_000);
    assert_eq!(story.state(), (None, 1, vec![]), "broker 2 lacks a record");
    story.cluster.start_broker(story.now, 1);
    story.pass(1_000);
    assert_eq!(story.state(), (Some(1), 2, vec![1, 2]));
    assert_eq!(story.partition().log.end(), 1);
}

#[test]
fn without_eligible_replicas_the_last_one_stays_in_the_isr() {
    let mut spec = super::super::ClusterSpec::new("test", 7, "host", 9092..9095);
    spec.profile = super::super::versions::Profile::Kafka39;
    let mut story = Story::of(spec);
    story.add("t", &[&[1, 2]]);
    story.cluster.stop_broker(story.now, 2);
    story.cluster.stop_broker(story.now, 1);
    assert_eq!(story.state(), (None, 1, vec![1]));
    story.cluster.start_broker(story.now, 1);
    assert_eq!(story.state(), (Some(1), 2, vec![1]));
}

/// An unclean election is what loses acknowledged records: it must lose exactly what the new leader lacks.
#[test]
fn an_unclean_leader_loses_what_it_does_not_have() {
    let mut story = Story::with_replicas(&[], &[1, 2]);
    assert!(story.write(&topic("t"), 0));
    story.cluster.stop_broker(story.now, 2);
    assert!(story.write(&topic("t"), 0));
    story.cluster.stop_broker(story.now, 1);
    story.cluster.start_broker(story.now, 2);
    assert_eq!(story.cluster.elect_leaders(story.now, false), 0);
    assert_eq!(story.cluster.elect_leaders(story.now, true), 1);
    assert_eq!(story.state(), (Some(2), 2, vec![2]));
    let log = &story.partition().log;
    assert_eq!((log.end(), log.high_watermark()), (1, 1));
    story.cluster.start_broker(story.now, 1);
    story.pass(1_000);
    assert_eq!(story.state(), (Some(2), 2, vec![2, 1]));
}

#[test]
fn unclean_elections_happen_by_themselves_where_they_are_allowed() {
    let mut story = Story::with_replicas(&[("unclean.leader.election.enable", "true")], &[1, 2]);
    story.cluster.stop_broker(story.now, 2);
    story.write(&topic("t"), 0);
    story.cluster.stop_broker(story.now, 1);
    story.cluster.start_broker(story.now, 2);
    assert_eq!(story.state(), (Some(2), 2, vec![2]));
    assert_eq!(story.partition().log.end(), 0);
}

#[test]
fn coordinators_move_with_the_leaders_of_their_topic() {
    let mut story = Story::new();
    let before = story.cluster.coordinator_of("group").expect("somebody");
    story.cluster.kill_broker(story.now, before.0);
    story.pass(8_999);
    assert_eq!(story.cluster.coordinator_of("group"), Some(before), "nobody has noticed");
    assert!(story.cluster.transaction_coordinator_of("id").is_some());
    story.pass(1);
    let after = story.cluster.coordinator_of("group").expect("another");
    assert_ne!(after, before);
    story.cluster.start_broker(story.now, before.0);
    story.pass(300_000);
    assert_eq!(story.cluster.coordinator_of("group"), Some(before));
}

#[test]
fn a_new_topic_leaves_brokers_that_are_away_out_of_its_isr() {
    let mut story = Story::new();
    story.cluster.stop_broker(story.now, 1);
    let new = NewTopic { partitions: 3, replicas: 3, ..NewTopic::default() };
    story.cluster.create_topic(&topic("t"), &new).expect("created");
    assert!(!story.state().2.contains(&1));
    story.cluster.start_broker(story.now, 1);
    story.pass(500);
    assert!(story.state().2.contains(&1));
}

#[test]
fn settings_are_checked_before_a_cluster_starts() {
    let mut spec = super::super::ClusterSpec::new("test", 7, "host", [9092]);
    spec.settings.insert("num.partitions".into(), "three".into());
    assert_eq!(
        spec.check_settings().expect_err("no number").to_string(),
        "Invalid value three for configuration num.partitions: Not a number of type INT"
    );
    spec.settings = [("log.retention.hours".into(), "2".into())].into();
    spec.check_settings().expect("sound");
    assert_eq!(Cluster::new(spec).settings.int("log.retention.ms"), 7_200_000);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Kill(i32),
    Stop(i32),
    Start(i32),
    Elect,
    Move,
    Write,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..=3).prop_map(Step::Kill),
        (1..=3).prop_map(Step::Stop),
        (1..=3).prop_map(Step::Start),
        (1..=3).prop_map(Step::Start),
        Just(Step::Elect),
        Just(Step::Move),
        Just(Step::Write),
        Just(Step::Write),
        (0_u64..12_000).prop_map(Step::Pass),
    ]
}

/// What must hold whatever happens.
fn check(story: &Story, epoch_before: i32, acknowledged: i64) {
    let partition = story.partition();
    assert!(partition.leader_epoch >= epoch_before, "epochs only rise");
    assert!(partition.isr.iter().all(|id| partition.replicas.contains(id)));
    assert!(partition.elr.iter().all(|id| !partition.isr.contains(id)));
    if let Some(leader) = partition.leader {
        assert!(partition.isr.contains(&leader), "the leader is in the ISR");
        let state = story.cluster.brokers[&leader].state;
        assert_ne!(state, BrokerState::Fenced, "the leader is there, as far as anybody knows");
    }
    for id in partition.isr.iter().filter(|_| partition.leader.is_some()) {
        assert_ne!(story.cluster.brokers[id].state, BrokerState::Fenced);
    }
    assert!(partition.log.high_watermark() >= acknowledged, "acknowledged records stay");
}

proptest! {
    #[test]
    fn whatever_brokers_do_acknowledged_records_stay_and_everything_heals(
        steps in prop::collection::vec(step(), 1..60),
        is_39 in any::<bool>(),
        min_isr in 1..=2_usize,
    ) {
        let mut spec = super::super::ClusterSpec::new("test", 7, "host", 9092..9095);
        spec.settings = [("min.insync.replicas".to_owned(), min_isr.to_string())].into();
        if is_39 {
            spec.profile = super::super::versions::Profile::Kafka39;
        }
        let mut story = Story::of(spec);
        story.add("t", &[&[1, 2, 3]]);
        let mut acknowledged = 0;
        for step in steps {
            let epoch = story.partition().leader_epoch;
            match step {
                Step::Kill(id) => { story.cluster.kill_broker(story.now, id); }
                Step::Stop(id) => { story.cluster.stop_broker(story.now, id); }
                Step::Start(id) => { story.cluster.start_broker(story.now, id); }
                Step::Elect => { story.cluster.elect_leaders(story.now, false); }
                Step::Move => { story.cluster.move_leader(&topic("t"), 0); }
                Step::Write => {
                    story.write(&topic("t"), 0);
                    // What is below the high watermark was acknowledged, and consumers may have it.
                    acknowledged = acknowledged.max(story.partition().log.high_watermark());
                }
                Step::Pass(ms) => story.pass(ms),
            }
            check(&story, epoch, acknowledged);
        }
        for id in 1..=3 {
            story.cluster.start_broker(story.now, id);
        }
        story.pass(400_000);
        let (leader, _, mut isr) = story.state();
        isr.sort_unstable();
        assert_eq!((leader, isr), (Some(1), vec![1, 2, 3]), "all is as it was");
        check(&story, 0, acknowledged);
        assert!(story.cluster.elect_leader(&topic("t"), 0, Election::Preferred).is_err());
    }
}
