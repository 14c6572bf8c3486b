//! What differs between two revisions of an object.
//!
//! The names in the column `changed`, in this order:
//!
//! | name | differs |
//! |---|---|
//! | `apiVersion` | the API version it is stored as (a storage migration) |
//! | `metadata.labels`, `metadata.annotations` | any label or annotation, those that a trace leaves out too |
//! | `metadata.finalizers`, `metadata.ownerReferences` | |
//! | `metadata.deletionTimestamp` | deletion was asked for, or its deadline moved |
//! | `metadata.deletionGracePeriodSeconds` | also alone: a deadline cut short within the same second |
//! | `metadata.generation` | |
//! | `metadata.managedFields` | an entry, or the set of entries; alone it means that only the bookkeeping changed |
//! | `spec`, `status`, `data` | the part of that hash: see `spec_hash`, `status_hash`, `data_hash` |
//! | `conditions.<type>` | status, reason or transition time of that condition, which came, went or changed; a new message or heartbeat alone is just `status` |
//!
//! An empty list and an absent one are equal, an empty map and an absent one too.

use cascade_proto::tables::{Condition, ValueFormat, Writer};

use super::metadata::{managed_fields, writer};
use super::node::{Map, Node};
use super::status;
use super::value::Value;

const METADATA_FIELDS: &[(&str, &str)] = &[
    ("labels", "metadata.labels"),
    ("annotations", "metadata.annotations"),
    ("finalizers", "metadata.finalizers"),
    ("ownerReferences", "metadata.ownerReferences"),
    ("deletionTimestamp", "metadata.deletionTimestamp"),
    (
        "deletionGracePeriodSeconds",
        "metadata.deletionGracePeriodSeconds",
    ),
    ("generation", "metadata.generation"),
    ("managedFields", "metadata.managedFields"),
];

/// What differs; `None` when the two cannot be compared: one of them is unreadable, or protobuf
/// and the other is not.
pub(super) fn changed(current: &Value<'_>, previous: &Value<'_>) -> Option<Vec<String>> {
    if !comparable(current, previous) {
        return None;
    }
    let mut changed = Vec::new();
    let mut note = |differs: bool, name: &str| {
        if differs {
            changed.push(name.to_owned());
        }
    };
    note(current.api_version != previous.api_version, "apiVersion");

    let nothing = Map::default();
    let before = previous.metadata().unwrap_or(&nothing);
    let now = current.metadata().unwrap_or(&nothing);
    for (field, name) in METADATA_FIELDS {
        note(!same(now.get(field), before.get(field)), name);
    }
    note(current.parts.spec != previous.parts.spec, "spec");
    note(current.parts.status != previous.parts.status, "status");
    note(current.parts.data != previous.parts.data, "data");

    let conditions = |value: &Value<'_>| {
        let status = value.object.get("status").and_then(Node::map);
        status.map(status::conditions).unwrap_or_default()
    };
    for kind in changed_conditions(&conditions(current), &conditions(previous)) {
        changed.push(format!("conditions.{kind}"));
    }
    Some(changed)
}

/// The managedFields entries of `current` that `previous` did not have so; `None` when one of the
/// two cannot be read.
pub(super) fn new_writers(current: &Value<'_>, previous: &Value<'_>) -> Option<Vec<Writer>> {
    if !comparable(current, previous) {
        return None;
    }
    let before = previous.metadata().map_or(&[][..], managed_fields);
    let now = current.metadata().map_or(&[][..], managed_fields);
    let new = now.iter().filter(|entry| !before.contains(entry));
    Some(new.filter_map(writer).collect())
}

/// Hashes of protobuf parts are of bytes, those of JSON and CBOR of content.
fn comparable(current: &Value<'_>, previous: &Value<'_>) -> bool {
    let protobuf = |value: &Value<'_>| value.format == ValueFormat::Protobuf;
    current.is_readable() && previous.is_readable() && protobuf(current) == protobuf(previous)
}

fn same(now: Option<&Node<'_>>, before: Option<&Node<'_>>) -> bool {
    let present = |node: &&Node<'_>| match node {
        Node::Null => false,
        Node::List(items) => !items.is_empty(),
        Node::Map(map) => !map.0.is_empty(),
        _ => true,
    };
    now.filter(present) == before.filter(present)
}

/// Types of the conditions that differ, in the order of the current revision; those that went last.
fn changed_conditions<'c>(now: &'c [Condition], before: &'c [Condition]) -> Vec<&'c str> {
    let came_or_changed = now.iter().filter(|condition| !before.contains(condition));
    let went = before
        .iter()
        .filter(|old| now.iter().all(|condition| condition.kind != old.kind));
    let mut kinds: Vec<&str> = Vec::new();
    for condition in came_or_changed.chain(went) {
        if !kinds.contains(&condition.kind.as_str()) {
            kinds.push(&condition.kind);
        }
    }
    kinds
}
