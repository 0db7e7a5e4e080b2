//! The bearer token of the control port.

use std::{fs, io, path::PathBuf};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use subtle::ConstantTimeEq;

/// Where the token is. The file is read for every call, so that a new token counts at once; its content is
/// kept nowhere and shown nowhere.
#[derive(Clone, Debug)]
pub struct Token {
    path: PathBuf,
}

impl Token {
    /// The token is this file's content, without surrounding white space.
    pub fn in_file(path: PathBuf) -> Self {
        Self { path }
    }

    /// Whether the file holds a token. Without one every call would be refused, the one that is needed in an
    /// outage too.
    pub fn check(&self) -> io::Result<()> {
        self.read().map(drop)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let content = fs::read(&self.path)?;
        if content.trim_ascii().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
        }
        Ok(content)
    }

    /// Whether a call carries the token. The comparison takes the same time wherever they differ.
    pub(super) fn admits(&self, headers: &HeaderMap) -> io::Result<bool> {
        let content = self.read()?;
        let wanted = content.trim_ascii();
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .unwrap_or_default();
        Ok(given.trim_ascii().ct_eq(wanted).into())
    }
}
