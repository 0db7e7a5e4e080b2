//! What librdkafka tells of itself: by callbacks, and by its log.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use kafka_protocol::ResponseError;
use rdkafka::{
    ClientContext, Message as _, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::ProducerContext,
};
use switchyard_sim::{
    client::ResetCause,
    oracle::history::{Position, What},
};

use super::{Application, Plan, Told};

/// Hears everything that one client tells. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Context(Arc<Inner>);

struct Inner {
    name: String,
    /// Of a consumer.
    group: Arc<str>,
    told: Told,
    /// A record has failed since that was last asked.
    has_failed: AtomicBool,
    /// What a consumer has been given and not given back.
    assigned: Mutex<std::collections::BTreeSet<(Arc<str>, i32)>>,
}

impl Context {
    pub(super) fn new(plan: &Plan, told: &Told) -> Self {
        let group = match &plan.application {
            Application::Reads { group, .. } => group.as_str().into(),
            Application::Writes { .. } => "".into(),
        };
        Self(Arc::new(Inner {
            name: plan.name.clone(),
            group,
            told: told.clone(),
            has_failed: AtomicBool::default(),
            assigned: Mutex::default(),
        }))
    }

    pub(super) fn tell(&self, what: What) {
        self.0.told.tell(&self.0.name, what);
    }

    pub(super) fn group(&self) -> Arc<str> {
        Arc::clone(&self.0.group)
    }

    /// Whether a record has failed since this was last asked.
    pub(super) fn has_failed(&self) -> bool {
        self.0.has_failed.swap(false, Ordering::Relaxed)
    }

    /// Something that an application sees only if it reads the log.
    pub(super) fn tell_log(&self, level: &str, text: &str) {
        self.tell(What::Log { level: level.into(), text: text.into() });
    }

    fn handle_reset(&self, message: &str) {
        let Some(reset) = Reset::parse(message) else { return };
        let position =
            Position { topic: reset.topic.into(), partition: reset.partition, offset: reset.to };
        let reason = format!("{:?}", reset.cause).into();
        self.tell(What::Reset { group: self.group(), position, reason });
    }

