//! What an earlier process left behind, as the ledger needs it.

use cascade_proto::tables::Change;

use super::history::{Known, Witness};
use crate::store::{Identity, Recovered};

/// What an earlier process knew.
pub(super) fn known_from(recovered: &Recovered) -> Option<Known> {
    let change = recovered.last_change.as_ref();
    let Some(checkpoint) = &recovered.checkpoint else {
        // Without a checkpoint it is not known whether a snapshot is complete: one is owed.
        let change = change?;
        return Some(Known {
            identity: Identity {
                cluster_id: change.cluster_id.clone(),
                epoch: change.epoch,
            },
            revision: change.revision,
            raft_term: 0,
            snapshot_revision: None,
            snapshot_under_way: None,
            witness: witness_from(change),
        });
    };
    let change = change.filter(|change| {
        (&change.cluster_id, change.epoch) == (&checkpoint.cluster_id, checkpoint.epoch)
    });
    Some(Known {
        identity: Identity {
            cluster_id: checkpoint.cluster_id.clone(),
            epoch: checkpoint.epoch,
        },
        revision: change.map_or(checkpoint.revision, |change| {
            change.revision.max(checkpoint.revision)
        }),
        raft_term: checkpoint.raft_term,
        snapshot_revision: checkpoint.snapshot_revision,
        snapshot_under_way: checkpoint.snapshot_under_way,
        witness: change.and_then(witness_from),
    })
}

/// A recorded row has its key as text; a backslash may stand for a byte that is not UTF-8, and then
/// it is not known which key it was.
fn witness_from(change: &Change) -> Option<Witness> {
    let unambiguous = !change.key.contains('\\') && !change.key.is_empty();
    unambiguous.then(|| Witness::of(change, change.key.clone().into_bytes()))
}

#[cfg(test)]
mod tests {
    use cascade_proto::tables::{ChangeSource, Object, ObjectCpid, Op};

    use super::*;
    use crate::store::Checkpoint;

    fn change(epoch: i32, revision: i64, key: &str) -> Change {
        Change {
            cluster_id: "ab".to_owned(),
            epoch,
            revision,
            ordinal: 0,
            revision_size: 1,
            key: key.to_owned(),
            op: Op::Create,
            source: ChangeSource::Watch,
            prev_revision: None,
            create_revision: Some(revision),
            version: Some(1),
            lease_id: Some(0),
            seen: None,
            object: Object::default(),
            changed: None,
            cpid: ObjectCpid::default(),
            prev_cpid: None,
            cpid_transition: None,
            instance: "one".to_owned(),
        }
    }

    fn checkpoint(epoch: i32, revision: i64) -> Checkpoint {
        Checkpoint {
            cluster_id: "ab".to_owned(),
            epoch,
            revision,
            raft_term: 3,
            snapshot_revision: Some(2),
            ..Checkpoint::default()
        }
    }

    fn known(checkpoint: Option<Checkpoint>, last_change: Option<Change>) -> Option<Known> {
        known_from(&Recovered {
            checkpoint,
            last_change,
            ..Recovered::default()
        })
    }

    #[test]
    fn nothing_is_known_of_a_new_folder() {
        assert_eq!(known(None, None), None);
    }

    #[test]
    fn the_later_of_checkpoint_and_change_counts() {
        let behind = known(Some(checkpoint(1, 10)), Some(change(1, 15, "k"))).unwrap();
        assert_eq!((behind.revision, behind.snapshot_revision), (15, Some(2)));
        assert_eq!(behind.witness.unwrap().revision, 15);
        let ahead = known(Some(checkpoint(1, 20)), Some(change(1, 15, "k"))).unwrap();
        assert_eq!(ahead.revision, 20);
        assert_eq!(ahead.witness.unwrap().revision, 15);
    }

    #[test]
    fn a_change_of_another_history_is_no_witness() {
        let known = known(Some(checkpoint(2, 10)), Some(change(1, 15, "k"))).unwrap();
        assert_eq!((known.identity.epoch, known.revision), (2, 10));
        assert_eq!(known.witness, None);
    }

    #[test]
    fn without_a_checkpoint_a_snapshot_is_owed() {
        let known = known(None, Some(change(1, 15, "k"))).unwrap();
        assert_eq!((known.identity.epoch, known.revision), (1, 15));
        assert_eq!(known.snapshot_revision, None);
    }

    #[test]
    fn a_key_that_may_have_been_escaped_is_no_witness() {
        let escaped = known(None, Some(change(0, 15, "a\\xff"))).unwrap();
        assert_eq!(escaped.witness, None);
    }
}
