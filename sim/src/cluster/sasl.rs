//! Authentication: SaslHandshake, SaslAuthenticate.

/// How far the client of a connection has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authentication {
    /// The listener asks for none.
    NotNeeded,
}
