//! Follows the changes of one history, revision by revision, and checks that nothing is missing,
//! twice, or contradicts what came before.

use std::collections::HashMap;

use cascade_proto::tables::Op;
use serde::Serialize;

use super::findings::{Findings, Ranges};

/// What `verify` needs of a row of `changes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeRow {
    pub(super) revision: i64,
    pub(super) ordinal: i32,
    pub(super) revision_size: i32,
    pub(super) key: String,
    pub(super) op: Op,
    pub(super) is_import: bool,
    pub(super) prev_revision: Option<i64>,
    pub(super) create_revision: Option<i64>,
    pub(super) version: Option<i64>,
    pub(super) lease_id: Option<i64>,
    pub(super) value_hash: Option<i64>,
    pub(super) instance: String,
}

/// What is known of a key that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyState {
    pub(super) revision: i64,
    pub(super) create_revision: i64,
    pub(super) version: i64,
}

/// What the changes of one history look like.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct HistoryFindings {
    /// Changes, each counted once.
    pub(super) changes: u64,
    /// Revisions that have changes.
    pub(super) revisions: u64,
    pub(super) first_revision: Option<i64>,
    pub(super) last_revision: Option<i64>,
    /// First revision that must be there: the one after the snapshot, or 2.
    pub(super) first_expected: i64,
    /// Revisions that are missing without any `gaps` row that says so.
    pub(super) missing: Ranges,
    /// Revisions that are missing and that a `gaps` row covers.
    pub(super) known_missing: Ranges,
    /// Rows that were recorded twice by the same instance.
    pub(super) duplicates: Findings,
    /// Rows that a second instance recorded too, with the same content.
    pub(super) recorded_again: u64,
    /// Rows that a second instance recorded with other content.
    pub(super) conflicts: Findings,
    /// Revisions of which some keys are missing.
    pub(super) incomplete: Findings,
    /// Rows that come after a row with a higher revision.
    pub(super) out_of_order: Findings,
    /// Rows that do not follow from the key's previous change or snapshot.
    pub(super) broken_chain: Findings,
    /// Updates and deletes whose previous value was not available.
    pub(super) previous_unknown: u64,
    /// Keys of snapshots that are not as the changes before left them.
    pub(super) snapshot_mismatches: Findings,
    /// Snapshots, and the keys in them.
    pub(super) snapshots: u64,
    pub(super) snapshot_keys: u64,
}

impl HistoryFindings {
    /// Whether something is missing or wrong that no `gaps` row admits.
    pub(super) fn has_loss(&self) -> bool {
        let findings = [
            &self.duplicates,
            &self.conflicts,
            &self.incomplete,
            &self.out_of_order,
            &self.broken_chain,
            &self.snapshot_mismatches,
        ];
        !self.missing.is_empty() || findings.iter().any(|findings| !findings.is_empty())
    }
}

/// Follows one history. Feed it revisions in order, and each snapshot before the first revision
/// after it.
#[derive(Debug)]
pub(super) struct History {
    pub(super) found: HistoryFindings,
    /// Revisions that `gaps` rows admit to lack.
    gaps: Ranges,
    /// Revision that must come next.
    expected: i64,
    /// Keys whose latest change is known.
    keys: HashMap<Box<str>, KeyState>,
    /// Whether `keys` is the whole keyspace: true from a snapshot, or an empty etcd, until
    /// revisions are missing.
    is_whole: bool,
}

impl History {
    /// Starts at `first_expected`; `starts_empty` when there is nothing before it.
    pub(super) fn new(first_expected: i64, starts_empty: bool, gaps: Ranges) -> Self {
        Self {
            found: HistoryFindings {
                first_expected,
                ..HistoryFindings::default()
            },
            gaps,
            expected: first_expected,
            keys: HashMap::new(),
            is_whole: starts_empty,
        }
    }

    /// Takes in a snapshot: it must agree with what is known, and is known from now on.
    pub(super) fn snapshot(&mut self, revision: i64, keys: HashMap<Box<str>, KeyState>) {
        self.advance_to(revision.saturating_add(1));
        self.found.snapshots += 1;
        self.found.snapshot_keys += keys.len() as u64;
        let mismatches = &mut self.found.snapshot_mismatches;
        for (key, known) in &self.keys {
            match keys.get(key) {
                Some(state) if state == known => {}
                Some(state) => mismatches.add(|| {
                    format!(
                        "snapshot {revision}: {key} is of revision {}, the changes say {}",
                        state.revision, known.revision
                    )
                }),
                None => mismatches.add(|| {
                    format!(
                        "snapshot {revision}: {key} is not in it, but was written at {}",
                        known.revision
                    )
                }),
            }
        }
        if self.is_whole {
            for (key, state) in keys.iter().filter(|(key, _)| !self.keys.contains_key(*key)) {
                mismatches.add(|| {
                    format!(
                        "snapshot {revision}: {key} of revision {} is not in the changes",
                        state.revision
                    )
                });
            }
        }
        self.keys = keys;
        self.is_whole = true;
    }

