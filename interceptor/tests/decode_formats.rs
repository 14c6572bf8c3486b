//! One object in all three formats gives the same columns, and no bytes make the decoder panic.
//!
//! Objects are drawn from the table of Kubernetes' messages, so every field that Cascade reads
//! takes part, and are encoded as kube-apiserver does it.
#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking

use std::fmt;

use cascade_interceptor::decode::{
    ChangeColumns, DecodeOptions, Decoded, Decoder, ExcludedResources, HashKey,
};
use cascade_proto::tables::{CpidTransition, Object, ValueFormat};
use cascade_proto::wire::kubernetes::{self, Field, Message, Shape};
use ciborium::Value as Cbor;
use proptest::prelude::*;
use proptest::strategy::Union;
use serde_json::{Map, Value, json};

// ---- Drawing objects

const UIDS: [&str; 3] = [
    "0a1b2c3d-0000-0000-0000-000000000001",
    "0a1b2c3d-0000-0000-0000-000000000002",
    "0a1b2c3d-0000-0000-0000-000000000003",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[a-z][a-z0-9-]{0,8}",
        1 => prop::sample::select(&UIDS[..]).prop_map(str::to_owned),
        1 => prop::sample::select(&["True", "False", "Deployment", "User", "services"][..])
            .prop_map(str::to_owned),
        1 => any::<String>(),
        1 => Just(String::new()),
    ]
}

/// A message as JSON: each field is there or not.
fn message(message: &'static Message) -> BoxedStrategy<Value> {
    let fields: Vec<_> = message
        .fields
        .iter()
        .map(|field| prop::option::weighted(0.6, field_value(field)))
        .collect();
    fields
        .prop_map(|values| {
            let mut object = Map::new();
            for (field, value) in message.fields.iter().zip(values) {
                match (field.shape, value) {
                    (_, None) => {}
                    (Shape::Inline(_), Some(Value::Object(inner))) => object.extend(inner),
                    (_, Some(value)) => {
                        object.insert(field.name.to_owned(), value);
                    }
                }
            }
            Value::Object(object)
        })
        .boxed()
}

fn field_value(field: &'static Field) -> BoxedStrategy<Value> {
    if field.repeated {
        return prop::collection::vec(single_value(field), 0..3)
            .prop_map(Value::Array)
            .boxed();
    }
    single_value(field)
}

fn single_value(field: &'static Field) -> BoxedStrategy<Value> {
    match field.shape {
        Shape::Text => text().prop_map(Value::String).boxed(),
        Shape::Integer => prop_oneof![Just(0), Just(1), any::<i32>().prop_map(i64::from)]
            .prop_map(Value::from)
            .boxed(),
        Shape::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Shape::TextMap => prop::collection::btree_map(text(), text(), 0..3)
            .prop_map(|texts| json!(texts))
            .boxed(),
        // FieldsV1: protobuf holds the JSON itself as bytes.
        Shape::Message(inner) if inner.name == "FieldsV1" => Just(json!({"f:x": {}})).boxed(),
        Shape::Message(inner) | Shape::Inline(inner) => message(inner),
        Shape::Time => (0..4_000_000_000_i64).prop_map(|at| time(at, 0)).boxed(),
        Shape::MicroTime => (0..4_000_000_000_i64, 0..1_000_000_i64)
            .prop_map(|(at, micros)| time(at, micros))
            .boxed(),
        Shape::IntOrString => prop_oneof![
            any::<i32>().prop_map(Value::from),
            "[0-9]{1,2}%".prop_map(Value::String),
        ]
        .boxed(),
        Shape::Bytes => unreachable!("only in FieldsV1 and the envelope"),
    }
}

fn time(seconds: i64, micros: i64) -> Value {
    let nanos = u32::try_from(micros * 1_000).unwrap();
    let time = chrono::DateTime::from_timestamp(seconds, nanos).unwrap();
    let format = if micros == 0 {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    };
    Value::String(time.format(format).to_string())
}

#[derive(Clone)]
struct Drawn {
    api_version: String,
    kind: &'static str,
    message: &'static Message,
    /// Without apiVersion and kind.
    object: Value,
}

