//! Columns from an object's metadata.

use cascade_proto::tables::{Object, Owner, Writer};

use super::node::{Map, Node};

/// Holds a whole earlier object, of Secrets too: never shown.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Longer annotation values are left out of a trace.
const MAX_ANNOTATION_BYTES: usize = 256;

/// Fills in what metadata says besides the identity.
pub(super) fn fill(metadata: &Map<'_>, object: &mut Object) {
    // Kubernetes writes 0 for kinds that do not count generations.
    object.generation = counted(metadata.get("generation"));
    object.creation_time = metadata.get("creationTimestamp").and_then(Node::time);
    object.deletion_time = metadata.get("deletionTimestamp").and_then(Node::time);
    object.finalizers = Some(texts(metadata.get("finalizers")));
    object.owners = Some(owners(metadata));
    object.labels = Some(text_map(metadata.get("labels"), |_, _| true));
    object.annotations = Some(text_map(metadata.get("annotations"), |name, value| {
        name != LAST_APPLIED && value.len() <= MAX_ANNOTATION_BYTES
    }));
    object.writers = Some(managed_fields(metadata).iter().filter_map(writer).collect());
}

/// A generation; `None` for 0, which means that there is none.
pub(super) fn counted(node: Option<&Node<'_>>) -> Option<i64> {
    node?.integer().filter(|generation| *generation != 0)
}

/// The entries of metadata.managedFields.
pub(super) fn managed_fields<'m, 'a>(metadata: &'m Map<'a>) -> &'m [Node<'a>] {
    metadata.get("managedFields").map_or(&[], Node::items)
}

/// One entry of metadata.managedFields as a column holds it.
pub(super) fn writer(entry: &Node<'_>) -> Option<Writer> {
    let entry = entry.map()?;
    Some(Writer {
        manager: owned(entry, "manager"),
        operation: owned(entry, "operation"),
        subresource: entry.text("subresource").map(str::to_owned),
        time: entry.get("time").and_then(Node::time),
    })
}

fn owners(metadata: &Map<'_>) -> Vec<Owner> {
    let references = metadata.get("ownerReferences").map_or(&[][..], Node::items);
    let owners = references.iter().filter_map(Node::map);
    owners
        .map(|reference| Owner {
            api_version: owned(reference, "apiVersion"),
            kind: owned(reference, "kind"),
            name: owned(reference, "name"),
            uid: owned(reference, "uid"),
            controller: reference.get("controller").and_then(Node::bool) == Some(true),
        })
        .collect()
}

/// The text under `key`, or the empty text.
pub(super) fn owned(map: &Map<'_>, key: &str) -> String {
    map.text(key).unwrap_or_default().to_owned()
}

fn texts(list: Option<&Node<'_>>) -> Vec<String> {
    let items = list.map_or(&[][..], Node::items);
    items
        .iter()
        .filter_map(Node::text)
        .map(str::to_owned)
        .collect()
}

fn text_map(map: Option<&Node<'_>>, keep: impl Fn(&str, &str) -> bool) -> String {
    match map.and_then(Node::map) {
        Some(map) => map.texts_as_json(keep),
        None => "{}".to_owned(),
    }
}
