//! Everything that a play consists of besides its clients.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use switchyard_sim::{oracle::History, scenario::Scenario};
use tokio::time::sleep;

use super::{
    Recorder, Stopwatch,
    addresses::{Addresses, Viewer},
    flow,
    instances::{Instance, REPLACED},
    mirror::{self, MirrorMaker},
    network::Network,
    stage,
    usage::Usage,
    watch::Logs,
};
use crate::{Result, cluster::Cluster, eventually, machine, version::Version};

/// How long MirrorMaker may take from its start until records flow.
const FLOW_TIME_MAX: Duration = Duration::from_mins(2);

/// Everything that runs.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) recorder: Recorder,
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) addresses: Addresses,
    pub(super) network: Network,
    pub(super) instances: Vec<Instance>,
    pub(super) mirror: Mirror,
    pub(super) logs: tokio::sync::Mutex<Logs>,
    pub(super) usages: Mutex<Vec<Usage>>,
    /// What is otherwise than in the scenario, line by line.
    pub(super) remarks: Vec<String>,
}

/// The mirror link of a play.
#[derive(Default)]
pub(super) struct Mirror {
    state: Mutex<MirrorState>,
}

#[derive(Default)]
struct MirrorState {
    /// Which way it copies; `None`: there is none, or it was cut off.
    plan: Option<mirror::Plan>,
    maker: Option<MirrorMaker>,
    promoted: bool,
}

impl Mirror {
    fn state(&self) -> MutexGuard<'_, MirrorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From where to where it copies; `None`: it does not.
    pub(super) fn way(&self) -> Option<(String, String)> {
        self.state().plan.as_ref().map(|plan| (plan.from.0.clone(), plan.to.0.clone()))
    }

    /// Whether its topics were made writable.
    pub(super) fn is_promoted(&self) -> bool {
        self.state().promoted
    }

    async fn start(&self, plan: mirror::Plan) -> Result<()> {
        let maker = plan.start().await?;
        let mut state = self.state();
        (state.plan, state.maker) = (Some(plan), Some(maker));
        Ok(())
    }

    /// Ends it at once.
    pub(super) async fn kill(&self) -> Result<()> {
        let maker = self.state().maker.take();
        match maker {
            Some(maker) => maker.kill().await,
            None => Ok(()),
        }
    }

    /// It copies nothing any more, and its topics are writable.
    pub(super) fn is_cut(&self) {
        let mut state = self.state();
        (state.plan, state.promoted) = (None, true);
    }

    fn log(&self) -> String {
        self.state().maker.as_ref().map(MirrorMaker::log).unwrap_or_default()
    }
}

impl World {
    /// Starts everything but the clients.
    pub(super) async fn build(
        scenario: &Scenario,
        addresses: &Addresses,
        mut remarks: Vec<String>,
        watch: &mut Stopwatch,
    ) -> Result<Self> {
        remove_containers().await;
        remarks.push(stage::OTHERWISE.to_owned());
        remarks.push(format!("in the gateway's file are replaced: {REPLACED}"));
        let mut network = Network::new(scenario, addresses);
        let starts = addresses.nodes.iter().map(|(name, nodes)| {
            let plan = stage::plan(scenario, name, nodes, addresses);
            async move { Ok::<_, crate::Error>((name.clone(), Cluster::start(plan?).await?)) }
        });
        let clusters: BTreeMap<_, _> = try_join_all(starts).await?.into_iter().collect();
        watch.lap("clusters");
        let furnished = clusters.iter().map(|(name, it)| stage::furnish(scenario, name, it));
        remarks.extend(try_join_all(furnished).await?.into_iter().flatten());
        for (name, cluster) in &clusters {
            network.open_cluster(name, cluster)?;
        }
        watch.lap("topics");
        let instances = (1..=scenario.instances).map(|it| Instance::new(scenario, addresses, it));
        let instances = instances.collect::<Result<Vec<_>>>()?;
        let topics = scenario.clusters.keys().map(|name| (name.clone(), topics_of(scenario, name)));
        let mirrored = scenario.mirror.iter().flat_map(|mirror| mirror.topics.clone());
        let world = Self {
            scenario: scenario.clone(),
            recorder: Recorder::default(),
            clusters,
            addresses: addresses.clone(),
            network,
            instances,
            mirror: Mirror::default(),
            logs: tokio::sync::Mutex::new(Logs::new(topics.collect(), mirrored.collect())),
            remarks,
            usages: Mutex::default(),
        };
        tokio::try_join!(world.start_mirror(), world.start_gateways())?;
        watch.lap("mirror and gateway");
        Ok(world)
    }

