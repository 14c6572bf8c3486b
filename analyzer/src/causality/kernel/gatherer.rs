//! Gathers the changes that a write may have reacted to.

mod nodes;
mod reported;
mod unread;

use super::candidates::{Candidate, REPEAT_PRIOR, is_announcement, is_heartbeat, prior_weight};
use super::change::{Aspect, Change, Op};
use super::changes::Changes;
use super::evidence::{Evidence, Relation};
use super::hash::FastSet;
use super::intern::NONE;
use super::kinds::KindClass;
use super::objects::{Objects, is_scattered};
use super::observed::Seen;
use super::without::Without;

/// Entries of an inbox that one write looks at.
const MAX_ENTRIES: usize = 256;
/// Candidates of one write, and how many of them may come from the inbox.
const MAX_CANDIDATES: usize = 48;
const MAX_DELIVERED: usize = 32;
/// Changes taken of each object that is looked up rather than delivered.
const MAX_PULLED: usize = 4;
/// References followed from one object.
const MAX_REFERENCES: usize = 16;
/// When every candidate is older, objects of the same kind come into question.
const STALE_NS: i64 = 5_000_000_000;
/// Writes of one reconcile that are further apart are told from those of two by what happened in between.
const RECONCILE_NS: i64 = 500_000_000;
/// How far back an Event looks.
const MAX_EVENT_ENTRIES: usize = 32;

/// Collects candidates; used again for every write.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    pub(crate) found: Vec<Candidate>,
    selecting: Vec<u32>,
    /// The wish that the loop turned to only later.
    pub(crate) postponed: u32,
    /// Parts that were put together already.
    aggregated: FastSet<u32>,
    without: Without,
}

/// Who writes, and on which object its loop works: actor, kind (for actors known as a program), root.
type Reader = (u32, u32, u32);

impl Gatherer {
    /// Offers nothing that rests on evidence which must not be used.
    pub(crate) fn new(without: Without) -> Self {
        Self {
            without,
            ..Self::default()
        }
    }

    pub(crate) fn clear(&mut self) {
        self.found.clear();
        self.postponed = NONE;
    }

    /// What concerns the object that the loop works on and was committed after `seen`.
    pub(crate) fn family(
        &mut self,
        changes: &Changes,
        objects: &Objects,
        index: u32,
        effect: &Change,
        reader: Reader,
        seen: i64,
    ) {
        let root = reader.2;
        let context = Context {
            changes,
            effect,
            index,
            reader,
            seen,
            generations: objects.observed(root, reader.0, index),
            born: born(objects, effect),
        };
        for (change, relation) in objects.inbox(root).take(MAX_ENTRIES) {
            let relation = if relation == Relation::SameObject && root != effect.object {
                Relation::Owner
            } else {
                relation
            };
            if self.offer(&context, change, relation, false).is_stop()
                || self.found.len() >= MAX_DELIVERED
            {
                break;
            }
        }
        self.unread(&context, objects);
        self.drop_postponed(&context, objects);
        let subject = match changes.row(objects.state(root).last) {
            Some(subject) => subject,
            None => *effect,
        };
        self.referenced(&context, objects, &subject);
        if effect.op == Op::Create {
            self.creation(&context, objects, effect);
        } else if root == effect.object {
            // What it refers to from now on.
            self.referenced(&context, objects, effect);
        } else {
            self.node_of_deleted(&context, objects, effect);
        }
        if changes.class(effect.kind) == KindClass::Claim && effect.op == Op::Update {
            self.selectors(&context, objects, effect);
        }
        if effect.op == Op::Create && root != effect.object {
            self.raised_limit(
                &context,
                objects,
                objects.quota(changes.ties(effect).namespace),
            );
        }
        if self.found.is_empty() {
            for owner in changes.owners(&subject).iter().take(MAX_REFERENCES) {
                self.pull(&context, objects, *owner, Relation::Owner);
            }
        }
        if self.found.is_empty() {
            let namespace = objects.named(changes.ties(effect).namespace);
            self.pull(&context, objects, namespace, Relation::Name);
        }
        self.reported(&context, objects);
        let is_stale = self.found.iter().all(|found| found.delay > STALE_NS);
        if is_stale && effect.op == Op::Update && !effect.facets.is_status_only() {
            self.aggregated(&context, objects);
        }
    }

