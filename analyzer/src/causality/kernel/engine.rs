//! Walks the changes in revision order and finds the cause of each.

mod choice;
mod cursors;
mod deletions;
mod merges;
mod quotas;

use std::sync::Arc;

use super::blocks::block_at;
use super::candidates::is_heartbeat;
use super::change::{ActorSource, Aspect, Change, Facets, NO_TIME, Op};
use super::changes::Changes;
use super::evidence::{Evidence, Relation};
use super::foresight::Foresight;
use super::gatherer::Gatherer;
use super::hash::FastMap;
use super::intern::NONE;
use super::kinds::KindClass;
use super::model::{EffectType, Model, Samples};
use super::objects::Objects;
use super::output::{Edge, Graph, RootClass};
use super::root_sets::RootSets;
use super::statistics::Statistics;
use super::without::Without;
use cursors::Cursors;
use quotas::Quotas;

/// Candidates that are enough to learn from.
const ENOUGH_SAMPLES: usize = 2_000_000;
/// Loops react to changes sooner than this, unless they wait for something.
const LONG_AGO_NS: i64 = 60_000_000_000;
/// Own changes of an object that are looked at for the last that says something.
const MAX_LOOK_BACK: usize = 64;

/// Who reconciles what: actor, kind written (only for programs that hold several loops), and the object that the
/// loop works on.
type LoopKey = (u32, u32, u32);

/// What a change came of.
enum Verdict {
    /// Nothing that is in the trace.
    Root(RootClass),
    /// Edges were added.
    Caused,
}

/// The causes of every change.
pub(crate) fn causes(changes: &Changes, statistics: &Statistics, without: Without) -> Graph {
    let foresight = Arc::new(Foresight::of(changes));
    let model = if without.learnt {
        Model::unlearnt()
    } else {
        learnt(changes, statistics, &foresight, without)
    };
    Engine::new(changes, statistics, foresight, &model, without, None).run()
}

/// What the changes teach; of a long trace its begin is enough.
fn learnt(
    changes: &Changes,
    statistics: &Statistics,
    foresight: &Arc<Foresight>,
    without: Without,
) -> Model {
    let mut samples = Samples::default();
    let unlearnt = Model::unlearnt();
    let foresight = Arc::clone(foresight);
    let samples_of = Some(&mut samples);
    Engine::new(
        changes, statistics, foresight, &unlearnt, without, samples_of,
    )
    .run();
    Model::learn(&samples)
}

struct Engine<'a> {
    changes: &'a Changes,
    statistics: &'a Statistics,
    model: &'a Model,
    without: Without,
    samples: Option<&'a mut Samples>,
    objects: Objects,
    /// The loops of one program that work on one object are hardly ever several.
    cursors: Cursors,
    effect_types: FastMap<(u32, u32, Aspect, u32), EffectType>,
    gatherer: Gatherer,
    graph: Graph,
    roots: RootSets,
    rates: Vec<f64>,
    /// Places of candidates, the likeliest first.
    order: Vec<usize>,
    quotas: Quotas,
}

impl<'a> Engine<'a> {
    fn new(
        changes: &'a Changes,
        statistics: &'a Statistics,
        foresight: Arc<Foresight>,
        model: &'a Model,
        without: Without,
        samples: Option<&'a mut Samples>,
    ) -> Self {
        Self {
            changes,
            statistics,
            model,
            without,
            samples,
            objects: Objects::new(changes, foresight),
            cursors: Cursors::new(changes),
            effect_types: FastMap::default(),
            gatherer: Gatherer::new(without),
            graph: Graph::new(changes.rows.len(), &changes.storage),
            roots: RootSets::new(&changes.storage),
            rates: Vec::new(),
            order: Vec::new(),
            quotas: Quotas::default(),
        }
    }