impl fmt::Debug for Drawn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", whole(self))
    }
}

fn object() -> impl Strategy<Value = Drawn> {
    two_objects().prop_map(|(object, _)| object)
}

/// Two objects of one kind, such as two revisions of an object.
fn two_objects() -> impl Strategy<Value = (Drawn, Drawn)> {
    let kinds = kubernetes::kinds().map(|(group, kind, version, table)| {
        let version = if version.is_empty() { "v1" } else { version };
        let api_version = match group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        let drawn = move |object| Drawn {
            api_version: api_version.clone(),
            kind,
            message: table,
            object,
        };
        (message(table), message(table))
            .prop_map(move |(one, two)| (drawn(one), drawn(two)))
            .boxed()
    });
    Union::new(kinds)
}

/// The object without empty texts, lists and maps.
fn without_empty(drawn: Drawn) -> Drawn {
    fn of_message(message: &Message, object: &mut Value) {
        for field in message.fields {
            if let Shape::Inline(inner) = field.shape {
                of_message(inner, object);
                continue;
            }
            let Some(fields) = object.as_object_mut() else {
                continue;
            };
            let is_empty = match fields.get_mut(field.name) {
                Some(Value::String(text)) => text.is_empty(),
                Some(Value::Array(items)) => {
                    items.retain(|item| item != "");
                    if let Shape::Message(inner) = field.shape {
                        items.iter_mut().for_each(|item| of_message(inner, item));
                    }
                    items.is_empty()
                }
                Some(Value::Object(texts)) if field.shape == Shape::TextMap => texts.is_empty(),
                Some(value) => {
                    if let Shape::Message(inner) = field.shape {
                        of_message(inner, value);
                    }
                    false
                }
                None => false,
            };
            if is_empty {
                fields.remove(field.name);
            }
        }
    }
    let mut object = drawn.object;
    of_message(drawn.message, &mut object);
    Drawn { object, ..drawn }
}

// ---- Encoding them

fn as_json(drawn: &Drawn) -> Vec<u8> {
    let mut bytes = whole(drawn).to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn whole(drawn: &Drawn) -> Value {
    let mut object = drawn.object.clone();
    object["apiVersion"] = Value::from(drawn.api_version.clone());
    object["kind"] = Value::from(drawn.kind);
    object
}

/// As Kubernetes does it: self-described, texts as byte strings.
fn as_cbor(drawn: &Drawn) -> Vec<u8> {
    fn cbor(value: Value) -> Cbor {
        match value {
            Value::Null => Cbor::Null,
            Value::Bool(value) => Cbor::Bool(value),
            Value::Number(number) => Cbor::Integer(number.as_i64().unwrap().into()),
            Value::String(text) => Cbor::Bytes(text.into_bytes()),
            Value::Array(items) => Cbor::Array(items.into_iter().map(cbor).collect()),
            Value::Object(object) => {
                let entries = object.into_iter();
                Cbor::Map(
                    entries
                        .map(|(key, value)| (cbor(key.into()), cbor(value)))
                        .collect(),
                )
            }
        }
    }
    let mut bytes = Vec::new();
    let tagged = Cbor::Tag(55799, Box::new(cbor(whole(drawn))));
    ciborium::into_writer(&tagged, &mut bytes).unwrap();
    bytes
}

fn as_protobuf(drawn: &Drawn) -> Vec<u8> {
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, drawn.api_version.as_bytes());
    put_bytes(&mut type_meta, 2, drawn.kind.as_bytes());
    let mut bytes = b"k8s\0".to_vec();
    put_bytes(&mut bytes, 1, &type_meta);
    put_bytes(&mut bytes, 2, &protobuf(drawn.message, &drawn.object));
    put_bytes(&mut bytes, 3, b"");
    put_bytes(&mut bytes, 4, b"");
    bytes
}

