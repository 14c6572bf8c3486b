//! Walks the changes in revision order and finds the cause of each.

use super::builder::Changes;
use super::candidates::{Candidate, Gatherer, candidate_type, is_heartbeat};
use super::change::{ActorSource, Aspect, Change, Facets, NO_TIME, Op};
use super::evidence::{Evidence, Relation};
use super::hash::FastMap;
use super::intern::NONE;
use super::kinds::KindClass;
use super::model::{EffectType, Model, Sample, Samples};
use super::objects::Objects;
use super::output::{Edge, Graph, RootClass};
use super::root_sets::RootSets;
use super::statistics::Statistics;

/// Candidates within this time before the cause were most likely taken in by the same reconcile.
const BATCH_NS: i64 = 20_000_000;
/// A candidate of a batch weighs at least this, and this much of the weight of the cause.
const BATCH_WEIGHT: f64 = 0.2;
const BATCH_SHARE: f64 = 0.5;
/// Rejected candidates that are kept, and the confidence from which on they are.
const KEPT_REJECTED: usize = 3;
const REJECTED_CONFIDENCE: f64 = 0.02;
/// How much likelier a wish is that a loop saw for the first time when it acted on what it owns.
const DUE_FACTOR: f64 = 20.0;
const CERTAIN_FACTOR: f64 = 1e5;
/// Deletions per second by clients that a reconciler's reasons must outweigh.
const CLIENT_DELETION_RATE: f64 = 0.02;
/// How long after a quota was counted up the object that it was counted for is stored.
const QUOTA_NS: i64 = 200_000_000;
/// How long one request may take that writes an object twice.
const REQUEST_NS: i64 = 1_000_000_000;
/// How long a rollout may take until its last object is replaced.
const ROLLOUT_NS: i64 = 60_000_000_000;
/// Own changes of an object that are looked at for the last that says something.
const MAX_LOOK_BACK: usize = 64;
/// Candidates that are enough to learn from.
const ENOUGH_SAMPLES: usize = 2_000_000;

/// What a loop has seen of the objects around one it works on.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Everything committed until then was seen.
    seen: i64,
    /// Limit of its newest write.
    last_limit: i64,
    /// Its newest write.
    last: u32,
}

/// Who reconciles what: actor, kind written (only for actors that are known as a program, which may
/// hold many loops), and the object that the loop works on.
type LoopKey = (u32, u32, u32);

/// What a change came of.
enum Verdict {
    /// Nothing that is in the trace.
    Root(RootClass),
    /// Edges were added.
    Caused,
}

/// The causes of every change.
pub(crate) fn causes(changes: &Changes, statistics: &Statistics) -> Graph {
    let mut samples = Samples::default();
    let unlearnt = Model::unlearnt();
    Engine::new(changes, statistics, &unlearnt, Some(&mut samples)).run();
    let model = Model::learn(&samples);
    drop(samples);
    Engine::new(changes, statistics, &model, None).run()
}

struct Engine<'a> {
    changes: &'a Changes,
    statistics: &'a Statistics,
    model: &'a Model,
    samples: Option<&'a mut Samples>,
    objects: Objects,
    cursors: FastMap<LoopKey, Cursor>,
    effect_types: FastMap<(u32, u32, Aspect, u32), EffectType>,
    gatherer: Gatherer,
    graph: Graph,
    roots: RootSets,
    rates: Vec<f64>,
    /// Per namespace: writes to quotas inside of requests whose own change is still to come.
    pending: FastMap<u32, Vec<u32>>,
    /// Causes of such writes.
    late: Vec<(u32, Edge)>,
}

impl<'a> Engine<'a> {
    fn new(
        changes: &'a Changes,
        statistics: &'a Statistics,
        model: &'a Model,
        samples: Option<&'a mut Samples>,
    ) -> Self {
        Self {
            changes,
            statistics,
            model,
            samples,
            objects: Objects::new(changes),
            cursors: FastMap::default(),
            effect_types: FastMap::default(),
            gatherer: Gatherer::default(),
            graph: Graph::new(changes.rows.len()),
            roots: RootSets::default(),
            rates: Vec::new(),
            pending: FastMap::default(),
            late: Vec::new(),
        }
    }

