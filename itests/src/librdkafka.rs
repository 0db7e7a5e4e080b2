//! Producers and consumers of librdkafka, with everything they are told kept.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Statistics, TopicPartitionList,
    client::OAuthToken,
    config::{ClientConfig, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, DeliveryResult},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};

use crate::{
    Result, eventually,
    java::GroupProtocol,
    ledger::{Ledger, none},
    process::indented,
    version::Version,
};

/// Longest wait for a call that librdkafka makes to a cluster.
const CALL_TIME_MAX: Duration = Duration::from_mins(1);

/// Settings of a client, by librdkafka's own names.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

fn client_config(bootstrap: &str, settings: Settings<'_>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// What a client said of itself.
#[derive(Debug, Default)]
struct Said {
    ledger: Ledger,
    fatal: Vec<String>,
    /// Errors that it means to mend by itself: lost connections, mostly.
    passing: Vec<String>,
    producer_id: Option<i64>,
}

/// Receives every callback of a producer.
#[derive(Clone, Default)]
struct ProducerEvents(Arc<Mutex<Said>>);

impl ProducerEvents {
    fn with<T>(&self, use_it: impl FnOnce(&mut Said) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for ProducerEvents {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let fatal = error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal);
        let text = format!("{error}: {reason}");
        self.with(|said| if fatal { said.fatal.push(text) } else { said.passing.push(text) });
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(eos) = statistics.eos.filter(|eos| eos.producer_id >= 0) {
            self.with(|said| said.producer_id = Some(eos.producer_id));
        }
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        Err("no OAuth".into())
    }
}

impl ProducerContext for ProducerEvents {
    type DeliveryOpaque = Box<String>;

    fn delivery(&self, result: &DeliveryResult<'_>, value: Self::DeliveryOpaque) {
        self.with(|said| match result {
            Ok(_) => {
                said.ledger.acknowledged.insert(*value);
            }
            Err((error, _)) => said.ledger.failed.push((*value, error.to_string())),
        });
    }
}

/// A producer.
pub struct Producer {
    inner: ThreadedProducer<ProducerEvents>,
    events: ProducerEvents,
}

impl Producer {
    /// Makes a producer; it connects when it has something to send.
    pub fn new(bootstrap: &str, settings: Settings<'_>) -> Result<Self> {
        let events = ProducerEvents::default();
        let mut config = client_config(bootstrap, settings);
        config.set("statistics.interval.ms", "100");
        Ok(Self { inner: config.create_with_context(events.clone())?, events })
    }

    /// Hands over one record with the value `prefix.number`; waits while the queue is full.
    pub async fn send(&self, topic: &str, prefix: &str, number: usize) -> Result<()> {
        let value = format!("{prefix}.{number}");
        loop {
            let opaque = Box::new(value.clone());
            let record = BaseRecord::<(), _, _>::with_opaque_to(topic, opaque).payload(&value);
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((error, _)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    _ => return Err(format!("{value}: {error}").into()),
                },
            }
        }
    }

    /// Waits until every record that was handed over is acknowledged or has failed.
    pub fn flush(&self) -> Result<()> {
        Ok(tokio::task::block_in_place(|| self.inner.flush(CALL_TIME_MAX))?)
    }

    /// Makes the producer transactional.
    pub fn init_transactions(&self) -> Result<()> {
        Ok(tokio::task::block_in_place(|| self.inner.init_transactions(CALL_TIME_MAX))?)
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        Ok(self.inner.begin_transaction()?)
    }

    /// Commits a transaction.
    pub fn commit(&self) -> Result<()> {
        Ok(tokio::task::block_in_place(|| self.inner.commit_transaction(CALL_TIME_MAX))?)
    }

    /// Aborts a transaction.
    pub fn abort(&self) -> Result<()> {
        Ok(tokio::task::block_in_place(|| self.inner.abort_transaction(CALL_TIME_MAX))?)
    }

    /// What it was told so far.
    pub fn ledger(&self) -> Ledger {
        self.events.with(|said| said.ledger.clone())
    }

    /// How many records were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.events.with(|said| said.ledger.acknowledged.len())
    }

    /// Fails when any record did, or the client itself.
    pub fn healthy(&self) -> Result<()> {
        self.events.with(|said| match (said.ledger.failed.first(), said.fatal.first()) {
            (None, None) => Ok(()),
            (Some((value, error)), _) => {
                let count = said.ledger.failed.len();
                Err(format!("librdkafka: {count} records failed, such as {value}: {error}").into())
            }
            (None, Some(fatal)) => Err(format!("librdkafka: {fatal}").into()),
        })
    }

    /// Fails when the client reported anything at all, be it an error that it mends by itself.
    pub fn undisturbed(&self) -> Result<()> {
        self.healthy()?;
        self.events.with(|said| none("errors of a librdkafka producer", &said.passing))
    }

    /// The producer id that it goes by, once it has one.
    pub async fn producer_id(&self) -> Result<i64> {
        let id = || async { self.events.with(|said| said.producer_id) };
        eventually("a producer id", Duration::from_secs(20), id).await
    }
}

