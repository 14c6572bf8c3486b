//! Is it still the same history?
//!
//! An etcd that comes back after a stop can be another one: restored from a backup, started on an
//! empty disk, or exchanged for another cluster. Its revisions then mean something else, and must
//! not be mixed with those recorded before. The decision is made here from plain values.

use std::fmt;

use cascade_proto::tables::{Change, Op};

use crate::store::Identity;

/// A change that was recorded, to be looked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Witness {
    /// Its revision.
    pub(super) revision: i64,
    /// Its key.
    pub(super) key: Vec<u8>,
    /// Whether it removed the key; the other fields then describe the removed value.
    pub(super) deleted: bool,
    /// mod_revision of the value it replaced or removed.
    pub(super) prev_revision: Option<i64>,
    /// The value, as far as it was recorded.
    pub(super) value: Fingerprint,
}

/// What was recorded of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprint {
    /// Revision that created the key.
    pub(super) create_revision: Option<i64>,
    /// etcd's version of the key.
    pub(super) version: Option<i64>,
    /// Lease, 0 without one.
    pub(super) lease_id: Option<i64>,
    /// Size of the value in bytes.
    pub(super) value_bytes: Option<i32>,
    /// Keyed hash of the value; `None` also when it was made with another key.
    pub(super) value_hash: Option<i64>,
}

/// What the trace holds of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Which history.
    pub(super) identity: Identity,
    /// Every revision up to this one is recorded, or covered by a `gaps` row.
    pub(super) revision: i64,
    /// Highest raft term seen; 0 when it is not known.
    pub(super) raft_term: u64,
    /// Revision of the complete snapshot that the changes build on; `None` while one is owed.
    pub(super) snapshot_revision: Option<i64>,
    /// Revision of a snapshot that was begun and is not complete.
    pub(super) snapshot_under_way: Option<i64>,
    /// A recorded change, the later the better.
    pub(super) witness: Option<Witness>,
}

/// A value as etcd has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Its mod_revision.
    pub(super) mod_revision: i64,
    /// What can be compared to a record; every field is set, but the hash for Secrets.
    pub(super) value: Fingerprint,
}

/// A key at a past revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// etcd has compacted that revision, or was not asked.
    Unavailable,
    /// It did not exist.
    Absent,
    /// Its value then.
    Present(Found),
}

/// What linearizable reads tell about the etcd that answers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    /// Its cluster id as text.
    pub(super) cluster_id: String,
    /// Its current revision.
    pub(super) revision: i64,
    /// Its raft term.
    pub(super) raft_term: u64,
    /// The witness's key now.
    pub(super) now: Past,
    /// The witness's key at the witness's revision.
    pub(super) then: Past,
    /// The witness's key one revision earlier; only asked for when the witness is a delete.
    pub(super) before: Past,
}

/// Why this is not the history that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// Another cluster.
    ClusterId {
        /// Id in the trace.
        recorded: String,
        /// Id of the one that answers.
        found: String,
    },
    /// Its revision is lower than what was recorded.
    RevisionFell {
        /// Revision in the trace.
        recorded: i64,
        /// Current revision.
        found: i64,
    },
    /// Its raft term is lower than one seen before; a cluster's term never falls.
    RaftTermFell {
        /// Term seen before.
        recorded: u64,
        /// Current term.
        found: u64,
    },
    /// A recorded change is not in it, or another one is in its place.
    Change {
        /// Revision of the recorded change.
        revision: i64,
        /// What does not fit.
        what: &'static str,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterId { recorded, found } => {
                write!(
                    formatter,
                    "its cluster id is {found}, recorded was {recorded}"
                )
            }
            Self::RevisionFell { recorded, found } => write!(
                formatter,
                "its revision is {found}, {recorded} was recorded already"
            ),
            Self::RaftTermFell { recorded, found } => write!(
                formatter,
                "its raft term is {found}, {recorded} was seen before"
            ),
            Self::Change { revision, what } => {
                write!(
                    formatter,
                    "the change recorded at revision {revision}: {what}"
                )
            }
        }
    }
}

