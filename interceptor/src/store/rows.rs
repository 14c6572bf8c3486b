//! What goes into the store and what comes out.

use std::collections::BTreeMap;

use cascade_proto::tables::{
    Call, Change, Gap, Mergelog, Moment, Request, RequestCall, Span, State,
};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Rows of one table, or a checkpoint, in the order in which they are to be stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// Whole revisions, in revision order: a journal is cut at the end of an append only.
    Changes(Vec<Change>),
    /// A part of a snapshot.
    States(Vec<State>),
    /// Calls that the observer saw. Missing cluster id and epoch are filled in.
    Calls(Vec<Call>),
    /// Known losses. Missing cluster id and epoch are filled in.
    Gaps(Vec<Gap>),
    /// Requests that kube-apiserver served. A missing cluster id is filled in.
    Requests(Vec<Request>),
    /// Which call belongs to which request. A missing cluster id is filled in.
    RequestCalls(Vec<RequestCall>),
    /// Relations between CPIDs, as posted.
    Mergelogs(Vec<Mergelog>),
    /// Work of controllers, as posted.
    Spans(Vec<Span>),
    /// How far the ledger has come; durable only after all rows appended before it.
    Checkpoint(Checkpoint),
}

impl Rows {
    /// Number of rows; a checkpoint counts as none.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Changes(rows) => rows.len(),
            Self::States(rows) => rows.len(),
            Self::Calls(rows) => rows.len(),
            Self::Gaps(rows) => rows.len(),
            Self::Requests(rows) => rows.len(),
            Self::RequestCalls(rows) => rows.len(),
            Self::Mergelogs(rows) => rows.len(),
            Self::Spans(rows) => rows.len(),
            Self::Checkpoint(_) => 0,
        }
    }

    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !matches!(self, Self::Checkpoint(_))
    }

    /// Refuses rows that would break what readers rely on: changes are whole revisions, in order.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let Self::Changes(rows) = self else {
            return Ok(());
        };
        let broken = |row: &Change, rule: &str| {
            Err(StoreError::InvalidRows {
                reason: format!(
                    "change {}.{} of {}: {rule}",
                    row.revision, row.ordinal, row.key
                ),
            })
        };
        let mut previous: Option<&Change> = None;
        for row in rows {
            let starts_revision = row.ordinal == 0;
            match previous {
                None if !starts_revision => return broken(row, "the revision's begin is missing"),
                Some(before) if starts_revision => {
                    if before.ordinal.saturating_add(1) != before.revision_size {
                        return broken(before, "the revision's end is missing");
                    }
                    let same_history =
                        (&before.cluster_id, before.epoch) == (&row.cluster_id, row.epoch);
                    if same_history && before.revision >= row.revision {
                        return broken(row, "revisions are out of order");
                    }
                }
                Some(before)
                    if (before.revision, before.ordinal.saturating_add(1))
                        != (row.revision, row.ordinal) =>
                {
                    return broken(row, "rows of a revision are out of order");
                }
                _ => {}
            }
            previous = Some(row);
        }
        match previous {
            Some(last) if last.ordinal.saturating_add(1) != last.revision_size => {
                broken(last, "the revision's end is missing")
            }
            _ => Ok(()),
        }
    }
}

/// How far the ledger has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// etcd cluster id, lowercase hex.
    pub cluster_id: String,
    /// Counts restores of the same cluster, from 0.
    pub epoch: i32,
    /// Every revision up to and including this one is stored, or covered by a `gaps` row.
    pub revision: i64,
    /// raft term of the answer that confirmed it.
    pub raft_term: u64,
    /// Revision of the complete snapshot in `states` that the changes build on; `None` while one is
    /// owed.
    pub snapshot_revision: Option<i64>,
    /// Revision of a snapshot in `states` that was begun and is not complete.
    #[serde(default)]
    pub snapshot_under_way: Option<i64>,
    /// The highest epoch that was used for each cluster, by its id.
    #[serde(default)]
    pub epochs: BTreeMap<String, i32>,
    /// Hash of a fixed text with the trace's hash key: tells whether two processes used the same.
    #[serde(default)]
    pub hash_key_id: Option<i64>,
}

/// Which history of which cluster rows belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// etcd cluster id, lowercase hex.
    pub cluster_id: String,
    /// Counts restores of the same cluster, from 0.
    pub epoch: i32,
}

/// A revision of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// etcd cluster id, lowercase hex.
    pub cluster_id: String,
    /// Counts restores of the same cluster, from 0.
    pub epoch: i32,
    /// etcd revision.
    pub revision: i64,
}

impl Position {
    pub(super) fn of(change: &Change) -> Self {
        Self {
            cluster_id: change.cluster_id.clone(),
            epoch: change.epoch,
            revision: change.revision,
        }
    }

    /// Whether `change` is of the same history and not after this position.
    pub(super) fn covers(&self, change: &Change) -> bool {
        self.cluster_id == change.cluster_id
            && self.epoch == change.epoch
            && change.revision <= self.revision
    }
}

/// What would survive a power loss now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durable {
    /// The last revision of `changes`.
    pub change: Option<Position>,
    /// The last checkpoint.
    pub checkpoint: Option<Checkpoint>,
}

/// What an earlier process left in the trace folder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// The last durable checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The last durable row of `changes` in the newest history. It may be of a later revision than
    /// the checkpoint: everything up to it is stored.
    pub last_change: Option<Change>,
    /// Whether an earlier process ended without [`Store::close`](super::Store::close): calls of
    /// its last moments may be lost. False for a new folder.
    pub interrupted: bool,
    /// When the earlier process is last known to have lived: the time of its close, or of its last
    /// write as the file system has it. `None` for a new folder.
    pub last_alive: Option<Moment>,
}
