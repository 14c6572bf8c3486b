//! What is known of every object while the changes pass.

use std::hint::black_box;
use std::ops::Range;

use arrow::array::StringArray;
use arrow::record_batch::RecordBatch;
use bytemuck::{CheckedBitPattern, NoUninit};

use super::conditions::Conditions;
use super::evaluation::Held;
use super::history::{Described, position};
use super::keys::Keys;
use super::names::Sets;
use super::{History, MOST_MILESTONES, Maybe, ObjectChange, Occurrence, State, Timelines};
use crate::causality::kernel::{FastMap, NONE, block_at, hash_of_text};
use crate::derive::columns::text;
use crate::error::Error;
use crate::milestones::declaration::Declaration;
use crate::report::rows::{flags, integer, integers, texts};
use crate::storage::{List, Storage};

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
    storage: Storage,
    /// Milestones by rule, by the type of their condition.
    by_rule: FastMap<String, u32>,
    /// Numbers of the milestones of each declared kind, by bit.
    declared: Vec<Vec<u32>>,
    can_converge: Vec<bool>,
    created: u32,
    deletion_requested: u32,
    deleted: u32,
    /// The newest objects of this history by their keys.
    keys: Keys,
    /// What is known of each object of this history.
    known: List<Known>,
    /// The milestones that hold after the change that is looked at.
    pub(super) held: Vec<u32>,
    /// Those that held after others.
    sets: Sets,
    /// Hashes of the keys of a block of changes, and the objects that these may be of.
    hashes: Vec<u32>,
    objects: Vec<u32>,
}

/// What an object was after its last change.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Known {
    version: Maybe,
    generation: Maybe,
    /// Where its key is among the texts.
    key: u64,
    key_bytes: u32,
    /// Number of the set of milestones that held.
    held: u32,
    generation_began: u32,
    /// Its state, and the newest occurrence of its generation.
    state: u32,
    occurrence: u32,
    /// Whether it still exists.
    is_living: bool,
    is_converged: bool,
    can_converge: bool,
    padding: u8,
}

impl Known {
    /// Nothing yet, of an object whose key is in this place.
    fn of(key: &Range<usize>, can_converge: bool) -> Self {
        Self {
            version: Maybe::UNKNOWN,
            generation: Maybe::UNKNOWN,
            key: key.start as u64,
            key_bytes: u32::try_from(key.len()).unwrap_or(NONE),
            held: NONE,
            generation_began: NONE,
            state: NONE,
            occurrence: NONE,
            is_living: true,
            is_converged: false,
            can_converge,
            padding: 0,
        }
    }

    fn key(&self) -> Range<usize> {
        let start = usize::try_from(self.key).unwrap_or(usize::MAX);
        start..start.saturating_add(self.key_bytes as usize)
    }
}

/// A change, as far as milestones are concerned.
pub(super) struct Step {
    pub(super) revision: i64,
    pub(super) ordinal: i32,
    pub(super) generation: Maybe,
    pub(super) version: Option<i64>,
    pub(super) is_created: bool,
    pub(super) is_gone: bool,
    pub(super) is_converged: bool,
    pub(super) can_converge: bool,
}

/// What an object is called besides its key.
pub(super) struct Called<'a> {
    pub(super) api_group: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) uid: Option<&'a str>,
}

