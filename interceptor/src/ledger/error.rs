//! Why the ledger gives up, and why it starts over.

use thiserror::Error;

use super::assemble::Hole;
use super::connection::CallError;
use super::rows::InvalidEvent;
use super::watch::WatchEnd;
use crate::store::StoreError;

/// What ends the ledger for good. Everything else it retries.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// There is nothing to connect to.
    #[error("no etcd endpoint given; name at least one, such as http://127.0.0.1:2379")]
    NoEndpoint,
    /// An endpoint cannot be used.
    #[error("etcd endpoint {endpoint:?}: {reason}")]
    InvalidEndpoint {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store takes no rows any more, or refuses them as malformed.
    #[error("the ledger cannot store what it reads: {0}")]
    Store(#[source] StoreError),
    /// A thread of the runtime is gone.
    #[error("the ledger's decoding was cut off: {0}")]
    Runtime(String),
}

/// Why a watch ended and a new one is needed.
#[derive(Debug, Error)]
pub(super) enum Interruption {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{0}")]
    Watch(#[from] WatchEnd),
    #[error("{0}")]
    Hole(#[from] Hole),
    #[error("etcd sent {0}")]
    InvalidEvent(#[from] InvalidEvent),
    #[error("{what}; whether it is the same history is checked anew")]
    HistoryMoved { what: String },
    #[error("etcd is at revision {etcd_revision}, but its watch stays at {revision}")]
    Stalled { etcd_revision: i64, revision: i64 },
    #[error(
        "the trace folder takes changes too slowly; the watch was cancelled to spare etcd's memory"
    )]
    SlowStore,
    #[error("{0}")]
    StoreFailing(StoreError),
    #[error("shutdown")]
    Shutdown,
    #[error("{0}")]
    Fatal(#[from] LedgerError),
}

impl From<StoreError> for Interruption {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failing { .. } => Self::StoreFailing(error),
            other => Self::Fatal(LedgerError::Store(other)),
        }
    }
}

impl Interruption {
    /// Whether the ledger ends with it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Shutdown | Self::Fatal(_))
    }

    /// Value of the label `reason`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Call(_) => "call_failed",
            Self::Watch(WatchEnd::Compacted { .. }) => "compacted",
            Self::Watch(WatchEnd::Cancelled { .. }) => "cancelled",
            Self::Watch(WatchEnd::Broken { .. }) => "broken",
            Self::Hole(_) => "hole",
            Self::InvalidEvent(_) => "invalid_event",
            Self::HistoryMoved { .. } => "history_moved",
            Self::Stalled { .. } => "stalled",
            Self::SlowStore => "slow_store",
            Self::StoreFailing(_) => "store_failing",
            Self::Shutdown => "shutdown",
            Self::Fatal(_) => "fatal",
        }
    }
}
