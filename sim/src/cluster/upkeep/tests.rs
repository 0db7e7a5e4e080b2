use super::super::{
    ClusterSpec,
    conversation::{Conversation, Records, START_MS},
    log::Log,
};

#[test]
fn retention_is_looked_at_in_its_interval() {
    let mut talk = Conversation::new(&[("log.retention.check.interval.ms", "1000")]);
    talk.create("orders", &[1], &[("retention.ms", "500")]);
    talk.create("kept", &[1], &[("retention.ms", "-1")]);
    let leader = talk.connect(1);
    for topic in ["orders", "kept"] {
        talk.produce(leader, topic, Records::new(2).bytes());
    }
    talk.pass(999);
    assert_eq!(talk.partition("orders").log.start(), 0, "it is old, but nobody has looked");
    talk.pass(1);
    assert_eq!(talk.partition("orders").log.start(), 2);
    assert_eq!(talk.partition("kept").log.start(), 0);
}

#[test]
fn cluster_without_records_sleeps() {
    let mut talk = Conversation::new(&[]);
    talk.create("orders", &[1], &[("retention.ms", "500")]);
    assert_eq!(talk.cluster.deadline(), None);
    let leader = talk.connect(1);
    talk.produce(leader, "orders", Records::new(1).bytes());
    assert!(talk.cluster.deadline().is_some());
    talk.pass(300_000);
    assert_eq!(talk.partition("orders").log.start(), 1);
    talk.pass(300_000);
    assert_eq!(talk.cluster.deadline(), None, "nothing is left that could age");
}

#[test]
fn all_logs_together_stay_within_the_bound_and_the_oldest_batches_go() {
    let mut spec = ClusterSpec::new("test", 7, "localhost", [9092]);
    spec.log_bytes_max = 100_000;
    let mut talk = Conversation::with(spec);
    for topic in ["old", "new"] {
        talk.create(topic, &[1], &[("retention.ms", "-1")]);
    }
    let leader = talk.connect(1);
    let mut write = |topic, age: i64| {
        let mut records = Records::at(&[START_MS.cast_signed() - age]);
        records.value_bytes = 1000;
        talk.produce(leader, topic, records.bytes());
        let logs = ["old", "new"].map(|topic| &talk.partition(topic).log);
        let bytes: usize = logs.iter().map(|log| log.bytes()).sum();
        assert!(bytes <= 100_000 + 100_000 / 8);
        logs.map(Log::start)
    };
    for _ in 0..60 {
        write("new", 0);
        write("old", 10);
    }
    let [old, new] = write("old", 10);
    assert!(old > 0, "something had to go");
    assert_eq!(new, 0, "what is younger stays");
}
