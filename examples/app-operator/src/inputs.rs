//! What a reconcile has read, version by version, and which of it each write came of.
//!
//! Only the log of writes needs this: it makes the operator a witness of cause and effect, revision by
//! revision. A reconcile reads everything that its watches have shown since the one before, but most of it
//! changes nothing in what it writes. So for every write its outcome (what would be written, or nothing) is worked
//! out again after each of these versions ([`crate::plan`]): the versions with which it changed are what set the write
//! off.

use serde_json::{Value, json};

use crate::plan::{Target, outcome};
use crate::world::Family;

/// Versions that are remembered of an `App` whose reconciles keep failing.
const KEPT: usize = 512;

/// A version that a watch has shown, and all that was known then.
#[derive(Debug, Clone)]
struct Input {
    /// `resourceVersion`; for a deletion that of the deletion. A list does not tell when something went.
    revision: Option<String>,
    family: Family,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// What the last reconcile that came to its end had seen.
    before: Family,
    versions: Vec<Input>,
}

/// The versions that a write came of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Triggers {
    /// With these the outcome became what it is: of each object the last one.
    needed: Vec<String>,
    /// With these it changed as well, until a newer version of the same object took their place.
    overtaken: Vec<String>,
}

impl Inputs {
    /// A watch has shown a version; `family` is what is known with it.
    pub(crate) fn push(&mut self, revision: Option<String>, family: Family) {
        if self.versions.len() == KEPT {
            self.before = self.versions.remove(0).family;
        }
        self.versions.push(Input { revision, family });
    }

    /// Everything so far, for a reconcile that has seen `family`. What comes from now on is for the next.
    pub(crate) fn take(&mut self, family: &Family) -> Self {
        let next = Self {
            before: family.clone(),
            versions: Vec::new(),
        };
        std::mem::replace(self, next)
    }

    /// Takes back what a reconcile has taken that did not come to its end.
    pub(crate) fn give_back(&mut self, mut taken: Self) {
        taken.versions.append(&mut self.versions);
        let too_many = taken.versions.len().saturating_sub(KEPT);
        if let Some(last) = taken.versions.drain(..too_many).next_back() {
            taken.before = last.family;
        }
        *self = taken;
    }

    /// The `resourceVersion`s in the order in which the watches have shown them.
    pub(crate) fn revisions(&self) -> Vec<&str> {
        let revisions = self.versions.iter();
        revisions
            .filter_map(|input| input.revision.as_deref())
            .collect()
    }

    /// What a write came of. Nothing if the watches had not shown a reason: then it was found by asking
    /// kube-apiserver, or a repetition.
    pub(crate) fn triggers(&self, target: Target) -> Triggers {
        let mut before = outcome(&self.before, target);
        // Since the outcome was last "nothing": which versions changed it.
        let mut changed: Vec<(usize, &str)> = Vec::new();
        for (index, input) in self.versions.iter().enumerate() {
            let now = outcome(&input.family, target);
            if now != before {
                match (&now, input.revision.as_deref()) {
                    (Some(_), Some(revision)) => changed.push((index, revision)),
                    (Some(_), None) => {}
                    (None, _) => changed.clear(),
                }
                before = now;
            }
        }
        let mut triggers = Triggers::default();
        for (position, (index, revision)) in changed.iter().enumerate() {
            let is_overtaken = changed
                .iter()
                .skip(position + 1)
                .any(|(later, _)| self.is_same_object(*index, *later));
            let list = if is_overtaken {
                &mut triggers.overtaken
            } else {
                &mut triggers.needed
            };
            list.push((*revision).to_owned());
        }
        triggers
    }

    /// Whether two versions are of one object: the one whose slot they changed.
    fn is_same_object(&self, one: usize, other: usize) -> bool {
        self.changed_slot(one) == self.changed_slot(other)
    }

    fn changed_slot(&self, index: usize) -> Option<usize> {
        let now = &self.versions.get(index)?.family;
        let before = match index.checked_sub(1) {
            Some(earlier) => &self.versions.get(earlier)?.family,
            None => &self.before,
        };
        let (now, before) = (now.revisions(), before.revisions());
        now.iter()
            .zip(&before)
            .position(|(now, before)| now != before)
    }
}

impl Triggers {
    /// As members of a line of the log.
    pub(crate) fn add_to(&self, line: &mut Value) {
        line["triggers"] = json!(self.needed);
        line["overtaken"] = json!(self.overtaken);
    }
}