/// A producer that sends at a steady rate, in a task of its own.
pub struct SteadyProducer {
    producer: Arc<Producer>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl SteadyProducer {
    /// Sends `rate` records a second to `topic` until it is stopped.
    pub fn start(producer: Producer, topic: &str, prefix: &str, rate: u32) -> Self {
        let producer = Arc::new(producer);
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let (producer, stop) = (Arc::clone(&producer), Arc::clone(&stop));
            let (topic, prefix) = (topic.to_owned(), prefix.to_owned());
            async move {
                let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    ticks.tick().await;
                    producer.send(&topic, &prefix, number).await?;
                }
                Ok(())
            }
        });
        Self { producer, stop, task }
    }

    /// The producer itself.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// How many records were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.producer.acknowledged()
    }

    /// Waits until it has been told of `count` successes.
    pub async fn await_acknowledged(&self, count: usize, limit: Duration) -> Result<()> {
        let what = format!("{count} records of a librdkafka producer");
        let done =
            eventually(&what, limit, || async { (self.acknowledged() >= count).then_some(()) });
        done.await.map_err(|error| {
            let have = self.acknowledged();
            let said =
                self.producer.events.with(|said| format!("{:?} {:?}", said.fatal, said.passing));
            format!("{error}: {have}; it said {said}").into()
        })
    }

    /// Stops sending, waits for the last acknowledgement and gives the ledger.
    pub async fn finish(self) -> Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await??;
        self.producer.flush()?;
        self.producer.healthy()?;
        Ok(self.producer.ledger())
    }
}

/// What a consumer received.
#[derive(Debug, Default)]
struct Received {
    values: Vec<String>,
    errors: Vec<String>,
    /// Errors that the client mends by itself: lost connections, mostly.
    passing: Vec<String>,
    /// What it logged; little, unless the setting `debug` says otherwise.
    log: Vec<String>,
    assignments: usize,
    partitions: BTreeSet<(String, i32)>,
}

#[derive(Clone, Default)]
struct ConsumerEvents(Arc<Mutex<Received>>);

impl ConsumerEvents {
    fn with<T>(&self, use_it: impl FnOnce(&mut Received) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn message(&self, message: &BorrowedMessage<'_>) {
        let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        self.with(|received| received.values.push(value));
    }
}

impl ClientContext for ConsumerEvents {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.with(|received| received.log.push(format!("{facility} {message}")));
    }

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for ConsumerEvents {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Classic assignors give and take everything at once; KIP-848 and cooperative ones, what changes.
        let elements = |list: &TopicPartitionList| -> Vec<_> {
            let elements = list.elements();
            elements.iter().map(|one| (one.topic().to_owned(), one.partition())).collect()
        };
        self.with(|received| match rebalance {
            Rebalance::Assign(given) => {
                received.assignments += 1;
                received.partitions.extend(elements(given));
            }
            Rebalance::Revoke(taken) => {
                for element in elements(taken) {
                    received.partitions.remove(&element);
                }
            }
            Rebalance::Error(error) => received.errors.push(error.to_string()),
        });
    }
}

