//! Recognises the format of a stored value and reads it into the tree.

use cascade_proto::tables::ValueFormat;
use cascade_proto::wire::kubernetes;

use super::cbor;
use super::hash::HashKey;
use super::json;
use super::node::{Map, Node};
use super::protobuf::{self, ProtobufError, WireFields};

/// First bytes of Kubernetes' protobuf envelope.
const PROTOBUF_MAGIC: &[u8] = b"k8s\0";
/// First bytes of a value that kube-apiserver encrypted.
const ENCRYPTED_PREFIX: &[u8] = b"k8s:enc:";
/// `k8s:enc:<transformer>:<version>:<key name>:` has as many colons.
const ENCRYPTED_PREFIX_COLONS: usize = 5;
/// Names of encryption keys are short; what is longer is not shown.
const MAX_SHOWN_PREFIX: usize = 128;

/// A stored value, read.
#[derive(Debug)]
pub(super) struct Value<'a> {
    /// How it is encoded.
    pub(super) format: ValueFormat,
    /// API group and version, as in `apiVersion`.
    pub(super) api_version: Option<(String, String)>,
    /// Kind.
    pub(super) kind: Option<String>,
    /// What is known of the kind, if it is one of Kubernetes' own.
    pub(super) known_kind: Option<&'static kubernetes::Message>,
    /// The object. Only `metadata` when `failure` is set, and only if that was whole.
    pub(super) object: Map<'a>,
    /// Hashes of its parts.
    pub(super) parts: Parts,
    /// Why the object, or all but its identity, cannot be read.
    pub(super) failure: Option<String>,
}

/// Hashes of an object's parts; `None` for a part that it does not have.
///
/// A protobuf part is hashed as encoded, for Kubernetes encodes equal content equally. A JSON or
/// CBOR part is hashed by content, so neither the order of keys nor a change between these two
/// formats makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Parts {
    /// Of `spec`.
    pub(super) spec: Option<i64>,
    /// Of `status`.
    pub(super) status: Option<i64>,
    /// Of all else but metadata.
    pub(super) data: Option<i64>,
}

impl<'a> Value<'a> {
    /// Reads a stored value. Never fails: what went wrong is in `failure`.
    pub(super) fn read(value: &'a [u8], hash_key: &HashKey) -> Self {
        if let Some(envelope) = value.strip_prefix(PROTOBUF_MAGIC) {
            return Self::read_protobuf(envelope, hash_key);
        }
        if value.starts_with(ENCRYPTED_PREFIX) {
            let prefix = encryption_prefix(value);
            return Self::opaque(
                ValueFormat::Encrypted,
                Some(format!("encrypted by kube-apiserver: {prefix}")),
            );
        }
        if value.starts_with(cbor::SELF_DESCRIBED) {
            let tree = cbor::read(value).map_err(|error| error.to_string());
            return Self::from_tree(ValueFormat::Cbor, tree, hash_key);
        }
        if value.trim_ascii_start().starts_with(b"{") {
            let tree = json::read(value).map_err(|error| format!("JSON: {error}"));
            return Self::from_tree(ValueFormat::Json, tree, hash_key);
        }
        Self::opaque(ValueFormat::Other, None)
    }

    fn opaque(format: ValueFormat, failure: Option<String>) -> Self {
        Self {
            format,
            api_version: None,
            kind: None,
            known_kind: None,
            object: Map::default(),
            parts: Parts::default(),
            failure,
        }
    }

