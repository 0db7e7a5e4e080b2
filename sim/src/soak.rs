//! A scenario made by dice: minutes of repoints, fences, dying brokers, silent links and a dying gateway, in an order that a
//! seed decides.
//!
//! It is written as a scenario file, so whoever wonders what a soak on real Kafka does can read it, rehearse it in seconds,
//! and cut it down. One thing is broken at a time and has time to mend: what is looked for is what adds up, not what
//! breaks when everything breaks at once.

use std::{fmt::Write as _, time::Duration};

use fastrand::Rng;

use crate::random;

/// Shortest soak: less has room for no event.
pub const DURATION_MIN: Duration = Duration::from_mins(1);
/// Longest soak, as long as a scenario may be.
pub const DURATION_MAX: Duration = Duration::from_hours(6);

/// Before the first event clients start and groups form.
const CALM_AT_START_S: u64 = 20;
/// After the last event.
const CALM_AT_END_S: u64 = 20;
/// Between the end of one event and the start of the next, from and to.
const PAUSE_S: (u64, u64) = (4, 12);
/// After a broker has come back, in addition: it catches up and takes its partitions again.
const BROKER_RETURNS_S: u64 = 10;
/// Names of the two streaming domains.
const DOMAINS: [&str; 2] = ["east", "west"];
/// Node ids of each cluster.
const BROKERS: u64 = 3;

/// What everything before the timeline is. Producers that come back to a cluster they have left go on with sequence numbers
/// that it has not seen: the Java client raises its epoch, an idempotent librdkafka producer would stop for good, which is
/// a scenario of its own.
const SETTING: &str = "\
gateway:
  gateway:
    name: soak
    streamingDomains:
      - name: east
        kafkaCluster:
          bootstrapServers: [{id: internal, endpoint: 'kafka-1.east.internal:9092,kafka-2.east.internal:9092,kafka-3.east.internal:9092'}]
          nodeIdRanges: [{name: brokers, start: 1, end: 3}]
      - name: west
        kafkaCluster:
          bootstrapServers: [{id: internal, endpoint: 'kafka-1.west.internal:9092,kafka-2.west.internal:9092,kafka-3.west.internal:9092'}]
          nodeIdRanges: [{name: brokers, start: 1, end: 3}]
    routes:
      - name: sales
        endpoint: 'kafka.example.com:19092'
        streamingDomain: {name: east, bootstrapServerId: internal}
        clientView: neutral
        fence: {scope: NONE, mode: hold, holdTimeMax: 60s, errorCode: NOT_LEADER_OR_FOLLOWER}
clusters: {east: {}, west: {}}
topics: [{name: orders, partitions: 6, on: [east, west], settings: {min.insync.replicas: 2}}]
producers:
  - {name: checkout, count: 3, route: sales, topic: orders, rate: 50}
  - {name: sensors, profile: librdkafka, count: 2, route: sales, topic: orders, rate: 50}
consumers:
  - {name: billing, count: 2, route: sales, topics: [orders], settings: {auto.offset.reset: earliest}}
  - {name: audit, profile: librdkafka, count: 2, route: sales, topics: [orders], settings: {auto.offset.reset: earliest}}
";

/// What must come of it: nothing acknowledged is gone from both clusters, no send fails, nobody is stuck. What a cluster
/// keeps that the route has left counts as lost there, and a cut leaves the fate of a record open.
const EXPECT: &str = "\
expect:
  vanished: 0
  failed: 0
  fatal: 0
  missed: 0
  lost: ..
  duplicated: ..
  reordered: ..
  rto: ..60s
";

/// The scenario of a soak that lasts `duration`, as YAML.
///
/// # Errors
/// When the duration is out of range.
pub fn scenario(duration: Duration, seed: u64) -> Result<String, String> {
    if !(DURATION_MIN..=DURATION_MAX).contains(&duration) {
        return Err("a soak lasts between 1 minute and 6 hours".to_owned());
    }
    let length = duration.as_secs();
    let mut text = format!(
        "about: A soak of {length} s by dice, seed {seed}.\n{SETTING}duration: {length}s\nrecovery: 2m\ntimeline:\n"
    );
    let mut dice = Dice { random: random::stream(seed, "soak", "timeline"), target: 0 };
    let mut at = CALM_AT_START_S;
    loop {
        let (steps, lasts) = dice.event(at);
        at += lasts;
        if at + CALM_AT_END_S > length {
            break;
        }
        text.push_str(&steps);
        at += dice.random.u64(PAUSE_S.0..=PAUSE_S.1);
    }
    text.push_str(EXPECT);
    Ok(text)
}

