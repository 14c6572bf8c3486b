//! The rows of `gaps` that the ledger writes.

use cascade_proto::tables::{Gap, GapKind, Moment};

use super::plan::Loss;
use crate::store::Identity;

/// Makes rows for one instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct GapMaker<'a> {
    pub(super) instance: &'a str,
    pub(super) identity: &'a Identity,
    pub(super) now: Moment,
}

impl GapMaker<'_> {
    /// Revisions that are not recorded, or a history that begins anew.
    pub(super) fn loss(self, loss: &Loss) -> Gap {
        Gap {
            kind: loss.kind,
            covers_revisions: loss.covers_revisions,
            from_revision: loss.from_revision,
            to_revision: Some(loss.to_revision),
            count: loss.count,
            detail: Some(loss.detail.clone()),
            ..self.empty()
        }
    }

    /// The time in which no interceptor ran, and the revisions made in it, where they can be told.
    pub(super) fn restart(self, stopped: Option<Moment>, revisions: Option<(i64, i64)>) -> Gap {
        Gap {
            kind: GapKind::Restart,
            from_revision: revisions.map(|(first, _)| first),
            to_revision: revisions.map(|(_, last)| last),
            from: stopped,
            detail: Some(
                "the interceptor was not running; what was called meanwhile was not seen"
                    .to_owned(),
            ),
            ..self.empty()
        }
    }

    /// A snapshot without a key, which leaves no rows that say at which revision the history begins. An
    /// etcd that never had a key needs none: its first one has revision 2.
    pub(super) fn empty_snapshot(self, revision: i64) -> Option<Gap> {
        (revision > 1).then(|| Gap {
            to_revision: Some(revision),
            from: None,
            detail: Some(format!(
                "etcd held no keys at revision {revision}, so the snapshot there has no rows; revisions \
                 before were made when the interceptor was not running"
            )),
            ..self.empty()
        })
    }

    /// A snapshot that will not be completed.
    pub(super) fn abandoned_snapshot(self, kind: GapKind, revision: i64) -> Gap {
        Gap {
            kind,
            from_revision: Some(revision),
            to_revision: Some(revision),
            detail: Some(format!(
                "the snapshot at revision {revision} in `states` is not complete; another follows"
            )),
            ..self.empty()
        }
    }

    fn empty(self) -> Gap {
        Gap {
            cluster_id: Some(self.identity.cluster_id.clone()),
            epoch: Some(self.identity.epoch),
            instance: self.instance.to_owned(),
            kind: GapKind::Restart,
            covers_revisions: false,
            from_revision: None,
            to_revision: None,
            count: None,
            from: Some(self.now),
            to: Some(self.now),
            detail: None,
        }
    }
}
