//! A million mutilated frames: nothing panics, nothing hangs, nothing grows beyond its frame.

#![expect(clippy::disallowed_types, reason = "the box of time is in the real world")]

use std::time::Instant;

use switchyard::{
    topology::NodeId,
    wire::{
        answer::{Brokers, ErrorAnswer},
        api::{self, ClientView},
        api_versions::Offered,
        header::{self, Peek},
        inspect,
        rewrite::Neutraliser,
        walk::{self, Direction},
    },
};

use crate::{
    generate::{Random, Shape, body},
    messages,
    rewriting::{addresses, framed, rewritten},
};

const FRAMES: u64 = 1_000_000;
/// Large enough for what a rewrite adds to a small frame: a length, and longer names in place of shorter.
const GROWTH_BYTES: usize = 4096;

/// One sound frame of every message and version.
fn sound() -> Vec<(i16, i16, Direction, Vec<u8>)> {
    let shape = Shape { elements: 2, text: 6, known_nodes: true, tagged: true };
    let mut frames = Vec::new();
    for (key, version, direction, message) in messages() {
        for seed in 0..2 {
            let body = body(message, version, shape, &mut Random::new(seed));
            let frame = match direction {
                Direction::Request => {
                    let mut frame = (key as i16).to_be_bytes().to_vec();
                    frame.extend_from_slice(&version.to_be_bytes());
                    frame.extend_from_slice(&[0, 0, 0, 7, 0xff, 0xff]);
                    if matches!(header::peek_request(&frame, frame.len()), Peek::Malformed(_)) {
                        frame.push(0);
                    }
                    frame.extend_from_slice(&body);
                    frame
                }
                Direction::Response => framed(key as i16, version, &body),
            };
            frames.push((key as i16, version, direction, frame));
        }
    }
    frames
}

fn mutilate(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(frame.len().max(1));
        match random.below(7) {
            0 => frame.truncate(at),
            1 => {
                let tail = &other[random.below(other.len())..];
                frame.truncate(at);
                frame.extend_from_slice(tail);
            }
            2 => frame.insert(at.min(frame.len()), random.next() as u8),
            3 => {
                // A count or length that asks for everything.
                let huge = [0x7f, 0xff, 0xff, 0xff];
                for (byte, huge) in frame.iter_mut().skip(at).zip(huge) {
                    *byte = huge;
                }
            }
            4 => frame.iter_mut().skip(at).take(5).for_each(|byte| *byte |= 0x80),
            _ => {
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
}

#[test]
fn a_million_mutilated_frames_do_no_harm() {
    let sound = sound();
    let addresses = addresses();
    let nodes = [NodeId(1), NodeId(2)];
    let brokers = Brokers { nodes: &nodes, addresses: &addresses };
    let mut random = Random::new(20_26);
    let started = Instant::now();
    let mut survivors = 0_u64;
    let mut frame = Vec::new();
    for round in 0..FRAMES {
        let (key, version, direction, original) = &sound[random.below(sound.len())];
        let (_, _, _, other) = &sound[random.below(sound.len())];
        frame.clear();
        frame.extend_from_slice(original);
        mutilate(&mut frame, other, &mut random);
        let view = if round % 2 == 0 { ClientView::Native } else { ClientView::Neutral };
        survivors += u64::from(match direction {
            Direction::Request => request(&frame, view, &brokers, &mut random),
            Direction::Response => response(*key, *version, &mut frame, view, &mut random),
        });
    }
    println!(
        "{FRAMES} frames in {:.1} s, {survivors} still sound",
        started.elapsed().as_secs_f64()
    );
    assert!(survivors > FRAMES / 100, "the mutations leave nothing to look at");
    assert!(survivors < FRAMES * 9 / 10, "the mutations are too tame");
}

fn request(frame: &[u8], view: ClientView, brokers: &Brokers<'_>, random: &mut Random) -> bool {
    let _ = header::sniff(frame);
    let arrived = random.below(frame.len() + 1);
    let _ = header::peek_request(&frame[..arrived], frame.len());
    let Peek::Ready(head) = header::peek_request(frame, frame.len()) else { return false };
    let body = &frame[head.body_offset..];
    let _ = inspect::produce_acks(head.api_version, body, true);
    let _ = inspect::has_transactional_id(head.api_version, body, true);
    let _ = inspect::member_epoch(head.api_version, body, true);
    if api::policy(head.api_key, head.api_version, view).is_none() {
        return false;
    }
    let sound = walk::check(Direction::Request, head.api_key, head.api_version, body).is_ok();
    let error = (8, Some("fenced"));
    let Ok(mut answer) =
        ErrorAnswer::new(head.api_key, head.api_version, 7, body.len(), error, brokers)
    else {
        return sound;
    };
    let (first, second) = body.split_at(random.below(body.len() + 1));
    let answered =
        answer.feed(first).and_then(|()| answer.feed(second)).and_then(|()| answer.finish());
    assert_eq!(answered.is_ok(), sound, "walker and answer disagree on {frame:02x?}");
    if let Ok(Some(answer)) = answered {
        assert!(
            answer.len() <= 64 * frame.len() + GROWTH_BYTES,
            "{} bytes answer {}",
            answer.len(),
            frame.len()
        );
    }
    sound
}

fn response(
    key: i16,
    version: i16,
    frame: &mut [u8],
    view: ClientView,
    random: &mut Random,
) -> bool {
    let _ = Offered::from_response(version, frame);
    if !frame.is_empty()
        && let Ok(mut neutraliser) = Neutraliser::new(key, version, frame.len())
    {
        let mut copy = frame.to_vec();
        let (first, second) = copy.split_at_mut(random.below(frame.len()));
        if neutraliser.feed(first).is_ok() && neutraliser.feed(second).is_ok() {
            let _ = neutraliser.finish();
        }
    }
    match rewritten(key, version, view, frame) {
        Ok((seen, _)) => {
            assert!(
                seen.len() <= 4 * frame.len() + GROWTH_BYTES,
                "{} bytes from {}",
                seen.len(),
                frame.len()
            );
            true
        }
        Err(_) => false,
    }
}
