use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{ResponseError, messages::ProduceResponse};

use super::super::super::{
    CloseCause,
    conversation::{Conversation, Records, START_MS, produce, sealed, topic_name},
};
use kafka_protocol::messages::BrokerId;

fn code(error: ResponseError) -> i16 {
    error.code()
}

fn one_topic(configs: &[(&str, &str)]) -> (Conversation, super::super::super::ConnectionId) {
    let mut talk = Conversation::new(&[]);
    talk.create("orders", &[1], configs);
    let connection = talk.connect(1);
    (talk, connection)
}

fn changed(records: &Records, change: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::from(records.bytes().as_ref());
    change(&mut bytes);
    sealed(bytes)
}

#[test]
fn batches_get_offsets_one_after_the_other() {
    let (mut talk, leader) = one_topic(&[]);
    assert_eq!(talk.produce(leader, "orders", Records::new(3).bytes()), (0, 0));
    assert_eq!(talk.produce(leader, "orders", Records::new(1).bytes()), (0, 3));
    let read = talk.fetch(leader, "orders", 3);
    assert_eq!(read[..8], 3_i64.to_be_bytes(), "the offset is written into the batch");
    assert_eq!(read[8..], Records::new(1).bytes()[8..], "the rest is as it was sent");
}

#[test]
fn produce_answers_in_every_version() {
    let (mut talk, leader) = one_topic(&[]);
    for (expected, version) in (0..).zip(3..=13) {
        let mut request = produce("orders", Records::new(1).bytes(), 1);
        if version == 13 {
            request.topic_data[0].name = topic_name("");
            request.topic_data[0].topic_id = talk.id_of("orders");
        }
        let response: ProduceResponse = talk.ask(leader, version, &request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, expected), "v{version}");
        let log_start = if version >= 5 { 0 } else { -1 };
        assert_eq!(answer.log_start_offset, log_start, "v{version}");
    }
}

#[test]
fn what_is_no_valid_batch_is_refused_with_kafkas_errors() {
    let (mut talk, leader) = one_topic(&[]);
    let good = Records::new(2);
    let two = [good.bytes(), good.bytes()].concat();
    let cases: Vec<(&str, Bytes, ResponseError)> = vec![
        ("nothing", Bytes::new(), ResponseError::InvalidRecord),
        ("a part of a batch", good.bytes().slice(..70), ResponseError::InvalidRecord),
        ("two batches", two.into(), ResponseError::InvalidRecord),
        ("magic 1", changed(&good, |b| b[16] = 1), ResponseError::InvalidRecord),
        ("magic 3", changed(&good, |b| b[16] = 3), ResponseError::CorruptMessage),
        ("a negative length", set(&good, 8, &[0xff; 4]), ResponseError::CorruptMessage),
        ("another checksum", set(&good, 17, &[1, 2, 3, 4]), ResponseError::CorruptMessage),
        ("an offset", changed(&good, |b| b[7] = 1), ResponseError::InvalidRecord),
        ("too many records said", changed(&good, |b| b[60] = 3), ResponseError::InvalidRecord),
        ("both counts wrong", changed(&good, |b| (b[60], b[26]) = (3, 2)), {
            ResponseError::InvalidRecord
        }),
        ("no records", changed(&good, |b| b[57..61].fill(0)), ResponseError::InvalidRecord),
        ("control", Records { attributes: 0x20, ..good.clone() }.bytes(), {
            ResponseError::InvalidRecord
        }),
        ("no sequence", good.clone().by(5, 0, -1).bytes(), ResponseError::InvalidRecord),
        ("bytes behind the records", changed(&good, |b| b.put_u8(0)), {
            ResponseError::InvalidRecord
        }),
        ("numbers that do not end", changed(&good, |b| b[61..].fill(0xff)), {
            ResponseError::UnknownServerError
        }),
        ("no codec", changed(&good, |b| b[22] = 5), ResponseError::UnknownServerError),
    ];
    for (what, records, error) in cases {
        assert_eq!(talk.produce(leader, "orders", records), (code(error), -1), "{what}");
    }
    let [good, part] = [good.bytes(), good.bytes().slice(..40)];
    let trailing = Bytes::from([good, part].concat());
    assert_eq!(talk.produce(leader, "orders", trailing), (0, 0), "a part behind is ignored");
}

