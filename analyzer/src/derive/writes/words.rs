//! Texts that occur over and over, each kept once.

use bytemuck::{Pod, Zeroable};

use crate::causality::kernel::Interner;

/// Stands for a text, or for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Word(u32);

impl Word {
    /// No text: NULL.
    pub(super) const NONE: Self = Self(0);

    /// Whether there is none.
    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// This one, or the other if this is none.
    pub(super) fn or(self, other: Self) -> Self {
        if self.is_none() { other } else { self }
    }
}

/// All texts.
#[derive(Debug, Default)]
pub(super) struct Words {
    texts: Interner,
}

impl Words {
    /// What stands for `text`.
    pub(super) fn of(&mut self, text: Option<&str>) -> Word {
        // More than four billion different texts fit into no memory.
        text.map_or(Word::NONE, |text| {
            Word(self.texts.number(text).saturating_add(1))
        })
    }

    /// The text that `word` stands for.
    pub(super) fn text(&self, word: Word) -> Option<&str> {
        self.texts.text(word.0.checked_sub(1)?)
    }

    /// What stands in `others` for each text here.
    pub(super) fn translation(&self, others: &mut Self) -> Translation {
        let texts = (0..self.texts.len()).map(|number| self.texts.text(number));
        let none = std::iter::once(Word::NONE);
        Translation(none.chain(texts.map(|text| others.of(text))).collect())
    }
}

/// Words of one collection in terms of another.
#[derive(Debug)]
pub(super) struct Translation(Vec<Word>);

impl Translation {
    /// What stands for the same text.
    pub(super) fn of(&self, word: Word) -> Word {
        self.0.get(word.0 as usize).copied().unwrap_or(Word::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_one_word_and_null_is_none() {
        let mut words = Words::default();
        let (a, b) = (words.of(Some("a")), words.of(Some("")));
        assert_eq!(words.of(Some("a")), a);
        assert_ne!(a, b);
        assert_eq!(words.of(None), Word::NONE);
        assert_eq!(words.text(a), Some("a"));
        assert_eq!(words.text(b), Some(""));
        assert_eq!(words.text(Word::NONE), None);
        assert_eq!(Word::NONE.or(a), a);
        assert_eq!(b.or(a), b);
    }

    #[test]
    fn words_of_two_collections_are_translated() {
        let (mut ours, mut theirs) = (Words::default(), Words::default());
        let (a, b) = (ours.of(Some("a")), ours.of(Some("b")));
        let known = theirs.of(Some("b"));
        let translation = ours.translation(&mut theirs);
        assert_eq!(translation.of(b), known);
        assert_eq!(theirs.text(translation.of(a)), Some("a"));
        assert_eq!(translation.of(Word::NONE), Word::NONE);
    }
}
