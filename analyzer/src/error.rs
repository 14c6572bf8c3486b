//! What can go wrong, and the exit code each case ends with.

use std::any::Any;
use std::io;

use datafusion::error::DataFusionError;
use thiserror::Error;
use tokio::task::JoinError;

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

    /// The error for a task that did not come to its end.
    pub(crate) fn task(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::panic(payload.as_ref()),
            Err(error) => Self::Internal(format!("a task was not finished: {error}")),
        }
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
    // The Parquet writer wraps what the pipe said.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(source) = error.downcast_ref::<io::Error>()
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// DataFusion's own words, and what to do about those errors that a user can mend.
fn query_message(error: &DataFusionError) -> String {
    let message = error.strip_backtrace();
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            format!("{message}\nraise --memory-limit, or ask for fewer rows or columns")
        }
        DataFusionError::ParquetError(_) | DataFusionError::ArrowError(..)
            if is_about_parquet(&message) =>
        {
            format!("{message}\na file of the trace is damaged: cascade verify TRACE names it")
        }
        _ => message,
    }
}

/// Whether a message comes from the Parquet reader, whose errors arrive as those of others, as text.
fn is_about_parquet(message: &str) -> bool {
    message.to_lowercase().contains("parquet")
}

#[cfg(test)]
mod tests {
    use parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_failure_of_any_writer() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        for error in [
            Error::io("cannot write standard output", pipe()),
            Error::Query(DataFusionError::IoError(pipe())),
            Error::Query(ParquetError::External(Box::new(pipe())).into()),
        ] {
            assert_eq!(error.exit(), Exit::Ok, "{error}");
        }
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let full = Error::Query(ParquetError::External(Box::new(full)).into());
        assert_eq!(full.exit(), Exit::Input);
    }
}