fn set(records: &Records, at: usize, to: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(records.bytes().as_ref());
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes.freeze()
}

#[test]
fn zstd_needs_version_7() {
    let (mut talk, leader) = one_topic(&[]);
    let records = Records { attributes: 4, ..Records::new(1) }.bytes();
    let mut error = |version| {
        let request = produce("orders", records.clone(), 1);
        let response: ProduceResponse = talk.ask(leader, version, &request);
        response.responses[0].partition_responses[0].error_code
    };
    assert_eq!(error(6), code(ResponseError::UnsupportedCompressionType));
    assert_eq!(error(7), 0);
}

#[test]
fn large_batches_are_refused_by_the_topics_limit() {
    let (mut talk, leader) = one_topic(&[("max.message.bytes", "200")]);
    let small = Records { value_bytes: 100, ..Records::new(1) };
    let large = Records { value_bytes: 200, ..Records::new(1) };
    let too_large = code(ResponseError::MessageTooLarge);
    assert_eq!(talk.produce(leader, "orders", large.bytes()), (too_large, -1));
    assert_eq!(talk.produce(leader, "orders", small.bytes()), (0, 0));
}

#[test]
fn timestamps_too_far_away_are_refused_record_by_record() {
    let (mut talk, leader) = one_topic(&[
        ("message.timestamp.before.max.ms", "1000"),
        ("message.timestamp.after.max.ms", "500"),
    ]);
    let now = START_MS.cast_signed();
    let good = Records::at(&[now - 1000, now + 500, -1]);
    assert_eq!(talk.produce(leader, "orders", good.bytes()).0, 0);
    let bad = Records::at(&[now, now - 1001, now + 501]);
    let response: ProduceResponse = talk.ask(leader, 8, &produce("orders", bad.bytes(), 1));
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, code(ResponseError::InvalidTimestamp));
    let blamed: Vec<_> = answer.record_errors.iter().map(|fault| fault.batch_index).collect();
    assert_eq!(blamed, [1, 2]);
    assert!(answer.error_message.is_some());
}

#[test]
fn log_append_time_is_written_into_the_batch() {
    let (mut talk, leader) = one_topic(&[("message.timestamp.type", "LogAppendTime")]);
    talk.pass(5);
    let request = produce("orders", Records::at(&[3, 4]).bytes(), 1);
    let response: ProduceResponse = talk.ask(leader, 9, &request);
    let answer = &response.responses[0].partition_responses[0];
    let appended_at = START_MS.cast_signed() + 5;
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, appended_at));
    let read = talk.fetch(leader, "orders", 0);
    assert_eq!(read[22] & 0x8, 0x8, "the attribute is set");
    assert_eq!(read[35..43], appended_at.to_be_bytes());
    assert_eq!(read[17..21], crc32c::crc32c(&read[21..]).to_be_bytes());
}

#[test]
fn compacted_topics_need_keys() {
    let (mut talk, leader) = one_topic(&[("cleanup.policy", "compact")]);
    let with_key = Records { key: true, ..Records::new(1) };
    let refused = (code(ResponseError::InvalidRecord), -1);
    assert_eq!(talk.produce(leader, "orders", Records::new(1).bytes()), refused);
    assert_eq!(talk.produce(leader, "orders", with_key.bytes()), (0, 0));
}

/// Measured on Kafka 4.1.1: the table of what a broker accepts.
#[test]
fn repeats_get_the_old_offset_and_gaps_are_refused() {
    let (mut talk, leader) = one_topic(&[]);
    let mut send = |epoch, sequence, count| {
        talk.produce(leader, "orders", Records::new(count).by(1 << 40, epoch, sequence).bytes())
    };
    let gap = (code(ResponseError::OutOfOrderSequenceNumber), -1);
    let old_epoch = (code(ResponseError::InvalidProducerEpoch), -1);
    assert_eq!(send(7, 500, 2), (0, 0), "an unknown producer begins anywhere");
    assert_eq!(send(7, 503, 1), gap);
    for step in 0..5 {
        assert_eq!(send(7, 502 + step, 1), (0, 2 + i64::from(step)));
    }
    assert_eq!(send(7, 503, 1), (0, 3), "one of the last five");
    assert_eq!(send(7, 506, 1), (0, 6));
    assert_eq!(send(7, 500, 2), gap, "forgotten, as five came after it");
    assert_eq!(send(7, 505, 2), gap, "another shape");
    assert_eq!(send(6, 507, 1), old_epoch);
    assert_eq!(send(8, 507, 1), gap, "a new epoch begins at 0");
    assert_eq!(send(8, 0, 1), (0, 7));
    assert_eq!(send(7, 506, 1), old_epoch);
}

