//! `/config` and the control calls.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Request, State, rejection::JsonRejection},
    http::{HeaderMap, Method, StatusCode, header::ORIGIN},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Reload, Token};
use crate::{
    config::{ErrorCode, duration, model::FenceMode},
    driver::{ControlHandle, control::CommandError},
    route::{Accepted, Command, Expect, FenceRequest, SwitchoverRequest, state::DecidedBy},
};

/// A control call is a few names.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Tells calls of the command line from others in `lastChange`.
pub const CLIENT_HEADER: &str = "x-switchyard-client";

#[derive(Clone)]
struct Calls {
    control: ControlHandle,
    token: Option<Token>,
    reload: Reload,
}

/// `POST /routes/{name}/fence`; no body at all means the defaults.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FenceBody {
    /// Default: the route's configured mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<FenceMode>,
    /// Default: the route's configured code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<ErrorCode>,
    /// Default: the route's configured text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<Arc<str>>,
    /// See [`Expect`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// See [`Expect`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// `POST /routes/{name}/unfence`; no body at all means the defaults.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RevisionBody {
    /// See [`Expect`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// See [`Expect`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// `POST /routes/{name}/switchover`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchoverBody {
    /// Name of the streaming domain.
    pub to: Arc<str>,
    /// Default: the domain's first bootstrap server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_server_id: Option<Arc<str>>,
    /// Fences the route until its last session has left the old target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceMode>,
    /// How long requests in flight may take, such as `5s`. Default: they are cut off.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::optional")]
    pub drain: Option<Duration>,
    /// See [`Expect`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// See [`Expect`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// The control port's calls.
pub fn router(control: ControlHandle, token: Option<Token>, reload: Reload) -> Router {
    let calls = Calls { control, token, reload };
    Router::new()
        .route("/config", get(config))
        .route("/reload", post(reload_now))
        .route("/routes/{name}/fence", post(fence))
        .route("/routes/{name}/unfence", post(unfence))
        .route("/routes/{name}/switchover", post(switchover))
        .layer(middleware::from_fn_with_state(calls.clone(), admit))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(calls)
}

/// Lets in whoever has the token, and no web page: a browser on the operator's machine reaches loopback, and
/// says where a page comes from.
async fn admit(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.headers().contains_key(ORIGIN) {
        return refusal(
            StatusCode::FORBIDDEN,
            "calls from web pages are not taken",
            "call the control port from a program",
        );
    }
    match calls.token.as_ref().map(|token| token.admits(request.headers())) {
        None | Some(Ok(true)) => next.run(request).await,
        Some(Ok(false)) => refusal(
            StatusCode::UNAUTHORIZED,
            "the call does not carry the token",
            "send `Authorization: Bearer …` with the content of the token file",
        ),
        Some(Err(error)) => {
            tracing::error!(%error, "the control port's token file cannot be used");
            refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token file cannot be used",
                "see the gateway's log",
            )
        }
    }
}

fn refusal(code: StatusCode, error: &str, remedy: &str) -> Response {
    (code, Json(json!({"error": error, "remedy": remedy}))).into_response()
}

async fn config(State(calls): State<Calls>) -> Response {
    match calls.control.status().await {
        Some(status) => Json(status).into_response(),
        None => answer(Err(CommandError::Stopping)),
    }
}

async fn reload_now(State(calls): State<Calls>) -> Response {
    (calls.reload)();
    (StatusCode::ACCEPTED, Json(json!({"reload": "requested"}))).into_response()
}

async fn fence(
    State(calls): State<Calls>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Option<Json<FenceBody>>, JsonRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body.map(|Json(body)| body).unwrap_or_default(),
        Err(rejection) => return unreadable(&rejection),
    };
    let FenceBody { mode, error_code, error_message, revision, expected_revision } = body;
    let error_code = error_code.map(Into::into);
    let command = Command::Fence(FenceRequest { mode, error_code, error_message });
    calls.carry_out(&name, command, Expect { revision, expected_revision }, &headers).await
}

async fn unfence(
    State(calls): State<Calls>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Option<Json<RevisionBody>>, JsonRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body.map(|Json(body)| body).unwrap_or_default(),
        Err(rejection) => return unreadable(&rejection),
    };
    let RevisionBody { revision, expected_revision } = body;
    calls.carry_out(&name, Command::Unfence, Expect { revision, expected_revision }, &headers).await
}

async fn switchover(
    State(calls): State<Calls>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Json<SwitchoverBody>, JsonRejection>,
) -> Response {
    let body = match body {
        Ok(Json(body)) => body,
        Err(rejection) => return unreadable(&rejection),
    };
    let SwitchoverBody { to, bootstrap_server_id, fence, drain, revision, expected_revision } =
        body;
    let command = Command::Switchover(SwitchoverRequest { to, bootstrap_server_id, fence, drain });
    calls.carry_out(&name, command, Expect { revision, expected_revision }, &headers).await
}

impl Calls {
    async fn carry_out(
        &self,
        route: &str,
        command: Command,
        expect: Expect,
        headers: &HeaderMap,
    ) -> Response {
        let cli = headers.get(CLIENT_HEADER).is_some_and(|client| client == "cli");
        let by = if cli { DecidedBy::Cli } else { DecidedBy::Api };
        answer(self.control.command(route, command, expect, by).await)
    }
}

fn unreadable(rejection: &JsonRejection) -> Response {
    refusal(
        rejection.status(),
        &rejection.body_text(),
        "send a JSON object with the documented keys and `Content-Type: application/json`",
    )
}

/// A decision that was taken goes on in the background: 202 until then, 200 when there was nothing to do.
fn answer(outcome: Result<Accepted, CommandError>) -> Response {
    let error = match outcome {
        Ok(Accepted { revision, changed }) => {
            let code = if changed { StatusCode::ACCEPTED } else { StatusCode::OK };
            return (code, Json(json!({"revision": revision, "changed": changed}))).into_response();
        }
        Err(error) => error,
    };
    let code = match &error {
        CommandError::UnknownRoute { .. } => StatusCode::NOT_FOUND,
        CommandError::Unresolvable(_) => StatusCode::UNPROCESSABLE_ENTITY,
        CommandError::Refused(_) => StatusCode::CONFLICT,
        CommandError::Target(_) => StatusCode::BAD_GATEWAY,
        CommandError::NotKept { .. } | CommandError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    refusal(code, &error.to_string(), &error.remedy())
}