    fn run(mut self) -> Graph {
        let changes = self.changes;
        for (index, change) in changes.rows.iter().enumerate() {
            // The builder counts rows with 32 bits.
            let Ok(index) = u32::try_from(index) else {
                break;
            };
            self.graph.begin(index);
            if let Verdict::Root(class) = self.judge(index, change) {
                self.graph.root(index, class);
            }
            self.settle_quotas(index, change);
            let causes = self.graph.chosen(index).map(|edge| edge.cause);
            self.roots.add(index, causes);
            self.objects.add(changes, index, change);
        }
        self.graph.replace_causes(self.late);
        self.graph.set_bases(self.objects.into_previous());
        self.graph
    }

    /// The rules in the order of their strength.
    fn judge(&mut self, index: u32, change: &Change) -> Verdict {
        let class = self.changes.class(change.kind);
        if self.changes.is_client(change.actor) && !self.ends_own_deletion(change) {
            return Verdict::Root(RootClass::Client);
        }
        if self.is_expiry(change) {
            return Verdict::Root(RootClass::Lease);
        }
        if class == KindClass::Event && change.op != Op::Delete {
            return self.event(index, change);
        }
        if class == KindClass::Lease && change.op == Op::Update || self.is_heartbeat(change, class)
        {
            return Verdict::Root(RootClass::Timer);
        }
        if matches!(change.aspect(), Aspect::Deleted | Aspect::DeletionRequested)
            && let Some(verdict) = self.deletion(index, change)
        {
            return verdict;
        }
        if self.is_clockwork(change) {
            return Verdict::Root(RootClass::Timer);
        }
        self.reaction(index, change, change.actor)
    }

    /// kube-apiserver counts an object against the quotas of its namespace before it stores the object, and
    /// gives it back after deleting it: the quota's change comes of what the object's change comes of.
    fn settle_quotas(&mut self, index: u32, change: &Change) {
        if self.changes.class(change.kind) == KindClass::Quota {
            if change.op == Op::Update && change.facets.is_status_only() {
                self.pending
                    .entry(change.namespace)
                    .or_default()
                    .push(index);
            }
            return;
        }
        if change.op != Op::Create || !self.pending.contains_key(&change.namespace) {
            return;
        }
        for quota in self.pending.remove(&change.namespace).unwrap_or_default() {
            let is_request = self.changes.rows.get(quota as usize).is_some_and(|quota| {
                (change.request == NO_TIME || change.request <= quota.commit)
                    && change.commit - quota.commit <= QUOTA_NS
            });
            if !is_request {
                continue;
            }
            for edge in self.graph.open().iter().filter(|edge| edge.is_chosen) {
                if edge.cause < quota {
                    let edge = Edge {
                        evidence: Evidence::of(Relation::Request),
                        ..*edge
                    };
                    self.late.push((quota, edge));
                }
            }
        }
    }

    /// A status of a Node that says nothing new, and that nothing new of the Node itself explains.
    fn is_heartbeat(&self, change: &Change, class: KindClass) -> bool {
        if class != KindClass::Node
            || !change.facets.is_status_only()
            || change.facets.has(Facets::CONDITION)
        {
            return false;
        }
        let before = self.objects.state(change.object).last;
        self.changes
            .rows
            .get(before as usize)
            .is_some_and(|before| before.actor == change.actor || before.facets.is_status_only())
    }

    /// The second half of one request: an object that nobody has to let go is marked as being deleted and deleted
    /// at once.
    fn ends_own_deletion(&self, change: &Change) -> bool {
        let asked = self.objects.state(change.object).deletion;
        change.op == Op::Delete
            && change.deleting
            && self.changes.rows.get(asked as usize).is_some_and(|asked| {
                asked.actor == change.actor && change.commit - asked.commit <= REQUEST_NS
            })
    }

    /// Deleted by etcd itself because its lease ran out: nobody called.
    fn is_expiry(&self, change: &Change) -> bool {
        change.op == Op::Delete
            && change.leased
            && change.actor_source != ActorSource::Request
            && (!self.changes.has_calls || change.call == NO_TIME)
    }

    /// Written because it was time: CronJobs create Jobs, autoscalers scale.
    fn is_clockwork(&self, change: &Change) -> bool {
        if change.scaled && change.op == Op::Update {
            return true;
        }
        let Some(owner) = self.changes.list(change.owners).first() else {
            return false;
        };
        let last = self.objects.state(*owner).last;
        change.op == Op::Create
            && self
                .changes
                .rows
                .get(last as usize)
                .is_some_and(|owner| self.changes.class(owner.kind) == KindClass::CronJob)
    }

