//! What a fence does to requests.

use super::*;

fn fence() -> Gate {
    Gate::Answer { error_code: 8, message: None }
}

#[test]
fn held_request_waits_and_is_forwarded_when_the_gate_opens() {
    let mut story = Story::relaying();
    story.route_is(setting(Gate::Hold, 1));
    story.client(&heartbeat(1));
    assert!(story.to_upstream.is_empty() && story.to_client.is_empty());
    assert!(story.session.client_wait().is_fence());
    assert!(story.events.contains(&Event::Parked));
    assert_eq!(story.session.deadline(), None, "the wait is not the client's");
    story.route_is(open());
    assert_eq!(story.to_upstream, heartbeat(1));
}

/// Half a request on the old cluster and half nowhere would be a broken connection.
#[test]
fn request_that_has_begun_goes_through_a_falling_fence() {
    let mut story = Story::relaying();
    let bytes = [heartbeat(1), heartbeat(2)].concat();
    let (first, second) = bytes.split_at(15);
    story.client(first);
    story.route_is(setting(fence(), 1));
    story.client(second);
    assert_eq!(story.to_upstream, heartbeat(1));
    story.upstream(&response(1, b"\0\0\0\0\0\0"));
    assert_eq!(story.answered(), [1, 2]);
}

#[test]
fn hold_that_turns_into_errors_answers_what_was_parked() {
    let mut story = Story::relaying();
    story.route_is(setting(Gate::Hold, 1));
    story.client(&heartbeat(1));
    story.route_is(setting(fence(), 1));
    assert_eq!(story.answered(), [1]);
    assert!(story.to_upstream.is_empty());
    // Heartbeat v1: throttle, error code.
    assert_eq!(story.to_client[12..14], 8_i16.to_be_bytes());
}

#[test]
fn fence_reaches_a_request_that_waits_for_upstream() {
    let mut story = Story::on(BOOTSTRAP, open());
    story.client(&heartbeat(1));
    story.route_is(setting(fence(), 1));
    assert_eq!(story.answered(), [1]);
    assert!(!story.session.poll_dial(), "a fenced session does not dial");
}

/// Clients take an error in the SASL exchange for wrong credentials, and give up.
#[test]
fn authentication_waits_under_a_fence_that_answers_errors() {
    let mut story = Story::on(BOOTSTRAP, setting(fence(), 1));
    story.client(&request(17, 1, 1, b"\0\x05PLAIN"));
    assert!(story.to_client.is_empty());
    assert_eq!(story.session.client_wait(), ClientWait::OpenGate);
    story.route_is(open());
    story.connect(None);
    assert!(!story.to_upstream.is_empty());
}

/// librdkafka gives a connection ten seconds for ApiVersions; a hold may take longer.
#[test]
fn api_versions_is_answered_while_held() {
    let mut story = Story::on(BOOTSTRAP, setting(Gate::Hold, 1));
    story.client(&api_versions(1, 0));
    assert_eq!(story.answered(), [1]);
    let frame = &story.to_client[4..];
    let offered = Offered::from_response(0, frame).expect("a response");
    assert_eq!(offered, Offered([(3, (0, 8)), (18, (0, 4))].into()), "as the neutral view has it");
    assert!(!story.session.poll_dial());
}

#[test]
fn session_that_was_held_without_an_upstream_goes_to_the_new_target() {
    let mut story = Story::on(BOOTSTRAP, setting(Gate::Hold, 1));
    story.client(&metadata(1));
    story.route_is(setting(Gate::Hold, 2));
    story.route_is(setting(Gate::Open, 2));
    story.connect(None);
    assert_eq!(story.to_upstream, metadata(1));
    assert_eq!(story.session.upstream_epoch(), Some(2));
}
