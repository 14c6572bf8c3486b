//! Who wrote a revision that names nobody: managers have times of one second, so a program's second
//! write within a second leaves no new entry, and some writes leave none at all.

use super::change::{ActorSource, Facets, NO_TIME, Op};
use super::changes::Changes;
use super::intern::NONE;
use super::kinds::KindClass;

/// Who wrote a part of an object, and in which second its entry says so.
#[derive(Debug, Clone, Copy)]
struct Writer {
    actor: u32,
    second: i64,
}

const NOBODY: Writer = Writer {
    actor: NONE,
    second: i64::MIN,
};

/// The last known writers of an object's parts.
#[derive(Debug, Clone, Copy)]
struct Writers {
    spec: Writer,
    status: Writer,
    metadata: Writer,
    node: u32,
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
    };
    let mut objects = vec![nothing; changes.objects as usize];
    let scheduler = changes.scheduler;
    for (index, second) in changes.writer_seconds.iter().enumerate() {
        let Some(change) = changes.rows.get_mut(index) else {
            return;
        };
        let Some(writers) = objects.get_mut(change.object as usize) else {
            continue;
        };
        let class = changes
            .kind_classes
            .get(change.kind as usize)
            .copied()
            .unwrap_or(KindClass::Other);
        let node = changes.ties.ties(change.ties).node;
        if change.actor == NONE && change.op == Op::Update {
            let is_binding = class == KindClass::Pod
                && node != NONE
                && writers.node == NONE
                && writers.spec.actor != NONE;
            let actor = if is_binding {
                scheduler
            } else if change.facets.has(Facets::DELETION)
                // Taints are taken off by controllers, which leaves no entry.
                || (class == KindClass::Node && change.facets.has(Facets::SPEC))
                // Whoever adds a condition gets an entry, except kube-apiserver in an eviction.
                || change.facets.has(Facets::DISRUPTION)
            {
                NONE
            } else {
                writers.likely(change.facets, change.commit)
            };
            if actor != NONE {
                change.actor = actor;
                change.actor_source = ActorSource::Inferred;
            }
            writers.node = node;
            continue;
        }
        if change.op == Op::Delete {
            continue;
        }
        writers.node = node;
        if change.actor == NONE {
            continue;
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
            && writers.has(change.actor, *second)
        {
            change.actor = *other;
        }
        let writer = Writer {
            actor: change.actor,
            second: *second,
        };
        if change.op == Op::Create {
            writers.spec = writer;
            writers.metadata = writer;
        }
        if change.facets.has(Facets::SPEC.with(Facets::DATA)) {
            writers.spec = writer;
        }
        if change.facets.has(Facets::STATUS) {
            writers.status = writer;
        }
        if change.facets.has(Facets::METADATA.with(Facets::FINALIZERS)) {
            writers.metadata = writer;
        }
    }
}

impl Writers {
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
