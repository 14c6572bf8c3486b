//! References to other objects.

use super::*;

/// Names as `Kind namespace/name`, sorted as the column is.
fn names(object: &Value) -> Vec<String> {
    let references = decode("/registry/xs/shop/x", object)
        .object
        .name_refs
        .unwrap();
    references
        .iter()
        .map(|reference| match &reference.namespace {
            Some(namespace) => format!("{} {namespace}/{}", reference.kind, reference.name),
            None => format!("{} {}", reference.kind, reference.name),
        })
        .collect()
}

fn object(api_version: &str, kind: &str, rest: Value) -> Value {
    let metadata = json!({"name": "x", "namespace": "shop", "uid": UID});
    with(
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}),
        rest,
    )
}

fn uids(object: &Value) -> Vec<String> {
    decode("/registry/xs/shop/x", object)
        .object
        .related_uids
        .unwrap()
}

#[test]
fn pods_and_their_templates() {
    let spec = json!({
        "serviceAccountName": "robot",
        "priorityClassName": "high",
        "runtimeClassName": "sandbox",
        "imagePullSecrets": [{"name": "registry"}],
        "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "c1"}}, {"secretRef": {"name": "s1"}}]}],
        "containers": [{"name": "m", "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ]}],
        "volumes": [
            {"name": "v1", "configMap": {"name": "c3"}},
            {"name": "v2", "secret": {"secretName": "s3"}},
            {"name": "v3", "projected": {"sources": [{"configMap": {"name": "c4"}}, {"secret": {"name": "s4"}}]}},
            {"name": "v4", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "v5", "configMap": {"name": "c3"}},
        ],
        "resourceClaims": [{"name": "r", "resourceClaimName": "gpu"}],
    });
    let expected = [
        "ConfigMap shop/c1",
        "ConfigMap shop/c2",
        "ConfigMap shop/c3",
        "ConfigMap shop/c4",
        "PersistentVolumeClaim shop/data",
        "PriorityClass high",
        "ResourceClaim shop/gpu",
        "RuntimeClass sandbox",
        "Secret shop/registry",
        "Secret shop/s1",
        "Secret shop/s2",
        "Secret shop/s3",
        "Secret shop/s4",
        "ServiceAccount shop/robot",
    ];
    assert_eq!(names(&object("v1", "Pod", json!({"spec": spec}))), expected);
    let template = json!({"spec": {"template": {"spec": spec}}});
    assert_eq!(names(&object("apps/v1", "Deployment", template)), expected);
    let job_template = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}});
    assert_eq!(
        names(&object("batch/v1", "CronJob", job_template)),
        expected
    );
}

