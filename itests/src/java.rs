//! Kafka's own Java clients, as the verifiable tools of its distribution: child processes that print what happens
//! to them as JSON, one object a line.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    Result, eventually,
    ledger::{Ledger, none},
    process::Process,
    version::Version,
};

/// Where the loggers of Java are set to write warnings to standard error.
macro_rules! log_settings {
    ($file:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/kafka-image/files/", $file)
    };
}

/// Heap and compiler of a client: they live for seconds on two shared cores. Kafka logs by Log4j 2 from 4.0 on, by Log4j 1
/// before; each reads its own property.
const JVM: [&str; 5] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    concat!("-Dlog4j2.configurationFile=", log_settings!("tools-log4j2.yaml")),
    concat!("-Dlog4j.configuration=file:", log_settings!("tools-log4j.properties")),
];

/// Settings of a client, by their own names.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// Directory of Kafka's jars, as `ci/setup` fills it.
fn jars() -> Result<PathBuf> {
    let version = Version::under_test()?;
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(
        |_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let jars = target.join("kafka").join(version.to_string());
    if jars.join(".complete").exists() {
        Ok(jars)
    } else {
        Err(format!("no Kafka jars in {}: run ci/setup", jars.display()).into())
    }
}

fn java(class: &str, arguments: &[String]) -> Result<Process> {
    let mut all: Vec<_> = JVM.iter().map(|&option| option.to_owned()).collect();
    all.extend(["-cp".to_owned(), class_path()?, class.to_owned()]);
    all.extend_from_slice(arguments);
    let name = class.rsplit('.').next().unwrap_or(class);
    Process::start(name, "java", &all)
}

/// Kafka's jars, as `-cp` takes them.
pub(crate) fn class_path() -> Result<String> {
    Ok(jars()?.join("*").display().to_string())
}

/// Tools that stood elsewhere before a version: their class, where they stood, and the version.
const MOVED: [(&str, &str, (u16, u16)); 2] = [
    (
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
        "kafka.admin.BrokerApiVersionsCommand",
        (4, 0),
    ),
    ("org.apache.kafka.tools.ConfigCommand", "kafka.admin.ConfigCommand", (4, 4)),
];

/// Runs one of Kafka's command-line tools to its end and gives what it printed. The class is that of the newest Kafka. Fails
/// when the tool did.
pub async fn tool(class: &str, arguments: &[&str]) -> Result<String> {
    let version = Version::under_test()?;
    let moved = MOVED
        .iter()
        .find(|(new, _, (major, minor))| *new == class && !version.since(*major, *minor));
    let class = moved.map_or(class, |(_, old, _)| old);
    let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let mut process = java(class, &arguments)?;
    let status = process.end(Duration::from_secs(90)).await?;
    // The readers of the streams may still be a moment behind the end of the process.
    tokio::time::sleep(Duration::from_millis(100)).await;
    if status.success() {
        Ok(process.stdout(|lines| lines.join("\n")))
    } else {
        Err(format!("{class}: {status}; its output ends:{}", process.tail()).into())
    }
}

/// A file of settings, for tools that take one.
pub fn settings_file(settings: Settings<'_>) -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    let text: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(file.path(), text.concat())?;
    Ok(file)
}

/// The events of one name among lines of JSON; other lines are passed over.
fn events<'a>(lines: &'a [String], name: &'a str) -> impl Iterator<Item = Value> + 'a {
    // The tools print the name last in some events and first in others, but always in this form.
    let mark = format!("\"name\":\"{name}\"");
    lines
        .iter()
        .filter(move |line| line.contains(&mark))
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// Warnings and errors that a client has logged.
fn complaints(process: &Process) -> Vec<String> {
    let complains = |line: &&String| {
        !line.starts_with('{') && (line.contains(" WARN ") || line.contains(" ERROR "))
    };
    let pick = |lines: &[String]| lines.iter().filter(complains).cloned().collect::<Vec<_>>();
    [process.stdout(pick), process.stderr(pick)].concat()
}

fn text(event: &Value, field: &str) -> String {
    event.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(event: &Value, field: &str) -> usize {
    event
        .get(field)
        .and_then(Value::as_u64)
        .and_then(|value| value.try_into().ok())
        .unwrap_or_default()
}

/// A producer that sends `prefix.0`, `prefix.1` and so on, idempotently, as is the library's default.
pub struct VerifiableProducer {
    process: Process,
    _settings: NamedTempFile,
}

/// What a [`VerifiableProducer`] is to send.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Start of every value; the tool takes integers only.
    pub prefix: u32,
    /// Number of records; `None`: until it is ended.
    pub records: Option<usize>,
    /// Records a second; `None`: as fast as it goes.
    pub rate: Option<u32>,
}

impl VerifiableProducer {
    /// Starts the producer.
    pub fn start(bootstrap: &str, load: Load<'_>, settings: Settings<'_>) -> Result<Self> {
        // The tool sets `retries` to 0 unless told otherwise, which silently takes idempotence away.
        let usual = [("retries", "2147483647"), ("enable.idempotence", "true")];
        let file = settings_file(&[&usual, settings].concat())?;
        let arguments = [
            ("--bootstrap-server", bootstrap.to_owned()),
            ("--topic", load.topic.to_owned()),
            ("--value-prefix", load.prefix.to_string()),
            ("--max-messages", load.records.map_or("-1".to_owned(), |records| records.to_string())),
            ("--throughput", load.rate.map_or("-1".to_owned(), |rate| rate.to_string())),
            ("--producer.config", file.path().display().to_string()),
        ];
        let arguments: Vec<_> =
            arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        let process = java("org.apache.kafka.tools.VerifiableProducer", &arguments)?;
        Ok(Self { process, _settings: file })
    }

    /// What it was told so far.
    pub fn ledger(&self) -> Ledger {
        self.process.stdout(|lines| Ledger {
            acknowledged: events(lines, "producer_send_success")
                .map(|event| text(&event, "value"))
                .collect(),
            failed: events(lines, "producer_send_error")
                .map(|event| (text(&event, "value"), text(&event, "message")))
                .collect(),
        })
    }

    /// Fails when it has logged a warning or an error.
    pub fn undisturbed(&self) -> Result<()> {
        none("errors of a Java producer", &complaints(&self.process))
    }

    /// How many records were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let mark = "\"name\":\"producer_send_success\"";
        self.process.stdout(|lines| lines.iter().filter(|line| line.contains(mark)).count())
    }

    /// Waits until it has been told of `count` successes.
    pub async fn await_acknowledged(&self, count: usize, limit: Duration) -> Result<()> {
        let what = format!("{count} records of a Java producer");
        let done =
            eventually(&what, limit, || async { (self.acknowledged() >= count).then_some(()) });
        done.await
            .map_err(|error| format!("{error}; its output ends:{}", self.process.tail()).into())
    }

    /// Waits until all records are sent, checks that none failed, and gives the ledger.
    pub async fn end(mut self, limit: Duration) -> Result<Ledger> {
        self.process.end(limit).await?;
        self.checked().await
    }

    /// Ends a producer without a number of records in good order: it waits for its last acknowledgements.
    pub async fn finish(mut self) -> Result<Ledger> {
        self.process.signal("TERM")?;
        self.process.end(Duration::from_mins(1)).await?;
        self.checked().await
    }

    async fn checked(self) -> Result<Ledger> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ledger = self.ledger();
        match ledger.failed.first() {
            None => Ok(ledger),
            Some((value, error)) => {
                let count = ledger.failed.len();
                Err(format!("Java: {count} records failed, such as {value}: {error}").into())
            }
        }
    }
}