    /// Takes in all rows of one revision, sorted by ordinal.
    pub(super) fn revision(&mut self, revision: i64, rows: &[ChangeRow]) {
        let Some(first) = rows.first() else { return };
        if revision < self.expected {
            self.found.out_of_order.add(|| {
                format!(
                    "revision {revision} comes when {} is expected",
                    self.expected
                )
            });
            return;
        }
        self.advance_to(revision);
        self.expected = revision.saturating_add(1);
        self.found.first_revision.get_or_insert(revision);
        self.found.last_revision = Some(revision);
        self.found.revisions += 1;

        let mut expected_ordinal = 0;
        let mut previous: Option<&ChangeRow> = None;
        for row in rows {
            if let Some(previous) = previous
                && previous.ordinal == row.ordinal
            {
                self.again(previous, row);
                continue;
            }
            previous = Some(row);
            if row.ordinal == expected_ordinal {
                expected_ordinal += 1;
            }
            self.found.changes += 1;
            self.follow(row);
        }
        if expected_ordinal != first.revision_size
            || rows
                .iter()
                .any(|row| row.revision_size != first.revision_size)
        {
            self.found.incomplete.add(|| {
                format!(
                    "revision {revision}: ordinals 0 to {} of {} keys",
                    expected_ordinal - 1,
                    first.revision_size
                )
            });
        }
    }

    /// A second row at the same place.
    fn again(&mut self, first: &ChangeRow, second: &ChangeRow) {
        let place = || format!("revision {} {}", second.revision, second.key);
        if first.instance == second.instance {
            self.found.duplicates.add(place);
            return;
        }
        let is_same = first.key == second.key
            && first.op == second.op
            && first.version == second.version
            && first.create_revision == second.create_revision
            // Hash keys may differ between instances, so hashes are no evidence.
            && first.lease_id == second.lease_id;
        if is_same {
            self.found.recorded_again += 1;
        } else {
            self.found.conflicts.add(place);
        }
    }

    /// Notes that nothing came before `revision` since the last one.
    fn advance_to(&mut self, revision: i64) {
        if revision <= self.expected {
            return;
        }
        let (covered, uncovered) = self.gaps.split(self.expected, revision - 1);
        self.found.known_missing.extend(&covered);
        self.found.missing.extend(&uncovered);
        self.expected = revision;
        // Any key may have changed meanwhile.
        self.keys.clear();
        self.is_whole = false;
    }

    /// Checks one change against the key's state, and moves that on.
    fn follow(&mut self, row: &ChangeRow) {
        let known = self.keys.get(row.key.as_str()).copied();
        if let Some(wrong) = contradiction(row, known, self.is_whole) {
            let (revision, key) = (row.revision, &row.key);
            self.found
                .broken_chain
                .add(|| format!("revision {revision} {} {key}: {wrong}", row.op));
        }
        if row.op != Op::Create && row.prev_revision.is_none() {
            self.found.previous_unknown += 1;
        }
        if row.op == Op::Delete {
            self.keys.remove(row.key.as_str());
            return;
        }
        let state = KeyState {
            revision: row.revision,
            create_revision: row.create_revision.unwrap_or(row.revision),
            version: row.version.unwrap_or(1),
        };
        match self.keys.get_mut(row.key.as_str()) {
            Some(key) => *key = state,
            None => drop(self.keys.insert(row.key.as_str().into(), state)),
        }
    }

    /// Whether the state at the last revision is known in full.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Keys whose latest change is known.
    pub(super) fn take_keys(&mut self) -> HashMap<Box<str>, KeyState> {
        std::mem::take(&mut self.keys)
    }

    /// Whether a `gaps` row admits that `revision` is missing.
    pub(super) fn is_known_missing(&self, revision: i64) -> bool {
        self.gaps.contains(revision)
    }
}

/// What is wrong with a change, given the state it was made on; `None` when it fits.
fn contradiction(row: &ChangeRow, known: Option<KeyState>, is_whole: bool) -> Option<String> {
    if row.op == Op::Create {
        if let Some(previous) = row.prev_revision {
            return Some(format!(
                "prev_revision is {previous}, but a create has none"
            ));
        }
        if let Some(known) = known {
            return Some(format!("the key exists since {}", known.create_revision));
        }
        if row
            .create_revision
            .is_some_and(|created| created != row.revision)
        {
            return Some("create_revision is another".to_owned());
        }
        if row.version.is_some_and(|version| version != 1) {
            return Some("version is not 1".to_owned());
        }
        return None;
    }
    let Some(known) = known else {
        return is_whole.then(|| "the key did not exist".to_owned());
    };
    if row
        .prev_revision
        .is_some_and(|previous| previous != known.revision)
    {
        return Some(format!(
            "prev_revision is {}, the key's last change is {}",
            row.prev_revision.unwrap_or_default(),
            known.revision
        ));
    }
    // A delete carries the numbers of the deleted value, which may not have been available.
    row.prev_revision?;
    let expected_version = match row.op {
        Op::Delete => known.version,
        _ => known.version.saturating_add(1),
    };
    if row
        .version
        .is_some_and(|version| version != expected_version)
    {
        return Some(format!(
            "version is {}, expected {expected_version}",
            row.version.unwrap_or_default()
        ));
    }
    if row
        .create_revision
        .is_some_and(|created| created != known.create_revision)
    {
        return Some(format!(
            "create_revision is {}, the key was created at {}",
            row.create_revision.unwrap_or_default(),
            known.create_revision
        ));
    }
    None
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
