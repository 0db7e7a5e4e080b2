//! What an operator may ask of a route, and the same with every detail filled in.

use std::{sync::Arc, time::Duration};

use super::Target;
use crate::config::{
    self, Model,
    model::{Fence, FenceMode},
};

/// Longest drain that can be asked for. A drain holds every client of the route back.
pub const DRAIN_MAX: Duration = Duration::from_mins(10);

/// What an operator asks of one route. Details that are left out come from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Blocks the route's requests; a route that is fenced already gets the new fence.
    Fence(FenceRequest),
    /// Lets requests through again.
    Unfence,
    /// Points the route at another target.
    Switchover(SwitchoverRequest),
}

/// How to fence; what is `None` is taken from the route's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceRequest {
    /// Answer or wait.
    pub mode: Option<FenceMode>,
    /// Kafka error code; 0 is refused, for clients would take it for success.
    pub error_code: Option<i16>,
    /// Text for APIs that have room for one.
    pub error_message: Option<Arc<str>>,
}

/// Where to point the route, and how gently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchoverRequest {
    /// Name of the streaming domain.
    pub to: Arc<str>,
    /// `None`: the domain's first bootstrap server.
    pub bootstrap_server_id: Option<Arc<str>>,
    /// Fences the route until its last session has left the old target.
    pub fence: Option<FenceMode>,
    /// How long requests in flight may take to finish before the target changes; `None`: the target
    /// changes at once and unanswered requests are cut off. At most [`DRAIN_MAX`].
    pub drain: Option<Duration>,
}

/// A command with every detail filled in, or what an edited configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Blocks the route's requests.
    Fence(Fence),
    /// Lets requests through again.
    Unfence,
    /// Points the route at another target.
    Repoint(Repoint),
    /// Makes the route what its edited section says.
    Configured {
        /// The section's target, and how the route gets there.
        repoint: Repoint,
        /// The section's fence.
        fence: Option<Fence>,
    },
}

/// A new target and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repoint {
    /// Where the route shall point.
    pub target: Target,
    /// `None`: the target changes at once.
    pub drain: Option<Drain>,
    /// Stands until the last session has left the old target.
    pub fence: Option<Fence>,
}

/// Requests in flight finish before the target changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long they may take.
    pub time_max: Duration,
    /// Holds new requests back meanwhile.
    pub hold: Fence,
}

impl Command {
    /// The command's name in metrics, logs and in the control calls.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Fence(_) => "fence",
            Self::Unfence => "unfence",
            Self::Switchover(_) => "switchover",
        }
    }

    /// Fills in what was left out, and checks what only the configuration can tell.
    pub fn resolve(&self, model: &Model, route: &config::Route) -> Result<Change, Unresolvable> {
        match self {
            Self::Fence(request) => request.resolve(&route.fence_defaults).map(Change::Fence),
            Self::Unfence => Ok(Change::Unfence),
            Self::Switchover(request) => request.resolve(model, route).map(Change::Repoint),
        }
    }
}

impl FenceRequest {
    fn resolve(&self, defaults: &Fence) -> Result<Fence, Unresolvable> {
        let error_code = self.error_code.unwrap_or(defaults.error_code);
        if error_code == 0 {
            return Err(Unresolvable::ErrorCodeIsNone);
        }
        Ok(Fence {
            mode: self.mode.unwrap_or(defaults.mode),
            error_code,
            error_message: self.error_message.clone().or_else(|| defaults.error_message.clone()),
            ..defaults.clone()
        })
    }
}

impl SwitchoverRequest {
    fn resolve(&self, model: &Model, route: &config::Route) -> Result<Repoint, Unresolvable> {
        let defaults = &route.fence_defaults;
        if let Some(time) = self.drain
            && time > DRAIN_MAX
        {
            return Err(Unresolvable::DrainTooLong { asked: time });
        }
        Ok(Repoint {
            target: find_target(model, route, &self.to, self.bootstrap_server_id.as_deref())?,
            drain: self.drain.map(|time_max| Drain::new(time_max, defaults)),
            fence: self.fence.map(|mode| Fence { mode, ..defaults.clone() }),
        })
    }
}

