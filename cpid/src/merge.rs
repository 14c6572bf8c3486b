//! The rule by which causes that meet are merged.
//!
//! A controller reacts to one or more objects, the *sources*. What it writes carries:
//!
//! - nothing, if no source carries anything valid;
//! - the source's context as it is, if there is one;
//! - the CPID of the newest source, if that one has all others among its ancestors: nothing new
//!   has met, and no mergelog is due;
//! - else a new CPID, made of the sources that are no ancestor of another one, its *roots*. This is
//!   a mergelog.
//!
//! The ancestors that a context keeps are only a hint: cutting them to fewer makes more mergelogs,
//! for an older source is then not recognised as older, but it changes nothing of what can be
//! reached from a CPID over the mergelogs.
//!
//! # Order
//!
//! The result depends on the set of sources alone, not on their order, nor on how often one is
//! given. In the authors' prototype the order of a mergelog's sources and of the ancestors is that
//! of iterating a Go map, so it differs from run to run. Here:
//!
//! - the source CPIDs of a mergelog are in ascending order of their text;
//! - ancestors are ordered by distance from the roots, then by text. In a list of ancestors the
//!   first is at distance 1 from its CPID, the second at distance 2, and so on; the ancestors of a
//!   source that is itself an ancestor are further away by its own distance. The shortest way
//!   counts. A list that is cut thus keeps the newest of every root.
//!
//! Sources that claim to be ancestors of each other cannot come of this rule. None is then known
//! to be newer, so each of them is a root, and so is what only they have among their ancestors.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::context::{ChangeContext, random_cpid};

/// How many ancestors the authors' prototype keeps on an object (`numAncCpids` in
/// `instrumentation/trace_context.go` of `eppppi/k8s-cp-dt`).
pub const DEFAULT_KEEP_ANCESTORS: usize = 10;

/// What an object carries that was written because of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// No CPID: none of the sources has a valid one.
    Nothing,
    /// The CPID of a source, without a mergelog.
    Reuse(ChangeContext),
    /// A new CPID, with a mergelog.
    New {
        /// What the object carries. The CPID is the mergelog's `new_cpid`.
        context: ChangeContext,
        /// The mergelog's `source_cpids`: at least two, in ascending order.
        source_cpids: Vec<String>,
    },
}

impl Merged {
    /// What the object carries, if anything.
    #[must_use]
    pub fn context(&self) -> Option<&ChangeContext> {
        match self {
            Self::Nothing => None,
            Self::Reuse(context) | Self::New { context, .. } => Some(context),
        }
    }
}

/// Merges what `sources` carry, keeping at most `keep_ancestors` ancestors. A new CPID is a random
/// UUID. Invalid sources are left out (see [`ChangeContext::validate`]).
pub fn merge(sources: impl IntoIterator<Item = ChangeContext>, keep_ancestors: usize) -> Merged {
    merge_with(sources, keep_ancestors, |_| random_cpid())
}

/// As [`merge`](fn@merge), with a new CPID made by `new_id` from the source CPIDs of the mergelog.
///
/// `new_id` must not return the empty text, nor a CPID that is in use for something else: with one
/// that depends on the sources alone (a UUIDv5 of them), equal sources give equal CPIDs.
pub fn merge_with(
    sources: impl IntoIterator<Item = ChangeContext>,
    keep_ancestors: usize,
    new_id: impl FnOnce(&[String]) -> String,
) -> Merged {
    let valid = sources
        .into_iter()
        .filter(|source| source.validate().is_ok());
    let mut distinct: BTreeSet<ChangeContext> = valid.collect();
    if distinct.len() <= 1 {
        return distinct.pop_first().map_or(Merged::Nothing, Merged::Reuse);
    }

    let family = Family::new(&distinct);
    let roots = family.roots();
    let mut ancestors = family.by_distance(&roots);
    if let [root] = roots.as_slice() {
        ancestors.retain(|ancestor| ancestor != root);
        ancestors.truncate(keep_ancestors);
        return Merged::Reuse(ChangeContext {
            cpid: (*root).to_owned(),
            ancestors: owned(&ancestors),
        });
    }
    let source_cpids = owned(&roots);
    ancestors.truncate(keep_ancestors);
    Merged::New {
        context: ChangeContext {
            cpid: new_id(&source_cpids),
            ancestors: owned(&ancestors),
        },
        source_cpids,
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Sources by CPID, with every list of ancestors that was given for one.
struct Family<'a>(BTreeMap<&'a str, Vec<&'a [String]>>);

impl<'a> Family<'a> {
    fn new(contexts: &'a BTreeSet<ChangeContext>) -> Self {
        let mut sources: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
        for context in contexts {
            let lists = sources.entry(&context.cpid).or_default();
            lists.push(&context.ancestors);
        }
        Self(sources)
    }

    /// Ancestors that are given for a CPID, with their distance from it.
    fn ancestors_of(&self, cpid: &str) -> impl Iterator<Item = (&'a str, u64)> {
        let lists = self.0.get(cpid).map_or(&[][..], Vec::as_slice);
        lists
            .iter()
            .flat_map(|list| list.iter().map(String::as_str).zip(1..))
    }

    /// Sources that are no ancestor of another one, in ascending order.
    fn roots(&self) -> Vec<&'a str> {
        let claimed: BTreeSet<&str> = self
            .0
            .keys()
            .flat_map(|cpid| self.ancestors_of(cpid))
            .map(|(ancestor, _)| ancestor)
            .collect();
        let newest: Vec<&str> = self
            .0
            .keys()
            .filter(|cpid| !claimed.contains(*cpid))
            .copied()
            .collect();
        // Every source is reached from one that nobody claims, unless some claim each other.
        let reached: BTreeSet<&str> = self.by_distance(&newest).into_iter().collect();
        let is_root = |cpid: &&str| !claimed.contains(cpid) || !reached.contains(cpid);
        self.0.keys().copied().filter(is_root).collect()
    }

    /// `roots` and all their ancestors, by distance from the nearest root, then by text.
    fn by_distance(&self, roots: &[&'a str]) -> Vec<&'a str> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        let start = roots.iter().map(|root| Reverse((0_u64, *root)));
        let mut nearest: BinaryHeap<_> = start.collect();
        while let Some(Reverse((distance, cpid))) = nearest.pop() {
            if !seen.insert(cpid) {
                continue;
            }
            order.push(cpid);
            let ancestors = self.ancestors_of(cpid);
            nearest.extend(ancestors.map(|(ancestor, away)| Reverse((distance + away, ancestor))));
        }
        order
    }
}

#[cfg(test)]
mod tests;
