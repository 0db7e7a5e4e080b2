//! FindCoordinator.

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
        find_coordinator_response::Coordinator,
    },
    protocol::StrBytes,
};

use super::{
    super::{Cluster, coordinator::Coordinated, versions::Profile},
    Context, Reply,
};

/// Kinds of keys.
fn coordinated(key_type: i8) -> Option<Coordinated> {
    match key_type {
        0 => Some(Coordinated::Group),
        1 => Some(Coordinated::Transaction),
        _ => None,
    }
}

/// Share groups' state, which is not served.
const SHARE: i8 = 2;
/// Characters of a topic's id, in base 64.
const TOPIC_ID_CHARS: usize = 22;
/// From which version on it may be asked for.
const SHARE_FROM: i16 = 6;
/// From which version on several keys are asked for at once.
const BATCHED: i16 = 4;

/// Group, topic id and partition, as share groups' coordinators are looked for.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let partition = parts.next().is_some_and(|part| part.parse::<i32>().is_ok());
    let topic = parts.next().is_some_and(|id| id.len() == TOPIC_ID_CHARS);
    partition && topic && parts.next().is_some_and(|group| !group.is_empty())
}

impl Cluster {
    pub(super) fn find_coordinator(
        &mut self,
        context: &Context,
        request: FindCoordinatorRequest,
    ) -> Reply<FindCoordinatorResponse> {
        let key_type = request.key_type;
        if context.version() >= BATCHED {
            let keys = request.coordinator_keys.into_iter();
            let coordinators = keys.map(|key| {
                let found = self.find(context.version(), key_type, key);
                // Of kinds that it knows, Kafka leaves the error to its code.
                if key_type == SHARE || coordinated(key_type).is_some() {
                    found.with_error_message(Some(StrBytes::default()))
                } else {
                    found
                }
            });
            let coordinators = coordinators.collect();
            return Reply::Now(FindCoordinatorResponse::default().with_coordinators(coordinators));
        }
        let found = self.find(context.version(), key_type, request.key);
        let mut response = FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port);
        if context.version() >= 1 {
            // Kafka names the error also where there is none.
            let message = found.error_message.filter(|message| !message.is_empty());
            response.error_message =
                Some(message.unwrap_or_else(|| StrBytes::from_static_str("NONE")));
        }
        Reply::Now(response)
    }

    fn find(&mut self, version: i16, key_type: i8, key: StrBytes) -> Coordinator {
        let failed = |error: ResponseError, message| {
            Coordinator::default()
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_static_str(message)))
        };
        let found = if let Some(what) = coordinated(key_type) {
            self.reveal_coordinators(what);
            let broker = self.coordinator(what, &key).and_then(|id| self.brokers.get(&id));
            broker.map_or_else(
                || {
                    let message = "The coordinator is not available.";
                    failed(ResponseError::CoordinatorNotAvailable, message)
                },
                |broker| {
                    Coordinator::default()
                        .with_node_id(broker.id)
                        .with_host(StrBytes::from_string(broker.host.clone()))
                        .with_port(i32::from(broker.port))
                },
            )
        } else if key_type == SHARE
            && version >= SHARE_FROM
            // Kafka 3.9 has no such coordinator, whatever the key.
            && (self.profile == Profile::Kafka39 || is_share_key(&key))
        {
            failed(ResponseError::CoordinatorNotAvailable, "The coordinator is not available.")
        } else {
            let message = "This most likely occurs because of a request being malformed by the client \
                           library or the message was sent to an incompatible broker. See the broker logs \
                           for more details.";
            failed(ResponseError::InvalidRequest, message)
        };
        found.with_key(key)
    }
}
