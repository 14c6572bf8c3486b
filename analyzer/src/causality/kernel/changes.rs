//! All changes of a history, as integers.

use std::borrow::Cow;

use super::change::{Change, Op};
use super::hash::FastMap;
use super::intern::Texts;
use super::kinds::KindClass;
use super::names::Names;
use super::reported::Mergelogs;
use super::ties::{AllTies, Ties};
use crate::storage::{List, Runs, Storage};

/// Between the parts of an object's name.
pub(super) const SEPARATOR: char = '\0';

/// A kind of write by a program: field manager, kind, operation, whether of the status alone.
pub(crate) type ProgramWrite = (u32, u32, Op, bool);

/// What an object is called.
#[derive(Debug)]
pub struct ObjectName<'a>(Cow<'a, str>);

impl ObjectName<'_> {
    /// Kind without its group, namespace and name; each is empty if there is none.
    #[must_use]
    pub fn parts(&self) -> [&str; 3] {
        let mut parts = self.0.splitn(3, SEPARATOR);
        [(); 3].map(|()| parts.next().unwrap_or_default())
    }
}

/// All changes of one cluster and epoch, as integers.
#[derive(Debug)]
pub struct Changes {
    pub(crate) rows: List<Change>,
    /// Per change: the second that its newest manager's entry names, `i64::MIN` without an entry.
    pub(crate) writer_seconds: List<i64>,
    /// Per change: hash of what the object is to be, of its spec, or of its data if it has none; 0 if unknown.
    pub(super) wanted: List<i64>,
    /// Change → another actor whose entry names the same second as that of the one taken for its actor.
    pub(crate) other_actors: FastMap<u32, u32>,
    /// What a program writes → its loop that does so, learnt where requests are recorded: the one with the most writes.
    pub(crate) loops: FastMap<ProgramWrite, (u32, u32)>,
    pub(crate) ties: AllTies,
    /// Label sets: sorted numbers of `key=value`.
    pub(super) label_sets: Runs<u32>,
    /// Names of the actors.
    pub actors: Texts,
    /// Which actors are clients.
    pub(crate) clients: Vec<bool>,
    /// Kinds, as `Kind.group`.
    pub kinds: Texts,
    pub(crate) kind_classes: Vec<KindClass>,
    /// CPIDs as text.
    pub cpids: Texts,
    pub(crate) mergelogs: Mergelogs,
    /// Names of objects: kind without its group, namespace and name, between NULs.
    pub(super) names_of_objects: Names,
    pub(crate) objects: u32,
    pub(crate) names: u32,
    pub(crate) label_pairs: u32,
    /// Whether the trace holds calls at all: only then does a missing call say something.
    pub(crate) has_calls: bool,
    /// Number of the scheduler's name, which bindings do not tell.
    pub(crate) scheduler: u32,
    /// Number of kube-apiserver's name.
    pub(crate) apiserver: u32,
    /// Where lists are that have an entry for each change.
    pub(crate) storage: Storage,
}

impl Changes {
    /// The changes in revision order.
    #[must_use]
    pub fn rows(&self) -> &List<Change> {
        &self.rows
    }

    /// A change by its number; `None` for a number that stands for none.
    #[must_use]
    #[inline]
    pub fn row(&self, change: u32) -> Option<Change> {
        self.rows.get(change as usize)
    }

    /// `Kind.group` of a kind's number; core kinds have no group.
    #[must_use]
    pub fn kind(&self, kind: u32) -> &str {
        let kind = self.kinds.get(kind).unwrap_or_default();
        kind.strip_suffix('.').unwrap_or(kind)
    }

    /// The name of an actor's number.
    #[must_use]
    pub fn actor(&self, actor: u32) -> Option<&str> {
        self.actors.get(actor)
    }

    /// The name of a name's number.
    #[must_use]
    pub fn name(&self, name: u32) -> ObjectName<'_> {
        ObjectName(self.names_of_objects.text(name))
    }

    /// Drops what only finding causes needs.
    pub(crate) fn shrink(&mut self) {
        self.ties = AllTies::default();
        self.label_sets = Runs::default();
        self.mergelogs = Mergelogs::default();
        self.wanted = List::default();
        self.rows.shrink_to_fit();
    }

    /// Drops what only finding out who wrote needs.
    pub(crate) fn forget_writers(&mut self) {
        self.writer_seconds = List::default();
        self.other_actors = FastMap::default();
        self.loops = FastMap::default();
    }

    /// Hash of what a change's object is to be; 0 if unknown.
    pub(crate) fn wanted(&self, change: u32) -> i64 {
        self.wanted.get(change as usize).unwrap_or(0)
    }

    /// What a change's object is tied to.
    #[inline]
    pub(crate) fn ties(&self, change: &Change) -> Ties {
        self.ties.ties(change.ties)
    }

    /// Objects that own a change's object, the managing one first.
    #[inline]
    pub(crate) fn owners(&self, change: &Change) -> Cow<'_, [u32]> {
        self.ties.owners(change.ties)
    }

    /// Other objects whose uids a change's value mentions.
    pub(crate) fn related(&self, change: &Change) -> Cow<'_, [u32]> {
        self.ties.related(change.ties)
    }

    /// Names of the objects that a change's object refers to.
    pub(crate) fn referred_names(&self, change: &Change) -> Cow<'_, [u32]> {
        self.ties.names(change.ties)
    }

    pub(crate) fn label_set(&self, number: u32) -> Cow<'_, [u32]> {
        self.label_sets.get(number)
    }

    #[inline]
    pub(crate) fn class(&self, kind: u32) -> KindClass {
        self.kind_classes
            .get(kind as usize)
            .copied()
            .unwrap_or(KindClass::Other)
    }

    /// Whether a change belongs to a heartbeat: of a Lease, or of any key that is bound to an etcd lease, as
    /// kube-apiserver's own (`/registry/masterleases`). Events are bound to one as well, so that they end.
    pub(crate) fn is_lease(&self, change: &Change) -> bool {
        let class = self.class(change.kind);
        class == KindClass::Lease || change.leased && class != KindClass::Event
    }

    pub(crate) fn is_client(&self, actor: u32) -> bool {
        self.clients.get(actor as usize).copied().unwrap_or(false)
    }
}
