//! Follows every object through the changes, once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::record_batch::RecordBatch;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::declaration::{Declaration, Declarations};
use crate::error::Error;
use crate::report::rows::{flags, integer, integers, text, texts};

/// Milestones that every kind has.
const CREATED: &str = "created";
const DELETION_REQUESTED: &str = "deletion_requested";
const DELETED: &str = "deleted";
/// What milestones by rule begin with.
const CONDITION: &str = "condition.";
/// The condition that says whether objects of kinds that are not declared are as their spec wants them.
const READY: &str = "Ready";
/// Milestones that one kind may have: bits of a number.
const MOST_MILESTONES: usize = 60;

/// Every object of every history.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    pub(super) histories: Vec<History>,
    /// Names of milestones by number.
    pub(super) milestones: Vec<Arc<str>>,
}

/// The objects of one cluster between two restores.
#[derive(Debug)]
pub(super) struct History {
    pub(super) cluster_id: Arc<str>,
    pub(super) epoch: i64,
    pub(super) objects: Vec<Object>,
    /// The changes of these objects, in order.
    pub(super) changes: Vec<ObjectChange>,
}

/// A change of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct ObjectChange {
    pub(super) revision: i64,
    pub(super) ordinal: i64,
    /// Position among the objects.
    pub(super) object: usize,
    pub(super) generation: Option<i64>,
    pub(super) commit: Option<i64>,
}

/// One object, from its creation to its deletion.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) api_group: Option<Arc<str>>,
    pub(super) kind: Option<Arc<str>>,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) key: String,
    /// Commit of its creation, if that is in the trace.
    pub(super) created: Option<i64>,
    /// Whether it is known when it is as its spec wants it.
    pub(super) can_converge: bool,
    /// What it was, from each change on that made a difference.
    pub(super) states: Vec<State>,
    pub(super) occurrences: Vec<Occurrence>,
}

/// What an object is from one change on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) revision: i64,
    pub(super) ordinal: i64,
    pub(super) commit: Option<i64>,
    pub(super) generation: Option<i64>,
    /// It is as the spec of this generation wants it; if its deletion was asked for, it is gone.
    pub(super) is_converged: bool,
    pub(super) is_gone: bool,
}

/// A milestone that an object reached in a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occurrence {
    /// Number of its name.
    pub(super) milestone: u32,
    pub(super) generation: Option<i64>,
    /// Commit of the first change with this generation, if that is in the trace.
    pub(super) generation_began: Option<i64>,
    pub(super) revision: i64,
    pub(super) ordinal: i64,
    pub(super) commit: Option<i64>,
    /// The last change with which it was reached again.
    pub(super) last_revision: i64,
    pub(super) last_commit: Option<i64>,
}

impl Timelines {
    /// Follows the objects of the kinds that are declared, and all that have conditions.
    ///
    /// # Errors
    /// When a declared condition is none, or the changes cannot be read.
    pub(crate) async fn compute(
        context: &SessionContext,
        declarations: &Declarations,
    ) -> Result<Self, Error> {
        declarations.check(context).await?;
        let mut follower = Follower::new(&declarations.kinds)?;
        let query = query(&declarations.kinds);
        let mut batches = context.sql(&query).await?.execute_stream().await?;
        while let Some(batch) = batches.next().await.transpose()? {
            follower.add(&batch)?;
        }
        Ok(follower.found)
    }
}

/// The changes, each with the number of its declaration, the milestones that hold after it as bits, and whether it
/// is as its spec wants it.
fn query(kinds: &[Declaration]) -> String {
    let mut declared = String::new();
    let mut held = String::new();
    let mut converged = String::new();
    for (number, kind) in kinds.iter().enumerate() {
        let is_kind = kind.is_kind();
        let bits = kind.milestones.iter().enumerate().map(|(bit, (_, sql))| {
            format!(" + CASE WHEN ({sql}) THEN {} ELSE 0 END", 1_i64 << bit)
        });
        let bits: String = bits.collect();
        let is_converged = kind.converged.as_deref().unwrap_or("false");
        declared.push_str(&format!(" WHEN {is_kind} THEN {number}"));
        held.push_str(&format!(" WHEN {is_kind} THEN 0{bits}"));
        converged.push_str(&format!(
            " WHEN {is_kind} THEN coalesce(({is_converged}), false)"
        ));
    }
    let case = |branches: &str, other: &str| {
        if branches.is_empty() {
            other.to_owned()
        } else {
            format!("CASE{branches} ELSE {other} END")
        }
    };
    format!(
        "SELECT * FROM (
            SELECT cluster_id, epoch, revision, ordinal, op, key, version, generation, observed_generation,
                commit_unix_nano, api_group, kind, namespace, name, uid, deletion_time IS NOT NULL AS deleting,
                conditions, {} AS declared, {} AS held, {} AS converged
            FROM changes)
        WHERE declared >= 0 OR cardinality(conditions) > 0
        ORDER BY cluster_id, epoch, revision, ordinal",
        case(&declared, "-1"),
        case(&held, "0"),
        case(&converged, "false")
    )
}

