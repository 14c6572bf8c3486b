//! Finds objects by their keys.

use bytemuck::{CheckedBitPattern, NoUninit};

use crate::causality::kernel::NONE;
use crate::storage::{List, Storage};

/// Slots that a table begins with: two to the power of this.
const FIRST_BITS: u32 = 6;

/// The hash of a key and the newest object that has it, [`NONE`] in an empty slot.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Slot {
    hash: u32,
    object: u32,
}

const EMPTY: Slot = Slot {
    hash: 0,
    object: NONE,
};

/// The newest object of each key. The keys themselves are elsewhere: who looks for one says whether an object has it.
#[derive(Debug)]
pub(super) struct Keys {
    storage: Storage,
    /// Open addressing, with room for a third more than there are, in the order of the hashes: so a larger table is
    /// filled from its beginning to its end.
    slots: List<Slot>,
    bits: u32,
    len: usize,
}

/// Where a key is in the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    slot: usize,
    hash: u32,
    /// The newest object with this key, [`NONE`] if there is none.
    pub(super) object: u32,
}

impl Keys {
    pub(super) fn new(storage: &Storage) -> Self {
        Self {
            storage: storage.clone(),
            slots: List::new(storage),
            bits: FIRST_BITS,
            len: 0,
        }
    }

    /// Finds the key with this hash that `is_same` says an object has.
    pub(super) fn find(&mut self, hash: u32, mut is_same: impl FnMut(u32) -> bool) -> Place {
        if self.len * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let mut slot = home(hash, self.bits);
        // There is always an empty slot.
        while let Some(found) = self.slots.get(slot) {
            let object = found.object;
            if object == NONE || found.hash == hash && is_same(object) {
                return Place { slot, hash, object };
            }
            slot = after(slot, self.bits);
        }
        Place {
            slot,
            hash,
            object: NONE,
        }
    }

    /// Makes an object the newest one of the key that was found last.
    pub(super) fn set(&mut self, place: Place, object: u32) {
        let Place { slot, hash, .. } = place;
        self.len += usize::from(place.object == NONE);
        self.slots.set(slot, Slot { hash, object });
    }

    /// The objects that some hashes are likely to be of; `objects` becomes them.
    pub(super) fn likely(&self, hashes: &[u32], objects: &mut Vec<u32>) {
        objects.clear();
        objects.extend(hashes.iter().map(|hash| {
            let slot = self.slots.get(home(*hash, self.bits));
            slot.map_or(NONE, |slot| slot.object)
        }));
    }

    fn grow(&mut self) {
        self.bits += u32::from(!self.slots.is_empty());
        let mut slots = List::filled(&self.storage, EMPTY, 1 << self.bits);
        for slot in self.slots.iter().filter(|slot| slot.object != NONE) {
            let mut place = home(slot.hash, self.bits);
            while slots.get(place).is_some_and(|other| other.object != NONE) {
                place = after(place, self.bits);
            }
            slots.set(place, slot);
        }
        self.slots = slots;
    }
}

/// The slot where a hash should be: its first bits.
fn home(hash: u32, bits: u32) -> usize {
    ((u64::from(hash) << bits) >> u32::BITS) as usize
}

/// The slot after one; after the last comes the first.
fn after(slot: usize, bits: u32) -> usize {
    (slot + 1) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::kernel::hash_of_text;

    #[test]
    fn the_newest_object_of_a_key_is_found_while_the_table_grows() {
        for storage in [
            Storage::default(),
            Storage::in_file(&std::env::temp_dir(), 40_000).unwrap(),
        ] {
            let mut keys = Keys::new(&storage);
            let mut objects: Vec<String> = Vec::new();
            for round in 0..3 {
                for number in 0..5_000_u32 {
                    let key = format!("/registry/pods/default/pod-{number}");
                    // Some hashes are of many keys, the last ones of all among them.
                    let hash = match number % 50 {
                        0 => u32::MAX,
                        1 => 7,
                        _ => hash_of_text(&key),
                    };
                    let place = keys.find(hash, |object| objects[object as usize] == key);
                    let expected = (round > 0).then(|| (round - 1) * 5_000 + number);
                    assert_eq!(place.object, expected.unwrap_or(NONE));
                    keys.set(place, u32::try_from(objects.len()).unwrap());
                    objects.push(key);
                }
            }
            assert_eq!(keys.len, 5_000);
            storage.check().unwrap();
        }
    }
}
