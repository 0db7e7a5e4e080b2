//! Notices that a file has changed.
//!
//! The file is read anew now and then: that works alike for editors that replace a file, for the links of a
//! mounted ConfigMap and for network file systems. A change counts when two looks in a row found the same
//! content, so that a file that is still being written is left alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

/// A person who saved a file waits no longer than twice this.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Watches one file.
pub struct Watcher {
    path: PathBuf,
    trigger: Arc<Notify>,
    /// As of the last change that was told; `None` while the file cannot be read.
    known: Option<Vec<u8>>,
}

impl Watcher {
    /// Watches from the present content on. `trigger` asks for a look whether or not anything changed.
    pub fn new(path: PathBuf, trigger: Arc<Notify>) -> Self {
        let known = read(&path);
        Self { path, trigger, known }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Resolves when the file has changed, or when a look was asked for.
    pub async fn changed(&mut self) {
        let mut last = self.known.clone();
        loop {
            tokio::select! {
                biased;
                () = self.trigger.notified() => {
                    self.known = read(&self.path);
                    return;
                }
                () = sleep(LOOK_EVERY) => {}
            }
            let now = read(&self.path);
            if now.is_some() && now == last && now != self.known {
                self.known = now;
                return;
            }
            last = now;
        }
    }
}

/// A file that is gone for a moment is no change.
fn read(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    fn watched(content: &str) -> (tempfile::TempDir, PathBuf, Arc<Notify>, Watcher) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, content).expect("can be written");
        let trigger = Arc::new(Notify::new());
        let watcher = Watcher::new(path.clone(), Arc::clone(&trigger));
        (folder, path, trigger, watcher)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn replaced_file_is_noticed_once() {
        let (folder, path, _, mut watcher) = watched("a");
        let fresh = folder.path().join("fresh");
        fs::write(&fresh, "b").expect("can be written");
        fs::rename(&fresh, &path).expect("can be renamed");
        assert!(timeout(LONG, watcher.changed()).await.is_ok());
        assert!(timeout(LONG, watcher.changed()).await.is_err(), "told twice");
    }

    #[tokio::test(start_paused = true)]
    async fn missing_file_is_no_change() {
        let (_folder, path, _, mut watcher) = watched("a");
        fs::remove_file(&path).expect("can be removed");
        assert!(timeout(LONG, watcher.changed()).await.is_err());
        fs::write(&path, "a").expect("can be written");
        assert!(timeout(LONG, watcher.changed()).await.is_err(), "the same content is no change");
    }

    #[tokio::test(start_paused = true)]
    async fn trigger_counts_without_a_change() {
        let (_folder, _path, trigger, mut watcher) = watched("a");
        trigger.notify_one();
        assert!(timeout(Duration::ZERO, watcher.changed()).await.is_ok());
    }
}
