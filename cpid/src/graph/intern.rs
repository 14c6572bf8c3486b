//! Texts as numbers.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A slot without a text.
const EMPTY: u32 = u32::MAX;

/// Gives each text a number, counting from 0. Holds the texts once, end to end, and finds them by
/// a hash table of numbers: for a UUID about 60 bytes, where a `HashMap<String, u32>` and the way
/// back would take three times as much.
#[derive(Debug, Clone, Default)]
pub(super) struct Interner {
    texts: String,
    /// Where each text ends.
    ends: Vec<usize>,
    /// Numbers, by the hash of their text; the length is a power of two. Of a text whose slot is
    /// taken, the next free one is used.
    slots: Vec<u32>,
    /// Keyed at random: texts come from outside and must not be able to collide on purpose.
    hashes: RandomState,
}

impl Interner {
    /// The number of a text, which it is given if it has none. The caller sees to it that there
    /// are fewer than `u32::MAX`.
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        // At most three quarters are in use.
        if self.slots.len() * 3 <= self.ends.len() * 4 {
            self.grow();
        }
        let slot = self.slot(text);
        match self.slots.get(slot).copied() {
            Some(id) if id != EMPTY => id,
            _ => {
                let id = u32::try_from(self.ends.len()).unwrap_or(EMPTY);
                self.texts.push_str(text);
                self.ends.push(self.texts.len());
                if let Some(slot) = self.slots.get_mut(slot) {
                    *slot = id;
                }
                id
            }
        }
    }

    /// The number of a text that has one.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        let id = self.slots.get(self.slot(text)).copied();
        id.filter(|id| *id != EMPTY)
    }

    /// The text with a number; empty for a number that was not given.
    pub(super) fn name(&self, id: u32) -> &str {
        let id = id as usize;
        let start = id.checked_sub(1).and_then(|before| self.ends.get(before));
        let text = self
            .ends
            .get(id)
            .and_then(|end| self.texts.get(start.copied().unwrap_or_default()..*end));
        text.unwrap_or_default()
    }

    /// Bytes that it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.texts.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.slots.capacity() * size_of::<u32>()
    }

    /// The slot that a text has, or would have.
    fn slot(&self, text: &str) -> usize {
        let mask = self.slots.len().wrapping_sub(1);
        #[allow(clippy::cast_possible_truncation)] // the low bits are as good as all of them
        let mut slot = self.hashes.hash_one(text) as usize & mask;
        // Ends, for a quarter of the slots is free. Without slots there is none to find.
        while let Some(id) = self.slots.get(slot) {
            if *id == EMPTY || self.name(*id) == text {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(16);
        self.slots = vec![EMPTY; slots];
        for id in 0..self.ends.len() {
            let id = u32::try_from(id).unwrap_or(EMPTY);
            let slot = self.slot(self.name(id));
            if let Some(slot) = self.slots.get_mut(slot) {
                *slot = id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_numbers() {
        let mut interner = Interner::default();
        assert_eq!(interner.id(""), None);
        assert_eq!(interner.id("0"), None);
        for round in 0..2 {
            for number in 0..5000_u32 {
                let text = "x".repeat(number as usize % 3) + &number.to_string();
                assert_eq!(interner.intern(&text), number, "round {round}");
                assert_eq!(interner.id(&text), Some(number));
                assert_eq!(interner.name(number), text);
            }
        }
        assert_eq!(interner.id("5000"), None);
        assert_eq!(interner.name(5000), "");
        assert_eq!(interner.name(u32::MAX), "");
    }
}
