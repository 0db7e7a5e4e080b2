//! KRaft clusters in containers, and the faults that a test can do to their brokers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture, future::try_join_all};
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt as _,
    core::{
        IntoContainerPort as _, WaitFor,
        logs::{LogFrame, consumer::LogConsumer},
    },
    runners::AsyncRunner as _,
};

use crate::{Result, eventually, machine, process::indented, version::Version, wire};

/// Port of every broker on the loopback address that is its own.
pub const BROKER_PORT: u16 = 17192;

/// Where clients reach a broker inside its container.
const CONTAINER_PORT: u16 = 9092;

/// How long a broker may take to start; a loaded machine needs several times what a quiet one does.
const START_TIME_MAX: Duration = Duration::from_mins(2);

/// Lines of a broker's log that are shown when it does not start.
const LOG_LINES_MAX: usize = 40;

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Part of the names of its containers.
    pub name: String,
    /// Kafka's id of the cluster: 16 bytes in base 64 without padding.
    pub id: String,
    /// Node ids, each a broker and a controller.
    pub nodes: Vec<i32>,
    /// How its brokers are reached.
    pub access: Access,
    /// `None`: the version under test.
    pub version: Option<Version>,
    /// Broker settings by Kafka's names, in place of those that the tests have otherwise.
    pub settings: BTreeMap<String, String>,
}

/// How brokers are reached.
#[derive(Clone, Debug)]
pub enum Access {
    /// Each at [`BROKER_PORT`] of a loopback address of its own; this is the second byte of the addresses.
    Published(u8),
    /// Each at the address that its container has, by listeners that are advertised as something that leads there.
    Behind(Vec<Listener>),
}

/// A listener of all brokers of a cluster.
#[derive(Clone, Debug)]
pub struct Listener {
    /// In capitals.
    pub name: String,
    /// Port in the container.
    pub port: u16,
    /// What clients are told, by node: `host:port`.
    pub advertised: BTreeMap<i32, String>,
}

/// A running cluster.
pub struct Cluster {
    plan: Plan,
    brokers: Vec<Broker>,
}

struct Broker {
    node: i32,
    container: ContainerAsync<GenericImage>,
    /// Where its clients' listener is.
    address: Mutex<String>,
}

/// The newest lines of a container's log.
#[derive(Clone, Default)]
pub(crate) struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl LogTail {
    /// The lines, for the end of an error message.
    pub(crate) fn shown(&self) -> String {
        format!("the end of its log:{}", indented(lock(&self.0).iter()))
    }
}

impl LogConsumer for LogTail {
    fn accept<'a>(&'a self, record: &'a LogFrame) -> BoxFuture<'a, ()> {
        let mut lines = lock(&self.0);
        lines.extend(String::from_utf8_lossy(record.bytes()).lines().map(str::to_owned));
        let excess = lines.len().saturating_sub(LOG_LINES_MAX);
        lines.drain(..excess);
        async {}.boxed()
    }
}

impl Plan {
    /// A cluster on loopback addresses with this second byte.
    pub fn published(name: &str, id: &str, subnet: u8, nodes: &[i32]) -> Self {
        Self {
            name: name.to_owned(),
            id: id.to_owned(),
            nodes: nodes.to_vec(),
            access: Access::Published(subnet),
            version: None,
            settings: BTreeMap::new(),
        }
    }

    fn container(&self, node: i32) -> String {
        format!("{}-{}{node}", machine::network(), self.name)
    }

    /// The loopback address on which a broker is published; nothing where it is not.
    pub fn host(&self, node: i32) -> String {
        match self.access {
            Access::Published(subnet) => {
                machine::address(subnet, u8::try_from(node).unwrap_or_default())
            }
            Access::Behind(_) => String::new(),
        }
    }

    fn version(&self) -> Result<Version, String> {
        self.version.map_or_else(Version::under_test, Ok)
    }

    /// Name, port in the container and advertised address of each listener of a broker that clients may use.
    fn listeners(&self, node: i32) -> Vec<(String, u16, String)> {
        match &self.access {
            Access::Published(_) => {
                let advertised = format!("{}:{BROKER_PORT}", self.host(node));
                vec![("EXTERNAL".to_owned(), CONTAINER_PORT, advertised)]
            }
            Access::Behind(listeners) => {
                let advertised = |of: &Listener| of.advertised.get(&node).cloned();
                let each = listeners.iter();
                each.map(|it| (it.name.clone(), it.port, advertised(it).unwrap_or_default()))
                    .collect()
            }
        }
    }

