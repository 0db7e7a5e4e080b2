use proptest::prelude::*;

use super::*;
use crate::cluster::{connection::ConnectionId, group::Rules};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn rules() -> Rules {
    Rules {
        initial_delay: Duration::from_secs(3),
        classic_members_max: 3,
        consumer_members_max: 3,
        consumer_session: Duration::from_secs(45),
    }
}

/// A group, a clock, and all answers that were given, by the number of what was asked.
struct Story {
    now: Time,
    group: ClassicGroup,
    asked: u64,
    waiting: BTreeSet<u64>,
    joins: BTreeMap<u64, JoinGroupResponse>,
    syncs: BTreeMap<u64, SyncGroupResponse>,
}

impl Story {
    fn new() -> Self {
        let now = Time::from_ms(0);
        Self {
            now,
            group: ClassicGroup::new(now),
            asked: 0,
            waiting: BTreeSet::new(),
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
        }
    }

    fn ticket(&mut self, version: i16) -> Ticket {
        self.asked += 1;
        self.waiting.insert(self.asked);
        Ticket {
            connection: ConnectionId(0),
            number: self.asked,
            correlation_id: 0,
            api_key: 0,
            api_version: version,
        }
    }

    /// Nobody is answered twice.
    fn take(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            let number = match answer {
                Answer::Join(ticket, response) => {
                    self.joins.insert(ticket.number, response);
                    ticket.number
                }
                Answer::Sync(ticket, response) => {
                    self.syncs.insert(ticket.number, response);
                    ticket.number
                }
            };
            assert!(self.waiting.remove(&number), "{number} is answered twice");
        }
    }

    fn join_as(&mut self, version: i16, id: &str, change: impl FnOnce(&mut Join)) -> u64 {
        let ticket = self.ticket(version);
        let mut join = Join {
            ticket,
            member_id: text(id),
            new_id: text(&format!("new-{}", ticket.number)),
            instance: None,
            client_id: text("client"),
            client_host: text("/host"),
            protocol_type: text(CONSUMER),
            protocols: vec![(text("range"), Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t"))],
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(20),
        };
        change(&mut join);
        let answers = self.group.join(self.now, &rules(), join);
        self.take(answers);
        ticket.number
    }

    /// A member of a version that needs no id beforehand.
    fn join(&mut self, id: &str) -> u64 {
        self.join_as(3, id, |_| {})
    }

    fn sync(&mut self, id: &str, generation: i32, assignments: &[(&str, &'static str)]) -> u64 {
        let ticket = self.ticket(5);
        let assignments = assignments.iter();
        let answers = self.group.sync(
            self.now,
            Sync {
                ticket,
                identity: Identity { member: &text(id), instance: None },
                generation,
                protocol_type: Some(&text(CONSUMER)),
                protocol_name: Some(&text("range")),
                assignments: assignments
                    .map(|(id, bytes)| (text(id), Bytes::from_static(bytes.as_bytes())))
                    .collect(),
            },
        );
        self.take(answers);
        ticket.number
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Result<(), ResponseError> {
        let identity = Identity { member: &text(id), instance: None };
        self.group.heartbeat(self.now, identity, generation)
    }

    fn leave(&mut self, id: &str) -> Result<(), ResponseError> {
        let identity = Identity { member: &text(id), instance: None };
        let (results, answers) = self.group.leave(self.now, &[identity]);
        self.take(answers);
        results[0]
    }

    /// Time passes, with a call at each deadline as the cluster makes it.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(deadline) = self.group.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            let answers = self.group.handle_time(self.now);
            self.take(answers);
        }
        self.now = end;
    }

    fn joined(&self, number: u64) -> &JoinGroupResponse {
        self.joins.get(&number).expect("answered")
    }

    fn join_error(&self, number: u64) -> Option<ResponseError> {
        ResponseError::try_from_code(self.joined(number).error_code)
    }

    fn sync_error(&self, number: u64) -> Option<ResponseError> {
        ResponseError::try_from_code(self.syncs.get(&number).expect("answered").error_code)
    }

    /// A stable group of this many members: `new-1` leads.
    fn stable(members: u64) -> Self {
        let mut story = Self::new();
        for _ in 0..members {
            story.join("");
        }
        while story.group.state() == "PreparingRebalance" {
            story.pass(3_000);
        }
        for number in (1..=members).rev() {
            story.sync(&format!("new-{number}"), 1, &[("new-1", "a"), ("new-2", "b")]);
        }
        assert_eq!(story.group.state(), "Stable");
        story
    }
}

/// Members of a deployment that starts are to share their first generation.
#[test]
fn first_join_waits_three_seconds_and_longer_while_others_come() {
    let mut story = Story::new();
    let first = story.join("");
    story.pass(2_999);
    assert!(story.waiting.contains(&first));
    let second = story.join("");
    story.pass(3_000);
    assert!(story.waiting.contains(&second));
    story.pass(1);
    assert_eq!(story.now, Time::from_ms(6_000));
    let leader = story.joined(first);
    assert_eq!(leader.generation_id, 1);
    assert_eq!(leader.leader, leader.member_id);
    assert_eq!(leader.members.len(), 2);
    assert!(story.joined(second).members.is_empty());
    assert_eq!(story.group.state(), "CompletingRebalance");
}

#[test]
fn first_generation_starts_at_the_rebalance_timeout_whoever_still_comes() {
    let mut story = Story::new();
    let first = story.join_as(3, "", |join| join.rebalance_timeout = Duration::from_secs(4));
    story.pass(2_000);
    story.join_as(3, "", |join| join.rebalance_timeout = Duration::from_secs(4));
    story.pass(1_999);
    assert!(story.waiting.contains(&first));
    story.pass(1);
    assert_eq!(story.joined(first).generation_id, 1);
}

#[test]
fn newer_client_is_given_an_id_first_and_loses_it_after_a_session() {
    let mut story = Story::new();
    let asked = story.join_as(4, "", |_| {});
    assert_eq!(story.join_error(asked), Some(ResponseError::MemberIdRequired));
    let id = story.joined(asked).member_id.to_string();
    story.pass(10_000);
    let late = story.join_as(4, &id, |_| {});
    assert_eq!(story.join_error(late), Some(ResponseError::UnknownMemberId));
    let asked = story.join_as(4, "", |_| {});
    let id = story.joined(asked).member_id.to_string();
    let joined = story.join_as(4, &id, |_| {});
    story.pass(3_000);
    assert_eq!(story.joined(joined).generation_id, 1);
}

#[test]
fn leader_assigns_and_everybody_gets_its_part() {
    let mut story = Story::new();
    story.join("");
    story.join("");
    story.pass(6_000);
    let follower = story.sync("new-2", 1, &[]);
    assert!(story.waiting.contains(&follower));
    let early = story.group.commit(
        story.now,
        Identity { member: &text("new-2"), instance: None },
        1,
        false,
    );
    assert_eq!(early, Err(ResponseError::RebalanceInProgress));
    story.sync("new-1", 1, &[("new-1", "a"), ("new-2", "b")]);
    assert_eq!(story.syncs[&follower].assignment, "b");
    assert_eq!(story.group.state(), "Stable");
    assert!(story.group.is_subscribed_to(&TopicName(text("t"))));
    assert_eq!(story.heartbeat("new-1", 1), Ok(()));
    assert_eq!(story.heartbeat("new-1", 2), Err(ResponseError::IllegalGeneration));
    assert_eq!(story.heartbeat("nobody", 1), Err(ResponseError::UnknownMemberId));
    let again = story.sync("new-2", 1, &[]);
    assert_eq!(story.syncs[&again].assignment, "b");
}

#[test]
fn parts_are_shown_until_there_are_others() {
    let mut story = Story::new();
    story.join("");
    story.pass(3_000);
    story.sync("new-1", 1, &[("new-1", "a")]);
    story.join("");
    assert_eq!(story.group.state(), "PreparingRebalance");
    let shown: Vec<_> = story.group.describe().map(|member| member.assignment).collect();
    assert_eq!(shown, ["a", ""]);
}

#[test]
fn newcomer_makes_everybody_join_again_and_the_leader_stays() {
    let mut story = Story::stable(2);
    let third = story.join("");
    assert_eq!(story.heartbeat("new-1", 1), Err(ResponseError::RebalanceInProgress));
    let second = story.join("new-2");
    let first = story.join("new-1");
    for number in [first, second, third] {
        assert_eq!(story.joined(number).generation_id, 2);
        assert_eq!(&*story.joined(number).leader, "new-1");
    }
    let sync = story.sync("new-1", 1, &[]);
    assert_eq!(story.sync_error(sync), Some(ResponseError::IllegalGeneration));
}

#[test]
fn member_that_does_not_join_in_time_is_left_behind() {
    let mut story = Story::stable(2);
    let newcomer = story.join("");
    let second = story.join("new-2");
    // Its heartbeats keep its session, but not its place.
    for _ in 0..3 {
        story.pass(6_000);
        let _ = story.heartbeat("new-1", 1);
    }
    story.pass(2_000);
    assert_eq!(story.joined(newcomer).generation_id, 2);
    assert_eq!(&*story.joined(second).leader, "new-2");
    assert_eq!(story.heartbeat("new-1", 1), Err(ResponseError::UnknownMemberId));
}

#[test]
fn member_that_is_silent_for_a_session_is_removed() {
    let mut story = Story::stable(2);
    story.pass(9_999);
    assert_eq!(story.heartbeat("new-2", 1), Ok(()));
    story.pass(1);
    assert_eq!(story.heartbeat("new-2", 1), Err(ResponseError::RebalanceInProgress));
    let second = story.join("new-2");
    assert_eq!(story.joined(second).generation_id, 2);
}

/// A member that joined but never syncs would keep the partitions of all others idle.
#[test]
fn member_that_does_not_sync_in_time_is_removed() {
    let mut story = Story::new();
    story.join("");
    story.join("");
    story.pass(6_000);
    story.sync("new-1", 1, &[]);
    for _ in 0..4 {
        story.pass(5_000);
        let _ = story.heartbeat("new-1", 1);
        let _ = story.heartbeat("new-2", 1);
    }
    assert_eq!(story.heartbeat("new-2", 1), Err(ResponseError::UnknownMemberId));
    assert_eq!(story.heartbeat("new-1", 1), Err(ResponseError::RebalanceInProgress));
}

#[test]
fn last_member_leaves_an_empty_group() {
    let mut story = Story::stable(1);
    assert_eq!(story.leave("new-2"), Err(ResponseError::UnknownMemberId));
    assert_eq!(story.leave("new-1"), Ok(()));
    assert_eq!(story.group.state(), "Empty");
    assert_eq!(story.heartbeat("new-1", 1), Err(ResponseError::UnknownMemberId));
    assert_eq!(story.group.deadline(), None);
}

#[test]
fn static_member_returns_without_a_rebalance() {
    let mut story = Story::new();
    let fixed = |join: &mut Join| join.instance = Some(text("i"));
    story.join_as(9, "", fixed);
    story.pass(3_000);
    story.sync("new-1", 1, &[("new-1", "a")]);
    let back = story.join_as(9, "", fixed);
    let answer = story.joined(back);
    assert_eq!((answer.generation_id, answer.skip_assignment), (1, true));
    assert_eq!(answer.leader, answer.member_id);
    let id = answer.member_id.to_string();
    let sync = story.sync(&id, 1, &[]);
    assert_eq!(story.syncs[&sync].assignment, "a");
    let old = story.join_as(9, "new-1", fixed);
    assert_eq!(story.join_error(old), Some(ResponseError::FencedInstanceId));
    // Older leaders cannot be told to skip it: they are told that another one leads.
    let older = story.join_as(8, "", fixed);
    assert_ne!(story.joined(older).leader, story.joined(older).member_id);
}

#[test]
fn static_member_that_waits_is_fenced_by_its_next_process() {
    let mut story = Story::new();
    let fixed = |join: &mut Join| join.instance = Some(text("i"));
    let first = story.join_as(9, "", fixed);
    let second = story.join_as(9, "", fixed);
    assert_eq!(story.join_error(first), Some(ResponseError::FencedInstanceId));
    story.pass(3_000);
    assert_eq!(story.joined(second).generation_id, 1);
}

#[test]
fn group_that_is_full_takes_nobody() {
    let mut story = Story::stable(3);
    let late = story.join("");
    assert_eq!(story.join_error(late), Some(ResponseError::GroupMaxSizeReached));
}

#[test]
fn member_without_a_common_protocol_is_refused() {
    let mut story = Story::stable(1);
    let other = story.join_as(3, "", |join| join.protocols[0].0 = text("sticky"));
    assert_eq!(story.join_error(other), Some(ResponseError::InconsistentGroupProtocol));
    let other = story.join_as(3, "", |join| join.protocol_type = text("connect"));
    assert_eq!(story.join_error(other), Some(ResponseError::InconsistentGroupProtocol));
    let none = story.join_as(3, "", |join| join.protocols.clear());
    assert_eq!(story.join_error(none), Some(ResponseError::InconsistentGroupProtocol));
}

#[test]
fn most_preferred_of_the_common_protocols_is_chosen() {
    let mut story = Story::new();
    let prefer = |names: &'static [&'static str]| {
        move |join: &mut Join| {
            join.protocols = names.iter().map(|name| (text(name), Bytes::new())).collect();
        }
    };
    let first = story.join_as(3, "", prefer(&["x", "a", "b"]));
    story.join_as(3, "", prefer(&["b", "a"]));
    story.join_as(3, "", prefer(&["b", "a"]));
    story.pass(20_000);
    assert_eq!(story.joined(first).protocol_name.as_deref(), Some("b"));
}

#[test]
fn new_coordinator_knows_what_was_written() {
    let mut story = Story::stable(2);
    let newcomer = story.join("");
    let answers = story.group.handle_move(story.now);
    story.take(answers);
    assert_eq!(story.join_error(newcomer), Some(ResponseError::NotCoordinator));
    assert_eq!(story.group.state(), "Stable");
    assert_eq!(story.heartbeat("new-1", 1), Ok(()));
    let sync = story.sync("new-2", 1, &[]);
    assert_eq!(story.syncs[&sync].assignment, "b");
}

/// What a member's process knows.
#[derive(Clone, Debug, Default)]
struct Client {
    id: StrBytes,
    generation: i32,
    doing: Doing,
}

#[derive(Clone, Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    Joining(u64),
    Joined(Vec<StrBytes>),
    Syncing(u64),
    Reading(Bytes),
}

