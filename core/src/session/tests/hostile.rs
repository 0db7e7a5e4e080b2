//! What bad input gets: a cause, and nothing else.

use proptest::prelude::*;

use super::*;

fn end_of(bytes: &[u8]) -> Option<CloseCause> {
    let mut story = Story::on(BOOTSTRAP, open());
    story.client(bytes);
    assert!(story.to_upstream.is_empty());
    story.closed()
}

#[test]
fn strangers_are_named() {
    assert_eq!(end_of(&[0x16, 3, 1, 2, 0, 1]), Some(CloseCause::TlsOnPlaintext));
    assert_eq!(end_of(b"GET / HTTP/1.1\r\n"), Some(CloseCause::HttpOnKafka));
    assert_eq!(end_of(b"POST /x"), Some(CloseCause::HttpOnKafka));
}

#[test]
fn impossible_lengths_are_refused() {
    assert_eq!(end_of(&[0xff, 0xff, 0xff, 0xff]), Some(CloseCause::FrameTooSmall));
    assert_eq!(end_of(&[0, 0, 0, 7]), Some(CloseCause::FrameTooSmall));
    assert_eq!(end_of(&[0, 1, 0, 1]), Some(CloseCause::FrameTooLarge), "first frames are small");
    let mut story = Story::relaying();
    story.client(&[0x00, 0x10, 0, 1]);
    assert_eq!(story.closed(), Some(CloseCause::FrameTooLarge));
}

#[test]
fn unknown_apis_and_versions_are_refused_with_their_numbers() {
    assert_eq!(end_of(&request(999, 0, 1, &[])), Some(CloseCause::UnknownApi));
    assert_eq!(end_of(&request(7, 0, 1, &[])), Some(CloseCause::UnknownApi));
    assert_eq!(end_of(&request(12, 99, 1, &[])), Some(CloseCause::UnsupportedVersion));
    // KIP-848 groups are not shown in the neutral view.
    assert_eq!(end_of(&request(68, 0, 1, &[0])), Some(CloseCause::UnknownApi));
}

#[test]
fn api_versions_of_the_future_learns_what_there_is() {
    let mut story = Story::on(BOOTSTRAP, open());
    story.client(&request(18, 99, 1, b"whatever it may contain"));
    assert_eq!(story.answered(), [1]);
    assert_eq!(story.to_client[8..10], 35_i16.to_be_bytes());
    story.client(&heartbeat(2));
    assert_eq!(story.session.client_wait(), ClientWait::Upstream, "the session goes on");
}

#[test]
fn half_a_first_request_has_until_the_deadline() {
    let mut story = Story::on(BOOTSTRAP, open());
    story.client(&heartbeat(1)[..9]);
    story.at_secs(29);
    assert_eq!(story.closed(), None);
    story.at_secs(30);
    assert_eq!(story.closed(), Some(CloseCause::FirstRequestTimeout));
}

#[test]
fn request_that_stops_in_the_middle_is_given_up() {
    let mut story = Story::relaying();
    story.client(&heartbeat(1)[..18]);
    story.at_secs(61);
    assert_eq!(story.closed(), Some(CloseCause::RequestStalled));
}

#[test]
fn idle_client_may_stay() {
    let mut story = Story::relaying();
    assert_eq!(story.session.deadline(), None);
    story.at_secs(100_000);
    assert_eq!(story.closed(), None);
}

fn end_by_upstream(bytes: &[u8]) -> Option<CloseCause> {
    let mut story = Story::relaying();
    story.client(&metadata(5));
    story.upstream(bytes);
    story.closed()
}

#[test]
fn faulty_upstream_is_named() {
    assert_eq!(end_by_upstream(&response(6, b"")), Some(CloseCause::CorrelationMismatch));
    assert_eq!(end_by_upstream(&response(5, b"junk")), Some(CloseCause::MalformedResponse));
    assert_eq!(end_by_upstream(&[0, 0, 0, 1, 0, 0, 0, 5]), Some(CloseCause::MalformedResponse));
    assert_eq!(end_by_upstream(&[0x7f, 0, 0, 0, 0, 0, 0, 5]), Some(CloseCause::ResponseTooLarge));
    assert_eq!(end_by_upstream(&[0, 5, 0, 0, 0, 0, 0, 5]), Some(CloseCause::ResponseTooLarge));
    let mut story = Story::relaying();
    story.upstream(&response(1, b""));
    assert_eq!(story.closed(), Some(CloseCause::UnexpectedResponse));
}

#[test]
fn upstream_that_closes_in_the_middle_of_a_frame_is_told_from_one_that_closes_between() {
    let mut story = Story::relaying();
    story.session.handle_upstream_eof();
    assert_eq!(story.closed(), Some(CloseCause::UpstreamClosed));
    let mut story = Story::relaying();
    story.client(&heartbeat(1));
    story.upstream(&response(1, b"body")[..9]);
    story.session.handle_upstream_eof();
    assert_eq!(story.closed(), Some(CloseCause::UpstreamTruncated));
}

proptest! {
    /// Whatever arrives, the session ends or waits; after its end there is silence.
    #[test]
    fn arbitrary_bytes_do_no_harm(
        chunks in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..64)), 1..20),
    ) {
        let mut story = Story::relaying();
        for (from_client, bytes) in chunks {
            let before = (story.to_client.len(), story.to_upstream.len(), story.closed());
            if from_client {
                story.client(&bytes);
            } else {
                story.upstream(&bytes);
            }
            if before.2.is_some() {
                prop_assert_eq!((story.to_client.len(), story.to_upstream.len(), story.closed()), before);
            }
        }
    }
}
