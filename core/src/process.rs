//! A whole gateway as a process runs it: configuration, kept state, routes, HTTP, and a file that is watched.

#![expect(clippy::disallowed_methods, reason = "it stands above the driver, with tasks of its own")]

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::{
    admin::{self, Token},
    config::{Environment, LoadError, Loaded, Model, Source, load},
    driver::{
        ControlHandle, Gateway, TokioNetwork, Workers,
        control::{self, ApplyError},
        plane::OpenError,
        state_file::{StateFile, StateFileError},
        watch::Watcher,
    },
    telemetry::Metrics,
};

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no configuration that can be used.
    #[error(transparent)]
    Source(#[from] LoadError),
    /// What was decided before cannot be read.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// Nobody could be admitted to the control port.
    #[error("token file {path}: {source}", path = path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A route cannot be opened.
    #[error(transparent)]
    Routes(#[from] ApplyError),
    /// A port for HTTP cannot be listened on.
    #[error(transparent)]
    Admin(#[from] admin::ServeError),
}

impl StartError {
    /// What to do; empty where the error says it itself.
    pub fn remedy(&self) -> String {
        match self {
            Self::State(error) => error.remedy(),
            Self::Token { .. } => {
                "write a token into the file and let the gateway's user read it, or name another \
                                   one in `control.tokenFile`"
                    .to_owned()
            }
            Self::Routes(ApplyError::State(error)) => error.remedy(),
            Self::Routes(ApplyError::Open(OpenError::Bind { source, .. }))
            | Self::Admin(admin::ServeError { source, .. }) => {
                remedy_of_bind(source.kind()).to_owned()
            }
            Self::Source(_) | Self::Routes(_) => String::new(),
        }
    }
}

fn remedy_of_bind(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "end what listens there, or write another port",
        io::ErrorKind::AddrNotAvailable => {
            "write an address that this machine has as `bindAddress`, `0.0.0.0` for all of them"
        }
        io::ErrorKind::PermissionDenied => {
            "write a port from 1024 on, or give the gateway the permission for those below \
             (CAP_NET_BIND_SERVICE)"
        }
        _ => "write another address or port",
    }
}

/// A gateway that runs.
pub struct Process {
    model: Arc<Model>,
    /// What was applied last.
    in_force: watch::Receiver<Arc<Model>>,
    control: ControlHandle,
    metrics: Arc<Metrics>,
    reload: Arc<Notify>,
    /// Ends the HTTP servers when it is dropped.
    stop: watch::Sender<()>,
}

impl Process {
    /// Starts it, with the state that was kept beside its configuration. To be called inside the runtime that
    /// shall accept; a configuration file is watched from now on.
    ///
    /// # Errors
    /// When the configuration, the kept state or a port cannot be used.
    pub async fn start(source: Source, workers: Workers) -> Result<Self, StartError> {
        let reload = Arc::new(Notify::new());
        // From before it is read, so that no edit falls between.
        let watcher = match &source {
            Source::File(path) => Some(Watcher::new(path.clone(), Arc::clone(&reload))),
            Source::Inline(_) => None,
        };
        let Loaded { model, notices } = load(&source, &Environment::of_process())?;
        for notice in &notices {
            info!("configuration: {notice}");
        }
        let store = match (&model.state_file, &source) {
            (Some(path), _) => StateFile::new(path.clone()),
            (None, Source::File(config)) => StateFile::beside(Some(config)),
            (None, Source::Inline(_)) => StateFile::beside(None),
        };
        let state = store.load()?;
        if let Some(path) = &model.control.token_file {
            Token::in_file(path.clone())
                .check()
                .map_err(|source| StartError::Token { path: path.clone(), source })?;
        }
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
            config = %model.config_id, routes = model.routes.len(),
            control = %model.control.address, admin = %model.admin.address, "ready"
        );
        let (applied, in_force) = watch::channel(Arc::clone(&model));
        if let Some(watcher) = watcher {
            tokio::spawn(follow(watcher, control.clone(), Arc::clone(&metrics), applied));
        }
        Ok(Self { model, in_force, control, metrics, reload, stop })
    }

    /// The configuration that it started with.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Commands and status.
    pub fn control(&self) -> &ControlHandle {
        &self.control
    }

    /// What it measures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Looks at the configuration file at once.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Lets requests in flight finish until `limits.shutdownDrain`, then closes everything.
    pub async fn stop(self) {
        let drain = self.in_force.borrow().limits.shutdown_drain;
        info!(?drain, "stopping");
        self.control.stop(drain).await;
        drop(self.stop);
    }
}

/// Applies the file whenever it changes.
async fn follow(
    mut watcher: Watcher,
    control: ControlHandle,
    metrics: Arc<Metrics>,
    in_force: watch::Sender<Arc<Model>>,
) {
    loop {
        watcher.changed().await;
        let source = Source::File(watcher.path().to_owned());
        let loaded = match load(&source, &Environment::of_process()) {
            Ok(loaded) => loaded,
            Err(error) => {
                metrics.reload("refused");
                error!("configuration not applied, nothing has changed: {error}");
                continue;
            }
        };
        if *loaded.model == **in_force.borrow() {
            metrics.reload("unchanged");
            info!(config = loaded.model.config_id, "configuration is in force already");
            continue;
        }
        for notice in &loaded.notices {
            info!("configuration: {notice}");
        }
        let id = loaded.model.config_id.clone();
        match control.apply(Arc::clone(&loaded.model)).await {
            Ok(applied) => {
                let before = in_force.send_replace(Arc::clone(&loaded.model));
                for section in of_the_next_start(&before, &loaded.model) {
                    warn!(
                        "`{section}` was edited: that takes effect when the gateway is started again"
                    );
                }
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

/// What was edited and is read at the start only: what the gateway listens on besides its routes.
fn of_the_next_start(before: &Model, after: &Model) -> Vec<&'static str> {
    let edited = [
        ("admin", before.admin != after.admin),
        ("control", before.control != after.control),
        ("stateFile", before.state_file != after.state_file),
    ];
    edited.into_iter().filter(|(_, edited)| *edited).map(|(section, _)| section).collect()
}

fn unix_seconds() -> f64 {
    Duration::try_from(jiff::Timestamp::now().as_duration()).map_or(0.0, |time| time.as_secs_f64())
}
