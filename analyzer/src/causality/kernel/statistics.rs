//! First pass: who creates what for whom. It tells which object a loop works on.

use super::change::{Change, Op};
use super::changes::Changes;
use super::hash::FastMap;
use super::intern::NONE;
use super::kinds::KindClass;
use super::objects::Objects;
use crate::storage::List;

/// More than one kind.
const SEVERAL: u32 = NONE;

/// What actors do, over the whole trace.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    /// (actor, kind, kind of the managing owner) → objects created.
    created: FastMap<(u32, u32, u32), u32>,
    /// Actor → the kind of the owners that it creates objects for, or [`SEVERAL`].
    owner_kinds: FastMap<u32, u32>,
    /// (actor, kind) → changes.
    written: FastMap<(u32, u32), u32>,
}

impl Statistics {
    /// Counts.
    pub(crate) fn of(changes: &Changes) -> Self {
        let mut statistics = Self::default();
        let (objects, names) = (changes.objects as usize, changes.names as usize);
        let mut kinds = List::filled(&changes.storage, NONE, objects);
        let mut kinds_by_name = List::filled(&changes.storage, NONE, names);
        for change in changes.rows.iter() {
            let change = &change;
            kinds.set(change.object as usize, change.kind);
            kinds_by_name.set(change.name as usize, change.kind);
            if change.actor == NONE {
                continue;
            }
            *statistics
                .written
                .entry((change.actor, change.kind))
                .or_default() += 1;
            if change.op != Op::Create {
                continue;
            }
            let owner_kind = match changes.owners(change).first() {
                Some(owner) => kinds.get(*owner as usize),
                None => kinds_by_name.get(changes.ties(change).namesake as usize),
            };
            if let Some(owner_kind) = owner_kind {
                let known = statistics
                    .owner_kinds
                    .entry(change.actor)
                    .or_insert(owner_kind);
                if *known != owner_kind {
                    *known = SEVERAL;
                }
                *statistics
                    .created
                    .entry((change.actor, change.kind, owner_kind))
                    .or_default() += 1;
            }
        }
        statistics
    }

    /// Whether a program creates objects for owners of one kind only: then it is most likely one loop. What it creates for owners that it
    /// created itself would be another one's.
    pub(crate) fn is_one_loop(&self, actor: u32) -> bool {
        self.owner_kinds
            .get(&actor)
            .is_some_and(|kinds| *kinds != SEVERAL)
    }

    /// The object that the loop of `actor` works on when it writes `change`.
    ///
    /// Who creates objects of this kind for owners of that kind works on the owner, except when it only
    /// writes the status: an object's status is written by the loop that works on the object itself.
    /// An object without an owner that has its name from another one it refers to, as Endpoints have from their
    /// Service, is treated as owned by that one.
    /// An actor that was never seen to create one works on the owner if it writes the owner too.
    /// Anything else is a loop on the object itself, as kubelet and scheduler are.
    pub(crate) fn reconcile_root(
        &self,
        changes: &Changes,
        objects: &Objects,
        change: &Change,
        actor: u32,
    ) -> u32 {
        if change.facets.is_status_only() {
            return change.object;
        }
        if let Some(owner) = changes.owners(change).first() {
            let owner_kind = changes
                .row(objects.state(*owner).last)
                .map_or(NONE, |owner| owner.kind);
            let creates = self.created.contains_key(&(actor, change.kind, owner_kind));
            let writes = self.written.contains_key(&(actor, owner_kind));
            return if creates || writes {
                *owner
            } else {
                change.object
            };
        }
        if change.op == Op::Create
            && changes.class(change.kind) == KindClass::Claim
            && let Some(root) = self.claiming_for(changes, objects, change, actor)
        {
            return root;
        }
        let namesake = objects.named(changes.ties(change).namesake);
        let namesake_kind = changes
            .row(objects.state(namesake).last)
            .map_or(NONE, |namesake| namesake.kind);
        if self
            .created
            .contains_key(&(actor, change.kind, namesake_kind))
        {
            return namesake;
        }
        change.object
    }

    /// The object that a loop creates a claim for, whose Pods it makes: a claim names no owner, so that it stays when
    /// that one goes, but has the labels that its Pods have.
    fn claiming_for(
        &self,
        changes: &Changes,
        objects: &Objects,
        claim: &Change,
        actor: u32,
    ) -> Option<u32> {
        let mut selecting = Vec::new();
        objects.selecting(changes, claim, &mut selecting);
        selecting.into_iter().find(|other| {
            changes
                .row(objects.state(*other).last)
                .is_some_and(|other| {
                    objects.manages(other.kind) && self.written.contains_key(&(actor, other.kind))
                })
        })
    }
}
