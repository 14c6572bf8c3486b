//! Numbers for strings of which there are as many as objects.

use std::borrow::Cow;
use std::hint::black_box;

use super::intern::{HashTable, NONE, hash_of_text};
use crate::storage::{Runs, Storage};

/// Gives each distinct string a number, from 0.
///
/// A trace has millions of names, each of which is asked for many times. So the strings stand one after the other, and a table has
/// their hashes.
#[derive(Debug, Default)]
pub(crate) struct Names {
    table: HashTable,
    bytes: Runs<u8>,
    /// Whether strings are in memory.
    is_memory: bool,
}

impl Names {
    /// None yet.
    pub(crate) fn new(storage: &Storage) -> Self {
        Self {
            table: HashTable::default(),
            bytes: Runs::new(storage),
            is_memory: !storage.is_file(),
        }
    }

    /// The number of `text`, a new one if it was not seen before.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        let next = self.len();
        let Self { table, bytes, .. } = self;
        let is_same = |number| *bytes.get(number) == *text.as_bytes();
        let number = table.find_or_insert(hash_of_text(text), next, is_same);
        if number == next {
            bytes.push(text.as_bytes());
        }
        number
    }

    /// Reads what looking up some strings will read into the processor's cache, by their hashes. Looked up one by one, each of
    /// three places is waited for in turn; these do not depend on each other, and come together. `numbers` is a buffer.
    pub(crate) fn fetch(&self, hashes: &[u32], numbers: &mut Vec<u32>) {
        self.table.fetch(hashes, numbers);
        if !self.is_memory {
            return;
        }
        let mut read = 0_usize;
        for number in numbers.iter() {
            read = read.wrapping_add(self.bytes.end(*number));
        }
        for number in numbers.iter() {
            let last = self.bytes.before(self.bytes.end(*number));
            read = read.wrapping_add(last.unwrap_or(0).into());
        }
        black_box(read);
    }

    /// How many strings were seen.
    pub(crate) fn len(&self) -> u32 {
        // A trace with 2^32 distinct names does not fit onto a disk.
        u32::try_from(self.bytes.len()).unwrap_or(NONE)
    }

    /// The string with a number, empty if there is none.
    pub(crate) fn text(&self, number: u32) -> Cow<'_, str> {
        // What was put in were strings.
        match self.bytes.get(number) {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).unwrap_or_default().into(),
            Cow::Owned(bytes) => String::from_utf8(bytes).unwrap_or_default().into(),
        }
    }

    /// Forgets how strings are found.
    pub(crate) fn close(&mut self) {
        self.table = HashTable::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_same_numbers_wherever_they_are() {
        let file = Storage::in_file(&std::env::temp_dir(), 40_000).unwrap();
        let name = |number: u32| format!("pod-{number:08}");
        for storage in [Storage::default(), file] {
            let mut names = Names::new(&storage);
            assert_eq!(names.number(""), 0);
            for round in 0..2 {
                for number in 1..10_000 {
                    names.fetch(&[hash_of_text(&name(number)), number], &mut Vec::new());
                    assert_eq!(names.number(&name(number)), number, "round {round}");
                }
            }
            names.close();
            assert_eq!(names.len(), 10_000);
            assert_eq!(
                [names.text(0), names.text(4_321)],
                ["".to_owned(), name(4_321)]
            );
            assert_eq!(names.text(NONE), "");
        }
    }
}