    fn environment(&self, node: i32) -> BTreeMap<String, String> {
        let voters: Vec<_> = self
            .nodes
            .iter()
            .map(|&node| format!("{node}@{}:9093", self.container(node)))
            .collect();
        let replicas = self.nodes.len().min(3);
        let in_sync = replicas.min(2);
        let listeners = self.listeners(node);
        let join = |each: &dyn Fn(&(String, u16, String)) -> String, own: &str| {
            listeners.iter().map(each).chain([own.to_owned()]).collect::<Vec<_>>().join(",")
        };
        let fixed = [
            ("KAFKA_PROCESS_ROLES", "broker,controller"),
            ("KAFKA_INTER_BROKER_LISTENER_NAME", "INTERNAL"),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
            ("KAFKA_LOG_DIRS", "/var/lib/kafka/data"),
            ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false"),
            ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "5"),
            ("KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS", "5"),
            // A broker that dies is noticed after three seconds instead of nine.
            ("KAFKA_BROKER_SESSION_TIMEOUT_MS", "3000"),
            ("KAFKA_BROKER_HEARTBEAT_INTERVAL_MS", "500"),
            // Small and quick to start: several brokers share two cores.
            ("KAFKA_LOG_CLEANER_DEDUPE_BUFFER_SIZE", "2097152"),
            ("KAFKA_NUM_NETWORK_THREADS", "1"),
            ("KAFKA_NUM_IO_THREADS", "2"),
            ("KAFKA_HEAP_OPTS", "-Xms32m -Xmx256m"),
            ("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"),
        ];
        let mut environment: BTreeMap<_, _> =
            fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let own = [
            ("CLUSTER_ID", self.id.clone()),
            ("KAFKA_NODE_ID", node.to_string()),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", voters.join(",")),
            (
                "KAFKA_LISTENERS",
                join(
                    &|(name, port, _)| format!("{name}://:{port}"),
                    "INTERNAL://:19092,CONTROLLER://:9093",
                ),
            ),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                join(
                    &|(name, ..)| format!("{name}:PLAINTEXT"),
                    "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
                ),
            ),
            (
                "KAFKA_ADVERTISED_LISTENERS",
                join(
                    &|(name, _, advertised)| format!("{name}://{advertised}"),
                    &format!("INTERNAL://{}:19092", self.container(node)),
                ),
            ),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", replicas.to_string()),
            ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", replicas.to_string()),
            ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", in_sync.to_string()),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        if let Ok(version) = self.version() {
            let unasked = version.broker_settings().into_iter();
            environment.extend(unasked.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let set = self.settings.iter();
        environment.extend(set.map(|(name, value)| (variable(name), value.clone())));
        environment
    }

    fn request(&self, node: i32, log: LogTail) -> Result<ContainerRequest<GenericImage>> {
        let (name, tag) = match self.version {
            Some(version) => machine::image_of(version)?,
            None => machine::image()?,
        };
        let mut request = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
            .with_startup_timeout(START_TIME_MAX)
            .with_network(machine::network())
            .with_container_name(self.container(node))
            .with_label(machine::LABEL, machine::slot().to_string())
            .with_log_consumer(log);
        if let Access::Published(_) = self.access {
            let host = self.host(node);
            request = request
                // Fixed, for it is advertised before the start and must survive a stop.
                .with_mapped_port(BROKER_PORT, CONTAINER_PORT.tcp())
                .with_host_config_modifier(move |config| {
                    let bindings = config.port_bindings.iter_mut().flat_map(|map| map.values_mut());
                    for binding in bindings.flatten().flatten() {
                        binding.host_ip = Some(host.clone());
                    }
                });
        }
        for (name, value) in self.environment(node) {
            request = request.with_env_var(name, value);
        }
        Ok(request)
    }

    async fn start(&self, node: i32) -> Result<Broker> {
        let log = LogTail::default();
        match self.request(node, log.clone())?.start().await {
            Ok(container) => {
                let broker = Broker { node, container, address: Mutex::default() };
                self.locate(&broker).await?;
                Ok(broker)
            }
            Err(error) => {
                let name = self.container(node);
                Err(format!("{name} did not start: {error}; {}", log.shown()).into())
            }
        }
    }

