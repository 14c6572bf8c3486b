//! A map from spans to numbers that is larger than any cache.

use std::hash::Hasher;
use std::hint::black_box;

use super::spans::SpanKey;
use crate::causality::kernel::FastHasher;

/// Stands for an empty slot.
const EMPTY: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: SpanKey,
    number: u32,
}

/// Open addressing with room for a third more than there are. What the standard map does not have is [`Self::fetch`].
#[derive(Debug, Default)]
pub(super) struct SpanMap {
    /// As many as a power of two, or none.
    slots: Vec<Slot>,
    len: usize,
}

impl SpanMap {
    /// An empty map that need not grow for so many spans.
    pub(super) fn with_capacity(spans: usize) -> Self {
        let mut map = Self::default();
        map.resize(spans.saturating_mul(4) / 3 + 1);
        map
    }

    /// How many spans there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Reads where some spans are, if they are there, into the processor's cache. Read one by one each would be waited for in
    /// turn; these do not depend on each other, and come together.
    pub(super) fn fetch(&self, spans: &[SpanKey]) {
        let numbers = spans
            .iter()
            .filter_map(|span| self.slots.get(self.first_place(*span)))
            .map(|slot| slot.number);
        black_box(numbers.fold(0, u32::wrapping_add));
    }

    /// The number of a span.
    pub(super) fn get(&self, span: SpanKey) -> Option<u32> {
        let slot = self.slots.get(self.place(span)?)?;
        (slot.number != EMPTY).then_some(slot.number)
    }

    /// The number of a span; that is `number` if it had none.
    pub(super) fn get_or_insert(&mut self, span: SpanKey, number: u32) -> u32 {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize(self.slots.len() * 2);
        }
        let slot = self.place(span).and_then(|place| self.slots.get_mut(place));
        let Some(slot) = slot else {
            return number;
        };
        if slot.number == EMPTY {
            *slot = Slot { key: span, number };
            self.len += 1;
        }
        slot.number
    }

    /// Gives a span that is there another number.
    pub(super) fn replace(&mut self, span: SpanKey, number: u32) {
        let place = self.place(span);
        if let Some(slot) = place.and_then(|place| self.slots.get_mut(place))
            && slot.number != EMPTY
        {
            slot.number = number;
        }
    }

    fn first_place(&self, (high, low): SpanKey) -> usize {
        let mut hasher = FastHasher::default();
        hasher.write_u64(high);
        hasher.write_u64(low);
        // The hasher folds its high half into the low one.
        hasher.finish() as usize & self.slots.len().wrapping_sub(1)
    }

    /// The slot of a span, or the empty one where it would be; `None` in a map without slots.
    fn place(&self, span: SpanKey) -> Option<usize> {
        let mut place = self.first_place(span);
        loop {
            let slot = self.slots.get(place)?;
            // There is always an empty one.
            if slot.number == EMPTY || slot.key == span {
                return Some(place);
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    /// Makes room for so many slots.
    fn resize(&mut self, slots: usize) {
        let empty = Slot {
            key: (0, 0),
            number: EMPTY,
        };
        let slots = slots.next_power_of_two().max(64);
        let before = std::mem::replace(&mut self.slots, vec![empty; slots]);
        for slot in before.into_iter().filter(|slot| slot.number != EMPTY) {
            let place = self.place(slot.key);
            if let Some(free) = place.and_then(|place| self.slots.get_mut(place)) {
                *free = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::support::Random;

    #[test]
    fn it_says_what_the_standard_map_says() {
        let mut random = Random::new(7);
        for capacity in [0, 10, 3000] {
            let mut map = SpanMap::with_capacity(capacity);
            let mut known: HashMap<SpanKey, u32> = HashMap::new();
            for number in 0..3000 {
                // Few different keys, that differ in few bits.
                let span = (random.below(40) << 60, random.below(40));
                map.fetch(&[span, (1, 2)]);
                assert_eq!(map.get(span), known.get(&span).copied());
                let expected = *known.entry(span).or_insert(number);
                assert_eq!(map.get_or_insert(span, number), expected);
                if random.below(3) == 0 {
                    known.insert(span, number);
                    map.replace(span, number);
                }
                assert_eq!(map.len(), known.len());
            }
            for (span, number) in known {
                assert_eq!(map.get(span), Some(number));
            }
            map.replace((9, 9), 1);
            assert_eq!(map.get((9, 9)), None);
        }
        let nothing = SpanMap::default();
        nothing.fetch(&[(1, 1)]);
        assert_eq!(nothing.get((1, 1)), None);
    }
}
