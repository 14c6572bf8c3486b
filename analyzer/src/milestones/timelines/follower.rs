//! What is known of every object while the changes pass.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::conditions::Conditions;
use super::evaluation::Held;
use super::{History, MOST_MILESTONES, Maybe, Object, ObjectChange, Occurrence, State, Timelines};
use crate::causality::kernel::{FastMap, Interner, NONE, block_at, hash_of_text};
use crate::derive::columns::text;
use crate::error::Error;
use crate::milestones::declaration::Declaration;
use crate::report::rows::{flags, integer, integers, texts};

/// Milestones that every kind has.
const CREATED: &str = "created";
const DELETION_REQUESTED: &str = "deletion_requested";
const DELETED: &str = "deleted";
/// What milestones by rule begin with.
const CONDITION: &str = "condition.";
/// The condition that says whether objects of kinds that are not declared are as their spec wants them.
const READY: &str = "Ready";

/// Follows the objects through the changes, which come in order.
pub(super) struct Follower {
    found: Timelines,
    numbers: HashMap<Arc<str>, u32>,
    /// Milestones by rule, by the number of their condition's name.
    by_rule: FastMap<u32, u32>,
    /// Names of conditions.
    conditions: Interner,
    /// Numbers of the milestones of each declared kind, by bit.
    declared: Vec<Vec<u32>>,
    can_converge: Vec<bool>,
    created: u32,
    deletion_requested: u32,
    deleted: u32,
    /// Objects that exist, by the number of their key.
    living: FastMap<u32, Living>,
    /// The milestones that hold after the change that is looked at.
    held: Vec<u32>,
}

/// What an object was after its last change.
#[derive(Debug)]
struct Living {
    object: u32,
    version: Option<i64>,
    held: Vec<u32>,
    generation: Maybe,
    generation_began: u32,
    /// Where its occurrences of this generation begin.
    occurrences: usize,
}

/// A change, as far as milestones are concerned.
struct Step {
    change: ObjectChange,
    version: Option<i64>,
    is_created: bool,
    is_gone: bool,
    is_converged: bool,
    can_converge: bool,
}

impl Follower {
    pub(super) fn new(kinds: &[Declaration]) -> Result<Self, Error> {
        let mut follower = Self {
            found: Timelines::default(),
            numbers: HashMap::new(),
            by_rule: FastMap::default(),
            conditions: Interner::default(),
            declared: Vec::new(),
            can_converge: kinds.iter().map(|kind| kind.converged.is_some()).collect(),
            created: 0,
            deletion_requested: 0,
            deleted: 0,
            living: FastMap::default(),
            held: Vec::new(),
        };
        follower.created = follower.number(CREATED);
        follower.deletion_requested = follower.number(DELETION_REQUESTED);
        follower.deleted = follower.number(DELETED);
        for kind in kinds {
            if kind.milestones.len() > MOST_MILESTONES {
                return Err(Error::Usage(format!(
                    "{} has {} milestones; there can be {MOST_MILESTONES}",
                    kind.kind,
                    kind.milestones.len()
                )));
            }
            let names = kind.milestones.iter();
            let numbers = names.map(|(name, _)| follower.number(name)).collect();
            follower.declared.push(numbers);
        }
        Ok(follower)
    }

    /// What was found.
    pub(super) fn finish(self) -> Timelines {
        self.found
    }

