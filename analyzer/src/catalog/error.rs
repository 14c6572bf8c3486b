//! Why a trace cannot be opened, and what to do about it.

use cascade_proto::tables::SCHEMA_VERSION;
use thiserror::Error;

/// Why a trace cannot be opened. Every text names the place and what to do.
#[derive(Debug, Error)]
pub enum TraceError {
    /// There is nothing at that place.
    #[error("{location}: no such folder; give the folder that the interceptor's --trace-dir names")]
    NotFound {
        /// As the user wrote it.
        location: String,
    },
    /// A file was given.
    #[error(
        "{location}: not a folder; a trace is the folder that contains changes/, calls/ and so on"
    )]
    NotAFolder {
        /// As the user wrote it.
        location: String,
    },
    /// A URL whose kind of store is not built in.
    #[error(
        "{location}: object store {scheme}:// is not built in; copy the trace to a local folder"
    )]
    UnsupportedStore {
        /// As the user wrote it.
        location: String,
        /// Scheme of the URL.
        scheme: String,
    },
    /// The same place was given twice, which would count everything twice.
    #[error("{location}: given twice")]
    GivenTwice {
        /// As the user wrote it.
        location: String,
    },
    /// A folder without anything in it.
    #[error(
        "{location}: the folder is empty: nothing has been recorded into it; start cascade-interceptor \
         with --trace-dir {location}"
    )]
    Empty {
        /// As the user wrote it.
        location: String,
    },
    /// A folder with other things than a trace in it.
    #[error(
        "{location}: not a trace: it has no folder changes, states, calls or gaps, but {found}; give \
         the folder that the interceptor's --trace-dir names"
    )]
    NotATrace {
        /// As the user wrote it.
        location: String,
        /// Some of what is there.
        found: String,
    },
    /// The folders of a trace are there but no row can be read.
    #[error(
        "{location}: nothing readable yet ({journals} journals without a complete batch, no sealed \
         file); if the interceptor runs, wait a second; if it crashed, start it again on this folder \
         and it recovers what can be recovered"
    )]
    NothingReadable {
        /// As the user wrote it.
        location: String,
        /// Journals found.
        journals: usize,
    },
    /// A file of a newer version, which this program could misread.
    #[error(
        "{file}: schema version {version}, this program reads up to {known}: use a newer cascade",
        known = SCHEMA_VERSION
    )]
    NewerSchema {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// A Parquet file that Cascade did not write.
    #[error("{file}: not a file of a trace ({reason}); move it out of the trace")]
    ForeignFile {
        /// The file.
        file: String,
        /// What gives it away.
        reason: String,
    },
    /// A file in the wrong folder.
    #[error(
        "{file}: not under <table>/date=YYYY-MM-DD/hour=HH/; files of a trace keep their folders when \
         it is copied"
    )]
    Misplaced {
        /// The file.
        file: String,
    },
    /// A file that cannot be read as Parquet.
    #[error(
        "{file}: damaged or not copied completely ({reason}); copy it again, or move it away to query \
         the rest"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What the reader says.
        reason: String,
    },
    /// Files kept vanishing while the trace was being opened.
    #[error("{location}: changes faster than it can be read; try again")]
    Unstable {
        /// As the user wrote it.
        location: String,
    },
    /// The store refused to list or read.
    #[error("{location}: cannot be read: {reason}")]
    Unreadable {
        /// A folder or file.
        location: String,
        /// The store's answer.
        reason: String,
    },
}
