//! What became of the CPID on each object, and which writes report one.
//!
//! The raw transition compares a revision with the one before it, nothing else; the whole trace also
//! knows where a CPID was seen first, and which ones came of which.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray, ListArray};
use bytemuck::{CheckedBitPattern, NoUninit};
use cascade_proto::tables::CpidTransition;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::actor_of;
use super::callers::{Caller, at};
use super::copies::{Copier, is_copier};
use super::rows::{History, Row, Transition, first_at};
use super::words::{Word, Words};
use crate::derive::columns::{int32s, int64s, lists, stream, text, texts};
use crate::derive::mergelogs::Mergelogs;
use crate::error::Error;
use crate::session::STORED_SCHEMA;
use crate::storage::{List, Storage};

/// A change of an object that carries a CPID, or did.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Carried {
    cpid: Word,
    previous: Word,
    /// Index into the transitions plus one; 0 without one.
    transition: u8,
    copier: Copier,
    /// Whether the object carries one, or did.
    is_carrier: bool,
    /// What would be padding.
    rest: u8,
}

/// Of an object without a CPID.
const NOT_CARRIED: Carried = Carried {
    cpid: Word::NONE,
    previous: Word::NONE,
    transition: 0,
    copier: Copier::NONE,
    is_carrier: false,
    rest: 0,
};

impl Carried {
    /// The raw transition.
    fn transition(&self) -> Option<CpidTransition> {
        at(CpidTransition::ALL, u32::from(self.transition)).copied()
    }
}

/// What stands for a transition in [`Carried`].
fn code_of_transition(name: &str) -> u8 {
    let mut all = CpidTransition::ALL.iter();
    let index = all.position(|transition| transition.as_str() == name);
    index.map_or(0, |index| u8::try_from(index + 1).unwrap_or(0))
}

/// Fills in `transition` and `reported` of all rows.
pub(super) async fn refine(
    context: &SessionContext,
    histories: &mut [History],
    (callers, words): (&[Caller], &mut Words),
    mergelogs: &Mergelogs,
    storage: &Storage,
) -> Result<(), Error> {
    let objects_carry = objects_carry(context).await?;
    let mut seen: HashSet<Word> = HashSet::new();
    for history in histories {
        let (mut carried, mut snapshots) = (List::default(), HashMap::new());
        if objects_carry {
            carried = read_carried(context, history, words, storage).await?;
            snapshots = snapshot_cpids(context, history, words).await?;
        }
        let mut carried = carried.iter();
        for index in 0..history.rows.len() {
            let found = carried.next().filter(|carried| carried.is_carrier);
            let Some(mut row) = history.rows.get(index) else {
                break;
            };
            let baggage = row.reported;
            if found.is_none() && baggage.is_none() {
                continue;
            }
            let mut cpid = Word::NONE;
            if let Some(found) = &found {
                cpid = found.cpid;
                let is_seen = seen.contains(&cpid)
                    || snapshots
                        .get(&cpid)
                        .is_some_and(|first| *first < row.revision);
                row.transition = transition(found, is_seen, words, mergelogs);
            }
            row.reported = reported(&row, found.as_ref(), callers, words, mergelogs);
            history.rows.set(index, row);
            seen.extend([cpid, baggage].into_iter().filter(|word| !word.is_none()));
        }
    }
    Ok(())
}

/// The transition with what the whole trace knows.
fn transition(found: &Carried, is_seen: bool, words: &Words, mergelogs: &Mergelogs) -> Transition {
    let Some(transition) = found.transition() else {
        return Transition::Nothing;
    };
    match transition {
        CpidTransition::Set if is_seen => Transition::Adopt,
        CpidTransition::Set => Transition::Start,
        CpidTransition::Carry => Transition::Carry,
        CpidTransition::Merge => Transition::Merge,
        CpidTransition::Replace => {
            let both = words.text(found.cpid).zip(words.text(found.previous));
            if both.is_some_and(|(cpid, previous)| mergelogs.came_of(cpid, previous)) {
                Transition::Merge
            } else {
                Transition::Replace
            }
        }
        CpidTransition::Drop => Transition::Drop,
        CpidTransition::End => Transition::End,
    }
}

