//! How to go on with an etcd: resume, give revisions up, or begin a new history.

use std::collections::BTreeMap;
use std::fmt;

use cascade_proto::tables::GapKind;

use super::history::{Known, Survey, difference};
use crate::store::Identity;

/// Revisions that etcd's watch cannot or did not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// It was cancelled because the history before this revision is gone.
    Compacted {
        /// etcd's compact revision.
        compact_revision: i64,
    },
    /// It left revisions out, twice the same ones.
    LeftOut {
        /// The last revision that is missing.
        last: i64,
    },
}

/// How to go on with an etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Cluster and epoch of everything recorded from now on.
    pub(super) identity: Identity,
    /// The watch starts after this revision.
    pub(super) watch_after: i64,
    /// Revision to take a snapshot at; `None` when the recorded one still serves.
    pub(super) snapshot_at: Option<i64>,
    /// What is lost, if anything.
    pub(super) loss: Option<Loss>,
}

/// A `gaps` row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    /// Kind of gap.
    pub(super) kind: GapKind,
    /// Whether changes are missing.
    pub(super) covers_revisions: bool,
    /// First revision concerned, where it is known.
    pub(super) from_revision: Option<i64>,
    /// Last revision concerned.
    pub(super) to_revision: i64,
    /// Number of revisions lost, where it is known.
    pub(super) count: Option<i64>,
    /// For people.
    pub(super) detail: String,
}

/// Decides how to go on with the etcd that answered `survey`.
///
/// `epochs` has the highest epoch used for each cluster so far; `unavailable` is what the last watch
/// could not deliver.
#[must_use]
pub(super) fn plan(
    known: Option<&Known>,
    epochs: &BTreeMap<String, i32>,
    survey: &Survey,
    unavailable: Option<Unavailable>,
    max_catchup_revisions: i64,
) -> Plan {
    let Some(known) = known else {
        return begin(epochs, survey);
    };
    if let Some(difference) = difference(known, survey) {
        return Plan {
            loss: Some(Loss {
                kind: GapKind::Restored,
                // Where the histories parted is not known. Revision 1 is that of an empty etcd.
                covers_revisions: survey.revision > 1,
                from_revision: None,
                to_revision: survey.revision,
                count: None,
                detail: format!(
                    "etcd has another history than the one recorded up to revision {} of epoch {}: \
                     {difference}; the new epoch begins with a snapshot at revision {}",
                    known.revision, known.identity.epoch, survey.revision
                ),
            }),
            ..begin(epochs, survey)
        };
    }
    let first_missing = known.revision.saturating_add(1);
    if let Some(unavailable) = unavailable
        && let Some(last_missing) = unavailable.last_missing(known.revision)
    {
        // What etcd still has is read, unless it is too much.
        let resumable = survey.revision.saturating_sub(last_missing) <= max_catchup_revisions;
        let to_revision = if resumable {
            last_missing
        } else {
            survey.revision
        };
        return known.skip(
            first_missing,
            to_revision,
            GapKind::Compacted,
            unavailable.to_string(),
        );
    }
    let behind = survey.revision.saturating_sub(known.revision);
    if behind > max_catchup_revisions {
        let detail = format!(
            "{behind} revisions behind, and at most {max_catchup_revisions} are caught up with, \
             since reading a long history slows etcd's writes down"
        );
        return known.skip(
            first_missing,
            survey.revision,
            GapKind::CatchupLimit,
            detail,
        );
    }
    Plan {
        identity: known.identity.clone(),
        watch_after: known.revision,
        snapshot_at: known.snapshot_revision.is_none().then_some(survey.revision),
        loss: None,
    }
}

/// A history that the trace has nothing of.
fn begin(epochs: &BTreeMap<String, i32>, survey: &Survey) -> Plan {
    let epoch = epochs
        .get(&survey.cluster_id)
        .map_or(0, |last| last.saturating_add(1));
    Plan {
        identity: Identity {
            cluster_id: survey.cluster_id.clone(),
            epoch,
        },
        watch_after: survey.revision,
        snapshot_at: Some(survey.revision),
        loss: None,
    }
}

impl Known {
    /// Gives up revisions and starts again from a snapshot at the last of them.
    fn skip(&self, from_revision: i64, to_revision: i64, kind: GapKind, detail: String) -> Plan {
        Plan {
            identity: self.identity.clone(),
            watch_after: to_revision,
            snapshot_at: Some(to_revision),
            loss: Some(Loss {
                kind,
                covers_revisions: true,
                from_revision: Some(from_revision),
                to_revision,
                count: Some(to_revision.saturating_sub(from_revision).saturating_add(1)),
                detail,
            }),
        }
    }
}

