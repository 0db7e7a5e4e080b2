//! What faults do to requests, answers, leaders and brokers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, BrokerId};
use switchyard::{
    topology::NodeId,
    wire::{
        answer::{Brokers, ErrorAnswer},
        header::LENGTH_BYTES,
        rewrite::VirtualAddresses,
        schema::Field,
        walk::{Direction, Scalar, Visitor, Walker},
    },
};

use super::{
    super::{
        Cluster, Output, Time,
        api::{Context, Image},
        broker::Broker,
        connection::{CloseCause, Ticket},
        time::millis,
        timers::Timer,
    },
    Active, Effect, Fault, FaultId, Held, Matching, Plan, STORAGE_ERROR, Work,
};

/// When an answer leaves.
pub(in super::super) enum Leaving {
    /// At once; `None`: there is no answer.
    Now(Option<Bytes>),
    /// A fault sees to it, or to its loss.
    Later,
}

impl Cluster {
    /// Something goes wrong from now on.
    pub fn inject(&mut self, now: Time, fault: Fault) -> FaultId {
        self.advance(now);
        let id = FaultId(self.faults.injected);
        self.faults.injected += 1;
        let stream = format!("{}/{}", self.name, id.0);
        let random = crate::random::stream(self.seed, "fault", &stream);
        let image = match fault {
            Fault::StaleMetadata { .. } => Some(Image::of(self)),
            _ => None,
        };
        let warm_from = std::collections::BTreeMap::new();
        self.faults.active.insert(id, Active { fault: fault.clone(), random, image, warm_from });
        match fault {
            Fault::FullDisk { broker, offline: true } => self.set_disk(BrokerId(broker), false),
            Fault::LeaderElections { .. } | Fault::CoordinatorsMove { .. } => self.fault_is_due(id),
            _ => {}
        }
        self.serve_ready(now);
        id
    }

    /// Takes a fault back; `false`: it is not there. What it held back still leaves at its time.
    pub fn heal(&mut self, now: Time, id: FaultId) -> bool {
        self.advance(now);
        let Some(active) = self.faults.active.remove(&id) else { return false };
        self.timers.clear(&Timer::Fault(id));
        if let Fault::FullDisk { broker, offline: true } = active.fault
            && self.faults.disk_is_full(broker) != Some(true)
        {
            self.set_disk(BrokerId(broker), true);
        }
        self.serve_ready(now);
        true
    }

    /// A fault that acts by itself acts, and will again.
    pub(in super::super) fn fault_is_due(&mut self, id: FaultId) {
        let Some(active) = self.faults.active.get(&id) else { return };
        let (internal, every_ms) = match active.fault {
            Fault::LeaderElections { every_ms } => (false, every_ms),
            Fault::CoordinatorsMove { every_ms } => (true, every_ms),
            Fault::Requests { .. }
            | Fault::FullDisk { .. }
            | Fault::StaleMetadata { .. }
            | Fault::Cold { .. } => return,
        };
        for (name, index) in self.topics.all_partitions() {
            if super::super::controller::is_internal(&name) == internal {
                self.move_leader(&name, index);
            }
        }
        let every = Duration::from_millis(u64::from(every_ms.max(1)));
        self.timers.set(Timer::Fault(id), self.now + every);
    }

    /// Whether a fault has dealt with a request, so that nobody else may.
    pub(in super::super) fn fault_takes(&mut self, context: &Context, body: &Bytes) -> bool {
        if self.faults.active.is_empty() {
            return false;
        }
        if self.disk_refuses(context) {
            self.answer_with_error(context, body, STORAGE_ERROR);
            return true;
        }
        let mut plan = Plan::default();
        let ids: Vec<_> = self.faults.active.keys().copied().collect();
        let (now, broker) = (self.now, context.broker.0);
        let serving = Work::Serve(context.ticket.api_key);
        for id in ids {
            if let Some(active) = self.faults.active.get_mut(&id) {
                plan.delay += active.warms_up(now, broker, serving).unwrap_or_default();
            }
            match self.effect(id, context, body) {
                None => {}
                Some(Effect::Error(code)) => {
                    self.faults.plans.insert(context.ticket.connection, plan);
                    self.answer_with_error(context, body, code);
                    return true;
                }
                Some(Effect::Close) => {
                    self.close_connection(context.ticket.connection, CloseCause::Fault);
                    return true;
                }
                Some(Effect::Delay { min_ms, max_ms }) => {
                    let range = u64::from(min_ms)..=u64::from(max_ms.max(min_ms));
                    if let Some(active) = self.faults.active.get_mut(&id) {
                        plan.delay += Duration::from_millis(active.random.u64(range));
                    }
                }
                Some(Effect::Throttle { ms }) => plan.throttle_ms = plan.throttle_ms.max(ms),
                Some(Effect::LoseAnswer) => plan.is_lost = true,
            }
        }
        if plan != Plan::default() {
            self.faults.plans.insert(context.ticket.connection, plan);
        }
        false
    }

