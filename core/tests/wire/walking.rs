//! The walker agrees with the protocol crate, in any split.

use switchyard::wire::{
    tree::Builder,
    walk::{self, Direction, WalkError, Walker},
};

use crate::{
    decode,
    generate::{Random, Shape, body},
    messages,
};

const ROUNDS: u64 = 12;

/// What the walker accepts the crate must decode to the last byte, and the other way round.
#[test]
fn walker_and_protocol_crate_agree_on_every_message_of_every_version() {
    let mut count = 0;
    for (key, version, direction, message) in messages() {
        for seed in 0..ROUNDS {
            let body = body(message, version, Shape::SMALL, &mut Random::new(seed));
            let context = || format!("{} v{version} seed {seed}: {body:02x?}", message.name);
            walk::check(direction, key as i16, version, &body)
                .unwrap_or_else(|e| panic!("{e}: {}", context()));
            let (text, again) = decode(key, version, direction, &body)
                .unwrap_or_else(|e| panic!("{e}: {}", context()));
            walk::check(direction, key as i16, version, &again)
                .unwrap_or_else(|e| panic!("{e}: {}", context()));
            assert_eq!(decode(key, version, direction, &again).unwrap().0, text, "{}", context());
            count += 1;
        }
    }
    assert!(count > 5_000, "only {count} messages");
}

/// Half a message must not be taken for a whole one, nor two for one.
#[test]
fn truncated_and_trailing_messages_are_refused() {
    for (key, version, direction, message) in messages() {
        let mut body = body(message, version, Shape::SMALL, &mut Random::new(3));
        if let Some((_, short)) = body.split_last() {
            let result = walk::check(direction, key as i16, version, short);
            assert!(result.is_err(), "{} v{version} without its last byte", message.name);
        }
        body.push(0);
        let result = walk::check(direction, key as i16, version, &body);
        assert!(
            matches!(result, Err(WalkError::Trailing { .. })),
            "{} v{version}: {result:?}",
            message.name
        );
    }
}

/// TCP cuts where it likes.
#[test]
fn any_split_gives_the_same_walk() {
    for (key, version, direction, message) in messages() {
        let mut random = Random::new(5);
        let body = body(message, version, Shape::SMALL, &mut random);
        let whole = tree(direction, key as i16, version, &[&body]);
        let single: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(
            tree(direction, key as i16, version, &single),
            whole,
            "{} v{version}",
            message.name
        );
        let at = random.below(body.len() + 1);
        let (head, tail) = body.split_at(at);
        assert_eq!(
            tree(direction, key as i16, version, &[head, tail]),
            whole,
            "{} v{version}",
            message.name
        );
    }
}

fn tree(direction: Direction, key: i16, version: i16, pieces: &[&[u8]]) -> String {
    let bytes = pieces.iter().map(|piece| piece.len()).sum();
    let mut walker = Walker::body(direction, key, version, bytes).unwrap();
    let mut builder = Builder::new(1 << 20);
    for piece in pieces {
        walker.feed(piece, &mut builder).unwrap();
    }
    walker.finish().unwrap();
    let fields = builder.finish();
    assert!(bytes == 0 || !fields.is_empty() || bytes == 1, "nothing was built");
    let named: Vec<_> = fields.iter().map(|(field, value)| (field.name, value)).collect();
    // Fields inside values print their whole schema; the shape is what matters.
    format!("{named:?}")
}

/// A count that asks for gigabytes is refused before anything is allocated for it.
#[test]
fn count_beyond_the_frame_is_refused() {
    // Metadata v0: a count of two thousand million brokers.
    let body = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let result = walk::check(Direction::Response, 3, 0, &body);
    assert!(matches!(result, Err(WalkError::PastEnd { .. })), "{result:?}");
}
