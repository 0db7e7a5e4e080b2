//! Where the configuration comes from.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use super::document::BYTES_MAX;

/// What the environment says about the configuration. Empty variables count as unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `GATEWAY_CONFIG_FILE`: path of the file.
    pub config_file: Option<PathBuf>,
    /// `GATEWAY_CONFIG`: the configuration itself.
    pub config: Option<String>,
    /// Whether `GATEWAY_CONFIG_TEMPLATE` is set.
    pub config_template: bool,
    /// `GATEWAY_NODE_ID`: stands in for `$(gatewayNodeId)`.
    pub node_id: Option<String>,
}

impl Environment {
    /// Reads the variables of this process.
    pub fn of_process() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            config_file: variable("GATEWAY_CONFIG_FILE").map(PathBuf::from),
            config: text("GATEWAY_CONFIG"),
            config_template: variable("GATEWAY_CONFIG_TEMPLATE").is_some(),
            node_id: text("GATEWAY_NODE_ID"),
        }
    }
}

/// Where a configuration is read from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// This text, from `GATEWAY_CONFIG`.
    Inline(String),
}

/// The text may hold what does not belong into a log.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin())
    }
}

impl Source {
    /// By precedence: the argument, `GATEWAY_CONFIG_FILE`, `GATEWAY_CONFIG`.
    pub fn select(
        argument: Option<PathBuf>,
        environment: &Environment,
    ) -> Result<Self, SourceError> {
        if let Some(path) = argument.or_else(|| environment.config_file.clone()) {
            return Ok(Self::File(path));
        }
        if let Some(text) = &environment.config {
            return Ok(Self::Inline(text.clone()));
        }
        if environment.config_template {
            return Err(SourceError::Template);
        }
        Err(SourceError::Nothing)
    }

    /// What faults name as the place of the text.
    pub fn origin(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(_) => "GATEWAY_CONFIG".to_owned(),
        }
    }

    /// Where relative paths in the configuration start; the working directory for inline text.
    pub fn base(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(Path::new("")),
            Self::Inline(_) => Path::new(""),
        }
    }

    /// Reads the text, whole or not at all.
    pub fn read(&self) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Inline(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => read_bounded(path)
                .map_err(|source| SourceError::Unreadable { path: path.clone(), source }),
        }
    }
}

/// Reads a file up to one byte more than is allowed, so that a check can tell that it is too large.
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = fs::File::open(path)?;
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Why there is no text to check.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No argument and no variable.
    #[error("no configuration: name a file, or set GATEWAY_CONFIG_FILE")]
    Nothing,
    /// Only `GATEWAY_CONFIG_TEMPLATE` is set.
    #[error(
        "GATEWAY_CONFIG_TEMPLATE is not supported yet: set GATEWAY_CONFIG_FILE to a finished file"
    )]
    Template,
    /// The file is missing, a directory, or not permitted.
    #[error("cannot read {}: {source}: check the path and that this user may read it", path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_argument_wins_over_file_over_text_over_template() {
        let mut environment = Environment { config_template: true, ..Environment::default() };
        let select = |argument: Option<&str>, environment: &Environment| {
            Source::select(argument.map(PathBuf::from), environment)
        };
        assert!(matches!(select(None, &environment), Err(SourceError::Template)));
        environment.config = Some("routes: []".to_owned());
        let inline = select(None, &environment).expect("inline");
        assert_eq!(inline, Source::Inline("routes: []".to_owned()));
        environment.config_file = Some("b.yaml".into());
        assert_eq!(select(None, &environment).expect("file"), Source::File("b.yaml".into()));
        let argument = select(Some("a.yaml"), &environment).expect("argument");
        assert_eq!(argument, Source::File("a.yaml".into()));
        assert!(matches!(select(None, &Environment::default()), Err(SourceError::Nothing)));
    }

    #[test]
    fn read_missing_file_is_one_line_with_remedy() {
        let error = Source::File("/nonexistent/gateway.yaml".into()).read().expect_err("missing");
        insta::assert_snapshot!(error, @"cannot read /nonexistent/gateway.yaml: No such file or directory (os error 2): check the path and that this user may read it");
    }

    #[test]
    fn source_debug_output_hides_inline_text() {
        let source = Source::Inline("errorMessage: hunter2".to_owned());
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