fn protobuf(message: &Message, object: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in message.fields {
        if let Shape::Inline(inner) = field.shape {
            put_bytes(&mut bytes, field.number, &protobuf(inner, object));
            continue;
        }
        match &object[field.name] {
            // Kubernetes writes empty texts, where JSON leaves them out.
            Value::Null if field.shape == Shape::Text && !field.repeated => {
                put_bytes(&mut bytes, field.number, b"");
            }
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    put_value(&mut bytes, field, item);
                }
            }
            value => put_value(&mut bytes, field, value),
        }
    }
    // A field of a later version, which the table does not have.
    put_bytes(&mut bytes, 1_000, b"unknown");
    bytes
}

fn put_value(bytes: &mut Vec<u8>, field: &Field, value: &Value) {
    let number = field.number;
    match field.shape {
        Shape::Text => put_bytes(bytes, number, value.as_str().unwrap().as_bytes()),
        Shape::Integer => put_integer(bytes, number, value.as_i64().unwrap()),
        Shape::Bool => put_integer(bytes, number, value.as_bool().unwrap().into()),
        Shape::TextMap => {
            for (key, text) in value.as_object().unwrap() {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put_bytes(&mut entry, 2, text.as_str().unwrap().as_bytes());
                put_bytes(bytes, number, &entry);
            }
        }
        Shape::Message(inner) if inner.name == "FieldsV1" => {
            let mut raw = Vec::new();
            put_bytes(&mut raw, 1, value.to_string().as_bytes());
            put_bytes(bytes, number, &raw);
        }
        Shape::Message(inner) => put_bytes(bytes, number, &protobuf(inner, value)),
        Shape::Time | Shape::MicroTime => {
            let time = chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
            let mut message = Vec::new();
            put_integer(&mut message, 1, time.timestamp());
            put_integer(&mut message, 2, time.timestamp_subsec_nanos().into());
            put_bytes(bytes, number, &message);
        }
        Shape::IntOrString => {
            let mut message = Vec::new();
            put_integer(&mut message, 1, value.is_string().into());
            put_integer(&mut message, 2, value.as_i64().unwrap_or(0));
            put_bytes(&mut message, 3, value.as_str().unwrap_or("").as_bytes());
            put_bytes(bytes, number, &message);
        }
        Shape::Bytes | Shape::Inline(_) => unreachable!("handled by the caller"),
    }
}

fn put_bytes(bytes: &mut Vec<u8>, number: u32, content: &[u8]) {
    prost::encoding::encode_varint(u64::from(number << 3 | 2), bytes);
    prost::encoding::encode_varint(content.len() as u64, bytes);
    bytes.extend_from_slice(content);
}

fn put_integer(bytes: &mut Vec<u8>, number: u32, value: i64) {
    prost::encoding::encode_varint(u64::from(number << 3), bytes);
    prost::encoding::encode_varint(value.cast_unsigned(), bytes);
}

// ---- Comparing what they give

fn decoder() -> Decoder {
    Decoder::new(DecodeOptions::new(HashKey::from_cluster_id(1)))
}

const KEY: &[u8] = b"/registry/things/shop/one";

/// First bytes of each format; the last is all of an envelope but the length of its object.
const PREFIXES: &[&[u8]] = &[
    b"",
    b"k8s\0",
    b"k8s:enc:",
    b"{",
    b"\xd9\xd9\xf7",
    b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12",
];

/// The columns without those that tell the formats apart: hashes and sizes.
fn same_for_all_formats(decoded: Decoded) -> Decoded {
    let Decoded { object, .. } = decoded;
    let object = Object {
        spec_hash: None,
        status_hash: None,
        data_hash: None,
        value_hash: None,
        value_bytes: None,
        value_format: None,
        ..object
    };
    Decoded { object, ..decoded }
}

