//! The objects of one history, and what became of them: lists of which each entry names others by their places.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{CheckedBitPattern, NoUninit};

use super::in_order::InOrder;
use crate::causality::kernel::NONE;
use crate::storage::{List, Record, Storage};

/// The objects of one cluster between two restores.
#[derive(Debug)]
pub(in crate::milestones) struct History {
    pub(in crate::milestones) cluster_id: Arc<str>,
    pub(in crate::milestones) epoch: i32,
    pub(in crate::milestones) objects: List<Object>,
    /// The changes of these objects, in order.
    pub(in crate::milestones) changes: List<ObjectChange>,
    /// When each was committed; empty until [`super::Timelines::date`].
    pub(in crate::milestones) commits: List<Maybe>,
    /// What objects were, in the order of the changes that made a difference.
    pub(in crate::milestones) states: List<State>,
    /// What objects reached, in the order of the changes that first did.
    pub(in crate::milestones) occurrences: List<Occurrence>,
    /// Keys, uids and names of the objects, one after the other.
    texts: List<u8>,
    storage: Storage,
}

/// A number that may be unknown: half the size of an `Option<i64>`. What is unknown is before all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, NoUninit, CheckedBitPattern)]
#[repr(transparent)]
pub(in crate::milestones) struct Maybe(i64);

impl Maybe {
    pub(in crate::milestones) const UNKNOWN: Self = Self(i64::MIN);

    pub(in crate::milestones) fn get(self) -> Option<i64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

impl From<Option<i64>> for Maybe {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::UNKNOWN, Self)
    }
}

/// A change of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub(in crate::milestones) struct ObjectChange {
    pub(in crate::milestones) revision: i64,
    pub(in crate::milestones) ordinal: i32,
    /// What its object is after it: a position among the states.
    pub(in crate::milestones) state: u32,
}

/// One object, from its creation to its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub(in crate::milestones) struct Object {
    /// Where its texts begin: its key, its uid, and its name unless the key ends with it.
    texts: u64,
    /// Bytes of each; [`NONE`] if the object has none.
    key_bytes: u32,
    uid_bytes: u32,
    name_bytes: u32,
    /// Numbers, see [`super::Timelines::text`].
    pub(in crate::milestones) api_group: u32,
    pub(in crate::milestones) kind: u32,
    pub(in crate::milestones) namespace: u32,
    /// Position of the change that created it, [`NONE`] if that is not in the trace.
    pub(in crate::milestones) created: u32,
    /// Whether it is known when it is as its spec wants it.
    pub(in crate::milestones) can_converge: bool,
    key_has_name: bool,
    padding: [u8; 2],
}

impl Object {
    fn after_key(&self) -> u64 {
        self.texts + u64::from(self.key_bytes)
    }
}

/// A new object.
pub(super) struct Described<'a> {
    pub(super) key: &'a str,
    pub(super) uid: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) api_group: u32,
    pub(super) kind: u32,
    pub(super) namespace: u32,
    pub(super) created: u32,
    pub(super) can_converge: bool,
}

/// What an object is from one change on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub(in crate::milestones) struct State {
    /// That of all changes with this state.
    pub(in crate::milestones) generation: Maybe,
    /// Position of the first change with it.
    pub(in crate::milestones) change: u32,
    /// Position of the object.
    pub(in crate::milestones) object: u32,
    /// Position of the object's next state, [`NONE`] if there is none.
    pub(in crate::milestones) next: u32,
    /// It is as the spec of this generation wants it; if its deletion was asked for, it is gone.
    pub(in crate::milestones) is_converged: bool,
    pub(in crate::milestones) is_gone: bool,
    padding: [u8; 2],
}

impl State {
    pub(in crate::milestones) fn new(
        object: u32,
        change: u32,
        generation: Maybe,
        is_converged: bool,
        is_gone: bool,
    ) -> Self {
        Self {
            generation,
            change,
            object,
            next: NONE,
            is_converged,
            is_gone,
            padding: [0; 2],
        }
    }
}

/// A milestone that an object reached in a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub(in crate::milestones) struct Occurrence {
    /// Position of the object.
    pub(in crate::milestones) object: u32,
    /// Number of its name.
    pub(in crate::milestones) milestone: u32,
    /// Position of the change.
    pub(in crate::milestones) change: u32,
    /// The last change with which it was reached again.
    pub(in crate::milestones) last: u32,
    /// The first change with this generation, [`NONE`] if that is not in the trace.
    pub(in crate::milestones) generation_began: u32,
    /// Position of the one that the object reached before, in the same generation; [`NONE`] if there is none.
    pub(in crate::milestones) before: u32,
}

