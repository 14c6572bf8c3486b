//! What a loop has certainly not taken in yet, although it was there before the loop's last reconcile began.

use super::{Context, Gatherer, MAX_PULLED};
use crate::causality::kernel::change::{Aspect, Change, Op};
use crate::causality::kernel::evidence::Relation;
use crate::causality::kernel::objects::Objects;

/// Own changes of an object that are looked through.
const MAX_LOOKED_AT: usize = 32;

impl Gatherer {
    /// A reconcile reads at its beginning, but its first request, by which it is dated, may come much later. Two things tell
    /// that a change was not read then: a status that names an older generation, and that the change was not put
    /// right which somebody else had made of what the loop writes.
    pub(super) fn unread(&mut self, context: &Context<'_>, objects: &Objects) {
        let unlimited = Context {
            seen: i64::MIN,
            ..*context
        };
        let root = context.reader.2;
        if let Some(before) = context.generations.before {
            let is_new = |wish: &Change| {
                matches!(wish.aspect(), Aspect::Created | Aspect::Spec)
                    && wish
                        .generation
                        .get()
                        .is_some_and(|generation| generation > before)
            };
            let relation = if root == context.effect.object {
                Relation::SameObject
            } else {
                Relation::Owner
            };
            self.offer_unread(&unlimited, objects, root, relation, is_new);
        }
        if root != context.effect.object && context.effect.op == Op::Update {
            let is_foreign =
                |change: &Change| change.op == Op::Update && !change.facets.is_status_only();
            let object = context.effect.object;
            self.offer_unread(&unlimited, objects, object, Relation::Child, is_foreign);
            self.put_right(context, objects);
        }
    }

    /// What is again as the loop had made it before was put right: it came of what others had made of it since, and of nothing that
    /// the loop was newly asked for.
    fn put_right(&mut self, context: &Context<'_>, objects: &Objects) {
        let (actor, effect) = (context.reader.0, context.effect);
        let own = objects
            .own_changes(effect.object)
            .take(MAX_LOOKED_AT)
            .find(|change| {
                context
                    .changes
                    .row(*change)
                    .is_some_and(|change| change.actor == actor && !change.facets.is_status_only())
            });
        let wanted = context.changes.wanted(context.index);
        if wanted == 0 || own.is_none_or(|own| context.changes.wanted(own) != wanted) {
            return;
        }
        for found in &mut self.found {
            found.is_certain |= context.changes.row(found.change).is_some_and(|change| {
                change.object == effect.object
                    && change.actor != actor
                    && !change.facets.is_status_only()
                    && context.changes.wanted(found.change) != wanted
            });
        }
    }

    /// Offers the newest changes of an object that are as asked for, back to the loop's own last one.
    fn offer_unread(
        &mut self,
        context: &Context<'_>,
        objects: &Objects,
        object: u32,
        relation: Relation,
        is_wanted: impl Fn(&Change) -> bool,
    ) {
        let (actor, _, root) = context.reader;
        let mut taken = 0;
        for change in objects.own_changes(object).take(MAX_LOOKED_AT) {
            let Some(cause) = context.changes.row(change) else {
                return;
            };
            if object != root && cause.actor == actor && !cause.facets.is_status_only() {
                return;
            }
            if is_wanted(&cause) {
                self.offer(context, change, relation, false);
                taken += 1;
            }
            if taken == MAX_PULLED {
                return;
            }
        }
    }
}
