//! Numbers for strings: everything after the builder compares integers.

use super::hash::FastMap;

/// Stands for "there is none" wherever a number of something is kept.
pub const NONE: u32 = u32::MAX;

/// Gives each distinct string a number, from 0.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    numbers: FastMap<Box<str>, u32>,
}

impl Interner {
    /// The number of `text`, a new one if it was not seen before.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.len();
        self.numbers.insert(text.into(), number);
        number
    }

    /// How many strings were seen.
    pub(crate) fn len(&self) -> u32 {
        // A trace with 2^32 distinct names does not fit into memory.
        u32::try_from(self.numbers.len()).unwrap_or(NONE)
    }

    /// The strings in the order of their numbers.
    pub(crate) fn into_texts(self) -> Vec<Box<str>> {
        let mut texts: Vec<(u32, Box<str>)> = self
            .numbers
            .into_iter()
            .map(|(text, number)| (number, text))
            .collect();
        texts.sort_unstable_by_key(|(number, _)| *number);
        texts.into_iter().map(|(_, text)| text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_one_number() {
        let mut interner = Interner::default();
        let numbers = ["a", "b", "a", "", "b"].map(|text| interner.number(text));
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        let texts: Vec<String> = interner
            .into_texts()
            .into_iter()
            .map(String::from)
            .collect();
        assert_eq!(texts, ["a", "b", ""]);
    }
}
