//! An application that writes numbered records at a rate, in transactions or not.

use std::time::{Duration, Instant};

use rdkafka::{
    config::ClientConfig,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer},
};
use switchyard_sim::{
    client::record::{self, Numbered},
    oracle::history::What,
};

use super::{
    Application, CLOSE_TIME_MAX, Plan, Wishes,
    context::{Context, code_name, reason},
};
use crate::Result;

/// How long one call of the transactional API may take before it is made again.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);

/// A producer and its application.
struct Producing<'a> {
    name: &'a str,
    topic: &'a str,
    record_bytes: usize,
    transaction: Option<Transaction>,
    producer: ThreadedProducer<Context>,
    context: Context,
    wishes: &'a Wishes,
    next_number: u64,
}

/// Where the application is in its transactions.
struct Transaction {
    records: usize,
    is_open: bool,
    /// Numbers of the records of the one that is open.
    numbers: Vec<u64>,
}

/// Writes until everything ends, or the client is of no use any more.
pub(super) fn run(
    plan: &Plan,
    config: &ClientConfig,
    context: Context,
    wishes: &Wishes,
) -> Result<()> {
    let Application::Writes { topic, rate, record_bytes, transaction_records } = &plan.application
    else {
        return Ok(());
    };
    let transaction = transaction_records.map(|records| Transaction {
        records,
        is_open: false,
        numbers: Vec::new(),
    });
    let mut own = Producing {
        name: &plan.name,
        topic,
        record_bytes: *record_bytes,
        transaction,
        producer: config.create_with_context(context.clone())?,
        context,
        wishes,
        next_number: 0,
    };
    let outcome = own.write(Duration::from_secs(1) / *rate);
    if outcome.is_err() {
        // What a dead producer holds comes to nothing; its application hears so.
        own.producer.purge(PurgeConfig::default().queue().inflight());
    }
    // Records that are still open by then are told as open, which they are.
    drop(own.producer.flush(CLOSE_TIME_MAX));
    outcome
}

impl Producing<'_> {
    fn write(&mut self, every: Duration) -> Result<()> {
        if self.transaction.is_some() {
            self.persist("init_transactions", |it| it.init_transactions(CALL_TIME_MAX))?;
        }
        let mut next = Instant::now();
        while !self.wishes.ends() {
            self.wishes.sleep_until(next);
            if let Some((code, text)) = self.producer.client().fatal_error() {
                return Err(format!("{}: {text}", code_name(code)).into());
            }
            if self.steer_transaction()? && self.wishes.sends() {
                self.send();
            }
            // Whoever was kept waiting does not catch up.
            next = (next + every).max(Instant::now());
        }
        Ok(())
    }

    /// Hands the next record over.
    fn send(&mut self) {
        let number = self.next_number;
        self.next_number += 1;
        self.context.tell(What::Sent { number });
        if let Some(transaction) = &mut self.transaction {
            transaction.numbers.push(number);
        }
        let value = record::value(Numbered { producer: self.name, number }, self.record_bytes);
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(self.topic, Box::new(number));
        if let Err((error, _)) = self.producer.send(record.payload(&value)) {
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
                self.context.tell(What::BufferFull);
            }
            self.context.tell(What::Failed { number, reason: reason(&error).into() });
        }
    }

    /// Ends a transaction that has all its records or has failed, begins one that is needed. Whether a record may be sent.
    fn steer_transaction(&mut self) -> Result<bool> {
        let sends = self.wishes.sends();
        let Some(transaction) = &mut self.transaction else { return Ok(true) };
        let has_failed = self.context.has_failed();
        let is_full = transaction.numbers.len() >= transaction.records;
        if transaction.is_open && has_failed {
            self.abort("a record has failed".to_owned())?;
            Ok(false)
        } else if is_full || (!sends && !transaction.numbers.is_empty()) {
            self.commit()?;
            Ok(false)
        } else {
            if sends && !transaction.is_open {
                self.producer.begin_transaction()?;
                transaction.is_open = true;
            }
            Ok(sends)
        }
    }

    fn commit(&mut self) -> Result<()> {
        match self.persist("commit_transaction", |it| it.commit_transaction(CALL_TIME_MAX)) {
            Ok(()) => {
                self.ended(true);
                Ok(())
            }
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                self.abort(format!("{}: {error}", code_name(error.code())))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn abort(&mut self, reason: String) -> Result<()> {
        self.context.tell(What::Error { reason: format!("transaction: {reason}").into() });
        self.persist("abort_transaction", |it| it.abort_transaction(CALL_TIME_MAX))?;
        self.ended(false);
        Ok(())
    }

    fn ended(&mut self, committed: bool) {
        let Some(transaction) = &mut self.transaction else { return };
        let numbers = std::mem::take(&mut transaction.numbers);
        transaction.is_open = false;
        // What has failed has failed with this transaction.
        self.context.has_failed();
        self.context.tell(What::Transaction { numbers, committed });
    }

    /// Calls again what has only taken too long, as the library's documentation asks.
    fn persist(
        &self,
        name: &str,
        call: impl Fn(&ThreadedProducer<Context>) -> KafkaResult<()>,
    ) -> KafkaResult<()> {
        loop {
            match call(&self.producer) {
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && !self.wishes.ends() =>
                {
                    self.context.tell_log("warn", &format!("{name}: {error}"));
                }
                outcome => return outcome,
            }
        }
    }
}
