//! The real clients of scenarios, as plays on real Kafka have them, on fake clusters.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use switchyard_itests::{
    Result, eventually,
    fake::{FakeCluster, FakePlan},
    fake_test,
    ledger::none,
    play::{Recorder, clients::Clients},
};
use switchyard_sim::{
    client::{self, record::Numbered},
    oracle::{
        Case, GroupHome, History, Home, Verdict, error_code,
        history::{Entry, Position, Record, Stored, What},
        judge,
    },
    rehearsal::names,
    scenario::{self, Scenario},
};

use crate::LIMIT;

/// A scenario of one cluster, with these clients.
fn scenario(clients: &str) -> Result<Scenario> {
    let text = format!(
        "about: A test of the real clients.\n\
         gateway: ../examples/two-regions.yaml\n\
         clusters: {{east: {{}}, west: {{}}}}\n\
         topics: [{{name: orders, partitions: 4}}]\n\
         {clients}\n\
         duration: 1m\n"
    );
    let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let read = scenario::read(text.as_bytes(), "test", "test", base, &[]);
    let mut all = read.map_err(|error| error.to_string())?;
    all.pop().ok_or_else(|| "no scenario".into())
}

/// Clients of a scenario on a fake cluster.
struct Play {
    cluster: FakeCluster,
    scenario: Scenario,
    recorder: Recorder,
    clients: Clients,
}

