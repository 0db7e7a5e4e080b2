//! Calls the control port of a running gateway.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};
use ureq::Agent;

use super::fail;
use crate::{admin::CLIENT_HEADER, driver::status::GatewayStatus};

/// A look at a target before a switch takes as long as its servers' connect timeouts.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);

/// Which gateway to call.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ControlArgs {
    /// Control port of the gateway.
    #[arg(
        long,
        value_name = "URL",
        env = "SWITCHYARD_CONTROL",
        default_value = "http://127.0.0.1:9180"
    )]
    control: String,
    /// File with the bearer token, for a control port beyond loopback.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// The token file cannot be read.
    Token { path: PathBuf, source: std::io::Error },
    /// No gateway answered.
    Unreachable { url: String, detail: String },
    /// The gateway refused.
    Refused { code: u16, error: String, remedy: String },
}

impl CallError {
    /// Says it, and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::Token { path, source } => fail(
                2,
                &format!("token file {}: {source}", path.display()),
                "name a readable file with `--token-file`",
            ),
            Self::Unreachable { url, detail } => fail(
                1,
                &format!("no gateway answers at {url}: {detail}"),
                "start it with `switchyard run`, or name its control port with `--control`",
            ),
            Self::Refused { code, error, remedy } => {
                let bad_input = matches!(code, 400 | 404 | 422);
                fail(if bad_input { 2 } else { 1 }, error, remedy)
            }
        }
    }
}

/// What an accepted command answers.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Decided {
    pub(super) revision: u64,
    pub(super) changed: bool,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    remedy: String,
}

/// A gateway's control port.
pub(super) struct Client {
    agent: Agent,
    url: String,
    bearer: Option<String>,
}

impl Client {
    pub(super) fn new(args: &ControlArgs) -> Result<Self, CallError> {
        let bearer = match &args.token_file {
            None => None,
            Some(path) => {
                let token = fs::read_to_string(path)
                    .map_err(|source| CallError::Token { path: path.clone(), source })?;
                Some(format!("Bearer {}", token.trim()))
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_TIMEOUT))
            .build();
        let url = args.control.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.into(), url, bearer })
    }

    pub(super) fn status(&self) -> Result<GatewayStatus, CallError> {
        let mut call = self.agent.get(format!("{}/config", self.url));
        if let Some(bearer) = &self.bearer {
            call = call.header("authorization", bearer);
        }
        self.read(call.call())
    }

    /// `POST /routes/{route}/{action}`.
    pub(super) fn command(
        &self,
        route: &str,
        action: &str,
        body: &impl Serialize,
    ) -> Result<Decided, CallError> {
        let name: String = route.bytes().map(escaped).collect();
        let mut call = self
            .agent
            .post(format!("{}/routes/{name}/{action}", self.url))
            .header(CLIENT_HEADER, "cli");
        if let Some(bearer) = &self.bearer {
            call = call.header("authorization", bearer);
        }
        self.read(call.send_json(body))
    }

    fn read<T: for<'de> Deserialize<'de>>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, CallError> {
        let unreachable = |detail: String| CallError::Unreachable { url: self.url.clone(), detail };
        let mut answer = answer.map_err(|error| unreachable(error.to_string()))?;
        let code = answer.status().as_u16();
        if answer.status().is_success() {
            return answer.body_mut().read_json().map_err(|error| unreachable(error.to_string()));
        }
        let Refusal { error, remedy } = answer
            .body_mut()
            .read_json()
            .unwrap_or_else(|_| Refusal { error: format!("HTTP {code}"), remedy: String::new() });
        Err(CallError::Refused { code, error, remedy })
    }
}

/// A byte of a path segment.
fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