/// What is known while the changes pass.
struct Follower {
    found: Timelines,
    numbers: HashMap<Arc<str>, u32>,
    /// Numbers of the milestones of each declared kind, by bit.
    declared: Vec<Vec<u32>>,
    can_converge: Vec<bool>,
    created: u32,
    deletion_requested: u32,
    deleted: u32,
    /// Objects that exist, by key.
    living: HashMap<String, Living>,
    words: HashMap<String, Arc<str>>,
}

/// What an object was after its last change.
#[derive(Debug, Default)]
struct Living {
    object: usize,
    version: Option<i64>,
    held: Vec<u32>,
    generation: Option<i64>,
    generation_began: Option<i64>,
    /// Where its occurrences of this generation begin.
    occurrences: usize,
}

impl Follower {
    fn new(kinds: &[Declaration]) -> Result<Self, Error> {
        let mut follower = Self {
            found: Timelines::default(),
            numbers: HashMap::new(),
            declared: Vec::new(),
            can_converge: kinds.iter().map(|kind| kind.converged.is_some()).collect(),
            created: 0,
            deletion_requested: 0,
            deleted: 0,
            living: HashMap::new(),
            words: HashMap::new(),
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

    fn word(&mut self, text: Option<String>) -> Option<Arc<str>> {
        let text = text?;
        if let Some(known) = self.words.get(&text) {
            return Some(Arc::clone(known));
        }
        let word: Arc<str> = text.as_str().into();
        self.words.insert(text, Arc::clone(&word));
        Some(word)
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let (clusters, epochs) = (texts(batch, "cluster_id")?, integers(batch, "epoch")?);
        let (revisions, ordinals) = (integers(batch, "revision")?, integers(batch, "ordinal")?);
        let (ops, keys) = (texts(batch, "op")?, texts(batch, "key")?);
        let (versions, commits) = (
            integers(batch, "version")?,
            integers(batch, "commit_unix_nano")?,
        );
        let (generations, observed) = (
            integers(batch, "generation")?,
            integers(batch, "observed_generation")?,
        );
        let (groups, kinds) = (texts(batch, "api_group")?, texts(batch, "kind")?);
        let (namespaces, names) = (texts(batch, "namespace")?, texts(batch, "name")?);
        let (uids, deleting) = (texts(batch, "uid")?, flags(batch, "deleting")?);
        let (declared, held) = (integers(batch, "declared")?, integers(batch, "held")?);
        let converged = flags(batch, "converged")?;
        let conditions = Conditions::of(batch)?;
        for row in 0..batch.num_rows() {
            self.enter(clusters.value(row), epochs.value(row));
            let kind = usize::try_from(declared.value(row)).ok();
            let true_conditions = conditions.true_ones(row);
            let is_deleted = ops.value(row) == "delete";
            let is_deleting = deleting.value(row);
            let mut held_now = Vec::new();
            let (can_converge, mut is_converged) = match kind {
                Some(kind) => {
                    let bits = held.value(row);
                    let numbers = self.declared.get(kind).into_iter().flatten();
                    let set = numbers
                        .enumerate()
                        .filter(|(bit, _)| bits >> bit & 1 == 1)
                        .map(|(_, number)| *number);
                    held_now.extend(set);
                    let can_converge = self.can_converge.get(kind) == Some(&true);
                    (can_converge, converged.value(row))
                }
                None => {
                    for condition in &true_conditions {
                        held_now.push(self.number(&format!("{CONDITION}{condition}")));
                    }
                    let is_current = integer(&observed, row)
                        .zip(integer(&generations, row))
                        .is_none_or(|(observed, generation)| observed >= generation);
                    let is_ready = true_conditions.contains(&READY);
                    (conditions.has(row, READY), is_ready && is_current)
                }
            };
            if is_deleting {
                is_converged = false;
                held_now.push(self.deletion_requested);
            }
            if is_deleted {
                held_now = vec![self.deleted];
            }
            if ops.value(row) == "create" {
                held_now.push(self.created);
            }
            let object = Object {
                api_group: self.word(text(&groups, row)),
                kind: self.word(text(&kinds, row)),
                namespace: self.word(text(&namespaces, row)),
                name: text(&names, row),
                uid: text(&uids, row),
                key: keys.value(row).to_owned(),
                can_converge,
                ..Object::default()
            };
            let state = State {
                revision: revisions.value(row),
                ordinal: ordinals.value(row),
                commit: integer(&commits, row),
                generation: integer(&generations, row),
                is_converged: is_converged || is_deleted,
                is_gone: is_deleted,
            };
            self.follow(object, state, integer(&versions, row), held_now);
        }
        Ok(())
    }

    /// Goes on with the history of a row; rows are sorted by it.
    fn enter(&mut self, cluster_id: &str, epoch: i64) {
        let is_same =
            self.found.histories.last().is_some_and(|history| {
                *history.cluster_id == *cluster_id && history.epoch == epoch
            });
        if !is_same {
            self.living.clear();
            self.found.histories.push(History {
                cluster_id: cluster_id.into(),
                epoch,
                objects: Vec::new(),
                changes: Vec::new(),
            });
        }
    }

    fn follow(&mut self, object: Object, state: State, version: Option<i64>, held: Vec<u32>) {
        let Some(history) = self.found.histories.last_mut() else {
            return;
        };
        let is_created = held.contains(&self.created);
        // A deletion has the version of what it deleted.
        let expected = version.map(|version| if state.is_gone { version } else { version - 1 });
        let mut before = match self.living.remove(&object.key) {
            Some(living) if !is_created => Some(living),
            _ => None,
        };
        let is_known = is_created
            || before
                .as_ref()
                .is_some_and(|living| living.version == expected);
        let position = match &before {
            Some(living) => living.object,
            None => {
                history.objects.push(Object {
                    created: state.commit.filter(|_| is_created),
                    key: object.key.clone(),
                    ..object
                });
                history.objects.len() - 1
            }
        };
        history.changes.push(ObjectChange {
            revision: state.revision,
            ordinal: state.ordinal,
            object: position,
            generation: state.generation,
            commit: state.commit,
        });
        let Some(known) = history.objects.get_mut(position) else {
            return;
        };
        known.can_converge |= object.can_converge;
        let mut living = before.take().unwrap_or_default();
        living.object = position;
        living.version = version;
        if is_created || living.generation != state.generation {
            living.generation = state.generation;
            living.generation_began = state.commit.filter(|_| is_known);
            living.occurrences = known.occurrences.len();
        }
        let same = known.states.last().is_some_and(|last| {
            (last.generation, last.is_converged, last.is_gone)
                == (state.generation, state.is_converged, state.is_gone)
        });
        if !same {
            known.states.push(state);
        }
        if is_known {
            let reached = held
                .iter()
                .filter(|milestone| !living.held.contains(milestone));
            for milestone in reached {
                known.reach(*milestone, &living, state);
            }
        }
        living.held = held;
        if !state.is_gone {
            self.living.insert(object.key, living);
        }
    }
}

impl Object {
    /// Notes that a milestone was reached, for the first time in this generation or again.
    fn reach(&mut self, milestone: u32, living: &Living, state: State) {
        let current = self.occurrences.iter_mut().skip(living.occurrences);
        for occurrence in current {
            if occurrence.milestone == milestone {
                occurrence.last_revision = state.revision;
                occurrence.last_commit = state.commit;
                return;
            }
        }
        self.occurrences.push(Occurrence {
            milestone,
            generation: state.generation,
            generation_began: living.generation_began,
            revision: state.revision,
            ordinal: state.ordinal,
            commit: state.commit,
            last_revision: state.revision,
            last_commit: state.commit,
        });
    }
}

/// The column `conditions` of a batch.
struct Conditions<'a> {
    lists: &'a arrow::array::ListArray,
    types: &'a StringArray,
    statuses: &'a StringArray,
}

impl<'a> Conditions<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, Error> {
        let found = || {
            let lists = batch.column_by_name("conditions")?.as_list_opt::<i32>()?;
            let entries = lists.values().as_struct_opt()?;
            let texts = |name| entries.column_by_name(name)?.as_string_opt::<i32>();
            Some(Self {
                lists,
                types: texts("type")?,
                statuses: texts("status")?,
            })
        };
        found().ok_or_else(|| Error::Internal("conditions are not as expected".to_owned()))
    }

    fn entries(&self, row: usize) -> std::ops::Range<usize> {
        let offsets = self.lists.value_offsets().get(row..row + 2);
        match offsets {
            Some([start, end]) if self.lists.is_valid(row) => {
                // Offsets are not negative.
                usize::try_from(*start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0)
            }
            _ => 0..0,
        }
    }

    /// The types of those whose status is True.
    fn true_ones(&self, row: usize) -> Vec<&'a str> {
        self.entries(row)
            .filter(|entry| {
                self.types.is_valid(*entry)
                    && self.statuses.is_valid(*entry)
                    && self.statuses.value(*entry) == "True"
            })
            .map(|entry| self.types.value(entry))
            .collect()
    }

    fn has(&self, row: usize, condition: &str) -> bool {
        self.entries(row)
            .any(|entry| self.types.is_valid(entry) && self.types.value(entry) == condition)
    }
}

impl History {
    /// The change with a key, if it is of an object that is followed.
    pub(super) fn change(&self, revision: i64, ordinal: i64) -> Option<&ObjectChange> {
        let place = |change: &ObjectChange| (change.revision, change.ordinal);
        let position = self
            .changes
            .binary_search_by_key(&(revision, ordinal), place)
            .ok()?;
        self.changes.get(position)
    }
}
