//! Reads JSON values into the tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::node::{Map, Node, number};

/// Reads one JSON value, after which only white space may follow.
///
/// # Errors
/// What serde_json says, with line and column; also for more than 128 levels.
pub(super) fn read(json: &[u8]) -> Result<Node<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let node = NodeSeed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(node)
}

/// Builds a [`Node`] from any value; texts without escapes stay slices of the input.
struct NodeSeed;

impl<'de> DeserializeSeed<'de> for NodeSeed {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed {
    type Value = Node<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        #[allow(clippy::cast_precision_loss)] // beyond 2^63, where Kubernetes itself uses doubles
        Ok(i64::try_from(value).map_or(Node::Float(value as f64), Node::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(number(value))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(NodeSeed)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key_seed(KeySeed)? {
            entries.push((key, access.next_value_seed(NodeSeed)?));
        }
        Ok(Node::Map(Map::by_key(entries)))
    }
}

/// Reads a key of a map.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let json = br#" {"z":null,"a":[true,-1,1.5,2.0,18446744073709551615],"t":"\u0041","e":{}}
"#;
        let tree = read(json).unwrap();
        assert_eq!(tree.get("z"), Some(&Node::Null));
        assert_eq!(
            tree.get("a").unwrap().items(),
            [
                Node::Bool(true),
                Node::Integer(-1),
                Node::Float(1.5),
                Node::Integer(2),
                Node::Float(18_446_744_073_709_551_615.0),
            ]
        );
        assert_eq!(tree.get("t").and_then(Node::text), Some("A"));
        assert_eq!(tree.get("e"), Some(&Node::Map(Map::default())));
    }

    #[test]
    fn broken_json_is_an_error() {
        for json in [
            "",
            "{",
            "{\"a\":1",
            "{\"a\":1}x",
            "{\"a\" 1}",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(read(json.as_bytes()).is_err(), "{json}");
        }
        assert!(read(b"{\"a\":\"\xff\"}").is_err());
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes()).is_err());
    }
}