    fn from_tree(format: ValueFormat, tree: Result<Node<'a>, String>, hash_key: &HashKey) -> Self {
        let object = match tree {
            Ok(Node::Map(object)) => object,
            Ok(_) => return Self::opaque(format, Some(format!("{format}: not an object"))),
            Err(error) => return Self::opaque(format, Some(error)),
        };
        let mut parts = Parts::default();
        let mut data = hash_key.hasher();
        let mut has_data = false;
        for (name, node) in object.iter() {
            match name {
                "apiVersion" | "kind" | "metadata" => {}
                "spec" => parts.spec = Some(hash_key.hash_node(node)),
                "status" => parts.status = Some(hash_key.hash_node(node)),
                _ => {
                    has_data = true;
                    data.write_sized(name.as_bytes());
                    node.hash_into(&mut data);
                }
            }
        }
        parts.data = has_data.then(|| data.finish());
        let mut value = Self::opaque(format, None);
        value.set_kind(&object);
        value.object = object;
        value.parts = parts;
        value
    }

    fn read_protobuf(envelope: &'a [u8], hash_key: &HashKey) -> Self {
        let mut value = Self::opaque(ValueFormat::Protobuf, None);
        if let Err(error) = value.read_envelope(envelope, hash_key) {
            value.failure = Some(error.to_string());
        }
        value
    }

    fn read_envelope(
        &mut self,
        envelope: &'a [u8],
        hash_key: &HashKey,
    ) -> Result<(), ProtobufError> {
        let mut frame = Map::default();
        for field in WireFields::new(envelope) {
            let field = field?;
            let Some(known) = kubernetes::UNKNOWN.field(field.number) else {
                continue;
            };
            protobuf::read_field_into(&mut frame, known, field.value)?;
            if known.name == "typeMeta"
                && let Some(Node::Map(type_meta)) = frame.get("typeMeta")
            {
                self.set_kind(type_meta);
            }
        }
        // Kubernetes' own decoder refuses these too.
        for name in ["contentEncoding", "contentType"] {
            if frame.text(name).is_some() {
                self.failure = Some(format!("protobuf: its {name} is not supported"));
                return Ok(());
            }
        }
        let Some(Node::Bytes(raw)) = frame.get("raw") else {
            self.failure = Some("protobuf: the envelope is empty".to_owned());
            return Ok(());
        };
        let raw: &'a [u8] = raw;
        self.read_object(raw, hash_key)
    }

    fn read_object(&mut self, raw: &'a [u8], hash_key: &HashKey) -> Result<(), ProtobufError> {
        let message = self.known_kind.unwrap_or(kubernetes::ANY_KIND);

        let [mut spec, mut status, mut data] = [(); 3].map(|()| (hash_key.hasher(), false));
        for field in WireFields::new(raw) {
            let field = field?;
            let known = message.field(field.number);
            if let Some(known) = known {
                protobuf::read_field_into(&mut self.object, known, field.value)?;
            }
            let (part, bytes) = match known.map(|known| known.name) {
                Some("metadata") => continue,
                Some("spec") => (&mut spec, protobuf::bytes_of(field.value)?),
                Some("status") => (&mut status, protobuf::bytes_of(field.value)?),
                _ => (&mut data, field.encoded),
            };
            part.0.write_sized(bytes);
            part.1 = true;
        }
        let finish =
            |(hasher, used): (super::hash::PieceHasher, bool)| used.then(|| hasher.finish());
        self.parts = Parts {
            spec: finish(spec),
            status: finish(status),
            data: finish(data),
        };
        Ok(())
    }

    /// Whether the object could be read.
    pub(super) fn is_readable(&self) -> bool {
        self.failure.is_none() && self.format != ValueFormat::Other
    }

    /// The object's metadata.
    pub(super) fn metadata(&self) -> Option<&Map<'a>> {
        self.object.get("metadata")?.map()
    }

    /// Takes over what `apiVersion` and `kind` say.
    fn set_kind(&mut self, type_meta: &Map<'_>) {
        self.api_version = type_meta.text("apiVersion").map(split_api_version);
        self.kind = type_meta.text("kind").map(str::to_owned);
        if let (Some((group, version)), Some(kind)) = (&self.api_version, &self.kind) {
            self.known_kind = kubernetes::kind(group, version, kind);
        }
    }

    /// Whether this is `kind` of API group `group`.
    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        self.group() == Some(group) && self.kind.as_deref() == Some(kind)
    }

    /// The API group; "" for core.
    pub(super) fn group(&self) -> Option<&str> {
        self.api_version.as_ref().map(|(group, _)| group.as_str())
    }
}