    /// Some loops put labelled objects of a kind together into one that says in its own way which, as the aggregation of
    /// ClusterRoles does: in the order in which they were changed.
    fn aggregated(&mut self, context: &Context<'_>, objects: &Objects) {
        let (actor, _, root) = context.reader;
        if !is_scattered(context.changes, context.effect) {
            return;
        }
        let limit = context.effect.limit();
        let parts = |change: &u32| {
            context.changes.row(*change).is_some_and(|change| {
                change.object != root
                    && change.actor != actor
                    && limit.saturating_sub(change.commit) <= STALE_NS
            })
        };
        let recent = objects.recent_of_kind(context.effect.kind);
        let mut newest = NONE;
        for change in recent.filter(parts) {
            newest = change;
            if !self.aggregated.contains(&change) {
                break;
            }
        }
        if newest != NONE
            && !self
                .offer(context, newest, Relation::Selector, true)
                .is_stop()
        {
            self.aggregated.insert(newest);
        }
    }

    /// What concerns the object itself, whoever works on it.
    pub(crate) fn own(
        &mut self,
        changes: &Changes,
        objects: &Objects,
        index: u32,
        effect: &Change,
    ) {
        let context = Context {
            changes,
            effect,
            index,
            reader: (NONE, NONE, effect.object),
            seen: i64::MIN,
            generations: Seen {
                before: None,
                after: None,
            },
            born: born(objects, effect),
        };
        for change in objects.own_changes(effect.object).take(MAX_PULLED) {
            self.offer(&context, change, Relation::SameObject, false);
        }
        self.pull(
            &context,
            objects,
            objects.named(changes.ties(effect).node),
            Relation::Name,
        );
    }

    /// Objects that the subject refers to.
    fn referenced(&mut self, context: &Context<'_>, objects: &Objects, subject: &Change) {
        let changes = context.changes;
        for other in changes.related(subject).iter().take(MAX_REFERENCES) {
            self.pull(context, objects, *other, Relation::Uid);
        }
        for name in changes.referred_names(subject).iter().take(MAX_REFERENCES) {
            self.pull(context, objects, objects.named(*name), Relation::Name);
        }
        self.pull(
            context,
            objects,
            objects.named(changes.ties(subject).node),
            Relation::Name,
        );
    }

    /// An object that is created has no inbox yet: whoever selects it, owns it or is named by it. A Pod may
    /// be created for a Node: the one that it will run on.
    fn creation(&mut self, context: &Context<'_>, objects: &Objects, effect: &Change) {
        if effect.object == context.reader.2 {
            self.referenced(context, objects, effect);
            for owner in context.changes.owners(effect).iter().take(MAX_REFERENCES) {
                self.pull(context, objects, *owner, Relation::Owner);
            }
        }
        let is_for_itself = effect.object == context.reader.2;
        if is_for_itself && context.changes.owners(effect).is_empty() {
            self.selectors(context, objects, effect);
        }
        self.node_of_created(context, objects, effect);
    }

    /// Objects that select it.
    fn selectors(&mut self, context: &Context<'_>, objects: &Objects, effect: &Change) {
        let mut selecting = std::mem::take(&mut self.selecting);
        selecting.clear();
        objects.selecting(context.changes, effect, &mut selecting);
        selecting.sort_unstable();
        for other in selecting.iter().take(MAX_REFERENCES) {
            self.pull(context, objects, *other, Relation::Selector);
        }
        self.selecting = selecting;
    }

    fn pull(&mut self, context: &Context<'_>, objects: &Objects, object: u32, relation: Relation) {
        if object == NONE || object == context.reader.2 {
            return;
        }
        let mut taken = 0;
        for change in objects.own_changes(object).take(MAX_EVENT_ENTRIES) {
            // What was there before the object itself is no news to it.
            if change < context.born {
                return;
            }
            match self.offer(context, change, relation, true) {
                Offer::Taken => taken += 1,
                Offer::Unsuitable => {}
                Offer::Stop => return,
            }
            if taken >= MAX_PULLED {
                return;
            }
        }
    }

    /// Of several wishes that the loop had not seen before, drops the newest if the loop turned to it later.
    fn drop_postponed(&mut self, context: &Context<'_>, objects: &Objects) {
        let root = context.reader.2;
        let mut due = self.found.iter().filter(|found| found.is_due);
        let (Some(newest), Some(_)) = (due.next(), due.next()) else {
            return;
        };
        let wish = newest.change;
        if !self.without.generation
            && objects.is_postponed(root, context.effect.kind, context.index, wish)
        {
            self.postponed = wish;
            self.found.retain(|found| found.change != wish);
        }
    }