    /// An Event tells of something that its reporter did or saw on the object it is about.
    fn event(&mut self, index: u32, change: &Change) -> Verdict {
        let changes = self.changes;
        let Some(about) = changes.list(change.related).first().copied() else {
            return Verdict::Root(RootClass::External);
        };
        self.gatherer.clear();
        self.gatherer
            .event(changes, &self.objects, index, change, about);
        if self.decide(index, change, change.actor, None) {
            return Verdict::Caused;
        }
        Verdict::Root(RootClass::Preexisting)
    }

    /// Deletions follow other deletions: of the object itself, its owner, its namespace.
    fn deletion(&mut self, index: u32, change: &Change) -> Option<Verdict> {
        let changes = self.changes;
        let state = self.objects.state(change.object);
        if change.op == Op::Delete && state.deletion != NONE {
            let cause = self.last_hindrance(change, state.deletion);
            self.graph.add(index, cause, Relation::Deletion, 0.97);
            if cause != state.deletion {
                self.graph
                    .add(index, state.deletion, Relation::Deletion, 0.9);
            }
            return Some(Verdict::Caused);
        }
        if change.op == Op::Delete && change.deleting {
            // Asked for before the trace began.
            return Some(Verdict::Root(RootClass::Preexisting));
        }
        let namesake = [self.objects.named(change.namesake)];
        let owners = match changes.list(change.owners) {
            [] => &namesake,
            owners => owners,
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
            self.graph.add(index, cause, Relation::Deletion, 0.98);
            return Some(Verdict::Caused);
        }
        let namespace = self.objects.state(self.objects.named(change.namespace));
        if namespace.deletion != NONE {
            self.graph
                .add(index, namespace.deletion, Relation::Deletion, 0.97);
            return Some(Verdict::Caused);
        }
        if change.actor != NONE {
            return None;
        }
        Some(self.deletion_by_someone(index, change))
    }

    /// What had to happen after deletion was asked for: a finalizer removed by someone, or the deletion
    /// of what the object owns.
    fn last_hindrance(&self, change: &Change, asked: u32) -> u32 {
        let own = self
            .objects
            .own_changes(change.object)
            .take_while(|own| *own > asked)
            .find(|own| {
                self.changes
                    .rows
                    .get(*own as usize)
                    .is_some_and(|own| own.facets.has(Facets::FINALIZERS))
            });
        own.unwrap_or(asked)
    }

    /// A deletion by nobody knows whom. If the one who created the object has a reason to delete it, it
    /// was most likely that one; else a client.
    fn deletion_by_someone(&mut self, index: u32, change: &Change) -> Verdict {
        let created = self.objects.state(change.object).created;
        let creator = self
            .changes
            .rows
            .get(created as usize)
            .map_or(NONE, |created| created.actor);
        if creator == NONE || self.changes.is_client(creator) {
            return Verdict::Root(RootClass::Client);
        }
        self.gather(index, change, creator);
        self.gatherer
            .own(self.changes, &self.objects, index, change);
        let key = self.loop_key(change, creator);
        let is_due = self.gatherer.found.iter().any(|found| found.is_due)
            || self.has_new_wish(change, key.2, created);
        let is_likely = is_due || self.total_rate(change, creator, key.2) > CLIENT_DELETION_RATE;
        if is_likely && self.decide(index, change, creator, Some(key)) {
            return Verdict::Caused;
        }
        Verdict::Root(RootClass::Client)
    }

    /// Whether the owner's spec was changed since an object was created, not long ago.
    fn has_new_wish(&self, change: &Change, owner: u32, created: u32) -> bool {
        owner != change.object
            && self
                .objects
                .own_changes(owner)
                .take_while(|wish| *wish > created)
                .take(MAX_LOOK_BACK)
                .filter_map(|wish| self.changes.rows.get(wish as usize))
                .any(|wish| {
                    wish.aspect() == Aspect::Spec && change.limit() - wish.commit < ROLLOUT_NS
                })
    }

    /// A reconciler reacts to something around the object that it works on.
    fn reaction(&mut self, index: u32, change: &Change, actor: u32) -> Verdict {
        self.gather(index, change, actor);
        let key = self.loop_key(change, actor);
        if self.decide(index, change, actor, Some(key)) {
            return Verdict::Caused;
        }
        let before = self
            .objects
            .own_changes(change.object)
            .take(MAX_LOOK_BACK)
            .find(|before| {
                self.changes
                    .rows
                    .get(*before as usize)
                    .is_some_and(|before| !is_heartbeat(self.changes, before))
            })
            .unwrap_or(NONE);
        if before != NONE {
            self.graph.add(index, before, Relation::SameObject, 0.3);
            return Verdict::Caused;
        }
        Verdict::Root(self.unexplained(change))
    }