impl History {
    pub(in crate::milestones) fn new(cluster_id: &str, epoch: i32, storage: &Storage) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            epoch,
            objects: List::new(storage),
            changes: List::new(storage),
            commits: List::new(storage),
            states: List::new(storage),
            occurrences: List::new(storage),
            texts: List::new(storage),
            storage: storage.clone(),
        }
    }

    /// Where lists are that are as long as those here.
    pub(in crate::milestones) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Gives memory back that nothing takes, when there will be no more.
    pub(super) fn shrink(&mut self) {
        self.objects.shrink_to_fit();
        self.changes.shrink_to_fit();
        self.states.shrink_to_fit();
        self.occurrences.shrink_to_fit();
        self.texts.shrink_to_fit();
    }

    /// What an object is after the change at a position.
    pub(in crate::milestones) fn state_after(&self, change: u32) -> Option<(u32, State)> {
        let number = self.changes.get(change as usize)?.state;
        Some((number, self.states.get(number as usize)?))
    }

    /// When the change at a position was committed.
    pub(in crate::milestones) fn commit(&self, position: u32) -> Option<i64> {
        self.commits.get(position as usize)?.get()
    }

    /// For each of some places, revision and ordinal in ascending order: the position of the change there, [`NONE`] if it
    /// is of no object that is followed.
    pub(in crate::milestones) fn positions(
        &self,
        places: impl Iterator<Item = (i64, i32)>,
    ) -> List<u32> {
        let mut followed = InOrder::of((0_u32..).zip(self.changes.iter()), |(_, change)| {
            (change.revision, change.ordinal)
        });
        let mut positions = List::new(&self.storage);
        positions
            .extend(places.map(|place| followed.at(place).map_or(NONE, |(position, _)| *position)));
        positions
    }

    /// For each occurrence: which of some places, revision and ordinal in ascending order, is that of its change;
    /// [`NONE`] if none is.
    pub(in crate::milestones) fn places_of_occurrences(
        &self,
        places: impl Iterator<Item = (i64, i32)>,
    ) -> List<u32> {
        let mut places = InOrder::of((0_u32..).zip(places), |(_, place)| *place);
        let mut changes = InOrder::of((0_u32..).zip(self.changes.iter()), |(position, _)| {
            *position
        });
        let mut found = List::new(&self.storage);
        found.extend(self.occurrences.iter().map(|occurrence| {
            let change = changes.at(occurrence.change);
            let place = change.and_then(|(_, change)| places.at((change.revision, change.ordinal)));
            place.map_or(NONE, |(number, _)| *number)
        }));
        found
    }

    /// Adds an object; tells its position and where its key is.
    pub(super) fn add(&mut self, described: &Described<'_>) -> (u32, Range<usize>) {
        let &Described { key, uid, name, .. } = described;
        let length = |text: Option<&str>| {
            // etcd takes no key or value of 4 GiB.
            text.map_or(NONE, |text| u32::try_from(text.len()).unwrap_or(NONE))
        };
        let start = self.texts.len();
        let key_has_name = name.is_some_and(|name| key.ends_with(name));
        self.texts.extend_from_slice(key.as_bytes());
        for text in uid.into_iter().chain(name.filter(|_| !key_has_name)) {
            self.texts.extend_from_slice(text.as_bytes());
        }
        let object = position(&self.objects);
        self.objects.push(Object {
            texts: start as u64,
            key_bytes: length(Some(key)),
            uid_bytes: length(uid),
            name_bytes: length(name),
            api_group: described.api_group,
            kind: described.kind,
            namespace: described.namespace,
            created: described.created,
            can_converge: described.can_converge,
            key_has_name,
            padding: [0; 2],
        });
        (object, start..start + key.len())
    }

    /// Notes what an object is from now on, after the state at a position; tells where that is noted.
    pub(in crate::milestones) fn enter(&mut self, before: u32, state: State) -> u32 {
        let number = position(&self.states);
        self.states
            .update(before as usize, |before| before.next = number);
        self.states.push(state);
        number
    }

    /// Notes that a milestone was reached, for the first time in this generation or again; tells where the newest
    /// occurrence of this generation is noted.
    pub(super) fn reach(&mut self, reached: Occurrence) -> u32 {
        let mut next = reached.before;
        while let Some(known) = self.occurrences.get(next as usize) {
            if known.milestone == reached.milestone {
                let again = |known: &mut Occurrence| known.last = reached.change;
                self.occurrences.update(next as usize, again);
                return reached.before;
            }
            next = known.before;
        }
        let number = position(&self.occurrences);
        self.occurrences.push(reached);
        number
    }

    /// Whether a text is in a place.
    pub(super) fn is_text(&self, place: Range<usize>, text: &str) -> bool {
        place.len() == text.len() && *self.texts.slice(place) == *text.as_bytes()
    }

    /// A byte of the texts, to have it in the processor's cache.
    pub(super) fn touch_text(&self, place: usize) -> u8 {
        self.texts.get(place).unwrap_or(0)
    }

    /// The key of an object.
    pub(in crate::milestones) fn key(&self, object: &Object) -> Option<Cow<'_, str>> {
        self.text(object.texts, object.key_bytes)
    }

    /// The uid of an object.
    pub(in crate::milestones) fn uid(&self, object: &Object) -> Option<Cow<'_, str>> {
        self.text(object.after_key(), object.uid_bytes)
    }

    /// The name of an object.
    pub(in crate::milestones) fn name(&self, object: &Object) -> Option<Cow<'_, str>> {
        let start = match (object.key_has_name, object.uid_bytes) {
            (true, _) => object.after_key() - u64::from(object.name_bytes),
            (false, NONE) => object.after_key(),
            (false, uid) => object.after_key() + u64::from(uid),
        };
        self.text(start, object.name_bytes)
    }

    fn text(&self, start: u64, length: u32) -> Option<Cow<'_, str>> {
        if length == NONE {
            return None;
        }
        let start = usize::try_from(start).ok()?;
        match self.texts.slice(start..start + length as usize) {
            Cow::Borrowed(text) => str::from_utf8(text).ok().map(Cow::Borrowed),
            Cow::Owned(text) => String::from_utf8(text).ok().map(Cow::Owned),
        }
    }
}

/// The position of the next entry of a list, which has no more than there are changes, or milestones of changes: they are
/// counted with 32 bits.
pub(super) fn position<T: Record>(list: &List<T>) -> u32 {
    u32::try_from(list.len()).unwrap_or(NONE)
}
