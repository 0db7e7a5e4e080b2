//! What somebody who stands beside a play sees: routes, logs of the gateway, growth of the clusters' logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use switchyard_sim::{
    oracle::history::{Stored, What},
    rehearsal::route_entry,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Recorder, logs::LogReader, world::World};
use crate::cluster::Cluster;

/// How often the routes of the gateways are looked at: as in rehearsals.
const ROUTES_EVERY: Duration = Duration::from_millis(100);
/// How often the logs of the clusters are read.
const LOGS_EVERY: Duration = Duration::from_millis(200);
/// How long the last reading may take.
const LAST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long sessions and their sockets may outlast their clients.
const SESSIONS_TIME_MAX: Duration = Duration::from_secs(20);
/// When no socket was closed for so long, none will be.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// The metric that counts what the gateway answers by itself.
const SHORT_CIRCUITS: &str = "switchyard_short_circuit_answers_total";

/// The logs of all clusters as they were read so far.
pub(super) struct Logs {
    readers: BTreeMap<String, LogReader>,
    /// The cluster in which clients were last seen to write.
    writer: Option<String>,
    /// Topics of the mirror.
    mirrored: Vec<String>,
    lag: Option<u64>,
}

impl Logs {
    /// Topics by cluster, and those of the mirror.
    pub(super) fn new(topics: BTreeMap<String, Vec<String>>, mirrored: Vec<String>) -> Self {
        let readers = topics.into_iter().map(|(name, topics)| (name, LogReader::new(topics)));
        Self { readers: readers.collect(), writer: None, mirrored, lag: None }
    }

    /// Reads every cluster once; gives whether all of each was there to read, and whether any has grown.
    pub(super) async fn round(
        &mut self,
        clusters: &BTreeMap<String, Cluster>,
        recorder: &Recorder,
    ) -> (bool, bool) {
        // The cluster that takes writes is read last and told of first: so what another one takes after it never seems to
        // come before.
        let mut order: Vec<String> = self.readers.keys().cloned().collect();
        order.sort_by_key(|name| Some(name) == self.writer.as_ref());
        let (mut complete, mut grew) = (true, false);
        let mut seen = Vec::new();
        for name in order {
            let (Some(reader), Some(cluster)) = (self.readers.get_mut(&name), clusters.get(&name))
            else {
                continue;
            };
            let news = reader.read(cluster).await;
            complete &= news.complete;
            grew |= news.grew;
            seen.push((name, news));
        }
        for (name, news) in seen.into_iter().rev() {
            for (topic, partition) in news.moved {
                recorder.record(&name, What::LeaderMoved { topic: topic.into(), partition });
            }
            for ((topic, partition), records) in news.appended {
                recorder.record(&name, What::Appended { topic: topic.into(), partition, records });
                self.writer = Some(name.clone());
            }
        }
        (complete, grew)
    }

    /// Records of clients that a mirror has not copied.
    pub(super) fn lag(&self, from: &str, to: &str) -> u64 {
        let written = self.readers.get(from).map_or(0, |it| it.written(&self.mirrored));
        let copied = self.readers.get(to).map_or(0, |it| it.mirrored(&self.mirrored));
        written.saturating_sub(copied)
    }

    fn note_lag(&mut self, records: u64, recorder: &Recorder) {
        if self.lag.replace(records) != Some(records) {
            recorder.record("mirror", What::MirrorLag { records });
        }
    }

    /// Everything that each cluster holds.
    pub(super) fn stored(&self) -> BTreeMap<String, Vec<Stored>> {
        let sorted = |reader: &LogReader| {
            let mut stored = reader.stored().to_vec();
            stored.sort();
            stored
        };
        self.readers.iter().map(|(name, reader)| (name.clone(), sorted(reader))).collect()
    }
}

impl World {
    /// Reads all logs once; gives how many records the mirror is behind, if one is there.
    pub(super) async fn round(&self) -> Option<u64> {
        let way = self.mirror.way();
        let mut logs = self.logs.lock().await;
        logs.round(&self.clusters, &self.recorder).await;
        let (from, to) = way?;
        let lag = logs.lag(&from, &to);
        logs.note_lag(lag, &self.recorder);
        Some(lag)
    }