#[test]
fn sequences_wrap_behind_the_largest() {
    let (mut talk, leader) = one_topic(&[]);
    let mut send = |sequence, count| {
        talk.produce(leader, "orders", Records::new(count).by(1, 0, sequence).bytes())
    };
    assert_eq!(send(i32::MAX - 1, 4), (0, 0), "its last sequence is 1");
    assert_eq!(send(2, 1), (0, 4));
    assert_eq!(send(i32::MAX - 1, 4), (0, 0), "a repeat across the wrap");
    assert_eq!(send(3, 1), (0, 5));
}

#[test]
fn negative_producers_are_none() {
    let (mut talk, leader) = one_topic(&[]);
    for offset in 0..2 {
        let records = Records::new(1).by(-5, 0, 0).bytes();
        assert_eq!(talk.produce(leader, "orders", records), (0, offset));
    }
}

#[test]
fn producers_are_forgotten_after_their_time() {
    let mut talk = Conversation::new(&[("producer.id.expiration.ms", "1000")]);
    talk.create("orders", &[1], &[]);
    let leader = talk.connect(1);
    assert_eq!(talk.produce(leader, "orders", Records::new(1).by(1, 0, 0).bytes()), (0, 0));
    talk.pass(599_000);
    let gap = Records::new(1).by(1, 0, 9).bytes();
    let refused = (code(ResponseError::OutOfOrderSequenceNumber), -1);
    assert_eq!(talk.produce(leader, "orders", gap.clone()), refused, "not looked at yet");
    talk.pass(1_000);
    assert_eq!(talk.produce(leader, "orders", gap), (0, 1));
}

#[test]
fn produce_without_acks_is_not_answered_and_closes_on_failure() {
    let (mut talk, leader) = one_topic(&[]);
    talk.send(leader, 9, &produce("orders", Records::new(1).bytes(), 0));
    assert_eq!(talk.closed(), None);
    assert_eq!(talk.partition("orders").log.end(), 1);
    talk.send(leader, 9, &produce("nothing", Records::new(1).bytes(), 0));
    assert_eq!(talk.closed(), Some(CloseCause::ProduceFailed));
}

#[test]
fn wrong_brokers_and_unknown_topics_are_told() {
    let mut talk = Conversation::new(&[]);
    talk.create("orders", &[2], &[]);
    let other = talk.connect(1);
    let response: ProduceResponse =
        talk.ask(other, 12, &produce("orders", Records::new(1).bytes(), 1));
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, code(ResponseError::NotLeaderOrFollower));
    assert_eq!(answer.current_leader.leader_id, BrokerId(2));
    assert_eq!(response.node_endpoints[0].port, 9093);
    let unknown = (code(ResponseError::UnknownTopicOrPartition), -1);
    assert_eq!(talk.produce(other, "nothing", Records::new(1).bytes()), unknown);

    let leader = talk.connect(2);
    let mut by_id = produce("", Records::new(1).bytes(), 1);
    by_id.topic_data[0].topic_id = talk.id_of("orders");
    let response: ProduceResponse = talk.ask(leader, 13, &by_id);
    assert_eq!(response.responses[0].topic_id, talk.id_of("orders"));
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    by_id.topic_data[0].topic_id = uuid::Uuid::from_u128(9);
    let response: ProduceResponse = talk.ask(leader, 13, &by_id);
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, code(ResponseError::UnknownTopicId));
}

#[test]
fn internal_topics_and_strange_acks_are_refused() {
    let (mut talk, leader) = one_topic(&[]);
    talk.create("__consumer_offsets", &[1], &[]);
    let records = Records::new(1).bytes();
    let refused = (code(ResponseError::InvalidTopicException), -1);
    assert_eq!(talk.produce(leader, "__consumer_offsets", records.clone()), refused);
    let response: ProduceResponse = talk.ask(leader, 9, &produce("orders", records, 2));
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, code(ResponseError::InvalidRequiredAcks));
}

