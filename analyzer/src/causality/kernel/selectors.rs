//! Which objects select which labels.

use super::change::{Change, Op};
use super::changes::Changes;
use super::hash::FastMap;
use super::intern::NONE;

/// A live object with a selector.
#[derive(Debug, Clone, Copy)]
struct Selecting {
    object: u32,
    selector: u32,
}

/// The live objects with a selector, found by one of the pairs they ask for.
#[derive(Debug)]
pub(crate) struct Selectors {
    /// (namespace, pair) → objects. Each object is filed under one pair: whoever has all pairs has it.
    by_pair: FastMap<(u32, u32), Vec<Selecting>>,
    /// Object → (namespace, pair, selector) under which it is filed.
    filed: FastMap<u32, (u32, u32, u32)>,
    /// Per pair: how many objects were filed under it; the rarest is taken.
    uses: Vec<u32>,
}

impl Selectors {
    pub(crate) fn new(pairs: u32) -> Self {
        Self {
            by_pair: FastMap::default(),
            filed: FastMap::default(),
            uses: vec![0; pairs as usize],
        }
    }

    /// Takes notice of an object's selector, or that it is gone.
    pub(crate) fn update(&mut self, changes: &Changes, change: &Change) {
        let ties = changes.ties(change);
        let namespace = ties.namespace;
        let selector = if change.op == Op::Delete {
            NONE
        } else {
            ties.selector
        };
        match self.filed.get(&change.object) {
            None if selector == NONE => return,
            Some((_, _, filed)) if *filed == selector => return,
            Some((namespace, pair, _)) => {
                if let Some(objects) = self.by_pair.get_mut(&(*namespace, *pair)) {
                    objects.retain(|selecting| selecting.object != change.object);
                }
                self.filed.remove(&change.object);
            }
            None => {}
        }
        let uses = |pair: &u32| self.uses.get(*pair as usize).copied().unwrap_or(0);
        let Some(pair) = changes
            .label_set(selector)
            .iter()
            .copied()
            .min_by_key(|pair| uses(pair))
        else {
            return;
        };
        if let Some(uses) = self.uses.get_mut(pair as usize) {
            *uses += 1;
        }
        self.by_pair
            .entry((namespace, pair))
            .or_default()
            .push(Selecting {
                object: change.object,
                selector,
            });
        self.filed
            .insert(change.object, (namespace, pair, selector));
    }

    /// Appends the objects that select the labels of `change`, itself excluded.
    pub(crate) fn selecting(&self, changes: &Changes, change: &Change, found: &mut Vec<u32>) {
        let ties = changes.ties(change);
        let labels = changes.label_set(ties.labels);
        for pair in labels.iter() {
            let Some(objects) = self.by_pair.get(&(ties.namespace, *pair)) else {
                continue;
            };
            for selecting in objects {
                let asked = changes.label_set(selecting.selector);
                if selecting.object != change.object && is_subset(&asked, &labels) {
                    found.push(selecting.object);
                }
            }
        }
    }
}

/// Whether all of the sorted `part` are in the sorted `whole`.
fn is_subset(part: &[u32], whole: &[u32]) -> bool {
    let mut rest = whole.iter();
    part.iter()
        .all(|wanted| rest.by_ref().any(|pair| pair == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets() {
        assert!(is_subset(&[], &[1]));
        assert!(is_subset(&[1, 3], &[1, 2, 3]));
        assert!(!is_subset(&[1, 4], &[1, 2, 3]));
        assert!(!is_subset(&[1], &[]));
    }
}
