//! A fast hasher for the kernel's small keys.
//!
//! Keys are integers given out here and strings read from a trace that its owner recorded; nobody
//! gains from making them collide, and SipHash would be a third of the kernel's time.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map with the fast hasher.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// A set with the fast hasher.
pub(crate) type FastSet<K> = HashSet<K, BuildHasherDefault<FastHasher>>;

/// Multiplies and rotates, eight bytes at a time.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FastHasher(u64);

/// 2^64 divided by the golden ratio, made odd: spreads consecutive numbers over all bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl FastHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.add(u64::from_le_bytes(last));
    }

    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    fn finish(&self) -> u64 {
        // Tables take the low bits for the slot and the high ones for the tag.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hash;

    use super::*;

    fn hash(value: impl Hash) -> u64 {
        let mut hasher = FastHasher::default();
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn different_values_differ() {
        assert_ne!(hash("pod-1"), hash("pod-2"));
        assert_ne!(hash("12345678"), hash("123456781"));
        assert_ne!(hash((1_u32, 2_u32)), hash((2_u32, 1_u32)));
    }

    #[test]
    fn consecutive_numbers_spread_over_the_low_bits() {
        let mut slots: Vec<u64> = (0_u32..256).map(|number| hash(number) & 1023).collect();
        slots.sort_unstable();
        slots.dedup();
        assert!(slots.len() > 180, "{}", slots.len());
    }
}
