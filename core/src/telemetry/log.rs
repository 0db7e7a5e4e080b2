//! How logs are written: for people, or as JSON lines.

use std::{env, io, io::IsTerminal, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt};

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// A level as GATEWAY_LOG_LEVEL gives it; case does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl Default for Level {
    fn default() -> Self {
        Self(LevelFilter::INFO)
    }
}

/// No level has this name.
#[derive(Debug, thiserror::Error)]
#[error("no such log level; write one of `off`, `error`, `warn`, `info`, `debug`, `trace`")]
pub struct UnknownLevel;

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Ok(Self(match text.to_ascii_lowercase().as_str() {
            "off" => LevelFilter::OFF,
            "error" | "fatal" => LevelFilter::ERROR,
            "warn" | "warning" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" | "all" => LevelFilter::TRACE,
            _ => return Err(UnknownLevel),
        }))
    }
}

/// Sends everything from this level on to standard error. Only the first call of a process counts.
pub fn init(level: Level, format: Format) {
    let filter = EnvFilter::default().add_directive(level.0.into());
    // In a file or a collector the codes of colours would hide the words from whoever searches them.
    let coloured =
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(coloured);
    let outcome = match format {
        Format::Human => lines.with_target(false).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    // A test's subscriber may be there already.
    drop(outcome);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_names_of_other_gateways_are_understood() {
        assert_eq!("INFO".parse::<Level>().expect("a level"), Level::default());
        assert_eq!("Warning".parse::<Level>().expect("a level"), Level(LevelFilter::WARN));
        assert!("loud".parse::<Level>().is_err());
    }
}
