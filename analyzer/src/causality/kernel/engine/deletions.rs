//! What a deletion came of.

use super::{Engine, MAX_LOOK_BACK, Verdict};
use crate::causality::kernel::change::{Aspect, Change, Facets, Op};
use crate::causality::kernel::evidence::Relation;
use crate::causality::kernel::intern::NONE;
use crate::causality::kernel::kinds::KindClass;
use crate::causality::kernel::output::RootClass;

/// Deletions per second by clients that a reconciler's reasons must outweigh.
const CLIENT_DELETION_RATE: f64 = 0.02;
/// How long one request may take that writes an object twice.
const REQUEST_NS: i64 = 1_000_000_000;
/// How long after the deletion of a Pod it may hit its successor.
const SUCCESSOR_NS: i64 = 5_000_000_000;
/// How long a rollout may take until its last object is replaced.
const ROLLOUT_NS: i64 = 60_000_000_000;

impl Engine<'_> {
    /// The second half of one request: an object that nobody has to let go is marked as being deleted and deleted
    /// at once.
    pub(super) fn ends_own_deletion(&self, change: &Change) -> bool {
        let asked = self.objects.state(change.object).deletion;
        change.op == Op::Delete
            && change.deleting
            && self.changes.row(asked).is_some_and(|asked| {
                asked.actor == change.actor && change.commit - asked.commit <= REQUEST_NS
            })
    }

    /// Deletions follow other deletions: of the object itself, its owner, its namespace.
    pub(super) fn deletion(&mut self, index: u32, change: &Change) -> Option<Verdict> {
        let changes = self.changes;
        let state = self.objects.state(change.object);
        if change.op == Op::Delete && state.deletion != NONE {
            let cause = self.last_hindrance(change, state.deletion);
            self.graph.add(cause, Relation::Deletion, 0.97);
            if cause != state.deletion {
                self.graph.add(state.deletion, Relation::Deletion, 0.9);
            }
            return Some(Verdict::Caused);
        }
        if change.op == Op::Delete && change.deleting {
            // Asked for before the trace began.
            return Some(Verdict::Root(RootClass::Preexisting));
        }
        if state.deletion != NONE {
            // Asked for once more, with less grace: whatever else is gone by now, it was to go before.
            self.graph.add(state.deletion, Relation::Deletion, 0.95);
            return Some(Verdict::Caused);
        }
        let ties = changes.ties(change);
        let namesake = [self.objects.named(ties.namesake)];
        let owners = changes.owners(change);
        let owners = if owners.is_empty() {
            &namesake[..]
        } else {
            &owners
        };
        let gone = owners.iter().find_map(|owner| {
            let owner = self.objects.state(*owner);
            let newest = if owner.deleted == NONE {
                owner.deletion
            } else {
                owner.deleted
            };
            (newest != NONE).then_some(newest)
        });
        if let Some(cause) = gone {
            self.graph.add(cause, Relation::Deletion, 0.98);
            return Some(Verdict::Caused);
        }
        let namespace = self.objects.state(self.objects.named(ties.namespace));
        if namespace.deletion != NONE {
            self.graph.add(namespace.deletion, Relation::Deletion, 0.97);
            return Some(Verdict::Caused);
        }
        if change.actor != NONE {
            return None;
        }
        Some(self.deletion_by_someone(index, change))
    }

    /// What had to happen after deletion was asked for, and happened last: a finalizer removed by someone, or the end of
    /// something that the object owns.
    fn last_hindrance(&self, change: &Change, asked: u32) -> u32 {
        let child = self
            .objects
            .inbox(change.object)
            .take_while(|(child, _)| *child > asked)
            .take(MAX_LOOK_BACK)
            .find(|(child, relation)| {
                *relation == Relation::Child
                    && self.changes.row(*child).is_some_and(|child| {
                        child.op == Op::Delete && child.commit <= change.limit()
                    })
            })
            .map(|(child, _)| child);
        let own = self
            .objects
            .own_changes(change.object)
            .take_while(|own| *own > asked)
            .find(|own| {
                self.changes
                    .row(*own)
                    .is_some_and(|own| own.facets.has(Facets::FINALIZERS))
            });
        own.max(child).unwrap_or(asked)
    }

    /// A deletion by nobody knows whom. If the one who created the object has a reason to delete it, it
    /// was most likely that one; else a client.
    fn deletion_by_someone(&mut self, index: u32, change: &Change) -> Verdict {
        let before = self.objects.state(change.object).last;
        let is_evicted = self.changes.row(before).is_some_and(|before| {
            self.is_eviction(&before) && change.commit - before.commit <= REQUEST_NS
        });
        if is_evicted {
            self.graph.add(before, Relation::Request, 0.95);
            return Verdict::Caused;
        }
        let created = self.objects.state(change.object).created;
        let creator = self
            .changes
            .row(created)
            .map_or(NONE, |created| created.actor);
        if creator == NONE || self.changes.is_client(creator) {
            return Verdict::Root(RootClass::Client);
        }
        let key = self.gather(index, change, creator);
        self.gatherer
            .own(self.changes, &self.objects, index, change);
        let is_due = self
            .gatherer
            .found
            .iter()
            .any(|found| found.is_due || found.is_certain)
            || self.has_new_wish(change, key.2, created);
        let is_settled = self.is_settled(key.2, created);
        let is_likely =
            is_due || !is_settled && self.total_rate(change, creator, key.2) > CLIENT_DELETION_RATE;
        if is_likely && self.decide(index, change, creator, Some(key)) {
            return Verdict::Caused;
        }
        if let Some(cause) = self.meant_predecessor(change) {
            self.graph.add(cause, Relation::Name, 0.5);
            return Verdict::Caused;
        }
        Verdict::Root(RootClass::Client)
    }

    /// The deletion of the Pod that had the name before: who removes Pods from a Node does so by name, and late may hit the
    /// next one, on whatever Node that runs by then.
    fn meant_predecessor(&self, change: &Change) -> Option<u32> {
        let before = self.objects.state(self.objects.predecessor(change.object));
        let gone = self.changes.row(before.deleted)?;
        let is_meant = self.changes.ties(&gone).node != NONE
            && change.commit.saturating_sub(gone.commit) <= SUCCESSOR_NS
            && !self.without.relation(Relation::Name);
        is_meant.then_some(before.deletion)
    }

    /// Whether an owner has no reason to replace an object created then: what runs a Pod on every Node, or Pods under names of
    /// their own, replaces those of an old spec, and no others.
    fn is_settled(&self, owner: u32, created: u32) -> bool {
        let Some(state) = self.changes.row(self.objects.state(owner).last) else {
            return false;
        };
        match self.changes.class(state.kind) {
            KindClass::DaemonSet => !state.is_rolling(),
            // It also gives up those that it wants no more, after it was told so.
            KindClass::StatefulSet => {
                !state.is_rolling() && self.wishes_since(owner, created).next().is_none()
            }
            _ => false,
        }
    }

    /// Whether the owner's spec was changed since an object was created, not long ago.
    fn has_new_wish(&self, change: &Change, owner: u32, created: u32) -> bool {
        owner != change.object
            && self
                .wishes_since(owner, created)
                .any(|wish| change.limit() - wish.commit < ROLLOUT_NS)
    }

    /// Changes of an owner's spec after the change `created`, newest first.
    fn wishes_since(&self, owner: u32, created: u32) -> impl Iterator<Item = Change> + '_ {
        self.objects
            .own_changes(owner)
            .take_while(move |wish| *wish > created)
            .take(MAX_LOOK_BACK)
            .filter_map(|wish| self.changes.row(wish))
            .filter(|wish| wish.aspect() == Aspect::Spec)
    }
}
