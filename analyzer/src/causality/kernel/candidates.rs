//! Gathers the changes that a write may have reacted to.

use super::builder::Changes;
use super::change::{Aspect, Change, Facets, Op};
use super::evidence::{Evidence, Relation};
use super::intern::NONE;
use super::kinds::KindClass;
use super::model::CandidateType;
use super::objects::Objects;
use super::observed::Seen;
use super::without::Without;

/// Entries of an inbox that one write looks at.
const MAX_ENTRIES: usize = 256;
/// Candidates of one write.
const MAX_CANDIDATES: usize = 48;
/// Changes taken of each object that is looked up rather than delivered.
const MAX_PULLED: usize = 4;
/// References followed from one object.
const MAX_REFERENCES: usize = 16;
/// When every candidate is older, objects of the same kind come into question.
const STALE_NS: i64 = 5_000_000_000;
/// How far back an Event looks.
const MAX_EVENT_ENTRIES: usize = 32;

/// A change that may be the cause of another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) change: u32,
    /// The strongest relation.
    pub(crate) relation: Relation,
    /// All relations.
    pub(crate) evidence: Evidence,
    /// Whether the writer itself wrote it.
    pub(crate) is_own: bool,
    /// Whether the writer's program wrote it into something that the loop's object owns: what comes out of a
    /// reconcile rather than what goes in.
    pub(crate) is_output: bool,
    /// Whether it was looked up through a reference, not delivered to the object that the loop works on.
    pub(crate) is_pulled: bool,
    /// Whether it gave the loop's object a generation that the loop had not seen before, and saw then.
    pub(crate) is_due: bool,
    /// Whether it explains by itself that there is this very object.
    pub(crate) is_certain: bool,
    /// Its weight before anything was learnt.
    pub(crate) prior: f64,
    /// When it was committed.
    pub(crate) commit: i64,
    /// From its commit until the writer acted.
    pub(crate) delay: i64,
}

/// The kind of a candidate, for the model: relation, kind of object, aspect, own or not.
pub(crate) fn candidate_type(changes: &Changes, candidate: &Candidate) -> CandidateType {
    let Some(change) = changes.row(candidate.change) else {
        return 0;
    };
    let relation = candidate.relation as u64;
    if candidate.relation == Relation::SameReconcile {
        return relation;
    }
    let aspect = change.aspect() as u64;
    (u64::from(change.kind) << 16)
        | (aspect << 8)
        | (u64::from(candidate.is_due) << 7)
        | (relation << 2)
        | (u64::from(candidate.is_pulled) << 1)
        | u64::from(candidate.is_own)
}

/// Prior weight of what gave a loop something new to do.
const DUE_PRIOR: f64 = 0.95;

/// How much a kind of candidate weighs before anything was learnt: loops react to the object they work
/// on and to what it owns; seldom to what merely mentions it.
fn prior_weight(candidate: &Candidate, cause: &Change, class: KindClass) -> f64 {
    if candidate.is_due {
        return DUE_PRIOR;
    }
    if candidate.is_output {
        return 0.15;
    }
    if candidate.is_own {
        return 0.1;
    }
    let is_limit = matches!(class, KindClass::Node | KindClass::Quota)
        && matches!(cause.aspect(), Aspect::Spec | Aspect::Deleted);
    match (candidate.relation, candidate.is_pulled) {
        (Relation::Cpid | Relation::Request | Relation::Deletion, _) => 0.9,
        (Relation::SameObject | Relation::Owner, false) => 0.6,
        (Relation::Child | Relation::SameReconcile, _) => 0.4,
        (Relation::Name, true) if is_limit => 0.4,
        (Relation::Selector, _) => 0.3,
        (Relation::Uid | Relation::Owner | Relation::SameObject, true) => 0.2,
        (Relation::Uid, false) | (Relation::Name, true) => 0.1,
        (Relation::Name, false) => 0.05,
    }
}

