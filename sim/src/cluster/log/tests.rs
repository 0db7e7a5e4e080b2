use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::{
    super::{
        conversation::{Records, START_MS},
        settings::Settings,
        time::Time,
        versions::Profile,
    },
    *,
};

fn config(settings: &[(&str, &str)]) -> LogConfig {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    LogConfig::of_brokers(&Settings::new(BTreeMap::new(), Profile::Kafka41))
        .of_topic(&settings.collect())
}

fn now() -> Time {
    Time::from_ms(START_MS)
}

fn append(log: &mut Log, records: &Records) -> Result<Appended, Refused> {
    let batch = Batch::only(&records.bytes(), 12).expect("one whole batch");
    let appended = log.append(&batch, &config(&[]), now(), 0);
    log.replicated(&[]);
    appended
}

fn marker(producer_id: i64, producer_epoch: i16, commit: bool) -> Marker {
    Marker { producer_id, producer_epoch, commit, coordinator_epoch: 3, timestamp: 77 }
}

#[test]
fn marker_is_a_batch_that_can_be_read_back() {
    let mut log = Log::default();
    let records = Records::new(1).by(5, 2, 0).transactional();
    append(&mut log, &records).expect("valid");
    assert_eq!(log.append_marker(&marker(5, 2, true), 4), Ok(1));
    log.replicated(&[]);
    let batches = Batch::all(&log.read(1, 2, 1000, false).records).expect("a valid checksum");
    let [batch] = batches.as_slice() else { panic!("one batch") };
    assert!(batch.is_control() && batch.is_transactional());
    assert_eq!(batch.marker_content(), Some((true, 3)));
    assert_eq!((batch.base_offset(), batch.last_offset(), batch.leader_epoch()), (1, 1, 4));
    assert_eq!((batch.producer_id(), batch.producer_epoch()), (5, 2));
    assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (77, 77));
    let walked = records::walk(batch.records(), 1, |record| assert!(record.has_key));
    assert_eq!(walked, Ok(()));
}

#[test]
fn last_stable_offset_is_where_the_first_open_transaction_began() {
    let mut log = Log::default();
    let of = |id| Records::new(2).by(id, 0, 0).transactional();
    append(&mut log, &Records::new(1)).expect("valid");
    append(&mut log, &of(1)).expect("valid");
    append(&mut log, &of(2)).expect("valid");
    assert_eq!((log.last_stable_offset(), log.high_watermark()), (1, 5));
    log.append_marker(&marker(1, 0, false), 0).expect("not fenced");
    log.replicated(&[]);
    assert_eq!(log.last_stable_offset(), 3);
    log.append_marker(&marker(2, 0, true), 0).expect("not fenced");
    assert_eq!(log.last_stable_offset(), 3, "the marker is not replicated yet");
    log.replicated(&[]);
    assert_eq!(log.last_stable_offset(), 7);
    let aborted: Vec<_> =
        log.aborted(0, 7).iter().map(|of| (of.producer_id, of.first_offset)).collect();
    assert_eq!(aborted, [(1, 1)]);
    assert_eq!(log.aborted(6, 7), []);
    assert_eq!(log.aborted(0, 1), []);
}

#[test]
fn markers_of_old_epochs_are_refused() {
    let mut log = Log::default();
    append(&mut log, &Records::new(1).by(5, 2, 0).transactional()).expect("valid");
    let refused = log.append_marker(&marker(5, 1, true), 0);
    assert_eq!(refused, Err(ResponseError::InvalidProducerEpoch));
    log.append_marker(&marker(5, 2, true), 0).expect("not fenced");
    let old = Marker { coordinator_epoch: 2, ..marker(5, 2, true) };
    let refused = log.append_marker(&old, 0);
    assert_eq!(refused, Err(ResponseError::TransactionCoordinatorFenced));
}

