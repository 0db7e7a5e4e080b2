//! Keeps what was decided on disk, so that a gateway that comes back is where it was.

use std::{
    fs::{self, File},
    future::Future,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::route::state::{State, StateError};

/// Where decisions are kept. Rehearsals have one in memory.
pub trait StateStore: Send + Sync + 'static {
    /// Keeps the state. When this returns without an error, it survives a crash.
    fn save(&self, state: State) -> impl Future<Output = io::Result<()>> + Send;

    /// Names the place in messages.
    fn place(&self) -> String;
}

/// The state file.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// Why the file cannot be used at the start.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It is there and cannot be read.
    #[error("state file {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content cannot be used.
    #[error("state file {path}: {source}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StateError,
    },
}

impl StateFileError {
    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "let the gateway's user read the file, or name another one in `stateFile`"
                    .to_owned()
            }
            Self::Unusable { source, .. } => source.remedy(),
        }
    }
}

impl StateFile {
    /// The file at this path, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The default place: beside the configuration file, or in the working directory.
    pub fn beside(config: Option<&Path>) -> Self {
        Self::new(match config {
            Some(config) => config.with_extension("state.json"),
            None => PathBuf::from("switchyard.state.json"),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; a file that does not exist holds nothing.
    pub fn load(&self) -> Result<State, StateFileError> {
        let path = || self.path.clone();
        match fs::read(&self.path) {
            Ok(text) => State::parse(&text)
                .map_err(|source| StateFileError::Unusable { path: path(), source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(source) => Err(StateFileError::Unreadable { path: path(), source }),
        }
    }

    /// Writes a new file beside the old one, makes it durable, and puts it in its place.
    fn write(&self, state: &State) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = folder.join(name);
        let mut file = File::create(&fresh)?;
        file.write_all(&state.render()?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        // The new name itself must survive a crash as well.
        File::open(folder)?.sync_all()
    }
}

impl StateStore for StateFile {
    async fn save(&self, state: State) -> io::Result<()> {
        let file = self.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&state));
        written.await.map_err(io::Error::other)?
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn saved_state_is_loaded_again_and_no_other_file_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::new(folder.path().join("gateway.state.json"));
        assert_eq!(file.load().expect("nothing yet"), State::default());
        file.save(State::default()).await.expect("can be written");
        assert_eq!(file.load().expect("readable"), State::default());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[tokio::test]
    async fn folder_that_is_gone_is_an_error_and_not_a_panic() {
        let file = StateFile::new("/nonexistent/gateway.state.json".into());
        assert!(file.save(State::default()).await.is_err());
    }

    #[test]
    fn damaged_file_stops_the_start_with_a_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway.state.json");
        fs::write(&path, "{\"version\": 1, \"rou").expect("can be written");
        let error = StateFile::new(path).load().expect_err("damaged");
        assert!(error.remedy().contains("backup"), "{error}: {}", error.remedy());
    }

    #[test]
    fn default_place_is_beside_the_configuration() {
        let file = StateFile::beside(Some(Path::new("/etc/gw/gateway.yaml")));
        assert_eq!(file.path(), Path::new("/etc/gw/gateway.state.json"));
    }
}