/// The protocol that a member speaks when it is to speak `wanted` with brokers of the version under test. The consumer
/// protocol was a preview before Kafka 4.0: member ids come from the coordinator there, which the library does not take.
pub fn spoken(wanted: GroupProtocol) -> Result<GroupProtocol> {
    let released = Version::under_test()?.since(4, 0);
    Ok(if released { wanted } else { GroupProtocol::Classic })
}

/// A member of a consumer group that reads in a thread of its own. Dropping it leaves the group.
pub struct GroupConsumer {
    events: ConsumerEvents,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl GroupConsumer {
    /// Joins `group` and reads `topic`, from its beginning unless the group has offsets.
    pub fn start(
        bootstrap: &str,
        topic: &str,
        group: &str,
        settings: Settings<'_>,
    ) -> Result<Self> {
        let events = ConsumerEvents::default();
        let consumer: BaseConsumer<ConsumerEvents> = client_config(bootstrap, &[])
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("auto.commit.interval.ms", "200")
            .extend_all(settings)
            .set_log_level(RDKafkaLogLevel::Debug)
            .create_with_context(events.clone())?;
        consumer.subscribe(&[topic])?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (events, stop) = (events.clone(), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    match consumer.poll(Duration::from_millis(100)) {
                        None => {}
                        Some(Ok(message)) => events.message(&message),
                        // Said at every disconnect; the client goes on by itself.
                        Some(Err(error)) if is_transient(&error) => {
                            events.with(|received| received.passing.push(error.to_string()));
                        }
                        Some(Err(error)) => {
                            events.with(|received| received.errors.push(error.to_string()));
                        }
                    }
                }
            }
        });
        Ok(Self { events, stop, thread: Some(thread) })
    }

    /// How many records it received so far.
    pub fn count(&self) -> usize {
        self.events.with(|received| received.values.len())
    }

    /// The values that it received so far, in order.
    pub fn values(&self) -> Vec<String> {
        self.events.with(|received| received.values.clone())
    }

    /// How often it was given partitions.
    pub fn assignments(&self) -> usize {
        self.events.with(|received| received.assignments)
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> usize {
        self.events.with(|received| received.partitions.len())
    }

    /// Whether it has logged a line that contains `text`.
    pub fn has_logged(&self, text: &str) -> bool {
        self.events.with(|received| received.log.iter().any(|line| line.contains(text)))
    }

    /// The newest lines of its log, for an error message.
    pub fn log_tail(&self, lines: usize) -> String {
        self.events.with(|received| {
            let from = received.log.len().saturating_sub(lines);
            indented(received.log.get(from..).unwrap_or_default().iter())
        })
    }

    /// Waits until it has received `count` records in all.
    pub async fn await_count(&self, count: usize, limit: Duration) -> Result<()> {
        let what = format!("{count} records of a librdkafka consumer");
        let start = Instant::now();
        eventually(&what, limit, || async { (self.count() >= count).then_some(()) }).await.map_err(
            |error| {
                let (have, errors) =
                    self.events.with(|received| (received.values.len(), received.errors.clone()));
                format!("{error}: {have} after {} s; errors: {errors:?}", start.elapsed().as_secs())
                    .into()
            },
        )
    }

    /// Fails when the client reported an error that it does not mend by itself.
    pub fn healthy(&self) -> Result<()> {
        self.events.with(|received| match received.errors.first() {
            None => Ok(()),
            Some(error) => Err(format!("librdkafka consumer: {error}").into()),
        })
    }

    /// Fails when the client reported anything at all, be it an error that it mends by itself.
    pub fn undisturbed(&self) -> Result<()> {
        self.healthy()?;
        let passing = self.events.with(|received| received.passing.clone());
        none("errors of a librdkafka consumer", &passing)
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed already.
            drop(thread.join());
        }
    }
}

fn is_transient(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
        )
    )
}

/// Several settings at once.
trait ExtendAll {
    fn extend_all(&mut self, settings: Settings<'_>) -> &mut Self;
}

impl ExtendAll for ClientConfig {
    fn extend_all(&mut self, settings: Settings<'_>) -> &mut Self {
        for (name, value) in settings {
            self.set(*name, *value);
        }
        self
    }
}
