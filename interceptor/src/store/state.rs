//! Small files beside the tables, in which stages keep what must outlive the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::files::Files;
use super::layout::STATE_FOLDER;

/// One file of JSON in `<trace>/.cascade/`.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Names a file; `name` ends in `.json`. The store's own have the names `lock`, `trace.json`,
    /// `checkpoint.json` and `changes.json`.
    pub(super) fn new(trace_dir: &Path, name: &str) -> Self {
        Self {
            path: trace_dir.join(STATE_FOLDER).join(name),
        }
    }

    /// What it holds; `None` when it was never written. Content that cannot be understood is put
    /// aside and counts as none, see the log.
    ///
    /// # Errors
    /// The system refuses to read it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        read(&Files::default(), &self.path)
    }

    /// Makes `state` what it holds, durably: after a power loss it is the old or the new.
    ///
    /// # Errors
    /// The system refuses to write it.
    pub fn write<T: Serialize>(&self, state: &T) -> Result<(), StoreError> {
        write(&Files::default(), &self.path, state).map_err(StoreError::io("write", &self.path))
    }
}

/// Reads a state file. One that cannot be understood is put aside: the store can do without, and
/// kube-apiserver must not lose its etcd over it.
pub(super) fn read<T: DeserializeOwned>(
    files: &Files,
    path: &Path,
) -> Result<Option<T>, StoreError> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    match serde_json::from_slice(&content) {
        Ok(state) => Ok(Some(state)),
        Err(error) => {
            let aside = path.with_extension("damaged");
            tracing::error!(file = %path.display(), %error, kept_as = %aside.display(), "a state file is damaged; going on without it");
            files
                .rename(path, &aside)
                .map_err(StoreError::io("rename", path))?;
            Ok(None)
        }
    }
}

/// Replaces a state file.
pub(super) fn write<T: Serialize>(files: &Files, path: &Path, state: &T) -> io::Result<()> {
    files.replace(path, &serde_json::to_vec_pretty(state)?)
}
