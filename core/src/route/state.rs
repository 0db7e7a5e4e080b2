//! What was decided, as it is kept in the state file, and what counts when a gateway starts.
//!
//! The state wins over the configuration as long as a route's section of the configuration is the one for
//! which it was decided. An edited section wins over older state. So a gateway that comes back neither drifts
//! to the cluster it was moved away from nor opens a fence, and an operator's newest word counts, whichever
//! way it was given.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Desired, REVISION_MAX, Target, Unresolvable, command::find_target};
use crate::config::{
    self, Model,
    model::{Fence, FenceMode},
};

/// Version of the format that is written, and the newest that is read.
pub const VERSION: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Format of the file.
    pub version: u32,
    /// By route name.
    pub routes: BTreeMap<Arc<str>, Record>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Only ever rises, also over a time in which the route was not configured.
    pub revision: u64,
    /// Where the route shall point.
    pub target: Target,
    /// What stands until an unfence.
    pub fence: Option<FenceRecord>,
    /// The route has been pointed at another domain before.
    pub moved: bool,
    /// Digest of the route's section when this was decided; `None`: the route was removed, and whatever
    /// brings it back counts more.
    pub section_digest: Option<Arc<str>>,
    /// Who decided.
    pub decided_by: DecidedBy,
    /// When, as RFC 3339.
    pub decided_at: String,
}

/// A fence that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FenceRecord {
    mode: FenceMode,
    error_code: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_message: Option<Arc<str>>,
    hold_bytes_max: usize,
    hold_time_max_ms: u64,
}

impl From<&Fence> for FenceRecord {
    fn from(fence: &Fence) -> Self {
        Self {
            mode: fence.mode,
            error_code: fence.error_code,
            error_message: fence.error_message.clone(),
            hold_bytes_max: fence.hold_bytes_max,
            hold_time_max_ms: u64::try_from(fence.hold_time_max.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<FenceRecord> for Fence {
    fn from(record: FenceRecord) -> Self {
        Self {
            mode: record.mode,
            error_code: record.error_code,
            error_message: record.error_message,
            hold_bytes_max: record.hold_bytes_max,
            hold_time_max: Duration::from_millis(record.hold_time_max_ms),
        }
    }
}

/// By which way a decision came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// A control call.
    Api,
    /// The command line.
    Cli,
    /// The configuration file.
    Config,
}

impl DecidedBy {
    /// As in logs and tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Config => "config",
        }
    }
}

/// Why a state file's content cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not the JSON that is written here.
    #[error("it cannot be parsed: {0}")]
    Malformed(serde_json::Error),
    /// Written by a newer gateway.
    #[error("it has version {found}, and this gateway reads versions up to {VERSION}")]
    TooNew {
        /// The file's.
        found: u64,
    },
    /// A number that no gateway gives.
    #[error("route `{route}` has revision {revision}, which is out of range")]
    Revision {
        /// The route.
        route: Arc<str>,
        /// As read.
        revision: u64,
    },
    /// The route was pointed at something that the configuration does not have any more.
    #[error("it points route `{route}` at a target that does not exist: {why}")]
    Dangling {
        /// The route.
        route: Arc<str>,
        /// What is missing.
        why: Unresolvable,
    },
}

impl StateError {
    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Malformed(_) | Self::Revision { .. } => {
                "restore the file from a backup; or, after having set every route's target and fence in the \
                 configuration as they shall be, remove it"
                    .to_owned()
            }
            Self::TooNew { .. } => "start the gateway's version that wrote it, or a newer one".to_owned(),
            Self::Dangling { route, .. } => format!(
                "bring the streaming domain or bootstrap server back; or edit the section of route \
                 `{route}` in the configuration (an edited section wins over older state)"
            ),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self { version: VERSION, routes: BTreeMap::new() }
    }
}

impl State {
    /// Reads a file's content.
    pub fn parse(text: &[u8]) -> Result<Self, StateError> {
        /// Readable whatever else a later version may hold.
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let Versioned { version } = serde_json::from_slice(text).map_err(StateError::Malformed)?;
        if version > u64::from(VERSION) {
            return Err(StateError::TooNew { found: version });
        }
        let state: Self = serde_json::from_slice(text).map_err(StateError::Malformed)?;
        for (route, record) in &state.routes {
            if !(1..=REVISION_MAX).contains(&record.revision) {
                let revision = record.revision;
                return Err(StateError::Revision { route: Arc::clone(route), revision });
            }
        }
        Ok(state)
    }

    /// The content to write. Ends with a line break.
    pub fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// What counts for a route when the gateway starts, or when a reload adds the route, and whether it was
    /// the configuration that decided just now.
    pub fn decide(
        &self,
        model: &Model,
        route: &config::Route,
    ) -> Result<(Desired, Decision), StateError> {
        let Some(record) = self.routes.get(&route.name) else {
            return Ok((configured(route, 1, false), Decision::Configuration));
        };
        if record.section_digest.as_ref() == Some(&route.digest) {
            check_target(model, route, &record.target)?;
            let desired = Desired {
                revision: record.revision,
                target: record.target.clone(),
                fence: record.fence.clone().map(Fence::from),
                moved: record.moved,
            };
            return Ok((desired, Decision::State));
        }
        let moved = record.moved || record.target.domain != route.target.domain;
        // A revision at its very end stays there: no command can follow, but the gateway runs.
        let revision = (record.revision + 1).min(REVISION_MAX);
        Ok((configured(route, revision, moved), Decision::Configuration))
    }
}

/// Which of the two counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The state file.
    State,
    /// The route's section of the configuration.
    Configuration,
}

fn configured(route: &config::Route, revision: u64, moved: bool) -> Desired {
    Desired { revision, target: route.target.clone(), fence: route.fence.clone(), moved }
}

/// Whether a route that was pointed at this target can go on doing so.
pub(crate) fn check_target(
    model: &Model,
    route: &config::Route,
    target: &Target,
) -> Result<(), StateError> {
    find_target(model, route, &target.domain, Some(&target.bootstrap_server_id))
        .map(drop)
        .map_err(|why| StateError::Dangling { route: Arc::clone(&route.name), why })
}
