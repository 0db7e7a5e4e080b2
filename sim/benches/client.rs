//! What a model client costs: a rehearsal with a thousand of them hangs on it.

use std::{collections::VecDeque, hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use switchyard_sim::{
    client::{
        self, Command, Consumer, ConsumerSettings, Event, Input, Library, Producer,
        ProducerSettings, Properties, Role, Send,
    },
    cluster::{self, Cluster, ClusterSpec, Time},
};

const START: Time = Time::from_ms(1_700_000_000_000);

/// A client, as far as this needs to know it.
trait Machine {
    fn input(&mut self, now: Time, input: Input);
    fn output(&mut self) -> Option<client::Output>;
    fn deadline(&self) -> Option<Time>;
}

macro_rules! machine {
    ($kind:ty) => {
        impl Machine for $kind {
            fn input(&mut self, now: Time, input: Input) {
                self.handle_input(now, input);
            }

            fn output(&mut self) -> Option<client::Output> {
                self.poll_output()
            }

            fn deadline(&self) -> Option<Time> {
                <$kind>::deadline(self)
            }
        }
    };
}

machine!(Producer);
machine!(Consumer);

/// One client and one cluster without anything between them.
struct Direct<M> {
    machine: M,
    cluster: Cluster,
    now: Time,
    open: Vec<(client::ConnectionId, cluster::ConnectionId)>,
    acknowledged: usize,
    /// Requests that the cluster has got.
    requests: usize,
}

impl<M: Machine> Direct<M> {
    fn new(machine: M) -> Self {
        let cluster = Cluster::new(ClusterSpec::new("bench", 7, "kafka", 1..=1));
        let mut direct =
            Self { machine, cluster, now: START, open: Vec::new(), acknowledged: 0, requests: 0 };
        direct.input(Input::Time);
        direct
    }

    fn input(&mut self, input: Input) {
        self.handle(VecDeque::from([input]));
    }

    /// One after the other, and what they lead to behind them: answers keep their order.
    fn handle(&mut self, mut inputs: VecDeque<Input>) {
        while let Some(input) = inputs.pop_front() {
            self.machine.input(self.now, input);
            while let Some(output) = self.machine.output() {
                match output {
                    client::Output::Dial { connection, port, .. } => {
                        let peer = self.cluster.open(i32::from(port), "bench").expect("it runs");
                        self.open.push((connection, peer));
                        inputs.push_back(Input::Connected(connection));
                    }
                    client::Output::Send { connection, frame } => {
                        let known = self.open.iter().find(|(id, _)| *id == connection);
                        let peer = known.expect("it was dialled").1;
                        self.requests += 1;
                        self.cluster.handle_frame(self.now, peer, frame.slice(4..));
                    }
                    client::Output::Close { connection } => {
                        self.open.retain(|(id, _)| *id != connection);
                    }
                    client::Output::Event(Event::Acknowledged { .. }) => self.acknowledged += 1,
                    client::Output::Event(event) => {
                        black_box(event);
                    }
                }
            }
            self.drain(&mut inputs);
        }
    }

    fn drain(&mut self, inputs: &mut VecDeque<Input>) {
        while let Some(output) = self.cluster.poll_output() {
            let (cluster::Output::Send { connection, .. }
            | cluster::Output::Close { connection, .. }) = output;
            let Some((id, _)) = self.open.iter().find(|(_, peer)| *peer == connection) else {
                continue;
            };
            inputs.push_back(match output {
                cluster::Output::Send { frame, .. } => Input::Frame(*id, frame.slice(4..)),
                cluster::Output::Close { .. } => Input::Closed(*id),
            });
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let deadlines = [self.machine.deadline(), self.cluster.deadline()];
            let Some(next) = deadlines.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.cluster.handle_time(self.now);
            let mut inputs = VecDeque::new();
            self.drain(&mut inputs);
            inputs.push_back(Input::Time);
            self.handle(inputs);
        }
        self.now = end;
    }
}

fn producer(library: Library) -> Direct<Producer> {
    let pairs = [("bootstrap.servers", "kafka:1")];
    let properties = Properties::new(library, Role::Producer, pairs).expect("properties");
    let settings = ProducerSettings::new(&properties).expect("settings");
    Direct::new(Producer::new("app", 7, settings))
}

fn records(criterion: &mut Criterion) {
    const RECORDS: usize = 10_000;
    let mut group = criterion.benchmark_group("producer");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for library in [Library::Java, Library::Librdkafka] {
        group.bench_function(format!("{library:?}, 100 bytes a record"), |bencher| {
            let topic = kafka_protocol::messages::TopicName("orders".into());
            let send = Send { topic, partition: None, key: None, value_bytes_min: 100 };
            bencher.iter_batched(
                || producer(library),
                |mut direct| {
                    for round in 0..RECORDS {
                        direct.input(Input::Command(Command::Send(send.clone())));
                        if round % 100 == 0 {
                            direct.run(Duration::from_millis(6));
                        }
                    }
                    direct.run(Duration::from_secs(1));
                    assert_eq!(direct.acknowledged, RECORDS);
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn idle(criterion: &mut Criterion) {
    let pairs = [("bootstrap.servers", "kafka:1"), ("group.id", "g")];
    let properties = Properties::new(Library::Java, Role::Consumer, pairs).expect("properties");
    let settings = ConsumerSettings::new(&properties).expect("settings");
    let topic = kafka_protocol::messages::TopicName("orders".into());
    let mut direct = Direct::new(Consumer::new("one", 7, settings, [topic]));
    direct.run(Duration::from_secs(10));
    assert_eq!(direct.machine.positions().count(), 1, "the consumer has its partition");
    criterion.bench_function("a consumer without records, one simulated second", |bencher| {
        let (before, mut seconds) = (direct.requests, 0);
        bencher.iter(|| {
            seconds += 1;
            direct.run(Duration::from_secs(1));
        });
        let requests = direct.requests - before;
        assert!(requests >= 2 * seconds, "{requests} requests in {seconds} s");
    });
}

criterion_group!(benches, records, idle);
criterion_main!(benches);