    /// A quota that was changed long after everything else that the loop may have reacted to is what it waited for.
    fn raised_limit(&mut self, context: &Context<'_>, objects: &Objects, quota: u32) {
        let newest = self
            .found
            .iter()
            .filter(|found| !found.is_own && !found.is_output)
            .map(|found| found.commit)
            .max();
        self.pull_wishes(context, objects, quota);
        let is_latest = |found: &Candidate| {
            newest.is_none_or(|newest| found.commit.saturating_sub(newest) > STALE_NS)
        };
        for found in &mut self.found {
            let is_quota = context
                .changes
                .row(found.change)
                .is_some_and(|change| change.object == quota && change.aspect() == Aspect::Spec);
            found.is_certain |= is_quota && is_latest(found);
        }
    }

    /// The newest changes of an object's spec, its creation included.
    fn pull_wishes(&mut self, context: &Context<'_>, objects: &Objects, object: u32) {
        if object == NONE {
            return;
        }
        let is_wish = |change: &u32| {
            context.changes.row(*change).is_some_and(|change| {
                matches!(
                    change.aspect(),
                    Aspect::Created | Aspect::Spec | Aspect::Deleted
                )
            })
        };
        let newest = objects
            .own_changes(object)
            .take(MAX_EVENT_ENTRIES)
            .filter(is_wish)
            .take(MAX_PULLED);
        for change in newest {
            self.offer(context, change, Relation::Name, true);
        }
    }

    fn offer(
        &mut self,
        context: &Context<'_>,
        change: u32,
        relation: Relation,
        is_pulled: bool,
    ) -> Offer {
        let Some(cause) = context.changes.row(change) else {
            return Offer::Unsuitable;
        };
        let limit = context.effect.limit();
        if change >= context.index || cause.commit > limit || self.without.relation(relation) {
            return Offer::Unsuitable;
        }
        if cause.commit <= context.seen {
            return Offer::Stop;
        }
        if self.found.len() >= MAX_CANDIDATES {
            return Offer::Stop;
        }
        let is_announcement = relation == Relation::Selector && is_announcement(&cause);
        if is_announcement || is_heartbeat(context.changes, &cause) {
            return Offer::Unsuitable;
        }
        let Some(is_due) = context.is_due(&cause) else {
            return Offer::Unsuitable;
        };
        if let Some(known) = self.found.iter_mut().find(|known| known.change == change) {
            known.evidence = known.evidence.with(Evidence::of(relation));
            // A CPID says which cascade it is, the other relation how the loop came to know of it.
            if relation != Relation::Cpid {
                known.relation = known.relation.min(relation);
            }
            known.is_pulled &= is_pulled;
            let class = context.changes.class(cause.kind);
            known.prior = known.prior.max(prior_weight(known, &cause, class));
            return Offer::Taken;
        }
        let (actor, kind, _) = context.reader;
        let is_own = cause.actor == actor && actor != NONE && (kind == NONE || cause.kind == kind);
        let is_output = relation == Relation::Child
            && (cause.actor == actor || cause.actor == NONE)
            && actor != NONE
            && cause.op != Op::Delete
            && !cause.facets.is_status_only();
        let mut candidate = Candidate {
            change,
            relation,
            evidence: Evidence::of(relation),
            is_own,
            is_output,
            is_pulled,
            is_due,
            // The first status that names a generation is what the first reconcile that had read it comes to.
            is_certain: is_due
                && context.generations.before.is_some()
                && cause.object == context.effect.object
                && context.effect.facets.is_status_only(),
            is_repeat: false,
            commit: cause.commit,
            prior: 0.0,
            delay: limit.saturating_sub(cause.commit),
        };
        let class = context.changes.class(cause.kind);
        candidate.prior = prior_weight(&candidate, &cause, class);
        // After its Node is gone, only the clean-up touches a Pod.
        if is_pulled && class == KindClass::Node && cause.op == Op::Delete {
            candidate.is_certain = true;
        }
        self.found.push(candidate);
        Offer::Taken
    }

