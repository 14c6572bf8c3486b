//! What can go wrong, and the exit code each case ends with.

use std::any::Any;
use std::io;

use datafusion::error::DataFusionError;
use thiserror::Error;

use crate::catalog::TraceError;
use crate::exit::Exit;

/// Why a command could not do what was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// Flags, arguments or a configuration file that make no sense; the text says what to do.
    #[error("{0}")]
    Usage(String),
    /// A trace that cannot be opened.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A query that is wrong or could not be finished.
    #[error("{}", query_message(.0))]
    Query(#[from] DataFusionError),
    /// Reading or writing something else than a trace.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, such as `cannot write out.csv`.
        what: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// etcd could not be asked; the text says what and where.
    #[error("{0}")]
    Etcd(String),
    /// The query engine gave up in the middle, as it does on some damaged files.
    #[error("the query engine failed: {0}; a file of the trace may be damaged, or this is a bug")]
    Panic(String),
    /// A mistake in this program.
    #[error("{0}; this is a bug in cascade, please report it")]
    Internal(String),
}

impl Error {
    /// An I/O error together with what was being done.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// The error for a caught panic.
    pub(crate) fn panic(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|message| (*message).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panic(message.unwrap_or_else(|| "no message".to_owned()))
    }

    /// Whether the query engine may not use as much memory as the query needs.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Query(error)
            if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)))
    }

    /// The exit code that this error leads to.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // Whoever read our output has seen enough, as in `cascade sql … | head`.
            Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Query(error) if is_broken_pipe(error) => Exit::Ok,
            Self::Query(error) if is_internal(error) => Exit::Internal,
            Self::Panic(_) | Self::Internal(_) => Exit::Internal,
            Self::Usage(_) | Self::Trace(_) | Self::Query(_) | Self::Io { .. } | Self::Etcd(_) => {
                Exit::Input
            }
        }
    }
}

fn is_internal(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::Internal(_))
}

fn is_broken_pipe(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::IoError(source)
        if source.kind() == io::ErrorKind::BrokenPipe)
}

/// DataFusion's own words, and what to do about those errors that a user can mend.
fn query_message(error: &DataFusionError) -> String {
    let message = error.strip_backtrace();
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            format!("{message}\nraise --memory-limit, or ask for fewer rows or columns")
        }
        _ => message,
    }
}
