//! PLAIN (RFC 4616): user and password in one token.

use subtle::ConstantTimeEq;

use super::{Refusal, Users};

/// Gives the user that a token proves.
pub(super) fn verify(users: &Users, token: &[u8]) -> Result<String, Refusal> {
    let text = String::from_utf8_lossy(token);
    let fields: Vec<_> = text.split('\0').collect();
    let [acts_for, user, password] = fields[..] else {
        return Err(Refusal::Said("a PLAIN token has three fields"));
    };
    if user.is_empty() {
        return Err(Refusal::Said("Authentication failed: no user name"));
    }
    if password.is_empty() {
        return Err(Refusal::Said("Authentication failed: no password"));
    }
    let matches = |known: &str| bool::from(known.as_bytes().ct_eq(password.as_bytes()));
    if !users.password(user).is_some_and(matches) {
        return Err(Refusal::Said("Authentication failed: wrong user name or password"));
    }
    if !acts_for.is_empty() && acts_for != user {
        return Err(Refusal::Said("Authentication failed: nobody may act for another user"));
    }
    Ok(user.to_owned())
}
