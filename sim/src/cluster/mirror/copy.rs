//! Batches on their way: fetched from the source, delivered to the target.
//!
//! A fetch takes whole batches below the source's high watermark and gives each the moment of its arrival. Of a
//! mirror topic the logs are compared first: where the source was cut off, the mirror is too.

use std::time::Duration;

use fastrand::Rng;

use super::{
    super::{
        Cluster,
        log::{Aborted, Log},
        time::Time,
    },
    Link, LinkEvent, Pair,
    access::{batch_at, common_end, count_records},
    raw::{Raw, batches},
    spec::{ClusterLinking, Epochs, Isolation, Lag, MirrorMaker, Mode},
    topic::{InFlight, MirrorPartition, MirrorTopic},
};

/// `replica.fetch.max.bytes`: what one fetch takes of one partition.
const FETCH_BYTES_MAX: usize = 1 << 20;
/// What is on its way at most; beyond, nothing is fetched.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// The line between the clusters: when what is sent now arrives.
pub(super) struct Wire {
    pub(super) random: Rng,
    pub(super) lag: Lag,
    pub(super) bytes_per_second: Option<u64>,
    /// Until then, earlier batches are being sent.
    busy_until: Time,
    pub(super) bytes_in_flight: usize,
}

impl Wire {
    pub(super) fn new(random: Rng, lag: Lag, bytes_per_second: Option<u64>) -> Self {
        Self { random, lag, bytes_per_second, busy_until: Time::default(), bytes_in_flight: 0 }
    }

    fn has_room(&self) -> bool {
        self.bytes_in_flight < IN_FLIGHT_BYTES_MAX
    }

    fn send(&mut self, now: Time, bytes: usize) -> Time {
        self.bytes_in_flight += bytes;
        let sending = self.bytes_per_second.map_or(Duration::ZERO, |rate| {
            let micros = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
            Duration::from_micros(micros)
        });
        self.busy_until = self.busy_until.max(now) + sending;
        let lag = match self.lag {
            Lag::Fixed(lag) => lag,
            Lag::Between(least, most) => {
                let micros = |lag: Duration| u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
                let (least, most) = (micros(least), micros(most));
                Duration::from_micros(self.random.u64(least..=most.max(least)))
            }
        };
        self.busy_until + lag
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.bytes_in_flight -= bytes;
    }
}

impl Link {
    /// Asks the source for what is new.
    pub(super) fn fetch(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster) {
        for topic in self.topics.values_mut().filter(|topic| topic.phase.copies()) {
            let Pair { source, target } = Pair::of(topic.direction, &mut *a, &mut *b);
            if !topic.is_linked(source, target, &self.spec.mode) {
                // One of the two was deleted: found out at once, so that nothing of another topic is copied.
                self.next_metadata = now;
                continue;
            }
            for index in 0..topic.partitions.len() {
                if !self.wire.has_room() {
                    return;
                }
                let fetched = match &self.spec.mode {
                    Mode::ClusterLinking(_) => fetch_mirror(topic, index, source, target),
                    Mode::MirrorMaker(maker) => fetch_copy(topic, index, source, maker),
                };
                let partition = &mut topic.partitions[index];
                match fetched {
                    Fetched::Nothing => {}
                    Fetched::Batches { batches, next, high_watermark } => {
                        for batch in batches {
                            let bytes = batch.bytes().len();
                            // One that is drawn to arrive before the one ahead of it waits behind it.
                            let arrives = self.wire.send(now, bytes);
                            partition.in_flight.push_back(InFlight { arrives, batch });
                        }
                        partition.position = next;
                        partition.source_high_watermark = high_watermark;
                        partition.last_fetch = Some(now);
                    }
                    Fetched::CutOff { to, records } => {
                        let bytes = partition.rewind(to);
                        self.wire.received(bytes);
                        if records == 0 {
                            continue;
                        }
                        partition.cut_off += records;
                        self.events.note(LinkEvent::CutOff {
                            at: now,
                            topic: topic.mirror.to_string(),
                            partition: i32::try_from(index).unwrap_or(i32::MAX),
                            to,
                            records,
                        });
                    }
                }
            }
        }
    }

    /// Gives the target what has arrived.
    pub(super) fn deliver(&mut self, now: Time, a: &mut Cluster, b: &mut Cluster) {
        for topic in self.topics.values_mut().filter(|topic| topic.phase.copies()) {
            let Pair { source, target } = Pair::of(topic.direction, &mut *a, &mut *b);
            if !topic.is_linked(source, target, &self.spec.mode) {
                continue;
            }
            let mirror = topic.mirror.clone();
            for (index, partition) in (0..).zip(&mut topic.partitions) {
                while partition.in_flight.front().is_some_and(|first| first.arrives <= now) {
                    let batch = &partition.in_flight[0].batch;
                    let taken = match &self.spec.mode {
                        Mode::ClusterLinking(ClusterLinking { epochs, .. }) => target.append_copy(
                            now,
                            &mirror,
                            index,
                            batch,
                            *epochs == Epochs::NotBelowSource,
                        ),
                        Mode::MirrorMaker(maker) => {
                            let produced =
                                target.append_produced(now, &mirror, index, &batch.produced_anew());
                            if let Some(base_offset) = produced {
                                copied(&mut partition.translation, batch, base_offset, maker);
                            }
                            produced.is_some()
                        }
                    };
                    if !taken {
                        // Its leader is away: tried again with the next fetch.
                        break;
                    }
                    if let Some(arrived) = partition.in_flight.pop_front() {
                        self.wire.received(arrived.batch.bytes().len());
                        partition.delivered = arrived.batch.last_offset() + 1;
                    }
                }
                if partition.in_flight.is_empty() {
                    // What was left out, such as control batches, is done with as well.
                    partition.delivered = partition.position;
                }
            }
        }
    }
}

