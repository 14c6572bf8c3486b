//! What can go wrong with a trace folder, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Why the store could not do what it was asked for.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// A system call failed while the folder was opened.
    #[error("cannot {action} {}: {source}; check that the trace folder exists on a writable disk with free space and belongs to this user", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another interceptor has the folder open.
    #[error("trace folder {} is in use by another interceptor ({holder}); stop it, or give this one a trace folder of its own", path.display())]
    Locked {
        /// The trace folder.
        path: PathBuf,
        /// Who holds it, as far as its lock file tells.
        holder: String,
    },
    /// The folder holds something else.
    #[error("{} is not a trace folder: it holds {found:?} and no trace; choose an empty or a new folder", path.display())]
    NotATrace {
        /// The folder.
        path: PathBuf,
        /// An entry found in it.
        found: String,
    },
    /// A newer version of the program has written to the folder.
    #[error("{} has schema version {found}, this program knows versions up to {supported}; use the newer program, or another trace folder", path.display())]
    NewerSchema {
        /// File that says so.
        path: PathBuf,
        /// Version of the file.
        found: u32,
        /// Version of this program.
        supported: u32,
    },
    /// The instance name has no character that a file name can hold.
    #[error(
        "instance name {name:?} has no usable character; use letters, digits, '.', '_' and '-'"
    )]
    InvalidInstance {
        /// The name as given.
        name: String,
    },
    /// The caller broke the contract of [`Rows`](super::Rows); nothing of it was taken.
    #[error("rows not taken: {reason}")]
    InvalidRows {
        /// Which rule was broken.
        reason: String,
    },
    /// The trace folder cannot be written at present; nothing of this append was taken. The store
    /// keeps trying: wait for [`Store::writable`](super::Store::writable), then go on after the
    /// last revision that was taken.
    #[error("the trace folder cannot be written: {reason}")]
    Failing {
        /// What failed last.
        reason: Arc<str>,
    },
    /// A file of the trace cannot be read back.
    #[error("cannot read {}: {reason}; if it is damaged, move it out of the trace folder", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// At a close everything was made durable, but not everything could be turned into Parquet.
    /// The journals stay and are sealed when the folder is opened the next time.
    #[error(
        "{journals} journals could not be sealed yet; nothing is lost, they are sealed at the next start"
    )]
    Unsealed {
        /// Number of journals that stay.
        journals: usize,
    },
    /// The store was closed, or its thread is gone.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// For `map_err` after a call that failed on `path`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }
}

/// Why [`Store::try_append`](super::Store::try_append) did not take rows. The store has counted
/// them; a row in `gaps` follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejected {
    /// The queue is full.
    #[error("the store's queue is full")]
    Full,
    /// The trace folder cannot be written at present.
    #[error("the trace folder cannot be written")]
    Failing,
    /// Changes that are not whole revisions in order; nothing was counted.
    #[error("the rows are not whole revisions in order")]
    Invalid,
    /// The store was closed, or its thread is gone; nothing was counted.
    #[error("the store is closed")]
    Closed,
}