/// With TV2 the marker raises the epoch, and the producer begins at 0 again.
#[test]
fn marker_of_a_higher_epoch_begins_it() {
    let mut log = Log::default();
    append(&mut log, &Records::new(1).by(5, 2, 0).transactional()).expect("valid");
    log.append_marker(&marker(5, 3, true), 0).expect("not fenced");
    let refused = append(&mut log, &Records::new(1).by(5, 2, 1)).expect_err("an old epoch");
    assert_eq!(refused.error, ResponseError::InvalidProducerEpoch);
    let refused = append(&mut log, &Records::new(1).by(5, 3, 1)).expect_err("not the first");
    assert_eq!(refused.error, ResponseError::OutOfOrderSequenceNumber);
    append(&mut log, &Records::new(1).by(5, 3, 0)).expect("the first");
    let (_, producer) = log.producers().next().expect("it is known");
    assert_eq!((producer.epoch, producer.last_sequence()), (3, 0));
    assert_eq!((producer.coordinator_epoch, producer.open_since), (3, None));
}

#[test]
fn plain_batch_within_a_transaction_is_refused() {
    let mut log = Log::default();
    append(&mut log, &Records::new(1).by(5, 0, 0).transactional()).expect("valid");
    let refused = append(&mut log, &Records::new(1).by(5, 0, 1)).expect_err("a mix");
    assert_eq!(refused.error, ResponseError::InvalidTxnState);
}

#[test]
fn stopped_replica_holds_the_high_watermark() {
    let mut log = Log::default();
    let isr = [BrokerId(1), BrokerId(2)];
    let batch = Batch::only(&Records::new(3).bytes(), 12).expect("valid");
    let write = |log: &mut Log| {
        log.append(&batch, &config(&[]), now(), 0).expect("valid");
        log.replicated(&isr);
        log.high_watermark()
    };
    assert_eq!(write(&mut log), 3);
    log.replica_stopped(BrokerId(2));
    assert_eq!(write(&mut log), 3);
    log.replicated(&isr[..1]);
    assert_eq!(log.high_watermark(), 6, "it has left the ISR");
    assert_eq!(log.end_of_replica(BrokerId(2)), 3);
    log.replica_returned(BrokerId(2));
    assert_eq!(write(&mut log), 9);
}

#[test]
fn old_and_surplus_batches_are_given_up() {
    let mut log = Log::default();
    let at = |age: i64| Records::at(&[START_MS.cast_signed() - age]);
    for age in [5000, 3000, 1000, 0] {
        append(&mut log, &at(age)).expect("valid");
    }
    let bytes = i64::try_from(log.bytes()).expect("small");
    log.retain(&config(&[("retention.ms", "3000")]), now());
    assert_eq!(log.start(), 1, "what is exactly as old stays");
    log.retain(&config(&[("retention.bytes", &(bytes / 2).to_string())]), now());
    assert_eq!(log.start(), 2);
    log.retain(&config(&[("retention.bytes", "0"), ("cleanup.policy", "compact")]), now());
    assert_eq!(log.start(), 2, "nothing is deleted without the policy");
    log.retain(&config(&[("retention.bytes", "0")]), now());
    assert_eq!((log.start(), log.end(), log.bytes()), (4, 4, 0));
}

#[test]
fn unreplicated_batches_are_kept() {
    let mut log = Log::default();
    let isr = [BrokerId(1), BrokerId(2)];
    log.replica_stopped(BrokerId(2));
    let batch = Batch::only(&Records::new(1).bytes(), 12).expect("valid");
    log.append(&batch, &config(&[]), now(), 0).expect("valid");
    log.replicated(&isr);
    log.retain(&config(&[("retention.bytes", "0")]), now());
    assert_eq!((log.start(), log.delete_oldest()), (0, false));
}

#[test]
fn truncation_forgets_what_producers_wrote_there() {
    let mut log = Log::default();
    for sequence in 0..4 {
        append(&mut log, &Records::new(1).by(7, 0, sequence)).expect("valid");
    }
    log.replica_stopped(BrokerId(2));
    log.truncate(2);
    assert_eq!((log.end(), log.high_watermark()), (2, 2));
    assert_eq!(log.end_of_replica(BrokerId(2)), 2);
    let again = append(&mut log, &Records::new(1).by(7, 0, 2)).expect("sequence 2 is next");
    assert_eq!(again.base_offset, 2);
    assert_eq!(log.end_of_replica(BrokerId(2)), 2, "what it had beyond is another record");
    log.restart_at(50);
    assert_eq!((log.start(), log.end(), log.bytes()), (50, 50, 0));
    assert_eq!(append(&mut log, &Records::new(1)).expect("valid").base_offset, 50);
}