/// Compares what is known to what etcd answers; `None` when nothing contradicts.
#[must_use]
pub(super) fn difference(known: &Known, survey: &Survey) -> Option<Difference> {
    if known.identity.cluster_id != survey.cluster_id {
        return Some(Difference::ClusterId {
            recorded: known.identity.cluster_id.clone(),
            found: survey.cluster_id.clone(),
        });
    }
    if survey.revision < known.revision {
        return Some(Difference::RevisionFell {
            recorded: known.revision,
            found: survey.revision,
        });
    }
    if survey.raft_term < known.raft_term {
        return Some(Difference::RaftTermFell {
            recorded: known.raft_term,
            found: survey.raft_term,
        });
    }
    let witness = known.witness.as_ref()?;
    contradiction(witness, survey).map(|what| Difference::Change {
        revision: witness.revision,
        what,
    })
}

/// Looks for the witness in what etcd has at its revision, before it, and now.
fn contradiction(witness: &Witness, survey: &Survey) -> Option<&'static str> {
    match survey.then {
        Past::Unavailable => {}
        Past::Absent if witness.deleted => {}
        Past::Absent => return Some("the key did not exist then"),
        Past::Present(_) if witness.deleted => return Some("the key was not deleted then"),
        Past::Present(found) if found.mod_revision != witness.revision => {
            return Some("the key was not written then");
        }
        Past::Present(found) if !witness.value.agrees_with(&found.value) => {
            return Some("another value was written then");
        }
        Past::Present(_) => {}
    }
    if witness.deleted
        && let Past::Present(found) = survey.before
        && (witness
            .prev_revision
            .is_some_and(|revision| revision != found.mod_revision)
            || !witness.value.agrees_with(&found.value))
    {
        return Some("another value was deleted then");
    }
    if witness.deleted && survey.before == Past::Absent {
        return Some("there was nothing to delete then");
    }
    // Works even when the past is compacted: a key written or deleted at a revision cannot have an
    // older value now.
    match survey.now {
        Past::Present(found) if found.mod_revision < witness.revision => {
            Some("the key has an older value now")
        }
        Past::Present(found) if found.mod_revision > witness.revision => None,
        Past::Present(_) if witness.deleted => Some("the key was not deleted then"),
        Past::Present(found) if !witness.value.agrees_with(&found.value) => {
            Some("the key has another value of that revision now")
        }
        _ => None,
    }
}

impl Witness {
    /// The witness that a recorded change of `key` makes.
    #[must_use]
    pub(super) fn of(change: &Change, key: Vec<u8>) -> Self {
        Self {
            revision: change.revision,
            key,
            deleted: change.op == Op::Delete,
            prev_revision: change.prev_revision,
            value: Fingerprint {
                create_revision: change.create_revision,
                version: change.version,
                lease_id: change.lease_id,
                value_bytes: change.object.value_bytes,
                value_hash: change.object.value_hash,
            },
        }
    }
}