fn hashes(decoded: &Decoded) -> [Option<i64>; 3] {
    let object = &decoded.object;
    [object.spec_hash, object.status_hash, object.data_hash]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn all_formats_give_the_same_columns(drawn in object()) {
        let decode = |bytes: &[u8]| decoder().decode(KEY, bytes);
        let (json, cbor, protobuf) =
            (decode(&as_json(&drawn)), decode(&as_cbor(&drawn)), decode(&as_protobuf(&drawn)));
        prop_assert_eq!(json.object.value_format, Some(ValueFormat::Json));
        prop_assert_eq!(cbor.object.value_format, Some(ValueFormat::Cbor));
        prop_assert_eq!(protobuf.object.value_format, Some(ValueFormat::Protobuf));
        prop_assert_eq!(hashes(&json), hashes(&cbor));
        let json = same_for_all_formats(json);
        prop_assert_eq!(&json, &same_for_all_formats(cbor));
        prop_assert_eq!(&json, &same_for_all_formats(protobuf));
    }

    #[test]
    fn all_formats_tell_the_same_change((before, now) in two_objects()) {
        // What is empty and what is absent are one in protobuf, and Kubernetes' JSON is without it.
        let (before, now) = (without_empty(before), without_empty(now));
        let change = |encode: fn(&Drawn) -> Vec<u8>| {
            let columns = decoder().change(KEY, Some(&encode(&now)), Some(&encode(&before)));
            let decoded = Decoded {
                object: columns.object,
                cpid: columns.cpid,
                malformed_carriers: columns.malformed_carriers,
            };
            let decoded = same_for_all_formats(decoded);
            (decoded, columns.changed, columns.prev_cpid, columns.cpid_transition)
        };
        let (json, cbor, protobuf) = (change(as_json), change(as_cbor), change(as_protobuf));
        prop_assert!(json.1.is_some());
        prop_assert_eq!(&json, &cbor);
        prop_assert_eq!(&json, &protobuf);
    }

    #[test]
    fn a_value_does_not_differ_from_itself(drawn in object()) {
        for bytes in [as_json(&drawn), as_cbor(&drawn), as_protobuf(&drawn)] {
            let columns = decoder().change(KEY, Some(&bytes), Some(&bytes));
            prop_assert_eq!(columns.changed, Some(vec![]));
            prop_assert_eq!(columns.object.writers, Some(vec![]));
            prop_assert!(matches!(columns.cpid_transition, None | Some(CpidTransition::Carry)));
        }
    }

    #[test]
    fn a_cut_value_is_an_error_or_whole(drawn in object(), at in any::<prop::sample::Index>()) {
        for bytes in [as_json(&drawn), as_cbor(&drawn), as_protobuf(&drawn)] {
            let whole = decoder().decode(KEY, &bytes);
            let cut = decoder().decode(KEY, &bytes[..at.index(bytes.len())]);
            if cut.object.decode_error.is_none() && cut.object.value_format != Some(ValueFormat::Other) {
                // JSON without its newline; an envelope without its empty last fields.
                prop_assert_eq!(same_for_all_formats(cut), same_for_all_formats(whole));
            } else {
                prop_assert_eq!((cut.object.labels, cut.object.spec_hash), (None, None));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        key in prop::collection::vec(any::<u8>(), 0..40),
        prefix in prop::sample::select(PREFIXES),
        now in prop::collection::vec(any::<u8>(), 0..200),
        before in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        never_panics(&key, &[prefix, &now].concat(), &before);
    }

    #[test]
    fn damaged_values_do_not_make_it_panic(
        drawn in object(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for bytes in [as_json(&drawn), as_cbor(&drawn), as_protobuf(&drawn)] {
            let mut damaged = bytes.clone();
            for (index, byte) in &damage {
                *index.get_mut(&mut damaged) = *byte;
            }
            never_panics(KEY, &damaged, &bytes);
        }
    }
}

fn never_panics(key: &[u8], now: &[u8], before: &[u8]) {
    let excluding = Decoder::new(DecodeOptions {
        hash_secrets: true,
        excluded: ExcludedResources::from_iter(["things"]),
        ..DecodeOptions::default()
    });
    for decoder in [decoder(), excluding] {
        let decoded = decoder.decode(key, now);
        let _ = cascade_interceptor::decode::to_json(key, &decoded.object, &decoded.cpid);
        let _: ChangeColumns = decoder.change(key, Some(now), Some(before));
        let _: ChangeColumns = decoder.change(key, Some(before), Some(now));
        let _: ChangeColumns = decoder.change(key, None, Some(now));
        let _: ChangeColumns = decoder.change_without_previous(key, Some(now));
    }
}
