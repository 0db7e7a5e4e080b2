#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// Topics that a test moves by hand.
#[derive(Default)]
struct Fixed(BTreeMap<TopicName, (Uuid, i32)>);

impl TopicView for Fixed {
    fn find(&self, name: &TopicName) -> Option<(Uuid, i32)> {
        self.0.get(name).copied()
    }

    fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.0.keys()
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn rules() -> Rules {
    Rules {
        initial_delay: Duration::ZERO,
        classic_members_max: 10,
        consumer_members_max: 10,
        consumer_session: Duration::from_secs(45),
    }
}

/// A group, its topics, and a clock.
struct Story {
    now: Time,
    group: ConsumerGroup,
    topics: Fixed,
}

impl Story {
    fn new(partitions: i32) -> Self {
        let topics = Fixed([(name("t"), (Uuid::from_u128(1), partitions))].into());
        Self { now: Time::from_ms(0), group: ConsumerGroup::new(&text("g")), topics }
    }

    fn beat(&mut self, beat: Heartbeat) -> Result<(i32, Option<Vec<i32>>), ResponseError> {
        let beat = self.group.heartbeat(self.now, &rules(), &self.topics, beat);
        let beat = beat.map_err(|refusal| refusal.error)?;
        let partitions = beat
            .assignment
            .map(|assignment| assignment.into_values().flatten().collect::<Vec<i32>>());
        Ok((beat.epoch, partitions))
    }

    fn join(&mut self, id: &str) -> Result<(i32, Option<Vec<i32>>), ResponseError> {
        self.beat(joining(id))
    }