/// The CPID that a write carries by itself, where the row has that in the baggage of the call. A changed carrier comes first, then the baggage of the call.
fn reported(
    row: &Row,
    found: Option<&Carried>,
    callers: &[Caller],
    words: &Words,
    mergelogs: &Mergelogs,
) -> Word {
    let Some(found) = found else {
        return row.reported;
    };
    let actor = actor_of(row, callers, words).map(|(actor, _)| actor);
    let is_maintainer = actor.is_some_and(|actor| mergelogs.is_component(actor));
    let is_copy = found.copier.controller().is_some_and(|copier| {
        let is_made_by_it = words
            .text(found.cpid)
            .is_some_and(|cpid| mergelogs.is_made_by(cpid, copier));
        is_copier(actor, copier) && !is_made_by_it
    });
    let is_carried = match found.transition() {
        Some(CpidTransition::Set | CpidTransition::Merge | CpidTransition::Replace) => {
            !is_copy || is_maintainer
        }
        Some(CpidTransition::Carry) => is_maintainer,
        Some(CpidTransition::Drop | CpidTransition::End) | None => false,
    };
    let carried = if is_carried { found.cpid } else { Word::NONE };
    // A writer that puts a CPID on the object and another one on the call means the object's; one that
    // keeps the annotation and sends another one on the call means the call's.
    if found.transition() == Some(CpidTransition::Carry) {
        row.reported.or(carried)
    } else {
        carried.or(row.reported)
    }
}

/// Whether any object carries a CPID; the files' statistics tell.
async fn objects_carry(context: &SessionContext) -> Result<bool, Error> {
    let query = format!(
        "SELECT count(cpid) AS carried, count(prev_cpid) AS carried_before \
        FROM {STORED_SCHEMA}.changes"
    );
    let mut number = 0;
    for batch in context.sql(&query).await?.collect().await? {
        for name in ["carried", "carried_before"] {
            number += int64s(&batch, name)?.iter().flatten().sum::<i64>();
        }
    }
    Ok(number > 0)
}

/// The changes of objects with a CPID, by row; nothing if there are none.
async fn read_carried(
    context: &SessionContext,
    history: &History,
    words: &mut Words,
    storage: &Storage,
) -> Result<List<Carried>, Error> {
    let query = format!(
        "SELECT revision, ordinal, cpid, prev_cpid, cpid_transition, api_group, kind, owners
        FROM {STORED_SCHEMA}.changes
        WHERE {} AND (cpid IS NOT NULL OR prev_cpid IS NOT NULL)",
        history.name.condition()
    );
    let mut carried = List::filled(storage, NOT_CARRIED, history.rows.len());
    let mut near = 0;
    let mut batches = stream(context, &query).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        let (revisions, ordinals) = (int64s(&batch, "revision")?, int32s(&batch, "ordinal")?);
        let (cpids, previous) = (texts(&batch, "cpid")?, texts(&batch, "prev_cpid")?);
        let transitions = texts(&batch, "cpid_transition")?;
        let (groups, kinds) = (texts(&batch, "api_group")?, texts(&batch, "kind")?);
        let owners = lists(&batch, "owners")?;
        for row in 0..batch.num_rows() {
            near = first_at(
                &history.rows,
                near,
                (revisions.value(row), ordinals.value(row)),
            );
            let owner = controller_kind(owners, row);
            let copier = owner.and_then(|owner| {
                let (group, kind) = (text(groups, row)?, text(kinds, row)?);
                Some(Copier::of(group, kind, &owner))
            });
            let read = Carried {
                cpid: words.of(text(cpids, row)),
                previous: words.of(text(previous, row)),
                transition: text(transitions, row).map_or(0, code_of_transition),
                copier: copier.unwrap_or(Copier::NONE),
                is_carrier: true,
                rest: 0,
            };
            carried.update(near, |known| {
                // Of several recordings of a change the first one read counts.
                if !known.is_carrier {
                    *known = read;
                }
            });
        }
    }
    Ok(carried)
}

/// Kind of the owner that is the managing controller.
fn controller_kind(owners: &ListArray, row: usize) -> Option<String> {
    if !owners.is_valid(row) {
        return None;
    }
    let entries = owners.value(row);
    let entries = entries.as_struct_opt()?;
    let kinds = entries.column_by_name("kind")?.as_string_opt::<i32>()?;
    let controls = entries.column_by_name("controller")?.as_boolean_opt()?;
    let managing =
        (0..entries.len()).find(|entry| controls.is_valid(*entry) && controls.value(*entry))?;
    Some(kinds.value(managing).to_owned())
}

/// The CPIDs that objects had when snapshots were taken, with the first revision of each.
async fn snapshot_cpids(
    context: &SessionContext,
    history: &History,
    words: &mut Words,
) -> Result<HashMap<Word, i64>, Error> {
    let query = format!(
        "SELECT cpid, min(revision) AS revision FROM {STORED_SCHEMA}.states
        WHERE {} AND cpid IS NOT NULL GROUP BY cpid",
        history.name.condition()
    );
    let mut found = HashMap::new();
    let mut batches = stream(context, &query).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        let (cpids, revisions) = (texts(&batch, "cpid")?, int64s(&batch, "revision")?);
        for row in 0..batch.num_rows() {
            found.insert(words.of(text(cpids, row)), revisions.value(row));
        }
    }
    Ok(found)
}
