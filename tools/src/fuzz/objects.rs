//! Stored values in each of Kubernetes' formats.

use std::fmt::Write;
use std::sync::LazyLock;

use cascade_interceptor::decode::{Decoded, Decoder, to_json};
use cascade_proto::tables::ValueFormat;
use ciborium::Value;

use super::take_piece;

/// What a value of each format begins with.
pub(super) const PROTOBUF: &[u8] = b"k8s\0";
pub(super) const CBOR: &[u8] = b"\xd9\xd9\xf7";

static DECODER: LazyLock<Decoder> = LazyLock::new(Decoder::default);

/// Input: the key (a piece), then an envelope: what is behind the magic of protobuf.
///
/// # Panics
/// See [`check`].
pub(super) fn run_protobuf(mut input: &[u8]) {
    let key = take_piece(&mut input);
    let value = [PROTOBUF, input].concat();
    let decoded = check(key, &value);
    assert_eq!(decoded.object.value_format, Some(ValueFormat::Protobuf));
}

/// Input: the key (a piece), then JSON.
///
/// # Panics
/// See [`check`]; or when another reader of JSON takes it for an object and the decoder does not,
/// or the other way round.
pub(super) fn run_json(mut input: &[u8]) {
    let key = take_piece(&mut input);
    let decoded = check(key, input);
    if decoded.object.value_format != Some(ValueFormat::Json) {
        return;
    }
    let is_json = serde_json::from_slice::<serde_json::Value>(input).is_ok();
    let error = decoded.object.decode_error.as_deref().unwrap_or_default();
    assert_eq!(error.starts_with("JSON"), !is_json, "{error}");
}

/// Input: the key (a piece), then what is behind the magic of CBOR.
///
/// # Panics
/// See [`check`]; or when the same object in JSON gives other columns.
pub(super) fn run_cbor(mut input: &[u8]) {
    let key = take_piece(&mut input);
    let value = [CBOR, input].concat();
    let from_cbor = check(key, &value);
    assert_eq!(from_cbor.object.value_format, Some(ValueFormat::Cbor));
    let mut rest = input;
    let Ok(tree) = ciborium::from_reader::<Value, _>(&mut rest) else {
        return;
    };
    let mut json = String::new();
    if !rest.is_empty() || write_json(&tree, &mut json).is_none() || !json.starts_with('{') {
        return;
    }
    let mut from_json = DECODER.decode(key, json.as_bytes());
    if from_json
        .object
        .decode_error
        .as_deref()
        .is_some_and(|error| error.starts_with("JSON"))
    {
        return; // JSON may be less deep
    }
    let mut from_cbor = from_cbor;
    for decoded in [&mut from_json, &mut from_cbor] {
        // These are of the bytes.
        decoded.object.value_format = None;
        decoded.object.value_bytes = None;
        decoded.object.value_hash = None;
    }
    assert_eq!(from_cbor, from_json, "{json}");
}

/// What must hold of any value of any key.
///
/// # Panics
/// When the columns depend on how the value is met, or a value differs from itself.
fn check(key: &[u8], value: &[u8]) -> Decoded {
    let decoded = DECODER.decode(key, value);
    assert_eq!(DECODER.decode(key, value), decoded, "decoded again");
    let _ = to_json(key, &decoded.object, &decoded.cpid);

    let created = DECODER.change(key, Some(value), None);
    assert_eq!(created.object, decoded.object, "a create");
    assert_eq!(created.cpid, decoded.cpid, "a create");

    let same = DECODER.change(key, Some(value), Some(value));
    assert!(
        same.changed.as_ref().is_none_or(Vec::is_empty),
        "a value differs from itself: {same:?}"
    );
    assert!(same.object.writers.as_ref().is_none_or(Vec::is_empty));

    let deleted = DECODER.change(key, None, Some(value));
    assert_eq!(deleted.prev_cpid, decoded.cpid.cpid, "a delete");
    // A value that is cut short is another value, never a panic.
    let half = value.get(..value.len() / 2).unwrap_or_default();
    let _ = DECODER.change(key, Some(half), Some(value));
    let _ = DECODER.change(key, Some(value), Some(half));
    decoded
}

/// Writes a tree as JSON; `None` if it holds what JSON does not, or not in the same way.
fn write_json(value: &Value, json: &mut String) -> Option<()> {
    match value {
        Value::Null => json.push_str("null"),
        Value::Bool(value) => write!(json, "{value}").ok()?,
        Value::Integer(integer) => write!(json, "{}", i64::try_from(*integer).ok()?).ok()?,
        Value::Float(float) if float.is_finite() => {
            json.push_str(&serde_json::to_string(float).ok()?);
        }
        Value::Text(text) => json.push_str(&serde_json::to_string(text).ok()?),
        Value::Bytes(bytes) => {
            let text = str::from_utf8(bytes).ok()?;
            json.push_str(&serde_json::to_string(text).ok()?);
        }
        Value::Array(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_json(item, json)?;
            }
            json.push(']');
        }
        Value::Map(entries) => {
            json.push('{');
            for (index, (name, value)) in entries.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                if !matches!(name, Value::Text(_) | Value::Bytes(_)) {
                    return None;
                }
                write_json(name, json)?;
                json.push(':');
                write_json(value, json)?;
            }
            json.push('}');
        }
        _ => return None,
    }
    Some(())
}
