//! Kubernetes' stored objects: a table of the messages and fields that Cascade reads.
//!
//! Made from the files in `proto/wire/kubernetes/`, which see. A table, because a stored value is
//! read into the same tree whether it is protobuf, JSON or CBOR; what is done with the tree is
//! written once.

/// A message of Kubernetes' storage format.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Name as in Kubernetes' `generated.proto`, unless messages share one here.
    pub name: &'static str,
    /// The fields that Cascade reads, by ascending number.
    pub fields: &'static [Field],
}

/// A field of a [`Message`].
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Number on the wire.
    pub number: u32,
    /// Name in Kubernetes' JSON.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether it is a list.
    pub repeated: bool,
}

/// What a field holds, and so how it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Bytes,
    /// `int32` or `int64`.
    Integer,
    /// `bool`.
    Bool,
    /// `map<string, string>`.
    TextMap,
    /// Another message.
    Message(&'static Message),
    /// Another message, whose fields Kubernetes' JSON lays into this one.
    Inline(&'static Message),
    /// `meta/v1.Time`, second resolution; an empty message is no time.
    Time,
    /// `meta/v1.MicroTime`, microsecond resolution; an empty message is no time.
    MicroTime,
    /// `util/intstr.IntOrString`.
    IntOrString,
}

impl Message {
    /// The field with this number, if Cascade reads it.
    #[must_use]
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

include!(concat!(env!("OUT_DIR"), "/kubernetes.rs"));

/// Frame of a stored protobuf value, after the magic bytes `k8s\0`.
pub static UNKNOWN: &Message = &META_UNKNOWN;

/// An object of a kind that is not in the table: its metadata.
pub static ANY_KIND: &Message = &META_STORED;

/// The message of a kind that can be stored. `group` is the API group, "" for core. Versions of a
/// group share one message, but for those that are numbered differently.
#[must_use]
pub fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    let mut found = None;
    // Equal texts have equal lengths, so hardly any are compared: faster than a binary search.
    for (known_group, known_kind, known_version, message) in KINDS {
        if *known_kind != kind || *known_group != group {
            continue;
        }
        if *known_version == version {
            return Some(message);
        }
        if *known_version == ANY_VERSION {
            found = Some(*message);
        }
    }
    found
}

/// Stands for all versions of a kind that have no message of their own.
const ANY_VERSION: &str = "";

/// Every message of a kind in the table: group, kind, version ("" for any) and message, sorted.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static Message)>
{
    KINDS.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_group_and_kind() {
        assert_eq!(kind("", "v1", "Pod").unwrap().name, "Pod");
        assert_eq!(kind("apps", "v1", "Deployment").unwrap().name, "Deployment");
        assert_eq!(kind("apps", "v1", "Pod"), None);
        assert_eq!(kind("example.org", "v1", "Widget"), None);
        for (group, name, version, message) in kinds() {
            assert_eq!(kind(group, version, name), Some(message));
        }
        let claim = |version| kind("resource.k8s.io", version, "ResourceClaim").unwrap();
        assert_ne!(claim("v1"), claim("v1beta1"));
        assert_eq!(claim("v1"), claim("v1beta2"));
    }

    #[test]
    fn metadata_is_field_1_and_spec_and_status_are_2_and_3() {
        for (group, name, _, message) in kinds() {
            assert_eq!(message.field(1).unwrap().name, "metadata", "{group}/{name}");
            for field in message.fields {
                assert!(field.name != "spec" || field.number == 2, "{group}/{name}");
                assert!(
                    field.name != "status" || field.number == 3,
                    "{group}/{name}"
                );
            }
        }
    }

    /// Reading recurses along this table, so it must end.
    #[test]
    fn no_message_contains_itself() {
        fn depth(message: &Message, above: usize) -> usize {
            assert!(above < 20, "{} is nested too deep", message.name);
            let below = message.fields.iter().map(|field| match field.shape {
                Shape::Message(inner) | Shape::Inline(inner) => depth(inner, above + 1),
                _ => above,
            });
            below.max().unwrap_or(above)
        }
        let deepest = kinds().map(|(_, _, _, message)| depth(message, 0)).max();
        assert!(deepest > Some(5), "{deepest:?}");
    }
}
