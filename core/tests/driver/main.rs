//! The driver on the sockets of this machine, between clients and brokers that misbehave: each fault ends
//! its own session with a cause that can be counted, and no other.
#![expect(clippy::disallowed_methods, reason = "these tests are on real sockets and in real time")]

mod clients;
mod fake;
mod goodbye;
mod limits;
mod reload;
mod stop;
mod upstreams;

use std::{
    fmt::Write as _,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use switchyard::{
    config::{Environment, Model, Source, check},
    driver::{
        ControlHandle, Gateway, TokioNetwork, control, state_file::StateStore, status::RouteStatus,
    },
    route::state::State,
    telemetry::Metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use fake::Broker;

/// Where clients of route `r` bootstrap.
const PORT: u16 = 19092;

/// Nothing here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(10);

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;

/// An address of this machine that no other test has, so that ports need not be looked for.
fn own_address() -> IpAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(1);
    let process = std::process::id().to_be_bytes();
    let test = u8::try_from(TAKEN.fetch_add(1, Ordering::Relaxed)).expect("fewer than 256 tests");
    Ipv4Addr::new(127, 1 + process[2] % 254, process[3], test).into()
}

/// A configuration in fewer words.
#[derive(Clone)]
struct File {
    address: IpAddr,
    /// Name and endpoint of each domain's only server.
    domains: Vec<(&'static str, String)>,
    /// Name, port and domain.
    routes: Vec<(&'static str, u16, &'static str)>,
    limits: &'static str,
    fence: &'static str,
}

impl File {
    /// Route `r` at domain `a`, which is this broker.
    fn new(address: IpAddr, broker: &Broker) -> Self {
        let domains = vec![("a", broker.address().to_string())];
        Self { address, domains, routes: vec![("r", PORT, "a")], limits: "", fence: "" }
    }

    fn model(&self) -> Arc<Model> {
        let mut text = String::from("streamingDomains:\n");
        for (name, server) in &self.domains {
            let servers = format!("bootstrapServers: [{{id: main, endpoint: \"{server}\"}}]");
            let ranges = "nodeIdRanges: [{name: n, start: 1, end: 2}]";
            let _ = writeln!(text, "  - {{name: {name}, kafkaCluster: {{{servers}, {ranges}}}}}");
        }
        text.push_str("routes:\n");
        for (name, port, domain) in &self.routes {
            let endpoint = format!("endpoint: \"{}:{port}\"", self.address);
            let fence = self.fence;
            let _ = writeln!(
                text,
                "  - {{name: {name}, {endpoint}, streamingDomain: {{name: {domain}}}{fence}}}"
            );
        }
        let _ = writeln!(text, "limits: {{{}}}", self.limits);
        let source = Source::Inline(text.clone());
        check(text.as_bytes(), &source, &Environment::default()).expect("a valid file").model
    }
}

/// Keeps nothing: restarts are not what is tested here.
struct NoStore;

impl StateStore for NoStore {
    async fn save(&self, _: State) -> io::Result<()> {
        Ok(())
    }

    fn place(&self) -> String {
        "nowhere".to_owned()
    }
}

/// A gateway in this process.
struct Rig {
    address: IpAddr,
    broker: Broker,
    file: File,
    metrics: Arc<Metrics>,
    control: ControlHandle,
}

impl Rig {
    async fn new() -> Self {
        Self::limited("").await
    }

    /// With these keys under `limits`.
    async fn limited(limits: &'static str) -> Self {
        let address = own_address();
        let broker = Broker::start(address, 9092).await;
        let file = File { limits, ..File::new(address, &broker) };
        Self::on(broker, file).await
    }

    async fn on(broker: Broker, file: File) -> Self {
        let model = file.model();
        let metrics = Arc::new(Metrics::default());
        let gateway = Gateway::new(TokioNetwork, Arc::clone(&metrics), &model);
        let control = control::start(
            Arc::new(gateway),
            NoStore,
            State::default(),
            model,
            Arc::clone(&metrics),
            Arc::new(|| "now".to_owned()),
        )
        .await
        .expect("starts");
        Self { address: file.address, broker, file, metrics, control }
    }

    async fn client(&self) -> Client {
        self.client_at(PORT).await
    }

    async fn client_at(&self, port: u16) -> Client {
        Client::connect(self.address, port).await.expect("the gateway accepts")
    }

    async fn route(&self) -> RouteStatus {
        let status = self.control.status().await.expect("runs");
        status.routes.into_iter().find(|route| &*route.name == "r").expect("the route")
    }

    /// Sessions that ended with this cause so far.
    fn closes(&self, cause: &str) -> u64 {
        let text = self.metrics.render(&[]);
        let label = format!("cause=\"{cause}\"");
        let line = text.lines().find(|line| line.contains("closes_total") && line.contains(&label));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    /// Bytes of answers, delivered or not.
    fn bytes_to_clients(&self) -> u64 {
        let text = self.metrics.render(&[]);
        let line = text.lines().find(|line| line.contains("direction=\"sent\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("is counted")
    }

    /// Waits until a session has ended, and sees that it was one and with this cause.
    async fn ends_with(&self, cause: &str) {
        let ends = || {
            let text = self.metrics.render(&[]);
            let lines = text.lines().filter(|line| line.starts_with("switchyard_closes_total"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        eventually(cause, || async { !ends().is_empty() }).await;
        let ends = ends();
        assert_eq!(self.closes(cause), 1, "{ends:?}");
        assert_eq!(ends.len(), 1, "other sessions ended as well: {ends:?}");
    }
}

/// Waits for something that must become true soon.
async fn eventually<F: Future<Output = bool>>(what: &str, is: impl Fn() -> F) {
    let poll = async {
        while !is().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, poll).await.is_ok(), "did not happen in time: {what}");
}

/// A Kafka client that sends what it is told, well-formed or not.
struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    async fn connect(address: IpAddr, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((address, port)).await?;
        Ok(Self { stream, correlation_id: 0 })
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the gateway reads");
    }

    /// Sends a request; the client id tells the fake broker how to behave.
    async fn send(&mut self, api: (i16, i16), habit: &str, body: &[u8]) {
        self.correlation_id += 1;
        let frame = request(api, self.correlation_id, habit, body);
        self.send_bytes(&frame).await;
    }

    /// Asks for ApiVersions, of which version 0 has an empty body.
    async fn ask(&mut self, habit: &str) {
        self.send((API_VERSIONS, 0), habit, &[]).await;
    }

    /// The next response without its length; `None` when the gateway has closed.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let frame = async {
            let length = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(length).expect("a length")];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        timeout(PATIENCE, frame).await.expect("an answer or an end in time")
    }

    /// One request and its answer.
    async fn works(&mut self) {
        self.ask("good").await;
        let answer = self.receive().await.expect("an answer");
        assert_eq!(answer[..4], self.correlation_id.to_be_bytes(), "the answer to another request");
        assert_eq!(answer[4..6], [0, 0], "an answer without an error");
    }

    /// The gateway closes, with or without more answers before.
    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        // A reset is an end as well.
        drop(closed.expect("closed in time"));
    }
}

/// A request frame with a header of version 1.
fn request(api: (i16, i16), correlation_id: i32, client_id: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api.0.to_be_bytes());
    frame.extend(api.1.to_be_bytes());
    frame.extend(correlation_id.to_be_bytes());
    frame.extend(i16::try_from(client_id.len()).expect("short").to_be_bytes());
    frame.extend(client_id.as_bytes());
    frame.extend(body);
    with_length(&frame)
}

fn with_length(frame: &[u8]) -> Vec<u8> {
    let length = i32::try_from(frame.len()).expect("a frame");
    [&length.to_be_bytes(), frame].concat()
}