#[test]
fn references_by_kind_and_name() {
    let hpa = json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    assert_eq!(
        names(&object("autoscaling/v2", "HorizontalPodAutoscaler", hpa)),
        ["Deployment shop/web"]
    );
    let binding = json!({
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [
            {"kind": "ServiceAccount", "name": "robot", "namespace": "other"},
            {"kind": "User", "name": "someone"},
            {"kind": "Group", "name": "some"},
        ],
    });
    assert_eq!(
        names(&object(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            binding
        )),
        ["ClusterRole view", "ServiceAccount other/robot"]
    );
    // With a uid it is no reference by name only.
    let volume = |uid: &str| json!({"spec": {"claimRef": {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": "c", "uid": uid}}});
    let with_uid = object("v1", "PersistentVolume", volume(OTHER_UID));
    assert_eq!(
        (names(&with_uid), uids(&with_uid)),
        (vec![], vec![OTHER_UID.to_owned()])
    );
    // Events about Nodes have the Node's name for a uid.
    let event = json!({"involvedObject": {"kind": "Node", "name": "node-1", "uid": "node-1"}});
    let event = object("v1", "Event", event);
    assert_eq!(
        (names(&event), uids(&event)),
        (vec!["Node node-1".to_owned()], vec![])
    );
}

#[test]
fn network_and_storage() {
    let ingress = json!({"spec": {
        "ingressClassName": "nginx",
        "defaultBackend": {"service": {"name": "fallback"}},
        "tls": [{"secretName": "tls"}],
        "rules": [{"http": {"paths": [{"backend": {"service": {"name": "web"}}}]}}],
    }});
    assert_eq!(
        names(&object("networking.k8s.io/v1", "Ingress", ingress)),
        [
            "IngressClass nginx",
            "Secret shop/tls",
            "Service shop/fallback",
            "Service shop/web"
        ]
    );
    let labelled = json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}}});
    assert_eq!(
        names(&object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            labelled.clone()
        )),
        ["Service shop/web"]
    );
    assert_eq!(names(&object("v1", "ConfigMap", labelled)), [""; 0]);
    assert_eq!(
        names(&object("v1", "Endpoints", json!({}))),
        ["Service shop/x"]
    );
    assert_eq!(
        names(&object("example.org/v1", "Endpoints", json!({}))),
        [""; 0]
    );
    let claim = json!({
        "metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}},
        "spec": {"storageClassName": "fast", "volumeName": "pv-1"},
    });
    assert_eq!(
        names(&object("v1", "PersistentVolumeClaim", claim)),
        ["Node node-1", "PersistentVolume pv-1", "StorageClass fast"]
    );
    let volume =
        json!({"spec": {"csi": {"nodeStageSecretRef": {"name": "s", "namespace": "kube-system"}}}});
    assert_eq!(
        names(&object("v1", "PersistentVolume", volume)),
        ["Secret kube-system/s"]
    );
    let address = json!({"spec": {"parentRef": {"resource": "services", "namespace": "shop", "name": "web"}}});
    assert_eq!(
        names(&object("networking.k8s.io/v1", "IPAddress", address)),
        ["Service shop/web"]
    );
    let policy = json!({"spec": {"policyName": "p"}});
    assert_eq!(
        names(&object(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicyBinding",
            policy
        )),
        ["ValidatingAdmissionPolicy p"]
    );
}

#[test]
fn custom_resources_by_convention() {
    let spec = json!({"spec": {
        "secretName": "tls",
        "issuerRef": {"kind": "Issuer", "name": "ca"},
        "parts": [{"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
        "service": {"name": "mine"},
        "serviceName": "mine",
        "volumeName": "mine",
        "thing": {"kind": "lowercase", "name": "n"},
    }});
    assert_eq!(
        names(&object("example.org/v1", "Widget", spec)),
        ["ConfigMap shop/c", "Issuer shop/ca", "Secret shop/tls"]
    );
    let definition = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "secretRef": {"name": "x"}, "uid": OTHER_UID, "kind": "K", "name": "n",
    }}}]}});
    let definition = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        definition,
    );
    assert_eq!((names(&definition), uids(&definition)), (vec![], vec![]));
}

#[test]
fn uids_of_others() {
    let third = "0a1b2c3d-0000-0000-0000-00000000000a";
    let pod = with(
        object("v1", "Pod", json!({})),
        json!({
            "metadata": {
                "labels": {"batch.kubernetes.io/controller-uid": OWNER_UID, "pod-uid": third},
                "annotations": {"kubernetes.io/other.uid": OTHER_UID, "text": third},
                "ownerReferences": [{"kind": "Job", "name": "j", "uid": OWNER_UID}],
            },
            "spec": {"x": {"selfUID": UID, "otherUids": [OTHER_UID, "not one"], "systemUUID": third}},
        }),
    );
    // Sorted, once each, without the object itself and its owners.
    assert_eq!(uids(&pod), [OTHER_UID, third]);
    let job = json!({"status": {"uncountedTerminatedPods": {"succeeded": [OTHER_UID], "failed": [third]}}});
    assert_eq!(uids(&object("batch/v1", "Job", job)), [OTHER_UID, third]);
    let settings = json!({"data": {"uid": OTHER_UID}});
    assert_eq!(uids(&object("v1", "ConfigMap", settings)), [""; 0]);
}
