//! What a change says beyond its value.

use cascade_proto::tables::Object;

use super::*;

fn changed(before: Value, now: Value) -> Option<Vec<String>> {
    change(Some(&with(pod(), now)), Some(&with(pod(), before))).changed
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn each_part_that_differs_has_its_name() {
    for (before, now, expected) in [
        (json!({}), json!({}), vec![]),
        (json!({}), json!({"apiVersion": "v2"}), vec!["apiVersion"]),
        (
            json!({}),
            json!({"metadata": {"labels": {"a": "b"}}}),
            vec!["metadata.labels"],
        ),
        (
            json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "1"}}}),
            json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "2"}}}),
            vec!["metadata.annotations"],
        ),
        (
            json!({"metadata": {"finalizers": ["a"]}}),
            json!({}),
            vec!["metadata.finalizers"],
        ),
        (
            json!({}),
            json!({"metadata": {"ownerReferences": [{"uid": OWNER_UID}]}}),
            vec!["metadata.ownerReferences"],
        ),
        (
            json!({}),
            json!({"metadata": {"deletionTimestamp": "2024-05-06T07:08:09Z"}}),
            vec!["metadata.deletionTimestamp"],
        ),
        (
            json!({"metadata": {"deletionGracePeriodSeconds": 30}}),
            json!({"metadata": {"deletionGracePeriodSeconds": 0}}),
            vec!["metadata.deletionGracePeriodSeconds"],
        ),
        (
            json!({"metadata": {"generation": 1}}),
            json!({"metadata": {"generation": 2}, "spec": {"x": 1}}),
            vec!["metadata.generation", "spec"],
        ),
        (
            json!({"metadata": {"managedFields": []}}),
            json!({"metadata": {"managedFields": [{"manager": "a", "operation": "Update"}]}}),
            vec!["metadata.managedFields"],
        ),
        (
            json!({}),
            json!({"status": {"message": "x"}}),
            vec!["status"],
        ),
        (json!({}), json!({"data": {"a": "b"}}), vec!["data"]),
        // Absent and empty are equal.
        (
            json!({}),
            json!({"metadata": {"labels": {}, "finalizers": [], "annotations": null}}),
            vec![],
        ),
    ] {
        let text = format!("{before} -> {now}");
        assert_eq!(changed(before, now), names(&expected), "{text}");
    }
}

#[test]
fn conditions_that_differ_are_named() {
    let status = |conditions: Value| json!({"status": {"conditions": conditions}});
    let ready = |status: &str| json!({"type": "Ready", "status": status});
    let other =
        json!({"type": "Other", "status": "True", "lastHeartbeatTime": "2024-05-06T07:08:09Z"});
    let beaten = with(
        other.clone(),
        json!({"lastHeartbeatTime": "2024-05-06T07:08:19Z"}),
    );
    for (before, now, expected) in [
        (
            json!([ready("False")]),
            json!([ready("True"), other]),
            vec!["status", "conditions.Ready", "conditions.Other"],
        ),
        (
            json!([ready("True"), other]),
            json!([ready("True")]),
            vec!["status", "conditions.Other"],
        ),
        (json!([other]), json!([beaten]), vec!["status"]),
        (
            json!([other, ready("True")]),
            json!([ready("True"), other]),
            vec!["status"],
        ),
    ] {
        assert_eq!(changed(status(before), status(now)), names(&expected));
    }
}

#[test]
fn writers_are_the_entries_that_are_new_or_changed() {
    let entry = |manager: &str, fields: &str| json!({"manager": manager, "operation": "Update", "fieldsV1": {fields: {}}});
    let managed = |entries: Value| with(pod(), json!({"metadata": {"managedFields": entries}}));
    let managers = |columns: ChangeColumns| -> Option<Vec<String>> {
        let writers = columns.object.writers?;
        Some(writers.into_iter().map(|writer| writer.manager).collect())
    };
    let before = managed(json!([
        entry("a", "f:x"),
        entry("b", "f:y"),
        entry("gone", "f:z")
    ]));
    let now = managed(json!([
        entry("a", "f:x"),
        entry("b", "f:other"),
        entry("c", "f:z")
    ]));
    assert_eq!(
        managers(change(Some(&now), Some(&before))),
        names(&["b", "c"])
    );
    assert_eq!(managers(change(Some(&now), Some(&now))), names(&[]));
    assert_eq!(managers(change(Some(&now), None)), names(&["a", "b", "c"]));
    assert_eq!(managers(change(None, Some(&now))), names(&[]));
}

#[test]
fn what_cannot_be_compared_is_not_said_to_be_equal() {
    let key = b"/registry/pods/shop/web";
    let now = pod().to_string();
    // An empty Pod in the protobuf envelope: typeMeta (1) { "v1", "Pod" }, raw (2).
    let protobuf = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x00";
    assert_eq!(decoder().decode(key, protobuf).object.decode_error, None);
    for previous in [b"k8s:enc:aescbc:v1:k:x".as_slice(), b"{", b"1", protobuf] {
        let columns = decoder().change(key, Some(now.as_bytes()), Some(previous));
        assert_eq!((columns.changed, columns.object.writers), (None, None));
        assert_eq!(columns.object.phase.as_deref(), Some("Running"));
        let columns = decoder().change(key, Some(previous), Some(now.as_bytes()));
        assert_eq!((columns.changed, columns.object.writers), (None, None));
    }
}

#[test]
fn a_create_and_a_delete_have_nothing_to_compare_with() {
    let create = change(Some(&pod()), None);
    assert_eq!(create.changed, None);
    assert_eq!(create.object, decode_pod(json!({})).object);

    let delete = change(None, Some(&pod()));
    assert_eq!(delete.changed, None);
    assert_eq!(delete.object, create.object);
}

#[test]
fn without_the_previous_value_the_key_and_the_value_are_all_there_is() {
    let key = b"/registry/pods/shop/web";
    let by_key = ChangeColumns {
        object: Object {
            resource: Some("pods".to_owned()),
            namespace: Some("shop".to_owned()),
            name: Some("web".to_owned()),
            ..Object::default()
        },
        ..ChangeColumns::default()
    };
    assert_eq!(decoder().change_without_previous(key, None), by_key);
    assert_eq!(decoder().change(key, None, None), by_key);

    let now = carrying("c", &[]);
    let columns = decoder().change_without_previous(key, Some(now.to_string().as_bytes()));
    assert_eq!((columns.changed, columns.object.writers), (None, None));
    assert_eq!(columns.cpid.cpid.as_deref(), Some("c"));
    assert_eq!((columns.prev_cpid, columns.cpid_transition), (None, None));
}

fn carrying(cpid: &str, ancestors: &[&str]) -> Value {
    let carrier = json!({"cpid": cpid, "ancCpids": ancestors}).to_string();
    with(
        pod(),
        json!({"metadata": {"annotations": {"eppppi.github.io/koc": carrier}}}),
    )
}
