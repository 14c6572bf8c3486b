//! Who an object is, and what must not be said about it.

use cascade_proto::tables::{Change, Object, ValueFormat, columns_of};

use super::*;
use crate::decode::{ExcludedResources, to_json};

fn identity(object: &Object) -> [Option<&str>; 6] {
    let text = Option::<String>::as_deref;
    [
        text(&object.api_group),
        text(&object.api_version),
        text(&object.kind),
        text(&object.resource),
        text(&object.namespace),
        text(&object.name),
    ]
}

#[test]
fn the_value_says_who_it_is() {
    let object = decode_pod(json!({})).object;
    let expected = ["", "v1", "Pod", "pods", "shop", "web"].map(Some);
    assert_eq!(identity(&object), expected);
    assert_eq!(object.uid.as_deref(), Some(UID));
    assert_eq!(object.value_format, Some(ValueFormat::Json));
    assert_eq!(object.decode_error, None);
}

#[test]
fn a_value_without_a_namespace_is_cluster_scoped_whatever_its_key() {
    let widget = json!({
        "apiVersion": "shop/v1", "kind": "Cart", "metadata": {"name": "c"},
    });
    let object = decode("/registry/shop/carts/c", &widget).object;
    let expected = [
        Some("shop"),
        Some("v1"),
        Some("Cart"),
        Some("carts"),
        None,
        Some("c"),
    ];
    assert_eq!(identity(&object), expected);
}

#[test]
fn the_key_says_what_the_value_does_not() {
    let master = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"generation": 7}});
    let object = decode("/registry/masterleases/10.0.0.1", &master).object;
    let expected = [
        Some(""),
        Some("v1"),
        Some("Endpoints"),
        Some("masterleases"),
        None,
        Some("10.0.0.1"),
    ];
    assert_eq!(identity(&object), expected);

    let value = b"k8s:enc:aesgcm:v1:key1:\x00\x01\x02";
    let object = decoder()
        .decode(b"/registry/configmaps/shop/c", value)
        .object;
    let expected = [
        None,
        None,
        None,
        Some("configmaps"),
        Some("shop"),
        Some("c"),
    ];
    assert_eq!(identity(&object), expected);
    assert_eq!(object.value_format, Some(ValueFormat::Encrypted));
    assert_eq!(
        object.decode_error.as_deref(),
        Some("encrypted by kube-apiserver: k8s:enc:aesgcm:v1:key1:")
    );
    assert_eq!(object.value_bytes, Some(26));
    assert!(object.value_hash.is_some());
    assert_eq!((object.labels, object.owners), (None, None));
}

#[test]
fn other_values_are_errors_only_where_objects_are_expected() {
    let object = decoder().decode(b"compact_rev_key", b"1234").object;
    assert_eq!(object.value_format, Some(ValueFormat::Other));
    assert_eq!((object.resource, object.decode_error), (None, None));
    assert!(object.value_hash.is_some());

    let object = decoder()
        .decode(b"/registry/pods/shop/web", b"kind: Pod")
        .object;
    let expected = "neither protobuf, JSON, CBOR nor encrypted";
    assert_eq!(object.decode_error.as_deref(), Some(expected));
    assert_eq!(object.name.as_deref(), Some("web"));
}

#[test]
fn a_cut_value_leaves_identity_and_sizes() {
    let text = pod().to_string();
    let object = decoder()
        .decode(b"/registry/pods/shop/web", &text.as_bytes()[..60])
        .object;
    assert!(object.decode_error.unwrap().starts_with("JSON: EOF"));
    assert_eq!(object.name.as_deref(), Some("web"));
    assert_eq!(object.value_bytes, Some(60));
    assert_eq!(
        (object.labels, object.phase, object.spec_hash),
        (None, None, None)
    );
}

#[test]
fn secrets_are_not_hashed_without_a_key_of_their_own() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"password": "aHVudGVyMg=="}, "stringData": {"uid": UID, "secretName": "x"},
    });
    let key = "/registry/secrets/shop/s";
    let object = decode(key, &secret).object;
    let hashes = |object: &Object| {
        [
            object.value_hash,
            object.data_hash,
            object.spec_hash,
            object.status_hash,
        ]
    };
    assert_eq!(hashes(&object), [None; 4]);
    assert_eq!(object.facts.as_deref(), Some(r#"{"type":"Opaque"}"#));
    assert_eq!(object.related_uids.as_deref(), Some(&[][..]));
    assert_eq!(object.name_refs.as_deref(), Some(&[][..]));
    assert!(!format!("{object:?}").contains("aHVudGVyMg"));

    // By its kind, should the key have an unknown form; by its key, should the value be opaque.
    assert_eq!(
        hashes(&decode("/a/b/c/secrets/shop/s", &secret).object),
        [None; 4]
    );
    let encrypted = decoder()
        .decode(key.as_bytes(), b"k8s:enc:aescbc:v1:k:x")
        .object;
    assert_eq!(hashes(&encrypted), [None; 4]);

    let options = DecodeOptions {
        hash_secrets: true,
        ..DecodeOptions::default()
    };
    let bytes = secret.to_string();
    let object = Decoder::new(options)
        .decode(key.as_bytes(), bytes.as_bytes())
        .object;
    assert!(object.value_hash.is_some() && object.data_hash.is_some());

    // That its data changed is told, not what it is.
    let changed = with(secret.clone(), json!({"data": {"password": "YWJj"}}));
    let columns = decoder().change(
        key.as_bytes(),
        Some(changed.to_string().as_bytes()),
        Some(bytes.as_bytes()),
    );
    assert_eq!(columns.changed, Some(vec!["data".to_owned()]));
    assert_eq!(hashes(&columns.object), [None; 4]);
}

#[test]
fn of_excluded_resources_only_identity_and_sizes_are_told() {
    let options = DecodeOptions {
        excluded: ExcludedResources::from_iter(["pods"]),
        ..DecodeOptions::default()
    };
    let annotated = with(
        pod(),
        json!({"metadata": {"annotations": {"eppppi.github.io/koc": r#"{"cpid":"c"}"#}}}),
    );
    let bytes = annotated.to_string();
    let key = b"/registry/pods/shop/web";
    let decoder = Decoder::new(options);
    let Decoded { object, cpid, .. } = decoder.decode(key, bytes.as_bytes());
    assert_eq!(cpid.cpid, None);
    let expected = Object {
        api_group: Some(String::new()),
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        resource: Some("pods".to_owned()),
        namespace: Some("shop".to_owned()),
        name: Some("web".to_owned()),
        uid: Some(UID.to_owned()),
        value_bytes: i32::try_from(bytes.len()).ok(),
        value_format: Some(ValueFormat::Json),
        ..Object::default()
    };
    assert_eq!(object, expected);
    let columns = decoder.change(
        key,
        Some(bytes.as_bytes()),
        Some(pod().to_string().as_bytes()),
    );
    let expected = ChangeColumns {
        object: expected,
        ..ChangeColumns::default()
    };
    assert_eq!(columns, expected);
    // An excluded resource that cannot be read is still said to be so.
    let object = decoder.decode(key, b"{").object;
    assert!(object.decode_error.is_some());
}

#[test]
fn json_has_the_columns_of_the_table_in_its_order() {
    let Decoded { object, cpid, .. } = decode_pod(json!({}));
    let json = to_json(b"/registry/pods/shop/web", &object, &cpid);
    let shown: Vec<&str> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let columns = columns_of::<Change>();
    let of_values: Vec<&str> = columns
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| shown.contains(name))
        .collect();
    assert_eq!(shown, of_values);
}