    /// Holds an answer back that a fault has plans with; gives back what may leave at once.
    pub(in super::super) fn fault_holds(
        &mut self,
        ticket: Ticket,
        frame: Option<Bytes>,
    ) -> Leaving {
        let Some(plan) = self.faults.plans.remove(&ticket.connection) else {
            return Leaving::Now(frame);
        };
        if plan.is_lost {
            self.close_connection(ticket.connection, CloseCause::Fault);
            return Leaving::Later;
        }
        let frame = match plan.throttle_ms {
            0 => frame,
            ms => frame.map(|frame| throttled(ticket, frame, ms)),
        };
        if plan.delay > Duration::ZERO {
            let held = Held::Answer(frame, plan.throttle_ms);
            self.hold(ticket, held, plan.delay);
            return Leaving::Later;
        }
        if plan.throttle_ms > 0 {
            self.send_and_mute(ticket, frame, plan.throttle_ms);
            return Leaving::Later;
        }
        Leaving::Now(frame)
    }

    /// What was held back is due.
    pub(in super::super) fn delayed_is_due(&mut self, ticket: Ticket) {
        let connection = ticket.connection;
        if self.faults.held.get(&connection).is_none_or(|(held, _)| *held != ticket) {
            return;
        }
        match self.faults.held.remove(&connection) {
            Some((_, Held::Answer(frame, 0))) => self.release(ticket, frame),
            Some((_, Held::Answer(frame, ms))) => self.send_and_mute(ticket, frame, ms),
            Some((_, Held::Mute)) => self.release(ticket, None),
            None => {}
        }
    }

    fn hold(&mut self, ticket: Ticket, held: Held, wait: Duration) {
        self.faults.held.insert(ticket.connection, (ticket, held));
        self.timers.set(Timer::Delayed(ticket), self.now + wait);
    }

    fn send_and_mute(&mut self, ticket: Ticket, frame: Option<Bytes>, ms: u32) {
        let connection = ticket.connection;
        if !self.connections.contains_key(&connection) {
            return;
        }
        if let Some(frame) = frame {
            self.outputs.push_back(Output::Send { connection, frame });
        }
        self.hold(ticket, Held::Mute, millis(ms));
    }

    fn disk_refuses(&self, context: &Context) -> bool {
        let key = context.ticket.api_key;
        match self.faults.disk_is_full(context.broker.0) {
            None => false,
            Some(false) => key == ApiKey::Produce as i16,
            Some(true) => {
                [ApiKey::Produce, ApiKey::Fetch, ApiKey::ListOffsets, ApiKey::OffsetForLeaderEpoch]
                    .iter()
                    .any(|of_logs| *of_logs as i16 == key)
            }
        }
    }

    /// What a fault does to a request, if it matches and is drawn.
    fn effect(&mut self, id: FaultId, context: &Context, body: &Bytes) -> Option<Effect> {
        let Fault::Requests { only, share, effect } = &self.faults.active.get(&id)?.fault else {
            return None;
        };
        let (share, effect) = (*share, *effect);
        if !self.matches(only, effect, context, body) {
            return None;
        }
        let random = &mut self.faults.active.get_mut(&id)?.random;
        share.draw(random).then_some(effect)
    }

