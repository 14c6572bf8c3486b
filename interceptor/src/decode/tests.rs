//! The decoder as a whole, over values written out as JSON. That protobuf and CBOR give the same
//! columns is shown in `tests/decode_formats.rs`, that real values do in `tests/decode_values.rs`.

mod changes;
mod columns;
mod identity;
mod references;
mod transitions;

use serde_json::{Value, json};

use super::{ChangeColumns, DecodeOptions, Decoded, Decoder, HashKey};

const UID: &str = "0a1b2c3d-0000-0000-0000-000000000001";
const OTHER_UID: &str = "0a1b2c3d-0000-0000-0000-000000000002";
const OWNER_UID: &str = "0a1b2c3d-0000-0000-0000-000000000003";

fn decoder() -> Decoder {
    Decoder::new(DecodeOptions::new(HashKey::from_cluster_id(1)))
}

/// A Pod with a few marks of its own in each part.
fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": UID},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running"},
    })
}

/// The object with other parts laid over it, like a JSON merge patch without deletions.
fn with(mut object: Value, patch: Value) -> Value {
    fn lay_over(target: &mut Value, patch: Value) {
        match patch {
            Value::Object(patch) if target.is_object() => {
                for (name, value) in patch {
                    lay_over(&mut target[name], value);
                }
            }
            other => *target = other,
        }
    }
    lay_over(&mut object, patch);
    object
}

fn decode(key: &str, object: &Value) -> Decoded {
    decoder().decode(key.as_bytes(), object.to_string().as_bytes())
}

fn decode_pod(patch: Value) -> Decoded {
    decode("/registry/pods/shop/web", &with(pod(), patch))
}

fn change(now: Option<&Value>, before: Option<&Value>) -> ChangeColumns {
    let bytes = |object: &Value| object.to_string().into_bytes();
    let (now, before) = (now.map(bytes), before.map(bytes));
    decoder().change(
        b"/registry/pods/shop/web",
        now.as_deref(),
        before.as_deref(),
    )
}
