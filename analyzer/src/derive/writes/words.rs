//! Texts that occur over and over, each kept once.

use std::collections::HashMap;
use std::sync::Arc;

/// Stands for a text, or for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
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
    codes: HashMap<Arc<str>, Word>,
    texts: Vec<Arc<str>>,
}

impl Words {
    /// What stands for `text`.
    pub(super) fn of(&mut self, text: Option<&str>) -> Word {
        let Some(text) = text else {
            return Word::NONE;
        };
        if let Some(word) = self.codes.get(text) {
            return *word;
        }
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        // More than four billion different texts fit into no memory.
        let word = Word(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.codes.insert(text, word);
        word
    }

    /// The text that `word` stands for.
    pub(super) fn text(&self, word: Word) -> Option<&str> {
        let index = usize::try_from(word.0).ok()?.checked_sub(1)?;
        self.texts.get(index).map(AsRef::as_ref)
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
}
