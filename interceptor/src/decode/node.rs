//! The tree that every stored value is read into, whatever its format.

use std::borrow::Cow;

use cascade_proto::tables::Timestamp;

use super::hash::PieceHasher;
use super::time;

/// A value in a tree. Of a JSON or CBOR value the tree holds everything, of a protobuf value the
/// fields that Cascade knows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number without a fraction.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text; in JSON and CBOR also times.
    Text(Cow<'a, str>),
    /// Bytes; only in protobuf.
    Bytes(&'a [u8]),
    /// A time; only in protobuf.
    Time(Timestamp),
    /// A list.
    List(Vec<Node<'a>>),
    /// A map.
    Map(Map<'a>),
}

/// A map in the order of its format: JSON and CBOR by key, protobuf messages by field number,
/// protobuf maps by key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Map<'a>(pub(super) Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Map<'a> {
    /// Orders the entries by key. Of entries with one key the last stays, as in Kubernetes' decoders.
    pub(super) fn by_key(mut entries: Vec<(Cow<'a, str>, Node<'a>)>) -> Self {
        if !entries.is_sorted_by(|left, right| left.0 < right.0) {
            entries.reverse(); // a stable sort then puts the last of each key first
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            entries.dedup_by(|next, kept| next.0 == kept.0);
        }
        Self(entries)
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.0
            .iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The text under `key`; the empty text is none, as Kubernetes omits it.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// The entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// The map as a JSON object of its texts, by key; other values are left out.
    pub(super) fn texts_as_json(&self, keep: impl Fn(&str, &str) -> bool) -> String {
        let mut texts: Vec<(&str, &str)> = self
            .iter()
            .filter_map(|(name, value)| Some((name, value.any_text()?)))
            .filter(|(name, text)| keep(name, text))
            .collect();
        if !texts.is_sorted() {
            texts.sort_unstable();
        }
        let mut json = String::from("{");
        for (name, text) in texts {
            if json.len() > 1 {
                json.push(',');
            }
            push_json_text(&mut json, name);
            json.push(':');
            push_json_text(&mut json, text);
        }
        json.push('}');
        json
    }
}

impl<'a> Node<'a> {
    /// The value at the end of a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node<'a>> {
        path.iter().try_fold(self, |node, key| node.map()?.get(key))
    }

    /// The value under `key` of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.map()?.get(key)
    }

    /// The map this is.
    pub(super) fn map(&self) -> Option<&Map<'a>> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items of the list this is; nothing for anything else.
    pub(super) fn items(&self) -> &[Node<'a>] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The text this is, the empty one excepted.
    pub(super) fn text(&self) -> Option<&str> {
        self.any_text().filter(|text| !text.is_empty())
    }

    /// The text this is, the empty one too.
    pub(super) fn any_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value this is.
    pub(super) fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The whole number this is.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The time this is.
    pub(super) fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Time(time) => Some(*time),
            Self::Text(text) => time::parse_rfc3339(text),
            _ => None,
        }
    }

    /// Feeds this value to a hash. Values of equal content give equal hashes, whatever the order
    /// in which a map was written, in JSON and CBOR alike.
    pub(super) fn hash_into(&self, hasher: &mut PieceHasher) {
        match self {
            Self::Null => hasher.write(b"n"),
            Self::Bool(false) => hasher.write(b"f"),
            Self::Bool(true) => hasher.write(b"t"),
            Self::Integer(value) => {
                hasher.write(b"i");
                hasher.write(&value.to_le_bytes());
            }
            Self::Float(value) => {
                hasher.write(b"d");
                hasher.write(&value.to_bits().to_le_bytes());
            }
            Self::Text(text) => {
                hasher.write(b"s");
                hasher.write_sized(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                hasher.write(b"b");
                hasher.write_sized(bytes);
            }
            Self::Time(time) => {
                hasher.write(b"u");
                hasher.write(&time.0.to_le_bytes());
            }
            Self::List(items) => {
                hasher.write(b"[");
                for item in items {
                    item.hash_into(hasher);
                }
                hasher.write(b"]");
            }
            Self::Map(map) => {
                hasher.write(b"{");
                for (name, value) in map.iter() {
                    hasher.write_sized(name.as_bytes());
                    value.hash_into(hasher);
                }
                hasher.write(b"}");
            }
        }
    }
}

/// A number with a fraction that is whole counts as whole: CBOR and JSON then agree, for
/// Kubernetes' JSON writes 1.0 as `1`.
pub(super) fn number(value: f64) -> Node<'static> {
    /// Beyond this, doubles are whole but do not name every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation)] // whole and within 2^53
        return Node::Integer(value as i64);
    }
    Node::Float(value)
}