impl Fingerprint {
    /// Whether everything that both sides have is equal.
    fn agrees_with(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        agree(self.create_revision, other.create_revision)
            && agree(self.version, other.version)
            && agree(self.lease_id, other.lease_id)
            && agree(self.value_bytes, other.value_bytes)
            && agree(self.value_hash, other.value_hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: Fingerprint = Fingerprint {
        create_revision: Some(3),
        version: Some(5),
        lease_id: Some(0),
        value_bytes: Some(100),
        value_hash: Some(77),
    };

    fn found(mod_revision: i64) -> Past {
        Past::Present(Found {
            mod_revision,
            value: VALUE,
        })
    }

    fn other_hash(mod_revision: i64) -> Past {
        let value = Fingerprint {
            value_hash: Some(78),
            ..VALUE
        };
        Past::Present(Found {
            mod_revision,
            value,
        })
    }

    fn written() -> Witness {
        Witness {
            revision: 20,
            key: b"/registry/pods/a/b".to_vec(),
            deleted: false,
            prev_revision: Some(15),
            value: VALUE,
        }
    }

    fn deleted() -> Witness {
        Witness {
            deleted: true,
            ..written()
        }
    }

    fn known(witness: Option<Witness>) -> Known {
        Known {
            identity: Identity {
                cluster_id: "ab".to_owned(),
                epoch: 0,
            },
            revision: 20,
            raft_term: 4,
            snapshot_revision: Some(2),
            snapshot_under_way: None,
            witness,
        }
    }

    fn survey(then: Past, now: Past) -> Survey {
        Survey {
            cluster_id: "ab".to_owned(),
            revision: 20,
            raft_term: 4,
            now,
            then,
            before: Past::Unavailable,
        }
    }

    #[test]
    fn cluster_revision_and_term_are_compared() {
        let unchanged = survey(Past::Unavailable, Past::Unavailable);
        assert_eq!(difference(&known(None), &unchanged), None);
        let later = Survey {
            revision: 90,
            raft_term: 9,
            ..unchanged.clone()
        };
        assert_eq!(difference(&known(None), &later), None);

        let mut differing = unchanged.clone();
        differing.cluster_id = "cd".to_owned();
        assert!(matches!(
            difference(&known(None), &differing),
            Some(Difference::ClusterId { .. })
        ));
        let mut differing = unchanged.clone();
        differing.revision = 19;
        assert!(matches!(
            difference(&known(None), &differing),
            Some(Difference::RevisionFell {
                recorded: 20,
                found: 19
            })
        ));
        let mut differing = unchanged.clone();
        differing.raft_term = 3;
        assert!(matches!(
            difference(&known(None), &differing),
            Some(Difference::RaftTermFell {
                recorded: 4,
                found: 3
            })
        ));
        let term_not_recorded = Known {
            raft_term: 0,
            ..known(None)
        };
        assert_eq!(difference(&term_not_recorded, &differing), None);
    }

    /// What etcd shows of a witness, and whether that contradicts the record.
    #[test]
    fn a_recorded_change_is_looked_for() {
        use Past::{Absent, Unavailable};
        let cases = [
            // (witness, at its revision, now, contradiction expected)
            (written(), found(20), found(20), false),
            (written(), found(20), found(31), false),
            (written(), found(20), Absent, false),
            (written(), Unavailable, found(20), false),
            (written(), Unavailable, found(31), false),
            (written(), Unavailable, Absent, false),
            (written(), Absent, Absent, true),
            (written(), Absent, found(31), true),
            (written(), found(15), found(31), true),
            (written(), found(15), found(15), true),
            (written(), other_hash(20), found(31), true),
            (written(), Unavailable, found(15), true),
            (written(), Unavailable, other_hash(20), true),
            (deleted(), Absent, Absent, false),
            (deleted(), Absent, found(31), false),
            (deleted(), Unavailable, Absent, false),
            (deleted(), found(20), found(20), true),
            (deleted(), found(15), found(15), true),
            (deleted(), Unavailable, found(15), true),
            (deleted(), Unavailable, found(20), true),
        ];
        for (witness, then, now, expected) in cases {
            let description = format!("deleted {}: {then:?}, {now:?}", witness.deleted);
            let found = difference(&known(Some(witness)), &survey(then, now));
            assert_eq!(found.is_some(), expected, "{description}: {found:?}");
        }
    }

    #[test]
    fn a_deleted_value_is_looked_for_before_its_end() {
        use Past::{Absent, Unavailable};
        let cases = [
            (found(15), false),
            (Unavailable, false),
            (Absent, true),
            (found(16), true),
            (other_hash(15), true),
        ];
        for (before, expected) in cases {
            let survey = Survey {
                before,
                ..survey(Absent, Absent)
            };
            let found = difference(&known(Some(deleted())), &survey);
            assert_eq!(found.is_some(), expected, "{before:?}: {found:?}");
        }
    }

    #[test]
    fn what_was_not_recorded_is_not_compared() {
        let mut witness = written();
        witness.value = Fingerprint::default();
        let answer = survey(other_hash(20), other_hash(20));
        assert_eq!(difference(&known(Some(witness)), &answer), None);
    }
}