    /// Whether someone else changed what a spec says since the loop's write before, or asked for the object's deletion,
    /// and that write is so long ago that this one hardly belongs to the same reconcile.
    pub(crate) fn has_news_since(
        &self,
        changes: &Changes,
        effect: &Change,
        last_limit: i64,
    ) -> bool {
        let since = effect.limit().saturating_sub(last_limit);
        since > RECONCILE_NS
            && self.found.iter().any(|found| {
                let Some(change) = changes.row(found.change) else {
                    return false;
                };
                let is_news = match change.aspect() {
                    Aspect::Created | Aspect::Spec | Aspect::Deleted => since > STALE_NS,
                    Aspect::DeletionRequested => change.object == effect.object,
                    _ => false,
                };
                is_news && !found.is_own && !found.is_output && found.commit > last_limit
            })
    }

    /// Leaves out what the loop itself wrote: it is told by the write before, whose causes they share.
    pub(crate) fn drop_outputs(&mut self) {
        self.found.retain(|found| !found.is_output);
    }

    /// "The same reconcile as the loop's write before", as a candidate: how long the loop took from the answer to that one (when it
    /// was committed) to its next request tells whether it went on or began anew.
    pub(crate) fn continuation(
        &mut self,
        changes: &Changes,
        effect: &Change,
        root: u32,
        last: u32,
        last_limit: i64,
    ) {
        if self.without.relation(Relation::SameReconcile) {
            return;
        }
        let before = changes.row(last);
        let answered = before.map_or(last_limit, |before| before.commit);
        // A status of the loop's own object is what a reconcile ends with.
        let is_repeat = before.is_some_and(|before| {
            before.object == effect.object && before.aspect() == effect.aspect()
                || before.object == root && before.facets.is_status_only()
        });
        self.found.push(Candidate {
            change: last,
            relation: Relation::SameReconcile,
            evidence: Evidence::of(Relation::SameReconcile),
            is_own: true,
            is_output: false,
            is_pulled: false,
            is_due: false,
            is_certain: false,
            is_repeat,
            prior: if is_repeat { REPEAT_PRIOR } else { 0.4 },
            commit: last_limit,
            delay: effect.limit().saturating_sub(answered).max(0),
        });
    }

    /// What an Event may tell of: changes of the object it is about, and of those around it.
    pub(crate) fn event(
        &mut self,
        changes: &Changes,
        objects: &Objects,
        index: u32,
        effect: &Change,
        about: u32,
    ) {
        let context = Context {
            changes,
            effect,
            index,
            reader: (effect.actor, NONE, about),
            seen: i64::MIN,
            generations: Seen {
                before: None,
                after: None,
            },
            born: 0,
        };
        for (change, relation) in objects.inbox(about).take(MAX_EVENT_ENTRIES) {
            let relation = if relation == Relation::SameObject {
                Relation::Uid
            } else {
                relation
            };
            if self.offer(&context, change, relation, false).is_stop() {
                break;
            }
        }
    }
}

/// What all candidates of one write are checked against.
#[derive(Clone, Copy)]
struct Context<'a> {
    changes: &'a Changes,
    effect: &'a Change,
    index: u32,
    reader: Reader,
    seen: i64,
    generations: Seen,
    /// The change that created the effect's object, if it is an update.
    born: u32,
}

impl Context<'_> {
    /// Whether a change gave the loop's object a generation that was new to the loop; `None` if the loop had
    /// seen it before, or did not see it yet.
    fn is_due(&self, cause: &Change) -> Option<bool> {
        let is_generation = cause.object == self.reader.2
            && matches!(cause.aspect(), Aspect::Created | Aspect::Spec);
        let Some(generation) = cause.generation.get().filter(|_| is_generation) else {
            return Some(false);
        };
        let Seen { before, after } = self.generations;
        if before.is_some_and(|before| generation <= before)
            || after.is_some_and(|after| generation > after)
        {
            return None;
        }
        Some(after.is_some())
    }
}

/// The change that created the object of an update; 0 if that is not in the trace.
fn born(objects: &Objects, effect: &Change) -> u32 {
    let created = objects.state(effect.object).created;
    if effect.op == Op::Create || created == NONE {
        0
    } else {
        created
    }
}

/// What became of a candidate.
enum Offer {
    Taken,
    Unsuitable,
    /// Older ones need not be offered.
    Stop,
}

impl Offer {
    fn is_stop(&self) -> bool {
        matches!(self, Self::Stop)
    }
}