/// The two protocols of consumer groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Members elect a leader that assigns the partitions.
    Classic,
    /// The coordinator assigns them (KIP-848).
    Consumer,
}

impl GroupProtocol {
    /// As both client libraries spell it in `group.protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// A member of a consumer group that commits after every poll.
pub struct VerifiableConsumer {
    process: Process,
}

impl VerifiableConsumer {
    /// Joins `group` and reads `topic`, from its beginning unless the group has offsets.
    pub fn start(
        bootstrap: &str,
        topic: &str,
        group: &str,
        protocol: GroupProtocol,
    ) -> Result<Self> {
        let mut arguments = vec!["--verbose".to_owned()];
        for (name, value) in [
            ("--bootstrap-server", bootstrap),
            ("--topic", topic),
            ("--group-id", group),
            ("--group-protocol", protocol.name()),
        ] {
            arguments.extend([name.to_owned(), value.to_owned()]);
        }
        let process = java("org.apache.kafka.tools.VerifiableConsumer", &arguments)?;
        Ok(Self { process })
    }

    /// How many records it received so far.
    pub fn count(&self) -> usize {
        let count = |event: Value| number(&event, "count");
        self.process.stdout(|lines| events(lines, "records_consumed").map(count).sum())
    }

    /// The values that it received so far, in order.
    pub fn values(&self) -> Vec<String> {
        self.process.stdout(|lines| {
            events(lines, "record_data").map(|event| text(&event, "value")).collect()
        })
    }

