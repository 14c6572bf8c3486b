//! What a write's own CPID says about the changes that it came of.

use super::{Context, Gatherer, MAX_PULLED, Offer};
use crate::causality::kernel::evidence::Relation;
use crate::causality::kernel::intern::NONE;
use crate::causality::kernel::objects::Objects;

impl Gatherer {
    /// Offers the changes that carried the effect's CPID, or those it was made of, however else they are related; and leaves out
    /// what carried another one, of which the effect's did not come: whoever made the write had not taken it in.
    ///
    /// Only what a write reports by itself counts, on both sides: an annotation that stayed where it was, or was
    /// copied by a controller that does not know what it is, says nothing about the cause of a write.
    pub(super) fn reported(&mut self, context: &Context<'_>, objects: &Objects) {
        let changes = context.changes;
        let cpid = changes.ties(context.effect).cpid;
        if cpid == NONE || self.without.relation(Relation::Cpid) {
            return;
        }
        let mergelogs = &changes.mergelogs;
        let sources = mergelogs.sources(cpid);
        if sources.is_empty() && objects.carriers(cpid).next().is_none() {
            // Where it comes from, nobody said.
            return;
        }
        for carried in std::iter::once(&cpid).chain(sources) {
            for change in objects.carriers(*carried).take(MAX_PULLED) {
                if matches!(
                    self.offer(context, change, Relation::Cpid, true),
                    Offer::Stop
                ) {
                    break;
                }
            }
        }
        let is_strange = |change: u32| {
            let theirs = changes
                .row(change)
                .map_or(NONE, |change| changes.ties(&change).cpid);
            theirs != NONE && !mergelogs.came_of(cpid, theirs)
        };
        if !self.found.iter().all(|found| is_strange(found.change)) {
            self.found.retain(|found| !is_strange(found.change));
        }
    }
}