    fn run(mut self) -> Graph {
        let changes = self.changes;
        let is_memory = !changes.storage.is_file();
        for (index, change) in changes.rows.iter().enumerate() {
            // What is in a file is not fetched from memory.
            let block = block_at(index, changes.rows.len()).filter(|_| is_memory);
            if let Some(block) = block {
                self.objects.fetch(changes, &changes.rows.slice(block));
            }
            // The builder counts rows with 32 bits.
            let Ok(index) = u32::try_from(index) else {
                break;
            };
            if self.has_learnt_enough() {
                break;
            }
            self.graph.begin();
            if let Verdict::Root(class) = self.judge(index, &change) {
                self.graph.root(index, class);
            }
            self.settle_quotas(index, &change);
            let causes = self.graph.chosen(index).map(|edge| edge.cause);
            self.roots.add(index, causes);
            self.objects.add(changes, index, &change);
        }
        // The edges may be copied: what is no longer needed makes room.
        drop((self.roots, self.cursors, self.gatherer));
        self.graph.close();
        self.graph.set_bases(self.objects.into_previous());
        self.graph.replace_causes(self.quotas.into_causes());
        self.graph
    }

    /// Whether this is the pass that only collects samples, and has all that are wanted.
    fn has_learnt_enough(&self) -> bool {
        let samples = self.samples.as_deref();
        samples.is_some_and(|samples| samples.len() >= ENOUGH_SAMPLES)
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
        let is_renewal = change.op == Op::Update && self.changes.is_lease(change);
        if is_renewal || self.is_heartbeat(change, class) {
            return Verdict::Root(RootClass::Timer);
        }
        if matches!(change.aspect(), Aspect::Deleted | Aspect::DeletionRequested)
            && !self.without.relation(Relation::Deletion)
            && let Some(verdict) = self.deletion(index, change)
        {
            return verdict;
        }
        if self.is_eviction(change) {
            return Verdict::Root(RootClass::Client);
        }
        if self.is_clockwork(change) {
            return Verdict::Root(RootClass::Timer);
        }
        self.reaction(index, change, change.actor)
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
            .row(before)
            .is_some_and(|before| before.actor == change.actor || before.facets.is_status_only())
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
        let Some(owner) = self.changes.owners(change).first().copied() else {
            return false;
        };
        let last = self.objects.state(owner).last;
        change.op == Op::Create
            && self
                .changes
                .row(last)
                .is_some_and(|owner| self.changes.class(owner.kind) == KindClass::CronJob)
    }

    /// The first half of an eviction, a request of a client: kube-apiserver announces it on the Pod, as nobody.
    pub(super) fn is_eviction(&self, change: &Change) -> bool {
        change.actor == NONE && change.op == Op::Update && change.facets.has(Facets::DISRUPTION)
    }

    /// A change of a spec by somebody whose entry is gone with what it had set, when nothing has happened that a loop could
    /// react to: a client took something back.
    fn is_undone_by_client(&self, change: &Change) -> bool {
        change.actor == NONE
            && change.aspect() == Aspect::Spec
            && self
                .gatherer
                .found
                .iter()
                .all(|found| found.delay > LONG_AGO_NS)
    }

    /// An Event tells of something that its reporter did or saw on the object it is about.
    fn event(&mut self, index: u32, change: &Change) -> Verdict {
        let changes = self.changes;
        let Some(about) = changes.related(change).first().copied() else {
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

    /// A reconciler reacts to something around the object that it works on.
    fn reaction(&mut self, index: u32, change: &Change, actor: u32) -> Verdict {
        let key = self.gather(index, change, actor);
        if self.is_undone_by_client(change) {
            return Verdict::Root(RootClass::Client);
        }
        if self.decide(index, change, actor, Some(key)) {
            return Verdict::Caused;
        }
        let before = self
            .objects
            .own_changes(change.object)
            .take(MAX_LOOK_BACK)
            .find(|before| {
                self.changes
                    .row(*before)
                    .is_some_and(|before| !is_heartbeat(self.changes, &before))
            })
            .unwrap_or(NONE);
        if before != NONE && !self.without.relation(Relation::SameObject) {
            self.graph.add(before, Relation::SameObject, 0.3);
            return Verdict::Caused;
        }
        Verdict::Root(self.unexplained(change))
    }

    /// The class of a root that no rule explains.
    fn unexplained(&self, change: &Change) -> RootClass {
        if change.op != Op::Create {
            return RootClass::Preexisting;
        }
        if !self.changes.owners(change).is_empty() {
            return RootClass::Orphan;
        }
        RootClass::External
    }
}

/// Used by rules that need no choice.
impl Graph {
    fn add(&mut self, cause: u32, relation: Relation, confidence: f32) {
        self.push(Edge {
            cause,
            evidence: Evidence::of(relation),
            confidence,
            is_chosen: true,
        });
    }
}
