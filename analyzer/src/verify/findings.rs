//! Things that are wrong: how many, and a few of them to look at.

use serde::{Serialize, Serializer};

/// How many examples are kept.
const MAX_EXAMPLES: usize = 10;

/// A counted list that keeps its first entries only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Findings {
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
}

impl Findings {
    /// Adds one; `describe` is called only for those that are kept.
    pub(super) fn add(&mut self, describe: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(describe());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Ranges of revisions, in order; neighbours are joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    /// Sorts and joins ranges; empty ones are left out.
    pub(super) fn of(mut ranges: Vec<(i64, i64)>) -> Self {
        ranges.retain(|(from, to)| from <= to);
        ranges.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (from, to) in ranges {
            match joined.last_mut() {
                Some((_, last)) if from <= last.saturating_add(1) => *last = to.max(*last),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }

    /// Adds a range that begins after all others.
    pub(super) fn push(&mut self, from: i64, to: i64) {
        if from <= to {
            match self.0.last_mut() {
                Some((_, last)) if from <= last.saturating_add(1) => *last = to.max(*last),
                _ => self.0.push((from, to)),
            }
        }
    }

    /// Splits `from..=to` into what these ranges cover and what they do not.
    pub(super) fn split(&self, from: i64, to: i64) -> (Self, Self) {
        let mut covered = Self::default();
        let mut uncovered = Self::default();
        let mut next = from;
        let first = self.0.partition_point(|(_, end)| *end < from);
        for (start, end) in self.0.iter().skip(first) {
            if *start > to || next > to {
                break;
            }
            uncovered.push(next, start.saturating_sub(1).min(to));
            covered.push((*start).max(next), (*end).min(to));
            next = next.max(end.saturating_add(1));
        }
        uncovered.push(next, to);
        (covered, uncovered)
    }

    pub(super) fn contains(&self, revision: i64) -> bool {
        let index = self.0.partition_point(|(_, end)| *end < revision);
        self.0
            .get(index)
            .is_some_and(|(start, _)| *start <= revision)
    }

    pub(super) fn extend(&mut self, other: &Self) {
        for (from, to) in &other.0 {
            self.push(*from, *to);
        }
    }

    /// Number of revisions in all ranges.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(from, to)| to.abs_diff(*from) + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Ranges {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (from, to)) in self.0.iter().take(MAX_EXAMPLES).enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            if from == to {
                write!(formatter, "{from}")?;
            } else {
                write!(formatter, "{from}–{to}")?;
            }
        }
        if self.0.len() > MAX_EXAMPLES {
            write!(formatter, ", … ({} ranges)", self.0.len())?;
        }
        Ok(())
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Range {
            from: i64,
            to: i64,
        }
        serializer.collect_seq(self.0.iter().map(|(from, to)| Range {
            from: *from,
            to: *to,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Random;

    #[test]
    fn ranges_split_like_sets() {
        let mut random = Random::new(1);
        for _ in 0..500 {
            let mut number = |limit| i64::try_from(random.below(limit)).unwrap();
            let pairs: Vec<(i64, i64)> = (0..number(8))
                .map(|_| {
                    let from = number(40);
                    (from, from + number(8))
                })
                .collect();
            let (from, to) = (number(40), 40 + number(40));
            let in_any = |n: i64| pairs.iter().any(|(from, to)| (*from..=*to).contains(&n));
            let ranges = Ranges::of(pairs.clone());
            let (covered, uncovered) = ranges.split(from, to);
            for n in -2..90 {
                let asked = (from..=to).contains(&n);
                assert_eq!(ranges.contains(n), in_any(n), "{n} in {pairs:?}");
                assert_eq!(covered.contains(n), asked && in_any(n), "{n} in {pairs:?}");
                assert_eq!(
                    uncovered.contains(n),
                    asked && !in_any(n),
                    "{n} in {pairs:?}"
                );
            }
            let total = to.abs_diff(from) + 1;
            assert_eq!(covered.count() + uncovered.count(), total, "{pairs:?}");
        }
    }
}