    /// The clock of the play begins to run, and clients are let in.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.recorder = Recorder::default();
        self.network.open_routes(&self.scenario, &self.recorder)
    }

    async fn start_gateways(&self) -> Result<()> {
        try_join_all(self.instances.iter().map(Instance::start)).await?;
        try_join_all(self.instances.iter().map(Instance::await_ready)).await?;
        Ok(())
    }

    /// The version of Kafka of each cluster.
    pub(super) fn versions(&self) -> BTreeMap<String, String> {
        let under_test = || Version::under_test().map(|it| it.to_string()).unwrap_or_default();
        let version = |cluster: &Cluster| match cluster.plan().version {
            Some(version) => version.to_string(),
            None => under_test(),
        };
        self.clusters.iter().map(|(name, cluster)| (name.clone(), version(cluster))).collect()
    }

    fn mirror_plan(&self, from: &str, to: &str) -> Result<mirror::Plan> {
        let spec = self.scenario.mirror.as_ref().ok_or("there is no mirror")?;
        let end = |name: &str| (name.to_owned(), self.addresses.brokers_for(Viewer::Mirror, name));
        let sizes = self.clusters.values().map(|cluster| cluster.plan().nodes.len());
        Ok(mirror::Plan {
            from: end(from),
            to: end(to),
            topics: spec.topics.iter().cloned().chain([flow::PROBE.to_owned()]).collect(),
            offset_sync: spec.offset_sync,
            replicas: sizes.min().unwrap_or(1).min(3),
        })
    }

    /// Starts MirrorMaker as the scenario has it, and waits until it copies.
    async fn start_mirror(&self) -> Result<()> {
        let Some(spec) = &self.scenario.mirror else { return Ok(()) };
        let plan = self.mirror_plan(&spec.from, &spec.to)?;
        let to = &self.clusters[&spec.to];
        tokio::try_join!(flow::create_probe(&self.clusters[&spec.from]), flow::create_probe(to))?;
        self.mirror.start(plan).await?;
        let source = self.addresses.brokers_for(Viewer::Clients, &spec.from);
        let flow = eventually("MirrorMaker copies", FLOW_TIME_MAX, || async {
            flow::reaches(&source, to).await.ok()?.then_some(())
        });
        flow.await.map_err(|error| format!("{error}; {}", self.mirror.log()).into())
    }

    /// What is known of a mirror that does not catch up, for an error message.
    pub(super) async fn why_not_caught_up(&self) -> String {
        match self.round().await {
            Some(lag) => format!("; {lag} records are missing; {}", self.mirror.log()),
            None => "; it was cut off before".to_owned(),
        }
    }

    /// Waits until the mirror has everything, then stops it.
    pub(super) async fn promote(&self) -> Result<()> {
        let (from, to) = self.mirror.way().ok_or("the mirror was cut off before")?;
        while self.round().await != Some(0) {
            sleep(Duration::from_millis(50)).await;
        }
        let sync =
            self.scenario.mirror.as_ref().map(|mirror| mirror.offset_sync).unwrap_or_default();
        // Offsets are read in one interval and written in the next. Inside the log MirrorMaker's translation is behind on
        // purpose, so they are the same only when everybody had read to the end and said so.
        let limit = sync * 2;
        let groups = self.scenario.consumers.iter().map(|it| it.settings["group.id"].clone());
        let groups: Vec<_> = groups.collect();
        let (a, b) = (&self.clusters[&from], &self.clusters[&to]);
        let synced =
            eventually("offsets of the groups are the same on both sides", limit, || async {
                flow::same_offsets(a, b, &groups).await.ok()?.then_some(())
            });
        if synced.await.is_err() {
            self.recorder.note("mirror", "some groups are behind their offsets at the source");
        }
        // It has nothing left to do, so nobody need wait for its end.
        self.mirror.is_cut();
        self.recorder.note("mirror", "is stopped; its topics were writable all the time");
        self.mirror.kill().await
    }

    /// Ends the mirror at once; gives how many records it has left behind.
    pub(super) async fn fail_over(&self) -> Result<u64> {
        self.mirror.way().ok_or("the mirror was cut off before")?;
        self.mirror.kill().await?;
        let unreplicated = self.round().await.unwrap_or_default();
        self.mirror.is_cut();
        Ok(unreplicated)
    }

    /// Lets the mirror copy the other way, in the background: it takes seconds to start.
    pub(super) async fn reverse_mirror(&self) -> Result<()> {
        let spec = self.scenario.mirror.as_ref().ok_or("there is no mirror")?;
        self.mirror.kill().await?;
        let plan = self.mirror_plan(&spec.to, &spec.from)?;
        self.mirror.start(plan).await
    }

    /// How many brokers each cluster has.
    pub(super) fn sizes(&self) -> BTreeMap<String, usize> {
        let size = |cluster: &Cluster| cluster.plan().nodes.len();
        self.clusters.iter().map(|(name, cluster)| (name.clone(), size(cluster))).collect()
    }

    /// Everything that was seen, once nothing happens any more; and a remark where logs could not be read to their ends.
    pub(super) async fn history(self: &Arc<Self>) -> (History, Option<String>) {
        self.read_brokers_logs().await;
        let whole = self.read_to_the_end().await;
        let logs = self.logs.lock().await.stored();
        let remark = (!whole).then(|| "not every partition could be read in the end".to_owned());
        (History { entries: self.recorder.entries_in_order(), logs }, remark)
    }

    /// Ends everything that runs, as fast as can be.
    pub(super) async fn end(&self) {
        for instance in &self.instances {
            instance.kill(&self.recorder);
        }
        remove_containers().await;
    }
}

/// Topics that a cluster has, sooner or later.
fn topics_of(scenario: &Scenario, cluster: &str) -> Vec<String> {
    let target = scenario.mirror.as_ref().filter(|mirror| mirror.to == cluster);
    let mirrored = |name: &String| target.is_some_and(|mirror| mirror.topics.contains(name));
    let own = scenario.topics.iter();
    own.filter(|topic| topic.on.iter().any(|on| on == cluster) || mirrored(&topic.name))
        .map(|topic| topic.name.clone())
        .collect()
}

/// Removes all containers of plays in this slot, also of one that has failed.
async fn remove_containers() {
    let removed = tokio::task::spawn_blocking(|| {
        let filter = format!("name=^/{}-play-", machine::network());
        let ids = machine::docker(&["ps", "--all", "--quiet", "--filter", &filter])?;
        let ids: Vec<_> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(String::new());
        }
        machine::docker(&[&["rm", "--force", "--volumes"], ids.as_slice()].concat())
    });
    // One that cannot be removed is named when its name is taken again.
    drop(removed.await);
}
