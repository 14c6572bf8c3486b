//! What had to be refused, until a row of `gaps` tells it.

use std::sync::{Mutex, PoisonError};

use cascade_proto::tables::{Call, Change, Gap, GapKind, Moment, Table};

use super::{Identity, Rows};

/// Refused rows of one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Loss {
    /// Number of calls; a call's operations count once.
    pub(super) calls: u64,
    /// Number of rows of `gaps`, which are lost as rows and kept in number only.
    pub(super) gaps: u64,
    from: Option<Moment>,
    to: Option<Moment>,
}

impl Loss {
    fn add(&mut self, rows: &Rows) {
        match rows {
            Rows::Calls(calls) => {
                self.calls += count_calls(calls);
                for call in calls {
                    self.span(call.request);
                }
            }
            Rows::Gaps(gaps) => {
                self.gaps += gaps.len() as u64;
                for moment in gaps.iter().flat_map(|gap| [gap.from, gap.to]).flatten() {
                    self.span(moment);
                }
            }
            // Who hands these in is told, and waits or tells of them.
            Rows::Changes(_)
            | Rows::States(_)
            | Rows::Requests(_)
            | Rows::RequestCalls(_)
            | Rows::Mergelogs(_)
            | Rows::Spans(_)
            | Rows::Checkpoint(_) => {}
        }
    }

    fn span(&mut self, moment: Moment) {
        self.from = Some(self.from.map_or(moment, |from| from.min(moment)));
        self.to = Some(self.to.map_or(moment, |to| to.max(moment)));
    }

    /// The row that tells of this loss. Cluster and epoch are filled in by the writer.
    pub(super) fn gap(&self, kind: GapKind, instance: &str, detail: String) -> Gap {
        let detail = match self.gaps {
            0 => detail,
            gaps => format!("{detail}; also lost: {gaps} rows of gaps"),
        };
        Gap {
            cluster_id: None,
            epoch: None,
            instance: instance.to_owned(),
            kind,
            covers_revisions: false,
            from_revision: None,
            to_revision: None,
            count: Some(i64::try_from(self.calls).unwrap_or(i64::MAX)),
            from: self.from,
            to: self.to,
            detail: Some(detail),
        }
    }
}

/// The row that tells of rows which were durable and are gone.
pub(super) fn lost_rows(
    table: &str,
    instance: &str,
    identity: Option<&Identity>,
    rows: u64,
    revisions: Option<(i64, i64)>,
) -> Gap {
    Gap {
        cluster_id: identity.map(|identity| identity.cluster_id.clone()),
        epoch: identity.map(|identity| identity.epoch),
        instance: instance.to_owned(),
        kind: GapKind::Storage,
        covers_revisions: table == Change::NAME,
        from_revision: revisions.map(|(first, _)| first),
        to_revision: revisions.map(|(_, last)| last),
        count: Some(i64::try_from(rows).unwrap_or(i64::MAX)),
        from: None,
        to: None,
        detail: Some(format!(
            "{rows} rows of {table} were removed from the trace folder, or damaged, after they were written"
        )),
    }
}

fn count_calls(calls: &[Call]) -> u64 {
    let mut count = 0;
    let mut previous = None;
    for call in calls {
        if previous != Some(&call.call_id) {
            count += 1;
        }
        previous = Some(&call.call_id);
    }
    count
}

/// Losses that no row tells of yet. Shared by those who refuse and the writer.
#[derive(Debug, Default)]
pub(super) struct Losses {
    // Held for a few additions only, and only when something is lost: nobody waits for it.
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    overflow: Option<Loss>,
    storage: Option<Loss>,
    segments: Vec<Gap>,
}

impl Losses {
    /// Counts rows refused because the queue was full; returns the number of calls.
    pub(super) fn overflow(&self, rows: &Rows) -> u64 {
        self.with(|pending| add(&mut pending.overflow, rows))
    }

    /// Counts rows refused because the storage failed; returns the number of calls.
    pub(super) fn storage(&self, rows: &Rows) -> u64 {
        self.with(|pending| add(&mut pending.storage, rows))
    }

    /// Notes that rows of a segment, once stored, cannot be read any more.
    pub(super) fn segment(&self, gap: Gap) {
        self.with(|pending| pending.segments.push(gap));
    }

    /// Takes what was refused because the queue was full.
    pub(super) fn take_overflow(&self) -> Option<Loss> {
        self.with(|pending| pending.overflow.take())
    }

    /// Takes what was refused because the storage failed.
    pub(super) fn take_storage(&self) -> Option<Loss> {
        self.with(|pending| pending.storage.take())
    }

    /// Takes what was lost of segments.
    pub(super) fn take_segments(&self) -> Vec<Gap> {
        self.with(|pending| std::mem::take(&mut pending.segments))
    }

    fn with<T>(&self, action: impl FnOnce(&mut Pending) -> T) -> T {
        // A panic between two additions leaves counts that are still counts.
        action(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn add(loss: &mut Option<Loss>, rows: &Rows) -> u64 {
    if !matches!(rows, Rows::Calls(_) | Rows::Gaps(_)) {
        return 0;
    }
    let loss = loss.get_or_insert_default();
    let before = loss.calls;
    loss.add(rows);
    loss.calls - before
}