    /// Finds out where a broker is; the engine may give a container another address when it starts again.
    async fn locate(&self, broker: &Broker) -> Result<()> {
        let address = match &self.access {
            Access::Published(_) => format!("{}:{BROKER_PORT}", self.host(broker.node)),
            Access::Behind(listeners) => {
                let first = listeners.first().ok_or("a cluster without listeners")?;
                format!("{}:{}", broker.container.get_bridge_ip_address().await?, first.port)
            }
        };
        *lock(&broker.address) = address;
        Ok(())
    }
}

/// The variable by which the image is told a broker setting.
fn variable(setting: &str) -> String {
    let mut name = String::from("KAFKA_");
    for c in setting.chars() {
        match c {
            '.' => name.push('_'),
            '_' => name.push_str("__"),
            '-' => name.push_str("___"),
            c => name.push(c.to_ascii_uppercase()),
        }
    }
    name
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Starts every broker and waits until all of them know each other.
    pub async fn start(plan: Plan) -> Result<Self> {
        // All at once: none is ready before a quorum runs.
        let brokers = try_join_all(plan.nodes.iter().map(|&node| plan.start(node))).await?;
        let cluster = Self { plan, brokers };
        cluster.await_all().await?;
        Ok(cluster)
    }

    /// What the cluster was planned to be.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Addresses of all brokers, separated by commas.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.brokers.iter().map(|it| lock(&it.address).clone()).collect();
        addresses.join(",")
    }

    /// Address of one broker; nothing when it is none of the cluster's.
    pub fn address(&self, node: i32) -> String {
        self.broker(node).map(|broker| lock(&broker.address).clone()).unwrap_or_default()
    }

    fn broker(&self, node: i32) -> Result<&Broker> {
        let found = self.brokers.iter().find(|broker| broker.node == node);
        found.ok_or_else(|| format!("cluster {} has no node {node}", self.plan.name).into())
    }

    /// What a broker has logged, line by line. Blocks.
    pub fn log(&self, node: i32) -> Result<Vec<String>> {
        let text = machine::docker(&["logs", self.broker(node)?.container.id()])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Ends a broker at once, as a power cut does.
    pub fn kill(&self, node: i32) -> Result<()> {
        machine::docker(&["kill", self.broker(node)?.container.id()])?;
        Ok(())
    }

    /// Ends a broker in good order.
    pub async fn stop(&self, node: i32) -> Result<()> {
        Ok(self.broker(node)?.container.stop_with_timeout(Some(20)).await?)
    }

    /// Starts a broker that was stopped or killed, without waiting for it.
    pub async fn start_again(&self, node: i32) -> Result<()> {
        let broker = self.broker(node)?;
        broker.container.start().await?;
        self.plan.locate(broker).await
    }

    /// Stops a broker's processes where they stand: its connections stay open and nothing answers.
    pub async fn pause(&self, node: i32) -> Result<()> {
        Ok(self.broker(node)?.container.pause().await?)
    }

    /// Ends a pause.
    pub async fn unpause(&self, node: i32) -> Result<()> {
        Ok(self.broker(node)?.container.unpause().await?)
    }

    /// Brings back every broker that a test left stopped or paused.
    pub async fn heal(&self) -> Result<()> {
        for broker in &self.brokers {
            let id = broker.container.id();
            let state = machine::docker(&["inspect", "--format", "{{.State.Status}}", id])?;
            match state.as_str() {
                "running" => {}
                "paused" => broker.container.unpause().await?,
                _ => self.start_again(broker.node).await?,
            }
        }
        self.await_all().await
    }

    /// Waits until every broker answers and names all brokers.
    pub async fn await_all(&self) -> Result<()> {
        for &node in &self.plan.nodes {
            let what = format!("{} sees all brokers", self.plan.container(node));
            let address = self.address(node);
            eventually(&what, START_TIME_MAX, || async {
                let metadata = wire::metadata(&address, &[]).await.ok()?;
                (metadata.brokers.len() == self.plan.nodes.len()).then_some(())
            })
            .await?;
        }
        Ok(())
    }
}