#[test]
fn read_only_topics_refuse_clients() {
    let (mut talk, leader) = one_topic(&[]);
    talk.cluster.topics.get_mut(&topic_name("orders")).expect("it exists").read_only = true;
    let refused = (code(super::READ_ONLY_ERROR), -1);
    assert_eq!(talk.produce(leader, "orders", Records::new(1).bytes()), refused);
}

/// A cluster whose topic needs two replicas, one of which is silent.
fn lagging() -> (Conversation, super::super::super::ConnectionId) {
    let mut talk = Conversation::new(&[]);
    talk.create("orders", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    talk.change("orders", |partition| partition.log.replica_stopped(BrokerId(3)));
    let leader = talk.connect(1);
    (talk, leader)
}

fn error(response: &ProduceResponse) -> i16 {
    response.responses[0].partition_responses[0].error_code
}

#[test]
fn acks_all_waits_for_a_silent_replica_until_it_leaves_the_isr() {
    let (mut talk, leader) = lagging();
    let sent = talk.send(leader, 9, &produce("orders", Records::new(1).bytes(), -1));
    assert_eq!(talk.answer::<ProduceResponse>(sent), None);
    assert_eq!(talk.partition("orders").log.high_watermark(), 0);
    talk.change("orders", |partition| partition.isr = vec![BrokerId(1), BrokerId(2)]);
    let response: ProduceResponse = talk.answer(sent).expect("the rest has it");
    assert_eq!(error(&response), 0);
    assert_eq!(talk.partition("orders").log.high_watermark(), 1);
}

#[test]
fn acks_all_ends_with_the_timeout() {
    let (mut talk, leader) = lagging();
    let sent = talk.send(leader, 9, &produce("orders", Records::new(1).bytes(), -1));
    talk.pass(999);
    assert_eq!(talk.answer::<ProduceResponse>(sent), None);
    talk.pass(1);
    let response: ProduceResponse = talk.answer(sent).expect("its time is over");
    assert_eq!(error(&response), code(ResponseError::RequestTimedOut));
    let acks_1 = talk.send(leader, 9, &produce("orders", Records::new(1).bytes(), 1));
    assert!(talk.answer::<ProduceResponse>(acks_1).is_some(), "acks=1 waits for nobody");
}

#[test]
fn too_small_an_isr_is_refused_before_the_append_and_waited_for_after_it() {
    let (mut talk, leader) = lagging();
    let sent = talk.send(leader, 9, &produce("orders", Records::new(1).bytes(), -1));
    talk.change("orders", |partition| partition.isr = vec![BrokerId(1)]);
    assert!(talk.answer::<ProduceResponse>(sent).is_none(), "no high watermark over too few");
    let refused = (code(ResponseError::NotEnoughReplicas), -1);
    let other = talk.connect(1);
    assert_eq!(talk.produce(other, "orders", Records::new(1).bytes()), refused);
    assert_eq!(talk.partition("orders").log.end(), 1);
}

#[test]
fn waiting_produce_is_answered_when_the_leader_moves() {
    let (mut talk, leader) = lagging();
    let sent = talk.send(leader, 10, &produce("orders", Records::new(1).bytes(), -1));
    talk.change("orders", |partition| partition.leader = Some(BrokerId(2)));
    let response: ProduceResponse = talk.answer(sent).expect("it cannot succeed here");
    assert_eq!(error(&response), code(ResponseError::NotLeaderOrFollower));
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(answer.current_leader.leader_id, BrokerId(2));
}

#[test]
fn client_that_left_leaves_nothing_waiting() {
    let (mut talk, leader) = lagging();
    talk.send(leader, 9, &produce("orders", Records::new(1).bytes(), -1));
    talk.cluster.close(leader);
    assert!(talk.cluster.waiting_produces.is_empty());
    talk.change("orders", |partition| partition.isr = vec![BrokerId(1), BrokerId(2)]);
    assert_eq!(talk.closed(), None);
}

#[test]
fn transactional_batches_need_a_transactional_id() {
    let (mut talk, leader) = one_topic(&[]);
    let records = Records::new(1).by(1, 0, 0).transactional().bytes();
    let refused = (code(ResponseError::TransactionalIdAuthorizationFailed), -1);
    assert_eq!(talk.produce(leader, "orders", records), refused);
}
