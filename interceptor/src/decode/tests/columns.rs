//! Columns from metadata, spec and status.

use cascade_proto::tables::{Condition, Container, Object, Owner, Timestamp, Writer};

use super::*;

/// 2024-05-06T07:08:09Z.
const TIME: &str = "2024-05-06T07:08:09Z";
const MICROS: Timestamp = Timestamp(1_714_979_289_000_000);

#[test]
fn metadata() {
    let object = decode_pod(json!({"metadata": {
        "generation": 3,
        "creationTimestamp": TIME,
        "deletionTimestamp": TIME,
        "labels": {"b": "\"2\"", "a": ""},
        "annotations": {
            "short": "x".repeat(256),
            "long": "x".repeat(257),
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
        "finalizers": ["example.org/a", "example.org/b"],
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": OWNER_UID, "controller": true},
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": OTHER_UID},
        ],
        "managedFields": [
            {"manager": "kubectl", "operation": "Apply", "time": TIME, "fieldsV1": {}},
            {"manager": "kubelet", "operation": "Update", "subresource": "status"},
        ],
    }}))
    .object;
    assert_eq!(object.generation, Some(3));
    assert_eq!(
        (object.creation_time, object.deletion_time),
        (Some(MICROS), Some(MICROS))
    );
    assert_eq!(object.labels.as_deref(), Some(r#"{"a":"","b":"\"2\""}"#));
    assert_eq!(
        object.annotations,
        Some(format!(r#"{{"short":"{}"}}"#, "x".repeat(256)))
    );
    assert_eq!(
        object.finalizers.unwrap(),
        ["example.org/a", "example.org/b"]
    );
    let owner = |api_version: &str, kind: &str, name: &str, uid: &str, controller| Owner {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller,
    };
    let expected = [
        owner("apps/v1", "ReplicaSet", "rs", OWNER_UID, true),
        owner("v1", "ConfigMap", "c", OTHER_UID, false),
    ];
    assert_eq!(object.owners.unwrap(), expected);
    let writer = |manager: &str, operation: &str, subresource: Option<&str>, time| Writer {
        manager: manager.to_owned(),
        operation: operation.to_owned(),
        subresource: subresource.map(str::to_owned),
        time,
    };
    let expected = [
        writer("kubectl", "Apply", None, Some(MICROS)),
        writer("kubelet", "Update", Some("status"), None),
    ];
    assert_eq!(object.writers.unwrap(), expected);
}

#[test]
fn nothing_in_metadata_is_a_fact_too() {
    let object = decode_pod(json!({"metadata": {"generation": 0}})).object;
    assert_eq!(object.generation, None);
    assert_eq!(object.labels.as_deref(), Some("{}"));
    assert_eq!(object.annotations.as_deref(), Some("{}"));
    assert_eq!(object.finalizers.as_deref(), Some(&[][..]));
    assert_eq!(object.owners.as_deref(), Some(&[][..]));
    assert_eq!(object.writers.as_deref(), Some(&[][..]));
    assert_eq!(object.conditions.as_deref(), Some(&[][..]));
}

#[test]
fn a_pod() {
    let object = decode_pod(json!({"status": {
        "observedGeneration": 2,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": TIME},
            {"type": "Initialized", "status": "False", "reason": "Waiting", "lastTransitionTime": null},
            {"status": "True"},
        ],
        "containerStatuses": [
            {"name": "main", "ready": true, "started": true, "restartCount": 2},
            {"name": "side", "ready": false},
        ],
        "initContainerStatuses": [{"name": "first", "ready": true, "restartCount": 0}],
        "ephemeralContainerStatuses": [{"name": "debug", "ready": true}],
    }}))
    .object;
    assert_eq!(object.node_name.as_deref(), Some("node-1"));
    assert_eq!(object.phase.as_deref(), Some("Running"));
    assert_eq!(object.observed_generation, Some(2));
    let condition = |kind: &str, status: &str, reason: Option<&str>, time| Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        last_transition_time: time,
    };
    let expected = [
        condition("Ready", "True", None, Some(MICROS)),
        condition("Initialized", "False", Some("Waiting"), None),
    ];
    assert_eq!(object.conditions.unwrap(), expected);
    let container = |name: &str, init, started, ready, restarts| Container {
        name: name.to_owned(),
        init,
        started,
        ready,
        restarts,
    };
    let expected = [
        container("first", true, None, true, 0),
        container("main", false, Some(true), true, 2),
        container("side", false, None, false, 0),
    ];
    assert_eq!(object.containers.unwrap(), expected);
}

#[test]
fn a_pod_is_stateful_by_its_volumes() {
    let stateful = |volumes: Value| {
        let object = decode_pod(json!({"spec": {"volumes": volumes}})).object;
        object.stateful.unwrap()
    };
    assert!(!stateful(json!([])));
    assert!(!stateful(json!([
        {"name": "a", "secret": {}}, {"name": "b", "configMap": {}}, {"name": "c", "downwardAPI": {}},
        {"name": "d", "emptyDir": {}}, {"name": "e", "projected": {}},
    ])));
    assert!(stateful(json!([
        {"name": "a", "emptyDir": {}},
        {"name": "b", "persistentVolumeClaim": {"claimName": "c"}},
    ])));
    assert!(stateful(json!([{"name": "a", "hostPath": {"path": "/"}}])));
    assert!(stateful(json!([{"name": "a", "inventedTomorrow": {}}])));
}

#[test]
fn selectors() {
    let selector = |selector: Value| {
        let object = decode_pod(json!({"spec": {"selector": selector}})).object;
        object.selector.zip(object.selector_exact)
    };
    let is = |json: &str, exact| Some((json.to_owned(), exact));
    assert_eq!(
        selector(json!({"b": "2", "a": "1"})),
        is(r#"{"a":"1","b":"2"}"#, true)
    );
    assert_eq!(
        selector(json!({"matchLabels": {"a": "1"}})),
        is(r#"{"a":"1"}"#, true)
    );
    let expression = json!([{"key": "a", "operator": "Exists"}]);
    assert_eq!(
        selector(json!({"matchLabels": {"a": "1"}, "matchExpressions": expression})),
        is(r#"{"a":"1"}"#, false)
    );
    assert_eq!(
        selector(json!({"matchExpressions": expression})),
        is("{}", false)
    );
    assert_eq!(
        selector(json!({"matchLabels": {}, "matchExpressions": []})),
        is("{}", true)
    );
    assert_eq!(selector(json!({})), is("{}", true));
    // A label may have any name.
    assert_eq!(
        selector(json!({"matchLabels": "x"})),
        is(r#"{"matchLabels":"x"}"#, true)
    );
    assert_eq!(selector(json!({"a": {"b": "c"}})), None);
    assert_eq!(selector(json!("a=b")), None);
    // An empty label selector selects everything, a Service without labels nothing.
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {}},
    });
    let object = decode("/registry/services/specs/shop/s", &service).object;
    assert_eq!((object.selector, object.selector_exact), (None, None));
}

fn counts(object: &Object) -> [Option<i64>; 4] {
    [
        object.replicas,
        object.updated_replicas,
        object.ready_replicas,
        object.available_replicas,
    ]
}

#[test]
fn counts_of_workloads() {
    let counts_of = |api_version: &str, kind: &str, status: Value| {
        let object = json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": "w"}, "status": status,
        });
        counts(&decode("/registry/ws/shop/w", &object).object)
    };
    let status = json!({
        "replicas": 4, "updatedReplicas": 3, "readyReplicas": 2, "availableReplicas": 1,
    });
    let all = [Some(4), Some(3), Some(2), Some(1)];
    assert_eq!(counts_of("apps/v1", "Deployment", status.clone()), all);
    // Kubernetes' JSON leaves zeros out.
    assert_eq!(counts_of("apps/v1", "Deployment", json!({})), [Some(0); 4]);
    assert_eq!(
        counts_of("apps/v1", "ReplicaSet", json!({"replicas": 2})),
        [Some(2), None, Some(0), Some(0)]
    );
    assert_eq!(
        counts_of(
            "apps/v1",
            "DaemonSet",
            json!({"currentNumberScheduled": 4, "updatedNumberScheduled": 3, "numberReady": 2, "numberAvailable": 1})
        ),
        all
    );
    // Of a custom resource an absent count is not known.
    assert_eq!(
        counts_of("example.org/v1", "Deployment", json!({"replicas": 2})),
        [Some(2), None, None, None]
    );
    let text = json!({"replicas": "two"});
    assert_eq!(counts_of("example.org/v1", "Widget", text), [None; 4]);
    let no_status =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}});
    let object = decode("/registry/deployments/shop/w", &no_status).object;
    assert_eq!((counts(&object), object.conditions), ([None; 4], None));
}

