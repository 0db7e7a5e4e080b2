//! `switchyard-sim cluster`

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, ToSocketAddrs as _},
    time::Duration,
};

use switchyard::{config::duration, driver::TokioNetwork};

use super::{
    Failure, end,
    values::{self, TopicArg, User},
};
use crate::{
    ask::{AskError, Connection},
    cluster::{ClusterSpec, SaslSpec, versions::Profile},
    serve::{Server, SharedCluster, machine_clock},
};

/// Most brokers that a cluster is served with.
const BROKERS_MAX: u16 = 100;

/// Serves one fake cluster, as a stand-in for Kafka in tests.
#[derive(clap::Args)]
#[command(after_help = "\
Prints a line for each broker and then `ready`. Topics are created when a client names them, unless \
`--set auto.create.topics.enable=false`. Ctrl-C or SIGTERM ends it with a summary.

Examples:
  switchyard-sim cluster
  switchyard-sim cluster --brokers 3 --port 9092 --topic orders:6:3 --topic payments:3:3
  switchyard-sim cluster --kafka-version 3.9 --set min.insync.replicas=2 --set num.partitions=4
  switchyard-sim cluster --sasl alice:secret --for 10m
  kcat -b 127.0.0.1:9092 -L")]
pub(super) struct Args {
    /// Number of brokers; they have the ids from 1 on.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(BROKERS_MAX)))]
    brokers: u16,
    /// Port of the first broker; the others have those that follow.
    #[arg(long, default_value_t = 9092, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Host to listen on, and what clients are told.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Release whose APIs and versions are offered.
    #[arg(long, value_enum, default_value = "4.1")]
    kafka_version: KafkaVersion,
    /// A topic to begin with; may be repeated.
    #[arg(long = "topic", value_name = "NAME:PARTITIONS:REPLICATION")]
    topics: Vec<TopicArg>,
    /// A broker setting by Kafka's own name; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = values::setting)]
    settings: Vec<(String, String)>,
    /// Who may log in, by PLAIN or SCRAM; may be repeated. With it, clients must.
    #[arg(long = "sasl", value_name = "USER:PASSWORD", value_parser = values::user)]
    users: Vec<User>,
    /// What ids and other random numbers are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Records that are kept; beyond, the oldest go.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = values::bytes)]
    memory: usize,
    /// Ends by itself after so long, such as `30s`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    duration: Option<Duration>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum KafkaVersion {
    #[value(name = "3.9")]
    Kafka39,
    #[value(name = "4.1")]
    Kafka41,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let last = args.port.checked_add(args.brokers - 1).ok_or_else(|| {
        let error = format!("{} brokers from port {} on", args.brokers, args.port);
        Failure::bad_input(error, "write a lower `--port`: there is none above 65535")
    })?;
    let ip = resolve(&args.host)?;
    let spec = spec(&args, args.port..=last);
    spec.check_settings().map_err(|error| {
        Failure::bad_input(error, "write a broker setting of Kafka's and a value that it takes")
    })?;
    let bootstrap = format!("{}:{}", args.host, args.port);
    let server = Server::start(TokioNetwork, spec, ip, machine_clock()).await.map_err(|error| {
        Failure::bad_input(error, "end what listens there, or write another `--port` or `--host`")
    })?;
    create_topics(&args, &format!("{ip}:{}", args.port)).await?;
    for (broker, port) in (1..).zip(args.port..=last) {
        println!("broker {broker}  {}:{port}", args.host);
    }
    println!("ready: bootstrap at {bootstrap}");
    end(args.duration).await;
    let summary = summary(server.cluster());
    server.stop().await;
    print!("{summary}");
    Ok(())
}

fn spec(args: &Args, ports: impl IntoIterator<Item = u16>) -> ClusterSpec {
    let users: BTreeMap<_, _> =
        args.users.iter().map(|user| (user.name.clone(), user.password.clone())).collect();
    ClusterSpec {
        profile: match args.kafka_version {
            KafkaVersion::Kafka39 => Profile::Kafka39,
            KafkaVersion::Kafka41 => Profile::Kafka41,
        },
        settings: args.settings.iter().cloned().collect(),
        sasl: (!users.is_empty()).then_some(SaslSpec { users }),
        log_bytes_max: args.memory,
        ..ClusterSpec::new("cluster", args.seed, &args.host, ports)
    }
}

fn resolve(host: &str) -> Result<IpAddr, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        let error = format!("host `{host}`: {error}");
        Failure::bad_input(error, "write an address of this machine, such as `127.0.0.1`")
    };
    let mut addresses = (host, 0).to_socket_addrs().map_err(|error| wrong(&error))?;
    let ip = addresses.next().ok_or_else(|| wrong(&"the name has no address"))?.ip();
    if ip.is_unspecified() {
        return Err(wrong(&"clients are told this address and cannot connect to it"));
    }
    Ok(ip)
}

async fn create_topics(args: &Args, address: &str) -> Result<(), Failure> {
    if args.topics.is_empty() {
        return Ok(());
    }
    let mut connection = Connection::open(address).await.map_err(Failure::at_run_time)?;
    if let Some(user) = args.users.first() {
        let log_in = connection.log_in(&user.name, &user.password);
        log_in.await.map_err(Failure::at_run_time)?;
    }
    for TopicArg { name, partitions, replication } in &args.topics {
        let created = connection.create_topic(name, *partitions, *replication);
        created.await.map_err(|error| match error {
            AskError::Refused { .. } => {
                Failure::bad_input(error, "write another `--topic`, or more `--brokers`")
            }
            AskError::Lost { .. } | AskError::Garbled { .. } => Failure::at_run_time(error),
        })?;
    }
    Ok(())
}

/// What a cluster has seen, for its end.
fn summary(cluster: &SharedCluster) -> String {
    let traffic = cluster.traffic();
    let topics = cluster.with(|cluster, _| cluster.inventory());
    let mut text = format!(
        "\n{} connections, {} requests, {} in, {} out\n",
        traffic.connections,
        traffic.requests,
        values::render_bytes(traffic.bytes_in),
        values::render_bytes(traffic.bytes_out),
    );
    let width = topics.iter().map(|topic| topic.name.len()).max().unwrap_or(0);
    for topic in topics {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {:width$}  {} partitions, {} records, {}",
            topic.name,
            topic.partitions,
            topic.records,
            values::render_bytes(topic.bytes as u64),
        );
    }
    text
}