#[test]
fn replicated_batches_keep_offset_epoch_and_producer() {
    let mut source = Log::default();
    let batch = Batch::only(&Records::new(2).by(7, 1, 5).bytes(), 12).expect("valid");
    for _ in 0..2 {
        // The second is a repeat and is not stored.
        source.append(&batch, &config(&[]), now(), 6).expect("valid");
    }
    source.replicated(&[]);
    let mut copy = Log::default();
    for batch in Batch::all(&source.read(0, 2, 1000, true).records).expect("valid") {
        copy.append_replicated(&batch).expect("at its end");
        assert_eq!(copy.append_replicated(&batch), Err(ResponseError::OffsetOutOfRange));
    }
    copy.replicated(&[]);
    assert_eq!((copy.end(), copy.epoch_at(0)), (2, 6));
    let repeat = copy.append(&batch, &config(&[]), now(), 9).expect("known from the source");
    assert_eq!((repeat.base_offset, repeat.bytes), (0, 0));
}

#[test]
fn producers_are_bounded_in_number() {
    let mut log = Log::default();
    let ids = 0..i64::try_from(producers::PRODUCERS_MAX).expect("small") + 1;
    for id in ids {
        append(&mut log, &Records::new(1).by(id, 0, 0)).expect("valid");
    }
    let known: Vec<_> = log.producers().map(|(id, _)| id).collect();
    assert!(known.len() <= producers::PRODUCERS_MAX);
    assert!(!known.contains(&0), "the oldest goes");
    assert!(known.contains(&i64::try_from(producers::PRODUCERS_MAX).expect("small")));
}

#[test]
fn records_of_any_bytes_are_no_panic() {
    use records::Malformed::{Number, Records};
    let cases =
        [(&[0x80_u8; 12][..], Number), (&[2, 0], Records), (&[0], Records), (&[0xff; 300], Number)];
    for (bytes, malformed) in cases {
        assert_eq!(records::walk(bytes, i32::MAX, |_| ()), Err(malformed));
    }
}

/// A log as simple as it can be: one entry a record, one list of batches a producer.
#[derive(Default)]
struct Naive {
    records: Vec<(i64, i64)>,
    start: i64,
    end: i64,
    taken: BTreeMap<i64, VecDeque<(i16, i32, i32, i64)>>,
}

impl Naive {
    fn append(&mut self, (id, epoch, first): (i64, i16, i32), count: i32) -> Result<i64, i16> {
        let last = i32::try_from((i64::from(first) + i64::from(count) - 1) % (1 << 31));
        let last = last.expect("below 2^31");
        let taken = self.taken.entry(id).or_default();
        let known = taken.back().copied();
        if let Some((known_epoch, _, known_last, _)) = known {
            let five = taken.iter().rev().take(5);
            let mut repeats =
                five.filter(|batch| (batch.0, batch.1, batch.2) == (epoch, first, last));
            if let Some(repeat) = repeats.next().filter(|_| epoch == known_epoch) {
                return Ok(repeat.3);
            }
            let follows = (i64::from(known_last) + 1) % (1 << 31) == i64::from(first);
            match epoch.cmp(&known_epoch) {
                std::cmp::Ordering::Less => return Err(47),
                std::cmp::Ordering::Greater if first != 0 => return Err(45),
                std::cmp::Ordering::Equal if !follows => return Err(45),
                std::cmp::Ordering::Greater | std::cmp::Ordering::Equal => {}
            }
        }
        let base = self.end;
        taken.push_back((epoch, first, last, base));
        self.records.extend((base..base + i64::from(count)).map(|offset| (offset, base)));
        self.end += i64::from(count);
        Ok(base)
    }

