//! Changes that a reported merge names.

use super::{Engine, MAX_LOOK_BACK};
use crate::causality::kernel::change::Change;
use crate::causality::kernel::evidence::{Evidence, Relation};
use crate::causality::kernel::intern::NONE;
use crate::causality::kernel::model::EffectType;
use crate::causality::kernel::output::Edge;

/// A mergelog says so; but it was made by whoever wrote, whose notion of a cause may be wider than ours.
const CONFIDENCE: f32 = 0.97;

impl Engine<'_> {
    /// The first write with a merged CPID came of all that was merged: of what no cause so far accounts for, the newest
    /// change that carried it is a cause as well.
    pub(super) fn add_merged(&mut self, change: &Change, effect: EffectType, seen: i64) {
        let changes = self.changes;
        let cpid = changes.ties(change).cpid;
        if cpid == NONE
            || self.without.relation(Relation::Cpid)
            || self.objects.carriers(cpid).next().is_some()
        {
            return;
        }
        for source in changes.mergelogs.sources(cpid) {
            let carrier = self.objects.carriers(*source).find(|carrier| {
                changes.row(*carrier).is_some_and(|carrier| {
                    carrier.actor != change.actor
                        && carrier.commit <= change.limit()
                        && carrier.commit > seen
                })
            });
            let Some(carrier) = carrier else {
                continue;
            };
            if self.is_outdated(change, effect, carrier) {
                continue;
            }
            let is_known = self.graph.open().iter().any(|edge| {
                edge.is_chosen
                    && (edge.cause == carrier || self.accounts_for(edge.cause, carrier, *source))
            });
            if !is_known {
                self.graph.set(Edge {
                    cause: carrier,
                    evidence: Evidence::of(Relation::Cpid),
                    confidence: CONFIDENCE,
                    is_chosen: true,
                });
            }
        }
    }

    /// Whether a version that a merge names had been read long before it was replaced by another one that the merge names as well:
    /// who is told of a change takes in what was there before it too, though an earlier reconcile had read that, and written nothing.
    fn is_outdated(&self, change: &Change, effect: EffectType, carrier: u32) -> bool {
        let changes = self.changes;
        let Some(old) = changes.row(carrier) else {
            return false;
        };
        let cpid_of = |change: &Change| changes.ties(change).cpid;
        let sources = changes.mergelogs.sources(cpid_of(change));
        let next = self
            .objects
            .own_changes(old.object)
            .take(MAX_LOOK_BACK)
            .take_while(|newer| *newer > carrier)
            .filter_map(|newer| changes.row(newer))
            .filter(|newer| {
                let cpid = cpid_of(newer);
                cpid != cpid_of(&old) && sources.contains(&cpid)
            })
            .last();
        next.is_some_and(|next| {
            next.commit <= change.limit()
                && next.commit.saturating_sub(old.commit) > self.model.longest_delay(effect)
        })
    }

    /// Whether a cause reports a CPID that came of `source`, or has all the roots of a change that carried it.
    fn accounts_for(&self, cause: u32, carrier: u32, source: u32) -> bool {
        let changes = self.changes;
        let reported = changes
            .row(cause)
            .map_or(NONE, |cause| changes.ties(&cause).cpid);
        if reported != NONE {
            return changes.mergelogs.came_of(reported, source);
        }
        let roots = self.roots.roots(cause);
        self.roots
            .roots(carrier)
            .iter()
            .all(|root| roots.binary_search(root).is_ok())
    }
}
