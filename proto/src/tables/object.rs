//! Columns that describe a stored object; `changes` and `states` share them.

use super::Timestamp;
use super::define::{columns, struct_column, text_enum};

struct_column! {
    /// An entry of metadata.ownerReferences.
    #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
    pub struct Owner / OwnerBuilder / OwnerView {
        /// apiVersion of the owner.
        api_version as "api_version": String,
        /// Kind of the owner.
        kind as "kind": String,
        /// Name of the owner.
        name as "name": String,
        /// Uid of the owner.
        uid as "uid": String,
        /// Whether the owner is the managing controller.
        controller as "controller": bool,
    }
}

struct_column! {
    /// A reference that Kubernetes makes by name only.
    #[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
    pub struct NameRef / NameRefBuilder / NameRefView {
        /// Kind of the object referred to.
        kind as "kind": String,
        /// Its namespace, or where the reference states none that of the referring object; NULL when it is cluster-scoped.
        namespace as "namespace": Option<String>,
        /// Its name.
        name as "name": String,
    }
}

struct_column! {
    /// A managedFields entry that is new or changed in this revision.
    #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
    pub struct Writer / WriterBuilder / WriterView {
        /// Field manager.
        manager as "manager": String,
        /// `Apply` or `Update`.
        operation as "operation": String,
        /// Subresource written through; NULL for the object itself.
        subresource as "subresource": Option<String>,
        /// When this manager last changed a field, 1 s resolution.
        time as "time": Option<Timestamp>,
    }
}

struct_column! {
    /// An entry of status.conditions.
    #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
    pub struct Condition / ConditionBuilder / ConditionView {
        /// Type of the condition.
        kind as "type": String,
        /// `True`, `False` or `Unknown`.
        status as "status": String,
        /// Reason, as the controller states it.
        reason as "reason": Option<String>,
        /// When the status last changed, 1 s resolution.
        last_transition_time as "last_transition_time": Option<Timestamp>,
    }
}

struct_column! {
    /// A Pod's container status.
    #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
    pub struct Container / ContainerBuilder / ContainerView {
        /// Name of the container.
        name as "name": String,
        /// Whether it is an init container.
        init as "init": bool,
        /// Whether it has started.
        started as "started": Option<bool>,
        /// Whether it is ready.
        ready as "ready": bool,
        /// Restart count.
        restarts as "restarts": i32,
    }
}

text_enum! {
    /// How a stored value is encoded.
    pub enum ValueFormat {
        /// Kubernetes' protobuf envelope.
        Protobuf = "protobuf",
        /// JSON object.
        Json = "json",
        /// CBOR with the self-described tag.
        Cbor = "cbor",
        /// Encrypted at rest by kube-apiserver; opaque.
        Encrypted = "encrypted",
        /// Anything else, such as keys that are not Kubernetes objects.
        Other = "other",
    }
}

columns! {
    /// What one stored value says about its object.
    #[derive(Debug, Clone, PartialEq, Default)]
    pub struct Object / ObjectBuilder / ObjectView {
        /// API group from inside the value; the core group is the empty text.
        api_group: Option<String>,
        /// API version from inside the value, without the group.
        api_version: Option<String>,
        /// Kind from inside the value.
        kind: Option<String>,
        /// Resource (lowercase plural) from the key.
        resource: Option<String>,
        /// Namespace; NULL when the object is cluster-scoped.
        namespace: Option<String>,
        /// Name of the object.
        name: Option<String>,
        /// Uid of the object.
        uid: Option<String>,
        /// metadata.generation; NULL for kinds that do not count it.
        generation: Option<i64>,
        /// status.observedGeneration; NULL until there is one.
        observed_generation: Option<i64>,
        /// metadata.creationTimestamp, 1 s resolution.
        creation_time: Option<Timestamp>,
        /// metadata.deletionTimestamp, 1 s resolution; set means that deletion was asked for.
        deletion_time: Option<Timestamp>,
        /// metadata.finalizers.
        finalizers: Option<Vec<String>>,
        /// metadata.ownerReferences.
        owners: Option<Vec<Owner>>,
        /// Uids of other objects found anywhere in the value (targetRef, claimRef,
        /// involvedObject, …); owners and the object itself excluded.
        related_uids: Option<Vec<String>>,
        /// References that Kubernetes makes by name only: scaleTargetRef, claimName, volumes'
        /// ConfigMaps and Secrets, serviceName, Ingress backends, roleRef, …
        name_refs: Option<Vec<NameRef>>,
        /// metadata.labels as a JSON object.
        labels: Option<String>,
        /// Equality part of spec.selector as a JSON object.
        selector: Option<String>,
        /// Whether `selector` is the whole selector (false with matchExpressions).
        selector_exact: Option<bool>,
        /// metadata.annotations as a JSON object, without last-applied-configuration and values
        /// over 256 bytes.
        annotations: Option<String>,
        /// managedFields entries that are new or changed in this revision; in `states` all of them.
        writers: Option<Vec<Writer>>,
        /// spec.nodeName.
        node_name: Option<String>,
        /// status.phase.
        phase: Option<String>,
        /// status.conditions.
        conditions: Option<Vec<Condition>>,
        /// status.replicas of a workload; of a DaemonSet currentNumberScheduled, and likewise its
        /// counts of updated, ready and available Pods.
        replicas: Option<i64>,
        /// status.updatedReplicas of a workload.
        updated_replicas: Option<i64>,
        /// status.readyReplicas of a workload; number of ready endpoints of an EndpointSlice.
        ready_replicas: Option<i64>,
        /// status.availableReplicas of a workload.
        available_replicas: Option<i64>,
        /// A Pod's container statuses.
        containers: Option<Vec<Container>>,
        /// A Pod whose volumes make it stateful in ClusterLoader2's sense.
        stateful: Option<bool>,
        /// Further scalars per kind as a JSON object; keys are paths in the API object, such as
        /// `spec.replicas`, and hold the length where the path leads to a list.
        facts: Option<String>,
        /// Keyed hash of the spec: of its encoded bytes in protobuf, of its content in JSON and CBOR.
        /// Equal specs of one object have equal hashes.
        spec_hash: Option<i64>,
        /// Keyed hash of the status, like `spec_hash`.
        status_hash: Option<i64>,
        /// Keyed hash of everything else but metadata, such as ConfigMap data, EndpointSlice
        /// endpoints and RBAC rules; like `spec_hash`, and NULL for Secrets like `value_hash`.
        data_hash: Option<i64>,
        /// Keyed hash of the whole value; NULL for Secrets unless a hash key was given.
        value_hash: Option<i64>,
        /// Size of the stored value in bytes; of the deleted value for a delete.
        value_bytes: Option<i32>,
        /// `protobuf`, `json`, `cbor`, `encrypted` or `other`.
        value_format: Option<ValueFormat>,
        /// Why the value, or a part of it, could not be decoded.
        decode_error: Option<String>,
    }
}

columns! {
    /// The Change Propagation ID as stored on the object.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct ObjectCpid / ObjectCpidBuilder / ObjectCpidView {
        /// Change Propagation ID stored on the object.
        cpid: Option<String>,
        /// Ancestors of `cpid` stored with it, newest first.
        cpid_ancestors: Option<Vec<String>>,
        /// Where `cpid` was found: the annotation's key, or `label:` and a label's key.
        cpid_carrier: Option<String>,
    }
}
