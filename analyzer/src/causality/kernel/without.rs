//! Evidence that the kernel is told not to use: to measure what each kind is worth.

use std::fmt;
use std::str::FromStr;

use super::evidence::{Evidence, Relation};

/// Evidence that is not one of an edge's relations.
const SPANS: &str = "spans";
const GENERATION: &str = "generation";
const CONTENT: &str = "content";
const LEARNT: &str = "learnt";

/// What the kernel may not use; by default it uses everything.
///
/// As text a list of names separated by commas: those of `edges.evidence`, and `spans` (who sent the API
/// request, and when), `generation` (`metadata.generation` and `status.observedGeneration`), `content` (what an
/// object says it was made for, such as the Node of a Pod) and `learnt` (weights and delays learnt from the
/// trace).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Without {
    relations: Evidence,
    /// Request spans.
    pub spans: bool,
    /// Generations.
    pub generation: bool,
    /// What an object says it was made for.
    pub content: bool,
    /// The learnt model.
    pub learnt: bool,
}

impl Without {
    /// Whether changes with this relation to an effect are not taken for its cause.
    #[must_use]
    pub fn relation(self, relation: Relation) -> bool {
        self.relations.has(relation)
    }
}

/// A name that stands for no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no evidence; known are {}", names().join(", "))]
pub struct UnknownEvidence {
    name: String,
}

/// All names, in the order of `Relation::ALL`, then the others.
fn names() -> Vec<&'static str> {
    let others = [SPANS, GENERATION, CONTENT, LEARNT];
    Relation::ALL
        .into_iter()
        .map(Relation::name)
        .chain(others)
        .collect()
}

impl FromStr for Without {
    type Err = UnknownEvidence;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut without = Self::default();
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            match name {
                SPANS => without.spans = true,
                GENERATION => without.generation = true,
                CONTENT => without.content = true,
                LEARNT => without.learnt = true,
                _ => {
                    let relation = Relation::ALL
                        .into_iter()
                        .find(|relation| relation.name() == name)
                        .ok_or_else(|| UnknownEvidence {
                            name: name.to_owned(),
                        })?;
                    without.relations = without.relations.with(Evidence::of(relation));
                }
            }
        }
        Ok(without)
    }
}

impl fmt::Display for Without {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = [
            (self.spans, SPANS),
            (self.generation, GENERATION),
            (self.content, CONTENT),
            (self.learnt, LEARNT),
        ];
        let names: Vec<&str> = self
            .relations
            .relations()
            .map(Relation::name)
            .chain(
                others
                    .into_iter()
                    .filter_map(|(is_off, name)| is_off.then_some(name)),
            )
            .collect();
        formatter.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_printed() {
        for name in names() {
            let without: Without = name.parse().unwrap();
            assert_ne!(without, Without::default(), "{name}");
            assert_eq!(without.to_string(), name);
        }
        let several: Without = " owner, spans,".parse().unwrap();
        assert!(several.relation(Relation::Owner) && several.spans);
        assert!(!several.relation(Relation::Child));
        assert_eq!("".parse(), Ok(Without::default()));
    }

    #[test]
    fn a_wrong_name_is_an_error_that_lists_the_right_ones() {
        let error = "owners".parse::<Without>().unwrap_err().to_string();
        assert!(
            error.contains("\"owners\"") && error.contains("same_reconcile, spans"),
            "{error}"
        );
    }
}
