//! HTTP: health and metrics on one port; configuration, status and control on another.

#![expect(clippy::disallowed_methods, reason = "the HTTP server is a task of its own")]

mod auth;
mod control;
mod health;

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::net::TcpListener;

pub use auth::Token;
pub use control::{
    CLIENT_HEADER, FenceBody, RevisionBody, SwitchoverBody, router as control_router,
};
pub use health::router as health_router;

use crate::{config::Model, driver::ControlHandle, telemetry::Metrics};

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {source}")]
pub struct ServeError {
    /// What was to be served there.
    pub what: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// What a fresh configuration is asked for: `POST /reload` and SIGHUP alike.
pub type Reload = Arc<dyn Fn() + Send + Sync>;

/// Binds both ports, then serves them in tasks of their own until `stopped` resolves.
pub async fn serve<F>(
    model: &Model,
    control: ControlHandle,
    metrics: Arc<Metrics>,
    reload: Reload,
    stopped: impl Fn() -> F,
) -> Result<(), ServeError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let health = health_router(control.clone(), metrics, model.admin.metrics);
    let token = model.control.token_file.clone().map(Token::in_file);
    let control = control_router(control, token, reload);
    let health = listen("health and metrics", model.admin.address, health).await?;
    let control = listen("control", model.control.address, control).await?;
    for (listener, router) in [health, control] {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped());
        // Errors of single connections are axum's to handle.
        tokio::spawn(async move { drop(serving.await) });
    }
    Ok(())
}

async fn listen(
    what: &'static str,
    address: SocketAddr,
    router: Router,
) -> Result<(TcpListener, Router), ServeError> {
    let listener = TcpListener::bind(address).await;
    listener.map(|listener| (listener, router)).map_err(|source| ServeError {
        what,
        address,
        source,
    })
}
