//! Decoded columns as JSON.

use cascade_proto::tables::{
    Condition, Container, NameRef, Object, ObjectCpid, Owner, Timestamp, Writer,
};
use serde_json::{Map, Value, json};

use super::time::to_rfc3339;

/// The columns of a `changes` row that a key and its value tell, in the order of the table.
///
/// Every column is there: NULL is `null`. Times are RFC 3339 in UTC, and columns that hold JSON
/// text hold it here as text too, just as in the table.
#[must_use]
pub fn to_json(key: &[u8], object: &Object, cpid: &ObjectCpid) -> Value {
    // Taken apart by name, so that a new column cannot be forgotten.
    let Object {
        api_group,
        api_version,
        kind,
        resource,
        namespace,
        name,
        uid,
        generation,
        observed_generation,
        creation_time,
        deletion_time,
        finalizers,
        owners,
        related_uids,
        name_refs,
        labels,
        selector,
        selector_exact,
        annotations,
        writers,
        node_name,
        phase,
        conditions,
        replicas,
        updated_replicas,
        ready_replicas,
        available_replicas,
        containers,
        stateful,
        facts,
        spec_hash,
        status_hash,
        data_hash,
        value_hash,
        value_bytes,
        value_format,
        decode_error,
    } = object;
    let ObjectCpid {
        cpid,
        cpid_ancestors,
        cpid_carrier,
    } = cpid;
    let columns = [
        ("key", json!(super::key_text(key))),
        ("api_group", json!(api_group)),
        ("api_version", json!(api_version)),
        ("kind", json!(kind)),
        ("resource", json!(resource)),
        ("namespace", json!(namespace)),
        ("name", json!(name)),
        ("uid", json!(uid)),
        ("generation", json!(generation)),
        ("observed_generation", json!(observed_generation)),
        ("creation_time", time(*creation_time)),
        ("deletion_time", time(*deletion_time)),
        ("finalizers", json!(finalizers)),
        ("owners", list(owners, owner)),
        ("related_uids", json!(related_uids)),
        ("name_refs", list(name_refs, name_ref)),
        ("labels", json!(labels)),
        ("selector", json!(selector)),
        ("selector_exact", json!(selector_exact)),
        ("annotations", json!(annotations)),
        ("writers", list(writers, writer)),
        ("node_name", json!(node_name)),
        ("phase", json!(phase)),
        ("conditions", list(conditions, condition)),
        ("replicas", json!(replicas)),
        ("updated_replicas", json!(updated_replicas)),
        ("ready_replicas", json!(ready_replicas)),
        ("available_replicas", json!(available_replicas)),
        ("containers", list(containers, container)),
        ("stateful", json!(stateful)),
        ("facts", json!(facts)),
        ("spec_hash", json!(spec_hash)),
        ("status_hash", json!(status_hash)),
        ("data_hash", json!(data_hash)),
        ("value_hash", json!(value_hash)),
        ("value_bytes", json!(value_bytes)),
        (
            "value_format",
            json!(value_format.map(|format| format.as_str())),
        ),
        ("decode_error", json!(decode_error)),
        ("cpid", json!(cpid)),
        ("cpid_ancestors", json!(cpid_ancestors)),
        ("cpid_carrier", json!(cpid_carrier)),
    ];
    let columns = columns.map(|(name, value)| (name.to_owned(), value));
    Value::Object(columns.into_iter().collect::<Map<_, _>>())
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::String(to_rfc3339(time)))
}

fn list<T>(items: &Option<Vec<T>>, item: fn(&T) -> Value) -> Value {
    match items {
        Some(items) => Value::Array(items.iter().map(item).collect()),
        None => Value::Null,
    }
}

fn owner(owner: &Owner) -> Value {
    json!({
        "api_version": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": owner.controller,
    })
}

fn name_ref(reference: &NameRef) -> Value {
    json!({
        "kind": reference.kind,
        "namespace": reference.namespace,
        "name": reference.name,
    })
}

fn writer(writer: &Writer) -> Value {
    json!({
        "manager": writer.manager,
        "operation": writer.operation,
        "subresource": writer.subresource,
        "time": time(writer.time),
    })
}

fn condition(condition: &Condition) -> Value {
    json!({
        "type": condition.kind,
        "status": condition.status,
        "reason": condition.reason,
        "last_transition_time": time(condition.last_transition_time),
    })
}

fn container(container: &Container) -> Value {
    json!({
        "name": container.name,
        "init": container.init,
        "started": container.started,
        "ready": container.ready,
        "restarts": container.restarts,
    })
}
