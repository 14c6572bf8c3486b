//! What is known of objects from the whole trace, before the first change is looked at.

use super::change::Op;
use super::changes::Changes;
use super::intern::NONE;
use super::kinds::KindClass;
use super::observed::Observed;
use super::postponed::Postponed;
use crate::storage::List;

/// What later changes tell about earlier ones.
#[derive(Debug)]
pub(crate) struct Foresight {
    pub(super) observed: Observed,
    pub(super) postponed: Postponed,
    /// Per object: the name of the Node that it will be bound to.
    pub(super) future_nodes: List<u32>,
    /// Per kind: whether its objects manage Pods, themselves or through others.
    pub(super) managing_kinds: Vec<bool>,
}

impl Foresight {
    /// Reads the changes.
    pub(crate) fn of(changes: &Changes) -> Self {
        let objects = changes.objects as usize;
        let mut future_nodes = List::filled(&changes.storage, NONE, objects);
        for change in changes.rows.iter() {
            let bound = changes.ties(&change).node;
            if bound != NONE {
                future_nodes.set(change.object as usize, bound);
            }
        }
        Self {
            observed: Observed::of(changes),
            postponed: Postponed::of(changes),
            future_nodes,
            managing_kinds: managing_kinds(changes),
        }
    }
}

/// Kinds whose objects own Pods, or own what owns Pods.
fn managing_kinds(changes: &Changes) -> Vec<bool> {
    let objects = changes.objects as usize;
    let mut kinds = List::filled(&changes.storage, NONE, objects);
    for change in changes.rows.iter() {
        kinds.set(change.object as usize, change.kind);
    }
    let mut managing = vec![false; changes.kinds.len() as usize];
    for _ in 0..2 {
        for change in changes.rows.iter() {
            let is_managed = changes.class(change.kind) == KindClass::Pod
                || managing.get(change.kind as usize) == Some(&true);
            let owner = changes.owners(&change).first().copied();
            if !is_managed || change.op != Op::Create {
                continue;
            }
            let owner_kind = owner.and_then(|owner| kinds.get(owner as usize));
            if let Some(flag) = owner_kind.and_then(|kind| managing.get_mut(kind as usize)) {
                *flag = true;
            }
        }
    }
    managing
}
