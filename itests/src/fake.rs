//! Fake clusters in this process, on loopback addresses of their own: real clients cannot tell them from Kafka.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use switchyard::driver::TokioNetwork;
use switchyard_sim::{
    ask::Connection,
    cluster::{ClusterSpec, SaslSpec, Time, versions::Profile},
    serve::{Server, SharedCluster, machine_clock},
};
use tokio::sync::oneshot;

use crate::{Result, eventually, process::Process, wire};

/// Port of the first broker; the others have the next ones.
pub const FAKE_PORT: u16 = 17292;

/// How long a topic may take until every broker names its leaders.
const READY_TIME_MAX: Duration = Duration::from_secs(20);

/// What a fake cluster is to be.
#[derive(Clone, Debug)]
pub struct FakePlan {
    /// Number of brokers, with ids from 1 on.
    pub brokers: u16,
    /// Broker settings by Kafka's own names.
    pub settings: &'static [(&'static str, &'static str)],
    /// Who may log in; with anybody, clients must.
    pub users: &'static [(&'static str, &'static str)],
    /// Whose versions it offers.
    pub profile: Profile,
}

impl Default for FakePlan {
    fn default() -> Self {
        Self {
            brokers: 3,
            // As short as tests want it; Kafka's own defaults are for machines that fail rarely.
            settings: &[
                ("auto.create.topics.enable", "false"),
                ("broker.session.timeout.ms", "1000"),
                ("group.initial.rebalance.delay.ms", "0"),
            ],
            users: &[],
            profile: Profile::Kafka41,
        }
    }
}

/// A running fake cluster with a thread of its own, as a broker would have a process. Dropping it ends it.
pub struct FakeCluster {
    ip: Ipv4Addr,
    plan: FakePlan,
    cluster: SharedCluster,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeCluster {
    /// Starts a cluster.
    pub fn start(plan: FakePlan) -> Result<Self> {
        let ip = own_address();
        let mut spec =
            ClusterSpec::new("fake", 1, &ip.to_string(), FAKE_PORT..FAKE_PORT + plan.brokers);
        spec.profile = plan.profile;
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        spec.settings = owned(plan.settings);
        spec.sasl = (!plan.users.is_empty()).then(|| SaslSpec { users: owned(plan.users) });
        let (started, outcome) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(spec, ip.into(), &started, stopped));
        let cluster = outcome.recv()??;
        Ok(Self { ip, plan, cluster, stop: Some(stop), thread: Some(thread) })
    }

    /// Addresses of all brokers, separated by commas.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.nodes().map(|node| self.address(node)).collect();
        addresses.join(",")
    }

    /// Address of one broker.
    pub fn address(&self, node: i32) -> String {
        let port = i32::from(FAKE_PORT) + node - 1;
        format!("{}:{port}", self.ip)
    }

    fn nodes(&self) -> impl Iterator<Item = i32> {
        1..=i32::from(self.plan.brokers)
    }

    /// The cluster itself.
    pub fn cluster(&self) -> &SharedCluster {
        &self.cluster
    }

    /// Ends a broker at once, as a power cut does.
    pub fn kill(&self, node: i32) {
        self.cluster.with(|cluster, now: Time| cluster.kill_broker(now, node));
    }

    /// Ends a broker in good order.
    pub fn stop(&self, node: i32) {
        self.cluster.with(|cluster, now: Time| cluster.stop_broker(now, node));
    }

    /// Starts a broker that was stopped or killed.
    pub fn start_again(&self, node: i32) {
        self.cluster.with(|cluster, now: Time| cluster.start_broker(now, node));
    }

    /// Creates a topic and waits until every broker names its leaders.
    pub async fn create_topic(&self, topic: &str, partitions: i32, replication: i16) -> Result<()> {
        let mut connection = Connection::open(&self.address(1)).await?;
        if let Some((user, password)) = self.plan.users.first() {
            connection.log_in(user, password).await?;
        }
        connection.create_topic(topic, partitions, replication).await?;
        if !self.plan.users.is_empty() {
            return Ok(());
        }
        for node in self.nodes() {
            let address = self.address(node);
            eventually(&format!("leaders of {topic}"), READY_TIME_MAX, || async {
                let leaders = wire::leaders(&address, topic).await.ok()?;
                let all = usize::try_from(partitions).ok()? == leaders.len();
                (all && leaders.iter().all(|&(node, _)| node > 0)).then_some(())
            })
            .await?;
        }
        Ok(())
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed already.
            drop(thread.join());
        }
    }
}

/// Serves a cluster until `stopped` resolves.
fn serve(
    spec: ClusterSpec,
    ip: IpAddr,
    started: &mpsc::Sender<Result<SharedCluster>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error.into()))),
    };
    runtime.block_on(async {
        match Server::start(TokioNetwork, spec, ip, machine_clock()).await {
            Ok(server) => {
                drop(started.send(Ok(server.cluster().clone())));
                drop(stopped.await);
                server.stop().await;
            }
            Err(error) => drop(started.send(Err(error.into()))),
        }
    });
}

/// A loopback address that no other test has, in this process or in another that runs at the same time.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 0x40 | (high & 0x3f), low, number.max(1))
}

/// kcat's listing of a cluster. kcat asks once and gives up when that connection is lost, which on a busy machine happens
/// between its own connections too; a cluster that refuses it for good is still found out.
pub async fn kcat_listing(arguments: &[&str]) -> Result<String> {
    let mut last = kcat(arguments, None).await;
    for _ in 0..2 {
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        last = kcat(arguments, None).await;
    }
    last
}

/// Runs kcat to its end and gives what it printed; `input` goes to its standard input by way of a file.
pub async fn kcat(arguments: &[&str], input: Option<&str>) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    let mut all: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    if let Some(input) = input {
        std::fs::write(file.path(), input)?;
        all.extend(["-l".to_owned(), file.path().display().to_string()]);
    }
    let mut process = Process::start("kcat", "kcat", &all)?;
    let status = process.end(Duration::from_secs(30)).await?;
    // The readers of the streams may still be a moment behind the end of the process.
    tokio::time::sleep(Duration::from_millis(100)).await;
    if status.success() {
        Ok(process.stdout(|lines| lines.join("\n")))
    } else {
        Err(format!("kcat {arguments:?}: {status}:{}", process.tail()).into())
    }
}
