//! What each loop has seen of the objects around one it works on.

use bytemuck::{Pod, Zeroable};

use crate::causality::kernel::changes::Changes;
use crate::causality::kernel::intern::NONE;
use crate::storage::List;

/// What a loop has seen.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Cursor {
    /// Everything committed until then was seen.
    pub(super) seen: i64,
    /// Limit of its newest write.
    pub(super) last_limit: i64,
    /// Its newest write.
    pub(super) last: u32,
    /// Whose it is.
    actor: u32,
    /// That of another actor that works on the same object.
    next: u32,
    unused: u32,
}

/// By the object that is worked on, and who does. Few work on one object, and most work on those that they worked on just
/// before.
#[derive(Debug)]
pub(super) struct Cursors {
    /// Per object, and for those that are none: its first cursor.
    first: List<u32>,
    cursors: List<Cursor>,
}

impl Cursors {
    /// None yet.
    pub(super) fn new(changes: &Changes) -> Self {
        let objects = changes.objects as usize + 1;
        Self {
            first: List::filled(&changes.storage, NONE, objects),
            cursors: List::new(&changes.storage),
        }
    }

    /// What an actor has seen around an object that it works on.
    pub(super) fn get(&self, actor: u32, object: u32) -> Option<Cursor> {
        let place = self.find(actor, object)?;
        self.cursors.get(place)
    }

    /// Changes what an actor has seen; it has seen nothing before its first write.
    pub(super) fn update(&mut self, actor: u32, object: u32, change: impl FnOnce(&mut Cursor)) {
        let place = self.find(actor, object).unwrap_or_else(|| {
            let place = self.cursors.len();
            let number = u32::try_from(place).unwrap_or(NONE);
            let object = self.place(object);
            let next = self.first.get(object).unwrap_or(NONE);
            self.first.set(object, number);
            self.cursors.push(Cursor {
                seen: i64::MIN,
                last_limit: i64::MIN,
                last: NONE,
                actor,
                next,
                unused: 0,
            });
            place
        });
        self.cursors.update(place, change);
    }

    fn place(&self, object: u32) -> usize {
        (object as usize).min(self.first.len().saturating_sub(1))
    }

    fn find(&self, actor: u32, object: u32) -> Option<usize> {
        let mut next = self.first.get(self.place(object))?;
        loop {
            let place = next as usize;
            let cursor = self.cursors.get(place)?;
            if cursor.actor == actor {
                return Some(place);
            }
            next = cursor.next;
        }
    }
}