fn copied(
    translation: &mut super::translation::Translation,
    batch: &Raw,
    base: i64,
    maker: &MirrorMaker,
) {
    for record in 0..=batch.last_offset() - batch.base_offset() {
        translation.copied(batch.base_offset() + record, base + record, maker.offset_lag_max);
    }
}

/// What a fetch has come to.
enum Fetched {
    Nothing,
    Batches {
        batches: Vec<Raw>,
        next: i64,
        high_watermark: i64,
    },
    /// The source and the mirror are one up to `to` only, where the next fetch begins.
    CutOff {
        to: i64,
        records: u64,
    },
}

/// Of a mirror topic: the next batches, once the mirror is known to be a prefix of the source.
fn fetch_mirror(
    topic: &MirrorTopic,
    index: usize,
    source: &Cluster,
    target: &mut Cluster,
) -> Fetched {
    let partition = &topic.partitions[index];
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    let (Some(from), Some(to)) =
        (source.served_log(&topic.source, index), target.served_log(&topic.mirror, index))
    else {
        return Fetched::Nothing;
    };
    let next =
        partition.in_flight.front().map_or(partition.position, |first| first.batch.base_offset());
    if next != to.end() {
        // The mirror's own cluster has lost some of it, or has lost its leader with something on its way.
        return Fetched::CutOff { to: to.end(), records: 0 };
    }
    if let Some(cut) = follow_truncation(partition, from, to) {
        if let Fetched::CutOff { to, .. } = cut {
            target.truncate_log(&topic.mirror, index, to);
        }
        return cut;
    }
    let mut position = partition.position;
    if position < from.start() && partition.in_flight.is_empty() {
        // Retention at the source was faster. A log may begin inside a batch, which is copied whole.
        position = batch_at(from, from.start()).map_or(from.start(), |first| first.base_offset());
        if position > to.end() {
            target.restart_log(&topic.mirror, index, position);
        }
        position = position.max(partition.position);
    }
    let end = target.log_of(&topic.mirror, index).map_or(0, Log::end);
    let start = from.start().min(end);
    target.delete_log_before(&topic.mirror, index, start);
    let read = batches(from.read(position, from.high_watermark(), FETCH_BYTES_MAX, true).records);
    let next = read.last().map_or(position, |last| last.last_offset() + 1);
    Fetched::Batches { batches: read, next, high_watermark: from.high_watermark() }
}

/// Compares what stands right before the next fetch on both sides. What is cut off is counted.
fn follow_truncation(partition: &MirrorPartition, from: &Log, to: &Log) -> Option<Fetched> {
    let last_here = match partition.in_flight.back() {
        Some(last) => Some(last.batch.clone()),
        None => batch_at(to, to.end() - 1),
    };
    let same = match &last_here {
        _ if from.end() < partition.position => false,
        // An empty mirror follows whatever comes; what retention took at the source cannot be compared.
        None => true,
        Some(last) if last.last_offset() < from.start() => true,
        Some(last) => {
            batch_at(from, last.last_offset()).is_some_and(|there| there.is_copy_of(last))
        }
    };
    if same {
        return None;
    }
    let common = common_end(from, to);
    let records = count_records(to, common, to.end());
    Some(Fetched::CutOff { to: common, records })
}

/// Of MirrorMaker: the next batches that its consumer gives out.
fn fetch_copy(topic: &MirrorTopic, index: usize, source: &Cluster, maker: &MirrorMaker) -> Fetched {
    let partition = &topic.partitions[index];
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    let Some(log) = source.served_log(&topic.source, index) else { return Fetched::Nothing };
    let out_of_range = partition.position < log.start() || partition.position > log.end();
    // `auto.offset.reset=earliest` of its consumer.
    let position = if out_of_range { log.start() } else { partition.position };
    let up_to = match maker.isolation {
        Isolation::ReadUncommitted => log.high_watermark(),
        Isolation::ReadCommitted => log.last_stable_offset(),
    };
    let read = batches(log.read(position, up_to, FETCH_BYTES_MAX, true).records);
    let next = read.last().map_or(position, |last| last.last_offset() + 1);
    let aborted = match maker.isolation {
        Isolation::ReadUncommitted => Vec::new(),
        Isolation::ReadCommitted => log.aborted(position, next),
    };
    let wanted = |batch: &Raw| !batch.is_control() && !is_aborted(batch, &aborted);
    let batches = read.into_iter().filter(wanted).collect();
    Fetched::Batches { batches, next, high_watermark: log.high_watermark() }
}

/// Whether a batch belongs to one of these transactions.
pub(super) fn is_aborted(batch: &Raw, aborted: &[Aborted]) -> bool {
    let of_it = |aborted: &Aborted| {
        aborted.producer_id == batch.producer_id()
            && (aborted.first_offset..aborted.last_offset).contains(&batch.base_offset())
    };
    batch.is_transactional() && aborted.iter().any(of_it)
}