impl Drain {
    /// A drain that holds new requests back within the bounds of the route's fences.
    pub fn new(time_max: Duration, fence_defaults: &Fence) -> Self {
        Self { time_max, hold: Fence { mode: FenceMode::Hold, ..fence_defaults.clone() } }
    }
}

/// The target that a domain's name and perhaps a bootstrap server's id stand for.
pub(crate) fn find_target(
    model: &Model,
    route: &config::Route,
    domain: &str,
    bootstrap_server_id: Option<&str>,
) -> Result<Target, Unresolvable> {
    let known = || model.domains.keys().cloned().collect();
    let found = model
        .domains
        .get(domain)
        .ok_or_else(|| Unresolvable::UnknownDomain { domain: domain.into(), known: known() })?;
    let server = match bootstrap_server_id {
        None => found.bootstrap_servers.first(),
        Some(id) => found.bootstrap_servers.iter().find(|server| *server.id == *id),
    };
    let server = server.ok_or_else(|| Unresolvable::UnknownBootstrapServer {
        domain: Arc::clone(&found.name),
        bootstrap_server_id: bootstrap_server_id.unwrap_or_default().into(),
        known: found.bootstrap_servers.iter().map(|server| Arc::clone(&server.id)).collect(),
    })?;
    if !eligible_domains(model, route).any(|name| **name == *domain) {
        return Err(Unresolvable::NotEligible {
            domain: Arc::clone(&found.name),
            route: Arc::clone(&route.name),
        });
    }
    Ok(Target { domain: Arc::clone(&found.name), bootstrap_server_id: Arc::clone(&server.id) })
}

/// The domains that a route can be pointed at: those whose node ids all find a port.
pub(crate) fn eligible_domains<'a>(
    model: &'a Model,
    route: &'a config::Route,
) -> impl Iterator<Item = &'a Arc<str>> {
    model.domains.keys().filter(|name| route.port_map(name).is_some())
}

/// Why a command cannot be carried out with this configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolvable {
    /// No such streaming domain.
    #[error("no streaming domain `{domain}` is configured")]
    UnknownDomain {
        /// As asked for.
        domain: Box<str>,
        /// What there is.
        known: Vec<Arc<str>>,
    },
    /// No such bootstrap server.
    #[error("streaming domain `{domain}` has no bootstrap server `{bootstrap_server_id}`")]
    UnknownBootstrapServer {
        /// The domain.
        domain: Arc<str>,
        /// As asked for.
        bootstrap_server_id: Box<str>,
        /// What there is.
        known: Vec<Arc<str>>,
    },
    /// The domain's node ids do not fit the route's ports.
    #[error("route `{route}` has no room for the ports of streaming domain `{domain}`")]
    NotEligible {
        /// The domain.
        domain: Arc<str>,
        /// The route.
        route: Arc<str>,
    },
    /// Error code 0 means success.
    #[error("error code 0 means success: clients would believe that a fenced request was done")]
    ErrorCodeIsNone,
    /// A drain beyond its limit.
    #[error("a drain of {} s is too long", asked.as_secs())]
    DrainTooLong {
        /// As asked for.
        asked: Duration,
    },
}

impl Unresolvable {
    /// What to do instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownDomain { known, .. } => format!("name one of: {}", known.join(", ")),
            Self::UnknownBootstrapServer { known, .. } => {
                format!("name one of: {}", known.join(", "))
            }
            Self::NotEligible { .. } => {
                "leave more ports free behind the route's endpoint; `switchyard check` shows the blocks"
                    .to_owned()
            }
            Self::ErrorCodeIsNone => "name a retriable error such as BROKER_NOT_AVAILABLE".to_owned(),
            Self::DrainTooLong { .. } => {
                format!("ask for {} s at most", DRAIN_MAX.as_secs())
            }
        }
    }
}