    fn reports(
        &mut self,
        id: &str,
        epoch: i32,
        owned: &[i32],
    ) -> Result<(i32, Option<Vec<i32>>), ResponseError> {
        self.beat(Heartbeat { owned: Some(some(owned)), ..beating(id, epoch) })
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.group.handle_time(self.now);
    }
}

fn some(partitions: &[i32]) -> Assignment {
    if partitions.is_empty() {
        return Assignment::new();
    }
    [(Uuid::from_u128(1), partitions.iter().copied().collect())].into()
}

fn beating(id: &str, epoch: i32) -> Heartbeat {
    Heartbeat {
        member_id: text(id),
        epoch,
        instance: None,
        rack: None,
        client_id: StrBytes::default(),
        client_host: StrBytes::default(),
        rebalance_timeout: None,
        topics: None,
        pattern: PatternChange::Kept,
        assignor: None,
        owned: None,
    }
}

fn joining(id: &str) -> Heartbeat {
    Heartbeat {
        rebalance_timeout: Some(Duration::from_secs(5)),
        topics: Some([name("t")].into()),
        owned: Some(Assignment::new()),
        ..beating(id, JOINING)
    }
}

/// The steps of a real broker, one by one: nobody is given what another one still reads.
#[test]
fn newcomer_gets_its_share_once_the_owner_has_given_it_up() {
    let mut story = Story::new(4);
    assert_eq!(story.join("m1"), Ok((1, Some(vec![0, 1, 2, 3]))));
    assert_eq!(story.beat(beating("m1", 1)), Ok((1, None)));
    assert_eq!(story.join("m2"), Ok((2, Some(vec![]))));
    assert_eq!(story.group.state(), "Reconciling");
    assert_eq!(story.beat(beating("m1", 1)), Ok((1, Some(vec![0, 1]))));
    assert_eq!(story.beat(beating("m2", 2)), Ok((2, None)));
    // It says nothing of having given up: it may still read.
    assert_eq!(story.beat(beating("m1", 1)), Ok((1, None)));
    assert_eq!(story.reports("m1", 1, &[0, 1]), Ok((2, None)));
    assert_eq!(story.beat(beating("m2", 2)), Ok((2, Some(vec![2, 3]))));
    assert_eq!(story.group.state(), "Stable");
}

#[test]
fn member_of_another_epoch_is_fenced() {
    let mut story = Story::new(4);
    story.join("m1").unwrap();
    assert_eq!(story.beat(beating("m1", 9)), Err(ResponseError::FencedMemberEpoch));
    assert_eq!(story.beat(beating("nobody", 1)), Err(ResponseError::UnknownMemberId));
    story.join("m2").unwrap();
    story.beat(beating("m1", 1)).unwrap();
    story.reports("m1", 1, &[0, 1]).unwrap();
    // The answer was lost: the epoch before is good with what the member may have.
    assert_eq!(story.reports("m1", 1, &[0, 1]), Ok((2, None)));
    assert_eq!(story.join("m1"), Err(ResponseError::FencedMemberEpoch));
}

#[test]
fn member_that_does_not_give_up_in_time_is_removed() {
    let mut story = Story::new(4);
    story.join("m1").unwrap();
    story.join("m2").unwrap();
    story.beat(beating("m1", 1)).unwrap();
    story.pass(4_999);
    assert_eq!(story.beat(beating("m1", 1)), Ok((1, None)));
    story.pass(1);
    assert_eq!(story.beat(beating("m1", 1)), Err(ResponseError::UnknownMemberId));
    assert_eq!(story.beat(beating("m2", 2)), Ok((3, Some(vec![0, 1, 2, 3]))));
}

#[test]
fn member_that_is_silent_for_a_session_is_removed() {
    let mut story = Story::new(1);
    story.join("m1").unwrap();
    story.pass(44_999);
    assert_eq!(story.beat(beating("m1", 1)), Ok((1, None)));
    story.pass(45_000);
    assert!(story.group.is_empty());
    assert_eq!(story.group.deadline(), None);
}

#[test]
fn static_member_finds_its_partitions_when_it_returns() {
    let mut story = Story::new(2);
    let fixed = |beat| Heartbeat { instance: Some(text("i")), ..beat };
    assert_eq!(story.beat(fixed(joining("s1"))), Ok((1, Some(vec![0, 1]))));
    assert_eq!(story.beat(fixed(joining("s2"))), Err(ResponseError::UnreleasedInstanceId));
    assert_eq!(story.beat(fixed(beating("s2", 1))), Err(ResponseError::FencedInstanceId));
    story.group.leave(&text("s1"), Some(&text("i")), LEAVING_FOR_A_WHILE).unwrap();
    assert_eq!(story.beat(fixed(beating("s1", 1))), Err(ResponseError::FencedMemberEpoch));
    assert_eq!(story.beat(fixed(joining("s2"))), Ok((1, Some(vec![0, 1]))));
    let fenced = story.group.leave(&text("s1"), Some(&text("i")), LEAVING).unwrap_err();
    assert_eq!(fenced.error, ResponseError::FencedInstanceId);
}

#[test]
fn new_partitions_topics_and_deletions_reach_the_members() {
    let mut story = Story::new(1);
    let pattern = Pattern::new(&text("t.?")).unwrap();
    let by_pattern =
        Heartbeat { topics: None, pattern: PatternChange::Set(pattern), ..joining("m1") };
    // What matches is looked up once the member is there.
    assert_eq!(story.beat(by_pattern), Ok((1, Some(vec![]))));
    assert_eq!(story.beat(beating("m1", 1)), Ok((2, Some(vec![0]))));
    story.topics.0.insert(name("t"), (Uuid::from_u128(1), 2));
    assert_eq!(story.beat(beating("m1", 2)), Ok((3, Some(vec![0, 1]))));
    story.topics.0.insert(name("t2"), (Uuid::from_u128(2), 1));
    story.topics.0.insert(name("other"), (Uuid::from_u128(3), 1));
    assert_eq!(story.beat(beating("m1", 3)), Ok((4, Some(vec![0, 1, 0]))));
    assert!(story.group.is_subscribed_to(&name("t2")));
    story.topics.0.remove(&name("t"));
    assert_eq!(story.beat(beating("m1", 4)), Ok((4, Some(vec![0]))));
    let owned = [(Uuid::from_u128(2), [0].into())].into();
    let left = Heartbeat { owned: Some(owned), ..beating("m1", 4) };
    assert_eq!(story.beat(left), Ok((5, None)));
}

#[test]
fn group_that_is_full_takes_nobody() {
    let mut story = Story::new(1);
    for member in 0..10 {
        story.join(&format!("m{member}")).unwrap();
    }
    assert_eq!(story.join("late"), Err(ResponseError::GroupMaxSizeReached));
}

#[test]
fn commit_needs_the_epoch_of_the_member() {
    let mut story = Story::new(1);
    let group = |story: &Story, id: &str, epoch, transaction, knows| {
        story.group.check_commit(&text(id), epoch, transaction, knows)
    };
    assert_eq!(group(&story, "", -1, false, true), Ok(()));
    story.join("m1").unwrap();
    assert_eq!(group(&story, "m1", 1, false, true), Ok(()));
    assert_eq!(group(&story, "m1", 2, false, true), Err(ResponseError::StaleMemberEpoch));
    assert_eq!(group(&story, "m1", 2, true, true), Err(ResponseError::IllegalGeneration));
    assert_eq!(group(&story, "m1", 1, false, false), Err(ResponseError::UnsupportedVersion));
    assert_eq!(group(&story, "", -1, false, true), Err(ResponseError::UnknownMemberId));
    assert_eq!(group(&story, "", -1, true, true), Ok(()));
}

#[test]
fn pattern_matches_whole_names_and_refuses_nonsense() {
    let pattern = Pattern::new(&text("a|b")).unwrap();
    assert!(pattern.matches(&name("b")));
    assert!(!pattern.matches(&name("ab")));
    assert!(Pattern::new(&text(")(")).is_err());
    assert!(Pattern::new(&text("a{1000}{1000}{1000}")).is_err());
}

/// What a member's process knows.
#[derive(Clone, Debug, Default)]
struct Client {
    epoch: i32,
    owned: Assignment,
    /// The answer to the last heartbeat did not come, so the next one says everything.
    unsure: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// A heartbeat, with or without what is owned, whose answer may get lost.
    Beat {
        who: usize,
        reports: bool,
        answered: bool,
    },
    Leave(usize),
    Pass(u64),
    AddPartition,
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_usize, any::<bool>(), any::<bool>())
            .prop_map(|(who, reports, answered)| Step::Beat { who, reports, answered }),
        1 => (0..4_usize).prop_map(Step::Leave),
        2 => (1..20_000_u64).prop_map(Step::Pass),
        1 => Just(Step::AddPartition),
        1 => Just(Step::Move),
    ]
}