/// Adds `text` as a JSON string.
pub(super) fn push_json_text(json: &mut String, text: &str) {
    use std::fmt::Write as _;
    json.push('"');
    let mut plain_from = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        // All escaped bytes are ASCII, so slices end at character boundaries.
        json.push_str(text.get(plain_from..index).unwrap_or_default());
        plain_from = index + 1;
        match byte {
            b'"' => json.push_str("\\\""),
            b'\\' => json.push_str("\\\\"),
            b'\n' => json.push_str("\\n"),
            b'\r' => json.push_str("\\r"),
            b'\t' => json.push_str("\\t"),
            other => {
                let _ = write!(json, "\\u{other:04x}"); // writing to a String cannot fail
            }
        }
    }
    json.push_str(text.get(plain_from..).unwrap_or_default());
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::HashKey;

    fn text(text: &str) -> Node<'_> {
        Node::Text(text.into())
    }

    fn hash(node: &Node<'_>) -> i64 {
        let mut hasher = HashKey::from_cluster_id(1).hasher();
        node.hash_into(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn maps_are_ordered_and_the_last_of_a_key_wins() {
        let map = Map::by_key(vec![
            ("b".into(), text("1")),
            ("a".into(), text("2")),
            ("b".into(), text("3")),
        ]);
        assert_eq!(map.0.len(), 2);
        assert_eq!(map.text("b"), Some("3"));
        assert_eq!(
            map.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn paths_lead_to_values_or_nowhere() {
        let inner = Node::Map(Map(vec![("b".into(), text("x"))]));
        let tree = Node::Map(Map(vec![("a".into(), inner)]));
        assert_eq!(tree.at(&["a", "b"]).and_then(Node::text), Some("x"));
        assert_eq!(tree.at(&["a", "b", "c"]), None);
        assert_eq!(tree.at(&["z"]), None);
        assert_eq!(tree.at(&[]), Some(&tree));
    }

    #[test]
    fn hashes_tell_structures_apart() {
        let nodes = [
            Node::Null,
            Node::Bool(false),
            Node::Bool(true),
            Node::Integer(0),
            Node::Float(0.5),
            text(""),
            text("ab"),
            Node::List(vec![text("a"), text("b")]),
            Node::List(vec![text("ab")]),
            Node::List(vec![]),
            Node::List(vec![Node::List(vec![])]),
            Node::Map(Map::default()),
            Node::Map(Map(vec![("a".into(), text("b"))])),
            Node::Map(Map(vec![("ab".into(), text(""))])),
            Node::Bytes(b"ab"),
            Node::Time(Timestamp(0)),
        ];
        let hashes: std::collections::HashSet<i64> = nodes.iter().map(hash).collect();
        assert_eq!(hashes.len(), nodes.len());
    }

    #[test]
    fn whole_numbers_are_integers() {
        assert_eq!(number(3.0), Node::Integer(3));
        assert_eq!(number(-0.0), Node::Integer(0));
        assert_eq!(number(0.5), Node::Float(0.5));
        assert_eq!(number(1e300), Node::Float(1e300));
        assert!(matches!(number(f64::NAN), Node::Float(_)));
    }

    #[test]
    fn json_text_is_what_serde_json_writes() {
        for text in [
            "",
            "plain",
            "\"\\\n\r\t\u{1}\u{8}\u{c}",
            "schön \u{1f600}\u{7f}",
        ] {
            let mut json = String::new();
            push_json_text(&mut json, text);
            let read: String = serde_json::from_str(&json).unwrap();
            assert_eq!(read, text);
        }
        let map = Map(vec![
            ("b".into(), text("\"")),
            ("n".into(), Node::Integer(1)),
            ("a".into(), text("")),
        ]);
        assert_eq!(map.texts_as_json(|_, _| true), r#"{"a":"","b":"\""}"#);
        assert_eq!(map.texts_as_json(|key, _| key != "b"), r#"{"a":""}"#);
    }
}
