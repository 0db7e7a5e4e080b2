//! `switchyard run`

use std::{env, process::ExitCode, sync::Arc, time::Duration};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
};
use tracing::{error, info, warn};

use super::{
    BAD_INPUT, fail,
    source::{ConfigArgs, load_here},
};
use crate::{
    admin,
    config::{LoadError, Loaded, Source},
    driver::{
        ControlHandle, Gateway, TokioNetwork, Workers,
        control::{self, ApplyError},
        state_file::{StateFile, StateFileError},
        watch::Watcher,
    },
    telemetry::{
        Metrics,
        log::{self, Format, Level},
    },
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

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Source(#[from] LoadError),
    #[error(transparent)]
    State(#[from] StateFileError),
    #[error(transparent)]
    Routes(#[from] ApplyError),
    #[error(transparent)]
    Admin(#[from] admin::ServeError),
}

impl StartError {
    fn remedy(&self) -> String {
        match self {
            Self::Source(_) => String::new(), // Says it itself.
            Self::State(error) => error.remedy(),
            Self::Routes(ApplyError::State(error)) => error.remedy(),
            Self::Routes(_) | Self::Admin(_) => {
                "end what listens there, or write another port; ports below 1024 need a permission"
                    .to_owned()
            }
        }
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    let level = match env::var("GATEWAY_LOG_LEVEL").ok().filter(|level| !level.is_empty()) {
        None => Level::default(),
        Some(level) => match level.parse() {
            Ok(level) => level,
            Err(error) => return fail(BAD_INPUT, &format!("GATEWAY_LOG_LEVEL: {error}"), ""),
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
    let source = config.source()?;
    let Loaded { model, notices } = load_here(&source)?;
    for notice in &notices {
        info!("configuration: {notice}");
    }
    let store = match (&model.state_file, &source) {
        (Some(path), _) => StateFile::new(path.clone()),
        (None, Source::File(config)) => StateFile::beside(Some(config)),
        (None, Source::Inline(_)) => StateFile::beside(None),
    };
    let state = store.load()?;
    let metrics = Arc::new(Metrics::new(&model.admin.common_tags));
    metrics.config_applied(unix_seconds());
    let gateway = Gateway::on_workers(TokioNetwork, Arc::clone(&metrics), &model, workers);
    let control = control::start(
        Arc::new(gateway),
        store,
        state,
        Arc::clone(&model),
        Arc::clone(&metrics),
        Arc::new(|| jiff::Timestamp::now().to_string()),
    )
    .await?;
    let reload = Arc::new(Notify::new());
    let (stop, stopped) = watch::channel(());
    let trigger = Arc::clone(&reload);
    admin::serve(
        &model,
        control.clone(),
        Arc::clone(&metrics),
        Arc::new(move || trigger.notify_one()),
        || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.changed().await) }
        },
    )
    .await?;
    info!(
        config = %model.config_id, routes = model.routes.len(), control = %model.control.address,
        admin = %model.admin.address, "ready"
    );
    if let Source::File(path) = source {
        let watcher = Watcher::new(path, Arc::clone(&reload));
        tokio::spawn(follow(watcher, control.clone(), metrics));
    }
    wait_for_signals(&reload).await;
    let drain = model.limits.shutdown_drain;
    info!(?drain, "stopping");
    control.stop(drain).await;
    drop(stop);
    Ok(())
}

/// Applies the file whenever it changes.
async fn follow(mut watcher: Watcher, control: ControlHandle, metrics: Arc<Metrics>) {
    loop {
        watcher.changed().await;
        let source = Source::File(watcher.path().to_owned());
        let loaded = match load_here(&source) {
            Ok(loaded) => loaded,
            Err(error) => {
                metrics.reload("refused");
                error!("configuration not applied, nothing has changed: {error}");
                continue;
            }
        };
        for notice in &loaded.notices {
            info!("configuration: {notice}");
        }
        let id = loaded.model.config_id.clone();
        match control.apply(loaded.model).await {
            Ok(applied) => {
                metrics.reload("applied");
                metrics.config_applied(unix_seconds());
                info!(
                    config = id, added = ?applied.added, removed = ?applied.removed,
                    edited = ?applied.edited, "configuration applied"
                );
            }
            Err(error) => {
                metrics.reload("refused");
                error!("configuration not applied, nothing has changed: {error}");
            }
        }
    }
}

/// Returns when the process shall stop; SIGHUP asks for a look at the configuration.
async fn wait_for_signals(reload: &Notify) {
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
            _ = hangup.recv() => reload.notify_one(),
        }
    }
}

fn unix_seconds() -> f64 {
    Duration::try_from(jiff::Timestamp::now().as_duration()).map_or(0.0, |time| time.as_secs_f64())
}