    /// Takes down growth of the logs and moves of leaders, for ever.
    pub(super) async fn watch_logs(self: Arc<Self>) {
        let mut ticks = interval(LOGS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.round().await;
        }
    }

    /// Reads all logs to their ends. Gives whether all was there to read.
    pub(super) async fn read_to_the_end(&self) -> bool {
        let deadline = Instant::now() + LAST_TIME_MAX;
        let mut logs = self.logs.lock().await;
        loop {
            let (complete, grew) = logs.round(&self.clusters, &self.recorder).await;
            if complete && !grew {
                return true;
            }
            if Instant::now() > deadline {
                return complete;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes down what only the brokers' logs tell: that silent members were thrown out.
    pub(super) async fn read_brokers_logs(self: &Arc<Self>) {
        let own = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            // MirrorMaker's own groups are no part of the scenario.
            let consumers = own.scenario.consumers.iter();
            let groups: BTreeSet<_> = consumers.map(|it| &*it.settings["group.id"]).collect();
            for (name, cluster) in &own.clusters {
                for &node in &cluster.plan().nodes {
                    // A broker whose log cannot be had tells nothing.
                    for line in cluster.log(node).unwrap_or_default() {
                        if let Some((at, group)) = expired(&own.recorder, &line)
                            && groups.contains(&*group)
                        {
                            let what = What::MemberExpired { group: group.into() };
                            own.recorder.record_at(at, name, what);
                        }
                    }
                }
            }
        });
        // A panic in there is told by the runtime.
        drop(read.await);
    }

    /// Samples what the instances say of their routes whenever it has changed, and their logs, for ever.
    pub(super) async fn watch_routes(self: Arc<Self>) {
        let mut last: BTreeMap<(String, String), What> = BTreeMap::new();
        let mut ticks = interval(ROUTES_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for instance in self.instances.iter().filter(|instance| instance.runs()) {
                instance.take_log(&self.recorder);
                let Ok(status) = instance.status().await else { continue };
                for route in status.routes {
                    let what = route_entry(&route, |name| name.into());
                    let key = (instance.name.clone(), route.name.to_string());
                    let before = last.insert(key, what.clone());
                    if before.as_ref() != Some(&what) {
                        self.recorder.record(&instance.name, what);
                    }
                }
            }
        }
    }

    /// Waits until the clients that have gone have left no session behind, or for as long as that may take.
    pub(super) async fn await_no_sessions(&self) {
        let deadline = Instant::now() + SESSIONS_TIME_MAX;
        while Instant::now() < deadline {
            let mut sessions = 0;
            for instance in self.instances.iter().filter(|instance| instance.runs()) {
                let Ok(status) = instance.status().await else { continue };
                let of_routes = status.routes.iter().map(|it| it.observed.sessions.sessions);
                sessions += of_routes.sum::<usize>();
            }
            if sessions == 0 {
                break;
            }
            sleep(ROUTES_EVERY).await;
        }
        // Their sockets are closed a moment later.
        let descriptors = || self.usage().iter().map(|it| it.descriptors).sum::<u64>();
        while Instant::now() < deadline {
            let before = descriptors();
            sleep(CLOSING_TIME).await;
            if descriptors() == before {
                return;
            }
        }
    }

    /// Where the routes point in the end, as the instances that run say; and whether a fence has answered.
    pub(super) async fn targets(&self) -> BTreeMap<String, String> {
        let mut targets = BTreeMap::new();
        for instance in self.instances.iter().filter(|instance| instance.runs()) {
            let metrics = instance.metrics().await.unwrap_or_default();
            let mut lines = metrics.lines();
            if lines.any(|line| line.starts_with(SHORT_CIRCUITS) && line.contains("kind=\"fence\""))
            {
                self.recorder.record(&instance.name, What::FenceAnswered);
            }
            let Ok(status) = instance.status().await else { continue };
            for route in status.routes {
                targets.insert(route.name.to_string(), route.desired.target.domain.to_string());
            }
        }
        targets
    }
}

/// Takes down a line of a gateway's log: how sessions end, and what is worth a warning.
pub(super) fn log_line(recorder: &Recorder, who: &str, line: &str) {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        recorder.record(who, What::Log { level: "error".into(), text: line.into() });
        return;
    };
    let mut text = |key: &str| {
        let value = fields.remove(key).unwrap_or_default();
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    let (level, message, at) = (text("level"), text("message"), text("timestamp"));
    let at = since_start(recorder, &at).unwrap_or_else(|| recorder.elapsed());
    if message == "session ended" {
        recorder.record_at(at, who, What::SessionClosed { cause: text("cause").into() });
        return;
    }
    if level != "WARN" && level != "ERROR" {
        return;
    }
    fields.remove("target");
    let rest = fields.iter().map(|(key, value)| format!(" {key}={value}"));
    let text: String = std::iter::once(message).chain(rest).collect();
    let level = level.to_ascii_lowercase();
    recorder.record_at(at, who, What::Log { level: level.into(), text: text.into() });
}

/// The group whose coordinator has thrown a silent member out, and when, of a line of a broker's log.
fn expired(recorder: &Recorder, line: &str) -> Option<(Duration, String)> {
    // `[2026-11-26 13:32:20,543] INFO [GroupCoordinator …] Member … in group billing has failed, …`
    let (at, rest) = line.strip_prefix('[')?.split_once("] INFO [GroupCoordinator ")?;
    let group = match rest.split_once(" has failed, removing it from the group") {
        Some((before, _)) => before.rsplit_once(" in group ")?.1,
        None => {
            let (before, _) = rest.split_once("the member session expired")?;
            before.split_once("[GroupId ")?.1.split_once(']')?.0
        }
    };
    let at = format!("{}Z", at.replace(' ', "T").replace(',', "."));
    Some((since_start(recorder, &at)?, group.to_owned()))
}

/// When a line was written, given its timestamp; `None`: before the start, or no timestamp.
fn since_start(recorder: &Recorder, timestamp: &str) -> Option<Duration> {
    let at: jiff::Timestamp = timestamp.parse().ok()?;
    let unix = Duration::from_micros(u64::try_from(at.as_microsecond()).ok()?);
    unix.checked_sub(recorder.start_unix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_members_are_found_in_logs_of_both_protocols() {
        let recorder = Recorder::default();
        let of = |line: &str| expired(&recorder, line).map(|(_, group)| group);
        let classic = "[2999-11-26 13:32:20,543] INFO [GroupCoordinator id=1 topic=__consumer_offsets partition=4] \
                       Member b-1-cf07 in group billing has failed, removing it from the group. (o.a.k.X)";
        assert_eq!(of(classic).as_deref(), Some("billing"));
        let modern = "[2999-11-26 13:32:20,543] INFO [GroupCoordinator id=1 topic=__consumer_offsets partition=4] \
                      [GroupId audit] Member b-1-cf07 fenced from the group because the member session expired.";
        assert_eq!(of(modern).as_deref(), Some("audit"));
        assert_eq!(
            of("[2999-11-26 13:32:20,543] INFO [GroupCoordinator id=1] Stabilized group x"),
            None
        );
    }

    #[test]
    fn log_lines_keep_causes_and_warnings() {
        let recorder = Recorder::default();
        for line in [
            r#"{"timestamp":"2999-01-01T00:00:00Z","level":"INFO","message":"session ended","cause":"repointed"}"#,
            r#"{"timestamp":"2999-01-01T00:00:00Z","level":"WARN","message":"late","target":"x","route":"sales"}"#,
            r#"{"timestamp":"2999-01-01T00:00:00Z","level":"INFO","message":"of no concern"}"#,
            "thread panicked",
        ] {
            log_line(&recorder, "gateway-1", line);
        }
        let entries = recorder.entries_in_order();
        let mut seen: Vec<_> = entries.into_iter().map(|entry| entry.what).collect();
        seen.sort_by_key(|what| format!("{what:?}"));
        assert_eq!(
            seen,
            [
                What::Log { level: "error".into(), text: "thread panicked".into() },
                What::Log { level: "warn".into(), text: "late route=\"sales\"".into() },
                What::SessionClosed { cause: "repointed".into() },
            ]
        );
    }
}
