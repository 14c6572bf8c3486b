//! Pods that come or go because of their Node.

use super::{Context, Gatherer};
use crate::causality::kernel::candidates::DUE_PRIOR;
use crate::causality::kernel::change::{Aspect, Change};
use crate::causality::kernel::intern::NONE;
use crate::causality::kernel::kinds::KindClass;
use crate::causality::kernel::objects::Objects;

/// Own changes of an owner that are looked at for the newest of its spec.
const MAX_LOOK_BACK: usize = 64;

impl Gatherer {
    /// A Pod may be created for a Node: the one that it will run on.
    ///
    /// A Node that has no Pod yet since it changed, of an owner that was there before and runs one on every
    /// Node, is why there is one now.
    pub(super) fn node_of_created(
        &mut self,
        context: &Context<'_>,
        objects: &Objects,
        effect: &Change,
    ) {
        let node = objects.future_node(effect.object);
        if self.without.content || node == NONE {
            return;
        }
        self.pull_wishes(&unread(context), objects, objects.named(node));
        if !runs_everywhere(context, objects) {
            return;
        }
        let owner = context.reader.2;
        let before = [
            objects.newest_on_node(owner, node),
            objects.state(owner).created,
        ];
        self.mark_node(context, objects.named(node), newest(before));
    }

    /// A Pod of an owner that runs one on every Node goes with its Node: with the newest change of the Node, if the
    /// owner's own spec was not changed since.
    pub(super) fn node_of_deleted(
        &mut self,
        context: &Context<'_>,
        objects: &Objects,
        effect: &Change,
    ) {
        let bound = context.changes.ties(effect).node;
        let goes = matches!(effect.aspect(), Aspect::Deleted | Aspect::DeletionRequested);
        if self.without.content || !goes || bound == NONE || !runs_everywhere(context, objects) {
            return;
        }
        let node = objects.named(bound);
        self.pull_wishes(&unread(context), objects, node);
        let wish = objects
            .own_changes(context.reader.2)
            .take(MAX_LOOK_BACK)
            .find(|change| {
                context
                    .changes
                    .row(*change)
                    .is_some_and(|change| matches!(change.aspect(), Aspect::Created | Aspect::Spec))
            });
        let before = [objects.state(effect.object).created, wish.unwrap_or(NONE)];
        self.mark_node(context, node, newest(before));
    }

    /// Makes changes of a Node after another change certain.
    fn mark_node(&mut self, context: &Context<'_>, node: u32, before: Option<u32>) {
        for found in &mut self.found {
            let is_node = context.changes.row(found.change).is_some_and(|change| {
                change.object == node
                    && matches!(
                        change.aspect(),
                        Aspect::Created | Aspect::Spec | Aspect::Deleted
                    )
            });
            if is_node && before.is_none_or(|before| found.change > before) {
                found.is_due = true;
                found.is_certain = true;
                found.prior = DUE_PRIOR;
            }
        }
    }
}

/// The newest of some changes that may not be there.
fn newest(changes: [u32; 2]) -> Option<u32> {
    changes.into_iter().filter(|change| *change != NONE).max()
}

/// Whether a loop took notice of a Node shows in the Pod for it, not in what it wrote since.
fn unread<'a>(context: &Context<'a>) -> Context<'a> {
    Context {
        seen: i64::MIN,
        ..*context
    }
}

/// Whether the loop's object runs a Pod on every Node.
fn runs_everywhere(context: &Context<'_>, objects: &Objects) -> bool {
    let owner = context.changes.row(objects.state(context.reader.2).last);
    owner.is_some_and(|owner| context.changes.class(owner.kind) == KindClass::DaemonSet)
}