impl Unavailable {
    /// The last revision that is missing after `revision`; `None` when nothing is.
    fn last_missing(self, revision: i64) -> Option<i64> {
        let last = match self {
            Self::Compacted { compact_revision } => compact_revision,
            Self::LeftOut { last } => last,
        };
        (last > revision).then_some(last)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted { compact_revision } => write!(
                formatter,
                "etcd had compacted its history up to revision {compact_revision} before it was read"
            ),
            Self::LeftOut { last } => write!(
                formatter,
                "etcd's watch left out revisions up to {last}, and again when it was asked anew"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::history::Past;

    const MAX: i64 = 100;

    fn identity(epoch: i32) -> Identity {
        Identity {
            cluster_id: "ab".to_owned(),
            epoch,
        }
    }

    fn known() -> Known {
        Known {
            identity: identity(1),
            revision: 1_000,
            raft_term: 4,
            snapshot_revision: Some(2),
            snapshot_under_way: None,
            witness: None,
        }
    }

    fn epochs() -> BTreeMap<String, i32> {
        BTreeMap::from([("ab".to_owned(), 1)])
    }

    fn survey(revision: i64) -> Survey {
        Survey {
            cluster_id: "ab".to_owned(),
            revision,
            raft_term: 4,
            now: Past::Unavailable,
            then: Past::Unavailable,
            before: Past::Unavailable,
        }
    }

    fn gap(plan: &Plan) -> Option<(GapKind, Option<i64>, i64, Option<i64>)> {
        let loss = plan.loss.as_ref()?;
        Some((loss.kind, loss.from_revision, loss.to_revision, loss.count))
    }

    #[test]
    fn the_first_start_begins_with_a_snapshot_and_loses_nothing() {
        let plan = plan(None, &BTreeMap::new(), &survey(7), None, MAX);
        assert_eq!(plan.identity, identity(0));
        assert_eq!((plan.watch_after, plan.snapshot_at), (7, Some(7)));
        assert_eq!(plan.loss, None);
    }

    #[test]
    fn the_same_history_is_resumed() {
        let plan = plan(Some(&known()), &epochs(), &survey(1_100), None, MAX);
        assert_eq!(plan.identity, identity(1));
        assert_eq!((plan.watch_after, plan.snapshot_at), (1_000, None));
        assert_eq!(plan.loss, None);
    }

    #[test]
    fn a_snapshot_that_is_owed_is_taken_on_resuming() {
        let owing = Known {
            snapshot_revision: None,
            ..known()
        };
        let plan = plan(Some(&owing), &epochs(), &survey(1_050), None, MAX);
        assert_eq!((plan.watch_after, plan.snapshot_at), (1_000, Some(1_050)));
        assert_eq!(plan.loss, None);
    }

    #[test]
    fn too_long_a_backlog_is_given_up() {
        let plan = plan(Some(&known()), &epochs(), &survey(1_101), None, MAX);
        assert_eq!(plan.identity, identity(1));
        assert_eq!((plan.watch_after, plan.snapshot_at), (1_101, Some(1_101)));
        assert_eq!(
            gap(&plan),
            Some((GapKind::CatchupLimit, Some(1_001), 1_101, Some(101)))
        );
    }

    #[test]
    fn after_compaction_the_rest_of_the_history_is_still_read() {
        let compacted = Some(Unavailable::Compacted {
            compact_revision: 1_050,
        });
        let plan = plan(Some(&known()), &epochs(), &survey(1_150), compacted, MAX);
        assert_eq!(plan.identity, identity(1));
        assert_eq!((plan.watch_after, plan.snapshot_at), (1_050, Some(1_050)));
        assert_eq!(
            gap(&plan),
            Some((GapKind::Compacted, Some(1_001), 1_050, Some(50)))
        );
    }

    #[test]
    fn after_compaction_too_long_a_rest_is_given_up_as_well() {
        let compacted = Some(Unavailable::Compacted {
            compact_revision: 1_050,
        });
        let plan = plan(Some(&known()), &epochs(), &survey(1_151), compacted, MAX);
        assert_eq!((plan.watch_after, plan.snapshot_at), (1_151, Some(1_151)));
        assert_eq!(
            gap(&plan),
            Some((GapKind::Compacted, Some(1_001), 1_151, Some(151)))
        );
    }

    #[test]
    fn revisions_that_the_watch_left_out_are_a_gap() {
        let left_out = Some(Unavailable::LeftOut { last: 1_003 });
        let plan = plan(Some(&known()), &epochs(), &survey(1_050), left_out, MAX);
        assert_eq!((plan.watch_after, plan.snapshot_at), (1_003, Some(1_003)));
        assert_eq!(
            gap(&plan),
            Some((GapKind::Compacted, Some(1_001), 1_003, Some(3)))
        );
    }

    #[test]
    fn compaction_of_what_is_recorded_already_loses_nothing() {
        let compacted = Some(Unavailable::Compacted {
            compact_revision: 1_000,
        });
        let plan = plan(Some(&known()), &epochs(), &survey(1_050), compacted, MAX);
        assert_eq!((plan.watch_after, plan.loss), (1_000, None));
    }

    #[test]
    fn another_history_of_the_same_cluster_is_a_new_epoch() {
        let plan = plan(Some(&known()), &epochs(), &survey(30), None, MAX);
        assert_eq!(plan.identity, identity(2));
        assert_eq!((plan.watch_after, plan.snapshot_at), (30, Some(30)));
        assert_eq!(gap(&plan), Some((GapKind::Restored, None, 30, None)));
    }

    #[test]
    fn a_cluster_never_gets_an_epoch_twice() {
        let mut other = survey(30);
        other.cluster_id = "cd".to_owned();
        let first_time = plan(Some(&known()), &epochs(), &other, None, MAX);
        assert_eq!(first_time.identity.cluster_id, "cd");
        assert_eq!(first_time.identity.epoch, 0);
        let mut epochs = epochs();
        epochs.insert("cd".to_owned(), 6);
        let seen_before = plan(Some(&known()), &epochs, &other, None, MAX);
        assert_eq!(seen_before.identity.epoch, 7);
    }

    #[test]
    fn absurd_revisions_do_not_overflow() {
        let extreme = Known {
            revision: i64::MIN,
            ..known()
        };
        let compacted = Some(Unavailable::Compacted {
            compact_revision: i64::MAX,
        });
        for unavailable in [None, compacted] {
            let plan = plan(
                Some(&extreme),
                &epochs(),
                &survey(i64::MAX),
                unavailable,
                MAX,
            );
            assert_eq!(plan.watch_after, i64::MAX);
        }
    }
}