#[test]
fn endpoints_without_a_condition_are_ready() {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"},
        "addressType": "IPv4",
        "endpoints": [
            {"conditions": {"ready": true}},
            {"conditions": {"ready": false}},
            {"conditions": {}},
            {},
        ],
    });
    let object = decode("/registry/endpointslices/shop/s", &slice).object;
    assert_eq!(object.ready_replicas, Some(3));
    let facts = r#"{"addressType":"IPv4","endpoints":4}"#;
    assert_eq!(object.facts.as_deref(), Some(facts));
}

#[test]
fn facts_stand_under_their_path() {
    let facts = |api_version: &str, kind: &str, rest: Value| {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
        decode("/registry/xs/shop/x", &with(object, rest))
            .object
            .facts
    };
    assert_eq!(
        facts(
            "apps/v1",
            "Deployment",
            json!({"spec": {"replicas": 0, "paused": true, "strategy": {"type": "Recreate"}}})
        )
        .as_deref(),
        Some(
            r#"{"spec.minReadySeconds":0,"spec.paused":true,"spec.replicas":0,"spec.strategy.type":"Recreate","status.unavailableReplicas":0}"#
        )
    );
    assert_eq!(
        facts(
            "coordination.k8s.io/v1",
            "Lease",
            json!({"spec": {"holderIdentity": "a \"b\"", "renewTime": "2024-05-06T09:08:09.100000+02:00"}})
        )
        .as_deref(),
        Some(r#"{"spec.holderIdentity":"a \"b\"","spec.renewTime":"2024-05-06T07:08:09.100Z"}"#)
    );
    assert_eq!(
        facts(
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": "50%", "maxUnavailable": 1}})
        )
        .as_deref(),
        Some(
            r#"{"spec.maxUnavailable":1,"spec.minAvailable":"50%","status.currentHealthy":0,"status.desiredHealthy":0,"status.disruptionsAllowed":0,"status.expectedPods":0}"#
        )
    );
    assert_eq!(
        facts("example.org/v1", "Widget", json!({"spec": {"replicas": 1}})),
        None
    );
}