    /// Base offsets of the batches that a read from `from` on gives.
    fn read(&self, from: i64) -> Vec<i64> {
        let mut bases: Vec<_> = self
            .records
            .iter()
            .filter(|(offset, _)| *offset >= from.max(self.start))
            .map(|(_, base)| *base)
            .collect();
        bases.dedup();
        bases
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { id: i64, epoch: i16, sequence: Sequence, count: i32 },
    Delete { share: u8 },
    Read { share: u8 },
}

/// Most appends should be near to what is right.
#[derive(Clone, Copy, Debug)]
enum Sequence {
    Next,
    Again,
    At(i32),
}

fn step() -> impl Strategy<Value = Step> {
    let sequence = prop_oneof![
        6 => Just(Sequence::Next),
        2 => Just(Sequence::Again),
        1 => (0..4).prop_map(Sequence::At),
        1 => (i32::MAX - 3..=i32::MAX).prop_map(Sequence::At),
    ];
    prop_oneof![
        8 => (0..3_i64, prop_oneof![9 => Just(0_i16), 1 => 0..3_i16], sequence, 1..4_i32)
            .prop_map(|(id, epoch, sequence, count)| Step::Append { id, epoch, sequence, count }),
        1 => any::<u8>().prop_map(|share| Step::Delete { share }),
        2 => any::<u8>().prop_map(|share| Step::Read { share }),
    ]
}

proptest! {
    /// Whatever is written, repeated, deleted and read: offsets, errors and contents are those of the naive log.
    #[test]
    fn log_agrees_with_a_naive_one(steps in prop::collection::vec(step(), 1..120)) {
        let mut log = Log::default();
        let mut naive = Naive::default();
        for step in steps {
            match step {
                Step::Append { id, epoch, sequence, count } => {
                    let last = naive.taken.get(&id).and_then(|taken| taken.back().copied());
                    let sequence = match (sequence, last) {
                        (Sequence::At(at), _) => at,
                        (Sequence::Next, Some((known, _, last, _))) if known == epoch => {
                            last.wrapping_add(1) & i32::MAX
                        }
                        (Sequence::Again, Some((_, first, ..))) => first,
                        _ => 0,
                    };
                    let records = Records::new(usize::try_from(count).expect("small"));
                    let got = append(&mut log, &records.by(id, epoch, sequence));
                    let got = got.map(|it| it.base_offset).map_err(|it| it.error.code());
                    prop_assert_eq!(got, naive.append((id, epoch, sequence), count));
                }
                Step::Delete { share } => {
                    let offset = naive.end * i64::from(share) / 255;
                    log.delete_before(offset);
                    naive.start = naive.start.max(offset);
                }
                Step::Read { share } => {
                    let from = naive.start + (naive.end - naive.start) * i64::from(share) / 255;
                    let read = log.read(from, log.high_watermark(), usize::MAX, true);
                    prop_assert_eq!(read.records.len(), log.bytes_between(from, log.end()));
                    let batches = Batch::all(&read.records).expect("what was written");
                    let bases: Vec<_> = batches.iter().map(Batch::base_offset).collect();
                    prop_assert_eq!(bases, naive.read(from));
                }
            }
            prop_assert_eq!((log.start(), log.end()), (naive.start, naive.end));
        }
    }

    /// A copy of a log that was cut anywhere and copied again knows the same producers and transactions.
    #[test]
    fn truncated_log_knows_what_a_shorter_one_does(
        writes in prop::collection::vec((0..3_i64, any::<bool>(), any::<bool>()), 1..40),
        share in any::<u8>(),
    ) {
        let mut log = Log::default();
        let mut sequences = BTreeMap::new();
        for (id, end, commit) in writes {
            if end && log.has_open_transaction(id) {
                log.append_marker(&marker(id, 0, commit), 0).expect("not fenced");
            } else {
                let sequence = sequences.entry(id).or_insert(0);
                append(&mut log, &Records::new(2).by(id, 0, *sequence).transactional())
                    .expect("the next sequence");
                *sequence += 2;
            }
            log.replicated(&[]);
        }
        let whole = Batch::all(&log.read(0, log.end(), usize::MAX, true).records).expect("valid");
        let to = log.end() * i64::from(share) / 255;
        log.truncate(to);
        let mut short = Log::default();
        for batch in whole.iter().filter(|batch| batch.last_offset() < to) {
            short.append_replicated(batch).expect("in order");
        }
        short.replicated(&[]);
        let aborted = |log: &Log| log.aborted(0, i64::MAX);
        prop_assert_eq!(aborted(&log), aborted(&short));
        let view = |log: &Log| -> Vec<_> {
            log.producers().map(|(id, it)| (id, it.epoch, it.last_sequence(), it.open_since)).collect()
        };
        prop_assert_eq!(view(&log), view(&short));
        prop_assert_eq!(log.bytes(), short.bytes());
    }
}
