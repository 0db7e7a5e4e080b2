//! `switchyard run`

use std::{env, process::ExitCode};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tracing::warn;

use super::{BAD_INPUT, fail, source::ConfigArgs};
use crate::{
    driver::Workers,
    process::{Process, StartError},
    telemetry::log::{self, Format, Level},
};

/// Runs the gateway.
#[derive(clap::Args)]
#[command(after_help = "\
The configuration file is watched: saving it applies it, routes and all, without a restart; SIGHUP does the \
same at once. A faulty file changes nothing. SIGTERM lets requests in flight finish, then stops.

Environment: GATEWAY_CONFIG_FILE or GATEWAY_CONFIG (the text itself), GATEWAY_LOG_LEVEL, GATEWAY_NODE_ID.

Examples:
  switchyard run gateway.yaml
  GATEWAY_LOG_LEVEL=debug switchyard run gateway.yaml --log-format json")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Form of the log lines.
    #[arg(long, value_enum, env = "GATEWAY_LOG_FORMAT", default_value_t)]
    log_format: Format,
    /// Threads that carry bytes [default: one a core].
    #[arg(long, env = "SWITCHYARD_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

pub(super) fn run(args: Args) -> ExitCode {
    let level = match env::var("GATEWAY_LOG_LEVEL").ok().filter(|level| !level.is_empty()) {
        None => Level::default(),
        Some(level) => match level.parse() {
            Ok(level) => level,
            Err(error) => {
                return fail(BAD_INPUT, &format!("GATEWAY_LOG_LEVEL={level:?}: {error}"), "");
            }
        },
    };
    log::init(level, args.log_format);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    // This thread accepts and takes commands, and carries its share of the connections.
    let runtime = Builder::new_current_thread().enable_all().build();
    let (runtime, workers) = match runtime.and_then(|it| Ok((it, Workers::start(threads)?))) {
        Ok(started) => started,
        Err(error) => return fail(1, &format!("cannot start threads: {error}"), ""),
    };
    match runtime.block_on(serve(&args.config, workers)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(BAD_INPUT, &error, &error.remedy()),
    }
}

async fn serve(config: &ConfigArgs, workers: Workers) -> Result<(), StartError> {
    let process = Process::start(config.source()?, workers).await?;
    wait_for_signals(&process).await;
    process.stop().await;
    Ok(())
}

/// Returns when the process shall stop; SIGHUP asks for a look at the configuration.
async fn wait_for_signals(process: &Process) {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        warn!("signals cannot be waited for: the gateway stops only when it is killed");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => process.reload(),
        }
    }
}
