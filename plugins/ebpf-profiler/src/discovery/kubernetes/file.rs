//! Pods from a file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pod::Pod;
use super::{Pods, object};

/// Pods from what `kubectl get pods,services -A -o json` printed. A file that cannot be read or is not
/// complete yet changes nothing: the pods stay those of its last good state.
#[derive(Debug)]
pub struct PodFile {
    path: PathBuf,
    node: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stamp: Stamp,
    version: u64,
    containers: HashMap<String, Arc<Pod>>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// Why a file gives no pods.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("this is not what kubectl get pods -o json prints: {0}")]
    Content(#[from] serde_json::Error),
}

impl PodFile {
    /// Reads the file; `node` is empty for the pods of all nodes. It need not exist yet.
    pub fn open(path: impl Into<PathBuf>, node: &str) -> Self {
        let file = Self {
            path: path.into(),
            node: node.to_owned(),
            state: Mutex::default(),
        };
        file.refresh();
        file
    }

    fn read(&self) -> Result<HashMap<String, Arc<Pod>>, FileError> {
        let mut containers = HashMap::new();
        for pod in object::pods(&fs::read(&self.path)?, &self.node)? {
            let pod = Arc::new(pod);
            let ids = pod.containers.iter().map(|it| it.runtime_id().to_owned());
            let started = ids.filter(|id| !id.is_empty());
            containers.extend(started.map(|id| (id, Arc::clone(&pod))));
        }
        Ok(containers)
    }

    fn stamp(&self) -> Stamp {
        fs::metadata(&self.path).map_or_else(
            |_| Stamp::default(),
            |it| Stamp {
                inode: it.ino(),
                length: it.len(),
                changed: (it.ctime(), it.ctime_nsec()),
            },
        )
    }
}

impl Pods for PodFile {
    fn of_container(&self, id: &str) -> Option<Arc<Pod>> {
        self.state.lock().containers.get(id).cloned()
    }

    fn version(&self) -> u64 {
        self.state.lock().version
    }

    fn refresh(&self) {
        let stamp = self.stamp();
        let mut state = self.state.lock();
        if state.stamp == stamp && state.version > 0 {
            return;
        }
        // The stamp is older than the content: a write in between is seen the next time.
        state.stamp = stamp;
        state.version += 1;
        match self.read() {
            Ok(containers) => state.containers = containers,
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the pods stay as they were");
            }
        }
    }
}

#[cfg(test)]
mod tests;