    fn matches(&self, only: &Matching, effect: Effect, context: &Context, body: &Bytes) -> bool {
        let key = context.ticket.api_key;
        // Without versions and authentication a client says nothing at all: errors there must be asked for.
        let handshake = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
        if matches!(effect, Effect::Error(_))
            && only.api.is_none()
            && handshake.iter().any(|handshake| *handshake as i16 == key)
        {
            return false;
        }
        if only.broker.is_some_and(|broker| broker != context.broker.0)
            || only.api.is_some_and(|api| api != key)
        {
            return false;
        }
        let Some(topic) = &only.topic else { return true };
        let id = self.topics.iter().find(|(name, _)| name.as_str() == topic).map(|(_, it)| it.id);
        let mut seeker = TopicSeeker {
            name: topic.as_bytes(),
            id: id.map(|id| id.as_u128()),
            matched_bytes: None,
            found: false,
        };
        let version = context.version();
        let walker = Walker::body(Direction::Request, key, version, body.len());
        walker.and_then(|mut walker| walker.feed(body, &mut seeker)).is_ok() && seeker.found
    }

    /// Answers a request with an error wherever its API has room for one.
    fn answer_with_error(&mut self, context: &Context, body: &Bytes, code: i16) {
        let ticket = context.ticket;
        let nodes: Vec<_> = self.brokers.keys().map(|id| NodeId(id.0)).collect();
        let addresses = Addresses(self.brokers.values().collect());
        let brokers = Brokers { nodes: &nodes, addresses: &addresses };
        let (key, version) = (ticket.api_key, ticket.api_version);
        let error = (code, None);
        let answer =
            ErrorAnswer::new(key, version, ticket.correlation_id, body.len(), error, &brokers)
                .and_then(|mut answer| {
                    answer.feed(body)?;
                    answer.finish()
                });
        match answer {
            Ok(Some(frame)) => self.finish(ticket, Some(Bytes::from(frame))),
            // A producer that wants no answer learns of an error by its connection, as with Kafka.
            Ok(None) | Err(_) => self.close_connection(ticket.connection, CloseCause::Fault),
        }
    }
}

/// Where the brokers are, for error answers that list them.
struct Addresses<'a>(Vec<&'a Broker>);

impl VirtualAddresses for Addresses<'_> {
    fn address_of(&self, node: NodeId) -> Option<(&str, u16)> {
        let broker = self.0.iter().find(|broker| broker.id.0 == node.0 && broker.is_listed())?;
        Some((&broker.host, broker.port))
    }
}

/// Looks for a topic in a request.
struct TopicSeeker<'a> {
    name: &'a [u8],
    id: Option<u128>,
    /// How much of the name the text at hand has matched so far.
    matched_bytes: Option<usize>,
    found: bool,
}

impl Visitor for TopicSeeker<'_> {
    fn scalar(&mut self, field: &'static Field, _: usize, value: Scalar) {
        if let (Scalar::Uuid(id), "TopicId") = (value, field.name) {
            self.found |= self.id == Some(id);
        }
    }

    fn text(&mut self, field: &'static Field, _: usize, _: usize, bytes: Option<usize>) {
        let names_topic = ["Name", "Topic", "TopicName", "TopicNames", "Topics"];
        let may_be = bytes == Some(self.name.len()) && names_topic.contains(&field.name);
        self.matched_bytes = may_be.then_some(0);
    }

    fn text_piece(&mut self, _: &'static Field, piece: &[u8]) {
        let Some(matched) = self.matched_bytes else { return };
        let rest = &self.name[matched.min(self.name.len())..];
        self.matched_bytes = rest.starts_with(piece).then_some(matched + piece.len());
        self.found |= self.matched_bytes == Some(self.name.len());
    }
}

/// An answer that says how long the client is throttled, where its version can.
fn throttled(ticket: Ticket, frame: Bytes, ms: u32) -> Bytes {
    struct Seeker(Option<usize>);
    impl Visitor for Seeker {
        fn scalar(&mut self, field: &'static Field, start: usize, _: Scalar) {
            if field.name == "ThrottleTimeMs" {
                self.0.get_or_insert(start);
            }
        }
    }
    let mut seeker = Seeker(None);
    let message = &frame[LENGTH_BYTES..];
    let walked = Walker::response(ticket.api_key, ticket.api_version, message.len())
        .and_then(|mut walker| walker.feed(message, &mut seeker));
    let (Ok(()), Some(start)) = (walked, seeker.0) else { return frame };
    let mut frame = frame.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let ms = i32::try_from(ms).unwrap_or(i32::MAX).to_be_bytes();
    frame[LENGTH_BYTES + start..][..4].copy_from_slice(&ms);
    frame.freeze()
}