    /// How often it was given partitions.
    pub fn assignments(&self) -> usize {
        self.process.stdout(|lines| events(lines, "partitions_assigned").count())
    }

    /// Fails when it has logged a warning or an error.
    pub fn undisturbed(&self) -> Result<()> {
        none("errors of a Java consumer", &complaints(&self.process))
    }

    /// The end of its output, for an error message.
    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// Waits until it has received `count` records in all.
    pub async fn await_count(&self, count: usize, limit: Duration) -> Result<()> {
        let what = format!("{count} records of a Java consumer");
        eventually(&what, limit, || async { (self.count() >= count).then_some(()) }).await.map_err(
            |error| {
                format!("{error}: {}; its output ends:{}", self.count(), self.process.tail()).into()
            },
        )
    }

    /// Leaves the group in good order.
    pub async fn leave(mut self) -> Result<()> {
        self.process.signal("TERM")?;
        self.process.end(Duration::from_secs(30)).await?;
        Ok(())
    }
}

/// Copies `records` records of partition 0 of a topic to another topic in transactions of 2,000 that commit the offsets
/// read, too. `id` is both the transactional id and the group.
pub async fn copy_in_transactions(
    bootstrap: &str,
    from: &str,
    to: &str,
    id: &str,
    records: usize,
) -> Result<()> {
    // Without a number the tool counts offsets, among which are those of aborted records, and never ends.
    let records = records.to_string();
    let mut arguments = vec!["--use-group-metadata"];
    for (name, value) in [
        ("--broker-list", bootstrap),
        ("--input-topic", from),
        ("--input-partition", "0"),
        ("--output-topic", to),
        ("--transactional-id", id),
        ("--consumer-group", id),
        ("--transaction-size", "2000"),
        ("--max-messages", &records),
    ] {
        arguments.extend([name, value]);
    }
    tool("org.apache.kafka.tools.TransactionalMessageCopier", &arguments).await?;
    Ok(())
}

/// Addresses of brokers that the Java admin client was told, as `host:port`.
pub async fn broker_addresses(bootstrap: &str) -> Result<BTreeSet<String>> {
    let arguments = ["--bootstrap-server", bootstrap];
    let printed = tool("org.apache.kafka.tools.BrokerApiVersionsCommand", &arguments).await?;
    let lines = printed.lines().filter(|line| line.contains("(id: "));
    Ok(lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// A producer that writes transactions of ten records, `transaction.0` to `transaction.9`, until it is dropped.
pub struct TransactionalWriter {
    process: Process,
}

impl TransactionalWriter {
    /// Starts it.
    pub fn start(bootstrap: &str, topic: &str, transactional_id: &str) -> Result<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/java/TransactionalWriter.java");
        let arguments = [bootstrap, topic, transactional_id].map(str::to_owned);
        Ok(Self { process: java(source, &arguments)? })
    }

    /// Transactions that it was told are committed.
    pub fn committed(&self) -> Vec<usize> {
        self.process.stdout(|lines| {
            events(lines, "committed").map(|event| number(&event, "transaction")).collect()
        })
    }

    /// Waits until `count` transactions are committed.
    pub async fn await_committed(&self, count: usize, limit: Duration) -> Result<()> {
        let what = format!("{count} transactions of a Java producer");
        let done = || async { (self.committed().len() >= count).then_some(()) };
        eventually(&what, limit, done)
            .await
            .map_err(|error| format!("{error}; its output ends:{}", self.process.tail()).into())
    }
}
