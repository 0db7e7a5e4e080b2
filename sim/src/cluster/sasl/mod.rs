//! Authentication of clients: SASL with PLAIN and SCRAM, as a listener of Kafka does it.
//!
//! ```text
//!  Started ──SaslHandshake──▶ Exchanging ──last token──▶ Done ──SaslHandshake, where sessions end──▶ Exchanging
//!     │ anything but ApiVersions   │ wrong token or request │ any other request after the session's end
//!     └──────────▶ closed ◀────────┴────────────────────────┘
//! ```
//!
//! Here are the states of a connection and the mechanisms; what requests make of them is in `api::sasl`. Before a
//! client is `Done` nothing of it is parsed but ApiVersions (once), SaslHandshake and SaslAuthenticate, and no frame
//! above `sasl.server.max.receive.size` is looked at.
//!
//! Invariant: no password, key or proof is ever in a `Debug` output, an answer or a log.
//!
//! Absent on purpose: GSSAPI and OAUTHBEARER; delegation tokens; who may do what: whoever is in may do everything; the
//! pause before a failed client is closed (`connection.failed.authentication.delay.ms`).

mod plain;
mod scram;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::{spec::SaslSpec, time::Time};

use scram::{Credential, Hash, Scram};

/// Between two beginnings of a re-authentication, at the least.
const REAUTHENTICATION_INTERVAL: Duration = Duration::from_secs(1);

/// How far the client of a connection has come.
pub(super) enum Authentication {
    /// The listener asks for none.
    NotNeeded,
    /// It has to agree on a mechanism.
    Started {
        /// ApiVersions was answered, which happens once.
        versions_known: bool,
    },
    /// It has to send tokens.
    Exchanging {
        exchange: Exchange,
        /// Tokens stand alone, without a request around them: SaslHandshake was of v0.
        is_raw: bool,
        /// What it was before, if it authenticates again.
        before: Option<Session>,
    },
    /// It is known.
    Done(Session),
}

impl Authentication {
    pub(super) fn takes_raw_tokens(&self) -> bool {
        matches!(self, Self::Exchanging { is_raw: true, .. })
    }

    /// Whether the client is not known yet, or not any more.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Started { .. } | Self::Exchanging { .. })
    }
}

/// A client that has authenticated.
pub(super) struct Session {
    pub(super) user: String,
    pub(super) mechanism: Mechanism,
    /// When it has to have authenticated again (`connections.max.reauth.ms`).
    pub(super) ends: Option<Time>,
    /// When it last began to.
    pub(super) reauthentication: Option<Time>,
}

impl Session {
    pub(super) fn has_ended(&self, now: Time) -> bool {
        self.ends.is_some_and(|end| end < now)
    }

    /// Whether a SaslHandshake begins a re-authentication; otherwise it is out of place.
    pub(super) fn may_reauthenticate(&self, now: Time) -> bool {
        let is_soon = |last| now.since(last) < REAUTHENTICATION_INTERVAL;
        self.ends.is_some() && !self.reauthentication.is_some_and(is_soon)
    }
}

/// A mechanism that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// Those of a list as `sasl.enabled.mechanisms` gives it that are served.
    pub(super) fn listed(names: &str) -> Vec<Self> {
        let find = |name: &str| Self::ALL.into_iter().find(|known| known.name() == name.trim());
        names.split(',').filter_map(find).collect()
    }

    pub(super) fn wire_name(self) -> StrBytes {
        StrBytes::from_static_str(self.name())
    }
}

/// One run of a mechanism.
pub(super) struct Exchange {
    mechanism: Mechanism,
    state: ExchangeState,
}

enum ExchangeState {
    Plain,
    Scram(Scram),
}

/// What a token has led to.
pub(super) enum Step {
    /// The client has to answer.
    Challenge(Bytes),
    /// The client is who it says, and gets a last token.
    Done { user: String, token: Bytes },
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client is told.
    Said(&'static str),
    /// The client is told only that it failed, as it could learn who has an account otherwise.
    Unsaid,
}

impl Exchange {
    /// `server_nonce` is what the server adds to a SCRAM client's nonce.
    pub(super) fn new(mechanism: Mechanism, server_nonce: String) -> Self {
        let scram = |hash| ExchangeState::Scram(Scram::new(hash, server_nonce));
        let state = match mechanism {
            Mechanism::Plain => ExchangeState::Plain,
            Mechanism::ScramSha256 => scram(Hash::Sha256),
            Mechanism::ScramSha512 => scram(Hash::Sha512),
        };
        Self { mechanism, state }
    }

    pub(super) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The client's next token.
    pub(super) fn handle_token(
        &mut self,
        users: &mut Users,
        token: &[u8],
    ) -> Result<Step, Refusal> {
        match &mut self.state {
            ExchangeState::Plain => {
                let user = plain::verify(users, token)?;
                Ok(Step::Done { user, token: Bytes::new() })
            }
            ExchangeState::Scram(scram) => scram.handle_token(users, token),
        }
    }
}

/// Who may connect.
pub(super) struct Users {
    seed: u64,
    /// Of the cluster.
    name: String,
    passwords: BTreeMap<String, String>,
    /// Derived from a password when it is first asked for: that takes thousands of hashes.
    credentials: BTreeMap<(Hash, String), Credential>,
}

impl Users {
    pub(super) fn new(seed: u64, name: &str, spec: SaslSpec) -> Self {
        Self { seed, name: name.to_owned(), passwords: spec.users, credentials: BTreeMap::new() }
    }

    fn password(&self, user: &str) -> Option<&str> {
        self.passwords.get(user).map(String::as_str)
    }

    fn credential(&mut self, hash: Hash, user: &str) -> Option<&Credential> {
        let password = self.passwords.get(user)?;
        let key = (hash, user.to_owned());
        Some(self.credentials.entry(key).or_insert_with(|| {
            let name = format!("{}/{hash:?}/{user}", self.name);
            let salt = crate::random::stream(self.seed, "scram-salt", &name).u128(..);
            Credential::new(hash, password, salt.to_be_bytes())
        }))
    }
}