    fn handle_rebalance(&self, rebalance: &Rebalance<'_>) {
        let pairs = |list: &TopicPartitionList| -> Vec<(Arc<str>, i32)> {
            list.elements().iter().map(|it| (it.topic().into(), it.partition())).collect()
        };
        let mut assigned = self.0.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        match rebalance {
            Rebalance::Assign(given) => {
                assigned.extend(pairs(given));
                let partitions = assigned.iter().cloned().collect();
                self.tell(What::Assigned { group: self.group(), partitions });
            }
            Rebalance::Revoke(taken) => {
                let partitions = pairs(taken);
                for pair in &partitions {
                    assigned.remove(pair);
                }
                if !partitions.is_empty() {
                    self.tell(What::Revoked { group: self.group(), partitions });
                }
            }
            Rebalance::Error(error) => {
                self.tell(What::Error { reason: reason(error).into() });
            }
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let is_debug = matches!(level, RDKafkaLogLevel::Debug);
        match facility {
            "CONNECTED" => self.tell(What::Connected),
            // A dial that has failed breaks no connection.
            "FAIL" if is_debug && message.contains("in state UP") => {
                let reason = message.split_once("]: ").map_or(message, |(_, text)| text);
                self.tell(What::Disconnected { reason: reason.into() });
            }
            "DRAIN" if message.contains("bumped epoch") || message.contains("to bump epoch") => {
                self.tell(What::EpochBumped);
            }
            "REBOOTSTRAP" => self.tell(What::Rebootstrapped),
            "OFFSET" if !is_debug => self.handle_reset(message),
            _ => {}
        }
        let level = match level {
            RDKafkaLogLevel::Warning => "warn",
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => return,
            _ => "error",
        };
        self.tell_log(level, &format!("{facility} {message}"));
    }

    fn error(&self, error: KafkaError, text: &str) {
        // The client mends these by itself, and those that it cannot mend are found out by asking it.
        self.tell_log("warn", &format!("{}: {text}", reason(&error)));
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Self::DeliveryOpaque) {
        match result {
            Ok(message) => {
                let position = Position {
                    topic: message.topic().into(),
                    partition: message.partition(),
                    offset: message.offset(),
                };
                self.tell(What::Acknowledged { number: *number, position });
            }
            Err((error, _)) => {
                self.0.has_failed.store(true, Ordering::Relaxed);
                self.tell(What::Failed { number: *number, reason: reason(error).into() });
            }
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Once it is given back, others may have it at any moment.
        if matches!(rebalance, Rebalance::Revoke(_)) {
            self.handle_rebalance(rebalance);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if !matches!(rebalance, Rebalance::Revoke(_)) {
            self.handle_rebalance(rebalance);
        }
    }
}

/// An error by librdkafka's own name for it (`_MSG_TIMED_OUT`), and in its words.
pub(super) fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => format!("{}: {error}", code_name(code)),
        None => error.to_string(),
    }
}

/// As `rd_kafka_err2name` has it, which cannot be called from here.
pub(super) fn code_name(code: RDKafkaErrorCode) -> String {
    use RDKafkaErrorCode as Code;
    let name = match code {
        Code::BrokerTransportFailure => "_TRANSPORT",
        Code::Resolve => "_RESOLVE",
        Code::MessageTimedOut => "_MSG_TIMED_OUT",
        Code::UnknownPartition => "_UNKNOWN_PARTITION",
        Code::UnknownTopic => "_UNKNOWN_TOPIC",
        Code::AllBrokersDown => "_ALL_BROKERS_DOWN",
        Code::OperationTimedOut => "_TIMED_OUT",
        Code::QueueFull => "_QUEUE_FULL",
        Code::State => "_STATE",
        Code::Authentication => "_AUTHENTICATION",
        Code::Fatal => "_FATAL",
        Code::PurgeQueue => "_PURGE_QUEUE",
        Code::PurgeInflight => "_PURGE_INFLIGHT",
        Code::PollExceeded => "_MAX_POLL_EXCEEDED",
        Code::Fenced => "_FENCED",
        Code::AutoOffsetReset => "_AUTO_OFFSET_RESET",
        other => return broker_code_name(other),
    };
    name.to_owned()
}

/// The errors of brokers by the names that the models use, and what is neither.
fn broker_code_name(code: RDKafkaErrorCode) -> String {
    let number = i16::try_from(code as i32).ok().filter(|number| *number >= -1);
    match number.and_then(ResponseError::try_from_code) {
        Some(error) => format!("{error:?}"),
        None => format!("{code:?}"),
    }
}

/// A position that librdkafka chooses anew.
#[derive(Debug, PartialEq, Eq)]
struct Reset<'a> {
    topic: &'a str,
    partition: i32,
    /// Where to; −1: the end, −2: the start, as ListOffsets has them. librdkafka does not say what it finds there.
    to: i64,
    cause: ResetCause,
}

impl<'a> Reset<'a> {
    /// Reads `[thrd:main]: orders [3]: offset reset (at offset 120 (leader epoch 2), broker 1) to offset END (leader epoch -1):
    /// fetch failed due to requested offset not available on the broker: Broker: Offset out of range`.
    fn parse(message: &'a str) -> Option<Self> {
        let (place, rest) = message.split_once(": offset reset (at ")?;
        let place = place.rsplit("]: ").next()?;
        let (topic, partition) = place.rsplit_once(" [")?;
        let (_, to) = rest.split_once(") to ")?;
        let to = to.trim_start_matches("cached BEGINNING offset ").trim_start_matches("offset ");
        let to = to.split([' ', ':']).next()?;
        let to = match to {
            "END" => -1,
            "BEGINNING" => -2,
            offset => offset.parse().ok()?,
        };
        let cause = if message.contains("out of range") {
            ResetCause::OutOfRange
        } else {
            ResetCause::Truncated
        };
        Some(Self { topic, partition: partition.trim_end_matches(']').parse().ok()?, to, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_read_from_the_log() {
        let line = "[thrd:main]: orders [3]: offset reset (at offset 120 (leader epoch 2), broker 1) \
                    to offset END (leader epoch -1): fetch failed due to requested offset not \
                    available on the broker: Broker: Offset out of range";
        let reset = Reset { topic: "orders", partition: 3, to: -1, cause: ResetCause::OutOfRange };
        assert_eq!(Reset::parse(line), Some(reset));
    }
}
