//! Which changes were made by calls that the observer saw, and what became of calls whose answer
//! it did not see.

use std::collections::{HashMap, HashSet};

use cascade_proto::keys::key_bytes;
use cascade_proto::tables::{CallShape, Op};
use serde::Serialize;

use super::findings::Findings;
use super::history::ChangeRow;

/// One committed operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallRow {
    pub(super) revision: i64,
    pub(super) shape: CallShape,
    pub(super) key: Option<String>,
    pub(super) range_end: Option<String>,
    pub(super) deleted: Option<i64>,
    pub(super) call_id: String,
}

/// An operation whose outcome the observer does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenCall {
    pub(super) shape: CallShape,
    pub(super) key: String,
    pub(super) compare_revision: Option<i64>,
    pub(super) value_hash: Option<i64>,
}

/// How changes and calls fit together.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct CallFindings {
    /// Committed operations on keys.
    pub(super) committed: u64,
    /// Changes with a call of equal revision and key.
    pub(super) joined: u64,
    /// Changes by a range delete or the revocation of a lease that was seen.
    pub(super) joined_by_revision: u64,
    /// Deletes of keys with a lease, without any call: the lease expired.
    pub(super) lease_expiries: u64,
    /// Other changes without a call: whoever made them did not go through this interceptor.
    pub(super) without_call: Findings,
    /// Changes that no call is expected for: imported, or no calls were observed at all.
    pub(super) not_observed: u64,
    /// Committed calls whose change is not there, although its revision is not known to be missing.
    pub(super) without_change: Findings,
    /// Committed calls of revisions after the last recorded one: not recorded yet.
    pub(super) after_last_change: u64,
    /// Calls without a seen answer that were committed, as the changes show.
    pub(super) unknown_committed: u64,
    /// Calls without a seen answer that were not committed.
    pub(super) unknown_not_committed: u64,
}

impl CallFindings {
    /// Share of changes that have a call, lease expiries left out; `None` without such changes.
    pub(super) fn join_rate(&self) -> Option<f64> {
        let joined = self.joined + self.joined_by_revision;
        let all = joined + self.without_call.count;
        // Counts of rows: far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        (all > 0).then(|| joined as f64 / all as f64)
    }
}

/// Matches calls to changes, both in the order of revisions.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) found: CallFindings,
    /// Whether any call was observed: without one (ledger only) no change is expected to have one.
    is_observed: bool,
    open: HashMap<String, Vec<OpenCall>>,
    /// Leases that a call revoked. Its answer does not tell at which revision their keys went.
    revoked: HashSet<i64>,
}

impl Calls {
    pub(super) fn new(is_observed: bool, open: Vec<OpenCall>) -> Self {
        let mut calls = Self {
            is_observed,
            ..Self::default()
        };
        for call in open {
            calls.found.unknown_not_committed += 1;
            calls.open.entry(call.key.clone()).or_default().push(call);
        }
        calls
    }

    /// Leases that were revoked by calls.
    pub(super) fn revoked(mut self, leases: HashSet<i64>) -> Self {
        self.revoked = leases;
        self
    }

    /// Matches the changes and the committed calls of one revision.
    pub(super) fn revision(&mut self, rows: &[ChangeRow], calls: &[CallRow]) {
        let mut previous_ordinal = None;
        for row in rows {
            if previous_ordinal.replace(row.ordinal) == Some(row.ordinal) {
                // The same change, recorded by another instance.
                continue;
            }
            self.change(row, calls);
        }
        for call in calls.iter().filter(|call| writes_a_key(call)) {
            self.found.committed += 1;
            if !rows.iter().any(|row| Some(&row.key) == call.key.as_ref()) {
                self.found.without_change.add(|| describe(call));
            }
        }
    }

    /// Takes in the committed calls of a revision that has no changes.
    pub(super) fn without_changes(&mut self, calls: &[CallRow], is_known_missing: bool) {
        for call in calls.iter().filter(|call| writes_a_key(call)) {
            self.found.committed += 1;
            if !is_known_missing {
                self.found.without_change.add(|| describe(call));
            }
        }
    }

    /// Takes in the committed calls of a revision after the last recorded one.
    pub(super) fn after_last_change(&mut self, calls: &[CallRow]) {
        let count = calls.iter().filter(|call| writes_a_key(call)).count() as u64;
        self.found.committed += count;
        self.found.after_last_change += count;
    }

    fn change(&mut self, row: &ChangeRow, calls: &[CallRow]) {
        if row.is_import || !self.is_observed {
            self.found.not_observed += 1;
            return;
        }
        if calls
            .iter()
            .any(|call| call.key.as_ref() == Some(&row.key) && writes_a_key(call))
        {
            self.found.joined += 1;
            return;
        }
        let revoked = row.lease_id.is_some_and(|id| self.revoked.contains(&id));
        if row.op == Op::Delete && revoked || calls.iter().any(|call| reaches(call, row)) {
            self.found.joined_by_revision += 1;
            return;
        }
        if self.settles(row) {
            self.found.unknown_committed += 1;
            self.found.unknown_not_committed -= 1;
            self.found.joined += 1;
            return;
        }
        if row.op == Op::Delete && row.lease_id.is_some_and(|lease| lease != 0) {
            self.found.lease_expiries += 1;
            return;
        }
        self.found
            .without_call
            .add(|| format!("revision {} {} {}", row.revision, row.op, row.key));
    }

    /// Whether this change is what an open call asked for; that call is then closed.
    fn settles(&mut self, row: &ChangeRow) -> bool {
        let Some(open) = self.open.get_mut(&row.key) else {
            return false;
        };
        let found = open.iter().position(|call| {
            let is_shape = match row.op {
                Op::Delete => call.shape == CallShape::Delete,
                Op::Create | Op::Update => {
                    matches!(call.shape, CallShape::Create | CallShape::Update)
                }
            };
            let is_on = |compared: i64| compared == row.prev_revision.unwrap_or(0);
            let is_value = match (call.value_hash, row.value_hash) {
                (Some(sent), Some(stored)) => row.op == Op::Delete || sent == stored,
                // Without hashes, as for Secrets, the revision compared to decides.
                _ => true,
            };
            is_shape && is_value && call.compare_revision.is_none_or(is_on)
        });
        match found {
            Some(index) => {
                open.swap_remove(index);
                true
            }
            None => false,
        }
    }
}

/// Whether a committed call must have left a change of its key.
fn writes_a_key(call: &CallRow) -> bool {
    let is_write = matches!(
        call.shape,
        CallShape::Create | CallShape::Update | CallShape::Delete
    );
    // A delete of a key that was not there commits nothing.
    is_write && call.key.is_some() && call.deleted != Some(0)
}

/// Whether a call on something else than this key alone made the change.
fn reaches(call: &CallRow, row: &ChangeRow) -> bool {
    if row.op != Op::Delete {
        return false;
    }
    match call.shape {
        CallShape::DeleteRange => {
            // Text sorts like its key only where nothing is escaped.
            let key = key_bytes(&row.key);
            let starts = call.key.as_deref().map(key_bytes);
            let ends = call.range_end.as_deref().map(key_bytes);
            starts.is_some_and(|start| start <= key)
                // etcd writes "to the end" as a single zero byte.
                && ends.is_none_or(|end| end == b"\0" || key < end)
        }
        _ => false,
    }
}

fn describe(call: &CallRow) -> String {
    format!(
        "revision {} {} {} (call {})",
        call.revision,
        call.shape,
        call.key.as_deref().unwrap_or_default(),
        call.call_id
    )
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
