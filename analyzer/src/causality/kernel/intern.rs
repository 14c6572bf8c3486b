//! Numbers for strings: everything after the builder compares integers.

use std::hash::Hasher;

use super::hash::FastHasher;

/// Stands for "there is none" wherever a number of something is kept.
pub const NONE: u32 = u32::MAX;

/// Slots that a table begins with; a power of two.
const FIRST_SLOTS: usize = 64;

/// The hash of a string and its number, [`NONE`] in an empty slot.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    number: u32,
}

const EMPTY: Slot = Slot {
    hash: 0,
    number: NONE,
};

/// Finds the numbers of strings by their hashes. It has no strings itself: growing it reads none, and finding one reads no
/// other.
#[derive(Debug, Default)]
pub(super) struct HashTable {
    /// Open addressing, with room for a third more than there are.
    slots: Vec<Slot>,
    len: usize,
}

impl HashTable {
    /// The number of the string with this hash that `is_same` says it is; if there is none it is `next` from now on.
    pub(super) fn find_or_insert(
        &mut self,
        hash: u32,
        next: u32,
        mut is_same: impl FnMut(u32) -> bool,
    ) -> u32 {
        if self.len * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        // There is always an empty slot.
        while let Some(slot) = self.slots.get_mut(place) {
            if slot.number == NONE {
                *slot = Slot { hash, number: next };
                self.len += 1;
                return next;
            }
            if slot.hash == hash && is_same(slot.number) {
                return slot.number;
            }
            place = (place + 1) & mask;
        }
        NONE
    }

    /// Reads the slots where some hashes are likely to be; `numbers` becomes what is in them.
    pub(super) fn fetch(&self, hashes: &[u32], numbers: &mut Vec<u32>) {
        let mask = self.slots.len().wrapping_sub(1);
        numbers.clear();
        numbers.extend(hashes.iter().map(|hash| {
            let slot = self.slots.get(*hash as usize & mask);
            slot.map_or(NONE, |slot| slot.number)
        }));
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(FIRST_SLOTS);
        let mask = length - 1;
        let mut slots = vec![EMPTY; length];
        for slot in self.slots.iter().filter(|slot| slot.number != NONE) {
            let mut place = slot.hash as usize & mask;
            while slots.get(place).is_some_and(|other| other.number != NONE) {
                place = (place + 1) & mask;
            }
            if let Some(free) = slots.get_mut(place) {
                *free = *slot;
            }
        }
        self.slots = slots;
    }
}

/// Gives each distinct string a number, from 0.
///
/// Where there are as many strings as objects, they are in [`super::names::Names`] instead.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    table: HashTable,
    texts: Texts,
}

/// Strings by number, from 0.
#[derive(Debug, Default)]
pub struct Texts {
    bytes: String,
    /// Where each string ends.
    ends: Vec<usize>,
}

impl Texts {
    /// The string with a number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        let end = *self.ends.get(number)?;
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// All strings, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map_while(|number| self.get(number))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        // A trace with 2^32 distinct names does not fit into memory.
        u32::try_from(self.ends.len()).unwrap_or(NONE)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }
}

impl Interner {
    /// The number of `text`, a new one if it was not seen before.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        let (texts, next) = (&self.texts, self.texts.len());
        let is_same = |number| texts.get(number) == Some(text);
        let number = self.table.find_or_insert(hash_of_text(text), next, is_same);
        if number == next {
            self.texts.push(text);
        }
        number
    }

    /// How many strings were seen.
    pub(crate) fn len(&self) -> u32 {
        self.texts.len()
    }

    /// The string with a number.
    pub(crate) fn text(&self, number: u32) -> Option<&str> {
        self.texts.get(number)
    }

    /// The strings by their numbers.
    pub(crate) fn into_texts(self) -> Texts {
        self.texts
    }
}

/// A hash of 32 bits: enough for tables with up to 2^32 slots, and to tell few texts apart.
pub(crate) fn hash_of_text(text: &str) -> u32 {
    let mut hasher = FastHasher::default();
    hasher.write(text.as_bytes());
    // The hasher folds its high half into the low one.
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_one_number() {
        let mut interner = Interner::default();
        let numbers = ["a", "b", "a", "", "b"].map(|text| interner.number(text));
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        let texts = interner.into_texts();
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["a", "b", ""]);
        assert_eq!(texts.get(3), None);
        assert_eq!(texts.get(NONE), None);
    }

    #[test]
    fn numbers_stay_the_same_while_the_table_grows() {
        let mut interner = Interner::default();
        let name = |number: u32| format!("pod-{number:08}");
        for round in 0..2 {
            for number in 0..10_000 {
                assert_eq!(interner.number(&name(number)), number, "round {round}");
            }
        }
        assert_eq!(interner.len(), 10_000);
        assert_eq!(interner.into_texts().get(4_321), Some(name(4_321).as_str()));
    }
}