    fn number(&mut self, milestone: &str) -> u32 {
        if let Some(known) = self.numbers.get(milestone) {
            return *known;
        }
        let number = u32::try_from(self.found.milestones.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = milestone.into();
        self.found.milestones.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    /// The milestone of a condition that is True.
    fn by_rule(&mut self, condition: &str) -> u32 {
        let name = self.conditions.number(condition);
        if let Some(known) = self.by_rule.get(&name) {
            return *known;
        }
        let number = self.number(&format!("{CONDITION}{condition}"));
        self.by_rule.insert(name, number);
        number
    }

    /// Takes the next changes in; `held` tells which milestones hold after each.
    pub(super) fn add(&mut self, batch: &RecordBatch, held: &[Held]) -> Result<(), Error> {
        let (clusters, epochs) = (texts(batch, "cluster_id")?, integers(batch, "epoch")?);
        let (revisions, ordinals) = (integers(batch, "revision")?, integers(batch, "ordinal")?);
        let (ops, keys) = (texts(batch, "op")?, texts(batch, "key")?);
        let versions = integers(batch, "version")?;
        let (generations, observed) = (
            integers(batch, "generation")?,
            integers(batch, "observed_generation")?,
        );
        let names = ["api_group", "kind", "namespace", "name", "uid"];
        let mut described = Vec::with_capacity(names.len());
        for name in names {
            described.push(texts(batch, name)?);
        }
        let deleting = flags(batch, "deleting")?;
        let conditions = Conditions::of(batch)?;
        let mut numbers = Vec::new();
        for (row, held) in held.iter().enumerate() {
            if let Some(block) = block_at(row, batch.num_rows()) {
                let hashes: Vec<u32> = block.map(|row| hash_of_text(keys.value(row))).collect();
                self.found.texts.fetch(&hashes, &mut numbers);
            }
            if held.kind.is_none() && conditions.are_none(row) {
                continue;
            }
            let small = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
            self.enter(clusters.value(row), small(epochs.value(row)));
            self.held.clear();
            let (can_converge, mut is_converged) = match held.kind {
                Some(kind) => {
                    let numbers = self.declared.get(kind).into_iter().flatten();
                    let set = numbers
                        .enumerate()
                        .filter(|(bit, _)| held.milestones >> bit & 1 == 1)
                        .map(|(_, number)| *number);
                    self.held.extend(set);
                    let can_converge = self.can_converge.get(kind) == Some(&true);
                    (can_converge, held.is_converged)
                }
                None => {
                    let mut is_ready = false;
                    for condition in conditions.true_ones(row) {
                        let milestone = self.by_rule(condition);
                        self.held.push(milestone);
                        is_ready |= condition == READY;
                    }
                    let is_current = integer(&observed, row)
                        .zip(integer(&generations, row))
                        .is_none_or(|(observed, generation)| observed >= generation);
                    (conditions.has(row, READY), is_ready && is_current)
                }
            };
            if deleting.value(row) {
                is_converged = false;
                self.held.push(self.deletion_requested);
            }
            let is_gone = ops.value(row) == "delete";
            if is_gone {
                self.held.clear();
                self.held.push(self.deleted);
            }
            let is_created = ops.value(row) == "create";
            if is_created {
                self.held.push(self.created);
            }
            let key = self.found.texts.number(keys.value(row));
            let step = Step {
                change: ObjectChange {
                    revision: revisions.value(row),
                    ordinal: small(ordinals.value(row)),
                    object: NONE,
                    generation: integer(&generations, row).into(),
                    commit: Maybe::UNKNOWN,
                },
                version: integer(&versions, row),
                is_created,
                is_gone,
                is_converged: is_converged || is_gone,
                can_converge,
            };
            self.follow(key, step, |texts| {
                let mut texts = described
                    .iter()
                    .map(|column| text(column, row).map_or(NONE, |text| texts.number(text)));
                [(); 5].map(|()| texts.next().unwrap_or(NONE))
            });
        }
        Ok(())
    }

    /// Goes on with the history of a row; rows are sorted by it.
    fn enter(&mut self, cluster_id: &str, epoch: i32) {
        let is_same =
            self.found.histories.last().is_some_and(|history| {
                *history.cluster_id == *cluster_id && history.epoch == epoch
            });
        if !is_same {
            self.living.clear();
            self.found.histories.push(History {
                cluster_id: cluster_id.into(),
                epoch,
                ..History::default()
            });
        }
    }

    /// Takes in what became of an object; `described` tells group, kind, namespace, name and uid of one that is new.
    fn follow(&mut self, key: u32, step: Step, described: impl FnOnce(&mut Interner) -> [u32; 5]) {
        let Some(history) = self.found.histories.last_mut() else {
            return;
        };
        let generation = step.change.generation;
        if step.is_created {
            self.living.remove(&key);
        }
        // A deletion has the version of what it deleted.
        let expected = step
            .version
            .map(|version| if step.is_gone { version } else { version - 1 });
        let before = self.living.get(&key);
        let is_known = step.is_created || before.is_some_and(|living| living.version == expected);
        let is_new_generation = before.is_none_or(|living| living.generation != generation);
        let change = u32::try_from(history.changes.len()).unwrap_or(NONE);
        let living = self.living.entry(key).or_insert_with(|| {
            let [api_group, kind, namespace, name, uid] = described(&mut self.found.texts);
            history.objects.push(Object {
                api_group,
                kind,
                namespace,
                name,
                uid,
                key,
                created: if step.is_created { change } else { NONE },
                can_converge: false,
                states: Vec::new(),
                occurrences: Vec::new(),
            });
            Living {
                // Objects are fewer than changes, which are counted with 32 bits.
                object: u32::try_from(history.objects.len() - 1).unwrap_or(NONE),
                version: None,
                held: Vec::new(),
                generation: Maybe::UNKNOWN,
                generation_began: NONE,
                occurrences: 0,
            }
        });
        history.changes.push(ObjectChange {
            object: living.object,
            ..step.change
        });
        let Some(known) = history.objects.get_mut(living.object as usize) else {
            return;
        };
        known.can_converge |= step.can_converge;
        living.version = step.version;
        if is_new_generation {
            living.generation = generation;
            living.generation_began = if is_known { change } else { NONE };
            living.occurrences = known.occurrences.len();
        }
        let same = known.states.last().is_some_and(|last| {
            let before = history.changes.get(last.change as usize);
            before.is_some_and(|before| before.generation == generation)
                && (last.is_converged, last.is_gone) == (step.is_converged, step.is_gone)
        });
        if !same {
            known.states.push(State {
                change,
                is_converged: step.is_converged,
                is_gone: step.is_gone,
            });
        }
        if is_known {
            let reached = self
                .held
                .iter()
                .filter(|milestone| !living.held.contains(milestone));
            for milestone in reached {
                known.reach(*milestone, living, change);
            }
        }
        if step.is_gone {
            self.living.remove(&key);
        } else {
            living.held.clone_from(&self.held);
        }
    }
}

impl Object {
    /// Notes that a milestone was reached, for the first time in this generation or again.
    fn reach(&mut self, milestone: u32, living: &Living, change: u32) {
        let current = self.occurrences.iter_mut().skip(living.occurrences);
        for occurrence in current {
            if occurrence.milestone == milestone {
                occurrence.last = change;
                return;
            }
        }
        self.occurrences.push(Occurrence {
            milestone,
            change,
            last: change,
            generation_began: living.generation_began,
        });
    }
}
