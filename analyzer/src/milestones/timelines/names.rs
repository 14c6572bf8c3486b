//! Numbers for texts of which there are few.

use std::sync::Arc;

use crate::causality::kernel::{FastMap, NONE};

/// Texts, each with a number, from 0.
#[derive(Debug, Default)]
pub(in crate::milestones) struct Names {
    texts: Vec<Arc<str>>,
    numbers: FastMap<Arc<str>, u32>,
}

impl Names {
    /// The number of a text, a new one if it was not seen before.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(NONE);
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// The text with a number.
    pub(in crate::milestones) fn text(&self, number: u32) -> Option<&str> {
        self.texts.get(number as usize).map(|text| &**text)
    }
}

/// Sets of numbers, of which few different ones are met; the empty one is [`NONE`].
#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Vec<Arc<[u32]>>,
    numbers: FastMap<Arc<[u32]>, u32>,
}

impl Sets {
    /// The number of a set, which is likely to be the one with the number `likely`.
    pub(super) fn number(&mut self, set: &[u32], likely: u32) -> u32 {
        if set == self.set(likely) {
            return likely;
        }
        if set.is_empty() {
            return NONE;
        }
        if let Some(known) = self.numbers.get(set) {
            return *known;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(NONE);
        let set: Arc<[u32]> = set.into();
        self.sets.push(Arc::clone(&set));
        self.numbers.insert(set, number);
        number
    }

    /// The set with a number.
    pub(super) fn set(&self, number: u32) -> &[u32] {
        self.sets.get(number as usize).map_or(&[], |set| set)
    }
}