/// Collects candidates; used again for every write.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    pub(crate) found: Vec<Candidate>,
    selecting: Vec<u32>,
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
            if self.offer(&context, change, relation, false).is_stop() {
                break;
            }
        }
        let subject = match changes.row(objects.state(root).last) {
            Some(subject) => subject,
            None => effect,
        };
        self.referenced(&context, objects, subject);
        if effect.op == Op::Create {
            self.creation(&context, objects, effect);
        } else if root == effect.object {
            // What it refers to from now on.
            self.referenced(&context, objects, effect);
        }
        if changes.class(effect.kind) == KindClass::Claim && effect.op == Op::Update {
            self.selectors(&context, objects, effect);
        }
        if effect.op == Op::Create && root != effect.object {
            let quota = objects.quota(effect.namespace);
            self.pull_wishes(&context, objects, quota);
        }
        if self.found.is_empty() {
            for owner in changes.list(subject.owners).iter().take(MAX_REFERENCES) {
                self.pull(&context, objects, *owner, Relation::Owner);
            }
        }
        if self.found.is_empty() {
            let namespace = objects.named(effect.namespace);
            self.pull(&context, objects, namespace, Relation::Name);
        }
        // Some loops put many objects of a kind together into one, as the aggregation of ClusterRoles does.
        let is_stale = self.found.iter().all(|found| found.delay > STALE_NS);
        let is_scattered = effect.namespace == NONE
            && changes.class(effect.kind) == KindClass::Other
            && !effect.facets.is_status_only();
        if is_stale && is_scattered && effect.op == Op::Update {
            let newest = objects.newest_of_kind(effect.kind);
            self.offer(&context, newest, Relation::Selector, true);
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
            objects.named(effect.node),
            Relation::Name,
        );
    }

    /// Objects that the subject refers to.
    fn referenced(&mut self, context: &Context<'_>, objects: &Objects, subject: &Change) {
        let changes = context.changes;
        for other in changes.list(subject.related).iter().take(MAX_REFERENCES) {
            self.pull(context, objects, *other, Relation::Uid);
        }
        for name in changes.list(subject.names).iter().take(MAX_REFERENCES) {
            self.pull(context, objects, objects.named(*name), Relation::Name);
        }
        self.pull(
            context,
            objects,
            objects.named(subject.node),
            Relation::Name,
        );
    }

    /// An object that is created has no inbox yet: whoever selects it, owns it or is named by it. A Pod may
    /// be created for a Node: the one that it will run on.
    fn creation(&mut self, context: &Context<'_>, objects: &Objects, effect: &Change) {
        if effect.object == context.reader.2 {
            self.referenced(context, objects, effect);
            for owner in context
                .changes
                .list(effect.owners)
                .iter()
                .take(MAX_REFERENCES)
            {
                self.pull(context, objects, *owner, Relation::Owner);
            }
        }
        if context.changes.list(effect.owners).is_empty() {
            self.selectors(context, objects, effect);
        }
        if self.without.content {
            return;
        }
        // Whether a loop took notice of a Node shows in the Pod for it, not in what it wrote since.
        let unread = Context {
            seen: i64::MIN,
            ..*context
        };
        let node = objects.future_node(effect.object);
        self.pull_wishes(&unread, objects, objects.named(node));
        let root = context.changes.row(objects.state(context.reader.2).last);
        let runs_everywhere =
            root.is_some_and(|root| context.changes.class(root.kind) == KindClass::DaemonSet);
        if runs_everywhere {
            self.mark_new_node(context, objects, node);
        }
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

    /// A Node that has no Pod yet since it changed, of an owner that was there before, is why there is one now.
    fn mark_new_node(&mut self, context: &Context<'_>, objects: &Objects, node: u32) {
        let root = context.reader.2;
        let last = objects.newest_on_node(root, node);
        let created = objects.state(root).created;
        let is_new =
            |change: u32| (last == NONE || change > last) && (created == NONE || change > created);
        let node = objects.named(node);
        for found in &mut self.found {
            let is_node = context.changes.row(found.change).is_some_and(|change| {
                change.object == node && matches!(change.aspect(), Aspect::Created | Aspect::Spec)
            });
            if is_node && is_new(found.change) {
                found.is_due = true;
                found.is_certain = true;
                found.prior = DUE_PRIOR;
            }
        }
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
        if is_heartbeat(context.changes, cause) {
            return Offer::Unsuitable;
        }
        let Some(is_due) = context.is_due(cause) else {
            return Offer::Unsuitable;
        };
        if let Some(known) = self.found.iter_mut().find(|known| known.change == change) {
            known.evidence = known.evidence.with(Evidence::of(relation));
            known.relation = known.relation.min(relation);
            known.is_pulled &= is_pulled;
            let class = context.changes.class(cause.kind);
            known.prior = known.prior.max(prior_weight(known, cause, class));
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
            is_certain: false,
            commit: cause.commit,
            prior: 0.0,
            delay: limit.saturating_sub(cause.commit),
        };
        let class = context.changes.class(cause.kind);
        candidate.prior = prior_weight(&candidate, cause, class);
        // After its Node is gone, only the clean-up touches a Pod.
        if is_pulled && class == KindClass::Node && cause.op == Op::Delete {
            candidate.is_certain = true;
        }
        self.found.push(candidate);
        Offer::Taken
    }

    /// "The same reconcile as the loop's write before", as a candidate.
    pub(crate) fn continuation(&mut self, effect: &Change, last: u32, last_limit: i64) {
        if self.without.relation(Relation::SameReconcile) {
            return;
        }
        self.found.push(Candidate {
            change: last,
            relation: Relation::SameReconcile,
            evidence: Evidence::of(Relation::SameReconcile),
            is_own: true,
            is_output: false,
            is_pulled: false,
            is_due: false,
            is_certain: false,
            prior: 0.4,
            commit: last_limit,
            delay: effect.limit().saturating_sub(last_limit),
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

/// Heartbeats set nothing off.
pub(crate) fn is_heartbeat(changes: &Changes, cause: &Change) -> bool {
    match changes.class(cause.kind) {
        KindClass::Event | KindClass::Lease => true,
        KindClass::Node => cause.facets.is_status_only() && !cause.facets.has(Facets::CONDITION),
        _ => false,
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
        let Some(generation) = cause.generation.filter(|_| is_generation) else {
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
