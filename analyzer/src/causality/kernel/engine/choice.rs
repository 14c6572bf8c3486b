//! Which of the candidates a write came of.

use super::{Engine, LoopKey, MAX_LOOK_BACK};
use crate::causality::kernel::candidates::{Candidate, candidate_type};
use crate::causality::kernel::change::{ActorSource, Aspect, Change};
use crate::causality::kernel::changes::Changes;
use crate::causality::kernel::evidence::{Evidence, Relation};
use crate::causality::kernel::intern::NONE;
use crate::causality::kernel::model::{EffectType, Model, Sample};
use crate::causality::kernel::output::Edge;

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
/// How much likelier than everything else together is what explains by itself that there is this very object.
const CERTAIN_FACTOR: f64 = 1e5;

impl Engine<'_> {
    /// Gathers what the loop that wrote a change may have reacted to, and says which loop that is.
    pub(super) fn gather(&mut self, index: u32, change: &Change, actor: u32) -> LoopKey {
        let key = self.loop_key(change, actor);
        let cursor = self.cursors.get(key.0, key.2);
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
        if let Some(cursor) = cursor
            && !self
                .gatherer
                .has_news_since(self.changes, change, cursor.last_limit)
        {
            // Of a program with several loops, one may react to what another wrote.
            if key.1 == NONE {
                self.gatherer.drop_outputs();
            }
            self.gatherer
                .continuation(self.changes, change, key.2, cursor.last, cursor.last_limit);
        }
        key
    }

    fn loop_key(&self, change: &Change, actor: u32) -> LoopKey {
        let root = self
            .statistics
            .reconcile_root(self.changes, &self.objects, change, actor);
        let kind =
            if change.actor_source == ActorSource::Request || self.statistics.is_one_loop(actor) {
                NONE
            } else {
                change.kind
            };
        (actor, kind, root)
    }

    /// The rate of all candidates together.
    pub(super) fn total_rate(&mut self, change: &Change, actor: u32, root: u32) -> f64 {
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
            .row(self.objects.state(root).last)
            .map_or(change.kind, |root| root.kind);
        let reason = self.changes.ties(change).reason;
        let detail = if reason == NONE { root_kind } else { reason };
        let key = (actor, change.kind, change.aspect(), detail);
        let next = u32::try_from(self.effect_types.len()).unwrap_or(NONE);
        *self.effect_types.entry(key).or_insert(next)
    }

    /// Chooses among the gathered candidates; `false` if there are none.
    pub(super) fn decide(
        &mut self,
        index: u32,
        change: &Change,
        actor: u32,
        key: Option<LoopKey>,
    ) -> bool {
        let root = key.map_or(change.object, |key| key.2);
        let effect = self.effect_type(change, actor, root);
        let limit = change.limit();
        if let Some(samples) = self.samples.as_deref_mut()
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
            if is_wish && found.is_due && !found.is_certain {
                rate * DUE_FACTOR
            } else {
                rate
            }
        }));
        prefer_certain(&self.gatherer.found, &mut rates);
        let best = rates
            .iter()
            .enumerate()
            .max_by(|left, right| left.1.total_cmp(right.1).then(right.0.cmp(&left.0)))
            .map(|(best, _)| best);
        let chosen = best.and_then(|best| self.gatherer.found.get(best).copied());
        if let Some(chosen) = chosen {
            self.choose(effect, &chosen, &rates);
            // What was put right is as it had been wanted before.
            let is_put_right = chosen.is_certain
                && self
                    .changes
                    .row(chosen.change)
                    .is_some_and(|cause| cause.object == change.object);
            if is_wish && key.is_some() && !is_put_right {
                self.add_wish(index, change, actor, root);
            }
            let seen = key
                .and_then(|key| self.cursors.get(key.0, key.2))
                .map_or(i64::MIN, |cursor| cursor.seen);
            self.add_merged(change, effect, seen);
        }
        self.rates = rates;
        if let Some(key) = key {
            let continues = chosen.is_some_and(|chosen| chosen.relation == Relation::SameReconcile);
            // What was committed later than this, the loop cannot have learnt of.
            let seen = limit.saturating_sub(self.model.shortest_delay(effect));
            self.cursors.update(key.0, key.2, |cursor| {
                let is_first = cursor.last == NONE;
                if is_first || !continues {
                    cursor.seen = cursor.seen.max(seen);
                }
                cursor.last_limit = limit;
                cursor.last = index;
            });
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
            .filter(|wish| *wish != self.gatherer.postponed)
            .find(|wish| {
                self.changes.row(*wish).is_some_and(|wish| {
                    matches!(wish.aspect(), Aspect::Created | Aspect::Spec)
                        && wish.commit <= change.limit()
                        && seen.after.is_none_or(|after| {
                            wish.generation
                                .get()
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
            .filter_map(|edge| self.roots.roots(edge.cause).iter().copied().max())
            .max();
        if newest > reached && !self.without.relation(Relation::Owner) {
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
    fn choose(&mut self, effect: EffectType, chosen: &Candidate, rates: &[f64]) {
        let total = rates.iter().sum::<f64>() + Model::spontaneous_rate();
        if chosen.relation == Relation::SameReconcile {
            let confidence = self.shared_rate(chosen, rates) / total;
            match self.quotas.causes(chosen.change) {
                Some(causes) => self.graph.copy_edges(causes, confidence),
                None => self.graph.copy_causes(chosen.change, confidence),
            }
            return;
        }
        let weight_of =
            |candidate: &Candidate| self.model.weight(effect, sample(self.changes, candidate));
        let weight = weight_of(chosen);
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..self.gatherer.found.len());
        let rate_of = |place: &usize| rates.get(*place).copied().unwrap_or(0.0);
        order.sort_by(|left, right| rate_of(right).total_cmp(&rate_of(left)));
        let mut rejected = 0;
        for candidate in order
            .iter()
            .filter_map(|place| self.gatherer.found.get(*place))
        {
            let is_chosen =
                candidate.change == chosen.change && candidate.relation == chosen.relation;
            let is_other = candidate.relation != Relation::SameReconcile;
            let is_near = is_other
                && !candidate.is_own
                && candidate.commit <= chosen.commit
                && chosen.commit - candidate.commit <= BATCH_NS;
            let is_cause = is_chosen
                || is_near && {
                    let candidate_weight = weight_of(candidate);
                    candidate_weight >= BATCH_WEIGHT && candidate_weight >= BATCH_SHARE * weight
                };
            // The confidence takes a look at all candidates: only where it is asked for.
            if !is_cause && (rejected >= KEPT_REJECTED || !is_other) {
                continue;
            }
            let confidence = self.shared_rate(candidate, rates) / total;
            if !is_cause && confidence < REJECTED_CONFIDENCE {
                continue;
            }
            rejected += usize::from(!is_cause);
            self.graph.push(Edge {
                cause: candidate.change,
                evidence: candidate.evidence,
                confidence: confidence as f32,
                is_chosen: is_cause,
            });
        }
        self.order = order;
    }
}

/// Raises the rates of candidates that are certain above those of all others, however soon these came.
fn prefer_certain(found: &[Candidate], rates: &mut [f64]) {
    let sum = |is_certain: bool, rates: &[f64]| -> f64 {
        found
            .iter()
            .zip(rates)
            .filter(|(found, _)| found.is_certain == is_certain)
            .map(|(_, rate)| rate)
            .sum()
    };
    let (certain, others) = (sum(true, rates), sum(false, rates));
    if certain <= 0.0 {
        return;
    }
    let factor = CERTAIN_FACTOR * (others / certain).max(1.0);
    for (found, rate) in found.iter().zip(rates) {
        if found.is_certain {
            *rate *= factor;
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
