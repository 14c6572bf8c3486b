//! Reads CBOR values into the tree, as kube-apiserver writes them (KEP-4222).

use std::borrow::Cow;

use base64::Engine as _;
use ciborium::Value;

use super::node::{Map, Node, number};

/// First bytes of a CBOR value in etcd: tag 55799, "self-described CBOR".
pub(super) const SELF_DESCRIBED: &[u8] = b"\xd9\xd9\xf7";

/// Tags 21 to 23: bytes that stand as base64url, base64 or base16 text in JSON. Kubernetes writes
/// its byte arrays with tag 22.
const EXPECTED_BASE64: u64 = 22;

/// Why a CBOR value cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CborError {
    /// Not well-formed, or deeper than 256 levels.
    #[error("CBOR: {0}")]
    Malformed(#[from] ciborium::de::Error<std::io::Error>),
    /// Bytes after the value.
    #[error("CBOR: {0} bytes follow the value")]
    Trailing(usize),
    /// A map key that is not text.
    #[error("CBOR: a key is not text")]
    Key,
    /// A text that is not UTF-8: Kubernetes writes texts as byte strings.
    #[error("CBOR: a text is not UTF-8")]
    Utf8,
    /// An integer outside of 64 bits.
    #[error("CBOR: a number is longer than 64 bits")]
    Number,
}

/// Reads one CBOR value.
pub(super) fn read(cbor: &[u8]) -> Result<Node<'static>, CborError> {
    let mut rest = cbor;
    let value: Value = ciborium::from_reader(&mut rest)?;
    if !rest.is_empty() {
        return Err(CborError::Trailing(rest.len()));
    }
    node(value)
}

fn node(value: Value) -> Result<Node<'static>, CborError> {
    Ok(match value {
        Value::Bool(value) => Node::Bool(value),
        Value::Integer(integer) => {
            Node::Integer(i64::try_from(integer).map_err(|_| CborError::Number)?)
        }
        Value::Float(value) => number(value),
        Value::Text(text) => Node::Text(Cow::Owned(text)),
        Value::Bytes(bytes) => Node::Text(Cow::Owned(text(bytes)?)),
        Value::Array(items) => Node::List(items.into_iter().map(node).collect::<Result<_, _>>()?),
        Value::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| {
                let key = match key {
                    Value::Text(key) => key,
                    Value::Bytes(key) => text(key)?,
                    _ => return Err(CborError::Key),
                };
                Ok((Cow::Owned(key), node(value)?))
            });
            Node::Map(Map::by_key(entries.collect::<Result<_, _>>()?))
        }
        Value::Tag(EXPECTED_BASE64, inner) => match *inner {
            Value::Bytes(bytes) => {
                let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
                Node::Text(Cow::Owned(base64))
            }
            other => node(other)?,
        },
        Value::Tag(_, inner) => node(*inner)?,
        // Null; also what later versions of the crate may add.
        _ => Node::Null,
    })
}

fn text(bytes: Vec<u8>) -> Result<String, CborError> {
    String::from_utf8(bytes).map_err(|_| CborError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_kubernetes_writes_them() {
        // 55799({'a': ['x', 1, 2.0, true, null, 22('hi')]}), texts as byte strings
        let cbor = b"\xd9\xd9\xf7\xa1\x41a\x86\x41x\x01\xf9\x40\x00\xf5\xf6\xd6\x42hi";
        let tree = read(cbor).unwrap();
        assert_eq!(
            tree.get("a").unwrap().items(),
            [
                Node::Text("x".into()),
                Node::Integer(1),
                Node::Integer(2),
                Node::Bool(true),
                Node::Null,
                Node::Text("aGk=".into()),
            ]
        );
    }

    #[test]
    fn malformed_values_are_errors() {
        let deep = [SELF_DESCRIBED, &[0x81; 100_000]].concat();
        let huge_length = b"\xd9\xd9\xf7\x9b\xff\xff\xff\xff\xff\xff\xff\xff";
        for cbor in [
            b"".as_slice(),
            SELF_DESCRIBED,
            b"\xd9\xd9\xf7\xa1\x41a",
            b"\xd9\xd9\xf7\xa0\x00",
            b"\xd9\xd9\xf7\xa1\x01\x01",
            b"\xd9\xd9\xf7\x41\xff",
            b"\xd9\xd9\xf7\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
            huge_length,
            &deep,
        ] {
            assert!(read(cbor).is_err(), "{:x?}", &cbor[..cbor.len().min(20)]);
        }
    }
}
