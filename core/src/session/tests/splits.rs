//! TCP cuts where it likes; the outcome is the same.

use proptest::prelude::*;

use super::*;

/// What the client sends, what upstream answers, and how both are cut.
fn told(requests: &[Vec<u8>], responses: &[Vec<u8>], cuts: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let mut story = Story::relaying();
    let mut cuts = cuts.iter().copied().cycle();
    let mut feed = |bytes: &[u8], step: &mut dyn FnMut(&[u8])| {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(cuts.next().unwrap_or(1).clamp(1, rest.len()));
            step(piece);
            rest = tail;
        }
    };
    // Three are in flight at most, so requests and responses go in threes.
    for (requests, responses) in requests.chunks(3).zip(responses.chunks(3)) {
        feed(&requests.concat(), &mut |piece| story.client(piece));
        feed(&responses.concat(), &mut |piece| story.upstream(piece));
    }
    assert_eq!(story.closed(), None);
    (story.to_upstream, story.to_client)
}

fn conversation(kinds: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let pair = |(index, kind): (usize, &u8)| {
        let id = i32::try_from(index).expect("few");
        match kind % 3 {
            0 => (heartbeat(id), response(id, b"\0\0\0\0\0\0")),
            1 => (metadata(id), metadata_of(id, 1, 19092)),
            _ => (produce(id, 1), response(id, &[7; 300])),
        }
    };
    kinds.iter().enumerate().map(pair).unzip()
}

proptest! {
    #[test]
    fn any_split_of_both_streams_gives_the_same_bytes(
        kinds in prop::collection::vec(any::<u8>(), 1..12),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let (requests, responses) = conversation(&kinds);
        let whole = told(&requests, &responses, &[usize::MAX]);
        prop_assert_eq!(&whole.0, &requests.concat(), "requests are never changed");
        prop_assert_eq!(told(&requests, &responses, &cuts), whole);
    }
}

/// What a fence of errors answers, with the requests cut so.
fn answered(requests: &[Vec<u8>], cuts: &[usize]) -> Vec<u8> {
    let gate = Gate::Answer { error_code: 8, message: None };
    let mut story = Story::on(BOOTSTRAP, setting(gate, 1));
    let mut cuts = cuts.iter().copied().cycle();
    let bytes = requests.concat();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(cuts.next().unwrap_or(1).clamp(1, rest.len()));
        story.client(piece);
        rest = tail;
    }
    assert_eq!((story.closed(), story.to_upstream.len()), (None, 0));
    story.to_client
}

proptest! {
    #[test]
    fn any_split_of_fenced_requests_gives_the_same_answers(
        kinds in prop::collection::vec(any::<u8>(), 1..12),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let request = |(index, kind): (usize, &u8)| {
            let id = i32::try_from(index).expect("few");
            match kind % 5 {
                0 => heartbeat(id),
                1 => metadata(id),
                2 => produce(id, 1),
                3 => produce(id, 0),
                _ => api_versions(id, 2),
            }
        };
        let requests: Vec<_> = kinds.iter().enumerate().map(request).collect();
        let whole = answered(&requests, &[usize::MAX]);
        prop_assert_eq!(whole.is_empty(), kinds.iter().all(|kind| kind % 5 == 3), "acks=0 gets none");
        prop_assert_eq!(answered(&requests, &cuts), whole);
    }
}

#[test]
fn neighbouring_frames_are_forwarded_in_one_piece() {
    let mut session = Story::relaying().session;
    let mut chunk = [heartbeat(1), heartbeat(2)].concat();
    let mut ops = Ops::default();
    assert_eq!(session.handle_client(Duration::ZERO, &mut chunk, &mut ops), chunk.len());
    assert_eq!(ops.ops, [Op::Forward(0..chunk.len())]);
}