const PARTITIONS: u8 = 5;

/// One thing that a client does next if it behaves.
fn behave(story: &mut Story, client: &mut Client) {
    match client.doing.clone() {
        Doing::Nothing => {
            let id = client.id.to_string();
            client.doing = Doing::Joining(story.join_as(9, &id, |_| {}));
        }
        Doing::Joining(number) => {
            let Some(answer) = story.joins.get(&number) else { return };
            match ResponseError::try_from_code(answer.error_code) {
                None => {
                    client.generation = answer.generation_id;
                    let members = answer.members.iter().map(|member| member.member_id.clone());
                    client.doing = Doing::Joined(members.collect());
                }
                Some(ResponseError::MemberIdRequired) => {
                    client.doing = Doing::Nothing;
                }
                Some(_) => client.doing = Doing::Nothing,
            }
            client.id = if answer.error_code == ResponseError::UnknownMemberId.code() {
                StrBytes::default()
            } else {
                answer.member_id.clone()
            };
        }
        Doing::Joined(members) => {
            let shares = (0..members.len()).map(|at| {
                let mine = |partition: &u8| usize::from(*partition) % members.len() == at;
                (members[at].clone(), (0..PARTITIONS).filter(mine).collect())
            });
            let assignments = shares.collect();
            let ticket = story.ticket(5);
            let sync = Sync {
                ticket,
                identity: Identity { member: &client.id, instance: None },
                generation: client.generation,
                protocol_type: None,
                protocol_name: None,
                assignments,
            };
            let answers = story.group.sync(story.now, sync);
            story.take(answers);
            client.doing = Doing::Syncing(ticket.number);
        }
        Doing::Syncing(number) => {
            let Some(answer) = story.syncs.get(&number) else { return };
            let error = ResponseError::try_from_code(answer.error_code);
            client.doing = match error {
                None => Doing::Reading(answer.assignment.clone()),
                Some(_) => Doing::Nothing,
            };
            if error.is_some_and(|error| error != ResponseError::RebalanceInProgress) {
                client.id = StrBytes::default();
            }
        }
        Doing::Reading(_) => {
            let identity = Identity { member: &client.id, instance: None };
            match story.group.heartbeat(story.now, identity, client.generation) {
                Ok(()) => {}
                Err(ResponseError::RebalanceInProgress) => client.doing = Doing::Nothing,
                Err(_) => *client = Client::default(),
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Behave(usize),
    /// Joins in the midst of anything, as after a lost connection.
    JoinAgain(usize),
    SyncAgain(usize),
    Leave(usize),
    /// The process is gone, and a new one comes in its place.
    Crash(usize),
    Pass(u64),
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..3_usize).prop_map(Step::Behave),
        2 => (0..3_usize).prop_map(Step::JoinAgain),
        1 => (0..3_usize).prop_map(Step::SyncAgain),
        1 => (0..3_usize).prop_map(Step::Leave),
        1 => (0..3_usize).prop_map(Step::Crash),
        3 => (1..12_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Move),
    ]
}

fn act(story: &mut Story, clients: &mut [Client], step: &Step) {
    match *step {
        Step::Behave(who) => behave(story, &mut clients[who]),
        Step::JoinAgain(who) => {
            clients[who].doing = Doing::Nothing;
            behave(story, &mut clients[who]);
        }
        Step::SyncAgain(who) => {
            clients[who].doing = Doing::Joined(vec![clients[who].id.clone()]);
            behave(story, &mut clients[who]);
        }
        Step::Leave(who) => {
            let id = clients[who].id.to_string();
            let _ = story.leave(&id);
            clients[who] = Client::default();
        }
        Step::Crash(who) => clients[who] = Client::default(),
        Step::Pass(ms) => story.pass(ms),
        Step::Move => {
            let answers = story.group.handle_move(story.now);
            story.take(answers);
        }
    }
}

fn check(group: &ClassicGroup) -> Result<(), TestCaseError> {
    let leads = group.leader.as_ref().is_some_and(|id| group.members.contains_key(id));
    prop_assert_eq!(leads, !group.members.is_empty());
    prop_assert!(group.phase != Phase::Empty || group.members.is_empty());
    prop_assert!(group.unsynced.is_empty() == group.sync_until.is_none());
    let known = group.static_members.values().all(|id| group.members.contains_key(id));
    prop_assert!(known);
    Ok(())
}

proptest! {
    /// Whatever has happened, members that behave end stable, with every partition read by exactly one.
    #[test]
    fn any_interleaving_ends_stable(steps in prop::collection::vec(step(), 0..80)) {
        let mut story = Story::new();
        let mut clients = vec![Client::default(); 3];
        for step in &steps {
            act(&mut story, &mut clients, step);
            check(&story.group)?;
        }
        // Longer than a member that has crashed before its first generation is waited for.
        for _ in 0..700 {
            story.pass(500);
            for client in &mut clients {
                behave(&mut story, client);
            }
        }
        prop_assert_eq!(story.group.state(), "Stable");
        let read = clients.iter().flat_map(|client| match &client.doing {
            Doing::Reading(partitions) => partitions.to_vec(),
            _ => Vec::new(),
        });
        let mut read: Vec<u8> = read.collect();
        read.sort_unstable();
        prop_assert_eq!(read, (0..PARTITIONS).collect::<Vec<u8>>());
        // Nobody was forgotten: whoever has asked has its answer.
        prop_assert!(story.waiting.is_empty(), "{:?} still wait", story.waiting);
    }
}
