//! Who wrote a revision that names nobody: managers have times of one second, so a program's second
//! write within a second leaves no new entry, and some writes leave none at all.

use bytemuck::{Pod, Zeroable};

use super::change::{ActorSource, Change, Facets, NO_TIME, Op};
use super::changes::Changes;
use super::intern::NONE;
use super::kinds::KindClass;
use crate::storage::List;

/// Who wrote a part of an object, and in which second its entry says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Writer {
    second: i64,
    actor: u32,
    unused: u32,
}

const NOBODY: Writer = Writer {
    second: i64::MIN,
    actor: NONE,
    unused: 0,
};

/// The last known writers of an object's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Writers {
    spec: Writer,
    status: Writer,
    metadata: Writer,
    node: u32,
    unused: u32,
}

/// Fills in the actors of updates whose writer can be told from earlier revisions of the object.
///
/// An entry that did not change although its manager wrote has the second of this very write, so only
/// managers with an entry of that second can have written. Among them the one who wrote the same part
/// before. Bindings are told by what they do: they set `spec.nodeName`.
pub(crate) fn infer(changes: &mut Changes) {
    let nothing = Writers {
        spec: NOBODY,
        status: NOBODY,
        metadata: NOBODY,
        node: NONE,
        unused: 0,
    };
    let count = changes.objects as usize;
    let mut objects = List::filled(&changes.storage, nothing, count);
    // Nobody else needs them.
    let seconds = std::mem::take(&mut changes.writer_seconds);
    for (index, second) in seconds.iter().enumerate() {
        let Some(mut change) = changes.rows.get(index) else {
            return;
        };
        let object = change.object as usize;
        let Some(known) = objects.get(object) else {
            continue;
        };
        let (mut writers, told) = (known, (change.actor, change.actor_source));
        writers.follow(changes, index, second, &mut change);
        if writers != known {
            objects.set(object, writers);
        }
        if (change.actor, change.actor_source) != told {
            changes.rows.set(index, change);
        }
    }
}

impl Writers {
    /// Notes who wrote a change, or tells who it was.
    fn follow(&mut self, changes: &Changes, index: usize, second: i64, change: &mut Change) {
        let class = changes.class(change.kind);
        let node = changes.ties(change).node;
        if change.actor == NONE && change.op == Op::Update {
            let is_binding = class == KindClass::Pod
                && node != NONE
                && self.node == NONE
                && self.spec.actor != NONE;
            let actor = if is_binding {
                changes.scheduler
            } else if change.facets.has(Facets::DELETION)
                // Taints are taken off by controllers, which leaves no entry.
                || (class == KindClass::Node && change.facets.has(Facets::SPEC))
                // Whoever adds a condition gets an entry, except kube-apiserver in an eviction.
                || change.facets.has(Facets::DISRUPTION)
            {
                NONE
            } else {
                self.likely(change.facets, change.commit)
            };
            if actor != NONE {
                change.actor = actor;
                change.actor_source = ActorSource::Inferred;
            }
            self.node = node;
            return;
        }
        if change.op == Op::Delete {
            return;
        }
        self.node = node;
        if change.actor == NONE {
            return;
        }
        if change.actor_source == ActorSource::Manager {
            let write = (
                change.actor,
                change.kind,
                change.op,
                change.facets.is_status_only(),
            );
            if let Some((actor, _)) = changes.loops.get(&write) {
                change.actor = *actor;
                change.actor_source = ActorSource::Request;
            }
        }
        // An entry that was there with the same second before has lost fields to the other one.
        if let Some(other) = u32::try_from(index)
            .ok()
            .and_then(|index| changes.other_actors.get(&index))
            && self.has(change.actor, second)
        {
            change.actor = *other;
        }
        let writer = Writer {
            second,
            actor: change.actor,
            unused: 0,
        };
        if change.op == Op::Create {
            self.spec = writer;
            self.metadata = writer;
        }
        if change.facets.has(Facets::SPEC.with(Facets::DATA)) {
            self.spec = writer;
        }
        if change.facets.has(Facets::STATUS) {
            self.status = writer;
        }
        if change.facets.has(Facets::METADATA.with(Facets::FINALIZERS)) {
            self.metadata = writer;
        }
    }

    /// Whether an actor wrote a part, with an entry of that second.
    fn has(&self, actor: u32, second: i64) -> bool {
        [self.spec, self.status, self.metadata]
            .into_iter()
            .any(|writer| writer.actor == actor && writer.second == second)
    }

    fn likely(&self, facets: Facets, commit: i64) -> u32 {
        let by_part = [
            (Facets::SPEC.with(Facets::DATA), self.spec),
            (Facets::STATUS, self.status),
            (Facets::METADATA.with(Facets::FINALIZERS), self.metadata),
        ];
        let same_part = by_part
            .into_iter()
            .find(|(part, _)| facets.has(*part))
            .map_or(NOBODY, |(_, writer)| writer);
        let second = commit.div_euclid(1_000_000_000);
        // A second of tolerance: the apiserver stamps the entry before it commits, by its own clock.
        let is_recent = |writer: Writer| {
            writer.actor != NONE && writer.second.saturating_sub(second).saturating_abs() <= 1
        };
        if commit == NO_TIME || is_recent(same_part) {
            return same_part.actor;
        }
        let recent = [self.status, self.metadata, self.spec]
            .into_iter()
            .filter(|writer| writer.second != i64::MIN && is_recent(*writer))
            .max_by_key(|writer| writer.second);
        recent.unwrap_or(same_part).actor
    }
}