/// `apps/v1` is group `apps`, version `v1`; `v1` is of the core group, "".
fn split_api_version(api_version: &str) -> (String, String) {
    match api_version.split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), api_version.to_owned()),
    }
}

/// `k8s:enc:<transformer>:<version>:<key name>:` at the start of an encrypted value.
fn encryption_prefix(value: &[u8]) -> String {
    let colons = value.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let end = colons
        .map(|(index, _)| index + 1)
        .nth(ENCRYPTED_PREFIX_COLONS - 1)
        .filter(|end| *end <= MAX_SHOWN_PREFIX)
        .unwrap_or(ENCRYPTED_PREFIX.len());
    super::key_text(value.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Value<'_> {
        Value::read(value, &HashKey::from_cluster_id(1))
    }

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(read(b"k8s\0").format, ValueFormat::Protobuf);
        assert_eq!(read(b"{}").format, ValueFormat::Json);
        assert_eq!(read(b"\xd9\xd9\xf7\xa0").format, ValueFormat::Cbor);
        assert_eq!(read(b"k8s:enc:x").format, ValueFormat::Encrypted);
        assert_eq!(read(b"").format, ValueFormat::Other);
        assert_eq!(read(b"12345").format, ValueFormat::Other);
        assert_eq!(read(b"k8s").format, ValueFormat::Other);
    }

    #[test]
    fn encrypted_values_show_how_and_with_which_key() {
        let value = read(b"k8s:enc:aescbc:v1:key1:\xff\x00:more");
        assert_eq!(
            value.failure.as_deref(),
            Some("encrypted by kube-apiserver: k8s:enc:aescbc:v1:key1:")
        );
        // Without its end the prefix may be ciphertext: not shown.
        let value = read(b"k8s:enc:aescbc");
        assert_eq!(
            value.failure.as_deref(),
            Some("encrypted by kube-apiserver: k8s:enc:")
        );
    }

    #[test]
    fn parts_of_json_do_not_depend_on_order_or_format() {
        let one = read(br#"{"kind":"W","spec":{"a":1,"b":[2.0]},"status":{},"x":1}"#);
        let two =
            read(br#"{"x": 1.0, "status":{}, "spec":{"b":[2],"a":1},"metadata":{"name":"n"}}"#);
        assert_eq!(one.parts, two.parts);
        assert!(one.parts.spec.is_some() && one.parts.status.is_some() && one.parts.data.is_some());
        // {"spec": {"a": 1, "b": [2]}}
        let three = read(b"\xd9\xd9\xf7\xa1\x44spec\xa2\x41a\x01\x41b\x81\x02");
        assert_eq!(three.failure, None);
        assert_eq!(three.parts.spec, one.parts.spec);
        assert_eq!((three.parts.status, three.parts.data), (None, None));
        let other = read(br#"{"spec":{"a":1,"b":[3]}}"#);
        assert_ne!(other.parts.spec, one.parts.spec);
    }

    #[test]
    fn unreadable_values_say_why() {
        let failure = |value: &[u8]| read(value).failure.unwrap();
        assert!(
            failure(b"{\"a\":").starts_with("JSON: EOF"),
            "{}",
            failure(b"{\"a\":")
        );
        assert!(failure(b"\xd9\xd9\xf7").starts_with("CBOR: "));
        assert_eq!(failure(b"\xd9\xd9\xf7\x01"), "cbor: not an object");
        assert_eq!(failure(b"k8s\0"), "protobuf: the envelope is empty");
        assert_eq!(
            failure(b"k8s\0\x12\x05"),
            "protobuf: envelope: ends inside a field"
        );
        assert_eq!(
            failure(b"k8s\0\x12\x00\x1a\x04gzip"),
            "protobuf: its contentEncoding is not supported"
        );
    }
}
