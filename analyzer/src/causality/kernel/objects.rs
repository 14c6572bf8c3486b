//! What is known of every object at the moment a change is looked at: its newest change, its deletion,
//! and an inbox of the changes that concern it.
//!
//! Each change is put once into the inbox of every object it concerns; readers walk an inbox from the
//! newest entry back to the last one they have seen. Nothing is ever scanned twice by the same reader.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use bytemuck::{CheckedBitPattern, NoUninit, Pod, Zeroable};

use super::change::{Change, Facets, Op};
use super::changes::Changes;
use super::evidence::Relation;
use super::foresight::Foresight;
use super::hash::FastMap;
use super::intern::NONE;
use super::kinds::KindClass;
use super::observed::Seen;
use super::reported::Carriers;
use super::selectors::Selectors;
use crate::storage::List;

/// Changes of objects of one kind that are kept for those that put several of them together.
const MAX_RECENT: usize = 32;

/// One object.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ObjectState {
    /// Its newest change.
    pub(crate) last: u32,
    /// The change that asked for its deletion, or deleted it at once.
    pub(crate) deletion: u32,
    /// The change after which it was gone.
    pub(crate) deleted: u32,
    /// The change that created it.
    pub(crate) created: u32,
    /// The newest entry of its inbox.
    inbox: u32,
}

const UNKNOWN: ObjectState = ObjectState {
    last: NONE,
    deletion: NONE,
    deleted: NONE,
    created: NONE,
    inbox: NONE,
};

/// An entry of an inbox.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Entry {
    change: u32,
    older: u32,
    relation: Relation,
    unused: [u8; 3],
}

/// All objects up to a moment.
#[derive(Debug)]
pub(crate) struct Objects {
    states: List<ObjectState>,
    entries: List<Entry>,
    /// Per name: the object that has it, or had it last.
    by_name: List<u32>,
    /// Per change: the change of the same object before it.
    previous: List<u32>,
    selectors: Selectors,
    foresight: Arc<Foresight>,
    /// Per kind that is in no namespace: the newest changes of labelled objects.
    recent_of_kind: FastMap<u32, VecDeque<u32>>,
    /// Object → the one that had its name before.
    predecessors: FastMap<u32, u32>,
    /// Per name of a Namespace: its newest quota.
    quotas: FastMap<u32, u32>,
    /// (owner, name of a Node) → the newest Pod created for that Node.
    on_nodes: FastMap<(u32, u32), u32>,
    carriers: Carriers,
}

impl Objects {
    pub(crate) fn new(changes: &Changes, foresight: Arc<Foresight>) -> Self {
        let storage = &changes.storage;
        Self {
            states: List::filled(storage, UNKNOWN, changes.objects as usize),
            entries: List::with_capacity(storage, changes.rows.len() * 3),
            by_name: List::filled(storage, NONE, changes.names as usize),
            previous: List::with_capacity(storage, changes.rows.len()),
            selectors: Selectors::new(changes.label_pairs),
            foresight,
            recent_of_kind: FastMap::default(),
            predecessors: FastMap::default(),
            quotas: FastMap::default(),
            on_nodes: FastMap::default(),
            carriers: Carriers::default(),
        }
    }

    /// The state of an object; of an object that was never changed, one without anything.
    #[inline]
    pub(crate) fn state(&self, object: u32) -> ObjectState {
        self.states.get(object as usize).unwrap_or(UNKNOWN)
    }

    /// The object that has a name.
    #[inline]
    pub(crate) fn named(&self, name: u32) -> u32 {
        self.by_name.get(name as usize).unwrap_or(NONE)
    }

