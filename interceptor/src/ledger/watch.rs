//! The ledger's watch: one stream, one watcher, the whole keyspace.

use cascade_proto::wire::etcd::Event;
use etcd_client::WatchStream;
use etcd_client::proto::PbEvent;
use thiserror::Error;

use super::connection::{Header, key_value, reason};

/// Why a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum WatchEnd {
    /// The revision it should go on with is gone from etcd's history.
    #[error("etcd has compacted its history up to revision {compact_revision}")]
    Compacted {
        /// etcd's compact revision.
        compact_revision: i64,
    },
    /// etcd cancelled or refused it.
    #[error("etcd cancelled the watch: {reason}")]
    Cancelled {
        /// What etcd says.
        reason: String,
    },
    /// The stream broke or ended.
    #[error("the watch broke: {reason}")]
    Broken {
        /// What the connection says.
        reason: String,
    },
}

/// One response of the watch.
#[derive(Debug)]
pub(super) struct WatchBatch {
    /// Who answered, and the current revision when it was sent.
    pub(super) header: Header,
    /// Events in revision order; empty in progress notifications.
    pub(super) events: Vec<Event>,
    /// Whether the response goes on in the next one.
    pub(super) fragment: bool,
}

/// An open watch. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct KeyspaceWatch {
    stream: WatchStream,
}

impl KeyspaceWatch {
    pub(super) fn new(stream: WatchStream) -> Self {
        Self { stream }
    }

    /// The next response. Nothing is lost when the future is dropped before it is done.
    ///
    /// # Errors
    /// [`WatchEnd`]; the watch is of no use any more.
    pub(super) async fn next(&mut self) -> Result<WatchBatch, WatchEnd> {
        let response = match self.stream.message().await {
            Ok(Some(response)) => response.0,
            Ok(None) => {
                return Err(WatchEnd::Broken {
                    reason: "etcd ended the stream".to_owned(),
                });
            }
            Err(error) => {
                return Err(WatchEnd::Broken {
                    reason: reason(&error),
                });
            }
        };
        if response.compact_revision > 0 {
            return Err(WatchEnd::Compacted {
                compact_revision: response.compact_revision,
            });
        }
        if response.canceled {
            let stated = response.cancel_reason;
            let reason = if stated.is_empty() {
                "no reason given".to_owned()
            } else {
                stated
            };
            return Err(WatchEnd::Cancelled { reason });
        }
        let Some(header) = response.header else {
            return Err(WatchEnd::Broken {
                reason: "a response has no header".to_owned(),
            });
        };
        Ok(WatchBatch {
            header: header.into(),
            events: response.events.into_iter().map(event).collect(),
            fragment: response.fragment,
        })
    }
}

fn event(event: PbEvent) -> Event {
    Event {
        r#type: event.r#type,
        kv: event.kv.map(key_value),
        prev_kv: event.prev_kv.map(key_value),
    }
}
