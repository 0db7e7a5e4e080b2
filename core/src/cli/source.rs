//! Where a configuration comes from: argument, then GATEWAY_CONFIG_FILE, then GATEWAY_CONFIG.

use std::path::PathBuf;

use crate::config::{Environment, LoadError, Loaded, Source, load};

/// Which configuration.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ConfigArgs {
    /// Configuration file [default: GATEWAY_CONFIG_FILE, else the text in GATEWAY_CONFIG].
    file: Option<PathBuf>,
}

impl ConfigArgs {
    pub(super) fn source(&self) -> Result<Source, LoadError> {
        Ok(Source::select(self.file.clone(), &Environment::of_process())?)
    }
}

/// Reads and checks the source, with this process's GATEWAY_NODE_ID.
pub(super) fn load_here(source: &Source) -> Result<Loaded, LoadError> {
    load(source, &Environment::of_process())
}