    /// The newest changes of labelled objects of a kind that is in no namespace, oldest first.
    pub(crate) fn recent_of_kind(&self, kind: u32) -> impl Iterator<Item = u32> + '_ {
        self.recent_of_kind
            .get(&kind)
            .into_iter()
            .flat_map(|recent| recent.iter().copied())
    }

    /// The newest Pod that an owner's loop created for a Node.
    pub(crate) fn newest_on_node(&self, owner: u32, node: u32) -> u32 {
        self.on_nodes.get(&(owner, node)).copied().unwrap_or(NONE)
    }

    /// Whether objects of a kind manage Pods, themselves or through others.
    pub(crate) fn manages(&self, kind: u32) -> bool {
        self.foresight
            .managing_kinds
            .get(kind as usize)
            .copied()
            .unwrap_or(false)
    }

    /// The object that had an object's name before it.
    pub(crate) fn predecessor(&self, object: u32) -> u32 {
        self.predecessors.get(&object).copied().unwrap_or(NONE)
    }

    /// The changes that reported a CPID, newest first.
    pub(crate) fn carriers(&self, cpid: u32) -> impl Iterator<Item = u32> + '_ {
        self.carriers.of(cpid)
    }

    /// The quota of a namespace.
    pub(crate) fn quota(&self, namespace: u32) -> u32 {
        self.quotas.get(&namespace).copied().unwrap_or(NONE)
    }

    /// What an actor has seen of an object around a change of its own.
    pub(crate) fn observed(&self, object: u32, actor: u32, change: u32) -> Seen {
        self.foresight.observed.seen(object, actor, change)
    }

    /// Whether the loop of `owner` turned to `wish` only after it made the change `effect` of an object of this kind.
    pub(crate) fn is_postponed(&self, owner: u32, kind: u32, effect: u32, wish: u32) -> bool {
        self.foresight.postponed.is_later(owner, kind, effect, wish)
    }

    /// The name of the Node that an object is going to be bound to.
    pub(crate) fn future_node(&self, object: u32) -> u32 {
        self.foresight
            .future_nodes
            .get(object as usize)
            .unwrap_or(NONE)
    }

    /// The change of the same object before `change`.
    #[inline]
    pub(crate) fn before(&self, change: u32) -> u32 {
        self.previous.get(change as usize).unwrap_or(NONE)
    }

    /// Per change: the change of the same object before it.
    pub(crate) fn into_previous(self) -> List<u32> {
        self.previous
    }

    /// The object's own changes, newest first.
    pub(crate) fn own_changes(&self, object: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.state(object).last;
        std::iter::from_fn(move || {
            let current = next;
            if current == NONE {
                return None;
            }
            next = self.before(current);
            Some(current)
        })
    }

    /// What concerns an object, newest first.
    pub(crate) fn inbox(&self, object: u32) -> impl Iterator<Item = (u32, Relation)> + '_ {
        let mut next = self.state(object).inbox;
        std::iter::from_fn(move || {
            let entry = self.entries.get(next as usize)?;
            next = entry.older;
            Some((entry.change, entry.relation))
        })
    }

    /// The objects of a namespace whose selector selects these labels.
    pub(crate) fn selecting(&self, changes: &Changes, change: &Change, found: &mut Vec<u32>) {
        self.selectors.selecting(changes, change, found);
    }

    /// Reads what the next changes will be compared with into the processor's cache: see [`Interner::fetch`].
    ///
    /// [`Interner::fetch`]: super::intern::Interner::fetch
    pub(crate) fn fetch(&self, changes: &Changes, next: &[Change]) {
        let mut read = 0;
        for change in next {
            read ^= changes.ties(change).namespace ^ self.named(change.name);
        }
        let each_state = |visit: &mut dyn FnMut(ObjectState)| {
            for change in next {
                for owner in changes.owners(change).iter() {
                    visit(self.state(*owner));
                }
                visit(self.state(change.object));
            }
        };
        each_state(&mut |state| read ^= state.last);
        each_state(&mut |state| {
            read ^= changes.row(state.last).map_or(0, |last| last.kind);
            let entry = self.entries.get(state.inbox as usize);
            read ^= entry.map_or(0, |entry| entry.change);
        });
        black_box(read);
    }

    /// Takes notice of a change.
    pub(crate) fn add(&mut self, changes: &Changes, index: u32, change: &Change) {
        let object = change.object;
        let ties = changes.ties(change);
        self.carriers.add(index, ties.cpid);
        self.previous.push(self.state(object).last);
        self.states.update(object as usize, |state| {
            state.last = index;
            match change.op {
                Op::Create => state.created = index,
                Op::Update => {}
                Op::Delete => state.deleted = index,
            }
            let asks_deletion = change.facets.has(Facets::DELETION) && change.deleting;
            if state.deletion == NONE && (asks_deletion || change.op == Op::Delete) {
                state.deletion = index;
            }
        });
        if is_scattered(changes, change) && ties.labels != NONE {
            let recent = self.recent_of_kind.entry(change.kind).or_default();
            if recent.len() == MAX_RECENT {
                recent.pop_front();
            }
            recent.push_back(index);
        }
        let named = self.named(change.name);
        if named != object {
            if named != NONE {
                self.predecessors.insert(object, named);
            }
            self.by_name.set(change.name as usize, object);
        }
        let class = changes.class(change.kind);
        if class == KindClass::Event || changes.is_lease(change) {
            return;
        }
        if class == KindClass::Quota {
            self.quotas.insert(ties.namespace, object);
        }
        self.push(object, index, Relation::SameObject);
        let owners = changes.owners(change);
        if change.op == Op::Create
            && class == KindClass::Pod
            && let Some(owner) = owners.first()
            && self.may_run_everywhere(changes, *owner)
        {
            self.on_nodes
                .insert((*owner, self.future_node(object)), index);
        }
        for owner in owners.iter() {
            self.push(*owner, index, Relation::Child);
        }
        // What is derived from others mentions them, but tells them nothing: EndpointSlices name their Pods.
        let is_derived = !owners.is_empty() || ties.namesake != NONE;
        for other in changes.related(change).iter().filter(|_| !is_derived) {
            self.push(*other, index, Relation::Uid);
        }
        // Who refers to another by name tells it that it is there, not how it is.
        let is_news = !is_derived && !change.facets.is_status_only();
        for name in changes.referred_names(change).iter().filter(|_| is_news) {
            let other = self.named(*name);
            if other != object {
                self.push(other, index, Relation::Name);
            }
        }
        self.push_to_namesake(index, object, ties.namesake);
        if matches!(class, KindClass::Pod | KindClass::Claim) && ties.labels != NONE {
            self.push_to_selecting(changes, index, change, &owners);
        }
        if change.op == Op::Delete && class != KindClass::Quota {
            // What is gone counts no longer.
            self.push(self.quota(ties.namespace), index, Relation::Selector);
        }
        if change.op == Op::Delete {
            let namespace = self.named(ties.namespace);
            if namespace != NONE && self.state(namespace).deletion != NONE {
                self.push(namespace, index, Relation::Child);
            }
        }
        self.selectors.update(changes, change);
    }

    /// To the objects that select it. Those that manage Pods leave alone what another one manages, and
    /// those that own its owner act on the owner.
    fn push_to_selecting(
        &mut self,
        changes: &Changes,
        index: u32,
        change: &Change,
        owners: &[u32],
    ) {
        let mut found = Vec::new();
        self.selectors.selecting(changes, change, &mut found);
        for other in found {
            let manages = changes
                .row(self.state(other).last)
                .is_some_and(|other| self.manages(other.kind));
            if owners.is_empty() || !manages {
                self.push(other, index, Relation::Selector);
            }
        }
    }

    /// To the object that it has its name from, which is as good as an owner.
    /// Whether an object may be a DaemonSet: it is one, or was not seen yet.
    fn may_run_everywhere(&self, changes: &Changes, object: u32) -> bool {
        let known = changes.row(self.state(object).last);
        known.is_none_or(|known| changes.class(known.kind) == KindClass::DaemonSet)
    }

    fn push_to_namesake(&mut self, index: u32, object: u32, namesake: u32) {
        let namesake = self.named(namesake);
        if namesake != object {
            self.push(namesake, index, Relation::Child);
        }
    }

    fn push(&mut self, object: u32, change: u32, relation: Relation) {
        let entry = u32::try_from(self.entries.len()).unwrap_or(NONE);
        let mut older = NONE;
        let is_known = self.states.update(object as usize, |state| {
            older = std::mem::replace(&mut state.inbox, entry);
        });
        if is_known {
            self.entries.push(Entry {
                change,
                older,
                relation,
                unused: [0; 3],
            });
        }
    }
}

/// Whether a change is of an object in no namespace that is nothing special.
pub(crate) fn is_scattered(changes: &Changes, change: &Change) -> bool {
    changes.ties(change).namespace == NONE && changes.class(change.kind) == KindClass::Other
}
