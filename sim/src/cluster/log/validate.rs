//! Whether a batch of a client may stand in a log, checked in the order in which Kafka does.

use kafka_protocol::ResponseError;

use super::{
    batch::{Batch, NO_TIMESTAMP},
    config::LogConfig,
    records,
};

/// The highest number of a codec.
const COMPRESSION_MAX: i16 = 4;
/// Faults of records that are told; the rest is as wrong.
const FAULTS_MAX: usize = 100;

/// Why a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Refused {
    pub(in super::super) error: ResponseError,
    /// Where Kafka says more than the error does.
    pub(in super::super) message: Option<String>,
    /// Which records are to blame, where single ones are.
    pub(in super::super) records: Vec<RecordFault>,
}

/// What is wrong with one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct RecordFault {
    pub(in super::super) index: i32,
    pub(in super::super) message: String,
}

impl From<ResponseError> for Refused {
    fn from(error: ResponseError) -> Self {
        Self { error, message: None, records: Vec::new() }
    }
}

/// Checks a batch; its largest timestamp as the log is to have it.
pub(super) fn validate(batch: &Batch, config: &LogConfig, now_ms: i64) -> Result<i64, Refused> {
    if batch.base_offset() != 0 {
        return Err(ResponseError::InvalidRecord.into());
    }
    let bytes = i64::try_from(batch.bytes().len()).unwrap_or(i64::MAX);
    if bytes > config.batch_bytes_max {
        return Err(ResponseError::MessageTooLarge.into());
    }
    if !batch.checksum_is_right() {
        return Err(ResponseError::CorruptMessage.into());
    }
    if batch.compression() > COMPRESSION_MAX {
        return Err(ResponseError::UnknownServerError.into());
    }
    let count = batch.record_count();
    let counts_agree = count > 0 && batch.last_offset_delta() == count - 1;
    let has_sequence = !batch.has_producer() || batch.base_sequence() >= 0;
    if !counts_agree || batch.is_control() || !has_sequence {
        return Err(ResponseError::InvalidRecord.into());
    }
    let max_timestamp = validate_records(batch, config, now_ms)?;
    if bytes > config.segment_bytes {
        return Err(ResponseError::RecordListTooLarge.into());
    }
    Ok(max_timestamp)
}

fn validate_records(batch: &Batch, config: &LogConfig, now_ms: i64) -> Result<i64, Refused> {
    let mut faults = Faults { config, batch, now_ms, refused: None };
    let mut max_timestamp = NO_TIMESTAMP;
    if batch.compression() == 0 {
        let mut index = 0;
        let walked = records::walk(batch.records(), batch.record_count(), |record| {
            let timestamp = timestamp_of(batch, record.timestamp_delta);
            max_timestamp = max_timestamp.max(timestamp);
            if config.compacts && !record.has_key {
                let message = "Compacted topic cannot accept message without key.";
                faults.add(ResponseError::InvalidRecord, index, message.to_owned());
            } else {
                faults.check_timestamp(index, timestamp);
            }
            index += 1;
        });
        walked.map_err(|malformed| match malformed {
            records::Malformed::Records => ResponseError::InvalidRecord,
            // Kafka's own code falls over it.
            records::Malformed::Number => ResponseError::UnknownServerError,
        })?;
    } else {
        // The records are opaque; their first and their largest timestamp stand in the header.
        max_timestamp = batch.max_timestamp();
        faults.check_timestamp(0, timestamp_of(batch, 0));
        faults.check_timestamp(batch.last_offset_delta(), max_timestamp);
    }
    match faults.refused {
        Some(refused) => Err(Refused { message: Some(summary(&refused)), ..refused }),
        None if config.log_append_time => Ok(now_ms),
        None => Ok(max_timestamp),
    }
}

fn summary(refused: &Refused) -> String {
    if refused.error == ResponseError::InvalidTimestamp {
        return "One or more records have been rejected due to invalid timestamp".to_owned();
    }
    format!(
        "One or more records have been rejected due to {} record errors in total",
        refused.records.len()
    )
}

/// The timestamp of a record.
pub(super) fn timestamp_of(batch: &Batch, delta: i64) -> i64 {
    if batch.has_log_append_time() {
        batch.max_timestamp()
    } else {
        batch.base_timestamp().saturating_add(delta)
    }
}

struct Faults<'a> {
    config: &'a LogConfig,
    batch: &'a Batch,
    now_ms: i64,
    refused: Option<Refused>,
}

impl Faults<'_> {
    fn check_timestamp(&mut self, index: i32, timestamp: i64) {
        if !self.config.log_append_time && timestamp != NO_TIMESTAMP {
            let age = self.now_ms.saturating_sub(timestamp);
            if age > self.config.before_max_ms || age.saturating_neg() > self.config.after_max_ms {
                let message = format!(
                    "Timestamp {timestamp} is out of range. The timestamp should be within [{}, {}]",
                    self.now_ms.saturating_sub(self.config.before_max_ms),
                    self.now_ms.saturating_add(self.config.after_max_ms),
                );
                self.add(ResponseError::InvalidTimestamp, index, message);
            }
        } else if self.batch.has_log_append_time() {
            let message = "Producer should not set timestamp type to LogAppendTime.";
            self.add(ResponseError::InvalidTimestamp, index, message.to_owned());
        }
    }

    fn add(&mut self, error: ResponseError, index: i32, message: String) {
        let refused = self.refused.get_or_insert_with(|| error.into());
        // One wrong timestamp makes it an error of timestamps.
        if error == ResponseError::InvalidTimestamp {
            refused.error = error;
        }
        if refused.records.len() < FAULTS_MAX {
            refused.records.push(RecordFault { index, message });
        }
    }
}
