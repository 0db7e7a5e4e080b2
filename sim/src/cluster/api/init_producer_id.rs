//! InitProducerId.

use kafka_protocol::{
    ResponseError,
    messages::{InitProducerIdRequest, InitProducerIdResponse},
};

use super::{
    super::{
        Cluster,
        time::millis,
        transaction::{Initialise, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Producer},
    },
    Context, Reply,
};

impl Cluster {
    pub(super) fn init_producer_id(
        &mut self,
        context: &Context,
        request: InitProducerIdRequest,
    ) -> Reply<InitProducerIdResponse> {
        let response = InitProducerIdResponse::default();
        Reply::Now(match self.initialise(context, request) {
            Ok(producer) => {
                response.with_producer_id(producer.wire_id()).with_producer_epoch(producer.epoch)
            }
            Err(error) => {
                let error = match error {
                    // Clients that are older know the other name.
                    ResponseError::ProducerFenced if context.version() < 4 => {
                        ResponseError::InvalidProducerEpoch
                    }
                    error => error,
                };
                response
                    .with_error_code(error.code())
                    .with_producer_id(Producer::NONE.wire_id())
                    .with_producer_epoch(Producer::NONE.epoch)
            }
        })
    }

    fn initialise(
        &mut self,
        context: &Context,
        request: InitProducerIdRequest,
    ) -> Result<Producer, ResponseError> {
        let expected = Producer::new(request.producer_id, request.producer_epoch);
        let expected = match (expected.id, expected.epoch) {
            (NO_PRODUCER_ID, NO_PRODUCER_EPOCH) => None,
            (NO_PRODUCER_ID, _) | (_, NO_PRODUCER_EPOCH) => {
                return Err(ResponseError::InvalidRequest);
            }
            _ => Some(expected),
        };
        let Some(id) = request.transactional_id else {
            let id = self.transactions.producer_ids.take(context.broker);
            return Ok(Producer { id, epoch: 0 });
        };
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let timeout_ms = request.transaction_timeout_ms;
        if timeout_ms <= 0
            || i64::from(timeout_ms) > self.settings.int("transaction.max.timeout.ms")
        {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        self.check_coordinates(context, &id)?;
        let request = Initialise { timeout: millis(timeout_ms), expected };
        self.initialise_producer(context.now, context.broker, &id, &request)
    }
}
