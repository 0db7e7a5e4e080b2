//! Why a command or a configuration was not carried out, and what a configuration changed.

use std::{io, sync::Arc};

use crate::{
    driver::plane::{OpenError, ProbeError},
    route::{Refused, Unresolvable, state::StateError},
};

/// Why a command was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such route.
    #[error("no route `{route}` is configured")]
    UnknownRoute {
        /// As asked for.
        route: Box<str>,
        /// What there is.
        known: Vec<Arc<str>>,
    },
    /// It cannot be carried out with this configuration.
    #[error(transparent)]
    Unresolvable(#[from] Unresolvable),
    /// The route does not admit it now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The target cannot be used.
    #[error("the target was looked at before the switch and cannot be used: {0}")]
    Target(#[from] ProbeError),
    /// The decision could not be kept.
    #[error("the decision cannot be kept in {place}: {source}")]
    NotKept {
        /// The state file.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Stopping,
}

impl CommandError {
    /// What to do instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownRoute { known, .. } => format!("name one of: {}", known.join(", ")),
            Self::Unresolvable(why) => why.remedy(),
            Self::Refused(why) => why.remedy().to_owned(),
            Self::Target(_) => {
                "nothing has changed; bring the target up, or check its address and the network".to_owned()
            }
            Self::NotKept { .. } => {
                "nothing has changed; let the gateway's user write there, or name another `stateFile`".to_owned()
            }
            Self::Stopping => "ask the instance that takes over".to_owned(),
        }
    }
}

/// Why a configuration was not applied. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// What was decided before does not fit it.
    #[error(transparent)]
    State(#[from] StateError),
    /// A route does not admit it now.
    #[error("route `{route}`: {source}")]
    Refused {
        /// The route.
        route: Arc<str>,
        /// Why not.
        source: Refused,
    },
    /// A port cannot be listened on.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A target that a route would be pointed at cannot be used.
    #[error("route `{route}`: its new target cannot be used: {source}")]
    Target {
        /// The route.
        route: Arc<str>,
        /// Why not.
        source: ProbeError,
    },
    /// The decision could not be kept.
    #[error("the decision cannot be kept in {place}: {source}")]
    NotKept {
        /// The state file.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Stopping,
}

/// What a configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Routes that are new.
    pub added: Vec<Arc<str>>,
    /// Routes that are gone.
    pub removed: Vec<Arc<str>>,
    /// Routes whose section was edited.
    pub edited: Vec<Arc<str>>,
}
