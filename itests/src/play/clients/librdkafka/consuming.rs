//! An application that reads in a group.

use std::time::Duration;

use rdkafka::{
    Message as _,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use switchyard_sim::{
    client::record::Numbered,
    oracle::history::{Position, Record, What},
};

use super::{
    Application, LOOK_EVERY, Plan, Wishes,
    context::{Context, reason},
};
use crate::Result;

const POLL_TIME: Duration = Duration::from_millis(100);

/// Reads until everything ends, or the client is of no use any more.
pub(super) fn run(
    plan: &Plan,
    config: &ClientConfig,
    context: &Context,
    wishes: &Wishes,
) -> Result<()> {
    let Application::Reads { topics, .. } = &plan.application else { return Ok(()) };
    let consumer: BaseConsumer<Context> = config.create_with_context(context.clone())?;
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    while !wishes.ends() {
        if wishes.is_stalled(plan) {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        match consumer.poll(POLL_TIME) {
            None => {}
            Some(Ok(message)) => consumed(context, &message),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(reason(&error).into());
            }
            Some(Err(error)) if is_passing(&error) => {
                context.tell_log("warn", &reason(&error));
            }
            Some(Err(error)) => context.tell(What::Error { reason: reason(&error).into() }),
        }
    }
    Ok(())
}

/// Said at every disconnect; the client goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

fn consumed(context: &Context, message: &BorrowedMessage<'_>) {
    let Some(numbered) = message.payload().and_then(Numbered::decode) else { return };
    context.tell(What::Consumed {
        group: context.group(),
        position: Position {
            topic: message.topic().into(),
            partition: message.partition(),
            offset: message.offset(),
        },
        record: Record { producer: numbered.producer.into(), number: numbered.number },
    });
}
