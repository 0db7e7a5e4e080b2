//! Requests and answers in their order; where a session belongs.

use super::*;

#[test]
fn request_waits_for_upstream_and_is_forwarded_unchanged() {
    let mut story = Story::on(BOOTSTRAP, open());
    story.client(&heartbeat(7));
    assert!(story.to_upstream.is_empty());
    assert_eq!(story.session.client_wait(), ClientWait::Upstream);
    story.connect(None);
    assert_eq!(story.to_upstream, heartbeat(7));
    assert_eq!(story.session.in_flight(), 1);
    story.upstream(&response(7, b"body"));
    assert_eq!(story.to_client, response(7, b"body"));
    assert_eq!(story.session.in_flight(), 0);
}

/// A fence's answer that overtakes a broker's would be matched to the wrong request.
#[test]
fn own_answer_queues_behind_requests_in_flight() {
    let mut story = Story::relaying();
    story.client(&heartbeat(1));
    story.route_is(setting(Gate::Answer { error_code: 8, message: None }, 1));
    story.client(&heartbeat(2));
    assert!(story.to_client.is_empty());
    story.upstream(&response(1, b"\0\0\0\0\0\0"));
    assert_eq!(story.answered(), [1, 2]);
}

/// Nothing answers `acks=0`; to wait for it would block everything behind.
#[test]
fn produce_without_acks_is_not_waited_for() {
    let mut story = Story::relaying();
    story.client(&produce(1, 0));
    assert_eq!(story.session.in_flight(), 0);
    story.client(&produce(2, 1));
    story.upstream(&response(2, b"x"));
    assert_eq!(story.answered(), [2]);
    assert_eq!(story.closed(), None);
}

#[test]
fn window_of_requests_in_flight_is_bounded_and_moves_on() {
    let mut story = Story::relaying();
    for id in 1..=4 {
        story.client(&heartbeat(id));
    }
    assert_eq!(story.session.in_flight(), 3);
    assert_eq!(story.session.client_wait(), ClientWait::Window);
    story.upstream(&response(1, b"x"));
    assert_eq!(story.session.in_flight(), 3, "the fourth has followed");
}

#[test]
fn addresses_are_replaced_and_learned() {
    let mut story = Story::relaying();
    story.client(&metadata(1));
    story.upstream(&metadata_of(1, 1, 19092));
    assert!(!story.to_client.windows(2).any(|window| window == b"up"));
    let address = BrokerAddress { host: "up".into(), port: 19092 };
    assert!(story.events.contains(&Event::Learned(vec![(NodeId(1), address)])));
}

/// InitProducerId v0: transactional id, timeout. Response: throttle, error, id, epoch.
fn producer_id_given_to(transactional_id: &[u8]) -> i64 {
    let mut story = Story::relaying();
    let mut body = transactional_id.to_vec();
    body.extend_from_slice(&[0, 0, 0, 0]);
    story.client(&request(22, 0, 1, &body));
    story.upstream(&response(1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0]));
    let bytes = story.to_client[14..22].try_into().expect("an id");
    i64::from_be_bytes(bytes)
}

/// A transactional producer's id is checked by the coordinator; any other may be told apart by domain.
#[test]
fn producer_id_is_tagged_without_a_transactional_id_only() {
    assert_eq!(producer_id_given_to(&[0xff, 0xff]), 9 | 5 << 40);
    assert_eq!(producer_id_given_to(&[0, 1, b't']), 9);
}

#[test]
fn repoint_severs_sessions_with_an_upstream_of_the_old_target() {
    let mut story = Story::relaying();
    story.client(&heartbeat(1));
    story.route_is(setting(Gate::Open, 2));
    assert_eq!(story.closed(), Some(CloseCause::Repointed));
}

/// A session that has not dialled yet has nothing of the old cluster and goes on.
#[test]
fn repoint_leaves_sessions_without_an_upstream() {
    let mut story = Story::on(BOOTSTRAP, open());
    story.client(&heartbeat(1));
    assert!(story.session.poll_dial());
    story.route_is(setting(Gate::Open, 2));
    assert_eq!(story.closed(), None);
    story.connect(None);
    assert_eq!(story.to_upstream, heartbeat(1));
}

#[test]
fn drain_ends_after_the_last_answer_and_takes_nothing_more() {
    let mut story = Story::relaying();
    story.client(&heartbeat(1));
    story.session.handle_drain(CloseCause::Shutdown);
    story.client(&heartbeat(2));
    assert_eq!(story.to_upstream, heartbeat(1));
    assert_eq!(story.closed(), None);
    story.upstream(&response(1, b"x"));
    assert_eq!(story.answered(), [1]);
    assert_eq!(story.closed(), Some(CloseCause::Shutdown));
}

fn end_of_provisional_session(real_port: u16) -> Option<CloseCause> {
    let mut story = Story::on(BOOTSTRAP + 2, open()); // Stands for node 1.
    story.client(&metadata(1));
    story.connect(Some(BrokerAddress { host: "up".into(), port: 19092 }));
    story.upstream(&metadata_of(1, 1, real_port.into()));
    assert_eq!(story.answered(), [1], "the answer is delivered first");
    story.closed()
}

/// A client that came for a broker before it was known must not stay with another one.
#[test]
fn provisional_session_ends_when_its_broker_turns_out_to_be_elsewhere() {
    assert_eq!(end_of_provisional_session(19093), Some(CloseCause::BrokerLearned));
    assert_eq!(end_of_provisional_session(19092), None);
}