    /// The class of a root that no rule explains.
    fn unexplained(&self, change: &Change) -> RootClass {
        if change.op != Op::Create {
            return RootClass::Preexisting;
        }
        if !self.changes.list(change.owners).is_empty() {
            return RootClass::Orphan;
        }
        RootClass::External
    }

    fn gather(&mut self, index: u32, change: &Change, actor: u32) {
        let key = self.loop_key(change, actor);
        let cursor = self.cursors.get(&key);
        let seen = cursor.map_or(i64::MIN, |cursor| cursor.seen);
        self.gatherer.clear();
        self.gatherer.family(
            self.changes,
            &self.objects,
            index,
            change,
            (actor, key.1, key.2),
            seen,
        );
        if let Some(cursor) = cursor {
            self.gatherer
                .continuation(change, cursor.last, cursor.last_limit);
        }
    }

    fn loop_key(&self, change: &Change, actor: u32) -> LoopKey {
        let root = self
            .statistics
            .reconcile_root(self.changes, &self.objects, change, actor);
        let kind = if change.actor_source == ActorSource::Request {
            NONE
        } else {
            change.kind
        };
        (actor, kind, root)
    }

    /// The rate of all candidates together.
    fn total_rate(&mut self, change: &Change, actor: u32, root: u32) -> f64 {
        let effect = self.effect_type(change, actor, root);
        self.gatherer
            .found
            .iter()
            .map(|found| self.model.rate(effect, sample(self.changes, found)))
            .sum()
    }

    /// The kind of a write: by whom, on what, in which respect, and for what kind of object.
    fn effect_type(&mut self, change: &Change, actor: u32, root: u32) -> EffectType {
        let root_kind = self
            .changes
            .rows
            .get(self.objects.state(root).last as usize)
            .map_or(change.kind, |root| root.kind);
        let detail = if change.reason == NONE {
            root_kind
        } else {
            change.reason
        };
        let key = (actor, change.kind, change.aspect(), detail);
        let next = u32::try_from(self.effect_types.len()).unwrap_or(NONE);
        *self.effect_types.entry(key).or_insert(next)
    }

    /// Chooses among the gathered candidates; `false` if there are none.
    fn decide(&mut self, index: u32, change: &Change, actor: u32, key: Option<LoopKey>) -> bool {
        let root = key.map_or(change.object, |key| key.2);
        let effect = self.effect_type(change, actor, root);
        let limit = change.limit();
        if let Some(samples) = self.samples.as_deref_mut()
            && samples.len() < ENOUGH_SAMPLES
            && !self.gatherer.found.is_empty()
        {
            let changes = self.changes;
            samples.add(
                effect,
                self.gatherer
                    .found
                    .iter()
                    .map(|found| sample(changes, found)),
            );
        }
        let mut rates = std::mem::take(&mut self.rates);
        rates.clear();
        let is_wish = root != change.object;
        rates.extend(self.gatherer.found.iter().map(|found| {
            let rate = self.model.rate(effect, sample(self.changes, found));
            // The first reconcile that sees a new wish acts on it.
            if found.is_certain {
                rate * CERTAIN_FACTOR
            } else if is_wish && found.is_due {
                rate * DUE_FACTOR
            } else {
                rate
            }
        }));
        let best = rates
            .iter()
            .enumerate()
            .max_by(|left, right| left.1.total_cmp(right.1).then(right.0.cmp(&left.0)))
            .map(|(best, _)| best);
        let chosen = best.and_then(|best| self.gatherer.found.get(best).copied());
        if let Some(chosen) = chosen {
            self.choose(index, effect, &chosen, &rates);
            if is_wish && key.is_some() {
                self.add_wish(index, change, actor, root);
            }
        }
        self.rates = rates;
        if let Some(key) = key {
            let continues = chosen.is_some_and(|chosen| chosen.relation == Relation::SameReconcile);
            let cursor = self.cursors.entry(key).or_insert(Cursor {
                seen: limit,
                last_limit: limit,
                last: index,
            });
            if !continues {
                cursor.seen = cursor.seen.max(limit);
            }
            cursor.last_limit = limit;
            cursor.last = index;
        }
        chosen.is_some()
    }