struct Dice {
    random: Rng,
    /// Where the route points, of [`DOMAINS`].
    target: usize,
}

impl Dice {
    /// The next event at a time in seconds: its steps, and how long it lasts.
    fn event(&mut self, at: u64) -> (String, u64) {
        match self.random.u32(..100) {
            0..25 => self.repoint(at),
            25..40 => self.fence(at, "hold"),
            40..50 => self.fence(at, "error"),
            50..65 => self.broker(at, "kill-broker"),
            65..75 => self.broker(at, "stop-broker"),
            75..90 => self.silence(at),
            _ => self.gateway(at),
        }
    }

    fn repoint(&mut self, at: u64) -> (String, u64) {
        self.target = 1 - self.target;
        let to = DOMAINS[self.target];
        // In order, or as a cut in the middle of everything.
        let how = if self.random.bool() { ", fence: hold, drain: 5s" } else { "" };
        (step(at, &format!("switchover: {{route: sales, to: {to}{how}}}")), 5)
    }

    fn fence(&mut self, at: u64, mode: &str) -> (String, u64) {
        let lasts = self.random.u64(1..=6);
        let steps = step(at, &format!("fence: {{route: sales, mode: {mode}}}"))
            + &step(at + lasts, "unfence: {route: sales}");
        (steps, lasts)
    }

    /// A broker of either cluster, and only one at a time: two of three replicas have to be in sync.
    fn broker(&mut self, at: u64, action: &str) -> (String, u64) {
        let cluster = DOMAINS[self.random.usize(..DOMAINS.len())];
        let (broker, lasts) = (self.random.u64(1..=BROKERS), self.random.u64(3..=12));
        let what = format!("{action}: {{cluster: {cluster}, broker: {broker}, for: {lasts}s}}");
        (step(at, &what), lasts + BROKER_RETURNS_S)
    }

    fn silence(&mut self, at: u64) -> (String, u64) {
        let lasts = self.random.u64(1..=8);
        let what =
            format!("black-hole: {{between: [gateway, {}], for: {lasts}s}}", DOMAINS[self.target]);
        (step(at, &what), lasts + 3)
    }

    fn gateway(&mut self, at: u64) -> (String, u64) {
        let lasts = self.random.u64(1..=4);
        (step(at, &format!("kill-gateway: {{instance: 1, for: {lasts}s}}")), lasts + 5)
    }
}

fn step(at: u64, action: &str) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = writeln!(text, "  - {{at: {at}s, {action}}}");
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario;

    #[test]
    fn every_seed_makes_a_scenario_that_is_valid() {
        for seed in 0..100 {
            let minutes = seed % 20 + 1;
            let text = scenario(Duration::from_mins(minutes), seed).expect("a soak");
            let read = scenario::read(text.as_bytes(), "soak", "soak", Path::new("."), &[]);
            let read = read.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            assert_eq!(read.len(), 1);
        }
    }

    #[test]
    fn long_soak_has_every_kind_of_event() {
        let text = scenario(Duration::from_hours(1), 1).expect("a soak");
        for event in [
            "fence: hold, drain",
            "to: west}",
            "mode: hold",
            "mode: error",
            "kill-broker",
            "stop-broker",
            "black-hole",
            "kill-gateway",
        ] {
            assert!(text.contains(event), "{event} in\n{text}");
        }
    }

    #[test]
    fn same_seed_makes_the_same_soak_and_another_seed_another() {
        let soak = |seed| scenario(Duration::from_mins(5), seed).expect("a soak");
        assert_eq!(soak(1), soak(1));
        assert_ne!(soak(1), soak(2));
    }

    #[test]
    fn soak_without_room_for_an_event_is_refused() {
        assert!(scenario(Duration::from_secs(59), 1).is_err());
        assert!(scenario(Duration::from_hours(7), 1).is_err());
    }
}