impl Play {
    async fn start(clients: &str) -> Result<Self> {
        let scenario = scenario(clients)?;
        let settings = &[
            ("auto.create.topics.enable", "false"),
            ("broker.session.timeout.ms", "1000"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("group.min.session.timeout.ms", "1000"),
        ];
        let cluster = FakeCluster::start(FakePlan { settings, ..FakePlan::default() })?;
        cluster.create_topic("orders", 4, 3).await?;
        let bootstrap = cluster.bootstrap();
        let prepared = Clients::prepare(&scenario, |_| bootstrap.clone()).await?;
        let recorder = Recorder::default();
        let clients = prepared.start(&recorder)?;
        Ok(Self { cluster, scenario, recorder, clients })
    }

    /// How often something of the kind was seen by clients of this name.
    fn count(&self, name: &str, is: impl Fn(&What) -> bool) -> usize {
        let entries = self.recorder.entries_in_order();
        entries.iter().filter(|entry| entry.who.starts_with(name) && is(&entry.what)).count()
    }

    async fn await_count(
        &self,
        name: &str,
        what: &str,
        count: usize,
        is: impl Fn(&What) -> bool,
    ) -> Result<()> {
        let told = format!("{count} times {what} of {name}");
        let done =
            eventually(&told, LIMIT, || async { (self.count(name, &is) >= count).then_some(()) });
        done.await.map_err(|error| format!("{error}:{}", self.tail()).into())
    }

    /// Waits until nothing is open and every acknowledged record was read by every group; then everybody ends.
    async fn end(self) -> Result<(History, Verdict)> {
        self.clients.stop_sending()?;
        let groups = self.groups();
        let settled = eventually("everything read", LIMIT, || async {
            let entries = self.recorder.entries_in_order();
            let acknowledged = acknowledged(&entries);
            let all = groups.keys().all(|group| acknowledged.is_subset(&read(&entries, group)));
            (self.clients.open() == 0 && all).then_some(())
        });
        settled.await.map_err(|error| format!("{error}:{}", self.tail()))?;
        self.clients.end().await?;
        let history = History {
            entries: self.recorder.entries_in_order(),
            logs: BTreeMap::from([("east".to_owned(), stored(&self.cluster))]),
        };
        let verdict = judge(&history, &case(&self.scenario));
        let violations: Vec<_> = verdict.violations.iter().map(|it| format!("{it:?}")).collect();
        none("violations", &violations)?;
        Ok((history, verdict))
    }

    fn groups(&self) -> BTreeMap<Arc<str>, GroupHome> {
        case(&self.scenario).groups
    }

    /// The newest entries, for an error message.
    fn tail(&self) -> String {
        let entries = self.recorder.entries_in_order();
        let newest = entries.iter().rev().take(40).rev();
        newest.fold(String::new(), |text, entry| text + "\n    " + &entry.to_string())
    }
}

fn case(scenario: &Scenario) -> Case {
    let mut case = Case { ended: Duration::from_mins(1), ..Case::default() };
    for producer in &scenario.producers {
        for name in names(&producer.name, producer.count) {
            let topic = producer.topic.as_str().into();
            case.producers.insert(name.into(), Home { topic, cluster: "east".into(), route: None });
        }
    }
    for consumer in &scenario.consumers {
        let group: Arc<str> = consumer.settings["group.id"].as_str().into();
        let topics = consumer.topics.iter().map(|topic| topic.as_str().into()).collect();
        case.groups.insert(Arc::clone(&group), GroupHome { topics, cluster: "east".into() });
        for name in names(&consumer.name, consumer.count) {
            case.members.insert(name.into(), Arc::clone(&group));
        }
    }
    case
}

fn stored(cluster: &FakeCluster) -> Vec<Stored> {
    let partitions = cluster.cluster().with(|cluster, _| cluster.stored());
    let mut all = Vec::new();
    for it in partitions {
        for (offset, value) in client::committed(it.batches, &it.aborted) {
            let Some(numbered) = Numbered::decode(&value) else { continue };
            all.push(Stored {
                position: Position {
                    topic: it.topic.as_str().into(),
                    partition: it.partition,
                    offset,
                },
                record: Record { producer: numbered.producer.into(), number: numbered.number },
            });
        }
    }
    all
}

/// Acknowledged records; of those in transactions, the committed ones.
fn acknowledged(entries: &[Entry]) -> BTreeSet<Record> {
    let mut all = BTreeSet::new();
    let mut aborted = BTreeSet::new();
    for entry in entries {
        let record = |number: u64| Record { producer: Arc::clone(&entry.who), number };
        match &entry.what {
            What::Acknowledged { number, .. } => drop(all.insert(record(*number))),
            What::Transaction { numbers, committed: false } => {
                aborted.extend(numbers.iter().map(|number| record(*number)));
            }
            _ => {}
        }
    }
    all.difference(&aborted).cloned().collect()
}

fn read(entries: &[Entry], of: &str) -> BTreeSet<Record> {
    let record = |entry: &Entry| match &entry.what {
        What::Consumed { group, record, .. } if &**group == of => Some(record.clone()),
        _ => None,
    };
    entries.iter().filter_map(record).collect()
}

fn is_acknowledged(what: &What) -> bool {
    matches!(what, What::Acknowledged { .. })
}

fn is_disconnected(what: &What) -> bool {
    matches!(what, What::Disconnected { .. })
}

fn is_assigned(what: &What) -> bool {
    matches!(what, What::Assigned { .. })
}

/// Records of both libraries, in transactions and out of them, are each written once and read once by the groups of both.
#[test]
fn clients_of_a_scenario_write_and_read_every_record_once() {
    fake_test(async {
        let play = Play::start(
            "producers:\n\
             - {name: checkout, count: 2, cluster: east, topic: orders, rate: 20, record-bytes: 200}\n\
             - {name: payments, cluster: east, topic: orders, rate: 20, transaction-records: 10}\n\
             - {name: sensors, profile: librdkafka, cluster: east, topic: orders, rate: 20}\n\
             - {name: meters, profile: librdkafka, cluster: east, topic: orders, rate: 20, transaction-records: 10}\n\
             consumers:\n\
             - {name: billing, count: 2, cluster: east, topics: [orders], settings: {auto.offset.reset: earliest, isolation.level: read_committed}}\n\
             - {name: archive, profile: librdkafka, cluster: east, topics: [orders], settings: {auto.offset.reset: earliest}}\n",
        )
        .await?;
        for name in ["checkout-1", "checkout-2", "payments-1", "sensors-1", "meters-1"] {
            play.await_count(name, "acknowledged", 60, is_acknowledged).await?;
        }
        let (history, verdict) = play.end().await?;
        for figure in ["lost", "duplicated", "failed", "missed", "repeated", "errors", "fatal"] {
            assert_eq!(verdict.figures[figure], 0, "{figure}: {:?}", verdict.witnesses.get(figure));
        }
        assert!(verdict.acknowledged >= 300 && verdict.sent == verdict.acknowledged);
        let ends = |name: &str, is_committed: bool| {
            let is = |entry: &&Entry| match &entry.what {
                What::Transaction { numbers, committed } => {
                    *entry.who == *name && *committed == is_committed && !numbers.is_empty()
                }
                _ => false,
            };
            history.entries.iter().filter(is).count()
        };
        for name in ["payments-1", "meters-1"] {
            assert!(ends(name, true) >= 6, "{name} has committed {}", ends(name, true));
            assert_eq!(ends(name, false), 0, "{name}");
        }
        Ok(())
    });
}

/// Names of what records of a client have failed with.
fn failures(history: &History, name: &str) -> BTreeSet<String> {
    let code = |entry: &Entry| match &entry.what {
        What::Failed { reason, .. } if *entry.who == *name => Some(error_code(reason)),
        _ => None,
    };
    history.entries.iter().filter_map(code).collect()
}

/// What waits for too long fails, by the same name in both libraries; what comes later is written, and cuts are told.
#[test]
fn records_that_an_outage_outlasts_fail_and_those_behind_them_do_not() {
    fake_test(async {
        let play = Play::start(
            "producers:\n\
             - {name: checkout, cluster: east, topic: orders, rate: 20, settings: {delivery.timeout.ms: 3000, request.timeout.ms: 1000}}\n\
             - {name: payments, cluster: east, topic: orders, rate: 20, transaction-records: 10, settings: {delivery.timeout.ms: 3000, request.timeout.ms: 1000}}\n\
             - {name: sensors, profile: librdkafka, cluster: east, topic: orders, rate: 20, settings: {message.timeout.ms: 3000}}\n",
        )
        .await?;
        let producers = ["checkout-1", "payments-1", "sensors-1"];
        for name in producers {
            play.await_count(name, "acknowledged", 20, is_acknowledged).await?;
        }
        for node in 1..=3 {
            play.cluster.kill(node);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        for node in 1..=3 {
            play.cluster.start_again(node);
        }
        for name in producers {
            let before = play.count(name, is_acknowledged);
            play.await_count(name, "acknowledged", before + 20, is_acknowledged).await?;
            assert!(play.count(name, is_disconnected) > 0, "{name} has lost its connections");
        }
        let (history, verdict) = play.end().await?;
        assert_eq!(verdict.figures["lost"], 0, "{:?}", verdict.witnesses.get("lost"));
        assert_eq!(verdict.figures["fatal"], 0, "{:?}", verdict.witnesses.get("fatal"));
        let expired = BTreeSet::from(["delivery timeout".to_owned()]);
        for name in ["checkout-1", "sensors-1"] {
            assert_eq!(failures(&history, name), expired, "{name}");
        }
        assert!(failures(&history, "payments-1").is_superset(&expired));
        let aborted =
            |entry: &Entry| matches!(entry.what, What::Transaction { committed: false, .. });
        assert!(history.entries.iter().any(aborted), "a transaction with a record that failed");
        Ok(())
    });
}

/// A member that comes later gets its share, and whoever gives partitions up says so.
#[test]
fn members_that_come_later_get_their_share() {
    fake_test(async {
        let settings = "settings: {group.id: GROUP, auto.offset.reset: earliest, heartbeat.interval.ms: 500, auto.commit.interval.ms: 500}";
        let consumer = |name: &str, profile: &str, group: &str, start: &str| {
            let settings = settings.replace("GROUP", group);
            format!(
                "- {{name: {name}, profile: {profile}, cluster: east, topics: [orders], start: {start}, {settings}}}\n"
            )
        };
        let play = Play::start(&format!(
            "producers: [{{name: checkout, cluster: east, topic: orders, rate: 50}}]\nconsumers:\n{}{}{}{}",
            consumer("billing", "java", "billing", "0s"),
            consumer("billing-late", "java", "billing", "3s"),
            consumer("archive", "librdkafka", "archive", "0s"),
            consumer("archive-late", "librdkafka", "archive", "3s"),
        ))
        .await?;
        for name in ["billing-late-1", "archive-late-1"] {
            play.await_count(name, "assigned", 1, is_assigned).await?;
        }
        for name in ["billing-1", "archive-1"] {
            play.await_count(name, "assigned", 2, is_assigned).await?;
        }
        let (history, verdict) = play.end().await?;
        assert_eq!(verdict.figures["missed"], 0, "{:?}", verdict.witnesses.get("missed"));
        assert_eq!(verdict.figures["rebalances"], 2, "one of each group");
        for name in ["billing-1", "billing-late-1", "archive-1", "archive-late-1"] {
            let held = |entry: &Entry| match &entry.what {
                What::Assigned { partitions, .. } if *entry.who == *name => Some(partitions.len()),
                _ => None,
            };
            assert_eq!(history.entries.iter().rev().find_map(held), Some(2), "{name}");
        }
        Ok(())
    });
}

/// Whoever polls too late loses its partitions and gets them again; only librdkafka lets its application know.
#[test]
fn consumers_that_are_stalled_for_too_long_come_back() {
    fake_test(async {
        let settings = "settings: {auto.offset.reset: earliest, session.timeout.ms: 2000, max.poll.interval.ms: 2000, heartbeat.interval.ms: 500}";
        let mut play = Play::start(&format!(
            "producers: [{{name: checkout, cluster: east, topic: orders, rate: 50}}]\nconsumers:\n\
             - {{name: billing, cluster: east, topics: [orders], {settings}}}\n\
             - {{name: archive, profile: librdkafka, cluster: east, topics: [orders], {settings}}}\n",
        ))
        .await?;
        for name in ["billing", "archive"] {
            let is_consumed = |what: &What| matches!(what, What::Consumed { .. });
            play.await_count(name, "consumed", 20, is_consumed).await?;
            play.clients.stall(name, Duration::from_secs(4))?;
        }
        for name in ["billing", "archive"] {
            play.await_count(name, "assigned", 2, is_assigned).await?;
        }
        assert!(!play.clients.have_settled()?, "records are on their way");
        let (_, verdict) = play.end().await?;
        assert_eq!(verdict.figures["missed"], 0, "{:?}", verdict.witnesses.get("missed"));
        assert_eq!(verdict.figures["rebalances"], 2, "one of each group");
        assert_eq!(verdict.figures["errors"], 1, "{:?}", verdict.witnesses.get("errors"));
        Ok(())
    });
}