    /// What a loop wants of the objects that its own one owns follows the newest wish that it has seen, even when
    /// something else sets the pace: pods that become ready, in a rollout.
    fn add_wish(&mut self, index: u32, change: &Change, actor: u32, root: u32) {
        let seen = self.objects.observed(root, actor, index);
        let wish = self
            .objects
            .own_changes(root)
            .take(MAX_LOOK_BACK)
            .find(|wish| {
                self.changes.rows.get(*wish as usize).is_some_and(|wish| {
                    matches!(wish.aspect(), Aspect::Created | Aspect::Spec)
                        && wish.commit <= change.limit()
                        && seen.after.is_none_or(|after| {
                            wish.generation
                                .is_some_and(|generation| generation <= after)
                        })
                })
            });
        let Some(wish) = wish else {
            return;
        };
        let newest = self.roots.roots(wish).iter().copied().max();
        let reached = self
            .graph
            .open()
            .iter()
            .filter(|edge| edge.is_chosen)
            .flat_map(|edge| self.roots.roots(edge.cause))
            .copied()
            .max();
        if newest > reached {
            self.graph.push(Edge {
                cause: wish,
                evidence: Evidence::of(Relation::Owner),
                confidence: 0.9,
                is_chosen: true,
            });
        }
    }

    /// The rate of all candidates that come of the same cascade as one of them.
    fn shared_rate(&self, candidate: &Candidate, rates: &[f64]) -> f64 {
        let roots = self.roots.roots(candidate.change);
        self.gatherer
            .found
            .iter()
            .zip(rates)
            .filter(|(other, _)| {
                other.change == candidate.change
                    || self
                        .roots
                        .roots(other.change)
                        .iter()
                        .any(|root| roots.binary_search(root).is_ok())
            })
            .map(|(_, rate)| rate)
            .sum()
    }

    /// Adds the edges of a decision: the cause, its batch, and what was rejected.
    fn choose(&mut self, index: u32, effect: EffectType, chosen: &Candidate, rates: &[f64]) {
        let total = rates.iter().sum::<f64>() + Model::spontaneous_rate();
        if chosen.relation == Relation::SameReconcile {
            let confidence = self.shared_rate(chosen, rates) / total;
            self.graph.copy_causes(index, chosen.change, confidence);
            return;
        }
        let weight_of =
            |candidate: &Candidate| self.model.weight(effect, sample(self.changes, candidate));
        let weight = weight_of(chosen);
        let mut rejected = 0;
        let mut by_rate: Vec<(&Candidate, &f64)> = self.gatherer.found.iter().zip(rates).collect();
        by_rate.sort_by(|left, right| right.1.total_cmp(left.1));
        for (candidate, _) in by_rate {
            let confidence = self.shared_rate(candidate, rates) / total;
            let is_chosen =
                candidate.change == chosen.change && candidate.relation == chosen.relation;
            let candidate_weight = weight_of(candidate);
            let is_batch = candidate.relation != Relation::SameReconcile
                && !candidate.is_own
                && candidate.commit <= chosen.commit
                && chosen.commit - candidate.commit <= BATCH_NS
                && candidate_weight >= BATCH_WEIGHT
                && candidate_weight >= BATCH_SHARE * weight;
            if is_chosen || is_batch {
                self.graph.push(Edge {
                    cause: candidate.change,
                    evidence: candidate.evidence,
                    confidence: confidence as f32,
                    is_chosen: true,
                });
            } else if rejected < KEPT_REJECTED
                && confidence >= REJECTED_CONFIDENCE
                && candidate.relation != Relation::SameReconcile
            {
                rejected += 1;
                self.graph.push(Edge {
                    cause: candidate.change,
                    evidence: candidate.evidence,
                    confidence: confidence as f32,
                    is_chosen: false,
                });
            }
        }
    }
}

fn sample(changes: &Changes, candidate: &Candidate) -> Sample {
    Sample {
        candidate: candidate_type(changes, candidate),
        delay: candidate.delay,
        is_continuation: candidate.relation == Relation::SameReconcile,
        prior: candidate.prior,
    }
}

/// Used by rules that need no choice.
impl Graph {
    fn add(&mut self, _effect: u32, cause: u32, relation: Relation, confidence: f32) {
        self.push(Edge {
            cause,
            evidence: Evidence::of(relation),
            confidence,
            is_chosen: true,
        });
    }
}
