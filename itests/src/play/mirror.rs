//! MirrorMaker 2 as the mirror link of a play: a container of the same image, on the network of the host, so that the links
//! of the play lie between it and the clusters.
//!
//! It differs from Cluster Linking, which most scenarios mean: its copies are writable from the start, a promotion is that
//! it is stopped once it has everything, and nothing truncates a former source. Every record that it writes bears a
//! [mark](MARK), by which the harness tells copies from what clients write; marked records are not copied again, so the
//! reversed link copies only what was written to its new source.

use std::{fmt::Write as _, time::Duration};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt as _, core::WaitFor, runners::AsyncRunner as _,
};

use crate::{Result, cluster::LogTail, machine};

/// Header of every record that MirrorMaker writes.
pub(super) const MARK: &str = "mirrored";

/// How long it may take to start on a loaded machine.
const START_TIME_MAX: Duration = Duration::from_mins(3);

/// One way of copying.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Source and its brokers' addresses.
    pub(super) from: (String, String),
    /// Target and its brokers' addresses.
    pub(super) to: (String, String),
    /// Topics that are copied.
    pub(super) topics: Vec<String>,
    /// Interval of offset syncs.
    pub(super) offset_sync: Duration,
    /// Replicas of its own topics.
    pub(super) replicas: usize,
}

/// A MirrorMaker that runs. Dropping it removes it.
pub(super) struct MirrorMaker {
    container: ContainerAsync<GenericImage>,
    log: LogTail,
}

impl Plan {
    /// The properties of a dedicated MirrorMaker.
    fn properties(&self) -> String {
        let ((from, source), (to, target)) = (&self.from, &self.to);
        let seconds = self.offset_sync.as_secs().max(1);
        let mut text = format!(
            "clusters={from},{to}\n{from}.bootstrap.servers={source}\n{to}.bootstrap.servers={target}\n\
             {from}->{to}.enabled=true\n{from}->{to}.topics={}\n{from}->{to}.groups=.*\n\
             {to}->{from}.enabled=false\n",
            self.topics.join(",")
        );
        for (name, value) in [
            (
                "replication.policy.class",
                "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            ),
            // Heartbeats would need a second herder, the other way.
            ("emit.heartbeats.enabled", "false"),
            ("sync.group.offsets.enabled", "true"),
            ("sync.topic.configs.enabled", "false"),
            ("sync.topic.acls.enabled", "false"),
            ("refresh.topics.interval.seconds", "1"),
            ("refresh.groups.interval.seconds", "1"),
            ("offset.lag.max", "0"),
            ("offset.flush.interval.ms", "1000"),
            ("tasks.max", "1"),
        ] {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{name}={value}");
        }
        // Properties of connectors are only taken with the prefix of their way.
        let transforms = "org.apache.kafka.connect.transforms";
        for (name, value) in [
            ("transforms", "unmarked,mark".to_owned()),
            ("predicates", "marked".to_owned()),
            ("predicates.marked.type", format!("{transforms}.predicates.HasHeaderKey")),
            ("predicates.marked.name", MARK.to_owned()),
            ("transforms.unmarked.type", format!("{transforms}.Filter")),
            ("transforms.unmarked.predicate", "marked".to_owned()),
            ("transforms.mark.type", format!("{transforms}.InsertHeader")),
            ("transforms.mark.header", MARK.to_owned()),
            ("transforms.mark.value.literal", from.clone()),
            // The default takes nothing but bytes for the value of a header.
            (
                "header.converter",
                "org.apache.kafka.connect.storage.SimpleHeaderConverter".to_owned(),
            ),
        ] {
            let _ = writeln!(text, "{from}->{to}.{name}={value}");
        }
        for end in [from, to] {
            // Two clusters that are new give their clients the same producer ids; this one must not use any of them up.
            let _ = writeln!(text, "{end}.producer.enable.idempotence=false");
        }
        for (name, value) in [
            // The only worker is lost for nobody: on a loaded machine it may be late, and what it does is given back at once.
            ("scheduled.rebalance.max.delay.ms", "0"),
            ("session.timeout.ms", "60000"),
        ] {
            let _ = writeln!(text, "{to}.{name}={value}");
        }
        for interval in ["emit.checkpoints", "sync.group.offsets"] {
            let _ = writeln!(text, "{interval}.interval.seconds={seconds}");
        }
        for own in [
            "",
            "checkpoints.topic.",
            "offset-syncs.topic.",
            "offset.storage.",
            "status.storage.",
            "config.storage.",
        ] {
            let _ = writeln!(text, "{own}replication.factor={}", self.replicas);
        }
        text
    }

    fn container(&self) -> String {
        format!("{}-play-mirror-{}-{}", machine::network(), self.from.0, self.to.0)
    }

    /// Starts it and waits until it says that it has started; what it copies comes some seconds later.
    pub(super) async fn start(&self) -> Result<MirrorMaker> {
        let (name, tag) = machine::image()?;
        let log = LogTail::default();
        let run = "exec /opt/kafka/bin/connect-mirror-maker.sh /tmp/mm2.properties";
        let request = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::message_on_stdout("Kafka MirrorMaker started"))
            .with_entrypoint("/bin/bash")
            .with_cmd(["-c", run])
            .with_startup_timeout(START_TIME_MAX)
            .with_container_name(self.container())
            .with_label(machine::LABEL, machine::slot().to_string())
            .with_host_config_modifier(|config| config.network_mode = Some("host".to_owned()))
            .with_copy_to("/tmp/mm2.properties", self.properties().into_bytes())
            .with_env_var("KAFKA_HEAP_OPTS", "-Xms64m -Xmx256m")
            .with_env_var("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
            .with_log_consumer(log.clone());
        match request.start().await {
            Ok(container) => Ok(MirrorMaker { container, log }),
            Err(error) => {
                Err(format!("{} did not start: {error}; {}", self.container(), log.shown()).into())
            }
        }
    }
}

impl MirrorMaker {
    /// Ends it at once.
    pub(super) async fn kill(self) -> Result<()> {
        Ok(self.container.rm().await?)
    }

    /// The end of its log, for error messages.
    pub(super) fn log(&self) -> String {
        self.log.shown()
    }
}