impl Follower {
    pub(super) fn new(kinds: &[Declaration], storage: &Storage) -> Result<Self, Error> {
        let mut follower = Self {
            found: Timelines::default(),
            storage: storage.clone(),
            by_rule: FastMap::default(),
            declared: Vec::new(),
            can_converge: kinds.iter().map(|kind| kind.converged.is_some()).collect(),
            created: 0,
            deletion_requested: 0,
            deleted: 0,
            keys: Keys::new(storage),
            known: List::new(storage),
            held: Vec::new(),
            sets: Sets::default(),
            hashes: Vec::new(),
            objects: Vec::new(),
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
    pub(super) fn finish(mut self) -> Timelines {
        self.found.histories.iter_mut().for_each(History::shrink);
        self.found
    }

    fn number(&mut self, milestone: &str) -> u32 {
        self.found.milestones.number(milestone)
    }

    /// The milestone of a condition that is True.
    fn by_rule(&mut self, condition: &str) -> u32 {
        if let Some(known) = self.by_rule.get(condition) {
            return *known;
        }
        let number = self.number(&format!("{CONDITION}{condition}"));
        self.by_rule.insert(condition.to_owned(), number);
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
        let (groups, kinds) = (texts(batch, "api_group")?, texts(batch, "kind")?);
        let (namespaces, names) = (texts(batch, "namespace")?, texts(batch, "name")?);
        let uids = texts(batch, "uid")?;
        let deleting = flags(batch, "deleting")?;
        let conditions = Conditions::of(batch)?;
        let mut begin = 0;
        for (row, held) in held.iter().enumerate() {
            if let Some(block) = block_at(row, batch.num_rows()) {
                begin = block.start;
                self.fetch(&keys, block);
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
            let step = Step {
                revision: revisions.value(row),
                ordinal: small(ordinals.value(row)),
                generation: integer(&generations, row).into(),
                version: integer(&versions, row),
                is_created,
                is_gone,
                is_converged: is_converged || is_gone,
                can_converge,
            };
            let hash = self.hashes.get(row - begin).copied().unwrap_or(0);
            self.follow(keys.value(row), hash, &step, || Called {
                api_group: text(&groups, row),
                kind: text(&kinds, row),
                namespace: text(&namespaces, row),
                name: text(&names, row),
                uid: text(&uids, row),
            });
        }
        Ok(())
    }

    /// Hashes the keys of a block of changes, and reads what looking them up will read into the processor's cache. Looked up
    /// one by one, each of three places is waited for in turn; these do not depend on each other, and come together.
    fn fetch(&mut self, keys: &StringArray, block: Range<usize>) {
        self.hashes.clear();
        let hashes = block.map(|row| hash_of_text(keys.value(row)));
        self.hashes.extend(hashes);
        let Some(history) = self.found.histories.last() else {
            return;
        };
        if self.storage.is_file() {
            return;
        }
        self.keys.likely(&self.hashes, &mut self.objects);
        let mut places = 0_usize;
        for object in &self.objects {
            let known = self.known.get(*object as usize);
            places = places.wrapping_add(known.map_or(0, |known| known.key().start));
        }
        for object in &self.objects {
            if let Some(known) = self.known.get(*object as usize) {
                let byte = history.touch_text(known.key().start);
                places = places.wrapping_add(byte.into());
            }
        }
        black_box(places);
    }

    /// Goes on with the history of a row; rows are sorted by it.
    pub(super) fn enter(&mut self, cluster_id: &str, epoch: i32) {
        let is_same =
            self.found.histories.last().is_some_and(|history| {
                *history.cluster_id == *cluster_id && history.epoch == epoch
            });
        if !is_same {
            self.keys = Keys::new(&self.storage);
            self.known = List::new(&self.storage);
            let history = History::new(cluster_id, epoch, &self.storage);
            self.found.histories.push(history);
        }
    }

    /// Takes in what became of the object with a key; `called` tells of one that is new.
    pub(super) fn follow<'a>(
        &mut self,
        key: &str,
        hash: u32,
        step: &Step,
        called: impl FnOnce() -> Called<'a>,
    ) {
        let Some(history) = self.found.histories.last_mut() else {
            return;
        };
        let mut before = None;
        let place = self.keys.find(hash, |object| {
            let known = self.known.get(object as usize);
            before = known.filter(|known| history.is_text(known.key(), key));
            before.is_some()
        });
        let before = before.filter(|known| known.is_living && !step.is_created);
        let generation = step.generation;
        // A deletion has the version of what it deleted.
        let expected = step
            .version
            .map(|version| if step.is_gone { version } else { version - 1 });
        let is_known =
            step.is_created || before.is_some_and(|known| known.version == expected.into());
        let is_new_generation = before.is_none_or(|known| known.generation != generation);
        let change = position(&history.changes);
        let (object, mut known) = match before {
            Some(known) => (place.object, known),
            None => {
                let called = called();
                let texts = &mut self.found.texts;
                let mut number = |text: Option<&str>| text.map_or(NONE, |text| texts.number(text));
                let (object, key) = history.add(&Described {
                    key,
                    uid: called.uid,
                    name: called.name,
                    api_group: number(called.api_group),
                    kind: number(called.kind),
                    namespace: number(called.namespace),
                    created: if step.is_created { change } else { NONE },
                    can_converge: step.can_converge,
                });
                self.keys.set(place, object);
                let known = Known::of(&key, step.can_converge);
                self.known.push(known);
                (object, known)
            }
        };
        if step.can_converge && !known.can_converge {
            known.can_converge = true;
            let converges = |object: &mut super::Object| object.can_converge = true;
            history.objects.update(object as usize, converges);
        }
        known.version = step.version.into();
        if is_new_generation {
            known.generation = generation;
            known.generation_began = if is_known { change } else { NONE };
            known.occurrence = NONE;
        }
        // What is gone has no other state after it.
        if is_new_generation || step.is_gone || known.is_converged != step.is_converged {
            known.state = history.enter(
                known.state,
                State::new(object, change, generation, step.is_converged, step.is_gone),
            );
            known.is_converged = step.is_converged;
        }
        history.changes.push(ObjectChange {
            revision: step.revision,
            ordinal: step.ordinal,
            state: known.state,
        });
        if is_known {
            let before = self.sets.set(known.held);
            for milestone in self.held.iter().filter(|held| !before.contains(held)) {
                known.occurrence = history.reach(Occurrence {
                    object,
                    milestone: *milestone,
                    change,
                    last: change,
                    generation_began: known.generation_began,
                    before: known.occurrence,
                });
            }
        }
        known.is_living = !step.is_gone;
        if known.is_living {
            known.held = self.sets.number(&self.held, known.held);
        }
        self.known.set(object as usize, known);
    }
}
