//! Harness for tests on real Kafka: clusters in containers, the gateway as its real binary, real clients.
//!
//! | module | what it holds |
//! |---|---|
//! | [`machine`] | what the tests need of this machine, and who cleans up |
//! | [`cluster`] | KRaft clusters in containers, and faults of their brokers |
//! | [`world`] | the two clusters that the tests of one file share |
//! | [`fake`] | fake clusters in this process, for which no Docker is needed |
//! | [`gateway`] | the release binary with a generated configuration |
//! | [`librdkafka`], [`java`] | producers and consumers of the two client libraries |
//! | [`ledger`] | which records were sent, acknowledged, and found in the clusters |
//! | [`play`] | scenario files on real Kafka, into the history that rehearsals have |
//! | [`validation`] | rehearsals held against plays, figure by figure |
//! | [`cli`] | the command `switchyard-itests` |
//! | [`soak`] | minutes of a scenario by dice |
//! | [`tap`] | a listener in front of the gateway that reads every byte clients are sent |
//! | [`wire`] | single requests, for what no client library tells |
//! | [`version`] | versions of Kafka, and what they have |
//! | [`process`] | child processes whose output is kept |
//!
//! Everything listens on loopback: brokers on 127.11.0.0/16 and 127.12.0.0/16, gateways on 127.21.0.0/16, taps on
//! 127.22.0.0/16, fake clusters on 127.64.0.0/10, plays on 127.23.0.0/16, 127.24.0.0/16 and from 127.31.0.0/16 on; the
//! third byte is the [slot](machine::slot). An upstream
//! address is thereby a string that nothing else contains. All ports lie outside 32768–60999, from which the kernel takes
//! ports for outgoing connections.

use std::{
    future::Future,
    io::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub mod cli;
pub mod cluster;
pub mod differential;
pub mod fake;
pub mod gateway;
pub mod java;
pub mod ledger;
pub mod librdkafka;
pub mod machine;
pub mod play;
pub mod process;
pub mod soak;
pub mod tap;
pub mod validation;
pub mod version;
pub mod wire;
pub mod world;

/// Any error, with a text that says what failed.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Fails with any error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Longest that one test may take.
const TEST_TIME_MAX: Duration = Duration::from_mins(4);

/// One runtime for all tests of a process: containers outlive the test that started them, and so must the
/// connections to the engine.
static RUNTIME: LazyLock<std::io::Result<tokio::runtime::Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build());

/// Tests of a file share their clusters and two cores, so they run one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs one test. It fails where Docker or an image is missing, and says how to get it; with
/// `SWITCHYARD_SKIP_DOCKER=1` it is skipped instead, and says so.
pub fn itest<F>(test: F)
where
    F: Future<Output = Result<()>>,
{
    itest_within(TEST_TIME_MAX, test);
}

/// As [`itest`], for a test that may take longer than others.
pub fn itest_within<F>(limit: Duration, test: F)
where
    F: Future<Output = Result<()>>,
{
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(missing) = machine::ready() {
        if std::env::var("SWITCHYARD_SKIP_DOCKER").is_ok_and(|value| value == "1") {
            // Straight to the stream: the test runner shows what passing tests print to nobody.
            drop(writeln!(std::io::stderr(), "SKIPPED, for SWITCHYARD_SKIP_DOCKER=1: {missing}"));
            return;
        }
        panic!("{missing}");
    }
    run(limit, test);
}

/// Runs one test on fake clusters, which needs no Docker.
pub fn fake_test<F>(test: F)
where
    F: Future<Output = Result<()>>,
{
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run(TEST_TIME_MAX, test);
}

fn run<F>(limit: Duration, test: F)
where
    F: Future<Output = Result<()>>,
{
    let runtime = match &*RUNTIME {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime: {error}"),
    };
    let late = format!("not done after {} s", limit.as_secs());
    let outcome = runtime.block_on(async { tokio::time::timeout(limit, test).await });
    if let Err(error) = outcome.unwrap_or_else(|_| Err(late.into())) {
        panic!("{error}");
    }
}

/// Waits until `check` gives a value; `what` is named in the error when it does not within `limit`.
pub async fn eventually<T, F>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return Ok(value);
        }
        if start.elapsed() > limit {
            return Err(format!("{what}: not within {} s", limit.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