fn act(story: &mut Story, clients: &mut [Client], who: usize, reports: bool, answered: bool) {
    let id = format!("m{who}");
    let client = &mut clients[who];
    let beat = if client.epoch == JOINING {
        joining(&id)
    } else if client.unsure {
        Heartbeat { epoch: client.epoch, owned: Some(client.owned.clone()), ..joining(&id) }
    } else {
        let owned = reports.then(|| client.owned.clone());
        Heartbeat { owned, ..beating(&id, client.epoch) }
    };
    client.unsure = !answered;
    let result = story.group.heartbeat(story.now, &rules(), &story.topics, beat);
    match result {
        Ok(_) if !answered => {}
        Ok(beat) => {
            client.epoch = beat.epoch;
            if let Some(assignment) = beat.assignment {
                client.owned = assignment;
            }
        }
        // The member abandons all its partitions and joins again.
        Err(_) => *client = Client::default(),
    }
}

fn check_no_partition_twice(group: &ConsumerGroup) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for member in group.members.values() {
        for partition in member.partitions() {
            prop_assert!(seen.insert(partition), "{partition:?} is with two members");
        }
        prop_assert!(member.epoch <= group.target_epoch);
    }
    Ok(())
}

proptest! {
    /// Whatever has happened, members that behave end with every partition read by exactly one.
    #[test]
    fn any_interleaving_ends_stable(steps in prop::collection::vec(step(), 0..60)) {
        let mut story = Story::new(3);
        let mut clients = vec![Client::default(); 4];
        for step in steps {
            match step {
                Step::Beat { who, reports, answered } => {
                    act(&mut story, &mut clients, who, reports, answered);
                }
                Step::Leave(who) => {
                    let _ = story.group.leave(&text(&format!("m{who}")), None, LEAVING);
                    clients[who] = Client::default();
                }
                Step::Pass(ms) => story.pass(ms),
                Step::AddPartition => {
                    story.topics.0.get_mut(&name("t")).unwrap().1 += 1;
                }
                Step::Move => story.group.handle_move(story.now, &rules()),
            }
            check_no_partition_twice(&story.group)?;
        }
        for _ in 0..100 {
            story.pass(1_000);
            for who in 0..clients.len() {
                act(&mut story, &mut clients, who, true, true);
                check_no_partition_twice(&story.group)?;
            }
        }
        prop_assert_eq!(story.group.state(), "Stable");
        let mut owned: Vec<i32> =
            clients.iter().flat_map(|client| client.owned.values().flatten().copied()).collect();
        owned.sort_unstable();
        let count = story.topics.0[&name("t")].1;
        prop_assert_eq!(owned, (0..count).collect::<Vec<i32>>());
    }
}
